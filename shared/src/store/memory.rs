//! The store of one process: for development without AWS, for tests, and as the local state a function falls back to
//! when the shared store is gone. It forgets everything when the process ends, and refuses to pretend otherwise.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::backup::{Page, Whole};
use crate::clock::Timestamp;

use super::{
    Action, CREATED_AT, DUE, Item, Key, MOST_DUE, NOT_BEFORE, Outcome, Read, Store, StoreError, Test, Update, Value,
};

/// Items in a map behind a lock that is never held across an await.
#[derive(Debug, Default)]
pub struct MemoryStore {
    items: Mutex<HashMap<Key, Item>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn items(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same as [`Store::update`], at once: memory has nothing to wait for.
    pub fn apply(&self, update: &Update) -> Outcome {
        let mut items = self.items();
        let current = items.get(&update.key);
        let holds = update.guards.iter().all(|guard| guard.iter().any(|test| test.holds(current)));
        if !holds {
            return Outcome::Refused(current.cloned());
        }
        let item = items.entry(update.key.clone()).or_default();
        for action in &update.actions {
            action.perform(item);
        }
        Outcome::Applied(item.clone())
    }

    /// What is on `list`, in the order of the times when it is due: that time, since when it waits, and its key.
    fn on_list(&self, list: &str) -> Vec<(i64, i64, Key)> {
        let items = self.items();
        let on_list = items.iter().filter(|(_, item)| item.text(DUE) == Some(list));
        let mut found: Vec<(i64, i64, Key)> = on_list
            .filter_map(|(key, item)| {
                let at = item.number(NOT_BEFORE)?;
                Some((at, item.number(CREATED_AT).unwrap_or(at), key.clone()))
            })
            .collect();
        found.sort_unstable_by(|one, other| (one.0, &one.2).cmp(&(other.0, &other.2)));
        found
    }

    /// Puts `item` under `key`, whatever was there.
    pub fn replace(&self, key: Key, item: Item) {
        self.items().insert(key, item);
    }

    /// Every item whose key begins with `prefix`, in no order.
    pub fn items_with(&self, prefix: &str) -> Vec<Item> {
        self.items().iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, item)| item.clone()).collect()
    }

    /// The same as [`Store::get`], at once.
    pub fn read(&self, key: &str) -> Option<Item> {
        self.items().get(key).cloned()
    }
}

impl Test {
    fn holds(&self, item: Option<&Item>) -> bool {
        let value = |name: &str| item.and_then(|item| item.0.get(name));
        let number = |name: &str| item.and_then(|item| item.number(name));
        match self {
            Self::Absent(name) => value(name).is_none(),
            Self::Equals(name, expected) => value(name) == Some(expected),
            Self::AtMost(name, bound) => number(name).is_some_and(|number| number <= *bound),
            Self::AtLeast(name, bound) => number(name).is_some_and(|number| number >= *bound),
        }
    }
}

impl Action {
    fn perform(&self, item: &mut Item) {
        match self {
            Self::Set(name, value) => {
                item.0.insert((*name).to_owned(), value.clone());
            }
            Self::SetIfAbsent(name, value) => {
                item.0.entry((*name).to_owned()).or_insert_with(|| value.clone());
            }
            Self::Add(name, step) => {
                let number = item.number(name).unwrap_or(0).saturating_add(*step);
                item.0.insert((*name).to_owned(), Value::Number(number));
            }
            Self::Remove(name) => {
                item.0.remove(*name);
            }
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str, _read: Read) -> Result<Option<Item>, StoreError> {
        Ok(self.read(key))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        Ok(keys.iter().map(|key| self.read(key)).collect())
    }

    async fn listed(&self, list: &str, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        let span = from.as_millis()..=until.as_millis();
        let listed = self.on_list(list).into_iter().filter(|(at, ..)| span.contains(at));
        Ok(listed.take(limit as usize).map(|(_, _, key)| key).collect())
    }

    async fn due(&self, list: &str, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        let due = self.on_list(list).into_iter().take_while(|(at, ..)| *at <= until.as_millis()).take(MOST_DUE);
        let mut due: Vec<(i64, Key)> = due.map(|(_, since, key)| (since, key)).collect();
        due.sort_unstable();
        Ok(due.into_iter().take(limit as usize).map(|(_, key)| key).collect())
    }

    async fn update(&self, update: &Update) -> Result<Outcome, StoreError> {
        Ok(self.apply(update))
    }
}

/// A segment is what a key's length and letters add up to, which is as good as any.
#[async_trait]
impl Whole for MemoryStore {
    async fn page(&self, segment: u32, segments: u32, after: Option<&Key>) -> Result<Page, StoreError> {
        const MOST: usize = 100;
        let of = |key: &str| key.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let items = self.items();
        let wanted = |key: &&Key| of(key) % segments == segment && after.is_none_or(|after| *key > after);
        let mut keys: Vec<&Key> = items.keys().filter(wanted).collect();
        keys.sort_unstable();
        let next = keys.get(MOST).and_then(|_| keys.get(MOST - 1)).map(|key| (*key).clone());
        let found = keys.into_iter().take(MOST).filter_map(|key| items.get_key_value(key));
        Ok(Page { items: found.map(|(key, item)| (key.clone(), item.clone())).collect(), next })
    }

    async fn put_all(&self, items: &[(Key, Item)]) -> Result<(), StoreError> {
        items.iter().for_each(|(key, item)| self.replace(key.clone(), item.clone()));
        Ok(())
    }

    async fn remove_all(&self, keys: &[Key]) -> Result<(), StoreError> {
        keys.iter().for_each(|key| drop(self.items().remove(key)));
        Ok(())
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn export(&self, _: &str, _: &str) -> Result<String, StoreError> {
        Err(StoreError::Refused("memory exports nothing".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    #[tokio::test]
    async fn conforms() {
        conformance::check(&MemoryStore::new()).await;
        conformance::check_due(&MemoryStore::new()).await;
    }
}
