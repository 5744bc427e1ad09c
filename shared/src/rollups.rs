//! The minutes of one integration, counted by this environment and handed on once each is over.
//!
//! Handing on is two writes a minute, one for the minute and one for its quarter of an hour, made together with a later
//! call so that nobody waits for it alone. A minute that the store has surely not taken is kept and goes with the next. One
//! that it may have taken is let go: counted twice is worse than not at all. An environment that is thrown away takes its
//! last minute with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{SharedClock, Timestamp};
use crate::error::chain;
use crate::resilience::rollup::{Counts, Ending, Grain, SHARDS};
use crate::store::{Store, StoreError};

/// What was counted since a time, and is not handed on yet.
type Pending = Option<(Timestamp, Counts)>;

/// The present minute and what could not be handed on.
#[derive(Debug)]
pub struct Rollups {
    integration: &'static str,
    shard: u32,
    store: Arc<dyn Store>,
    clock: SharedClock,
    /// By grain: the store may take the one and not the other.
    pending: Mutex<[Pending; 2]>,
}

impl Rollups {
    /// The minutes of `integration`, handed on to `store`, which may not hold a request up.
    pub fn new(integration: &'static str, store: Arc<dyn Store>, clock: SharedClock) -> Self {
        Self { integration, shard: fastrand::u32(0..SHARDS), store, clock, pending: Mutex::default() }
    }

    /// Counts one call.
    pub fn note(&self, ending: Ending, took: Duration) {
        self.count(|counts| counts.note(ending, took));
    }

    /// Counts a failed attempt, or one that was not made, by its word.
    pub fn note_setback(&self, label: &'static str) {
        self.count(|counts| counts.note_setback(label));
    }

    /// Hands on what was counted, if its minute is over.
    pub async fn flush(&self) {
        let [minute, quarter] = Grain::ALL;
        tokio::join!(self.hand_on(minute), self.hand_on(quarter));
    }

    async fn hand_on(&self, grain: Grain) {
        let now = Grain::Minute.of(self.clock.now());
        let over = |(since, _): &mut (Timestamp, Counts)| Grain::Minute.of(*since) < now;
        let Some((since, counts)) = self.pending()[grain as usize].take_if(over) else { return };
        let update = counts.flush(self.integration, grain.of(since), self.shard);
        let Err(error) = self.store.update(&update).await else { return };
        let kept = matches!(error, StoreError::NotAsked | StoreError::Throttled(_));
        tracing::warn!(target: "ieum::rollups", kept, error = chain(&error), "rollup.not_handed_on");
        if kept {
            // It counts for the later minute then, if there is one: late numbers are better than none.
            self.pending()[grain as usize].get_or_insert_with(|| (since, Counts::default())).1.add(&counts);
        }
    }

    fn count(&self, note: impl Fn(&mut Counts)) {
        let now = self.clock.now();
        for pending in self.pending().iter_mut() {
            note(&mut pending.get_or_insert_with(|| (now, Counts::default())).1);
        }
    }

    fn pending(&self) -> MutexGuard<'_, [Pending; 2]> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
