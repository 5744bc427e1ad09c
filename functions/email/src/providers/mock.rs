//! Made-up deliveries, for development. The table is in the README: the first recipient's local part decides.

use async_trait::async_trait;
use ieum::config::MockSettings;
use ieum::delivery::worker::Receipt;
use ieum::mock::Mock as Behaviour;
use ieum::provider::ProviderError;

use super::Transport;
use crate::compose::Composed;

/// A provider that sends nothing and says that it has.
#[derive(Clone, Copy, Debug)]
pub struct Mock(Behaviour);

impl Mock {
    /// A mock that is as slow and as unreliable as `settings` say.
    pub fn new(settings: MockSettings) -> Self {
        Self(Behaviour::new(settings))
    }
}

#[async_trait]
impl Transport for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }

    async fn send(&self, mail: &Composed) -> Result<Receipt, ProviderError> {
        self.0.act().await?;
        let first = mail.recipients().next().map(|address| address.as_str()).unwrap_or_default();
        match first.split('@').next().unwrap_or_default() {
            "rejected" => Err(ProviderError::Rejected { code: "mock".to_owned() }),
            "unavailable" => Err(ProviderError::Unavailable { status: 503 }),
            "silent" => Err(ProviderError::Ambiguous("the mock says nothing".into())),
            _ => Ok(Receipt { reference: format!("mock-{}", mail.id) }),
        }
    }
}
