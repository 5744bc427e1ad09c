//! Wake-ups from a queue, worked off within an invocation's time.
//!
//! A batch is not all or nothing: each wake-up that was not done is reported by its message, and the queue hands it out
//! again (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>); after five receipts it is a
//! dead letter. So nothing is ever reported as done that is not: not when the work fails, not when it panics, not when
//! there is no time left to begin it, and not when the message is none of ours.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument;

use crate::clock::{SharedClock, millis};
use crate::error::{chain, place};
use crate::provider::Cause;
use crate::queue::{LocalWakeUps, Summons};
use crate::telemetry::trace::TraceId;

/// What is kept back of Lambda's deadline, to report in.
const TO_ANSWER: Duration = Duration::from_secs(1);

/// What is kept back of that again, for work to write down how far it came.
const TO_CONCLUDE: Duration = Duration::from_secs(4);

/// Whoever works wake-ups off.
pub trait Worker: Send + Sync {
    /// Does what is to be done about the item `key`, by `deadline` at the latest. An item that may not be worked on yet
    /// is done for now: whoever waits for a later time has written that down.
    ///
    /// # Errors
    /// The wake-up was in vain and must come again.
    fn work(&self, key: &str, deadline: Instant) -> impl Future<Output = Result<(), Cause>> + Send;
}

/// Whoever reads messages of other services off a queue.
pub trait Reader: Send + Sync {
    /// Does what is to be done about the message `body`.
    ///
    /// # Errors
    /// It was not done, and the message must come again.
    fn read(&self, body: &str) -> impl Future<Output = Result<(), Cause>> + Send;
}

/// How much is done at a time, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Wake-ups worked off side by side.
    pub at_once: usize,
    /// The function's own time limit: Lambda's deadline is believed only when it is nearer, because local emulators make
    /// it up.
    pub limit: Duration,
}

/// Wake-ups, as SQS hands them to a function.
#[derive(Debug, Deserialize)]
pub struct Batch {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    message_id: String,
    body: String,
}

/// Which messages are to come again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchAnswer {
    batch_item_failures: Vec<ItemFailure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: String,
}

impl Batch {
    /// Works the wake-ups off. `deadline_ms` is Lambda's, in milliseconds since the epoch.
    pub async fn work(
        self,
        worker: &impl Worker,
        bounds: Bounds,
        clock: &SharedClock,
        deadline_ms: u64,
    ) -> BatchAnswer {
        let end = bounds.end(clock, deadline_ms);
        let outcomes = self.records.into_iter().map(|record| async move { (record.work(worker, end).await, record) });
        BatchAnswer::of(outcomes, bounds.at_once).await
    }

    /// Has each message read, where they are no wake-ups. `deadline_ms` is Lambda's, in milliseconds since the epoch.
    pub async fn read(
        self,
        reader: &impl Reader,
        bounds: Bounds,
        clock: &SharedClock,
        deadline_ms: u64,
    ) -> BatchAnswer {
        let end = bounds.end(clock, deadline_ms);
        let outcomes = self.records.into_iter().map(|record| async move { (record.read(reader, end).await, record) });
        BatchAnswer::of(outcomes, bounds.at_once).await
    }
}

impl Bounds {
    /// When an invocation must have answered.
    fn end(self, clock: &SharedClock, deadline_ms: u64) -> Instant {
        let left = i64::try_from(deadline_ms).unwrap_or(0).saturating_sub(clock.now().as_millis());
        let left = u64::try_from(left).ok().filter(|left| *left > 0).map_or(self.limit, Duration::from_millis);
        Instant::now() + left.min(self.limit).saturating_sub(TO_ANSWER)
    }
}

impl BatchAnswer {
    /// Tells those messages whose work was not done.
    async fn of(outcomes: impl Iterator<Item = impl Future<Output = (bool, Record)>>, at_once: usize) -> Self {
        let outcomes = stream::iter(outcomes).buffer_unordered(at_once.max(1));
        let failures = outcomes
            .filter_map(async |(done, record)| (!done).then_some(ItemFailure { item_identifier: record.message_id }));
        Self { batch_item_failures: failures.collect().await }
    }
}

impl Record {
    /// Whether the wake-up was done.
    async fn work(&self, worker: &impl Worker, end: Instant) -> bool {
        let id = self.message_id.as_str();
        match serde_json::from_str::<Summons>(&self.body) {
            Ok(summons) => summoned(&summons, worker, end, id).await,
            Err(error) => {
                tracing::error!(target: "ieum::queue", message_id = id, error = place(&error), "wake_up.unreadable");
                false
            }
        }
    }

    /// Whether the message was read and its work done.
    async fn read(&self, reader: &impl Reader, end: Instant) -> bool {
        let trace = TraceId::random();
        let span = tracing::info_span!(target: "ieum::queue", "message", trace_id = trace.as_str());
        let read = async {
            let outcome = in_time(reader.read(&self.body), end - TO_CONCLUDE, end).await;
            if let Err(error) = &outcome {
                let error = chain(&**error);
                tracing::error!(target: "ieum::queue", message_id = self.message_id, error, "message.failed");
            }
            outcome.is_ok()
        };
        trace.clone().during(read).instrument(span).await
    }
}

/// Does `work`, if it can begin by `deadline`, until `end` at most. A panic is an error like any other.
async fn in_time(work: impl Future<Output = Result<(), Cause>>, deadline: Instant, end: Instant) -> Result<(), Cause> {
    if Instant::now() >= deadline {
        return Err("there is no time left to begin".into());
    }
    match AssertUnwindSafe(timeout_at(end, work)).catch_unwind().await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err("it was not done in time".into()),
        Err(_) => Err("the work panicked".into()),
    }
}

/// Whether what `summons` asks for was done by `end`.
async fn summoned(summons: &Summons, worker: &impl Worker, end: Instant, id: &str) -> bool {
    let trace = TraceId::from_traceparent(&summons.traceparent).unwrap_or_else(TraceId::random);
    let span = tracing::info_span!(target: "ieum::queue", "wake_up", trace_id = trace.as_str());
    let (began, deadline) = (Instant::now(), end - TO_CONCLUDE);
    let work = async {
        let outcome = in_time(worker.work(&summons.key, deadline), deadline, end).await;
        let (kind, duration_ms) = (summons.key.split('#').next(), millis(began.elapsed()));
        match &outcome {
            Ok(()) => tracing::info!(target: "ieum::queue", kind, duration_ms, "wake_up"),
            Err(error) => {
                let error = chain(&**error);
                tracing::error!(target: "ieum::queue", message_id = id, kind, duration_ms, error, "wake_up.failed");
            }
        }
        outcome.is_ok()
    };
    trace.clone().during(work).instrument(span).await
}

/// Works the wake-ups of a [`crate::queue::LocalQueue`] off, for as long as its other end is held: a local run without
/// AWS does what the deployed system does. One that fails comes again after `bounds.limit`, as it would from SQS.
pub async fn work_here(mut wake_ups: LocalWakeUps, worker: Arc<impl Worker + 'static>, bounds: Bounds) {
    while let Some((summons, after)) = wake_ups.0.recv().await {
        let worker = Arc::clone(&worker);
        tokio::spawn(async move {
            sleep(after).await;
            while !summoned(&summons, &*worker, Instant::now() + bounds.limit, "local").await {
                sleep(bounds.limit).await;
            }
        });
    }
}
