//! The AWS clients of a process, over the one HTTP client.
//!
//! Made once, in `main`, before the first request. The SDK's own retries are off for the table, whose updates must not be
//! repeated unseen; every other client keeps one retry for a broken connection after a freeze.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};

use crate::events::EventBus;
use crate::http::HttpClient;
use crate::store::DynamoStore;

/// How long an AWS call may take in all. The kernel's state has a shorter limit of its own.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);

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

    /// The store in `table`.
    pub fn store(&self, table: &str) -> DynamoStore {
        let config =
            aws_sdk_dynamodb::config::Builder::from(&*self.config).retry_config(RetryConfig::disabled()).build();
        DynamoStore::new(aws_sdk_dynamodb::Client::from_conf(config), table)
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
