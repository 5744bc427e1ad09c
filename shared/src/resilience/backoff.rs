//! How long to wait before the next attempt.
//!
//! Exponential backoff takes *full* jitter (a uniform draw below the cap of that attempt), because callers that failed
//! together must not return together. Linear and fixed delays exist for providers whose contract prescribes a schedule.

use std::time::Duration;

/// A schedule of delays between attempts. Attempts are numbered from 1; the first delay follows attempt 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// Uniform in `[0, min(max, base * 2^(attempt - 1))]`.
    Exponential {
        /// The cap of the first delay.
        base: Duration,
        /// The cap of every delay.
        max: Duration,
    },
    /// `min(max, step * attempt)`.
    Linear {
        /// What each attempt adds.
        step: Duration,
        /// The longest delay.
        max: Duration,
    },
    /// The same delay each time.
    Fixed(Duration),
}

impl Backoff {
    /// The delay after the failed attempt number `attempt`, with `random` drawn uniformly from `[0, 1]`.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        match *self {
            Self::Exponential { base, max } => {
                let doublings = attempt.saturating_sub(1).min(31);
                base.saturating_mul(1 << doublings).min(max).mul_f64(random.clamp(0.0, 1.0))
            }
            Self::Linear { step, max } => step.saturating_mul(attempt).min(max),
            Self::Fixed(delay) => delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn caps_double_from_the_base_up_to_the_maximum() {
        let backoff = Backoff::Exponential { base: MS(100), max: MS(1_500) };
        let caps: Vec<Duration> = (1..=6).map(|attempt| backoff.delay(attempt, 1.0)).collect();
        assert_eq!(caps, [MS(100), MS(200), MS(400), MS(800), MS(1_500), MS(1_500)]);
        assert_eq!(backoff.delay(3, 0.0), Duration::ZERO);
        assert_eq!(backoff.delay(3, 0.5), MS(200));
    }

    #[test]
    fn linear_grows_by_its_step_and_fixed_does_not_grow() {
        let linear = Backoff::Linear { step: MS(50), max: MS(120) };
        assert_eq!([1, 2, 3].map(|attempt| linear.delay(attempt, 0.3)), [MS(50), MS(100), MS(120)]);
        let fixed = Backoff::Fixed(MS(70));
        assert_eq!([1, 9].map(|attempt| fixed.delay(attempt, 0.3)), [MS(70), MS(70)]);
    }

    proptest! {
        #[test]
        fn no_attempt_number_and_no_draw_leaves_the_bounds(
            attempt in any::<u32>(), random in 0.0..=1.0_f64, base in 0..10_000_u64, extra in 0..100_000_u64,
        ) {
            let max = MS(base + extra);
            let exponential = Backoff::Exponential { base: MS(base), max };
            let linear = Backoff::Linear { step: MS(base), max };
            prop_assert!(exponential.delay(attempt, random) <= max && linear.delay(attempt, random) <= max);
        }
    }
}
