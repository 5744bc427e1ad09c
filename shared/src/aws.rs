//! The AWS clients of a process, over the one HTTP client.
//!
//! Made once, in `main`, before the first request. Nothing is repeated for the table, whose updates must not be repeated
//! unseen; every other client asks a second time, for a connection may have broken while the process was frozen.
//!
//! The table, secrets, queues and events speak AWS's JSON protocol ([`json`]), objects lie in S3 ([`s3`]), and each of them is asked
//! with a signed request for each operation. There are no SDK clients here, as there are none for the senders
//! ([`crate::sigv4`]): a client of dozens of operations is what a cold start reads in and a hit from the table computes on.
//! Most of what it does beyond these pages we switched off or did again. `infra/bench/RESULTS.md` has the figures, and
//! ARCHITECTURE what is given up.
//!
//! Where and as whom a function calls AWS is what Lambda sets in its environment, and nothing else is asked: no profile,
//! no metadata service, no token exchange. The SDK's own chain of all of these is a tenth of a function's size, and reads files
//! before the first request. Tools that people run have it (`infra/xtask`), and hand in what it found.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_types::SdkConfig;
use aws_types::region::Region;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use tokio::sync::Mutex;
use url::Url;

use crate::backup::files::S3Buckets;
use crate::blobs::S3Blobs;
use crate::config::aws_variable as variable;
use crate::events::EventBus;
use crate::http::HttpClient;
use crate::queue::SqsQueue;
use crate::secrets::SecretsManager;
use crate::sigv4::Signer;
use crate::store::DynamoStore;

mod caller;
pub mod json;
pub mod s3;

use caller::Caller;
pub use caller::{AwsError, Failure, Operation};
use s3::S3;

/// Why AWS cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// A variable that Lambda sets in every environment is missing.
    #[error("`{0}` is not set: a function has it from Lambda")]
    NotInLambda(&'static str),
    /// No region is set.
    #[error("no AWS region is set")]
    NoRegion,
    /// There are neither a role nor keys.
    #[error("there are no AWS credentials")]
    NoCredentials,
    /// What is set as the address of a service is none, with its name in variables.
    #[error("what is set as the address of {0} is not `https://…` or `http://…`")]
    Address(&'static str),
    /// The region's hosts have other names than those known here: a partition of AWS of its own, or addresses that are
    /// asked for with `AWS_USE_FIPS_ENDPOINT` or `AWS_USE_DUALSTACK_ENDPOINT`.
    #[error("hosts of the region `{0}`, as they are asked for, are not known here: set `AWS_ENDPOINT_URL`")]
    Hosts(String),
}

/// Where AWS clients come from.
#[derive(Clone, Debug)]
pub struct Aws {
    /// Where services are, for requests that are signed elsewhere.
    config: Arc<SdkConfig>,
    region: Arc<str>,
    signer: Signer,
    table: json::Client,
    secrets: json::Client,
    queues: json::Client,
    events: json::Client,
    s3: S3,
}

impl Aws {
    /// In the region and with the role that Lambda has put into the environment of this process
    /// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>), through `http`. `AWS_ENDPOINT_URL` and
    /// its forms for single services say that AWS is elsewhere.
    ///
    /// # Errors
    /// [`SetUpError`].
    pub fn of_environment(http: HttpClient) -> Result<Self, SetUpError> {
        let needed = |name| variable(name).ok_or(SetUpError::NotInLambda(name));
        let region = needed("AWS_REGION")?;
        let (id, key) = (needed("AWS_ACCESS_KEY_ID")?, needed("AWS_SECRET_ACCESS_KEY")?);
        let credentials = Credentials::new(id, key, variable("AWS_SESSION_TOKEN"), None, "Lambda");
        let mut config = SdkConfig::builder()
            .region(Region::new(region))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .service_config(Variables);
        config.set_endpoint_url(variable("AWS_ENDPOINT_URL"));
        Self::of(config.build(), http)
    }

    /// Where and as whom `config` says, through `http`.
    ///
    /// # Errors
    /// [`SetUpError`].
    pub fn of(config: SdkConfig, http: HttpClient) -> Result<Self, SetUpError> {
        let region: Arc<str> = config.region().ok_or(SetUpError::NoRegion)?.as_ref().into();
        let role = Kept::new(config.credentials_provider().ok_or(SetUpError::NoCredentials)?);
        let signer = Signer::Role(SharedCredentialsProvider::new(role));
        let caller = |service, most_attempts, protocol| {
            let (http, region, signer) = (http.clone(), Arc::clone(&region), signer.clone());
            Caller { service, http, region, signer, most_attempts, protocol }
        };
        let address = |id, name| endpoint(&config, &region, id, name);
        let client = |service: json::Service, most_attempts| -> Result<json::Client, SetUpError> {
            let url = address(service.id, service.name)?;
            Ok(json::Client::new(service, url, caller(service.name, most_attempts, json::PROTOCOL)))
        };
        let (table, secrets) = (client(json::DYNAMODB, 1)?, client(json::SECRETS_MANAGER, 2)?);
        let (queues, events) = (client(json::SQS, 2)?, client(json::EVENTBRIDGE, 2)?);
        let s3 = S3::new(address("S3", s3::NAME)?, caller(s3::NAME, 2, s3::PROTOCOL));
        let config = Arc::new(config);
        Ok(Self { config, region, signer, table, secrets, queues, events, s3 })
    }

    /// Where secrets and tables are, which every start asks.
    pub fn asked_at_start(&self) -> [&Url; 2] {
        [self.secrets.url(), self.table.url()]
    }

    /// The store in `table`.
    pub fn store(&self, table: &str) -> DynamoStore {
        DynamoStore::new(self.table.clone(), table)
    }

    /// The blobs in `bucket`.
    pub fn blobs(&self, bucket: &str) -> S3Blobs {
        S3Blobs::new(self.s3(), bucket)
    }

    /// All buckets that this process may reach.
    pub fn buckets(&self) -> S3Buckets {
        S3Buckets::new(self.s3())
    }

    /// S3.
    pub fn s3(&self) -> S3 {
        self.s3.clone()
    }

    /// The queue at `url`.
    pub fn queue(&self, url: &str) -> SqsQueue {
        SqsQueue::new(self.queues.clone(), url)
    }

    /// Who this process is to AWS, for requests that are signed by hand.
    pub fn signer(&self) -> Signer {
        self.signer.clone()
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Where the service answers that is called `id` in the names of variables (`AWS_ENDPOINT_URL_…`) and `name` in those of
    /// hosts, for requests that are signed by hand.
    ///
    /// # Errors
    /// [`SetUpError::Address`], and [`SetUpError::Hosts`] where only the clients' addresses are set.
    pub fn endpoint(&self, id: &'static str, name: &str) -> Result<Url, SetUpError> {
        endpoint(&self.config, &self.region, id, name)
    }

    /// The event bus of this name or ARN.
    pub fn events(&self, bus: &str) -> EventBus {
        EventBus::new(self.events.clone(), bus)
    }

    /// Secrets Manager.
    pub fn secrets(&self) -> SecretsManager {
        SecretsManager::new(self.secrets.clone())
    }
}

fn endpoint(config: &SdkConfig, region: &str, id: &'static str, name: &str) -> Result<Url, SetUpError> {
    let key = ServiceConfigKey::builder().service_id(id).env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    // A key of all three parts can be built.
    let own = key.ok().and_then(|key| config.service_config()?.load_config(key));
    let Some(set) = own.as_deref().or(config.endpoint_url()) else {
        let elsewhere = config.use_fips() == Some(true) || config.use_dual_stack() == Some(true);
        if elsewhere || ["cn-", "us-iso", "eu-iso", "eusc-"].iter().any(|partition| region.starts_with(partition)) {
            return Err(SetUpError::Hosts(region.to_owned()));
        }
        return Url::parse(&format!("https://{name}.{region}.amazonaws.com")).map_err(|_| SetUpError::Address(id));
    };
    let url = Url::parse(set).map_err(|_| SetUpError::Address(id))?;
    let usable = ["https", "http"].contains(&url.scheme()) && url.has_host();
    usable.then_some(url).ok_or(SetUpError::Address(id))
}

/// Credentials are asked for again this long before they run out.
const RENEWED_AHEAD: Duration = Duration::from_secs(5 * 60);

/// Credentials, until they run out. Each request asks for them, and whoever finds them for a tool may ask the network.
#[derive(Debug)]
struct Kept {
    finder: SharedCredentialsProvider,
    found: Mutex<Option<Credentials>>,
}

impl Kept {
    fn new(finder: SharedCredentialsProvider) -> Self {
        Self { finder, found: Mutex::default() }
    }

    async fn current(&self) -> Result<Credentials, CredentialsError> {
        let mut found = self.found.lock().await;
        let lasts = |found: &Credentials| found.expiry().is_none_or(|end| end > SystemTime::now() + RENEWED_AHEAD);
        if let Some(credentials) = found.as_ref().filter(|found| lasts(found)) {
            return Ok(credentials.clone());
        }
        let new = self.finder.provide_credentials().await?;
        *found = Some(new.clone());
        Ok(new)
    }
}

impl ProvideCredentials for Kept {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.current())
    }
}

/// What variables say of single services, as `AWS_ENDPOINT_URL_SECRETS_MANAGER` does
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>).
#[derive(Debug)]
struct Variables;

impl LoadServiceConfig for Variables {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        variable(&format!("{}_{}", key.env(), key.service_id().to_uppercase().replace(' ', "_")))
    }
}
