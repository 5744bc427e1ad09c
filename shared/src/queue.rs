//! Wake-ups: "look at this item, after this long".
//!
//! A wake-up names an item of the table and says nothing else; what is to be done about it stands in the item. So a
//! queue need not be reliable, ordered or exact: a lost wake-up is made again by the sweep, and one that comes twice
//! finds nothing to do. This file refuses to know what an item means.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::aws::AwsError;
use crate::aws::json::Client;
use crate::clock::{CLOCKS_APART, SharedClock, Timestamp};
use crate::error::chain;
use crate::planted::{Rule, broken};
use crate::provider::Cause;
use crate::store::{Key, Store, StoreError};
use crate::telemetry::trace::TraceId;

/// A queue delays a message no longer:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-delay-queues.html>.
pub const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);

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
    client: Client,
    url: String,
}

/// A message as SQS hands it out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message {
    /// Its body.
    pub body: String,
    /// By which it is deleted.
    pub receipt_handle: String,
}

impl SqsQueue {
    pub(crate) fn new(client: Client, url: impl Into<String>) -> Self {
        Self { client, url: url.into() }
    }

    /// Sends one message
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>).
    ///
    /// # Errors
    /// It may or may not be in the queue.
    pub async fn send(&self, body: &str) -> Result<(), AwsError> {
        let message = json!({"QueueUrl": self.url, "MessageBody": body});
        self.client.tell("SendMessage", &message).await
    }

    /// Up to `most` messages, one to ten, which nobody else is given until they are deleted or their time is up
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>).
    ///
    /// # Errors
    /// When the queue could not be asked.
    pub async fn receive(&self, most: usize) -> Result<Vec<Message>, AwsError> {
        #[derive(Deserialize)]
        struct Received {
            #[serde(default, rename = "Messages")]
            messages: Vec<Message>,
        }
        let input = json!({"QueueUrl": self.url, "MaxNumberOfMessages": most.clamp(1, BATCH)});
        let received: Received = self.client.call("ReceiveMessage", &input).await?;
        Ok(received.messages)
    }

    /// Deletes a message that was received
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html>).
    ///
    /// # Errors
    /// It will be handed out again, unless it is gone.
    async fn delete(&self, message: &Message) -> Result<(), AwsError> {
        let input = json!({"QueueUrl": self.url, "ReceiptHandle": message.receipt_handle});
        self.client.tell("DeleteMessage", &input).await
    }

    /// About how many messages there are
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>).
    async fn depth(&self) -> Result<u32, Cause> {
        #[derive(Deserialize)]
        struct Told {
            #[serde(rename = "Attributes")]
            attributes: Attributes,
        }
        #[derive(Deserialize)]
        struct Attributes {
            #[serde(rename = "ApproximateNumberOfMessages")]
            depth: String,
        }
        let input = json!({"QueueUrl": self.url, "AttributeNames": ["ApproximateNumberOfMessages"]});
        let told: Told = self.client.call("GetQueueAttributes", &input).await?;
        Ok(told.attributes.depth.parse()?)
    }

    /// Sends up to [`BATCH`] wake-ups; how many of them were not taken.
    async fn send_batch(&self, wake_ups: &[WakeUp]) -> Result<usize, Cause> {
        #[derive(Deserialize)]
        struct Sent {
            #[serde(default, rename = "Failed")]
            failed: Vec<Failed>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Failed {
            code: String,
            sender_fault: bool,
        }
        let mut entries = Vec::with_capacity(wake_ups.len());
        for (place, wake_up) in wake_ups.iter().enumerate() {
            entries.push(json!({
                "Id": place.to_string(),
                "DelaySeconds": u32::try_from(wake_up.after.min(LONGEST_DELAY).as_millis().div_ceil(1_000))?,
                "MessageBody": serde_json::to_string(&Summons::of(wake_up))?,
            }));
        }
        let input = json!({"QueueUrl": self.url, "Entries": entries});
        let sent: Sent = self.client.call("SendMessageBatch", &input).await?;
        for Failed { code, sender_fault } in &sent.failed {
            tracing::warn!(target: "ieum::queue", code, our_fault = sender_fault, "not_taken");
        }
        Ok(sent.failed.len())
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn wake(&self, wake_ups: &[WakeUp]) -> Result<(), Cause> {
        let (mut lost, mut cause) = (0, None);
        for batch in wake_ups.chunks(BATCH) {
            match self.send_batch(batch).await {
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
    dead: SqsQueue,
    queue: SqsQueue,
}

impl DeadLetters {
    /// The dead letters at `url`, of `queue`.
    pub fn new(url: impl Into<String>, queue: SqsQueue) -> Self {
        Self { dead: SqsQueue::new(queue.client.clone(), url), queue }
    }

    /// About how many there are: SQS counts a moment late.
    ///
    /// # Errors
    /// When the queue could not be asked.
    pub async fn depth(&self) -> Result<u32, Cause> {
        self.dead.depth().await
    }

    /// Puts up to `limit` of them back into their queue, and says how many those were. Each is sent before it is deleted, so
    /// that one may come twice and none is lost.
    ///
    /// # Errors
    /// When the queue could not be asked; those before are back.
    pub async fn redrive(&self, limit: usize) -> Result<usize, Cause> {
        let mut redriven = 0;
        while redriven < limit {
            let messages = self.dead.receive(limit - redriven).await?;
            if messages.is_empty() {
                break;
            }
            for message in messages {
                self.queue.send(&message.body).await?;
                self.dead.delete(&message).await?;
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
