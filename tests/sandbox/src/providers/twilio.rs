//! Twilio's message API, and the signature of its status callbacks.
//!
//! The fake keeps what it has taken, so that a test can read a text back and call the address that came with it. It calls
//! nobody itself: a test asks for a signed callback and delivers it, as often and as late as it likes. The magic numbers
//! are Twilio's own test numbers.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use crate::control::Mode;
use crate::providers::{Answer, Provider, Request};

/// The only account.
pub const ACCOUNT_SID: &str = "ACsandbox0000000000000000000000000";
/// Its token, which also signs callbacks.
pub const AUTH_TOKEN: &str = "sandbox-twilio-auth-token";
/// Where texts are sent.
pub const SEND_PATH: &str = "/2010-04-01/Accounts/ACsandbox0000000000000000000000000/Messages.json";
/// Makes a signed callback, for whoever has no library at hand. Counted apart, as tokens are: it is no call of Twilio's.
pub const SIGN_PATH: &str = "/sandbox/sign";
/// Stands in each error body.
pub const INTERNAL_DETAIL: &str = "TWILIO-INTERNAL-DETAIL";
/// Characters of one text.
const MAX_CHARACTERS: usize = 1_600;
/// The most texts that are remembered.
const MAX_TEXTS: usize = 2_000;

/// The fake.
#[derive(Debug, Default)]
pub(crate) struct Twilio {
    texts: Vec<Value>,
    taken: u64,
}

/// What is wanted of a callback.
#[derive(Deserialize)]
struct Wanted {
    url: String,
    params: Map<String, Value>,
}

/// A callback to `url`: its body, a form, and its `X-Twilio-Signature`.
#[must_use]
pub fn callback(url: &str, params: &[(&str, &str)]) -> (String, String) {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    let sorted: BTreeSet<_> = params.iter().collect();
    let text = sorted.into_iter().fold(url.to_owned(), |text, (name, value)| text + name + value);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, AUTH_TOKEN.as_bytes());
    (body, STANDARD.encode(hmac::sign(&key, text.as_bytes())))
}

impl Provider for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn internal_detail(&self) -> &'static str {
        INTERNAL_DETAIL
    }

    fn token_paths(&self) -> &'static [&'static str] {
        &[SIGN_PATH]
    }

    fn own_modes(&self) -> &'static [&'static str] {
        &[]
    }

    fn answer(&mut self, request: &Request, _: &Mode) -> Answer {
        if request.path == SIGN_PATH {
            let Ok(wanted) = serde_json::from_slice::<Wanted>(&request.body) else {
                return self.error(StatusCode::BAD_REQUEST, None);
            };
            let params = wanted.params.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
            let (body, signature) = callback(&wanted.url, &params.collect::<Vec<_>>());
            return Answer::json(StatusCode::OK, &json!({"body": body, "x-twilio-signature": signature}));
        }
        if request.path != SEND_PATH {
            return self.error(StatusCode::NOT_FOUND, Some("20404"));
        }
        if request.method != Method::POST {
            return self.error(StatusCode::METHOD_NOT_ALLOWED, Some("20004"));
        }
        let basic = format!("Basic {}", STANDARD.encode(format!("{ACCOUNT_SID}:{AUTH_TOKEN}")));
        if request.header("authorization") != basic {
            return self.error(StatusCode::UNAUTHORIZED, Some("20003"));
        }
        let form = request.form();
        let member = |name: &str| form.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let (to, body) = (member("To").unwrap_or_default(), member("Body").unwrap_or_default());
        let code = match to {
            _ if member("From").is_none() == member("MessagingServiceSid").is_none() => Some("21603"),
            _ if body.is_empty() => Some("21602"),
            _ if body.chars().count() > MAX_CHARACTERS => Some("21617"),
            "+15005550001" => Some("21211"),
            "+15005550002" => Some("21612"),
            "+15005550003" => Some("21408"),
            "+15005550004" => Some("21610"),
            "+15005550009" => Some("21614"),
            number if !number.starts_with('+') || number.len() < 8 => Some("21211"),
            _ => None,
        };
        if code.is_some() {
            return self.error(StatusCode::BAD_REQUEST, code);
        }
        self.taken += 1;
        let sid = format!("SM{:032x}", self.taken);
        if self.texts.len() == MAX_TEXTS {
            self.texts.remove(0);
        }
        self.texts.push(json!({"sid": sid, "form": form}));
        let answer = json!({
            "sid": sid,
            "account_sid": ACCOUNT_SID,
            "api_version": "2010-04-01",
            "body": body,
            "to": to,
            "from": member("From"),
            "messaging_service_sid": member("MessagingServiceSid"),
            "status": "queued",
            "direction": "outbound-api",
            "num_segments": "1",
            "num_media": "0",
            "price": null,
            "price_unit": "USD",
            "error_code": null,
            "error_message": null,
        });
        Answer::json(StatusCode::CREATED, &answer)
    }

    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer {
        let code: u32 = match (code.and_then(|code| code.parse().ok()), status) {
            (Some(code), _) => code,
            (None, StatusCode::TOO_MANY_REQUESTS) => 20_429,
            (None, StatusCode::UNAUTHORIZED) => 20_003,
            (None, _) => 20_001,
        };
        let more_info = format!("https://www.twilio.com/docs/errors/{code}");
        let body = json!({"code": code, "message": INTERNAL_DETAIL, "more_info": more_info, "status": status.as_u16()});
        Answer::json(status, &body)
    }

    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        match settings.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("twilio has no setting `{name}`")),
        }
    }

    fn state(&self) -> Value {
        json!({"taken": self.taken, "texts": self.texts})
    }
}
