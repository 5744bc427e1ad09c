//! The gate before a provider: nobody calls without a slot and a circuit that lets them through.
//!
//! This is the doing half of [`crate::resilience::circuit_breaker`], with a [`Limiter`] beside it: it asks the store and
//! keeps what it learned. Order matters and is this: a look at the circuit (no I/O on a fresh reading), then a slot,
//! then the circuit again right before the send, because waiting for a slot takes time. Every attempt passes here,
//! retries included, and between [`Gate::admit`] and the send there is nothing to wait for.
//!
//! When the store does not answer, the gate goes on with the same rules over a store of its own: the provider is then
//! protected per environment instead of per fleet, and a log line says so.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::audit;
use crate::clock::{Moment, SharedClock, Timestamp};
use crate::error::chain;
use crate::limiter::{Limiter, Slot};
use crate::planted::{Rule, broken};
use crate::provider::Health;
use crate::resilience::circuit_breaker::{self, BreakerPolicy, Cause, Circuit, Verdict, probe_lease};
use crate::resilience::rate_limit::{self, RatePolicy};
use crate::settings::Live;
use crate::store::{Item, MemoryStore, Outcome, Read, Store, StoreError, Update};

/// How long a reading of the circuit is acted on; drawn anew within a fifth of it either way. With it,
/// [`circuit_breaker::LONGEST_SNAPSHOT`] is the longest.
const SNAPSHOT_TTL: Duration = Duration::from_secs(1);

/// So many environments may read one item every second; larger fleets read less often.
const READERS_PER_SECOND: f64 = 2_000.0;

/// An environment writes "all is well again" at most this often: twice within the age of a streak that counts.
const HEAL_EVERY: Duration = Duration::from_millis(500);

/// How often admission starts over because its slot or its reading was too old when all was ready.
const ADMISSIONS: u32 = 3;

/// One provider's circuit and rate limit, as this environment sees them.
pub struct Gate {
    provider: &'static str,
    breaker: Live<BreakerPolicy>,
    limiter: Limiter,
    store: Arc<dyn Store>,
    alone: MemoryStore,
    clock: SharedClock,
    seen: Mutex<Seen>,
    /// Whoever holds it may read the circuit; the others use what it reads.
    turn: tokio::sync::Mutex<()>,
}

/// What this environment knows about the shared item.
#[derive(Debug, Default)]
struct Seen {
    circuit: Circuit,
    /// The item the circuit was read from.
    item: Item,
    /// Whether it is this environment's own reckoning, because the store did not answer.
    alone: bool,
    /// When the circuit was last asked for, and how long the answer is acted on.
    read: Option<(Moment, Duration)>,
    failures_in_a_row: u32,
    healed_at: Option<Instant>,
    /// Until when this environment stays away by itself, because the store was too busy to take down that the circuit
    /// of this epoch is open.
    shut: Option<(i64, Timestamp)>,
}

/// Leave to make one attempt, now. Hand it back with [`Gate::record`].
#[derive(Debug)]
#[must_use = "a permit must be recorded, or the circuit learns nothing"]
pub struct Permit {
    epoch: i64,
    probe: Option<Claim>,
    slot: Slot,
}

/// The one probe of a half-open circuit.
#[derive(Debug)]
struct Claim {
    token: String,
    /// From before the claim was written, so that the probe is over before its token is.
    since: Moment,
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

/// What became of a change of the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Made,
    Refused,
    /// The store is too busy to decide.
    Undecided,
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
        breaker: impl Into<Live<BreakerPolicy>>,
        rate: impl Into<Live<Option<RatePolicy>>>,
        store: Arc<dyn Store>,
        clock: SharedClock,
    ) -> Self {
        let breaker = breaker.into();
        let limiter = Limiter::new(rate_limit::key(provider), rate, Arc::clone(&store), Arc::clone(&clock));
        let (alone, seen, turn) = (MemoryStore::new(), Mutex::default(), tokio::sync::Mutex::default());
        Self { provider, breaker, limiter, store, alone, clock, seen, turn }
    }

    /// The provider's rate limit.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Leave for one attempt of at most `timeout`, waiting for a slot if need be, but never past `deadline`.
    ///
    /// # Errors
    /// The [`Refusal`]: nothing was sent and nothing is held.
    pub async fn admit(&self, timeout: Duration, deadline: Instant) -> Result<Permit, Refusal> {
        for _ in 0..ADMISSIONS {
            self.refresh().await;
            if let Verdict::Open(until) = self.verdict() {
                return Err(Refusal::Open(until));
            }
            let slot = self.limiter.slot(deadline).await.map_err(Refusal::Limited)?;
            let permit = self.pass(slot, timeout).await?;
            if self.is_current(&permit, timeout) {
                return Ok(permit);
            }
            // The environment was frozen, or the store slow: what was had is too old to be used.
            self.record(permit, Health::Unclear).await;
        }
        Err(Refusal::Limited(SNAPSHOT_TTL))
    }

    /// Whether an attempt may still be made with `permit` now: its slot is not over, and what was known of the circuit
    /// is not too old.
    pub fn is_current(&self, permit: &Permit, timeout: Duration) -> bool {
        let current = if permit.is_probe() { !self.time_for(permit, timeout).is_zero() } else { self.is_fresh() };
        current && self.limiter.is_usable(&permit.slot)
    }

    /// How much of `timeout` an attempt may take that begins now: a probe must be over before its token is.
    pub fn time_for(&self, permit: &Permit, timeout: Duration) -> Duration {
        let Some(claim) = &permit.probe else { return timeout };
        claim.since.age(self.clock.moment()).map_or(Duration::ZERO, |age| timeout.saturating_sub(age))
    }

    /// Reads the circuit anew when the last reading has had its time. Callers join this with another trip.
    pub async fn refresh(&self) {
        if self.is_fresh() {
            return;
        }
        let _turn = self.turn.lock().await;
        if self.is_fresh() {
            return;
        }
        let asked = self.clock.moment();
        match self.store.get(&circuit_breaker::key(self.provider), Read::Consistent).await {
            Ok(item) => self.learn(item.unwrap_or_default(), false),
            // A throttled store is alive: what was read last still stands.
            Err(StoreError::Throttled(_)) => {}
            Err(error) => self.go_alone(&error),
        }
        let stretched = SNAPSHOT_TTL.mul_f64((self.limiter.environments() / READERS_PER_SECOND).max(1.0));
        self.seen().read = Some((asked, stretched.mul_f64(0.8 + 0.4 * fastrand::f64())));
    }

    /// Tells the circuit what became of a permitted attempt.
    pub async fn record(&self, permit: Permit, health: Health) {
        let Permit { epoch, probe, .. } = permit;
        match (probe, health) {
            (Some(claim), Health::Alive) => {
                self.seen().failures_in_a_row = 0;
                self.change(Circuit::close(self.provider, epoch, &claim.token), "circuit.closed").await;
            }
            (Some(claim), Health::Failing) => {
                let now = self.clock.now();
                let update = Circuit::reopen(self.provider, epoch, &claim.token, &self.breaker.current(), now);
                self.change(update, "circuit.reopened").await;
            }
            (Some(claim), Health::Unclear) => {
                self.change(Circuit::release(self.provider, epoch, &claim.token), "circuit.released").await;
            }
            (None, Health::Alive) => self.heal(epoch).await,
            (None, Health::Failing) => self.fail(epoch).await,
            (None, Health::Unclear) => {}
        }
    }

    /// What the circuit says to somebody who is about to call. A streak that nobody has acted upon is acted upon: but
    /// only now, because a provider that nobody may call does not get to show that it is well.
    async fn look(&self) -> Verdict {
        self.refresh().await;
        let (now, circuit) = (self.clock.now(), self.seen().circuit.clone());
        if circuit.is_overdue(&self.breaker.current(), now) {
            self.open(circuit.epoch, Cause::Fleet, now).await;
        }
        self.verdict()
    }

    /// Passes the circuit: freely when closed, as its one probe when half-open.
    async fn pass(&self, slot: Slot, timeout: Duration) -> Result<Permit, Refusal> {
        let verdict = self.look().await;
        let epoch = self.seen().circuit.epoch;
        match verdict {
            Verdict::Closed => Ok(Permit { epoch, probe: None, slot }),
            Verdict::Open(until) => Err(Refusal::Open(until)),
            Verdict::HalfOpen => self.claim(epoch, slot, timeout).await,
        }
    }

    /// Claims the one probe. A claim that got no answer may have been granted, and then nobody else probes for a while:
    /// this environment behaves as if somebody did, and does not probe either.
    async fn claim(&self, epoch: i64, slot: Slot, timeout: Duration) -> Result<Permit, Refusal> {
        let (since, now, token) = (self.clock.moment(), self.clock.now(), uuid::Uuid::new_v4().to_string());
        let until = now.after(probe_lease(timeout));
        let update = Circuit::probe(self.provider, epoch, &token, until, now);
        let won = match self.store.update(&update).await {
            Ok(outcome) => self.take_in(outcome, false),
            Err(StoreError::Throttled(_)) => false,
            Err(error) => {
                self.go_alone(&error);
                let won_here = self.take_in(self.alone.apply(&update), true);
                let never_asked = matches!(error, StoreError::NotAsked);
                won_here && (never_asked || broken(Rule::ClaimsAreAnswered))
            }
        };
        if won {
            tracing::info!(target: "ieum::gate", provider = self.provider, event = "circuit.probing", "circuit");
            return Ok(Permit { epoch, probe: Some(Claim { token, since }), slot });
        }
        Err(Refusal::Open(match self.verdict() {
            Verdict::Open(until) => until,
            // Closed in the meantime, or lost to a rival that is gone: the caller's next attempt will see.
            Verdict::Closed | Verdict::HalfOpen => now,
        }))
    }

    async fn heal(&self, epoch: i64) {
        let due = {
            let mut seen = self.seen();
            seen.failures_in_a_row = 0;
            let due = seen.circuit.failures > 0
                && seen.circuit.epoch == epoch
                && seen.healed_at.is_none_or(|at| at.elapsed() >= HEAL_EVERY)
                && !broken(Rule::SuccessHeals);
            if due {
                seen.healed_at = Some(Instant::now());
            }
            due
        };
        if due {
            self.change(Circuit::heal(self.provider, epoch), "circuit.healed").await;
        }
    }

    async fn fail(&self, epoch: i64) {
        let now = self.clock.now();
        let in_a_row = {
            let mut seen = self.seen();
            // A failure of an earlier epoch is about a circuit that has opened since.
            if seen.circuit.epoch == epoch {
                seen.failures_in_a_row = seen.failures_in_a_row.saturating_add(1);
            }
            seen.failures_in_a_row
        };
        self.change(Circuit::fail(self.provider, epoch, now), "circuit.failure").await;
        let cause = {
            let seen = self.seen();
            let same = seen.circuit.epoch == epoch;
            same.then(|| seen.circuit.should_open(&self.breaker.current(), in_a_row, now)).flatten()
        };
        if let Some(cause) = cause {
            self.open(epoch, cause, now).await;
        }
    }

    async fn open(&self, epoch: i64, cause: Cause, now: Timestamp) {
        let breaker = self.breaker.current();
        let update = Circuit::open(self.provider, epoch, cause, &breaker, now);
        if self.change(update, "circuit.opened").await == Change::Undecided {
            self.seen().shut = Some((epoch, now.after(breaker.open_for)));
        }
    }

    /// Changes the circuit and learns what it is now; decides alone when the store does not answer.
    async fn change(&self, update: Update, event: &'static str) -> Change {
        let (outcome, alone) = match self.store.update(&update).await {
            Ok(outcome) => (outcome, false),
            // A throttled store leaves the count one short, which is better than a count of our own.
            Err(StoreError::Throttled(_)) => return Change::Undecided,
            Err(error) => {
                self.go_alone(&error);
                (self.alone.apply(&update), true)
            }
        };
        if !self.take_in(outcome, alone) {
            return Change::Refused;
        }
        tracing::info!(target: "ieum::gate", provider = self.provider, alone, event, "circuit");
        Change::Made
    }

    /// Learns what an update left behind, and says whether it was applied.
    fn take_in(&self, outcome: Outcome, alone: bool) -> bool {
        let applied = matches!(outcome, Outcome::Applied(_));
        self.learn(outcome.into_item(), alone);
        applied
    }

    /// The store is gone: go on from what was seen last, with the same rules, for this environment only.
    fn go_alone(&self, error: &StoreError) {
        let mut seen = self.seen();
        if !seen.alone {
            seen.alone = true;
            self.alone.replace(circuit_breaker::key(self.provider), seen.item.clone());
            tracing::warn!(target: "ieum::gate", provider = self.provider, error = chain(error), "gate.alone");
        }
    }

    fn is_fresh(&self) -> bool {
        let now = self.clock.moment();
        self.seen().read.is_some_and(|(read, ttl)| read.is_within(ttl, now) || broken(Rule::ReadingsExpire))
    }

    fn verdict(&self) -> Verdict {
        let (now, seen) = (self.clock.now(), self.seen());
        match (seen.circuit.verdict(now), seen.shut) {
            (Verdict::Closed, Some((epoch, until))) if epoch == seen.circuit.epoch && now < until => {
                Verdict::Open(until)
            }
            (verdict, _) => verdict,
        }
    }

    /// Takes in a reading, unless a newer one of the same origin is known.
    fn learn(&self, item: Item, alone: bool) {
        let circuit = Circuit::from(&item);
        let mut seen = self.seen();
        if seen.alone != alone || circuit.is_newer_than(&seen.circuit) || broken(Rule::ReadingsGoForward) {
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

/// Closes the circuit of `provider` at `now` on behalf of `who`, whatever it was, and returns it. It is put on record first.
///
/// # Errors
/// [`StoreError`]: the circuit is not known to be closed. Doing it again does no harm.
pub async fn reset(store: &dyn Store, who: &str, provider: &str, now: Timestamp) -> Result<Circuit, StoreError> {
    let before = store.get(&circuit_breaker::key(provider), Read::Consistent).await?.unwrap_or_default();
    let before = Circuit::from(&before);
    let state = |circuit: &Circuit| {
        let name = if circuit.open { "open" } else { "closed" };
        serde_json::json!({"state": name, "epoch": circuit.epoch, "failures": circuit.failures}).to_string()
    };
    let after = Circuit { epoch: before.epoch + 1, ..Circuit::default() };
    let (old, new) = (state(&before), state(&after));
    let entry = audit::Entry { who, what: "breaker.reset", target: provider, before: &old, after: &new, at: now };
    audit::record(store, entry).await?;
    Ok(Circuit::from(&store.update(&Circuit::reset(provider)).await?.into_item()))
}
