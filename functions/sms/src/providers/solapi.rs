//! Solapi, a Korean gateway: one request for each text.
//!
//! Source: <https://developers.solapi.dev/references/messages/sendManyDetail>. Texts to Korean telephones come from a
//! registered number and are counted in bytes. Our id travels in `customFields`.
//!
//! Traps handled here, each with a test: 200 with something in `failedMessageList` is a refusal; a signature is good for
//! one request, so each attempt has a salt of its own; a balance that is used up is no fault of the text, so the next
//! provider gets it.

use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use http::header::AUTHORIZATION;
use ieum::clock::SharedClock;
use ieum::delivery::worker::Receipt;
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::policy::Replay;
use ieum::provider::ProviderError;
use ieum::secrets::{ExposeSecret, Secret, SecretShape, SecretString};
use ieum::webhook::{LiveSecrets, TextKey};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;
use url::Url;
use uuid::Uuid;

use super::Transport;
use crate::config::SolapiConfig;
use crate::events::{Reason, SOLAPI_ID_FIELD};
use crate::text::{Form, Text};

/// The secret of this provider family.
#[derive(Debug, Deserialize)]
pub struct SolapiSecret {
    api_key: String,
    api_secret: SecretString,
    /// What its webhook signs with; without them no report is believed.
    pub webhook_secrets: Option<LiveSecrets<TextKey>>,
}

impl SecretShape for SolapiSecret {
    const MEMBERS: &'static [&'static str] = &["api_key", "api_secret", "webhook_secrets"];
}

/// The client.
#[derive(Clone, Debug)]
pub struct Solapi {
    config: SolapiConfig,
    http: HttpClient,
    secret: Arc<Secret<SolapiSecret>>,
    clock: SharedClock,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    #[serde(default)]
    failed_message_list: Vec<Failed>,
    #[serde(default)]
    message_list: Vec<Listed>,
    group_info: Option<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failed {
    status_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    message_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    group_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    error_code: String,
}

impl Solapi {
    /// A client of the service that `config` describes.
    pub fn new(config: SolapiConfig, http: HttpClient, secret: Arc<Secret<SolapiSecret>>, clock: SharedClock) -> Self {
        Self { config, http, secret, clock }
    }

    fn outgoing(&self, secret: &SolapiSecret, id: &str, text: &Text) -> Result<Outgoing, ProviderError> {
        let kind = match self.config.terms.quote(text).map(|quote| quote.form) {
            Ok(Form::Sms) => "SMS",
            Ok(Form::Lms) => "LMS",
            Err(issue) => return Err(ProviderError::Rejected { code: issue.name.to_owned() }),
        };
        let mut message = json!({
            "to": text.to.domestic(),
            "from": self.config.from,
            "text": text.text,
            "type": kind,
            "country": "82",
            "customFields": { SOLAPI_ID_FIELD: id },
        });
        if let Some(subject) = &text.subject {
            message["subject"] = subject.as_str().into();
        }
        let url = format!("{}/messages/v4/send-many/detail", self.config.base_url.as_str().trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|error| ProviderError::Unreachable(error.into()))?;
        let body = json!({ "messages": [message], "showMessageList": true });
        let mut outgoing = Outgoing::post_json(url, &body, Replay::Never)?;
        let (date, salt) = (self.clock.now().rfc3339(), Uuid::new_v4().simple().to_string());
        let signed = authorization(&secret.api_key, &secret.api_secret, &date, &salt);
        // What cannot stand in a header cannot be right.
        let mut signed = HeaderValue::try_from(signed).map_err(|_| ProviderError::Unauthorized)?;
        signed.set_sensitive(true);
        outgoing.headers.insert(AUTHORIZATION, signed);
        Ok(outgoing)
    }
}

/// The header `Authorization` of one request.
fn authorization(api_key: &str, api_secret: &SecretString, date: &str, salt: &str) -> String {
    let mut text = format!("HMAC-SHA256 apiKey={api_key}, date={date}, salt={salt}, signature=");
    // HMAC takes keys of any length.
    if let Ok(mac) = Hmac::<Sha256>::new_from_slice(api_secret.expose_secret().as_bytes()) {
        let mac = mac.chain_update(date).chain_update(salt).finalize().into_bytes();
        let _ = write!(text, "{}", hex::encode(mac));
    }
    text
}

#[async_trait]
impl Transport for Solapi {
    fn name(&self) -> &'static str {
        "solapi"
    }

    fn about_number(&self, code: &str) -> Option<Reason> {
        self.config.codes.reason(code)
    }

    fn carries_our_id(&self) -> bool {
        true
    }

    async fn send(&self, id: &str, text: &Text) -> Result<Receipt, ProviderError> {
        let secret = self.secret.current().await;
        let answer = self.http.exchange(self.outgoing(&secret, id, text)?).await?;
        match refusal(&answer) {
            None => receipt(answer.json()?),
            Some(ProviderError::Unauthorized) if self.secret.refused(&secret).await => {
                Err(ProviderError::CredentialsReplaced)
            }
            Some(error) => Err(error),
        }
    }
}

/// What a 2xx says.
fn receipt(accepted: Accepted) -> Result<Receipt, ProviderError> {
    if let Some(failed) = accepted.failed_message_list.into_iter().next() {
        return Err(ProviderError::Rejected { code: failed.status_code.unwrap_or_else(|| "failed".to_owned()) });
    }
    let listed = accepted.message_list.into_iter().next().map(|listed| listed.message_id);
    let reference = listed.or(accepted.group_info.map(|group| group.group_id));
    let nothing = || ProviderError::Malformed("neither taken nor refused".into());
    reference.map(|reference| Receipt { reference }).ok_or_else(nothing)
}

/// What Solapi's errors mean to us.
fn refusal(answer: &Incoming) -> Option<ProviderError> {
    let usual = answer.failure_of_effect()?;
    let code = serde_json::from_slice::<Problem>(&answer.body).ok().map(|problem| problem.error_code);
    Some(match code.as_deref() {
        // Of the account, the signature or our clock, and not of this text: another provider may take it.
        Some(
            "NotEnoughBalance"
            | "RequestTimeTooSkewed"
            | "SignatureDoesNotMatch"
            | "InvalidAPIKey"
            | "Unauthorized"
            | "Forbidden",
        ) => ProviderError::Unauthorized,
        Some("TooManyRequests") => ProviderError::Throttled { retry_after: answer.retry_after() },
        // Taken before: the salt of another request was the same. Another attempt has another.
        Some("DuplicatedSignature") => ProviderError::Unavailable { status: 503 },
        Some(code) if matches!(usual, ProviderError::Rejected { .. }) => {
            ProviderError::Rejected { code: code.to_owned() }
        }
        Some(_) | None => usual,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const VECTORS: &str = include_str!("../../tests/vectors/solapi_auth.json");

    #[test]
    fn the_vectors_come_out() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        for case in cases {
            let text = |name: &str| case[name].as_str().unwrap();
            let secret = SecretString::from(text("api_secret"));
            let signed = authorization(text("api_key"), &secret, text("date"), text("salt"));
            assert_eq!(signed, text("authorization"), "{}", case["id"]);
        }
        assert_eq!(cases.len(), 3);
    }
}
