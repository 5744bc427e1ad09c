//! Certificates of Amazon SNS and subscriptions, with a server on loopback in its place.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ieum::clock::Timestamp;
use ieum::config::{Env, Reader, Stage};
use ieum::http::HttpClient;
use ieum::sns::{Sns, SnsError};
use ieum::webhook::Unverified;
use ieum::webhook::sns::{self, SnsUrl, Topics, Unproven};
use serde_json::Value;
use url::Url;

const VECTORS: &str = include_str!("vectors/sns_message.json");

/// A server that gives every path the same answer, and keeps what it was asked.
#[derive(Clone)]
struct Host {
    answer: (StatusCode, String),
    asked: Arc<Mutex<Vec<String>>>,
}

async fn host(status: u16, answer: String) -> (Host, Sns) {
    let host = Host { answer: (StatusCode::from_u16(status).unwrap(), answer), asked: Arc::default() };
    let serve = |State(host): State<Host>, uri: Uri| async move {
        host.asked.lock().unwrap().push(uri.to_string());
        host.answer
    };
    let router = Router::new().fallback(serve).with_state(host.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/sns", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    (host, Sns::new(HttpClient::new(None).unwrap(), Some(url)))
}

fn message(id: &str) -> (Unproven, String) {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let case = file["cases"].as_array().unwrap().iter().find(|case| case["id"] == id).unwrap();
    let body = STANDARD.decode(case["body_b64"].as_str().unwrap()).unwrap();
    let topic = case["allowed_topics"][0].as_str().unwrap().to_owned();
    let pem = file["certificates"][case["certificate"].as_str().unwrap()].as_str().unwrap().to_owned();
    (sns::read(&body, &Topics::new(topic, Vec::new()), sns::LIMITS).unwrap(), pem)
}

const NOW: Timestamp = Timestamp::from_millis(1_795_233_000_000);

#[tokio::test]
async fn a_certificate_is_fetched_once_and_a_subscription_confirmed_where_it_says() {
    let (unproven, pem) = message("own-v2-subscription-confirmation");
    let (host, sns) = host(200, pem).await;
    let url: SnsUrl = unproven.certificate_url().clone();
    let certificate = sns.certificate(&url).await.unwrap();
    sns.certificate(&url).await.unwrap();
    let verified = unproven.verify(&certificate, NOW).unwrap();
    sns.confirm(&verified).await.unwrap();
    let asked = host.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].starts_with("/sns/SimpleNotificationService-") && asked[0].ends_with(".pem"), "{asked:?}");
    assert!(asked[1].starts_with("/sns/?Action=ConfirmSubscription&"), "{asked:?}");

    let (notification, _) = message("own-v2-notification");
    sns.confirm(&notification.verify(&certificate, NOW).unwrap()).await.unwrap();
    assert_eq!(host.asked.lock().unwrap().len(), 2, "a notification asks for nothing");
}

#[tokio::test]
async fn what_is_no_certificate_is_none_and_is_not_kept() {
    let (unproven, pem) = message("own-v2-notification");
    let url = unproven.certificate_url();
    for (status, answer) in [(200, "<html>".to_owned()), (200, format!("{pem}{}", " ".repeat(40_000)))] {
        let (host, sns) = host(status, answer).await;
        for _ in 0..2 {
            let error = sns.certificate(url).await.unwrap_err();
            assert!(matches!(error, SnsError::Unverified(Unverified::Certificate)), "{error:?}");
        }
        assert_eq!(host.asked.lock().unwrap().len(), 2);
    }
    for status in [302, 404, 500] {
        let (_, sns) = host(status, pem.clone()).await;
        let answer = sns.certificate(url).await;
        assert!(matches!(answer, Err(SnsError::Unavailable(_))), "{status}");
    }
}

#[test]
fn nothing_stands_in_for_amazon_but_on_this_machine() {
    let env = |value| Env::from([("SNS_BASE_URL", value)]);
    let read = |value, stage| {
        let env = env(value);
        let reader = Reader::new(&env);
        let url = reader.local_url("SNS_BASE_URL", stage);
        reader.finish(url)
    };
    assert_eq!(read("http://127.0.0.1:4600/sns", Stage::Local).unwrap().unwrap().port(), Some(4600));
    assert_eq!(read("", Stage::Production).unwrap(), None);
    for (value, stage) in [
        ("http://127.0.0.1:4600/sns", Stage::Production),
        ("http://127.0.0.1:4600/sns", Stage::Dev),
        ("https://sns.example.com", Stage::Local),
        ("http://sns.example.com", Stage::Local),
    ] {
        assert!(read(value, stage).is_err(), "{value} in {stage:?}");
    }
}
