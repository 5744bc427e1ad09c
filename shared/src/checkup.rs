//! How the providers of a function are: what it answers when `health-cron` asks.
//!
//! A function owns its providers, so it is the one to look at them: first at what the fleet's calls say, which costs one
//! trip to the table, and only where there were none at the provider itself. Nothing is written here and nobody is told;
//! [`crate::resilience::health`] has the rules, and `health-cron` keeps the states. A probe passes no gate: one each five
//! minutes is no load, and it must neither open nor close a circuit that real calls depend on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use url::Url;

use crate::clock::SharedClock;
use crate::error::chain;
use crate::gate::Gate;
use crate::http::HttpClient;
use crate::provider::{Probe, ProbeKind, ProviderError};
use crate::resilience::alert;
use crate::resilience::circuit_breaker::Circuit;
use crate::resilience::health::{Finding, Sight, asked, seen};
use crate::resilience::rate_limit::Bucket;
use crate::resilience::rollup::{Counts, Grain, SHARDS};
use crate::store::{Store, StoreError};

/// How long a provider may take to say how it is.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Minutes that are looked at together.
const MINUTES: i64 = alert::WINDOW.as_secs() as i64 / 60;

/// Minutes until one has been handed on by those who counted it: it ends, and they hand on with their next call.
const SETTLING: Duration = Duration::from_secs(2 * 60);

/// What a function answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The integration.
    pub integration: String,
    /// What its numbers of the last minutes say.
    pub numbers: Finding,
    /// What was seen of each of its providers.
    pub providers: BTreeMap<String, Sight>,
}

/// A provider, and how it is asked.
struct Patient {
    name: &'static str,
    probe: Option<Box<dyn Probe>>,
}

/// The providers of an integration.
pub struct Checkup {
    integration: &'static str,
    patients: Vec<Patient>,
    store: Arc<dyn Store>,
    clock: SharedClock,
}

impl fmt::Debug for Checkup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkup").field("integration", &self.integration).finish_non_exhaustive()
    }
}

impl Checkup {
    /// Of `integration`, whose state is in `store`.
    pub fn new(integration: &'static str, store: Arc<dyn Store>, clock: SharedClock) -> Self {
        Self { integration, patients: Vec::new(), store, clock }
    }

    /// Adds a provider. One without a probe is made up, and well.
    pub fn add(&mut self, name: &'static str, probe: Option<Box<dyn Probe>>) {
        self.patients.push(Patient { name, probe });
    }

    /// Looks at all of them at once. Probes that are charged for are made only when `paid` says so.
    ///
    /// # Errors
    /// The store did not say what calls have shown.
    pub async fn run(&self, paid: bool) -> Result<Checked, StoreError> {
        let now = self.clock.now();
        let minutes = Grain::Minute.of(now.before(SETTLING)).and_before(MINUTES);
        let mut keys: Vec<String> = self.patients.iter().flat_map(|patient| Gate::keys(patient.name)).collect();
        let parts = minutes.flat_map(|minute| (0..SHARDS).map(move |shard| (minute, shard)));
        keys.extend(parts.map(|(minute, shard)| minute.key(self.integration, shard)));
        let items = self.store.get_many(&keys).await?;
        let (shared, counted) = items.split_at(2 * self.patients.len());

        let mut counts = Counts::default();
        counted.iter().flatten().for_each(|item| counts.add(&Counts::read(item)));
        let sights = self.patients.iter().zip(shared.chunks(2)).map(async |(patient, items)| {
            let item = |place: usize| items.get(place).cloned().flatten().unwrap_or_default();
            let (circuit, bucket) = (Circuit::from(&item(0)), Bucket::from(&item(1)));
            (patient.name.to_owned(), self.sight(patient, &circuit, &bucket, paid).await)
        });
        let providers = join_all(sights).await.into_iter().collect();
        Ok(Checked { integration: self.integration.to_owned(), numbers: alert::judge(&counts), providers })
    }

    async fn sight(&self, patient: &Patient, circuit: &Circuit, bucket: &Bucket, paid: bool) -> Sight {
        if let Some(finding) = seen(circuit, bucket, self.clock.now()) {
            return Sight { finding, asked: false };
        }
        let Some(probe) = &patient.probe else { return Sight { finding: Finding::Well, asked: false } };
        let kind = probe.kind();
        if kind == ProbeKind::Paid && !paid {
            return Sight { finding: Finding::Unclear, asked: false };
        }
        let outcome = timeout(PROBE_TIMEOUT, probe.probe()).await.unwrap_or(Err(ProviderError::Timeout));
        if let Err(error) = &outcome {
            let (integration, provider) = (self.integration, patient.name);
            tracing::warn!(target: "ieum::checkup", integration, provider, error = chain(error), "probe.failed");
        }
        Sight { finding: asked(circuit, kind, &outcome, self.clock.now()), asked: true }
    }
}

/// The probe of a provider that cannot be asked for free: whether its host takes a connection.
#[derive(Debug)]
pub struct Reach {
    http: HttpClient,
    url: Url,
}

impl Reach {
    /// The host of `url`.
    pub fn new(http: &HttpClient, url: &Url) -> Box<Self> {
        Box::new(Self { http: http.clone(), url: url.clone() })
    }
}

#[async_trait]
impl Probe for Reach {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Reach
    }

    async fn probe(&self) -> Result<(), ProviderError> {
        self.http.reach(&self.url).await
    }
}
