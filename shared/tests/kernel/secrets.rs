//! Secrets of a start, read from a Secrets Manager on loopback.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use ieum::aws::Aws;
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::secrets::{ExposeSecret, SecretError, SecretName, SecretSource, Secrets};
use ieum::start::Kernel;
use ieum::store::MemoryStore;
use ieum::telemetry::LogLevel;
use ieum::testing::{TokioClock, aws_at, door};
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
        let (vault, aws) = self.listen().await;
        (vault, Secrets::new(Some(aws.secrets())))
    }

    async fn listen(self) -> (Arc<Self>, Aws) {
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
        (vault, aws_at(&endpoint))
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
async fn a_start_reads_the_secrets_that_its_variables_name_at_once() {
    let vault = Vault::with(names(&["nts"]));
    vault.texts.lock().unwrap().insert("ieum".to_owned(), door::ieum_secret(&[]).to_string());
    let (vault, aws) = vault.listen().await;
    let (ieum, nts) = (arn_of("ieum"), arn_of("nts"));
    let env = Env::from([("STAGE", "dev"), ("TABLE_NAME", "t"), ("BUCKET_NAME", "b")]);
    let env = env.with("IEUM_SECRET", &ieum).with("NTS_SECRET", &nts);
    let common = env.read(|reader| reader.common()).unwrap();
    let (http, store) = (HttpClient::new(None).unwrap(), Arc::new(MemoryStore::new()));
    let kernel = Kernel::over(&common, http, TokioClock::start(), store, Some(aws.secrets())).await.unwrap();
    let fetched = kernel.secrets.fetch(&SecretName::Managed(nts)).await.unwrap();
    assert_eq!(fetched.expose_secret(), "text of nts");
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
