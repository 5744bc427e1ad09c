//! The rate limit of a provider: a token bucket kept as one number for the whole fleet.
//!
//! This is the generic cell rate algorithm. The item holds `tat`, the *theoretical arrival time*: when the bucket will
//! be full again. A call costs one interval `T = period / n`; the bucket holds `burst` of them. With `now` and `tat` in
//! microseconds:
//!
//! ```text
//! slot of the next call = max(now, tat - (burst - 1) * T)        take it: tat = max(now, tat) + T
//! ```
//!
//! `max` cannot be said in a guarded update, so a take is one of two: *idle* (`tat <= now`: set it) or *busy* (`tat`
//! above now, within what we are willing to wait for: add to it). A refusal returns the item and the other form is
//! tried. Since `tat` only grows, a refusal learned once holds without asking again: a flood is turned away with no I/O.
//!
//! A call whose slot lies in the future has *reserved* it: it waits outside the store, in the order of arrival, and
//! nobody can take its place. A provider's 429 sets `blocked_until` for everybody.
//!
//! Promise: in any window `W`, at most `burst + W / T` calls leave. This file refuses to sleep, and to know the time.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::store::{Action, Item, Test, Update};

/// The numbers of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatePolicy {
    /// The time between two calls of a steady stream: 100 ms for 10 per second.
    pub interval: Duration,
    /// How many calls may leave at once after a pause; at least 1.
    pub burst: u32,
    /// How long a call may wait for its slot.
    pub max_wait: Duration,
}

impl RatePolicy {
    /// `calls` per `period`, `burst` at once; `None` when one of them is zero.
    pub fn new(calls: u32, period: Duration, burst: u32, max_wait: Duration) -> Option<Self> {
        let interval = period.checked_div(calls).filter(|interval| *interval >= Duration::from_micros(1))?;
        (burst > 0).then_some(Self { interval, burst, max_wait })
    }

    fn interval_us(&self) -> i64 {
        micros(self.interval)
    }

    /// How far `tat` runs ahead of the next call's slot.
    fn slack_us(&self) -> i64 {
        self.interval_us().saturating_mul(i64::from(self.burst) - 1)
    }
}

/// The key of a provider's rate item.
pub fn key(provider: &str) -> String {
    format!("rate#{provider}")
}

/// A provider's bucket as the store had it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Theoretical arrival time, microseconds since the epoch.
    pub tat_us: i64,
    /// Until when the provider asked everybody to stay away.
    pub blocked_until: Option<Timestamp>,
}

impl From<&Item> for Bucket {
    fn from(item: &Item) -> Self {
        Self {
            tat_us: item.number("tat").unwrap_or(0),
            blocked_until: item.number("blocked_until").map(Timestamp::from_millis),
        }
    }
}

impl From<Bucket> for Item {
    fn from(bucket: Bucket) -> Self {
        let blocked = bucket.blocked_until.map(|until| ("blocked_until".to_owned(), until.as_millis().into()));
        Self([("tat".to_owned(), bucket.tat_us.into())].into_iter().chain(blocked).collect())
    }
}

/// What to do about one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Ask the store for a slot.
    Take(Update),
    /// No slot within the wait allowed: the earliest is this far away.
    Refuse(Duration),
}

impl Bucket {
    /// The plan for one call at `now` that may wait up to `wait`, judged by this reading of the bucket.
    pub fn plan(&self, provider: &str, policy: &RatePolicy, wait: Duration, now: Timestamp) -> Plan {
        let away = self.slot_in(policy, now);
        if away > wait {
            return Plan::Refuse(away);
        }
        // Nobody leaves before the block ends, so a blocked bucket counts from there as an idle one counts from now.
        let earliest = self.blocked_until.map_or(now, |until| until.max(now));
        let update = Update::of(key(provider))
            .when([Test::Absent("blocked_until"), Test::AtMost("blocked_until", earliest.as_millis())]);
        let step = policy.interval_us();
        Plan::Take(if self.tat_us <= earliest.as_micros() {
            update
                .when([Test::Absent("tat"), Test::AtMost("tat", earliest.as_micros())])
                .then([Action::Set("tat", (earliest.as_micros() + step).into()), Action::Add("v", 1)])
        } else {
            update
                .when([Test::AtLeast("tat", earliest.as_micros() + 1)])
                .when([Test::AtMost("tat", now.as_micros() + policy.slack_us() + micros(wait))])
                .then([Action::Add("tat", step), Action::Add("v", 1)])
        })
    }

    /// The bucket that allows only what both readings allow.
    pub fn stricter(self, other: Self) -> Self {
        let blocked_until = self.blocked_until.max(other.blocked_until);
        Self { tat_us: self.tat_us.max(other.tat_us), blocked_until }
    }

    /// How long from `now` until the next free slot.
    pub fn slot_in(&self, policy: &RatePolicy, now: Timestamp) -> Duration {
        let by_rate = wait_until(self.tat_us.saturating_sub(policy.slack_us()), now);
        by_rate.max(self.blocked_in(now))
    }

    /// How long until the slot just taken, given the bucket right after the taking.
    pub fn taken_in(&self, policy: &RatePolicy, now: Timestamp) -> Duration {
        let slot = self.tat_us.saturating_sub(policy.interval_us()).saturating_sub(policy.slack_us());
        wait_until(slot, now).max(self.blocked_in(now))
    }

    fn blocked_in(&self, now: Timestamp) -> Duration {
        self.blocked_until.map_or(Duration::ZERO, |until| until.since(now))
    }

    /// The provider asked everybody to stay away until `until`; never shortens an earlier request.
    pub fn block(provider: &str, until: Timestamp) -> Update {
        Update::of(key(provider))
            .when([Test::Absent("blocked_until"), Test::AtMost("blocked_until", until.as_millis())])
            .then([Action::Set("blocked_until", until.as_millis().into()), Action::Add("v", 1)])
    }
}

fn wait_until(point_us: i64, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(point_us.saturating_sub(now.as_micros())).unwrap_or(0))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{MemoryStore, Outcome};

    const START: Timestamp = Timestamp::from_millis(1_795_233_000_000);

    fn policy(per_second: u32, burst: u32, max_wait_ms: u64) -> RatePolicy {
        let wait = Duration::from_millis(max_wait_ms);
        RatePolicy::new(per_second, Duration::from_secs(1), burst, wait).expect("a valid policy")
    }

    /// Takes a slot the way the gate does: plan, ask, and plan again with what a refusal returned.
    fn take(store: &MemoryStore, policy: &RatePolicy, now: Timestamp) -> Result<Duration, Duration> {
        let mut bucket = Bucket::default();
        for _ in 0..4 {
            match bucket.plan("p", policy, policy.max_wait, now) {
                Plan::Refuse(away) => return Err(away),
                Plan::Take(update) => match store.apply(&update) {
                    Outcome::Applied(item) => return Ok(Bucket::from(&item).taken_in(policy, now)),
                    Outcome::Refused(item) => bucket = Bucket::from(&item.expect("it was taken before")),
                },
            }
        }
        panic!("four refusals in a row without a rival");
    }

    #[test]
    fn a_burst_leaves_at_once_then_one_per_interval_then_nobody_waits_longer_than_allowed() {
        let (store, policy) = (MemoryStore::new(), policy(10, 3, 250));
        let waits: Vec<_> = (0..7).map(|_| take(&store, &policy, START)).collect();
        let ms = Duration::from_millis;
        assert_eq!(waits, [Ok(ms(0)), Ok(ms(0)), Ok(ms(0)), Ok(ms(100)), Ok(ms(200)), Err(ms(300)), Err(ms(300))]);
        assert_eq!(take(&store, &policy, START.after(ms(60))), Ok(ms(240)));
    }

    #[test]
    fn after_a_block_the_burst_is_no_larger_than_ever() {
        let (store, policy) = (MemoryStore::new(), policy(10, 2, 2_000));
        for _ in 0..3 {
            assert!(take(&store, &policy, START).is_ok());
        }
        assert!(matches!(store.apply(&Bucket::block("p", START.after(Duration::from_secs(1)))), Outcome::Applied(_)));
        let waits: Vec<_> = (0..4).map(|_| take(&store, &policy, START).map(|wait| wait.as_millis())).collect();
        assert_eq!(waits, [Ok(1_000), Ok(1_000), Ok(1_100), Ok(1_200)]);
    }

    #[test]
    fn a_block_is_never_shortened_and_is_refused_beyond_the_wait() {
        let (store, policy) = (MemoryStore::new(), policy(10, 2, 500));
        let (near, far) = (START.after(Duration::from_secs(2)), START.after(Duration::from_secs(9)));
        assert!(matches!(store.apply(&Bucket::block("p", far)), Outcome::Applied(_)));
        assert!(matches!(store.apply(&Bucket::block("p", near)), Outcome::Refused(_)));
        assert_eq!(take(&store, &policy, START), Err(Duration::from_secs(9)));
    }

    #[test]
    fn zero_calls_zero_burst_and_rates_beyond_a_microsecond_are_no_policy() {
        let second = Duration::from_secs(1);
        assert_eq!(RatePolicy::new(0, second, 1, second), None);
        assert_eq!(RatePolicy::new(1, second, 0, second), None);
        assert_eq!(RatePolicy::new(2_000_000, second, 1, second), None);
    }

    proptest! {
        /// The promise of the module, for any arrivals, any policy, and a block in the middle.
        #[test]
        fn no_window_holds_more_than_burst_and_rate(
            gaps in prop::collection::vec(0..400_u64, 1..120), per_second in 1..50_u32, burst in 1..8_u32,
            max_wait in 0..3_000_u64, block_at in 0..120_usize, block_ms in 0..4_000_u64,
        ) {
            let (store, policy) = (MemoryStore::new(), policy(per_second, burst, max_wait));
            let (mut now, mut leaves) = (START, Vec::new());
            for (index, gap) in gaps.into_iter().enumerate() {
                now = now.after(Duration::from_millis(gap));
                if index == block_at {
                    let _ = store.apply(&Bucket::block("p", now.after(Duration::from_millis(block_ms))));
                }
                match take(&store, &policy, now) {
                    Ok(wait) => {
                        prop_assert!(wait <= policy.max_wait);
                        leaves.push(now.as_micros() + micros(wait));
                    }
                    Err(away) => prop_assert!(away > policy.max_wait),
                }
            }
            // A reservation made before a block keeps its time; everything after is judged by the bound.
            leaves.sort_unstable();
            for (first, &from) in leaves.iter().enumerate() {
                for (last, &to) in leaves.iter().enumerate().skip(first) {
                    let calls = i64::try_from(last - first + 1).expect("small");
                    let bound = i64::from(burst) + (to - from) / policy.interval_us() + 1;
                    prop_assert!(calls <= bound + i64::from(block_ms > 0) * i64::from(burst), "{calls} in {} us", to - from);
                }
            }
        }
    }
}
