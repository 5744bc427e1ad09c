//! When something that happens by the calendar in Seoul was due last, and whether it has been missed.
//!
//! This file refuses to know the time and what it is that happens.

use std::time::Duration;

use crate::clock::Timestamp;

/// Seoul is this far ahead of UTC, all the year.
const SEOUL: Duration = Duration::from_secs(9 * 60 * 60);

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// How late something may be before it has been missed.
pub const GRACE: Duration = Duration::from_secs(60 * 60);

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// At this time of the day in Seoul.
    pub at: Duration,
    /// On Sundays only.
    pub sundays: bool,
}

impl Calendar {
    /// When it was due last, at `now` or before.
    pub fn due(self, now: Timestamp) -> Timestamp {
        let ahead = crate::clock::millis(SEOUL);
        let at = crate::clock::millis(self.at);
        let day = (now.as_millis() + ahead - at).div_euclid(DAY_MS);
        // 1970-01-01 was a Thursday.
        let day = if self.sundays { day - (day + 4).rem_euclid(7) } else { day };
        Timestamp::from_millis(day * DAY_MS + at - ahead)
    }

    /// Whether it should have happened since `since`, when it happened last or was asked for first, and has not.
    pub fn is_missed(self, since: Timestamp, now: Timestamp) -> bool {
        since < self.due(now.before(GRACE))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NIGHTLY: Calendar = Calendar { at: Duration::from_secs(3 * 60 * 60), sundays: false };
    const WEEKLY: Calendar = Calendar { at: Duration::from_secs(3 * 60 * 60), sundays: true };

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn three_in_seoul_is_six_in_the_evening_of_the_day_before() {
        let due = |calendar: Calendar, now: &str| calendar.due(at(now)).rfc3339();
        assert_eq!(due(NIGHTLY, "2026-11-21T17:59:59Z"), "2026-11-20T18:00:00Z");
        assert_eq!(due(NIGHTLY, "2026-11-21T18:00:00Z"), "2026-11-21T18:00:00Z");
        // The 22nd is a Sunday, and begins in Seoul on the 21st.
        assert_eq!(due(WEEKLY, "2026-11-21T17:59:59Z"), "2026-11-14T18:00:00Z");
        assert_eq!(due(WEEKLY, "2026-11-21T18:00:00Z"), "2026-11-21T18:00:00Z");
        assert_eq!(due(WEEKLY, "2026-11-28T17:59:59Z"), "2026-11-21T18:00:00Z");
    }

    #[test]
    fn a_run_is_missed_an_hour_after_it_was_due() {
        let (before, done) = (at("2026-11-20T18:04:00Z"), at("2026-11-21T18:04:00Z"));
        assert!(!NIGHTLY.is_missed(before, at("2026-11-21T18:59:59Z")));
        assert!(NIGHTLY.is_missed(before, at("2026-11-21T19:00:00Z")));
        assert!(!NIGHTLY.is_missed(done, at("2026-11-22T18:59:59Z")));
        assert!(NIGHTLY.is_missed(done, at("2026-11-22T19:00:00Z")));
    }

    proptest! {
        #[test]
        fn it_is_due_once_in_each_span(now in 0_i64..4_000_000_000_000, sundays: bool, hour in 0_u64..24) {
            let calendar = Calendar { at: Duration::from_secs(hour * 3_600), sundays };
            let now = Timestamp::from_millis(now);
            let span = Duration::from_secs(if sundays { 7 } else { 1 } * 24 * 3_600);
            let due = calendar.due(now);
            prop_assert!(due <= now && now.since(due) < span);
            prop_assert_eq!(calendar.due(due), due);
            prop_assert_eq!(calendar.due(due.before(Duration::from_millis(1))), due.before(span));
            let local = due.as_millis() + 9 * 3_600_000;
            prop_assert_eq!(local.rem_euclid(86_400_000), i64::try_from(hour).unwrap() * 3_600_000);
        }
    }
}
