//! Time as a value: one unit, one way to ask for "now".
//!
//! Everything that decides takes a [`Timestamp`] as an argument; only the code that *does* things holds a [`Clock`].
//! That is what lets the tests run hours in milliseconds. This file refuses to sleep: waiting is `tokio::time`'s work.
//!
//! An environment has two clocks, and both can lie: the wall clock may be off or be set, the monotonic clock may stand
//! still while the environment is frozen. So a point in time that others must understand is a [`Timestamp`] of the
//! [`CorrectedClock`], and an age that only this environment cares about is taken by both clocks, see [`Moment`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::planted::{Rule, broken};

mod corrected;

pub use corrected::{CorrectedClock, StoreTime};

/// How far the clocks of two environments may be apart: twice what the check against the store's clock leaves.
pub const CLOCKS_APART: Duration = Duration::from_secs(1);

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The point `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Microseconds since the epoch, the unit of the rate limit's arithmetic.
    pub const fn as_micros(self) -> i64 {
        self.0.saturating_mul(1_000)
    }

    /// Whole seconds since the epoch, the unit of DynamoDB's TTL attribute.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// The point `span` later; saturates at the end of time.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// The point `span` earlier; saturates at the beginning of time.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC with milliseconds, for example `2026-11-21T03:50:00.123Z`.
    pub fn rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|point| point.format(&Rfc3339).ok())
            .unwrap_or_else(|| format!("{}ms", self.0))
    }

    /// Reads RFC 3339; `None` when the text is not of that form.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let point = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(point.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// A span in whole milliseconds, saturating: spans of this project are far below 292 million years.
pub fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// A point in time by both clocks of this environment, for ages that nobody else needs to understand.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the wall clock as it is, uncorrected: a correction must not look like time passing.
    pub wall: Timestamp,
    /// By the clock that is never set, but may stand still while the environment is frozen.
    pub monotonic: Instant,
}

impl Moment {
    /// How old this moment is at `now`: what the clock that says more says. `None`, which is to be read as "too old",
    /// when the wall clock has been set back: nobody can tell then.
    pub fn age(self, now: Self) -> Option<Duration> {
        if now.wall < self.wall {
            return None;
        }
        Some(now.wall.since(self.wall).max(now.monotonic.saturating_duration_since(self.monotonic)))
    }

    /// Whether this moment is at most `limit` old at `now`.
    pub fn is_within(self, limit: Duration, now: Self) -> bool {
        let age = if broken(Rule::AgesByBothClocks) {
            Some(now.monotonic.saturating_duration_since(self.monotonic))
        } else {
            self.age(now)
        };
        age.is_some_and(|age| age <= limit)
    }
}

/// Where "now" comes from.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The wall-clock time of this environment.
    fn now(&self) -> Timestamp;

    /// The present by both clocks.
    fn moment(&self) -> Moment {
        Moment { wall: self.now(), monotonic: Instant::now() }
    }
}

/// A clock that may be handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(millis(since_epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_round_trips_with_milliseconds() {
        let point = Timestamp::from_millis(1_795_233_000_123);
        assert_eq!(point.rfc3339(), "2026-11-21T03:50:00.123Z");
        assert_eq!(Timestamp::parse_rfc3339(&point.rfc3339()), Some(point));
        assert_eq!(Timestamp::parse_rfc3339("2026-11-21T12:50:00.123+09:00"), Some(point));
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn an_age_is_what_the_clock_that_says_more_says_and_unknown_once_the_wall_clock_was_set_back() {
        let (wall, monotonic, ms) = (Timestamp::from_millis(1_000), Instant::now(), Duration::from_millis);
        let then = Moment { wall, monotonic };
        let frozen = Moment { wall: wall.after(ms(30)), monotonic: monotonic + ms(5) };
        assert_eq!(then.age(frozen), Some(ms(30)));
        let stuck = Moment { wall, monotonic: monotonic + ms(5) };
        assert_eq!(then.age(stuck), Some(ms(5)));
        let set_back = Moment { wall: wall.before(ms(1)), monotonic: monotonic + ms(5) };
        assert_eq!(then.age(set_back), None);
        assert!(then.is_within(ms(30), frozen) && !then.is_within(ms(29), frozen) && !then.is_within(ms(99), set_back));
    }

    #[test]
    fn differences_never_go_below_zero() {
        let point = Timestamp::from_millis(1_000);
        assert_eq!(point.since(point.after(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(point.after(Duration::from_secs(1)).since(point), Duration::from_secs(1));
    }
}
