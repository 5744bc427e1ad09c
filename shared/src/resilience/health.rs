//! How something outside is, from what was seen of it: the rules of a health check, and when somebody is told.
//!
//! A check ends in a [`Finding`]. What follows from it is kept in one item for each thing that is watched, `health#subject`:
//!
//! | finding | says |
//! |---|---|
//! | well | healthy |
//! | impaired | degraded: it works, and something is wrong |
//! | failing | degraded; the second time in a row, unhealthy |
//! | down | unhealthy |
//! | unclear | nothing: the check itself could not be made |
//!
//! The worse of the last two findings counts. So worse news is believed at once and better news when it is seen twice, and
//! something that comes and goes with each check is told of once. Subscribers are told whenever the status is another than
//! the one they were told last; what could not be told is told after the next check.
//!
//! This file refuses to know the time, a store, or how a message looks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::provider::{ProbeKind, ProviderError};
use crate::resilience::circuit_breaker::{Circuit, Verdict};
use crate::resilience::rate_limit::Bucket;
use crate::store::{Action, EXPIRES_AT, Item, Key, Test, Update};

/// How often everything is looked at.
pub const PERIOD: Duration = Duration::from_secs(5 * 60);

/// What was not looked at for this long says nothing any more: three checks have been missed.
pub const FORGOTTEN: Duration = Duration::from_secs(3 * 5 * 60);

/// How long the item of something that is watched no more is kept.
const KEPT: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// The subject whose state says how the checker itself is.
pub const CHECKER: &str = "checker";

/// How something is, from good to bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing is known to be wrong.
    #[default]
    Healthy,
    /// It works, but something is wrong.
    Degraded,
    /// It does not work.
    Unhealthy,
}

impl Status {
    /// The name in answers, items and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Healthy, Self::Degraded, Self::Unhealthy].into_iter().find(|status| status.name() == text)
    }
}

/// Why something is not healthy, as a stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nobody may call it.
    CircuitOpen,
    /// The next call decides whether it is well again.
    CircuitHalfOpen,
    /// Calls have been failing.
    Failing,
    /// It asked us to stay away for a while.
    Throttled,
    /// The day's quota is used up.
    QuotaUsedUp,
    /// Asked whether it is well, it could not be reached.
    Unreachable,
    /// It did not answer in time.
    TimedOut,
    /// It answered that it cannot serve.
    Unavailable,
    /// It refuses our credentials.
    Unauthorized,
    /// More than a tenth of the answers had no provider behind them.
    FailureRateCritical,
    /// More than a hundredth of the answers had no provider behind them.
    FailureRateRaised,
    /// One answer in twenty takes five seconds or longer.
    Slow,
    /// The function that should know did not answer.
    FunctionSilent,
    /// Whoever checks reaches nobody at all.
    CutOff,
    /// A backup that was due has not been made.
    BackupMissed,
    /// A backup was begun and not brought to its end.
    BackupShort,
    /// A backup cannot be read back as it was written.
    BackupCorrupt,
    /// A backup has not been read back when it was due.
    BackupUnread,
    /// A secret has not been changed for 90 days.
    SecretOld,
}

impl Reason {
    /// The name in answers, items and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::CircuitHalfOpen => "circuit_half_open",
            Self::Failing => "failing",
            Self::Throttled => "throttled",
            Self::QuotaUsedUp => "quota_used_up",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Unavailable => "unavailable",
            Self::Unauthorized => "unauthorized",
            Self::FailureRateCritical => "failure_rate_critical",
            Self::FailureRateRaised => "failure_rate_raised",
            Self::Slow => "slow",
            Self::FunctionSilent => "function_silent",
            Self::CutOff => "cut_off",
            Self::BackupMissed => "backup_missed",
            Self::BackupShort => "backup_short",
            Self::BackupCorrupt => "backup_corrupt",
            Self::BackupUnread => "backup_unread",
            Self::SecretOld => "secret_old",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        serde_json::from_value(text.into()).ok()
    }
}

/// What a check has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "finding", content = "reason")]
pub enum Finding {
    /// It works.
    Well,
    /// It works, but.
    Impaired(Reason),
    /// It did not work this time.
    Failing(Reason),
    /// It does not work: others have found that out already.
    Down(Reason),
    /// Nothing was found out.
    Unclear,
}

/// What the fleet's calls say of a provider at `now`, without asking it; `None` where they say nothing: then it is to be
/// asked, and [`asked`] says what that means.
///
/// Slots are taken by calls, and a call that fails is counted: so slots of late and no failures are calls that went well.
pub fn seen(circuit: &Circuit, bucket: &Bucket, now: Timestamp) -> Option<Finding> {
    let recent = is_recent(bucket, now.before(PERIOD));
    let blocked = bucket.blocked_until.is_some_and(|until| until > now);
    let used_up = bucket.quota_use(now).is_some_and(|(used, of)| used >= of);
    match circuit.verdict(now) {
        Verdict::Open(_) => Some(Finding::Down(Reason::CircuitOpen)),
        Verdict::Closed | Verdict::HalfOpen if used_up => Some(Finding::Down(Reason::QuotaUsedUp)),
        Verdict::Closed | Verdict::HalfOpen if blocked => Some(Finding::Impaired(Reason::Throttled)),
        Verdict::Closed if recent && circuit.failures > 0 => Some(Finding::Impaired(Reason::Failing)),
        Verdict::Closed if recent => Some(Finding::Well),
        Verdict::Closed | Verdict::HalfOpen => None,
    }
}

/// Whether the fleet has called after `since`.
pub fn is_recent(bucket: &Bucket, since: Timestamp) -> bool {
    bucket.tat_us / 1_000 > since.as_millis()
}

/// What it means that a provider was asked whether it is well. A connection alone says nothing about a provider whose
/// circuit has opened: the next call does.
pub fn asked(circuit: &Circuit, kind: ProbeKind, outcome: &Result<(), ProviderError>, now: Timestamp) -> Finding {
    let half_open = circuit.verdict(now) == Verdict::HalfOpen;
    match outcome {
        // A refusal is an answer.
        Ok(()) | Err(ProviderError::Rejected { .. }) => match kind {
            ProbeKind::Reach if half_open => Finding::Impaired(Reason::CircuitHalfOpen),
            ProbeKind::Reach | ProbeKind::Free | ProbeKind::Paid => Finding::Well,
        },
        Err(ProviderError::Unreachable(_) | ProviderError::Ambiguous(_)) => Finding::Failing(Reason::Unreachable),
        Err(ProviderError::Timeout) => Finding::Failing(Reason::TimedOut),
        Err(ProviderError::Unavailable { .. }) => Finding::Failing(Reason::Unavailable),
        Err(ProviderError::Unauthorized | ProviderError::CredentialsReplaced) => Finding::Failing(Reason::Unauthorized),
        Err(ProviderError::Throttled { .. }) => Finding::Impaired(Reason::Throttled),
        Err(ProviderError::Malformed(_)) => Finding::Unclear,
    }
}

/// One thing that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
    /// Whether it was asked for this, rather than known from calls.
    pub asked: bool,
}

/// Whether it is the checker that is cut off, and not everybody else who is down: several were asked, none was reached, and
/// nobody's calls went well either.
pub fn cut_off<'s>(sights: impl Iterator<Item = &'s Sight> + Clone) -> bool {
    let unreached = |finding: Finding| {
        matches!(finding, Finding::Failing(Reason::Unreachable | Reason::TimedOut | Reason::FunctionSilent))
    };
    let asked = sights.clone().filter(|sight| sight.asked);
    let well = sights.clone().any(|sight| sight.finding == Finding::Well);
    !well && asked.clone().count() >= 2 && asked.clone().all(|sight| unreached(sight.finding))
}

/// The key of a subject's item.
pub fn key(subject: &str) -> Key {
    format!("health#{subject}")
}

/// The subject of a provider.
pub fn provider(integration: &str, provider: &str) -> String {
    format!("{integration}/{provider}")
}

/// How a subject is, and what has been told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// How it is.
    pub status: Status,
    /// Why, unless it is healthy.
    pub reason: Option<Reason>,
    /// Since when.
    pub since: Timestamp,
    /// When it was last looked at; `None` when never.
    pub checked_at: Option<Timestamp>,
    /// What subscribers were told last; at first, that all is well.
    pub told: Status,
    /// What the last finding alone would have said, and when that was.
    last: Status,
    last_at: Option<Timestamp>,
    /// Findings in a row that it did not work.
    failing: i64,
}

impl From<&Item> for State {
    fn from(item: &Item) -> Self {
        let time = |name| item.number(name).map(Timestamp::from_millis);
        let status = |name| item.text(name).and_then(Status::parse).unwrap_or_default();
        Self {
            status: status("status"),
            reason: item.text("reason").and_then(Reason::parse),
            since: time("since").unwrap_or_default(),
            checked_at: time("checked_at"),
            told: status("told"),
            last: status("last"),
            last_at: time("last_at"),
            failing: item.number("failing").unwrap_or(0),
        }
    }
}

impl State {
    /// How it is after `finding`, made at `now`.
    #[must_use]
    pub fn after(&self, finding: Finding, now: Timestamp) -> Self {
        let since = if self.checked_at.is_none() { now } else { self.since };
        let (seen, why, failing) = match finding {
            Finding::Unclear => {
                let last_at = self.last_at.or(Some(now));
                return Self { since, checked_at: Some(now), last_at, ..self.clone() };
            }
            Finding::Well => (Status::Healthy, None, 0),
            Finding::Impaired(why) => (Status::Degraded, Some(why), 0),
            Finding::Failing(why) if self.failing > 0 => (Status::Unhealthy, Some(why), self.failing + 1),
            Finding::Failing(why) => (Status::Degraded, Some(why), 1),
            Finding::Down(why) => (Status::Unhealthy, Some(why), self.failing + 1),
        };
        let status = seen.max(self.last);
        let since = match status.cmp(&self.status) {
            std::cmp::Ordering::Equal => since,
            std::cmp::Ordering::Greater => now,
            // It was as good as this one check ago already.
            std::cmp::Ordering::Less => self.last_at.unwrap_or(now),
        };
        let reason = if seen == status { why } else { self.reason };
        let (checked_at, last_at) = (Some(now), Some(now));
        Self { status, reason, since, checked_at, told: self.told, last: seen, last_at, failing }
    }

    /// Whether subscribers believe something else.
    pub fn is_untold(&self) -> bool {
        self.told != self.status
    }

    /// Whether anybody has looked lately.
    pub fn is_known(&self, now: Timestamp) -> bool {
        self.checked_at.is_some_and(|at| now.since(at) < FORGOTTEN)
    }

    /// Writes the state after a check. Of two checkers who have read the same, one is refused.
    pub fn write(&self, subject: &str, before: &Self) -> Update {
        let time = |at: Timestamp| at.as_millis().into();
        let unchanged = match before.checked_at {
            Some(at) => Test::Equals("checked_at", at.as_millis().into()),
            None => Test::Absent("checked_at"),
        };
        let checked_at = self.checked_at.unwrap_or(self.since);
        let last_at = self.last_at.unwrap_or(self.since);
        Update::of(key(subject)).when([unchanged]).then([
            Action::Set("status", self.status.name().into()),
            match self.reason {
                Some(reason) => Action::Set("reason", reason.name().into()),
                None => Action::Remove("reason"),
            },
            Action::Set("since", time(self.since)),
            Action::Set("checked_at", time(checked_at)),
            Action::Set("last", self.last.name().into()),
            Action::Set("last_at", time(last_at)),
            Action::Set("failing", self.failing.into()),
            Action::Set(EXPIRES_AT, checked_at.after(KEPT).as_seconds().into()),
        ])
    }

    /// Writes that subscribers were told.
    pub fn write_told(&self, subject: &str) -> Update {
        Update::of(key(subject)).then([Action::Set("told", self.status.name().into())])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resilience::circuit_breaker::BreakerPolicy;
    use crate::store::{MemoryStore, Outcome};

    const NOW: Timestamp = Timestamp::from_millis(1_795_233_000_000);

    fn at(check: u64) -> Timestamp {
        NOW.after(PERIOD * u32::try_from(check).unwrap())
    }

    fn finding(kind: u8) -> Finding {
        match kind {
            0 => Finding::Well,
            1 => Finding::Impaired(Reason::Throttled),
            2 => Finding::Failing(Reason::TimedOut),
            3 => Finding::Down(Reason::CircuitOpen),
            _ => Finding::Unclear,
        }
    }

    /// The states after each of `findings`, told whenever there is something to tell, through the item.
    fn followed(findings: &[Finding]) -> Vec<(State, Option<(Status, Timestamp)>)> {
        let store = MemoryStore::new();
        let read = || store.read(&key("x")).as_ref().map(State::from).unwrap_or_default();
        let follow = |(check, finding): (usize, &Finding)| {
            let before = read();
            let after = before.after(*finding, at(check as u64));
            assert!(matches!(store.apply(&after.write("x", &before)), Outcome::Applied(_)));
            let again = matches!(store.apply(&after.write("x", &before)), Outcome::Applied(_));
            assert!(!again, "a second checker does not tell the same again");
            assert_eq!(read(), after, "the item says all of it");
            let told = after.is_untold().then(|| {
                store.apply(&after.write_told("x"));
                (after.status, after.since)
            });
            (read(), told)
        };
        findings.iter().enumerate().map(follow).collect()
    }

    fn told(findings: &[Finding]) -> Vec<(Status, Timestamp)> {
        followed(findings).into_iter().filter_map(|(_, told)| told).collect()
    }

    #[test]
    fn an_outage_is_told_in_three_steps_with_the_times_at_which_they_began() {
        let (well, failing) = (Finding::Well, Finding::Failing(Reason::Unreachable));
        assert_eq!(
            told(&[well, failing, failing, failing, well, well, well]),
            [(Status::Degraded, at(1)), (Status::Unhealthy, at(2)), (Status::Healthy, at(4))]
        );
        assert_eq!(told(&[well, Finding::Down(Reason::CircuitOpen)]), [(Status::Unhealthy, at(1))], "at once");
        assert_eq!(told(&[well; 300]), []);
    }

    #[test]
    fn what_comes_and_goes_is_told_once() {
        let flapping = [finding(0), finding(2)].repeat(100);
        assert_eq!(told(&flapping), [(Status::Degraded, at(1))]);
        let states = followed(&[finding(3), finding(0), finding(4), finding(0)]);
        let seen: Vec<_> = states.iter().map(|(state, _)| (state.status, state.since)).collect();
        let down = (Status::Unhealthy, at(0));
        assert_eq!(seen, [down, down, down, (Status::Healthy, at(1))], "a check that says nothing counts for nothing");
    }

    #[test]
    fn calls_speak_before_anybody_is_asked() {
        let bucket = |ago: u64| {
            let tat = NOW.before(Duration::from_secs(ago)).as_millis() * 1_000;
            Bucket { tat_us: tat, ..Bucket::default() }
        };
        let (closed, idle) = (Circuit::default(), Bucket::default());
        let failing = Circuit { failures: 2, ..closed.clone() };
        let open = Circuit { open: true, retry_at: Some(NOW.after(PERIOD)), ..closed.clone() };
        let due = Circuit { open: true, retry_at: Some(NOW), ..closed.clone() };
        let blocked = Bucket { blocked_until: Some(NOW.after(PERIOD)), ..bucket(9) };
        let (well, circuit_open) = (Some(Finding::Well), Some(Finding::Down(Reason::CircuitOpen)));
        assert_eq!(seen(&closed, &bucket(299), NOW), well);
        assert_eq!(seen(&closed, &bucket(300), NOW), None);
        assert_eq!(seen(&closed, &idle, NOW), None);
        assert_eq!(seen(&failing, &bucket(9), NOW), Some(Finding::Impaired(Reason::Failing)));
        assert_eq!(seen(&failing, &bucket(300), NOW), None, "failures of long ago say nothing");
        assert_eq!(seen(&open, &bucket(9), NOW), circuit_open);
        assert_eq!(seen(&due, &bucket(9), NOW), None);
        assert_eq!(seen(&closed, &blocked, NOW), Some(Finding::Impaired(Reason::Throttled)));

        let half = Finding::Impaired(Reason::CircuitHalfOpen);
        for (kind, finding) in [(ProbeKind::Reach, half), (ProbeKind::Free, Finding::Well)] {
            assert_eq!(asked(&due, kind, &Ok(()), NOW), finding, "{kind:?}");
            assert_eq!(asked(&closed, kind, &Ok(()), NOW), Finding::Well);
        }
        let refused = Err(ProviderError::Unauthorized);
        assert_eq!(asked(&closed, ProbeKind::Free, &refused, NOW), Finding::Failing(Reason::Unauthorized));
        assert_eq!(BreakerPolicy::default().open_for, Duration::from_secs(60));
    }

    #[test]
    fn a_checker_that_reaches_nobody_suspects_itself() {
        let sight = |finding, asked| Sight { finding, asked };
        let gone = sight(Finding::Failing(Reason::Unreachable), true);
        let open = sight(Finding::Down(Reason::CircuitOpen), false);
        assert!(cut_off([gone, gone].iter()));
        assert!(cut_off([gone, gone, open].iter()));
        assert!(!cut_off([gone].iter()), "one that is down is down");
        assert!(!cut_off([gone, gone, sight(Finding::Well, false)].iter()));
        assert!(!cut_off([gone, sight(Finding::Failing(Reason::Unavailable), true)].iter()), "it has answered");
        assert!(!cut_off([].iter()));
    }

    #[test]
    fn every_reason_is_read_as_it_is_written() {
        for reason in [
            Reason::CircuitOpen,
            Reason::QuotaUsedUp,
            Reason::TimedOut,
            Reason::FailureRateCritical,
            Reason::CutOff,
            Reason::BackupCorrupt,
            Reason::BackupUnread,
            Reason::SecretOld,
        ] {
            assert_eq!(Reason::parse(reason.name()), Some(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
        let sight = Sight { finding: Finding::Failing(Reason::Slow), asked: true };
        let text = serde_json::to_string(&sight).unwrap();
        assert_eq!(text, r#"{"finding":"failing","reason":"slow","asked":true}"#);
        assert_eq!(serde_json::from_str::<Sight>(&text).unwrap(), sight);
        let well = serde_json::from_str::<Sight>(r#"{"finding":"well","asked":false}"#).unwrap();
        assert_eq!(well.finding, Finding::Well);
    }

    proptest! {
        #[test]
        fn worse_is_believed_at_once_better_when_seen_twice_and_each_change_is_told_once(
            kinds in prop::collection::vec(0_u8..5, 1..60)
        ) {
            let findings: Vec<Finding> = kinds.iter().copied().map(finding).collect();
            let states = followed(&findings);
            let mut before = Status::Healthy;
            let mut clear: Vec<Status> = Vec::new();
            for (check, ((state, told), found)) in states.iter().zip(&findings).enumerate() {
                let expected = match found {
                    Finding::Unclear => None,
                    Finding::Well => Some(Status::Healthy),
                    Finding::Impaired(_) => Some(Status::Degraded),
                    Finding::Failing(_) => Some(if state.failing > 1 { Status::Unhealthy } else { Status::Degraded }),
                    Finding::Down(_) => Some(Status::Unhealthy),
                };
                clear.extend(expected);
                let worst = clear.iter().rev().take(2).max().copied().unwrap_or_default();
                prop_assert_eq!(state.status, worst);
                prop_assert_eq!(told.is_some(), state.status != before);
                prop_assert_eq!(state.told, state.status);
                prop_assert_eq!(state.reason.is_none(), state.status == Status::Healthy);
                prop_assert!(state.since <= at(check as u64));
                before = state.status;
            }
        }
    }
}
