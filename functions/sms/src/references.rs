//! Whose message is it that a provider calls by a name of its own?
//!
//! SNS carries no name of ours, so its name for each text is written down when it has taken one, and found again when it
//! reports. The item is a pointer and nothing more: without it a text stays `sent`, which is true.

use std::sync::Arc;
use std::time::Duration;

use ieum::clock::SharedClock;
use ieum::error::chain;
use ieum::store::{Action, EXPIRES_AT, Read, Store, StoreError, Update};

/// SNS reports for three days at most.
const LIFETIME: Duration = Duration::from_secs(4 * 24 * 60 * 60);

/// Providers' names for our messages.
#[derive(Clone, Debug)]
pub struct References {
    store: Arc<dyn Store>,
    clock: SharedClock,
}

fn key(provider: &str, reference: &str) -> String {
    format!("reference#{provider}#{reference}")
}

impl References {
    /// References in `store`.
    pub fn new(store: Arc<dyn Store>, clock: SharedClock) -> Self {
        Self { store, clock }
    }

    /// Notes that `provider` calls the message `id` by `reference`. The text has been sent, so a failure is told to the log
    /// only.
    pub async fn note(&self, provider: &str, reference: &str, id: &str) {
        let expires = self.clock.now().after(LIFETIME).as_seconds();
        let update = Update::of(key(provider, reference))
            .then([Action::Set("message", id.into()), Action::Set(EXPIRES_AT, expires.into())]);
        if let Err(error) = self.store.update(&update).await {
            tracing::warn!(target: "ieum::sms", message_id = id, provider, error = chain(&error), "reference.lost");
        }
    }

    /// The message that `provider` calls by `reference`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&self, provider: &str, reference: &str) -> Result<Option<String>, StoreError> {
        let item = self.store.get(&key(provider, reference), Read::Consistent).await?;
        Ok(item.and_then(|item| item.text("message").map(str::to_owned)))
    }
}
