//! From a request to an answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use ieum::api::{Call, Edge, HttpEvent, HttpResponse, Reply, Route};
use ieum::auth::Access;
use ieum::clock::SharedClock;
use ieum::error::{ApiError, NOT_FOUND, STORE_UNAVAILABLE};
use ieum::gate::Gate;
use ieum::resilience::circuit_breaker::Circuit;
use ieum::resilience::health::{self, CHECKER, State, Status};
use ieum::resilience::rate_limit::Bucket;
use ieum::runtime::HttpFunction;
use ieum::start::{Kernel, StartError};
use ieum::store::{Item, Store};
use serde_json::{Value, json};

use crate::config::Config;
use crate::health::{ProviderHealth, of_integration};
use crate::integrations::Integrations;
use crate::steering::Steering;

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
}

const READ: Access = Access::Scope("ops:read");
const WRITE: Access = Access::Scope("ops:write");

/// The routes of `console`, as in `template.yaml`. The public ones say no more than the public may know.
pub const ROUTES: [Route<Action>; 6] = [
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
];

/// A started function.
#[derive(Debug)]
pub struct Handler {
    edge: Edge,
    store: Arc<dyn Store>,
    clock: SharedClock,
    integrations: Integrations,
    steering: Steering,
}

impl HttpFunction for Handler {
    async fn serve(&self, event: HttpEvent, deadline_ms: u64) -> HttpResponse {
        let handle = async |action, call: Call| match action {
            Action::Health => self.health().await,
            Action::IntegrationHealth => self.integration_health(&call).await,
            Action::Settings => self.steering.settings(&call).await,
            Action::ChangeSettings => self.steering.change_settings(&call).await,
            Action::Invalidate => self.steering.invalidate(&call).await,
            Action::ResetCircuit => self.steering.reset_circuit(&call).await,
        };
        self.edge.serve(&ROUTES, event, deadline_ms, handle).await
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
        Self { edge, store, clock, integrations, steering }
    }

    async fn health(&self) -> Result<Reply, ApiError> {
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
        let items = items.map_err(|error| ApiError::new(STORE_UNAVAILABLE).because(error))?;
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

/// A monitor reads the status code and nothing else.
fn http_status(status: Status) -> u16 {
    match status {
        Status::Healthy | Status::Degraded => 200,
        Status::Unhealthy => 503,
    }
}
