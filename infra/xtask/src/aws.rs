//! A plain client of the local AWS: JSON, query and REST calls over HTTP/1.1, nothing else.
//!
//! Why not the AWS SDK: the seven crates this tool would need on top of the functions' own (lambda, apigatewayv2, s3,
//! sqs, sns, scheduler, eventbridge) compile for 176 s in the dev profile (2 min 6 s of wall time on two cores,
//! measured 2026-11), and `cargo up` promises a cold start under six minutes. The local AWS checks no signature, so a
//! request is a method, a path, a service name and a body.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::time::Duration;

use crate::template::{ACCOUNT, REGION};

/// The one HTTP client of this tool.
pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

/// Makes the HTTP client. Idle connections are dropped well before the local AWS (75 s) would close them under a
/// request.
pub(crate) fn http_client() -> Http {
    Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(30)).build_http()
}

/// A call the local AWS did not carry out.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// No answer at all.
    #[error("{call}: no answer from the local AWS: {cause}")]
    Unreachable {
        /// Service and operation.
        call: String,
        /// The transport's words.
        cause: String,
    },
    /// An answer that is not a success.
    #[error("{call}: the local AWS answered {status}: `{answer}`")]
    Refused {
        /// Service and operation.
        call: String,
        /// The HTTP status.
        status: StatusCode,
        /// The body.
        answer: String,
    },
    /// A success whose body is not what the operation promises.
    #[error("{call}: the local AWS answered something unexpected: `{answer}`")]
    Unexpected {
        /// Service and operation.
        call: String,
        /// The body.
        answer: String,
    },
}

/// The services called here, with what tells their dialects apart.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Service {
    DynamoDb,
    Events,
    Kms,
    Logs,
    SecretsManager,
    Sqs,
}

impl Service {
    /// Name in the credential scope, prefix of `X-Amz-Target`, version of the JSON protocol.
    fn dialect(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::DynamoDb => ("dynamodb", "DynamoDB_20120810", "1.0"),
            Self::Events => ("events", "AWSEvents", "1.1"),
            Self::Kms => ("kms", "TrentService", "1.1"),
            Self::Logs => ("logs", "Logs_20140328", "1.1"),
            Self::SecretsManager => ("secretsmanager", "secretsmanager", "1.1"),
            Self::Sqs => ("sqs", "AmazonSQS", "1.0"),
        }
    }
}

/// The local AWS at one address.
#[derive(Debug, Clone)]
pub(crate) struct Aws {
    http: Http,
    endpoint: String,
}

const IN_A_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Escapes one segment of a path, or one value of a query.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, IN_A_SEGMENT).to_string()
}

/// The ARN of an execution role. The local AWS checks no permission: any role does, but APIs demand one.
pub(crate) fn role_arn() -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/ieum-local")
}

impl Aws {
    /// A client for the local AWS at `endpoint`.
    pub(crate) fn new(http: Http, endpoint: impl Into<String>) -> Self {
        Self { http, endpoint: endpoint.into() }
    }

    /// Where this local AWS listens.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A call of the JSON protocol.
    pub(crate) async fn json(&self, service: Service, operation: &str, input: &Value) -> Result<Value, AwsError> {
        let (name, target, version) = service.dialect();
        let call = format!("{name} {operation}");
        let request = self
            .request(name, Method::POST, "/")
            .header("content-type", format!("application/x-amz-json-{version}"))
            .header("x-amz-target", format!("{target}.{operation}"))
            .body(Full::from(input.to_string()));
        as_json(&call, self.send(&call, request).await?.body())
    }

    /// A call of a REST service that speaks JSON; `call` names it in errors. An empty answer is `null`.
    pub(crate) async fn rest(
        &self,
        service: &str,
        call: &str,
        method: Method,
        path: &str,
        input: Option<&Value>,
    ) -> Result<Value, AwsError> {
        let call = format!("{service} {call}");
        let body = input.map(Value::to_string).unwrap_or_default();
        let request =
            self.request(service, method, path).header("content-type", "application/json").body(Full::from(body));
        as_json(&call, self.send(&call, request).await?.body())
    }

    /// Invokes a function and waits for it; the inner `Err` is what a failed function says of itself.
    pub(crate) async fn invoke(&self, function: &str, event: &Value) -> Result<Result<Value, Value>, AwsError> {
        let call = "lambda Invoke";
        let path = format!("/2015-03-31/functions/{}/invocations", segment(function));
        let request = self.request("lambda", Method::POST, &path).body(Full::from(event.to_string()));
        let response = self.send(call, request).await?;
        let answer = as_json(call, response.body())?;
        Ok(if response.headers().contains_key("x-amz-function-error") { Err(answer) } else { Ok(answer) })
    }

    /// A call of the query protocol (SNS); answers XML.
    pub(crate) async fn query(
        &self,
        service: &str,
        operation: &str,
        version: &str,
        fields: &[(String, String)],
    ) -> Result<String, AwsError> {
        let call = format!("{service} {operation}");
        let mut form = format!("Action={operation}&Version={version}");
        for (name, value) in fields {
            form.push_str(&format!("&{}={}", segment(name), segment(value)));
        }
        let request = self
            .request(service, Method::POST, "/")
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .body(Full::from(form));
        as_text(&call, self.send(&call, request).await?.body())
    }

    /// A call of S3, which speaks XML.
    pub(crate) async fn s3(
        &self,
        call: &str,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<String, AwsError> {
        let call = format!("s3 {call}");
        let request =
            self.request("s3", method, path).header("content-type", "application/xml").body(Full::new(body.into()));
        as_text(&call, self.send(&call, request).await?.body())
    }

    fn request(&self, service: &str, method: Method, path: &str) -> http::request::Builder {
        let scope = format!("test/20260101/{REGION}/{service}/aws4_request");
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=local");
        Request::builder().method(method).uri(format!("{}{path}", self.endpoint)).header("authorization", authorization)
    }

    async fn send(&self, call: &str, request: http::Result<Request<Full<Bytes>>>) -> Result<Response<Bytes>, AwsError> {
        let unreachable = |cause: String| AwsError::Unreachable { call: call.to_owned(), cause };
        let request = request.map_err(|error| unreachable(error.to_string()))?;
        let response = fetch(&self.http, request).await.map_err(unreachable)?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(AwsError::Refused { call: call.to_owned(), status: response.status(), answer: excerpt(response.body()) })
    }
}

/// Sends a request and reads the whole answer.
pub(crate) async fn fetch(http: &Http, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String> {
    let (parts, body) = http.request(request).await.map_err(|error| with_causes(&error))?.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok(Response::from_parts(parts, body))
}

/// An error with everything below it: the legacy client's own text is only "client error".
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

fn as_json(call: &str, body: &Bytes) -> Result<Value, AwsError> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|_| AwsError::Unexpected { call: call.to_owned(), answer: excerpt(body) })
}

fn as_text(call: &str, body: &Bytes) -> Result<String, AwsError> {
    String::from_utf8(body.to_vec()).map_err(|_| AwsError::Unexpected { call: call.to_owned(), answer: excerpt(body) })
}

fn excerpt(body: &Bytes) -> String {
    String::from_utf8_lossy(body).trim().chars().take(600).collect()
}
