//! One operation of an AWS service: signed, sent, and asked for a second time where that does no harm.
//!
//! What the protocols ([`super::json`], [`super::s3`]) have in common. This file knows no protocol and no operation, and refuses to log
//! what is sent or answered: secrets and people's data are among it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::error::chain;
use crate::http::{Arriving, HttpClient, Incoming, Outgoing};
use crate::provider::{Cause, ProviderError};
use crate::sigv4::{Scope, Signer};

/// How long an operation may take in all; of an object that is read, its beginning and each piece. The kernel's state has
/// a shorter limit of its own.
pub(super) const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is not an object: DynamoDB gives 16 MB of items, which are more with their types and escapes.
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
    pub(super) name: &'static str,
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
    pub(super) message: Option<String>,
    pub(super) request_id: Option<String>,
    /// All that was said, where it was said in JSON.
    pub(super) told: Value,
}

impl Failure {
    /// Whether this is the error `code`.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether the same request may be welcome a moment later.
    fn may_pass(&self) -> bool {
        // S3 says with a 400 that nothing came for too long, and with a 200 that it failed after all.
        let passes =
            ["Throttl", "TooManyRequests", "SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable"];
        let may_pass = |code: &str| passes.iter().any(|beginning| code.starts_with(beginning));
        self.status >= 500 || self.code.as_deref().is_some_and(may_pass)
    }

    /// Whether the request was signed with a time that is not AWS's, perhaps: an answer to `HEAD` does not say why it is a
    /// refusal. In any case it has said what time it is.
    fn may_be_of_the_clock(&self) -> bool {
        self.code.as_deref().map_or(self.status == 403, |code| {
            ["InvalidSignatureException", "RequestTimeTooSkewed", "RequestExpired", "SignatureDoesNotMatch"]
                .contains(&code)
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        let parts = [("", &self.code), ("", &self.message), ("request ", &self.request_id)];
        parts.iter().try_for_each(|(what, part)| part.as_ref().map_or(Ok(()), |part| write!(f, ", {what}{part}")))
    }
}

/// Without what was told, which may be an item.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text of a header.
pub(super) fn text(answer: &Incoming, name: &HeaderName) -> Option<String> {
    answer.headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Asks one service.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// In the names of hosts and in signatures.
    pub(super) service: &'static str,
    pub(super) http: HttpClient,
    pub(super) region: Arc<str>,
    pub(super) signer: Signer,
    /// Of which the second only follows a failure that may pass, or none. A request that was signed with a wrong time is
    /// always sent again: it did nothing.
    pub(super) most_attempts: u32,
    pub(super) protocol: Protocol,
}

/// What a protocol makes of a whole answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Protocol {
    /// Whether it tells of a failure, whatever its status: that of success may have been sent too soon.
    pub(super) tells_of_failure: fn(&Incoming) -> bool,
    /// The failure it tells of.
    pub(super) failure: fn(&Incoming) -> Failure,
}

/// A request to the service. Its URL names the host; what is asked for there is `uri`, as it is.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) outgoing: Outgoing,
    pub(super) uri: String,
}

impl From<Outgoing> for Request {
    fn from(outgoing: Outgoing) -> Self {
        Self { uri: outgoing.url.to_string(), outgoing }
    }
}

/// How much of an answer is waited for.
pub(super) trait Heard: Sized {
    fn hear(
        arriving: Arriving,
        protocol: Protocol,
    ) -> impl Future<Output = Result<Result<Self, Failure>, ProviderError>> + Send;
}

/// All of it.
impl Heard for Incoming {
    async fn hear(arriving: Arriving, protocol: Protocol) -> Result<Result<Self, Failure>, ProviderError> {
        let answer = arriving.whole(MAX_ANSWER_BYTES).await?;
        Ok(if (protocol.tells_of_failure)(&answer) { Err((protocol.failure)(&answer)) } else { Ok(answer) })
    }
}

/// Its head: the body of a success follows piece by piece.
impl Heard for Arriving {
    async fn hear(arriving: Arriving, protocol: Protocol) -> Result<Result<Self, Failure>, ProviderError> {
        if arriving.status.is_success() {
            return Ok(Ok(arriving));
        }
        let answer = arriving.whole(MAX_ANSWER_BYTES).await?;
        Ok(Err((protocol.failure)(&answer)))
    }
}

impl Caller {
    pub(super) fn operation(&self, name: &'static str) -> Operation {
        Operation { service: self.service, name }
    }

    /// What signatures made now are good for.
    pub(super) fn scope(&self) -> Scope<'_> {
        Scope { service: self.service, region: &self.region, now: self.http.aws_now() }
    }

    /// Has `operation` done by `request`, within ten seconds. What found no answer is tried a second time at once, a service
    /// that has failed or asks to slow down after a moment.
    pub(super) async fn call<T: Heard>(&self, operation: Operation, request: Request) -> Result<T, AwsError> {
        let answer = timeout(OPERATION_TIMEOUT, self.attempts(operation, request)).await;
        answer.map_err(|elapsed| AwsError::Unanswered(operation, elapsed.into()))?
    }

    async fn attempts<T: Heard>(&self, operation: Operation, request: Request) -> Result<T, AwsError> {
        let first = self.attempt(operation, request.clone()).await;
        match &first {
            Err(AwsError::Failed(_, failure)) if failure.may_be_of_the_clock() => {}
            Err(AwsError::Unanswered(..)) if self.most_attempts > 1 => {}
            Err(AwsError::Failed(_, failure)) if self.most_attempts > 1 && failure.may_pass() => {
                sleep(LONGEST_PAUSE.mul_f64(fastrand::f64())).await;
            }
            Ok(_) | Err(_) => return first,
        }
        self.attempt(operation, request).await
    }

    async fn attempt<T: Heard>(&self, operation: Operation, request: Request) -> Result<T, AwsError> {
        let Request { outgoing, uri } = request;
        let signed = self.signer.sign_for(outgoing, &uri, self.scope()).await;
        let signed = signed.map_err(|cause| AwsError::NotSent(operation, cause))?;
        let unheard = |error| unheard(operation, error);
        let arriving = self.http.ask_aws(signed, &uri).await.map_err(unheard)?;
        let heard = T::hear(arriving, self.protocol).await.map_err(unheard)?;
        heard.map_err(|failure| AwsError::Failed(operation, Box::new(failure)))
    }
}

/// Why there is no whole answer.
pub(super) fn unheard(operation: Operation, error: ProviderError) -> AwsError {
    if let ProviderError::Malformed(cause) = error {
        AwsError::Unreadable(operation, chain(&*cause))
    } else {
        AwsError::Unanswered(operation, error.into())
    }
}
