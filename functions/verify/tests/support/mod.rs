//! A `verify` with the sandbox behind it, for tests.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::sync::Arc;

use ieum::api::HttpEvent;
use ieum::clock::SharedClock;
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::runtime::HttpFunction;
use ieum::start::Kernel;
use ieum::store::{Item, MemoryStore};
use ieum::telemetry::{Captured, LevelSwitch, LogLevel};
use ieum::testing::ManualClock;
use ieum::testing::door::{self, Response};
use ieum_sandbox::Sandbox;
use ieum_sandbox::providers::{nice, nts};
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
    /// Where the tax service is, if not in the sandbox, and `VERIFY_TIMEOUT_MS`.
    pub nts: (Option<String>, &'static str),
    /// `MOCK_LATENCY_MS` and `MOCK_FAILURE_RATE`.
    pub mock: (&'static str, &'static str),
    /// How much is logged.
    pub log_level: LogLevel,
}

impl Default for Settings {
    fn default() -> Self {
        let (rate, nts) = (("1000", "1000", "2000"), (None, "3000"));
        Self { providers: "nice", rate, nts, mock: ("0", "0"), log_level: LogLevel::Info }
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

impl Door {
    /// With the usual settings.
    pub async fn open() -> Self {
        Self::with(Settings::default()).await
    }

    /// With other settings.
    pub async fn with(settings: Settings) -> Self {
        let sandbox = Sandbox::start().await.expect("a free port");
        let secrets = secrets();
        let secret = |name: &str| format!("{secrets}@{name}");
        let mocked = settings.providers == "mock";
        let nice_url = sandbox.base_url("nice");
        let nts_url = settings.nts.0.unwrap_or_else(|| sandbox.base_url("nts"));
        let env = Env::from([
            ("STAGE", "local"),
            ("IEUM_SECRET", secret("ieum").as_str()),
            ("VERIFY_PROVIDERS", settings.providers),
            ("VERIFY_STATUS_PROVIDERS", if mocked { "mock" } else { "nts" }),
            ("VERIFY_REPRESENTATIVE_PROVIDERS", if mocked { "mock" } else { "nts,nice" }),
            ("VERIFY_BACKOFF_BASE_MS", "1"),
            ("VERIFY_TIMEOUT_MS", settings.nts.1),
            ("NICE_BASE_URL", nice_url.as_str()),
            ("NICE_SECRET", secret("nice").as_str()),
            ("NICE_COMPANY_PATH", nice::COMPANY_PATH),
            ("NICE_SEARCH_LIST", "cmpList"),
            ("NICE_SUCCESS_CODES", "0000"),
            ("NICE_NOT_FOUND_CODES", "E404"),
            ("NICE_RATE_PER_PERIOD", settings.rate.0),
            ("NICE_RATE_BURST", settings.rate.1),
            ("NICE_RATE_MAX_WAIT_MS", settings.rate.2),
            ("NTS_BASE_URL", nts_url.as_str()),
            ("NTS_SECRET", secret("nts").as_str()),
            ("NTS_RATE_BURST", "1000"),
            ("MOCK_LATENCY_MS", settings.mock.0),
            ("MOCK_FAILURE_RATE", settings.mock.1),
        ]);
        let config = env.read(Config::read).expect("a valid configuration");
        let (log, clock, store) = (Captured::default(), ManualClock::start(), Arc::new(MemoryStore::new()));
        let marks: &[_] = if config.mocked() { &[("mock", "on".to_owned())] } else { &[] };
        let shared: SharedClock = Arc::clone(&clock) as SharedClock;
        let dispatch = log.dispatch(LevelSwitch::new(settings.log_level), marks, Arc::clone(&shared));
        let http = HttpClient::new(None).expect("TLS");
        let kernel = Kernel::over(&config.common, http, shared, Arc::clone(&store) as _, None).await.expect("a kernel");
        let handler = Box::pin(Handler::over(&kernel, &config)).await.expect("a handler");
        Self { clock, sandbox, log, store, handler, dispatch }
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
        let event = self::event(event).to_string();
        let answer = ieum::runtime::answer(&self.handler, &event, 0);
        let answer = answer.with_subscriber(self.dispatch.clone()).await.expect("an answer");
        serde_json::to_value(answer).expect("JSON")
    }

    async fn serve(&self, event: Value) -> Response {
        let event: HttpEvent = serde_json::from_value(event).expect("an event of API Gateway");
        // Boxed: a test's thread has a quarter of a function's stack.
        let response = Box::pin(self.handler.serve(event, 0)).with_subscriber(self.dispatch.clone()).await;
        Response::read(&serde_json::to_value(response).expect("JSON"))
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
    door::event("verify", name)
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

/// The secrets that the sandbox knows, in a file.
fn secrets() -> String {
    let mut former = door::api_key("former", "expired-key", &["verify:read"]);
    former["not_after"] = json!("2026-11-21T03:50:00Z");
    let portal = door::api_key("portal", "portal-key", &["verify:read", "verify:write"]);
    let secrets = json!({
        "ieum": door::ieum_secret(&[portal, door::api_key("reader", "reader-key", &["verify:read"]), former]),
        "nice": {"app_key": nice::APP_KEY, "app_secret": nice::APP_SECRET},
        "nts": {"service_key": nts::SERVICE_KEY},
    });
    door::secret_file(env!("CARGO_TARGET_TMPDIR"), &secrets)
}
