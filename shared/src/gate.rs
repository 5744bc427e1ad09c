//! The gate before a provider: nobody calls without a slot and a circuit that lets them through.
//!
//! This is the doing half of [`crate::resilience`]: it asks the store, sleeps for a slot, and keeps what it learned. Order
//! matters and is this: a look at the circuit (no I/O on a fresh snapshot), then a slot, then the circuit again right
//! before the send, because waiting for a slot takes time. Every attempt passes here, retries included.
//!
//! When the store does not answer, the gate goes on with the same rules over a store of its own: the provider is then
//! protected per environment instead of per fleet, and a log line says so.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{SharedClock, Timestamp};
use crate::error::chain;
use crate::provider::Health;
use crate::resilience::circuit_breaker::{self, BreakerPolicy, Circuit, Verdict, probe_lease};
use crate::resilience::rate_limit::{self, Bucket, Plan, RatePolicy};
use crate::store::{Item, MemoryStore, Outcome, Read, Store, StoreError, Update};

/// How long a reading of the circuit is acted on; drawn anew within a fifth of it either way.
const SNAPSHOT_TTL: Duration = Duration::from_secs(1);

/// An environment writes "all is well again" at most this often.
const HEAL_EVERY: Duration = Duration::from_secs(1);

/// For how long everybody stays away from a provider that throttled without saying for how long.
const DEFAULT_BLOCK: Duration = Duration::from_secs(1);

/// Nobody is believed to want to be left alone for longer: a proxy's slip must not silence a provider for a year.
const LONGEST_BLOCK: Duration = Duration::from_secs(60 * 60);

/// Takes of a slot that may lose against rivals before the caller is told to come back.
const TAKES: u32 = 4;

/// One provider's circuit and rate limit, as this environment sees them.
pub struct Gate {
    provider: &'static str,
    breaker: BreakerPolicy,
    rate: Option<RatePolicy>,
    store: Arc<dyn Store>,
    alone: MemoryStore,
    clock: SharedClock,
    seen: Mutex<Seen>,
}

/// What this environment knows about the shared items.
#[derive(Debug, Default)]
struct Seen {
    circuit: Circuit,
    /// The item the circuit was read from.
    item: Item,
    /// Whether it is this environment's own reckoning, because the store did not answer.
    alone: bool,
    fresh_until: Option<Instant>,
    bucket: Bucket,
    failures_in_a_row: u32,
    healed_at: Option<Instant>,
}

/// Leave to make one attempt. Hand it back with [`Gate::record`].
#[derive(Debug)]
#[must_use = "a permit must be recorded, or the circuit learns nothing"]
pub struct Permit {
    epoch: i64,
    probe: Option<String>,
}

impl Permit {
    /// Whether this attempt is the one probe of a half-open circuit, which is never repeated.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

/// Why there is no leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The circuit is open; look again at this time.
    Open(Timestamp),
    /// No slot within the wait allowed; the next one is this far away.
    Limited(Duration),
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl Gate {
    /// The gate before `provider`, with its state in `store`.
    pub fn new(
        provider: &'static str,
        breaker: BreakerPolicy,
        rate: Option<RatePolicy>,
        store: Arc<dyn Store>,
        clock: SharedClock,
    ) -> Self {
        let (alone, seen) = (MemoryStore::new(), Mutex::default());
        Self { provider, breaker, rate, store, alone, clock, seen }
    }

    /// Leave for one attempt of at most `timeout`, waiting for a slot if need be, but never past `deadline`.
    ///
    /// # Errors
    /// The [`Refusal`]: nothing was sent and nothing is held.
    pub async fn admit(&self, timeout: Duration, deadline: Instant) -> Result<Permit, Refusal> {
        self.refresh().await;
        if let Verdict::Open(until) = self.verdict() {
            return Err(Refusal::Open(until));
        }
        self.slot(deadline).await?;
        self.refresh().await;
        self.pass(timeout).await
    }

    /// Reads the circuit anew when the last reading has had its time. Callers join this with another trip.
    pub async fn refresh(&self) {
        if self.seen().fresh_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        match self.store.get(&circuit_breaker::key(self.provider), Read::Consistent).await {
            Ok(item) => self.learn(item.unwrap_or_default(), false),
            // A throttled store is alive: what was read last still stands.
            Err(StoreError::Throttled(_)) => {}
            Err(error) => self.go_alone(&error),
        }
        self.seen().fresh_until = Some(Instant::now() + SNAPSHOT_TTL.mul_f64(0.8 + 0.4 * fastrand::f64()));
    }

    /// Tells the circuit what became of a permitted attempt.
    pub async fn record(&self, permit: Permit, health: Health) {
        match (permit.probe.as_deref(), health) {
            (Some(token), Health::Alive) => {
                self.seen().failures_in_a_row = 0;
                self.change(Circuit::close(self.provider, permit.epoch, token), "circuit.closed").await;
            }
            (Some(token), Health::Failing) => {
                let now = self.clock.now();
                let update = Circuit::reopen(self.provider, permit.epoch, token, &self.breaker, now);
                self.change(update, "circuit.reopened").await;
            }
            (Some(token), Health::Unclear) => {
                self.change(Circuit::release(self.provider, permit.epoch, token), "circuit.released").await;
            }
            (None, Health::Alive) => self.heal(&permit).await,
            (None, Health::Failing) => self.fail(&permit).await,
            (None, Health::Unclear) => {}
        }
    }

    /// The provider asked everybody to stay away for `span`, or did not say for how long.
    pub async fn block(&self, span: Option<Duration>) {
        let until = self.clock.now().after(span.unwrap_or(DEFAULT_BLOCK).min(LONGEST_BLOCK));
        let outcome = self.update(&Bucket::block(self.provider, until)).await;
        let asked = Bucket { blocked_until: Some(until), ..Bucket::default() };
        let mut seen = self.seen();
        // A block that could not be shared is kept by this environment at least.
        seen.bucket = outcome.map_or(seen.bucket.stricter(asked), |(outcome, _)| Bucket::from(&outcome.into_item()));
        drop(seen);
        tracing::warn!(target: "ieum::gate", provider = self.provider, until = %until, "rate.blocked");
    }

    /// Waits for a slot and takes it.
    async fn slot(&self, deadline: Instant) -> Result<(), Refusal> {
        let Some(rate) = self.rate else {
            let blocked = self.blocked();
            return if blocked.is_zero() { Ok(()) } else { Err(self.limited(blocked)) };
        };
        let patience = Instant::now() + rate.max_wait.min(deadline.saturating_duration_since(Instant::now()));
        let wait = self.take(&rate, patience).await?;
        tokio::time::sleep(wait).await;
        // Somebody may have been told to stay away while this call waited for its turn.
        let blocked = self.blocked();
        if Instant::now() + blocked > patience && !blocked.is_zero() {
            return Err(self.limited(blocked));
        }
        tokio::time::sleep(blocked).await;
        Ok(())
    }

    /// For how long the provider has asked everybody to stay away, as far as this environment knows.
    fn blocked(&self) -> Duration {
        let until = self.seen().bucket.blocked_until;
        until.map_or(Duration::ZERO, |until| until.since(self.clock.now()))
    }

    /// Takes a slot and says how far away it is.
    async fn take(&self, rate: &RatePolicy, patience: Instant) -> Result<Duration, Refusal> {
        for _ in 0..TAKES {
            let (now, wait) = (self.clock.now(), patience.saturating_duration_since(Instant::now()));
            let bucket = self.seen().bucket;
            let update = match bucket.plan(self.provider, rate, wait, now) {
                Plan::Refuse(away) => return Err(self.limited(away)),
                Plan::Take(update) => update,
            };
            // A throttled store is alive: the fleet is busy, so the caller is told to come back.
            let Some((outcome, _)) = self.update(&update).await else { return Err(self.limited(rate.interval)) };
            let applied = matches!(outcome, Outcome::Applied(_));
            let bucket = Bucket::from(&outcome.into_item());
            self.seen().bucket = bucket;
            if applied {
                return Ok(bucket.taken_in(rate, now));
            }
        }
        Err(self.limited(rate.interval))
    }

    fn limited(&self, away: Duration) -> Refusal {
        let wait_ms = u64::try_from(away.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(target: "ieum::gate", provider = self.provider, wait_ms, "rate.limited");
        Refusal::Limited(away)
    }

    /// Passes the circuit: freely when closed, as its one probe when half-open.
    async fn pass(&self, timeout: Duration) -> Result<Permit, Refusal> {
        let epoch = self.seen().circuit.epoch;
        match self.verdict() {
            Verdict::Closed => Ok(Permit { epoch, probe: None }),
            Verdict::Open(until) => Err(Refusal::Open(until)),
            Verdict::HalfOpen => {
                let (now, token) = (self.clock.now(), uuid::Uuid::new_v4().to_string());
                let until = now.after(probe_lease(timeout));
                let update = Circuit::probe(self.provider, epoch, &token, until, now);
                if self.change(update, "circuit.probing").await {
                    return Ok(Permit { epoch, probe: Some(token) });
                }
                let until = match self.verdict() {
                    Verdict::Open(until) => until,
                    // Closed in the meantime, or lost to a rival that is gone: the caller's next attempt will see.
                    Verdict::Closed | Verdict::HalfOpen => now,
                };
                Err(Refusal::Open(until))
            }
        }
    }

    async fn heal(&self, permit: &Permit) {
        let due = {
            let mut seen = self.seen();
            seen.failures_in_a_row = 0;
            let due = seen.circuit.failures > 0
                && seen.circuit.epoch == permit.epoch
                && seen.healed_at.is_none_or(|at| at.elapsed() >= HEAL_EVERY);
            if due {
                seen.healed_at = Some(Instant::now());
            }
            due
        };
        if due {
            self.change(Circuit::heal(self.provider, permit.epoch), "circuit.healed").await;
        }
    }

    async fn fail(&self, permit: &Permit) {
        let now = self.clock.now();
        let in_a_row = {
            let mut seen = self.seen();
            // A failure of an earlier epoch is about a circuit that has opened since.
            if seen.circuit.epoch == permit.epoch {
                seen.failures_in_a_row = seen.failures_in_a_row.saturating_add(1);
            }
            seen.failures_in_a_row
        };
        self.change(Circuit::fail(self.provider, permit.epoch, now), "circuit.failure").await;
        let cause = {
            let seen = self.seen();
            let same = seen.circuit.epoch == permit.epoch;
            same.then(|| seen.circuit.should_open(&self.breaker, in_a_row, now)).flatten()
        };
        if let Some(cause) = cause {
            let update = Circuit::open(self.provider, permit.epoch, cause, &self.breaker, now);
            self.change(update, "circuit.opened").await;
        }
    }

    /// Changes the circuit, learns what it is now, and says whether the change went through.
    async fn change(&self, update: Update, event: &'static str) -> bool {
        // A throttled store leaves the count one short, which is better than a count of our own.
        let Some((outcome, alone)) = self.update(&update).await else { return false };
        let applied = matches!(outcome, Outcome::Applied(_));
        self.learn(outcome.into_item(), alone);
        if applied {
            tracing::info!(target: "ieum::gate", provider = self.provider, alone, event, "circuit");
        }
        applied
    }

    /// Asks the store; decides alone, and says so, when it does not answer. `None` when it is too busy to decide.
    async fn update(&self, update: &Update) -> Option<(Outcome, bool)> {
        match self.store.update(update).await {
            Ok(outcome) => Some((outcome, false)),
            Err(StoreError::Throttled(_)) => None,
            Err(error) => {
                self.go_alone(&error);
                Some((self.alone.apply(update), true))
            }
        }
    }

    /// The store is gone: go on from what was seen last, with the same rules, for this environment only.
    fn go_alone(&self, error: &StoreError) {
        let mut seen = self.seen();
        let key = rate_limit::key(self.provider);
        let kept = self.alone.read(&key).as_ref().map(Bucket::from).unwrap_or_default();
        self.alone.replace(key, seen.bucket.stricter(kept).into());
        if !seen.alone {
            seen.alone = true;
            self.alone.replace(circuit_breaker::key(self.provider), seen.item.clone());
            tracing::warn!(target: "ieum::gate", provider = self.provider, error = chain(error), "gate.alone");
        }
    }

    fn verdict(&self) -> Verdict {
        self.seen().circuit.verdict(self.clock.now())
    }

    /// Takes in a reading, unless a newer one of the same origin is known.
    fn learn(&self, item: Item, alone: bool) {
        let circuit = Circuit::from(&item);
        let mut seen = self.seen();
        if seen.alone != alone || circuit.is_newer_than(&seen.circuit) {
            // A new epoch is a new beginning: what failed before the circuit opened must not open it again.
            if circuit.epoch != seen.circuit.epoch {
                seen.failures_in_a_row = 0;
            }
            (seen.circuit, seen.item, seen.alone) = (circuit, item, alone);
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of the two items of a provider, for whoever shows them.
    pub fn keys(provider: &str) -> [String; 2] {
        [circuit_breaker::key(provider), rate_limit::key(provider)]
    }
}
