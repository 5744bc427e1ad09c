//! A `payment-webhook` with the sandbox behind it, a bus and a queue that remember, and hands that can be killed.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use ieum::clock::{Clock, SharedClock, Timestamp};
use ieum::config::Env;
use ieum::delivery::inbox::Webhook;
use ieum::events::{CloudEvent, Publisher};
use ieum::http::HttpClient;
use ieum::provider::Cause;
use ieum::queue::{Queue, WakeUp, sweep};
use ieum::runtime::{Answer, answer};
use ieum::start::{Kernel, StartError};
use ieum::store::{Item, Key, MemoryStore, Outcome, Read, Store, StoreError, Update};
use ieum::telemetry::{Captured, LevelSwitch};
use ieum::testing::ManualClock;
use ieum::testing::door::{self, Response};
use ieum_sandbox::Sandbox;
use ieum_sandbox::providers::{iamport, kakaopay, portone, stripe, toss};
use payment_webhook::{Config, Handler};
use serde_json::{Value, json};
use tokio::task::yield_now;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

/// A store that can be left at every step: before it acts, and after.
#[derive(Debug, Default)]
pub struct Steps(pub MemoryStore);

#[async_trait]
impl Store for Steps {
    async fn get(&self, key: &str, read: Read) -> Result<Option<Item>, StoreError> {
        yield_now().await;
        self.0.get(key, read).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        yield_now().await;
        self.0.get_many(keys).await
    }

    async fn listed(&self, list: &str, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        yield_now().await;
        self.0.listed(list, from, until, limit).await
    }

    async fn due(&self, list: &str, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        yield_now().await;
        self.0.due(list, until, limit).await
    }

    async fn update(&self, update: &Update) -> Result<Outcome, StoreError> {
        yield_now().await;
        let outcome = self.0.update(update).await;
        yield_now().await;
        outcome
    }
}

/// A bus that remembers.
#[derive(Debug, Default)]
pub struct Bus(Mutex<Vec<CloudEvent>>);

#[async_trait]
impl Publisher for Bus {
    async fn publish(&self, events: &[CloudEvent]) -> Result<(), Cause> {
        yield_now().await;
        self.0.lock().expect("a lock").extend_from_slice(events);
        yield_now().await;
        Ok(())
    }
}

/// A queue that hands out when asked.
#[derive(Debug)]
pub struct Wakes {
    clock: Arc<ManualClock>,
    waiting: Mutex<Vec<(Timestamp, Key)>>,
}

#[async_trait]
impl Queue for Wakes {
    async fn wake(&self, wake_ups: &[WakeUp]) -> Result<(), Cause> {
        yield_now().await;
        let due = |wake_up: &WakeUp| (self.clock.now().after(wake_up.after), wake_up.key.clone());
        self.waiting.lock().expect("a lock").extend(wake_ups.iter().map(due));
        Ok(())
    }
}

/// Work that is dropped after so many polls.
pub struct Killed<F>(pub Pin<Box<F>>, pub u32);

impl<F: Future> Future for Killed<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(left) = self.1.checked_sub(1) else { return Poll::Ready(None) };
        self.1 = left;
        self.0.as_mut().poll(context).map(Some)
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
    store: Arc<Steps>,
    bus: Arc<Bus>,
    queue: Arc<Wakes>,
    handler: Handler,
    dispatch: Dispatch,
}

/// All providers.
pub const ALL: &str = "toss,portone,iamport,stripe,kakaopay,mock";

impl Door {
    /// With all providers.
    pub async fn open() -> Self {
        Self::with(&[]).await
    }

    /// With some variables otherwise.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        Self::start(variables, secrets()).await.expect("a handler")
    }

    /// With other secrets, too; an error when the function does not start.
    pub async fn start(variables: &[(&str, &str)], secrets: Value) -> Result<Self, StartError> {
        let sandbox = Sandbox::start().await.expect("a free port");
        let file = door::secret_file(env!("CARGO_TARGET_TMPDIR"), &secrets);
        let mut env = Env::from([("STAGE", "local"), ("PAYMENT_PROVIDERS", ALL), ("PAYMENT_BACKOFF_BASE_MS", "1")])
            .with("IEUM_SECRET", &format!("{file}@ieum"))
            .with("PAYMENT_ATTEMPTS", "1")
            .with("PAYMENT_HINT_RATE_PER_PERIOD", "1000")
            .with("PAYMENT_HINT_RATE_BURST", "100000")
            .with("LOG_LEVEL", "debug");
        for name in ["toss", "portone", "iamport", "stripe", "kakaopay"] {
            let upper = name.to_uppercase();
            env = env
                .with(&format!("{upper}_BASE_URL"), &sandbox.base_url(name))
                .with(&format!("{upper}_SECRET"), &format!("{file}@{name}"))
                // Time stands still, so all a test asks has to fit into the burst, from which leases are taken off.
                .with(&format!("{upper}_RATE_PER_PERIOD"), "1000")
                .with(&format!("{upper}_RATE_BURST"), "10000");
        }
        for (name, value) in variables {
            env = env.with(name, value);
        }
        let config = env.read(Config::read).expect("a valid configuration");
        let (log, clock, store) = (Captured::default(), ManualClock::start(), Arc::<Steps>::default());
        let shared: SharedClock = Arc::clone(&clock) as SharedClock;
        let dispatch = log.dispatch(LevelSwitch::new(config.common.log_level), &[], Arc::clone(&shared));
        let http = HttpClient::new(None).expect("TLS");
        let kernel = Kernel::over(&config.common, http, shared, Arc::clone(&store) as _, None).await?;
        let (bus, queue) = (Arc::default(), Arc::new(Wakes { clock: Arc::clone(&clock), waiting: Mutex::default() }));
        let handler = Handler::over(&kernel, &config, Arc::clone(&queue) as _, Arc::clone(&bus) as _).await?;
        Ok(Self { clock, sandbox, log, store, bus, queue, handler, dispatch })
    }

    /// Sends `events/payment-webhook-{event}.json`.
    pub async fn send(&self, event: &str) -> Response {
        self.serve(self::event(event)).await
    }

    /// Serves an event of API Gateway.
    pub async fn serve(&self, event: Value) -> Response {
        Response::read(&self.invoke(event).await.expect("an answer"))
    }

    /// Hands any event to the function.
    pub async fn invoke(&self, event: Value) -> Result<Value, Cause> {
        let event = event.to_string();
        // Boxed: the compiler gives up on the layout of a future this deep.
        let work: Pin<Box<dyn Future<Output = Result<Answer, Cause>> + '_>> =
            Box::pin(answer(&self.handler, &event, 0));
        let answered = work.with_subscriber(self.dispatch.clone()).await?;
        Ok(serde_json::to_value(answered).expect("JSON"))
    }

    /// Wake-ups whose time has come.
    pub fn due(&self) -> Vec<Key> {
        let (now, mut waiting) = (self.clock.now(), self.queue.waiting.lock().expect("a lock"));
        let (due, later): (Vec<_>, Vec<_>) = waiting.drain(..).partition(|(at, _)| *at <= now);
        *waiting = later;
        due.into_iter().map(|(_, key)| key).collect()
    }

    /// Hands one wake-up to the function, as SQS would. Whether it was done.
    pub async fn wake(&self, key: &str) -> bool {
        let batch = door::wake_ups("payment-webhook", [&key.to_owned()]);
        self.invoke(batch).await.is_ok_and(|answer| answer["batchItemFailures"] == json!([]))
    }

    /// Works off all that is due.
    pub async fn work(&self) {
        loop {
            let due = self.due();
            if due.is_empty() {
                return;
            }
            for key in due {
                if !self.wake(&key).await {
                    let again = WakeUp { key, after: Duration::from_secs(360) };
                    self.queue.wake(&[again]).await.expect("a queue");
                }
            }
        }
    }

    /// Lets time pass, minute by minute, with the sweeps of `health-cron` in each.
    pub async fn go_on(&self, minutes: u32) {
        for _ in 0..minutes {
            self.clock.advance(Duration::from_secs(60));
            for list in ["payment-webhooks", "payment-events"] {
                let (minute, now) = (Duration::from_secs(60), self.clock.now());
                sweep(&*self.store, &*self.queue, list, 600, minute, now).await.expect("a sweep");
            }
            self.clock.advance(Duration::from_secs(60));
            self.work().await;
        }
    }

    /// Creates or changes a payment at a provider.
    pub async fn payment(&self, provider: &str, payment: Value) {
        self.sandbox.control(provider, json!({"payment": payment})).await.expect("a setting");
    }

    /// What is known of a payment.
    pub async fn known(&self, provider: &str, id: &str) -> Response {
        let mut event = event("payment");
        event["rawPath"] = json!(format!("/v1/payments/{provider}/{id}"));
        self.serve(event).await
    }

    /// Everything published, in order.
    pub fn published(&self) -> Vec<CloudEvent> {
        self.bus.0.lock().expect("a lock").clone()
    }

    /// The kinds of events about `subject`, in order.
    pub fn told(&self, subject: &str) -> Vec<String> {
        let of = self.published().into_iter().filter(|event| event.subject() == subject);
        of.map(|event| event.kind().to_owned()).collect()
    }

    /// The stored items whose key begins with `prefix`.
    pub fn items(&self, prefix: &str) -> Vec<Item> {
        self.store.0.items_with(prefix)
    }

    /// All webhooks in the ledger.
    pub fn webhooks(&self) -> Vec<Webhook> {
        self.items("webhook#").iter().filter_map(Webhook::read).collect()
    }

    /// Status and outcome of the only webhook.
    pub fn outcome(&self) -> (String, String) {
        let webhooks = self.webhooks();
        assert_eq!(webhooks.len(), 1, "{webhooks:?}");
        (webhooks[0].status.name().to_owned(), webhooks[0].outcome.clone().unwrap_or_default())
    }
}

/// `events/payment-webhook-{name}.json`.
pub fn event(name: &str) -> Value {
    door::event("payment-webhook", name)
}

/// The secrets that the sandbox knows.
pub fn secrets() -> Value {
    let scopes = ["payment:read", "payment:write", "ops:read", "ops:write"];
    let key = door::api_key("portal", "local-events-key", &scopes);
    let live = |secret: &str| json!([{"label": "2026-11", "secret": secret}]);
    json!({
        "ieum": door::ieum_secret(&[key]),
        "toss": {"secret_key": toss::SECRET_KEY, "security_keys": live(toss::SECURITY_KEY)},
        "portone": {"api_secret": portone::API_SECRET, "webhook_secrets": live(portone::WEBHOOK_SECRET)},
        "iamport": {"imp_key": iamport::IMP_KEY, "imp_secret": iamport::IMP_SECRET},
        "stripe": {"secret_key": stripe::SECRET_KEY, "webhook_secrets": live(stripe::WEBHOOK_SECRET)},
        "kakaopay": {"secret_key": kakaopay::SECRET_KEY, "cid": kakaopay::CID},
    })
}

/// How often each kind of thing is there.
pub fn counted<T: Ord>(things: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    things.into_iter().fold(BTreeMap::new(), |mut counts, thing| {
        *counts.entry(thing).or_default() += 1;
        counts
    })
}
