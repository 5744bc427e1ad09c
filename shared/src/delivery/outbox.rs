//! Effects and what is told of them: one update changes the state and writes down the events, and they are published
//! whatever dies in between.
//!
//! An effect is a merge: given the item as it is, what to change and which events that gives. The change and the events go
//! into the item in one guarded update, so there is never one without the other, and an effect that changes nothing gives
//! no event: that is how a notification that comes twice has its effect once. What stands in the outbox is published by
//! whoever wrote it, within the time it holds it for; after that by whoever sweeps. So an event is published twice only
//! when somebody died, or did not learn, between publishing and striking it off.
//!
//! The guard is the item's version, which elsewhere in this kernel would let one of many racers through. Here the racers
//! are the notifications about one thing, which are few, and what they write depends on all that was there before.
//!
//! This file refuses to know what an item means.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::clock::{SharedClock, Timestamp};
use crate::error::chain;
use crate::events::{CloudEvent, Publisher};
use crate::provider::Cause;
use crate::store::{Action, DUE, Item, Key, NOT_BEFORE, Outcome, Read, Store, StoreError, Test, Update};

/// How long whoever wrote an event has it for itself.
const HELD: Duration = Duration::from_secs(30);

/// How long publishing may take: shorter, so that nobody else begins meanwhile.
const PUBLISHING: Duration = Duration::from_secs(20);

/// Updates that may lose against rivals before the effect is left to come again.
const ROUNDS: u32 = 20;

const OUTBOX: &str = "outbox";
const VERSION: &str = "v";
const RESTING: &str = "resting";
const RESTING_AT: &str = "resting_at";

/// What a merge makes of an item.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What is written. `v`, `outbox`, `due`, `not_before`, `resting` and `resting_at` are the outbox's own.
    pub actions: Vec<Action>,
    /// What there is to be told.
    pub events: Vec<CloudEvent>,
    /// The list that the item stands on, and its place there, while nothing is left to be told.
    pub list: Option<(String, Timestamp)>,
}

/// What there is to change, given the item as it is (an absent one has no attributes) and the time; `None` for nothing.
type Merge = dyn Fn(&Item, Timestamp) -> Result<Option<Change>, Cause> + Send + Sync;

/// A merge into one item. It may be asked several times, each time with a newer item, and must go by that item alone.
pub struct Effect {
    key: Key,
    merge: Box<Merge>,
}

impl Effect {
    /// The merge `merge` into the item `key`.
    pub fn new(
        key: Key,
        merge: impl Fn(&Item, Timestamp) -> Result<Option<Change>, Cause> + Send + Sync + 'static,
    ) -> Self {
        Self { key, merge: Box::new(merge) }
    }
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effect").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Why an effect did not come about.
#[derive(Debug, thiserror::Error)]
pub enum EffectError {
    /// The store did not answer: the effect may come again.
    #[error("the effect is not known to be written")]
    Store(#[from] StoreError),
    /// The item is not what the merge can read, or holds more than it may.
    #[error("the item cannot be merged into")]
    Merge(#[source] Cause),
    /// Rivals were faster each time: the effect may come again.
    #[error("others were faster {ROUNDS} times")]
    Contended,
}

/// An event that waits in an item, and until when somebody has it in hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiting {
    until: i64,
    event: CloudEvent,
}

/// The outboxes of one kind of item.
#[derive(Clone, Debug)]
pub struct Outbox {
    list: &'static str,
    store: Arc<dyn Store>,
    publisher: Arc<dyn Publisher>,
    clock: SharedClock,
}

impl Outbox {
    /// The outboxes of items that stand on `list` while there is something to be told.
    pub fn new(list: &'static str, store: Arc<dyn Store>, publisher: Arc<dyn Publisher>, clock: SharedClock) -> Self {
        Self { list, store, publisher, clock }
    }

    /// Writes `effect` down and publishes its events. Once this returns, the events will be published, now or by a sweep.
    /// Returns the item as it is then.
    ///
    /// # Errors
    /// Any [`EffectError`]; the same effect may come again.
    pub async fn apply(&self, effect: &Effect) -> Result<Item, EffectError> {
        let mut item = self.store.get(&effect.key, Read::Consistent).await?.unwrap_or_default();
        for _ in 0..ROUNDS {
            let now = self.clock.now();
            let Some(change) = (effect.merge)(&item, now).map_err(EffectError::Merge)? else { return Ok(item) };
            let events = change.events.clone();
            match self.store.update(&written(&effect.key, &item, change, self.list, now)?).await? {
                Outcome::Applied(item) => {
                    self.publish(&effect.key, &item, &events).await;
                    return Ok(item);
                }
                Outcome::Refused(newer) => item = newer.unwrap_or_default(),
            }
        }
        Err(EffectError::Contended)
    }

    /// Publishes what waits in the item `key` and that nobody has in hand. Says how many events that were.
    ///
    /// # Errors
    /// [`StoreError`]: the item could not be read or claimed.
    pub async fn flush(&self, key: &str) -> Result<usize, StoreError> {
        let Some(mut item) = self.store.get(key, Read::Consistent).await? else { return Ok(0) };
        for _ in 0..ROUNDS {
            let Some((update, events)) = claimed(key, &item, self.clock.now())? else { return Ok(0) };
            match self.store.update(&update).await? {
                Outcome::Applied(item) => {
                    self.publish(key, &item, &events).await;
                    return Ok(events.len());
                }
                Outcome::Refused(newer) => item = newer.unwrap_or_default(),
            }
        }
        Ok(0)
    }

    /// Publishes what was left behind in up to `limit` items, the oldest first. Says in how many.
    ///
    /// # Errors
    /// [`StoreError`]: what waits could not be listed.
    pub async fn sweep(&self, limit: u32) -> Result<usize, StoreError> {
        let keys = self.store.due(self.list, self.clock.now(), limit).await?;
        for key in &keys {
            if let Err(error) = self.flush(key).await {
                tracing::warn!(target: "ieum::events", item = key, error = chain(&error), "outbox.unread");
            }
        }
        Ok(keys.len())
    }

    /// Publishes `events` of an item and strikes them off. What fails here is found by the sweep.
    async fn publish(&self, key: &str, item: &Item, events: &[CloudEvent]) {
        if events.is_empty() {
            return;
        }
        let failed: Option<String> = match timeout(PUBLISHING, self.publisher.publish(events)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&*error)),
            Err(elapsed) => Some(chain(&elapsed)),
        };
        if let Some(error) = failed {
            tracing::warn!(target: "ieum::events", item = key, error, "event.unpublished");
            return;
        }
        if let Err(error) = self.strike_off(key, item, events).await {
            tracing::warn!(target: "ieum::events", item = key, error = chain(&error), "event.kept");
        }
    }

    async fn strike_off(&self, key: &str, item: &Item, events: &[CloudEvent]) -> Result<(), StoreError> {
        let mut item = item.clone();
        for _ in 0..ROUNDS {
            let Some(update) = struck_off(key, &item, events)? else { return Ok(()) };
            match self.store.update(&update).await? {
                Outcome::Applied(_) => return Ok(()),
                Outcome::Refused(newer) => item = newer.unwrap_or_default(),
            }
        }
        Ok(())
    }
}

/// How many events wait in an item.
///
/// # Errors
/// [`StoreError::Unreadable`].
pub fn waiting(item: &Item) -> Result<usize, StoreError> {
    Ok(read(item)?.len())
}

/// The change and its events, written into the item as it was.
fn written(key: &str, item: &Item, change: Change, list: &str, now: Timestamp) -> Result<Update, StoreError> {
    let mut waiting = read(item)?;
    let until = now.after(HELD).as_millis();
    waiting.extend(change.events.into_iter().map(|event| Waiting { until, event }));
    let resting = change.list;
    let mut update = unchanged(key, item);
    update.actions = change.actions;
    update = match &resting {
        Some((name, at)) => {
            update.then([Action::Set(RESTING, name.as_str().into()), Action::Set(RESTING_AT, at.as_millis().into())])
        }
        None => update.then([Action::Remove(RESTING), Action::Remove(RESTING_AT)]),
    };
    let resting = resting.map(|(name, at)| (name, at.as_millis()));
    kept(update, &waiting, list, resting)
}

/// What waits and is in nobody's hand, taken in hand; `None` when there is nothing.
fn claimed(key: &str, item: &Item, now: Timestamp) -> Result<Option<(Update, Vec<CloudEvent>)>, StoreError> {
    let mut waiting = read(item)?;
    let mut events = Vec::new();
    for waiting in waiting.iter_mut().filter(|waiting| waiting.until <= now.as_millis()) {
        waiting.until = now.after(HELD).as_millis();
        events.push(waiting.event.clone());
    }
    if events.is_empty() {
        return Ok(None);
    }
    let list = item.text(DUE).unwrap_or_default().to_owned();
    Ok(Some((kept(unchanged(key, item), &waiting, &list, resting(item))?, events)))
}

/// The item without `events`; `None` when it has none of them.
fn struck_off(key: &str, item: &Item, events: &[CloudEvent]) -> Result<Option<Update>, StoreError> {
    let mut waiting = read(item)?;
    let before = waiting.len();
    waiting.retain(|waiting| !events.iter().any(|event| event.id() == waiting.event.id()));
    if waiting.len() == before {
        return Ok(None);
    }
    let list = item.text(DUE).unwrap_or_default().to_owned();
    kept(unchanged(key, item), &waiting, &list, resting(item)).map(Some)
}

/// An update that goes through only while the item is as it was read.
fn unchanged(key: &str, item: &Item) -> Update {
    let test = match item.number(VERSION) {
        Some(version) => Test::Equals(VERSION, version.into()),
        None => Test::Absent(VERSION),
    };
    Update::of(key).when([test])
}

/// The outbox as it is from now on, and the list that goes with it.
fn kept(update: Update, waiting: &[Waiting], list: &str, resting: Option<(String, i64)>) -> Result<Update, StoreError> {
    let update = update.then([Action::Add(VERSION, 1)]);
    let place = match waiting.iter().map(|waiting| waiting.until).min() {
        Some(until) => Some((list.to_owned(), until)),
        None => resting,
    };
    let outbox = if waiting.is_empty() {
        Action::Remove(OUTBOX)
    } else {
        let json = serde_json::to_string(waiting).map_err(|error| StoreError::Refused(Box::new(error)))?;
        Action::Set(OUTBOX, json.into())
    };
    Ok(match place {
        Some((list, at)) => update.then([outbox, Action::Set(DUE, list.into()), Action::Set(NOT_BEFORE, at.into())]),
        None => update.then([outbox, Action::Remove(DUE), Action::Remove(NOT_BEFORE)]),
    })
}

fn resting(item: &Item) -> Option<(String, i64)> {
    Some((item.text(RESTING)?.to_owned(), item.number(RESTING_AT)?))
}

fn read(item: &Item) -> Result<Vec<Waiting>, StoreError> {
    match item.text(OUTBOX) {
        None => Ok(Vec::new()),
        Some(json) => serde_json::from_str(json).map_err(|_| StoreError::Unreadable(OUTBOX.to_owned())),
    }
}
