//! What every mock provider shares: being slow and failing on request.
//!
//! A mock is a provider like any other, in the same pipeline; it only makes up its answers, by a table in the function's
//! README. It is refused in production, and while it is on, every log line says so.

use crate::config::{MockSettings, Reader, Stage};
use crate::provider::ProviderError;

/// The delay and the failures of mock providers.
#[derive(Clone, Copy, Debug)]
pub struct Mock(MockSettings);

impl Mock {
    /// Behaves as `settings` say.
    pub fn new(settings: MockSettings) -> Self {
        Self(settings)
    }

    /// Takes its time, and fails as often as it was told to.
    ///
    /// # Errors
    /// [`ProviderError::Unavailable`] for the configured share of calls.
    pub async fn act(&self) -> Result<(), ProviderError> {
        tokio::time::sleep(self.0.latency).await;
        // At a rate of 0 nothing is below it; at 1 everything is.
        if fastrand::f64() < self.0.failure_rate { Err(ProviderError::Unavailable { status: 503 }) } else { Ok(()) }
    }
}

/// Notes a mistake when a mock is configured where none may be.
pub fn refuse_in_production(reader: &Reader<'_>, stage: Stage, variable: &str, uses_mock: bool) {
    if uses_mock && stage == Stage::Production {
        reader.mistake(format!("`{variable}` names `mock`: refused when `STAGE` is `production`"));
    }
}
