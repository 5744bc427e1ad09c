//! `Integration::call`, rule by rule, over the memory store and providers that follow a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use ieum::integration::{Integration, Setback, Source, Stop, Witness};
use ieum::policy::{Policy, Replay};
use ieum::provider::{Provider, ProviderError};
use ieum::resilience::backoff::Backoff;
use ieum::resilience::rate_limit::RatePolicy;
use ieum::store::Read;
use ieum::telemetry::{LogLevel, METRICS};
use ieum::testing::Scripted;
use tokio::time::{Instant, advance, sleep};

use crate::support::{
    CACHE, Called, FaultyStore, Mode, Outside, Question, Reply, World, ask, down, listen, live, ms, once, refusal,
    refused, reply, secs, throttled, times, told, up_to,
};

/// 10 per second, 2 at once, half a second of patience.
fn ten_per_second() -> Option<RatePolicy> {
    RatePolicy::new(10, secs(1), 5, ms(500))
}

/// One way to fail.
type Fault = fn() -> Outside;

fn rejected() -> Outside {
    Err(ProviderError::Rejected { code: "E1".to_owned() })
}

/// Asks the questions `numbers` at the same time, each in its own task.
async fn ask_at_once(
    integration: &Arc<Integration<Question, Reply>>,
    numbers: impl Iterator<Item = u32>,
) -> Vec<Called> {
    let tasks = numbers.map(|number| {
        let integration = Arc::clone(integration);
        tokio::spawn(async move { ask(&integration, number).await })
    });
    join_all(tasks.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect()
}

/// Takes a while to write an attempt down, now and then, and keeps who was to be asked.
#[derive(Debug, Default)]
struct Clerk {
    pauses: Mutex<VecDeque<Duration>>,
    told: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl Witness for Clerk {
    async fn attempting(&self, provider: &'static str, _: Duration) -> Result<(), Stop> {
        let pause = self.pauses.lock().unwrap().pop_front();
        sleep(pause.unwrap_or_default()).await;
        self.told.lock().unwrap().push(provider);
        Ok(())
    }
}

mod what_is_sent_once {
    use super::*;

    /// Sends to "p", else to "q"; the clerk takes these pauses. Who was asked, and whom the clerk was told of.
    async fn sent(pauses: &[Duration], rate: Option<RatePolicy>) -> (Option<String>, Vec<&'static str>) {
        let (world, first, second) = (World::new(), Scripted::new("p", live), Scripted::new("q", live));
        let sending = world.going(vec![world.way(&first, rate), world.way(&second, None)], once());
        let clerk = Clerk { pauses: Mutex::new(pauses.iter().copied().collect()), ..Clerk::default() };
        let answer = sending.send(&Question(1), Instant::now() + secs(60), &clerk).await;
        (answer.ok().map(|answer| answer.provider), clerk.told.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_lost_while_it_was_written_down_is_no_attempt() {
        // A slot may be used for 250 ms, a reading of the circuit for 1.2 s at most.
        assert_eq!(sent(&[ms(300)], ten_per_second()).await, (Some("p".to_owned()), vec!["p", "p"]));
        assert_eq!(sent(&[ms(1_300)], None).await, (Some("p".to_owned()), vec!["p", "p"]));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_lost_each_time_is_given_up() {
        let slow = [ms(1_300); 3];
        assert_eq!(sent(&slow, None).await, (Some("q".to_owned()), vec!["p", "p", "p", "q"]));
    }
}

mod answers_that_are_remembered {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fresh_one_is_served_with_its_age_and_without_a_call() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let asking = world.asking(&provider, once()).cache(world.cache());
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Live)));
        advance(CACHE.fresh - ms(1)).await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Cached { age: CACHE.fresh - ms(1) })));
        assert_eq!(provider.calls().len(), 1);
        advance(ms(1)).await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Live)), "its time is over");
        assert_eq!(provider.calls().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_one_stands_in_for_a_provider_that_is_down_until_it_is_too_old() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        provider.then(live());
        let asking = world.asking(&provider, once()).cache(world.cache());
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Live)));
        advance(CACHE.fresh).await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Stale { age: CACHE.fresh })));
        assert_eq!(provider.calls().len(), 2, "the provider was asked first");
        advance(CACHE.stale).await;
        assert_eq!(refused(&ask(&asking, 1).await), refusal(503, "provider_unavailable", None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_one_is_still_given_when_a_provider_has_used_up_the_deadline() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then(live()).then_after(secs(60), live());
        let asking = world.asking(&provider, once()).cache(world.cache());
        assert!(ask(&asking, 1).await.is_ok());
        advance(CACHE.fresh).await;
        let began = Instant::now();
        let called = asking.call(&Question(1), began + ms(500)).await;
        assert_eq!(told(&called), Some(("live", Source::Stale { age: CACHE.fresh + ms(500) })));
        assert_eq!(began.elapsed(), ms(500));
    }

    #[tokio::test(start_paused = true)]
    async fn looking_for_a_fresh_one_asks_nobody_and_finds_it_in_any_environment() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let [here, there] = [(); 2].map(|()| world.asking(&provider, once()).cache(world.cache()));
        assert_eq!(here.remembered(&Question(1)).await, None);
        ask(&here, 1).await.unwrap();
        advance(CACHE.fresh - ms(1)).await;
        for environment in [&here, &there] {
            let found = environment.remembered(&Question(1)).await.unwrap();
            assert_eq!((found.value, found.source), (reply("live"), Source::Cached { age: CACHE.fresh - ms(1) }));
        }
        advance(ms(1)).await;
        for environment in [&here, &there, &world.asking(&provider, once())] {
            assert_eq!(environment.remembered(&Question(1)).await, None, "stale, or without a memory");
        }
        assert_eq!(provider.calls().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_is_remembered_briefly_and_never_served_stale() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        provider.then(Ok(reply("unknown")));
        let asking = world.asking(&provider, once()).cache(world.cache());
        assert_eq!(told(&ask(&asking, 1).await), Some(("unknown", Source::Live)));
        advance(CACHE.unknown - ms(1)).await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("unknown", Source::Cached { age: CACHE.unknown - ms(1) })));
        advance(ms(1)).await;
        assert_eq!(refused(&ask(&asking, 1).await), refusal(503, "provider_unavailable", None));
    }

    #[tokio::test(start_paused = true)]
    async fn each_question_has_its_own() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then(Ok(reply("one"))).then(Ok(reply("two")));
        let asking = world.asking(&provider, once()).cache(world.cache());
        for (number, text) in [(1, "one"), (2, "two"), (1, "one"), (2, "two")] {
            assert_eq!(ask(&asking, number).await.unwrap().value, reply(text));
        }
        assert_eq!(provider.calls().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn equal_questions_at_the_same_time_share_one_call() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then_after(ms(300), live());
        let asking = Arc::new(world.asking(&provider, once()).cache(world.cache()));
        let answers = ask_at_once(&asking, [1; 32].into_iter()).await;
        assert!(answers.iter().all(|called| told(called) == Some(("live", Source::Live))));
        assert_eq!(provider.calls().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn equal_questions_share_a_failure_too() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        provider.then_after(ms(300), down());
        let asking = Arc::new(world.asking(&provider, up_to(2)).cache(world.cache()));
        let answers = ask_at_once(&asking, [1; 32].into_iter()).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!(provider.calls().len(), 2, "one call of two attempts");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_leaves_hands_the_call_to_those_who_stay() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then_after(ms(500), Ok(reply("never heard")));
        let asking = world.asking(&provider, once()).cache(world.cache());
        let (gone, stayed) = tokio::join!(tokio::time::timeout(ms(100), ask(&asking, 1)), ask(&asking, 1));
        assert!(gone.is_err());
        assert_eq!(told(&stayed), Some(("live", Source::Live)));
    }
}

mod answers_entered_by_hand {
    use super::*;

    const LONG: Duration = secs(7 * 24 * 3_600);

    async fn enter(asking: &Integration<Question, Reply>, text: &str) {
        asking.manual_entries().unwrap().enter(&Question(1), &reply(text), "kim", LONG).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_answers_when_nothing_else_does_until_it_expires() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        let asking = world.asking(&provider, once()).cache(world.cache()).manual(world.manual());
        assert_eq!(refused(&ask(&asking, 1).await), refusal(503, "provider_unavailable", None));
        enter(&asking, "by hand").await;
        advance(secs(5)).await;
        let answer = ask(&asking, 1).await.unwrap();
        assert_eq!((answer.source, answer.provider.as_str()), (Source::Manual { age: secs(5) }, "manual"));
        assert_eq!(ask(&asking, 2).await.map_err(|_| ()), Err(()), "it answers no other question");
        advance(LONG - secs(5)).await;
        assert!(ask(&asking, 1).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_live_answer_wins_over_one() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let asking = world.asking(&provider, once()).cache(world.cache()).manual(world.manual());
        enter(&asking, "by hand").await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Live)));
        advance(secs(1)).await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Cached { age: secs(1) })));
    }

    #[tokio::test(start_paused = true)]
    async fn one_fills_in_for_a_provider_that_does_not_know() {
        let (world, provider) = (World::new(), Scripted::new("p", || Ok(reply("unknown"))));
        let asking = world.asking(&provider, once()).manual(world.manual());
        assert_eq!(told(&ask(&asking, 1).await), Some(("unknown", Source::Live)));
        enter(&asking, "by hand").await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("by hand", Source::Manual { age: Duration::ZERO })));
    }

    #[tokio::test(start_paused = true)]
    async fn the_newer_of_a_stale_answer_and_a_manual_one_wins() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        provider.then(live());
        let asking = world.asking(&provider, once()).cache(world.cache()).manual(world.manual());
        enter(&asking, "as old").await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Live)));
        advance(CACHE.fresh).await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Stale { age: CACHE.fresh })));
        enter(&asking, "newer").await;
        advance(secs(1)).await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("newer", Source::Manual { age: secs(1) })));
    }

    #[tokio::test(start_paused = true)]
    async fn every_entry_leaves_a_trail() {
        let kept = FaultyStore::new();
        let world = World::over(kept.clone());
        let asking = world.asking(&Scripted::new("p", down), once()).manual(world.manual());
        enter(&asking, "first").await;
        enter(&asking, "second").await;
        let keys = kept.updated();
        let kinds: Vec<&str> = keys.iter().map(|key| key.split('#').next().unwrap()).collect();
        assert_eq!(kinds, ["audit", "manual", "audit", "manual"], "who did it is written before it is done");
        let trail = kept.inner.read(&keys[2]).unwrap();
        assert_eq!((trail.text("who"), trail.text("target")), (Some("kim"), Some("question 1")));
        assert_eq!((trail.text("before"), trail.text("after")), (Some(r#""first""#), Some(r#""second""#)));
    }
}

mod default_answers {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_answers_when_nothing_else_does_and_is_not_remembered() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        for outcome in [down(), throttled(1), down()] {
            provider.then(outcome);
        }
        let asking = world.asking(&provider, once()).cache(world.cache()).default_answer(reply("nothing"));
        let answer = ask(&asking, 1).await.unwrap();
        assert_eq!((answer.source, answer.provider.as_str(), answer.source.age()), (Source::Default, "default", None));
        assert_eq!(told(&ask(&asking, 1).await), Some(("nothing", Source::Default)), "a limit is no answer either");
        advance(secs(1)).await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("nothing", Source::Default)));
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Live)));
    }

    #[tokio::test(start_paused = true)]
    async fn everything_else_comes_before_it() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        provider.then(live());
        let asking = world.asking(&provider, once()).cache(world.cache()).manual(world.manual());
        let asking = asking.default_answer(reply("nothing"));
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Live)));
        advance(CACHE.fresh).await;
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Stale { age: CACHE.fresh })));
        asking.manual_entries().unwrap().enter(&Question(2), &reply("by hand"), "kim", CACHE.fresh).await.unwrap();
        assert_eq!(told(&ask(&asking, 2).await), Some(("by hand", Source::Manual { age: ms(0) })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejection_stays_an_error() {
        let (world, provider) = (World::new(), Scripted::new("p", rejected));
        let asking = world.asking(&provider, once()).default_answer(reply("nothing"));
        assert_eq!(refused(&ask(&asking, 1).await), refusal(502, "provider_rejected", None));
    }
}

mod retries {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn passing_failures_are_tried_again_with_growing_delays_up_to_the_attempts() {
        let faults: [Fault; 3] =
            [|| Err(ProviderError::Timeout), down, || Err(ProviderError::Unreachable("refused".into()))];
        for fault in faults {
            let (world, provider) = (World::new(), Scripted::new("p", fault));
            let policy = Policy { backoff: Backoff::Linear { step: ms(100), max: secs(1) }, ..up_to(4) };
            let began = Instant::now();
            let called = ask(&world.asking(&provider, policy), 1).await;
            assert_eq!(refused(&called), refusal(503, "provider_unavailable", None));
            assert_eq!(times(&provider, began), [ms(0), ms(100), ms(300), ms(600)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_success_ends_them() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then(down()).then(Err(ProviderError::Timeout));
        assert_eq!(told(&ask(&world.asking(&provider, up_to(4)), 1).await), Some(("live", Source::Live)));
        assert_eq!(provider.calls().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn full_jitter_stays_below_the_cap_of_each_attempt() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        let policy = Policy { backoff: Backoff::Exponential { base: ms(100), max: ms(150) }, ..up_to(4) };
        let began = Instant::now();
        ask(&world.asking(&provider, policy), 1).await.unwrap_err();
        let at = times(&provider, began);
        let gaps: Vec<Duration> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // A timer fires at the next whole millisecond.
        assert!(gaps[0] <= ms(101) && gaps[1] <= ms(151) && gaps[2] <= ms(151), "{gaps:?}");
        assert_ne!(at.last(), Some(&Duration::ZERO), "three draws of nothing are no jitter");
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_attempt_cannot_mend_gets_none() {
        let faults: [(Fault, u16, &str); 4] = [
            (rejected, 502, "provider_rejected"),
            (|| Err(ProviderError::Unauthorized), 503, "provider_unavailable"),
            (|| Err(ProviderError::Malformed("not JSON".into())), 503, "provider_unavailable"),
            (|| Err(ProviderError::Unavailable { status: 501 }), 503, "provider_unavailable"),
        ];
        for (fault, status, code) in faults {
            let (world, provider) = (World::new(), Scripted::new("p", fault));
            let called = ask(&world.asking(&provider, up_to(4)), 1).await;
            assert_eq!(refused(&called), refusal(status, code, None));
            assert_eq!(provider.calls().len(), 1, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn replaced_credentials_are_tried_at_once() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then(Err(ProviderError::CredentialsReplaced));
        let began = Instant::now();
        assert_eq!(told(&ask(&world.asking(&provider, up_to(2)), 1).await), Some(("live", Source::Live)));
        assert_eq!(times(&provider, began), [ms(0), ms(0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_happened_is_repeated_only_if_that_does_no_harm() {
        for (replay, calls) in [(Replay::Safe, 2), (Replay::WithKey, 2), (Replay::Never, 1)] {
            let (world, provider) = (World::new(), Scripted::new("p", live));
            provider.then(Err(ProviderError::Ambiguous("reset".into())));
            let called = ask(&world.asking(&provider, Policy { replay, ..up_to(4) }), 1).await;
            assert_eq!(provider.calls().len(), calls, "{replay:?}");
            assert_eq!(called.is_ok(), replay != Replay::Never, "{replay:?}");
        }
    }
}

mod time {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_attempt_has_its_limit_and_the_whole_call_another() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        for _ in 0..4 {
            provider.then_after(secs(60), live());
        }
        let policy = Policy { deadline: ms(2_500), backoff: Backoff::Fixed(ms(200)), ..up_to(4) };
        let began = Instant::now();
        ask(&world.asking(&provider, policy), 1).await.unwrap_err();
        assert_eq!(times(&provider, began), [ms(0), ms(1_200), ms(2_400)]);
        assert_eq!(began.elapsed(), ms(2_500));
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_deadline_counts_when_it_is_nearer() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then_after(secs(60), live());
        let asking = world.asking(&provider, up_to(4));
        let began = Instant::now();
        assert!(asking.call(&Question(1), began + ms(300)).await.is_err());
        assert_eq!((began.elapsed(), provider.calls().len()), (ms(300), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn no_delay_crosses_the_deadline() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        let policy = Policy { backoff: Backoff::Fixed(secs(3)), deadline: secs(3), ..up_to(4) };
        let began = Instant::now();
        assert!(ask(&world.asking(&provider, policy), 1).await.is_err());
        assert_eq!((began.elapsed(), provider.calls().len()), (Duration::ZERO, 1), "the caller is told at once");
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_for_a_slot_crosses_the_deadline() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let asking = world.limited(&provider, once(), RatePolicy::new(1, secs(10), 1, secs(60)));
        assert!(ask(&asking, 1).await.is_ok());
        let began = Instant::now();
        let called = asking.call(&Question(2), began + secs(9)).await;
        assert_eq!(refused(&called), refusal(429, "rate_limited", Some(10)));
        assert_eq!((began.elapsed(), provider.calls().len()), (Duration::ZERO, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_has_passed_makes_no_call() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let error = world.asking(&provider, once()).call(&Question(1), Instant::now()).await.unwrap_err();
        assert!(matches!(error.setbacks(), [("p", Setback::OutOfTime)]));
        assert_eq!(provider.calls().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_in_a_hurry_do_not_open_the_circuit() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        for _ in 0..10 {
            provider.then_after(ms(600), live());
        }
        let asking = world.asking(&provider, once());
        for _ in 0..10 {
            assert!(asking.call(&Question(1), Instant::now() + ms(400)).await.is_err());
        }
        assert!(ask(&asking, 1).await.is_ok());
        assert_eq!(provider.calls().len(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_after_half_the_time_allowed_counts_against_a_provider() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        for _ in 0..5 {
            provider.then_after(ms(600), live());
        }
        let asking = world.asking(&provider, once());
        for _ in 0..5 {
            assert!(asking.call(&Question(1), Instant::now() + ms(500)).await.is_err());
        }
        assert!(ask(&asking, 1).await.is_err());
        assert_eq!(provider.calls().len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_shares_a_trip_goes_by_its_own_deadline() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then_after(ms(900), live());
        let asking = world.asking(&provider, once()).cache(world.cache());
        let began = Instant::now();
        let hurried = async {
            tokio::task::yield_now().await;
            let called = asking.call(&Question(1), began + ms(100)).await;
            (called.is_err(), began.elapsed() < ms(400))
        };
        let (patient, hurried) = tokio::join!(ask(&asking, 1), hurried);
        assert!(patient.is_ok());
        assert_eq!((hurried, provider.calls().len()), ((true, true), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_of_what_must_not_happen_twice_is_ambiguous() {
        let (world, first, second) = (World::new(), Scripted::new("first", live), Scripted::new("second", live));
        first.then_after(secs(60), live());
        let ways = vec![world.way(&first, None), world.way(&second, None)];
        let asking = world.going(ways, Policy { replay: Replay::Never, ..up_to(4) });
        let error = ask(&asking, 1).await.unwrap_err();
        assert!(matches!(error.setbacks(), [("first", Setback::Failed(ProviderError::Ambiguous(_)))]));
        assert_eq!((first.calls().len(), second.calls().len()), (1, 0));
    }
}

mod failover {
    use super::*;

    fn two(
        world: &World,
        first: &Scripted<Reply>,
        second: &Scripted<Reply>,
        policy: Policy,
    ) -> Integration<Question, Reply> {
        world.going(vec![world.way(first, None), world.way(second, None)], policy).cache(world.cache())
    }

    #[tokio::test(start_paused = true)]
    async fn providers_are_asked_in_order_and_each_has_all_its_attempts() {
        let (world, first, second) = (World::new(), Scripted::new("first", down), Scripted::new("second", live));
        second.then(down());
        let began = Instant::now();
        let answer = ask(&two(&world, &first, &second, up_to(2)), 1).await.unwrap();
        assert_eq!((answer.provider.as_str(), answer.source), ("second", Source::Live));
        assert_eq!(times(&first, began), [ms(0), ms(100)]);
        assert_eq!(times(&second, began), [ms(100), ms(200)]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_else_is_asked_when_the_first_answers() {
        let (world, first, second) = (World::new(), Scripted::new("first", live), Scripted::new("second", live));
        assert_eq!(ask(&two(&world, &first, &second, once()), 1).await.unwrap().provider, "first");
        assert_eq!(second.calls().len(), 0);
    }

    /// Serves even numbers only.
    struct Even(Scripted<Reply>);

    #[async_trait]
    impl Provider<Question, Reply> for Even {
        fn name(&self) -> &'static str {
            "even"
        }

        fn serves(&self, question: &Question) -> bool {
            question.0.is_multiple_of(2)
        }

        async fn call(&self, question: &Question) -> Result<Reply, ProviderError> {
            self.0.call(question).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_cannot_serve_a_request_is_passed_over_without_an_attempt() {
        let (world, even, second) = (World::new(), Scripted::new("even", live), Scripted::new("second", live));
        let mut ways = vec![world.way(&even, None), world.way(&second, None)];
        ways[0].provider = Box::new(Even(even.clone()));
        let asking = world.going(ways, once());
        assert_eq!(ask(&asking, 1).await.unwrap().provider, "second");
        assert_eq!((even.calls().len(), ask(&asking, 2).await.unwrap().provider.as_str()), (0, "even"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_stand_in_answers_is_not_remembered() {
        let (world, first, second) = (World::new(), Scripted::new("first", live), Scripted::new("second", live));
        first.then(down());
        let asking = two(&world, &first, &second, once());
        assert_eq!(ask(&asking, 1).await.unwrap().provider, "second");
        let again = ask(&asking, 1).await.unwrap();
        assert_eq!((again.provider.as_str(), again.source), ("first", Source::Live));
    }

    #[tokio::test(start_paused = true)]
    async fn broken_credentials_or_answers_of_the_first_are_covered_by_the_second() {
        let faults: [Fault; 2] = [|| Err(ProviderError::Unauthorized), || Err(ProviderError::Malformed("html".into()))];
        for fault in faults {
            let (world, first, second) = (World::new(), Scripted::new("first", fault), Scripted::new("second", live));
            assert_eq!(ask(&two(&world, &first, &second, up_to(4)), 1).await.unwrap().provider, "second");
            assert_eq!(first.calls().len(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_rejection_nobody_and_nothing_stands_in() {
        let (world, first, second) = (World::new(), Scripted::new("first", rejected), Scripted::new("second", live));
        first.then(live());
        let asking = two(&world, &first, &second, once()).manual(world.manual());
        assert!(ask(&asking, 1).await.is_ok());
        asking.manual_entries().unwrap().enter(&Question(1), &reply("by hand"), "kim", 2 * CACHE.fresh).await.unwrap();
        advance(CACHE.fresh).await;
        assert_eq!(refused(&ask(&asking, 1).await), refusal(502, "provider_rejected", None));
        assert_eq!(second.calls().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_circuit_is_skipped_without_a_call() {
        let (world, first, second) = (World::new(), Scripted::new("first", down), Scripted::new("second", live));
        let asking = two(&world, &first, &second, once());
        for number in 0..9 {
            assert_eq!(ask(&asking, number).await.unwrap().provider, "second");
        }
        assert_eq!((first.calls().len(), second.calls().len()), (5, 9));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_bucket_is_skipped_without_a_call() {
        let (world, first, second) = (World::new(), Scripted::new("first", live), Scripted::new("second", live));
        let rate = RatePolicy::new(1, secs(60), 1, ms(500));
        let asking = world.going(vec![world.way(&first, rate), world.way(&second, None)], once());
        assert_eq!(ask(&asking, 1).await.unwrap().provider, "first");
        assert_eq!(ask(&asking, 2).await.unwrap().provider, "second");
        assert_eq!(first.calls().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_error_tells_what_became_of_each_and_when_the_earliest_is_back() {
        let (world, first, second) =
            (World::new(), Scripted::new("first", down), Scripted::new("second", || throttled(30)));
        let asking = two(&world, &first, &second, once());
        for number in 0..5 {
            assert_eq!(refused(&ask(&asking, number).await), refusal(503, "provider_unavailable", Some(30)));
        }
        let error = ask(&asking, 9).await.unwrap_err();
        let told: Vec<&str> = error.setbacks().iter().map(|(provider, _)| *provider).collect();
        assert_eq!(told, ["first", "second"]);
        assert!(error.to_string().contains("first: circuit open until 2026-11-21T03:51:00Z"), "{error}");
    }
}

mod circuit {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_stop_all_calls_for_a_minute_then_one_probe_of_many_callers_closes_it() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        for _ in 0..5 {
            provider.then(down());
        }
        provider.then_after(ms(500), live());
        let asking = Arc::new(world.asking(&provider, once()));
        for number in 0..5 {
            assert_eq!(refused(&ask(&asking, number).await), refusal(503, "provider_unavailable", None));
        }
        for left in (1..=60).rev() {
            assert_eq!(refused(&ask(&asking, left).await), refusal(503, "provider_unavailable", Some(left.into())));
            advance(secs(1) - ms(1)).await;
            assert!(ask(&asking, left).await.is_err());
            advance(ms(1)).await;
        }
        assert_eq!(provider.calls().len(), 5, "nobody got through");
        let answers = ask_at_once(&asking, 0..32).await;
        assert_eq!(provider.calls().len(), 6, "one probe");
        assert_eq!(answers.iter().filter(|called| called.is_ok()).count(), 1);
        let answers = ask_at_once(&asking, 0..32).await;
        assert!(answers.iter().all(Result::is_ok), "closed");
        assert_eq!(provider.calls().len(), 6 + 32);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_is_not_repeated_and_buys_another_minute() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        for _ in 0..6 {
            provider.then(down());
        }
        let asking = Arc::new(world.asking(&provider, up_to(4)));
        let opened = Instant::now();
        ask(&asking, 1).await.unwrap_err();
        ask(&asking, 2).await.unwrap_err();
        assert_eq!(provider.calls().len(), 5, "the sixth attempt met an open circuit");
        advance(secs(60)).await;
        assert!(ask(&asking, 3).await.is_err());
        assert_eq!(provider.calls().len(), 6, "the policy would allow three retries, a probe has none");
        let reopened = *provider.calls().last().unwrap();
        assert!(reopened.duration_since(opened) >= secs(60));
        advance(secs(60) - ms(1)).await;
        assert!(ask_at_once(&asking, 0..8).await.iter().all(Result::is_err));
        assert_eq!(provider.calls().len(), 6);
        advance(ms(1)).await;
        assert!(ask(&asking, 4).await.is_ok());
        assert!(ask(&asking, 5).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_abandoned_frees_its_place_after_its_lease() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        for _ in 0..5 {
            provider.then(down());
        }
        provider.then_after(ms(900), live());
        let asking = world.asking(&provider, once());
        for number in 0..5 {
            ask(&asking, number).await.unwrap_err();
        }
        advance(secs(60)).await;
        assert!(tokio::time::timeout(ms(500), ask(&asking, 1)).await.is_err(), "the prober is gone");
        advance(ms(2_499)).await;
        assert!(ask(&asking, 2).await.is_err(), "a second of timeout and two more are not over");
        assert_eq!(provider.calls().len(), 6);
        advance(ms(1)).await;
        assert!(ask(&asking, 3).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_in_between_begins_the_count_anew() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        let asking = world.asking(&provider, once());
        for _ in 0..4 {
            for _ in 0..4 {
                provider.then(down());
            }
            provider.then(live());
        }
        for _ in 0..4 {
            for number in 0..4 {
                assert!(ask(&asking, number).await.is_err());
            }
            assert!(ask(&asking, 9).await.is_ok());
            advance(secs(2)).await;
        }
        assert_eq!(provider.calls().len(), 20, "never open");
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_and_senseless_answers_open_nothing() {
        let faults: [Fault; 3] = [
            rejected,
            || Err(ProviderError::Unauthorized),
            || Err(ProviderError::Malformed("about one record only".into())),
        ];
        for fault in faults {
            let (world, provider) = (World::new(), Scripted::new("p", fault));
            let asking = world.asking(&provider, once());
            for number in 0..20 {
                assert!(ask(&asking, number).await.is_err());
            }
            assert_eq!(provider.calls().len(), 20);
        }
    }
}

mod rate {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_throttled_provider_is_left_alone_by_everybody_for_as_long_as_it_asked() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then(throttled(30));
        let asking = world.limited(&provider, up_to(4), ten_per_second());
        let elsewhere = world.limited(&provider, up_to(4), ten_per_second());
        let began = Instant::now();
        assert_eq!(refused(&ask(&asking, 1).await), refusal(429, "rate_limited", Some(30)), "30 s do not fit in 10");
        assert_eq!(began.elapsed(), Duration::ZERO);
        for (after, left) in [(0, 30), (10, 20), (19, 1)] {
            advance(secs(after)).await;
            assert_eq!(refused(&ask(&asking, 2).await), refusal(429, "rate_limited", Some(left)));
            assert_eq!(refused(&ask(&elsewhere, 3).await), refusal(429, "rate_limited", Some(left)));
        }
        assert_eq!(provider.calls().len(), 1);
        advance(secs(1)).await;
        assert!(ask(&elsewhere, 4).await.is_ok());
        assert!(ask(&asking, 5).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_call_is_repeated_when_the_time_asked_for_fits_the_deadline() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then(throttled(2));
        let began = Instant::now();
        let asking = world.limited(&provider, up_to(2), ten_per_second());
        assert_eq!(told(&ask(&asking, 1).await), Some(("live", Source::Live)));
        assert_eq!(times(&provider, began), [ms(0), secs(2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_opens_nothing_however_often() {
        let (world, provider) = (World::new(), Scripted::new("p", || throttled(1)));
        let asking = world.limited(&provider, once(), ten_per_second());
        for number in 0..20 {
            assert_eq!(refused(&ask(&asking, number).await), refusal(429, "rate_limited", Some(1)));
            advance(secs(1)).await;
        }
        assert_eq!(provider.calls().len(), 20);
        assert_eq!(world.store.get("breaker#p", Read::Consistent).await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_without_a_limit_of_ours_is_left_alone_when_it_asks_for_it() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then(throttled(30));
        let asking = world.asking(&provider, once());
        assert_eq!(refused(&ask(&asking, 1).await), refusal(429, "rate_limited", Some(30)));
        assert_eq!(refused(&ask(&asking, 2).await), refusal(429, "rate_limited", Some(30)));
        assert_eq!(provider.calls().len(), 1);
        advance(secs(30)).await;
        assert!(ask(&asking, 3).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_left_alone_for_longer_than_an_hour() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then(throttled(365 * 24 * 3_600));
        let asking = world.limited(&provider, once(), ten_per_second());
        assert!(ask(&asking, 1).await.is_err());
        advance(secs(3_600)).await;
        assert!(ask(&asking, 2).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_without_a_slot_does_not_make_an_outage_a_matter_of_pace() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        let asking = world.limited(&provider, up_to(4), RatePolicy::new(1, secs(10), 1, Duration::ZERO));
        let refused = refused(&ask(&asking, 1).await).map(|(status, code, _)| (status, code));
        assert_eq!(refused, Some((503, "provider_unavailable".to_owned())));
        assert_eq!(provider.calls().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_without_a_time_means_a_second() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then(Err(ProviderError::Throttled { retry_after: None }));
        let asking = world.limited(&provider, once(), ten_per_second());
        assert_eq!(refused(&ask(&asking, 1).await), refusal(429, "rate_limited", Some(1)));
        advance(ms(400)).await;
        assert_eq!(refused(&ask(&asking, 2).await), refusal(429, "rate_limited", Some(1)), "600 ms are too long");
        advance(ms(100)).await;
        let began = Instant::now();
        assert!(ask(&asking, 3).await.is_ok());
        assert_eq!(began.elapsed(), ms(500), "half a second may be waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_leaves_at_once_then_at_the_rate_and_whoever_would_wait_too_long_is_told_when_to_return() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let asking = Arc::new(world.limited(&provider, once(), ten_per_second()));
        let began = Instant::now();
        let answers = ask_at_once(&asking, 0..20).await;
        assert_eq!(times(&provider, began), [0, 0, 100, 200, 300, 400, 500].map(ms));
        let limited: Vec<_> = answers.iter().filter_map(refused).collect();
        assert_eq!(limited.len(), 13);
        assert!(limited.into_iter().all(|one| Some(one) == refusal(429, "rate_limited", Some(1))));
    }

    #[tokio::test(start_paused = true)]
    async fn every_attempt_takes_a_slot() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        let policy = Policy { backoff: Backoff::Fixed(Duration::ZERO), ..up_to(4) };
        let began = Instant::now();
        ask(&world.limited(&provider, policy, ten_per_second()), 1).await.unwrap_err();
        assert_eq!(times(&provider, began), [0, 0, 100, 200].map(ms));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_for_its_slot_meets_the_block_that_came_meanwhile() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then_after(ms(50), live()).then_after(ms(50), throttled(30));
        let asking = Arc::new(world.limited(&provider, once(), ten_per_second()));
        let answers = ask_at_once(&asking, 0..5).await;
        assert_eq!(provider.calls().len(), 2, "three were waiting when the second was told off");
        assert_eq!(answers.iter().filter(|called| called.is_ok()).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_block_that_came_meanwhile_is_waited_for() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then(live()).then_after(ms(50), Err(ProviderError::Throttled { retry_after: Some(ms(200)) }));
        let asking = Arc::new(world.limited(&provider, once(), ten_per_second()));
        let began = Instant::now();
        let answers = ask_at_once(&asking, 0..3).await;
        assert_eq!(times(&provider, began), [0, 0, 250].map(ms), "the third had its slot at 100 ms");
        assert_eq!(answers.iter().filter(|called| called.is_ok()).count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_for_its_slot_meets_the_circuit_that_opened_meanwhile() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        let asking = Arc::new(world.limited(&provider, once(), RatePolicy::new(10, secs(1), 5, secs(5))));
        let answers = ask_at_once(&asking, 0..20).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!(provider.calls().len(), 5, "the other fifteen held slots and did not use them");
    }
}

mod environments {
    //! Two integrations over one store are two environments of one fleet: each has its own gate and its own memory.

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn share_what_they_remember() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let [here, there] = [(); 2].map(|()| world.asking(&provider, once()).cache(world.cache()));
        assert_eq!(told(&ask(&here, 1).await), Some(("live", Source::Live)));
        advance(secs(3)).await;
        assert_eq!(told(&ask(&there, 1).await), Some(("live", Source::Cached { age: secs(3) })));
        assert_eq!(provider.calls().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn share_the_circuit_and_its_one_probe() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        for _ in 0..5 {
            provider.then(down());
        }
        provider.then_after(ms(500), live());
        let [here, there] = [(); 2].map(|()| Arc::new(world.asking(&provider, once())));
        for number in 0..5 {
            ask(&here, number).await.unwrap_err();
        }
        assert!(ask(&there, 1).await.is_err(), "open there too");
        assert_eq!(provider.calls().len(), 5);
        advance(secs(60)).await;
        let (left, right) = tokio::join!(ask_at_once(&here, 0..16), ask_at_once(&there, 0..16));
        assert_eq!(provider.calls().len(), 6, "one probe in both");
        assert_eq!(left.iter().chain(&right).filter(|called| called.is_ok()).count(), 1);
        advance(ms(1_200)).await;
        assert!(ask(&here, 2).await.is_ok() && ask(&there, 2).await.is_ok(), "closed in both within a snapshot's life");
    }

    #[tokio::test(start_paused = true)]
    async fn that_read_the_circuit_at_the_same_time_still_send_one_probe() {
        let (store, provider) = (FaultyStore::new(), Scripted::new("p", live));
        let world = World::over(store.clone());
        for _ in 0..5 {
            provider.then(down());
        }
        let [here, there] = [(); 2].map(|()| Arc::new(world.asking(&provider, once())));
        for number in 0..5 {
            ask(&here, number).await.unwrap_err();
        }
        advance(secs(60)).await;
        store.set(Mode::Slow(ms(5)));
        let (left, right) = tokio::join!(ask_at_once(&here, 0..16), ask_at_once(&there, 0..16));
        assert_eq!(provider.calls().len(), 6, "all found it half-open, one claim was granted");
        assert_eq!(left.iter().chain(&right).filter(|called| called.is_ok()).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn look_at_the_circuit_again_after_a_wait() {
        let (world, provider, other) = (World::new(), Scripted::new("p", live), Scripted::new("p", down));
        let here = world.limited(&provider, once(), RatePolicy::new(1, secs(3), 1, secs(5)));
        let there = world.asking(&other, once());
        ask(&here, 1).await.unwrap();
        let (waited, ()) = tokio::join!(ask(&here, 2), async {
            tokio::time::sleep(secs(1)).await;
            for number in 0..5 {
                ask(&there, number).await.unwrap_err();
            }
        });
        assert_eq!(refused(&waited), refusal(503, "provider_unavailable", Some(58)));
        assert_eq!(provider.calls().len(), 1, "the slot was there, the circuit was not");
    }

    #[tokio::test(start_paused = true)]
    async fn count_their_failures_together_once_the_streak_is_a_second_old() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        let [here, there] = [(); 2].map(|()| world.asking(&provider, once()));
        for number in 0..4 {
            ask(&here, number).await.unwrap_err();
        }
        ask(&there, 1).await.unwrap_err();
        advance(ms(1_200)).await;
        ask(&there, 2).await.unwrap_err();
        assert_eq!(provider.calls().len(), 6, "five failures, but not a second of them: neither saw five itself");
        assert!(ask(&there, 3).await.is_err());
        advance(ms(1_200)).await;
        assert!(ask(&here, 3).await.is_err());
        assert_eq!(provider.calls().len(), 6, "the sixth came after a second");
    }

    #[tokio::test(start_paused = true)]
    async fn do_not_count_an_outage_again_that_another_has_ended() {
        let world = World::new();
        let (a, b) = (Scripted::new("p", down), Scripted::new("p", down));
        let (first, second) = (world.asking(&a, once()), world.asking(&b, once()));
        for _ in 0..4 {
            assert!(ask(&first, 1).await.is_err() && ask(&second, 1).await.is_err());
        }
        assert!(ask(&second, 1).await.is_err(), "its fifth in a row opens the circuit");
        advance(secs(60)).await;
        b.then(live()).then(live());
        assert!(ask(&second, 1).await.is_ok(), "its probe closes it");
        advance(secs(2)).await;
        let before = a.calls().len();
        assert!(ask(&first, 1).await.is_err());
        assert_eq!(a.calls().len(), before + 1, "the first one was let through and failed once");
        assert!(ask(&second, 1).await.is_ok(), "one failure after an outage is no outage");
    }

    #[tokio::test(start_paused = true)]
    async fn share_the_rate() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let [here, there] = [(); 2].map(|()| Arc::new(world.limited(&provider, once(), ten_per_second())));
        let began = Instant::now();
        let (left, right) = tokio::join!(ask_at_once(&here, 0..10), ask_at_once(&there, 0..10));
        assert_eq!(times(&provider, began), [0, 0, 100, 200, 300, 400, 500].map(ms));
        assert_eq!(left.iter().chain(&right).filter(|called| called.is_ok()).count(), 7);
    }
}

mod on_the_record {
    use super::*;

    #[test]
    fn each_source_has_a_name_and_all_but_a_live_one_an_age() {
        let age = secs(5);
        let sources = [Source::Live, Source::Cached { age }, Source::Stale { age }, Source::Manual { age }];
        assert_eq!(sources.map(Source::label), ["live", "cached", "stale", "manual"]);
        assert_eq!(sources.map(Source::age), [None, Some(age), Some(age), Some(age)]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_and_each_refusal_is_one_line_that_counts_what_became_of_the_call() {
        let (captured, _guard) = listen(LogLevel::Info);
        let (world, provider) = (World::new(), Scripted::new("p", down));
        provider.then_after(ms(70), live());
        let asking = world.asking(&provider, once()).cache(world.cache()).manual(world.manual());
        for _ in 0..2 {
            ask(&asking, 1).await.unwrap();
        }
        advance(CACHE.fresh).await;
        ask(&asking, 1).await.unwrap();
        asking.manual_entries().unwrap().enter(&Question(2), &reply("by hand"), "kim", secs(60)).await.unwrap();
        ask(&asking, 2).await.unwrap();
        for number in 3..=6 {
            ask(&asking, number).await.unwrap_err();
        }
        let limited = world.limited(&Scripted::new("q", live), once(), RatePolicy::new(1, secs(60), 1, ms(0)));
        ask(&limited, 1).await.unwrap();
        ask(&limited, 2).await.unwrap_err();

        let told =
            captured.lines().into_iter().filter(|line| line["message"] == "answer" || line["message"] == "refused");
        let told = told.map(|line| {
            let words = ["message", "source", "answer_ms"].into_iter().filter_map(|name| line.get(name));
            let words = words.map(|word| word.to_string().replace('"', ""));
            let counted = |(name, unit): &&(&str, &str)| *unit == "Count" && line.get(*name) == Some(&1.into());
            let counts = METRICS.iter().filter(counted).map(|(name, _)| (*name).to_owned());
            words.chain(counts).collect::<Vec<_>>().join(" ")
        });
        let told: Vec<String> = told.collect();
        let expected = [
            "answer live 70 cache_miss",
            "answer cached 0 cache_hit",
            "answer stale 0 cache_stale",
            "answer manual 0 manual",
            "answer none 0 unanswered",
            "answer none 0 unanswered",
            "answer none 0 unanswered",
            "refused circuit_open",
            "answer none 0 unanswered",
            "answer live 0 cache_miss",
            "refused limited",
            "answer none 0 unanswered",
        ];
        assert_eq!(told, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn each_attempt_is_one_line_with_its_number_its_time_and_its_outcome() {
        let (captured, _guard) = listen(LogLevel::Info);
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then_after(ms(30), down());
        ask(&world.asking(&provider, up_to(2)), 1).await.unwrap();
        let lines = captured.lines().into_iter().filter(|line| line["message"] == "api_call");
        let fields = ["integration", "provider", "endpoint", "attempt", "status", "success", "failure", "duration_ms"];
        let told: Vec<_> = lines.map(|line| fields.map(|field| line[field].to_string().replace('"', ""))).collect();
        let expected =
            [["test", "p", "ask", "1", "unavailable", "0", "1", "30"], ["test", "p", "ask", "2", "ok", "1", "0", "0"]];
        assert_eq!(told, expected);
    }
}
