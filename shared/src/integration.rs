//! The executor: how every call to every outside service is made. Read this file first.
//!
//! A call is six short methods, top to bottom:
//!
//! 1. [`Integration::call`] bounds the time and reports how it went;
//! 2. `answer` looks into the cache and lets equal calls share one trip;
//! 3. `fetch` asks the providers in order, and falls back when none answers: a stale answer, or one entered by hand;
//! 4. `attempts` asks one provider, again and again as the policy allows;
//! 5. `admitted` passes the gate, and has the attempt written down where somebody must know of it;
//! 6. `attempt` makes one attempt: within its time, and on the record.
//!
//! [`Integration::send`] is the same for what must not happen twice: no cache, nothing stands in, and a [`Witness`] is told
//! before each attempt.
//!
//! The decisions are elsewhere and pure: [`crate::policy`] (what follows a failure), [`crate::resilience`] (circuit,
//! rate, backoff, cache). There is no other way to a provider.

use std::fmt;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::Instrument;

use crate::answers::{AnswerCache, ManualEntries, ManualEntry, Request, Response};
use crate::clock::{SharedClock, Timestamp, millis};
use crate::error::{ApiError, PROVIDER_REJECTED, PROVIDER_UNAVAILABLE, RATE_LIMITED, chain};
use crate::gate::{Gate, Permit, Refusal};
use crate::limiter::Standing;
use crate::policy::{NextStep, Policy, Replay};
use crate::provider::{Health, Provider, ProviderError};
use crate::resilience::cache::{Entry, Worth};
use crate::resilience::rollup::Ending;
use crate::rollups::Rollups;
use crate::settings::{Live, Order};
use crate::single_flight::SingleFlight;

/// The longest delay between two attempts of a delivery. What has to wait longer waits in its ledger, which expects to hear
/// of an attempt soon after it should be over.
const LONGEST_NAP: Duration = Duration::from_secs(2);

/// How often a witness is told of the same attempt, when what was had for it is too old each time it knows.
const TELLINGS: u32 = 3;

/// What falling back may take when the providers have used up the time: reads of our own state, which are bounded.
const FALLBACK_TIME: Duration = Duration::from_millis(250);

mod batch;

pub use batch::BatchIntegration;

/// Where an answer comes from, as told to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A provider, just now.
    Live,
    /// The cache, within its TTL.
    Cached {
        /// Since the provider gave it.
        age: Duration,
    },
    /// The cache, past its TTL, because no provider answered.
    Stale {
        /// Since the provider gave it.
        age: Duration,
    },
    /// A person, because no provider answered.
    Manual {
        /// Since it was entered.
        age: Duration,
    },
    /// Nobody: the operation's default, because no provider answered and nothing was remembered.
    Default,
}

impl Source {
    /// The value of the header `x-ieum-source`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Cached { .. } => "cached",
            Self::Stale { .. } => "stale",
            Self::Manual { .. } => "manual",
            Self::Default => "default",
        }
    }

    /// The value of the header `age`; a live answer has none, and neither has one that nobody gave.
    pub fn age(self) -> Option<Duration> {
        match self {
            Self::Live | Self::Default => None,
            Self::Cached { age } | Self::Stale { age } | Self::Manual { age } => Some(age),
        }
    }
}

/// An answer, and what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<Res> {
    /// The answer itself.
    pub value: Res,
    /// Where it comes from.
    pub source: Source,
    /// Who gave it: a provider's name, `manual` or `default`.
    pub provider: String,
    /// When it was true: the start of the provider call, or the entry by hand; now, for a default.
    pub as_of: Timestamp,
}

impl<Res> Answer<Res> {
    /// The same provenance for another value.
    pub fn with<T>(&self, value: T) -> Answer<T> {
        Answer { value, source: self.source, provider: self.provider.clone(), as_of: self.as_of }
    }

    fn remembered(entry: Entry<Res>, worth: Worth, now: Timestamp) -> Self {
        let age = entry.age(now);
        let source = if worth == Worth::Fresh { Source::Cached { age } } else { Source::Stale { age } };
        Self { value: entry.value, source, provider: entry.provider, as_of: entry.filled_from }
    }

    fn manual(entry: ManualEntry<Res>, now: Timestamp) -> Self {
        let source = Source::Manual { age: now.since(entry.entered_at) };
        Self { value: entry.value, source, provider: "manual".to_owned(), as_of: entry.entered_at }
    }

    fn by_default(value: Res, now: Timestamp) -> Self {
        Self { value, source: Source::Default, provider: "default".to_owned(), as_of: now }
    }
}

/// Why one provider gave no answer.
#[derive(Debug)]
pub enum Setback {
    /// The gate did not open.
    Refused(Refusal),
    /// The last attempt failed.
    Failed(ProviderError),
    /// There was no time left to begin, or what was had for beginning was lost each time.
    OutOfTime,
    /// The witness would not have it: nothing was sent.
    Stopped,
}

/// Whoever must know of an attempt before it is made.
#[async_trait]
pub trait Witness: Send + Sync {
    /// `provider` is about to be asked, and the attempt will be over within `limit`. The last one told of may not have been
    /// made: what was had for it was too old when this returned.
    ///
    /// # Errors
    /// [`Stop`] when the attempt must not be made.
    async fn attempting(&self, provider: &'static str, limit: Duration) -> Result<(), Stop>;
}

/// An attempt must not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop;

/// What became of a request that was to be sent once, and got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It did not happen, and may be tried again.
    NotSent {
        /// After this long, where a provider or the gate said so.
        again_in: Option<Duration>,
    },
    /// It did not happen, and never will: a provider understood it and refuses.
    Refused,
    /// Nobody knows.
    Unknown,
    /// The witness stopped it.
    Stopped,
}

/// Why there is no answer: what each provider that was asked had to say, in the order of asking.
#[derive(Debug)]
pub struct CallError {
    setbacks: Vec<(&'static str, Setback)>,
    at: Timestamp,
}

impl CallError {
    /// What became of each provider.
    pub fn setbacks(&self) -> &[(&'static str, Setback)] {
        &self.setbacks
    }

    /// What became of a request that must not happen twice.
    pub fn fate(&self) -> Fate {
        let failed = |wanted: fn(&ProviderError) -> bool| {
            self.setbacks.iter().any(|(_, setback)| matches!(setback, Setback::Failed(error) if wanted(error)))
        };
        if failed(|error| matches!(error, ProviderError::Ambiguous(_) | ProviderError::Malformed(_))) {
            Fate::Unknown
        } else if self.setbacks.iter().any(|(_, setback)| matches!(setback, Setback::Stopped)) {
            Fate::Stopped
        } else if self.is_rejection() {
            Fate::Refused
        } else {
            Fate::NotSent { again_in: self.soonest().map(|(_, wait)| wait) }
        }
    }

    /// Whether a provider understood the request and refused it: nothing may then stand in for its answer.
    fn is_rejection(&self) -> bool {
        self.setbacks.iter().any(|(_, setback)| matches!(setback, Setback::Failed(ProviderError::Rejected { .. })))
    }

    /// Whether nothing is wrong but the pace.
    fn is_limited(&self) -> bool {
        !self.setbacks.is_empty()
            && self.setbacks.iter().all(|(_, setback)| {
                matches!(
                    setback,
                    Setback::Refused(Refusal::Limited(_)) | Setback::Failed(ProviderError::Throttled { .. })
                )
            })
    }

    /// The provider that can be asked again first, and how long from now.
    fn soonest(&self) -> Option<(&'static str, Duration)> {
        let waits = self.setbacks.iter().filter_map(|(provider, setback)| match setback {
            Setback::Refused(Refusal::Open(until)) => Some((*provider, until.since(self.at))),
            Setback::Refused(Refusal::Limited(away)) => Some((*provider, *away)),
            Setback::Failed(ProviderError::Throttled { retry_after }) => {
                Some((*provider, retry_after.unwrap_or_default()))
            }
            Setback::Failed(_) | Setback::OutOfTime | Setback::Stopped => None,
        });
        waits.min_by_key(|(_, wait)| *wait)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no provider gave an answer")?;
        for (provider, setback) in &self.setbacks {
            match setback {
                Setback::Refused(Refusal::Open(until)) => write!(f, "; {provider}: circuit open until {until}")?,
                Setback::Refused(Refusal::Limited(away)) => {
                    write!(f, "; {provider}: no slot within {} ms", away.as_millis())?;
                }
                Setback::Failed(error) => write!(f, "; {provider}: {}", chain(error))?,
                Setback::OutOfTime => write!(f, "; {provider}: not begun in time")?,
                Setback::Stopped => write!(f, "; {provider}: stopped before the attempt")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for CallError {}

impl From<&Arc<CallError>> for ApiError {
    /// The outside of a failed call.
    fn from(error: &Arc<CallError>) -> Self {
        let outside = match error.soonest() {
            _ if error.is_rejection() => Self::new(PROVIDER_REJECTED),
            Some((provider, reset)) if error.is_limited() => {
                Self::new(RATE_LIMITED).limited(provider, Standing { policy: None, remaining: 0, reset })
            }
            Some((_, wait)) => {
                let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
                Self::new(PROVIDER_UNAVAILABLE).retry_after(Some(seconds.max(1)))
            }
            None => Self::new(PROVIDER_UNAVAILABLE),
        };
        outside.because(Arc::clone(error))
    }
}

/// A provider and the gate before it.
pub struct Way<Req, Res> {
    /// Makes the attempts.
    pub provider: Box<dyn Provider<Req, Res>>,
    /// Lets them through.
    pub gate: Arc<Gate>,
}

/// One operation of one integration: its providers in order, its numbers, its memory.
pub struct Integration<Req, Res> {
    name: &'static str,
    operation: &'static str,
    policy: Live<Policy>,
    ways: Vec<Way<Req, Res>>,
    order: Live<Order>,
    cache: Option<AnswerCache<Res>>,
    manual: Option<ManualEntries>,
    default: Option<Res>,
    rollups: Option<Arc<Rollups>>,
    flights: SingleFlight<Result<Answer<Res>, Arc<CallError>>>,
    clock: SharedClock,
}

impl<Req, Res> fmt::Debug for Integration<Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let providers: Vec<_> = self.ways.iter().map(|way| way.provider.name()).collect();
        f.debug_struct("Integration")
            .field("name", &self.name)
            .field("operation", &self.operation)
            .field("providers", &providers)
            .finish_non_exhaustive()
    }
}

impl<Req, Res> Integration<Req, Res> {
    /// The operation `operation` of the integration `name`, with its `ways` in the order of failover.
    pub fn new(
        name: &'static str,
        operation: &'static str,
        policy: impl Into<Live<Policy>>,
        ways: Vec<Way<Req, Res>>,
        clock: SharedClock,
    ) -> Self {
        let (policy, flights) = (policy.into(), SingleFlight::default());
        let order = policy.sibling(Order::of(ways.iter().map(|way| way.provider.name())));
        let (cache, manual, default, rollups) = (None, None, None, None);
        Self { name, operation, policy, ways, order, cache, manual, default, rollups, flights, clock }
    }

    /// Takes the order of its ways from the variables of `owner`, instead of those that its policy comes from.
    pub fn ordered_as(mut self, owner: &'static str) -> Self {
        self.order = self.order.owned_by(owner);
        self
    }

    /// Remembers answers.
    pub fn cache(mut self, cache: AnswerCache<Res>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Counts calls by the minute, for charts; operations of one integration share the minutes.
    pub fn rollups(mut self, rollups: Arc<Rollups>) -> Self {
        self.rollups = Some(rollups);
        self
    }

    /// Falls back to answers entered by hand.
    pub fn manual(mut self, manual: ManualEntries) -> Self {
        self.manual = Some(manual);
        self
    }

    /// Answers `value` when no provider answers and nothing else stands in. A rejection stays an error.
    pub fn default_answer(mut self, value: Res) -> Self {
        self.default = Some(value);
        self
    }
}

impl<Req: Request, Res: Response> Integration<Req, Res> {
    /// Answers `request` by `deadline` at the latest, or earlier if the policy says so.
    ///
    /// # Errors
    /// [`CallError`] when no provider answered and nothing stands in. It is shared by everybody who made the same call.
    pub async fn call(&self, request: &Req, deadline: Instant) -> Result<Answer<Res>, Arc<CallError>> {
        let work = async {
            let began = Instant::now();
            let answered = self.answer(request, began, deadline);
            // Beside a call, so that nobody waits for it alone.
            let (outcome, ()) = tokio::join!(answered, self.flush());
            let outcome = match outcome {
                Ok(answer) if !answer.value.is_known() => Ok(self.entered_by_hand(request).await.unwrap_or(answer)),
                outcome => outcome,
            };
            self.report(outcome.as_ref().map(|answer| answer.source).ok(), began.elapsed());
            outcome
        };
        work.instrument(self.span()).await
    }

    /// Sends `request` once: nothing is remembered and nothing stands in for the answer. `witness` is told before each
    /// attempt, and may stop it.
    ///
    /// # Errors
    /// [`CallError`] when no provider has taken it, or nobody knows: see [`CallError::fate`].
    pub async fn send(
        &self,
        request: &Req,
        deadline: Instant,
        witness: &dyn Witness,
    ) -> Result<Answer<Res>, CallError> {
        let work = async {
            let began = Instant::now();
            let sent = async {
                self.refresh_when_due().await;
                self.ask(request, self.deadline(began, deadline), Some(witness)).await
            };
            let (sent, ()) = tokio::join!(sent, self.flush());
            let outcome = sent.map(|(_, answer)| answer);
            self.report(outcome.as_ref().map(|answer| answer.source).ok(), began.elapsed());
            outcome
        };
        work.instrument(self.span()).await
    }

    /// What all lines of a call carry, whoever writes them: log levels go by it.
    fn span(&self) -> tracing::Span {
        tracing::info_span!(target: "ieum::call", "call", integration = self.name, endpoint = self.operation)
    }

    /// The fresh answer remembered for `request`, if there is one.
    pub async fn remembered(&self, request: &Req) -> Option<Answer<Res>> {
        let cache = self.cache.as_ref()?;
        let key = cache.key(request);
        let entry = match self.in_memory(cache, &key) {
            Some(entry) => Some(entry),
            None => self.in_store(cache, slice::from_ref(&key)).await.pop().flatten(),
        };
        let now = self.clock.now();
        entry.filter(|entry| cache.is_fresh(&key, entry, now)).map(|entry| Answer::remembered(entry, Worth::Fresh, now))
    }

    /// What this process remembers under `key` and may serve without asking anybody: only while it knows the settings.
    fn in_memory<T: Response>(&self, cache: &AnswerCache<T>, key: &str) -> Option<Entry<T>> {
        if self.settings_are_due() {
            return None;
        }
        cache.in_memory(key).filter(|entry| cache.is_fresh(key, entry, self.clock.now()))
    }

    /// What the fleet remembers under `keys`. The circuit and the settings are read in the same wait as the cache: a miss
    /// needs all of them, and one trip is enough for that.
    async fn in_store<T: Response>(&self, cache: &AnswerCache<T>, keys: &[String]) -> Vec<Option<Entry<T>>> {
        tokio::join!(self.refresh(), cache.in_store(keys)).1
    }

    /// The hand-entered answers, where this operation has them.
    pub fn manual_entries(&self) -> Option<&ManualEntries> {
        self.manual.as_ref()
    }

    /// When a call that began at `began` must be over, if its caller waits until `deadline`.
    fn deadline(&self, began: Instant, deadline: Instant) -> Instant {
        deadline.min(began + self.policy.current().deadline)
    }

    async fn answer(&self, request: &Req, began: Instant, deadline: Instant) -> Result<Answer<Res>, Arc<CallError>> {
        let Some(cache) = &self.cache else {
            self.refresh_when_due().await;
            return self.fetch(request, None, None, self.deadline(began, deadline)).await;
        };
        let key = cache.key(request);
        if let Some(entry) = self.in_memory(cache, &key) {
            return Ok(Answer::remembered(entry, Worth::Fresh, self.clock.now()));
        }
        let fetch = async {
            let found = self.in_store(cache, slice::from_ref(&key)).await.pop().flatten();
            let now = self.clock.now();
            match found {
                Some(entry) if cache.is_fresh(&key, &entry, now) => Ok(Answer::remembered(entry, Worth::Fresh, now)),
                stale => self.fetch(request, Some(&key), stale, self.deadline(began, deadline)).await,
            }
        };
        // Whoever comes after an invalidation does not share the trip of those who came before.
        let flight = match cache.void_until(&key, &request.readable()) {
            Some(until) => format!("{key}@{}", until.as_millis()),
            None => key.clone(),
        };
        // Whoever shares another caller's trip still goes by its own deadline.
        let patience = self.deadline(began, deadline) + FALLBACK_TIME;
        match timeout_at(patience, self.flights.share(&flight, fetch)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Arc::new(CallError { setbacks: Vec::new(), at: self.clock.now() })),
        }
    }

    async fn fetch(
        &self,
        request: &Req,
        key: Option<&str>,
        stale: Option<Entry<Res>>,
        deadline: Instant,
    ) -> Result<Answer<Res>, Arc<CallError>> {
        match self.ask(request, deadline, None).await {
            Ok((rank, answer)) => {
                // What a stand-in answered must not keep the first choice from being asked next time.
                if let (Some(cache), Some(key), 0) = (&self.cache, key, rank) {
                    let (value, provider) = (&answer.value, &answer.provider);
                    cache.remember(key.to_owned(), request, value, provider, answer.as_of).await;
                }
                Ok(answer)
            }
            Err(error) => {
                // A rule that came meanwhile makes it void.
                let stale = stale.zip(self.cache.as_ref().zip(key)).and_then(|(entry, (cache, key))| {
                    let void = cache.worth(key, &entry, self.clock.now()) == Worth::Void;
                    (!void).then_some(entry)
                });
                self.fall_back(request, stale, error).await
            }
        }
    }

    /// The answer of the first provider that gives one, and its place in the order.
    async fn ask(
        &self,
        request: &Req,
        deadline: Instant,
        witness: Option<&dyn Witness>,
    ) -> Result<(usize, Answer<Res>), CallError> {
        let mut setbacks = Vec::new();
        let ways = self.ways().into_iter().filter(|way| way.provider.serves(request));
        for (rank, way) in ways.enumerate() {
            let began = self.clock.now();
            match self.attempts(way, request, deadline, witness).await {
                Ok(value) => {
                    let provider = way.provider.name().to_owned();
                    return Ok((rank, Answer { value, source: Source::Live, provider, as_of: began }));
                }
                Err((setback, next)) => {
                    self.report_refusal(way.provider.name(), &setback);
                    setbacks.push((way.provider.name(), setback));
                    if next == NextStep::GiveUp {
                        break;
                    }
                }
            }
        }
        let error = CallError { setbacks, at: self.clock.now() };
        tracing::warn!(target: "ieum::call", error = %error, "call.failed");
        Err(error)
    }

    /// What a person has entered for `request`: it fills in for providers that do not answer or do not know.
    async fn entered_by_hand(&self, request: &Req) -> Option<Answer<Res>> {
        let entry = self.manual.as_ref()?.find::<Res>(request).await?;
        Some(Answer::manual(entry, self.clock.now()))
    }

    /// The best answer still to be had: stale or entered by hand, whichever is newer; else the operation's default.
    async fn fall_back(
        &self,
        request: &Req,
        stale: Option<Entry<Res>>,
        error: CallError,
    ) -> Result<Answer<Res>, Arc<CallError>> {
        if error.is_rejection() {
            return Err(Arc::new(error));
        }
        let manual = self.entered_by_hand(request).await;
        let now = self.clock.now();
        let stale = stale.filter(|entry| entry.worth(now) != Worth::Void);
        match (stale, manual) {
            (Some(stale), Some(manual)) if manual.as_of > stale.filled_from => Ok(manual),
            (Some(stale), _) => Ok(Answer::remembered(stale, Worth::Stale, now)),
            (None, Some(manual)) => Ok(manual),
            (None, None) => match &self.default {
                Some(value) => Ok(Answer::by_default(value.clone(), now)),
                None => Err(Arc::new(error)),
            },
        }
    }

    async fn attempts(
        &self,
        way: &Way<Req, Res>,
        request: &Req,
        deadline: Instant,
        witness: Option<&dyn Witness>,
    ) -> Result<Res, (Setback, NextStep)> {
        let mut last: Option<ProviderError> = None;
        let policy = self.policy.current();
        for number in 1..=policy.attempts.max(1) {
            let permit = match self.admitted(way, policy.timeout, deadline, witness).await {
                Ok(permit) => permit,
                Err(Setback::Stopped) => return Err((Setback::Stopped, NextStep::GiveUp)),
                Err(setback) => {
                    // A retry that came too late or found no slot has not made the failure before it a matter of pace.
                    let setback = match (setback, last) {
                        (Setback::OutOfTime | Setback::Refused(Refusal::Limited(_)), Some(error)) => {
                            Setback::Failed(error)
                        }
                        (setback, _) => setback,
                    };
                    return Err((setback, NextStep::FailOver));
                }
            };
            let probe = permit.is_probe();
            let error = match self.attempt(way, request, permit, (number, &policy), deadline).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let left = if witness.is_some() { left.min(LONGEST_NAP) } else { left };
            match policy.after_failure(&error, number, left, fastrand::f64()) {
                // A probe is asked once: its failure has just closed the door again.
                NextStep::RetryAfter(delay) if !probe => sleep(delay).await,
                NextStep::RetryAfter(_) => return Err((Setback::Failed(error), NextStep::FailOver)),
                end @ (NextStep::FailOver | NextStep::GiveUp) => return Err((Setback::Failed(error), end)),
            }
            last = Some(error);
        }
        Err((last.map_or(Setback::OutOfTime, Setback::Failed), NextStep::FailOver))
    }

    /// Leave for one attempt of at most `timeout`, which the witness knows of. Telling it takes time, and what was had
    /// may be too old by then: nothing was sent, so that is no attempt.
    async fn admitted(
        &self,
        way: &Way<Req, Res>,
        timeout: Duration,
        deadline: Instant,
        witness: Option<&dyn Witness>,
    ) -> Result<Permit, Setback> {
        let mut deadline = deadline;
        for _ in 0..TELLINGS {
            if Instant::now() >= deadline {
                break;
            }
            let permit = way.gate.admit(timeout, deadline).await.map_err(Setback::Refused)?;
            let Some(witness) = witness else { return Ok(permit) };
            let told = witness.attempting(way.provider.name(), way.gate.time_for(&permit, timeout)).await;
            if told.is_ok() && way.gate.is_current(&permit, timeout) {
                return Ok(permit);
            }
            way.gate.record(permit, Health::Unclear).await;
            told.map_err(|Stop| Setback::Stopped)?;
            // Whoever was told expects to hear of it soon.
            deadline = deadline.min(Instant::now() + LONGEST_NAP);
        }
        Err(Setback::OutOfTime)
    }

    async fn attempt(
        &self,
        way: &Way<Req, Res>,
        request: &Req,
        permit: Permit,
        (number, policy): (u32, &Policy),
        deadline: Instant,
    ) -> Result<Res, ProviderError> {
        let began = Instant::now();
        let limit = way.gate.time_for(&permit, policy.timeout).min(deadline.saturating_duration_since(began));
        let outcome = match timeout(limit, way.provider.call(request)).await {
            Ok(outcome) => outcome,
            Err(elapsed) => Err(match policy.replay {
                Replay::Safe | Replay::WithKey => ProviderError::Timeout,
                Replay::Never => ProviderError::Ambiguous(Box::new(elapsed)),
            }),
        };
        let health = match &outcome {
            Ok(_) => Health::Alive,
            // A caller in a hurry is not a provider that is down.
            Err(ProviderError::Timeout) if limit < policy.timeout / 2 => Health::Unclear,
            Err(error) => error.health(),
        };
        way.gate.record(permit, health).await;
        if let Err(ProviderError::Throttled { retry_after }) = &outcome {
            way.gate.limiter().block(*retry_after).await;
        }
        self.log_attempt(way.provider.name(), &outcome, number, began.elapsed());
        outcome
    }

    /// The ways in the order in force.
    fn ways(&self) -> Vec<&Way<Req, Res>> {
        self.order.current().places().iter().filter_map(|place| self.ways.get(*place)).collect()
    }

    fn settings_are_due(&self) -> bool {
        self.policy.settings().is_some_and(|settings| settings.is_due())
    }

    /// Reads settings that have had their time. Where there is no cache to be asked, the trip is that to the circuit.
    async fn refresh_when_due(&self) {
        if self.settings_are_due() {
            self.refresh().await;
        }
    }

    /// Brings up to date, in one wait, the settings and the snapshot of the first provider's circuit.
    async fn refresh(&self) {
        let settings = async {
            if let Some(settings) = self.policy.settings() {
                settings.refresh().await;
            }
        };
        let circuit = async {
            if let Some(way) = self.ways().first() {
                way.gate.refresh().await;
            }
        };
        tokio::join!(settings, circuit);
    }

    fn log_attempt(&self, provider: &str, outcome: &Result<Res, ProviderError>, attempt: u32, took: Duration) {
        let (status, error) = match outcome {
            Ok(_) => ("ok", None),
            Err(error) => (error.label(), Some(chain(error))),
        };
        if let (Some(rollups), Err(error)) = (&self.rollups, outcome) {
            rollups.note_setback(error.label());
        }
        tracing::info!(
            target: crate::telemetry::METRIC,
            integration = self.name,
            provider,
            endpoint = self.operation,
            attempt,
            status,
            error,
            success = u64::from(outcome.is_ok()),
            failure = u64::from(outcome.is_err()),
            duration_ms = millis(took),
            "api_call"
        );
    }

    /// Counts a call that the gate kept back, whatever the caller is answered in the end.
    fn report_refusal(&self, provider: &str, setback: &Setback) {
        let Setback::Refused(refusal) = setback else { return };
        let limited = matches!(refusal, Refusal::Limited(_));
        if let Some(rollups) = &self.rollups {
            rollups.note_setback(if limited { "limited" } else { "circuit_open" });
        }
        tracing::info!(
            target: crate::telemetry::METRIC,
            integration = self.name,
            provider,
            endpoint = self.operation,
            limited = u64::from(limited),
            circuit_open = u64::from(!limited),
            "refused"
        );
    }

    /// Hands on last minute's numbers, and what operators are to know of the deployment.
    async fn flush(&self) {
        let numbers = async {
            if let Some(rollups) = &self.rollups {
                rollups.flush().await;
            }
        };
        let deployed = async {
            if let Some(settings) = self.policy.settings() {
                settings.tell().await;
            }
        };
        tokio::join!(numbers, deployed);
    }

    fn report(&self, source: Option<Source>, took: Duration) {
        if let Some(rollups) = &self.rollups {
            let ending = match source {
                Some(Source::Live) => Ending::Live,
                Some(Source::Cached { .. }) => Ending::Cached,
                Some(Source::Stale { .. } | Source::Manual { .. } | Source::Default) => Ending::StoodIn,
                None => Ending::Unanswered,
            };
            rollups.note(ending, took);
        }
        let source = source.map_or("none", Source::label);
        let is = |label| u64::from(source == label);
        tracing::info!(
            target: crate::telemetry::METRIC,
            integration = self.name,
            endpoint = self.operation,
            source,
            answer_ms = millis(took),
            unanswered = is("none"),
            cache_hit = is("cached"),
            cache_miss = is("live"),
            cache_stale = is("stale"),
            manual = is("manual"),
            defaulted = is("default"),
            "answer"
        );
    }
}
