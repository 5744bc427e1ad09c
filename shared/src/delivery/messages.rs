//! What outsiders do to the ledger: callers ask, providers report, and operators see to what nobody knows.
//!
//! None of them needs to know how a kind of message is sent, so none of this does. A report may come before we know that
//! the message was sent, twice, late or out of order: states only move up. A person may settle or repeat only what is in
//! doubt, and that is put on record first.

use std::sync::Arc;

use super::ledger::{self, Batch, IN_DOUBT, Message, State};
use crate::audit;
use crate::clock::{SharedClock, Timestamp};
use crate::store::{Outcome, Read, Store, StoreError, Update};

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// The message has moved up.
    Moved,
    /// It was there already, or further.
    Known,
    /// There is no such message.
    Unknown,
}

/// What a person decides about a message in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was sent.
    Sent,
    /// It was not, and will not be.
    Failed,
    /// It is sent again, at the risk that it arrives twice.
    Repeat,
}

impl Decision {
    /// The decision of that name: `sent`, `failed`, `repeat`.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "sent" => Some(Self::Sent),
            "failed" => Some(Self::Failed),
            "repeat" => Some(Self::Repeat),
            _ => None,
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Sent => "message.settle_as_sent",
            Self::Failed => "message.settle_as_failed",
            Self::Repeat => "message.repeat",
        }
    }
}

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It was carried out.
    Done,
    /// The message is not in doubt, and nothing was changed.
    NotInDoubt(State),
    /// There is no such message.
    Unknown,
}

/// A message on a list, with its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// The message.
    pub message: Message,
}

/// The ledger, for whoever does not send.
#[derive(Clone, Debug)]
pub struct Messages {
    store: Arc<dyn Store>,
    clock: SharedClock,
}

impl Messages {
    /// The messages in `store`, which is the one without a time limit of its own.
    pub fn new(store: Arc<dyn Store>, clock: SharedClock) -> Self {
        Self { store, clock }
    }

    /// The message `id`.
    ///
    /// # Errors
    /// [`StoreError`]; absence is `Ok(None)`.
    pub async fn get(&self, id: &str) -> Result<Option<Message>, StoreError> {
        let key = ledger::key(id);
        let item = self.store.get(&key, Read::Consistent).await?;
        item.map(|item| Message::read(&item).ok_or(StoreError::Unreadable(key))).transpose()
    }

    /// The batch `id`.
    ///
    /// # Errors
    /// [`StoreError`]; absence is `Ok(None)`.
    pub async fn batch(&self, id: &str) -> Result<Option<Batch>, StoreError> {
        let key = ledger::batch_key(id);
        let item = self.store.get(&key, Read::Consistent).await?;
        item.map(|item| Batch::read(&item).ok_or(StoreError::Unreadable(key))).transpose()
    }

    /// The states of the messages of the batch `id`, in their order; `None` for one that is not written down yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn states(&self, id: &str, batch: &Batch) -> Result<Vec<Option<State>>, StoreError> {
        let members = (0..batch.count as usize).map(|index| ledger::key(&ledger::member(id, index)));
        let keys: Vec<String> = members.collect();
        let mut states = Vec::with_capacity(keys.len());
        for keys in keys.chunks(100) {
            let items = self.store.get_many(keys).await?;
            states.extend(items.iter().map(|item| State::parse(item.as_ref()?.text("state")?)));
        }
        Ok(states)
    }

    /// Up to `limit` messages that are in doubt since `from` or later, the oldest first. Go on from the last one's
    /// `not_before`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn in_doubt(&self, from: Timestamp, limit: u32) -> Result<Vec<Listed>, StoreError> {
        self.listed(IN_DOUBT, from, limit).await
    }

    /// Up to `limit` messages on `list` that wait until `from` or later, or are being sent until then, in the order of
    /// their times.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waiting(&self, list: &str, from: Timestamp, limit: u32) -> Result<Vec<Listed>, StoreError> {
        self.listed(list, from, limit).await
    }

    async fn listed(&self, list: &str, from: Timestamp, limit: u32) -> Result<Vec<Listed>, StoreError> {
        let mut found = Vec::new();
        for keys in self.store.listed(list, from, Timestamp::from_millis(i64::MAX), limit).await?.chunks(100) {
            let items = self.store.get_many(keys).await?;
            found.extend(keys.iter().zip(&items).filter_map(|(key, item)| {
                let (id, message) = (ledger::id(key)?.to_owned(), Message::read(item.as_ref()?)?);
                // The list is a moment behind the items.
                (message.not_before.is_some()).then_some(Listed { id, message })
            }));
        }
        Ok(found)
    }

    /// A provider reports that the message `id` has come to `state`, for the reason `why` (a stable word) where there is
    /// one. A state that nothing settles says nothing.
    ///
    /// # Errors
    /// [`StoreError`]: the report may come again.
    pub async fn report(&self, id: &str, state: State, why: Option<&str>) -> Result<Reported, StoreError> {
        if !state.is_settled() {
            return Ok(Reported::Known);
        }
        let reported = match self.store.update(&ledger::report(id, state, why, self.clock.now())).await? {
            Outcome::Applied(_) => Reported::Moved,
            Outcome::Refused(Some(_)) => Reported::Known,
            Outcome::Refused(None) => Reported::Unknown,
        };
        tracing::info!(target: "ieum::delivery", message_id = id, state = state.name(), why, outcome = ?reported, "message.reported");
        Ok(reported)
    }

    /// The caller `who` decides about the message `id`, which is in doubt. What is repeated is sent within two minutes: the
    /// next sweep wakes it.
    ///
    /// # Errors
    /// [`StoreError`]: the decision may or may not have been carried out, and may come again.
    pub async fn decide(&self, id: &str, decision: Decision, who: &str) -> Result<Decided, StoreError> {
        let Some(message) = self.get(id).await? else { return Ok(Decided::Unknown) };
        if message.state != State::InDoubt {
            return Ok(Decided::NotInDoubt(message.state));
        }
        let (target, at) = (format!("message {id}"), self.clock.now());
        let before = format!("{{\"attempt\":{}}}", message.attempt);
        let entry = audit::Entry { who, what: decision.what(), target: &target, before: &before, after: "null", at };
        audit::record(&*self.store, entry).await?;
        match self.store.update(&Self::decided(id, decision, &message, at)).await? {
            Outcome::Applied(_) => Ok(Decided::Done),
            Outcome::Refused(item) => {
                let state = item.as_ref().and_then(Message::read).map(|message| message.state);
                Ok(state.map_or(Decided::Unknown, Decided::NotInDoubt))
            }
        }
    }

    fn decided(id: &str, decision: Decision, message: &Message, now: Timestamp) -> Update {
        match decision {
            Decision::Sent => ledger::settle(id, true, now),
            Decision::Failed => ledger::settle(id, false, now),
            Decision::Repeat => ledger::repeat(id, &message.list, now),
        }
    }
}
