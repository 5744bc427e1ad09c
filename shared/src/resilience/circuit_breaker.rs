//! The circuit breaker of a provider: one item for the whole fleet.
//!
//! ```text
//!                 FAIL x5, streak >= 1.2 s        retry_at passes
//!                 or 5 in a row here              (no write needed)
//!      +--------+ -------------------> +------+ -------------------> +-----------+
//!      | closed |                      | open |                      | half-open |
//!      +--------+                      +------+ <------------------- +-----------+
//!          ^                                       REOPEN (token)          |
//!          +---------------------------------------------------------------+
//!                               CLOSE (token)            one PROBE holds the token
//! ```
//!
//! The rules, each one guarded update (`epoch` is the one the attempt was admitted under):
//!
//! | rule | guard | effect |
//! |---|---|---|
//! | FAIL | my epoch, closed | failures + 1, `streak_at` if absent |
//! | HEAL | my epoch, closed, failures > 0 | failures 0 |
//! | OPEN | my epoch, closed, and (failures >= 5 with a streak >= 1.2 s old, or 5 in a row seen by this environment) | epoch + 1, `retry_at` |
//! | PROBE | my epoch, open, `retry_at` passed, no live token | token, `probe_until` |
//! | CLOSE | my epoch and token | closed, failures 0 |
//! | REOPEN | my epoch and token | `retry_at` anew |
//! | RELEASE | my epoch and token | token removed |
//! | RESET | none: an operator decides | epoch + 1, closed |
//!
//! Why the streak must have an age: with lazy healing, a large fleet at a small error rate reaches five failures within
//! milliseconds although most calls succeed. A healthy success writes nothing at all, and an environment learns of
//! failures when it next reads the item, at most [`LONGEST_SNAPSHOT`] later. So that is how old the streak must be:
//! every environment that calls has looked at the circuit since the streak began, and its next success heals. A dead
//! provider has no successes. Whoever finds a streak [`OVERDUE`] old that nobody has acted upon opens the circuit too:
//! the failures may have come from environments that have not called since.
//!
//! Formulas, with `P` the time one probe may take and clocks that are off by at most `e`:
//!
//! ```text
//! a call begins on an open circuit at most   LONGEST_SNAPSHOT after it opened
//! a dead provider's circuit is open at most  1.5 s + 2e after its fifth failure, if somebody calls
//! a crashed probe's place is free at most    P + 2 s + 2e after it was claimed
//! ```
//!
//! The epoch keeps a late answer from speaking about a circuit that has moved on; the token keeps two environments from
//! probing at once. This file refuses to know the time, a store, or what a failure is.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::planted::{Rule, broken};
use crate::store::{Action, Item, Test, Update};

/// How long a reading of the circuit may be acted on, at the longest (large fleets read less often, see the gate).
pub const LONGEST_SNAPSHOT: Duration = Duration::from_millis(1_200);

/// A streak this old that nobody has acted upon opens the circuit even without a further failure.
pub const OVERDUE: Duration = Duration::from_millis(1_500);

/// The numbers of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// How many failures open the circuit.
    pub failures: u32,
    /// How old the fleet's streak of failures must be before their count opens the circuit.
    pub min_streak: Duration,
    /// How long the circuit stays open before one probe may go out.
    pub open_for: Duration,
}

impl Default for BreakerPolicy {
    /// Five failures, a streak of 1.2 s, sixty seconds open.
    fn default() -> Self {
        Self { failures: 5, min_streak: LONGEST_SNAPSHOT, open_for: Duration::from_secs(60) }
    }
}

impl BreakerPolicy {
    fn min_streak(&self) -> Duration {
        if broken(Rule::StreakHasAnAge) { Duration::ZERO } else { self.min_streak }
    }

    fn retry_at(&self, now: Timestamp) -> Timestamp {
        now.after(if broken(Rule::OpenLastsItsTime) { self.open_for / 2 } else { self.open_for })
    }
}

/// The key of a provider's breaker item.
pub fn key(provider: &str) -> String {
    format!("breaker#{provider}")
}

/// A provider's circuit as the store had it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circuit {
    /// Grows whenever the circuit opens or is reset.
    pub epoch: i64,
    /// Whether it is open (or half-open: that is a question of time).
    pub open: bool,
    /// Failures counted since the last success.
    pub failures: i64,
    /// When the first of them happened.
    pub streak_at: Option<Timestamp>,
    /// From when on a probe may go out.
    pub retry_at: Option<Timestamp>,
    /// Until when the probe under way is taken to be alive.
    pub probe_until: Option<Timestamp>,
    /// Grows with each write, to order readings of one epoch.
    pub version: i64,
}

impl From<&Item> for Circuit {
    fn from(item: &Item) -> Self {
        let time = |name| item.number(name).map(Timestamp::from_millis);
        Self {
            epoch: item.number("epoch").unwrap_or(0),
            open: item.text("state") == Some("open"),
            failures: item.number("failures").unwrap_or(0),
            streak_at: time("streak_at"),
            retry_at: time("retry_at"),
            probe_until: time("probe_until"),
            version: item.number("v").unwrap_or(0),
        }
    }
}

/// What a circuit says to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Closed: go.
    Closed,
    /// Half-open: whoever wins [`Circuit::probe`] may go.
    HalfOpen,
    /// Open, or half-open with a probe under way: look again at this time.
    Open(Timestamp),
}

/// What made an environment want to open the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The fleet's count, which needs a streak of some age.
    Fleet,
    /// This environment saw the threshold in a row with its own eyes.
    Local,
}

impl Circuit {
    /// What the circuit says at `now`: a pure function of the item and the time, so opening up needs no writer.
    pub fn verdict(&self, now: Timestamp) -> Verdict {
        let Some(retry_at) = self.retry_at.filter(|_| self.open) else { return Verdict::Closed };
        let probe_until = self.probe_until.filter(|_| !broken(Rule::OneProbeAtATime));
        let wait_until = retry_at.max(probe_until.unwrap_or(retry_at));
        if now < wait_until { Verdict::Open(wait_until) } else { Verdict::HalfOpen }
    }

    /// Whether this reading is newer than `other`; readings never go backwards.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.epoch, self.version) > (other.epoch, other.version)
    }

    /// Whether, and why, a failure that left the circuit like this should open it; `in_a_row` counts this environment's own.
    pub fn should_open(&self, policy: &BreakerPolicy, in_a_row: u32, now: Timestamp) -> Option<Cause> {
        if self.open {
            return None;
        }
        if in_a_row >= policy.failures {
            return Some(Cause::Local);
        }
        self.has_streak(policy, policy.min_streak(), now).then_some(Cause::Fleet)
    }

    /// Whether the circuit should have been opened by now, although no failure says so.
    pub fn is_overdue(&self, policy: &BreakerPolicy, now: Timestamp) -> bool {
        !self.open && self.has_streak(policy, OVERDUE.max(policy.min_streak()), now)
    }

    fn has_streak(&self, policy: &BreakerPolicy, age: Duration, now: Timestamp) -> bool {
        let old_enough = self.streak_at.is_some_and(|since| since <= now.before(age));
        self.failures >= i64::from(policy.failures) && old_enough
    }

    /// FAIL: an attempt admitted under this epoch failed at `now`.
    pub fn fail(provider: &str, epoch: i64, now: Timestamp) -> Update {
        let update =
            if broken(Rule::FailuresCountInTheirEpoch) { Update::of(key(provider)) } else { closed(provider, epoch) };
        update.then([
            Action::Add("failures", 1),
            Action::SetIfAbsent("streak_at", now.as_millis().into()),
            Action::Add("v", 1),
        ])
    }

    /// HEAL: an attempt succeeded while failures were on record.
    pub fn heal(provider: &str, epoch: i64) -> Update {
        closed(provider, epoch).when([Test::AtLeast("failures", 1)]).then([
            Action::Set("failures", 0.into()),
            Action::Remove("streak_at"),
            Action::Add("v", 1),
        ])
    }

    /// OPEN: stop calling until `now + open_for`.
    pub fn open(provider: &str, epoch: i64, cause: Cause, policy: &BreakerPolicy, now: Timestamp) -> Update {
        let update = closed(provider, epoch);
        let update = match cause {
            Cause::Local => update,
            Cause::Fleet => update
                .when([Test::AtLeast("failures", i64::from(policy.failures))])
                .when([Test::AtMost("streak_at", now.before(policy.min_streak()).as_millis())]),
        };
        update.then([
            Action::Set("epoch", (epoch + 1).into()),
            Action::Set("state", "open".into()),
            Action::Set("opened_at", now.as_millis().into()),
            Action::Set("retry_at", policy.retry_at(now).as_millis().into()),
            Action::Remove("streak_at"),
            Action::Remove("probe_token"),
            Action::Remove("probe_until"),
            Action::Add("v", 1),
        ])
    }

    /// PROBE: claim the one probe of a half-open circuit, to be answered before `until`.
    pub fn probe(provider: &str, epoch: i64, token: &str, until: Timestamp, now: Timestamp) -> Update {
        let update = Update::of(key(provider))
            .when(epoch_is(epoch))
            .when([Test::Equals("state", "open".into())])
            .when([Test::AtMost("retry_at", now.as_millis())]);
        let update = if broken(Rule::OneProbeAtATime) {
            update
        } else {
            update.when([Test::Absent("probe_token"), Test::AtMost("probe_until", now.as_millis())])
        };
        update.then([
            Action::Set("probe_token", token.into()),
            Action::Set("probe_until", until.as_millis().into()),
            Action::Add("v", 1),
        ])
    }

    /// CLOSE: the probe succeeded.
    pub fn close(provider: &str, epoch: i64, token: &str) -> Update {
        held(provider, epoch, token).then([
            Action::Set("state", "closed".into()),
            Action::Set("failures", 0.into()),
            Action::Remove("streak_at"),
            Action::Remove("opened_at"),
            Action::Remove("retry_at"),
            Action::Remove("probe_token"),
            Action::Remove("probe_until"),
            Action::Add("v", 1),
        ])
    }

    /// REOPEN: the probe failed.
    pub fn reopen(provider: &str, epoch: i64, token: &str, policy: &BreakerPolicy, now: Timestamp) -> Update {
        held(provider, epoch, token).then([
            Action::Set("retry_at", policy.retry_at(now).as_millis().into()),
            Action::Remove("probe_token"),
            Action::Remove("probe_until"),
            Action::Add("v", 1),
        ])
    }

    /// RELEASE: the probe was not used, or its answer says nothing about the provider's health.
    pub fn release(provider: &str, epoch: i64, token: &str) -> Update {
        held(provider, epoch, token).then([
            Action::Remove("probe_token"),
            Action::Remove("probe_until"),
            Action::Add("v", 1),
        ])
    }

    /// RESET: an operator closes the circuit, whatever it was.
    pub fn reset(provider: &str) -> Update {
        Update::of(key(provider)).then([
            Action::Add("epoch", 1),
            Action::Set("state", "closed".into()),
            Action::Set("failures", 0.into()),
            Action::Remove("streak_at"),
            Action::Remove("opened_at"),
            Action::Remove("retry_at"),
            Action::Remove("probe_token"),
            Action::Remove("probe_until"),
            Action::Add("v", 1),
        ])
    }
}

/// How long a probe may be away before another may take its place: its own timeout and two seconds.
pub fn probe_lease(timeout: Duration) -> Duration {
    let patience = if broken(Rule::ProbesExpire) { 3_600 } else { 2 };
    timeout + Duration::from_secs(patience)
}

fn closed(provider: &str, epoch: i64) -> Update {
    Update::of(key(provider))
        .when(epoch_is(epoch))
        .when([Test::Absent("state"), Test::Equals("state", "closed".into())])
}

fn held(provider: &str, epoch: i64, token: &str) -> Update {
    let update = Update::of(key(provider)).when(epoch_is(epoch));
    if broken(Rule::OnlyTheProbeCloses) { update } else { update.when([Test::Equals("probe_token", token.into())]) }
}

/// A circuit that never opened has no epoch attribute, which counts as epoch 0.
fn epoch_is(epoch: i64) -> [Test; 2] {
    let same = Test::Equals("epoch", epoch.into());
    if epoch == 0 { [Test::Absent("epoch"), same] } else { [same.clone(), same] }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{MemoryStore, Outcome};

    const START: Timestamp = Timestamp::from_millis(1_795_233_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    struct Fleet {
        store: MemoryStore,
        policy: BreakerPolicy,
        now: Timestamp,
    }

    impl Fleet {
        fn new() -> Self {
            Self { store: MemoryStore::new(), policy: BreakerPolicy::default(), now: START }
        }

        fn circuit(&self) -> Circuit {
            self.store.read(&key("p")).map(|item| Circuit::from(&item)).unwrap_or_default()
        }

        fn apply(&self, update: &Update) -> bool {
            matches!(self.store.apply(update), Outcome::Applied(_))
        }

        /// A failure and what the gate does about it.
        fn fail(&self, epoch: i64, in_a_row: u32) {
            if self.apply(&Circuit::fail("p", epoch, self.now))
                && let Some(cause) = self.circuit().should_open(&self.policy, in_a_row, self.now)
            {
                assert!(self.apply(&Circuit::open("p", epoch, cause, &self.policy, self.now)));
            }
        }

        fn pass(&mut self, span: Duration) {
            self.now = self.now.after(span);
        }
    }

    #[test]
    fn five_in_a_row_seen_here_open_at_once_and_stay_open_for_sixty_seconds() {
        let mut fleet = Fleet::new();
        for in_a_row in 1..=4 {
            fleet.fail(0, in_a_row);
        }
        assert_eq!(fleet.circuit().verdict(fleet.now), Verdict::Closed);
        fleet.fail(0, 5);
        let until = START.after(Duration::from_secs(60));
        assert_eq!(fleet.circuit().verdict(fleet.now), Verdict::Open(until));
        fleet.pass(Duration::from_millis(59_999));
        assert_eq!(fleet.circuit().verdict(fleet.now), Verdict::Open(until));
        fleet.pass(Duration::from_millis(1));
        assert_eq!(fleet.circuit().verdict(fleet.now), Verdict::HalfOpen);
    }

    #[test]
    fn the_fleets_count_opens_only_with_a_streak_a_second_old() {
        let mut fleet = Fleet::new();
        for _ in 0..9 {
            fleet.fail(0, 1);
        }
        assert_eq!(fleet.circuit().verdict(fleet.now), Verdict::Closed);
        fleet.pass(LONGEST_SNAPSHOT - Duration::from_millis(1));
        fleet.fail(0, 1);
        assert!(!fleet.circuit().open);
        fleet.pass(Duration::from_millis(1));
        fleet.fail(0, 1);
        assert!(fleet.circuit().open);
    }

    #[test]
    fn five_failures_that_nobody_acted_upon_are_overdue_after_a_second_and_a_half_unless_open_already() {
        let policy = BreakerPolicy::default();
        let patient = BreakerPolicy { min_streak: SECOND * 2, ..policy };
        for (failures, open, policy, age_ms, overdue) in [
            (5, false, policy, 1_499, false),
            (5, false, policy, 1_500, true),
            (4, false, policy, 1_500, false),
            (5, true, policy, 1_500, false),
            (5, false, patient, 1_999, false),
            (5, false, patient, 2_000, true),
        ] {
            let circuit = Circuit { failures, open, streak_at: Some(START), ..Circuit::default() };
            let now = START.after(Duration::from_millis(age_ms));
            assert_eq!(circuit.is_overdue(&policy, now), overdue, "{failures} failures, {age_ms} ms, open: {open}");
        }
    }

    #[test]
    fn a_success_in_between_heals_the_count() {
        let mut fleet = Fleet::new();
        for _ in 0..4 {
            fleet.fail(0, 1);
        }
        assert!(fleet.apply(&Circuit::heal("p", 0)));
        assert!(!fleet.apply(&Circuit::heal("p", 0)), "a healthy circuit is not written to");
        fleet.pass(SECOND * 5);
        fleet.fail(0, 1);
        assert_eq!(fleet.circuit().failures, 1);
        assert!(!fleet.circuit().open);
    }

    #[test]
    fn a_late_failure_of_an_earlier_epoch_says_nothing() {
        let fleet = Fleet::new();
        for in_a_row in 1..=5 {
            fleet.fail(0, in_a_row);
        }
        let before = fleet.circuit();
        assert!(!fleet.apply(&Circuit::fail("p", 0, fleet.now)));
        assert!(!fleet.apply(&Circuit::fail("p", 1, fleet.now)), "an open circuit counts no failures");
        assert!(!fleet.apply(&Circuit::open("p", 0, Cause::Local, &fleet.policy, fleet.now)));
        assert_eq!(fleet.circuit(), before);
    }

    #[test]
    fn one_probe_at_a_time_and_a_crashed_prober_frees_its_place() {
        let mut fleet = Fleet::new();
        for in_a_row in 1..=5 {
            fleet.fail(0, in_a_row);
        }
        let claim = |fleet: &Fleet, token: &str| {
            let until = fleet.now.after(probe_lease(SECOND * 3));
            fleet.apply(&Circuit::probe("p", 1, token, until, fleet.now))
        };
        assert!(!claim(&fleet, "early"));
        fleet.pass(Duration::from_secs(60));
        assert!(claim(&fleet, "a"));
        assert!(!claim(&fleet, "b"));
        assert_eq!(fleet.circuit().verdict(fleet.now), Verdict::Open(fleet.now.after(SECOND * 5)));
        fleet.pass(SECOND * 5);
        assert_eq!(fleet.circuit().verdict(fleet.now), Verdict::HalfOpen);
        assert!(claim(&fleet, "b"));
        assert!(!fleet.apply(&Circuit::close("p", 1, "a")), "the crashed prober's token is worth nothing");
        assert!(fleet.apply(&Circuit::close("p", 1, "b")));
        assert_eq!(fleet.circuit().verdict(fleet.now), Verdict::Closed);
        assert_eq!(fleet.circuit().failures, 0);
    }

    #[test]
    fn a_failed_probe_waits_the_whole_time_again_and_a_released_one_does_not() {
        let mut fleet = Fleet::new();
        for in_a_row in 1..=5 {
            fleet.fail(0, in_a_row);
        }
        fleet.pass(Duration::from_secs(60));
        let until = fleet.now.after(SECOND);
        assert!(fleet.apply(&Circuit::probe("p", 1, "a", until, fleet.now)));
        assert!(fleet.apply(&Circuit::release("p", 1, "a")));
        assert_eq!(fleet.circuit().verdict(fleet.now), Verdict::HalfOpen);
        assert!(fleet.apply(&Circuit::probe("p", 1, "b", until, fleet.now)));
        assert!(fleet.apply(&Circuit::reopen("p", 1, "b", &fleet.policy, fleet.now)));
        assert_eq!(fleet.circuit().verdict(fleet.now), Verdict::Open(fleet.now.after(Duration::from_secs(60))));
    }

    #[test]
    fn a_reset_closes_and_voids_everything_under_way() {
        let fleet = Fleet::new();
        for in_a_row in 1..=5 {
            fleet.fail(0, in_a_row);
        }
        assert!(fleet.apply(&Circuit::reset("p")));
        assert_eq!(fleet.circuit().verdict(fleet.now), Verdict::Closed);
        assert!(!fleet.apply(&Circuit::fail("p", 1, fleet.now)));
        assert!(fleet.apply(&Circuit::fail("p", 2, fleet.now)));
    }

    proptest! {
        /// Whatever the order of events: the epoch and the version never go back, a closed circuit has no probe, and an
        /// open one lets nobody through before its time.
        #[test]
        fn any_history_keeps_the_invariants(steps in prop::collection::vec((0..8_u8, 0..4_i64, 0..40_u64), 1..80)) {
            let mut fleet = Fleet::new();
            for (step, epoch, seconds) in steps {
                fleet.pass(Duration::from_secs(seconds));
                let before = fleet.circuit();
                let verdict = before.verdict(fleet.now);
                let until = fleet.now.after(SECOND * 4);
                let applied = match step {
                    0 | 1 => fleet.apply(&Circuit::fail("p", epoch, fleet.now)),
                    2 => fleet.apply(&Circuit::heal("p", epoch)),
                    3 => fleet.apply(&Circuit::open("p", epoch, Cause::Fleet, &fleet.policy, fleet.now)),
                    4 => fleet.apply(&Circuit::open("p", epoch, Cause::Local, &fleet.policy, fleet.now)),
                    5 => {
                        let won = fleet.apply(&Circuit::probe("p", epoch, "t", until, fleet.now));
                        prop_assert_eq!(won, verdict == Verdict::HalfOpen && epoch == before.epoch);
                        won
                    }
                    6 => fleet.apply(&Circuit::close("p", epoch, "t")),
                    _ => fleet.apply(&Circuit::reopen("p", epoch, "t", &fleet.policy, fleet.now)),
                };
                let after = fleet.circuit();
                prop_assert_eq!(after.is_newer_than(&before), applied);
                prop_assert!(after.open || after.probe_until.is_none());
                prop_assert!(!after.open || after.retry_at.is_some());
                if applied && epoch != before.epoch {
                    prop_assert!(false, "an update of another epoch was applied");
                }
            }
        }
    }
}
