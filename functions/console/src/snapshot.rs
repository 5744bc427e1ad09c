//! How everything is at one moment: what the page shows and what `/v1/metrics` tells.
//!
//! Taking a snapshot reads the table; whoever asks within a few seconds is given the same one, and whoever asks while one is
//! taken waits for it. So it does not matter how many people look.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use ieum::clock::{SharedClock, Timestamp};
use ieum::delivery::ledger::IN_DOUBT;
use ieum::error::ApiError;
use ieum::gate::Gate;
use ieum::resilience::circuit_breaker::{Circuit, Verdict};
use ieum::resilience::health::{self, State, Status};
use ieum::resilience::rate_limit::Bucket;
use ieum::resilience::rollup::Grain;
use ieum::settings::{Editor, Stored};
use ieum::store::{Item, Store, StoreError};
use tokio::sync::Mutex;

use crate::health::{ProviderHealth, of_integration};
use crate::history::{DAY, HOUR, History, Series};
use crate::integrations::{Integrations, lists, schema};
use crate::queues::{Depth, Queues};

/// How long a snapshot is given to others.
const FRESH: Duration = Duration::from_secs(5);

/// Items that are counted on a list: more are told as "so many or more".
pub const MOST_COUNTED: u32 = 1_000;

/// How everything is.
#[derive(Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Timestamp,
    /// How everything is, taken together.
    pub status: Status,
    /// The integrations, in the order of their names.
    pub integrations: Vec<IntegrationState>,
    /// Messages of which nobody knows whether they were sent, up to [`MOST_COUNTED`].
    pub in_doubt: usize,
    /// Dead letters, by queue.
    pub queues: Vec<Depth>,
}

/// How one integration is.
#[derive(Debug)]
pub struct IntegrationState {
    /// Its name.
    pub name: String,
    /// How it is.
    pub status: Status,
    /// Its providers, in the deployed order.
    pub providers: Vec<ProviderState>,
    /// The last hour, by minutes.
    pub hour: Series,
    /// The last day, by quarters of an hour.
    pub day: Series,
    /// What waits, by list, up to [`MOST_COUNTED`] each.
    pub waiting: Vec<(&'static str, usize)>,
}

/// How one provider is.
#[derive(Debug)]
pub struct ProviderState {
    /// How it is, and why.
    pub health: ProviderHealth,
    /// Its circuit: `closed`, `half_open`, `open`.
    pub circuit: &'static str,
    /// Failures since its last success.
    pub failures: i64,
    /// Calls per span of time that are allowed: calls, seconds; as far as its function has told.
    pub rate: Option<(u32, u32)>,
    /// How far away the next free call is.
    pub next_call: Duration,
}

/// Takes snapshots.
#[derive(Debug)]
pub(crate) struct Observer {
    store: Arc<dyn Store>,
    clock: SharedClock,
    integrations: Integrations,
    history: History,
    queues: Arc<Queues>,
    last: Mutex<Option<Arc<Snapshot>>>,
}

impl Observer {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: SharedClock,
        integrations: Integrations,
        queues: Arc<Queues>,
    ) -> Self {
        let history = History::new(Arc::clone(&store));
        Self { store, clock, integrations, history, queues, last: Mutex::default() }
    }

    /// How everything is, or was a few seconds ago.
    ///
    /// # Errors
    /// 503 without the table.
    pub(crate) async fn look(&self) -> Result<Arc<Snapshot>, ApiError> {
        let mut last = self.last.lock().await;
        let now = self.clock.now();
        if let Some(snapshot) = last.as_ref().filter(|last| now >= last.at && now.since(last.at) < FRESH) {
            return Ok(Arc::clone(snapshot));
        }
        let taken = self.take(now).await.map_err(ApiError::store_unavailable)?;
        Ok(Arc::clone(last.insert(Arc::new(taken))))
    }

    /// Forgets the last snapshot: somebody has changed something and wants to see it.
    pub(crate) async fn forget(&self) {
        *self.last.lock().await = None;
    }

    async fn take(&self, now: Timestamp) -> Result<Snapshot, StoreError> {
        let names: Vec<&String> = self.integrations.keys().collect();
        let (states, hours, days, stored, waiting, in_doubt, queues) = tokio::join!(
            self.providers(),
            self.history.read(&names, Grain::Minute, HOUR, now),
            self.history.read(&names, Grain::Quarter, DAY, now),
            try_join_all(self.integrations.iter().map(|(name, providers)| self.settings(name, providers))),
            try_join_all(names.iter().map(|name| self.waiting(name))),
            self.count(IN_DOUBT),
            self.queues.depths(),
        );
        let (stored, mut states) = (stored?, states?.into_iter());
        let past = hours?.into_iter().zip(days?);
        let of_all = self.integrations.iter().zip(&stored).zip(past).zip(waiting?);
        let integrations: Vec<IntegrationState> = of_all
            .map(|((((name, providers), stored), (hour, day)), waiting)| {
                let states = states.by_ref().take(providers.len());
                let providers: Vec<ProviderState> =
                    providers.iter().zip(states).map(|(name, items)| provider(name, &items, stored, now)).collect();
                let health: Vec<ProviderHealth> = providers.iter().map(|provider| provider.health.clone()).collect();
                IntegrationState { name: name.clone(), status: of_integration(&health), providers, hour, day, waiting }
            })
            .collect();
        let status = integrations.iter().map(|integration| integration.status).max().unwrap_or(Status::Healthy);
        Ok(Snapshot { at: now, status, integrations, in_doubt: in_doubt?, queues })
    }

    /// The circuit, the limit and what the last check found of every provider, integration by integration.
    async fn providers(&self) -> Result<Vec<[Item; 3]>, StoreError> {
        let all = self.integrations.iter();
        let pairs = all.flat_map(|(name, providers)| providers.iter().map(move |provider| (name, provider)));
        let keys: Vec<String> = pairs
            .flat_map(|(name, provider)| {
                let [circuit, bucket] = Gate::keys(provider);
                [circuit, bucket, health::key(&health::provider(name, provider))]
            })
            .collect();
        let trips = join_all(keys.chunks(100).map(|keys| self.store.get_many(keys))).await;
        let mut items = Vec::with_capacity(keys.len());
        for trip in trips {
            items.extend(trip?.into_iter().map(Option::unwrap_or_default));
        }
        Ok(items.as_chunks().0.to_vec())
    }

    async fn settings(&self, name: &str, providers: &[String]) -> Result<Stored, StoreError> {
        Editor::new(schema(name, providers), Arc::clone(&self.store), Arc::clone(&self.clock)).read().await
    }

    async fn waiting(&self, integration: &str) -> Result<Vec<(&'static str, usize)>, StoreError> {
        let counted = lists(integration).iter().map(async |list| Ok((*list, self.count(list).await?)));
        try_join_all(counted).await
    }

    async fn count(&self, list: &str) -> Result<usize, StoreError> {
        let ever = [0, i64::MAX].map(Timestamp::from_millis);
        Ok(self.store.listed(list, ever[0], ever[1], MOST_COUNTED).await?.len())
    }
}

fn provider(name: &str, [circuit, bucket, checked]: &[Item; 3], stored: &Stored, now: Timestamp) -> ProviderState {
    let (circuit, bucket) = (Circuit::from(circuit), Bucket::from(bucket));
    let number = |noun: &str| {
        let variable = format!("{}_{noun}", name.to_uppercase().replace('-', "_"));
        let value = stored.overrides.get(&variable);
        value.or_else(|| stored.deployed.get(&variable).map(|deployed| &deployed.value))?.parse().ok()
    };
    let behind_us = bucket.tat_us.saturating_sub(now.as_millis() * 1_000);
    ProviderState {
        health: ProviderHealth::judge(name, &circuit, &bucket, &State::from(checked), now),
        circuit: match circuit.verdict(now) {
            Verdict::Closed => "closed",
            Verdict::HalfOpen => "half_open",
            Verdict::Open(_) => "open",
        },
        failures: circuit.failures,
        rate: number("RATE_PER_PERIOD").zip(number("RATE_PERIOD_SECONDS")),
        next_call: Duration::from_micros(u64::try_from(behind_us).unwrap_or(0)),
    }
}
