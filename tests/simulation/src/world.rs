//! The world of a simulation: the truth that no environment sees whole, and what is to be held against them.
//!
//! Everything that happens passes here at its true time: updates as the store applies them, replies as they arrive, calls
//! as they reach the provider. A property is checked where it can be broken. Nothing here is read by the code under test.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ieum::resilience::circuit_breaker::{Circuit, LONGEST_SNAPSHOT};
use ieum::resilience::rate_limit::Bucket;
use ieum::store::{Item, MemoryStore, Outcome, Update};
use tokio::time::Instant;

use crate::plan::{Kind, Plan};
use crate::{ms, secs};

/// How far a corrected clock may be off: half a second, and half a trip to the store.
pub const EPSILON: Duration = Duration::from_millis(530);

/// The name of the only provider.
pub const PROVIDER: &str = "p";

/// One environment: its number, and how often it was replaced after a crash.
pub type Name = (usize, u32);

/// What happened, for the report.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Calls asked of the layer.
    pub operations: u64,
    /// Calls that reached the provider.
    pub calls: u64,
    /// Probes among them.
    pub probes: u64,
    /// Times the circuit opened.
    pub opens: u64,
    /// Updates of the breaker's item.
    pub breaker_writes: u64,
    /// Readings of the breaker's item.
    pub breaker_reads: u64,
    /// Updates of the limit's item.
    pub rate_writes: u64,
    /// Those of them that took slots.
    pub takes: u64,
    /// Each kind of fault, by name.
    pub faults: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// What happened after `earlier`, faults aside.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            operations: self.operations - earlier.operations,
            calls: self.calls - earlier.calls,
            probes: self.probes - earlier.probes,
            opens: self.opens - earlier.opens,
            breaker_writes: self.breaker_writes - earlier.breaker_writes,
            breaker_reads: self.breaker_reads - earlier.breaker_reads,
            rate_writes: self.rate_writes - earlier.rate_writes,
            takes: self.takes - earlier.takes,
            faults: BTreeMap::new(),
        }
    }
}

/// The world. Times are spans since its beginning.
#[derive(Debug)]
pub struct World {
    /// The plan it follows.
    pub plan: Plan,
    /// What the store holds.
    pub store: MemoryStore,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    violations: Vec<String>,
    environments: BTreeMap<Name, Sight>,
    calls: Vec<Made>,
    probes: Vec<(Duration, Duration)>,
    /// When the circuit was opened or reopened, by whom, and when it was closed last.
    opened_at: Option<Duration>,
    waits_since: Option<Duration>,
    /// Who was granted the probe, until it is made.
    prober: Option<Name>,
    holder: Option<Name>,
    /// Tokens of claims that nobody waits for any more.
    given_up: Vec<String>,
    fifth_failure: Option<Duration>,
}

/// What an environment can know.
#[derive(Debug, Default)]
struct Sight {
    /// The newest reading of the circuit that reached it.
    circuit: Circuit,
    /// The newest reading of the limit that reached it.
    bucket: Bucket,
    /// It has had no answer since it last saw the circuit.
    blind: bool,
    /// When it last saw it.
    saw_at: Duration,
    /// Until when it does not ask the store.
    left_alone_until: Duration,
    /// Until when it may use slots it gave itself.
    rations_until: Duration,
    /// When it asked for a probe and heard nothing.
    unanswered_claim: Option<Duration>,
    /// Its own results, newest last: whether they were failures.
    results: Vec<bool>,
    /// How often it had no answer.
    unanswered: u32,
}

#[derive(Clone, Copy, Debug)]
struct Made {
    at: Duration,
    by: usize,
    alone: bool,
}

impl World {
    /// A world at its beginning.
    pub fn new(plan: Plan) -> Self {
        Self { plan, store: MemoryStore::new(), began: Instant::now(), state: Mutex::default() }
    }

    /// How long it has lasted.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether it has lasted long enough, in time and in calls.
    pub fn is_over(&self) -> bool {
        let now = self.now();
        now >= self.plan.lasts && (self.state().counts.operations >= 200 || now >= self.plan.lasts * 20)
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.state().counts.clone()
    }

    /// What happened, and what should not have.
    pub fn into_report(self) -> (Counts, Vec<String>) {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        (state.counts, state.violations)
    }

    /// A call was asked of the layer.
    pub fn operation(&self) {
        self.state().counts.operations += 1;
    }

    /// A fault of this kind happened.
    pub fn fault(&self, kind: &'static str) {
        *self.state().counts.faults.entry(kind).or_default() += 1;
    }

    /// The store reads `key` for somebody.
    pub fn read(&self, key: &str) -> Option<Item> {
        if key.starts_with("breaker#") {
            self.state().counts.breaker_reads += 1;
        }
        self.store.read(key)
    }

    /// The store carries out an update for `by`.
    pub fn apply(&self, by: Name, update: &Update) -> Outcome {
        let before = self.store.read(&update.key);
        let outcome = self.store.apply(update);
        let mut state = self.state();
        if update.key.starts_with("rate#") {
            state.counts.rate_writes += 1;
            state.counts.takes += u64::from(matches!(outcome, Outcome::Applied(_)));
            self.check_quota(&mut state, &outcome);
            return outcome;
        }
        state.counts.breaker_writes += 1;
        if let Outcome::Applied(item) = &outcome {
            let before = before.unwrap_or_default();
            self.check_change(&mut state, by, &before, item);
        }
        outcome
    }

    /// A reply with the item `key` reaches `by`.
    pub fn deliver(&self, by: Name, key: &str, item: Option<&Item>) {
        let (item, mut state) = (item.cloned().unwrap_or_default(), self.state());
        let sight = state.environments.entry(by).or_default();
        if key.starts_with("rate#") {
            sight.bucket = Bucket::from(&item);
            return;
        }
        if !key.starts_with("breaker#") {
            return;
        }
        let circuit = Circuit::from(&item);
        if circuit.is_newer_than(&sight.circuit) {
            sight.circuit = circuit;
        }
        sight.saw_at = self.now();
        // Right after a silence the store is left alone, whatever still comes in.
        sight.blind &= self.now() < sight.left_alone_until;
        sight.unanswered_claim = None;
    }

    /// `by` got no answer to what it asked at `asked`; `claim` is the token when it asked for the probe.
    pub fn unanswered(&self, by: Name, asked: Duration, claim: Option<String>) {
        let (now, rate) = (self.now(), self.plan.rate);
        let mut state = self.state();
        let sight = state.environments.entry(by).or_default();
        (sight.blind, sight.unanswered) = (true, sight.unanswered + 1);
        sight.left_alone_until = now + secs(1);
        // A slot that it gives itself meanwhile may lie ahead and be used late.
        let slot = rate.map_or(Duration::ZERO, |rate| rate.max_wait + rate.lease());
        sight.rations_until = sight.left_alone_until + slot + ms(100);
        if claim.is_some() && sight.saw_at <= asked {
            sight.unanswered_claim = Some(asked);
        }
        state.given_up.extend(claim);
        // Whatever it was granted, it goes by its own reckoning now.
        state.prober = state.prober.filter(|prober| *prober != by);
    }

    /// A reading was refused by a throttled store: what was read before still stands.
    pub fn unread(&self, by: Name) {
        self.state().environments.entry(by).or_default().blind = true;
    }

    /// A call of `by` reaches the provider. Says whether it is the probe.
    pub fn call_begins(&self, by: Name) -> bool {
        let (now, item) = (self.now(), self.store.read(&format!("breaker#{PROVIDER}")).unwrap_or_default());
        let truth = Circuit::from(&item);
        let mut state = self.state();
        state.counts.calls += 1;
        let probe = truth.open && state.prober == Some(by);
        if probe {
            state.prober = None;
        }
        let opened_at = state.opened_at;
        let sight = state.environments.entry(by).or_default();
        let alone = now <= sight.rations_until;
        let (blind, known) = (sight.blind, sight.circuit.clone());
        let blocked = sight.bucket.blocked_until.map_or(0, |until| until.as_millis());
        let claimed = sight.unanswered_claim;
        if truth.open && !probe {
            if !blind && opened_at.is_some_and(|at| now > at + LONGEST_SNAPSHOT) {
                let late = now.saturating_sub(opened_at.unwrap_or_default());
                state.violation(now, by, &format!("called an open circuit {} ms after it opened", late.as_millis()));
            }
            if let Some(at) = claimed.filter(|at| now < *at + self.plan.timeout + secs(1)) {
                let late = now.saturating_sub(at);
                state.violation(now, by, &format!("probed {} ms after a claim without an answer", late.as_millis()));
            }
            let knows = known.open && known.epoch == truth.epoch && known.version >= 1;
            let waits = known.retry_at.is_some_and(|at| self.millis(now + EPSILON * 2) < at.as_millis());
            if knows && waits && !blind {
                state.violation(now, by, "called although it knew the circuit to be open");
            }
        }
        if !alone && blocked > self.millis(now + EPSILON) {
            state.violation(now, by, "called a provider that it knew to have asked to be left alone");
        }
        state.calls.push(Made { at: now, by: by.0, alone });
        if probe {
            state.counts.probes += 1;
        }
        probe
    }

    /// A call is over, or its environment is; `failed` says how it went, if it went anyhow.
    pub fn call_ends(&self, by: Name, began: Duration, probe: bool, failed: Option<bool>) {
        let now = self.now();
        let mut state = self.state();
        if probe {
            // Whoever is frozen past its own time limit is as good as gone.
            state.probes.push((began, now.min(began + self.plan.timeout)));
        }
        if let Some(failed) = failed {
            state.environments.entry(by).or_default().results.push(failed);
        }
    }

    /// Checks what can only be seen in the end.
    pub fn check_the_end(&self) {
        let mut state = self.state();
        self.check_probes(&mut state);
        self.check_rate(&mut state);
        self.check_healthy(&mut state);
    }

    fn check_change(&self, state: &mut State, by: Name, before: &Item, after: &Item) {
        let (now, was, is) = (self.now(), Circuit::from(before), Circuit::from(after));
        if !is.is_newer_than(&was) {
            state.violation(now, by, "changed the circuit without its getting newer");
        }
        if was.open && is.open && is.failures != was.failures {
            state.violation(now, by, "counted a failure on an open circuit");
        }
        match (was.open, is.open) {
            (false, true) => self.opened(state, by, now, &was),
            (true, false) => {
                if state.holder != Some(by) {
                    state.violation(now, by, "closed the circuit without holding the probe");
                }
                (state.opened_at, state.waits_since) = (None, None);
                (state.holder, state.prober) = (None, None);
            }
            (true, true) if before.text("probe_token") != after.text("probe_token") => {
                if after.text("probe_token").is_some() {
                    self.granted(state, by, now, after);
                } else {
                    if state.holder != Some(by) {
                        state.violation(now, by, "gave back a probe that it did not hold");
                    }
                    if is.retry_at != was.retry_at {
                        state.waits_since = Some(now);
                    }
                    (state.holder, state.prober) = (None, None);
                }
            }
            (true, true) | (false, false) => {}
        }
        state.fifth_failure = match state.fifth_failure {
            _ if is.open || is.failures < 5 => None,
            None => Some(now),
            known => known,
        };
        self.check_promptness(state, by, now);
    }

    fn opened(&self, state: &mut State, by: Name, now: Duration, was: &Circuit) {
        state.counts.opens += 1;
        (state.opened_at, state.waits_since) = (Some(now), Some(now));
        if matches!(self.plan.kind, Kind::Flaky | Kind::Healthy) {
            let results = &state.environments.entry(by).or_default().results;
            // A success of another call may have come in while the opening was written.
            let recent = &results[results.len().saturating_sub(5 + self.plan.callers)..];
            if !recent.windows(5).any(|five| five.iter().all(|failed| *failed)) {
                let told = format!("opened at {} failures without five of its own in a row", was.failures);
                state.violation(now, by, &told);
            }
        }
        self.check_promptness(state, by, now);
    }

    fn granted(&self, state: &mut State, by: Name, now: Duration, after: &Item) {
        let waited = state.waits_since.map(|since| now.saturating_sub(since)).unwrap_or_default();
        if waited + EPSILON * 2 < secs(60) {
            state.violation(now, by, &format!("was granted a probe after {} ms", waited.as_millis()));
        }
        let until = after.number("probe_until").unwrap_or(i64::MAX);
        if until > self.millis(now + self.plan.timeout + secs(2) + EPSILON) {
            state.violation(now, by, "holds the probe for too long");
        }
        // A claim that is granted after its time is nobody's probe.
        let given_up = after.text("probe_token").is_some_and(|token| state.given_up.iter().any(|one| one == token));
        (state.holder, state.prober) = (Some(by), (!given_up).then_some(by));
    }

    /// A dead provider's circuit opens soon after the fifth failure.
    fn check_promptness(&self, state: &mut State, by: Name, now: Duration) {
        let clean = self.plan.faults.store_answers() && self.plan.faults.environments_live();
        if let Some(fifth) = state.fifth_failure.filter(|_| clean && self.plan.kind == Kind::Outage) {
            // The next failure, or the next caller, comes by within this time.
            let allowed = ms(1_500) + EPSILON * 2 + ms(1_000);
            if now > fifth + allowed {
                state.violation(now, by, "found a circuit closed that should have been opened long ago");
                state.fifth_failure = None;
            }
        }
    }

    fn check_quota(&self, state: &mut State, outcome: &Outcome) {
        let Some(quota) = self.plan.rate.and_then(|rate| rate.daily_quota) else { return };
        if let Outcome::Applied(item) = outcome
            && item.number("day_count").unwrap_or(0) > i64::from(quota)
        {
            state.violation(self.now(), (0, 0), "took more than the day's quota");
        }
    }

    fn check_probes(&self, state: &mut State) {
        let mut probes = std::mem::take(&mut state.probes);
        probes.sort_unstable();
        for pair in probes.windows(2) {
            if pair[1].0 < pair[0].1 {
                state.violation(pair[1].0, (0, 0), "a probe began while another was under way");
            }
        }
    }

    /// Calls in any window, for the fleet while the store answers and for each environment while it does not.
    fn check_rate(&self, state: &mut State) {
        let Some(rate) = self.plan.rate else { return };
        let allowance = (EPSILON * 2 + rate.lease()).as_secs_f64();
        let (burst, per_second) = (f64::from(rate.burst), 1.0 / rate.interval().as_secs_f64());
        let most_in_excess = |calls: &[Duration]| {
            let (mut lowest, mut worst) = (f64::MAX, 0.0_f64);
            for (number, at) in (0_u32..).zip(calls) {
                let height = f64::from(number) - per_second * at.as_secs_f64();
                lowest = lowest.min(height);
                worst = worst.max(height - lowest + 1.0);
            }
            worst - burst - per_second * allowance
        };
        let together: Vec<_> = state.calls.iter().filter(|call| !call.alone).map(|call| call.at).collect();
        let excess = most_in_excess(&together);
        if excess > 0.01 {
            state.violation(Duration::ZERO, (0, 0), &format!("{excess:.1} calls too many in some window"));
        }
        for environment in 0..self.plan.environments {
            let own: Vec<_> = state.calls.iter().filter(|call| call.by == environment).map(|call| call.at).collect();
            let lives = state.environments.iter().filter(|((number, _), _)| *number == environment);
            // Whenever the store does not answer, an environment goes by its own reckoning for a second.
            let seconds_alone: u32 = lives.map(|(_, sight)| sight.unanswered + 1).sum();
            if most_in_excess(&own) > f64::from(seconds_alone) * (burst + per_second) {
                state.violation(Duration::ZERO, (environment, 0), "called too often on its own");
            }
        }
        let quota = rate.daily_quota.map_or(usize::MAX, |quota| quota as usize);
        let midnight = self.plan.before_midnight;
        let (before, after): (Vec<Duration>, Vec<Duration>) = together
            .iter()
            .copied()
            .filter(|at| at.abs_diff(midnight) > EPSILON + rate.max_wait + rate.lease())
            .partition(|at| *at < midnight);
        if before.len() > quota || after.len() > quota {
            state.violation(Duration::ZERO, (0, 0), "more calls in a day than the quota");
        }
        if self.plan.kind == Kind::Saturated && quota == usize::MAX {
            let (from, to) = (secs(4), self.plan.lasts);
            let used = together.iter().filter(|at| (from..to).contains(*at)).count() as f64;
            let share = used / (per_second * (to - from).as_secs_f64());
            if share < 0.9 {
                state.violation(to, (0, 0), &format!("used {:.0} % of the rate at twice the demand", share * 100.0));
            }
        }
    }

    /// A healthy fleet writes nothing but leases, and reads once in a reading's life.
    fn check_healthy(&self, state: &mut State) {
        if self.plan.kind != Kind::Healthy {
            return;
        }
        let (writes, reads) = (state.counts.breaker_writes, state.counts.breaker_reads);
        let lives = self.now().as_millis() / 800 + 2;
        if writes > 0 {
            state.violation(self.plan.lasts, (0, 0), &format!("{writes} writes about a healthy provider"));
        }
        if u128::from(reads) > lives * self.plan.environments as u128 {
            state.violation(self.plan.lasts, (0, 0), &format!("{reads} readings of the circuit"));
        }
    }

    /// The true time of day, in milliseconds since the epoch.
    pub fn millis(&self, at: Duration) -> i64 {
        // Midnight in Seoul.
        const MIDNIGHT: i64 = 1_795_273_200_000;
        MIDNIGHT + ieum::clock::millis(at) - ieum::clock::millis(self.plan.before_midnight)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn violation(&mut self, at: Duration, by: Name, what: &str) {
        // One is enough to fail; a thousand would only hide the first.
        if self.violations.len() < 5 {
            self.violations.push(format!("at {} ms environment {}.{} {what}", at.as_millis(), by.0, by.1));
        }
    }
}
