//! Settings that change under running environments, and answers declared void: two environments over one store.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ieum::error::{ApiError, Language};
use ieum::gate::Gate;
use ieum::integration::{Integration, Source, Way};
use ieum::provider::{Provider, ProviderError};
use ieum::resilience::circuit_breaker::BreakerPolicy;
use ieum::resilience::invalidation::Target;
use ieum::resilience::rate_limit::RatePolicy;
use ieum::secrets::{ExposeSecret, Secret, SecretError, SecretName, SecretShape, SecretSource, SecretString};
use ieum::settings::{ChangeError, Editor, LOG_LEVEL, Schema, Settings, Stored};
use ieum::store::{Action, BoundedStore, Outcome, Store, Update};
use ieum::telemetry::{LevelSwitch, LogLevel};
use ieum::testing::Scripted;
use serde::Deserialize;
use tokio::time::{Instant, advance};

use crate::support::{
    CACHE, FaultyStore, Mode, Question, Reply, World, ask, down, listen, live, ms, once, reply, secs, told, up_to,
};

fn schema() -> Schema {
    Schema::new("test", &["p", "q"])
}

/// One environment: an integration with everything, whose numbers follow the settings.
struct Environment {
    asking: Integration<Question, Reply>,
    levels: LevelSwitch,
}

/// Ten per second, five at once.
fn rate() -> Option<RatePolicy> {
    RatePolicy::new(10, secs(1), 5, ms(500))
}

impl Environment {
    fn over(world: &World, providers: &[&Scripted<Reply>]) -> Self {
        let (store, clock) = (|| Arc::clone(&world.store), || Arc::clone(&world.clock));
        let levels = LevelSwitch::new(LogLevel::Info);
        let settings = Settings::new(schema(), None, store(), clock(), levels.clone());
        let way = |provider: &&Scripted<Reply>| {
            let name = Provider::<Question, Reply>::name(*provider);
            let breaker = settings.live("test", BreakerPolicy::default());
            let gate = Gate::new(name, breaker, settings.live(name, rate()), store(), clock());
            Way { provider: Box::new((*provider).clone()), gate: Arc::new(gate) }
        };
        let ways = providers.iter().map(way).collect();
        let policy = settings.live("test", up_to(2));
        let asking =
            Integration::new("test", "ask", policy, ways, clock()).cache(world.cache_of(settings.live("test", CACHE)));
        Self { asking, levels }
    }
}

fn editor(world: &World) -> Editor {
    Editor::new(schema(), Arc::clone(&world.store), Arc::clone(&world.clock))
}

/// Sets each of `pairs`, whatever the version.
async fn set(world: &World, pairs: &[(&str, &str)]) -> Stored {
    let editor = editor(world);
    let version = editor.read().await.unwrap().version;
    let changes = pairs.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
    editor.change("key:ops", version, changes).await.unwrap()
}

async fn invalidate(world: &World, pattern: &str) {
    editor(world).invalidate("key:ops", Target::Pattern(pattern.to_owned())).await.unwrap();
}

/// Two environments that have read the settings just now, and asked the first question.
async fn fleet(world: &World, provider: &Scripted<Reply>) -> [Environment; 2] {
    let fleet = [(); 2].map(|()| Environment::over(world, &[provider]));
    for environment in &fleet {
        ask(&environment.asking, 1).await.unwrap();
    }
    fleet
}

mod invalidation {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rule_acts_on_every_environment_within_a_minute_in_memory_and_in_the_table() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let fleet = fleet(&world, &provider).await;
        for environment in &fleet {
            ask(&environment.asking, 2).await.unwrap();
        }
        assert_eq!(provider.calls().len(), 2, "the second environment found them in the table");
        invalidate(&world, "question 1").await;
        advance(secs(59)).await;
        assert_eq!(told(&ask(&fleet[0].asking, 1).await), Some(("live", Source::Live)));
        let age = secs(0);
        assert_eq!(told(&ask(&fleet[1].asking, 1).await), Some(("live", Source::Cached { age })), "the new one");
        for environment in &fleet {
            let age = secs(59);
            assert_eq!(told(&ask(&environment.asking, 2).await), Some(("live", Source::Cached { age })), "not meant");
        }
        assert_eq!(provider.calls().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_environment_that_serves_from_memory_alone_hears_of_it_too() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let [busy, _] = fleet(&world, &provider).await;
        invalidate(&world, "*").await;
        let began = Instant::now();
        while matches!(told(&ask(&busy.asking, 1).await), Some((_, Source::Cached { .. }))) {
            advance(secs(1)).await;
            assert!(began.elapsed() <= secs(60), "still served from memory");
        }
        assert_eq!(provider.calls().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_void_answer_does_not_stand_in_for_a_provider_that_is_down() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        provider.then(live());
        let [here, there] = fleet(&world, &provider).await;
        let key = format!("cache#ask#{}", key_of_question_1(&world));
        editor(&world).invalidate("key:ops", Target::Key(key)).await.unwrap();
        advance(CACHE.fresh).await;
        for environment in [here, there] {
            assert!(ask(&environment.asking, 1).await.is_err());
        }
    }

    /// The name of the only answer in the table.
    fn key_of_question_1(world: &World) -> String {
        world.cache().key(&Question(1)).rsplit('#').next().unwrap().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_under_way_is_void_when_it_arrives_and_nobody_new_shares_its_trip() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        provider.then(Ok(reply("first")));
        let [here, _there] = fleet(&world, &provider).await;
        advance(secs(46)).await;
        provider.then_after(ms(900), Ok(reply("old"))).then(Ok(reply("new")));
        let late = async {
            tokio::time::sleep(ms(100)).await;
            invalidate(&world, "question 2").await;
        };
        let (under_way, ()) = tokio::join!(ask(&here.asking, 2), late);
        assert_eq!(told(&under_way), Some(("old", Source::Live)), "it was asked for before");
        advance(secs(46)).await;
        assert_eq!(told(&ask(&here.asking, 2).await), Some(("new", Source::Live)), "and nobody else gets it");
        let elsewhere = Environment::over(&world, &[&provider]);
        let age = secs(0);
        assert_eq!(told(&ask(&elsewhere.asking, 2).await), Some(("new", Source::Cached { age })));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_after_a_rule_is_known_does_not_join_those_who_asked_before() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let [here, _there] = fleet(&world, &provider).await;
        set(&world, &[("TEST_TIMEOUT_MS", "60000"), ("TEST_DEADLINE_MS", "100000")]).await;
        advance(secs(46)).await;
        ask(&here.asking, 3).await.unwrap();
        provider.then_after(secs(55), Ok(reply("old"))).then(Ok(reply("other"))).then(Ok(reply("new")));
        let later = async {
            tokio::time::sleep(secs(1)).await;
            invalidate(&world, "question 2").await;
            tokio::time::sleep(secs(46)).await;
            ask(&here.asking, 4).await.unwrap();
            ask(&here.asking, 2).await
        };
        let call = here.asking.call(&Question(2), Instant::now() + secs(90));
        let (before, after) = tokio::join!(call, later);
        assert_eq!((told(&before), told(&after)), (Some(("old", Source::Live)), Some(("new", Source::Live))));
    }

    #[tokio::test(start_paused = true)]
    async fn rules_are_kept_against_rivals_and_put_on_record() {
        let world = World::new();
        let (one, other) = (editor(&world), editor(&world));
        let rule = |pattern: &str| Target::Pattern(pattern.to_owned());
        let (a, b) = tokio::join!(one.invalidate("key:a", rule("a")), other.invalidate("key:b", rule("b")));
        let rules = one.read().await.unwrap().rules;
        assert_eq!(rules.as_slice(), [a.unwrap(), b.unwrap()]);
        for target in ["", "  ", &"x".repeat(201)] {
            assert!(matches!(one.invalidate("key:a", rule(target)).await, Err(ChangeError::Target)));
        }
    }
}

mod overrides {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_override_acts_on_every_environment_within_a_minute_and_is_taken_back_likewise() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        provider.then(live());
        let fleet = fleet(&world, &provider).await;
        let changed =
            set(&world, &[("TEST_ATTEMPTS", "1"), ("TEST_BREAKER_FAILURES", "100"), (LOG_LEVEL, "debug")]).await;
        let calls = async |number| {
            let mut counts = Vec::new();
            for environment in &fleet {
                let before = provider.calls().len();
                ask(&environment.asking, number).await.unwrap_err();
                counts.push(provider.calls().len() - before);
            }
            counts
        };
        advance(secs(60)).await;
        assert_eq!(calls(2).await, [1, 1]);
        assert!(fleet.iter().all(|environment| environment.levels.level_of(Some("test")) == LogLevel::Debug));
        let none = [("TEST_ATTEMPTS".to_owned(), None), (LOG_LEVEL.to_owned(), None)];
        editor(&world).change("key:ops", changed.version, none).await.unwrap();
        advance(secs(60)).await;
        assert_eq!(calls(3).await, [2, 2]);
        assert!(fleet.iter().all(|environment| environment.levels.level_of(Some("test")) == LogLevel::Info));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_and_a_deadline_act_on_the_first_call_after_a_long_pause() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let [here, there] = fleet(&world, &provider).await;
        set(&world, &[("TEST_TIMEOUT_MS", "100"), ("TEST_ATTEMPTS", "1")]).await;
        advance(secs(7_200)).await;
        provider.then_after(secs(9), live()).then_after(secs(9), live());
        for environment in [here, there] {
            let began = Instant::now();
            let _ = ask(&environment.asking, 5).await;
            assert_eq!(began.elapsed(), ms(100));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_time_to_live_acts_on_what_is_remembered() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let [here, _] = fleet(&world, &provider).await;
        set(&world, &[("TEST_CACHE_TTL_SECONDS", "10")]).await;
        advance(secs(60)).await;
        assert_eq!(told(&ask(&here.asking, 1).await), Some(("live", Source::Live)));
        advance(secs(9)).await;
        assert_eq!(told(&ask(&here.asking, 1).await), Some(("live", Source::Cached { age: secs(9) })));
    }

    #[tokio::test(start_paused = true)]
    async fn the_order_of_providers_can_be_turned_round() {
        let world = World::new();
        let (p, q) = (Scripted::new("p", || Ok(reply("p"))), Scripted::new("q", || Ok(reply("q"))));
        let here = Environment::over(&world, &[&p, &q]);
        assert_eq!(ask(&here.asking, 1).await.unwrap().provider, "p");
        set(&world, &[("TEST_PROVIDERS", "q,p")]).await;
        advance(secs(60)).await;
        assert_eq!(ask(&here.asking, 2).await.unwrap().provider, "q");
        assert_eq!(ask(&here.asking, 2).await.unwrap().source, Source::Cached { age: secs(0) }, "the first choice's");
        set(&world, &[("TEST_PROVIDERS", "q")]).await;
        advance(secs(60)).await;
        for _ in 0..20 {
            q.then(down());
        }
        assert!(ask(&here.asking, 3).await.is_err(), "nobody else is asked");
    }

    #[tokio::test(start_paused = true)]
    async fn a_faster_rate_acts_at_once_although_a_slow_burst_is_spent() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        set(&world, &[("P_RATE_PERIOD_SECONDS", "86400"), ("P_RATE_PER_PERIOD", "5"), ("P_RATE_BURST", "5")]).await;
        let here = Environment::over(&world, &[&provider]);
        let mut number = 0;
        while ask(&here.asking, number).await.is_ok() {
            number += 1;
            assert!(number < 10, "the slow rate is in force");
        }
        set(&world, &[("P_RATE_PERIOD_SECONDS", "1"), ("P_RATE_PER_PERIOD", "10")]).await;
        advance(secs(60)).await;
        assert!(ask(&here.asking, 100).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slower_rate_and_a_quota_act_too() {
        let (world, provider) = (World::new(), Scripted::new("p", live));
        let [here, there] = fleet(&world, &provider).await;
        set(&world, &[("P_DAILY_QUOTA", "3")]).await;
        advance(secs(60)).await;
        let mut answered = 0;
        for number in 10..20 {
            for environment in [&here, &there] {
                answered += usize::from(ask(&environment.asking, number).await.is_ok_and(|a| a.source == Source::Live));
                advance(secs(1)).await;
            }
        }
        assert_eq!(answered, 3, "the quota counts from when it is in force");
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_opens_by_the_number_in_force() {
        let (world, provider) = (World::new(), Scripted::new("p", down));
        let here = Environment::over(&world, &[&provider]);
        set(&world, &[("TEST_BREAKER_FAILURES", "2"), ("TEST_BREAKER_OPEN_SECONDS", "7")]).await;
        ask(&here.asking, 1).await.unwrap_err();
        assert_eq!(provider.calls().len(), 2);
        let refused = ApiError::from(&ask(&here.asking, 2).await.unwrap_err());
        let response = refused.to_response("t", world.clock.now(), Language::English);
        assert_eq!((provider.calls().len(), &response.headers()["retry-after"]), (2, &"7".parse().unwrap()));
    }
}

mod what_is_refused {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_unsound_override_is_refused_whole_and_changes_nothing() {
        let world = World::new();
        let before = set(&world, &[("TEST_ATTEMPTS", "2")]).await;
        let wrong = [("TEST_ATTEMPTS", "9"), ("TEST_TIMEOUT_MS", "200"), ("STAGE", "local")];
        let wrong = wrong.map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
        let error = editor(&world).change("key:ops", before.version, wrong).await.unwrap_err();
        let body = ApiError::from(error).to_response("t", world.clock.now(), Language::English).into_body();
        for part in
            [r#""field":"TEST_ATTEMPTS""#, "a whole number from 1 to 4", r#""field":"STAGE","issue":"unknown_field""#]
        {
            assert!(body.contains(part), "{part} in {body}");
        }
        assert_eq!(editor(&world).read().await.unwrap(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_operators_who_saw_the_same_one_is_told_of_the_other() {
        let world = World::new();
        let change = |value: &str| [("TEST_ATTEMPTS".to_owned(), Some(value.to_owned()))];
        let (one, other) = (editor(&world), editor(&world));
        let (first, second) = tokio::join!(one.change("key:a", 0, change("1")), other.change("key:b", 0, change("2")));
        assert_eq!(first.unwrap().version, 1);
        let error = ApiError::from(second.unwrap_err());
        assert_eq!(error.code().status, 409);
        invalidate(&world, "*").await;
        assert_eq!(
            one.change("key:a", 1, change("3")).await.unwrap().overrides["TEST_ATTEMPTS"],
            "3",
            "a rule is no rival"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn every_change_is_on_record_before_it_is_made() {
        let store = FaultyStore::new();
        let shared: Arc<dyn Store> = store.clone();
        let world = World::over(shared);
        set(&world, &[("TEST_ATTEMPTS", "2")]).await;
        invalidate(&world, "question *").await;
        assert_eq!(
            store.log(),
            [
                "get config",
                "get config",
                "update audit",
                "update config",
                "get config",
                "update audit",
                "update config"
            ]
        );
        let mut audits = store.inner.items_with("audit#");
        audits.sort_by_key(|item| item.text("what").unwrap().to_owned());
        let told = |item: &ieum::store::Item| {
            ["who", "what", "target", "before", "after"].map(|name| item.text(name).unwrap().to_owned())
        };
        assert_eq!(told(&audits[0]), ["key:ops", "settings.change", "test", "{}", r#"{"TEST_ATTEMPTS":"2"}"#]);
        assert_eq!(told(&audits[1])[..3], ["key:ops", "settings.invalidate", "test pattern question *"]);
        store.set_only("update audit", Mode::Unreachable);
        let error = editor(&world).change("key:ops", 1, [("TEST_ATTEMPTS".to_owned(), None)]).await.unwrap_err();
        assert!(matches!(error, ChangeError::Store(_)));
        assert_eq!(editor(&world).read().await.unwrap().version, 1, "no change without its record");
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_wrote_by_hand_and_cannot_be_read_changes_nothing_and_is_told() {
        let store = FaultyStore::new();
        let shared: Arc<dyn Store> = store.clone();
        let (world, provider) = (World::over(shared), Scripted::new("p", down));
        let here = Environment::over(&world, &[&provider]);
        set(&world, &[("TEST_ATTEMPTS", "1"), ("TEST_BREAKER_FAILURES", "100")]).await;
        let calls = async |number| {
            let before = provider.calls().len();
            ask(&here.asking, number).await.unwrap_err();
            provider.calls().len() - before
        };
        assert_eq!(calls(1).await, 1);
        let (captured, _guard) = listen(LogLevel::Info);
        for text in [r#"{"TEST_ATTEMPTS":"many","TEST_BREAKER_FAILURES":"100"}"#, "no JSON", r#"["TEST_ATTEMPTS"]"#] {
            let by_hand = Update::of("config#test")
                .then([Action::Set("overrides", text.into()), Action::Set("rules", text.into())]);
            assert!(matches!(store.inner.apply(&by_hand), Outcome::Applied(_)));
            advance(secs(60)).await;
            assert_eq!(calls(2).await, 1, "{text}");
        }
        let kept: Vec<_> = captured.lines().into_iter().filter(|line| line["message"] == "settings.kept").collect();
        assert_eq!(kept.len(), 3);
        assert!(kept[0]["mistakes"].as_str().unwrap().starts_with("`TEST_ATTEMPTS` is `many`: expected"));
        let other = Scripted::new("q", down);
        let cold = Environment::over(&world, &[&other]);
        ask(&cold.asking, 3).await.unwrap_err();
        assert_eq!(other.calls().len(), 2, "a cold environment goes by what was deployed");
    }
}

mod cost {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_settings_are_read_in_the_same_wait_as_the_rest_and_then_not_for_half_a_minute() {
        let store = FaultyStore::new();
        let shared: Arc<dyn Store> = store.clone();
        let (world, provider) = (World::over(shared), Scripted::new("p", live));
        let here = Environment::over(&world, &[&provider]);
        store.set(Mode::Slow(ms(20)));
        let began = Instant::now();
        ask(&here.asking, 1).await.unwrap();
        assert_eq!(store.log(), ["get config", "get breaker", "get cache", "update rate", "update cache"]);
        assert_eq!(began.elapsed(), ms(60), "three waits as without settings");
        advance(secs(29)).await;
        ask(&here.asking, 1).await.unwrap();
        assert_eq!(store.log(), [""; 0], "a hit in memory");
        advance(secs(17)).await;
        let began = Instant::now();
        ask(&here.asking, 1).await.unwrap();
        assert_eq!((store.log().len(), began.elapsed()), (3, ms(20)), "one wait");
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_store_the_last_good_settings_stay() {
        let store = FaultyStore::new();
        let shared: Arc<dyn Store> = store.clone();
        let world = World::over(Arc::new(BoundedStore::new(shared, ms(50))));
        let provider = Scripted::new("p", down);
        provider.then(live());
        let here = Environment::over(&world, &[&provider]);
        ask(&here.asking, 1).await.unwrap();
        set(&world, &[("TEST_ATTEMPTS", "1"), ("TEST_BREAKER_FAILURES", "100")]).await;
        invalidate(&world, "question 1").await;
        advance(secs(60)).await;
        let calls = async |number| {
            let before = provider.calls().len();
            ask(&here.asking, number).await.unwrap_err();
            provider.calls().len() - before
        };
        assert_eq!(calls(2).await, 1);
        for mode in [Mode::Unreachable, Mode::Hanging, Mode::Throttled] {
            store.set(mode);
            advance(secs(300)).await;
            store.set_only("get config", mode);
            assert_eq!(calls(2).await, 1, "{mode:?}");
            assert_eq!(calls(1).await, 1, "{mode:?}: the rule holds");
            store.set(Mode::Well);
            advance(secs(2)).await;
        }
        set(&world, &[("TEST_ATTEMPTS", "3")]).await;
        advance(secs(60)).await;
        assert_eq!(calls(3).await, 3, "and the new ones act when it is back");
    }
}

mod secrets {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Key {
        key: SecretString,
    }

    impl SecretShape for Key {
        const MEMBERS: &'static [&'static str] = &["key"];
    }

    /// What Secrets Manager holds, and which key the provider takes.
    #[derive(Debug)]
    struct Vault(Mutex<&'static str>);

    #[async_trait]
    impl SecretSource for Vault {
        async fn fetch(&self, _: &SecretName) -> Result<SecretString, SecretError> {
            tokio::time::sleep(ms(20)).await;
            Ok(format!(r#"{{"key":"{}"}}"#, *self.0.lock().unwrap()).into())
        }
    }

    /// A provider that judges the key when the request arrives, which takes a while.
    struct Guarded {
        secret: Secret<Key>,
        vault: Arc<Vault>,
    }

    #[async_trait]
    impl Provider<Question, Reply> for Arc<Guarded> {
        fn name(&self) -> &'static str {
            "p"
        }

        async fn call(&self, _: &Question) -> Result<Reply, ProviderError> {
            let used = self.secret.current().await;
            tokio::time::sleep(ms(100)).await;
            if used.key.expose_secret() == *self.vault.0.lock().unwrap() {
                return live();
            }
            let replaced = self.secret.refused(&used).await;
            Err(if replaced { ProviderError::CredentialsReplaced } else { ProviderError::Unauthorized })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_under_many_calls_costs_no_caller_an_error() {
        let (world, vault) = (World::new(), Arc::new(Vault(Mutex::new("one"))));
        let source: Arc<dyn SecretSource> = vault.clone();
        let secret = Secret::load(SecretName::Managed("p".to_owned()), source).await.unwrap();
        let guarded = Arc::new(Guarded { secret, vault: Arc::clone(&vault) });
        let way = Way { provider: Box::new(Arc::clone(&guarded)), gate: world.gate("p", None) };
        let asking = world.going(vec![way], up_to(2));
        advance(secs(90)).await;
        let rotate = async {
            tokio::time::sleep(ms(150)).await;
            *vault.0.lock().unwrap() = "two";
        };
        let calls = (0..60_u32).map(|number| {
            let asking = &asking;
            async move {
                tokio::time::sleep(ms(5) * number).await;
                ask(asking, number).await
            }
        });
        let (answers, ()) = tokio::join!(futures_util::future::join_all(calls), rotate);
        assert!(answers.iter().all(|called| told(called) == Some(("live", Source::Live))));
        assert_eq!(guarded.secret.current().await.key.expose_secret(), "two");
        assert!(ask(&world.going(vec![], once()), 1).await.is_err(), "the check above can fail");
    }
}
