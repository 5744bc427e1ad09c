//! A `verify` with the sandbox behind it, for tests.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ieum::api::HttpEvent;
use ieum::clock::SharedClock;
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::runtime::HttpFunction;
use ieum::start::Kernel;
use ieum::store::{Item, MemoryStore};
use ieum::telemetry::{Captured, LevelSwitch, LogLevel, subscriber};
use ieum::testing::{ManualClock, sha256_hex};
use ieum_sandbox::Sandbox;
use serde_json::{Value, json};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;
use verify::{Config, Handler};

/// What a test may want otherwise.
pub struct Settings {
    /// `VERIFY_PROVIDERS`; the other lists follow.
    pub providers: &'static str,
    /// NICE's calls per second, burst and longest wait in ms.
    pub rate: (&'static str, &'static str, &'static str),
    /// `MOCK_LATENCY_MS` and `MOCK_FAILURE_RATE`.
    pub mock: (&'static str, &'static str),
    /// How much is logged.
    pub log_level: LogLevel,
}

impl Default for Settings {
    fn default() -> Self {
        Self { providers: "nice", rate: ("1000", "1000", "2000"), mock: ("0", "0"), log_level: LogLevel::Info }
    }
}

/// A running function and everything around it.
pub struct Door {
    /// Passes when told to.
    pub clock: Arc<ManualClock>,
    /// The providers.
    pub sandbox: Sandbox,
    /// What was logged.
    pub log: Captured,
    store: Arc<MemoryStore>,
    handler: Handler,
    dispatch: Dispatch,
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

    /// The details of an error.
    pub fn details(&self) -> Vec<Value> {
        self.body["error"]["details"].as_array().cloned().unwrap_or_default()
    }
}

impl Door {
    /// With the usual settings.
    pub async fn open() -> Self {
        Self::with(Settings::default()).await
    }

    /// With other settings.
    pub async fn with(settings: Settings) -> Self {
        let sandbox = Sandbox::start().await.expect("a free port");
        let secrets = SecretFiles::write();
        let mocked = settings.providers == "mock";
        let (nice, nts) = (sandbox.base_url("nice"), sandbox.base_url("nts"));
        let env = Env::from([
            ("STAGE", "local"),
            ("IEUM_SECRET", secrets.ieum.as_str()),
            ("VERIFY_PROVIDERS", settings.providers),
            ("VERIFY_STATUS_PROVIDERS", if mocked { "mock" } else { "nts" }),
            ("VERIFY_REPRESENTATIVE_PROVIDERS", if mocked { "mock" } else { "nts,nice" }),
            ("VERIFY_BACKOFF_BASE_MS", "1"),
            ("VERIFY_TIMEOUT_MS", "3000"),
            ("NICE_BASE_URL", nice.as_str()),
            ("NICE_SECRET", secrets.nice.as_str()),
            ("NICE_COMPANY_PATH", ieum_sandbox::providers::nice::COMPANY_PATH),
            ("NICE_SEARCH_LIST", "cmpList"),
            ("NICE_SUCCESS_CODES", "0000"),
            ("NICE_NOT_FOUND_CODES", "E404"),
            ("NICE_RATE_PER_PERIOD", settings.rate.0),
            ("NICE_RATE_BURST", settings.rate.1),
            ("NICE_RATE_MAX_WAIT_MS", settings.rate.2),
            ("NTS_BASE_URL", nts.as_str()),
            ("NTS_SECRET", secrets.nts.as_str()),
            ("NTS_RATE_BURST", "1000"),
            ("MOCK_LATENCY_MS", settings.mock.0),
            ("MOCK_FAILURE_RATE", settings.mock.1),
        ]);
        let config = Config::from_env(&env).expect("a valid configuration");
        let (log, clock, store) = (Captured::default(), ManualClock::start(), Arc::new(MemoryStore::new()));
        let marks: &[_] = if config.mocked() { &[("mock", "on".to_owned())] } else { &[] };
        let shared: SharedClock = Arc::clone(&clock) as SharedClock;
        let lines = subscriber(LevelSwitch::new(settings.log_level), marks, Box::new(log.clone()), Arc::clone(&shared));
        let http = HttpClient::new(None).expect("TLS");
        let kernel = Kernel::over(&config.common, http, shared, Arc::clone(&store) as _, None).await.expect("a kernel");
        let handler = Handler::over(&kernel, &config).await.expect("a handler");
        Self { clock, sandbox, log, store, handler, dispatch: Dispatch::new(lines) }
    }

    /// Sends `events/verify-{event}.json` as the caller who may do everything.
    pub async fn send(&self, event: &str) -> Response {
        let key = (event != "company-wrong-key").then_some("portal-key");
        self.send_as(event, key).await
    }

    /// Sends it with another key, or with the one in the file.
    pub async fn send_as(&self, event: &str, key: Option<&str>) -> Response {
        let mut event = self::event(event);
        if let Some(key) = key {
            event["headers"]["x-api-key"] = json!(key);
        }
        self.serve(event).await
    }

    /// Sends it for another company.
    pub async fn send_to(&self, event: &str, number: &str) -> Response {
        let mut event = self::event(event);
        event["headers"]["x-api-key"] = json!("portal-key");
        event["rawPath"] = json!(format!("/v1/companies/{number}"));
        self.serve(event).await
    }

    /// Calls it with `events/verify-{event}.json`, as a schedule or another function does.
    pub async fn invoke(&self, event: &str) -> Value {
        let answer = ieum::runtime::answer(&self.handler, self::event(event), 0);
        let answer = answer.with_subscriber(self.dispatch.clone()).await.expect("an answer");
        serde_json::to_value(answer).expect("JSON")
    }

    async fn serve(&self, event: Value) -> Response {
        let event: HttpEvent = serde_json::from_value(event).expect("an event of API Gateway");
        let response = self.handler.serve(event, 0).with_subscriber(self.dispatch.clone()).await;
        let body = serde_json::from_str(&response.body).expect("every body is JSON");
        Response { status: response.status_code, body, text: response.body, headers: response.headers }
    }

    /// Data calls that reached a provider.
    pub async fn calls(&self, provider: &str) -> u64 {
        self.sandbox.calls(provider).await
    }

    /// Calls of any kind that reached NICE: a token that cannot be had is a failed attempt too.
    pub async fn attempts(&self) -> u64 {
        let (calls, tokens) = (self.sandbox.calls("nice").await, self.sandbox.token_calls("nice").await);
        // The token that the first success fetched is not an attempt of its own.
        calls + tokens - u64::from(calls > 0)
    }

    /// Turns one of the sandbox's knobs.
    pub async fn control(&self, provider: &str, body: Value) {
        self.sandbox.control(provider, body).await.expect("a knob that exists");
    }

    /// The stored items whose key begins with `prefix`.
    pub fn items(&self, prefix: &str) -> Vec<Item> {
        self.store.items_with(prefix)
    }
}

/// `events/verify-{name}.json`.
pub fn event(name: &str) -> Value {
    let path = events().join(format!("verify-{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// The names of this function's events.
pub fn event_names() -> Vec<String> {
    let entries = std::fs::read_dir(events()).expect("the folder of events");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| Some(name.strip_prefix("verify-")?.strip_suffix(".json")?.to_owned())).collect()
}

fn events() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

/// A valid business number, a different one for each `index`.
pub fn number(index: u32) -> String {
    completed(&format!("3018{index:05}"))
}

/// A valid business number that begins so.
pub fn number_with(prefix: &str) -> String {
    completed(&format!("{prefix:1<9}"))
}

fn completed(nine: &str) -> String {
    (0..10)
        .map(|check| format!("{nine}{check}"))
        .find(|number| verify::company::BusinessNumber::parse(number).is_ok())
        .expect("one of ten check digits is right")
}

/// Drives all futures at once.
pub async fn all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    futures_util::future::join_all(futures).await
}

/// Secrets in files, as a local run has them.
struct SecretFiles {
    ieum: String,
    nice: String,
    nts: String,
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
        let key = |id: &str, key: &str, scopes: &[&str], not_after: &str| json!({"id": id, "label": id, "scopes": scopes, "not_after": not_after, "sha256": sha256_hex(key)});
        let keys = [
            key("portal", "portal-key", &["verify:read", "verify:write"], "2099-01-01T00:00:00Z"),
            key("reader", "reader-key", &["verify:read"], "2099-01-01T00:00:00Z"),
            key("former", "expired-key", &["verify:read"], "2026-11-21T03:50:00Z"),
        ];
        Self {
            ieum: put(
                "ieum.json",
                json!({"api_keys": keys, "jwt_issuers": [], "cache_key": "MDEyMzQ1Njc4OWFiY2RlZg=="}),
            ),
            nice: put(
                "nice.json",
                json!({"app_key": ieum_sandbox::providers::nice::APP_KEY, "app_secret": ieum_sandbox::providers::nice::APP_SECRET}),
            ),
            nts: put("nts.json", json!({"service_key": ieum_sandbox::providers::nts::SERVICE_KEY})),
        }
    }
}
