//! Limits as callers and operators meet them: leases, daily quotas, the fleet's size when the store is gone, limits for
//! each caller, and what the answers say about them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ieum::api::{CallerLimits, Edge, HttpEvent, HttpResponse, Reply, Route};
use ieum::auth::{Access, Door, IeumSecret};
use ieum::error::{ApiError, Language};
use ieum::integration::Integration;
use ieum::limiter::Limiter;
use ieum::resilience::circuit_breaker::{BreakerPolicy, Circuit};
use ieum::resilience::rate_limit::RatePolicy;
use ieum::store::{Action, MemoryStore, Outcome, Store, Update};
use ieum::testing::{ManualClock, Scripted, TokioClock, secret_of, sha256_hex};
use serde_json::json;
use tokio::time::{Instant, advance};

use crate::support::*;

/// How often `operation` is in the log.
fn count(log: &[String], operation: &str) -> usize {
    log.iter().filter(|one| *one == operation).count()
}

#[tokio::test(start_paused = true)]
async fn an_environment_that_holds_the_whole_rate_writes_four_leases_in_their_life() {
    let store = FaultyStore::new();
    let world = World::over(store.clone());
    let provider = Scripted::new("p", live);
    // A lease lives for half a second, in which fifty calls may leave.
    let rate = RatePolicy::new(100, secs(1), 100, secs(5));
    let asking = world.limited(&provider, once(), rate);
    let began = Instant::now();
    while began.elapsed() < secs(5) {
        ask(&asking, 1).await.unwrap();
    }
    store.log();
    let (from, before) = (Instant::now(), provider.calls().len());
    while from.elapsed() < secs(5) {
        ask(&asking, 1).await.unwrap();
    }
    let calls = provider.calls().len() - before;
    let leases = count(&store.log(), "update rate");
    assert!((495..=501).contains(&calls), "{calls} calls in 5 s");
    assert!(leases <= 4 * 10 + 4, "{leases} leases in ten lives");
}

/// The budget: nothing for a hit in memory, one trip for a stored one, two and a lease for a miss, a lease for what is not
/// remembered, and nothing behind an open circuit. The first call of an environment reads the circuit besides.
#[tokio::test(start_paused = true)]
async fn a_caller_waits_for_so_many_trips_and_no_more() {
    const TRIP: Duration = Duration::from_millis(10);
    let (store, provider) = (FaultyStore::new(), Scripted::new("p", live));
    store.set(Mode::Slow(TRIP));
    let environment = |remembers: bool| {
        let world = World::over(store.clone());
        let asking = world.limited(&provider, once(), RatePolicy::new(1_000, secs(1), 1_000, secs(1)));
        if remembers { asking.cache(world.cache()) } else { asking }
    };
    let ([first, second], [plain, late]) = ([(); 2].map(|()| environment(true)), [(); 2].map(|()| environment(false)));
    let waited = async |asking: &Integration<Question, crate::support::Reply>, number| {
        let began = Instant::now();
        let _ = ask(asking, number).await;
        began.elapsed().as_millis() / TRIP.as_millis()
    };
    assert_eq!(waited(&first, 1).await, 3, "a miss: what is remembered, a lease, what is to be remembered");
    assert_eq!(waited(&first, 2).await, 3, "another");
    assert_eq!(waited(&first, 1).await, 0, "a hit in memory");
    assert_eq!(waited(&second, 1).await, 1, "a stored hit, the first of its environment");
    assert_eq!(waited(&plain, 1).await, 2, "nothing is remembered: the circuit and a lease");
    assert_eq!(waited(&plain, 1).await, 1, "a lease");
    for _ in 0..10 {
        provider.then(down());
        waited(&plain, 1).await;
        advance(ms(200)).await;
    }
    // A reading of the circuit is good for 0.8 to 1.2 s, drawn anew each time: one may be due now.
    assert!(waited(&plain, 1).await <= 1, "the circuit is open");
    assert_eq!(waited(&plain, 1).await, 0, "and known to be");
    assert_eq!(waited(&late, 1).await, 1, "another environment has yet to learn it");
}

#[tokio::test(start_paused = true)]
async fn an_environment_that_calls_now_and_then_takes_one_slot_at_a_time() {
    let store = FaultyStore::new();
    let world = World::over(store.clone());
    let asking = world.limited(&Scripted::new("p", live), once(), RatePolicy::new(100, secs(1), 100, secs(5)));
    for _ in 0..10 {
        ask(&asking, 1).await.unwrap();
        advance(ms(600)).await;
    }
    let item = store.inner.read("rate#p").unwrap();
    assert_eq!((count(&store.log(), "update rate"), item.number("taken")), (10, Some(10)));
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_time_is_over_by_either_clock_makes_room_for_another() {
    // The wall clock stands still, as one does that is set back again and again.
    let (policy, store) = (RatePolicy::new(100, secs(1), 100, ms(0)), Arc::new(MemoryStore::new()));
    let limiter = Limiter::new("rate#p".to_owned(), policy, store.clone(), ManualClock::start());
    let mut given = 0;
    for _ in 0..20 {
        given += u32::from(limiter.slot(Instant::now()).await.is_ok());
    }
    let taken = store.read("rate#p").and_then(|item| item.number("taken"));
    assert!(given == 20 && taken > Some(25), "some are held: {given} of {taken:?}");
    advance(secs(10)).await;
    assert!(limiter.slot(Instant::now()).await.is_ok());
}

/// A trip to the store takes three intervals here, so that for whoever has lost against a rival the bucket is idle again.
#[tokio::test(start_paused = true)]
async fn all_who_come_at_once_after_a_pause_have_a_slot_while_the_burst_lasts() {
    let store = FaultyStore::new();
    store.set_only("update rate", Mode::Slow(ms(30)));
    let provider = Scripted::new("p", live);
    let fleet: Vec<_> = (0..32)
        .map(|_| World::over(store.clone()).limited(&provider, once(), RatePolicy::new(100, secs(1), 100, secs(1))))
        .collect();
    let answers = join_all(fleet.iter().zip(0..).map(|(asking, number)| ask(asking, number))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 32);
    assert_eq!(count(&store.log(), "update rate"), 1 + 2 * 31, "whoever lost once does not lose again");
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_used_up_turns_callers_away_until_midnight_in_seoul() {
    let (world, provider) = (World::new(), Scripted::new("p", live));
    let rate = RatePolicy::new(10, secs(1), 20, secs(1)).map(|rate| rate.daily(Some(3)));
    let [here, there] = [(); 2].map(|()| world.limited(&provider, once(), rate));
    for asking in [&here, &there, &here] {
        ask(asking, 1).await.unwrap();
    }
    // It is 12:50 in Seoul.
    let until_midnight = (11 * 60 + 10) * 60;
    for asking in [&here, &there] {
        assert_eq!(refused(&ask(asking, 1).await), refusal(429, "rate_limited", Some(until_midnight)));
    }
    advance(secs(until_midnight)).await;
    assert!(ask(&there, 1).await.is_ok());
    assert_eq!(provider.calls().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_limit_reached_is_told_in_headers() {
    let (world, provider) = (World::new(), Scripted::new("p", live));
    let asking = world.limited(&provider, once(), RatePolicy::new(1, secs(60), 1, ms(0)));
    ask(&asking, 1).await.unwrap();
    let called = ask(&asking, 1).await;
    let response = ApiError::from(called.as_ref().unwrap_err()).to_response("t", world.clock.now(), Language::English);
    assert_eq!(response.status().as_u16(), 429);
    assert_eq!(response.headers()["ratelimit"], "\"p\";r=0;t=60");
    assert_eq!(response.headers()["retry-after"], "60");
}

#[tokio::test(start_paused = true)]
async fn without_the_store_an_environment_keeps_to_its_part_of_the_rate() {
    let store = FaultyStore::new();
    let world = World::over(store.clone());
    let provider = Scripted::new("p", live);
    let rate = RatePolicy::new(10, secs(1), 5, secs(5));
    let [here, there] = [(); 2].map(|()| world.limited(&provider, once(), rate));
    for _ in 0..40 {
        ask(&here, 1).await.unwrap();
        ask(&there, 1).await.unwrap();
    }
    store.set(Mode::Unreachable);
    advance(secs(3)).await;
    let (before, from) = (provider.calls().len(), Instant::now());
    while from.elapsed() < secs(10) {
        ask(&here, 1).await.unwrap();
    }
    let calls = provider.calls().len() - before;
    assert!((48..=54).contains(&calls), "{calls} calls in 10 s: one of two environments has half of 10 a second");
}

#[tokio::test(start_paused = true)]
async fn a_very_large_fleet_reads_the_circuit_less_often() {
    let store = FaultyStore::new();
    let world = World::over(store.clone());
    let asking = world.limited(&Scripted::new("p", live), once(), RatePolicy::new(1_000, secs(1), 5_000, secs(5)));
    ask(&asking, 1).await.unwrap();
    // Twenty thousand others called meanwhile: as many environments like this one.
    let others = Update::of("rate#p").then([Action::Add("taken", 20_000)]);
    assert!(matches!(store.inner.apply(&others), Outcome::Applied(_)));
    advance(secs(2)).await;
    ask(&asking, 1).await.unwrap();
    advance(secs(7)).await;
    ask(&asking, 1).await.unwrap();
    store.log();
    for _ in 0..4 {
        advance(secs(1)).await;
        ask(&asking, 1).await.unwrap();
    }
    assert_eq!(count(&store.log(), "get breaker"), 0, "ten thousand environments, two thousand readings a second");
}

#[tokio::test(start_paused = true)]
async fn a_streak_that_nobody_acted_upon_opens_the_circuit_at_the_next_call() {
    let store = Arc::new(MemoryStore::new());
    let world = World::over(store.clone());
    for _ in 0..5 {
        assert!(matches!(store.apply(&Circuit::fail("p", 0, world.clock.now())), Outcome::Applied(_)));
    }
    let provider = Scripted::new("p", live);
    let asking = world.asking(&provider, once());
    advance(ms(1_500)).await;
    assert_eq!(refused(&ask(&asking, 1).await), refusal(503, "provider_unavailable", Some(60)));
    assert_eq!(provider.calls().len(), 0);
    assert_eq!(store.read("breaker#p").unwrap().text("state"), Some("open"), "for everybody");
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_the_store_is_too_busy_to_open_is_open_here() {
    let store = FaultyStore::new();
    let world = World::over(store.clone());
    let provider = Scripted::new("p", down);
    let asking = world.asking(&provider, once());
    ask(&asking, 1).await.unwrap_err();
    store.set_only("update breaker", Mode::Throttled);
    for _ in 0..20 {
        ask(&asking, 1).await.unwrap_err();
    }
    assert_eq!(provider.calls().len(), 5);
    advance(BreakerPolicy::default().open_for).await;
    ask(&asking, 1).await.unwrap_err();
    assert_eq!(provider.calls().len(), 6, "one more after a minute");
    ask(&asking, 1).await.unwrap_err();
    assert_eq!(provider.calls().len(), 6, "and not another");
}

mod of_each_caller {
    use super::*;

    const ROUTES: [Route<()>; 1] =
        [Route { method: "GET", path: "/v1/things", access: Access::Scope("things:read"), action: () }];

    /// An environment whose callers may ask three times a minute. Its store is shared.
    async fn edge(store: &Arc<MemoryStore>) -> Edge {
        let keys = ["portal", "app"].map(|id| {
            json!({"id": id, "label": id, "scopes": ["things:read"], "not_after": "2027-01-01T00:00:00Z",
                "sha256": sha256_hex(id)})
        });
        let secret = json!({"api_keys": keys, "cache_key": "AAAA"}).to_string();
        let rate = RatePolicy::new(3, secs(60), 4, Duration::ZERO).unwrap();
        let (shared, clock): (Arc<dyn Store>, _) = (store.clone(), TokioClock::start());
        let limits = CallerLimits::new(rate, shared, clock.clone());
        Edge::new(Door::new(secret_of::<IeumSecret>(&secret).await), clock, 1_000).limiting(Some(limits))
    }

    async fn send(edge: &Edge, caller: &str) -> HttpResponse {
        let event: HttpEvent = serde_json::from_value(json!({
            "rawPath": "/v1/things",
            "headers": {"x-api-key": caller},
            "requestContext": {"http": {"method": "GET"}},
        }))
        .unwrap();
        edge.serve(&ROUTES, event, 0, async |(), _| Reply::json(200, &1)).await
    }

    #[tokio::test(start_paused = true)]
    async fn holds_in_all_environments_and_for_that_caller_alone() {
        let store = Arc::new(MemoryStore::new());
        let (here, there) = (edge(&store).await, edge(&store).await);
        for (edge, left) in [(&here, 2), (&there, 1), (&here, 0)] {
            let response = send(edge, "portal").await;
            assert_eq!(response.status_code, 200);
            assert!(response.headers["ratelimit"].starts_with(&format!("\"caller\";r={left};")), "{response:?}");
            assert_eq!(response.headers["ratelimit-policy"], "\"caller\";q=3;w=60");
        }
        for edge in [&there, &here] {
            let response = send(edge, "portal").await;
            assert_eq!((response.status_code, response.headers["retry-after"].as_str()), (429, "20"));
            assert_eq!(response.headers["ratelimit"], "\"caller\";r=0;t=20");
        }
        assert_eq!(send(&here, "app").await.status_code, 200);
        advance(secs(20)).await;
        assert_eq!(send(&there, "portal").await.status_code, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn is_kept_under_a_name_of_its_own_and_forgotten_after_two_days() {
        let store = Arc::new(MemoryStore::new());
        send(&edge(&store).await, "portal").await;
        let item = store.read("rate#caller#key:portal").unwrap();
        let (now, two_days) = (1_795_233_000, 2 * 24 * 60 * 60);
        assert_eq!(item.number("expires_at"), Some(now + two_days));
    }
}
