//! From a request to an answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use ieum::api::{Call, Edge, HttpEvent, HttpResponse, Reply, Route};
use ieum::auth::Access;
use ieum::clock::SharedClock;
use ieum::error::{ApiError, NOT_FOUND, STORE_UNAVAILABLE};
use ieum::gate::Gate;
use ieum::resilience::circuit_breaker::Circuit;
use ieum::resilience::rate_limit::Bucket;
use ieum::runtime::HttpFunction;
use ieum::start::{Kernel, StartError};
use ieum::store::Store;
use serde_json::json;

use crate::config::Config;
use crate::health::{ProviderHealth, Status, of_integration};
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
        let names: Vec<&String> = self.integrations.values().flatten().collect();
        let judged = self.judge(&names).await?;
        let mut judged = judged.into_iter();
        let mut integrations = BTreeMap::new();
        for (integration, providers) in &self.integrations {
            let providers: Vec<_> = judged.by_ref().take(providers.len()).collect();
            integrations.insert(integration, of_integration(&providers));
        }
        let overall = integrations.values().copied().max().unwrap_or(Status::Healthy);
        let integrations: BTreeMap<_, _> =
            integrations.into_iter().map(|(name, status)| (name, json!({"status": status}))).collect();
        let body = json!({"status": overall, "integrations": integrations, "checked_at": self.clock.now().rfc3339()});
        Reply::json(http_status(overall), &body)
    }

    async fn integration_health(&self, call: &Call) -> Result<Reply, ApiError> {
        let name = call.param("integration");
        let providers = self.integrations.get(name).ok_or_else(|| ApiError::new(NOT_FOUND))?;
        let judged = self.judge(&providers.iter().collect::<Vec<_>>()).await?;
        let status = of_integration(&judged);
        let checked_at = self.clock.now().rfc3339();
        let body = json!({"integration": name, "status": status, "providers": judged, "checked_at": checked_at});
        Reply::json(http_status(status), &body)
    }

    /// How each of `providers` is, in their order; one trip to the table.
    async fn judge(&self, providers: &[&String]) -> Result<Vec<ProviderHealth>, ApiError> {
        let keys: Vec<String> = providers.iter().flat_map(|provider| Gate::keys(provider)).collect();
        let items = self.store.get_many(&keys).await;
        let items = items.map_err(|error| ApiError::new(STORE_UNAVAILABLE).because(error))?;
        let now = self.clock.now();
        let judged = providers.iter().zip(items.chunks(2)).map(|(provider, items)| {
            let item = |place: usize| items.get(place).cloned().flatten().unwrap_or_default();
            ProviderHealth::judge(provider, &Circuit::from(&item(0)), &Bucket::from(&item(1)), now)
        });
        Ok(judged.collect())
    }
}

/// A monitor reads the status code and nothing else.
fn http_status(status: Status) -> u16 {
    match status {
        Status::Healthy | Status::Degraded => 200,
        Status::Unhealthy => 503,
    }
}
