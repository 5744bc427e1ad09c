//! The AWS clients of a process, over the one HTTP client.
//!
//! Made once, in `main`, before the first request. The SDK's own retries are off for the table, whose updates must not be
//! repeated unseen; every other client keeps one retry for a broken connection after a freeze.
//!
//! Where and as whom a function calls AWS is what Lambda sets in its environment, and nothing else is asked: no profile,
//! no metadata service, no token exchange. The SDK's own chain of all of these is a tenth of a function's size, and reads files
//! before the first request. Tools that people run have it (`infra/xtask`), and hand in what it found.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_types::SdkConfig;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use url::Url;

use crate::backup::files::S3Buckets;
use crate::blobs::S3Blobs;
use crate::config::aws_variable as variable;
use crate::events::EventBus;
use crate::http::HttpClient;
use crate::provider::Cause;
use crate::queue::SqsQueue;
use crate::store::DynamoStore;

/// How long an AWS call may take in all. The kernel's state has a shorter limit of its own.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);

/// The client of Secrets Manager.
pub use aws_sdk_secretsmanager::Client as SecretsManager;

/// A variable that Lambda sets in every environment is missing.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not set: a function has it from Lambda")]
pub struct NotInLambda(&'static str);

/// Where AWS clients come from.
#[derive(Clone, Debug)]
pub struct Aws {
    config: Arc<SdkConfig>,
}

impl Aws {
    /// In the region and with the role that Lambda has put into the environment of this process
    /// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>), through `http`. `AWS_ENDPOINT_URL` and
    /// its forms for single services say that AWS is elsewhere.
    ///
    /// # Errors
    /// [`NotInLambda`] when region or credentials are missing.
    pub fn of_environment(http: HttpClient) -> Result<Self, NotInLambda> {
        let needed = |name| variable(name).ok_or(NotInLambda(name));
        let region = needed("AWS_REGION")?;
        let (id, key) = (needed("AWS_ACCESS_KEY_ID")?, needed("AWS_SECRET_ACCESS_KEY")?);
        let credentials = Credentials::new(id, key, variable("AWS_SESSION_TOKEN"), None, "Lambda");
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .service_config(Variables);
        config.set_endpoint_url(variable("AWS_ENDPOINT_URL"));
        Ok(Self::of(config.build(), http))
    }

    /// Where and as whom `config` says, through `http`.
    pub fn of(config: SdkConfig, http: HttpClient) -> Self {
        let timeouts = TimeoutConfig::builder().operation_timeout(OPERATION_TIMEOUT).build();
        let config = config
            .into_builder()
            .http_client(http)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(2));
        Self { config: Arc::new(config.build()) }
    }

    /// The store in `table`.
    pub fn store(&self, table: &str) -> DynamoStore {
        let config =
            aws_sdk_dynamodb::config::Builder::from(&*self.config).retry_config(RetryConfig::disabled()).build();
        DynamoStore::new(aws_sdk_dynamodb::Client::from_conf(config), table)
    }

    /// The blobs in `bucket`.
    pub fn blobs(&self, bucket: &str) -> S3Blobs {
        S3Blobs::new(self.s3(), bucket)
    }

    /// All buckets that this process may reach.
    pub fn buckets(&self) -> S3Buckets {
        S3Buckets::new(self.s3())
    }

    /// The S3 client. What is sent is signed with its digest; checksums beyond that only where S3 insists.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&*self.config)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// The queue at `url`.
    pub fn queue(&self, url: &str) -> SqsQueue {
        SqsQueue::new(self.sqs(), url)
    }

    /// The SQS client, for messages that are no wake-ups.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    /// Who this process is to AWS, for a request that is signed without an SDK client.
    pub fn credentials(&self) -> Option<SharedCredentialsProvider> {
        self.config.credentials_provider()
    }

    /// The region.
    ///
    /// # Errors
    /// When none is set.
    pub fn region(&self) -> Result<String, Cause> {
        Ok(self.config.region().ok_or("no AWS region is set")?.to_string())
    }

    /// Where `service` answers in this region, for a request that is signed without an SDK client.
    ///
    /// # Errors
    /// When no region is set, or what is set is no address.
    pub fn endpoint(&self, service: &str) -> Result<Url, Cause> {
        match self.config.endpoint_url() {
            Some(url) => Ok(Url::parse(url)?),
            None => Ok(Url::parse(&format!("https://{service}.{}.amazonaws.com", self.region()?))?),
        }
    }

    /// The event bus of this name or ARN.
    pub fn events(&self, bus: &str) -> EventBus {
        EventBus::new(aws_sdk_eventbridge::Client::new(&self.config), bus)
    }

    /// The Secrets Manager client.
    pub fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config)
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
