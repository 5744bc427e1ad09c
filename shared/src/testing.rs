//! What tests of this workspace share: a clock that follows tokio's, secrets from text, a provider that follows a script,
//! and a one-call harness for functions. Nothing here is compiled into a function.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "test support fails by panicking")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_types::SdkConfig;
use aws_types::region::Region;
use tokio::time::Instant;

use crate::aws::Aws;
use crate::clock::{Clock, Timestamp};
use crate::http::HttpClient;
use crate::provider::{Provider, ProviderError};
use crate::secrets::{Secret, SecretError, SecretName, SecretShape, SecretSource, SecretString};
use crate::store::DynamoStore;

pub mod door;
pub mod page;

/// The store in `table` of a DynamoDB on this machine, which takes any credentials: over the kernel's own HTTP client and
/// without retries, as [`crate::aws::Aws::store`] has it.
pub fn dynamodb_at(endpoint: &str, table: &str) -> DynamoStore {
    dynamodb_over(HttpClient::new(None).expect("an HTTP client"), endpoint, table)
}

/// The same over an HTTP client of the caller's.
pub fn dynamodb_over(http: HttpClient, endpoint: &str, table: &str) -> DynamoStore {
    aws_over(http, endpoint).store(table)
}

/// The clients of an AWS that is at `endpoint` and takes any credentials.
pub fn aws_at(endpoint: &str) -> Aws {
    aws_over(HttpClient::new(None).expect("an HTTP client"), endpoint)
}

fn aws_over(http: HttpClient, endpoint: &str) -> Aws {
    aws_as(Credentials::new("test", "test", None, None, "test"), http, endpoint)
}

/// The clients, over `http`, of an AWS that is at `endpoint` and knows whom `credentials` finds.
pub fn aws_as(credentials: impl ProvideCredentials + 'static, http: HttpClient, endpoint: &str) -> Aws {
    let config = SdkConfig::builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::from_static("ap-northeast-2"))
        .endpoint_url(endpoint);
    Aws::of(config.build(), http).expect("region, keys and address")
}

/// Wall-clock time that passes as tokio's time does, so that a paused test can run hours.
#[derive(Debug)]
pub struct TokioClock {
    base: Timestamp,
    began: Instant,
}

impl TokioClock {
    /// A clock that shows 2026-11-21T03:50:00Z now.
    pub fn start() -> Arc<Self> {
        Arc::new(Self { base: Timestamp::from_millis(1_795_233_000_000), began: Instant::now() })
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.base.after(self.began.elapsed())
    }
}

/// Wall-clock time that passes only when told to, for tests that speak over real sockets and so cannot pause tokio.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows 2026-11-21T03:50:00Z until it is told otherwise.
    pub fn start() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_795_233_000_000)))
    }

    /// Lets `span` pass.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(crate::clock::millis(span), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// SHA-256 of `text`, as the layer's secret holds it for an API key.
pub fn sha256_hex(text: &str) -> String {
    hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text))
}

/// A secret with this JSON text, which never changes.
pub async fn secret_of<T: SecretShape>(json: &str) -> Arc<Secret<T>> {
    #[derive(Debug)]
    struct Fixed(SecretString);
    #[async_trait]
    impl SecretSource for Fixed {
        async fn fetch(&self, _: &SecretName) -> Result<SecretString, SecretError> {
            Ok(self.0.clone())
        }
    }
    let source = Arc::new(Fixed(json.to_owned().into()));
    Arc::new(Secret::load(SecretName::Managed("test".to_owned()), source).await.expect("a secret of the right shape"))
}

/// One step of a script: how long it takes and what comes of it.
pub type Step<Res> = (Duration, Result<Res, ProviderError>);

/// A provider that does what its script says, step by step, and then what its last resort says.
pub struct Scripted<Res> {
    name: &'static str,
    script: Arc<Mutex<VecDeque<Step<Res>>>>,
    otherwise: fn() -> Result<Res, ProviderError>,
    calls: Arc<Mutex<Vec<Instant>>>,
}

impl<Res> Clone for Scripted<Res> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            script: Arc::clone(&self.script),
            otherwise: self.otherwise,
            calls: Arc::clone(&self.calls),
        }
    }
}

impl<Res> Scripted<Res> {
    /// A provider with an empty script.
    pub fn new(name: &'static str, otherwise: fn() -> Result<Res, ProviderError>) -> Self {
        Self { name, script: Arc::default(), otherwise, calls: Arc::default() }
    }

    /// Adds a step that takes no time.
    pub fn then(&self, outcome: Result<Res, ProviderError>) -> &Self {
        self.then_after(Duration::ZERO, outcome)
    }

    /// Adds a step that takes `span`.
    pub fn then_after(&self, span: Duration, outcome: Result<Res, ProviderError>) -> &Self {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).push_back((span, outcome));
        self
    }

    /// When each call came.
    pub fn calls(&self) -> Vec<Instant> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl<Req: Sync, Res: Send> Provider<Req, Res> for Scripted<Res> {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn call(&self, _: &Req) -> Result<Res, ProviderError> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        let step = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match step {
            Some((span, outcome)) => {
                tokio::time::sleep(span).await;
                outcome
            }
            None => (self.otherwise)(),
        }
    }
}
