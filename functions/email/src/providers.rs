//! Who sends: the providers in order, each behind its gate.
//!
//! A new provider is one file below, one variant of [`ProviderName`], one arm of [`build`] and one line in the README.

use std::sync::Arc;

use async_trait::async_trait;
use ieum::delivery::recipients::Recipients;
use ieum::delivery::worker::{Addressed, Letter, Receipt};
use ieum::error::chain;
use ieum::integration::{Integration, Way};
use ieum::provider::{Cause, Provider, ProviderError};
use ieum::start::Kernel;

use crate::compose::Composed;
use crate::composer::{Composer, Unfit};
use crate::config::{Config, ProviderName};
use crate::mail::{Kind, Mail};

pub mod mock;
pub mod sendgrid;
pub mod ses;
pub mod smtp;

use mock::Mock;
use sendgrid::SendGrid;
use ses::Ses;
use smtp::Smtp;

/// A service that takes a composed mail. It makes one attempt.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Its name in configuration, logs, metrics and state.
    fn name(&self) -> &'static str;

    /// Hands `mail` over.
    ///
    /// # Errors
    /// What went wrong. What may have arrived is [`ProviderError::Ambiguous`].
    async fn send(&self, mail: &Composed) -> Result<Receipt, ProviderError>;
}

/// A transport as the kernel knows providers: it composes, hands over and writes the line that operators look for.
struct Post {
    transport: Box<dyn Transport>,
    composer: Arc<Composer>,
    promotional: Recipients,
}

#[async_trait]
impl Provider<Letter<Mail>, Receipt> for Post {
    fn name(&self) -> &'static str {
        self.transport.name()
    }

    async fn call(&self, letter: &Letter<Mail>) -> Result<Receipt, ProviderError> {
        // Since it was accepted its recipient may have said that he wants no more.
        if letter.content.kind == Kind::Promotional {
            let refused = self.promotional.any_suppressed(&letter.content.recipients()).await;
            if refused.map_err(|error| ProviderError::Unreachable(Box::new(error)))? {
                return Err(ProviderError::Rejected { code: "suppressed".to_owned() });
            }
        }
        let composed = self.composer.compose(letter).await.map_err(|unfit| {
            tracing::error!(target: "ieum::email", message_id = letter.id, error = chain(&unfit), "email.not_composed");
            match unfit {
                // Nothing has left, and it may be different in a minute.
                Unfit::Unreachable(error) => ProviderError::Unreachable(Box::new(error)),
                Unfit::Gone => ProviderError::Rejected { code: "attachment_gone".to_owned() },
                Unfit::Faults(_) | Unfit::Defect(_) => ProviderError::Rejected { code: "not_rendered".to_owned() },
            }
        })?;
        let outcome = self.transport.send(&composed).await;
        let status = outcome.as_ref().map_or_else(ProviderError::label, |_| "sent");
        log(&letter.id, &letter.content, Some(&composed.parts.subject), Some(self.transport.name()), status);
        outcome
    }
}

/// One operation on one mail, as operators look for it.
pub(crate) fn log(id: &str, mail: &Mail, subject: Option<&str>, provider: Option<&str>, status: &str) {
    let (recipients, template) = (mail.masked_recipients(), mail.content.template());
    tracing::info!(target: "ieum::email", message_id = id, recipients, template, subject, provider, status, "email");
}

/// Makes the integration. Who is on the list `promotional` gets no promotional mail.
///
/// # Errors
/// When a provider's secret cannot be read, or it cannot be set up.
pub async fn build(
    kernel: &Kernel,
    config: &Config,
    composer: &Arc<Composer>,
    promotional: &Recipients,
) -> Result<Integration<Letter<Mail>, Receipt>, Cause> {
    let settings = kernel.settings(config.schema());
    let breaker = settings.live("EMAIL", config.breaker);
    let mut ways = Vec::new();
    for name in &config.providers {
        let (transport, owner, rate) = match name {
            ProviderName::Ses => {
                let ses = config.ses.as_ref().ok_or("no settings for `ses`")?;
                let signer = kernel.signer(ses.secret.as_ref()).await?;
                let (url, region, set) = (ses.url()?, ses.region.clone(), ses.configuration_set.clone());
                let client = Ses::new(url, region, set, signer, kernel.http.clone(), Arc::clone(&kernel.clock));
                (Box::new(client) as Box<dyn Transport>, "SES", Some(ses.rate))
            }
            ProviderName::SendGrid => {
                let sendgrid = config.sendgrid.as_ref().ok_or("no settings for `sendgrid`")?;
                let secret = kernel.secret(&sendgrid.secret).await?;
                let client = SendGrid::new(sendgrid.base_url.clone(), sendgrid.tracking, kernel.http.clone(), secret);
                (Box::new(client) as Box<dyn Transport>, "SENDGRID", Some(sendgrid.rate))
            }
            ProviderName::Smtp => {
                let smtp = config.smtp.as_ref().ok_or("no settings for `smtp`")?;
                let secret = kernel.secret(&smtp.secret).await?;
                let roots = config.common.ca_file.as_ref().map(std::fs::read).transpose()?;
                let (server, region) = (smtp.server.clone(), smtp.region.clone());
                let hello = config.from.address.domain();
                let limit = config.policy.timeout;
                let client =
                    Smtp::new(server, region, hello, limit, roots.as_deref(), secret, Arc::clone(&kernel.clock))?;
                (Box::new(client) as Box<dyn Transport>, "SMTP", Some(smtp.rate))
            }
            ProviderName::Mock => (Box::new(Mock::new(config.common.mock)) as Box<dyn Transport>, "MOCK", None),
        };
        let gate = kernel.gate(transport.name(), breaker.clone(), settings.live(owner, rate));
        let post = Post { transport, composer: Arc::clone(composer), promotional: promotional.clone() };
        ways.push(Way { provider: Box::new(post), gate });
    }
    let policy = settings.live("EMAIL", config.policy.clone());
    let integration = Integration::new("email", "send", policy, ways, Arc::clone(&kernel.clock));
    Ok(integration.rollups(kernel.rollups("email")))
}
