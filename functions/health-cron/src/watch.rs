//! What is watched, kept and told: one state for each subject, and one message for each change of it.

use std::sync::Arc;

use futures_util::future::join_all;
use ieum::clock::SharedClock;
use ieum::error::chain;
use ieum::provider::Cause;
use ieum::resilience::health::{Finding, State, key};
use ieum::store::{Key, Outcome, Store, StoreError};

use crate::message::Message;
use crate::outside::Outside;

/// Items in one reading.
const MOST: usize = 100;

/// The states, and the way to those who want to know.
#[derive(Debug)]
pub struct Watch {
    /// Where the states are.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: SharedClock,
    /// The way out.
    pub outside: Arc<Outside>,
    /// Who is told.
    pub topic: String,
    /// What is told of.
    pub stage: &'static str,
}

impl Watch {
    /// Keeps what was found of each subject and tells what has changed. Of those who could not be told, the next check
    /// tells.
    ///
    /// # Errors
    /// Some state could not be kept, or not told; the others are.
    pub async fn found(&self, findings: Vec<(String, Finding)>) -> Result<(), Cause> {
        let mut failed = 0;
        for findings in findings.chunks(MOST) {
            let keys: Vec<Key> = findings.iter().map(|(subject, _)| key(subject)).collect();
            let items = self.store.get_many(&keys).await?;
            let kept = findings.iter().zip(items).map(|((subject, finding), item)| {
                let before = item.as_ref().map(State::from).unwrap_or_default();
                async move { self.keep(subject, *finding, &before).await }
            });
            for (outcome, (subject, _)) in join_all(kept).await.into_iter().zip(findings) {
                if let Err(error) = outcome {
                    failed += 1;
                    tracing::error!(target: "ieum::health_cron", subject, error = chain(&*error), "watch.failed");
                }
            }
        }
        if failed == 0 { Ok(()) } else { Err(format!("{failed} states were not kept or not told").into()) }
    }

    async fn keep(&self, subject: &str, finding: Finding, before: &State) -> Result<(), Cause> {
        let now = self.clock.now();
        let state = before.after(finding, now);
        match self.store.update(&state.write(subject, before)).await? {
            Outcome::Applied(_) => {}
            // Another check was faster, and tells.
            Outcome::Refused(_) => return Ok(()),
        }
        if state.status != before.status {
            let (status, reason) = (state.status.name(), state.reason.map(|reason| reason.name()));
            tracing::warn!(target: "ieum::health_cron", subject, status, reason, since = %state.since, "health.changed");
        }
        if state.is_untold() {
            self.outside.publish(&self.topic, &Message::of(self.stage, subject, &state, now)).await?;
            self.told(subject, &state).await?;
        }
        Ok(())
    }

    async fn told(&self, subject: &str, state: &State) -> Result<(), StoreError> {
        self.store.update(&state.write_told(subject)).await?;
        tracing::info!(target: "ieum::health_cron", subject, status = state.status.name(), "health.told");
        Ok(())
    }
}
