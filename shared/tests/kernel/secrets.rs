//! Secrets of a start, read from a Secrets Manager on loopback.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use ieum::secrets::{ExposeSecret, SecretError, SecretName, SecretSource, Secrets};
use ieum::telemetry::LogLevel;
use ieum::testing::aws_at;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{advance, pause, resume};

use crate::support::{listen, secs};

/// What Secrets Manager holds, whether it allows batches, and what it was asked.
#[derive(Debug, Default)]
struct Vault {
    texts: Mutex<BTreeMap<String, String>>,
    no_batches: bool,
    asked: Mutex<Vec<String>>,
}

impl Vault {
    fn with(names: impl IntoIterator<Item = String>) -> Self {
        let texts = names.into_iter().map(|name| (name.clone(), format!("text of {name}")));
        Self { texts: Mutex::new(texts.collect()), ..Self::default() }
    }

    /// As <https://docs.aws.amazon.com/secretsmanager/latest/apireference/> has it.
    fn answer(&self, target: &str, body: &Value) -> (StatusCode, String) {
        let operation = target.trim_start_matches("secretsmanager.");
        self.asked.lock().unwrap().push(operation.to_owned());
        let texts = self.texts.lock().unwrap();
        let found = |name: &str| {
            let (name, text) = texts.iter().find(|(known, _)| *known == name || arn_of(known) == name)?;
            Some(json!({"ARN": arn_of(name), "Name": name, "VersionId": "1", "SecretString": text}))
        };
        let refused = |kind: &str| (StatusCode::BAD_REQUEST, json!({"__type": kind, "message": "no"}).to_string());
        match operation {
            "BatchGetSecretValue" if self.no_batches => refused("AccessDeniedException"),
            "BatchGetSecretValue" => {
                let names = body["SecretIdList"].as_array().unwrap();
                assert!(names.len() <= 20, "more than it takes");
                let values: Vec<Value> = names.iter().filter_map(|name| found(name.as_str().unwrap())).collect();
                (StatusCode::OK, json!({"SecretValues": values, "Errors": []}).to_string())
            }
            _ => match found(body["SecretId"].as_str().unwrap()) {
                Some(value) => (StatusCode::OK, value.to_string()),
                None => refused("ResourceNotFoundException"),
            },
        }
    }

    async fn serve(self) -> (Arc<Self>, Secrets) {
        let vault = Arc::new(self);
        let shared = Arc::clone(&vault);
        let router = Router::new().route(
            "/",
            post(async move |headers: HeaderMap, body: Bytes| {
                shared.answer(headers["x-amz-target"].to_str().unwrap(), &serde_json::from_slice(&body).unwrap())
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        (vault, Secrets::new(Some(aws_at(&endpoint).secrets())))
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn arn_of(name: &str) -> String {
    format!("arn:aws:secretsmanager:ap-northeast-2:000000000000:secret:{name}-AbCdEf")
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn text(secrets: &Secrets, name: &str) -> Result<String, SecretError> {
    let fetched = secrets.fetch(&SecretName::Managed(name.to_owned())).await?;
    Ok(fetched.expose_secret().to_owned())
}

#[tokio::test]
async fn all_secrets_of_a_start_come_with_one_request_by_name_or_by_arn() {
    let (vault, secrets) = Vault::with(names(&["one", "two"])).serve().await;
    let by_arn = arn_of("two");
    secrets.read_ahead(&["one".to_owned(), by_arn.clone()]).await;
    assert_eq!(text(&secrets, "one").await.unwrap(), "text of one");
    assert_eq!(text(&secrets, &by_arn).await.unwrap(), "text of two");
    assert_eq!(text(&secrets, "one").await.unwrap(), "text of one", "for each who asks");
    assert_eq!(vault.asked(), ["BatchGetSecretValue"]);
}

#[tokio::test]
async fn whoever_asks_later_gets_what_is_there_then() {
    let (vault, secrets) = Vault::with(names(&["one", "two"])).serve().await;
    secrets.read_ahead(&names(&["one", "two"])).await;
    vault.texts.lock().unwrap().insert("one".to_owned(), "rotated".to_owned());
    pause();
    advance(secs(10)).await;
    resume();
    assert_eq!(text(&secrets, "one").await.unwrap(), "rotated");
    assert_eq!(vault.asked(), ["BatchGetSecretValue", "GetSecretValue"]);
}

#[tokio::test]
async fn one_that_is_missing_is_named_and_the_others_are_had() {
    let (vault, secrets) = Vault::with(names(&["one"])).serve().await;
    secrets.read_ahead(&names(&["one", "two"])).await;
    assert_eq!(text(&secrets, "one").await.unwrap(), "text of one");
    let error = text(&secrets, "two").await.unwrap_err();
    assert_eq!(error.to_string(), "the secret `two` cannot be read");
    assert_eq!(vault.asked(), ["BatchGetSecretValue", "GetSecretValue"]);
}

#[tokio::test]
async fn where_batches_are_not_allowed_each_is_read_by_itself_and_the_log_says_so() {
    let (log, _guard) = listen(LogLevel::Info);
    let (vault, secrets) = Vault { no_batches: true, ..Vault::with(names(&["one", "two"])) }.serve().await;
    secrets.read_ahead(&names(&["one", "two"])).await;
    assert_eq!(text(&secrets, "one").await.unwrap(), "text of one");
    assert_eq!(text(&secrets, "two").await.unwrap(), "text of two");
    assert_eq!(vault.asked(), ["BatchGetSecretValue", "GetSecretValue", "GetSecretValue"]);
    let text = log.text();
    assert!(text.contains("secrets.one_by_one") && text.contains("AccessDenied"), "{text}");
    assert!(!text.contains("text of"), "{text}");
}

#[tokio::test]
async fn a_single_secret_needs_no_batch_and_many_need_several() {
    let many: Vec<String> = (0..45).map(|number| format!("s{number}")).collect();
    let (vault, secrets) = Vault::with(many.clone()).serve().await;
    secrets.read_ahead(&many[..1]).await;
    assert_eq!(vault.asked(), [""; 0]);
    secrets.read_ahead(&many).await;
    assert_eq!(text(&secrets, "s44").await.unwrap(), "text of s44");
    assert_eq!(vault.asked(), ["BatchGetSecretValue"; 3]);
}
