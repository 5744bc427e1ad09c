//! Who sends: the providers in order, each behind its gate.
//!
//! A new provider is one file below, one variant of [`ProviderName`], one arm of [`build`] and one line in the README.

use std::sync::Arc;

use async_trait::async_trait;
use ieum::delivery::recipients::Recipients;
use ieum::delivery::worker::{Letter, Receipt};
use ieum::error::chain;
use ieum::integration::{Integration, Way};
use ieum::provider::{Cause, Provider, ProviderError};
use ieum::start::Kernel;

use crate::config::{Config, ProviderName};
use crate::events::Reason;
use crate::references::References;
use crate::text::{Terms, Text};

pub mod mock;
pub mod sns;
pub mod solapi;
pub mod twilio;

use mock::Mock;
use sns::Sns;
use solapi::Solapi;
use twilio::Twilio;

/// A service that takes a text. It makes one attempt.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Its name in configuration, logs, metrics and state.
    fn name(&self) -> &'static str;

    /// What its `code` for a refusal says about a number for good.
    fn about_number(&self, code: &str) -> Option<Reason>;

    /// Whether its reports say our name for the message.
    fn carries_our_id(&self) -> bool;

    /// Hands `text` over under our name for it, `id`.
    ///
    /// # Errors
    /// What went wrong. What may have arrived is [`ProviderError::Ambiguous`].
    async fn send(&self, id: &str, text: &Text) -> Result<Receipt, ProviderError>;
}

/// A transport as the kernel knows providers: it keeps to its terms, hands over and writes the line that operators look
/// for.
struct Carrier {
    transport: Box<dyn Transport>,
    terms: Terms,
    references: References,
    recipients: Recipients,
}

impl Carrier {
    /// What else follows from an attempt: their name is noted, and a number that cannot be reached is not written to again.
    async fn follow_up(&self, id: &str, text: &Text, outcome: &Result<Receipt, ProviderError>) {
        let provider = self.transport.name();
        match outcome {
            Ok(receipt) if !self.transport.carries_our_id() => {
                self.references.note(provider, &receipt.reference, id).await;
            }
            Err(ProviderError::Rejected { code }) => {
                let Some(reason) = self.transport.about_number(code) else { return };
                // The text is refused in any case, and the next one to this number will tell us again.
                if let Err(error) = self.recipients.suppress(text.to.as_str(), reason.name(), provider).await {
                    tracing::warn!(target: "ieum::sms", message_id = id, error = chain(&error), "suppression.lost");
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
}

#[async_trait]
impl Provider<Letter<Text>, Receipt> for Carrier {
    fn name(&self) -> &'static str {
        self.transport.name()
    }

    fn serves(&self, letter: &Letter<Text>) -> bool {
        self.terms.quote(&letter.content).is_ok()
    }

    async fn call(&self, letter: &Letter<Text>) -> Result<Receipt, ProviderError> {
        let Letter { id, content: text } = letter;
        let outcome = self.transport.send(id, text).await;
        let status = outcome.as_ref().map_or_else(ProviderError::label, |_| "sent");
        log(id, text, self.transport.name(), status);
        self.follow_up(id, text, &outcome).await;
        outcome
    }
}

/// One operation on one text, as operators look for it.
pub(crate) fn log(id: &str, text: &Text, provider: &str, status: &str) {
    let recipient = text.to.masked();
    tracing::info!(target: "ieum::sms", message_id = id, recipient, provider, status, "sms");
}

/// Makes the integration.
///
/// # Errors
/// When a provider's secret cannot be read, or it cannot be set up.
pub async fn build(
    kernel: &Kernel,
    config: &Config,
    references: &References,
    recipients: &Recipients,
) -> Result<Integration<Letter<Text>, Receipt>, Cause> {
    let settings = kernel.settings(config.schema());
    let breaker = settings.live("SMS", config.breaker);
    let mut ways = Vec::new();
    for (name, terms) in config.terms() {
        let (transport, gate) = match name {
            ProviderName::Sns => {
                let sns = config.sns.as_ref().ok_or("no settings for `sns`")?;
                let signer = kernel.signer(sns.secret.as_ref()).await?;
                let transport = Sns::new(sns.clone(), signer, kernel.http.clone(), Arc::clone(&kernel.clock))?;
                let rate = settings.live("SNS", Some(sns.rate));
                (Box::new(transport) as Box<dyn Transport>, kernel.gate("sns", breaker.clone(), rate))
            }
            ProviderName::Twilio => {
                let twilio = config.twilio.as_ref().ok_or("no settings for `twilio`")?;
                let secret = kernel.secret(&twilio.secret).await?;
                let transport = Twilio::new(twilio.clone(), kernel.http.clone(), secret);
                let rate = settings.live("TWILIO", Some(twilio.rate));
                (Box::new(transport) as Box<dyn Transport>, kernel.gate("twilio", breaker.clone(), rate))
            }
            ProviderName::Solapi => {
                let solapi = config.solapi.as_ref().ok_or("no settings for `solapi`")?;
                let secret = kernel.secret(&solapi.secret).await?;
                let transport = Solapi::new(solapi.clone(), kernel.http.clone(), secret, Arc::clone(&kernel.clock));
                let rate = settings.live("SOLAPI", Some(solapi.rate));
                (Box::new(transport) as Box<dyn Transport>, kernel.gate("solapi", breaker.clone(), rate))
            }
            ProviderName::Mock => {
                let transport = Mock::new(config.common.mock);
                (Box::new(transport) as Box<dyn Transport>, kernel.gate("mock", breaker.clone(), None))
            }
        };
        let (references, recipients) = (references.clone(), recipients.clone());
        let carrier = Carrier { transport, terms, references, recipients };
        ways.push(Way { provider: Box::new(carrier), gate });
    }
    let policy = settings.live("SMS", config.policy.clone());
    let integration = Integration::new("sms", "send", policy, ways, Arc::clone(&kernel.clock));
    Ok(integration.rollups(kernel.rollups("sms")))
}
