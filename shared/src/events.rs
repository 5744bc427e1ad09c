//! What happened here, told to whoever wants to know: CloudEvents 1.0 on an EventBridge bus.
//!
//! An event is published at least once and always under the same id, which its maker derives from what happened; whoever
//! listens keeps the ids it has seen. Who publishes, and when, is decided by the outbox ([`crate::delivery::outbox`]): an
//! event that is written down there is published, whatever dies in between. This file refuses to decide anything.
//!
//! Sources: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>,
//! <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::aws::json::Client;
use crate::clock::Timestamp;
use crate::provider::Cause;

/// The largest event. EventBridge takes 256 kB and ten entries in one request, so ten of these always fit.
pub const MAX_EVENT_BYTES: usize = 16 * 1024;

/// Entries in one request of EventBridge.
const ENTRIES: usize = 10;

/// One thing that happened, in the form of CloudEvents 1.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudEvent {
    specversion: String,
    id: String,
    source: String,
    r#type: String,
    subject: String,
    time: String,
    datacontenttype: String,
    data: Value,
}

/// An event that nobody would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event has {bytes} bytes, the limit is {MAX_EVENT_BYTES}")]
pub struct TooLarge {
    /// Its size as JSON.
    pub bytes: usize,
}

impl CloudEvent {
    /// What happened: `id` names this one happening and nothing else, `source` who says so, `kind` what (such as
    /// `payment.paid`), `subject` to what.
    ///
    /// # Errors
    /// [`TooLarge`] above [`MAX_EVENT_BYTES`].
    pub fn new(
        source: &str,
        kind: &str,
        id: String,
        subject: String,
        time: Timestamp,
        data: Value,
    ) -> Result<Self, TooLarge> {
        let event = Self {
            specversion: "1.0".to_owned(),
            id,
            source: source.to_owned(),
            r#type: kind.to_owned(),
            subject,
            time: time.rfc3339(),
            datacontenttype: "application/json".to_owned(),
            data,
        };
        let bytes = event.json().len();
        if bytes > MAX_EVENT_BYTES { Err(TooLarge { bytes }) } else { Ok(event) }
    }

    /// The name of this happening.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What kind of thing happened.
    pub fn kind(&self) -> &str {
        &self.r#type
    }

    /// What it happened to.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What is said of it.
    pub fn data(&self) -> &Value {
        &self.data
    }

    /// The event in CloudEvents' JSON format.
    pub fn json(&self) -> String {
        // Texts and a JSON value: there is nothing in it that could not be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Where events are published.
#[async_trait]
pub trait Publisher: fmt::Debug + Send + Sync {
    /// Publishes all of `events`.
    ///
    /// # Errors
    /// When one of them may not have been taken; then all of them are to be published again.
    async fn publish(&self, events: &[CloudEvent]) -> Result<(), Cause>;
}

/// A bus of EventBridge. An event's type is the rule's `detail-type`, its source the rule's `source`, and the whole of it
/// the `detail`.
#[derive(Clone, Debug)]
pub struct EventBus {
    client: Client,
    bus: String,
}

impl EventBus {
    pub(crate) fn new(client: Client, bus: impl Into<String>) -> Self {
        Self { client, bus: bus.into() }
    }

    fn entry(&self, event: &CloudEvent) -> Value {
        json!({
            "EventBusName": self.bus,
            "Source": event.source,
            "DetailType": event.r#type,
            "Detail": event.json(),
        })
    }
}

/// The answer, which is 200 even where none of the events was taken; each entry says why.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Taken {
    failed_entry_count: usize,
    #[serde(default)]
    entries: Vec<TakenEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TakenEntry {
    error_code: Option<String>,
}

#[async_trait]
impl Publisher for EventBus {
    async fn publish(&self, events: &[CloudEvent]) -> Result<(), Cause> {
        for chunk in events.chunks(ENTRIES) {
            let entries: Vec<Value> = chunk.iter().map(|event| self.entry(event)).collect();
            let answer: Taken = self.client.call("PutEvents", &json!({"Entries": entries})).await?;
            if answer.failed_entry_count > 0 {
                let codes: Vec<&String> = answer.entries.iter().filter_map(|entry| entry.error_code.as_ref()).collect();
                let failed = answer.failed_entry_count;
                return Err(format!("{failed} of {} events were not taken: {codes:?}", chunk.len()).into());
            }
        }
        Ok(())
    }
}

/// The publisher of one process: for development without AWS, and for tests. Each event is a line in the log.
#[derive(Debug, Default)]
pub struct MemoryBus(Mutex<Vec<CloudEvent>>);

impl MemoryBus {
    /// What was published so far, in order.
    pub fn published(&self) -> Vec<CloudEvent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Publisher for MemoryBus {
    async fn publish(&self, events: &[CloudEvent]) -> Result<(), Cause> {
        for event in events {
            tracing::info!(target: "ieum::events", event_type = event.kind(), subject = event.subject(), "event");
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(events);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(data: Value) -> Result<CloudEvent, TooLarge> {
        let at = Timestamp::from_millis(1_795_233_000_000);
        CloudEvent::new("ieum.payment", "payment.paid", "toss/1/paid".to_owned(), "toss/1".to_owned(), at, data)
    }

    #[test]
    fn an_event_has_the_form_of_cloudevents() {
        let written: Value = serde_json::from_str(&event(json!({"amount": 1000})).unwrap().json()).unwrap();
        let expected = json!({
            "specversion": "1.0",
            "id": "toss/1/paid",
            "source": "ieum.payment",
            "type": "payment.paid",
            "subject": "toss/1",
            "time": "2026-11-21T03:50:00Z",
            "datacontenttype": "application/json",
            "data": {"amount": 1000},
        });
        assert_eq!(written, expected);
    }

    #[test]
    fn an_event_that_no_bus_would_take_does_not_come_to_be() {
        let fits = MAX_EVENT_BYTES - event(json!("")).unwrap().json().len();
        assert!(event(json!("x".repeat(fits))).is_ok());
        assert_eq!(event(json!("x".repeat(fits + 1))), Err(TooLarge { bytes: MAX_EVENT_BYTES + 1 }));
    }
}
