//! What the whole fleet promises a provider: silence on an open circuit, one probe, and the pace of the limit. The
//! sandbox's call log is the witness.
//!
//! Each caller at once is an environment of its own, which is a process, so these checks are the heaviest here.

use std::time::Duration;

use ieum::clock::Timestamp;
use ieum::resilience::circuit_breaker::{self, Circuit};
use ieum::resilience::rate_limit::RatePolicy;
use ieum::store::{Read, Store};
use serde_json::json;
use tokio::time::sleep;

use super::client::{at_once, eventually};
use super::store::table;
use super::verify::recover;
use super::{OPEN, SNAPSHOT, Stage};

/// Callers at once on an open circuit.
const CALLERS: usize = 96;

/// Callers at once on a half-open circuit.
const PROBERS: usize = 32;

/// So many environments start at the same time at most.
const STARTING: usize = 16;

/// The limit of NTS, which needs no token: one request of a caller is one call.
pub(crate) const RATE: u32 = 10;
pub(crate) const BURST: u32 = 10;
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(1);

/// `e` of the rate limit's promise.
const CLOCKS: Duration = Duration::from_millis(500);

pub(crate) async fn an_open_circuit_silences_96_callers_and_32_send_one_probe(stage: &mut Stage) {
    let began = std::time::Instant::now();
    warm(stage, CALLERS).await;
    eprintln!("warm {:?} envs {}", began.elapsed(), stage.system.environments("VerifyFunction").unwrap().len());
    stage.client.sandbox("nice", json!({"mode": "status", "status": 500, "only": "data"})).await;
    let number = stage.unused_number();
    let client = stage.client.clone();
    let silent = eventually("the circuit opens", async || {
        let answer = client.company(&number).await;
        assert_eq!(answer.status, 503);
        answer.header("retry-after").map(str::to_owned)
    });
    assert!(silent.await.parse::<u64>().unwrap() <= OPEN.as_secs());
    eprintln!("open {:?}", began.elapsed());
    sleep(SNAPSHOT).await;
    let before = client.calls("nice").await;
    ask(stage, CALLERS, &number).await;
    eprintln!("asked {:?}", began.elapsed());
    assert_eq!(client.calls("nice").await, before, "nobody calls on an open circuit");

    // A slow probe fails: while it is away nobody else goes, and the circuit is closed to all again.
    client.sandbox("nice", json!({"mode": "status", "status": 500, "delay_ms": 2_000, "only": "data"})).await;
    eprintln!("retry_in {:?}", retry_at(stage).await.as_millis() - now().as_millis());
    sleep(retry_at(stage).await.since(now()) + SNAPSHOT).await;
    ask(stage, PROBERS, &number).await;
    eprintln!("probed {:?}", began.elapsed());
    assert_eq!(client.calls("nice").await - before, 1, "exactly one probe");

    recover(stage).await;
    let another = stage.unused_number();
    assert_eq!(stage.client.company(&another).await.source(), Some("live"), "the circuit is closed");
    eprintln!("end {:?} envs {}", began.elapsed(), stage.system.environments("VerifyFunction").unwrap().len());
}

pub(crate) async fn of_200_calls_each_leaves_once_and_none_too_early(stage: &mut Stage) {
    let began = std::time::Instant::now();
    let callers = (0..200).map(|_| {
        let (client, number) = (stage.client.clone(), stage.unused_number());
        async move {
            let mut asked = 0;
            loop {
                asked += 1;
                let numbers = json!({"business_numbers": [&number]});
                let answer = client.send("POST", "/v1/companies/status", Some(numbers)).await;
                if answer.status == 429 {
                    let seconds = answer.header("retry-after").unwrap().parse().unwrap();
                    sleep(Duration::from_secs(seconds)).await;
                    continue;
                }
                assert_eq!((answer.status, answer.source()), (200, Some("live")), "{}", answer.text);
                assert_eq!(answer.body["results"][0]["business_number"], json!(number));
                return asked;
            }
        }
    });
    let asked: usize = at_once(callers.collect()).await.into_iter().sum();
    eprintln!("200 answered {:?}, asked {asked}, envs {}", began.elapsed(), stage.system.environments("VerifyFunction").unwrap().len());
    let times = stage.client.call_times("nts").await;
    assert_eq!(times.len(), 200, "none is lost, and none is made twice");
    let policy = RatePolicy::new(RATE, Duration::from_secs(1), BURST, MAX_WAIT).unwrap();
    let late = i64::try_from((2 * CLOCKS + policy.lease()).as_millis()).unwrap();
    let mut worst = i64::MIN;
    for (first, from) in times.iter().enumerate() {
        for (last, to) in times.iter().enumerate().skip(first) {
            let calls = i64::try_from(last - first + 1).unwrap();
            let window = to - from;
            worst = worst.max((calls - i64::from(BURST)) * 1000 / i64::from(RATE) - window);
            assert!(
                calls <= i64::from(BURST) + (window + late) * i64::from(RATE) / 1_000,
                "{calls} calls within {window} ms"
            );
        }
    }
    eprintln!("worst 2e + D {worst} ms; first second {:?}", times.iter().filter(|t| **t < times[0] + 1000).count());
}

/// Starts environments until as many run as there will be callers, so that none of the callers has to start one.
async fn warm(stage: &mut Stage, callers: usize) {
    let number = stage.unused_number();
    assert_eq!(stage.client.company(&number).await.status, 200);
    for together in (STARTING..=callers).step_by(STARTING) {
        let asking = (0..together).map(|_| {
            let (client, number) = (stage.client.clone(), number.clone());
            async move { client.company(&number).await.status }
        });
        at_once(asking.collect()).await;
    }
}

/// So many callers ask at once for a company that nobody knows, and all hear that the provider is unavailable.
async fn ask(stage: &Stage, callers: usize, number: &str) {
    let asking = (0..callers).map(|_| {
        let (client, number) = (stage.client.clone(), number.to_owned());
        async move { client.company(&number).await }
    });
    for answer in at_once(asking.collect()).await {
        assert_eq!((answer.status, answer.code()), (503, "provider_unavailable"), "{}", answer.text);
    }
}

/// From when on the circuit may be probed.
async fn retry_at(stage: &Stage) -> Timestamp {
    let item = table(stage).get(&circuit_breaker::key("nice"), Read::Consistent).await.unwrap().unwrap();
    Circuit::from(&item).retry_at.unwrap()
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}
