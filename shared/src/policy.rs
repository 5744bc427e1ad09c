//! The numbers of an integration, and the one decision they lead to: what to do after a failed attempt.
//!
//! Numbers only: nothing here knows a provider, a store or the time of day.

use std::time::Duration;

use crate::provider::ProviderError;
use crate::resilience::backoff::Backoff;

/// Whether a request may be sent again when nobody knows what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It only reads: yes.
    Safe,
    /// It carries an idempotency key that the provider honours: yes.
    WithKey,
    /// It would happen twice: no.
    Never,
}

/// How an integration calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Attempts per provider in all: 1 and up to 3 retries.
    pub attempts: u32,
    /// The delays between them.
    pub backoff: Backoff,
    /// HTTP statuses worth another attempt.
    pub retryable_statuses: Vec<u16>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long the whole call may take, whatever the caller allows.
    pub deadline: Duration,
    /// Whether the request may be repeated after an unclear end.
    pub replay: Replay,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Try again after this delay.
    RetryAfter(Duration),
    /// This provider has had its chances; another may be asked.
    FailOver,
    /// Nobody else may be asked: it could happen twice, or the request itself is at fault.
    GiveUp,
}

impl Policy {
    /// What follows the failed attempt number `attempt` (from 1) with `left` of the deadline remaining.
    pub fn after_failure(&self, error: &ProviderError, attempt: u32, left: Duration, random: f64) -> NextStep {
        let worth_repeating = match error {
            ProviderError::Unreachable(_)
            | ProviderError::Timeout
            | ProviderError::Throttled { .. }
            | ProviderError::CredentialsReplaced => true,
            ProviderError::Unavailable { status } => self.retryable_statuses.contains(status),
            ProviderError::Unauthorized => false,
            ProviderError::Rejected { .. } => return NextStep::GiveUp,
            // An answer that makes no sense is an answer: what must not happen twice may have happened.
            ProviderError::Ambiguous(_) | ProviderError::Malformed(_) if self.replay == Replay::Never => {
                return NextStep::GiveUp;
            }
            ProviderError::Malformed(_) => false,
            ProviderError::Ambiguous(_) => true,
        };
        if !worth_repeating || attempt >= self.attempts {
            return NextStep::FailOver;
        }
        let backoff = self.backoff.delay(attempt, random);
        let delay = if let ProviderError::CredentialsReplaced = error {
            Duration::ZERO
        } else if let ProviderError::Throttled { retry_after: Some(floor) } = error {
            // What the provider asks for is a floor, not a suggestion.
            backoff.max(*floor)
        } else {
            backoff
        };
        // No sleep crosses the deadline: whoever would wake up with no time left had better answer now.
        if delay >= left { NextStep::FailOver } else { NextStep::RetryAfter(delay) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy(replay: Replay) -> Policy {
        Policy {
            attempts: 3,
            backoff: Backoff::Exponential { base: Duration::from_millis(100), max: SECOND },
            retryable_statuses: vec![500, 503],
            timeout: SECOND,
            deadline: SECOND * 10,
            replay,
        }
    }

    fn after(error: &ProviderError, attempt: u32, left: Duration) -> NextStep {
        policy(Replay::Safe).after_failure(error, attempt, left, 1.0)
    }

    #[test]
    fn passing_failures_are_retried_with_backoff_until_the_attempts_are_used_up() {
        let wait = |ms| NextStep::RetryAfter(Duration::from_millis(ms));
        assert_eq!(after(&ProviderError::Timeout, 1, SECOND), wait(100));
        assert_eq!(after(&ProviderError::Unreachable("x".into()), 2, SECOND), wait(200));
        assert_eq!(after(&ProviderError::Timeout, 3, SECOND), NextStep::FailOver);
        assert_eq!(after(&ProviderError::Unavailable { status: 503 }, 1, SECOND), wait(100));
        assert_eq!(after(&ProviderError::Unavailable { status: 501 }, 1, SECOND), NextStep::FailOver);
    }

    #[test]
    fn what_repeating_cannot_mend_is_not_repeated() {
        assert_eq!(after(&ProviderError::Unauthorized, 1, SECOND), NextStep::FailOver);
        assert_eq!(after(&ProviderError::Malformed("x".into()), 1, SECOND), NextStep::FailOver);
        assert_eq!(after(&ProviderError::Rejected { code: "1".into() }, 1, SECOND), NextStep::GiveUp);
        assert_eq!(after(&ProviderError::CredentialsReplaced, 1, SECOND), NextStep::RetryAfter(Duration::ZERO));
    }

    #[test]
    fn what_may_have_happened_is_repeated_only_when_that_does_no_harm() {
        let error = ProviderError::Ambiguous("x".into());
        let step = |replay| policy(replay).after_failure(&error, 1, SECOND, 0.0);
        assert_eq!(step(Replay::Safe), NextStep::RetryAfter(Duration::ZERO));
        assert_eq!(step(Replay::WithKey), NextStep::RetryAfter(Duration::ZERO));
        assert_eq!(step(Replay::Never), NextStep::GiveUp);
        let senseless = ProviderError::Malformed("x".into());
        assert_eq!(policy(Replay::Never).after_failure(&senseless, 1, SECOND, 0.0), NextStep::GiveUp);
    }

    #[test]
    fn retry_after_is_a_floor_and_no_sleep_crosses_the_deadline() {
        let throttled = |seconds| ProviderError::Throttled { retry_after: Some(SECOND * seconds) };
        assert_eq!(after(&throttled(2), 1, SECOND * 5), NextStep::RetryAfter(SECOND * 2));
        assert_eq!(after(&throttled(0), 1, SECOND * 5), NextStep::RetryAfter(Duration::from_millis(100)));
        assert_eq!(after(&throttled(5), 1, SECOND * 5), NextStep::FailOver);
        assert_eq!(after(&ProviderError::Timeout, 1, Duration::from_millis(100)), NextStep::FailOver);
    }
}
