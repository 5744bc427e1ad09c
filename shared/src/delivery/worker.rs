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
//! This file refuses to judge: the ledger says what is next, the executor how an attempt went.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::ledger::{self, Message, NewMessage, Next};
use crate::answers::{Request, Response};
use crate::clock::{SharedClock, Timestamp, millis};
use crate::error::chain;
use crate::integration::{Fate, Integration, Stop, Witness};
use crate::provider::Cause;
use crate::queue::{LONGEST_DELAY, Queue, SweepError, WakeUp, sweep};
use crate::runtime::Worker;
use crate::store::{Outcome, Read, Store, StoreError, Update};

/// What an attempt is allowed beyond its own time limit, to say what became of it.
const TO_REPORT: Duration = Duration::from_secs(5);

/// How long a message waits when nobody could say for how long.
const PAUSE: Duration = Duration::from_secs(30);

/// Attempts to write down what became of a message.
const WRITES: u32 = 3;

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
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    clock: SharedClock,
}

impl<Content: Request + DeserializeOwned> Delivery<Content> {
    /// Messages on `list`, sent by `integration`, whose policy says that a request is never repeated unless its provider
    /// knows it again. `store` is the one without a time limit of its own.
    pub fn new(
        list: &'static str,
        integration: Integration<Letter<Content>, Receipt>,
        store: Arc<dyn Store>,
        queue: Arc<dyn Queue>,
        clock: SharedClock,
    ) -> Self {
        Self { list, integration, store, queue, clock }
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
        let now = self.clock.now();
        let body = serde_json::to_string(content).map_err(|error| StoreError::Refused(Box::new(error)))?;
        let message = NewMessage {
            id: id.to_owned(),
            list: self.list,
            body,
            caller: caller.to_owned(),
            not_before: now,
            valid_until,
        };
        self.store.update(&ledger::accept(&message, now)).await?;
        self.wake(id, Duration::ZERO).await;
        Ok(())
    }

    /// Does what is to be done about the message `id`, by `deadline` at the latest.
    ///
    /// # Errors
    /// [`StoreError`]: the wake-up was in vain and should come again.
    pub async fn deliver(&self, id: &str, deadline: Instant) -> Result<Done, StoreError> {
        let Some(item) = self.store.get(&ledger::key(id), Read::Consistent).await? else {
            tracing::error!(target: "ieum::delivery", message = id, "message.unknown");
            return Ok(Done::Nothing);
        };
        let message = Message::read(&item).ok_or_else(|| StoreError::Unreadable(ledger::key(id)))?;
        let now = self.clock.now();
        match message.next(now) {
            // Whoever wrote down that time has sent a wake-up for it.
            Next::Nothing | Next::Wait(_) => Ok(Done::Nothing),
            Next::Doubt => self.conclude(id, &ledger::doubt(id, message.attempt, now), Done::InDoubt).await,
            Next::Expire => self.conclude(id, &ledger::fail(id, message.attempt, "expired", now), Done::Failed).await,
            Next::Send => self.send(id, message, deadline).await,
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
        let content = match serde_json::from_str(&message.body) {
            Ok(content) => content,
            Err(error) => {
                tracing::error!(target: "ieum::delivery", message = id, error = chain(&error), "message.unreadable");
                let update = ledger::fail(id, message.attempt, "unreadable", self.clock.now());
                return self.conclude(id, &update, Done::Failed).await;
            }
        };
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
                Fate::Unknown => self.conclude(id, &ledger::doubt(id, known.attempt, now), Done::InDoubt).await,
                Fate::Refused => {
                    self.conclude(id, &ledger::fail(id, known.attempt, "rejected", now), Done::Failed).await
                }
                // Somebody else was first, or the ledger did not answer: then nobody sends.
                Fate::Stopped => known.error.map_or(Ok(Done::Nothing), Err),
                Fate::NotSent { again_in } => {
                    let delay = again_in.unwrap_or(PAUSE).max(Duration::from_secs(1));
                    self.wait(id, &message, &known, delay).await
                }
            },
        }
    }

    /// Lets the message wait for `delay`, and a little longer the younger it is: the oldest goes first.
    async fn wait(&self, id: &str, message: &Message, known: &Known, delay: Duration) -> Result<Done, StoreError> {
        let delay = delay + message.turn();
        let until = self.clock.now().after(delay);
        let update = if known.begun {
            ledger::defer(id, known.attempt, until)
        } else {
            ledger::postpone(id, known.attempt, until)
        };
        let done = self.conclude(id, &update, Done::Waiting).await?;
        // What was kept back by the circuit or the rate waits for the sweep, with everybody else.
        if known.begun && delay <= LONGEST_DELAY {
            self.wake(id, delay).await;
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
                    tracing::info!(target: "ieum::delivery", message = id, outcome = ?done, "message");
                    return Ok(done);
                }
                Ok(Outcome::Refused(_)) => return Ok(Done::Nothing),
                Err(error) if tries == WRITES => return Err(error),
                Err(error) => {
                    tracing::warn!(target: "ieum::delivery", message = id, error = chain(&error), "ledger.retried");
                    tokio::time::sleep(Duration::from_millis(100) * tries).await;
                }
            }
        }
    }

    async fn wake(&self, id: &str, delay: Duration) {
        let wake_up = WakeUp { key: ledger::key(id), after: delay };
        if let Err(error) = self.queue.wake(&[wake_up]).await {
            let (error, delay_ms) = (chain(&*error), millis(delay));
            tracing::warn!(target: "ieum::delivery", message = id, delay_ms, error, "wake_up.lost");
        }
    }
}

impl<Content: Request + DeserializeOwned> Worker for Delivery<Content> {
    async fn work(&self, key: &str, deadline: Instant) -> Result<(), Cause> {
        match ledger::id(key) {
            Some(id) => Ok(self.deliver(id, deadline).await.map(drop)?),
            None => Err(format!("no message has the key `{key}`").into()),
        }
    }
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
            Ok(Outcome::Refused(_)) => Err(Stop),
            Err(error) => {
                self.known().error = Some(error);
                Err(Stop)
            }
        }
    }
}
