//! What happened in a minute, in numbers that can be added up: for charts, success rates and percentiles.
//!
//! Each environment counts for itself and adds its minute to a shared item; adding is all that is ever done to it, so any
//! number of environments may do so in any order. Durations go into buckets whose bounds grow by about a third, which is
//! how far off a percentile may be. EMF lines remain the truth: an environment that is killed takes up to a minute of its
//! successes with it.
//!
//! This file refuses to know the time, and who reads the numbers.

use std::time::Duration;

use crate::store::{Action, EXPIRES_AT, Item, Key, Update};

/// How many parts a minute of one integration is kept in, so that a large fleet does not write one item.
pub const SHARDS: u32 = 4;

/// How long minutes are kept, in seconds: a week, and a day to look at it.
const KEPT_SECONDS: i64 = 8 * 24 * 60 * 60;

const MINUTE_SECONDS: i64 = 60;

/// The upper bounds of the buckets in milliseconds, and the attribute of each. The last one has no bound.
const BUCKETS: [(u64, &str); 28] = [
    (1, "d0"),
    (2, "d1"),
    (3, "d2"),
    (5, "d3"),
    (7, "d4"),
    (10, "d5"),
    (14, "d6"),
    (20, "d7"),
    (28, "d8"),
    (40, "d9"),
    (56, "d10"),
    (80, "d11"),
    (110, "d12"),
    (150, "d13"),
    (200, "d14"),
    (280, "d15"),
    (400, "d16"),
    (560, "d17"),
    (800, "d18"),
    (1_100, "d19"),
    (1_500, "d20"),
    (2_100, "d21"),
    (3_000, "d22"),
    (4_999, "d23"),
    (7_000, "d24"),
    (10_000, "d25"),
    (20_000, "d26"),
    (u64::MAX, "d27"),
];

/// How a call ended, as far as a chart cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A provider answered.
    Live,
    /// The cache answered.
    Cached,
    /// Something stood in for a provider that did not answer: a stale answer, an entry by hand, a default.
    StoodIn,
    /// Nobody answered.
    Unanswered,
}

impl Ending {
    const fn attribute(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Cached => "cached",
            Self::StoodIn => "stood_in",
            Self::Unanswered => "unanswered",
        }
    }

    const ALL: [Self; 4] = [Self::Live, Self::Cached, Self::StoodIn, Self::Unanswered];
}

/// Counts of calls by ending and by duration. Adding two gives the counts of both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    endings: [u64; 4],
    durations: [u64; BUCKETS.len()],
}

impl Counts {
    /// Counts one call.
    pub fn note(&mut self, ending: Ending, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|(bound, _)| ms <= *bound).unwrap_or(BUCKETS.len() - 1);
        self.endings[ending as usize] += 1;
        self.durations[bucket] += 1;
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.endings.iter_mut().zip(other.endings).for_each(|(mine, theirs)| *mine += theirs);
        self.durations.iter_mut().zip(other.durations).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// How many calls ended so.
    pub fn ended(&self, ending: Ending) -> u64 {
        self.endings[ending as usize]
    }

    /// All calls.
    pub fn calls(&self) -> u64 {
        self.endings.iter().sum()
    }

    /// The duration in milliseconds that this share of the calls (0 to 1) did not exceed, to the bound of its bucket;
    /// `None` without calls.
    pub fn percentile_ms(&self, share: f64) -> Option<u64> {
        let calls = self.calls();
        let wanted = ((calls as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.durations.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        // What lies beyond the last bound is only known to be longer.
        Some(BUCKETS[bucket].0.min(BUCKETS[BUCKETS.len() - 2].0))
    }

    /// Reads an item.
    pub fn read(item: &Item) -> Self {
        let number = |name| item.number(name).and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        Self {
            endings: Ending::ALL.map(|ending| number(ending.attribute())),
            durations: BUCKETS.map(|(_, name)| number(name)),
        }
    }

    /// Adds these counts to the shared ones of `minute`.
    pub fn flush(&self, integration: &str, minute: Minute, shard: u32) -> Update {
        let endings = Ending::ALL.map(|ending| (ending.attribute(), self.ended(ending)));
        let durations = BUCKETS.iter().zip(self.durations).map(|((_, name), count)| (*name, count));
        let mut update = Update::of(key(integration, minute, shard))
            .then([Action::Set(EXPIRES_AT, (minute.0 * MINUTE_SECONDS + KEPT_SECONDS).into())]);
        for (name, count) in endings.into_iter().chain(durations).filter(|(_, count)| *count > 0) {
            update.actions.push(Action::Add(name, i64::try_from(count).unwrap_or(i64::MAX)));
        }
        update
    }
}

/// A minute, counted from 1970-01-01T00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minute(pub i64);

impl Minute {
    /// The minute that `now` lies in.
    pub fn of(now: crate::clock::Timestamp) -> Self {
        Self(now.as_seconds().div_euclid(MINUTE_SECONDS))
    }
}

/// The key of one part of an integration's minute.
pub fn key(integration: &str, minute: Minute, shard: u32) -> Key {
    format!("metric#{integration}#{}#{shard}", minute.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::MemoryStore;

    const ENDINGS: [Ending; 4] = Ending::ALL;

    fn counts(calls: &[(usize, u64)]) -> Counts {
        let mut counts = Counts::default();
        calls.iter().for_each(|(ending, ms)| counts.note(ENDINGS[ending % 4], Duration::from_millis(*ms)));
        counts
    }

    #[test]
    fn percentiles_are_the_bounds_of_their_buckets() {
        let mut all = Counts::default();
        assert_eq!(all.percentile_ms(0.5), None);
        for ms in 1..=100 {
            all.note(Ending::Live, Duration::from_millis(ms));
        }
        assert_eq!([0.0, 0.5, 0.95, 1.0].map(|share| all.percentile_ms(share)), [1, 56, 110, 110].map(Some));
        let mut slow = Counts::default();
        slow.note(Ending::Unanswered, Duration::from_secs(99));
        assert_eq!(slow.percentile_ms(0.99), Some(20_000), "and longer");
    }

    #[test]
    fn a_minute_is_kept_under_its_name_and_for_a_week() {
        let store = MemoryStore::new();
        let minute = Minute::of(crate::clock::Timestamp::from_millis(1_795_233_059_999));
        store.apply(&counts(&[(0, 5), (3, 5_000)]).flush("verify", minute, 2));
        let item = store.read("metric#verify#29920550#2").unwrap();
        assert_eq!((item.number("live"), item.number("unanswered"), item.number("cached")), (Some(1), Some(1), None));
        assert_eq!(item.number("expires_at"), Some(1_795_233_000 + 8 * 86_400));
    }

    proptest! {
        /// However calls are spread over environments, and in whatever order these add them: the sums are the same, and
        /// a percentile is at most a bucket above the true one.
        #[test]
        fn sums_are_sums(calls in prop::collection::vec((0..4_usize, 0..19_000_u64), 1..80), split in 0..80_usize) {
            let (here, there) = calls.split_at(split.min(calls.len()));
            let (store, minute) = (MemoryStore::new(), Minute(7));
            store.apply(&counts(there).flush("x", minute, 0));
            store.apply(&counts(here).flush("x", minute, 0));
            let together = Counts::read(&store.read(&key("x", minute, 0)).unwrap());
            prop_assert_eq!(&together, &counts(&calls));
            let mut added = counts(here);
            added.add(&counts(there));
            prop_assert_eq!(&added, &together);

            let mut sorted: Vec<u64> = calls.iter().map(|(_, ms)| *ms).collect();
            sorted.sort_unstable();
            let exact = sorted[(sorted.len() * 95).div_ceil(100).max(1) - 1];
            let told = together.percentile_ms(0.95).unwrap();
            prop_assert!(told >= exact && told <= (exact * 2).max(exact + 1), "{} for {}", told, exact);
        }
    }
}
