//! Webhook verification: the vendors' vectors and ours, each bit of a message, hostile bytes, rotation and shadows.
//!
//! A file in `vectors/` holds `cases`: the request (`headers`, `body_b64`, `url`), what the receiver has (`secrets`,
//! `now_unix`, `allowed_topics`, `certificate`), and what must come of it (`expect`, `reason`). A case that expects
//! `policy` is one where receivers differ; ours are tested by name below.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use ieum::clock::Timestamp;
use ieum::error::{ApiError, Language, chain};
use ieum::secrets::SecretString;
use ieum::telemetry::LogLevel;
use ieum::webhook::sns::{self, Certificate, Kind, Topics};
use ieum::webhook::{
    Base64Key, BodyHmac, Hint, KeyEncoding, Limits, LiveSecrets, P256Key, Proof, Received, Scheme, SecurityKey,
    SendGrid, StandardWebhooks, Stripe, TextKey, Tolerance, Toss, TossDeposit, Twilio, Unverified, Verified, Verifier,
};
use proptest::prelude::*;
use ring::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::support::listen;

const NO_URL: &str = "https://api.example.kr/v1/webhooks/x";

/// A request that a test may change.
#[derive(Clone, Debug)]
struct Request {
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    url: String,
}

impl Request {
    fn new(headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        Self { headers, body: body.into(), url: NO_URL.to_owned() }
    }

    fn of(case: &Value) -> Self {
        let headers = case["headers"].as_object().into_iter().flatten();
        Self {
            headers: headers.map(|(name, value)| (name.clone(), text(value).into())).collect(),
            body: STANDARD.decode(text(&case["body_b64"])).unwrap(),
            url: case["url"].as_str().unwrap_or(NO_URL).to_owned(),
        }
    }

    fn verify<S: Scheme>(&self, verifier: &Verifier<'_, S>, now: Timestamp) -> Result<Proof, Unverified> {
        let headers = self.header_map().unwrap();
        let received = Received { headers: &headers, body: &self.body, url: &self.url };
        let verified = verifier.verify(&received, now)?;
        assert_eq!(verified.value(), &self.body);
        Ok(verified.proof().clone())
    }

    /// `None` when no HTTP server would hand these headers on.
    fn header_map(&self) -> Option<HeaderMap> {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).ok()?);
        }
        Some(map)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn live<S: Scheme>(_: &S, texts: &[&str]) -> LiveSecrets<S::Key> {
    let secrets: Vec<_> =
        texts.iter().enumerate().map(|(i, text)| json!({"label": format!("secret-{i}"), "secret": text})).collect();
    serde_json::from_value(secrets.into()).unwrap()
}

fn cases(file: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(file).unwrap();
    file["cases"].as_array().unwrap().clone()
}

const STRIPE: &str = include_str!("vectors/stripe.json");
const PORTONE: &str = include_str!("vectors/portone_v2.json");
const STANDARD_WEBHOOKS: &str = include_str!("vectors/standard_webhooks.json");
const TOSS: &str = include_str!("vectors/toss.json");
const SENDGRID: &str = include_str!("vectors/sendgrid_event.json");
const SNS: &str = include_str!("vectors/sns_message.json");
const TWILIO: &str = include_str!("vectors/twilio.json");

fn case(file: &str, id: &str) -> Value {
    cases(file).into_iter().find(|case| case["id"] == id).unwrap()
}

fn by_secrets<S: Scheme>(scheme: S, case: &Value, now: Timestamp) -> Result<(), Unverified> {
    let secrets: Vec<_> = case["secrets"].as_array().unwrap().iter().map(text).collect();
    let secrets = live(&scheme, &secrets);
    Request::of(case).verify(&Verifier::new(scheme, &secrets), now).map(drop)
}

/// True when `error` is what the vectors call `reason`.
fn is(reason: &str, error: &Unverified) -> bool {
    match reason {
        "missing_header" | "missing_field" => matches!(error, Unverified::Missing(_)),
        "bad_timestamp" | "missing_timestamp" => matches!(error, Unverified::Malformed(_)),
        "no_v1_signature" => *error == Unverified::NoSignature,
        // The vendors do not tell these apart: no match, no entry of a version we know, a time that is none.
        "signature_mismatch" => {
            matches!(error, Unverified::NoMatch | Unverified::NoSignature | Unverified::Malformed(_))
        }
        "body_hash_mismatch" => *error == Unverified::BodyHash,
        "timestamp_too_old" => matches!(error, Unverified::TooOld { .. }),
        "timestamp_too_new" => matches!(error, Unverified::TooNew { .. }),
        "unsupported_algorithm" | "unsupported_signature_version" => matches!(error, Unverified::Unsupported(_)),
        "untrusted_cert_url" => matches!(error, Unverified::UntrustedUrl(_)),
        "unexpected_topic" => *error == Unverified::UnexpectedTopic,
        "secret_mismatch" | "unknown_order" => *error == Unverified::NoMatch,
        _ => false,
    }
}

fn all_come_out(file: &str, count: usize, verdict: impl Fn(&Value) -> Result<(), Unverified>) {
    let cases = cases(file);
    assert_eq!(cases.len(), count);
    for case in cases {
        let (id, verdict) = (&case["id"], verdict(&case));
        match text(&case["expect"]) {
            "accept" => assert_eq!(verdict, Ok(()), "{id}"),
            "reject" => assert!(verdict.is_err_and(|error| is(text(&case["reason"]), &error)), "{id}"),
            expect => assert_eq!(expect, "policy", "{id}"),
        }
    }
}

fn now_of(case: &Value) -> Timestamp {
    seconds(case["now_unix"].as_i64().unwrap())
}

#[test]
fn stripes_vectors_come_out() {
    all_come_out(STRIPE, 26, |case| by_secrets(Stripe, case, now_of(case)));
}

#[test]
fn stripes_open_questions_are_answered_strictly() {
    let verdict = |id| {
        let case = case(STRIPE, id);
        by_secrets(Stripe, &case, now_of(&case))
    };
    assert_eq!(verdict("own-future-900s"), Err(Unverified::TooNew { lead: Duration::from_secs(900) }));
    assert_eq!(verdict("own-uppercase-hex"), Err(Unverified::NoMatch));
}

#[test]
fn standard_webhooks_vectors_come_out_and_so_do_portones() {
    all_come_out(STANDARD_WEBHOOKS, 2, |case| by_secrets(StandardWebhooks, case, now_of(case)));
    all_come_out(PORTONE, 23, |case| by_secrets(StandardWebhooks, case, now_of(case)));
}

fn deposit(case: &Value) -> Result<(), Unverified> {
    let body = Request::of(case).body;
    // One without the word cannot be read at all.
    let hint = Hint::read(&body, 1024, serde_json::from_slice::<TossDeposit>).map_err(|_| Unverified::NoMatch)?;
    let saved = case["stored_secret_by_order"].get(&hint.to_refetch().order_id);
    hint.to_refetch().check(saved.map(|saved| SecretString::from(text(saved))).as_ref())
}

#[test]
fn tosss_vectors_come_out_with_the_right_key_encoding_and_no_other() {
    let by = |key| move |case: &Value| by_secrets(Toss { key }, case, seconds(0));
    all_come_out(TOSS, 34, |case| match case["key_encoding"].as_str() {
        Some("utf8") => by(KeyEncoding::Text)(case),
        Some("hex") => by(KeyEncoding::Hex)(case),
        _ => deposit(case),
    });
    all_come_out(TOSS, 34, |case| {
        if case["key_encoding"].is_string() { by(KeyEncoding::Either)(case) } else { deposit(case) }
    });
    let (as_text, as_hex) = (case(TOSS, "own-utf8-valid-single"), case(TOSS, "own-hex-valid-single"));
    assert_eq!(by(KeyEncoding::Hex)(&as_text), Err(Unverified::NoMatch));
    assert_eq!(by(KeyEncoding::Text)(&as_hex), Err(Unverified::NoMatch));
}

#[test]
fn an_order_without_a_saved_word_has_no_deposit() {
    let body = json!({"orderId": "order-0001", "secret": ""}).to_string();
    let deposit: TossDeposit = serde_json::from_str(&body).unwrap();
    assert_eq!(deposit.check(Some(&SecretString::from(""))), Err(Unverified::NoMatch));
    assert_eq!(deposit.check(None), Err(Unverified::NoMatch));
}

#[test]
fn sendgrids_vectors_come_out() {
    // They name no time to judge by: the message's own.
    let now = |case: &Value| {
        let headers = case["headers"].as_object().unwrap().iter();
        let mut times = headers.filter(|(name, _)| name.to_ascii_lowercase().ends_with("timestamp"));
        times.next().and_then(|(_, time)| text(time).parse().ok()).map_or(seconds(0), seconds)
    };
    all_come_out(SENDGRID, 18, |case| by_secrets(SendGrid, case, now(case)));
}

#[test]
fn twilios_vectors_come_out() {
    all_come_out(TWILIO, 30, |case| by_secrets(Twilio, case, seconds(0)));
}

fn topics_of(case: &Value) -> Topics {
    let mut arns: Vec<String> = serde_json::from_value(case["allowed_topics"].clone()).unwrap();
    Topics::new(arns.remove(0), arns)
}

fn pem_of(case: &Value) -> String {
    let file: Value = serde_json::from_str(SNS).unwrap();
    text(&file["certificates"][text(&case["certificate"])]).to_owned()
}

fn sns_message(
    case: &Value,
    body: &[u8],
    limits: Limits,
    now: Timestamp,
) -> Result<Verified<sns::Message>, Unverified> {
    let unproven = sns::read(body, &topics_of(case), limits)?;
    let certificate = Certificate::read(unproven.certificate_url().clone(), pem_of(case).as_bytes())?;
    unproven.verify(&certificate, now)
}

#[test]
fn snss_vectors_come_out() {
    all_come_out(SNS, 26, |case| sns_message(case, &Request::of(case).body, sns::LIMITS, seconds(0)).map(drop));
}

#[test]
fn a_message_of_sns_says_what_it_is_for() {
    let message = |id| {
        let case = case(SNS, id);
        sns_message(&case, &Request::of(&case).body, sns::LIMITS, seconds(0)).unwrap()
    };
    let notification = message("own-v2-notification-unicode-newline");
    assert_eq!(notification.value().kind, Kind::Notification { subject: Some("반송 알림".to_owned()) });
    let proof = notification.proof();
    assert_eq!((proof.scheme, proof.label.as_str()), ("sns", "SimpleNotificationService-0123456789abcdef.pem"));
    assert_eq!(proof.signed_at, Timestamp::parse_rfc3339("2026-01-02T03:04:05.678Z"));
    assert_eq!(proof.delivery.as_ref(), Some(&notification.value().id));
    for id in ["own-v1-subscription-confirmation", "own-v2-subscription-confirmation"] {
        let confirmation = message(id).into_value();
        let Kind::SubscriptionConfirmation { url } = confirmation.kind else { panic!("{id}: {:?}", confirmation.kind) };
        assert!(url.as_str().starts_with("https://sns.ap-northeast-2.amazonaws.com/?Action=ConfirmSubscription&"));
    }
    let goodbye = message("own-v2-unsubscribe-confirmation").into_value();
    assert!(matches!(goodbye.kind, Kind::UnsubscribeConfirmation { .. }));
}

/// A signed notification, as JSON to be changed.
fn sns_json(id: &str) -> (Value, serde_json::Map<String, Value>) {
    let case = case(SNS, id);
    let body = serde_json::from_slice(&Request::of(&case).body).unwrap();
    (case, body)
}

#[test]
fn the_text_sns_signs_can_be_read_in_one_way_only() {
    let (case, mut body) = sns_json("own-v2-notification-subject");
    let subject = body.remove("Subject").unwrap();
    let id = format!("{}\nSubject\n{}", text(&body["MessageId"]), text(&subject));
    body.insert("MessageId".to_owned(), id.into());
    let body = Value::from(body).to_string();
    let verdict = sns_message(&case, body.as_bytes(), sns::LIMITS, seconds(0)).unwrap_err();
    assert_eq!(verdict, Unverified::Malformed("MessageId"));
}

#[test]
fn a_message_of_sns_is_whole_and_leads_only_to_sns() {
    let (case, whole) = sns_json("own-v2-subscription-confirmation");
    let with = |member: &str, value: Option<&str>| {
        let mut body = whole.clone();
        match value {
            Some(value) => drop(body.insert(member.to_owned(), value.into())),
            None => drop(body.remove(member)),
        }
        sns::read(Value::from(body).to_string().as_bytes(), &topics_of(&case), sns::LIMITS).map(drop)
    };
    for member in SNS_MEMBERS {
        assert_eq!(with(member, None), Err(Unverified::Missing(member)));
    }
    assert_eq!(with("Type", Some("Greeting")), Err(Unverified::Malformed("Type")));
    assert_eq!(with("Timestamp", Some("yesterday")), Err(Unverified::Malformed("Timestamp")));
    assert_eq!(with("Signature", Some("AB")), Err(Unverified::Malformed("Signature")));
    for url in [
        "https://sns.ap-northeast-2.amazonaws.com:8443/a.pem",
        "https://u@sns.ap-northeast-2.amazonaws.com/a.pem",
        "https://:p@sns.ap-northeast-2.amazonaws.com/a.pem",
        "https://sns.ap.evil.amazonaws.com/a.pem",
        "https://sns.ap.amazonaws.com/a.pem",
        "https://sns.ap-northeast-2.amazonaws.com.cn.evil.example/a.pem",
        "ftp://sns.ap-northeast-2.amazonaws.com/a.pem",
        "sns.ap-northeast-2.amazonaws.com/a.pem",
        "",
    ] {
        for member in ["SigningCertURL", "SubscribeURL"] {
            assert_eq!(with(member, Some(url)), Err(Unverified::UntrustedUrl(member)), "{url}");
        }
    }
    for path in ["?a.pem", "a.pem?x", "a.crt"] {
        let url = format!("https://sns.ap-northeast-2.amazonaws.com/{path}");
        assert_eq!(with("SigningCertURL", Some(&url)), Err(Unverified::UntrustedUrl("SigningCertURL")));
        assert_eq!(with("SubscribeURL", Some(&url)), Ok(()));
    }
}

#[test]
fn a_message_of_sns_is_bound_to_its_certificate_its_size_and_its_time() {
    let (case, body) = sns_json("own-v2-notification");
    let body = Value::from(body).to_string();
    let read = |limits| sns::read(body.as_bytes(), &topics_of(&case), limits);
    let url = |id| {
        let case = self::case(SNS, id);
        sns::read(&Request::of(&case).body, &topics_of(&case), sns::LIMITS).unwrap().certificate_url().clone()
    };
    let elsewhere = Certificate::read(url("own-china-host"), pem_of(&case).as_bytes()).unwrap();
    assert_eq!(read(sns::LIMITS).unwrap().verify(&elsewhere, seconds(0)).unwrap_err(), Unverified::Certificate);
    for pem in ["", "<html>", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let read = Certificate::read(url("own-v2-notification"), pem.as_bytes());
        assert_eq!(read.unwrap_err(), Unverified::Certificate, "{pem}");
    }

    let (bytes, limit) = (body.len(), body.len() - 1);
    let small = Limits { body_bytes: limit, ..sns::LIMITS };
    assert_eq!(read(small).unwrap_err(), Unverified::TooLarge { bytes, limit });

    let published = Timestamp::parse_rfc3339("2026-01-02T03:04:05.678Z").unwrap();
    let limits = Limits::with(Tolerance::FIVE_MINUTES);
    let at = |now| sns_message(&case, body.as_bytes(), limits, now).map(drop);
    assert_eq!(at(published.after(Duration::from_secs(300))), Ok(()));
    let age = Duration::from_millis(300_001);
    assert_eq!(at(published.after(age)), Err(Unverified::TooOld { age }));
}

// ---------------------------------------------------------------------------------------------------------------------
// Every bit
// ---------------------------------------------------------------------------------------------------------------------

fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        (bit, flipped)
    })
}

/// Flips each bit of the body, of each of `headers`, and of the URL if it is signed; returns the bodies still accepted.
fn accepted_flips<S: Scheme>(scheme: S, case: &Value, now: Timestamp, headers: &[&str], url: bool) -> Vec<Vec<u8>> {
    let secrets: Vec<_> = case["secrets"].as_array().unwrap().iter().map(text).collect();
    let secrets = live(&scheme, &secrets);
    let verifier = Verifier::new(scheme, &secrets);
    let whole = Request::of(case);
    assert!(whole.verify(&verifier, now).is_ok(), "the message itself is good");

    let mut flipped_headers = 0;
    for (i, (name, value)) in whole.headers.iter().enumerate() {
        if headers.iter().any(|header| header.eq_ignore_ascii_case(name)) {
            flipped_headers += 1;
            for (bit, flipped) in flips(value) {
                let mut request = whole.clone();
                request.headers[i].1 = flipped;
                if request.header_map().is_some() {
                    assert!(request.verify(&verifier, now).is_err(), "bit {bit} of `{name}`");
                }
            }
        }
    }
    assert_eq!(flipped_headers, headers.len(), "each header is there");
    for (bit, flipped) in flips(whole.url.as_bytes()).filter(|_| url) {
        if let Ok(url) = String::from_utf8(flipped) {
            assert!(Request { url, ..whole.clone() }.verify(&verifier, now).is_err(), "bit {bit} of the URL");
        }
    }
    let bodies = flips(&whole.body).map(|(_, body)| body);
    bodies.filter(|body| Request { body: body.clone(), ..whole.clone() }.verify(&verifier, now).is_ok()).collect()
}

const NONE: Vec<Vec<u8>> = Vec::new();

#[test]
fn no_bit_of_a_signed_request_can_change() {
    let stripe = case(STRIPE, "own-valid-unicode");
    assert_eq!(accepted_flips(Stripe, &stripe, now_of(&stripe), &["stripe-signature"], false), NONE);

    let portone = case(PORTONE, "own-valid-unicode");
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    assert_eq!(accepted_flips(StandardWebhooks, &portone, now_of(&portone), &headers, false), NONE);

    let headers = ["tosspayments-webhook-transmission-time", "tosspayments-webhook-signature"];
    for (id, key) in [("own-utf8-valid-unicode", KeyEncoding::Text), ("own-hex-valid-unicode", KeyEncoding::Either)] {
        assert_eq!(accepted_flips(Toss { key }, &case(TOSS, id), seconds(0), &headers, false), NONE);
    }

    let headers = ["x-twilio-email-event-webhook-timestamp", "x-twilio-email-event-webhook-signature"];
    let sendgrid = case(SENDGRID, "own-valid-unicode");
    assert_eq!(accepted_flips(SendGrid, &sendgrid, seconds(1_767_225_610), &headers, false), NONE);

    let hmac = BodyHmac { name: "plain", header: "x-signature", prefix: "sha256=", base64: false };
    let signature = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let body = STANDARD.encode("what do ya want for nothing?");
    let plain = json!({"secrets": ["Jefe"], "headers": {"x-signature": signature}, "body_b64": body});
    assert_eq!(accepted_flips(hmac, &plain, seconds(0), &["x-signature"], false), NONE);

    let json = case(TWILIO, "own-json-body-sha256");
    assert_eq!(accepted_flips(Twilio, &json, seconds(0), &["x-twilio-signature"], true), NONE);
    let shared_key = case(TWILIO, "own-shared-key-hmac-sha256");
    accepted_flips(Twilio, &shared_key, seconds(0), &["x-twilio-signature"], true);
}

#[test]
fn no_bit_of_a_form_can_change_but_the_case_of_its_escapes() {
    let form = case(TWILIO, "own-unicode-and-reserved-characters");
    let params = |body: &[u8]| form_urlencoded::parse(body).into_owned().collect::<BTreeSet<_>>();
    let signed = params(&Request::of(&form).body);
    let accepted = accepted_flips(Twilio, &form, seconds(0), &["x-twilio-signature"], true);
    assert!(!accepted.is_empty(), "`%2B` and `%2b` are one parameter to the format");
    for body in accepted {
        assert_eq!(params(&body), signed, "{}", String::from_utf8_lossy(&body));
    }
}

#[test]
fn no_bit_of_a_message_of_sns_can_change_what_is_read() {
    for id in ["own-v1-notification-unicode", "own-v2-notification-subject", "own-v2-subscription-confirmation"] {
        let case = case(SNS, id);
        let body = Request::of(&case).body;
        let read = |body: &[u8]| sns::read(body, &topics_of(&case), sns::LIMITS);
        let url = read(&body).unwrap().certificate_url().clone();
        let certificate = Certificate::read(url, pem_of(&case).as_bytes()).unwrap();
        let verdict = |body: &[u8]| read(body)?.verify(&certificate, seconds(0)).map(Verified::into_value);
        let whole = verdict(&body).unwrap();
        let member = |name: &[u8]| {
            let begin = body.windows(name.len()).position(|window| window == name).unwrap_or(body.len());
            let length = body[begin..].iter().position(|byte| matches!(byte, b',' | b'}')).unwrap_or(0);
            begin..begin + length
        };
        // Nobody signs the link for people who want no more of it, and we do not read it; and a host is the same in
        // capitals.
        let (unsigned, host) = (member(b"UnsubscribeURL"), member(b"https://sns.ap-northeast-2.amazonaws.com/Simple"));
        for (bit, flipped) in flips(&body) {
            if let Ok(message) = verdict(&flipped) {
                let capital = bit % 8 == 5 && host.contains(&(bit / 8));
                assert!(unsigned.contains(&(bit / 8)) || capital, "{id}: bit {bit}");
                assert_eq!(message, whole);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Secrets, shadows, time and size
// ---------------------------------------------------------------------------------------------------------------------

const SIGNED_AT: i64 = 1_767_225_600;

fn stripe_signature(secret: &str, time: &str, body: &str) -> String {
    let key = hmac::Key::new(HMAC_SHA256, secret.as_bytes());
    hex::encode(hmac::sign(&key, format!("{time}.{body}").as_bytes()))
}

fn stripe_request(secret: &str) -> Request {
    let signature = stripe_signature(secret, &SIGNED_AT.to_string(), "{\"id\":\"evt_1\"}");
    Request::new(&[("Stripe-Signature", &format!("t={SIGNED_AT},v1={signature}"))], "{\"id\":\"evt_1\"}")
}

#[test]
fn each_live_secret_verifies_and_is_named() {
    let secrets = live(&Stripe, &["whsec_new", "whsec_old"]);
    let verifier = Verifier::new(Stripe, &secrets);
    for (secret, label) in [("whsec_new", "secret-0"), ("whsec_old", "secret-1")] {
        let proof = stripe_request(secret).verify(&verifier, seconds(SIGNED_AT)).unwrap();
        assert_eq!((proof.scheme, proof.label.as_str()), ("stripe", label));
        assert_eq!((proof.signed_at, proof.delivery), (Some(seconds(SIGNED_AT)), None));
    }
    let verdict = stripe_request("whsec_older").verify(&verifier, seconds(SIGNED_AT));
    assert_eq!(verdict, Err(Unverified::NoMatch));
}

#[test]
fn a_standard_webhook_names_its_delivery() {
    let case = case(PORTONE, "own-valid");
    let secrets = live(&StandardWebhooks, &[text(&case["secrets"][0])]);
    let proof = Request::of(&case).verify(&Verifier::new(StandardWebhooks, &secrets), now_of(&case)).unwrap();
    assert_eq!(proof.delivery.as_deref(), Some("dummy-webhook-id"));
}

#[test]
fn what_is_read_out_of_a_verified_body_is_verified_by_the_same_proof() {
    let request = stripe_request("whsec_new");
    let (headers, secrets) = (request.header_map().unwrap(), live(&Stripe, &["whsec_new"]));
    let received = Received { headers: &headers, body: &request.body, url: &request.url };
    let body = Verifier::new(Stripe, &secrets).verify(&received, seconds(SIGNED_AT)).unwrap();
    assert!(!format!("{body:?}").contains("evt_1"), "a body is never printed");
    let proof = body.proof().clone();
    let event: Verified<Value> = body.try_map(serde_json::from_slice).unwrap();
    assert_eq!((event.proof(), &event.value()["id"]), (&proof, &json!("evt_1")));
}

#[test]
fn there_is_always_a_usable_secret_and_its_content_is_never_shown() {
    fn refusal<S: Scheme>(_: &S, secrets: &Value) -> String {
        serde_json::from_value::<LiveSecrets<S::Key>>(secrets.clone()).unwrap_err().to_string()
    }
    let one = |secret: &str| json!([{"label": "2026-11", "secret": secret}]);
    let twice = json!([{"label": "a", "secret": "hunter2"}, {"label": "a", "secret": "hunter3"}]);
    let p384 = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
    let other_curve = text(&case(SENDGRID, "official-single")["secrets"][0]).replacen("AQc", "AQg", 1);
    for (error, says) in [
        (refusal(&Stripe, &json!([])), "no webhook secret"),
        (refusal(&Stripe, &json!([{"label": "2026-11"}])), "missing field `secret`"),
        (refusal(&Stripe, &one("")), "`2026-11` is empty or has spaces"),
        (refusal(&Stripe, &one("hunter2\n")), "`2026-11` is empty or has spaces"),
        (refusal(&Stripe, &twice), "`a` has the label of another"),
        (refusal(&StandardWebhooks, &one("whsec_hunter2!")), "is not base64"),
        (refusal(&StandardWebhooks, &one("whsec_")), "is not base64"),
        (refusal(&Toss { key: KeyEncoding::Text }, &one("hunter2")), "is not hexadecimal"),
        (refusal(&SendGrid, &one("aHVudGVyMg==")), "is not base64 of a P-256 public key"),
        (refusal(&SendGrid, &one(p384)), "is not base64 of a P-256 public key"),
        (refusal(&SendGrid, &one(&other_curve)), "is not base64 of a P-256 public key"),
    ] {
        assert!(error.contains(says) && !error.contains("hunter"), "{error}");
    }
    let two = live(&Stripe, &["hunter2", "hunter3"]);
    assert_eq!(format!("{two:?}"), r#"["secret-0", "secret-1"]"#);
}

#[test]
fn secrets_can_be_named_in_code_as_well() {
    let secret = SecretString::from;
    assert!(LiveSecrets::<TextKey>::new("a", &secret("12345")).unwrap().and("b", &secret("12345")).is_ok());
    assert!(LiveSecrets::<Base64Key>::new("a", &secret("whsec_AAAA")).is_ok());
    assert!(LiveSecrets::<SecurityKey>::new("a", &secret("00ff")).is_ok());
    let error = LiveSecrets::<P256Key>::new("a", &secret("hunter2")).unwrap_err();
    assert_eq!(error.to_string(), "the webhook secret `a` is not base64 of a P-256 public key in DER");
}

#[test]
fn a_candidate_is_logged_and_never_accepted() {
    let (secrets, candidates) = (live(&Stripe, &["whsec_live"]), live(&Stripe, &["whsec_candidate"]));
    let (verifier, shadow) = (Verifier::new(Stripe, &secrets), Verifier::new(Stripe, &candidates));
    let other_scheme = live(&StandardWebhooks, &["AAAA"]);
    let request = stripe_request("whsec_candidate");
    let headers = request.header_map().unwrap();
    let received = Received { headers: &headers, body: &request.body, url: &request.url };
    let now = seconds(SIGNED_AT);

    let (captured, _guard) = listen(LogLevel::Info);
    let (): () = shadow.shadow(&received, now);
    shadow.shadow(&received, now.after(Duration::from_secs(301)));
    Verifier::new(StandardWebhooks, &other_scheme).shadow(&received, now);
    assert_eq!(verifier.verify(&received, now).map(drop), Err(Unverified::NoMatch), "as if nobody had looked");

    let lines = captured.lines();
    let told: Vec<_> = lines
        .iter()
        .map(|line| ["message", "scheme", "label", "error"].map(|name| line.get(name).map_or("", |value| text(value))))
        .collect();
    assert_eq!(
        told,
        [
            ["webhook.shadow_verified", "stripe", "secret-0", ""],
            ["webhook.shadow_unverified", "stripe", "", "signed 301s ago"],
            ["webhook.shadow_unverified", "standard-webhooks", "", "`webhook-id` is missing"],
        ]
    );
    assert!(lines.iter().all(|line| line["target"] == "ieum::webhook"), "{lines:?}");
    assert!(!captured.text().contains("whsec_") && !captured.text().contains("evt_1"), "{}", captured.text());
}

#[test]
fn the_tolerance_holds_to_the_millisecond_in_both_directions() {
    let secrets = live(&Stripe, &["whsec_live"]);
    let verifier = Verifier::new(Stripe, &secrets);
    let (request, signed_at) = (stripe_request("whsec_live"), seconds(SIGNED_AT));
    let at = |now| request.verify(&verifier, now).map(drop);
    let (edge, past) = (Duration::from_secs(300), Duration::from_millis(300_001));
    assert_eq!(at(signed_at.after(edge)), Ok(()));
    assert_eq!(at(signed_at.before(edge)), Ok(()));
    assert_eq!(at(signed_at.after(past)), Err(Unverified::TooOld { age: past }));
    assert_eq!(at(signed_at.before(past)), Err(Unverified::TooNew { lead: past }));
    for extreme in [i64::MIN, i64::MAX] {
        assert!(at(Timestamp::from_millis(extreme)).is_err());
    }

    let none = Verifier::new(Stripe, &secrets).limits(Limits::with(Tolerance::Within(Duration::ZERO)));
    assert_eq!(request.verify(&none, signed_at).map(drop), Ok(()));
    assert!(request.verify(&none, signed_at.after(Duration::from_millis(1))).is_err());
    let unchecked = Verifier::new(Stripe, &secrets).limits(Limits::with(Tolerance::Unchecked));
    assert_eq!(request.verify(&unchecked, seconds(0)).map(drop), Ok(()));
}

#[test]
fn a_time_is_judged_only_where_one_is_signed() {
    let limits = Limits::with(Tolerance::FIVE_MINUTES);
    let twilio = case(TWILIO, "own-status-callback");
    let secrets = live(&Twilio, &[text(&twilio["secrets"][0])]);
    let verifier = Verifier::new(Twilio, &secrets).limits(limits);
    assert_eq!(Request::of(&twilio).verify(&verifier, seconds(0)), Err(Unverified::Untimed));

    let (toss, scheme) = (case(TOSS, "own-hex-valid-single"), Toss { key: KeyEncoding::Hex });
    let secrets = live(&scheme, &[text(&toss["secrets"][0])]);
    let verifier = Verifier::new(scheme, &secrets).limits(limits);
    let sent = Timestamp::parse_rfc3339("2024-09-05T12:19:21+09:00").unwrap();
    assert!(Request::of(&toss).verify(&verifier, sent).is_ok());
    let late = Request::of(&toss).verify(&verifier, sent.after(Duration::from_secs(301)));
    assert_eq!(late, Err(Unverified::TooOld { age: Duration::from_secs(301) }));
}

#[test]
fn a_body_over_the_limit_is_not_looked_at() {
    let secrets = live(&Stripe, &["whsec_live"]);
    let (request, bytes) = (stripe_request("whsec_live"), 14);
    let with = |body_bytes| {
        let limits = Limits { body_bytes, ..Limits::with(Tolerance::FIVE_MINUTES) };
        request.verify(&Verifier::new(Stripe, &secrets).limits(limits), seconds(SIGNED_AT)).map(drop)
    };
    assert_eq!(with(bytes), Ok(()));
    assert_eq!(with(bytes - 1), Err(Unverified::TooLarge { bytes, limit: bytes - 1 }));
}

fn outside(error: ApiError) -> (u16, String) {
    let response = error.to_response("t", seconds(SIGNED_AT), Language::English);
    (response.status().as_u16(), response.body().clone())
}

#[test]
fn the_sender_learns_nothing_but_that_it_failed() {
    let span = Duration::from_secs(301);
    let mut outsides = BTreeSet::new();
    for error in [
        Unverified::TooLarge { bytes: 2, limit: 1 },
        Unverified::Missing("stripe-signature"),
        Unverified::Malformed("stripe-signature"),
        Unverified::Unsupported("SignatureVersion"),
        Unverified::BodyHash,
        Unverified::NoSignature,
        Unverified::NoMatch,
        Unverified::TooOld { age: span },
        Unverified::TooNew { lead: span },
        Unverified::Untimed,
        Unverified::UnexpectedTopic,
        Unverified::UntrustedUrl("SigningCertURL"),
        Unverified::Certificate,
    ] {
        let (inside, error) = (error.to_string(), ApiError::from(error));
        assert_eq!(chain(&error), format!("unauthenticated: {inside}"), "the log learns all");
        outsides.insert(outside(error));
    }
    assert_eq!(outsides.len(), 1, "{outsides:?}");
    assert_eq!(outsides.first().map(|(status, _)| *status), Some(401));
}

#[test]
fn a_hint_says_what_to_fetch_again() {
    #[derive(Debug, serde::Deserialize)]
    struct Payment {
        imp_uid: String,
    }
    let read = |body: &'static str| Hint::read(body.as_bytes(), 19, serde_json::from_slice::<Payment>);
    let hint = read(r#"{"imp_uid":"imp_1"}"#).unwrap();
    assert_eq!(hint.to_refetch().imp_uid, "imp_1");
    assert!(!format!("{hint:?}").contains("imp_1"));
    assert_eq!(outside(read("{}").unwrap_err()).0, 400);
    assert_eq!(outside(read(r#"{"imp_uid":"imp_10"}"#).unwrap_err()).0, 413);
}

// ---------------------------------------------------------------------------------------------------------------------
// The formats' own corners
// ---------------------------------------------------------------------------------------------------------------------

#[test]
fn a_plain_hmac_is_read_in_each_of_its_spellings() {
    // RFC 4231, 4.3.
    let body = "what do ya want for nothing?";
    let digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let base64 = STANDARD.encode(hex::decode(digest).unwrap());
    let verdict = |prefix, base64, value: &str| {
        let scheme = BodyHmac { name: "plain", header: "x-signature", prefix, base64 };
        let secrets = live(&scheme, &["Jefe"]);
        Request::new(&[("X-Signature", value)], body).verify(&Verifier::new(scheme, &secrets), seconds(0)).map(drop)
    };
    assert_eq!(verdict("", false, digest), Ok(()));
    assert_eq!(verdict("sha256=", false, &format!("sha256={digest}")), Ok(()));
    assert_eq!(verdict("", true, &base64), Ok(()));
    assert_eq!(verdict("sha256=", false, digest), Err(Unverified::Malformed("x-signature")));
    assert_eq!(verdict("", true, digest), Err(Unverified::NoMatch));
    assert_eq!(verdict("", true, base64.trim_end_matches('=')), Err(Unverified::NoMatch));
    assert_eq!(verdict("", false, &digest[..62]), Err(Unverified::NoMatch));
    assert_eq!(verdict("", false, ""), Err(Unverified::NoMatch));
}

#[test]
fn a_signature_of_another_version_is_none() {
    let (standard, toss) = (case(PORTONE, "own-only-v2-version"), case(TOSS, "own-hex-no-v1-prefix"));
    assert_eq!(by_secrets(StandardWebhooks, &standard, now_of(&standard)), Err(Unverified::NoSignature));
    assert_eq!(by_secrets(Toss { key: KeyEncoding::Hex }, &toss, seconds(0)), Err(Unverified::NoSignature));
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let secrets = live(&Stripe, &["whsec_live"]);
    let verifier = Verifier::new(Stripe, &secrets);
    let good = stripe_request("whsec_live");
    let verdict = |request: &Request| request.verify(&verifier, seconds(SIGNED_AT));
    let mut twice = good.clone();
    twice.headers.push(good.headers[0].clone());
    assert_eq!(verdict(&twice), Err(Unverified::Malformed("stripe-signature")), "two headers");
    let mut joined = good.clone();
    joined.headers[0].1 = [&good.headers[0].1[..], b",", &good.headers[0].1[..]].concat();
    assert_eq!(verdict(&joined), Err(Unverified::Malformed("stripe-signature")), "two times");

    let mut two_hashes = case(TWILIO, "own-json-body-sha256");
    two_hashes["url"] = format!("{}&bodySHA256=00", text(&two_hashes["url"])).into();
    assert_eq!(by_secrets(Twilio, &two_hashes, seconds(0)), Err(Unverified::Malformed("bodySHA256")));
}

const TOKEN: &str = "12345";

/// Twilio's rule, written a second time: the URL, then each name and value in the order of the names and then the values,
/// equal ones once.
fn twilio_request(url: &str, params: &[(String, String)], body: String) -> Request {
    let mut sorted = params.to_vec();
    sorted.sort();
    sorted.dedup();
    let mut signed = url.to_owned();
    for (name, value) in sorted {
        signed.push_str(&name);
        signed.push_str(&value);
    }
    let key = hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, TOKEN.as_bytes());
    let signature = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
    Request { url: url.to_owned(), ..Request::new(&[("X-Twilio-Signature", &signature)], body) }
}

fn twilio(request: &Request) -> Result<(), Unverified> {
    let secrets = live(&Twilio, &[TOKEN]);
    request.verify(&Verifier::new(Twilio, &secrets), seconds(0)).map(drop)
}

#[test]
fn the_url_of_a_form_may_have_its_port_or_not() {
    let params = [("Body".to_owned(), "안녕 & 100%".to_owned())];
    let body = "Body=%EC%95%88%EB%85%95+%26+100%25";
    for (signed, called, verdict) in [
        ("https://a.kr/x", "https://a.kr:443/x", Ok(())),
        ("https://a.kr:443/x", "https://a.kr/x", Ok(())),
        ("http://a.kr:80?y", "http://a.kr?y", Ok(())),
        ("https://u:p@a.kr:443/x", "https://u:p@a.kr/x", Ok(())),
        ("https://[::1]:443/x", "https://[::1]/x", Ok(())),
        ("https://[::1]/x", "https://[::1]:443/x", Ok(())),
        ("https://a.kr:80/x", "https://a.kr/x", Err(Unverified::NoMatch)),
        ("https://a.kr/x", "https://a.kr/x/", Err(Unverified::NoMatch)),
        ("https://a.kr/x:443", "https://a.kr/x", Err(Unverified::NoMatch)),
    ] {
        let request = Request { url: called.to_owned(), ..twilio_request(signed, &params, body.to_owned()) };
        assert_eq!(twilio(&request), verdict, "{signed} called as {called}");
    }
}

#[test]
fn parameters_cannot_move_into_the_url() {
    let params = [("MessageSid".to_owned(), "SM1".to_owned())];
    let signed = twilio_request("https://a.kr/x?t=1", &params, "MessageSid=SM1".to_owned());
    assert_eq!(twilio(&signed), Ok(()));
    for body in ["", "&&", "=", "=&="] {
        let moved = Request { url: "https://a.kr/x?t=1MessageSidSM1".to_owned(), body: body.into(), ..signed.clone() };
        assert_eq!(twilio(&moved), Err(Unverified::Malformed("body")), "`{body}`");
    }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_form_verifies_however_it_is_encoded_and_ordered(
        params in prop::collection::vec(("[A-Za-z가-힣 ]{1,6}", "\\PC{0,12}"), 1..8),
        turn in 0_usize..8,
    ) {
        let mut turned = params.clone();
        turned.rotate_left(turn % params.len());
        let usual = form_urlencoded::Serializer::new(String::new()).extend_pairs(&turned).finish();
        let unusual: Vec<_> = params.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        for body in [usual, unusual.join("&")] {
            prop_assert_eq!(twilio(&twilio_request("https://a.kr/x?t=1", &params, body)), Ok(()));
        }
    }

    #[test]
    fn a_form_with_another_parameter_does_not_verify(
        params in prop::collection::vec(("[A-Za-z]{1,6}", "\\PC{0,12}"), 1..8),
        name in "[a-z]{1,6}",
    ) {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&params).append_pair("\u{1}", &name).finish();
        prop_assert_eq!(twilio(&twilio_request("https://a.kr/x?t=1", &params, body)), Err(Unverified::NoMatch));
    }

    #[test]
    fn hostile_bytes_never_verify_and_never_panic(
        headers in prop::collection::vec((0..HEADERS.len(), hostile()), 0..10),
        body in prop::collection::vec(any::<u8>(), 0..64),
        url in prop_oneof![Just(NO_URL.to_owned()), any::<String>(), "(https?://)?[a-z:@\\[\\]/?#]{0,20}(bodySHA256=[0-9a-f]{0,4})?"],
    ) {
        let headers = headers.into_iter().map(|(name, value)| (HEADERS[name].to_owned(), value)).collect();
        let request = Request { headers, body, url };
        prop_assume!(request.header_map().is_some());
        let wide = Limits::with(Tolerance::Unchecked);
        let p256 = text(&case(SENDGRID, "official-single")["secrets"][0]).to_owned();
        let toss = Toss { key: KeyEncoding::Either };
        let plain = BodyHmac { name: "plain", header: "x-signature", prefix: "v1=", base64: true };
        prop_assert!(refused(&request, Stripe, "whsec_a", wide));
        prop_assert!(refused(&request, StandardWebhooks, "whsec_AAAA", wide));
        prop_assert!(refused(&request, toss, "00ff", wide));
        prop_assert!(refused(&request, Twilio, "12345", wide));
        prop_assert!(refused(&request, SendGrid, &p256, wide));
        prop_assert!(refused(&request, plain, "a", wide));
    }

    #[test]
    fn hostile_messages_of_sns_never_verify_and_never_panic(
        members in prop::collection::btree_map(0..SNS_MEMBERS.len(), sns_value(), 0..4),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let (case, whole) = sns_json("own-v2-subscription-confirmation");
        let mut body = whole.clone();
        for (member, value) in members {
            body.insert(SNS_MEMBERS[member].to_owned(), value);
        }
        prop_assume!(body != whole);
        let body = Value::from(body).to_string();
        prop_assert!(sns_message(&case, body.as_bytes(), sns::LIMITS, seconds(0)).is_err(), "{}", body);
        prop_assert!(sns::read(&noise, &topics_of(&case), sns::LIMITS).is_err());
    }
}

const HEADERS: [&str; 11] = [
    "stripe-signature",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "tosspayments-webhook-signature",
    "tosspayments-webhook-transmission-time",
    "x-twilio-signature",
    "x-twilio-webhooks-signature-settings",
    "x-twilio-email-event-webhook-signature",
    "x-twilio-email-event-webhook-timestamp",
    "x-signature",
];

/// Pieces of the formats in any order, numbers of any size, and bytes of any kind.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("t=".to_owned()),
        Just("v1=".to_owned()),
        Just("v1,".to_owned()),
        Just("v1:".to_owned()),
        Just(",".to_owned()),
        Just(" ".to_owned()),
        Just("algorithm=HMAC_SHA256".to_owned()),
        Just("2024-09-05T12:19:21+09:00".to_owned()),
        any::<i128>().prop_map(|number| number.to_string()),
        any::<u32>().prop_map(|number| number.to_string()),
        "[0-9a-f]{64}",
        "[A-Za-z0-9+/]{0,43}=",
    ];
    prop_oneof![
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..48),
    ]
}

fn refused<S: Scheme>(request: &Request, scheme: S, secret: &str, limits: Limits) -> bool {
    let secrets = live(&scheme, &[secret]);
    request.verify(&Verifier::new(scheme, &secrets).limits(limits), seconds(SIGNED_AT)).is_err()
}

const SNS_MEMBERS: [&str; 10] = [
    "Type",
    "MessageId",
    "TopicArn",
    "Message",
    "Timestamp",
    "Token",
    "SubscribeURL",
    "SignatureVersion",
    "Signature",
    "SigningCertURL",
];

fn sns_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!("Notification")),
        Just(json!("UnsubscribeConfirmation")),
        Just(json!("1")),
        "https://sns\\.[a-z.@:/-]{0,20}\\.amazonaws\\.com[a-z.@:/?#-]{0,10}(\\.pem)?".prop_map(Value::from),
        "[A-Za-z0-9+/]{342}==".prop_map(Value::from),
    ]
}
