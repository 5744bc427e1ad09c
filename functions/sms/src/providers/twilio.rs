//! Twilio: one form for each text.
//!
//! Source: <https://www.twilio.com/docs/messaging/api/message-resource>. Our id travels in the address that Twilio calls
//! back, whose text is signed, so every callback is matched, also one about a text nobody knows to have been sent.
//!
//! Traps handled here, each with a test: 400 is anything from a landline to a sender that may not write to this country,
//! told apart by `code` alone; what is the account's or the sender's fault is none of the text's, so another provider gets
//! it.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use ieum::delivery::worker::Receipt;
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::policy::Replay;
use ieum::provider::ProviderError;
use ieum::secrets::{ExposeSecret, Secret, SecretShape, SecretString};
use ieum::webhook::{LiveSecrets, TextKey};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::Transport;
use crate::config::{TwilioConfig, TwilioSender};
use crate::events::{Reason, twilio_reason};
use crate::text::Text;

/// Where Twilio calls back.
pub const CALLBACK_PATH: &str = "/v1/webhooks/twilio";

/// The parameter of that address with our id.
pub const ID_PARAMETER: &str = "id";

/// The secret of this provider family.
#[derive(Debug, Deserialize)]
pub struct TwilioSecret {
    /// The account, `AC…`; it is part of the address, and in each callback.
    pub account_sid: String,
    /// Its token, or that of an API key.
    auth_token: SecretString,
    /// The API key, `SK…`, where there is one; otherwise the account itself signs in.
    api_key_sid: Option<String>,
    /// The tokens that callbacks are signed with: the account's, present and former.
    pub webhook_tokens: LiveSecrets<TextKey>,
}

impl SecretShape for TwilioSecret {
    const MEMBERS: &'static [&'static str] = &["account_sid", "auth_token", "api_key_sid", "webhook_tokens"];
}

/// The client.
#[derive(Clone, Debug)]
pub struct Twilio {
    config: TwilioConfig,
    http: HttpClient,
    secret: Arc<Secret<TwilioSecret>>,
}

#[derive(Deserialize)]
struct Created {
    sid: String,
}

#[derive(Deserialize)]
struct Problem {
    code: u32,
}

impl Twilio {
    /// A client of the service that `config` describes.
    pub fn new(config: TwilioConfig, http: HttpClient, secret: Arc<Secret<TwilioSecret>>) -> Self {
        Self { config, http, secret }
    }

    fn outgoing(&self, secret: &TwilioSecret, id: &str, text: &Text) -> Result<Outgoing, ProviderError> {
        let not_sent = |error: url::ParseError| ProviderError::Unreachable(error.into());
        let base = self.config.base_url.as_str().trim_end_matches('/');
        let url = format!("{base}/2010-04-01/Accounts/{}/Messages.json", secret.account_sid);
        let public = self.config.public_url.as_str().trim_end_matches('/');
        let mut callback = Url::parse(&format!("{public}{CALLBACK_PATH}")).map_err(not_sent)?;
        callback.query_pairs_mut().append_pair(ID_PARAMETER, id);
        let sender = match &self.config.sender {
            TwilioSender::Number(number) => ("From", number),
            TwilioSender::Service(service) => ("MessagingServiceSid", service),
        };
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("To", text.to.as_str())
            .append_pair(sender.0, sender.1)
            .append_pair("Body", &text.text)
            .append_pair("StatusCallback", callback.as_str())
            .finish();
        let user = secret.api_key_sid.as_ref().unwrap_or(&secret.account_sid);
        let basic = STANDARD.encode(format!("{user}:{}", secret.auth_token.expose_secret()));
        // What cannot stand in a header cannot be right.
        let mut basic = HeaderValue::try_from(format!("Basic {basic}")).map_err(|_| ProviderError::Unauthorized)?;
        basic.set_sensitive(true);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, basic), (CONTENT_TYPE, form)]);
        let url = Url::parse(&url).map_err(not_sent)?;
        Ok(Outgoing { method: Method::POST, url, headers, body: body.into(), replay: Replay::Never })
    }
}

#[async_trait]
impl Transport for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn about_number(&self, code: &str) -> Option<Reason> {
        twilio_reason(code)
    }

    fn carries_our_id(&self) -> bool {
        true
    }

    async fn send(&self, id: &str, text: &Text) -> Result<Receipt, ProviderError> {
        let secret = self.secret.current().await;
        let answer = self.http.exchange(self.outgoing(&secret, id, text)?).await?;
        match refusal(&answer) {
            None => Ok(Receipt { reference: answer.json::<Created>()?.sid }),
            Some(ProviderError::Unauthorized) if self.secret.refused(&secret).await => {
                Err(ProviderError::CredentialsReplaced)
            }
            Some(error) => Err(error),
        }
    }
}

/// What Twilio's errors (<https://www.twilio.com/docs/api/errors>) mean to us.
fn refusal(answer: &Incoming) -> Option<ProviderError> {
    let usual = answer.failure_of_effect()?;
    let code = serde_json::from_slice::<Problem>(&answer.body).ok().map(|problem| problem.code);
    Some(match code {
        Some(20_429) => ProviderError::Throttled { retry_after: answer.retry_after() },
        // Of the account or the sender: signing in, a country or number not enabled, no route, suspended.
        Some(20_003 | 21_408 | 21_606 | 21_608 | 21_612 | 21_659 | 30_002) => ProviderError::Unauthorized,
        Some(code) if matches!(usual, ProviderError::Rejected { .. }) => {
            ProviderError::Rejected { code: code.to_string() }
        }
        Some(_) | None => usual,
    })
}
