//! How every function starts: the same steps in the same order, before the first request.
//!
//! Telemetry, the one HTTP client, AWS (where there is a table), the store, all secrets. Clients are made eagerly, and
//! connections to the table and to the provider that callers will wait for, because whatever is left for the first request
//! is paid for by a person who waits. The wiring of one function is its own `main.rs`.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256};

use crate::answers::{AnswerCache, ManualEntries, RequestKeys, Response};
use crate::api::{CallerLimits, Edge};
use crate::auth::{Door, IeumSecret};
use crate::aws::{Aws, SetUpError};
use crate::blobs::{Blobs, MemoryBlobs};
use crate::checkup::Checkup;
use crate::clock::{CorrectedClock, SharedClock, SystemClock};
use crate::config::{Common, Stage};
use crate::error::chain;
use crate::gate::Gate;
use crate::http::{HttpClient, TlsError};
use crate::idempotency::Idempotency;
use crate::resilience::cache::CachePolicy;
use crate::resilience::circuit_breaker::BreakerPolicy;
use crate::resilience::rate_limit::RatePolicy;
use crate::rollups::Rollups;
use crate::secrets::{
    Secret, SecretError, SecretName, SecretShape, SecretSource, SecretString, Secrets, SecretsManager,
};
use crate::settings::{Live, Schema, Settings, Texts};
use crate::sigv4::Signer;
use crate::store::{BoundedStore, MemoryStore, Read, Store};
use crate::telemetry::{self, LevelSwitch};

/// So long a start may wait for a provider that the first request will most likely need: longer than a healthy one takes,
/// and short enough for a start during its outage.
const CONNECTING_AHEAD: Duration = Duration::from_millis(300);

/// Why a function does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The TLS stack cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// The process does not know where and as whom to call AWS.
    #[error("AWS cannot be called")]
    Aws(#[from] SetUpError),
    /// A secret cannot be read.
    #[error("a secret cannot be read")]
    Secret(#[from] SecretError),
    /// The cache key is not base64 of at least 16 bytes.
    #[error("`cache_key` in the layer's secret is not base64 of at least 16 bytes")]
    CacheKey,
    /// Requests to AWS are to be signed, and there is nothing to sign them with.
    #[error("there are no AWS credentials: no role, and no secret with keys")]
    NoCredentials,
}

/// What a running function stands on.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The clock.
    pub clock: SharedClock,
    /// The HTTP client.
    pub http: HttpClient,
    /// The store that may not hold a request up.
    pub quick: Arc<dyn Store>,
    /// The same store without a limit of its own, for what a person was promised.
    pub durable: Arc<dyn Store>,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretSource>,
    /// The layer's own secret.
    pub ieum: Arc<Secret<IeumSecret>>,
    /// The names of cached requests.
    pub keys: RequestKeys,
    /// The clients of AWS; absent in a local run without it.
    pub aws: Option<Aws>,
    /// How much is logged, for whoever changes it at run time.
    pub levels: LevelSwitch,
    bucket: Option<String>,
    memory_blobs: Arc<MemoryBlobs>,
    /// The variables of this deployment that can be changed while it runs.
    adjustable: Texts,
}

impl Kernel {
    /// Starts the process of `function`. `mocked` marks every log line.
    ///
    /// # Errors
    /// [`StartError`]: the function must not serve.
    pub async fn start(function: &'static str, common: &Common, mocked: bool) -> Result<Self, StartError> {
        let corrected = Arc::new(CorrectedClock::new(Arc::new(SystemClock)));
        let clock: SharedClock = corrected.clone();
        let mut marks = vec![("function", function.to_owned()), ("stage", common.stage.as_str().to_owned())];
        if mocked {
            marks.push(("mock", "on".to_owned()));
        }
        let levels = LevelSwitch::new(common.log_level);
        telemetry::init(levels.clone(), &marks, Arc::clone(&clock));
        if mocked {
            tracing::warn!(target: "ieum::start", "mock mode is on: answers are made up");
        }
        let http = HttpClient::new(common.ca_file.as_deref())?;
        let kernel = if let Some(table) = &common.table {
            let aws = Aws::of_environment(http.correcting(corrected))?;
            http.look_up_ahead(aws.asked_at_start().into_iter().chain(&common.first_provider));
            let kernel = Self::over(common, http, clock, Arc::new(aws.store(table)), Some(aws.secrets())).await?;
            Self { aws: Some(aws), ..kernel }
        } else {
            tracing::warn!(target: "ieum::start", "no `TABLE_NAME`: state lives in this process and dies with it");
            Self::over(common, http, clock, Arc::new(MemoryStore::new()), None).await?
        };
        Ok(Self { levels, ..kernel })
    }

    /// The kernel over parts that exist already. `managed` is absent where there is no AWS.
    ///
    /// # Errors
    /// [`StartError`]: the function must not serve.
    pub async fn over(
        common: &Common,
        http: HttpClient,
        clock: SharedClock,
        durable: Arc<dyn Store>,
        managed: Option<SecretsManager>,
    ) -> Result<Self, StartError> {
        let managed = Arc::new(Secrets::new(managed));
        let secrets: Arc<dyn SecretSource> = managed.clone();
        // Connections are made while secrets are fetched. A table or a provider that cannot be reached now may be later.
        let (warmed, connected, ieum) = tokio::join!(
            durable.get("warm", Read::Eventual),
            async {
                let Some(url) = &common.first_provider else { return Ok(()) };
                http.connect_ahead(url, CONNECTING_AHEAD).await
            },
            async {
                managed.read_ahead(&common.secrets).await;
                own_secret(common, &secrets).await
            },
        );
        if let Err(error) = warmed {
            tracing::warn!(target: "ieum::start", error = chain(&error), "store.cold");
        }
        if let Err(error) = connected {
            tracing::info!(target: "ieum::start", error = chain(&error), "provider.cold");
        }
        let ieum = Arc::new(ieum?);
        let cache_key = STANDARD.decode(ieum.current().await.cache_key.expose_secret().trim());
        let cache_key = cache_key.ok().filter(|key| key.len() >= 16).ok_or(StartError::CacheKey)?;
        let quick = Arc::new(BoundedStore::new(Arc::clone(&durable), common.store_timeout));
        let keys = RequestKeys::new(SecretSlice::from(cache_key));
        let (levels, adjustable) = (LevelSwitch::new(common.log_level), common.adjustable.clone());
        let (bucket, memory_blobs) = (common.bucket.clone(), Arc::default());
        Ok(Self {
            clock,
            http,
            quick,
            durable,
            secrets,
            ieum,
            keys,
            aws: None,
            levels,
            bucket,
            memory_blobs,
            adjustable,
        })
    }

    /// The secret of a provider family.
    ///
    /// # Errors
    /// [`SecretError`] when it cannot be read or has another shape.
    pub async fn secret<T: SecretShape>(&self, name: &SecretName) -> Result<Arc<Secret<T>>, SecretError> {
        Ok(Arc::new(Secret::load(name.clone(), Arc::clone(&self.secrets)).await?))
    }

    /// Who signs requests to AWS: `keys` where a secret is named, else the function's role.
    ///
    /// # Errors
    /// [`StartError`] when the secret cannot be read, or there is neither.
    pub async fn signer(&self, keys: Option<&SecretName>) -> Result<Signer, StartError> {
        match (keys, &self.aws) {
            (Some(name), _) => Ok(Signer::Keys(self.secret(name).await?)),
            (None, Some(aws)) => Ok(aws.signer()),
            (None, None) => Err(StartError::NoCredentials),
        }
    }

    /// The edge of an HTTP function, for the callers in the layer's secret, with bodies of at most `max_body_bytes`.
    pub fn edge(&self, common: &Common, max_body_bytes: usize) -> Edge {
        let door = Door::new(Arc::clone(&self.ieum));
        let limits = |rate| CallerLimits::new(rate, Arc::clone(&self.quick), Arc::clone(&self.clock));
        Edge::new(door, Arc::clone(&self.clock), max_body_bytes).limiting(common.caller_rate.map(limits))
    }

    /// What can be changed of the integration of this function while it runs.
    pub fn settings(&self, schema: Schema) -> Arc<Settings> {
        let (environment, levels) = (Some(self.adjustable.clone()), self.levels.clone());
        Settings::new(schema, environment, Arc::clone(&self.quick), Arc::clone(&self.clock), levels)
    }

    /// The gate before a provider. One provider has one gate per process, whatever its operations.
    pub fn gate(
        &self,
        provider: &'static str,
        breaker: impl Into<Live<BreakerPolicy>>,
        rate: impl Into<Live<Option<RatePolicy>>>,
    ) -> Arc<Gate> {
        Arc::new(Gate::new(provider, breaker, rate, Arc::clone(&self.quick), Arc::clone(&self.clock)))
    }

    /// The cache of an operation.
    pub fn cache<Res: Response>(
        &self,
        operation: &'static str,
        policy: impl Into<Live<CachePolicy>>,
    ) -> AnswerCache<Res> {
        AnswerCache::new(operation, policy, self.keys.clone(), Arc::clone(&self.quick), Arc::clone(&self.clock))
    }

    /// The minutes of an integration.
    pub fn rollups(&self, integration: &'static str) -> Arc<Rollups> {
        Arc::new(Rollups::new(integration, Arc::clone(&self.quick), Arc::clone(&self.clock)))
    }

    /// How the providers of an integration are, for whoever asks.
    pub fn checkup(&self, integration: &'static str) -> Checkup {
        Checkup::new(integration, Arc::clone(&self.durable), Arc::clone(&self.clock))
    }

    /// The hand-entered answers of an operation.
    pub fn manual_entries(&self, operation: &'static str) -> ManualEntries {
        let (quick, durable) = (Arc::clone(&self.quick), Arc::clone(&self.durable));
        ManualEntries::new(operation, self.keys.clone(), quick, durable, Arc::clone(&self.clock))
    }

    /// What is too large for the store: in the bucket, or in this process where there is no AWS. Only a function that asks
    /// for it carries the client.
    pub fn blobs(&self) -> Arc<dyn Blobs> {
        match (&self.aws, &self.bucket) {
            (Some(aws), Some(bucket)) => Arc::new(aws.blobs(bucket)),
            _ => self.memory_blobs.clone(),
        }
    }

    /// The records of idempotency keys.
    pub fn idempotency(&self) -> Idempotency {
        Idempotency::new(Arc::clone(&self.durable), Arc::clone(&self.clock))
    }
}

/// The layer's own secret, or one made up for a local run that names none.
async fn own_secret(common: &Common, secrets: &Arc<dyn SecretSource>) -> Result<Secret<IeumSecret>, SecretError> {
    if let Some(name) = &common.secret {
        return Secret::load(name.clone(), Arc::clone(secrets)).await;
    }
    debug_assert_eq!(common.stage, Stage::Local, "configuration lets only local runs do without");
    let key = common.local_key.clone().unwrap_or_else(|| {
        let key = format!("local-{}", uuid::Uuid::new_v4().simple());
        // Printed, not logged: the redactor would hide it, and rightly.
        #[expect(clippy::print_stdout, reason = "the developer who starts this needs the key")]
        {
            println!("api key: {key}");
        }
        key
    });
    let text = serde_json::json!({
        "api_keys": [{
            "id": "local",
            "label": "local run",
            "scopes": ["*"],
            "not_after": "9999-12-31T23:59:59Z",
            "sha256": hex::encode(Sha256::digest(key)),
        }],
        "jwt_issuers": [],
        "cache_key": STANDARD.encode(uuid::Uuid::new_v4().as_bytes()),
    });
    Secret::load(SecretName::File("made up".into(), None), Arc::new(MadeUp(text.to_string().into()))).await
}

#[derive(Debug)]
struct MadeUp(SecretString);

#[async_trait::async_trait]
impl SecretSource for MadeUp {
    async fn fetch(&self, _: &SecretName) -> Result<SecretString, SecretError> {
        Ok(self.0.clone())
    }
}
