//! Solapi's message API, v4, and a signature for its reports.
//!
//! The fake keeps what it has taken, and which signatures it has seen: each is good for one request. It reports to nobody
//! itself: a test asks for a signature and delivers the report. How the real service signs its reports is not public; the
//! fake's way is HMAC-SHA256 of the body, in hexadecimal.

use std::collections::HashSet;
use std::fmt::Write;

use axum::http::{Method, StatusCode};
use ring::hmac;
use serde_json::{Map, Value, json};

use crate::control::Mode;
use crate::providers::{Answer, Provider, Request};

/// Where texts are sent.
pub const SEND_PATH: &str = "/messages/v4/send-many/detail";
/// Signs a report, for whoever has no library at hand. Counted apart, as tokens are: it is no call of Solapi's.
pub const SIGN_PATH: &str = "/sandbox/sign";
/// The only key.
pub const API_KEY: &str = "NCSSANDBOX000000";
/// Its secret.
pub const API_SECRET: &str = "SANDBOX0SECRET0OF0SOLAPI00000000";
/// What reports are signed with.
pub const WEBHOOK_SECRET: &str = "sandbox-solapi-webhook-secret";
/// The only registered sender.
pub const FROM: &str = "0332501234";
/// A number to which every text fails, although the answer is 200.
pub const FAILING: &str = "01099990000";
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "SOLAPI-INTERNAL-DETAIL";
/// The most texts that are remembered.
const MAX_TEXTS: usize = 2_000;

const NO_BALANCE: &str = "no_balance";

/// The fake.
#[derive(Debug, Default)]
pub(crate) struct Solapi {
    texts: Vec<Value>,
    taken: u64,
    signatures: HashSet<String>,
}

fn hmac_hex(secret: &str, text: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text);
    tag.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The signature of a report with this body.
#[must_use]
pub fn signature(body: &[u8]) -> String {
    hmac_hex(WEBHOOK_SECRET, body)
}

impl Solapi {
    /// Whether the request may come in; otherwise the error's name.
    fn admit(&mut self, authorization: &str) -> Result<(), &'static str> {
        let parts = authorization.strip_prefix("HMAC-SHA256 ").ok_or("InvalidAuthMethod")?;
        let part = |name: &str| {
            let found = parts.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            found.ok_or("InvalidAuthHeader")
        };
        let (key, date, salt, signed) = (part("apiKey")?, part("date")?, part("salt")?, part("signature")?);
        if key != API_KEY {
            return Err("InvalidAPIKey");
        }
        if !(12..=64).contains(&salt.len()) || !date.contains('T') {
            return Err("InvalidAuthHeader");
        }
        if signed != hmac_hex(API_SECRET, format!("{date}{salt}").as_bytes()) {
            return Err("SignatureDoesNotMatch");
        }
        if self.signatures.insert(signed.to_owned()) { Ok(()) } else { Err("DuplicatedSignature") }
    }
}

impl Provider for Solapi {
    fn name(&self) -> &'static str {
        "solapi"
    }

    fn internal_detail(&self) -> &'static str {
        INTERNAL_DETAIL
    }

    fn token_paths(&self) -> &'static [&'static str] {
        &[SIGN_PATH]
    }

    fn own_modes(&self) -> &'static [&'static str] {
        &[NO_BALANCE]
    }

    fn answer(&mut self, request: &Request, mode: &Mode) -> Answer {
        if request.path == SIGN_PATH {
            return Answer::json(StatusCode::OK, &json!({"x-solapi-signature": signature(&request.body)}));
        }
        if request.path != SEND_PATH || request.method != Method::POST {
            return self.error(StatusCode::NOT_FOUND, Some("ResourceNotFound"));
        }
        if let Err(code) = self.admit(request.header("authorization")) {
            return self.error(StatusCode::FORBIDDEN, Some(code));
        }
        if mode.is_own(NO_BALANCE) {
            return self.error(StatusCode::PAYMENT_REQUIRED, Some("NotEnoughBalance"));
        }
        let body: Value = match serde_json::from_slice(&request.body) {
            Ok(body) if request.says_json() => body,
            Ok(_) | Err(_) => return self.error(StatusCode::BAD_REQUEST, Some("ValidationError")),
        };
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        let [message] = messages.as_slice() else {
            return self.error(StatusCode::BAD_REQUEST, Some("ValidationError"));
        };
        if let Some(code) = refuse(message) {
            return self.error(StatusCode::BAD_REQUEST, Some(code));
        }
        self.taken += 1;
        let (group, id) = (format!("G4V{:020}", self.taken), format!("M4V{:020}", self.taken));
        let group = json!({"groupId": group, "status": "SENDING", "count": {"total": 1}});
        if message["to"] == FAILING {
            let failed =
                json!([{"to": FAILING, "messageId": id, "statusCode": "3059", "statusMessage": INTERNAL_DETAIL}]);
            return Answer::json(StatusCode::OK, &json!({"failedMessageList": failed, "groupInfo": group}));
        }
        if self.texts.len() == MAX_TEXTS {
            self.texts.remove(0);
        }
        self.texts.push(json!({"messageId": id, "message": message}));
        let mut answer = json!({"failedMessageList": [], "groupInfo": group});
        if body["showMessageList"] == true {
            answer["messageList"] =
                json!([{"messageId": id, "statusCode": "2000", "customFields": message["customFields"]}]);
        }
        Answer::json(StatusCode::OK, &answer)
    }

    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer {
        let code = match (code, status) {
            (Some(code), _) => code,
            (None, StatusCode::TOO_MANY_REQUESTS) => "TooManyRequests",
            (None, _) => "InternalError",
        };
        Answer::json(status, &json!({"errorCode": code, "errorMessage": INTERNAL_DETAIL}))
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        match settings.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("solapi has no setting `{name}`")),
        }
    }

    fn state(&self) -> Value {
        json!({"taken": self.taken, "texts": self.texts})
    }
}

/// What Solapi checks before it takes a text; the error's name.
fn refuse(message: &Value) -> Option<&'static str> {
    let text = |name: &str| message[name].as_str().unwrap_or_default();
    let is_number = |text: &str| (9..=11).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(text("to")) || message["country"] != "82" {
        return Some("ValidationError");
    }
    if text("from") != FROM {
        return Some("UnregisteredSender");
    }
    // Two bytes for everything that is not ASCII: near enough to tell an SMS from an LMS.
    let bytes: usize = text("text").chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
    let fits = match text("type") {
        "SMS" => (1..=90).contains(&bytes) && message["subject"].is_null(),
        "LMS" => (1..=2_000).contains(&bytes),
        _ => false,
    };
    (!fits).then_some("ValidationError")
}
