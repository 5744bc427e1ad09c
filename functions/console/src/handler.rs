//! From a request to an answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderValue, header};
use ieum::api::{Call, Edge, HttpEvent, HttpResponse, Reply, Route};
use ieum::auth::Access;
use ieum::clock::SharedClock;
use ieum::error::{ApiError, NOT_FOUND};
use ieum::gate::Gate;
use ieum::resilience::circuit_breaker::Circuit;
use ieum::resilience::health::{self, CHECKER, State, Status};
use ieum::resilience::rate_limit::Bucket;
use ieum::runtime::HttpFunction;
use ieum::start::{Kernel, StartError};
use ieum::store::{Item, Store};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::health::{ProviderHealth, of_integration};
use crate::integrations::Integrations;
use crate::ledgers::Ledgers;
use crate::metrics;
use crate::page::{self, Pages};
use crate::queues::Queues;
use crate::snapshot::Observer;
use crate::steering::{Steering, description};

/// How health is told to whoever asks for it in this form.
const HEALTH_JSON: &str = "application/health+json";

/// The largest body any route takes: some settings.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// What the routes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// How everything is, in one word each.
    Health,
    /// How one integration is, with its providers.
    IntegrationHealth,
    /// What can be changed of an integration, and what has been.
    Settings,
    /// Changes settings.
    ChangeSettings,
    /// Declares remembered answers void.
    Invalidate,
    /// Closes a provider's circuit.
    ResetCircuit,
    /// Takes the last change of settings back.
    Undo,
    /// How everything is, for Prometheus.
    Metrics,
    /// Messages that want attention.
    Messages,
    /// One message.
    Message,
    /// Decides about a message in doubt.
    Settle,
    /// One webhook.
    Webhook,
    /// Puts dead letters back into their queue.
    Redrive,
    /// Who changed what.
    Audit,
    /// The page that operators look at; it holds nothing.
    Page,
    /// Its script.
    Script,
    /// Its style.
    Style,
    /// What one part of the page shows.
    View,
}

const READ: Access = Access::Scope("ops:read");
const WRITE: Access = Access::Scope("ops:write");

/// The routes of `console`, as in `template.yaml`. The public ones say no more than the public may know.
pub const ROUTES: [Route<Action>; 19] = [
    Route { method: "GET", path: "/v1/health", access: Access::Public, action: Action::Health },
    Route {
        method: "GET",
        path: "/v1/health/{integration}",
        access: Access::Public,
        action: Action::IntegrationHealth,
    },
    Route { method: "GET", path: "/v1/config/{integration}", access: READ, action: Action::Settings },
    Route { method: "PATCH", path: "/v1/config/{integration}", access: WRITE, action: Action::ChangeSettings },
    Route { method: "DELETE", path: "/v1/cache/{integration}", access: WRITE, action: Action::Invalidate },
    Route { method: "POST", path: "/v1/breakers/{provider}/reset", access: WRITE, action: Action::ResetCircuit },
    Route { method: "GET", path: "/api/health", access: Access::Public, action: Action::Health },
    Route { method: "GET", path: "/v1/metrics", access: READ, action: Action::Metrics },
    Route { method: "POST", path: "/v1/config/{integration}/undo", access: WRITE, action: Action::Undo },
    Route { method: "GET", path: "/v1/messages", access: READ, action: Action::Messages },
    Route { method: "GET", path: "/v1/messages/{id}", access: READ, action: Action::Message },
    Route { method: "POST", path: "/v1/messages/{id}/settle", access: WRITE, action: Action::Settle },
    Route { method: "GET", path: "/v1/webhooks/events/{id}", access: READ, action: Action::Webhook },
    Route { method: "POST", path: "/v1/queues/{queue}/redrive", access: WRITE, action: Action::Redrive },
    Route { method: "GET", path: "/v1/audit", access: READ, action: Action::Audit },
    Route { method: "GET", path: "/", access: Access::Public, action: Action::Page },
    Route { method: "GET", path: "/console.js", access: Access::Public, action: Action::Script },
    Route { method: "GET", path: "/console.css", access: Access::Public, action: Action::Style },
    Route { method: "GET", path: "/v1/console/{view}", access: READ, action: Action::View },
];

/// A started function.
#[derive(Debug)]
pub struct Handler {
    edge: Edge,
    store: Arc<dyn Store>,
    clock: SharedClock,
    integrations: Integrations,
    steering: Steering,
    ledgers: Ledgers,
    queues: Arc<Queues>,
    observer: Observer,
    pages: Pages,
}

impl HttpFunction for Handler {
    async fn serve(&self, event: HttpEvent, deadline_ms: u64) -> HttpResponse {
        let handle = async |action, call: Call| match action {
            Action::Health => self.health(&call).await,
            Action::IntegrationHealth => self.integration_health(&call).await,
            Action::Settings => self.steering.settings(&call).await,
            Action::ChangeSettings => self.steering.change_settings(&call).await,
            Action::Invalidate => self.steering.invalidate(&call).await,
            Action::ResetCircuit => self.steering.reset_circuit(&call).await,
            Action::Undo => self.steering.undo(&call).await,
            Action::Metrics => {
                Ok(Reply::text(200, metrics::CONTENT_TYPE, metrics::text(&*self.observer.look().await?)))
            }
            Action::Messages => self.ledgers.messages(&call).await,
            Action::Message => self.ledgers.message(&call).await,
            Action::Settle => self.ledgers.settle(&call).await,
            Action::Webhook => self.ledgers.webhook(&call).await,
            Action::Redrive => self.queues.redrive(&call, &*self.store, &self.clock).await,
            Action::Audit => self.ledgers.audit(&call).await,
            Action::Page => self.pages.shell(&call),
            Action::Script => page::script(),
            Action::Style => page::style(),
            Action::View => self.view(&call).await,
        };
        // Whoever changes something looks next at what has become of it.
        let changes = event.method() != "GET";
        let response = self.edge.serve(&ROUTES, event, deadline_ms, handle).await;
        if changes {
            self.observer.forget().await;
        }
        response
    }
}

impl Handler {
    /// Starts the process.
    ///
    /// # Errors
    /// [`StartError`]: the function must not serve.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let kernel = Kernel::start("console", &config.common, false).await?;
        Ok(Self::over(&kernel, config))
    }

    /// A handler over a kernel that runs already.
    pub fn over(kernel: &Kernel, config: &Config) -> Self {
        let edge = kernel.edge(&config.common, MAX_BODY_BYTES);
        let (store, clock) = (Arc::clone(&kernel.durable), Arc::clone(&kernel.clock));
        let integrations = config.integrations.clone();
        let steering = Steering::new(Arc::clone(&store), Arc::clone(&clock), integrations.clone());
        let ledgers = Ledgers::new(Arc::clone(&store), Arc::clone(&clock));
        let queues = Arc::new(Queues::new(kernel, &config.queues));
        let observer = Observer::new(Arc::clone(&store), Arc::clone(&clock), integrations.clone(), Arc::clone(&queues));
        let pages = Pages::new(config.common.stage, integrations.keys().cloned().collect());
        Self { edge, store, clock, integrations, steering, ledgers, queues, observer, pages }
    }

    /// What one part of the page shows.
    async fn view(&self, call: &Call) -> Result<Reply, ApiError> {
        match call.param("view") {
            "overview" => self.pages.overview(call, &*self.observer.look().await?),
            "messages" => {
                let (wanted, found) = self.ledgers.find_messages(call).await?;
                self.pages.messages(call, &wanted, &found)
            }
            "message" => {
                let shown = self.ledgers.find_message(&id_in_query(call)?).await?;
                self.pages.item(call, "message", &shown)
            }
            "webhooks" => {
                let (span, found) = self.ledgers.find_webhooks(call).await?;
                self.pages.webhooks(call, span, &found)
            }
            "webhook" => {
                let shown = self.ledgers.find_webhook(&id_in_query(call)?).await?;
                self.pages.item(call, "webhook", &shown)
            }
            "settings" => {
                let mut query = call.query()?;
                let name = query.optional_text("integration", 40);
                let name = query.finish(name)?;
                let name = name.or_else(|| self.integrations.keys().next().cloned()).unwrap_or_default();
                let editor = self.steering.editor(&name)?;
                let stored = editor.read().await.map_err(ApiError::store_unavailable)?;
                self.pages.settings(call, description(&editor, &stored))
            }
            "changes" => {
                let (day, records) = self.ledgers.find_records(call).await?;
                self.pages.changes(call, &day, &records)
            }
            _ => Err(ApiError::new(NOT_FOUND)),
        }
    }

    async fn health(&self, call: &Call) -> Result<Reply, ApiError> {
        let all = self.integrations.iter();
        let pairs: Vec<_> = all.flat_map(|(name, providers)| providers.iter().map(move |one| (name, one))).collect();
        let (judged, checker) = self.judge(&pairs, CHECKER).await?;
        let mut judged = judged.into_iter();
        let mut integrations = BTreeMap::new();
        for (integration, providers) in &self.integrations {
            let providers: Vec<_> = judged.by_ref().take(providers.len()).collect();
            integrations.insert(integration, of_integration(&providers));
        }
        let overall = integrations.values().copied().max().unwrap_or(Status::Healthy);
        let integrations: BTreeMap<_, _> =
            integrations.into_iter().map(|(name, status)| (name, json!({"status": status}))).collect();
        let now = self.clock.now();
        let checker = checker.is_known(now).then(|| told(&checker));
        let checked_at = now.rfc3339();
        let body = json!({
            "status": overall,
            "integrations": integrations,
            "checker": checker,
            "checked_at": checked_at,
        });
        if call.header("accept").is_some_and(|accept| accept.contains(HEALTH_JSON)) {
            let reply = Reply::json(http_status(overall), &draft(&body))?;
            return Ok(reply.header(header::CONTENT_TYPE, HeaderValue::from_static(HEALTH_JSON)));
        }
        Reply::json(http_status(overall), &body)
    }

    async fn integration_health(&self, call: &Call) -> Result<Reply, ApiError> {
        let name = call.param("integration");
        let providers = self.integrations.get(name).ok_or_else(|| ApiError::new(NOT_FOUND))?;
        let pairs: Vec<_> = providers.iter().map(|provider| (name, provider)).collect();
        let (judged, numbers) = self.judge(&pairs, name).await?;
        let status = of_integration(&judged);
        let now = self.clock.now();
        let raised = numbers.is_known(now) && numbers.status != Status::Healthy;
        let body = json!({
            "integration": name,
            "status": status,
            "providers": judged,
            "alerts": raised.then(|| told(&numbers)),
            "checked_at": now.rfc3339(),
        });
        Reply::json(http_status(status), &body)
    }

    /// How each of `providers`, named with their integrations, is, in their order, and the state of `subject`; one trip to
    /// the table.
    async fn judge(
        &self,
        providers: &[(&(impl AsRef<str> + ?Sized), &String)],
        subject: &str,
    ) -> Result<(Vec<ProviderHealth>, State), ApiError> {
        let keys = providers.iter().flat_map(|(integration, provider)| {
            let [circuit, bucket] = Gate::keys(provider);
            [circuit, bucket, health::key(&health::provider(integration.as_ref(), provider))]
        });
        let keys: Vec<String> = keys.chain([health::key(subject)]).collect();
        let items = self.store.get_many(&keys).await;
        let items = items.map_err(ApiError::store_unavailable)?;
        let now = self.clock.now();
        let item = |items: &[Option<Item>], place: usize| items.get(place).cloned().flatten().unwrap_or_default();
        let judged = providers.iter().zip(items.chunks(3)).map(|((_, provider), items)| {
            let (circuit, bucket) = (Circuit::from(&item(items, 0)), Bucket::from(&item(items, 1)));
            ProviderHealth::judge(provider, &circuit, &bucket, &State::from(&item(items, 2)), now)
        });
        Ok((judged.collect(), State::from(&item(&items, items.len() - 1))))
    }
}

/// A state as the public may know it.
fn told(state: &State) -> Value {
    json!({"status": state.status, "reason": state.reason, "since": state.since.rfc3339()})
}

/// The same as `application/health+json` says it: <https://datatracker.ietf.org/doc/html/draft-inadarei-api-health-check-06>.
fn draft(body: &Value) -> Value {
    let word = |status: &Value| match status.as_str() {
        Some("healthy") => "pass",
        Some("degraded") => "warn",
        _ => "fail",
    };
    let checks = body["integrations"].as_object().into_iter().flatten();
    let time = &body["checked_at"];
    let checks = checks.map(|(name, state)| {
        (name.clone(), json!([{"componentType": "system", "status": word(&state["status"]), "time": time}]))
    });
    json!({"status": word(&body["status"]), "serviceId": "ieum", "checks": checks.collect::<Map<_, _>>()})
}

/// Which item a part of the page is about.
fn id_in_query(call: &Call) -> Result<String, ApiError> {
    let mut query = call.query()?;
    let id = query.text("id", 300);
    query.finish(id)
}

/// A monitor reads the status code and nothing else.
fn http_status(status: Status) -> u16 {
    match status {
        Status::Healthy | Status::Degraded => 200,
        Status::Unhealthy => 503,
    }
}
