//! Who may be written to, and how often.
//!
//! A recipient who complained, whose mailbox does not exist or who wants no more stands on a list and gets nothing,
//! whoever asks: sending to them anyway costs the sender's good name with everybody. And nobody gets more than a rate
//! allows, so that a loop in a front end is not a hundred texts at night.
//!
//! The list and the rates know an address by its HMAC only. Whoever asks has brought it into one form first (lower case,
//! E.164); this file refuses to know what an address is.

use std::sync::Arc;
use std::time::Duration;

use crate::answers::RequestKeys;
use crate::audit;
use crate::clock::{SharedClock, Timestamp};
use crate::error::{ApiError, RATE_LIMITED};
use crate::limiter::Standing;
use crate::planted::{Rule, broken};
use crate::resilience::rate_limit::{Bucket, Plan, RatePolicy};
use crate::store::{Action, EXPIRES_AT, Outcome, Read, Store, StoreError, Test, Update};

/// The store forgets a recipient who was not written to for so long, and the last of whose slots has passed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// How long what was lifted from the list is kept, as nothing: a store cannot remove an item.
const LIFTED: Duration = Duration::from_secs(60);

/// Takes of a slot that may lose against rivals.
const TAKES: u32 = 8;

/// Why a recipient gets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// In a stable word: `bounced`, `complained`, `unsubscribed`, `by_hand`.
    pub reason: String,
    /// Who said so: a provider, or a caller.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

/// The recipients of one kind of message.
#[derive(Clone, Debug)]
pub struct Recipients {
    kind: &'static str,
    keys: RequestKeys,
    rate: Option<RatePolicy>,
    store: Arc<dyn Store>,
    clock: SharedClock,
}

impl Recipients {
    /// Recipients of `kind`, each of whom may be written to as often as `rate` says; its `max_wait` is not used.
    pub fn new(
        kind: &'static str,
        keys: RequestKeys,
        rate: Option<RatePolicy>,
        store: Arc<dyn Store>,
        clock: SharedClock,
    ) -> Self {
        // A bucket keeps back what the leases of a fleet could add. Nothing is leased here.
        let rate = rate.map(|rate| RatePolicy { burst: rate.burst.saturating_add(1), ..rate });
        Self { kind, keys, rate, store, clock }
    }

    fn key(&self, address: &str) -> String {
        self.keys.name("suppression", self.kind, &address)
    }

    /// Why `address` gets nothing; `None` when it does.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn suppression(&self, address: &str) -> Result<Option<Suppression>, StoreError> {
        let item = self.store.get(&self.key(address), Read::Consistent).await?.unwrap_or_default();
        let (Some(reason), Some(by), Some(since)) = (item.text("reason"), item.text("by"), item.number("at")) else {
            return Ok(None);
        };
        let (reason, by) = (reason.to_owned(), by.to_owned());
        Ok(Some(Suppression { reason, by, since: Timestamp::from_millis(since) }))
    }

    /// Whether any of `addresses` gets nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn any_suppressed(&self, addresses: &[String]) -> Result<bool, StoreError> {
        let keys: Vec<String> = addresses.iter().map(|address| self.key(address)).collect();
        for keys in keys.chunks(100) {
            let items = self.store.get_many(keys).await?;
            if items.iter().flatten().any(|item| item.text("reason").is_some()) {
                return Ok(!broken(Rule::SuppressedGetNothing));
            }
        }
        Ok(false)
    }

    /// From now on `address` gets nothing, because `provider` reported something. An earlier reason stays.
    ///
    /// # Errors
    /// [`StoreError`]: it is not known to be on the list, and may be put there again.
    pub async fn suppress(&self, address: &str, reason: &str, provider: &str) -> Result<(), StoreError> {
        self.put(address, reason, provider).await
    }

    /// From now on `address` gets nothing, because the caller `who` says so. That is put on record first.
    ///
    /// # Errors
    /// [`StoreError`]: it is not known to be on the list, and may be put there again.
    pub async fn suppress_by_hand(&self, address: &str, reason: &str, who: &str) -> Result<(), StoreError> {
        self.record(address, "suppression.add", who, ["null", "\"suppressed\""]).await?;
        self.put(address, reason, who).await
    }

    /// From now on `address` is written to again, because the caller `who` says so. That is put on record first.
    /// `false` when it was not on the list.
    ///
    /// # Errors
    /// [`StoreError`]: it is not known to be off the list, and may be taken off again.
    pub async fn lift(&self, address: &str, who: &str) -> Result<bool, StoreError> {
        if self.suppression(address).await?.is_none() {
            return Ok(false);
        }
        self.record(address, "suppression.lift", who, ["\"suppressed\"", "null"]).await?;
        let update = Update::of(self.key(address)).then([
            Action::Remove("reason"),
            Action::Set(EXPIRES_AT, self.clock.now().after(LIFTED).as_seconds().into()),
            Action::Add("v", 1),
        ]);
        self.store.update(&update).await.map(|_| true)
    }

    async fn put(&self, address: &str, reason: &str, by: &str) -> Result<(), StoreError> {
        let update = Update::of(self.key(address)).when([Test::Absent("reason")]).then([
            Action::Set("reason", reason.into()),
            Action::Set("by", by.into()),
            Action::Set("at", self.clock.now().as_millis().into()),
            Action::Remove(EXPIRES_AT),
            Action::Add("v", 1),
        ]);
        self.store.update(&update).await.map(drop)
    }

    async fn record(&self, address: &str, what: &str, who: &str, change: [&str; 2]) -> Result<(), StoreError> {
        let (target, [before, after]) = (self.key(address), change);
        audit::record(&*self.store, audit::Entry { who, what, target: &target, before, after, at: self.clock.now() })
            .await
    }

    /// Counts one message to each of `addresses`, for whoever will not wait.
    ///
    /// # Errors
    /// 429 that says when to return, and 503 without the store.
    pub async fn admit(&self, addresses: &[String]) -> Result<(), ApiError> {
        for address in addresses {
            let slot = self.slot(address, Duration::ZERO).await;
            if let Err(reset) = slot.map_err(ApiError::store_unavailable)? {
                let policy = self.rate.map(|rate| (rate.calls, rate.period));
                let standing = Standing { policy, remaining: 0, reset };
                return Err(ApiError::new(RATE_LIMITED).limited("recipient", standing));
            }
        }
        Ok(())
    }

    /// Counts one message to each of `addresses`, and says for how long it has to wait. A message that would have to wait
    /// longer than `patience` waits no less than that.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reserve(&self, addresses: &[String], patience: Duration) -> Result<Duration, StoreError> {
        let mut longest = Duration::ZERO;
        for address in addresses {
            let (Ok(wait) | Err(wait)) = self.slot(address, patience).await?;
            longest = longest.max(wait);
        }
        Ok(longest)
    }

    /// How far away the slot is that was taken for `address`, or, when that is more than `patience`, the next one.
    async fn slot(&self, address: &str, patience: Duration) -> Result<Result<Duration, Duration>, StoreError> {
        let Some(rate) = self.rate else { return Ok(Ok(Duration::ZERO)) };
        let key = self.keys.name("rate#recipient", self.kind, &address);
        let (now, mut bucket) = (self.clock.now(), Bucket::default());
        for _ in 0..TAKES {
            let update = match bucket.plan(&key, &rate, 1, patience, now) {
                Plan::Take { update, .. } => update,
                Plan::Refuse(away) => return Ok(Err(away)),
            };
            let forgotten = now.after(patience).after(FORGOTTEN_AFTER).as_seconds();
            let outcome = self.store.update(&update.then([Action::Set(EXPIRES_AT, forgotten.into())])).await?;
            let taken = matches!(outcome, Outcome::Applied(_));
            bucket = Bucket::from(&outcome.into_item());
            if taken {
                let at = bucket.leased(&rate, 1, now).first().unwrap_or(now);
                return Ok(Ok(at.since(now)));
            }
        }
        Ok(Err(rate.interval()))
    }
}
