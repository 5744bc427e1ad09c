//! AWS's JSON protocols: one signed request for each operation, over the one HTTP client.
//!
//! Source: <https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html> and the same for 1.1. A request is a `POST` of a
//! JSON object to `/` that names the operation in `x-amz-target`; so is an answer, and an error names itself in `__type`.
//! Whoever calls knows the operations: [`crate::store`], [`crate::secrets`], [`crate::queue`], [`crate::events`], each with
//! the page it has them from.
//!
//! Why there are no SDK clients here, as for the senders ([`crate::sigv4`]): a client of dozens of operations is what a cold
//! start reads in and a hit from the table computes on, and of what it does beyond this page (finding credentials,
//! retrying, judging errors) all is switched off or done again by us. `infra/bench/RESULTS.md` has the figures.
//!
//! This file refuses to log bodies, which may be secrets or people's data, and to know what an operation means.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

use super::OPERATION_TIMEOUT;
use crate::http::{HttpClient, Incoming, Outgoing};
use crate::policy::Replay;
use crate::provider::Cause;
use crate::sigv4::Signer;

/// A service that speaks JSON.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// In the names of variables, such as `Secrets Manager` in `AWS_ENDPOINT_URL_SECRETS_MANAGER`.
    pub id: &'static str,
    /// In the names of hosts and in signatures.
    pub name: &'static str,
    /// Before the operation in `x-amz-target`.
    target: &'static str,
    content_type: &'static str,
}

const JSON_1_0: &str = "application/x-amz-json-1.0";
const JSON_1_1: &str = "application/x-amz-json-1.1";

/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/>.
pub const DYNAMODB: Service =
    Service { id: "DynamoDB", name: "dynamodb", target: "DynamoDB_20120810", content_type: JSON_1_0 };

/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/>.
pub const SECRETS_MANAGER: Service =
    Service { id: "Secrets Manager", name: "secretsmanager", target: "secretsmanager", content_type: JSON_1_1 };

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/>.
pub const SQS: Service = Service { id: "SQS", name: "sqs", target: "AmazonSQS", content_type: JSON_1_0 };

/// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/>.
pub const EVENTBRIDGE: Service =
    Service { id: "EventBridge", name: "events", target: "AWSEvents", content_type: JSON_1_1 };

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// The largest answer: DynamoDB gives 16 MB of items, which are more with their types and escapes.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// Why an operation has no result.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// There was no answer: nobody knows whether the operation happened.
    #[error("AWS does not answer")]
    Unanswered(#[source] Cause),
    /// AWS refuses, or has failed.
    #[error("AWS answers {}", .0)]
    Refused(Refusal),
    /// The answer is not what the operation answers with. The message names the place, never the content.
    #[error("what AWS answers cannot be read: {0}")]
    Unreadable(String),
}

/// An answer that is no result.
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The error's name, such as `ResourceNotFoundException`; empty where there is none.
    pub code: String,
    message: String,
    body: Bytes,
}

impl Refusal {
    fn of(answer: Incoming) -> Self {
        #[derive(Default, serde::Deserialize)]
        struct Told {
            #[serde(default, rename = "__type")]
            name: String,
            #[serde(default, alias = "Message")]
            message: String,
        }
        let told: Told = serde_json::from_slice(&answer.body).unwrap_or_default();
        // `com.amazonaws.service#Name`, or the name alone.
        let code = told.name.rsplit('#').next().unwrap_or_default().to_owned();
        Self { status: answer.status.as_u16(), code, message: told.message, body: answer.body }
    }

    /// What the error says of itself beyond its name.
    ///
    /// # Errors
    /// [`AwsError::Unreadable`].
    pub fn details<T: DeserializeOwned>(&self) -> Result<T, AwsError> {
        read(&self.body)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.message)
    }
}

/// Without the body, which may be an item.
impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The client of one service.
#[derive(Clone, Debug)]
pub struct Client {
    service: Service,
    http: HttpClient,
    url: Url,
    region: Arc<str>,
    signer: Signer,
    attempts: u32,
}

impl Client {
    pub(super) fn new(service: Service, http: HttpClient, url: Url, region: Arc<str>, signer: Signer) -> Self {
        Self { service, http, url, region, signer, attempts: 2 }
    }

    /// Where the service is.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The same, for operations that must not be repeated unseen.
    pub(super) fn asking_once(self) -> Self {
        Self { attempts: 1, ..self }
    }

    /// Has `operation` done on `input`, within ten seconds. A connection that broke and a service that has failed are tried a
    /// second time, at once; a service that asks to slow down is not.
    ///
    /// # Errors
    /// Any [`AwsError`].
    pub async fn call<T: DeserializeOwned>(&self, operation: &str, input: &impl Serialize) -> Result<T, AwsError> {
        let body = serde_json::to_vec(input).map_err(|error| AwsError::Unanswered(error.into()))?;
        let attempts = self.attempts(operation, body.into());
        let elapsed = |elapsed| AwsError::Unanswered(Box::new(elapsed));
        let answer = timeout(OPERATION_TIMEOUT, attempts).await.map_err(elapsed)??;
        // An operation without a result may say nothing at all.
        read(if answer.is_empty() { b"{}" } else { &answer })
    }

    async fn attempts(&self, operation: &str, body: Bytes) -> Result<Bytes, AwsError> {
        for _ in 1..self.attempts {
            match self.attempt(operation, body.clone()).await {
                Err(AwsError::Unanswered(_)) => {}
                Err(AwsError::Refused(refusal)) if refusal.status >= 500 => {}
                done => return done,
            }
        }
        self.attempt(operation, body).await
    }

    async fn attempt(&self, operation: &str, body: Bytes) -> Result<Bytes, AwsError> {
        let answer = self.exchange(operation, body).await.map_err(AwsError::Unanswered)?;
        if answer.status.is_success() { Ok(answer.body) } else { Err(AwsError::Refused(Refusal::of(answer))) }
    }

    async fn exchange(&self, operation: &str, body: Bytes) -> Result<Incoming, Cause> {
        let target = HeaderValue::try_from(format!("{}.{operation}", self.service.target))?;
        let content_type = HeaderValue::from_static(self.service.content_type);
        let headers = HeaderMap::from_iter([(TARGET, target), (header::CONTENT_TYPE, content_type)]);
        let (url, replay) = (self.url.clone(), Replay::Safe);
        let request = Outgoing { method: Method::POST, url, headers, body, replay };
        let signed = self.signer.sign(request, self.service.name, &self.region, self.http.aws_now()).await?;
        Ok(self.http.ask_aws(signed, MAX_ANSWER_BYTES).await?)
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, AwsError> {
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("{:?} at line {} column {}", error.classify(), error.line(), error.column());
        AwsError::Unreadable(place)
    })
}
