//! What the fakes of payment providers share: payments that change, and the notifications that tell of it.
//!
//! A payment is kept as the provider's own JSON, and a test changes it in the provider's own words. Each change of its
//! status is notified, signed as the provider signs, and sent again on the provider's schedule until it is taken. Hours of
//! a schedule pass in as little time as `time_scale` says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ring::hmac;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

/// A payment in the provider's own words.
pub(crate) type Payment = Map<String, Value>;

/// Headers of one attempt.
pub(crate) type Headers = Vec<(&'static str, String)>;

/// Deliveries whose attempts are remembered one by one; a load sends more.
const REMEMBERED: usize = 1_000;

/// How a provider notifies.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// The member that names a payment.
    pub(crate) id: &'static str,
    /// A payment of this name as it begins.
    pub(crate) begun: fn(&str) -> Value,
    /// The body that tells of a payment; the number is different each time.
    pub(crate) body: fn(&Payment, u64) -> Option<String>,
    /// The headers of an attempt: the body, the number of the notification, and of the attempt.
    pub(crate) headers: fn(&str, u64, usize) -> Headers,
    /// Minutes to wait before each repetition.
    pub(crate) waits: &'static [u64],
    /// Whether a status means that it was taken.
    pub(crate) taken: fn(u16) -> bool,
    /// Whether a status (`None`: no answer) is worth a repetition.
    pub(crate) again: fn(Option<u16>) -> bool,
}

/// What became of notifications.
#[derive(Debug, Default)]
struct Told {
    /// Begun.
    deliveries: u64,
    /// Taken in the end.
    taken: u64,
    /// Given up.
    given_up: u64,
    attempts: u64,
    /// The newest ones: a name and the status of each attempt.
    log: Vec<(u64, Vec<Option<u16>>)>,
}

/// The payments of one provider and whoever is told of them.
pub(crate) struct Shop {
    manner: Manner,
    pub(crate) payments: BTreeMap<String, Payment>,
    url: Option<String>,
    scale: f64,
    numbers: u64,
    told: Arc<Mutex<Told>>,
    client: Client<HttpConnector, Body>,
    /// Ends with the shop.
    senders: JoinSet<()>,
}

impl Shop {
    pub(crate) fn new(manner: Manner) -> Self {
        Self {
            manner,
            payments: BTreeMap::new(),
            url: None,
            scale: 1.0,
            numbers: 0,
            told: Arc::default(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            senders: JoinSet::new(),
        }
    }

    /// Applies `webhook_url`, `time_scale`, `payment` (created or changed, and told of when its status changes), `tell` (a
    /// payment to tell of again) and `event` (a body to send as it is).
    pub(crate) fn set(&mut self, settings: Map<String, Value>) -> Result<(), String> {
        let known = ["webhook_url", "time_scale", "payment", "tell", "event"];
        if let Some(name) = settings.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("there is no setting `{name}`, only {}", known.join(", ")));
        }
        let text = |name: &str| settings.get(name).map(|value| value.as_str().map(str::to_owned));
        let url = match text("webhook_url") {
            Some(None) => return Err("`webhook_url` must be text".to_owned()),
            other => other.flatten(),
        };
        let scale = match settings.get("time_scale") {
            None => self.scale,
            Some(scale) => {
                scale.as_f64().filter(|scale| (0.0..=1.0).contains(scale)).ok_or("`time_scale` is 0 to 1")?
            }
        };
        let id = self.manner.id;
        let changed = match settings.get("payment") {
            None => None,
            Some(Value::Object(changes)) => {
                let name = changes.get(id).and_then(Value::as_str).ok_or(format!("`payment` needs `{id}`"))?;
                Some((name.to_owned(), changes.clone()))
            }
            Some(_) => return Err("`payment` must be an object".to_owned()),
        };
        self.url = url.or(self.url.take());
        self.scale = scale;
        if let Some((name, changes)) = changed {
            self.change(&name, changes);
        }
        if let Some(Some(name)) = text("tell") {
            self.tell(&name);
        }
        if let Some(event) = settings.get("event") {
            self.send(event.to_string());
        }
        Ok(())
    }

    fn change(&mut self, name: &str, changes: Payment) {
        let begun = self.manner.begun;
        let payment = self.payments.entry(name.to_owned());
        let payment = payment.or_insert_with(|| begun(name).as_object().cloned().unwrap_or_default());
        let before = payment.clone();
        payment.extend(changes);
        if *payment != before {
            self.tell(name);
        }
    }

    fn tell(&mut self, name: &str) {
        self.numbers += 1;
        let body = self.payments.get(name).and_then(|payment| (self.manner.body)(payment, self.numbers));
        if let Some(body) = body {
            self.send(body);
        }
    }

    fn send(&mut self, body: String) {
        self.numbers += 1;
        let Some(url) = self.url.clone() else { return };
        let (number, manner, scale, client) = (self.numbers, self.manner, self.scale, self.client.clone());
        let told = Arc::clone(&self.told);
        while self.senders.try_join_next().is_some() {}
        self.senders.spawn(async move {
            lock(&told).begin(number);
            for attempt in 0..=manner.waits.len() {
                if let Some(minutes) = attempt.checked_sub(1).and_then(|earlier| manner.waits.get(earlier)) {
                    tokio::time::sleep(Duration::from_secs(minutes * 60).mul_f64(scale)).await;
                }
                let status = post(&client, &url, &body, (manner.headers)(&body, number, attempt)).await;
                lock(&told).attempted(number, status);
                if status.is_some_and(manner.taken) {
                    lock(&told).taken += 1;
                    return;
                }
                if !(manner.again)(status) {
                    break;
                }
            }
            lock(&told).given_up += 1;
        });
    }

    /// What there is and what was told.
    pub(crate) fn state(&self) -> Value {
        let told = lock(&self.told);
        json!({
            "payments": self.payments.len(),
            "webhook_url": self.url,
            "deliveries": told.deliveries,
            "taken": told.taken,
            "given_up": told.given_up,
            "attempts": told.attempts,
            "log": told.log.iter().map(|(_, statuses)| statuses).collect::<Vec<_>>(),
        })
    }
}

impl Told {
    fn begin(&mut self, number: u64) {
        self.deliveries += 1;
        if self.log.len() == REMEMBERED {
            self.log.remove(0);
        }
        self.log.push((number, Vec::new()));
    }

    fn attempted(&mut self, number: u64, status: Option<u16>) {
        self.attempts += 1;
        if let Some((_, statuses)) = self.log.iter_mut().find(|(known, _)| *known == number) {
            statuses.push(status);
        }
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The status of the answer, or `None` without one.
async fn post(client: &Client<HttpConnector, Body>, url: &str, body: &str, headers: Headers) -> Option<u16> {
    let mut request = Request::builder().method(Method::POST).uri(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(body.to_owned())).ok()?;
    let answer = tokio::time::timeout(Duration::from_secs(10), client.request(request)).await.ok()?.ok()?;
    Some(answer.status().as_u16())
}

/// HMAC-SHA256.
pub(crate) fn mac(key: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes()).as_ref().to_vec()
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}
