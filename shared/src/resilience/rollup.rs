//! What happened in a minute, in numbers that can be added up: for charts, success rates and percentiles.
//!
//! Each environment counts for itself and adds its minute to two shared items, that of the minute and that of the quarter
//! of an hour around it: an hour is read as 60 minutes and a day as 96 quarters, instead of 1,440 minutes. Adding is all
//! that is ever done to them, so any number of environments may do so in any order. Durations go into buckets whose bounds grow by about a third, which is
//! how far off a percentile may be. EMF lines remain the truth: an environment that is killed takes up to a minute of its
//! successes with it.
//!
//! This file refuses to know the time, and who reads the numbers.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::store::{Action, EXPIRES_AT, Item, Key, Update};

/// How many parts a period of one integration is kept in, so that a large fleet does not write one item.
pub const SHARDS: u32 = 4;

/// How long periods are kept, in seconds: a week, and a day to look at it.
const KEPT_SECONDS: i64 = 8 * 24 * 60 * 60;

/// What can keep an attempt from succeeding: how it failed ([`crate::provider::ProviderError::label`]), or why it was
/// not made. Each is an attribute.
pub const SETBACKS: [&str; 11] = [
    "unreachable",
    "timeout",
    "throttled",
    "unavailable",
    "rejected",
    "unauthorized",
    "credentials_replaced",
    "malformed",
    "ambiguous",
    "limited",
    "circuit_open",
];

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

/// Counts of calls by ending and by duration, and of the setbacks on their way. Adding two gives the counts of both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    endings: [u64; 4],
    durations: [u64; BUCKETS.len()],
    setbacks: [u64; SETBACKS.len()],
}

impl Counts {
    /// Counts one call.
    pub fn note(&mut self, ending: Ending, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|(bound, _)| ms <= *bound).unwrap_or(BUCKETS.len() - 1);
        self.endings[ending as usize] += 1;
        self.durations[bucket] += 1;
    }

    /// Counts one setback; a word that is none of [`SETBACKS`] counts as nothing.
    pub fn note_setback(&mut self, label: &str) {
        if let Some(place) = SETBACKS.iter().position(|known| *known == label) {
            self.setbacks[place] += 1;
        }
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.endings.iter_mut().zip(other.endings).for_each(|(mine, theirs)| *mine += theirs);
        self.durations.iter_mut().zip(other.durations).for_each(|(mine, theirs)| *mine += theirs);
        self.setbacks.iter_mut().zip(other.setbacks).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// How many calls ended so.
    pub fn ended(&self, ending: Ending) -> u64 {
        self.endings[ending as usize]
    }

    /// The setbacks that happened, each with its word and how often.
    pub fn setbacks(&self) -> impl Iterator<Item = (&'static str, u64)> {
        SETBACKS.into_iter().zip(self.setbacks).filter(|(_, count)| *count > 0)
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
            setbacks: SETBACKS.map(number),
        }
    }

    /// Adds these counts to the shared ones of `period`.
    pub fn flush(&self, integration: &str, period: Period, shard: u32) -> Update {
        let endings = Ending::ALL.map(|ending| (ending.attribute(), self.ended(ending)));
        let durations = BUCKETS.iter().zip(self.durations).map(|((_, name), count)| (*name, count));
        let setbacks = SETBACKS.into_iter().zip(self.setbacks);
        let mut update = Update::of(period.key(integration, shard))
            .then([Action::Set(EXPIRES_AT, (period.begins().as_seconds() + KEPT_SECONDS).into())]);
        for (name, count) in endings.into_iter().chain(durations).chain(setbacks).filter(|(_, count)| *count > 0) {
            update.actions.push(Action::Add(name, i64::try_from(count).unwrap_or(i64::MAX)));
        }
        update
    }
}

/// How long the periods of one kind are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    /// A minute, for the last hour.
    Minute,
    /// A quarter of an hour, for the last day.
    Quarter,
}

impl Grain {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Quarter];

    /// How long it is, in seconds.
    pub const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Quarter => 15 * 60,
        }
    }

    /// The period that `now` lies in.
    pub fn of(self, now: Timestamp) -> Period {
        Period { grain: self, number: now.as_seconds().div_euclid(self.seconds()) }
    }
}

/// A minute or a quarter of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    grain: Grain,
    /// Counted from 1970-01-01T00:00Z.
    number: i64,
}

impl Period {
    /// When it begins.
    pub fn begins(self) -> Timestamp {
        Timestamp::from_millis(self.number * self.grain.seconds() * 1_000)
    }

    /// When it is over.
    pub fn ends(self) -> Timestamp {
        Timestamp::from_millis((self.number + 1) * self.grain.seconds() * 1_000)
    }

    /// The `count` periods up to this one, oldest first.
    pub fn and_before(self, count: i64) -> impl Iterator<Item = Self> {
        (self.number - count + 1..=self.number).map(move |number| Self { number, ..self })
    }

    /// The key of one part of an integration's period.
    pub fn key(self, integration: &str, shard: u32) -> Key {
        let kind = match self.grain {
            Grain::Minute => "",
            Grain::Quarter => "quarter-",
        };
        format!("metric#{integration}#{kind}{}#{shard}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provider::ProviderError;
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
    fn every_way_to_fail_can_be_counted() {
        let any = || Box::new(std::io::Error::other("x"));
        for error in [
            ProviderError::Unreachable(any()),
            ProviderError::Timeout,
            ProviderError::Throttled { retry_after: None },
            ProviderError::Unavailable { status: 503 },
            ProviderError::Rejected { code: "x".to_owned() },
            ProviderError::Unauthorized,
            ProviderError::CredentialsReplaced,
            ProviderError::Malformed(any()),
            ProviderError::Ambiguous(any()),
        ] {
            let mut counts = Counts::default();
            counts.note_setback(error.label());
            assert_eq!(counts.setbacks().collect::<Vec<_>>(), [(error.label(), 1)]);
        }
    }

    #[test]
    fn a_day_is_96_quarters_and_an_hour_60_minutes() {
        let now = Timestamp::from_millis(1_795_233_059_999);
        for (grain, count, span) in [(Grain::Minute, 60, 3_600), (Grain::Quarter, 96, 86_400)] {
            let periods: Vec<_> = grain.of(now).and_before(count).collect();
            assert_eq!(periods.len(), usize::try_from(count).unwrap());
            assert_eq!(periods[0].begins().as_seconds(), periods[periods.len() - 1].ends().as_seconds() - span);
            assert!(periods.windows(2).all(|pair| pair[0].ends() == pair[1].begins()));
        }
    }

    #[test]
    fn a_minute_is_kept_under_its_name_and_for_a_week() {
        let store = MemoryStore::new();
        let now = Timestamp::from_millis(1_795_233_059_999);
        let minute = Grain::Minute.of(now);
        store.apply(&counts(&[(0, 5), (3, 5_000)]).flush("verify", minute, 2));
        let item = store.read("metric#verify#29920550#2").unwrap();
        assert_eq!((item.number("live"), item.number("unanswered"), item.number("cached")), (Some(1), Some(1), None));
        assert_eq!(item.number("expires_at"), Some(1_795_233_000 + 8 * 86_400));
        assert_eq!(Grain::Quarter.of(now).key("verify", 2), "metric#verify#quarter-1994703#2");
    }

    proptest! {
        /// However calls are spread over environments, and in whatever order these add them: the sums are the same, and
        /// a percentile is at most a bucket above the true one.
        #[test]
        fn sums_are_sums(calls in prop::collection::vec((0..4_usize, 0..19_000_u64), 1..80), split in 0..80_usize) {
            let (here, there) = calls.split_at(split.min(calls.len()));
            let (store, minute) = (MemoryStore::new(), Grain::Minute.of(Timestamp::from_millis(0)));
            store.apply(&counts(there).flush("x", minute, 0));
            store.apply(&counts(here).flush("x", minute, 0));
            let together = Counts::read(&store.read(&minute.key("x", 0)).unwrap());
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
