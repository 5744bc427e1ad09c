//! AWS's JSON protocols: one signed request for each operation, over the one HTTP client.
//!
//! Source: <https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html> and the same for 1.1. A request is a `POST` of a
//! JSON object to `/` that names the operation in `x-amz-target`; so is an answer, and an error names itself in `__type`.
//! Whoever calls knows the operations: [`crate::store`], [`crate::secrets`], [`crate::queue`], [`crate::events`], each with
//! the page it has them from.
//!
//! This file refuses to know what an operation means.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::caller::{AwsError, Caller, Failure, Operation, Protocol, text};
use crate::error::place;
use crate::http::{Incoming, Outgoing};
use crate::policy::Replay;
use crate::provider::Cause;

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
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The client of one service.
#[derive(Clone, Debug)]
pub struct Client {
    service: Service,
    url: Url,
    caller: Caller,
}

impl Client {
    pub(super) fn new(service: Service, url: Url, caller: Caller) -> Self {
        Self { service, url, caller }
    }

    /// Where the service is.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Has the operation `name` done on `input`, within ten seconds, and says what it answers. What found no answer is tried
    /// a second time at once, a service that has failed or asks to slow down after a moment.
    ///
    /// # Errors
    /// Any [`AwsError`].
    pub async fn call<T: DeserializeOwned>(&self, name: &'static str, input: &impl Serialize) -> Result<T, AwsError> {
        let operation = self.caller.operation(name);
        read(operation, serde_json::from_slice(&self.answer(operation, input).await?.body))
    }

    /// The same of an operation that answers nothing of interest, or nothing at all.
    ///
    /// # Errors
    /// Any [`AwsError`] but the last.
    pub async fn tell(&self, name: &'static str, input: &impl Serialize) -> Result<(), AwsError> {
        self.answer(self.caller.operation(name), input).await.map(drop)
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
            Err(AwsError::Failed(operation, failure)) if failure.is(code) => {
                read(operation, E::deserialize(&failure.told)).map(Err)
            }
            called => called.map(Ok),
        }
    }

    async fn answer(&self, operation: Operation, input: &impl Serialize) -> Result<Incoming, AwsError> {
        let request = self.request(operation, input).map_err(|cause| AwsError::NotSent(operation, cause))?;
        self.caller.call(operation, request.into()).await
    }

    fn request(&self, operation: Operation, input: &impl Serialize) -> Result<Outgoing, Cause> {
        let target = HeaderValue::try_from(format!("{}.{}", self.service.target, operation.name))?;
        let content_type = HeaderValue::from_static(self.service.content_type);
        let headers = HeaderMap::from_iter([(TARGET, target), (header::CONTENT_TYPE, content_type)]);
        let (url, body) = (self.url.clone(), serde_json::to_vec(input)?.into());
        Ok(Outgoing { method: Method::POST, url, headers, body, replay: Replay::Never })
    }
}

fn read<T>(operation: Operation, read: serde_json::Result<T>) -> Result<T, AwsError> {
    read.map_err(|error| AwsError::Unreadable(operation, place(&error)))
}

/// A failure has the status of one.
pub(super) const PROTOCOL: Protocol = Protocol { tells_of_failure: |answer| !answer.status.is_success(), failure };

/// What an answer of failure says.
fn failure(answer: &Incoming) -> Failure {
    // A gateway on the way may answer something else than JSON.
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let message = ["message", "Message"].iter().find_map(|name| told.get(name)?.as_str()).map(str::to_owned);
    let (code, request_id) = (error_name(&answer.headers, &told), text(answer, &REQUEST_ID));
    Failure { status: answer.status.as_u16(), code, message, request_id, told }
}

/// The name of the error that an answer of `headers` and `body` tells of, in AWS's JSON protocols and in those of its APIs
/// that are REST and JSON (<https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization>).
pub fn error_name(headers: &HeaderMap, body: &Value) -> Option<String> {
    let told = || ["__type", "code"].iter().find_map(|name| body.get(name)?.as_str());
    let name = headers.get(ERROR_TYPE).and_then(|name| name.to_str().ok()).or_else(told)?;
    // `com.amazonaws.service#Name:http://…` in its longest form.
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().map(str::to_owned)
}
