//! The wall clock, corrected by the store's.
//!
//! Environments agree on points in time (when a circuit may be probed, when a slot begins), so their clocks must agree.
//! Every answer of the store carries a `Date` header, exact to the second. Between sending the request and receiving the
//! answer the store's clock stood somewhere in that second, which bounds how far ours is off:
//!
//! ```text
//! date - received  <=  offset  <=  date + 1 s - sent
//! ```
//!
//! Each answer's bounds are intersected with those before it, and the middle is applied. One answer leaves an error of
//! half a second and half its trip at most; more of them, at different points of a second, narrow it to a few
//! milliseconds. Because clocks drift, old bounds are widened a little with every second. When nothing is left of the
//! intersection, the clock has been set meanwhile, and only the newest answer counts.
//!
//! (Intersecting only the newest few answers would forget what was learned whenever requests come fast: eight answers
//! within one second say little, and the middle of what they allow swings by half a second.)
//!
//! This file refuses to ask anybody for the time.

use std::sync::{Mutex, PoisonError};

use super::{Clock, Moment, SharedClock, Timestamp};
use crate::planted::{Rule, broken};

/// Answers that took longer say too little, in milliseconds.
const LONGEST_TRIP_MS: i64 = 1_000;

/// The resolution of a `Date` header, in milliseconds.
const RESOLUTION_MS: i64 = 1_000;

/// A clock that is off by more is reported, in milliseconds.
const ALARMING_MS: i64 = 1_000;

/// How far a clock may drift, in milliseconds per second: ten times what a bad quartz does.
const DRIFT: i64 = 1;

/// What the store's answers say about our clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreTime {
    bounds: Option<Bounds>,
}

/// The least and the greatest correction that the answers allow, in milliseconds to be added to our clock, which showed
/// `at` at the last one.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: i64,
    high: i64,
    at: Timestamp,
}

impl StoreTime {
    /// Takes in one answer: sent and received by our clock, `date` by the store's, cut to the second.
    pub fn observe(&mut self, sent: Timestamp, received: Timestamp, date: Timestamp) {
        let trip = received.as_millis() - sent.as_millis();
        if !(0..=LONGEST_TRIP_MS).contains(&trip) {
            return;
        }
        let low = date.as_millis() - received.as_millis();
        let high = date.as_millis() + RESOLUTION_MS - sent.as_millis();
        let known = self.bounds.map(|known| {
            let drift = DRIFT * (received.as_millis() - known.at.as_millis()).abs() / 1_000;
            (low.max(known.low - drift), high.min(known.high + drift))
        });
        let (low, high) = known.filter(|(low, high)| low <= high).unwrap_or((low, high));
        self.bounds = Some(Bounds { low, high, at: received });
    }

    /// What to add to our clock; 0 before the first answer.
    pub fn correction_ms(&self) -> i64 {
        self.bounds.map_or(0, |bounds| bounds.low.midpoint(bounds.high))
    }
}

/// A clock that learns from the store's answers how far it is off.
#[derive(Debug)]
pub struct CorrectedClock {
    raw: SharedClock,
    store: Mutex<StoreTime>,
}

impl CorrectedClock {
    /// `raw`, uncorrected so far.
    pub fn new(raw: SharedClock) -> Self {
        Self { raw, store: Mutex::default() }
    }

    /// The clock without the correction, to time an exchange with the store by.
    pub fn raw_now(&self) -> Timestamp {
        self.raw.now()
    }

    /// Takes in an answer of the store: sent and received by the uncorrected clock, `date` as the store wrote it.
    pub fn observe(&self, sent: Timestamp, received: Timestamp, date: Timestamp) {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let before = store.correction_ms();
        store.observe(sent, received, date);
        let correction_ms = store.correction_ms();
        drop(store);
        if before.abs() <= ALARMING_MS && correction_ms.abs() > ALARMING_MS {
            tracing::error!(target: "ieum::clock", correction_ms, "clock.off");
        }
    }
}

impl Clock for CorrectedClock {
    fn now(&self) -> Timestamp {
        let raw = self.raw.now().as_millis();
        if broken(Rule::ClockIsCorrected) {
            return Timestamp::from_millis(raw);
        }
        let correction = self.store.lock().unwrap_or_else(PoisonError::into_inner).correction_ms();
        Timestamp::from_millis(raw.saturating_add(correction))
    }

    fn moment(&self) -> Moment {
        self.raw.moment()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::ManualClock;

    const START: i64 = 1_795_233_000_000;

    #[test]
    fn a_clock_set_meanwhile_is_believed_from_the_next_answer_on() {
        let mut store = StoreTime::default();
        let at = Timestamp::from_millis;
        store.observe(at(START), at(START + 10), at(START));
        assert!(store.correction_ms().abs() <= 505);
        // The clock was set five seconds ahead, so the store's now seems to be behind.
        store.observe(at(START + 5_100), at(START + 5_110), at(START));
        assert!((-5_200..=-4_000).contains(&store.correction_ms()), "{}", store.correction_ms());
    }

    #[test]
    fn an_answer_that_took_too_long_or_came_before_it_was_asked_for_says_nothing() {
        let mut store = StoreTime::default();
        let at = Timestamp::from_millis;
        store.observe(at(START), at(START + 30_000), at(START));
        store.observe(at(START), at(START - 1), at(START - 9_000));
        assert_eq!(store.correction_ms(), 0);
    }

    #[test]
    fn only_an_alarming_correction_is_reported_and_only_when_it_becomes_so() {
        let raw = ManualClock::start();
        let clock = CorrectedClock::new(raw);
        let (captured, switch) = (crate::telemetry::Captured::default(), crate::telemetry::LevelSwitch::default());
        let dispatch = captured.dispatch(switch, &[], ManualClock::start());
        tracing::dispatcher::with_default(&dispatch, || {
            for _ in 0..3 {
                let now = clock.raw_now();
                clock.observe(now, now, Timestamp::from_millis(now.as_millis() + 4_000));
            }
        });
        assert_eq!(captured.text().matches("clock.off").count(), 1, "{}", captured.text());
        assert_eq!(clock.now().as_millis(), clock.raw_now().as_millis() + 4_500);
    }

    proptest! {
        /// Whatever the skew and the trips: the error is at most half a second and half the fastest trip.
        #[test]
        fn an_answer_leaves_half_a_second_and_half_its_trip(
            skew in -5_000..5_000_i64, trips in prop::collection::vec((0..2_500_i64, 0..200_i64, 0..200_i64), 1..20),
        ) {
            let (mut store, mut now, mut fastest) = (StoreTime::default(), START, i64::MAX);
            for (pause, out, back) in trips {
                now += pause;
                let sent = Timestamp::from_millis(now + skew);
                now += out;
                let date = Timestamp::from_millis(now.div_euclid(1_000) * 1_000);
                now += back;
                store.observe(sent, Timestamp::from_millis(now + skew), date);
                fastest = fastest.min(out + back);
                let bounds = store.bounds.unwrap();
                let half_width = (bounds.high - bounds.low + 1) / 2;
                prop_assert!((store.correction_ms() + skew).abs() <= half_width);
                // At most twenty seconds of drift either way.
                prop_assert!(half_width <= (1_000 + fastest + 1) / 2 + 60);
            }
        }

        /// Answers all over the second tell the time to some ten milliseconds, however fast they come.
        #[test]
        fn many_answers_tell_the_time_well(skew in -5_000..5_000_i64, pause in 7..40_i64) {
            let (mut store, mut now) = (StoreTime::default(), START + 137);
            for _ in 0..300 {
                now += pause;
                let (sent, date) = (Timestamp::from_millis(now + skew), Timestamp::from_millis(now / 1_000 * 1_000));
                store.observe(sent, Timestamp::from_millis(now + 5 + skew), date);
                now += 5;
            }
            prop_assert!((store.correction_ms() + skew).abs() <= 30, "{}", store.correction_ms() + skew);
        }
    }
}
