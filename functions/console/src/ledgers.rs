//! What operators see of the ledgers: messages, webhooks, and who changed what.
//!
//! What a message or a webhook says may be about a person. In a list it is not shown at all; by itself it is shown as the
//! log would show it, without anything the redactor takes for a secret or a person's.

use std::sync::Arc;
use std::time::Duration;

use ieum::api::{Call, Reply};
use ieum::audit;
use ieum::clock::{SharedClock, Timestamp};
use ieum::delivery::inbox::{self, Status, Webhook};
use ieum::delivery::ledger::{self, Message};
use ieum::delivery::messages::{Decided, Decision, Listed, Messages};
use ieum::delivery::webhooks;
use ieum::error::{ApiError, BAD_FORMAT, CONFLICT, NOT_FOUND};
use ieum::store::{Read, Store};
use ieum::telemetry::redact;
use serde::Serialize;
use serde_json::{Value, json};

use crate::integrations::{MESSAGES, WEBHOOKS};

/// Messages or webhooks in one answer, unless the caller wants fewer or more.
const USUAL: u32 = 50;

/// At most.
const MOST: u32 = 500;

/// How far back webhooks are looked for unless the caller says.
const RECENT: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads the ledgers.
#[derive(Debug)]
pub(crate) struct Ledgers {
    messages: Messages,
    store: Arc<dyn Store>,
    clock: SharedClock,
}

/// Which messages: those in doubt, or those that wait on a list.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Wanted {
    pub(crate) state: &'static str,
    pub(crate) list: &'static str,
}

/// What was found, and from when to go on when that was not all.
pub(crate) struct Found {
    pub(crate) rows: Vec<Value>,
    pub(crate) next_from: Option<String>,
}

/// Which webhooks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) status: Status,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

impl Ledgers {
    pub(crate) fn new(store: Arc<dyn Store>, clock: SharedClock) -> Self {
        Self { messages: Messages::new(Arc::clone(&store), Arc::clone(&clock)), store, clock }
    }

    /// Messages that want somebody's attention, as JSON.
    pub(crate) async fn messages(&self, call: &Call) -> Result<Reply, ApiError> {
        let (_, found) = self.find_messages(call).await?;
        Reply::json(200, &json!({"messages": found.rows, "next_from": found.next_from}))
    }

    /// The same, for whoever shows them.
    pub(crate) async fn find_messages(&self, call: &Call) -> Result<(Wanted, Found), ApiError> {
        let mut query = call.query()?;
        let state = match query.optional_text("state", 20) {
            Some(None) => Some("in_doubt"),
            Some(Some(text)) => one_of(["in_doubt", "waiting"], &text).or_else(|| query.note("state", BAD_FORMAT)),
            None => None,
        };
        let list = match query.optional_text("list", 20) {
            Some(None) => Some(MESSAGES[0]),
            Some(Some(text)) => one_of(MESSAGES, &text).or_else(|| query.note("list", BAD_FORMAT)),
            None => None,
        };
        let from = time(&mut query, "from", Timestamp::from_millis(0));
        let limit = query.number("limit", USUAL, 1, MOST);
        let wanted = (|| Some((Wanted { state: state?, list: list? }, from?, limit?)))();
        let (wanted, from, limit) = query.finish(wanted)?;
        let found = match wanted.state {
            "in_doubt" => self.messages.in_doubt(from, limit).await,
            _ => self.messages.waiting(wanted.list, from, limit).await,
        };
        let found = found.map_err(ApiError::store_unavailable)?;
        let full = found.len() == limit as usize;
        let next_from = found.last().filter(|_| full).and_then(|last| last.message.not_before).map(Timestamp::rfc3339);
        Ok((wanted, Found { rows: found.iter().map(of_message).collect(), next_from }))
    }

    /// One message, with what it says as far as may be shown.
    pub(crate) async fn message(&self, call: &Call) -> Result<Reply, ApiError> {
        Reply::json(200, &self.find_message(call.param("id")).await?)
    }

    /// The same, for whoever shows it.
    pub(crate) async fn find_message(&self, id: &str) -> Result<Value, ApiError> {
        let message = self.messages.get(id).await.map_err(ApiError::store_unavailable)?;
        let message = message.ok_or_else(|| ApiError::new(NOT_FOUND))?;
        let body = match &message.body {
            ledger::Body::Text(text) => Some(redact::body(text.as_bytes())),
            ledger::Body::Blob(_) => None,
        };
        let mut shown = of_message(&Listed { id: id.to_owned(), message: message.clone() });
        shown["caller"] = json!(message.caller);
        shown["reference"] = json!(message.reference);
        shown["body"] = json!(body);
        Ok(shown)
    }

    /// Decides about a message in doubt.
    pub(crate) async fn settle(&self, call: &Call) -> Result<Reply, ApiError> {
        let mut fields = call.body()?;
        let decision = fields.text("decision", 10);
        let decision = decision.and_then(|text| Decision::parse(&text).or_else(|| fields.note("decision", BAD_FORMAT)));
        let decision = fields.finish(decision)?;
        let id = call.param("id");
        match self.messages.decide(id, decision, call.who()).await.map_err(ApiError::store_unavailable)? {
            Decided::Done => Reply::json(200, &json!({"id": id, "settled": true})),
            Decided::NotInDoubt(state) => {
                Err(ApiError::new(CONFLICT).because(format!("the message is {}", state.name())))
            }
            Decided::Unknown => Err(ApiError::new(NOT_FOUND)),
        }
    }

    /// The webhooks of one status in a span of time.
    pub(crate) async fn find_webhooks(&self, call: &Call) -> Result<(Span, Found), ApiError> {
        let (now, mut query) = (self.clock.now(), call.query()?);
        let status = match query.optional_text("status", 20) {
            Some(Some(text)) => Status::parse(&text).or_else(|| query.note("status", BAD_FORMAT)),
            other => other.map(|_| Status::Failed),
        };
        let (from, to) = (time(&mut query, "from", now.before(RECENT)), time(&mut query, "to", now));
        let span = (|| Some(Span { status: status?, from: from?, to: to? }))();
        let span = query.finish(span)?;
        let found = webhooks::listed(&*self.store, WEBHOOKS, span.status, [span.from, span.to], now, USUAL).await;
        let found = found.map_err(ApiError::store_unavailable)?;
        let full = found.len() == USUAL as usize;
        let next_from = found.last().filter(|_| full).map(|last| last.listed_at().rfc3339());
        Ok((span, Found { rows: found.iter().map(of_webhook).collect(), next_from }))
    }

    /// One webhook, with what it says as far as may be shown.
    pub(crate) async fn webhook(&self, call: &Call) -> Result<Reply, ApiError> {
        Reply::json(200, &self.find_webhook(call.param("id")).await?)
    }

    /// The same, for whoever shows it.
    pub(crate) async fn find_webhook(&self, id: &str) -> Result<Value, ApiError> {
        let (provider, delivery) = id.split_once(':').ok_or_else(|| ApiError::invalid("id", BAD_FORMAT))?;
        let item = self
            .store
            .get(&inbox::key(provider, delivery), Read::Consistent)
            .await
            .map_err(ApiError::store_unavailable)?;
        let webhook = item.as_ref().and_then(Webhook::read).ok_or_else(|| ApiError::new(NOT_FOUND))?;
        let body = match &webhook.body {
            inbox::Body::Text(text) => Some(redact::body(text.as_bytes())),
            inbox::Body::Base64(_) | inbox::Body::Blob(_) => None,
        };
        let mut shown = of_webhook(&webhook);
        shown["headers"] = json!(redact::body(webhook.headers.as_bytes()));
        shown["body"] = json!(body);
        Ok(shown)
    }

    /// Who changed what on one day, as JSON.
    pub(crate) async fn audit(&self, call: &Call) -> Result<Reply, ApiError> {
        let (day, records) = self.find_records(call).await?;
        Reply::json(200, &json!({"day": day, "changes": records}))
    }

    /// The same, for whoever shows it: the day (UTC), and its changes, the newest first.
    pub(crate) async fn find_records(&self, call: &Call) -> Result<(String, Vec<audit::Record>), ApiError> {
        let (today, mut query) = (self.clock.now(), call.query()?);
        let day = match query.optional_text("day", 10) {
            Some(Some(text)) => {
                let day = Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z"));
                day.or_else(|| query.note("day", BAD_FORMAT))
            }
            other => other.map(|_| today),
        };
        let day = query.finish(day)?;
        let mut records = audit::of_day(&*self.store, day).await.map_err(ApiError::store_unavailable)?;
        records.reverse();
        Ok((day.rfc3339().chars().take(10).collect(), records))
    }
}

fn one_of<const N: usize>(known: [&'static str; N], text: &str) -> Option<&'static str> {
    known.into_iter().find(|name| *name == text)
}

fn time(fields: &mut ieum::api::Fields, name: &'static str, default: Timestamp) -> Option<Timestamp> {
    match fields.optional_text(name, 40)? {
        Some(text) => Timestamp::parse_rfc3339(&text).or_else(|| fields.note(name, BAD_FORMAT)),
        None => Some(default),
    }
}

/// A message as a list shows it: nothing of what it says.
fn of_message(Listed { id, message }: &Listed) -> Value {
    let Message { state, attempt, list, provider, error, created_at, not_before, valid_until, until, .. } = message;
    json!({
        "id": id,
        "state": state.name(),
        "list": list,
        "attempt": attempt,
        "provider": provider,
        "error": error,
        "created_at": created_at.rfc3339(),
        "not_before": not_before.map(Timestamp::rfc3339),
        "valid_until": valid_until.rfc3339(),
        "until": until.map(Timestamp::rfc3339),
    })
}

/// A webhook as a list shows it: nothing of what it says.
fn of_webhook(webhook: &Webhook) -> Value {
    let mut shown = webhook.summary();
    shown["not_before"] = json!(webhook.not_before.map(Timestamp::rfc3339));
    shown
}
