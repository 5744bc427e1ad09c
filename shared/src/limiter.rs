//! Slots of a rate limit, for whoever has to wait for one.
//!
//! This is the doing half of [`crate::resilience::rate_limit`]: it asks the store, keeps the slots it was given, sleeps
//! until one begins, and turns callers away without asking when it knows that there is none.
//!
//! When the store does not answer, the limiter goes on over a store of its own with this environment's part of the
//! rate, going by the fleet's size as it was known last. A store that throttles is alive: the fleet is busy, and the
//! caller is told to come back.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Moment, SharedClock, Timestamp};
use crate::planted::{Rule, broken};
use crate::resilience::rate_limit::{Bucket, Lease, Plan, RatePolicy, Share, is_usable};
use crate::settings::Live;
use crate::store::{Action, EXPIRES_AT, Key, MemoryStore, Outcome, Store, StoreError};

/// For how long everybody stays away from a provider that throttled without saying for how long.
const DEFAULT_BLOCK: Duration = Duration::from_secs(1);

/// Nobody is believed to want to be left alone for longer: a proxy's slip must not silence a provider for a year.
const LONGEST_BLOCK: Duration = Duration::from_secs(60 * 60);

/// Takes of a slot that may lose against rivals, or be lost while waiting, before the caller is told to come back.
const TAKES: u32 = 4;

/// One rate limit, as this environment sees it.
pub struct Limiter {
    key: Key,
    policy: Live<Option<RatePolicy>>,
    /// How long the store keeps an item that nobody uses; `None` for ever.
    keep: Option<Duration>,
    store: Arc<dyn Store>,
    alone: MemoryStore,
    clock: SharedClock,
    held: Mutex<Held>,
    /// Whoever holds it may ask the store: callers of one environment come one after the other, so that the second
    /// finds what the first has brought.
    turn: tokio::sync::Mutex<()>,
}

/// What this environment knows and has.
#[derive(Debug, Default)]
struct Held {
    bucket: Bucket,
    lease: Lease,
    /// When the lease was taken, by both clocks and by the corrected one.
    taken: Option<(Moment, Timestamp)>,
    /// The policy the lease was taken under: the whole one, or this environment's share of it.
    under: Option<RatePolicy>,
    share: Share,
    calls: VecDeque<Moment>,
}

/// A place in the stream of calls. It is lost when it is not used in time.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    at: Timestamp,
    policy: Option<RatePolicy>,
    taken: Moment,
    good_for: Duration,
}

impl Slot {
    /// Whether its time is not over, by the clock that says more.
    fn is_in_time(&self, now: Moment) -> bool {
        self.taken.is_within(self.good_for, now) || broken(Rule::SlotsExpire)
    }
}

/// How a limit stands, for the caller who is limited by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Calls allowed, and per how long; unknown where only the provider itself has spoken.
    pub policy: Option<(u32, Duration)>,
    /// Calls that could leave now.
    pub remaining: u32,
    /// How long until the next one may leave; zero when one may leave now.
    pub reset: Duration,
}

impl Standing {
    /// The limit as HTTP headers, `RateLimit` and, where it is known, `RateLimit-Policy`
    /// (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/>).
    pub fn headers(&self, name: &str) -> Vec<(&'static str, String)> {
        let seconds = self.reset.as_millis().div_ceil(1_000);
        let mut headers = vec![("ratelimit", format!("\"{name}\";r={};t={seconds}", self.remaining))];
        if let Some((calls, window)) = self.policy {
            headers.push(("ratelimit-policy", format!("\"{name}\";q={calls};w={}", window.as_secs().max(1))));
        }
        headers
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Limiter {
    /// The limit kept under `key`. Without a policy only what the provider asks for itself is heeded.
    pub fn new(
        key: Key,
        policy: impl Into<Live<Option<RatePolicy>>>,
        store: Arc<dyn Store>,
        clock: SharedClock,
    ) -> Self {
        let policy = policy.into();
        let (alone, held, turn) = (MemoryStore::new(), Mutex::default(), tokio::sync::Mutex::default());
        Self { key, policy, keep: None, store, alone, clock, held, turn }
    }

    /// Lets the store forget the limit when nobody has used it for `span`.
    pub fn forgotten_after(self, span: Duration) -> Self {
        Self { keep: Some(span), ..self }
    }

    /// Waits for a slot, but never past `deadline`. The slot has begun when this returns.
    ///
    /// # Errors
    /// How far away the next slot is, when that is too far.
    pub async fn slot(&self, deadline: Instant) -> Result<Slot, Duration> {
        let max_wait = self.policy.current().map_or(Duration::MAX, |policy| policy.max_wait);
        let patience = Instant::now() + max_wait.min(deadline.saturating_duration_since(Instant::now()));
        for _ in 0..TAKES {
            let slot = self.reserve(patience).await?;
            tokio::time::sleep(slot.at.since(self.clock.now())).await;
            if self.is_usable(&slot) {
                self.count_call();
                return Ok(slot);
            }
        }
        Err(self.refuse(self.pause()))
    }

    /// Whether a call may still leave for `slot` now: its time is not over, and the provider has not asked everybody to
    /// stay away meanwhile.
    pub fn is_usable(&self, slot: &Slot) -> bool {
        if !self.blocked().is_zero() {
            return false;
        }
        slot.is_in_time(self.clock.moment())
            && slot.policy.is_none_or(|policy| is_usable(slot.at, &policy, self.clock.now()))
    }

    /// The provider asked everybody to stay away for `span`, or did not say for how long.
    pub async fn block(&self, span: Option<Duration>) {
        let until = self.clock.now().after(span.unwrap_or(DEFAULT_BLOCK).min(LONGEST_BLOCK));
        let outcome = self.store.update(&Bucket::block(&self.key, until)).await;
        let asked = Bucket { blocked_until: Some(until), ..Bucket::default() };
        let mut held = self.held();
        // A block that could not be shared is kept by this environment at least.
        held.bucket = outcome.map_or(held.bucket.stricter(asked), |outcome| Bucket::from(&outcome.into_item()));
        drop(held);
        tracing::warn!(target: "ieum::limiter", limit = self.key, until = %until, "rate.blocked");
    }

    /// How many environments like this one the fleet has, as far as this one can tell.
    pub fn environments(&self) -> f64 {
        self.held().share.environments()
    }

    /// How the limit stands; `None` where there is none.
    pub fn standing(&self) -> Option<Standing> {
        let policy = self.policy.current()?;
        let (held, now) = (self.held(), self.clock.now());
        let reset = held.lease.first().map_or_else(|| held.bucket.slot_in(&policy, now), |first| first.since(now));
        let remaining = held.bucket.remaining(&policy, now).saturating_add(held.lease.left());
        Some(Standing { policy: Some((policy.calls, policy.period)), remaining, reset })
    }

    /// The earliest slot there is for this environment, which may lie in the future.
    async fn reserve(&self, patience: Instant) -> Result<Slot, Duration> {
        let Some(policy) = self.policy.current() else { return self.after_the_block(patience) };
        let _turn = self.turn.lock().await;
        // Asked anew, but as of the same time: `tat` only grows, so whoever has lost the idle form once cannot lose it again.
        // As of a later time the bucket would look idle once more whenever a trip takes longer than an interval, and of
        // many rivals one a trip would get a slot. An answer that came late is seen to by the slot's own age.
        let (now, wait) = (self.clock.now(), patience.saturating_duration_since(Instant::now()));
        let (taken, wanted) = (self.clock.moment(), self.wanted(&policy));
        for _ in 0..TAKES {
            if let Some(slot) = self.held_slot(now, wait)? {
                return Ok(slot);
            }
            let bucket = self.held().bucket;
            if let Some(update) = bucket.reckoned_anew(&self.key, &policy, now)
                && let Ok(outcome) = self.store.update(&update).await
            {
                self.held().bucket = Bucket::from(&outcome.into_item());
                continue;
            }
            let (update, count) = match bucket.plan(&self.key, &policy, wanted, wait, now) {
                Plan::Refuse(away) => return Err(self.refuse(away)),
                Plan::Take { update, count } => (update, count),
            };
            let update = match self.keep {
                Some(span) => update.then([Action::Set(EXPIRES_AT, now.after(span).as_seconds().into())]),
                None => update,
            };
            match self.store.update(&update).await {
                Ok(outcome) => self.take_in(outcome, policy, count, (taken, now)),
                Err(StoreError::Throttled(_)) if !broken(Rule::ThrottledIsAlive) => {
                    return Err(self.refuse(self.pause()));
                }
                Err(_) => self.take_alone(&policy, wait, (taken, now))?,
            }
        }
        Err(self.refuse(self.pause()))
    }

    /// Takes in what the store said about a take.
    fn take_in(&self, outcome: Outcome, policy: RatePolicy, count: u32, taken: (Moment, Timestamp)) {
        let mut held = self.held();
        let applied = matches!(outcome, Outcome::Applied(_));
        held.bucket = Bucket::from(&outcome.into_item());
        if applied {
            let bucket = held.bucket;
            held.share.note(count, bucket.taken);
            held.hold(bucket.leased(&policy, count, taken.1), policy, taken);
        }
    }

    /// Takes one slot of this environment's share, because the store does not answer.
    fn take_alone(&self, policy: &RatePolicy, wait: Duration, taken: (Moment, Timestamp)) -> Result<(), Duration> {
        let share = policy.share_of(self.environments());
        let known = self.alone.read(&self.key).as_ref().map(Bucket::from).unwrap_or_default();
        let bucket = self.held().bucket.stricter(known);
        self.alone.replace(self.key.clone(), bucket.into());
        match bucket.plan(&self.key, &share, 1, wait, taken.1) {
            Plan::Refuse(away) => Err(self.refuse(away)),
            Plan::Take { update, count } => {
                if let Outcome::Applied(item) = self.alone.apply(&update) {
                    let bucket = Bucket::from(&item);
                    self.held().hold(bucket.leased(&share, count, taken.1), share, taken);
                }
                Ok(())
            }
        }
    }

    /// The earliest slot of the lease.
    fn held_slot(&self, now: Timestamp, wait: Duration) -> Result<Option<Slot>, Duration> {
        let mut held = self.held();
        let (Some((taken, taken_at)), Some(policy)) = (held.taken, held.under) else { return Ok(None) };
        let earliest = now.after(held.bucket.blocked_in(now));
        let present = self.clock.moment();
        while let Some(at) = held.lease.pop(&policy, earliest, now.after(wait)) {
            let good_for = at.since(taken_at) + policy.lease();
            let slot = Slot { at, policy: Some(policy), taken, good_for };
            // By the wall clock alone a slot may seem to be good still: it may have been set back.
            if slot.is_in_time(present) {
                return Ok(Some(slot));
            }
        }
        // A slot of ours that is too far away is nearer than any the store has.
        match held.lease.first() {
            Some(first) => {
                drop(held);
                Err(self.refuse(first.since(now)))
            }
            None => Ok(None),
        }
    }

    fn after_the_block(&self, patience: Instant) -> Result<Slot, Duration> {
        let (blocked, now) = (self.blocked(), self.clock.now());
        if Instant::now() + blocked > patience {
            return Err(self.refuse(blocked));
        }
        Ok(Slot { at: now.after(blocked), policy: None, taken: self.clock.moment(), good_for: Duration::MAX })
    }

    /// For how long the provider has asked everybody to stay away, as far as this environment knows.
    fn blocked(&self) -> Duration {
        self.held().bucket.blocked_in(self.clock.now())
    }

    fn count_call(&self) {
        let Some(policy) = self.policy.current() else { return };
        let (now, mut held) = (self.clock.moment(), self.held());
        held.calls.push_back(now);
        if held.calls.len() > 2 * policy.largest_take() as usize {
            held.calls.pop_front();
        }
    }

    /// How many slots this environment will make use of: half as many as it made calls in the last `D`.
    fn wanted(&self, policy: &RatePolicy) -> u32 {
        let now = self.clock.moment();
        let recent = self.held().calls.iter().filter(|call| call.is_within(policy.lease(), now)).count();
        u32::try_from(recent / 2).unwrap_or(u32::MAX)
    }

    /// How long a caller is told to stay away when nobody can say.
    fn pause(&self) -> Duration {
        self.policy.current().map_or(DEFAULT_BLOCK, |policy| policy.interval())
    }

    fn refuse(&self, away: Duration) -> Duration {
        let wait_ms = u64::try_from(away.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(target: "ieum::limiter", limit = self.key, wait_ms, "rate.limited");
        away
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn hold(&mut self, lease: Lease, under: RatePolicy, taken: (Moment, Timestamp)) {
        (self.lease, self.under, self.taken) = (lease, Some(under), Some(taken));
    }
}
