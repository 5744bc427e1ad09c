//! Remembered answers: in this process, in the shared table, and entered by hand.
//!
//! The key of a request is an HMAC of its canonical form, because a request may hold a person's name and keys are seen
//! by more eyes than values. The readable form stored beside the value, for invalidation by pattern, is the request's
//! own choice of harmless words. This file refuses to call a provider.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

use crate::clock::{SharedClock, Timestamp};
use crate::error::chain;
use crate::resilience::cache::{CachePolicy, Entry, L1, Worth};
use crate::store::{Action, EXPIRES_AT, Item, Outcome, Read, Store, StoreError, Test, Update};

/// How many answers of one operation a process remembers, and how many bytes of JSON in all.
const L1_ENTRIES: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();
const L1_BYTES: usize = 2 * 1024 * 1024;

/// The largest value worth storing; DynamoDB refuses items above 400 kB.
pub(crate) const MAX_VALUE_BYTES: usize = 300 * 1024;

/// A request that an integration can take.
pub trait Request: Serialize + Send + Sync {
    /// The request in harmless words: no personal data. `company 1234567891`.
    fn readable(&self) -> String;
}

/// An answer that can be remembered.
pub trait Response: Clone + Serialize + DeserializeOwned + Send + Sync {
    /// False when the answer is "there is no such thing", which is remembered only briefly.
    fn is_known(&self) -> bool;
}

/// The names of requests in the table.
#[derive(Clone, Debug)]
pub struct RequestKeys(Arc<SecretSlice<u8>>);

impl RequestKeys {
    /// Names made with this secret; every environment must hold the same one.
    pub fn new(secret: SecretSlice<u8>) -> Self {
        Self(Arc::new(secret))
    }

    /// `kind#operation#hmac` of `request`.
    pub fn name(&self, kind: &str, operation: &str, request: &impl Serialize) -> String {
        // A key of any length is valid, and our own request types always serialise; neither arm can be taken.
        let canonical = serde_json::to_vec(request).unwrap_or_default();
        let digest = Hmac::<Sha256>::new_from_slice(self.0.expose_secret())
            .map(|mac| mac.chain_update(canonical).finalize().into_bytes());
        digest.map_or_else(|_| String::new(), |digest| format!("{kind}#{operation}#{}", hex::encode(digest)))
    }
}

/// The answers of one operation.
#[derive(Debug)]
pub struct AnswerCache<Res> {
    operation: &'static str,
    policy: CachePolicy,
    keys: RequestKeys,
    store: Arc<dyn Store>,
    clock: SharedClock,
    l1: Mutex<L1<Res>>,
}

impl<Res: Response> AnswerCache<Res> {
    /// An empty memory in front of the shared `store`.
    pub fn new(
        operation: &'static str,
        policy: CachePolicy,
        keys: RequestKeys,
        store: Arc<dyn Store>,
        clock: SharedClock,
    ) -> Self {
        Self { operation, policy, keys, store, clock, l1: Mutex::new(L1::new(L1_ENTRIES, L1_BYTES)) }
    }

    /// The name of `request`.
    pub fn key(&self, request: &impl Request) -> String {
        self.keys.name("cache", self.operation, request)
    }

    /// What this process remembers under `key`; no I/O.
    pub fn in_memory(&self, key: &str) -> Option<Entry<Res>> {
        let now = self.clock.now();
        self.l1.lock().unwrap_or_else(PoisonError::into_inner).get(key, now)
    }

    /// What the fleet remembers under each of `keys`, void entries left out; what this process remembers when the store
    /// does not answer. A lookup must never be what fails a request.
    pub async fn in_store(&self, keys: &[String]) -> Vec<Option<Entry<Res>>> {
        let items = match keys {
            [key] => self.store.get(key, Read::Eventual).await.map(|item| vec![item]),
            _ => self.store.get_many(keys).await,
        };
        match items {
            Ok(items) => keys.iter().zip(items).map(|(key, item)| self.take_in(key, &item?)).collect(),
            Err(error) => {
                tracing::warn!(target: "ieum::cache", operation = self.operation, error = chain(&error), "cache.unread");
                keys.iter().map(|key| self.in_memory(key)).collect()
            }
        }
    }

    /// Remembers a live answer to a call that began at `filled_from`, here and for the fleet.
    pub async fn remember(
        &self,
        key: String,
        request: &impl Request,
        value: &Res,
        provider: &str,
        filled_from: Timestamp,
    ) {
        let Ok(json) = serde_json::to_string(value) else { return };
        let (bytes, known) = (json.len(), value.is_known());
        if bytes > MAX_VALUE_BYTES {
            tracing::warn!(target: "ieum::cache", operation = self.operation, bytes, "cache.too_large");
            return;
        }
        let update = Entry::new(json, provider, known, &self.policy, filled_from).to_update(&key, &request.readable());
        let entry = Entry::new(value.clone(), provider, known, &self.policy, filled_from);
        self.l1.lock().unwrap_or_else(PoisonError::into_inner).put(key, entry, bytes);
        if let Err(error) = self.store.update(&update).await {
            tracing::warn!(target: "ieum::cache", operation = self.operation, error = chain(&error), "cache.unwritten");
        }
    }

    fn take_in(&self, key: &str, item: &Item) -> Option<Entry<Res>> {
        let entry = Entry::from_item(item)?;
        if entry.worth(self.clock.now()) == Worth::Void {
            return None;
        }
        let bytes = item.text("value").map_or(0, str::len);
        self.l1.lock().unwrap_or_else(PoisonError::into_inner).put(key.to_owned(), entry.clone(), bytes);
        Some(entry)
    }
}

/// An answer that a person entered because no provider could give one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualEntry<Res> {
    /// The answer.
    pub value: Res,
    /// When it was entered.
    pub entered_at: Timestamp,
}

/// The hand-entered answers of one operation.
///
/// Reading them may fail quietly, as the cache does; writing them may not, because a person was told that it worked.
#[derive(Debug)]
pub struct ManualEntries {
    operation: &'static str,
    keys: RequestKeys,
    /// Within the limit of the kernel's state.
    quick: Arc<dyn Store>,
    /// Allowed to take its time.
    durable: Arc<dyn Store>,
    clock: SharedClock,
}

impl ManualEntries {
    /// The entries of `operation`.
    pub fn new(
        operation: &'static str,
        keys: RequestKeys,
        quick: Arc<dyn Store>,
        durable: Arc<dyn Store>,
        clock: SharedClock,
    ) -> Self {
        Self { operation, keys, quick, durable, clock }
    }

    /// The entry for `request` that has not expired.
    pub async fn find<Res: Response>(&self, request: &impl Request) -> Option<ManualEntry<Res>> {
        let key = self.keys.name("manual", self.operation, request);
        match self.quick.get(&key, Read::Consistent).await {
            Ok(item) => {
                let item = item?;
                let until = Timestamp::from_millis(item.number("until")?);
                let value = serde_json::from_str(item.text("value")?).ok()?;
                let entered_at = Timestamp::from_millis(item.number("entered_at")?);
                (self.clock.now() < until).then_some(ManualEntry { value, entered_at })
            }
            Err(error) => {
                tracing::warn!(target: "ieum::cache", operation = self.operation, error = chain(&error), "manual.unread");
                None
            }
        }
    }

    /// Enters `value` for `request`, valid for `ttl`, and puts who did it on the audit trail first. Returns when it was
    /// entered and when it expires.
    ///
    /// # Errors
    /// When the store did not take both: the entry is then not to be relied upon.
    pub async fn enter<Res: Response>(
        &self,
        request: &impl Request,
        value: &Res,
        by: &str,
        ttl: Duration,
    ) -> Result<(Timestamp, Timestamp), StoreError> {
        let key = self.keys.name("manual", self.operation, request);
        let now = self.clock.now();
        let until = now.after(ttl);
        let json = serde_json::to_string(value).map_err(|error| StoreError::Refused(Box::new(error)))?;
        let before = self.durable.get(&key, Read::Consistent).await?;
        let before = before.as_ref().and_then(|item| item.text("value")).unwrap_or("null").to_owned();
        let audit =
            Update::of(format!("audit#{}#{}", now.rfc3339(), uuid::Uuid::new_v4())).when([Test::Absent("who")]).then([
                Action::Set("who", by.into()),
                Action::Set("what", format!("{}.enter_manually", self.operation).into()),
                Action::Set("target", request.readable().into()),
                Action::Set("before", before.into()),
                Action::Set("after", json.as_str().into()),
                Action::Set("at", now.as_millis().into()),
                Action::Set(EXPIRES_AT, now.after(AUDIT_RETENTION).as_seconds().into()),
            ]);
        self.carry_out(&audit).await?;
        let entry = Update::of(key).then([
            Action::Set("value", json.into()),
            Action::Set("request", request.readable().into()),
            Action::Set("by", by.into()),
            Action::Set("entered_at", now.as_millis().into()),
            Action::Set("until", until.as_millis().into()),
            Action::Set(EXPIRES_AT, (until.as_seconds() + 1).into()),
        ]);
        self.carry_out(&entry).await?;
        Ok((now, until))
    }

    async fn carry_out(&self, update: &Update) -> Result<(), StoreError> {
        match self.durable.update(update).await? {
            Outcome::Applied(_) => Ok(()),
            Outcome::Refused(_) => Err(StoreError::Refused("the item exists already".into())),
        }
    }
}

/// Audit items are kept for a year.
const AUDIT_RETENTION: Duration = Duration::from_secs(365 * 24 * 60 * 60);
