//! An `address` with the sandbox behind it, for tests.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use address::{Config, Handler};
use ieum::api::HttpEvent;
use ieum::clock::SharedClock;
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::runtime::HttpFunction;
use ieum::start::Kernel;
use ieum::store::MemoryStore;
use ieum::telemetry::{Captured, LevelSwitch, LogLevel, subscriber};
use ieum::testing::{ManualClock, sha256_hex};
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

/// A response, read.
pub struct Response {
    /// The status.
    pub status: u16,
    /// The body as JSON; null when it is a page.
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

    /// Status and source: what became of a request.
    pub fn outcome(&self) -> (u16, Option<&str>) {
        (self.status, self.header("x-ieum-source"))
    }

    /// The directives of the content's policy, by name.
    pub fn policy(&self) -> BTreeMap<String, String> {
        let policy = self.header("content-security-policy").expect("a policy");
        let directives = policy.split("; ").filter_map(|directive| directive.split_once(' '));
        directives.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The code of an error.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("no error")
    }

    /// The details of an error, each as field and issue.
    pub fn issues(&self) -> Vec<(String, String)> {
        let text = |detail: &Value, name: &str| detail[name].as_str().unwrap_or_default().to_owned();
        let details = self.body["error"]["details"].as_array().into_iter().flatten();
        details.map(|detail| (text(detail, "field"), text(detail, "issue"))).collect()
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
        let (juso, kakao) = (sandbox.base_url("juso"), sandbox.base_url("kakao"));
        let env = Env::from([
            ("STAGE", "local"),
            ("IEUM_SECRET", secrets.ieum.as_str()),
            ("ADDRESS_PROVIDERS", settings.providers),
            ("ADDRESS_FALLBACK", settings.fallback),
            ("ADDRESS_BACKOFF_BASE_MS", "1"),
            ("ADDRESS_TIMEOUT_MS", "3000"),
            ("ADDRESS_WIDGET_ORIGINS", "https://portal.example.org,http://localhost:5173"),
            ("JUSO_BASE_URL", juso.as_str()),
            ("JUSO_SECRET", secrets.juso.as_str()),
            ("JUSO_RATE_PER_PERIOD", "1000"),
            ("JUSO_RATE_BURST", "1000"),
            ("KAKAO_BASE_URL", kakao.as_str()),
            ("KAKAO_SECRET", secrets.kakao.as_str()),
            ("KAKAO_RATE_PER_PERIOD", "1000"),
            ("KAKAO_RATE_BURST", "1000"),
            ("KAKAO_DAILY_QUOTA", settings.kakao_quota),
        ]);
        let config = Config::from_env(&env).expect("a valid configuration");
        let (log, clock, store) = (Captured::default(), ManualClock::start(), Arc::new(MemoryStore::new()));
        let shared: SharedClock = Arc::clone(&clock) as SharedClock;
        let lines = subscriber(LevelSwitch::new(settings.log_level), &[], Box::new(log.clone()), Arc::clone(&shared));
        let http = HttpClient::new(None).expect("TLS");
        let kernel = Kernel::over(&config.common, http, shared, Arc::clone(&store) as _, None).await.expect("a kernel");
        let handler = Handler::over(&kernel, &config).await.expect("a handler");
        Self { clock, sandbox, log, store, handler, dispatch: Dispatch::new(lines) }
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
        let body = serde_json::from_str(&response.body).unwrap_or_default();
        Response { status: response.status_code, body, text: response.body, headers: response.headers }
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
    let path = events().join(format!("address-{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// The names of this function's events.
pub fn event_names() -> Vec<String> {
    let entries = std::fs::read_dir(events()).expect("the folder of events");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| Some(name.strip_prefix("address-")?.strip_suffix(".json")?.to_owned())).collect()
}

fn events() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

/// Secrets in files, as a local run has them.
struct SecretFiles {
    ieum: String,
    juso: String,
    kakao: String,
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
            "id": "portal", "label": "portal", "scopes": ["address:read"], "not_after": "2099-01-01T00:00:00Z",
            "sha256": sha256_hex("portal-key"),
        });
        let own = json!({"api_keys": [key], "jwt_issuers": [], "cache_key": "MDEyMzQ1Njc4OWFiY2RlZg=="});
        let of_juso = json!({
            "search_key": juso::SEARCH_KEY, "english_key": juso::ENGLISH_KEY, "coordinate_key": juso::COORDINATE_KEY,
        });
        Self {
            ieum: put("ieum.json", own),
            juso: put("juso.json", of_juso),
            kakao: put("kakao.json", json!({"rest_api_key": kakao::REST_API_KEY})),
        }
    }
}
