//! An `sms` with the sandbox behind it, for tests.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use ieum::clock::SharedClock;
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::provider::Cause;
use ieum::runtime::answer;
use ieum::start::Kernel;
use ieum::store::{Item, Key, MemoryStore};
use ieum::telemetry::{Captured, LevelSwitch, LogLevel};
use ieum::testing::ManualClock;
use ieum::testing::door::{self, Kept, Response};
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
    queue: Arc<Kept>,
    handler: Handler,
    dispatch: Dispatch,
}

impl Door {
    /// With the usual settings: Solapi first, then Twilio, then SNS, which is the cheapest.
    pub async fn open() -> Self {
        Self::with(&[]).await
    }

    /// With some variables set otherwise.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        let sandbox = Sandbox::start().await.expect("a free port");
        let secrets = secrets();
        let secret = |name: &str| format!("{secrets}@{name}");
        let (sns, twilio, solapi) = (sandbox.base_url("sns"), sandbox.base_url("twilio"), sandbox.base_url("solapi"));
        let env = Env::from([
            ("STAGE", "local"),
            ("IEUM_SECRET", secret("ieum").as_str()),
            ("SMS_PROVIDERS", "solapi,twilio,sns"),
            ("SMS_COUNTRIES", "KR,JP,US"),
            ("SMS_PUBLIC_URL", PUBLIC_URL),
            ("SMS_BACKOFF_BASE_MS", "1"),
            ("SMS_BACKOFF_MAX_MS", "1"),
            ("SNS_BASE_URL", sns.as_str()),
            ("SNS_SECRET", secret("sns").as_str()),
            ("SNS_SENDER_ID", "Gangwon"),
            ("SNS_MAX_PRICE_USD", "0.05"),
            ("SNS_PRICE_KRW", "10"),
            ("SNS_RATE_BURST", "1000"),
            ("TWILIO_BASE_URL", twilio.as_str()),
            ("TWILIO_SECRET", secret("twilio").as_str()),
            ("TWILIO_FROM", "+15005550006"),
            ("TWILIO_PRICE_KRW", "40"),
            ("TWILIO_RATE_BURST", "1000"),
            ("SOLAPI_BASE_URL", solapi.as_str()),
            ("SOLAPI_SECRET", secret("solapi").as_str()),
            ("SOLAPI_FROM", solapi::FROM),
            ("SOLAPI_SMS_PRICE_KRW", "20"),
            ("SOLAPI_LMS_PRICE_KRW", "50"),
            ("SOLAPI_DEAD_NUMBER_CODES", "3040"),
            ("SOLAPI_RATE_BURST", "1000"),
        ]);
        let env = variables.iter().fold(env, |env, (name, value)| env.with(name, value));
        let config = env.read(Config::read).expect("a valid configuration");
        let (log, clock, store) = (Captured::default(), ManualClock::start(), Arc::new(MemoryStore::new()));
        let shared: SharedClock = Arc::clone(&clock) as SharedClock;
        let dispatch = log.dispatch(LevelSwitch::new(LogLevel::Debug), &[], Arc::clone(&shared));
        let http = HttpClient::new(None).expect("TLS");
        let kernel = Kernel::over(&config.common, http, shared, Arc::clone(&store) as _, None).await.expect("a kernel");
        let queue = Arc::new(Kept::default());
        let handler = Handler::over(&kernel, &config, Arc::clone(&queue) as _).await.expect("a handler");
        Self { clock, sandbox, log, store, queue, handler, dispatch }
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
        Response::read(&self.serve(event).await.expect("an answer"))
    }

    /// Calls the function with any event.
    pub async fn serve(&self, event: Value) -> Result<Value, Cause> {
        let answer = answer(&self.handler, &event.to_string(), 0).with_subscriber(self.dispatch.clone()).await?;
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
        let wake_ups = self.queue.take();
        let longest = wake_ups.iter().map(|wake_up| wake_up.after).max().unwrap_or_default();
        self.clock.advance(longest);
        self.hand_out(wake_ups.iter().map(|wake_up| &wake_up.key)).await;
        longest
    }

    /// Wakes one text now.
    pub async fn wake(&self, id: &str) {
        self.hand_out([&format!("message#{id}")]).await;
    }

    async fn hand_out<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) {
        let answer = self.serve(door::wake_ups("sms", keys)).await.expect("an answer");
        assert_eq!(answer, json!({"batchItemFailures": []}));
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
    door::event("sms", name)
}

/// The secrets that the sandbox knows, in a file.
fn secrets() -> String {
    let live = |secret: &str| json!([{"label": "sandbox", "secret": secret}]);
    let secrets = json!({
        "ieum": door::ieum_secret(&[door::api_key("portal", "local-events-key", &["sms:send", "sms:read"])]),
        "sns": {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "sandbox"},
        "twilio": {
            "account_sid": twilio::ACCOUNT_SID,
            "auth_token": twilio::AUTH_TOKEN,
            "webhook_tokens": live(twilio::AUTH_TOKEN),
        },
        "solapi": {
            "api_key": solapi::API_KEY,
            "api_secret": solapi::API_SECRET,
            "webhook_secrets": live(solapi::WEBHOOK_SECRET),
        },
    });
    door::secret_file(env!("CARGO_TARGET_TMPDIR"), &secrets)
}
