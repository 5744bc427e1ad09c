//! What becomes of a notification: the payment is asked about, and what its provider says is merged and told.
//!
//! Nothing a notification says is believed, signed or not; it only says whom to ask about. The exception is what cannot be
//! asked about (payouts, sellers), which must be signed. A payment that its provider does not know is asked about at most
//! once in ten minutes, however many strangers name it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ieum::clock::{SharedClock, Timestamp};
use ieum::delivery::outbox::{Change, Effect, EffectError, Outbox};
use ieum::delivery::webhooks::{Handler, Processed, Stored, Trouble, Webhooks};
use ieum::events::CloudEvent;
use ieum::integration::{CallError, Fate};
use ieum::provider::Cause;
use ieum::runtime::Worker;
use ieum::store::{Action, EXPIRES_AT, Item, Outcome, Read, Store, StoreError, Test, Update};
use ieum::webhook::TossDeposit;
use tokio::time::Instant;

use crate::config::ProviderName;
use crate::payment::{Observation, PaymentQuery};
use crate::providers::{Happening, Notice, Party, hints_count, read};
use crate::state::{Expectation, Payment, SOURCE, Sighting, key, merge};

/// How long nobody asks again about a payment that its provider did not know, because of what nobody signed.
const UNKNOWN_FOR: Duration = Duration::from_secs(10 * 60);

/// How often an unsigned notification is taken up whose payment is not known.
const HINT_TRIES: u32 = 3;

/// How long an event is remembered that is told as it came. Its sender does not repeat it for longer.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The payments of all providers.
#[derive(Debug)]
pub struct Payments {
    pub(crate) parties: Vec<Party>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) outbox: Outbox,
    pub(crate) clock: SharedClock,
}

/// Why a payment could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The provider gave no answer.
    #[error("the provider gave no answer")]
    Provider(#[source] Arc<CallError>),
    /// What it said could not be written down.
    #[error("what the provider said could not be written down")]
    Effect(#[from] EffectError),
    /// Our own state could not be read.
    #[error("our own state could not be read")]
    Store(#[from] StoreError),
}

impl Payments {
    /// The provider of that name, if it is configured.
    pub fn party(&self, name: ProviderName) -> Option<&Party> {
        self.parties.iter().find(|party| party.name == name)
    }

    /// Asks the provider about a payment and merges what it says. `None` when there is no such payment.
    ///
    /// # Errors
    /// [`RefreshError`]; it may be tried again.
    pub async fn refresh(&self, party: &Party, id: &str, deadline: Instant) -> Result<Option<Payment>, RefreshError> {
        let query = PaymentQuery::Id(id.to_owned());
        let answer = party.payment.call(&query, deadline).await.map_err(RefreshError::Provider)?;
        let Some(observation) = answer.value.found else { return Ok(None) };
        let effect = self.effect(party.name, observation, answer.as_of).await?;
        Ok(Payment::read(&self.outbox.apply(&effect).await?)?)
    }

    /// What is known of a payment.
    ///
    /// # Errors
    /// [`StoreError`]; absence is `None`.
    pub async fn known(&self, name: ProviderName, id: &str) -> Result<Option<Payment>, StoreError> {
        let item = self.store.get(&key(name.as_str(), id), Read::Consistent).await?;
        item.map_or(Ok(None), |item| Payment::read(&item))
    }

    /// The merge of what a provider said of a payment when it was asked at `as_of`.
    async fn effect(
        &self,
        name: ProviderName,
        observation: Observation,
        as_of: Timestamp,
    ) -> Result<Effect, StoreError> {
        let expected = match &observation.order {
            Some(order) => {
                let item = self.store.get(&Expectation::key(name.as_str(), order), Read::Consistent).await?;
                item.map_or(Ok(None), |item| Expectation::read(&item))?
            }
            None => None,
        };
        let key = key(name.as_str(), &observation.id);
        let sighting = Sighting::new(observation, as_of);
        Ok(Effect::new(key, move |item, now| merge(name.as_str(), item, &sighting, expected.as_ref(), now)))
    }

    async fn ask(
        &self,
        party: &Party,
        query: &PaymentQuery,
        deposit: Option<&TossDeposit>,
        stored: &Stored,
        deadline: Instant,
    ) -> Result<Processed, Trouble> {
        let unknown = Unknown { key: Unknown::key(party.name, query), store: &*self.store, now: self.clock.now() };
        let was_unknown = match stored.is_verified() {
            true => false,
            false => match unknown.admit(stored).await? {
                Some(was_unknown) => was_unknown,
                None => return Ok(Processed::Ignored("not_found")),
            },
        };
        let answer = match party.payment.call(query, deadline).await {
            Ok(answer) => answer,
            // Anybody can have us ask nonsense.
            Err(error) if error.fate() == Fate::Refused && !stored.is_verified() => {
                return Ok(Processed::Ignored("rejected"));
            }
            Err(error) => return Err(error.into()),
        };
        let Some(observation) = answer.value.found else {
            unknown.remember().await?;
            return if stored.is_verified() || stored.webhook.tries() < HINT_TRIES {
                Err(Trouble::Later { why: "not_found", wait: Some(UNKNOWN_FOR), cause: None })
            } else {
                Ok(Processed::Ignored("not_found"))
            };
        };
        if was_unknown {
            unknown.forget().await?;
        }
        if deposit.is_some_and(|deposit| deposit.check(answer.value.word.as_ref()).is_err()) {
            return Ok(Processed::Ignored("wrong_word"));
        }
        Ok(Processed::Effect(self.effect(party.name, observation, answer.as_of).await?))
    }
}

#[async_trait]
impl Handler for Payments {
    async fn process(&self, stored: &Stored, deadline: Instant) -> Result<Processed, Trouble> {
        let never = |why| Trouble::Never { why, cause: None };
        let name = ProviderName::parse(&stored.webhook.provider).ok_or_else(|| never("no_such_provider"))?;
        let party = self.party(name).ok_or_else(|| never("provider_not_configured"))?;
        if !stored.is_verified() && !hints_count(name) {
            return Ok(Processed::Ignored("test_probe"));
        }
        match read(name, &stored.body) {
            Err(_) => Err(never("unreadable")),
            Ok(Notice::Ignored(word)) => Ok(Processed::Ignored(word)),
            Ok(Notice::Payment(query)) => self.ask(party, &query, None, stored, deadline).await,
            Ok(Notice::Deposit(deposit)) => {
                let query = PaymentQuery::Order(deposit.order_id.clone());
                self.ask(party, &query, Some(&deposit), stored, deadline).await
            }
            Ok(Notice::Happened(happening)) if stored.is_verified() => {
                Ok(Processed::Effect(told_once(name, happening)))
            }
            Ok(Notice::Happened(_)) => Ok(Processed::Ignored("unsigned")),
        }
    }
}

/// Tells something as it came, once.
fn told_once(name: ProviderName, happening: Happening) -> Effect {
    let id = format!("{}/{}", name.as_str(), happening.id);
    Effect::new(format!("happening#{}#{}", name.as_str(), happening.id), move |item: &Item, now| {
        if item.number("told_at").is_some() {
            return Ok(None);
        }
        let event = CloudEvent::new(
            SOURCE,
            happening.kind,
            format!("happening/{id}"),
            id.clone(),
            now,
            happening.data.clone(),
        )?;
        let actions = vec![
            Action::Set("told_at", now.as_millis().into()),
            Action::Set("kind", happening.kind.into()),
            Action::Set(EXPIRES_AT, now.after(REMEMBERED).as_seconds().into()),
        ];
        Ok(Some(Change { actions, events: vec![event], list: None }))
    })
}

/// A payment that its provider did not know.
struct Unknown<'s> {
    key: String,
    store: &'s dyn Store,
    now: Timestamp,
}

impl Unknown<'_> {
    fn key(name: ProviderName, query: &PaymentQuery) -> String {
        let (kind, id) = match query {
            PaymentQuery::Id(id) => ("id", id),
            PaymentQuery::Order(order) => ("order", order),
        };
        format!("unknown#{}#{kind}#{id}", name.as_str())
    }

    /// Whether the payment was unknown before; an error when nobody may ask yet, and `None` for who has asked often enough.
    /// One of many who come when the time is over may ask.
    async fn admit(&self, stored: &Stored) -> Result<Option<bool>, Trouble> {
        let until = self.store.get(&self.key, Read::Consistent).await?.and_then(|item| item.number("until"));
        let Some(until) = until.map(Timestamp::from_millis) else { return Ok(Some(false)) };
        let wait = until.since(self.now);
        let claimed = wait.is_zero() && {
            let test = Test::Equals("until", until.as_millis().into());
            matches!(self.store.update(&self.silent().when([test])).await?, Outcome::Applied(_))
        };
        match claimed {
            true => Ok(Some(true)),
            false if stored.webhook.tries() >= HINT_TRIES => Ok(None),
            false => {
                let wait = if wait.is_zero() { UNKNOWN_FOR } else { wait };
                Err(Trouble::Later { why: "not_found_lately", wait: Some(wait), cause: None })
            }
        }
    }

    async fn remember(&self) -> Result<(), StoreError> {
        self.store.update(&self.silent()).await.map(drop)
    }

    async fn forget(&self) -> Result<(), StoreError> {
        self.store.update(&Update::of(self.key.clone()).then([Action::Remove("until")])).await.map(drop)
    }

    /// Nobody asks for a while.
    fn silent(&self) -> Update {
        let until = self.now.after(UNKNOWN_FOR);
        Update::of(self.key.clone()).then([
            Action::Set("until", until.as_millis().into()),
            Action::Set(EXPIRES_AT, until.after(UNKNOWN_FOR).as_seconds().into()),
        ])
    }
}

/// Webhooks and the payments they are about: what is behind a wake-up.
#[derive(Debug)]
pub struct Desk {
    /// What was received.
    pub webhooks: Webhooks,
    /// What it is about.
    pub payments: Payments,
}

impl Worker for Desk {
    async fn work(&self, key: &str, deadline: Instant) -> Result<(), Cause> {
        Ok(self.webhooks.work(key, &self.payments, deadline).await.map(drop)?)
    }
}
