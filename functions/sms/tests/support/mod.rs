//! An `sms` with the sandbox behind it, for tests.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ieum::clock::SharedClock;
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::provider::Cause;
use ieum::queue::{Queue, WakeUp};
use ieum::runtime::answer;
use ieum::start::Kernel;
use ieum::store::{Item, MemoryStore};
use ieum::telemetry::{Captured, LevelSwitch, LogLevel, subscriber};
use ieum::testing::{ManualClock, sha256_hex};
use ieum_sandbox::Sandbox;
use ieum_sandbox::providers::{solapi, twilio};
use serde_json::{Value, json};
use sms::{Config, Handler};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

/// Where callbacks go: the configured address, whatever a request says of its host.
pub const PUBLIC_URL: &str = "https://api.example.org";

/// A running function and everything around it.
pub struct Door {
    /// Passes when told to.
    pub clock: Arc<ManualClock>,
    /// The providers.
    pub sandbox: Sandbox,
    /// What was logged.
    pub log: Captured,
    store: Arc<MemoryStore>,
    queue: Arc<Wishes>,
    handler: Handler,
    dispatch: Dispatch,
}

/// A queue that remembers until it is asked.
#[derive(Debug, Default)]
struct Wishes(Mutex<Vec<WakeUp>>);

#[async_trait]
impl Queue for Wishes {
    async fn wake(&self, wake_ups: &[WakeUp]) -> Result<(), Cause> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(wake_ups);
        Ok(())
    }
}

/// A response, read.
pub struct Response {
    /// The status.
    pub status: u16,
    /// The body as JSON.
    pub body: Value,
    /// The body as text.
    pub text: String,
    headers: BTreeMap<String, String>,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The code of an error.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("no error")
    }

    /// Each detail of an error: its field and what is wrong with it.
    pub fn issues(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let details = self.body["error"]["details"].as_array().cloned().unwrap_or_default();
        details.iter().map(|detail| (text(&detail["field"]), text(&detail["issue"]))).collect()
    }

    /// The id of what was accepted.
    pub fn id(&self) -> String {
        self.body["id"].as_str().expect("an id").to_owned()
    }
}

impl Door {
    /// With the usual settings: Solapi first, then Twilio, then SNS, which is the cheapest.
    pub async fn open() -> Self {
        Self::with(&[]).await
    }

    /// With some variables set otherwise.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        let sandbox = Sandbox::start().await.expect("a free port");
        let secrets = SecretFiles::write();
        let (sns, twilio, solapi) = (sandbox.base_url("sns"), sandbox.base_url("twilio"), sandbox.base_url("solapi"));
        let env = Env::from([
            ("STAGE", "local"),
            ("IEUM_SECRET", secrets.ieum.as_str()),
            ("SMS_PROVIDERS", "solapi,twilio,sns"),
            ("SMS_COUNTRIES", "KR,JP,US"),
            ("SMS_PUBLIC_URL", PUBLIC_URL),
            ("SMS_BACKOFF_BASE_MS", "1"),
            ("SMS_BACKOFF_MAX_MS", "1"),
            ("SNS_BASE_URL", sns.as_str()),
            ("SNS_SECRET", secrets.sns.as_str()),
            ("SNS_SENDER_ID", "Gangwon"),
            ("SNS_MAX_PRICE_USD", "0.05"),
            ("SNS_PRICE_KRW", "10"),
            ("SNS_RATE_BURST", "1000"),
            ("TWILIO_BASE_URL", twilio.as_str()),
            ("TWILIO_SECRET", secrets.twilio.as_str()),
            ("TWILIO_FROM", "+15005550006"),
            ("TWILIO_PRICE_KRW", "40"),
            ("TWILIO_RATE_BURST", "1000"),
            ("SOLAPI_BASE_URL", solapi.as_str()),
            ("SOLAPI_SECRET", secrets.solapi.as_str()),
            ("SOLAPI_FROM", solapi::FROM),
            ("SOLAPI_SMS_PRICE_KRW", "20"),
            ("SOLAPI_LMS_PRICE_KRW", "50"),
            ("SOLAPI_DEAD_NUMBER_CODES", "3040"),
            ("SOLAPI_RATE_BURST", "1000"),
        ]);
        let env = variables.iter().fold(env, |env, (name, value)| env.with(name, value));
        let config = Config::from_env(&env).expect("a valid configuration");
        let (log, clock, store) = (Captured::default(), ManualClock::start(), Arc::new(MemoryStore::new()));
        let shared: SharedClock = Arc::clone(&clock) as SharedClock;
        let lines = subscriber(LevelSwitch::new(LogLevel::Debug), &[], Box::new(log.clone()), Arc::clone(&shared));
        let http = HttpClient::new(None).expect("TLS");
        let kernel = Kernel::over(&config.common, http, shared, Arc::clone(&store) as _, None).await.expect("a kernel");
        let queue = Arc::new(Wishes::default());
        let handler = Handler::over(&kernel, &config, Arc::clone(&queue) as _).await.expect("a handler");
        Self { clock, sandbox, log, store, queue, handler, dispatch: Dispatch::new(lines) }
    }

    /// Sends `events/sms-{event}.json`.
    pub async fn send(&self, event: &str) -> Response {
        self.request(self::event(event)).await
    }

    /// Sends it with another body.
    pub async fn send_body(&self, event: &str, body: &Value) -> Response {
        let mut event = self::event(event);
        event["body"] = json!(body.to_string());
        self.request(event).await
    }

    /// Makes a request.
    pub async fn request(&self, event: Value) -> Response {
        let answer = self.serve(event).await.expect("an answer");
        let text = answer["body"].as_str().expect("a body").to_owned();
        Response {
            status: answer["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("a status"),
            body: serde_json::from_str(&text).expect("every body is JSON"),
            text,
            headers: serde_json::from_value(answer["headers"].clone()).expect("headers"),
        }
    }

    /// Calls the function with any event.
    pub async fn serve(&self, event: Value) -> Result<Value, Cause> {
        let answer = answer(&self.handler, event, 0).with_subscriber(self.dispatch.clone()).await?;
        Ok(serde_json::to_value(answer)?)
    }

    /// What became of a text.
    pub async fn message(&self, id: &str) -> Response {
        let mut event = event("message-unknown");
        event["rawPath"] = json!(format!("/v1/sms/{id}"));
        self.request(event).await
    }

    /// The state of a text.
    pub async fn status(&self, id: &str) -> String {
        self.message(id).await.body["status"].as_str().expect("a status").to_owned()
    }

    /// Hands the wake-ups so far to the worker, as SQS would, after the longest of their delays. How long that was.
    pub async fn work(&self) -> Duration {
        let wishes = std::mem::take(&mut *self.queue.0.lock().unwrap_or_else(PoisonError::into_inner));
        let longest = wishes.iter().map(|wish| wish.after).max().unwrap_or_default();
        self.clock.advance(longest);
        let records = wishes.iter().map(|wish| wake_up(&wish.key)).collect::<Vec<_>>();
        let answer = self.serve(json!({"Records": records})).await.expect("an answer");
        assert_eq!(answer, json!({"batchItemFailures": []}));
        longest
    }

    /// Wakes one text now.
    pub async fn wake(&self, id: &str) {
        let records = [wake_up(&format!("message#{id}"))];
        assert_eq!(self.serve(json!({"Records": records})).await.expect("an answer"), json!({"batchItemFailures": []}));
    }

    /// Does what the sweep of a minute does.
    pub async fn sweep(&self) {
        self.handler.delivery().sweep(600, Duration::from_secs(60)).await.expect("a sweep");
    }

    /// Accepts `events/sms-{event}.json` and has it sent.
    pub async fn deliver(&self, event: &str) -> String {
        let accepted = self.send(event).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text);
        self.work().await;
        accepted.id()
    }

    /// The texts that a provider has taken.
    pub async fn taken(&self, provider: &str) -> Vec<Value> {
        let state = self.sandbox.stats(provider).await.state;
        state["texts"].as_array().cloned().unwrap_or_default()
    }

    /// Calls that reached any provider.
    pub async fn calls(&self) -> u64 {
        let mut calls = 0;
        for provider in ["sns", "twilio", "solapi"] {
            calls += self.sandbox.calls(provider).await;
        }
        calls
    }

    /// The stored items whose key begins with `prefix`.
    pub fn items(&self, prefix: &str) -> Vec<Item> {
        self.store.items_with(prefix)
    }
}

/// One wake-up as SQS hands it over.
fn wake_up(key: &str) -> Value {
    let mut record = event("wake-up")["Records"][0].clone();
    let body: Value = serde_json::from_str(record["body"].as_str().expect("a body")).expect("JSON");
    record["body"] = json!(json!({"key": key, "traceparent": body["traceparent"]}).to_string());
    record
}

/// `events/sms-report-twilio.json` about the text `id`, with some parameters, signed for `url` or for its own address.
pub fn twilio_report(id: &str, params: &[(&str, &str)], url: Option<&str>) -> Value {
    let usual = [("AccountSid", twilio::ACCOUNT_SID), ("MessageSid", "SM1"), ("To", "+821012345678")];
    let params: Vec<_> = usual.iter().chain(params).copied().collect();
    let own = format!("{PUBLIC_URL}/v1/webhooks/twilio?id={id}");
    let (body, signature) = twilio::callback(url.unwrap_or(&own), &params);
    let mut event = event("report-twilio");
    event["rawQueryString"] = json!(format!("id={id}"));
    event["headers"]["x-twilio-signature"] = json!(signature);
    event["body"] = json!(body);
    event
}

/// `events/sms-report-solapi.json` with this body, signed.
pub fn solapi_report(body: &Value) -> Value {
    let mut event = event("report-solapi");
    let body = body.to_string();
    event["headers"]["x-solapi-signature"] = json!(solapi::signature(body.as_bytes()));
    event["body"] = json!(body);
    event
}

/// `events/sms-{name}.json`.
pub fn event(name: &str) -> Value {
    let path = events().join(format!("sms-{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// The names of this function's events.
pub fn event_names() -> Vec<String> {
    let entries = std::fs::read_dir(events()).expect("the folder of events");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| Some(name.strip_prefix("sms-")?.strip_suffix(".json")?.to_owned())).collect()
}

fn events() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

/// Secrets in files, as a local run has them.
struct SecretFiles {
    ieum: String,
    sns: String,
    twilio: String,
    solapi: String,
}

impl SecretFiles {
    /// The same content every time, so tests that run at once do not disturb each other.
    fn write() -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let put = |name: &str, value: Value| {
            let (path, draft) = (folder.join(name), folder.join(format!("{name}.{}", fastrand::u64(..))));
            std::fs::write(&draft, value.to_string()).expect("a writable target folder");
            std::fs::rename(&draft, &path).expect("a writable target folder");
            format!("file:{}", path.display())
        };
        let key = json!({
            "id": "portal", "label": "portal", "scopes": ["sms:send", "sms:read"],
            "not_after": "2099-01-01T00:00:00Z", "sha256": sha256_hex("local-events-key"),
        });
        Self {
            ieum: put(
                "sms-ieum.json",
                json!({"api_keys": [key], "jwt_issuers": [], "cache_key": "MDEyMzQ1Njc4OWFiY2RlZg=="}),
            ),
            sns: put("sns.json", json!({"access_key_id": "AKIDEXAMPLE", "secret_access_key": "sandbox"})),
            twilio: put(
                "twilio.json",
                json!({
                    "account_sid": twilio::ACCOUNT_SID,
                    "auth_token": twilio::AUTH_TOKEN,
                    "webhook_tokens": [{"label": "sandbox", "secret": twilio::AUTH_TOKEN}],
                }),
            ),
            solapi: put(
                "solapi.json",
                json!({
                    "api_key": solapi::API_KEY,
                    "api_secret": solapi::API_SECRET,
                    "webhook_secrets": [{"label": "sandbox", "secret": solapi::WEBHOOK_SECRET}],
                }),
            ),
        }
    }
}
