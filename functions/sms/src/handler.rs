//! From a request to an answer: parse, ask, respond. Nothing here knows a provider's way to send.
//!
//! The same function is deployed twice: one answers requests, the other works wake-ups off. Which it is, its events say.

use std::sync::Arc;
use std::time::Duration;

use ieum::api::{Call, Edge, HttpEvent, HttpResponse, Reply, Route};
use ieum::auth::Access;
use ieum::checkup::Checkup;
use ieum::clock::{SharedClock, Timestamp};
use ieum::delivery::ledger::{Body, Message};
use ieum::delivery::messages::Messages;
use ieum::delivery::recipients::Recipients;
use ieum::delivery::worker::{Addressed, Delivery};
use ieum::error::{ApiError, Code, Detail, INVALID_REQUEST, Issue, NOT_FOUND, code, issue};
use ieum::idempotency::{Idempotency, KeyRule};
use ieum::provider::Cause;
use ieum::queue::{Queue, local, sweep_here};
use ieum::runtime::{Answer, Bounds, Event, Function, Scheduled, work_here};
use ieum::start::Kernel;
use ieum::store::StoreError;
use serde_json::{Value, json};

use crate::config::{Config, ProviderName};
use crate::events::{self, Name, Reason, Report};
use crate::length::{KoreanCharset, SMS_BYTES, Segments};
use crate::phone::PhoneNumber;
use crate::providers::{build, log};
use crate::references::References;
use crate::reports::Reports;
use crate::request::{self, House};
use crate::text::{NOT_ABROAD, OVER_MAX_PRICE, PRICE_UNKNOWN, Quote, Terms, Text};

/// The largest body any route takes: a text, or a list of reports.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// The name of the list of texts that are to be sent.
const LIST: &str = "sms";

/// The recipient is not to be written to.
pub const RECIPIENT_SUPPRESSED: Code = code(
    "recipient_suppressed",
    422,
    "발송이 제한된 수신자가 있습니다.",
    "There is a recipient who is not to be written to.",
);

const OPTED_OUT: Issue =
    issue("opted_out", "수신을 거부한 번호입니다.", "The owner of this number wants no more texts.");
const DEAD_NUMBER: Issue =
    issue("dead_number", "문자를 받을 수 없는 번호입니다.", "Texts to this number do not arrive.");

/// What the routes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends a text.
    Send,
    /// What a text would be and cost.
    Preview,
    /// What became of a text.
    Message,
    /// What Twilio reports.
    TwilioReport,
    /// What Solapi reports.
    SolapiReport,
}

const SEND: Access = Access::Scope("sms:send");
const READ: Access = Access::Scope("sms:read");

const fn route(method: &'static str, path: &'static str, access: Access, action: Action) -> Route<Action> {
    Route { method, path, access, action }
}

/// The routes of `sms`, as in `template.yaml`.
pub const ROUTES: [Route<Action>; 5] = [
    route("POST", "/v1/sms", SEND, Action::Send),
    route("POST", "/v1/sms/preview", READ, Action::Preview),
    route("GET", "/v1/sms/{id}", READ, Action::Message),
    // Signed by their senders.
    route("POST", "/v1/webhooks/twilio", Access::Public, Action::TwilioReport),
    route("POST", "/v1/webhooks/solapi", Access::Public, Action::SolapiReport),
];

/// How many wake-ups a worker works off side by side, and its time limit in `template.yaml`.
const BOUNDS: Bounds = Bounds { at_once: 10, limit: Duration::from_secs(60) };

/// What a local run sweeps in a minute: ten texts a second. Where there is AWS, `template.yaml` says it.
const SWEEP_LIMIT: u32 = 600;

/// A started function.
#[derive(Debug)]
pub struct Handler {
    edge: Edge,
    idempotency: Idempotency,
    delivery: Arc<Delivery<Text>>,
    checkup: Checkup,
    messages: Messages,
    references: References,
    reports: Reports,
    clock: SharedClock,
    house: House,
    terms: Vec<(ProviderName, Terms)>,
    validity: Duration,
}

impl Function for Handler {
    async fn serve(&self, event: Event, deadline_ms: u64) -> Result<Answer, Cause> {
        match event {
            Event::Http(event) => Ok(self.answer(*event, deadline_ms).await.into()),
            Event::Queue(batch) => Ok(batch.work(&*self.delivery, BOUNDS, &self.clock, deadline_ms).await.into()),
            Event::Logs(logs) => {
                self.hear("sns", events::sns(&logs.awslogs.data)?).await?;
                Ok(Answer::Done(()))
            }
            Event::Scheduled(Scheduled::Probe(probe)) => Ok(self.checkup.run(probe.paid).await?.into()),
            Event::Scheduled(_) | Event::Objects(_) => Err(event.unexpected()),
        }
    }
}

impl Handler {
    /// Starts the process: telemetry, clients, secrets, providers. Without AWS it works its own wake-ups off.
    ///
    /// # Errors
    /// Why the function must not serve.
    pub async fn start(config: &Config) -> Result<Self, Cause> {
        let kernel = Kernel::start("sms", &config.common, config.mocked()).await?;
        PhoneNumber::warm_up(&config.house.countries);
        match (&kernel.aws, &config.queue) {
            (Some(aws), Some(url)) => Self::over(&kernel, config, Arc::new(aws.queue(url))).await,
            _ => {
                let (queue, wake_ups) = local();
                let queue: Arc<dyn Queue> = Arc::new(queue);
                let handler = Self::over(&kernel, config, Arc::clone(&queue)).await?;
                tokio::spawn(work_here(wake_ups, Arc::clone(&handler.delivery), BOUNDS));
                let (store, clock) = (Arc::clone(&kernel.durable), Arc::clone(&kernel.clock));
                tokio::spawn(sweep_here(store, queue, LIST, SWEEP_LIMIT, clock));
                Ok(handler)
            }
        }
    }

    /// A handler over a kernel that runs already, whose wake-ups go to `queue`.
    ///
    /// # Errors
    /// When a provider's secret cannot be read, or it cannot be set up.
    pub async fn over(kernel: &Kernel, config: &Config, queue: Arc<dyn Queue>) -> Result<Self, Cause> {
        let (clock, store) = (Arc::clone(&kernel.clock), Arc::clone(&kernel.durable));
        let references = References::new(Arc::clone(&store), Arc::clone(&clock));
        let (keys, rate) = (kernel.keys.clone(), Some(config.recipient_rate));
        let recipients = Recipients::new(LIST, keys, rate, Arc::clone(&store), Arc::clone(&clock));
        let (integration, checkup) = build(kernel, config, &references, &recipients).await?;
        let kept = (Arc::clone(&store), kernel.blobs());
        let delivery = Delivery::new(LIST, integration, recipients, kept, queue, Arc::clone(&clock));
        Ok(Self {
            edge: kernel.edge(&config.common, MAX_BODY_BYTES),
            idempotency: kernel.idempotency(),
            delivery: Arc::new(delivery),
            checkup,
            messages: Messages::new(store, Arc::clone(&clock)),
            references,
            reports: Reports::start(kernel, config).await?,
            clock,
            house: config.house.clone(),
            terms: config.terms(),
            validity: config.validity,
        })
    }

    /// What works wake-ups off.
    pub fn delivery(&self) -> &Arc<Delivery<Text>> {
        &self.delivery
    }

    async fn answer(&self, event: HttpEvent, deadline_ms: u64) -> HttpResponse {
        let handle = async |action, call: Call| match action {
            Action::Send => self.send(&call).await,
            Action::Preview => self.preview(&call),
            Action::Message => self.message(&call).await,
            Action::TwilioReport => self.told("twilio", self.reports.twilio(&call, self.clock.now()).await?).await,
            Action::SolapiReport => self.told("solapi", self.reports.solapi(&call, self.clock.now()).await?).await,
        };
        self.edge.serve(&ROUTES, event, deadline_ms, handle).await
    }

    async fn send(&self, call: &Call) -> Result<Reply, ApiError> {
        let text = self.text(call)?;
        let quotes = self.quotes(&text);
        if quotes.iter().all(|(_, quote)| quote.is_err()) {
            return Err(nobody_sends(quotes.into_iter().filter_map(|(_, quote)| quote.err())));
        }
        let caller = call.who();
        self.idempotency
            .run(call, KeyRule::Optional, async |begun| {
                let id = begun.id.to_string();
                self.may_receive(&text, begun.first).await?;
                let valid_until = self.clock.now().after(self.validity);
                self.delivery.accept(&id, &text, caller, valid_until).await.map_err(ApiError::store_unavailable)?;
                log(&id, &text, "", "accepted");
                Reply::json(202, &json!({"id": id, "status": "queued"}))
            })
            .await
    }

    /// Whether its recipient may be written to, and has not had enough. A request that is `first` counts.
    async fn may_receive(&self, text: &Text, first: bool) -> Result<(), ApiError> {
        let recipients = self.delivery.recipients();
        if let Some(suppression) =
            recipients.suppression(text.to.as_str()).await.map_err(ApiError::store_unavailable)?
        {
            let issue = if suppression.reason == Reason::Dead.name() { DEAD_NUMBER } else { OPTED_OUT };
            return Err(ApiError::new(RECIPIENT_SUPPRESSED).with(Detail::field("to", issue)));
        }
        if first { recipients.admit(&text.recipients()).await } else { Ok(()) }
    }

    fn preview(&self, call: &Call) -> Result<Reply, ApiError> {
        let text = self.text(call)?;
        let quotes = self.quotes(&text);
        let first = quotes.iter().find_map(|(name, quote)| Some((name, quote.as_ref().ok()?)));
        let providers = quotes.iter().map(|(name, quote)| match quote {
            Ok(quote) => json!({"provider": name.as_str(), "kind": quote.form, "price_krw": quote.price}),
            Err(issue) => json!({"provider": name.as_str(), "refused": issue.name}),
        });
        let segments = Segments::of(&text.text);
        // Only what goes to Korea is counted in bytes; who abroad may get an emoji has none to count.
        let korean = text.to.is_korean().then(|| KoreanCharset::Cp949.bytes(&text.text).ok()).flatten();
        let body = json!({
            "to": text.to,
            "country": text.to.country(),
            "text": text.text,
            "characters": text.text.chars().count(),
            "segments": {
                "encoding": segments.encoding.name(),
                "units": segments.units,
                "count": segments.count,
            },
            "korean": korean.map(|bytes| json!({"bytes": bytes, "kind": if bytes <= SMS_BYTES { "sms" } else { "lms" }})),
            "provider": first.map(|(name, _)| name.as_str()),
            "kind": first.map(|(_, quote)| quote.form),
            "price_krw": first.and_then(|(_, quote)| quote.price),
            "providers": providers.collect::<Vec<Value>>(),
        });
        Reply::json(200, &body)
    }

    async fn message(&self, call: &Call) -> Result<Reply, ApiError> {
        let id = call.param("id");
        let found = self.messages.get(id).await.map_err(ApiError::store_unavailable)?;
        let message = found.filter(|message| message.list == LIST).ok_or_else(|| ApiError::new(NOT_FOUND))?;
        Reply::json(200, &view(id, &message))
    }

    fn text(&self, call: &Call) -> Result<Text, ApiError> {
        let mut fields = call.body()?;
        let text = request::text(&mut fields, &self.house);
        fields.finish(text)
    }

    fn quotes(&self, text: &Text) -> Vec<(ProviderName, Result<Quote, Issue>)> {
        self.terms.iter().map(|(name, terms)| (*name, terms.quote(text))).collect()
    }

    async fn told(&self, provider: &'static str, reports: Vec<Report>) -> Result<Reply, ApiError> {
        self.hear(provider, reports).await.map_err(ApiError::store_unavailable)?;
        Reply::json(200, &json!({"status": "received"}))
    }

    /// Does what follows from `reports`.
    async fn hear(&self, provider: &'static str, reports: Vec<Report>) -> Result<(), StoreError> {
        for report in reports {
            if let Some((number, reason)) = &report.suppress {
                self.delivery.recipients().suppress(number.as_str(), reason.name(), provider).await?;
            }
            let id = match report.message {
                Name::Ours(id) => Some(id),
                Name::Theirs(reference) => self.references.find(provider, &reference).await?,
            };
            match (id, report.state) {
                (Some(id), Some(state)) => drop(self.messages.report(&id, state, report.why.as_deref()).await?),
                (None, _) => tracing::warn!(target: "ieum::sms", provider, "report.of_nothing"),
                (Some(_), None) => {}
            }
        }
        Ok(())
    }
}

/// Why nobody would send a text: each reason once, at the field it is about.
fn nobody_sends(issues: impl Iterator<Item = Issue>) -> ApiError {
    let mut told: Vec<Issue> = Vec::new();
    for issue in issues {
        if !told.contains(&issue) {
            told.push(issue);
        }
    }
    let field = |issue: Issue| match issue {
        NOT_ABROAD => "to",
        OVER_MAX_PRICE | PRICE_UNKNOWN => "max_price",
        _ => "text",
    };
    told.into_iter()
        .map(|issue| Detail::field(field(issue), issue))
        .fold(ApiError::new(INVALID_REQUEST), ApiError::with)
}

/// A message as callers see it, without its words and most of its number.
fn view(id: &str, message: &Message) -> Value {
    let text: Option<Text> = match &message.body {
        Body::Text(text) => serde_json::from_str(text).ok(),
        // No text is that long.
        Body::Blob(_) => None,
    };
    json!({
        "id": id,
        "status": message.state.name(),
        "to": text.map(|text| text.to.masked()),
        "provider": message.provider,
        "attempts": message.attempt,
        "error": message.error,
        "created_at": message.created_at.rfc3339(),
        "ended_at": message.ended_at.map(Timestamp::rfc3339),
    })
}
