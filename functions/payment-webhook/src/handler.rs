//! From an event to an answer: webhooks are proven, written down and answered; everything else is about what became of
//! them. Nothing here knows a wire format.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ieum::api::{Call, Edge, HttpEvent, Reply, Route};
use ieum::auth::Access;
use ieum::checkup::{Checkup, Reach};
use ieum::clock::{SharedClock, Timestamp};
use ieum::delivery::inbox::{Status, Webhook};
use ieum::delivery::outbox::Outbox;
use ieum::delivery::webhooks::{Arrival, Receipt, Standing, Webhooks};
use ieum::error::{ApiError, BAD_FORMAT, CONFLICT, Code, Detail, FORBIDDEN, Issue, MISSING, NOT_FOUND, code, issue};
use ieum::events::{MemoryBus, Publisher};
use ieum::limiter::{Limiter, Standing as LimitStanding};
use ieum::provider::{Cause, Probe};
use ieum::queue::{self, Queue, sweep_here};
use ieum::runtime::{Answer, Bounds, Event, Function, Scheduled, work_here};
use ieum::secrets::SecretError;
use ieum::start::{Kernel, StartError};
use ieum::store::{Action as Change, EXPIRES_AT, Outcome, Store, Test, Update};
use serde_json::json;
use tokio::time::Instant;

use crate::config::{Config, ProviderName};
use crate::payment::{Currency, Day, MAX_NAME};
use crate::providers::{build, kept_headers};
use crate::state::Expectation;
use crate::worker::{Desk, Payments, RefreshError};

/// The largest body any route takes. Notifications have a few kilobytes.
const MAX_BODY_BYTES: usize = 512 * 1024;

/// The list that webhooks are worked off from, as `template.yaml` has it.
const WEBHOOKS: &str = "payment-webhooks";

/// The list of items with events to be published, as `template.yaml` has it.
const EVENTS: &str = "payment-events";

/// Items that a local run's own sweep wakes in a minute, as `template.yaml` has it.
const SWEPT: u32 = 600;

/// What is kept back of the worker's time, to write a report down.
const TO_REPORT: Duration = Duration::from_secs(10);

/// How long an expectation is kept.
const EXPECTED_FOR: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// Webhooks in one answer, or replayed by one request.
const MAX_LISTED: u32 = 1_000;

/// No provider knows the payment.
const PAYMENT_NOT_FOUND: Code =
    code("payment_not_found", 404, "해당 결제를 찾을 수 없습니다.", "There is no such payment.");

const UNKNOWN_PROVIDER: Issue =
    issue("unknown_provider", "사용하지 않는 결제 서비스입니다.", "This payment provider is not in use here.");
const OTHER_EXPECTATION: Issue = issue(
    "other_expectation",
    "이 주문에는 다른 금액이 이미 등록되어 있습니다.",
    "Another amount is expected for this order already.",
);

/// What the routes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Takes a webhook of this provider.
    Receive(ProviderName),
    /// What is known of a payment.
    Payment,
    /// Asks the provider about a payment now.
    Refresh,
    /// Says what an order costs.
    Expect,
    /// Webhooks by what became of them.
    Webhooks,
    /// Processes a webhook again.
    Replay,
    /// Processes the webhooks of a span of time again.
    ReplayRange,
}

const PUBLIC: Access = Access::Public;
const READ: Access = Access::Scope("payment:read");
const WRITE: Access = Access::Scope("payment:write");
const OPERATE: Access = Access::Scope("ops:write");

/// The routes of `payment-webhook`, as in `template.yaml`.
pub const ROUTES: [Route<Action>; 11] = [
    Route { method: "POST", path: "/v1/webhooks/toss", access: PUBLIC, action: Action::Receive(ProviderName::Toss) },
    Route {
        method: "POST",
        path: "/v1/webhooks/portone",
        access: PUBLIC,
        action: Action::Receive(ProviderName::PortOne),
    },
    Route {
        method: "POST",
        path: "/v1/webhooks/iamport",
        access: PUBLIC,
        action: Action::Receive(ProviderName::Iamport),
    },
    Route {
        method: "POST",
        path: "/v1/webhooks/stripe",
        access: PUBLIC,
        action: Action::Receive(ProviderName::Stripe),
    },
    Route { method: "POST", path: "/v1/webhooks/mock", access: PUBLIC, action: Action::Receive(ProviderName::Mock) },
    Route { method: "GET", path: "/v1/payments/{provider}/{id}", access: READ, action: Action::Payment },
    Route { method: "POST", path: "/v1/payments/{provider}/{id}/refresh", access: WRITE, action: Action::Refresh },
    Route { method: "PUT", path: "/v1/payments/{provider}/{order}/expectation", access: WRITE, action: Action::Expect },
    Route { method: "GET", path: "/v1/webhooks/events", access: Access::Scope("ops:read"), action: Action::Webhooks },
    Route { method: "POST", path: "/v1/webhooks/events/{id}/replay", access: OPERATE, action: Action::Replay },
    Route { method: "POST", path: "/v1/webhooks/events/replay", access: OPERATE, action: Action::ReplayRange },
];

/// What stands at a provider's door besides its signature.
#[derive(Debug)]
struct Gatekeeper {
    name: ProviderName,
    source_ips: Vec<IpAddr>,
    hints: Limiter,
}

/// A started function.
#[derive(Debug)]
pub struct Handler {
    edge: Edge,
    desk: Arc<Desk>,
    gatekeepers: Vec<Gatekeeper>,
    checkup: Checkup,
    store: Arc<dyn Store>,
    clock: SharedClock,
    bounds: Bounds,
}

impl Function for Handler {
    async fn serve(&self, event: Event, deadline_ms: u64) -> Result<Answer, Cause> {
        match event {
            Event::Http(event) => Ok(self.answer(*event, deadline_ms).await.into()),
            Event::Queue(batch) => Ok(batch.work(&*self.desk, self.bounds, &self.clock, deadline_ms).await.into()),
            Event::Scheduled(Scheduled::Reconcile(_)) => {
                let yesterday = Day::of(self.clock.now()).and_then(Day::before).ok_or("there is no yesterday")?;
                let deadline = Instant::now() + self.bounds.limit.saturating_sub(TO_REPORT);
                match self.desk.payments.reconcile(yesterday, deadline).await {
                    0 => Ok(Answer::Done(())),
                    failed => Err(format!("{failed} providers could not be reconciled").into()),
                }
            }
            Event::Scheduled(Scheduled::Probe(probe)) => Ok(self.checkup.run(probe.paid).await?.into()),
            Event::Scheduled(_) | Event::Logs(_) | Event::Objects(_) => Err(event.unexpected()),
        }
    }
}

impl Handler {
    /// Starts the process: telemetry, clients, secrets, providers.
    ///
    /// # Errors
    /// [`StartError`]: the function must not serve.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let kernel = Kernel::start("payment-webhook", &config.common, config.mocked()).await?;
        match (&kernel.aws, &config.queue, &config.bus) {
            (Some(aws), Some(queue), Some(bus)) => {
                Ok(Self::over(&kernel, config, Arc::new(aws.queue(queue)), Arc::new(aws.events(bus))).await?)
            }
            _ => {
                let (queue, wake_ups) = queue::local();
                let queue: Arc<dyn Queue> = Arc::new(queue);
                let handler = Self::over(&kernel, config, Arc::clone(&queue), Arc::new(MemoryBus::default())).await?;
                for list in [WEBHOOKS, EVENTS] {
                    let (store, queue, clock) =
                        (Arc::clone(&handler.store), Arc::clone(&queue), Arc::clone(&handler.clock));
                    tokio::spawn(sweep_here(store, queue, list, SWEPT, clock));
                }
                tokio::spawn(work_here(wake_ups, Arc::clone(&handler.desk), handler.bounds));
                Ok(handler)
            }
        }
    }

    /// A handler over a kernel that runs already.
    ///
    /// # Errors
    /// When a provider's secret cannot be read.
    pub async fn over(
        kernel: &Kernel,
        config: &Config,
        queue: Arc<dyn Queue>,
        publisher: Arc<dyn Publisher>,
    ) -> Result<Self, SecretError> {
        let (store, clock) = (Arc::clone(&kernel.durable), Arc::clone(&kernel.clock));
        let outbox = Outbox::new(EVENTS, Arc::clone(&store), publisher, Arc::clone(&clock));
        let webhooks = Webhooks::new(
            WEBHOOKS,
            Arc::clone(&store),
            kernel.blobs(),
            Arc::clone(&queue),
            outbox.clone(),
            Arc::clone(&clock),
        );
        let parties = build(kernel, config).await?;
        let mut checkup = kernel.checkup("payment");
        for party in &parties {
            let account = config.accounts.iter().find(|(name, _)| *name == party.name);
            let reach = account.map(|(_, account)| Reach::new(&kernel.http, &account.base_url) as Box<dyn Probe>);
            checkup.add(party.name.as_str(), reach);
        }
        let gatekeepers = parties.iter().map(|party| Gatekeeper {
            name: party.name,
            source_ips: (config.accounts.iter().find(|(name, _)| *name == party.name))
                .map(|(_, account)| account.source_ips.clone())
                .unwrap_or_default(),
            hints: Limiter::new(
                format!("rate#hint#{}", party.name.as_str()),
                Some(config.hints),
                Arc::clone(&kernel.quick),
                Arc::clone(&clock),
            ),
        });
        let gatekeepers = gatekeepers.collect();
        let payments = Payments { parties, store: Arc::clone(&store), outbox, clock: Arc::clone(&clock) };
        Ok(Self {
            edge: kernel.edge(&config.common, MAX_BODY_BYTES),
            desk: Arc::new(Desk { webhooks, payments }),
            gatekeepers,
            checkup,
            store,
            clock,
            bounds: Bounds { at_once: config.at_once, limit: config.worker_limit },
        })
    }

    /// What works the webhooks off.
    pub fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    async fn answer(&self, event: HttpEvent, deadline_ms: u64) -> ieum::api::HttpResponse {
        let handle = async |action, call: Call| match action {
            Action::Receive(provider) => self.receive(provider, &call).await,
            Action::Payment => self.payment(&call).await,
            Action::Refresh => self.refresh(&call).await,
            Action::Expect => self.expect(&call).await,
            Action::Webhooks => self.webhooks(&call).await,
            Action::Replay => self.replay(&call).await,
            Action::ReplayRange => self.replay_range(&call).await,
        };
        self.edge.serve(&ROUTES, event, deadline_ms, handle).await
    }

    async fn receive(&self, provider: ProviderName, call: &Call) -> Result<Reply, ApiError> {
        let keeper = self.gatekeepers.iter().find(|keeper| keeper.name == provider);
        let (Some(keeper), Some(party)) = (keeper, self.desk.payments.party(provider)) else {
            return Err(ApiError::new(NOT_FOUND).because("the provider is not configured"));
        };
        if !keeper.source_ips.is_empty() && !call.source_ip().is_some_and(|ip| keeper.source_ips.contains(&ip)) {
            return Err(ApiError::new(FORBIDDEN).because("the address is on no list of this provider"));
        }
        // No scheme of these providers looks at the URL.
        let received = call.received("")?;
        let admitted = party.admit(&received, self.clock.now()).await?;
        if admitted.standing == Standing::Hint {
            keeper.hints.slot(Instant::now()).await.map_err(|reset| {
                let standing = LimitStanding { policy: None, remaining: 0, reset };
                ApiError::new(ieum::error::RATE_LIMITED).limited("hint", standing)
            })?;
        }
        let arrival = Arrival {
            provider: provider.as_str(),
            received,
            standing: admitted.standing,
            delivery: admitted.delivery,
            headers: kept_headers(provider),
        };
        let result = match self.desk.webhooks.receive(&arrival).await? {
            Receipt::New => "new",
            Receipt::Waiting => "waiting",
            Receipt::Ended => "ended",
            Receipt::Again => "again",
        };
        Reply::json(200, &json!({"result": result}))
    }

    async fn payment(&self, call: &Call) -> Result<Reply, ApiError> {
        let (provider, id) = (self.provider_in_path(call)?, name_in_path(call, "id")?);
        let known = self.desk.payments.known(provider, id).await.map_err(ApiError::store_unavailable)?;
        let known = known.ok_or_else(|| ApiError::new(PAYMENT_NOT_FOUND))?;
        Reply::json(200, &known.json(provider.as_str()))
    }

    async fn refresh(&self, call: &Call) -> Result<Reply, ApiError> {
        let (provider, id) = (self.provider_in_path(call)?, name_in_path(call, "id")?);
        let party = self.desk.payments.party(provider).ok_or_else(|| ApiError::new(NOT_FOUND))?;
        let refreshed = self.desk.payments.refresh(party, id, call.deadline).await.map_err(|error| match error {
            RefreshError::Provider(error) => ApiError::from(&error),
            error @ (RefreshError::Effect(_) | RefreshError::Store(_)) => ApiError::store_unavailable(error),
        })?;
        let payment = refreshed.ok_or_else(|| ApiError::new(PAYMENT_NOT_FOUND))?;
        Reply::json(200, &payment.json(provider.as_str()))
    }

    async fn expect(&self, call: &Call) -> Result<Reply, ApiError> {
        let (provider, order) = (self.provider_in_path(call)?, name_in_path(call, "order")?);
        let mut fields = call.body()?;
        // There is no payment of nothing, so 0 stands for an amount that is not there.
        let amount = match fields.number("amount", 0, 0, u32::MAX) {
            Some(0) => fields.note("amount", MISSING),
            amount => amount.map(i64::from),
        };
        let currency = fields.text("currency", 3);
        let currency = currency.and_then(|text| Currency::parse(&text).or_else(|| fields.note("currency", BAD_FORMAT)));
        let (amount, currency) = fields.finish(amount.zip(currency))?;
        let (now, letters) = (self.clock.now(), currency.as_str());
        let update = Update::of(Expectation::key(provider.as_str(), order))
            .when([Test::Absent("amount"), Test::Equals("amount", amount.into())])
            .when([Test::Absent("currency"), Test::Equals("currency", letters.into())])
            .then([
                Change::Set("amount", amount.into()),
                Change::Set("currency", letters.into()),
                Change::SetIfAbsent("put_at", now.as_millis().into()),
                Change::SetIfAbsent("by", call.who().into()),
                Change::Set(EXPIRES_AT, now.after(EXPECTED_FOR).as_seconds().into()),
            ]);
        match self.store.update(&update).await.map_err(ApiError::store_unavailable)? {
            Outcome::Applied(_) => {
                let body =
                    json!({"provider": provider.as_str(), "order_id": order, "amount": amount, "currency": letters});
                Reply::json(200, &body)
            }
            Outcome::Refused(_) => Err(ApiError::new(CONFLICT).with(Detail::field("amount", OTHER_EXPECTATION))),
        }
    }

    async fn webhooks(&self, call: &Call) -> Result<Reply, ApiError> {
        let span = Span::read(call.query()?, Status::Failed)?;
        let found = self
            .desk
            .webhooks
            .list(span.status, span.from, span.to, span.limit)
            .await
            .map_err(ApiError::store_unavailable)?;
        let next = found.last().filter(|_| found.len() == span.limit as usize).map(|last| last.listed_at().rfc3339());
        Reply::json(200, &json!({"events": found.iter().map(Webhook::summary).collect::<Vec<_>>(), "next_from": next}))
    }

    async fn replay(&self, call: &Call) -> Result<Reply, ApiError> {
        let id = call.param("id");
        let (provider, delivery) = id.split_once(':').ok_or_else(|| ApiError::invalid("id", BAD_FORMAT))?;
        match self.desk.webhooks.replay(call.who(), provider, delivery).await.map_err(ApiError::store_unavailable)? {
            true => Reply::json(202, &json!({"id": id})),
            false => Err(ApiError::new(NOT_FOUND)),
        }
    }

    async fn replay_range(&self, call: &Call) -> Result<Reply, ApiError> {
        let Span { status, from, to, limit } = Span::read(call.body()?, Status::Failed)?;
        if !status.is_ended() {
            return Err(ApiError::invalid("status", BAD_FORMAT));
        }
        let replayed = self.desk.webhooks.replay_range(call.who(), status, from, to, limit).await;
        let (replayed, next) = replayed.map_err(ApiError::store_unavailable)?;
        Reply::json(202, &json!({"replayed": replayed, "next_from": next.map(Timestamp::rfc3339)}))
    }

    fn provider_in_path(&self, call: &Call) -> Result<ProviderName, ApiError> {
        let known = ProviderName::parse(call.param("provider"));
        (known.filter(|name| self.desk.payments.party(*name).is_some()))
            .ok_or_else(|| ApiError::invalid("provider", UNKNOWN_PROVIDER))
    }
}

/// Which webhooks.
struct Span {
    status: Status,
    from: Timestamp,
    to: Timestamp,
    limit: u32,
}

impl Span {
    fn read(mut fields: ieum::api::Fields, status: Status) -> Result<Self, ApiError> {
        let status = match fields.optional_text("status", 20) {
            Some(Some(text)) => Status::parse(&text).or_else(|| fields.note("status", BAD_FORMAT)),
            other => other.map(|_| status),
        };
        let mut time = |name| {
            let text = fields.text(name, 40)?;
            Timestamp::parse_rfc3339(&text).or_else(|| fields.note(name, BAD_FORMAT))
        };
        let (from, to) = (time("from"), time("to"));
        let limit = fields.number("limit", 100, 1, MAX_LISTED);
        let span = (|| Some(Self { status: status?, from: from?, to: to?, limit: limit? }))();
        fields.finish(span)
    }
}

fn name_in_path<'c>(call: &'c Call, param: &'static str) -> Result<&'c str, ApiError> {
    let name = call.param(param);
    let plain = !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control);
    if plain { Ok(name) } else { Err(ApiError::invalid(param, BAD_FORMAT)) }
}
