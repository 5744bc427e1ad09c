//! The providers, one file each, and the small trait each of them fills.
//!
//! A provider knows its paths, its credentials and its bodies. It knows nothing of counting, delays, broken connections
//! or the control interface: those are the same for all and live in the server.

pub mod daum;
pub mod iamport;
pub mod juso;
pub mod kakao;
pub mod kakaopay;
pub mod nice;
pub mod nts;
pub mod portone;
pub mod sendgrid;
pub mod ses;
pub mod ses_events;
pub mod smtp;
pub mod sns;
pub mod solapi;
pub mod stripe;
pub mod toss;
pub mod twilio;

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::control::Mode;

/// Makes one provider in its first state; a reset calls it again.
pub(crate) type Make = fn() -> Box<dyn Provider>;

/// Lists every provider of the sandbox: a new one needs its file, its `mod` line above and its line here.
pub(crate) fn all() -> Vec<Make> {
    vec![
        || Box::new(nice::Nice::default()),
        || Box::new(nts::Nts),
        || Box::new(juso::Juso),
        || Box::new(kakao::Kakao),
        || Box::new(daum::Daum),
        || Box::new(sns::Sns::default()),
        || Box::new(solapi::Solapi::default()),
        || Box::new(twilio::Twilio::default()),
        || Box::new(toss::Toss::default()),
        || Box::new(portone::PortOne::default()),
        || Box::new(iamport::Iamport::default()),
        || Box::new(stripe::Stripe::default()),
        || Box::new(kakaopay::KakaoPay::default()),
        || Box::new(sendgrid::SendGrid::default()),
        || Box::new(ses::Ses::default()),
        || Box::new(ses_events::SesEvents::default()),
        || Box::new(smtp::Smtp::default()),
    ]
}

/// One faked provider. There are no default methods: what a provider does not have, it says.
pub(crate) trait Provider: Send {
    /// The name in URLs and in the control interface.
    fn name(&self) -> &'static str;

    /// A phrase that stands in every error body, so that a test can prove it reaches no caller of the layer.
    fn internal_detail(&self) -> &'static str;

    /// Paths where tokens are issued; they are counted apart from data.
    fn token_paths(&self) -> &'static [&'static str];

    /// Modes only this provider has; in them `answer` is asked, with the mode.
    fn own_modes(&self) -> &'static [&'static str];

    /// Answers one request. `mode` is the mode for this request: ok, slow, or one of the own modes.
    fn answer(&mut self, request: &Request, mode: &Mode) -> Answer;

    /// Makes an error body in the provider's manner, with the provider's own code when one was asked for.
    fn error(&self, status: StatusCode, code: Option<&str>) -> Answer;

    /// Applies the settings only this provider knows: all of them, or none and the reason.
    fn set(&mut self, settings: Map<String, Value>) -> Result<(), String>;

    /// What the provider remembers, for the control interface.
    fn state(&self) -> Value;
}

/// The most mails a provider remembers; a load test sends more than it reads back.
const MAX_MAILS: usize = 2_000;

/// Remembers a mail, and forgets the oldest.
pub(crate) fn remember(mails: &mut Vec<Value>, mail: Value) {
    if mails.len() == MAX_MAILS {
        mails.remove(0);
    }
    mails.push(mail);
}

/// A request as the provider's own host would see it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The path without the provider's name in front.
    pub(crate) path: String,
    /// The query, decoded once.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn bearer(&self) -> Option<&str> {
        self.headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
    }

    /// The value of a header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The parameters of a form; the first of each name counts.
    pub(crate) fn form(&self) -> BTreeMap<String, String> {
        let mut form = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(&self.body).into_owned() {
            form.entry(name).or_insert(value);
        }
        form
    }

    pub(crate) fn says_json(&self) -> bool {
        let content_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    }
}

/// A provider's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        Self::text(status, "application/json;charset=UTF-8", body.to_string())
    }

    pub(crate) fn text(status: StatusCode, content_type: &'static str, body: String) -> Self {
        Self { status, content_type, headers: HeaderMap::new(), body: body.into_bytes() }
    }
}

impl IntoResponse for Answer {
    fn into_response(mut self) -> Response {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        (self.status, self.headers, self.body).into_response()
    }
}
