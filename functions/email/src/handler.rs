//! From a request to an answer: parse, ask, respond. Nothing here knows a provider's way to send, or what a mail says.
//!
//! The same function is deployed twice: one answers requests, the other works wake-ups off. Which it is, its events say.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use ieum::api::{Call, Edge, Fields, HttpEvent, HttpResponse, Reply, Route};
use ieum::auth::Access;
use ieum::checkup::Checkup;
use ieum::clock::{SharedClock, Timestamp};
use ieum::delivery::ledger::{self, Batch, Body, Message};
use ieum::delivery::messages::Messages;
use ieum::delivery::recipients::{Recipients, Suppression};
use ieum::delivery::worker::{Addressed, Delivery};
use ieum::error::{ApiError, Detail, INTERNAL, INVALID_REQUEST, Language, NOT_FOUND};
use ieum::idempotency::{Idempotency, KeyRule};
use ieum::provider::Cause;
use ieum::queue::{Queue, local, sweep_here};
use ieum::runtime::{Answer, Bounds, Event, Function, Scheduled, work_here};
use ieum::start::Kernel;
use ieum::store::StoreError;
use serde_json::{Map, Value, json};

use crate::address::Address;
use crate::attachment::MAX_TOTAL_BYTES;
use crate::composer::{Composer, UNKNOWN_TEMPLATE};
use crate::config::Config;
use crate::events::{Reason, Report};
use crate::intake::{Intake, Lists, UPLOAD_LIFETIME, UPLOAD_TYPE, outside};
use crate::mail::{Mail, Tongue};
use crate::providers::{build, log};
use crate::reports::Reports;
use crate::template::{CUSTOM, Form, TEMPLATES, Template, tag};
use crate::{intake, request, unsubscribe};

/// What Lambda takes: 4 MB of attachments are 5.6 MB of base64.
const MAX_BODY_BYTES: usize = 6 * 1024 * 1024;

/// What the routes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends one mail.
    Send,
    /// Sends many.
    SendBatch,
    /// What became of a mail.
    Message,
    /// Makes room for an attachment.
    Upload,
    /// Which templates there are.
    Templates,
    /// What a template says.
    Preview,
    /// Whether an address is written to.
    Suppression,
    /// Has an address not be written to.
    Suppress,
    /// Lets an address be written to again.
    Release,
    /// What SendGrid reports.
    SendGridEvents,
    /// What SES reports, through SNS.
    SesEvents,
    /// Asks a recipient whether he wants no more.
    UnsubscribePage,
    /// He wants no more.
    Unsubscribe,
}

const SEND: Access = Access::Scope("email:send");
const READ: Access = Access::Scope("email:read");
/// Who blocks an address by hand, or frees it, operates the layer.
const OPERATE: Access = Access::Scope("ops:write");

const fn route(method: &'static str, path: &'static str, access: Access, action: Action) -> Route<Action> {
    Route { method, path, access, action }
}

/// The routes of `email`, as in `template.yaml`.
pub const ROUTES: [Route<Action>; 13] = [
    route("POST", "/v1/emails", SEND, Action::Send),
    route("POST", "/v1/emails/batch", SEND, Action::SendBatch),
    route("GET", "/v1/emails/{id}", READ, Action::Message),
    route("POST", "/v1/attachments", SEND, Action::Upload),
    route("GET", "/v1/email-templates", READ, Action::Templates),
    route("POST", "/v1/email-templates/{name}/preview", READ, Action::Preview),
    route("GET", "/v1/suppressions/{address}", READ, Action::Suppression),
    route("PUT", "/v1/suppressions/{address}", OPERATE, Action::Suppress),
    route("DELETE", "/v1/suppressions/{address}", OPERATE, Action::Release),
    // Signed by their senders.
    route("POST", "/v1/webhooks/sendgrid", Access::Public, Action::SendGridEvents),
    route("POST", "/v1/webhooks/ses", Access::Public, Action::SesEvents),
    // The link itself is the proof.
    route("GET", "/v1/unsubscribe/{token}", Access::Public, Action::UnsubscribePage),
    route("POST", "/v1/unsubscribe/{token}", Access::Public, Action::Unsubscribe),
];

/// The list of mail that is due.
pub const LIST: &str = "email";

/// How many wake-ups a worker works off side by side, and its time limit in `template.yaml`.
const BOUNDS: Bounds = Bounds { at_once: 10, limit: Duration::from_secs(60) };

/// How many waiting mails a local run without AWS wakes each minute.
const LOCAL_SWEEP: u32 = 600;

/// Things done side by side for one request.
const AT_ONCE: usize = 25;

/// What a browser may load for our page: nothing.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";

/// A started function.
#[derive(Debug)]
pub struct Handler {
    edge: Edge,
    idempotency: Idempotency,
    intake: Intake,
    composer: Arc<Composer>,
    delivery: Arc<Delivery<Mail>>,
    checkup: Checkup,
    messages: Messages,
    lists: Lists,
    reports: Reports,
    clock: SharedClock,
    max_recipients: usize,
    validity: Duration,
}

impl Function for Handler {
    async fn serve(&self, event: Event, deadline_ms: u64) -> Result<Answer, Cause> {
        match event {
            Event::Http(event) => Ok(self.answer(*event, deadline_ms).await.into()),
            Event::Queue(batch) => Ok(batch.work(&*self.delivery, BOUNDS, &self.clock, deadline_ms).await.into()),
            Event::Scheduled(Scheduled::Probe(probe)) => Ok(self.checkup.run(probe.paid).await?.into()),
            Event::Scheduled(_) | Event::Logs(_) | Event::Objects(_) => Err(event.unexpected()),
        }
    }
}

impl Handler {
    /// Starts the process: telemetry, clients, secrets, providers. Without AWS it works its own wake-ups off.
    ///
    /// # Errors
    /// Why the function must not serve.
    pub async fn start(config: &Config) -> Result<Self, Cause> {
        let kernel = Kernel::start("email", &config.common, config.mocked()).await?;
        match (&kernel.aws, &config.queue) {
            (Some(aws), Some(url)) => Self::over(&kernel, config, Arc::new(aws.queue(url))).await,
            _ => {
                let (queue, wake_ups) = local();
                let queue: Arc<dyn Queue> = Arc::new(queue);
                let handler = Self::over(&kernel, config, Arc::clone(&queue)).await?;
                tokio::spawn(work_here(wake_ups, Arc::clone(&handler.delivery), BOUNDS));
                let (store, clock) = (Arc::clone(&kernel.durable), Arc::clone(&kernel.clock));
                tokio::spawn(sweep_here(store, queue, LIST, LOCAL_SWEEP, clock));
                Ok(handler)
            }
        }
    }

    /// A handler over a kernel that runs already, whose wake-ups go to `queue`.
    ///
    /// # Errors
    /// When a provider's secret cannot be read, or it cannot be set up.
    pub async fn over(kernel: &Kernel, config: &Config, queue: Arc<dyn Queue>) -> Result<Self, Cause> {
        let (durable, blobs, clock) = (Arc::clone(&kernel.durable), kernel.blobs(), Arc::clone(&kernel.clock));
        let recipients =
            |kind, rate| Recipients::new(kind, kernel.keys.clone(), rate, Arc::clone(&durable), Arc::clone(&clock));
        let all = recipients("email", Some(config.recipient_rate));
        let lists = Lists { all: all.clone(), promotional: recipients("email-promotional", None) };
        let composer = Arc::new(Composer::start(kernel, config).await?);
        let (integration, checkup) = build(kernel, config, &composer, &lists.promotional).await?;
        let state = (Arc::clone(&durable), Arc::clone(&blobs));
        let delivery = Delivery::new(LIST, integration, all, state, queue, Arc::clone(&clock));
        Ok(Self {
            edge: kernel.edge(&config.common, MAX_BODY_BYTES),
            idempotency: kernel.idempotency(),
            intake: Intake::new(Arc::clone(&composer), blobs),
            composer,
            delivery: Arc::new(delivery),
            checkup,
            messages: Messages::new(durable, Arc::clone(&clock)),
            lists,
            reports: Reports::start(kernel, config).await?,
            clock,
            max_recipients: config.max_recipients,
            validity: config.validity,
        })
    }

    async fn answer(&self, event: HttpEvent, deadline_ms: u64) -> HttpResponse {
        let handle = async |action, call: Call| match action {
            Action::Send => self.send(&call).await,
            Action::SendBatch => self.send_batch(&call).await,
            Action::Message => self.message(&call).await,
            Action::Upload => self.upload(&call).await,
            Action::Templates => templates(),
            Action::Preview => self.preview(&call).await,
            Action::Suppression => self.suppression(&call).await,
            Action::Suppress => self.suppress(&call).await,
            Action::Release => self.release(&call).await,
            Action::SendGridEvents => {
                self.told("sendgrid", self.reports.sendgrid(&call, self.clock.now()).await?).await
            }
            Action::SesEvents => self.told("ses", self.reports.ses(&call, self.clock.now()).await?).await,
            Action::UnsubscribePage => self.unsubscribe_page(&call).await,
            Action::Unsubscribe => self.unsubscribe(&call).await,
        };
        self.edge.serve(&ROUTES, event, deadline_ms, handle).await
    }

    async fn send(&self, call: &Call) -> Result<Reply, ApiError> {
        let mut fields = call.body()?;
        let common = request::common(&mut fields);
        let kind = common.as_ref().map(|common| common.kind).unwrap_or_default();
        let recipients = request::recipients(&mut fields, kind, self.max_recipients);
        let (common, recipients) = fields.finish(common.zip(recipients))?;
        let (mut mail, enclosures) = common.to(recipients);
        self.idempotency
            .run(call, KeyRule::Optional, async |begun| {
                let id = begun.id.to_string();
                self.intake.check(&mail, &mail.content).await?;
                self.lists.admit(&mail).await?;
                if begun.first {
                    self.lists.all.admit(&mail.recipients()).await?;
                }
                mail.attachments = self.intake.enclose(&id, enclosures).await?;
                let accepted = self.delivery.accept(&id, &mail, call.who(), self.valid_until()).await;
                accepted.map_err(ApiError::store_unavailable)?;
                log(&id, &mail, None, None, "accepted");
                Reply::json(202, &json!({"id": id, "status": "queued"}))
            })
            .await
    }

    async fn send_batch(&self, call: &Call) -> Result<Reply, ApiError> {
        let mut fields = call.body()?;
        let common = request::common(&mut fields);
        let messages = request::messages(&mut fields);
        let (common, messages) = fields.finish(common.zip(messages))?;
        let language = language(call);
        self.idempotency
            .run(call, KeyRule::Optional, async |begun| {
                let id = begun.id.to_string();
                let judged = stream::iter(messages).map(|members| self.judge(&id, &common, members));
                let judged: Vec<Result<Mail, ApiError>> = judged.buffered(AT_ONCE).collect().await;
                if judged.iter().all(Result::is_err) {
                    return Err(none_of(judged));
                }
                let attachments = self.intake.enclose(&id, common.enclosures).await?;
                self.intake.keep(&id, &common.content).await?;
                let (mut results, mut mails) = (Vec::new(), Vec::new());
                for (index, judged) in judged.into_iter().enumerate() {
                    results.push(match judged {
                        Ok(mail) => {
                            mails.push(Mail { attachments: attachments.clone(), ..mail });
                            json!({"index": index, "id": ledger::member(&id, mails.len() - 1)})
                        }
                        Err(error) => json!({"index": index, "error": error.outside(language)}),
                    });
                }
                let (accepted, rejected) = (mails.len(), results.len() - mails.len());
                let valid_until = self.valid_until();
                self.delivery
                    .accept_batch(&id, &mails, call.who(), valid_until)
                    .await
                    .map_err(ApiError::store_unavailable)?;
                tracing::info!(target: "ieum::email", batch = id, accepted, rejected, "email.batch");
                let body = json!({
                    "id": id, "status": "queued", "accepted": accepted, "rejected": rejected, "results": results,
                });
                Reply::json(202, &body)
            })
            .await
    }

    /// One mail of the batch `id`, when it can be sent.
    async fn judge(&self, id: &str, common: &request::Common, members: Map<String, Value>) -> Result<Mail, ApiError> {
        let content = intake::kept(id, &common.content);
        let mail = request::message(common, content, Fields::new(members), self.max_recipients)?;
        self.intake.check(&mail, &common.content).await?;
        self.lists.admit(&mail).await?;
        Ok(mail)
    }

    async fn message(&self, call: &Call) -> Result<Reply, ApiError> {
        let id = call.param("id");
        if let Some(message) =
            self.messages.get(id).await.map_err(ApiError::store_unavailable)?.filter(|message| message.list == LIST)
        {
            return Reply::json(200, &of_message(id, &message));
        }
        let batch =
            self.messages.batch(id).await.map_err(ApiError::store_unavailable)?.filter(|batch| batch.list == LIST);
        let batch = batch.ok_or_else(|| ApiError::new(NOT_FOUND))?;
        let states = self.messages.states(id, &batch).await.map_err(ApiError::store_unavailable)?;
        let mut counts = Map::new();
        for state in &states {
            let name = state.map_or("queued", shown);
            let count = counts.get(name).and_then(Value::as_u64).unwrap_or(0);
            counts.insert(name.to_owned(), (count + 1).into());
        }
        Reply::json(200, &of_batch(id, &batch, counts))
    }

    async fn upload(&self, call: &Call) -> Result<Reply, ApiError> {
        let mut fields = call.body()?;
        let bytes = fields.whole("bytes", 1, MAX_TOTAL_BYTES as i64);
        let bytes = fields.finish(bytes)?;
        let room = self.intake.room(usize::try_from(bytes).unwrap_or_default()).await?;
        let body = json!({
            "id": room.id.to_string(),
            "method": "PUT",
            "url": room.url.as_str(),
            "headers": {"content-type": UPLOAD_TYPE, "content-length": bytes.to_string()},
            "expires_at": self.clock.now().after(UPLOAD_LIFETIME).rfc3339(),
        });
        Reply::json(201, &body)
    }

    async fn preview(&self, call: &Call) -> Result<Reply, ApiError> {
        let name = call.param("name");
        if name != CUSTOM && Template::find(name).is_none() {
            return Err(ApiError::new(NOT_FOUND).with(Detail::field("name", UNKNOWN_TEMPLATE)));
        }
        let mut fields = call.body()?;
        let content = request::words_of(name, &mut fields);
        let language = request::language(&mut fields).map(|language| language.unwrap_or(Tongue(Language::Korean)));
        let variables = request::variables(&mut fields);
        let (content, (language, variables)) = fields.finish(content.zip(language.zip(variables)))?;
        let parts = self.composer.preview(&content, language, &variables).await.map_err(outside)?;
        Reply::json(200, &parts)
    }

    async fn suppression(&self, call: &Call) -> Result<Reply, ApiError> {
        let address = address_in_path(call)?;
        let of_all = self.lists.all.suppression(&address.identity()).await.map_err(ApiError::store_unavailable)?;
        let of_promotional =
            self.lists.promotional.suppression(&address.identity()).await.map_err(ApiError::store_unavailable)?;
        let kinds = [("all", of_all), ("promotional", of_promotional)];
        let entries: Vec<_> =
            kinds.iter().filter_map(|(kind, entry)| Some(of_suppression(kind, entry.as_ref()?))).collect();
        if entries.is_empty() {
            return Err(ApiError::new(NOT_FOUND));
        }
        Reply::json(200, &json!({"address": address, "suppressions": entries}))
    }

    async fn suppress(&self, call: &Call) -> Result<Reply, ApiError> {
        let address = address_in_path(call)?.identity();
        self.lists.all.suppress_by_hand(&address, "by_hand", call.who()).await.map_err(ApiError::store_unavailable)?;
        self.suppression(call).await
    }

    async fn release(&self, call: &Call) -> Result<Reply, ApiError> {
        let address = address_in_path(call)?;
        let of_all = self.lists.all.lift(&address.identity(), call.who()).await.map_err(ApiError::store_unavailable)?;
        let of_promotional =
            self.lists.promotional.lift(&address.identity(), call.who()).await.map_err(ApiError::store_unavailable)?;
        if !of_all && !of_promotional {
            return Err(ApiError::new(NOT_FOUND));
        }
        Reply::json(200, &json!({"address": address, "suppressions": []}))
    }

    /// Does what follows from `reports`. All of it, or the sender comes again.
    async fn told(&self, provider: &str, reports: Vec<Report>) -> Result<Reply, ApiError> {
        let all = stream::iter(reports).map(|report| self.hear(provider, report)).buffer_unordered(AT_ONCE);
        all.try_collect::<()>().await.map_err(ApiError::store_unavailable)?;
        Reply::json(200, &json!({"status": "received"}))
    }

    async fn hear(&self, provider: &str, report: Report) -> Result<(), StoreError> {
        for (address, reason) in &report.suppress {
            let list = if *reason == Reason::Unsubscribe { &self.lists.promotional } else { &self.lists.all };
            list.suppress(&address.identity(), reason.name(), provider).await?;
        }
        if let Some((id, state)) = report.id.zip(report.state) {
            self.messages.report(&id, state, report.why).await?;
        }
        Ok(())
    }

    /// A page, because mail scanners follow links: only its button unsubscribes.
    async fn unsubscribe_page(&self, call: &Call) -> Result<Reply, ApiError> {
        let address = self.address_of_link(call).await?;
        self.page(call, &address, false)
    }

    async fn unsubscribe(&self, call: &Call) -> Result<Reply, ApiError> {
        let address = self.address_of_link(call).await?;
        let (list, reason) = (&self.lists.promotional, Reason::Unsubscribe.name());
        list.suppress(&address.identity(), reason, "recipient").await.map_err(ApiError::store_unavailable)?;
        self.page(call, &address, true)
    }

    fn page(&self, call: &Call, address: &Address, done: bool) -> Result<Reply, ApiError> {
        let page = unsubscribe::page(self.composer.brand(), language(call), address, done);
        let page = page.map_err(|error| ApiError::new(INTERNAL).because(error))?;
        Reply::page("text/html; charset=utf-8", PAGE_POLICY, page)
    }

    /// Whose link it is.
    async fn address_of_link(&self, call: &Call) -> Result<Address, ApiError> {
        let way_out = self.composer.way_out().ok_or_else(|| ApiError::new(NOT_FOUND))?;
        let secret = way_out.secret.current().await;
        unsubscribe::read(call.param("token"), &secret.unsubscribe_key).ok_or_else(|| ApiError::new(NOT_FOUND))
    }

    fn valid_until(&self) -> Timestamp {
        self.clock.now().after(self.validity)
    }
}

fn templates() -> Result<Reply, ApiError> {
    let mut templates: Vec<Value> = TEMPLATES
        .iter()
        .map(|template| {
            let variables: Vec<Value> = template
                .variables
                .iter()
                .map(|variable| {
                    let form = match variable.form {
                        Form::Line => "line",
                        Form::Text => "text",
                        Form::Link => "https_url",
                    };
                    json!({"name": variable.name, "form": form, "required": variable.required})
                })
                .collect();
            json!({"name": template.name, "purpose": template.purpose, "variables": variables})
        })
        .collect();
    templates
        .push(json!({"name": CUSTOM, "purpose": "the caller's own words, with variables of its own", "variables": []}));
    let languages = [Language::Korean, Language::English].map(tag);
    Reply::json(200, &json!({"languages": languages, "templates": templates}))
}

/// What nobody needs to tell apart: a mail that was accepted waits, whether somebody has looked at it or not.
fn shown(state: ledger::State) -> &'static str {
    if state == ledger::State::Accepted { ledger::State::Queued.name() } else { state.name() }
}

fn of_message(id: &str, message: &Message) -> Value {
    let mut told = json!({
        "id": id,
        "status": shown(message.state),
        "attempts": message.attempt,
        "provider": message.provider,
        "provider_message_id": message.reference,
        "error": message.error,
        "created_at": message.created_at.rfc3339(),
        "ended_at": message.ended_at.map(Timestamp::rfc3339),
        "valid_until": message.valid_until.rfc3339(),
        "not_before": message.not_before.map(Timestamp::rfc3339),
    });
    // A large mail lies elsewhere and is not fetched for this.
    if let Body::Text(body) = &message.body
        && let Ok(mail) = serde_json::from_str::<Mail>(body)
    {
        told["template"] = mail.content.template().into();
        told["recipients"] = mail.everybody().map(Address::masked).collect();
    }
    told
}

fn of_batch(id: &str, batch: &Batch, statuses: Map<String, Value>) -> Value {
    json!({
        "id": id,
        "status": if batch.expanded_at.is_some() { "expanded" } else { "queued" },
        "accepted": batch.count,
        "statuses": statuses,
        "created_at": batch.created_at.rfc3339(),
        "valid_until": batch.valid_until.rfc3339(),
    })
}

fn of_suppression(kind: &str, suppression: &Suppression) -> Value {
    let Suppression { reason, by, since } = suppression;
    json!({"mail": kind, "reason": reason, "by": by, "since": since.rfc3339()})
}

/// The error for a batch of which nothing can be sent: the mistakes of its first mails, under their places.
fn none_of(judged: Vec<Result<Mail, ApiError>>) -> ApiError {
    let errors = judged.into_iter().enumerate().filter_map(|(index, judged)| Some((index, judged.err()?)));
    let first = errors.take(20);
    first
        .fold(ApiError::new(INVALID_REQUEST), |all, (index, error)| all.including(error, &format!("messages[{index}]")))
}

fn address_in_path(call: &Call) -> Result<Address, ApiError> {
    Address::parse(call.param("address")).map_err(|issue| ApiError::invalid("address", issue))
}

fn language(call: &Call) -> Language {
    call.header("accept-language").map_or_else(Language::default, Language::from_accept_language)
}
