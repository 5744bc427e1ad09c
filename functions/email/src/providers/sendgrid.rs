//! SendGrid, API v3: one request for each mail.
//!
//! Source: <https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send>. Our id travels as a custom argument
//! and comes back in every event. 202 says that the mail was taken; its header `X-Message-Id` is not documented to
//! be there always, so a mail without one goes by our own id.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use ieum::delivery::worker::Receipt;
use ieum::http::{HttpClient, Outgoing};
use ieum::policy::Replay;
use ieum::provider::ProviderError;
use ieum::secrets::{ExposeSecret, Secret, SecretShape, SecretString};
use ieum::webhook::{LiveSecrets, P256Key};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::Transport;
use crate::address::Mailbox;
use crate::compose::Composed;

/// The name under which our id travels, and comes back in every event.
pub const ID_ARGUMENT: &str = "ieum_id";

/// The secret of this provider family.
#[derive(Debug, Deserialize)]
pub struct SendGridSecret {
    /// Of the form `SG.…`.
    pub api_key: SecretString,
    /// The public keys of the signed event webhook; without them no event is believed.
    pub webhook_keys: Option<LiveSecrets<P256Key>>,
}

impl SecretShape for SendGridSecret {
    const MEMBERS: &'static [&'static str] = &["api_key", "webhook_keys"];
}

/// The client.
#[derive(Clone, Debug)]
pub struct SendGrid {
    base_url: Url,
    tracking: bool,
    http: HttpClient,
    secret: Arc<Secret<SendGridSecret>>,
}

impl SendGrid {
    /// A client of the service at `base_url`, with its own opens and clicks counted if `tracking`.
    pub fn new(base_url: Url, tracking: bool, http: HttpClient, secret: Arc<Secret<SendGridSecret>>) -> Self {
        Self { base_url, tracking, http, secret }
    }
}

#[async_trait]
impl Transport for SendGrid {
    fn name(&self) -> &'static str {
        "sendgrid"
    }

    async fn send(&self, mail: &Composed) -> Result<Receipt, ProviderError> {
        let url = format!("{}/v3/mail/send", self.base_url.as_str().trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|error| ProviderError::Unreachable(error.into()))?;
        let mut outgoing = Outgoing::post_json(url, &body(mail, self.tracking), Replay::Never)?;
        let secret = self.secret.current().await;
        // A key that cannot stand in a header cannot be right.
        let bearer = HeaderValue::try_from(format!("Bearer {}", secret.api_key.expose_secret()));
        let mut bearer = bearer.map_err(|_| ProviderError::Unauthorized)?;
        bearer.set_sensitive(true);
        outgoing.headers.insert(AUTHORIZATION, bearer);
        let answer = self.http.exchange(outgoing).await?;
        match answer.failure_of_effect() {
            None => {
                let id = answer.headers.get("x-message-id").and_then(|id| id.to_str().ok());
                Ok(Receipt { reference: id.unwrap_or(&mail.id).to_owned() })
            }
            Some(ProviderError::Unauthorized) if self.secret.refused(&secret).await => {
                Err(ProviderError::CredentialsReplaced)
            }
            Some(error) => Err(error),
        }
    }
}

fn body(mail: &Composed, tracking: bool) -> Value {
    let mut personalization = json!({ "custom_args": { ID_ARGUMENT: mail.id } });
    for (field, mailboxes) in [("to", &mail.to), ("cc", &mail.cc), ("bcc", &mail.bcc)] {
        if !mailboxes.is_empty() {
            personalization[field] = mailboxes.iter().map(mailbox).collect();
        }
    }
    let headers = mail.headers().into_iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
    let mut body = json!({
        "personalizations": [personalization],
        "from": mailbox(&mail.from),
        "subject": mail.parts.subject,
        "content": [
            { "type": "text/plain", "value": mail.parts.text },
            { "type": "text/html", "value": mail.parts.html },
        ],
        "headers": Value::Object(headers.collect()),
        "tracking_settings": {
            "click_tracking": { "enable": tracking, "enable_text": false },
            "open_tracking": { "enable": tracking },
            // Its own link would stand beside ours.
            "subscription_tracking": { "enable": false },
        },
    });
    if let Some(reply_to) = &mail.reply_to {
        body["reply_to"] = mailbox(reply_to);
    }
    if !mail.files.is_empty() {
        let files = mail.files.iter().map(|file| {
            json!({
                "content": STANDARD.encode(&file.content),
                "type": file.content_type,
                "filename": file.name,
                "disposition": "attachment",
            })
        });
        body["attachments"] = files.collect();
    }
    body
}

fn mailbox(mailbox: &Mailbox) -> Value {
    match &mailbox.name {
        Some(name) => json!({ "email": mailbox.address, "name": name }),
        None => json!({ "email": mailbox.address }),
    }
}
