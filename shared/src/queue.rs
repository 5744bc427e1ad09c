//! Wake-ups: "look at this item, after this long".
//!
//! A wake-up names an item of the table and says nothing else; what is to be done about it stands in the item. So a
//! queue need not be reliable, ordered or exact: a lost wake-up is made again by the sweep, and one that comes twice
//! finds nothing to do. This file refuses to know what an item means.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::clock::{SharedClock, Timestamp};
use crate::error::chain;
use crate::planted::{Rule, broken};
use crate::provider::Cause;
use crate::store::{Key, Store, StoreError};
use crate::telemetry::trace::TraceId;

/// A queue delays a message no longer:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-delay-queues.html>.
pub const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);

/// How far the clocks of two environments may be apart: twice what the check against the store's clock leaves.
const CLOCKS_APART: Duration = Duration::from_secs(1);

/// Messages in one request:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>.
const BATCH: usize = 10;

/// An item to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WakeUp {
    /// The item.
    pub key: Key,
    /// How long from now; more than [`LONGEST_DELAY`] is taken for that.
    pub after: Duration,
}

/// How long from `now` a wake-up must come again that came before its item was due at `at`: a clock ahead of ours sent it.
/// `None` when it is earlier than clocks are apart, for then it is not the wake-up of whoever wrote that time down.
pub fn early(at: Timestamp, now: Timestamp) -> Option<Duration> {
    Some(at.since(now)).filter(|early| *early <= CLOCKS_APART)
}

/// Where wake-ups are sent.
#[async_trait]
pub trait Queue: fmt::Debug + Send + Sync {
    /// Has each item looked at. The trace that goes with them is the present one.
    ///
    /// # Errors
    /// When the queue did not take all of them. The items it did not take are found by the sweep.
    async fn wake(&self, wake_ups: &[WakeUp]) -> Result<(), Cause>;
}

/// How late an item must be for the sweep to wake it: its own wake-up should have come by then.
const OVERDUE: Duration = Duration::from_secs(5);

/// Why a sweep did not do all it should.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// What is due could not be listed.
    #[error("what is due could not be listed")]
    Store(#[from] StoreError),
    /// The queue did not take all wake-ups.
    #[error("the queue did not take all wake-ups")]
    Queue(#[source] Cause),
}

/// Wakes up to `limit` items on `list` that are due at `now` and not moving, the oldest first and spread over `period`,
/// and says how many. So `limit` is the rate at which the list may be worked off times `period`.
///
/// # Errors
/// [`SweepError`]; what was not woken is still due.
pub async fn sweep(
    store: &dyn Store,
    queue: &dyn Queue,
    list: &str,
    limit: u32,
    period: Duration,
    now: Timestamp,
) -> Result<usize, SweepError> {
    let overdue = store.due(list, now.before(OVERDUE), limit).await?;
    let step = period.min(LONGEST_DELAY) / limit.max(1);
    let wake_ups = (0_u32..).zip(overdue).map(|(place, key)| WakeUp { key, after: step * place });
    let wake_ups: Vec<WakeUp> = wake_ups.collect();
    if !broken(Rule::SweepsWake) {
        queue.wake(&wake_ups).await.map_err(SweepError::Queue)?;
    }
    Ok(wake_ups.len())
}

/// Sweeps `list` each minute for as long as the process lives, as `health-cron` does where there is AWS: for local runs.
pub async fn sweep_here(
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    list: &'static str,
    limit: u32,
    clock: SharedClock,
) {
    const PERIOD: Duration = Duration::from_secs(60);
    loop {
        sleep(PERIOD).await;
        if let Err(error) = sweep(&*store, &*queue, list, limit, PERIOD, clock.now()).await {
            tracing::error!(target: "ieum::queue", list, error = chain(&error), "sweep.failed");
        }
    }
}

/// A wake-up as a message's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summons {
    /// The item.
    pub key: Key,
    /// Whose wish it was, in the form of the header of that name: <https://www.w3.org/TR/trace-context/>.
    pub traceparent: String,
}

impl Summons {
    fn of(wake_up: &WakeUp) -> Self {
        Self { key: wake_up.key.clone(), traceparent: TraceId::current().to_traceparent() }
    }
}

/// A queue of SQS.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: aws_sdk_sqs::Client,
    url: String,
}

impl SqsQueue {
    /// The queue at `url`.
    pub fn new(client: aws_sdk_sqs::Client, url: impl Into<String>) -> Self {
        Self { client, url: url.into() }
    }

    /// Sends up to [`BATCH`] messages; how many of them were not taken.
    async fn send(&self, wake_ups: &[WakeUp]) -> Result<usize, Cause> {
        let mut entries = Vec::with_capacity(wake_ups.len());
        for (place, wake_up) in wake_ups.iter().enumerate() {
            let delay = i32::try_from(wake_up.after.min(LONGEST_DELAY).as_millis().div_ceil(1_000))?;
            let entry = SendMessageBatchRequestEntry::builder()
                .id(place.to_string())
                .delay_seconds(delay)
                .message_body(serde_json::to_string(&Summons::of(wake_up))?);
            entries.push(entry.build()?);
        }
        let sent = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await?;
        for failed in sent.failed() {
            tracing::warn!(target: "ieum::queue", code = failed.code(), our_fault = failed.sender_fault(), "not_taken");
        }
        Ok(sent.failed().len())
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn wake(&self, wake_ups: &[WakeUp]) -> Result<(), Cause> {
        let (mut lost, mut cause) = (0, None);
        for batch in wake_ups.chunks(BATCH) {
            match self.send(batch).await {
                Ok(failed) => lost += failed,
                Err(error) => {
                    lost += batch.len();
                    cause = Some(chain(&*error));
                }
            }
        }
        if lost == 0 {
            return Ok(());
        }
        let why = cause.unwrap_or_else(|| "the queue refused them".to_owned());
        Err(format!("{lost} of {} wake-ups were not taken: {why}", wake_ups.len()).into())
    }
}

/// Where wake-ups end that were handed out too often, and the queue they came from.
///
/// A dead wake-up is not lost work: its item is still due, and the sweep wakes it. It says that somebody died over it five
/// times.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    client: aws_sdk_sqs::Client,
    url: String,
    queue: SqsQueue,
}

impl DeadLetters {
    /// The dead letters at `url`, of `queue`.
    pub fn new(url: impl Into<String>, queue: SqsQueue) -> Self {
        Self { client: queue.client.clone(), url: url.into(), queue }
    }

    /// About how many there are: SQS counts a moment late.
    ///
    /// # Errors
    /// When the queue could not be asked.
    pub async fn depth(&self) -> Result<u32, Cause> {
        let count = QueueAttributeName::ApproximateNumberOfMessages;
        let told =
            self.client.get_queue_attributes().queue_url(&self.url).attribute_names(count.clone()).send().await?;
        let count = told.attributes().and_then(|attributes| attributes.get(&count));
        Ok(count.ok_or("the queue does not say how many messages it has")?.parse()?)
    }

    /// Puts up to `limit` of them back into their queue, and says how many those were. Each is sent before it is deleted, so
    /// that one may come twice and none is lost.
    ///
    /// # Errors
    /// When the queue could not be asked; those before are back.
    pub async fn redrive(&self, limit: usize) -> Result<usize, Cause> {
        let mut redriven = 0;
        while redriven < limit {
            let most = i32::try_from(BATCH.min(limit - redriven))?;
            let received =
                self.client.receive_message().queue_url(&self.url).max_number_of_messages(most).send().await?;
            if received.messages().is_empty() {
                break;
            }
            for message in received.messages() {
                let body = message.body().unwrap_or_default();
                self.client.send_message().queue_url(&self.queue.url).message_body(body).send().await?;
                let receipt = message.receipt_handle().unwrap_or_default();
                self.client.delete_message().queue_url(&self.url).receipt_handle(receipt).send().await?;
                redriven += 1;
            }
        }
        Ok(redriven)
    }
}

/// A queue in this process, for local runs without AWS: see [`crate::runtime::work_here`].
#[derive(Clone, Debug)]
pub struct LocalQueue(mpsc::UnboundedSender<(Summons, Duration)>);

/// The other end of a [`LocalQueue`].
#[derive(Debug)]
pub struct LocalWakeUps(pub(crate) mpsc::UnboundedReceiver<(Summons, Duration)>);

/// A queue in this process and its other end.
pub fn local() -> (LocalQueue, LocalWakeUps) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (LocalQueue(sender), LocalWakeUps(receiver))
}

#[async_trait]
impl Queue for LocalQueue {
    async fn wake(&self, wake_ups: &[WakeUp]) -> Result<(), Cause> {
        for wake_up in wake_ups {
            self.0.send((Summons::of(wake_up), wake_up.after.min(LONGEST_DELAY)))?;
        }
        Ok(())
    }
}
