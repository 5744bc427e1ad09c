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
//! The bounds of the newest eight answers are intersected and the middle is applied. One answer leaves an error of half
//! a second and half its trip at most; more of them, at different points of a second, narrow it. When the intersection
//! is empty, the clock has been set meanwhile, and only the newest answer counts. This file refuses to ask anybody for
//! the time.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::{Clock, Moment, SharedClock, Timestamp};
use crate::planted::{Rule, broken};

/// How many answers are intersected.
const ANSWERS: usize = 8;

/// Answers that took longer say too little, in milliseconds.
const LONGEST_TRIP_MS: i64 = 1_000;

/// The resolution of a `Date` header, in milliseconds.
const RESOLUTION_MS: i64 = 1_000;

/// A clock that is off by more is reported, in milliseconds.
const ALARMING_MS: i64 = 1_000;

/// What the store's answers say about our clock. All in milliseconds to be added to it.
#[derive(Clone, Debug, Default)]
pub struct StoreTime {
    answers: VecDeque<(i64, i64)>,
}

impl StoreTime {
    /// Takes in one answer: sent and received by our clock, `date` by the store's, cut to the second.
    pub fn observe(&mut self, sent: Timestamp, received: Timestamp, date: Timestamp) {
        let trip = received.as_millis() - sent.as_millis();
        if !(0..=LONGEST_TRIP_MS).contains(&trip) {
            return;
        }
        let bounds = (date.as_millis() - received.as_millis(), date.as_millis() + RESOLUTION_MS - sent.as_millis());
        if let Some((low, high)) = self.bounds()
            && (bounds.0 > high || bounds.1 < low)
        {
            self.answers.clear();
        }
        if self.answers.len() == ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back(bounds);
    }

    /// The least and the greatest correction that all answers allow.
    fn bounds(&self) -> Option<(i64, i64)> {
        let low = self.answers.iter().map(|(low, _)| *low).max()?;
        let high = self.answers.iter().map(|(_, high)| *high).min()?;
        Some((low, high))
    }

    /// What to add to our clock; 0 before the first answer.
    pub fn correction_ms(&self) -> i64 {
        self.bounds().map_or(0, |(low, high)| low.midpoint(high))
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
        let subscriber = crate::telemetry::subscriber(switch, &[], Box::new(captured.clone()), ManualClock::start());
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..3 {
                let now = clock.raw_now();
                clock.observe(now, now, Timestamp::from_millis(now.as_millis() + 4_000));
            }
        });
        assert_eq!(captured.text().matches("clock.off").count(), 1, "{}", captured.text());
        assert_eq!(clock.now().as_millis(), clock.raw_now().as_millis() + 4_500);
    }

    proptest! {
        /// Whatever the skew and the trips: the error is at most half a second and half the fastest trip, and it does
        /// not get worse with more answers.
        #[test]
        fn an_answer_leaves_half_a_second_and_half_its_trip(
            skew in -5_000..5_000_i64, trips in prop::collection::vec((0..2_500_i64, 0..200_i64, 0..200_i64), 1..20),
        ) {
            let (mut store, mut now, mut worst, mut fastest) = (StoreTime::default(), START, i64::MAX, i64::MAX);
            for (index, (pause, out, back)) in trips.into_iter().enumerate() {
                now += pause;
                let sent = Timestamp::from_millis(now + skew);
                now += out;
                let date = Timestamp::from_millis(now.div_euclid(1_000) * 1_000);
                now += back;
                store.observe(sent, Timestamp::from_millis(now + skew), date);
                let error = (store.correction_ms() + skew).abs();
                let half_width = store.bounds().map_or(0, |(low, high)| (high - low + 1) / 2);
                prop_assert!(error <= half_width);
                if index < ANSWERS {
                    fastest = fastest.min(out + back);
                    prop_assert!(half_width <= (1_000 + fastest + 1) / 2);
                    prop_assert!(half_width <= worst);
                }
                worst = half_width;
            }
        }
    }
}
