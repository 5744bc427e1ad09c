//! What the whole fleet promises a provider: silence on an open circuit, one probe, and the pace of the limit. The
//! sandbox's call log is the witness.
//!
//! All callers are at the front door at once; it lets 32 of them in at a time, because the environments that 96 would need
//! take two cores a minute to start, and whoever starts while the others call makes the store so slow that functions
//! rightly stop waiting for it. So the 32 are started before anything is tried. Every one of them has its own reading of
//! the circuit and its own slots, which is all that a larger fleet would have more of.

use std::time::Duration;

use ieum::clock::{Clock as _, SystemClock, Timestamp};
use ieum::resilience::circuit_breaker::{self, Circuit};
use ieum::resilience::rate_limit::RatePolicy;
use ieum::store::{Read, Store as _};
use serde_json::json;
use tokio::time::sleep;

use super::client::{at_once, eventually};
use super::store::table;
use super::verify::recover;
use super::{OPEN, SNAPSHOT, Stage};

/// As many requests as the front door lets in at once.
const ENVIRONMENTS: usize = 32;

/// The limit of NTS.
pub(crate) const RATE: u32 = 10;
pub(crate) const BURST: u32 = 10;
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(1);

/// `e` of the rate limit's promise: what one answer of the store leaves open about an environment's clock.
const CLOCKS: Duration = Duration::from_millis(500);

pub(crate) async fn an_open_circuit_silences_96_callers_and_32_send_one_probe(stage: &mut Stage) {
    warm(stage).await;
    stage.client.sandbox("nice", json!({"mode": "status", "status": 500, "only": "data"})).await;
    let number = stage.unused_number();
    let client = stage.client.clone();
    let silent = eventually("the circuit opens", async || {
        let answer = client.company(&number).await;
        assert_eq!(answer.status, 503);
        answer.header("retry-after").map(str::to_owned)
    });
    assert!(silent.await.parse::<u64>().unwrap() <= OPEN.as_secs());
    sleep(SNAPSHOT).await;
    let before = client.calls("nice").await;
    all_hear_that_nobody_answers(stage, 96, &number).await;
    assert_eq!(client.calls("nice").await, before, "nobody calls on an open circuit");

    // A slow probe fails: while it is away nobody else goes, and the circuit is closed to all again.
    client.sandbox("nice", json!({"mode": "status", "status": 500, "delay_ms": 2_000, "only": "data"})).await;
    sleep(retry_at(stage).await.since(SystemClock.now()) + CLOCKS).await;
    all_hear_that_nobody_answers(stage, ENVIRONMENTS, &number).await;
    assert_eq!(client.calls("nice").await - before, 1, "exactly one probe");

    recover(stage).await;
    let another = stage.unused_number();
    assert_eq!(stage.client.company(&another).await.source(), Some("live"), "the circuit is closed");
}

pub(crate) async fn of_200_calls_each_leaves_once_and_none_too_early(stage: &mut Stage) {
    let callers = (0..200).map(|_| {
        let (client, number) = (stage.client.clone(), stage.unused_number());
        async move {
            loop {
                let answer = client.tax_status(&number).await;
                if answer.status != 429 {
                    assert_eq!((answer.status, answer.source()), (200, Some("live")), "{}", answer.text);
                    return;
                }
                sleep(Duration::from_secs(answer.header("retry-after").unwrap().parse().unwrap())).await;
            }
        }
    });
    at_once(callers.collect()).await;
    let times = stage.client.call_times("nts").await;
    assert_eq!(times.len(), 200, "none is lost, and none is made twice");
    let policy = RatePolicy::new(RATE, Duration::from_secs(1), BURST, MAX_WAIT).unwrap();
    let late_ms = i64::try_from((2 * CLOCKS + policy.lease()).as_millis()).unwrap();
    for (first, from) in times.iter().enumerate() {
        for (last, to) in times.iter().enumerate().skip(first) {
            let (calls, window_ms) = (i64::try_from(last - first + 1).unwrap(), to - from);
            let bound = i64::from(BURST) + i64::from(RATE) * (window_ms + late_ms) / 1_000;
            assert!(calls <= bound, "{calls} calls within {window_ms} ms");
        }
    }
}

/// Starts as many environments as can be busy at once, so that no caller has to start one. They are started together: what
/// one of them asks for the first time takes longer than the others need to arrive.
async fn warm(stage: &mut Stage) {
    while stage.system.environments("VerifyFunction").unwrap().len() < ENVIRONMENTS {
        let asking = (0..ENVIRONMENTS).map(|_| {
            let (client, number) = (stage.client.clone(), stage.unused_number());
            async move { client.company(&number).await.status }
        });
        at_once(asking.collect()).await;
    }
}

/// So many callers ask at once for a company that is not remembered, while NICE is taken to be down.
async fn all_hear_that_nobody_answers(stage: &Stage, callers: usize, number: &str) {
    let asking = (0..callers).map(|_| {
        let (client, number) = (stage.client.clone(), number.to_owned());
        async move { client.company(&number).await }
    });
    for answer in at_once(asking.collect()).await {
        assert_eq!((answer.status, answer.code()), (503, "provider_unavailable"), "{}", answer.text);
    }
}

/// From when on the circuit of NICE may be probed.
async fn retry_at(stage: &Stage) -> Timestamp {
    let item = table(stage).get(&circuit_breaker::key("nice"), Read::Consistent).await.unwrap().unwrap();
    Circuit::from(&item).retry_at.unwrap()
}
