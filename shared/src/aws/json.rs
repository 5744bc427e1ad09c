//! AWS's JSON protocols: one signed request for each operation, over the one HTTP client.
//!
//! Source: <https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html> and the same for 1.1. A request is a `POST` of a
//! JSON object to `/` that names the operation in `x-amz-target`; so is an answer, and an error names itself in `__type`.
//! Whoever calls knows the operations: [`crate::store`], [`crate::secrets`], [`crate::queue`], [`crate::events`], each with
//! the page it has them from.
//!
//! Why there are no SDK clients here, as for the senders ([`crate::sigv4`]): a client of dozens of operations is what a cold
//! start reads in and a hit from the table computes on. Most of what it does beyond this page we switched off or did again.
//! `infra/bench/RESULTS.md` has the figures, and ARCHITECTURE what is given up.
//!
//! This file refuses to log bodies, which may be secrets or people's data, and to know what an operation means.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use url::Url;

use super::OPERATION_TIMEOUT;
use crate::error::chain;
use crate::http::{HttpClient, Incoming, Outgoing};
use crate::policy::Replay;
use crate::provider::{Cause, ProviderError};
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
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The largest answer: DynamoDB gives 16 MB of items, which are more with their types and escapes.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// A service that has failed or asks to slow down is asked again within this.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Why an operation has no result.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// There was nothing to send, or nobody to sign it: nothing has left.
    #[error("{0} was not sent")]
    NotSent(Operation, #[source] Cause),
    /// There was no answer: nobody knows whether the operation happened.
    #[error("{0} has no answer")]
    Unanswered(Operation, #[source] Cause),
    /// AWS refuses, or has failed.
    #[error("{0} has failed: {1}")]
    Failed(Operation, Box<Failure>),
    /// The operation happened, and the answer is not what it answers with. The text names the place, never the content.
    #[error("what {0} answers cannot be read: {1}")]
    Unreadable(Operation, String),
}

/// Which operation of which service.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    service: &'static str,
    name: &'static str,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.name, self.service)
    }
}

/// An answer that is no result.
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    /// The error's name, such as `ResourceNotFoundException`; `None` where the answer has none.
    pub code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
    body: Bytes,
}

impl Failure {
    fn of(answer: Incoming) -> Self {
        // A gateway on the way may answer something else than JSON.
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        let text = |names: [&str; 2]| names.iter().find_map(|name| told.get(name)?.as_str()).map(str::to_owned);
        // `com.amazonaws.service#Name:http://…` in its longest form.
        let code = text(["__type", "code"]).map(|name| {
            let name = name.split(':').next().unwrap_or_default();
            name.rsplit('#').next().unwrap_or_default().to_owned()
        });
        let request_id = answer.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let (status, message) = (answer.status.as_u16(), text(["message", "Message"]));
        Self { status, code, message, request_id, body: answer.body }
    }

    /// What the error says of itself beyond its name.
    fn details<T: DeserializeOwned>(&self, operation: Operation) -> Result<T, AwsError> {
        read(operation, &self.body)
    }

    /// Whether the same request may be welcome a moment later.
    fn may_pass(&self) -> bool {
        let asks_to_slow_down = |code: &str| code.starts_with("Throttl") || code.starts_with("TooManyRequests");
        self.status >= 500 || self.code.as_deref().is_some_and(asks_to_slow_down)
    }

    /// Whether the request was signed with a time that is not AWS's. Its answer has said what time it is.
    fn is_of_the_clock(&self) -> bool {
        let codes = ["InvalidSignatureException", "RequestTimeTooSkewed", "RequestExpired", "SignatureDoesNotMatch"];
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        let parts = [("", &self.code), ("", &self.message), ("request ", &self.request_id)];
        parts.iter().try_for_each(|(what, part)| part.as_ref().map_or(Ok(()), |part| write!(f, ", {what}{part}")))
    }
}

/// Without the body, which may be an item.
impl fmt::Debug for Failure {
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
    most_attempts: u32,
}

impl Client {
    pub(super) fn new(service: Service, http: HttpClient, url: Url, region: Arc<str>, signer: Signer) -> Self {
        Self { service, http, url, region, signer, most_attempts: 2 }
    }

    /// Where the service is.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The same, for operations that must not be repeated unseen.
    pub(super) fn asking_once(self) -> Self {
        Self { most_attempts: 1, ..self }
    }

    /// Has the operation `name` done on `input`, within ten seconds, and says what it answers. What found no answer is tried
    /// a second time at once, a service that has failed or asks to slow down after a moment.
    ///
    /// # Errors
    /// Any [`AwsError`].
    pub async fn call<T: DeserializeOwned>(&self, name: &'static str, input: &impl Serialize) -> Result<T, AwsError> {
        let operation = self.operation(name);
        read(operation, &self.answer(operation, input).await?)
    }

    /// The same of an operation that answers nothing of interest, or nothing at all.
    ///
    /// # Errors
    /// Any [`AwsError`] but the last.
    pub async fn tell(&self, name: &'static str, input: &impl Serialize) -> Result<(), AwsError> {
        self.answer(self.operation(name), input).await.map(drop)
    }

    /// The same of an operation that may fail with the error `code`, whose details are then the inner `Err`.
    ///
    /// # Errors
    /// Any other [`AwsError`].
    pub async fn call_unless<T: DeserializeOwned, E: DeserializeOwned>(
        &self,
        code: &str,
        name: &'static str,
        input: &impl Serialize,
    ) -> Result<Result<T, E>, AwsError> {
        match self.call(name, input).await {
            Err(AwsError::Failed(operation, failure)) if failure.code.as_deref() == Some(code) => {
                failure.details(operation).map(Err)
            }
            called => called.map(Ok),
        }
    }

    fn operation(&self, name: &'static str) -> Operation {
        Operation { service: self.service.name, name }
    }

    async fn answer(&self, operation: Operation, input: &impl Serialize) -> Result<Bytes, AwsError> {
        let body = serde_json::to_vec(input).map_err(|error| AwsError::NotSent(operation, error.into()))?;
        let answer = timeout(OPERATION_TIMEOUT, self.attempts(operation, body.into())).await;
        answer.map_err(|elapsed| AwsError::Unanswered(operation, elapsed.into()))?
    }

    async fn attempts(&self, operation: Operation, body: Bytes) -> Result<Bytes, AwsError> {
        let first = self.attempt(operation, body.clone()).await;
        match &first {
            Err(AwsError::Failed(_, failure)) if failure.is_of_the_clock() => {}
            Err(AwsError::Unanswered(..)) if self.most_attempts > 1 => {}
            Err(AwsError::Failed(_, failure)) if self.most_attempts > 1 && failure.may_pass() => {
                sleep(LONGEST_PAUSE.mul_f64(fastrand::f64())).await;
            }
            Ok(_) | Err(_) => return first,
        }
        self.attempt(operation, body).await
    }

    async fn attempt(&self, operation: Operation, body: Bytes) -> Result<Bytes, AwsError> {
        let request = self.signed(operation, body).await.map_err(|cause| AwsError::NotSent(operation, cause))?;
        match self.http.ask_aws(request, MAX_ANSWER_BYTES).await {
            Ok(answer) if answer.status.is_success() => Ok(answer.body),
            Ok(answer) => Err(AwsError::Failed(operation, Box::new(Failure::of(answer)))),
            Err(ProviderError::Malformed(cause)) => Err(AwsError::Unreadable(operation, chain(&*cause))),
            Err(error) => Err(AwsError::Unanswered(operation, error.into())),
        }
    }

    async fn signed(&self, operation: Operation, body: Bytes) -> Result<Outgoing, Cause> {
        let target = HeaderValue::try_from(format!("{}.{}", self.service.target, operation.name))?;
        let content_type = HeaderValue::from_static(self.service.content_type);
        let headers = HeaderMap::from_iter([(TARGET, target), (header::CONTENT_TYPE, content_type)]);
        let (url, replay) = (self.url.clone(), Replay::Never);
        let request = Outgoing { method: Method::POST, url, headers, body, replay };
        Ok(self.signer.sign(request, self.service.name, &self.region, self.http.aws_now()).await?)
    }
}

fn read<T: DeserializeOwned>(operation: Operation, body: &[u8]) -> Result<T, AwsError> {
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("{:?} at line {} column {}", error.classify(), error.line(), error.column());
        AwsError::Unreadable(operation, place)
    })
}
