//! The minutes and quarters of each integration, read so that looking at them costs the table little.
//!
//! A period that has been over for a while is read once and kept in memory: a page that is looked at all night reads the
//! last few minutes again and again, and not the day before them. What outages there were is reckoned from the same numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use ieum::clock::Timestamp;
use ieum::resilience::alert::CRITICAL;
use ieum::resilience::rollup::{Counts, Ending, Grain, Period, SHARDS};
use ieum::store::{Key, Store, StoreError};

/// How late an environment may hand its minute on and still be seen here: it does so with its next call.
const LATE: Duration = Duration::from_secs(10 * 60);

/// How long what was read is kept: as long as anything is shown.
const KEPT: Duration = Duration::from_secs(25 * 60 * 60);

/// Periods in one trip to the table, which reads 100 items.
const IN_ONE_TRIP: usize = 100 / SHARDS as usize;

/// Trips under way together.
const AT_ONCE: usize = 8;

/// An hour, in minutes.
pub const HOUR: i64 = 60;

/// A day, in quarters of an hour.
pub const DAY: i64 = 96;

/// What happened in some periods, one after the other.
pub type Series = Vec<(Period, Counts)>;

/// Reads what the fleet has counted.
#[derive(Debug)]
pub struct History {
    store: Arc<dyn Store>,
    over: Mutex<BTreeMap<(String, Period), Counts>>,
}

impl History {
    /// The history in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, over: Mutex::default() }
    }

    /// The `count` periods of `grain` up to `now` of each of `integrations`, in their order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(
        &self,
        integrations: &[&String],
        grain: Grain,
        count: i64,
        now: Timestamp,
    ) -> Result<Vec<Series>, StoreError> {
        let periods: Vec<Period> = grain.of(now).and_before(count).collect();
        let mut wanted: Vec<(String, Period)> = Vec::new();
        for integration in integrations {
            wanted.extend(periods.iter().map(|period| ((*integration).clone(), *period)));
        }
        let mut known = self.known(&wanted, now);
        wanted.retain(|one| !known.contains_key(one));
        let trips: Vec<_> = wanted.chunks(IN_ONE_TRIP).map(|chunk| self.fetch(chunk)).collect();
        let found: Vec<_> = stream::iter(trips).buffered(AT_ONCE).try_collect().await?;
        for (one, counts) in wanted.into_iter().zip(found.into_iter().flatten()) {
            known.insert(one, counts);
        }
        self.keep(&known, now);
        let series = integrations.iter().map(|integration| {
            let of_it = periods.iter().map(|period| ((*integration).clone(), *period));
            of_it.map(|one| (one.1, known.remove(&one).unwrap_or_default())).collect()
        });
        Ok(series.collect())
    }

    async fn fetch(&self, wanted: &[(String, Period)]) -> Result<Vec<Counts>, StoreError> {
        let parts =
            wanted.iter().flat_map(|(integration, period)| (0..SHARDS).map(|shard| period.key(integration, shard)));
        let keys: Vec<Key> = parts.collect();
        let items = self.store.get_many(&keys).await?;
        let sums = items.chunks(SHARDS as usize).map(|parts| {
            let mut sum = Counts::default();
            parts.iter().flatten().for_each(|item| sum.add(&Counts::read(item)));
            sum
        });
        Ok(sums.collect())
    }

    fn known(&self, wanted: &[(String, Period)], now: Timestamp) -> BTreeMap<(String, Period), Counts> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        over.retain(|(_, period), _| period.begins() > now.before(KEPT));
        wanted.iter().filter_map(|one| Some((one.clone(), over.get(one)?.clone()))).collect()
    }

    fn keep(&self, known: &BTreeMap<(String, Period), Counts>, now: Timestamp) {
        let over = known.iter().filter(|((_, period), _)| period.ends() < now.before(LATE));
        let over = over.map(|(one, counts)| (one.clone(), counts.clone()));
        self.over.lock().unwrap_or_else(PoisonError::into_inner).extend(over);
    }
}

/// Everything in a series.
pub fn sum(series: &Series) -> Counts {
    let mut sum = Counts::default();
    series.iter().for_each(|(_, counts)| sum.add(counts));
    sum
}

/// How a span of time went for those who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Something stood in for the provider.
    Bridged,
    /// Somebody got no answer.
    Unanswered,
}

/// A span of time in which providers did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The beginning of the first period it shows in.
    pub from: Timestamp,
    /// The end of the last one.
    pub until: Timestamp,
    /// The worst of it.
    pub harm: Harm,
}

/// The outages in a series, oldest first. One call of a hundred that fails is no outage; periods without calls between two
/// bad ones belong to the same.
pub fn outages(series: &Series) -> Vec<Outage> {
    let (mut outages, mut open) = (Vec::<Outage>::new(), false);
    for (period, counts) in series {
        match harm(counts) {
            Some(harm) => match outages.last_mut().filter(|_| open) {
                Some(last) => (last.until, last.harm) = (period.ends(), last.harm.max(harm)),
                None => outages.push(Outage { from: period.begins(), until: period.ends(), harm }),
            },
            None if counts.calls() == 0 => continue,
            None => {}
        }
        open = harm(counts).is_some();
    }
    outages
}

fn harm(counts: &Counts) -> Option<Harm> {
    let [live, stood_in, unanswered] =
        [Ending::Live, Ending::StoodIn, Ending::Unanswered].map(|ending| counts.ended(ending));
    // The alarm's share, though one failure among few is enough.
    let much = |bad: u64| CRITICAL.is_share_exceeded(bad, live + stood_in + unanswered);
    match (much(unanswered), much(stood_in + unanswered)) {
        (true, _) => Some(Harm::Unanswered),
        (false, true) => Some(Harm::Bridged),
        (false, false) => None,
    }
}

/// The quarters of a day up to where the minutes of the last hour begin, and then those.
pub fn joined(day: &Series, hour: &Series) -> Series {
    let begins = hour.first().map(|(minute, _)| minute.begins());
    let before = day.iter().filter(|(quarter, _)| begins.is_none_or(|begins| quarter.ends() <= begins));
    before.chain(hour).cloned().collect()
}

#[cfg(test)]
mod tests {
    use ieum::store::MemoryStore;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_233_000_000);

    fn minutes(calls: &[&[(Ending, u32)]]) -> Series {
        let count = i64::try_from(calls.len()).expect("a few");
        let counts = calls.iter().map(|endings| {
            let mut counts = Counts::default();
            for (ending, times) in *endings {
                (0..*times).for_each(|_| counts.note(*ending, Duration::from_millis(10)));
            }
            counts
        });
        Grain::Minute.of(NOW).and_before(count).zip(counts).collect()
    }

    #[test]
    fn an_outage_lasts_while_more_than_a_tenth_fails_and_over_silence() {
        use Ending::{Cached, Live, StoodIn, Unanswered};
        let series = minutes(&[
            &[(Live, 9), (Unanswered, 1)],
            &[(Live, 8), (StoodIn, 1)],
            &[],
            &[(Unanswered, 1), (Cached, 50)],
            &[(Live, 1)],
            &[(StoodIn, 1)],
        ]);
        let minute = |place: usize| series[place].0;
        assert_eq!(
            outages(&series),
            [
                Outage { from: minute(1).begins(), until: minute(3).ends(), harm: Harm::Unanswered },
                Outage { from: minute(5).begins(), until: minute(5).ends(), harm: Harm::Bridged },
            ]
        );
        assert_eq!(outages(&minutes(&[&[], &[(Cached, 3)]])), []);
    }

    #[tokio::test]
    async fn what_is_over_is_read_once_and_what_is_not_again() {
        let store = Arc::new(MemoryStore::new());
        let history = History::new(Arc::clone(&store) as _);
        let name = "verify".to_owned();
        let note = |period: Period| {
            let mut counts = Counts::default();
            counts.note(Ending::Live, Duration::from_millis(5));
            store.apply(&counts.flush(&name, period, 1));
        };
        let last_hour: Vec<Period> = Grain::Minute.of(NOW).and_before(HOUR).collect();
        let calls = async || {
            let read = history.read(&[&name], Grain::Minute, HOUR, NOW).await.expect("a series");
            read[0].iter().map(|(_, counts)| counts.calls()).sum::<u64>()
        };
        note(last_hour[0]);
        note(last_hour[59]);
        assert_eq!(calls().await, 2);
        note(last_hour[0]);
        note(last_hour[58]);
        assert_eq!(calls().await, 3, "the minute of an hour ago is remembered");
    }
}
