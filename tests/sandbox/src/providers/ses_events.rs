//! Amazon SNS, as it hands events of SES to a subscriber over HTTPS: the certificate, the confirmation, and messages that are really signed.
//!
//! The key is the sandbox's own and its certificate is served here; a receiver that is pointed at this place instead of
//! Amazon's hosts checks signatures exactly as it would there. Version 1 (SHA-1) is not signed: the library refuses to.

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Map, Value, json};
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::control::Mode;
use crate::providers::{Answer, Provider, Request};

/// Signs a message, for whoever has no library at hand: takes [`signed`]'s arguments as JSON, answers the body to post.
pub const SIGN_PATH: &str = "/sandbox/sign";
/// Where the certificate is.
pub const CERTIFICATE_PATH: &str = "/SimpleNotificationService-sandbox.pem";
/// The host that messages name; a receiver in a test asks the sandbox instead.
const HOST: &str = "https://sns.ap-northeast-2.amazonaws.com";
/// What a confirmation must bring along.
const TOKEN: &str = "sandbox-token";
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "SES-EVENTS-INTERNAL-DETAIL";
const CERTIFICATE_PEM: &str = include_str!("../../certificates/sns.pem");
const KEY_PEM: &str = include_str!("../../certificates/sns.key.pem");

/// The fake.
#[derive(Debug, Default)]
pub(crate) struct SesEvents {
    confirmed: Vec<String>,
}

/// A message of type `kind` (`Notification`, `SubscriptionConfirmation`, `UnsubscribeConfirmation`) to `topic`, with the id
/// `id`, as SNS would post it.
#[must_use]
pub fn signed(kind: &str, topic: &str, id: &str, message: &str) -> Value {
    const TIMESTAMP: &str = "2026-11-21T03:50:00.000Z";
    let mut body = json!({
        "Type": kind,
        "MessageId": id,
        "TopicArn": topic,
        "Message": message,
        "Timestamp": TIMESTAMP,
        "SignatureVersion": "2",
        "SigningCertURL": format!("{HOST}{CERTIFICATE_PATH}"),
    });
    let mut text = format!("Message\n{message}\nMessageId\n{id}\n");
    if kind == "Notification" {
        body["UnsubscribeURL"] = format!("{HOST}/?Action=Unsubscribe").into();
        text += &format!("Timestamp\n{TIMESTAMP}\n");
    } else {
        let url = format!("{HOST}/?Action=ConfirmSubscription&TopicArn={topic}&Token={TOKEN}");
        text += &format!("SubscribeURL\n{url}\nTimestamp\n{TIMESTAMP}\nToken\n{TOKEN}\n");
        body["SubscribeURL"] = url.into();
        body["Token"] = TOKEN.into();
    }
    text += &format!("TopicArn\n{topic}\nType\n{kind}\n");
    body["Signature"] = signature(text.as_bytes()).unwrap_or_default().into();
    body
}

fn signature(text: &[u8]) -> Option<String> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(KEY_PEM.as_bytes()).ok()?;
    let pair = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok()?;
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).ok()?;
    Some(STANDARD.encode(signature))
}

impl Provider for SesEvents {
    fn name(&self) -> &'static str {
        "ses-events"
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
        match (&request.method, request.path.as_str()) {
            (&Method::GET, CERTIFICATE_PATH) => {
                Answer::text(StatusCode::OK, "application/x-pem-file", CERTIFICATE_PEM.to_owned())
            }
            (&Method::GET, "/") if request.query("Action") == Some("ConfirmSubscription") => {
                match (request.query("TopicArn"), request.query("Token")) {
                    (Some(topic), Some(TOKEN)) => {
                        self.confirmed.push(topic.to_owned());
                        Answer::text(StatusCode::OK, "text/xml", "<ConfirmSubscriptionResponse/>".to_owned())
                    }
                    (Some(_) | None, _) => self.error(StatusCode::BAD_REQUEST, None),
                }
            }
            (&Method::POST, SIGN_PATH) => {
                let Ok(order) = serde_json::from_slice::<Value>(&request.body) else {
                    return self.error(StatusCode::BAD_REQUEST, None);
                };
                let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
                Answer::json(StatusCode::OK, &signed(&text("kind"), &text("topic"), &text("id"), &text("message")))
            }
            _ => self.error(StatusCode::NOT_FOUND, None),
        }
    }

    fn error(&self, status: StatusCode, _: Option<&str>) -> Answer {
        Answer::text(status, "text/xml", format!("<ErrorResponse>{INTERNAL_DETAIL}</ErrorResponse>"))
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        match settings.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("ses-events has no setting `{name}`")),
        }
    }

    fn state(&self) -> Value {
        json!({"confirmed": self.confirmed})
    }
}
