//! An `email` with the sandbox behind it, for tests.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use email::{Config, Handler};
use ieum::blobs::Blobs;
use ieum::clock::{Clock, SharedClock};
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::queue::{Queue, WakeUp, sweep};
use ieum::runtime::answer;
use ieum::start::Kernel;
use ieum::store::{Item, MemoryStore};
use ieum::telemetry::{Captured, LevelSwitch, LogLevel};
use ieum::testing::ManualClock;
use ieum::testing::door::{self, Kept, Response};
use ieum_sandbox::Sandbox;
use ieum_sandbox::providers::{sendgrid, smtp};
use serde_json::{Value, json};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

/// The topic of `events/email-ses-events.json`.
pub const TOPIC: &str = "arn:aws:sns:ap-northeast-2:000000000000:ses-events";

/// A running function and everything around it.
pub struct Door {
    /// Passes when told to.
    pub clock: Arc<ManualClock>,
    /// The providers.
    pub sandbox: Sandbox,
    /// What was logged.
    pub log: Captured,
    /// What lies in the bucket.
    pub blobs: Arc<dyn Blobs>,
    /// The table.
    pub store: Arc<MemoryStore>,
    queue: Arc<Kept>,
    handler: Arc<Handler>,
    dispatch: Dispatch,
}

impl Door {
    /// With all three providers, and limits that nobody meets.
    pub async fn open() -> Self {
        Self::with(&[]).await
    }

    /// With other variables.
    pub async fn with(variables: &[(&'static str, &str)]) -> Self {
        let sandbox = Sandbox::start().await.expect("a free port");
        let secrets = secrets();
        let (ses, send_grid, sns) =
            (sandbox.base_url("ses"), sandbox.base_url("sendgrid"), sandbox.base_url("ses-events"));
        let port = sandbox.smtp_port().to_string();
        let secret = |name: &str| format!("{secrets}@{name}");
        let (own, email, of_ses, of_sendgrid, of_smtp) =
            (secret("ieum"), secret("email"), secret("ses"), secret("sendgrid"), secret("smtp"));
        let mut env = Env::from([
            ("STAGE", "local"),
            ("IEUM_SECRET", own.as_str()),
            ("EMAIL_PROVIDERS", "ses,sendgrid,smtp"),
            ("EMAIL_FROM", "noreply@example.kr"),
            ("EMAIL_FROM_NAME", "이음"),
            ("EMAIL_BRAND", "이음"),
            ("EMAIL_PUBLIC_URL", "https://api.example.kr"),
            ("EMAIL_SECRET", email.as_str()),
            ("EMAIL_ATTEMPTS", "1"),
            ("EMAIL_BACKOFF_BASE_MS", "1"),
            ("EMAIL_TIMEOUT_MS", "3000"),
            ("EMAIL_RECIPIENT_RATE_PER_PERIOD", "1000"),
            ("EMAIL_RECIPIENT_RATE_BURST", "1000"),
            ("SES_BASE_URL", ses.as_str()),
            ("SES_SECRET", of_ses.as_str()),
            ("SES_TOPICS", TOPIC),
            ("SES_RATE_PER_PERIOD", "10000"),
            ("SES_RATE_BURST", "10000"),
            ("SENDGRID_BASE_URL", send_grid.as_str()),
            ("SENDGRID_SECRET", of_sendgrid.as_str()),
            ("SENDGRID_RATE_PER_PERIOD", "10000"),
            ("SENDGRID_RATE_BURST", "10000"),
            ("SENDGRID_DAILY_QUOTA", "100000"),
            ("EMAIL_SERVICE", "custom"),
            ("SMTP_HOST", "127.0.0.1"),
            ("SMTP_PORT", port.as_str()),
            ("SMTP_SECURITY", "none"),
            ("SMTP_SECRET", of_smtp.as_str()),
            ("SMTP_RATE_PER_PERIOD", "10000"),
            ("SMTP_RATE_BURST", "10000"),
            ("SES_EVENTS_BASE_URL", sns.as_str()),
        ]);
        for (name, value) in variables {
            env = env.with(name, value);
        }
        let config = env.read(Config::read).expect("a valid configuration");
        let (log, clock, store) = (Captured::default(), ManualClock::start(), Arc::new(MemoryStore::new()));
        let shared: SharedClock = Arc::clone(&clock) as SharedClock;
        let dispatch = log.dispatch(LevelSwitch::new(LogLevel::Info), &[], Arc::clone(&shared));
        let http = HttpClient::new(None).expect("TLS");
        let kernel = Kernel::over(&config.common, http, shared, Arc::clone(&store) as _, None).await.expect("a kernel");
        let queue = Arc::new(Kept::default());
        let handler = Handler::over(&kernel, &config, Arc::clone(&queue) as _).await.expect("a handler");
        let (blobs, handler) = (kernel.blobs(), Arc::new(handler));
        Self { clock, sandbox, log, blobs, store, queue, handler, dispatch }
    }

    /// Sends `events/email-{event}.json` as the caller who may do everything.
    pub async fn send(&self, event: &str) -> Response {
        let mut event = self::event(event);
        event["headers"]["x-api-key"] = json!("portal-key");
        self.serve(event).await
    }

    /// Sends it as it is, without a key.
    pub async fn send_as_it_is(&self, event: &str) -> Response {
        self.serve(self::event(event)).await
    }

    /// Sends it with another path and body.
    pub async fn send_changed(&self, event: &str, change: impl FnOnce(&mut Value)) -> Response {
        let mut event = self::event(event);
        event["headers"]["x-api-key"] = json!("portal-key");
        change(&mut event);
        self.serve(event).await
    }

    /// Sends it with these members of its body instead.
    pub async fn send_with(&self, event: &str, members: Value) -> Response {
        self.send_changed(event, |event| {
            let mut body: Value = serde_json::from_str(event["body"].as_str().expect("a body")).expect("JSON");
            body.as_object_mut().expect("an object").extend(members.as_object().expect("members").clone());
            body.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
            event["body"] = json!(body.to_string());
            event["headers"].as_object_mut().expect("headers").remove("idempotency-key");
        })
        .await
    }

    async fn serve(&self, event: Value) -> Response {
        let answer = answer(&*self.handler, &event.to_string(), 0).with_subscriber(self.dispatch.clone()).await;
        let answer = serde_json::to_value(answer.expect("an answer")).expect("JSON");
        Response::read(&answer)
    }

    /// Hands all wake-ups out until there is none that is due at once, and says how many were not done.
    pub async fn work(&self) -> usize {
        let mut failed = 0;
        loop {
            let waiting = self.queue.take();
            let due: Vec<WakeUp> = waiting.into_iter().filter(|wake_up| wake_up.after.is_zero()).collect();
            if due.is_empty() {
                return failed;
            }
            for batch in due.chunks(10) {
                failed += self.hand_out(batch).await;
            }
        }
    }

    async fn hand_out(&self, batch: &[WakeUp]) -> usize {
        let event = door::wake_ups("email", batch.iter().map(|wake_up| &wake_up.key));
        let answer = answer(&*self.handler, &event.to_string(), 0).with_subscriber(self.dispatch.clone()).await;
        let answer = serde_json::to_value(answer.expect("an answer")).expect("JSON");
        answer["batchItemFailures"].as_array().expect("a list").len()
    }

    /// Lets a minute pass and wakes up to `limit` of what is due, as the schedule does; how many that were.
    pub async fn sweep(&self, limit: u32) -> usize {
        let minute = Duration::from_secs(60);
        self.clock.advance(minute);
        let (store, queue) = (&*self.store, &*self.queue);
        let woken = sweep(store, queue, email::handler::LIST, limit, minute, self.clock.now()).await.expect("a sweep");
        let now = |wake_up: WakeUp| WakeUp { after: Duration::ZERO, ..wake_up };
        let wake_ups: Vec<WakeUp> = self.queue.take().into_iter().map(now).collect();
        self.queue.wake(&wake_ups).await.expect("a queue that takes all");
        woken
    }

    /// What `GET /v1/emails/{id}` answers.
    pub async fn message(&self, id: &str) -> Value {
        let answer = self.send_changed("message", |event| event["rawPath"] = json!(format!("/v1/emails/{id}"))).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body
    }

    /// The state of a message.
    pub async fn status(&self, id: &str) -> String {
        self.message(id).await["status"].as_str().expect("a status").to_owned()
    }

    /// The mails that `provider` has taken.
    pub async fn taken(&self, provider: &str) -> Vec<Value> {
        self.sandbox.stats(provider).await.state["mails"].as_array().expect("mails").clone()
    }

    /// Reports `events` as SendGrid does, signed.
    pub async fn sendgrid_reports(&self, events: &Value) -> Response {
        let body = format!("{events}\r\n");
        let seconds = u64::try_from(self.clock.now().as_millis() / 1_000).expect("after 1970");
        self.send_changed("sendgrid-events", |event| {
            for (name, value) in sendgrid::signed(seconds, body.as_bytes()) {
                event["headers"][name] = json!(value);
            }
            event["body"] = json!(body);
        })
        .await
    }

    /// The stored items whose key begins with `prefix`.
    pub fn items(&self, prefix: &str) -> Vec<Item> {
        self.store.items_with(prefix)
    }
}

/// `events/email-{name}.json`.
pub fn event(name: &str) -> Value {
    door::event("email", name)
}

/// The secrets that the sandbox knows, in a file.
fn secrets() -> String {
    let key = |id: &str, scopes: &[&str]| door::api_key(id, &format!("{id}-key"), scopes);
    let secrets = json!({
        "ieum": door::ieum_secret(&[
            key("portal", &["email:send", "email:read", "ops:write"]),
            key("reader", &["email:read"]),
        ]),
        "email": {"unsubscribe_key": "unsubscribe-key-of-a-test"},
        "ses": {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "example"},
        "sendgrid": {
            "api_key": sendgrid::API_KEY,
            "webhook_keys": [{"label": "sandbox", "secret": sendgrid::WEBHOOK_PUBLIC_KEY}],
        },
        "smtp": {"user": smtp::USER, "password": smtp::PASSWORD},
    });
    door::secret_file(env!("CARGO_TARGET_TMPDIR"), &secrets)
}
