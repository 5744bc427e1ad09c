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

use crate::audit;
use crate::clock::{SharedClock, Timestamp};
use crate::error::chain;
use crate::resilience::cache::{CachePolicy, Entry, L1, Worth};
use crate::settings::Live;
use crate::store::{Action, EXPIRES_AT, Item, Outcome, Read, Store, StoreError, Update};

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
    policy: Live<CachePolicy>,
    keys: RequestKeys,
    store: Arc<dyn Store>,
    clock: SharedClock,
    l1: Mutex<L1<Res>>,
}

impl<Res: Response> AnswerCache<Res> {
    /// An empty memory in front of the shared `store`.
    pub fn new(
        operation: &'static str,
        policy: impl Into<Live<CachePolicy>>,
        keys: RequestKeys,
        store: Arc<dyn Store>,
        clock: SharedClock,
    ) -> Self {
        let policy = policy.into();
        Self { operation, policy, keys, store, clock, l1: Mutex::new(L1::new(L1_ENTRIES, L1_BYTES)) }
    }

    /// The name of `request`.
    pub fn key(&self, request: &impl Request) -> String {
        self.keys.name("cache", self.operation, request)
    }

    /// What this process remembers under `key`; no I/O.
    pub fn in_memory(&self, key: &str) -> Option<Entry<Res>> {
        let now = self.clock.now();
        let entry = self.l1.lock().unwrap_or_else(PoisonError::into_inner).get(key, now)?;
        (self.worth(key, &entry, now) != Worth::Void).then_some(entry)
    }

    /// What `entry`, remembered under `key`, is worth at `now`: by its times, the policy in force, and the rules that make
    /// answers void.
    pub fn worth(&self, key: &str, entry: &Entry<Res>, now: Timestamp) -> Worth {
        match self.void_until(key, &entry.request) {
            Some(until) if entry.filled_from <= until => Worth::Void,
            _ => entry.worth_under(&self.policy.current(), entry.value.is_known(), now),
        }
    }

    /// Whether `entry` is fresh at `now`.
    pub fn is_fresh(&self, key: &str, entry: &Entry<Res>, now: Timestamp) -> bool {
        self.worth(key, entry, now) == Worth::Fresh
    }

    /// Until when answers to `request`, known under `key`, are void.
    pub fn void_until(&self, key: &str, request: &str) -> Option<Timestamp> {
        self.policy.settings()?.void_until(key, request)
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
        let (request, policy) = (request.readable(), self.policy.current());
        let update = Entry::new(json, &request, provider, known, &policy, filled_from).to_update(&key);
        let entry = Entry::new(value.clone(), &request, provider, known, &policy, filled_from);
        self.l1.lock().unwrap_or_else(PoisonError::into_inner).put(key, entry, bytes);
        if let Err(error) = self.store.update(&update).await {
            tracing::warn!(target: "ieum::cache", operation = self.operation, error = chain(&error), "cache.unwritten");
        }
    }

    fn take_in(&self, key: &str, item: &Item) -> Option<Entry<Res>> {
        let entry = Entry::from_item(item)?;
        if self.worth(key, &entry, self.clock.now()) == Worth::Void {
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
        let audit = audit::Entry {
            who: by,
            what: &format!("{}.enter_manually", self.operation),
            target: &request.readable(),
            before: &before,
            after: &json,
            at: now,
        };
        audit::record(&*self.durable, audit).await?;
        let entry = Update::of(key).then([
            Action::Set("value", json.into()),
            Action::Set("request", request.readable().into()),
            Action::Set("by", by.into()),
            Action::Set("entered_at", now.as_millis().into()),
            Action::Set("until", until.as_millis().into()),
            Action::Set(EXPIRES_AT, (until.as_seconds() + 1).into()),
        ]);
        match self.durable.update(&entry).await? {
            Outcome::Applied(_) => Ok((now, until)),
            // Nothing guards it.
            Outcome::Refused(_) => Err(StoreError::Refused("an unguarded update".into())),
        }
    }
}
