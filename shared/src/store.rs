//! Shared state, as a small language of guarded updates.
//!
//! A rule of the kernel ("open if the epoch is mine and the streak is a second old") is *one* [`Update`]: guards that
//! must hold, and actions that happen only if they do. The rule is written once, beside its reasons, in `resilience/`;
//! a [`Store`] merely carries it out. A refused update returns the item as it is, so that the caller decides again with
//! the truth in hand and no second read. There is no versioned compare-and-swap and no lock: under contention a guard
//! on a range of numbers still lets one of the racers through on every round.
//!
//! This file refuses to know what an item means.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

use crate::clock::Timestamp;

mod bounded;
mod dynamodb;
mod memory;

#[cfg(any(test, feature = "testing"))]
pub mod conformance;

pub use bounded::BoundedStore;
pub use dynamodb::DynamoStore;
pub use memory::MemoryStore;

/// The name of an item: `kind#…`, documented in `infra/table.md`.
pub type Key = String;

/// The attribute by which DynamoDB expires an item, in seconds since the epoch.
pub const EXPIRES_AT: &str = "expires_at";

/// The attribute that puts an item on a list, see [`Store::listed`]; its value is the list's name.
pub const DUE: &str = "due";

/// The attribute that orders a list: when the item is due, in milliseconds since the epoch.
pub const NOT_BEFORE: &str = "not_before";

/// The attribute that says since when an item waits, in milliseconds since the epoch.
pub const CREATED_AT: &str = "created_at";

/// Items that are looked at to find those that have waited longest.
pub const MOST_DUE: usize = 20_000;

/// What an attribute holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole number: counts, milliseconds, microseconds.
    Number(i64),
    /// Text: states, tokens, JSON.
    Text(String),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// One item's attributes, without its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item(pub BTreeMap<String, Value>);

impl Item {
    /// The number under `name`; `None` when absent or of another type.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.0.get(name) {
            Some(Value::Number(number)) => Some(*number),
            Some(Value::Text(_)) | None => None,
        }
    }

    /// The text under `name`; `None` when absent or of another type.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Value::Text(text)) => Some(text),
            Some(Value::Number(_)) | None => None,
        }
    }
}

/// One thing that must hold of the item as it is. A comparison with an absent attribute, or one of another type, fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The attribute does not exist.
    Absent(&'static str),
    /// The attribute equals this value.
    Equals(&'static str, Value),
    /// The attribute is a number not above this one.
    AtMost(&'static str, i64),
    /// The attribute is a number not below this one.
    AtLeast(&'static str, i64),
}

/// One thing that happens to the item when every guard holds. An attribute may be named by one action only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Writes the attribute.
    Set(&'static str, Value),
    /// Writes the attribute unless it is there.
    SetIfAbsent(&'static str, Value),
    /// Adds to the number, which counts as 0 when absent.
    Add(&'static str, i64),
    /// Removes the attribute.
    Remove(&'static str),
}

/// A guarded change of one item: all of it or none of it, at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an update does nothing until a store carries it out"]
pub struct Update {
    /// Which item; it comes into being when absent.
    pub key: Key,
    /// Every guard must hold; a guard holds when any of its tests does.
    pub guards: Vec<Vec<Test>>,
    /// What happens then.
    pub actions: Vec<Action>,
}

impl Update {
    /// An update of `key` that does nothing yet, whatever the item.
    pub fn of(key: impl Into<Key>) -> Self {
        Self { key: key.into(), guards: Vec::new(), actions: Vec::new() }
    }

    /// Adds a guard: at least one of `tests` must hold.
    pub fn when<const N: usize>(mut self, tests: [Test; N]) -> Self {
        self.guards.push(tests.into());
        self
    }

    /// Adds actions.
    pub fn then<const N: usize>(mut self, actions: [Action; N]) -> Self {
        self.actions.extend(actions);
        self
    }
}

/// What became of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every guard held; the item as it is now.
    Applied(Item),
    /// Some guard did not hold; the item as it is, if it exists.
    Refused(Option<Item>),
}

impl Outcome {
    /// The item after the attempt, whatever became of it; an absent item has no attributes.
    pub fn into_item(self) -> Item {
        match self {
            Self::Applied(item) => item,
            Self::Refused(item) => item.unwrap_or_default(),
        }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Sees every write that was answered before it began.
    Consistent,
    /// May be a moment old, at half the price.
    Eventual,
}

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It could not be reached, or not in time.
    #[error("the store did not answer")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It was not asked, because it did not answer a moment ago: nothing happened.
    #[error("the store was not asked")]
    NotAsked,
    /// It asked us to slow down: it is alive.
    #[error("the store is throttling")]
    Throttled(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It refused the request itself: a defect of ours, or missing permission.
    #[error("the store refused the request")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It holds something this version cannot read.
    #[error("the stored item cannot be read: {0}")]
    Unreadable(String),
}

/// Where shared state lives. Two implementations, one conformance suite.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Reads one item.
    ///
    /// # Errors
    /// Any [`StoreError`]; absence is `Ok(None)`.
    async fn get(&self, key: &str, read: Read) -> Result<Option<Item>, StoreError>;

    /// Reads up to 100 items in one trip, eventually consistent, in the order of `keys`.
    ///
    /// # Errors
    /// Any [`StoreError`]; absence is `None` in that key's place.
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError>;

    /// The keys of up to `limit` items on `list` ([`DUE`]) whose [`NOT_BEFORE`] is from `from` to `until`, both included,
    /// oldest first. The list is a moment behind the items: whoever acts on a key reads the item.
    ///
    /// # Errors
    /// Any [`StoreError`].
    async fn listed(&self, list: &str, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError>;

    /// The keys of up to `limit` items on `list` that are due at `until`: those first that have waited longest, by
    /// [`CREATED_AT`] where they have it and else by [`NOT_BEFORE`]. Of more than [`MOST_DUE`] only those are seen that were
    /// due first.
    ///
    /// # Errors
    /// Any [`StoreError`].
    async fn due(&self, list: &str, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError>;

    /// Carries out `update` atomically.
    ///
    /// # Errors
    /// Any [`StoreError`]. After `Unreachable` the update may or may not have happened.
    async fn update(&self, update: &Update) -> Result<Outcome, StoreError>;
}
