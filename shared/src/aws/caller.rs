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

use crate::clock::Timestamp;
use crate::error::chain;
use crate::http::{Arriving, HttpClient, Incoming, Outgoing};
use crate::provider::{Cause, ProviderError};
use crate::sigv4::Signer;

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
    /// What the service's protocol makes of an answer whose status is none of success.
    pub(super) failure: fn(&Incoming) -> Failure,
}

/// How much of an answer is waited for.
pub(super) trait Heard: Sized {
    fn hear(arriving: Arriving) -> impl Future<Output = Result<Self, ProviderError>> + Send;
}

/// All of it.
impl Heard for Incoming {
    async fn hear(arriving: Arriving) -> Result<Self, ProviderError> {
        arriving.whole(MAX_ANSWER_BYTES).await
    }
}

/// Its head: the body follows piece by piece.
impl Heard for Arriving {
    async fn hear(arriving: Arriving) -> Result<Self, ProviderError> {
        Ok(arriving)
    }
}

impl Caller {
    pub(super) fn operation(&self, name: &'static str) -> Operation {
        Operation { service: self.service, name }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.http.aws_now()
    }

    /// Has `operation` done by `request`, within ten seconds. What found no answer is tried a second time at once, a service
    /// that has failed or asks to slow down after a moment.
    pub(super) async fn call<T: Heard>(&self, operation: Operation, request: Outgoing) -> Result<T, AwsError> {
        let answer = timeout(OPERATION_TIMEOUT, self.attempts(operation, request)).await;
        answer.map_err(|elapsed| AwsError::Unanswered(operation, elapsed.into()))?
    }

    async fn attempts<T: Heard>(&self, operation: Operation, request: Outgoing) -> Result<T, AwsError> {
        let first = self.attempt(operation, request.clone()).await;
        match &first {
            Err(AwsError::Failed(_, failure)) if failure.is_of_the_clock() => {}
            Err(AwsError::Unanswered(..)) if self.most_attempts > 1 => {}
            Err(AwsError::Failed(_, failure)) if self.most_attempts > 1 && failure.may_pass() => {
                sleep(LONGEST_PAUSE.mul_f64(fastrand::f64())).await;
            }
            Ok(_) | Err(_) => return first,
        }
        self.attempt(operation, request).await
    }

    async fn attempt<T: Heard>(&self, operation: Operation, request: Outgoing) -> Result<T, AwsError> {
        let signed = self.signer.sign(request, self.service, &self.region, self.now()).await;
        let signed = signed.map_err(|error| AwsError::NotSent(operation, error.into()))?;
        let unheard = |error| unheard(operation, error);
        let arriving = self.http.ask_aws(signed).await.map_err(unheard)?;
        if arriving.status.is_success() {
            return T::hear(arriving).await.map_err(unheard);
        }
        let answer = Incoming::hear(arriving).await.map_err(unheard)?;
        Err(AwsError::Failed(operation, Box::new((self.failure)(&answer))))
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
