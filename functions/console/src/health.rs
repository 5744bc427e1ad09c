//! How a provider and an integration are, judged from the circuit and the limit that the fleet shares, and from what the last
//! health check has found. Pure.

use ieum::clock::Timestamp;
use ieum::resilience::circuit_breaker::{Circuit, Verdict};
use ieum::resilience::health::{Reason, State, Status, is_recent};
use ieum::resilience::rate_limit::Bucket;
use serde::Serialize;

/// How much of a day's quota the fleet has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// Calls since midnight in Seoul.
    pub used: i64,
    /// Calls allowed per day.
    pub of: i64,
}

/// How one provider is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderHealth {
    /// Its name.
    pub name: String,
    /// How it is.
    pub status: Status,
    /// Why, unless it is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Until when it stays so at least, RFC 3339, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How much of its daily quota is used, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// Since when it is so, RFC 3339, where a check has found it so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When it was last checked, RFC 3339, unless that is too long ago to say anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<String>,
}

impl ProviderHealth {
    /// Judges the provider `name` by what the store holds at `now`: first by calls, which are newer than any check; where they
    /// have nothing bad to say and there were none since, by the last check.
    pub fn judge(name: &str, circuit: &Circuit, bucket: &Bucket, state: &State, now: Timestamp) -> Self {
        let blocked_until = bucket.blocked_until.filter(|until| *until > now);
        let quota = bucket.quota_use(now).map(|(used, of)| Quota { used, of });
        let used_up = quota.is_some_and(|quota| quota.used >= quota.of);
        let (status, reason, until) = match (circuit.verdict(now), blocked_until) {
            (Verdict::Open(until), _) => (Status::Unhealthy, Some(Reason::CircuitOpen), Some(until)),
            (_, _) if used_up => (Status::Unhealthy, Some(Reason::QuotaUsedUp), Some(bucket.quota_resets_at(now))),
            (Verdict::HalfOpen, _) => (Status::Degraded, Some(Reason::CircuitHalfOpen), None),
            (Verdict::Closed, Some(until)) => (Status::Degraded, Some(Reason::Throttled), Some(until)),
            (Verdict::Closed, None) if circuit.failures > 0 => (Status::Degraded, Some(Reason::Failing), None),
            (Verdict::Closed, None) => (Status::Healthy, None, None),
        };
        let checked_at = state.checked_at.filter(|_| state.is_known(now));
        let called_since = checked_at.is_some_and(|at| is_recent(bucket, at));
        let (status, reason) = match checked_at {
            Some(_) if status == Status::Healthy && !called_since => (state.status, state.reason),
            Some(_) | None => (status, reason),
        };
        Self {
            name: name.to_owned(),
            status,
            reason,
            until: until.map(Timestamp::rfc3339),
            quota,
            since: checked_at.filter(|_| state.status == status).map(|_| state.since.rfc3339()),
            checked_at: checked_at.map(Timestamp::rfc3339),
        }
    }
}

/// How an integration is: as well as its best provider if that one is healthy and alone, degraded while any works.
pub fn of_integration(providers: &[ProviderHealth]) -> Status {
    let best = providers.iter().map(|provider| provider.status).min().unwrap_or(Status::Healthy);
    let worst = providers.iter().map(|provider| provider.status).max().unwrap_or(Status::Healthy);
    if best == Status::Unhealthy { Status::Unhealthy } else { worst.min(Status::Degraded) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ieum::resilience::health::{FORGOTTEN, Finding};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_233_000_000);

    fn judged(circuit: Circuit, blocked: Option<u64>) -> (Status, Option<Reason>) {
        let blocked_until = blocked.map(|seconds| NOW.after(Duration::from_secs(seconds)));
        let bucket = Bucket { blocked_until, ..Bucket::default() };
        let health = ProviderHealth::judge("nice", &circuit, &bucket, &State::default(), NOW);
        (health.status, health.reason)
    }

    #[test]
    fn a_provider_is_judged_by_circuit_then_throttling_then_failures() {
        let closed = Circuit::default();
        let failing = Circuit { failures: 2, ..closed.clone() };
        let open = Circuit { open: true, retry_at: Some(NOW.after(Duration::from_secs(9))), ..closed.clone() };
        let due = Circuit { open: true, retry_at: Some(NOW), ..closed.clone() };
        assert_eq!(judged(closed.clone(), None), (Status::Healthy, None));
        assert_eq!(judged(closed.clone(), Some(0)), (Status::Healthy, None));
        assert_eq!(judged(closed, Some(5)), (Status::Degraded, Some(Reason::Throttled)));
        assert_eq!(judged(failing, None), (Status::Degraded, Some(Reason::Failing)));
        assert_eq!(judged(open, Some(5)), (Status::Unhealthy, Some(Reason::CircuitOpen)));
        assert_eq!(judged(due, None), (Status::Degraded, Some(Reason::CircuitHalfOpen)));
    }

    #[test]
    fn where_nobody_calls_the_last_check_speaks_until_it_is_forgotten() {
        let state = State::default().after(Finding::Failing(Reason::TimedOut), NOW);
        let judged = |tat: Timestamp, now: Timestamp| {
            let bucket = Bucket { tat_us: tat.as_millis() * 1_000, ..Bucket::default() };
            let health = ProviderHealth::judge("nice", &Circuit::default(), &bucket, &state, now);
            (health.status, health.reason, health.since)
        };
        let long_ago = Timestamp::default();
        let later = NOW.after(Duration::from_secs(60));
        let checked = (Status::Degraded, Some(Reason::TimedOut), Some(NOW.rfc3339()));
        assert_eq!(judged(long_ago, later), checked);
        assert_eq!(judged(later, later), (Status::Healthy, None, None), "a call since then went well");
        assert_eq!(judged(long_ago, NOW.after(FORGOTTEN)), (Status::Healthy, None, None));
    }

    #[test]
    fn an_integration_works_as_long_as_one_provider_does() {
        let with = |statuses: &[Status]| {
            let one = |status: &Status| ProviderHealth {
                name: String::new(),
                status: *status,
                reason: None,
                until: None,
                quota: None,
                since: None,
                checked_at: None,
            };
            of_integration(&statuses.iter().map(one).collect::<Vec<_>>())
        };
        use Status::{Degraded, Healthy, Unhealthy};
        assert_eq!(with(&[Healthy, Healthy]), Healthy);
        assert_eq!(with(&[Healthy, Unhealthy]), Degraded);
        assert_eq!(with(&[Degraded, Unhealthy]), Degraded);
        assert_eq!(with(&[Unhealthy, Unhealthy]), Unhealthy);
    }
}
