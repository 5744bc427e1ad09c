//! A store that may not hold anybody up.
//!
//! The kernel's own state must never be what makes a request slow: an answer later than the limit counts as none, and
//! after one such the store is left alone for a second, so that an outage costs a request the limit once and no more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout};

use crate::clock::Timestamp;

use super::{Item, Key, Outcome, Read, Store, StoreError, Update};

const LEFT_ALONE: Duration = Duration::from_secs(1);

/// Another store, within a time limit.
#[derive(Debug)]
pub struct BoundedStore {
    inner: Arc<dyn Store>,
    limit: Duration,
    left_alone_until: Mutex<Option<Instant>>,
}

impl BoundedStore {
    /// `inner`, each of whose answers may take `limit`.
    pub fn new(inner: Arc<dyn Store>, limit: Duration) -> Self {
        Self { inner, limit, left_alone_until: Mutex::new(None) }
    }

    async fn bounded<T>(&self, answer: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        if self.left_alone().is_some_and(|until| Instant::now() < until) {
            return Err(StoreError::NotAsked);
        }
        let answer = match timeout(self.limit, answer).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(StoreError::Unreachable(Box::new(elapsed))),
        };
        if let Err(error @ StoreError::Unreachable(_)) = &answer {
            tracing::warn!(target: "ieum::store", error = crate::error::chain(error), "store.unreachable");
            *self.left_alone() = Some(Instant::now() + LEFT_ALONE);
        }
        answer
    }

    fn left_alone(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.left_alone_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for BoundedStore {
    async fn get(&self, key: &str, read: Read) -> Result<Option<Item>, StoreError> {
        self.bounded(self.inner.get(key, read)).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.bounded(self.inner.get_many(keys)).await
    }

    async fn listed(&self, list: &str, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.bounded(self.inner.listed(list, from, until, limit)).await
    }

    async fn due(&self, list: &str, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.bounded(self.inner.due(list, until, limit)).await
    }

    async fn update(&self, update: &Update) -> Result<Outcome, StoreError> {
        self.bounded(self.inner.update(update)).await
    }
}
