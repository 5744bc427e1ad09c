//! Made-up sending, for development. The table is in the README: the last digits of the number decide.

use async_trait::async_trait;
use ieum::config::MockSettings;
use ieum::delivery::worker::Receipt;
use ieum::mock::Mock as Behaviour;
use ieum::provider::ProviderError;

use super::Transport;
use crate::events::Reason;
use crate::text::Text;

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

    fn about_number(&self, _: &str) -> Option<Reason> {
        None
    }

    fn carries_our_id(&self) -> bool {
        true
    }

    async fn send(&self, id: &str, text: &Text) -> Result<Receipt, ProviderError> {
        self.0.act().await?;
        let number = text.to.as_str();
        match number.get(number.len().saturating_sub(4)..) {
            Some("9999") => Err(ProviderError::Rejected { code: "mock".to_owned() }),
            Some("9998") => Err(ProviderError::Unavailable { status: 503 }),
            Some("9997") => Err(ProviderError::Ambiguous("the mock says nothing".into())),
            Some(_) | None => Ok(Receipt { reference: format!("mock-{id}") }),
        }
    }
}
