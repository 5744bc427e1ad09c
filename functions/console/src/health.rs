//! How a provider and an integration are, judged from the circuit and the limit that the fleet shares. Pure.

use ieum::clock::Timestamp;
use ieum::resilience::circuit_breaker::{Circuit, Verdict};
use ieum::resilience::rate_limit::Bucket;
use serde::Serialize;

/// How something is, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing is known to be wrong.
    Healthy,
    /// It works, but something is wrong: failures, throttling, a probe due.
    Degraded,
    /// It does not work.
    Unhealthy,
}

/// Why a provider is not healthy, as a stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
}

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
}

impl ProviderHealth {
    /// Judges the provider `name` by what the store holds at `now`.
    pub fn judge(name: &str, circuit: &Circuit, bucket: &Bucket, now: Timestamp) -> Self {
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
        Self { name: name.to_owned(), status, reason, until: until.map(Timestamp::rfc3339), quota }
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

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_233_000_000);

    fn judged(circuit: Circuit, blocked: Option<u64>) -> (Status, Option<Reason>) {
        let blocked_until = blocked.map(|seconds| NOW.after(Duration::from_secs(seconds)));
        let health = ProviderHealth::judge("nice", &circuit, &Bucket { blocked_until, ..Bucket::default() }, NOW);
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
    fn an_integration_works_as_long_as_one_provider_does() {
        let with = |statuses: &[Status]| {
            let one = |status: &Status| ProviderHealth {
                name: String::new(),
                status: *status,
                reason: None,
                until: None,
                quota: None,
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
