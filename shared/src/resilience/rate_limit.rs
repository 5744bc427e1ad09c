//! A rate limit: a token bucket kept as one number for the whole fleet, with a daily quota beside it.
//!
//! This is the generic cell rate algorithm. The item holds `tat`, the *theoretical arrival time*: when the bucket will
//! be full again. A call costs one interval `T = period / calls`. With `now` and `tat` in microseconds and the
//! *tolerance* `B` (how many calls may leave at once):
//!
//! ```text
//! slot of the next call = max(now, tat - (B - 1) * T)            take n: tat = max(now, tat) + n * T
//! ```
//!
//! `max` cannot be said in a guarded update, so a take is one of two: *idle* (`tat <= now`: set it) or *busy* (`tat`
//! above now, within what we are willing to wait for: add to it). A refusal returns the item and the other form is
//! tried. Since `tat` only grows, a refusal learned once holds without asking again: a flood is turned away with no I/O.
//!
//! **Reservation.** A call whose slot lies in the future has reserved it: it waits outside the store, in the order of
//! arrival, and nobody can take its place. A provider's 429 sets `blocked_until` for everybody.
//!
//! **Leases.** An environment that calls often takes several slots in one trip: half as many as it made calls in the last
//! `D`, but at most a quarter of what the whole rate allows in that time:
//!
//! ```text
//! D = burst * T / 2, but 250 ms <= D <= 1 s          n = clamp(own calls in the last D / 2, 1, D / 4T)
//! B = max(1, burst - D / T)
//! ```
//!
//! Half, because calls come by chance: an environment that made two calls just now makes none in the next `D` one time
//! in seven, and what it took for the second is lost to everybody.
//!
//! A slot may be used from its time on for `D`, then it is lost. Because late use can bunch calls together, the burst
//! is reduced by what `D` can add.
//!
//! **Quota.** A day is a day in Seoul. Its count is kept in the same update as `tat`, so that a slot and a place in the
//! quota are had together or not at all.
//!
//! Promise: with clocks that are off by at most `e`, in any window `W` at most `burst + (W + 2e + D) / T` calls leave.
//! This file refuses to sleep, and to know the time.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::planted::{Rule, broken};
use crate::store::{Action, Item, Test, Update};

/// Bounds of `D`, how long past its time a slot may be used.
const SHORTEST_LEASE: Duration = Duration::from_millis(250);
const LONGEST_LEASE: Duration = Duration::from_secs(1);

/// An environment takes at most this part of what the whole rate allows in `D`.
const LARGEST_SHARE: u32 = 4;

/// Seoul is nine hours ahead of UTC and has no summer time, in milliseconds.
const SEOUL_MS: i64 = 9 * 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// The numbers of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatePolicy {
    /// How many calls may leave per period.
    pub calls: u32,
    /// The period.
    pub period: Duration,
    /// How many calls may leave at once after a pause; at least 1.
    pub burst: u32,
    /// How long a call may wait for its slot.
    pub max_wait: Duration,
    /// How many calls may leave per day, midnight to midnight in Seoul; `None` for no such limit.
    pub daily_quota: Option<u32>,
}

impl RatePolicy {
    /// `calls` per `period`, `burst` at once, no daily quota; `None` when one of them is zero, or when there are more
    /// calls than microseconds.
    pub fn new(calls: u32, period: Duration, burst: u32, max_wait: Duration) -> Option<Self> {
        let policy = Self { calls, period, burst, max_wait, daily_quota: None };
        (calls > 0 && burst > 0 && policy.interval() >= Duration::from_micros(1)).then_some(policy)
    }

    /// The same with a daily quota.
    pub fn daily(self, daily_quota: Option<u32>) -> Self {
        Self { daily_quota, ..self }
    }

    /// `T`: the time between two calls of a steady stream.
    pub fn interval(&self) -> Duration {
        self.period.checked_div(self.calls).unwrap_or(self.period)
    }

    /// `D`: how long past its time a slot may be used.
    pub fn lease(&self) -> Duration {
        (self.interval() * self.burst / 2).clamp(SHORTEST_LEASE, LONGEST_LEASE)
    }

    /// The most slots that one take may ask for.
    pub fn largest_take(&self) -> u32 {
        (slots(self.lease(), self.interval()) / LARGEST_SHARE).max(1)
    }

    /// What one of `environments` may do while they cannot ask each other: its part of the rate.
    pub fn share_of(&self, environments: f64) -> Self {
        let period = self.period.mul_f64(environments.max(1.0));
        let burst = (f64::from(self.burst) / environments.max(1.0)).floor() as u32;
        Self { period, burst: burst.max(1), ..*self }
    }

    fn interval_us(&self) -> i64 {
        micros(self.interval()).max(1)
    }

    /// How far `tat` runs ahead of the next call's slot: `(B - 1) * T`.
    fn slack_us(&self) -> i64 {
        let late = slots(self.lease(), self.interval());
        let tolerance = self.burst.saturating_sub(late).max(1);
        self.interval_us().saturating_mul(i64::from(tolerance) - 1)
    }
}

/// How many intervals a span holds, rounded up.
fn slots(span: Duration, interval: Duration) -> u32 {
    u32::try_from(span.as_micros().div_ceil(interval.as_micros().max(1))).unwrap_or(u32::MAX)
}

/// The key of a provider's rate item.
pub fn key(provider: &str) -> String {
    format!("rate#{provider}")
}

/// The key of a caller's rate item.
pub fn caller_key(caller: &str) -> String {
    format!("rate#caller#{caller}")
}

/// The day in Seoul, counted from 1970-01-01.
fn day_of(now: Timestamp) -> i64 {
    now.as_millis().saturating_add(SEOUL_MS).div_euclid(DAY_MS)
}

/// When the day after `day` begins in Seoul.
fn end_of(day: i64) -> Timestamp {
    Timestamp::from_millis((day + 1).saturating_mul(DAY_MS) - SEOUL_MS)
}

/// A bucket as the store had it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Theoretical arrival time, microseconds since the epoch.
    pub tat_us: i64,
    /// Until when the provider asked everybody to stay away.
    pub blocked_until: Option<Timestamp>,
    /// The day that is being counted, see [`RatePolicy::daily_quota`].
    pub day: i64,
    /// The slots taken on that day.
    pub day_count: i64,
    /// How many may be taken on a day, as whoever took the last one saw it; 0 where there is no quota.
    pub day_quota: i64,
    /// The slots ever taken by the whole fleet.
    pub taken: i64,
    /// `T` of whoever took the last slot; 0 when nobody has said.
    pub interval_us: i64,
}

impl From<&Item> for Bucket {
    fn from(item: &Item) -> Self {
        let number = |name| item.number(name).unwrap_or(0);
        Self {
            tat_us: number("tat"),
            blocked_until: item.number("blocked_until").map(Timestamp::from_millis),
            day: number("day"),
            day_count: number("day_count"),
            day_quota: number("day_quota"),
            taken: number("taken"),
            interval_us: number("interval"),
        }
    }
}

impl From<Bucket> for Item {
    fn from(bucket: Bucket) -> Self {
        let blocked = bucket.blocked_until.map(|until| ("blocked_until".to_owned(), until.as_millis().into()));
        let numbers = [
            ("tat", bucket.tat_us),
            ("day", bucket.day),
            ("day_count", bucket.day_count),
            ("day_quota", bucket.day_quota),
            ("taken", bucket.taken),
            ("interval", bucket.interval_us),
        ];
        let numbers = numbers.map(|(name, number)| (name.to_owned(), number.into()));
        Self(numbers.into_iter().chain(blocked).collect())
    }
}

/// What to do about a call that needs a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Ask the store for slots with this update; if it is applied, [`Bucket::leased`] says which.
    Take {
        /// The update.
        update: Update,
        /// How many slots it takes.
        count: u32,
    },
    /// No slot within the wait allowed: the earliest is this far away.
    Refuse(Duration),
}

/// Slots that were taken and not yet used, in the order of their times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// The time of the first by the algorithm, microseconds since the epoch.
    next_us: i64,
    /// No slot is earlier than this.
    floor_us: i64,
    left: u32,
}

impl Lease {
    /// Takes out the first slot that can be used at `earliest` or later, but not later than `until`, and says when to
    /// use it. Slots that are over by then are dropped.
    pub fn pop(&mut self, policy: &RatePolicy, earliest: Timestamp, until: Timestamp) -> Option<Timestamp> {
        while let Some(slot) = self.first() {
            if slot.max(earliest) > until {
                return None;
            }
            self.next_us += policy.interval_us();
            self.left -= 1;
            if is_usable(slot, policy, earliest) {
                return Some(slot.max(earliest));
            }
        }
        None
    }

    /// When the earliest slot begins; `None` when none is left.
    pub fn first(&self) -> Option<Timestamp> {
        let slot_us = self.next_us.max(self.floor_us);
        // Up to the next millisecond: a slot is never used before its time.
        (self.left > 0).then(|| Timestamp::from_millis(slot_us.saturating_add(999).div_euclid(1_000)))
    }

    /// How many slots are left.
    pub fn left(&self) -> u32 {
        self.left
    }
}

/// Whether a call may still leave at `now` for a slot that began, or begins, at `slot`.
pub fn is_usable(slot: Timestamp, policy: &RatePolicy, now: Timestamp) -> bool {
    now <= slot.after(policy.lease()) || broken(Rule::SlotsExpire)
}

impl Bucket {
    /// The plan for one call at `now` that may wait up to `wait`, in an environment that would make use of `wanted`
    /// slots, judged by this reading of the bucket.
    pub fn plan(&self, key: &str, policy: &RatePolicy, wanted: u32, wait: Duration, now: Timestamp) -> Plan {
        let away = self.slot_in(policy, now);
        if away > wait {
            return Plan::Refuse(away);
        }
        let count = wanted.clamp(1, policy.largest_take());
        let (update, count) = self.count_day(Update::of(key), policy, count, now);
        // Nobody leaves before the block ends, so a blocked bucket counts from there as an idle one counts from now.
        let earliest = self.blocked_until.map_or(now, |until| until.max(now));
        let update = if broken(Rule::BlocksHold) {
            update
        } else {
            update.when([Test::Absent("blocked_until"), Test::AtMost("blocked_until", earliest.as_millis())])
        };
        let step = policy.interval_us().saturating_mul(count);
        let update = update.then([
            Action::Add("taken", count),
            Action::Set("interval", policy.interval_us().into()),
            Action::Add("v", 1),
        ]);
        let update = if self.tat_us <= earliest.as_micros() || broken(Rule::SlotsAreFree) {
            let update = if broken(Rule::SlotsAreFree) {
                update
            } else {
                update.when([Test::Absent("tat"), Test::AtMost("tat", earliest.as_micros())])
            };
            update.then([Action::Set("tat", (earliest.as_micros() + step).into())])
        } else {
            update
                .when([Test::AtLeast("tat", earliest.as_micros() + 1)])
                .when([Test::AtMost("tat", now.as_micros() + policy.slack_us() + micros(wait))])
                .then([Action::Add("tat", step)])
        };
        Plan::Take { update, count: u32::try_from(count).unwrap_or(1) }
    }

    /// Adds the day's count to a take, which may become smaller by what is left of the quota.
    fn count_day(&self, update: Update, policy: &RatePolicy, count: u32, now: Timestamp) -> (Update, i64) {
        let count = i64::from(count);
        let Some(quota) = policy.daily_quota.map(i64::from).filter(|_| !broken(Rule::QuotasCount)) else {
            return (update, count);
        };
        let today = self.today(now);
        if self.day == today {
            let count = count.min(quota - self.day_count).max(1);
            let update = update
                .when([Test::Equals("day", today.into())])
                .when([Test::AtMost("day_count", quota - count)])
                .then([Action::Add("day_count", count), Action::Set("day_quota", quota.into())]);
            return (update, count);
        }
        let count = count.min(quota).max(1);
        let update = update.when([Test::Absent("day"), Test::AtMost("day", today - 1)]).then([
            Action::Set("day", today.into()),
            Action::Set("day_count", count.into()),
            Action::Set("day_quota", quota.into()),
        ]);
        (update, count)
    }

    /// The day that counts at `now`: a clock that is behind does not bring yesterday back.
    fn today(&self, now: Timestamp) -> i64 {
        day_of(now).max(self.day)
    }

    /// The bucket that allows only what both readings allow.
    pub fn stricter(self, other: Self) -> Self {
        let (day, day_count) = (self.day, self.day_count).max((other.day, other.day_count));
        Self {
            tat_us: self.tat_us.max(other.tat_us),
            blocked_until: self.blocked_until.max(other.blocked_until),
            day,
            day_count,
            day_quota: self.day_quota.max(other.day_quota),
            taken: self.taken.max(other.taken),
            interval_us: self.interval_us.max(other.interval_us),
        }
    }

    /// The rate has been changed: what the fleet owes is so many calls, not so much time, and `tat` must say the same in
    /// intervals of the new rate. Otherwise a burst spent at one call a minute would silence a rate of ten a second for
    /// minutes. `None` when nothing is owed, or the bucket was reckoned at this rate already.
    pub fn reckoned_anew(&self, key: &str, policy: &RatePolicy, now: Timestamp) -> Option<Update> {
        // What lies within a block is no debt: nobody leaves then, whatever the rate.
        let from = self.blocked_until.map_or(now, |until| until.max(now)).as_micros();
        let (old, new) = (self.interval_us, policy.interval_us());
        if old <= 0 || old == new || self.tat_us <= from {
            return None;
        }
        let owed = i128::from(self.tat_us - from) * i128::from(new) / i128::from(old);
        let tat = from.saturating_add(i64::try_from(owed).unwrap_or(i64::MAX));
        let update = Update::of(key)
            .when([Test::Equals("tat", self.tat_us.into())])
            .when([Test::Equals("interval", old.into())])
            .then([Action::Set("tat", tat.into()), Action::Set("interval", new.into()), Action::Add("v", 1)]);
        Some(update)
    }

    /// How long from `now` until the next free slot.
    pub fn slot_in(&self, policy: &RatePolicy, now: Timestamp) -> Duration {
        let by_rate = wait_until(self.tat_us.saturating_sub(policy.slack_us()), now);
        by_rate.max(self.blocked_in(now)).max(self.quota_in(policy, now))
    }

    /// How long until the provider may be called again, going by what it asked for itself.
    pub fn blocked_in(&self, now: Timestamp) -> Duration {
        let until = self.blocked_until.filter(|_| !broken(Rule::BlocksHold));
        until.map_or(Duration::ZERO, |until| until.since(now))
    }

    /// How long until the quota has a place.
    fn quota_in(&self, policy: &RatePolicy, now: Timestamp) -> Duration {
        let used_up = policy.daily_quota.is_some_and(|quota| {
            self.day == self.today(now) && self.day_count >= i64::from(quota) && !broken(Rule::QuotasCount)
        });
        if used_up { end_of(self.day).since(now) } else { Duration::ZERO }
    }

    /// What the whole fleet has used of its quota today and how large that is, for whoever shows it; `None` without one.
    pub fn quota_use(&self, now: Timestamp) -> Option<(i64, i64)> {
        let used = if self.day == self.today(now) { self.day_count } else { 0 };
        (self.day_quota > 0).then_some((used, self.day_quota))
    }

    /// When the quota begins anew.
    pub fn quota_resets_at(&self, now: Timestamp) -> Timestamp {
        end_of(self.today(now))
    }

    /// The `count` slots just taken at `now`, given the bucket right after the taking.
    pub fn leased(&self, policy: &RatePolicy, count: u32, now: Timestamp) -> Lease {
        let taken_us = policy.interval_us().saturating_mul(count.into());
        let floor = self.blocked_until.filter(|_| !broken(Rule::BlocksHold)).map_or(now, |until| until.max(now));
        let next_us = self.tat_us.saturating_sub(taken_us).saturating_sub(policy.slack_us());
        Lease { next_us, floor_us: floor.as_micros(), left: count }
    }

    /// The calls that could leave at once at `now`.
    pub fn remaining(&self, policy: &RatePolicy, now: Timestamp) -> u32 {
        if !self.slot_in(policy, now).is_zero() {
            return 0;
        }
        let room = now.as_micros() + policy.slack_us() - self.tat_us.max(now.as_micros());
        let by_rate = 1 + u32::try_from(room / policy.interval_us()).unwrap_or(0);
        let by_quota = policy.daily_quota.map(|quota| {
            let used = if self.day == self.today(now) { self.day_count } else { 0 };
            u32::try_from(i64::from(quota) - used).unwrap_or(0)
        });
        by_quota.map_or(by_rate, |left| left.min(by_rate))
    }

    /// The provider asked everybody to stay away until `until`; never shortens an earlier request.
    pub fn block(key: &str, until: Timestamp) -> Update {
        Update::of(key)
            .when([Test::Absent("blocked_until"), Test::AtMost("blocked_until", until.as_millis())])
            .then([Action::Set("blocked_until", until.as_millis().into()), Action::Add("v", 1)])
    }
}

/// What part of the fleet's calls this environment makes, from the counts that come back with each take.
///
/// Nobody registers anywhere: what an environment needs to know is not how many others there are but how much of the
/// rate is its own, and the fleet's count of slots taken tells that for free. Old takes fade.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    own: f64,
    fleet: f64,
    last: Option<i64>,
}

impl Share {
    /// What remains of the past with each take.
    const FADING: f64 = 0.9;

    /// Takes in a take of `count` slots that brought the fleet's count to `taken`.
    pub fn note(&mut self, count: u32, taken: i64) {
        let own = f64::from(count);
        let fleet = self.last.map_or(own, |last| (taken.saturating_sub(last)) as f64).max(own);
        self.own = self.own * Self::FADING + own;
        self.fleet = self.fleet * Self::FADING + fleet;
        self.last = Some(taken);
    }

    /// The fleet as a number of environments like this one; at least 1.
    pub fn environments(&self) -> f64 {
        if self.own > 0.0 { (self.fleet / self.own).max(1.0) } else { 1.0 }
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
    const SECOND: Duration = Duration::from_secs(1);

    fn policy(per_second: u32, burst: u32, max_wait_ms: u64) -> RatePolicy {
        let wait = Duration::from_millis(max_wait_ms);
        RatePolicy::new(per_second, SECOND, burst, wait).expect("a valid policy")
    }

    /// Takes up to `wanted` slots the way the limiter does: plan, ask, and plan again with what a refusal returned.
    fn take(store: &MemoryStore, policy: &RatePolicy, wanted: u32, now: Timestamp) -> Result<Lease, Duration> {
        let mut bucket = Bucket::default();
        for _ in 0..4 {
            match bucket.plan("rate#p", policy, wanted, policy.max_wait, now) {
                Plan::Refuse(away) => return Err(away),
                Plan::Take { update, count } => match store.apply(&update) {
                    Outcome::Applied(item) => return Ok(Bucket::from(&item).leased(policy, count, now)),
                    Outcome::Refused(item) => bucket = Bucket::from(&item.expect("it was taken before")),
                },
            }
        }
        panic!("four refusals in a row without a rival");
    }

    /// The same for one slot: how long until it begins.
    fn wait(store: &MemoryStore, policy: &RatePolicy, now: Timestamp) -> Result<u128, u128> {
        let lease = take(store, policy, 1, now).map_err(|away| away.as_millis())?;
        Ok(lease.first().expect("one slot").since(now).as_millis())
    }

    #[test]
    fn a_burst_leaves_at_once_then_one_per_interval_then_nobody_waits_longer_than_allowed() {
        // 10 per second, 6 of a burst, of which 300 ms late use takes 3.
        let (store, policy) = (MemoryStore::new(), policy(10, 6, 250));
        let waits: Vec<_> = (0..7).map(|_| wait(&store, &policy, START)).collect();
        assert_eq!(waits, [Ok(0), Ok(0), Ok(0), Ok(100), Ok(200), Err(300), Err(300)]);
        assert_eq!(wait(&store, &policy, START.after(Duration::from_millis(60))), Ok(240));
    }

    #[test]
    fn after_a_block_the_burst_is_no_larger_than_ever() {
        let (store, policy) = (MemoryStore::new(), policy(10, 5, 2_000));
        for _ in 0..3 {
            assert!(take(&store, &policy, 1, START).is_ok());
        }
        assert!(matches!(store.apply(&Bucket::block("rate#p", START.after(SECOND))), Outcome::Applied(_)));
        let waits: Vec<_> = (0..4).map(|_| wait(&store, &policy, START)).collect();
        assert_eq!(waits, [Ok(1_000), Ok(1_000), Ok(1_100), Ok(1_200)]);
    }

    #[test]
    fn a_block_is_never_shortened_and_is_refused_beyond_the_wait() {
        let (store, policy) = (MemoryStore::new(), policy(10, 2, 500));
        let (near, far) = (START.after(SECOND * 2), START.after(SECOND * 9));
        assert!(matches!(store.apply(&Bucket::block("rate#p", far)), Outcome::Applied(_)));
        assert!(matches!(store.apply(&Bucket::block("rate#p", near)), Outcome::Refused(_)));
        assert_eq!(wait(&store, &policy, START), Err(9_000));
    }

    #[test]
    fn zero_calls_zero_burst_and_rates_beyond_a_microsecond_are_no_policy() {
        assert_eq!(RatePolicy::new(0, SECOND, 1, SECOND), None);
        assert_eq!(RatePolicy::new(1, SECOND, 0, SECOND), None);
        assert_eq!(RatePolicy::new(2_000_000, SECOND, 1, SECOND), None);
    }

    #[test]
    fn the_numbers_of_a_lease_follow_from_rate_and_burst() {
        let ms = Duration::from_millis;
        for (per_second, burst, lease, largest) in [
            (10, 10, 500, 1),
            (100, 100, 500, 12),
            (100, 1, 250, 6),
            (1, 1, 500, 1),
            (1, 9, 1_000, 1),
            (50, 200, 1_000, 12),
        ] {
            let policy = policy(per_second, burst, 0);
            assert_eq!((policy.lease(), policy.largest_take()), (ms(lease), largest), "{per_second}/s, {burst}");
        }
    }

    #[test]
    fn a_lease_holds_what_was_taken_and_a_slot_not_used_in_time_is_lost() {
        let (store, policy) = (MemoryStore::new(), policy(100, 100, 1_000));
        let mut lease = take(&store, &policy, 99, START).unwrap();
        assert_eq!(lease.left(), 12, "a quarter of what the rate allows in half a second");
        assert_eq!(lease.pop(&policy, START, START), Some(START));
        assert_eq!(lease.left(), 11);
        let late = START.after(policy.lease());
        assert_eq!(lease.pop(&policy, late, late), Some(late), "to the last millisecond");
        assert_eq!(lease.pop(&policy, late.after(Duration::from_millis(1)), late.after(SECOND)), None);
        assert_eq!(lease.left(), 0);
    }

    #[test]
    fn the_slots_of_a_lease_are_an_interval_apart() {
        let (store, policy) = (MemoryStore::new(), policy(100, 1, 0));
        let mut lease = take(&store, &policy, 3, START).unwrap();
        let slots =
            [(); 4].map(|()| lease.pop(&policy, START, START.after(SECOND)).map(|at| at.since(START).as_millis()));
        assert_eq!(slots, [Some(0), Some(10), Some(20), None]);
    }

    #[test]
    fn slots_ahead_wait_for_their_time_and_stay_for_later_when_that_is_too_long() {
        let (store, policy) = (MemoryStore::new(), policy(10, 1, 1_000));
        let at = |ms| START.after(Duration::from_millis(ms));
        assert_eq!(take(&store, &policy, 1, START).unwrap().first(), Some(at(0)));
        let mut ahead = take(&store, &policy, 1, START).unwrap();
        assert_eq!(ahead.pop(&policy, START, at(99)), None);
        assert_eq!(ahead.first(), Some(at(100)));
        assert_eq!(ahead.pop(&policy, START, at(100)), Some(at(100)));
    }

    #[test]
    fn a_quota_is_counted_by_the_day_in_seoul() {
        let (store, policy) = (MemoryStore::new(), policy(100, 300, 0).daily(Some(3)));
        // 23:59:59 in Seoul.
        let evening = Timestamp::parse_rfc3339("2026-11-21T14:59:59Z").unwrap();
        // With pauses, in which the bucket empties: an environment that knows nothing must not begin the day anew.
        for seconds in [3, 2, 1] {
            assert_eq!(wait(&store, &policy, evening.before(SECOND * seconds)), Ok(0));
        }
        assert_eq!(wait(&store, &policy, evening), Err(1_000), "until midnight");
        let midnight = evening.after(SECOND);
        assert_eq!(wait(&store, &policy, midnight), Ok(0));
        // Somebody whose clock is behind counts for the new day.
        assert_eq!(wait(&store, &policy, evening), Ok(0));
        assert_eq!(wait(&store, &policy, midnight), Ok(0));
        assert_eq!(wait(&store, &policy, midnight), Err(86_400_000));
        let bucket = Bucket::from(&store.read("rate#p").unwrap());
        assert_eq!((bucket.day_count, bucket.taken), (3, 6));
    }

    #[test]
    fn a_lease_takes_no_more_than_the_quota_has_left() {
        let (store, policy) = (MemoryStore::new(), policy(100, 100, 0).daily(Some(15)));
        assert_eq!(take(&store, &policy, 99, START).unwrap().left(), 12);
        assert_eq!(take(&store, &policy, 99, START).unwrap().left(), 3);
        assert!(take(&store, &policy, 99, START).is_err());
    }

    #[test]
    fn what_remains_counts_down_to_nothing_by_rate_and_by_quota() {
        let (store, policy) = (MemoryStore::new(), policy(10, 10, 0));
        let remaining = |policy: &RatePolicy, now| {
            store.read("rate#p").map_or(Bucket::default(), |item| Bucket::from(&item)).remaining(policy, now)
        };
        let mut told = vec![remaining(&policy, START)];
        for _ in 0..5 {
            assert!(take(&store, &policy, 1, START).is_ok());
            told.push(remaining(&policy, START));
        }
        assert_eq!(told, [5, 4, 3, 2, 1, 0]);
        assert_eq!(remaining(&policy, START.after(SECOND)), 5);
        assert_eq!(
            remaining(&policy.daily(Some(2)), START.after(SECOND)),
            2,
            "a quota that nothing was counted for yet"
        );
    }

    #[test]
    fn what_remains_of_a_quota_is_what_was_not_taken_today() {
        let (store, policy) = (MemoryStore::new(), policy(10, 10, 0).daily(Some(3)));
        assert!(take(&store, &policy, 1, START).is_ok());
        let bucket = Bucket::from(&store.read("rate#p").unwrap());
        for (hours, remaining) in [(1, 2), (24, 3)] {
            assert_eq!(bucket.remaining(&policy, START.after(SECOND * 3_600 * hours)), remaining, "{hours} h later");
        }
    }

    #[test]
    fn those_who_planned_by_the_same_reading_do_not_overdraw_the_quota() {
        let (store, policy) = (MemoryStore::new(), policy(100, 100, 0).daily(Some(3)));
        assert!(take(&store, &policy, 1, START).is_ok());
        let reading = Bucket::from(&store.read("rate#p").unwrap());
        let applied = [(); 4].map(|()| match reading.plan("rate#p", &policy, 1, SECOND, START) {
            Plan::Take { update, .. } => matches!(store.apply(&update), Outcome::Applied(_)),
            Plan::Refuse(_) => panic!("two are left by this reading"),
        });
        assert_eq!(applied, [true, true, false, false]);
    }

    #[test]
    fn whatever_the_store_has_exactly_one_form_of_a_take_is_applied() {
        let (policy, now_us) = (policy(10, 10, 0), START.as_micros());
        for stored_us in [now_us - 1, now_us, now_us + 1] {
            let applied = [now_us, now_us + 1].map(|believed_us| {
                let store = MemoryStore::new();
                store.replace("rate#p".to_owned(), Bucket { tat_us: stored_us, ..Bucket::default() }.into());
                let believed = Bucket { tat_us: believed_us, ..Bucket::default() };
                let Plan::Take { update, .. } = believed.plan("rate#p", &policy, 1, SECOND, START) else {
                    panic!("there is room")
                };
                matches!(store.apply(&update), Outcome::Applied(_))
            });
            let idle = stored_us <= now_us;
            assert_eq!(applied, [idle, !idle], "{} us from now", stored_us - now_us);
        }
    }

    #[test]
    fn a_provider_and_a_caller_of_one_name_have_different_keys() {
        assert_eq!((key("p"), caller_key("p")), ("rate#p".to_owned(), "rate#caller#p".to_owned()));
    }

    #[test]
    fn when_the_rate_is_changed_as_many_calls_are_owed_as_before() {
        let (store, slow) = (MemoryStore::new(), RatePolicy::new(1, SECOND * 60, 5, SECOND * 600).unwrap());
        for _ in 0..4 {
            assert!(take(&store, &slow, 1, START).is_ok());
        }
        let read = || Bucket::from(&store.read("rate#p").unwrap());
        let fast = policy(10, 5, 0);
        assert_eq!(read().slot_in(&fast, START).as_secs(), 239, "nearly four minutes are owed");
        let anew = read().reckoned_anew("rate#p", &fast, START).unwrap();
        assert!(matches!(store.apply(&anew), Outcome::Applied(_)));
        assert_eq!(read().tat_us - START.as_micros(), 400_000, "four calls are owed");
        assert!(matches!(store.apply(&anew), Outcome::Refused(_)), "once, whoever else saw the same");
        assert_eq!(read().reckoned_anew("rate#p", &fast, START), None);
        assert!(read().reckoned_anew("rate#p", &slow, START).is_some(), "and back");
        assert_eq!(read().reckoned_anew("rate#p", &slow, START.after(SECOND)), None, "nothing is owed any more");
    }

    #[test]
    fn a_block_is_no_debt_that_a_change_of_the_rate_could_shorten_or_stretch() {
        let until = START.after(SECOND * 30);
        let tat_us = until.as_micros() + 2_000_000;
        let bucket = Bucket { tat_us, interval_us: 1_000_000, blocked_until: Some(until), ..Bucket::default() };
        let anew = bucket.reckoned_anew("rate#p", &policy(10, 5, 0), START).unwrap();
        assert!(anew.actions.contains(&Action::Set("tat", (until.as_micros() + 200_000).into())));
    }

    #[test]
    fn an_environment_learns_its_part_of_the_fleet_from_the_counts() {
        let mut share = Share::default();
        assert!((share.environments() - 1.0).abs() < f64::EPSILON);
        let mut taken = 0;
        for _ in 0..100 {
            taken += 64;
            share.note(1, taken);
        }
        assert!((60.0..=64.0).contains(&share.environments()), "{}", share.environments());
        for _ in 0..100 {
            taken += 2;
            share.note(2, taken);
        }
        assert!(share.environments() < 1.1, "the others have gone: {}", share.environments());
    }

    #[test]
    fn a_share_of_the_rate_is_never_nothing() {
        let policy = policy(10, 5, 0);
        let share = policy.share_of(4.0);
        assert_eq!((share.interval(), share.burst), (Duration::from_millis(400), 1));
        assert_eq!(policy.share_of(1.0), policy);
        assert_eq!(policy.share_of(0.0), policy);
    }

    fn any_bucket() -> impl Strategy<Value = Bucket> {
        let times = (-3_000_000..3_000_000_i64, prop::option::of(0..3_000_u64));
        let counts = (0..6_i64, 0..9_i64, 0..99_i64, 0..2_000_000_i64);
        (times, -1..2_i64, counts).prop_map(|((tat, blocked), day, (day_count, day_quota, taken, interval_us))| {
            Bucket {
                tat_us: START.as_micros() + tat,
                blocked_until: blocked.map(|ms| START.after(Duration::from_millis(ms))),
                day: day_of(START) + day,
                day_count,
                day_quota,
                taken,
                interval_us,
            }
        })
    }

    proptest! {
        #[test]
        fn a_bucket_survives_the_store(bucket in any_bucket()) {
            prop_assert_eq!(Bucket::from(&Item::from(bucket)), bucket);
        }

        #[test]
        fn the_stricter_of_two_readings_allows_what_both_allow(left in any_bucket(), right in any_bucket()) {
            let stricter = left.stricter(right);
            prop_assert_eq!(stricter, right.stricter(left));
            prop_assert_eq!(left.stricter(left), left);
            let [both, left, right] = [stricter, left, right].map(|bucket| bucket.slot_in(&policy(10, 10, 0), START));
            prop_assert_eq!(both, left.max(right));
        }

        /// The promise of the module, for any arrivals, any policy, any leases, and a block in the middle: slots used as
        /// late as can be still keep the bound.
        #[test]
        fn no_window_holds_more_than_burst_and_rate(
            gaps in prop::collection::vec((0..400_u64, 1..9_u32, 0..1_100_u64), 1..80), per_second in 1..50_u32,
            burst in 1..60_u32, max_wait in 0..3_000_u64, block_at in 0..120_usize, block_ms in 0..4_000_u64,
        ) {
            let (store, policy) = (MemoryStore::new(), policy(per_second, burst, max_wait));
            let (mut now, mut leaves) = (START, Vec::new());
            for (index, (gap, wanted, late)) in gaps.into_iter().enumerate() {
                now = now.after(Duration::from_millis(gap));
                if index == block_at {
                    let _ = store.apply(&Bucket::block("rate#p", now.after(Duration::from_millis(block_ms))));
                }
                match take(&store, &policy, wanted, now) {
                    Ok(mut lease) => {
                        prop_assert!(lease.first().unwrap().since(now) <= policy.max_wait + Duration::from_millis(1));
                        let late = Duration::from_millis(late).min(policy.lease());
                        while let Some(slot) = lease.first() {
                            let used = lease.pop(&policy, slot.after(late), now.after(SECOND * 3_600));
                            leaves.push(used.unwrap().as_micros());
                        }
                    }
                    Err(away) => prop_assert!(away > policy.max_wait),
                }
            }
            leaves.sort_unstable();
            for (first, &from) in leaves.iter().enumerate() {
                for (last, &to) in leaves.iter().enumerate().skip(first) {
                    let calls = i64::try_from(last - first + 1).expect("small");
                    let span = to - from + micros(policy.lease()) + 2_000;
                    let bound = i64::from(burst) + span / policy.interval_us() + 1;
                    // A reservation made before a block keeps its time.
                    let block = i64::from(block_ms > 0) * i64::from(burst);
                    prop_assert!(calls <= bound + block, "{calls} in {} us", to - from);
                }
            }
        }
    }
}
