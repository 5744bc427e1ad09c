//! What a provider is to the kernel: something that makes exactly one attempt.
//!
//! A provider translates: our request into its wire format, its answer or failure into ours. It never retries, sleeps,
//! caches or logs a body; the [`Integration`](crate::integration::Integration) does that, the same way for all of them.

use std::time::Duration;

use async_trait::async_trait;

/// The boxed cause of an error, for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// One outside service, for one kind of request.
#[async_trait]
pub trait Provider<Req, Res>: Send + Sync {
    /// The name in configuration, logs, metrics and state, for example `nice`.
    fn name(&self) -> &'static str;

    /// Whether this service can do anything about `request` at all. One that cannot is passed over: no attempt is made,
    /// no slot taken, and nothing said about its health.
    fn serves(&self, request: &Req) -> bool {
        let _ = request;
        true
    }

    /// Makes one attempt. The caller bounds its time.
    ///
    /// # Errors
    /// What went wrong, in the terms the kernel decides by.
    async fn call(&self, request: &Req) -> Result<Res, ProviderError>;
}

/// What a health check costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// A call that the provider does not charge for.
    Free,
    /// A connection only: TCP and TLS, no request.
    Reach,
    /// A charged call: made only when switched on.
    Paid,
}

/// How an outside service tells whether it is well, apart from any request.
#[async_trait]
pub trait Probe: Send + Sync {
    /// What [`Probe::probe`] costs.
    fn kind(&self) -> ProbeKind;

    /// Asks the service whether it is well.
    ///
    /// # Errors
    /// What went wrong, in the same terms as a call.
    async fn probe(&self) -> Result<(), ProviderError>;
}

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// No connection came about, or it broke while repeating does no harm.
    #[error("the provider could not be reached")]
    Unreachable(#[source] Cause),
    /// No answer in time, while repeating does no harm.
    #[error("the provider did not answer in time")]
    Timeout,
    /// It asks us to slow down (HTTP 429 and its relatives).
    #[error("the provider is throttling")]
    Throttled {
        /// For how long, if it said so.
        retry_after: Option<Duration>,
    },
    /// It answered that it cannot serve now.
    #[error("the provider is unavailable: status {status}")]
    Unavailable {
        /// The HTTP status, or the nearest one to what it said.
        status: u16,
    },
    /// It understood the request and refuses it. Repeating changes nothing.
    #[error("the provider rejected the request: code `{code}`")]
    Rejected {
        /// The provider's own code, never its words.
        code: String,
    },
    /// It refuses our credentials, and we have no others.
    #[error("the provider refused our credentials")]
    Unauthorized,
    /// It refuses credentials that have just been replaced: another attempt uses the new ones.
    #[error("the provider refused credentials that were replaced since")]
    CredentialsReplaced,
    /// Its answer cannot be read, or is not an answer to what was asked.
    #[error("the provider's answer makes no sense")]
    Malformed(#[source] Cause),
    /// The request may have taken effect. Repeating could do it twice.
    #[error("the provider may or may not have carried out the request")]
    Ambiguous(#[source] Cause),
}

/// What an attempt's outcome says about the provider's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is there and working.
    Alive,
    /// It is not.
    Failing,
    /// It says nothing either way.
    Unclear,
}

impl ProviderError {
    /// What the error says about the provider's health. A refusal proves life; throttling is health's business only
    /// through the rate limit; an answer that makes no sense may be about one record only.
    pub fn health(&self) -> Health {
        match self {
            Self::Unreachable(_) | Self::Timeout | Self::Unavailable { .. } | Self::Ambiguous(_) => Health::Failing,
            Self::Rejected { .. } | Self::Unauthorized | Self::CredentialsReplaced => Health::Alive,
            Self::Throttled { .. } | Self::Malformed(_) => Health::Unclear,
        }
    }

    /// The error in one word, for logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Timeout => "timeout",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } => "unavailable",
            Self::Rejected { .. } => "rejected",
            Self::Unauthorized => "unauthorized",
            Self::CredentialsReplaced => "credentials_replaced",
            Self::Malformed(_) => "malformed",
            Self::Ambiguous(_) => "ambiguous",
        }
    }
}
