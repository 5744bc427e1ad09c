//! The worker: what happens to a message when somebody says its name.
//!
//! A wake-up carries an id and nothing else; what to do is read from the ledger each time. So a wake-up may come twice,
//! late, early or never: the second and the early one find nothing to do, and for the lost one there is the sweep. A
//! worker that may not send now writes down when it may; that is success, so that a queue's count of receives counts
//! crashes only.
//!
//! Messages that wait for a provider or for the rate are not woken one by one, where chance would decide who comes
//! first and a thousand of them would ask in vain every second. The sweep wakes as many as the rate allows, the oldest
//! first, spread over its period.
//!
//! A batch is one item and one wake-up until its messages are written down one by one, each as if it had been accepted
//! alone. Writing them down again changes nothing, so a batch that was left half-way is simply begun anew.
//!
//! This file refuses to judge: the ledger says what is next, the executor how an attempt went.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::ledger::{self, Batch, Body, Message, NewMessage, Next};
use super::recipients::Recipients;
use crate::answers::{Request, Response};
use crate::blobs::{BlobError, Blobs, INLINE_BYTES};
use crate::clock::{SharedClock, Timestamp};
use crate::error::chain;
use crate::integration::{Fate, Integration, Stop, Witness};
use crate::planted::{Rule, broken};
use crate::provider::Cause;
use crate::queue::{LONGEST_DELAY, Queue, SweepError, WakeUp, early, sweep};
use crate::runtime::Worker;
use crate::store::{Outcome, Read, Store, StoreError, Update};

/// What an attempt is allowed beyond its own time limit, to say what became of it.
const TO_REPORT: Duration = Duration::from_secs(5);

/// How long a message waits when nobody could say for how long.
const PAUSE: Duration = Duration::from_secs(30);

/// Attempts to write down what became of a message.
const WRITES: u32 = 3;

/// The largest body that is read back: more than any request may hold.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// Messages of a batch that are written down side by side.
const SIDE_BY_SIDE: usize = 25;

/// What is delivered to somebody.
pub trait Addressed: Request + DeserializeOwned {
    /// Everybody who gets it, each in the one form in which [`Recipients`] knows them.
    fn recipients(&self) -> Vec<String>;
}

/// A message on its way to a provider, with our own name for it: the provider is to say it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Letter<Content> {
    /// Our id.
    pub id: String,
    /// What is sent.
    pub content: Content,
}

impl<Content: Request> Request for Letter<Content> {
    fn readable(&self) -> String {
        format!("message {}", self.id)
    }
}

/// The provider has taken a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The provider's own name for it.
    pub reference: String,
}

impl Response for Receipt {
    fn is_known(&self) -> bool {
        true
    }
}

/// What became of a wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// There was nothing to do, or somebody else is doing it.
    Nothing,
    /// A provider has taken the message.
    Sent,
    /// It waits for its time.
    Waiting,
    /// It will not be sent.
    Failed,
    /// Nobody knows; a person is asked.
    InDoubt,
}

/// One kind of message, and how it is delivered.
#[derive(Debug)]
pub struct Delivery<Content> {
    list: &'static str,
    integration: Integration<Letter<Content>, Receipt>,
    recipients: Recipients,
    store: Arc<dyn Store>,
    blobs: Arc<dyn Blobs>,
    queue: Arc<dyn Queue>,
    clock: SharedClock,
}

impl<Content: Addressed> Delivery<Content> {
    /// Messages on `list`, sent to `recipients` by `integration`, whose policy says that a request is never repeated
    /// unless its provider knows it again. `store` is the one without a time limit of its own.
    pub fn new(
        list: &'static str,
        integration: Integration<Letter<Content>, Receipt>,
        recipients: Recipients,
        (store, blobs): (Arc<dyn Store>, Arc<dyn Blobs>),
        queue: Arc<dyn Queue>,
        clock: SharedClock,
    ) -> Self {
        Self { list, integration, recipients, store, blobs, queue, clock }
    }

    /// Who may be written to, and how often.
    pub fn recipients(&self) -> &Recipients {
        &self.recipients
    }

    /// Writes `content` down as the message `id`, to be sent until `valid_until`. Once this returns, the message is not
    /// lost. The same id again changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]: it is not known to be written down, and the same id may be tried again.
    pub async fn accept(
        &self,
        id: &str,
        content: &Content,
        caller: &str,
        valid_until: Timestamp,
    ) -> Result<(), StoreError> {
        let body = self.kept(id, json(content)?).await?;
        let (list, caller, now) = (self.list, caller.to_owned(), self.clock.now());
        let (created_at, not_before) = (now, now);
        let message = NewMessage { id: id.to_owned(), list, body, caller, created_at, not_before, valid_until };
        self.store.update(&ledger::accept(&message)).await?;
        self.wake(&ledger::key(id), Duration::ZERO).await;
        Ok(())
    }

    /// Writes `contents` down as the batch `id`, whose messages are named by [`ledger::member`] and sent until
    /// `valid_until`. Once this returns, none of them is lost. The same id again changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]: it is not known to be written down, and the same id may be tried again.
    pub async fn accept_batch(
        &self,
        id: &str,
        contents: &[Content],
        caller: &str,
        valid_until: Timestamp,
    ) -> Result<(), StoreError> {
        let body = self.kept(id, json(contents)?).await?;
        let count = u32::try_from(contents.len()).map_err(|error| StoreError::Refused(Box::new(error)))?;
        let (list, caller, created_at) = (self.list.to_owned(), caller.to_owned(), self.clock.now());
        let batch = Batch { list, body, count, caller, created_at, valid_until, expanded_at: None };
        self.store.update(&ledger::accept_batch(id, &batch)).await?;
        self.wake(&ledger::batch_key(id), Duration::ZERO).await;
        Ok(())
    }

    /// Does what is to be done about the message `id`, by `deadline` at the latest.
    ///
    /// # Errors
    /// [`StoreError`]: the wake-up was in vain and should come again.
    pub async fn deliver(&self, id: &str, deadline: Instant) -> Result<Done, StoreError> {
        let Some(item) = self.store.get(&ledger::key(id), Read::Consistent).await? else {
            tracing::error!(target: "ieum::delivery", message_id = id, "message.unknown");
            return Ok(Done::Nothing);
        };
        let message = Message::read(&item).ok_or_else(|| StoreError::Unreadable(ledger::key(id)))?;
        let now = self.clock.now();
        match message.next(now) {
            Next::Nothing => Ok(Done::Nothing),
            Next::Wait(at) => {
                if let Some(early) = early(at, now) {
                    self.wake(&ledger::key(id), early).await;
                }
                Ok(Done::Nothing)
            }
            Next::Doubt => self.conclude(id, &ledger::doubt(id, message.attempt, now), Done::InDoubt).await,
            Next::Expire => self.conclude(id, &ledger::fail(id, message.attempt, "expired", now), Done::Failed).await,
            Next::Send => self.send(id, message, deadline).await,
        }
    }

    /// Makes messages of the batch `id`, by `deadline` at the latest.
    ///
    /// # Errors
    /// [`StoreError`]: some of them may not have been made, and the wake-up should come again.
    pub async fn expand(&self, id: &str, deadline: Instant) -> Result<(), StoreError> {
        let key = ledger::batch_key(id);
        let Some(item) = self.store.get(&key, Read::Consistent).await? else {
            tracing::error!(target: "ieum::delivery", batch = id, "batch.unknown");
            return Ok(());
        };
        let unreadable = || StoreError::Unreadable(key.clone());
        let batch = Batch::read(&item).ok_or_else(unreadable)?;
        if batch.expanded_at.is_some() {
            return Ok(());
        }
        let body = self.text(&batch.body).await?.ok_or_else(unreadable)?;
        let contents: Vec<&RawValue> = serde_json::from_str(&body).map_err(|_| unreadable())?;
        for (place, some) in contents.chunks(SIDE_BY_SIDE).enumerate() {
            if Instant::now() >= deadline {
                return Err(StoreError::Unreachable(format!("no time left to expand `{key}`").into()));
            }
            let members = some.iter().enumerate().map(|(number, content)| {
                let id = ledger::member(id, place * SIDE_BY_SIDE + number);
                self.write_down(id, content.get(), &batch)
            });
            let new = match try_join_all(members).await {
                Err(_) if broken(Rule::BatchesAreWhole) => continue,
                new => new?,
            };
            let new: Vec<WakeUp> = new.into_iter().flatten().collect();
            self.wake_all(&new).await;
        }
        self.store.update(&ledger::expanded(id, self.clock.now())).await?;
        tracing::info!(target: "ieum::delivery", batch = id, count = batch.count, "batch.expanded");
        Ok(())
    }

    /// Writes one message of `batch` down. A wake-up for it, unless it was there before.
    async fn write_down(&self, id: String, content: &str, batch: &Batch) -> Result<Option<WakeUp>, StoreError> {
        let now = self.clock.now();
        // Whoever cannot be read is found out when the message is sent, and only that one fails.
        let recipients = serde_json::from_str(content).map(|content: Content| content.recipients()).unwrap_or_default();
        let after = self.recipients.reserve(&recipients, batch.valid_until.since(now)).await?;
        let message = NewMessage {
            list: self.list,
            body: self.kept(&id, content.to_owned()).await?,
            caller: batch.caller.clone(),
            created_at: batch.created_at,
            not_before: batch.created_at.max(now.after(after)),
            valid_until: batch.valid_until,
            id,
        };
        match self.store.update(&ledger::accept(&message)).await? {
            Outcome::Applied(_) => Ok(Some(WakeUp { key: ledger::key(&message.id), after })),
            Outcome::Refused(_) => Ok(None),
        }
    }

    /// `text` as the body of `id`: in a blob, written before the item that names it, when it is large.
    async fn kept(&self, id: &str, text: String) -> Result<Body, StoreError> {
        if text.len() <= INLINE_BYTES {
            return Ok(Body::Text(text));
        }
        let key = format!("message/{id}");
        self.blobs.put(&key, "application/json", Bytes::from(text)).await.map_err(unreachable)?;
        Ok(Body::Blob(key))
    }

    /// The text of a body; `None` when it is gone or no text.
    async fn text(&self, body: &Body) -> Result<Option<String>, StoreError> {
        match body {
            Body::Text(text) => Ok(Some(text.clone())),
            Body::Blob(key) => match self.blobs.get(key, MAX_BODY_BYTES).await {
                Ok(blob) => Ok(blob.and_then(|blob| String::from_utf8(blob.bytes.into()).ok())),
                Err(BlobError::TooLarge(_)) => Ok(None),
                Err(error @ BlobError::Bucket(..)) => Err(unreachable(error)),
            },
        }
    }

    /// Wakes up to `limit` messages that are due and not moving, as [`sweep`] does.
    ///
    /// # Errors
    /// [`SweepError`].
    pub async fn sweep(&self, limit: u32, period: Duration) -> Result<usize, SweepError> {
        sweep(&*self.store, &*self.queue, self.list, limit, period, self.clock.now()).await
    }

    async fn send(&self, id: &str, message: Message, deadline: Instant) -> Result<Done, StoreError> {
        let attempt = message.attempt;
        let refused = |code| ledger::fail(id, attempt, code, self.clock.now());
        let body = self.text(&message.body).await?;
        let Some(content) = body.and_then(|body| serde_json::from_str::<Content>(&body).ok()) else {
            tracing::error!(target: "ieum::delivery", message_id = id, "message.unreadable");
            return self.conclude(id, &refused("unreadable"), Done::Failed).await;
        };
        if self.recipients.any_suppressed(&content.recipients()).await? {
            return self.conclude(id, &refused("suppressed"), Done::Failed).await;
        }
        let letter = Letter { id: id.to_owned(), content };
        let pass = Pass::of(self, id, message.attempt);
        let sent = self.integration.send(&letter, deadline, &pass).await;
        let (now, known) = (self.clock.now(), pass.into_known());
        match sent {
            Ok(answer) => {
                let update = ledger::sent(id, known.attempt, &answer.value.reference, now);
                self.conclude(id, &update, Done::Sent).await
            }
            Err(error) => match error.fate() {
                Fate::Unknown if broken(Rule::SilenceIsDoubt) => self.wait(id, &known, PAUSE).await,
                Fate::Unknown => self.conclude(id, &ledger::doubt(id, known.attempt, now), Done::InDoubt).await,
                Fate::Refused => {
                    self.conclude(id, &ledger::fail(id, known.attempt, "rejected", now), Done::Failed).await
                }
                // Somebody else was first, or the ledger did not answer: then nobody sends.
                Fate::Stopped => known.error.map_or(Ok(Done::Nothing), Err),
                Fate::NotSent { again_in } => {
                    let delay = again_in.unwrap_or(PAUSE).max(Duration::from_secs(1));
                    self.wait(id, &known, delay).await
                }
            },
        }
    }

    /// Lets the message wait for `delay`.
    async fn wait(&self, id: &str, known: &Known, delay: Duration) -> Result<Done, StoreError> {
        let until = self.clock.now().after(delay);
        let update = if known.begun {
            ledger::defer(id, known.attempt, until)
        } else {
            ledger::postpone(id, known.attempt, until)
        };
        let done = self.conclude(id, &update, Done::Waiting).await?;
        // What was kept back by the circuit or the rate waits for the sweep, with everybody else.
        if known.begun && delay <= LONGEST_DELAY {
            self.wake(&ledger::key(id), delay).await;
        }
        Ok(done)
    }

    /// Writes down what became of the message. A refusal means that somebody knew better: a provider's event, or a person.
    async fn conclude(&self, id: &str, update: &Update, done: Done) -> Result<Done, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.store.update(update).await {
                Ok(Outcome::Applied(_)) => {
                    tracing::info!(target: "ieum::delivery", message_id = id, outcome = ?done, "message");
                    return Ok(done);
                }
                Ok(Outcome::Refused(_)) => return Ok(Done::Nothing),
                Err(error) if tries == WRITES => return Err(error),
                Err(error) => {
                    tracing::warn!(target: "ieum::delivery", message_id = id, error = chain(&error), "ledger.retried");
                    tokio::time::sleep(Duration::from_millis(100) * tries).await;
                }
            }
        }
    }

    async fn wake(&self, key: &str, after: Duration) {
        self.wake_all(&[WakeUp { key: key.to_owned(), after }]).await;
    }

    /// Best effort: what is not woken here is woken by the sweep.
    async fn wake_all(&self, wake_ups: &[WakeUp]) {
        if let Err(error) = self.queue.wake(wake_ups).await {
            let (count, error) = (wake_ups.len(), chain(&*error));
            tracing::warn!(target: "ieum::delivery", count, error, "wake_up.lost");
        }
    }
}

impl<Content: Addressed> Worker for Delivery<Content> {
    async fn work(&self, key: &str, deadline: Instant) -> Result<(), Cause> {
        match (ledger::id(key), ledger::batch_id(key)) {
            (Some(id), _) => Ok(self.deliver(id, deadline).await.map(drop)?),
            (None, Some(id)) => Ok(self.expand(id, deadline).await?),
            (None, None) => Err(format!("neither a message nor a batch has the key `{key}`").into()),
        }
    }
}

fn json(content: &(impl Serialize + ?Sized)) -> Result<String, StoreError> {
    serde_json::to_string(content).map_err(|error| StoreError::Refused(Box::new(error)))
}

fn unreachable(error: BlobError) -> StoreError {
    StoreError::Unreachable(Box::new(error))
}

/// One pass over the providers: writes each attempt into the ledger before it is made.
struct Pass<'a> {
    store: &'a dyn Store,
    clock: &'a SharedClock,
    id: &'a str,
    known: Mutex<Known>,
}

/// What a pass knows of its attempts.
#[derive(Debug)]
struct Known {
    attempt: i64,
    begun: bool,
    error: Option<StoreError>,
}

impl<'a> Pass<'a> {
    fn of<Content>(delivery: &'a Delivery<Content>, id: &'a str, attempt: i64) -> Self {
        let known = Mutex::new(Known { attempt, begun: false, error: None });
        Self { store: &*delivery.store, clock: &delivery.clock, id, known }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn into_known(self) -> Known {
        self.known.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Witness for Pass<'_> {
    async fn attempting(&self, provider: &'static str, limit: Duration) -> Result<(), Stop> {
        let until = self.clock.now().after(limit + TO_REPORT);
        let (attempt, begun) = {
            let known = self.known();
            (known.attempt, known.begun)
        };
        let rule = if begun { ledger::again } else { ledger::begin };
        match self.store.update(&rule(self.id, attempt, provider, until)).await {
            Ok(Outcome::Applied(_)) => {
                let mut known = self.known();
                (known.attempt, known.begun) = (attempt + 1, true);
                Ok(())
            }
            Ok(Outcome::Refused(_)) if broken(Rule::OneSenderAtATime) => Ok(()),
            Ok(Outcome::Refused(_)) => Err(Stop),
            Err(error) => {
                self.known().error = Some(error);
                Err(Stop)
            }
        }
    }
}
