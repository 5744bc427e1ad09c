//! Time as a value: one unit, one way to ask for "now".
//!
//! Everything that decides takes a [`Timestamp`] as an argument; only the code that *does* things holds a [`Clock`].
//! That is what lets the tests run hours in milliseconds. This file refuses to sleep: waiting is `tokio::time`'s work.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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

/// Where "now" comes from.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The wall-clock time of this environment.
    fn now(&self) -> Timestamp;
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
    fn differences_never_go_below_zero() {
        let point = Timestamp::from_millis(1_000);
        assert_eq!(point.since(point.after(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(point.after(Duration::from_secs(1)).since(point), Duration::from_secs(1));
    }
}
