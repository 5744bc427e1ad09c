//! SendGrid's mail API, v3, and the signature of its event webhook.
//!
//! The fake keeps what it has taken, so that a test can read a mail back byte for byte. It signs events with a key of its
//! own, whose public half is what a receiver is configured with; the key opens nothing else.

use std::collections::HashSet;

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde_json::{Map, Value, json};

use crate::control::Mode;
use crate::providers::{Answer, Provider, Request, remember};

/// The only path.
pub const SEND_PATH: &str = "/v3/mail/send";
/// Signs a body, for whoever has no library at hand: answers the headers to send along.
pub const SIGN_PATH: &str = "/sandbox/sign";
/// The only key the fake knows.
pub const API_KEY: &str = "SG.sandbox-api-key";
/// The public key that events are signed for, as SendGrid shows it.
pub const WEBHOOK_PUBLIC_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEHeRkZ64vpuTtiJuznWPAukA5JoJ2ZqIzNWvlL2SUwikawSrLMLMh5wveMnAij5oY9QmLaRk2nWH4xhhTnQsbRQ==";
/// Its other half.
const WEBHOOK_KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgsIBH+U1awye+BKUsFuXgk2IdmMpltyxRL94TOrp4NJGhRANCAAQd5GRnri+m5O2Im7OdY8C6QDkmgnZmojM1a+UvZJTCKRrBKsswsyHnC94ycCKPmhj1CYtpGTadYfjGGFOdCxtF";
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "SENDGRID-INTERNAL-DETAIL";
/// Recipients of one request.
const MAX_RECIPIENTS: usize = 1_000;

/// The fake.
#[derive(Debug, Default)]
pub(crate) struct SendGrid {
    mails: Vec<Value>,
    taken: u64,
}

/// The headers of an event webhook with this body, sent at `timestamp` (seconds since 1970).
#[must_use]
pub fn signed(timestamp: u64, body: &[u8]) -> [(&'static str, String); 2] {
    let random = SystemRandom::new();
    let key = STANDARD.decode(WEBHOOK_KEY).unwrap_or_default();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key, &random);
    let message = [timestamp.to_string().as_bytes(), body].concat();
    let signature = pair.ok().and_then(|pair| pair.sign(&random, &message).ok());
    let signature = signature.map(|signature| STANDARD.encode(signature)).unwrap_or_default();
    [
        ("x-twilio-email-event-webhook-signature", signature),
        ("x-twilio-email-event-webhook-timestamp", timestamp.to_string()),
    ]
}

impl Provider for SendGrid {
    fn name(&self) -> &'static str {
        "sendgrid"
    }

    fn internal_detail(&self) -> &'static str {
        INTERNAL_DETAIL
    }

    fn token_paths(&self) -> &'static [&'static str] {
        &[]
    }

    fn own_modes(&self) -> &'static [&'static str] {
        &[]
    }

    fn answer(&mut self, request: &Request, _: &Mode) -> Answer {
        if request.path == SIGN_PATH {
            let seconds =
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
            let headers: Map<String, Value> = signed(seconds, &request.body)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect();
            return Answer::json(StatusCode::OK, &Value::Object(headers));
        }
        if request.path != SEND_PATH {
            return self.error(StatusCode::NOT_FOUND, None);
        }
        if request.method != Method::POST {
            return self.error(StatusCode::METHOD_NOT_ALLOWED, None);
        }
        if request.bearer() != Some(API_KEY) {
            return self.error(StatusCode::UNAUTHORIZED, None);
        }
        let mail: Value = match serde_json::from_slice(&request.body) {
            Ok(mail) if request.says_json() => mail,
            Ok(_) | Err(_) => return self.error(StatusCode::BAD_REQUEST, None),
        };
        if let Err(field) = check(&mail) {
            return Answer::json(
                StatusCode::BAD_REQUEST,
                &json!({"errors": [{"message": INTERNAL_DETAIL, "field": field, "help": null}]}),
            );
        }
        self.taken += 1;
        let id = format!("sandbox-{}", self.taken);
        remember(&mut self.mails, json!({"message_id": id, "mail": mail}));
        let mut answer = Answer::text(StatusCode::ACCEPTED, "text/plain", String::new());
        if let Ok(id) = id.parse() {
            answer.headers.insert("x-message-id", id);
        }
        answer
    }

    fn error(&self, status: StatusCode, _: Option<&str>) -> Answer {
        Answer::json(status, &json!({"errors": [{"message": INTERNAL_DETAIL, "field": null, "help": null}]}))
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        match settings.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("sendgrid has no setting `{name}`")),
        }
    }

    fn state(&self) -> Value {
        json!({"taken": self.taken, "mails": self.mails})
    }
}

/// What SendGrid checks before it takes a mail; the field at fault.
fn check(mail: &Value) -> Result<(), &'static str> {
    let personalizations = mail["personalizations"].as_array().filter(|list| !list.is_empty() && list.len() <= 1_000);
    let mut count = 0;
    for personalization in personalizations.ok_or("personalizations")? {
        let mut seen = HashSet::new();
        if personalization["to"].as_array().is_none_or(Vec::is_empty) {
            return Err("personalizations.to");
        }
        for field in ["to", "cc", "bcc"] {
            for recipient in personalization[field].as_array().into_iter().flatten() {
                let email = recipient["email"].as_str().filter(|email| email.contains('@'));
                if !seen.insert(email.ok_or("personalizations.to.email")?.to_lowercase()) {
                    return Err("personalizations");
                }
                count += 1;
            }
        }
    }
    if count > MAX_RECIPIENTS {
        return Err("personalizations");
    }
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    if !is_text(&mail["from"]["email"]) {
        return Err("from.email");
    }
    if !is_text(&mail["subject"]) {
        return Err("subject");
    }
    let content = mail["content"].as_array().filter(|content| !content.is_empty()).ok_or("content")?;
    // The text part must stand before the HTML part.
    let kinds: Vec<&str> = content.iter().filter_map(|part| part["type"].as_str()).collect();
    if kinds.first() != Some(&"text/plain") || !content.iter().all(|part| is_text(&part["value"])) {
        return Err("content");
    }
    let files = mail["attachments"].as_array().into_iter().flatten();
    for file in files {
        if !is_text(&file["filename"]) || STANDARD.decode(file["content"].as_str().unwrap_or("?")).is_err() {
            return Err("attachments");
        }
    }
    Ok(())
}
