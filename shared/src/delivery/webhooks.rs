//! Webhooks: written down before the sender hears 200, processed afterwards, and again when they must be.
//!
//! Receiving does as little as it can: what was proven at the edge is written down and a wake-up sent, best effort.
//! Processing is a [`Handler`]'s, a function's own: it reads the webhook, asks the provider, and gives an [`Effect`],
//! which is applied here. What cannot be done now is done later, for three days; what was left behind by somebody who died
//! is done again. Nothing here is lost in silence: what has failed is on a list of its own.
//!
//! Raw bodies are kept for two weeks and may hold personal data. Card numbers are masked in what is kept, after the
//! signature was checked over what came; the digest of the original stays.
//!
//! This file refuses to know a provider, and to judge a signature a second time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout, timeout_at};

use super::inbox::{self, Body, NewWebhook, Next, Status, Webhook};
use super::outbox::{Effect, EffectError, Outbox};
use crate::audit;
use crate::blobs::{Blobs, INLINE_BYTES};
use crate::clock::{SharedClock, Timestamp, millis};
use crate::error::{ApiError, chain};
use crate::integration::{CallError, Fate};
use crate::provider::Cause;
use crate::queue::{LONGEST_DELAY, Queue, SweepError, WakeUp, early, sweep};
use crate::store::{Item, Outcome, Read, Store, StoreError, Update};
use crate::telemetry::redact;
use crate::webhook::{Hint, Proof, Received, Verified};

/// The largest body that is read back: more than API Gateway lets in (10 MB).
const MAX_BODY_BYTES: usize = 11 * 1024 * 1024;

/// How long writing down may take: the sender comes again when it took longer.
const WRITING: Duration = Duration::from_secs(5);

/// How long the wake-up may hold up the answer.
const WAKING: Duration = Duration::from_millis(250);

/// What an attempt is allowed beyond its deadline, to say what became of it.
const TO_REPORT: Duration = Duration::from_secs(5);

/// The first wait after an attempt that came to nothing; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(30);

/// Updates that may lose against rivals.
const ROUNDS: u32 = 5;

/// Attempts to write down what became of a webhook.
const WRITES: u32 = 3;

/// The longest name of a delivery that is used as it is.
const MAX_DELIVERY: usize = 128;

/// What is known of who sent a webhook. Only a verification makes a [`Proof`], so nobody else can claim one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A signature proved it.
    Verified(Proof),
    /// Nothing proved it.
    Hint,
}

impl<T> From<&Verified<T>> for Standing {
    fn from(verified: &Verified<T>) -> Self {
        Self::Verified(verified.proof().clone())
    }
}

impl<T> From<&Hint<T>> for Standing {
    fn from(_: &Hint<T>) -> Self {
        Self::Hint
    }
}

/// A webhook at the edge: what came, and what is known of it.
#[derive(Debug)]
pub struct Arrival<'r> {
    /// Who is said to have sent it.
    pub provider: &'static str,
    /// What came.
    pub received: Received<'r>,
    /// What is known of who sent it.
    pub standing: Standing,
    /// The sender's own name for the delivery, where it has one. Once a delivery that is verified under its name has been
    /// processed, a repeat is nothing new. Where there is no such name, the same words may be about something new, so only
    /// what still waits is taken together.
    pub delivery: Option<String>,
    /// The headers to be kept, in lower case. Never one with a secret.
    pub headers: &'static [&'static str],
}

/// What became of a webhook at the edge. The sender hears 200 for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// It was new.
    New,
    /// It was there and waits; it was woken again.
    Waiting,
    /// It was there and had ended, and nothing was done.
    Ended,
    /// It was there and had ended, and is processed again.
    Again,
}

/// A webhook to be processed.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What the ledger says of it.
    pub webhook: Webhook,
    /// The body as it was kept: what came, without card numbers.
    pub body: Bytes,
}

impl Stored {
    /// Whether a signature proved it when it came.
    pub fn is_verified(&self) -> bool {
        self.webhook.proof.is_some()
    }

    /// The header `name` as it was kept, in lower case.
    pub fn header(&self, name: &str) -> Option<String> {
        let headers: Map<String, Value> = serde_json::from_str(&self.webhook.headers).ok()?;
        headers.get(name)?.as_str().map(str::to_owned)
    }
}

/// What a webhook comes to.
#[derive(Debug)]
pub enum Processed {
    /// It has this effect.
    Effect(Effect),
    /// There is nothing for us in it, in a stable word: `unknown_type`, `test_probe`.
    Ignored(&'static str),
}

/// Why a webhook did not come to anything.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It may go better later.
    #[error("not now: {why}")]
    Later {
        /// In a stable word.
        why: &'static str,
        /// How long to wait at least.
        wait: Option<Duration>,
        /// What happened, for the log.
        #[source]
        cause: Option<Cause>,
    },
    /// It will never go, in a stable word.
    #[error("never: {why}")]
    Never {
        /// In a stable word.
        why: &'static str,
        /// What happened, for the log.
        #[source]
        cause: Option<Cause>,
    },
}

impl From<Arc<CallError>> for Trouble {
    fn from(error: Arc<CallError>) -> Self {
        match error.fate() {
            Fate::Refused => Self::Never { why: "rejected", cause: Some(Box::new(error)) },
            Fate::NotSent { again_in } => {
                Self::Later { why: "provider_unavailable", wait: again_in, cause: Some(Box::new(error)) }
            }
            Fate::Unknown | Fate::Stopped => {
                Self::Later { why: "provider_unclear", wait: None, cause: Some(Box::new(error)) }
            }
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Later { why: "store_unavailable", wait: None, cause: Some(Box::new(error)) }
    }
}

impl From<EffectError> for Trouble {
    fn from(error: EffectError) -> Self {
        match error {
            EffectError::Merge(_) => Self::Never { why: "unmergeable", cause: Some(Box::new(error)) },
            EffectError::Store(_) | EffectError::Contended => {
                Self::Later { why: "store_unavailable", wait: None, cause: Some(Box::new(error)) }
            }
        }
    }
}

/// What a function makes of its webhooks.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Says what `stored` comes to, by `deadline`. It may be asked about the same webhook again, even after it answered.
    ///
    /// # Errors
    /// [`Trouble`].
    async fn process(&self, stored: &Stored, deadline: Instant) -> Result<Processed, Trouble>;
}

/// What became of a wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// There was nothing to do, or somebody else is doing it.
    Nothing,
    /// It has come to an end.
    Ended(Status),
    /// It waits for its time.
    Waiting,
}

/// The webhooks of one function.
#[derive(Clone, Debug)]
pub struct Webhooks {
    list: &'static str,
    store: Arc<dyn Store>,
    blobs: Arc<dyn Blobs>,
    queue: Arc<dyn Queue>,
    outbox: Outbox,
    clock: SharedClock,
}

impl Webhooks {
    /// Webhooks that are worked off from `list` and have their effects through `outbox`. `store` is the one without a time
    /// limit of its own.
    pub fn new(
        list: &'static str,
        store: Arc<dyn Store>,
        blobs: Arc<dyn Blobs>,
        queue: Arc<dyn Queue>,
        outbox: Outbox,
        clock: SharedClock,
    ) -> Self {
        Self { list, store, blobs, queue, outbox, clock }
    }

    /// Writes `arrival` down and has it looked at. Once this returns, the webhook is not lost.
    ///
    /// # Errors
    /// 503: it is not known to be written down, and the sender is to come again.
    pub async fn receive(&self, arrival: &Arrival<'_>) -> Result<Receipt, ApiError> {
        let (key, receipt) = match timeout(WRITING, self.write_down(arrival)).await {
            Ok(written) => written.map_err(ApiError::store_unavailable)?,
            Err(elapsed) => return Err(ApiError::store_unavailable(elapsed)),
        };
        let verified = matches!(arrival.standing, Standing::Verified(_));
        tracing::info!(target: "ieum::webhook", provider = arrival.provider, webhook = key, verified, receipt = ?receipt, "webhook.received");
        if receipt != Receipt::Ended && timeout(WAKING, self.wake(&key, Duration::ZERO)).await.is_err() {
            tracing::warn!(target: "ieum::webhook", webhook = key, "wake_up.lost");
        }
        Ok(receipt)
    }

    async fn write_down(&self, arrival: &Arrival<'_>) -> Result<(String, Receipt), Cause> {
        let digest = hex::encode(Sha256::digest(arrival.received.body));
        let delivery = name_of(arrival);
        let kept = redact::without_cards(arrival.received.body);
        let body = if kept.len() > INLINE_BYTES {
            let blob = format!("webhook/{}/{delivery}", arrival.provider);
            self.blobs.put(&blob, "application/octet-stream", Bytes::copy_from_slice(&kept)).await?;
            Body::Blob(blob)
        } else {
            match std::str::from_utf8(&kept) {
                Ok(text) => Body::Text(text.to_owned()),
                Err(_) => Body::Base64(STANDARD.encode(&kept)),
            }
        };
        let webhook = NewWebhook {
            provider: arrival.provider,
            delivery,
            list: self.list,
            body,
            digest,
            headers: kept_headers(arrival),
            proof: match &arrival.standing {
                Standing::Verified(proof) => Some(format!("{}: {}", proof.scheme, proof.label)),
                Standing::Hint => None,
            },
        };
        let key = inbox::key(webhook.provider, &webhook.delivery);
        let mut outcome = self.store.update(&inbox::receive(&webhook, self.clock.now())).await?;
        for _ in 0..ROUNDS {
            let item = match outcome {
                Outcome::Applied(_) => return Ok((key, Receipt::New)),
                Outcome::Refused(item) => item.unwrap_or_default(),
            };
            let known = read(&key, &item)?;
            let receipt = match (is_named(arrival), known.status) {
                (_, Status::Received) | (true, Status::Processing) => return Ok((key, Receipt::Waiting)),
                (true, Status::Done | Status::Ignored | Status::Failed) => return Ok((key, Receipt::Ended)),
                (false, Status::Processing) => Receipt::Waiting,
                (false, Status::Done | Status::Ignored | Status::Failed) => Receipt::Again,
            };
            outcome = match self.store.update(&inbox::again(&known, self.clock.now())).await? {
                Outcome::Applied(_) => return Ok((key, receipt)),
                refused @ Outcome::Refused(_) => refused,
            };
        }
        Err("the webhook changed too often while it was written down".into())
    }

    /// Does what is to be done about the webhook or outbox whose item is `key`, by `deadline` at the latest.
    ///
    /// # Errors
    /// [`StoreError`]: the wake-up was in vain and should come again.
    pub async fn work(&self, key: &str, handler: &dyn Handler, deadline: Instant) -> Result<Done, StoreError> {
        if !inbox::is_key(key) {
            return self.outbox.flush(key).await.map(|_| Done::Nothing);
        }
        let Some(item) = self.store.get(key, Read::Consistent).await? else {
            tracing::error!(target: "ieum::webhook", webhook = key, "webhook.unknown");
            return Ok(Done::Nothing);
        };
        let (webhook, now) = (read(key, &item)?, self.clock.now());
        let next = webhook.next(now);
        match next {
            Next::Process | Next::Expire => {}
            Next::Nothing => return Ok(Done::Nothing),
            Next::Wait(at) => {
                if let Some(early) = early(at, now) {
                    self.wake(key, early).await;
                }
                return Ok(Done::Nothing);
            }
        }
        let until = now.after(deadline.saturating_duration_since(Instant::now()) + TO_REPORT);
        let begun = match self.store.update(&inbox::begin(&webhook, until)).await? {
            Outcome::Applied(item) => read(key, &item)?,
            Outcome::Refused(_) => return Ok(Done::Nothing),
        };
        if next == Next::Expire {
            return self.end(&begun, Status::Failed, "expired").await;
        }
        match timeout_at(deadline, self.attempt(&begun, handler, deadline)).await {
            Ok(Ok(None)) => self.end(&begun, Status::Done, "done").await,
            Ok(Ok(Some(word))) => self.end(&begun, Status::Ignored, word).await,
            Ok(Err(Trouble::Never { why, cause })) => {
                let error = cause.map(|cause| chain(&*cause)).unwrap_or_default();
                tracing::error!(target: "ieum::webhook", webhook = key, why, error, "webhook.failed");
                self.end(&begun, Status::Failed, why).await
            }
            Ok(Err(Trouble::Later { why, wait, cause })) => {
                let error = cause.map(|cause| chain(&*cause)).unwrap_or_default();
                tracing::warn!(target: "ieum::webhook", webhook = key, why, error, "webhook.later");
                self.later(&begun, why, wait).await
            }
            Err(_) => self.later(&begun, "timeout", None).await,
        }
    }

    /// One attempt. The word for what was ignored; `None` for what has had its effect.
    async fn attempt(
        &self,
        webhook: &Webhook,
        handler: &dyn Handler,
        deadline: Instant,
    ) -> Result<Option<&'static str>, Trouble> {
        let stored = Stored { webhook: webhook.clone(), body: self.body(webhook).await? };
        match handler.process(&stored, deadline).await? {
            Processed::Effect(effect) => self.outbox.apply(&effect).await.map(|_| None).map_err(Trouble::from),
            Processed::Ignored(word) => Ok(Some(word)),
        }
    }

    async fn body(&self, webhook: &Webhook) -> Result<Bytes, Trouble> {
        match &webhook.body {
            Body::Text(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            Body::Base64(text) => STANDARD
                .decode(text)
                .map(Bytes::from)
                .map_err(|error| Trouble::Never { why: "unreadable", cause: Some(Box::new(error)) }),
            Body::Blob(key) => match self.blobs.get(key, MAX_BODY_BYTES).await {
                Ok(Some(body)) => Ok(body.bytes),
                Ok(None) => Err(Trouble::Never { why: "body_is_gone", cause: None }),
                Err(error) => Err(Trouble::Later { why: "body_unavailable", wait: None, cause: Some(Box::new(error)) }),
            },
        }
    }

    async fn end(&self, webhook: &Webhook, status: Status, outcome: &str) -> Result<Done, StoreError> {
        let update = inbox::end(webhook, status, outcome, self.clock.now());
        if let Some(item) = self.conclude(webhook, &update).await? {
            let newer = read(&webhook.key(), &item)?;
            if newer.status == Status::Processing && newer.attempts == webhook.attempts {
                // The same came again while this was under way.
                return self.later(&newer, "came_again", Some(Duration::ZERO)).await;
            }
            return Ok(Done::Nothing);
        }
        let (key, status_name) = (webhook.key(), status.name());
        tracing::info!(target: "ieum::webhook", webhook = key, outcome, status = status_name, "webhook.ended");
        Ok(Done::Ended(status))
    }

    async fn later(&self, webhook: &Webhook, outcome: &str, wait: Option<Duration>) -> Result<Done, StoreError> {
        let doubled = FIRST_WAIT.saturating_mul(1 << webhook.tries().saturating_sub(1).min(10));
        let delay = wait.unwrap_or(doubled).min(LONGEST_DELAY);
        let update = inbox::later(webhook, outcome, self.clock.now().after(delay));
        if self.conclude(webhook, &update).await?.is_none() {
            self.wake(&webhook.key(), delay).await;
        }
        Ok(Done::Waiting)
    }

    /// Writes down what became of the webhook. When that is refused, because somebody knew better, the item as it is.
    async fn conclude(&self, webhook: &Webhook, update: &Update) -> Result<Option<Item>, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.store.update(update).await {
                Ok(Outcome::Applied(_)) => return Ok(None),
                Ok(Outcome::Refused(item)) => return Ok(Some(item.unwrap_or_default())),
                Err(error) if tries == WRITES => return Err(error),
                Err(error) => {
                    let key = webhook.key();
                    tracing::warn!(target: "ieum::webhook", webhook = key, error = chain(&error), "inbox.retried");
                    tokio::time::sleep(Duration::from_millis(100) * tries).await;
                }
            }
        }
    }

    /// Wakes up to `limit` webhooks that are due and not moving, the oldest first and spread over `period`, and publishes
    /// what was left in outboxes. Says how many webhooks it woke.
    ///
    /// # Errors
    /// [`SweepError`]; outboxes are looked at even if nobody could be woken.
    pub async fn sweep(&self, limit: u32, period: Duration) -> Result<usize, SweepError> {
        let woken = sweep(&*self.store, &*self.queue, self.list, limit, period, self.clock.now()).await;
        self.outbox.sweep(limit).await?;
        woken
    }

    /// Up to `limit` webhooks of `status` that were received from `from` to `to`, the oldest first. What has not ended is
    /// listed by when it is due instead, from `from` on. After a full list it goes on from [`Webhook::listed_at`] of the last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &self,
        status: Status,
        from: Timestamp,
        to: Timestamp,
        limit: u32,
    ) -> Result<Vec<Webhook>, StoreError> {
        listed(&*self.store, self.list, status, [from, to], self.clock.now(), limit).await
    }

    /// On behalf of the caller `who`, which is put on record first: has the webhook processed again that has this provider
    /// and delivery, whatever became of it.
    ///
    /// # Errors
    /// [`StoreError`]. `false` when there is no such webhook.
    pub async fn replay(&self, who: &str, provider: &str, delivery: &str) -> Result<bool, StoreError> {
        let key = inbox::key(provider, delivery);
        let Some(item) = self.store.get(&key, Read::Consistent).await? else { return Ok(false) };
        let webhook = read(&key, &item)?;
        let before = json!({"status": webhook.status.name(), "outcome": webhook.outcome}).to_string();
        self.record(who, "webhook.replay", &format!("{provider}:{delivery}"), &before, "{\"status\":\"received\"}")
            .await?;
        if webhook.status.is_ended() {
            // A refusal means that it is being processed again already.
            self.store.update(&inbox::replay(&webhook, self.clock.now())).await?;
        }
        self.wake(&key, Duration::ZERO).await;
        Ok(true)
    }

    /// On behalf of the caller `who`, which is put on record first: has up to `limit` webhooks processed again that were
    /// received from `from` to `to` and came to `status`. Says how many, and from when to go on when that were not all of
    /// them.
    ///
    /// # Errors
    /// [`StoreError`]: those before the fault are being processed again.
    pub async fn replay_range(
        &self,
        who: &str,
        status: Status,
        from: Timestamp,
        to: Timestamp,
        limit: u32,
    ) -> Result<(usize, Option<Timestamp>), StoreError> {
        let found = self.list(status, from, to, limit).await?;
        let after = json!({"from": from.rfc3339(), "to": to.rfc3339(), "webhooks": found.len()}).to_string();
        let before = json!({"status": status.name()}).to_string();
        self.record(who, "webhook.replay_range", self.list, &before, &after).await?;
        let now = self.clock.now();
        for webhook in found.iter().filter(|webhook| webhook.status.is_ended()) {
            self.store.update(&inbox::replay(webhook, now)).await?;
            self.wake(&webhook.key(), Duration::ZERO).await;
        }
        let full = found.len() == limit as usize;
        Ok((found.len(), found.last().filter(|_| full).map(Webhook::listed_at)))
    }

    async fn record(&self, who: &str, what: &str, target: &str, before: &str, after: &str) -> Result<(), StoreError> {
        audit::record(&*self.store, audit::Entry { who, what, target, before, after, at: self.clock.now() }).await
    }

    async fn wake(&self, key: &str, delay: Duration) {
        if let Err(error) = self.queue.wake(&[WakeUp { key: key.to_owned(), after: delay }]).await {
            let (error, delay_ms) = (chain(&*error), millis(delay));
            tracing::warn!(target: "ieum::webhook", webhook = key, delay_ms, error, "wake_up.lost");
        }
    }
}

/// What [`Webhooks::list`] says, of those that are worked off from `list`.
///
/// # Errors
/// [`StoreError`].
pub async fn listed(
    store: &dyn Store,
    list: &str,
    status: Status,
    [from, to]: [Timestamp; 2],
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Webhook>, StoreError> {
    // What has not ended stands where it is due, which may be after `to`.
    let until = if status.is_ended() { to } else { Timestamp::from_millis(i64::MAX) };
    let wanted = |webhook: &Webhook| webhook.status == status && webhook.received_at <= to;
    let mut found = Vec::new();
    for list in lists(list, status, from, to, now) {
        let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        if left == 0 {
            break;
        }
        for keys in store.listed(&list, from, until, left).await?.chunks(100) {
            let items = store.get_many(keys).await?;
            let webhooks = items.iter().filter_map(|item| Webhook::read(item.as_ref()?));
            found.extend(webhooks.filter(wanted));
        }
    }
    Ok(found)
}

/// The lists on which webhooks of `status` may stand: one for each day.
fn lists(list: &str, status: Status, from: Timestamp, to: Timestamp, now: Timestamp) -> Vec<String> {
    if !status.is_ended() {
        return vec![list.to_owned()];
    }
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    // What is older has expired.
    let (from, to) = (from.max(now.before(inbox::RETENTION)), to.min(now));
    let days = millis(to.since(from)) / millis(DAY) + 2;
    let mut lists: Vec<String> = (0..days)
        .scan(from, |day, _| {
            let archive = inbox::archive(list, status, *day);
            *day = day.after(DAY);
            Some(archive)
        })
        .collect();
    lists.dedup();
    lists
}

fn read(key: &str, item: &Item) -> Result<Webhook, StoreError> {
    Webhook::read(item).ok_or_else(|| StoreError::Unreadable(key.to_owned()))
}

/// Whether the signature vouches for the name of the delivery, as far as it does for anything.
fn is_named(arrival: &Arrival<'_>) -> bool {
    matches!(arrival.standing, Standing::Verified(_)) && arrival.delivery.is_some()
}

/// The name of a delivery in the table. What nobody has proven has a name that no signed delivery can have, which covers
/// the body: otherwise a stranger could take the place of a delivery before it comes.
fn name_of(arrival: &Arrival<'_>) -> String {
    let plain = |id: &&String| {
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        (1..=MAX_DELIVERY).contains(&id.len()) && id.bytes().all(harmless)
    };
    let named = is_named(arrival);
    if let Some(id) = arrival.delivery.as_ref().filter(plain).filter(|_| named) {
        return id.clone();
    }
    let id = arrival.delivery.as_deref().unwrap_or_default();
    let mut digest = Sha256::new();
    digest.update((id.len() as u64).to_be_bytes());
    digest.update(id);
    if !named {
        digest.update(arrival.received.body);
    }
    let kind = if matches!(arrival.standing, Standing::Verified(_)) { "signed" } else { "hint" };
    format!("{kind}~{}", hex::encode(digest.finalize()))
}

fn kept_headers(arrival: &Arrival<'_>) -> String {
    let kept = arrival.headers.iter().filter_map(|name| {
        let value = arrival.received.headers.get(*name)?.to_str().ok()?;
        Some(((*name).to_owned(), Value::from(value.chars().take(200).collect::<String>())))
    });
    Value::Object(kept.collect()).to_string()
}
