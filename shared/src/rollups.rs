//! The minutes of one integration, counted by this environment and handed on once each is over.
//!
//! Handing on is one write a minute, made together with a later call so that nobody waits for it alone. A minute that the
//! store has surely not taken is kept and goes with the next. One that it may have taken is let go: counted twice is
//! worse than not at all. An environment that is thrown away takes its last minute with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::SharedClock;
use crate::error::chain;
use crate::resilience::rollup::{Counts, Ending, Minute, SHARDS};
use crate::store::{Store, StoreError};

/// The present minute and the ones that could not be handed on.
#[derive(Debug)]
pub struct Rollups {
    integration: &'static str,
    shard: u32,
    store: Arc<dyn Store>,
    clock: SharedClock,
    open: Mutex<Option<(Minute, Counts)>>,
}

impl Rollups {
    /// The minutes of `integration`, handed on to `store`, which may not hold a request up.
    pub fn new(integration: &'static str, store: Arc<dyn Store>, clock: SharedClock) -> Self {
        Self { integration, shard: fastrand::u32(0..SHARDS), store, clock, open: Mutex::default() }
    }

    /// Counts one call.
    pub fn note(&self, ending: Ending, took: Duration) {
        let now = Minute::of(self.clock.now());
        self.open().get_or_insert_with(|| (now, Counts::default())).1.note(ending, took);
    }

    /// Hands on what was counted, if its minute is over.
    pub async fn flush(&self) {
        let now = Minute::of(self.clock.now());
        let Some((minute, counts)) = self.open().take_if(|(minute, _)| *minute < now) else { return };
        let Err(error) = self.store.update(&counts.flush(self.integration, minute, self.shard)).await else { return };
        let kept = matches!(error, StoreError::NotAsked | StoreError::Throttled(_));
        tracing::warn!(target: "ieum::rollups", kept, error = chain(&error), "rollup.not_handed_on");
        if kept {
            self.keep(minute, &counts);
        }
    }

    /// Takes back what could not be handed on. It counts for the later minute then: late numbers are better than none.
    fn keep(&self, minute: Minute, counts: &Counts) {
        let mut open = self.open();
        open.get_or_insert_with(|| (minute, Counts::default())).1.add(counts);
    }

    fn open(&self) -> MutexGuard<'_, Option<(Minute, Counts)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
