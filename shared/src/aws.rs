//! The AWS clients of a process, over the one HTTP client.
//!
//! Made once, in `main`, before the first request. The SDK's own retries are off for the table, whose updates must not be
//! repeated unseen; every other client keeps one retry for a broken connection after a freeze.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use url::Url;

use crate::backup::files::S3Buckets;
use crate::blobs::S3Blobs;
use crate::events::EventBus;
use crate::http::HttpClient;
use crate::provider::Cause;
use crate::queue::SqsQueue;
use crate::store::DynamoStore;

/// How long an AWS call may take in all. The kernel's state has a shorter limit of its own.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);

/// The client of Secrets Manager.
pub use aws_sdk_secretsmanager::Client as SecretsManager;

/// Where AWS clients come from.
#[derive(Clone, Debug)]
pub struct Aws {
    config: Arc<SdkConfig>,
}

impl Aws {
    /// Reads region, credentials and endpoint the way every AWS tool does, and speaks through `http`.
    pub async fn new(http: HttpClient) -> Self {
        let timeouts = TimeoutConfig::builder().operation_timeout(OPERATION_TIMEOUT).build();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .load()
            .await;
        Self { config: Arc::new(config) }
    }

    /// The clients that `config` makes.
    #[cfg(any(test, feature = "testing"))]
    pub fn of(config: SdkConfig) -> Self {
        Self { config: Arc::new(config) }
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
