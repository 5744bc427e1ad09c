//! One environment: the real gate and executor over a clock that is off, a store that fails, and a life that may end at
//! any await point.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use ieum::answers::{Request, Response};
use ieum::clock::{Clock, CorrectedClock, Moment, SharedClock, Timestamp, millis};
use ieum::gate::Gate;
use ieum::integration::{Integration, Way};
use ieum::policy::{Policy, Replay};
use ieum::provider::{Provider, ProviderError};
use ieum::resilience::backoff::Backoff;
use ieum::store::{Action, BoundedStore, Item, Key, Outcome, Read, Store, StoreError, Update, Value};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Sleep, sleep};

use crate::plan::Phase;
use crate::world::{Name, PROVIDER, World};
use crate::{ms, secs};

/// The kernel's own state may hold a call up for so long.
const STORE_LIMIT: Duration = Duration::from_millis(50);

/// The question of every call.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Question;

/// The answer to it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Reply;

impl Request for Question {
    fn readable(&self) -> String {
        "question".to_owned()
    }
}

impl Response for Reply {
    fn is_known(&self) -> bool {
        true
    }
}

/// What can be done to an environment from outside.
#[derive(Debug, Default)]
pub struct Fate {
    crashed: AtomicBool,
    /// Polls of its tasks until it crashes; 0 for never.
    polls_left: AtomicU32,
    frozen_until: Mutex<Option<Instant>>,
    /// How far its monotonic clock is behind, in milliseconds.
    stood_still_ms: AtomicI64,
}

impl Fate {
    /// Crashes the environment after so many polls of its tasks.
    pub fn crash_after(&self, polls: u32) {
        self.polls_left.store(polls.max(1), Ordering::Relaxed);
    }

    /// Whether it has crashed.
    pub fn has_crashed(&self) -> bool {
        self.crashed.load(Ordering::Relaxed)
    }

    /// Freezes it for `span`; its monotonic clock stands still meanwhile when `stopped` says so.
    pub fn freeze(&self, span: Duration, stopped: bool) {
        *self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + span);
        if stopped {
            self.stood_still_ms.fetch_add(millis(span), Ordering::Relaxed);
        }
    }

    fn frozen_until(&self) -> Option<Instant> {
        let until = *self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.filter(|until| *until > Instant::now())
    }
}

/// A task of an environment, which ends with it and stands still with it.
pub struct Task<F> {
    work: Option<Pin<Box<F>>>,
    fate: Arc<Fate>,
    thaw: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = ()>> Task<F> {
    /// `work`, subject to `fate`.
    pub fn new(work: F, fate: Arc<Fate>) -> Self {
        Self { work: Some(Box::pin(work)), fate, thaw: None }
    }
}

impl<F: Future<Output = ()>> Future for Task<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let left = self.fate.polls_left.load(Ordering::Relaxed);
        if left > 0 {
            self.fate.polls_left.store(left - 1, Ordering::Relaxed);
            if left == 1 {
                self.fate.crashed.store(true, Ordering::Relaxed);
            }
        }
        if self.fate.has_crashed() {
            self.work = None;
            return Poll::Ready(());
        }
        if let Some(until) = self.fate.frozen_until() {
            let mut thaw = Box::pin(tokio::time::sleep_until(until));
            if thaw.as_mut().poll(context).is_pending() {
                self.thaw = Some(thaw);
                return Poll::Pending;
            }
        }
        self.work.as_mut().map_or(Poll::Ready(()), |work| work.as_mut().poll(context))
    }
}

/// The clock of an environment: off by some seconds, and its monotonic hand may have stood still.
#[derive(Debug)]
struct SkewedClock {
    world: Arc<World>,
    skew_ms: i64,
    fate: Arc<Fate>,
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.world.millis(self.world.now()) + self.skew_ms)
    }

    fn moment(&self) -> Moment {
        let behind = u64::try_from(self.fate.stood_still_ms.load(Ordering::Relaxed)).unwrap_or(0);
        Moment { wall: self.now(), monotonic: Instant::now() + secs(1_000_000) - ms(behind) }
    }
}

/// The way of one environment to the store.
struct Link {
    world: Arc<World>,
    name: Name,
    clock: Arc<CorrectedClock>,
    random: Mutex<Rng>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({:?})", self.name)
    }
}

/// What becomes of one trip to the store.
struct Trip {
    out: Duration,
    back: Duration,
    request_lost: bool,
    reply_lost: bool,
    throttled: bool,
    dead: bool,
}

impl Link {
    fn draw(&self) -> Trip {
        let (plan, at) = (&self.world.plan, self.world.now());
        let (faults, mut random) = (plan.faults, self.random.lock().unwrap_or_else(PoisonError::into_inner));
        let mut leg = || {
            let slow = faults.spikes && random.u8(0..50) == 0;
            if slow {
                self.world.fault("slow store");
            }
            ms(match random.u8(0..8) {
                _ if slow => random.u64(30..400),
                0 => random.u64(10..24),
                _ => random.u64(1..8),
            })
        };
        let (out, back) = (leg(), leg());
        // A third of the time, in the middle.
        let bad_times = at > plan.lasts / 3 && at < plan.lasts * 2 / 3;
        let trip = Trip {
            out,
            back,
            request_lost: faults.losses && random.u8(0..60) == 0,
            reply_lost: faults.losses && random.u8(0..60) == 0,
            throttled: faults.throttling && bad_times && random.bool(),
            dead: faults.dead_store && bad_times,
        };
        let happened = [
            ("lost request", trip.request_lost),
            ("lost reply", trip.reply_lost),
            ("throttled store", trip.throttled),
            ("dead store", trip.dead),
        ];
        drop(random);
        happened.into_iter().filter(|(_, happens)| *happens).for_each(|(kind, _)| self.world.fault(kind));
        trip
    }

    /// Makes a trip to do `work` at the store. What was sent may arrive although nobody waits for it any more.
    async fn trip<T: Send + 'static>(
        &self,
        claim: Option<String>,
        work: impl FnOnce(&World, Name) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut asked = Asked { link: self, at: self.world.now(), claim, answered: false };
        let trip = self.draw();
        if trip.dead {
            sleep(trip.out).await;
            return Err(StoreError::Unreachable("dead".into()));
        }
        if trip.request_lost {
            return std::future::pending().await;
        }
        let sent = self.clock.raw_now();
        if trip.throttled {
            sleep(trip.out + trip.back).await;
            asked.answered = true;
            return Err(StoreError::Throttled("ordered".into()));
        }
        let (world, name) = (Arc::clone(&self.world), self.name);
        let arrival = tokio::spawn(async move {
            sleep(trip.out).await;
            (work(&world, name), world.millis(world.now()))
        });
        let Ok((result, millis)) = arrival.await else { return Err(StoreError::Unreachable("gone".into())) };
        if trip.reply_lost {
            return std::future::pending().await;
        }
        sleep(trip.back).await;
        self.clock.observe(sent, self.clock.raw_now(), Timestamp::from_millis(millis.div_euclid(1_000) * 1_000));
        asked.answered = true;
        Ok(result)
    }
}

/// A question to the store that may go unanswered.
struct Asked<'a> {
    link: &'a Link,
    at: Duration,
    claim: Option<String>,
    answered: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.link.world.unanswered(self.link.name, self.at, self.claim.take());
        }
    }
}

#[async_trait]
impl Store for Link {
    async fn get(&self, key: &str, _: Read) -> Result<Option<Item>, StoreError> {
        let wanted = key.to_owned();
        let item = self.trip(None, move |world, _| world.read(&wanted)).await;
        match &item {
            Ok(item) => self.world.deliver(self.name, key, item.as_ref()),
            Err(_) => self.world.unread(self.name),
        }
        item
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let wanted = keys.to_vec();
        self.trip(None, move |world, _| wanted.iter().map(|key| world.read(key)).collect()).await
    }

    async fn listed(&self, list: &str, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.world.store.listed(list, from, until, limit).await
    }

    async fn due(&self, list: &str, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.world.store.due(list, until, limit).await
    }

    async fn update(&self, update: &Update) -> Result<Outcome, StoreError> {
        let wanted = update.clone();
        let claim = update.actions.iter().find_map(|action| match action {
            Action::Set("probe_token", Value::Text(token)) => Some(token.clone()),
            Action::Set(..) | Action::SetIfAbsent(..) | Action::Add(..) | Action::Remove(_) => None,
        });
        let outcome = self.trip(claim, move |world, name| world.apply(name, &wanted)).await?;
        let item = match &outcome {
            Outcome::Applied(item) => Some(item),
            Outcome::Refused(item) => item.as_ref(),
        };
        self.world.deliver(self.name, &update.key, item);
        Ok(outcome)
    }
}

/// The provider as one environment reaches it.
struct Outside {
    world: Arc<World>,
    name: Name,
    fate: Arc<Fate>,
    random: Mutex<Rng>,
}

/// A call under way, which ends when it is dropped at the latest.
struct UnderWay<'a> {
    outside: &'a Outside,
    began: Duration,
    probe: bool,
    failed: Option<bool>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.outside.world.call_ends(self.outside.name, self.began, self.probe, self.failed);
    }
}

#[async_trait]
impl Provider<Question, Reply> for Outside {
    fn name(&self) -> &'static str {
        PROVIDER
    }

    async fn call(&self, _: &Question) -> Result<Reply, ProviderError> {
        let began = self.world.now();
        let probe = self.world.call_begins(self.name);
        // A call that is given up counts as failed: the executor gives up only by its timeout.
        let mut call = UnderWay { outside: self, began, probe, failed: Some(true) };
        let (latency, luck) = {
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            let tail = random.u8(0..40) == 0;
            if probe && self.world.plan.faults.freezes && random.bool() {
                // The worst moment to be frozen: somebody else will probe, and then this one wakes up.
                self.world.fault("frozen");
                self.fate.freeze(ms(random.u64(2_900..6_000)), random.bool());
            }
            (ms(if tail { random.u64(200..900) } else { random.u64(20..200) }), random.f64())
        };
        match self.world.plan.phase(began) {
            Phase::Well => sleep(latency).await,
            Phase::Failing(share) => {
                sleep(latency).await;
                if luck < share {
                    return Err(ProviderError::Unavailable { status: 503 });
                }
            }
            Phase::Refusing => {
                sleep(ms(5)).await;
                return Err(ProviderError::Unreachable("refused".into()));
            }
            Phase::Silent => std::future::pending().await,
            Phase::Throttling(span) => {
                sleep(latency).await;
                call.failed = Some(false);
                return Err(ProviderError::Throttled { retry_after: Some(span) });
            }
        }
        call.failed = Some(false);
        Ok(Reply)
    }
}

/// A running environment.
pub struct Environment {
    /// What can be done to it.
    pub fate: Arc<Fate>,
    integration: Integration<Question, Reply>,
    store: Arc<dyn Store>,
    world: Arc<World>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.integration.fmt(f)
    }
}

impl Environment {
    /// A cold environment.
    pub fn start(world: &Arc<World>, name: Name, random: &mut Rng) -> Self {
        let plan = &world.plan;
        let skew_ms = if plan.faults.skew { random.i64(-5_000..=5_000) } else { 0 };
        if skew_ms.abs() > 500 {
            world.fault("clock skew");
        }
        let fate = Arc::new(Fate::default());
        let raw = Arc::new(SkewedClock { world: Arc::clone(world), skew_ms, fate: Arc::clone(&fate) });
        let clock = Arc::new(CorrectedClock::new(raw));
        let fork = |random: &mut Rng| Mutex::new(random.fork());
        let link = Link { world: Arc::clone(world), name, clock: Arc::clone(&clock), random: fork(random) };
        let store: Arc<dyn Store> = Arc::new(BoundedStore::new(Arc::new(link), STORE_LIMIT));
        let shared: SharedClock = clock;
        let gate = Gate::new(PROVIDER, plan.breaker, plan.rate, Arc::clone(&store), Arc::clone(&shared));
        let outside = Outside { world: Arc::clone(world), name, fate: Arc::clone(&fate), random: fork(random) };
        let way = Way { provider: Box::new(outside), gate: Arc::new(gate) };
        let policy = Policy {
            attempts: plan.attempts,
            backoff: Backoff::Exponential { base: ms(100), max: secs(1) },
            retryable_statuses: vec![503],
            timeout: plan.timeout,
            deadline: secs(10),
            replay: Replay::Safe,
        };
        let integration = Integration::new("simulation", "ask", policy, vec![way], shared);
        Self { fate, integration, store, world: Arc::clone(world) }
    }

    /// Reads once, as every function does at start, and learns the store's time by it.
    pub async fn warm(&self) {
        let _ = self.store.get("warm", Read::Eventual).await;
    }

    /// Makes one call.
    pub async fn call(&self) {
        self.world.operation();
        let _ = self.integration.call(&Question, Instant::now() + secs(10)).await;
    }
}
