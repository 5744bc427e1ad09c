//! What the shared store costs a call, and what is left when it fails: everything but the fleet's view.
//!
//! A store that fails to order stands below `BoundedStore`, as in a running function. Time is paused, so a cost is exact.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ieum::integration::{Integration, Source};
use ieum::policy::Policy;
use ieum::resilience::circuit_breaker::{BreakerPolicy, Cause, Circuit};
use ieum::resilience::rate_limit::{Bucket, RatePolicy};
use ieum::store::{BoundedStore, Outcome, Store};
use ieum::testing::Scripted;
use tokio::time::{Instant, advance};

use crate::support::{
    CACHE, Called, FaultyStore, Mode, Question, Reply, World, ask, down, live, ms, once, refusal, refused, secs,
    throttled, times, told,
};

const LIMIT: Duration = ms(50);

/// A world over a store with faults to order, bounded as in a function.
fn world() -> (World, Arc<FaultyStore>) {
    let faulty = FaultyStore::new();
    let store: Arc<dyn Store> = faulty.clone();
    (World::over(Arc::new(BoundedStore::new(store, LIMIT))), faulty)
}

/// 10 per second, 2 at once, half a second of patience.
fn rate() -> Option<RatePolicy> {
    RatePolicy::new(10, secs(1), 5, ms(500))
}

/// An integration with everything: circuit, rate, cache, manual entries.
fn complete(world: &World, provider: &Scripted<Reply>) -> Integration<Question, Reply> {
    world.limited(provider, once(), rate()).cache(world.cache()).manual(world.manual())
}

/// A call and what it took.
async fn timed(integration: &Integration<Question, Reply>, number: u32) -> (Called, Duration) {
    let began = Instant::now();
    (ask(integration, number).await, began.elapsed())
}

/// Does `this` after `span`, for joining with a call under way.
async fn during(span: Duration, this: impl FnOnce()) {
    tokio::time::sleep(span).await;
    this();
}

/// What another environment of the fleet does to the circuit of `p`.
fn fleet_opens(faulty: &FaultyStore, world: &World, epoch: i64) {
    let update = Circuit::open("p", epoch, Cause::Local, &BreakerPolicy::default(), world.clock.now());
    assert!(matches!(faulty.inner.apply(&update), Outcome::Applied(_)));
}

mod cost {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hit_in_memory_costs_no_operation_at_all() {
        let (world, faulty) = world();
        let asking = complete(&world, &Scripted::new("p", live));
        ask(&asking, 1).await.unwrap();
        faulty.log();
        advance(secs(10)).await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Cached { age: secs(10) })));
        assert_eq!(faulty.log(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hit_in_the_store_costs_one_round_trip() {
        let (world, faulty) = world();
        let provider = Scripted::new("p", live);
        ask(&complete(&world, &provider), 1).await.unwrap();
        faulty.log();
        faulty.set(Mode::Slow(ms(20)));
        let elsewhere = complete(&world, &provider);
        let (answer, took) = timed(&elsewhere, 1).await;
        assert_eq!(told(&answer), Some(("live", Source::Cached { age: ms(20) })));
        assert_eq!(took, ms(20), "the two readings are made together");
        assert_eq!(faulty.log(), ["get breaker", "get cache"]);
        ask(&elsewhere, 1).await.unwrap();
        assert_eq!(faulty.log(), [""; 0], "it is in memory now");
    }

    #[tokio::test(start_paused = true)]
    async fn a_miss_costs_two_readings_made_together_a_slot_and_a_write() {
        let (world, faulty) = world();
        faulty.set(Mode::Slow(ms(20)));
        let asking = complete(&world, &Scripted::new("p", live));
        let (answer, took) = timed(&asking, 1).await;
        assert_eq!(told(&answer), Some(("live", Source::Live)));
        assert_eq!(faulty.log(), ["get breaker", "get cache", "update rate", "update cache"]);
        assert_eq!(took, ms(60));
        // Within a snapshot's life the circuit is not read again.
        ask(&asking, 2).await.unwrap();
        assert_eq!(faulty.log(), ["get cache", "update rate", "update cache"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_healthy_provider_writes_nothing_to_the_circuit() {
        let (world, faulty) = world();
        let asking = world.asking(&Scripted::new("p", live), once());
        for number in 0..10 {
            ask(&asking, number).await.unwrap();
            advance(secs(2)).await;
        }
        let log = faulty.log();
        assert!(log.iter().all(|operation| operation == "get breaker"), "{log:?}");
        assert_eq!(log.len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_beyond_the_rate_is_turned_away_without_asking_the_store() {
        let (world, faulty) = world();
        let asking = world.limited(&Scripted::new("p", live), once(), RatePolicy::new(1, secs(60), 1, ms(0)));
        ask(&asking, 1).await.unwrap();
        ask(&asking, 2).await.unwrap_err();
        faulty.log();
        for number in 0..100 {
            assert_eq!(refused(&ask(&asking, number).await), refusal(429, "rate_limited", Some(60)));
        }
        assert_eq!(faulty.log(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_circuit_turns_callers_away_with_one_reading_a_second_and_without_a_slot() {
        let (world, faulty) = world();
        let asking = world.limited(&Scripted::new("p", down), once(), rate());
        for number in 0..5 {
            ask(&asking, number).await.unwrap_err();
        }
        advance(ms(1_200)).await;
        faulty.log();
        for number in 0..100 {
            ask(&asking, number).await.unwrap_err();
        }
        assert_eq!(faulty.log(), ["get breaker"]);
    }
}

mod gone {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_costs_its_limit_once_and_then_nothing_for_a_second() {
        let (world, faulty) = world();
        faulty.set(Mode::Hanging);
        let provider = Scripted::new("p", live);
        let asking = complete(&world, &provider);
        let (answer, took) = timed(&asking, 1).await;
        assert_eq!((told(&answer), took), (Some(("live", Source::Live)), LIMIT));
        faulty.log();
        for number in 2..5 {
            let (answer, took) = timed(&asking, number).await;
            assert_eq!((told(&answer).map(|(text, _)| text), took <= ms(200)), (Some("live"), true));
            assert_eq!(times(&provider, Instant::now() - took).last().copied(), Some(took), "nothing after the call");
        }
        assert_eq!(faulty.log(), [""; 0], "it is left alone");
        advance(secs(1)).await;
        let (answer, took) = timed(&asking, 9).await;
        assert_eq!((told(&answer), took), (Some(("live", Source::Live)), LIMIT), "and asked again after a second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_slower_than_its_limit_is_as_good_as_gone_and_one_within_it_is_not() {
        for (span, operations) in [(LIMIT - ms(1), 4), (LIMIT + ms(1), 2)] {
            let (world, faulty) = world();
            faulty.set(Mode::Slow(span));
            let (answer, took) = timed(&complete(&world, &Scripted::new("p", live)), 1).await;
            assert_eq!(told(&answer), Some(("live", Source::Live)));
            assert_eq!(faulty.log().len(), operations);
            assert_eq!(took, if operations == 4 { 3 * span } else { LIMIT });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_refuses_connections_costs_nothing() {
        let (world, faulty) = world();
        faulty.set(Mode::Unreachable);
        let (answer, took) = timed(&complete(&world, &Scripted::new("p", live)), 1).await;
        assert_eq!((told(&answer), took), (Some(("live", Source::Live)), Duration::ZERO));
        assert_eq!(faulty.log(), ["get breaker"], "one try");
    }

    #[tokio::test(start_paused = true)]
    async fn this_process_still_remembers() {
        let (world, faulty) = world();
        let provider = Scripted::new("p", down);
        provider.then(live());
        let asking = complete(&world, &provider);
        ask(&asking, 1).await.unwrap();
        faulty.set(Mode::Unreachable);
        advance(secs(10)).await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Cached { age: secs(10) })));
        advance(CACHE.fresh).await;
        let stale = Source::Stale { age: CACHE.fresh + secs(10) };
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", stale)), "with provider and store gone at once");
    }

    #[tokio::test(start_paused = true)]
    async fn the_circuit_still_opens_after_five_failures_and_closes_by_one_probe() {
        let (world, faulty) = world();
        faulty.set(Mode::Hanging);
        let provider = Scripted::new("p", live);
        for _ in 0..6 {
            provider.then(down());
        }
        provider.then_after(ms(500), live());
        let asking = Arc::new(world.asking(&provider, once()));
        for number in 0..5 {
            ask(&asking, number).await.unwrap_err();
        }
        // The last failure was on record within the first second of the outage, so at most one limit is in between.
        let opened = *provider.calls().last().unwrap();
        for _ in 0..59 {
            ask(&asking, 7).await.unwrap_err();
            tokio::time::sleep_until(Instant::now() + secs(1) - LIMIT).await;
        }
        assert_eq!(provider.calls().len(), 5, "open for {:?}", opened.elapsed());
        tokio::time::sleep_until(opened + secs(61)).await;
        ask(&asking, 8).await.unwrap_err();
        assert_eq!(provider.calls().len(), 6, "the probe fails");
        tokio::time::sleep_until(opened + secs(120)).await;
        ask(&asking, 8).await.unwrap_err();
        assert_eq!(provider.calls().len(), 6, "and buys another minute");
        tokio::time::sleep_until(opened + secs(122)).await;
        let callers = (0..32).map(|number| {
            let asking = Arc::clone(&asking);
            tokio::spawn(async move { ask(&asking, number).await.is_ok() })
        });
        let answered = join_all(callers.collect::<Vec<_>>()).await;
        assert_eq!((provider.calls().len(), answered.into_iter().filter(|ok| *ok.as_ref().unwrap()).count()), (7, 1));
        assert!(ask(&asking, 9).await.is_ok(), "closed");
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_still_holds() {
        let (world, faulty) = world();
        faulty.set(Mode::Unreachable);
        let provider = Scripted::new("p", live);
        let asking = Arc::new(world.limited(&provider, once(), rate()));
        let began = Instant::now();
        let callers = (0..20).map(|number| {
            let asking = Arc::clone(&asking);
            tokio::spawn(async move { refused(&ask(&asking, number).await) })
        });
        let outcomes: Vec<_> = join_all(callers.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(times(&provider, began), [0, 0, 100, 200, 300, 400, 500].map(ms));
        assert_eq!(outcomes.iter().filter(|one| **one == refusal(429, "rate_limited", Some(1))).count(), 13);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_goes_on_from_what_was_seen_last() {
        let (world, faulty) = world();
        let provider = Scripted::new("p", live);
        let asking = world.limited(&provider, once(), rate());
        let began = Instant::now();
        ask(&asking, 1).await.unwrap();
        ask(&asking, 2).await.unwrap();
        faulty.set(Mode::Unreachable);
        ask(&asking, 3).await.unwrap();
        ask(&asking, 4).await.unwrap();
        assert_eq!(times(&provider, began), [0, 0, 100, 200].map(ms), "losing the store is no second burst");
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_throttles_is_still_left_alone() {
        let (world, faulty) = world();
        faulty.set(Mode::Unreachable);
        let provider = Scripted::new("p", live);
        provider.then(throttled(30));
        let asking = world.limited(&provider, once(), rate());
        ask(&asking, 1).await.unwrap_err();
        advance(ms(29_400)).await;
        assert_eq!(refused(&ask(&asking, 2).await), refusal(429, "rate_limited", Some(1)));
        assert_eq!(provider.calls().len(), 1);
        advance(ms(600)).await;
        assert!(ask(&asking, 3).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_block_seen_before_the_outage_is_waited_for() {
        let (world, faulty) = world();
        let provider = Scripted::new("p", live);
        provider.then(throttled(30));
        let asking = world.limited(&provider, once(), rate());
        let began = Instant::now();
        ask(&asking, 1).await.unwrap_err();
        faulty.set(Mode::Unreachable);
        advance(ms(29_600)).await;
        for number in 2..5 {
            ask(&asking, number).await.unwrap();
        }
        assert_eq!(times(&provider, began), [0, 30_000, 30_000, 30_100].map(ms));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_write_of_an_answer_fails_no_call() {
        for mode in [Mode::Unreachable, Mode::Throttled, Mode::Hanging] {
            let (world, faulty) = world();
            faulty.set_only("update cache", mode);
            let asking = complete(&world, &Scripted::new("p", live));
            let (answer, took) = timed(&asking, 1).await;
            assert_eq!(told(&answer), Some(("live", Source::Live)), "{mode:?}");
            assert_eq!(took, if mode == Mode::Hanging { LIMIT } else { Duration::ZERO });
            assert!(matches!(told(&ask(&asking, 1).await), Some(("live", Source::Cached { .. }))), "{mode:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_by_hand_that_was_not_stored_is_not_reported_as_stored() {
        for operation in ["get manual", "update audit", "update manual"] {
            let (world, faulty) = world();
            faulty.set_only(operation, Mode::Unreachable);
            let asking = complete(&world, &Scripted::new("p", down));
            let entries = asking.manual_entries().unwrap();
            assert!(entries.enter(&Question(1), &Reply("by hand".to_owned()), "kim", secs(60)).await.is_err());
            faulty.set(Mode::Well);
            advance(secs(1)).await;
            assert_eq!(refused(&ask(&asking, 1).await), refusal(503, "provider_unavailable", None), "{operation}");
        }
    }
}

mod throttled {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slot_that_cannot_be_taken_is_a_limit_reached_and_not_an_outage() {
        let (world, faulty) = world();
        faulty.set_only("update rate", Mode::Throttled);
        let provider = Scripted::new("p", live);
        let asking = complete(&world, &provider);
        assert_eq!(refused(&ask(&asking, 1).await), refusal(429, "rate_limited", Some(1)));
        assert_eq!(provider.calls().len(), 0);
        faulty.set(Mode::Well);
        assert!(ask(&asking, 1).await.is_ok(), "a throttled store is not left alone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_circuit_that_cannot_be_read_is_as_it_was() {
        let (world, faulty) = world();
        let provider = Scripted::new("p", live);
        let asking = world.asking(&provider, once());
        fleet_opens(&faulty, &world, 0);
        ask(&asking, 1).await.unwrap_err();
        faulty.set(Mode::Throttled);
        advance(secs(30)).await;
        assert_eq!(refused(&ask(&asking, 2).await), refusal(503, "provider_unavailable", Some(30)));
        assert_eq!(provider.calls().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_block_that_cannot_be_shared_is_kept_here_at_least() {
        let (world, faulty) = world();
        let provider = Scripted::new("p", live);
        provider.then_after(ms(100), throttled(30));
        let asking = world.limited(&provider, once(), rate());
        // The slot is taken in time; only what follows the provider's 429 meets a throttling store.
        let (called, ()) = tokio::join!(ask(&asking, 1), during(ms(50), || faulty.set(Mode::Throttled)));
        called.unwrap_err();
        faulty.set(Mode::Well);
        advance(secs(10)).await;
        assert_eq!(refused(&ask(&asking, 2).await), refusal(429, "rate_limited", Some(20)));
        assert_eq!(provider.calls().len(), 1);
    }
}

mod back_again {
    use super::*;

    /// Attempts that outlast the second for which a failed store is left alone.
    fn patient() -> Policy {
        Policy { timeout: secs(3), ..once() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_fleets_open_circuit_replaces_the_closed_one_here() {
        let (world, faulty) = world();
        let provider = Scripted::new("p", live);
        let asking = world.asking(&provider, once());
        faulty.set(Mode::Unreachable);
        for number in 0..5 {
            assert!(ask(&asking, number).await.is_ok());
        }
        fleet_opens(&faulty, &world, 0);
        faulty.set(Mode::Well);
        advance(ms(1_200)).await;
        assert_eq!(refused(&ask(&asking, 9).await), refusal(503, "provider_unavailable", Some(59)));
        assert_eq!(provider.calls().len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn the_fleets_closed_circuit_replaces_the_open_one_here() {
        let (world, faulty) = world();
        let provider = Scripted::new("p", live);
        for _ in 0..5 {
            provider.then(down());
        }
        let asking = world.asking(&provider, once());
        faulty.set(Mode::Unreachable);
        for number in 0..5 {
            ask(&asking, number).await.unwrap_err();
        }
        assert!(ask(&asking, 6).await.is_err(), "open here");
        faulty.set(Mode::Well);
        advance(ms(1_200)).await;
        assert!(ask(&asking, 7).await.is_ok(), "the fleet knows of no failure");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_returns_during_the_probe_leaves_nobody_locked_out() {
        for outcome in [live, down] {
            let (world, faulty) = world();
            let provider = Scripted::new("p", live);
            for _ in 0..5 {
                provider.then(down());
            }
            provider.then_after(ms(1_500), outcome());
            let asking = world.asking(&provider, patient());
            faulty.set(Mode::Unreachable);
            for number in 0..5 {
                ask(&asking, number).await.unwrap_err();
            }
            advance(secs(60)).await;
            let began = Instant::now();
            let (_, ()) = tokio::join!(ask(&asking, 6), during(ms(100), || faulty.set(Mode::Well)));
            assert_eq!((provider.calls().len(), began.elapsed()), (6, ms(1_500)), "the probe spans the store's return");
            advance(ms(1_200)).await;
            assert!(ask(&asking, 7).await.is_ok(), "the fleet's circuit was closed all along");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_returns_during_an_attempt_brings_the_fleets_circuit_with_the_failure() {
        let (world, faulty) = world();
        let provider = Scripted::new("p", live);
        for _ in 0..4 {
            provider.then(down());
        }
        provider.then_after(ms(1_500), down());
        let asking = world.asking(&provider, patient());
        faulty.set(Mode::Unreachable);
        for number in 0..4 {
            ask(&asking, number).await.unwrap_err();
        }
        advance(ms(1_200)).await;
        fleet_opens(&faulty, &world, 0);
        let (_, ()) = tokio::join!(ask(&asking, 5), during(ms(100), || faulty.set(Mode::Well)));
        assert_eq!(refused(&ask(&asking, 6).await), refusal(503, "provider_unavailable", Some(59)), "the fleet's time");
        assert_eq!(provider.calls().len(), 5);
        advance(secs(60)).await;
        assert!(ask(&asking, 7).await.is_ok(), "and its probe is the fleet's");
    }

    #[tokio::test(start_paused = true)]
    async fn the_fleets_bucket_replaces_the_one_here() {
        let (world, faulty) = world();
        let provider = Scripted::new("p", live);
        let asking = world.limited(&provider, once(), rate());
        faulty.set(Mode::Unreachable);
        ask(&asking, 1).await.unwrap();
        let until = world.clock.now().after(secs(30));
        assert!(matches!(faulty.inner.apply(&Bucket::block("rate#p", until)), Outcome::Applied(_)));
        faulty.set(Mode::Well);
        advance(secs(1)).await;
        assert_eq!(refused(&ask(&asking, 2).await), refusal(429, "rate_limited", Some(29)));
        assert_eq!(provider.calls().len(), 1);
    }
}
