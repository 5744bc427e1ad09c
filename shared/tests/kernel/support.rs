//! A small world to call providers in: a question, an answer, and integrations built from the parts a test is about.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ieum::answers::{AnswerCache, ManualEntries, Request, RequestKeys, Response};
use ieum::clock::SharedClock;
use ieum::error::{ApiError, Language};
use ieum::gate::Gate;
use ieum::integration::{Answer, CallError, Integration, Source, Way};
use ieum::policy::{Policy, Replay};
use ieum::provider::{Provider, ProviderError};
use ieum::resilience::backoff::Backoff;
use ieum::resilience::cache::CachePolicy;
use ieum::resilience::circuit_breaker::BreakerPolicy;
use ieum::resilience::rate_limit::RatePolicy;
use ieum::secrets::SecretSlice;
use ieum::settings::Live;
use ieum::store::{Item, Key, MemoryStore, Outcome, Read, Store, StoreError, Update};
use ieum::telemetry::{Captured, LevelSwitch, LogLevel};
use ieum::testing::{Scripted, TokioClock};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The question of these tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Question(pub(crate) u32);

impl Request for Question {
    fn readable(&self) -> String {
        format!("question {}", self.0)
    }
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply(pub(crate) String);

impl Response for Reply {
    fn is_known(&self) -> bool {
        self.0 != "unknown"
    }
}

pub(crate) fn reply(text: &str) -> Reply {
    Reply(text.to_owned())
}

pub(crate) type Outside = Result<Reply, ProviderError>;
pub(crate) type Called = Result<Answer<Reply>, Arc<CallError>>;

pub(crate) fn live() -> Outside {
    Ok(reply("live"))
}

pub(crate) fn down() -> Outside {
    Err(ProviderError::Unavailable { status: 503 })
}

pub(crate) fn throttled(seconds: u64) -> Outside {
    Err(ProviderError::Throttled { retry_after: Some(secs(seconds)) })
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One attempt, so that a test about something else counts calls easily; retries ask for more by name.
pub(crate) fn once() -> Policy {
    Policy {
        attempts: 1,
        backoff: Backoff::Fixed(ms(100)),
        retryable_statuses: vec![500, 503],
        timeout: secs(1),
        deadline: secs(10),
        replay: Replay::Safe,
    }
}

pub(crate) fn up_to(attempts: u32) -> Policy {
    Policy { attempts, ..once() }
}

pub(crate) const CACHE: CachePolicy = CachePolicy { fresh: secs(3_600), stale: secs(86_400), unknown: secs(60) };

/// A clock and a store, and what is built upon them. Two worlds over one store are two environments of one fleet.
pub(crate) struct World {
    pub(crate) clock: SharedClock,
    pub(crate) store: Arc<dyn Store>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::over(Arc::new(MemoryStore::new()))
    }

    pub(crate) fn over(store: Arc<dyn Store>) -> Self {
        Self { clock: TokioClock::start(), store }
    }

    /// The gate before `provider`, with the breaker everybody has and this rate limit.
    pub(crate) fn gate(&self, provider: &'static str, rate: Option<RatePolicy>) -> Arc<Gate> {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        Arc::new(Gate::new(provider, BreakerPolicy::default(), rate, store, clock))
    }

    /// The way to `provider` through a gate of its own.
    pub(crate) fn way(&self, provider: &Scripted<Reply>, rate: Option<RatePolicy>) -> Way<Question, Reply> {
        let name = Provider::<Question, Reply>::name(provider);
        Way { provider: Box::new(provider.clone()), gate: self.gate(name, rate) }
    }

    /// An integration that goes these `ways` and remembers nothing.
    pub(crate) fn going(&self, ways: Vec<Way<Question, Reply>>, policy: Policy) -> Integration<Question, Reply> {
        Integration::new("test", "ask", policy, ways, Arc::clone(&self.clock))
    }

    /// One that asks `provider` as often as it likes.
    pub(crate) fn asking(&self, provider: &Scripted<Reply>, policy: Policy) -> Integration<Question, Reply> {
        self.going(vec![self.way(provider, None)], policy)
    }

    /// One that asks `provider` within a rate limit.
    pub(crate) fn limited(
        &self,
        provider: &Scripted<Reply>,
        policy: Policy,
        rate: Option<RatePolicy>,
    ) -> Integration<Question, Reply> {
        self.going(vec![self.way(provider, rate)], policy)
    }

    pub(crate) fn cache(&self) -> AnswerCache<Reply> {
        self.cache_of(CACHE)
    }

    /// The same with other numbers.
    pub(crate) fn cache_of(&self, policy: impl Into<Live<CachePolicy>>) -> AnswerCache<Reply> {
        AnswerCache::new("ask", policy, keys(), Arc::clone(&self.store), Arc::clone(&self.clock))
    }

    pub(crate) fn manual(&self) -> ManualEntries {
        let (quick, durable) = (Arc::clone(&self.store), Arc::clone(&self.store));
        ManualEntries::new("ask", keys(), quick, durable, Arc::clone(&self.clock))
    }
}

fn keys() -> RequestKeys {
    RequestKeys::new(SecretSlice::from(vec![7; 32]))
}

/// Asks question `number` with a minute to answer.
pub(crate) async fn ask(integration: &Integration<Question, Reply>, number: u32) -> Called {
    integration.call(&Question(number), Instant::now() + secs(60)).await
}

/// An answer in brief: what it says and where it comes from.
pub(crate) fn told(called: &Called) -> Option<(&str, Source)> {
    called.as_ref().ok().map(|answer| (answer.value.0.as_str(), answer.source))
}

/// A failure in brief, as a caller sees it: status, code, `Retry-After`.
pub(crate) fn refused(called: &Called) -> Option<(u16, String, Option<String>)> {
    let error = ApiError::from(called.as_ref().err()?);
    let response = error.to_response("t", ieum::clock::Timestamp::default(), Language::English);
    let after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    Some((response.status().as_u16(), error.code().name.to_owned(), after))
}

/// The same, ready to be compared with [`refused`].
pub(crate) fn refusal(status: u16, code: &str, retry_after: Option<u64>) -> Option<(u16, String, Option<String>)> {
    Some((status, code.to_owned(), retry_after.map(|seconds| seconds.to_string())))
}

/// How long after `from` each call reached the provider.
pub(crate) fn times(provider: &Scripted<Reply>, from: Instant) -> Vec<Duration> {
    provider.calls().into_iter().map(|at| at.duration_since(from)).collect()
}

/// Captures what is logged on this thread until the guard is dropped.
pub(crate) fn listen(level: LogLevel) -> (Captured, tracing::subscriber::DefaultGuard) {
    let (captured, _, guard) = listen_and_switch(level);
    (captured, guard)
}

/// The same, with the switch of the levels.
pub(crate) fn listen_and_switch(level: LogLevel) -> (Captured, LevelSwitch, tracing::subscriber::DefaultGuard) {
    let (captured, switch) = (Captured::default(), LevelSwitch::new(level));
    let guard = tracing::dispatcher::set_default(&captured.dispatch(switch.clone(), &[], TokioClock::start()));
    (captured, switch, guard)
}

/// How a [`FaultyStore`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Well,
    /// Correctly, after this long.
    Slow(Duration),
    Unreachable,
    Throttled,
    /// Never.
    Hanging,
}

/// A memory store with faults to order, and a record of what reached it.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    pub(crate) inner: MemoryStore,
    mode: Mutex<Mode>,
    /// The operations that fail begin like this; the rest are well.
    only: Mutex<&'static str>,
    log: Mutex<Vec<(&'static str, Key)>>,
}

impl FaultyStore {
    pub(crate) fn new() -> Arc<Self> {
        let (inner, mode) = (MemoryStore::new(), Mutex::new(Mode::Well));
        Arc::new(Self { inner, mode, only: Mutex::new(""), log: Mutex::default() })
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.set_only("", mode);
    }

    /// Sets the mode of the operations whose record begins with `only`, for example `update cache`.
    pub(crate) fn set_only(&self, only: &'static str, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
        *self.only.lock().unwrap() = only;
    }

    /// The operations since last time, for example `get breaker`.
    pub(crate) fn log(&self) -> Vec<String> {
        self.taken().into_iter().map(|(verb, key)| operation(verb, &key)).collect()
    }

    /// The whole keys of the items updated since last time.
    pub(crate) fn updated(&self) -> Vec<Key> {
        self.taken().into_iter().filter(|(verb, _)| *verb == "update").map(|(_, key)| key).collect()
    }

    fn taken(&self) -> Vec<(&'static str, Key)> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    async fn fault(&self, verb: &'static str, key: &str) -> Result<(), StoreError> {
        let meant = operation(verb, key).starts_with(*self.only.lock().unwrap());
        let mode = if meant { *self.mode.lock().unwrap() } else { Mode::Well };
        self.log.lock().unwrap().push((verb, key.to_owned()));
        match mode {
            Mode::Well => {}
            Mode::Slow(span) => tokio::time::sleep(span).await,
            Mode::Unreachable => return Err(StoreError::Unreachable("ordered".into())),
            Mode::Throttled => return Err(StoreError::Throttled("ordered".into())),
            Mode::Hanging => std::future::pending().await,
        }
        Ok(())
    }
}

fn operation(verb: &str, key: &str) -> String {
    format!("{verb} {}", key.split('#').next().unwrap())
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, key: &str, read: Read) -> Result<Option<Item>, StoreError> {
        self.fault("get", key).await?;
        self.inner.get(key, read).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.fault("get_many", &keys[0]).await?;
        self.inner.get_many(keys).await
    }

    async fn listed(
        &self,
        list: &str,
        from: ieum::clock::Timestamp,
        until: ieum::clock::Timestamp,
        limit: u32,
    ) -> Result<Vec<Key>, StoreError> {
        self.fault("due", list).await?;
        self.inner.listed(list, from, until, limit).await
    }

    async fn due(&self, list: &str, until: ieum::clock::Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.fault("due", list).await?;
        self.inner.due(list, until, limit).await
    }

    async fn update(&self, update: &Update) -> Result<Outcome, StoreError> {
        self.fault("update", &update.key).await?;
        self.inner.update(update).await
    }
}
