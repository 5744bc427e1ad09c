//! An `address` with the sandbox behind it, for tests.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use address::{Config, Handler};
use ieum::api::HttpEvent;
use ieum::clock::SharedClock;
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::runtime::HttpFunction;
use ieum::start::Kernel;
use ieum::store::MemoryStore;
use ieum::telemetry::{Captured, LevelSwitch, LogLevel};
use ieum::testing::ManualClock;
use ieum::testing::door::{self, Response};
use ieum_sandbox::Sandbox;
use ieum_sandbox::providers::{juso, kakao};
use serde_json::{Value, json};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

/// What a test may want otherwise.
pub struct Settings {
    /// `ADDRESS_PROVIDERS`.
    pub providers: &'static str,
    /// `ADDRESS_FALLBACK`.
    pub fallback: &'static str,
    /// `KAKAO_DAILY_QUOTA`; empty for none.
    pub kakao_quota: &'static str,
    /// How much is logged.
    pub log_level: LogLevel,
}

impl Default for Settings {
    fn default() -> Self {
        Self { providers: "juso,kakao", fallback: "error", kakao_quota: "", log_level: LogLevel::Info }
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

/// The directives of the content's policy, by name.
pub fn policy(page: &Response) -> BTreeMap<&str, &str> {
    let policy = page.header("content-security-policy").expect("a policy");
    policy.split("; ").filter_map(|directive| directive.split_once(' ')).collect()
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
        let (juso_url, kakao_url) = (sandbox.base_url("juso"), sandbox.base_url("kakao"));
        let env = Env::from([
            ("STAGE", "local"),
            ("IEUM_SECRET", secret("ieum").as_str()),
            ("ADDRESS_PROVIDERS", settings.providers),
            ("ADDRESS_FALLBACK", settings.fallback),
            ("ADDRESS_BACKOFF_BASE_MS", "1"),
            ("ADDRESS_TIMEOUT_MS", "3000"),
            ("ADDRESS_WIDGET_ORIGINS", "https://portal.example.org,http://localhost:5173"),
            ("JUSO_BASE_URL", juso_url.as_str()),
            ("JUSO_SECRET", secret("juso").as_str()),
            ("JUSO_RATE_PER_PERIOD", "1000"),
            ("JUSO_RATE_BURST", "1000"),
            ("KAKAO_BASE_URL", kakao_url.as_str()),
            ("KAKAO_SECRET", secret("kakao").as_str()),
            ("KAKAO_RATE_PER_PERIOD", "1000"),
            ("KAKAO_RATE_BURST", "1000"),
            ("KAKAO_DAILY_QUOTA", settings.kakao_quota),
        ]);
        let config = env.read(Config::read).expect("a valid configuration");
        let (log, clock, store) = (Captured::default(), ManualClock::start(), Arc::new(MemoryStore::new()));
        let shared: SharedClock = Arc::clone(&clock) as SharedClock;
        let dispatch = log.dispatch(LevelSwitch::new(settings.log_level), &[], Arc::clone(&shared));
        let http = HttpClient::new(None).expect("TLS");
        let kernel = Kernel::over(&config.common, http, shared, Arc::clone(&store) as _, None).await.expect("a kernel");
        let handler = Handler::over(&kernel, &config).await.expect("a handler");
        Self { clock, sandbox, log, store, handler, dispatch }
    }

    /// Sends `events/address-{name}.json` as the caller who may do everything; as nobody where the file has no key.
    pub async fn send(&self, name: &str) -> Response {
        self.serve(self::event(name)).await
    }

    /// Sends a search for something else.
    pub async fn search(&self, query: &str) -> Response {
        let mut event = self::event("search-road");
        event["rawQueryString"] = json!(query);
        self.serve(event).await
    }

    /// Sends any event.
    pub async fn serve(&self, mut event: Value) -> Response {
        if event["headers"].get("x-api-key").is_some() {
            event["headers"]["x-api-key"] = json!("portal-key");
        }
        let event: HttpEvent = serde_json::from_value(event).expect("an event of API Gateway");
        let response = self.handler.serve(event, 0).with_subscriber(self.dispatch.clone()).await;
        Response::read(&serde_json::to_value(response).expect("JSON"))
    }

    /// Calls that reached a provider.
    pub async fn calls(&self, provider: &str) -> u64 {
        self.sandbox.calls(provider).await
    }

    /// What was asked, in the words of the stored items whose key begins with `prefix`; only what was found.
    pub fn requests(&self, prefix: &str) -> Vec<String> {
        let items = self.store.items_with(prefix);
        let found = items.iter().filter(|item| item.text("value").is_some_and(|value| !value.contains("null")));
        found.filter_map(|item| item.text("request").map(str::to_owned)).collect()
    }

    /// How many stored items have a key that begins with `prefix`.
    pub fn items(&self, prefix: &str) -> usize {
        self.store.items_with(prefix).len()
    }
}

/// `events/address-{name}.json`.
pub fn event(name: &str) -> Value {
    door::event("address", name)
}

/// The secrets that the sandbox knows, in a file.
fn secrets() -> String {
    let secrets = json!({
        "ieum": door::ieum_secret(&[door::api_key("portal", "portal-key", &["address:read"])]),
        "juso": {
            "search_key": juso::SEARCH_KEY, "english_key": juso::ENGLISH_KEY, "coordinate_key": juso::COORDINATE_KEY,
        },
        "kakao": {"rest_api_key": kakao::REST_API_KEY},
    });
    door::secret_file(env!("CARGO_TARGET_TMPDIR"), &secrets)
}
