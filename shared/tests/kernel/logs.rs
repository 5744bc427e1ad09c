//! What reaches a log: nothing that must stay secret, wherever it was put, everything an operator needs, as much as the
//! level says, and metrics in the form that CloudWatch reads.
//!
//! Secrets are made at random, put where secrets turn up, and logged through the doors the kernel itself uses. The
//! generator knows forms, not examples: no secret is ever made twice, and a run with another `IEUM_LOG_SEED` makes others.

use std::fmt::{self, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue};
use ieum::http::{HttpClient, Outgoing};
use ieum::integration::{Integration, Way};
use ieum::provider::{Provider, ProviderError};
use ieum::resilience::rate_limit::RatePolicy;
use ieum::telemetry::{Captured, LevelSwitch, LogLevel, redact, subscriber};
use ieum::testing::{Scripted, TokioClock};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use url::Url;

use crate::support::{Question, Reply, World, ask, down, listen, listen_and_switch, live, ms, once, secs, throttled};

/// Lines of an ordinary run, for a debug build; `IEUM_LOG_LINES` asks for more.
const LINES: u64 = 26_000;

/// Something that must not be in a log.
#[derive(Clone, Debug)]
struct Canary {
    kind: &'static str,
    text: String,
    /// A name under which it travels.
    name: &'static str,
    /// Whether only its name gives it away: a password has no form.
    only_by_name: bool,
}

impl Canary {
    /// What must not be seen of it: the whole, its halves where they are long, its digits alone.
    fn traces(&self) -> Vec<String> {
        let mut traces = vec![self.text.clone(), self.text.trim_end_matches('=').to_owned()];
        let letters: Vec<char> = self.text.chars().collect();
        if letters.len() >= 24 && !letters.contains(&'@') {
            let (one, two) = letters.split_at(letters.len() / 2);
            traces.extend([String::from_iter(one), String::from_iter(two)]);
        }
        let digits: String = letters.iter().filter(|c| c.is_ascii_digit()).collect();
        if self.text.chars().all(|c| !c.is_alphabetic()) {
            traces.push(digits);
        }
        if let Some((local, _)) = self.text.split_once('@') {
            traces.push(format!("{local}@"));
        }
        traces
    }
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(..from.len())]
}

fn letters(rng: &mut Rng, alphabet: &str, length: usize) -> String {
    let alphabet: Vec<char> = alphabet.chars().collect();
    (0..length).map(|_| *pick(rng, &alphabet)).collect()
}

fn digits(rng: &mut Rng, count: usize) -> String {
    letters(rng, "0123456789", count)
}

fn bytes(rng: &mut Rng, count: usize) -> Vec<u8> {
    (0..count).map(|_| rng.u8(..)).collect()
}

fn alphanumeric(rng: &mut Rng, length: usize) -> String {
    (0..length).map(|_| rng.alphanumeric()).collect()
}

fn base64url(rng: &mut Rng, count: usize) -> String {
    URL_SAFE_NO_PAD.encode(bytes(rng, count))
}

/// `parts` with one separator between, or none.
fn grouped(rng: &mut Rng, parts: &[String]) -> String {
    parts.join(*pick(rng, &["", "-", " ", ".", "-", " "]))
}

fn card(rng: &mut Rng) -> String {
    let (prefix, sizes) = *pick(
        rng,
        &[
            ("4", [4, 4, 4, 4]),
            ("51", [4, 4, 4, 4]),
            ("9410", [4, 4, 4, 4]),
            ("37", [4, 6, 5, 0]),
            ("36", [4, 6, 4, 0]),
        ],
    );
    let length: usize = sizes.iter().sum();
    let mut number = format!("{prefix}{}", digits(rng, length - prefix.len() - 1));
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0') * if place % 2 == 0 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    write!(number, "{}", (10 - sum % 10) % 10).unwrap();
    let mut rest = number.as_str();
    let parts = sizes.iter().filter(|size| **size > 0).map(|size| {
        let (part, after) = rest.split_at(*size);
        rest = after;
        part.to_owned()
    });
    let parts: Vec<String> = parts.collect();
    grouped(rng, &parts)
}

fn resident_number(rng: &mut Rng) -> String {
    let date = format!("{:02}{:02}{:02}", rng.u8(..100), rng.u8(1..=12), rng.u8(1..=28));
    let rest = format!("{}{}", rng.u8(1..=8), digits(rng, 6));
    format!("{date}{}{rest}", pick(rng, &["-", "", " ", " - "]))
}

fn phone(rng: &mut Rng) -> String {
    let (a, b, c) = (digits(rng, 4), digits(rng, 4), digits(rng, 3));
    match rng.u8(..8) {
        0..=2 => grouped(rng, &["010".to_owned(), a, b]),
        3 => grouped(rng, &["011".to_owned(), c, b]),
        4 => format!("+82{}10{}{a}{}{b}", pick(rng, &[" ", "-", ""]), pick(rng, &[" ", "-"]), pick(rng, &[" ", "-"])),
        5 => {
            let area = *pick(rng, &["02", "031", "051", "064", "070"]);
            pick(rng, &[format!("{area}-{c}-{b}"), format!("({area}) {c}-{b}"), format!("{area} {a} {b}")]).clone()
        }
        6 => {
            let area = format!("{}{}", rng.u8(2..=9), digits(rng, 2));
            let exchange = format!("{}{}", rng.u8(2..=9), digits(rng, 2));
            pick(
                rng,
                &[
                    format!("+1 ({area}) {exchange}-{b}"),
                    format!("+1{area}{exchange}{b}"),
                    format!("{area}-{exchange}-{b}"),
                ],
            )
            .clone()
        }
        _ => format!("+{} {} {a} {b}", pick(rng, &["44", "49", "81", "86", "33"]), rng.u8(20..99)),
    }
}

fn mail(rng: &mut Rng) -> String {
    let local = match rng.u8(..4) {
        0 => format!("{}.{}", letters(rng, "abcdefghijkl", 5), letters(rng, "mnopqrstuv", 6)),
        1 => format!("{}+{}", letters(rng, "abcdefghijkl", 6), letters(rng, "mnopqrstuv", 4)),
        2 => format!("{}{}", letters(rng, "가나다라마바사", 3), digits(rng, 3)),
        _ => format!("{}_{}", letters(rng, "ABCDEFabcdef", 5), digits(rng, 2)),
    };
    format!("{local}@{}", pick(rng, &["example.com", "mail.example.co.kr", "회사.한국", "a-b.io"]))
}

fn canary(rng: &mut Rng) -> Canary {
    const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let shaped = |kind, name, text| Canary { kind, text, name, only_by_name: false };
    match rng.u8(..20) {
        0 => {
            let prefix =
                *pick(rng, &["sk_live_", "test_sk_", "pk-", "key-", "xoxb-", "NCS", "SK", "AIza", "glpat-", ""]);
            let length = rng.usize(24..48);
            shaped("api key", "x-api-key", format!("{prefix}{}", alphanumeric(rng, length)))
        }
        1 => {
            let length = rng.usize(16..64);
            shaped("bearer token", "Authorization", base64url(rng, length))
        }
        2 => {
            let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
            let claims = URL_SAFE_NO_PAD.encode(json!({"sub": digits(rng, 8), "exp": rng.u32(..)}).to_string());
            shaped("jwt", "access_token", format!("{header}.{claims}.{}", base64url(rng, 32)))
        }
        3 => {
            let pair = format!("{}:{}", alphanumeric(rng, 8), alphanumeric(rng, 12));
            shaped("basic auth", "Authorization", STANDARD.encode(pair))
        }
        4 => shaped("webhook secret", "webhookSecret", format!("whsec_{}", STANDARD.encode(bytes(rng, 24)))),
        5 => shaped(
            "aws key id",
            "AWS_ACCESS_KEY_ID",
            format!("{}{}", pick(rng, &["AKIA", "ASIA"]), letters(rng, UPPER, 16)),
        ),
        6 => shaped("aws secret", "aws_secret_access_key", STANDARD.encode(bytes(rng, 30))),
        7 => shaped("card", "card_number", card(rng)),
        8 => shaped("card", "cardNo", card(rng)),
        9 => shaped("resident number", "주민등록번호", resident_number(rng)),
        10 => shaped("resident number", "resident-number", resident_number(rng)),
        11 | 12 => shaped("mail", "to", mail(rng)),
        13 | 14 => shaped("phone", "phone", phone(rng)),
        15 => {
            let count = *pick(rng, &[8, 16, 20, 32]);
            // One in two thousand short ones has no letter, and is then a number like any other.
            let hex = format!("{}{}", pick(rng, &["a", "b", "c", "d", "e", "f"]), &hex::encode(bytes(rng, count))[1..]);
            shaped("hex secret", "signature", if rng.bool() { hex } else { hex.to_uppercase() })
        }
        16 => {
            let count = *pick(rng, &[16, 24, 32, 48]);
            shaped("base64 secret", "clientSecret", STANDARD.encode(bytes(rng, count)))
        }
        17 => shaped("sendgrid key", "SENDGRID_API_KEY", format!("SG.{}.{}", base64url(rng, 16), base64url(rng, 32))),
        18 => {
            let random = hex::encode(bytes(rng, 16));
            let parts = [&random[..8], &random[8..12], &random[12..16], &random[16..20], &random[20..]];
            shaped("uuid key", "confmKey", parts.join("-"))
        }
        _ => {
            let text = format!("{}{}{}", letters(rng, "abcdefgh", 4), letters(rng, "!#$*~", 2), digits(rng, 3));
            let name =
                *pick(rng, &["password", "passWd", "DB_PASSWORD", "pw", "cvc", "otp", "client-secret", "비밀번호"]);
            Canary { kind: "password", text, name, only_by_name: true }
        }
    }
}

/// A chain of errors with a secret at its end.
#[derive(Debug)]
struct Link(String, Option<Box<Link>>);

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Link {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|link| link as _)
    }
}

fn percent(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn wrapped(rng: &mut Rng, inner: Value) -> Value {
    match rng.u8(..4) {
        0 => json!({"data": inner, "status": 200}),
        1 => json!([1, "two", inner]),
        2 => json!({"items": [{"nested": inner}], "note": "an ordinary sentence"}),
        _ => json!({"응답": {"내용": inner}}),
    }
}

fn named(name: &str, value: &str) -> Value {
    Value::Object([(name.to_owned(), value.into())].into_iter().collect())
}

const PLACES: u8 = 26;

/// Logs `canary` in place number `place`, in the way the kernel would; says which place that is. A place where a
/// password could not be known for one is given one that can.
fn log(rng: &mut Rng, place: u8, canary: &Canary) -> &'static str {
    let Canary { text, name, .. } = canary;
    // A name that says nothing, for what has a form of its own.
    let free = if canary.only_by_name { name } else { *pick(rng, &[name, "value", "q", "memo", "데이터"]) };
    let ascii = HeaderName::from_bytes(free.as_bytes()).unwrap_or(HeaderName::from_static("user-agent"));
    let by_name = canary.only_by_name;
    match place {
        0 => {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
            headers.insert(if by_name { HeaderName::from_static("x-password") } else { ascii }, value.clone());
            if !by_name {
                headers.insert("user-agent", value);
            }
            tracing::debug!(target: "ieum::http", headers = redact::headers(&headers), "http.request");
            "header"
        }
        1 => {
            let mut url = Url::parse("https://api.example.com/v1/things?page=2").unwrap();
            url.query_pairs_mut().append_pair(free, text);
            tracing::debug!(target: "ieum::http", url = redact::url(&url), "http.request");
            "query"
        }
        2 if !by_name => {
            let mut url = Url::parse("https://api.example.com/").unwrap();
            url.path_segments_mut().unwrap().extend(["hooks", text, "send"]);
            tracing::debug!(target: "ieum::http", url = redact::url(&url), "http.request");
            "path"
        }
        3 => {
            let mut url = Url::parse("https://api.example.com/").unwrap();
            url.set_username(text).unwrap();
            url.set_password(Some(text)).unwrap();
            tracing::debug!(target: "ieum::http", url = redact::url(&url), address = %url, "http.request");
            "user info"
        }
        4 => {
            let form = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("grant", "x y")
                .append_pair(free, text)
                .append_pair("size", "3")
                .finish();
            tracing::debug!(target: "ieum::http", body = redact::body(form.as_bytes()), "http.request");
            "form"
        }
        5 if !by_name => {
            tracing::warn!(target: "ieum::x", "the provider said {text}, which is odd");
            "sentence"
        }
        6 if !by_name => {
            tracing::warn!(target: "ieum::x", note = format!("고객 {text}님에게 보냄"), "보냄");
            "korean sentence"
        }
        7 => {
            let mut value = named(free, text);
            for _ in 0..rng.u8(..5) {
                value = wrapped(rng, value);
            }
            tracing::debug!(target: "ieum::http", body = redact::body(value.to_string().as_bytes()), "http.response");
            "json"
        }
        8 => {
            let mut value = named(free, text);
            for _ in 0..rng.u8(1..4) {
                let inner = Value::from(value.to_string());
                value = wrapped(rng, inner);
            }
            tracing::debug!(target: "ieum::http", body = redact::body(value.to_string().as_bytes()), "http.response");
            "json within json"
        }
        9 => {
            let mut value = named(free, text);
            for _ in 0..rng.u8(..3) {
                value = wrapped(rng, Value::from(value.to_string()));
            }
            let whole = value.to_string();
            tracing::debug!(target: "ieum::http", body = redact::body(&whole.as_bytes()[..whole.len() - 1]), "http.response");
            "broken json"
        }
        10 => {
            tracing::error!(target: "ieum::x", "could not read {} at line 3", wrapped(rng, named(free, text)));
            "json in a sentence"
        }
        11 => {
            tracing::debug!(target: "ieum::x", "got {}={}&x=1", percent(free), percent(text));
            "percent"
        }
        12 => {
            let twice = percent(&percent(&format!("{free}={text}")));
            tracing::debug!(target: "ieum::x", note = twice, "got");
            "percent twice"
        }
        13 if !by_name => {
            tracing::debug!(target: "ieum::x", "payload {} received", STANDARD.encode(text));
            "base64"
        }
        14 => {
            let inner = STANDARD.encode(named(free, text).to_string());
            tracing::debug!(target: "ieum::http", body = redact::body(json!({"message": {"data": inner}}).to_string().as_bytes()), "m");
            "base64 of json"
        }
        15 => {
            let last = if by_name { format!("bad {name}={text}") } else { format!("unexpected `{text}`") };
            let error =
                Link("call failed".into(), Some(Box::new(Link("bad answer".into(), Some(Box::new(Link(last, None)))))));
            tracing::error!(target: "ieum::x", error = &error as &(dyn std::error::Error + 'static), "call.failed");
            "error"
        }
        16 => {
            let error = Link("call failed".into(), Some(Box::new(Link(format!("{name}: {text}"), None))));
            tracing::error!(target: "ieum::x", error = ieum::error::chain(&error), "call.failed");
            "error chain"
        }
        17 => {
            #[derive(Debug)]
            #[expect(dead_code, reason = "read by Debug")]
            struct Settings<'a> {
                url: &'a str,
                api_key: Option<&'a str>,
                password: String,
            }
            let settings = Settings { url: "https://a.kr", api_key: Some(text), password: text.clone() };
            tracing::debug!(target: "ieum::x", ?settings, "{settings:?}");
            "debug"
        }
        18 => {
            let user = if rng.bool() {
                format!("https://{text}:x@h.kr/a")
            } else {
                format!("redis://u:{}@h.kr/0", percent(text))
            };
            tracing::warn!(target: "ieum::x", "cannot connect to {user}?{}={}", percent(free), percent(text));
            "address in a sentence"
        }
        19 => {
            let scheme = pick(rng, &["Bearer", "bearer", "Basic", "Digest"]);
            let dump = format!(
                "POST /x HTTP/1.1\r\nHost: h.kr\r\nAuthorization: {scheme} {text}\r\nCookie: a={text}; b=2\r\n\r\n"
            );
            tracing::debug!(target: "ieum::x", "{dump}");
            tracing::debug!(target: "ieum::x", dump = ?dump);
            "dump"
        }
        20 => {
            let body = format!("<?xml version=\"1.0\"?><a><{free}>{text}</{free}><b {free}=\"{text}\"/></a>");
            tracing::debug!(target: "ieum::http", body = redact::body(body.as_bytes()), "http.response");
            "xml"
        }
        21 => {
            let pairs = json!({"headers": [[free, text], {"name": free, "value": text}]});
            tracing::debug!(target: "ieum::http", body = redact::body(pairs.to_string().as_bytes()), headers = ?[(free, text)], "m");
            "pairs"
        }
        22 => {
            let span =
                tracing::info_span!(target: "ieum::x", "span", note = format!("{name}={text}"), secret = text.as_str());
            span.in_scope(|| tracing::info!(target: "ieum::x", "within"));
            "span"
        }
        23 => {
            tracing::info!(target: "ieum::x", api_key = text.as_str(), token = %text, password = ?text, "m");
            "field"
        }
        24 => {
            if let (Ok(number), true) = (text.parse::<u64>(), canary.kind != "phone") {
                tracing::info!(target: "ieum::x", amount = number, body = redact::body(format!("{{\"n\":{number}}}").as_bytes()), "m");
            } else {
                tracing::info!(target: "ieum::x", "{}", format_args!("{name} is \"{text}\" and {name} = '{text}'"));
            }
            "number"
        }
        _ => {
            let escaped: String = text.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
            tracing::info!(target: "ieum::x", "half of it: {{\"{name}\":\"{escaped}");
            "escapes"
        }
    }
}

fn number_from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn no_line_shows_a_secret_wherever_it_was_put() {
    let (lines, seed) = (number_from_environment("IEUM_LOG_LINES", LINES), number_from_environment("IEUM_LOG_SEED", 1));
    let (newest, mut rng) = (Captured::default(), Rng::with_seed(seed));
    let lines_of = newest.dispatch(LevelSwitch::new(LogLevel::Debug), &[], TokioClock::start());
    let mut leaks = std::collections::BTreeMap::<(&str, &str), (u32, String, String)>::new();
    let mut written = 0;
    tracing::dispatcher::with_default(&lines_of, || {
        for number in 0..lines {
            let canary = canary(&mut rng);
            let place = log(&mut rng, u8::try_from(number % u64::from(PLACES)).unwrap(), &canary);
            let shown = newest.take();
            written += shown.lines().count();
            assert!(!shown.is_empty(), "{place} wrote nothing");
            // The line is JSON: what is escaped once more for it is looked for in the plain.
            let plain = shown.replace("\\\"", "\"").replace("\\\\", "\\");
            let mut traces = canary.traces();
            traces.extend([percent(&canary.text), STANDARD.encode(&canary.text)]);
            if traces.iter().any(|trace| shown.contains(trace) || plain.contains(trace)) {
                let leak = leaks.entry((canary.kind, place)).or_insert((0, canary.text.clone(), shown));
                leak.0 += 1;
            }
        }
    });
    for ((kind, place), (count, text, line)) in &leaks {
        eprintln!("{count} x {kind} in {place}: `{text}`\n    {line}");
    }
    assert!(leaks.is_empty(), "{} leaks in {written} lines, see above", leaks.values().map(|leak| leak.0).sum::<u32>());
    assert!(written as u64 >= lines);
}

/// Texts that operators read at night, with numbers and identifiers of the forms that secrets have too.
fn needed(rng: &mut Rng) -> (&'static str, String) {
    let number = |rng: &mut Rng| format!("{}{}", rng.u32(101..999), digits(rng, 7));
    let business = number(rng);
    let uuid = uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid().to_string();
    let trace = hex::encode(bytes(rng, 16));
    let (provider, code) =
        (*pick(rng, &["nice", "nts", "sendgrid", "ses", "twilio", "toss", "portone"]), rng.u16(400..600));
    let time = format!(
        "2026-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        rng.u8(1..13),
        rng.u8(1..29),
        rng.u8(..24),
        rng.u8(..60),
        rng.u8(..60),
        rng.u16(..1000)
    );
    match rng.u8(..16) {
        0 => ("trace_id", trace),
        1 => ("message_id", uuid),
        2 => ("traceparent", format!("00-{trace}-{}-01", &trace[..16])),
        3 => ("note", format!("message {uuid} is queued")),
        4 => ("until", time),
        5 => ("note", format!("circuit open until {time}; {provider}: status {code}")),
        6 => ("company", business),
        7 => ("note", format!("company {}-{}-{} is closed", &business[..3], &business[3..5], &business[5..])),
        8 => ("url", format!("https://gate.nicednb.com/v1/companies/{business}/representative")),
        9 => {
            ("error", format!("{provider}: the provider is unavailable: status {code} after {} ms", rng.u32(..100_000)))
        }
        10 => (
            "status",
            pick(rng, &["provider_unavailable", "rate_limited", "PROVIDER_ERROR_E404", "invalid_request"]).to_string(),
        ),
        11 => (
            "operation",
            format!("{provider}.getBusinessRegistrationStatus took {}.{:03} s", rng.u8(..30), rng.u16(..1000)),
        ),
        12 => ("error", "ProvisionedThroughputExceededException: the request rate is too high".to_owned()),
        13 => ("sent_at", format!("{}", 1_795_233_000_000_u64 + rng.u64(..40_000_000_000))),
        14 => (
            "note",
            format!(
                "{} of {} sent in {} ms, {} KRW",
                rng.u16(..1000),
                rng.u16(..1000),
                rng.u32(..100_000),
                rng.u32(..9_000_000)
            ),
        ),
        _ => (
            "arn",
            format!("arn:aws:sqs:ap-northeast-2:{}:email-production", digits(rng, 6).repeat(2).replace('0', "1")),
        ),
    }
}

#[test]
fn what_an_operator_needs_is_on_the_line() {
    let mut rng = Rng::with_seed(number_from_environment("IEUM_LOG_SEED", 2));
    let mut hidden = Vec::new();
    for _ in 0..20_000 {
        let (name, value) = needed(&mut rng);
        let shown = redact::field(name, &value);
        if shown != value {
            hidden.push(format!("{name}: {value}\n  {shown}"));
        }
    }
    assert!(hidden.is_empty(), "{} hidden, for example\n{}", hidden.len(), hidden[..hidden.len().min(20)].join("\n"));
}

#[test]
fn what_was_redacted_once_is_not_changed_by_a_second_look() {
    let mut rng = Rng::with_seed(number_from_environment("IEUM_LOG_SEED", 3));
    for _ in 0..3_000 {
        let (one, two) = (canary(&mut rng), canary(&mut rng));
        let given = format!("{}={} and {}: \"{}\" {}", one.name, one.text, two.name, two.text, percent(&one.text));
        let once = redact::text(&given);
        assert_eq!(redact::text(&once), once, "{given}");
    }
}

/// A provider that asks a server on loopback through the kernel's client.
struct Wire {
    http: HttpClient,
    base: Url,
}

#[async_trait::async_trait]
impl Provider<Question, Reply> for Wire {
    fn name(&self) -> &'static str {
        "wire"
    }

    async fn call(&self, _: &Question) -> Result<Reply, ProviderError> {
        let answer = self.http.exchange(Outgoing::get(self.base.clone())).await?;
        answer.json::<String>().map(Reply)
    }
}

/// The integration `name`, whose provider is a server on loopback.
fn over_the_wire(name: &'static str, world: &World, base: &Url) -> Integration<Question, Reply> {
    let provider = Box::new(Wire { http: HttpClient::new(None).unwrap(), base: base.clone() });
    let way = Way { provider, gate: world.gate(name, None) };
    Integration::new(name, "ask", once(), vec![way], Arc::clone(&world.clock))
}

async fn answering() -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1/things", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(|| async { axum::Json("well") });
    tokio::spawn(async { axum::serve(listener, router).await });
    Url::parse(&base).unwrap()
}

#[tokio::test]
async fn levels_change_while_an_environment_runs_each_integration_for_itself() {
    let (captured, switch, guard) = listen_and_switch(LogLevel::Info);
    let (world, base) = (World::new(), answering().await);
    let (verify, sms) = (over_the_wire("verify", &world, &base), over_the_wire("sms", &world, &base));
    let mut seen = 0;
    let mut exchanges = async || {
        let request =
            tracing::info_span!(target: "ieum::api", "request", trace_id = "4bf92f3577b34da6a3ce929d0e0e4736");
        let calls = async { [ask(&verify, 1).await, ask(&sms, 1).await] };
        for called in tracing::Instrument::instrument(calls, request).await {
            called.unwrap();
        }
        let lines = captured.lines();
        let new: Vec<_> = lines[seen..].to_vec();
        seen = lines.len();
        assert_eq!(new.iter().filter(|line| line["message"] == "api_call").count(), 2, "metrics know no level");
        new.into_iter()
            .filter(|line| line["target"] == "ieum::http")
            .map(|line| {
                assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
                assert_eq!(line["endpoint"], "ask");
                format!("{} {}", line["integration"].as_str().unwrap(), line["message"].as_str().unwrap())
            })
            .collect::<Vec<_>>()
    };
    assert!(exchanges().await.is_empty());
    switch.set_for("verify", Some(LogLevel::Debug));
    assert_eq!(exchanges().await, ["verify http.request", "verify http.response"]);
    switch.set(LogLevel::Debug);
    switch.set_for("verify", Some(LogLevel::Error));
    assert_eq!(exchanges().await, ["sms http.request", "sms http.response"]);
    switch.set_for("verify", None);
    assert_eq!(exchanges().await.len(), 4);
    switch.set(LogLevel::Warn);
    assert!(exchanges().await.is_empty());
    assert_eq!(switch.level_of(Some("verify")), LogLevel::Warn);
    drop(guard);
}

#[tokio::test]
async fn outside_of_any_call_a_line_goes_by_the_function_it_is_written_in() {
    let (captured, switch) = (Captured::default(), LevelSwitch::new(LogLevel::Info));
    let marks = [("function", "verify".to_owned())];
    let lines = captured.dispatch(switch.clone(), &marks, TokioClock::start());
    tracing::dispatcher::with_default(&lines, || {
        let say = || tracing::debug!(target: "ieum::api", "edge.request");
        say();
        assert_eq!(captured.take(), "");
        switch.set_for("sms", Some(LogLevel::Debug));
        say();
        assert_eq!(captured.take(), "", "another integration's level");
        switch.set_for("verify", Some(LogLevel::Debug));
        say();
        assert!(captured.take().contains("edge.request"));
    });
}

/// Checks a line against CloudWatch's embedded metric format, as far as its specification binds whoever writes one.
fn check_metrics(line: &std::collections::BTreeMap<String, Value>) {
    const UNITS: [&str; 27] = [
        "Seconds",
        "Microseconds",
        "Milliseconds",
        "Bytes",
        "Kilobytes",
        "Megabytes",
        "Gigabytes",
        "Terabytes",
        "Bits",
        "Kilobits",
        "Megabits",
        "Gigabits",
        "Terabits",
        "Percent",
        "Count",
        "Bytes/Second",
        "Kilobytes/Second",
        "Megabytes/Second",
        "Gigabytes/Second",
        "Terabytes/Second",
        "Bits/Second",
        "Kilobits/Second",
        "Megabits/Second",
        "Gigabits/Second",
        "Terabits/Second",
        "Count/Second",
        "None",
    ];
    let text = serde_json::to_string(line).unwrap();
    assert!(text.len() < 256 * 1024);
    let root = line["_aws"].as_object().unwrap();
    assert_eq!(root.keys().collect::<Vec<_>>(), ["CloudWatchMetrics", "Timestamp"]);
    assert!(root["Timestamp"].as_i64().unwrap() > 1_700_000_000_000, "milliseconds");
    for directive in root["CloudWatchMetrics"].as_array().unwrap() {
        let directive = directive.as_object().unwrap();
        assert_eq!(directive.keys().collect::<Vec<_>>(), ["Dimensions", "Metrics", "Namespace"], "{text}");
        let namespace = directive["Namespace"].as_str().unwrap();
        assert!((1..=255).contains(&namespace.len()) && !namespace.starts_with("AWS/"));
        let sets = directive["Dimensions"].as_array().unwrap();
        assert!(!sets.is_empty(), "{text}");
        for set in sets.iter().map(|set| set.as_array().unwrap()) {
            assert!((1..=30).contains(&set.len()), "{text}");
            for name in set.iter().map(|name| name.as_str().unwrap()) {
                let value = line[name].as_str().unwrap();
                assert!(
                    (1..=250).contains(&name.len()) && (1..=1_024).contains(&value.len()) && !name.starts_with(':')
                );
            }
        }
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()), "{text}");
        let mut names = std::collections::BTreeSet::new();
        for metric in metrics.iter().map(|metric| metric.as_object().unwrap()) {
            assert_eq!(metric.keys().collect::<Vec<_>>(), ["Name", "Unit"]);
            let name = metric["Name"].as_str().unwrap();
            assert!(names.insert(name), "`{name}` twice");
            assert!(line[name].as_f64().is_some_and(f64::is_finite), "`{name}` in {text}");
            assert!(UNITS.contains(&metric["Unit"].as_str().unwrap()), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_metric_line_is_in_the_embedded_metric_format() {
    let (captured, guard) = listen(LogLevel::Error);
    let world = World::new();
    let provider = Scripted::new("p", live);
    provider.then(live()).then(down()).then(throttled(1));
    let integration = world.asking(&provider, once()).cache(world.cache());
    for number in [1, 1, 2, 3, 3] {
        let _ = ask(&integration, number).await;
    }
    let scarce = Scripted::new("scarce", live);
    let limited = world.limited(&scarce, once(), RatePolicy::new(1, secs(60), 1, ms(0)));
    for number in [1, 2] {
        let _ = ask(&limited, number).await;
    }
    // Runs are counted by `health-cron`.
    tracing::info!(target: ieum::telemetry::METRIC, integration = "health-cron", health_run = 1, backup_run = 1, "run");
    tracing::info!(target: ieum::telemetry::METRIC, integration = "t", backup_age_seconds = 1, backup_read_age_seconds = 1, "age");
    tracing::info!(target: ieum::telemetry::METRIC, success = 1_u64, "no dimension to file it under");
    tracing::info!(target: ieum::telemetry::METRIC, provider = "p", "nothing measured");
    drop(guard);
    let lines = captured.lines();
    let metrics: Vec<_> = lines.iter().filter(|line| line.contains_key("_aws")).collect();
    metrics.iter().for_each(|line| check_metrics(line));
    let named = |name: &str| metrics.iter().filter(|line| line["message"] == name).count();
    assert_eq!((named("answer"), named("api_call"), named("refused")), (7, provider.calls().len() + 1, 1));
    assert_eq!(lines.len() - metrics.len(), 2, "the two that are no metrics");
    for (name, _) in ieum::telemetry::METRICS {
        assert!(metrics.iter().any(|line| line.contains_key(name)), "`{name}` is never written");
    }
}

/// What a line costs. Figures are for people: no test depends on them.
#[test]
#[ignore = "a measurement: cargo test --release -p ieum --test kernel -- --ignored --nocapture nanoseconds"]
fn nanoseconds_per_line() {
    let measure = |name: &str, work: &dyn Fn()| {
        (0..1_000).for_each(|_| work());
        let began = std::time::Instant::now();
        (0..100_000).for_each(|_| work());
        eprintln!("{:>8.0} ns  {name}", began.elapsed().as_secs_f64() * 1e9 / 100_000.0);
    };
    let body =
        json!({"company": {"name": "이음", "number": "1234567891"}, "password": "x", "items": [1, 2, 3]}).to_string();
    measure("redact: an ordinary word", &|| drop(redact::field("provider", "nice")));
    measure("redact: an ordinary sentence", &|| {
        drop(redact::field("error", "nice: the provider is unavailable: status 503"))
    });
    measure("redact: a time", &|| drop(redact::field("until", "2026-11-21T03:50:00.123Z")));
    measure("redact: a trace id", &|| drop(redact::field("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736")));
    measure("redact: a sentence with a phone number and a key", &|| {
        drop(redact::field("error", "sent to 010-1234-5678 by sk_live_4eC39HqLyjWDarjtT1zdp7dc"));
    });
    measure("redact: a body of 100 bytes", &|| drop(redact::body(body.as_bytes())));
    let lines = subscriber(LevelSwitch::new(LogLevel::Info), &[], Box::new(std::io::sink()), TokioClock::start());
    tracing::subscriber::with_default(lines, || {
        let call = tracing::info_span!(target: "ieum::call", "call", integration = "verify", endpoint = "company");
        call.in_scope(|| {
            measure("line: a request", &|| {
                tracing::info!(target: "ieum::api", method = "GET", route = "/v1/companies/{business_number}", status = 200, duration_ms = 12, "request");
            });
            measure("line: a call, with metrics", &|| {
                tracing::info!(target: ieum::telemetry::METRIC, integration = "verify", provider = "nice", endpoint = "company", attempt = 1, status = "ok", success = 1, failure = 0, duration_ms = 12, "api_call");
            });
            measure("line: below the level", &|| {
                tracing::debug!(target: "ieum::http", body = redact::body(body.as_bytes()), "http.request");
            });
        });
    });
}
