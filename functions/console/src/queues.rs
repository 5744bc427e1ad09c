//! Dead letters: how many there are, and their way back.
//!
//! A dead wake-up is not lost work, because its item is still due and the sweep wakes it. It says that somebody died over it.

use futures_util::future::join_all;
use ieum::api::{Call, Reply};
use ieum::audit;
use ieum::clock::SharedClock;
use ieum::error::{ApiError, INTERNAL, NOT_FOUND, chain};
use ieum::queue::DeadLetters;
use ieum::start::Kernel;
use ieum::store::Store;
use serde::Serialize;
use serde_json::json;

use crate::config::QueueAddress;

/// Dead letters that one request puts back.
const REDRIVEN: usize = 100;

/// How many dead letters a queue has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Depth {
    /// What operators call the queue.
    pub name: String,
    /// About how many; absent when the queue does not say.
    pub dead: Option<u32>,
}

/// The queues that have dead letters.
#[derive(Debug, Default)]
pub(crate) struct Queues(Vec<(String, DeadLetters)>);

impl Queues {
    /// Those of a deployment; none without AWS.
    pub(crate) fn new(kernel: &Kernel, addresses: &[QueueAddress]) -> Self {
        let Some(aws) = &kernel.aws else { return Self::default() };
        let of = |address: &QueueAddress| {
            (address.name.clone(), DeadLetters::new(address.dead_letters.clone(), aws.queue(&address.url)))
        };
        Self(addresses.iter().map(of).collect())
    }

    /// How many dead letters each has. A queue that cannot be asked takes nothing from the rest of the page.
    pub(crate) async fn depths(&self) -> Vec<Depth> {
        let asked = self.0.iter().map(async |(name, letters)| {
            let depth = letters.depth().await;
            let depth = depth.inspect_err(|error| {
                tracing::warn!(target: "ieum::console", queue = name, error = chain(&**error), "depth.unknown");
            });
            Depth { name: name.clone(), dead: depth.ok() }
        });
        join_all(asked).await
    }

    /// Puts dead letters back into their queue, on record.
    pub(crate) async fn redrive(&self, call: &Call, store: &dyn Store, clock: &SharedClock) -> Result<Reply, ApiError> {
        let name = call.param("queue");
        let letters = self.0.iter().find(|(known, _)| known == name).map(|(_, letters)| letters);
        let letters = letters.ok_or_else(|| ApiError::new(NOT_FOUND).because("there are no such dead letters"))?;
        let before = letters.depth().await.map_err(|error| ApiError::new(INTERNAL).because(error))?;
        let before = json!({"dead": before}).to_string();
        let after = json!({"at_most": REDRIVEN}).to_string();
        let (who, at) = (call.who(), clock.now());
        let entry = audit::Entry { who, what: "queue.redrive", target: name, before: &before, after: &after, at };
        audit::record(store, entry).await.map_err(ApiError::store_unavailable)?;
        let redriven = letters.redrive(REDRIVEN).await.map_err(|error| ApiError::new(INTERNAL).because(error))?;
        Reply::json(200, &json!({"redriven": redriven}))
    }
}
