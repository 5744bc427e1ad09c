//! Idempotency as a caller meets it: orders through the edge, sent again, by others, too early, and after a crash.

use std::collections::{BTreeMap, VecDeque};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use ieum::api::{Call, Edge, HttpEvent, HttpResponse, Reply, Route};
use ieum::auth::{Access, Door, IeumSecret};
use ieum::clock::{SharedClock, Timestamp};
use ieum::error::{ApiError, Code, INVALID_REQUEST, PROVIDER_UNAVAILABLE, RATE_LIMITED};
use ieum::idempotency::{Idempotency, KeyRule};
use ieum::integration::{Answer, Source};
use ieum::store::{Item, Key, MemoryStore, Outcome, Read, Store, StoreError, Update};
use ieum::telemetry::LogLevel;
use ieum::testing::{ManualClock, TokioClock, secret_of, sha256_hex};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::advance;
use uuid::Uuid;

use crate::dynamodb::embedded;
use crate::support::{FaultyStore, Mode, listen, ms, secs};

/// When an attempt that was never heard of again is taken for dead: the edge's 28 s and two.
const DEAD: u64 = 30;

const ROUTES: [Route<KeyRule>; 4] = [
    route("/v1/orders", KeyRule::Required),
    route("/v1/orders/{shop}", KeyRule::Required),
    route("/v1/drafts", KeyRule::Optional),
    Route { method: "POST", path: "/v1/public", access: Access::Public, action: KeyRule::Required },
];

const fn route(path: &'static str, rule: KeyRule) -> Route<KeyRule> {
    Route { method: "POST", path, access: Access::Scope("orders:write"), action: rule }
}

/// How a run of the work ends.
#[derive(Clone, Debug)]
enum Then {
    /// Without an effect.
    Refuse(Code),
    /// After the effect.
    Fail(Code),
    /// The effect is there, and the answer comes when it is asked for.
    Wait(Arc<Notify>),
    /// With an answer of so many bytes.
    Long(usize),
}

/// A function that takes orders, in one environment or several.
struct Shop {
    edge: Edge,
    idempotency: Idempotency,
    script: Mutex<VecDeque<Then>>,
    /// The id of each run.
    runs: Mutex<Vec<Uuid>>,
    /// The effects, which the work names by its id.
    orders: Mutex<BTreeMap<Uuid, Value>>,
}

impl Shop {
    async fn over(store: Arc<dyn Store>) -> Self {
        Self::with(store, TokioClock::start()).await
    }

    async fn with(store: Arc<dyn Store>, clock: SharedClock) -> Self {
        let key = |id: &str| json!({"id": id, "label": id, "scopes": ["*"], "not_after": "2027-01-01T00:00:00Z", "sha256": sha256_hex(id)});
        let secret = json!({"api_keys": [key("portal"), key("admin")], "cache_key": "AAAA"}).to_string();
        let edge = Edge::new(Door::new(secret_of::<IeumSecret>(&secret).await), Arc::clone(&clock), 1_000);
        let idempotency = Idempotency::new(store, clock);
        Self { edge, idempotency, script: Mutex::default(), runs: Mutex::default(), orders: Mutex::default() }
    }

    fn then(&self, then: Then) -> &Self {
        self.script.lock().unwrap().push_back(then);
        self
    }

    /// What a handler looks like.
    async fn handle(&self, rule: KeyRule, call: Call) -> Result<Reply, ApiError> {
        let place = async |id: Uuid| {
            let mut body = call.body()?;
            let item = body.text("item", 20);
            let _ = (body.optional_text("note", 20), body.finish(Some(()))?);
            let run = self.began(id);
            yield_now().await;
            let then = self.script.lock().unwrap().pop_front();
            if let Some(Then::Refuse(code)) = then {
                return Err(ApiError::new(code));
            }
            self.orders.lock().unwrap().entry(id).or_insert(json!(item));
            yield_now().await;
            let mut answer = json!({"id": id.to_string(), "run": run});
            match then {
                Some(Then::Fail(code)) => return Err(ApiError::new(code)),
                Some(Then::Wait(until)) => until.notified().await,
                Some(Then::Long(bytes)) => answer["long"] = "x".repeat(bytes).into(),
                Some(Then::Refuse(_)) | None => {}
            }
            let source = Source::Stale { age: ms(90_000) };
            let told = Answer { value: (), source, provider: "p".to_owned(), as_of: Timestamp::default() };
            Ok(Reply::json(202, &answer)?.provenance(&told))
        };
        self.idempotency.run(&call, rule, async |begun| place(begun.id).await).await
    }

    fn began(&self, id: Uuid) -> usize {
        let mut runs = self.runs.lock().unwrap();
        runs.push(id);
        runs.len()
    }

    async fn send(&self, event: Value) -> HttpResponse {
        let event: HttpEvent = serde_json::from_value(event).unwrap();
        let served = self.edge.serve(&ROUTES, event, 0, async |rule, call| self.handle(rule, call).await);
        // What Lambda's runtime asks of a function.
        fn is_send(_: &impl Send) {}
        is_send(&served);
        served.await
    }

    /// The order that most tests send.
    async fn order(&self) -> HttpResponse {
        self.send(order("k-1", r#"{"item":"tea"}"#)).await
    }

    fn runs(&self) -> usize {
        self.runs.lock().unwrap().len()
    }

    /// How many different ids the work was run under.
    fn ids(&self) -> usize {
        let mut ids = self.runs.lock().unwrap().clone();
        ids.sort();
        ids.dedup();
        ids.len()
    }

    fn orders(&self) -> usize {
        self.orders.lock().unwrap().len()
    }
}

fn order(key: &str, body: &str) -> Value {
    from("portal", "/v1/orders", key, body)
}

fn from(caller: &str, path: &str, key: &str, body: &str) -> Value {
    json!({
        "rawPath": path,
        "headers": {"x-api-key": caller, "idempotency-key": key, "accept-language": "en"},
        "body": body,
        "requestContext": {"http": {"method": "POST"}},
    })
}

/// What the caller gets that is the work's: status, headers and body, without what the edge adds to each response.
fn told(response: &HttpResponse) -> (u16, BTreeMap<String, String>, String) {
    let mut headers = response.headers.clone();
    headers.remove("x-trace-id");
    headers.remove("idempotency-replayed");
    (response.status_code, headers, response.body.clone())
}

fn is_replay(response: &HttpResponse) -> bool {
    response.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

/// A refusal in brief: status, code, `Retry-After`.
fn refusal(response: &HttpResponse) -> (u16, String, Option<&str>) {
    let body: Value = serde_json::from_str(&response.body).unwrap();
    let code = body["error"]["code"].as_str().unwrap_or("none").to_owned();
    (response.status_code, code, response.headers.get("retry-after").map(String::as_str))
}

#[tokio::test(start_paused = true)]
async fn the_same_request_has_the_same_answer_and_one_effect() {
    let shop = Shop::over(Arc::new(MemoryStore::new())).await;
    let first = shop.send(order("k-1", r#"{"item":"tea","note":"hot"}"#)).await;
    assert_eq!((first.status_code, is_replay(&first)), (202, false));
    assert_eq!((first.headers["x-ieum-source"].as_str(), first.headers["age"].as_str()), ("stale", "90"));
    advance(secs(24 * 60 * 60 - 1)).await;
    for body in [r#"{"item":"tea","note":"hot"}"#, r#"{ "note": "hot", "item": "\u0074ea" }"#] {
        let again = shop.send(order("k-1", body)).await;
        assert!(is_replay(&again));
        assert_eq!(told(&again), told(&first));
        assert_ne!(again.headers["x-trace-id"], first.headers["x-trace-id"]);
    }
    assert_eq!((shop.runs(), shop.orders()), (1, 1));
    advance(secs(1)).await;
    assert!(!is_replay(&shop.send(order("k-1", r#"{"item":"tea","note":"hot"}"#)).await));
    assert_eq!((shop.runs(), shop.ids(), shop.orders()), (2, 2, 2), "a day later it is another request");
}

#[tokio::test(start_paused = true)]
async fn another_request_under_the_same_key_is_refused() {
    let shop = Shop::over(Arc::new(MemoryStore::new())).await;
    let in_shop = |path: &str| from("portal", path, "k-2", r#"{"item":"tea"}"#);
    assert_eq!((shop.order().await.status_code, shop.send(in_shop("/v1/orders/a")).await.status_code), (202, 202));
    let mut asking = order("k-1", r#"{"item":"tea"}"#);
    asking["rawQueryString"] = "fast=1".into();
    for other in [order("k-1", r#"{"item":"coffee"}"#), order("k-1", ""), asking, in_shop("/v1/orders/b")] {
        assert_eq!(refusal(&shop.send(other).await), (422, "idempotency_key_reused".to_owned(), None));
    }
    assert_eq!(shop.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn another_caller_or_route_with_the_same_key_has_its_own_answer() {
    let shop = Shop::over(Arc::new(MemoryStore::new())).await;
    for (caller, path, body) in [
        ("portal", "/v1/orders", r#"{"item":"tea"}"#),
        ("admin", "/v1/orders", r#"{"item":"tea"}"#),
        ("portal", "/v1/drafts", r#"{"item":"coffee"}"#),
    ] {
        let response = shop.send(from(caller, path, "k-1", body)).await;
        assert_eq!((response.status_code, is_replay(&response)), (202, false), "{caller} {path}");
    }
    assert_eq!((shop.ids(), shop.orders()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn while_the_first_is_running_the_second_is_told_to_come_back() {
    let shop = Shop::over(Arc::new(MemoryStore::new())).await;
    let finish = Arc::new(Notify::new());
    shop.then(Then::Wait(Arc::clone(&finish)));
    let (first, ()) = tokio::join!(shop.order(), async {
        advance(secs(20)).await;
        assert_eq!(refusal(&shop.order().await), (409, "in_progress".to_owned(), Some("2")));
        let other = shop.send(order("k-1", r#"{"item":"coffee"}"#)).await;
        assert_eq!(refusal(&other).1, "idempotency_key_reused");
        finish.notify_one();
    });
    assert_eq!(told(&shop.order().await), told(&first));
    assert_eq!(shop.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_the_caller_may_try_again_and_the_effect_is_the_same() {
    let shop = Shop::over(Arc::new(MemoryStore::new())).await;
    shop.then(Then::Fail(PROVIDER_UNAVAILABLE)).then(Then::Fail(RATE_LIMITED)).then(Then::Refuse(INVALID_REQUEST));
    for code in ["provider_unavailable", "rate_limited", "invalid_request"] {
        assert_eq!(refusal(&shop.order().await).1, code);
        let other = shop.send(order("k-1", r#"{"item":"coffee"}"#)).await;
        assert_eq!(refusal(&other).1, "idempotency_key_reused", "there may be an effect already");
    }
    let done = shop.order().await;
    assert_eq!((done.status_code, is_replay(&done)), (202, false));
    assert_eq!((shop.runs(), shop.ids(), shop.orders()), (4, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_may_be_corrected_under_its_key() {
    let shop = Shop::over(Arc::new(MemoryStore::new())).await;
    assert_eq!(refusal(&shop.send(order("k-1", r#"{"itme":"tea"}"#)).await).1, "invalid_request");
    assert_eq!(shop.order().await.status_code, 202);
    assert!(is_replay(&shop.order().await));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_1_to_255_visible_characters_and_there_where_it_must_be() {
    let shop = Shop::over(Arc::new(MemoryStore::new())).await;
    let keys = ["k", "!~", &"k".repeat(255), "한글", "a b", "", &"k".repeat(256)];
    let issues = [None, None, None, Some("bad_format"), Some("bad_format"), Some("bad_format"), Some("too_long")];
    for path in ["/v1/orders", "/v1/drafts"] {
        for (key, issue) in keys.iter().zip(issues) {
            let response = shop.send(from("portal", path, key, r#"{"item":"tea"}"#)).await;
            let body: Value = serde_json::from_str(&response.body).unwrap();
            let detail = &body["error"]["details"][0];
            let expected = issue.map(|issue| ("idempotency-key", issue));
            assert_eq!(detail["field"].as_str().zip(detail["issue"].as_str()), expected, "`{key}`");
            assert_eq!(response.status_code, if issue.is_none() { 202 } else { 400 });
        }
    }
    let without = |path: &str| {
        let mut event = from("portal", path, "", r#"{"item":"tea"}"#);
        event["headers"].as_object_mut().unwrap().remove("idempotency-key");
        event
    };
    assert!(shop.send(without("/v1/orders")).await.body.contains(r#""issue":"missing""#));
    let before = shop.ids();
    for _ in 0..2 {
        assert_eq!(shop.send(without("/v1/drafts")).await.status_code, 202);
    }
    assert_eq!(shop.ids(), before + 2, "each a request of its own");
}

#[tokio::test(start_paused = true)]
async fn a_route_that_does_not_know_its_caller_promises_nothing() {
    let shop = Shop::over(Arc::new(MemoryStore::new())).await;
    assert_eq!(shop.send(from("portal", "/v1/public", "k-1", "{}")).await.status_code, 500);
    assert_eq!(shop.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_end_is_given_up_and_goes_on_under_its_id() {
    let shop = Shop::over(Arc::new(MemoryStore::new())).await;
    shop.then(Then::Wait(Arc::default()));
    assert_eq!(shop.order().await.status_code, 500);
    assert_eq!(shop.order().await.status_code, 202);
    assert_eq!((shop.runs(), shop.ids(), shop.orders()), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_large_to_keep_is_made_again_under_the_same_id() {
    let shop = Shop::over(Arc::new(MemoryStore::new())).await;
    let (captured, _guard) = listen(LogLevel::Info);
    shop.then(Then::Long(300 * 1024)).then(Then::Long(299 * 1024));
    for (replayed, runs) in [(false, 1), (false, 2), (true, 2)] {
        let response = shop.order().await;
        assert_eq!((response.status_code, is_replay(&response), shop.runs()), (202, replayed, runs));
    }
    assert_eq!((shop.ids(), shop.orders()), (1, 1));
    let text = captured.text();
    let id = shop.runs.lock().unwrap()[0].to_string();
    for event in ["idempotency.too_large", "idempotency.resumed"] {
        assert!(text.lines().any(|line| line.contains(event) && line.contains(&id)), "{event}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn neither_the_key_nor_the_request_is_stored() {
    let store = FaultyStore::new();
    let shop = Shop::over(store.clone()).await;
    shop.send(order("order-of-hong-gildong", r#"{"item":"010-1234-5678"}"#)).await;
    let key = store.updated().pop().unwrap();
    let stored = format!("{key} {:?}", store.inner.read(&key).unwrap());
    assert!(!stored.contains("hong") && !stored.contains("5678"), "{stored}");
    assert!(stored.contains("key:portal") && stored.contains("POST /v1/orders"), "{stored}");
}

/// A memory store that can be left at any point, and whose answers can be lost on the way.
#[derive(Debug, Default)]
struct Yielding {
    inner: MemoryStore,
    lose: AtomicU32,
}

#[async_trait]
impl Store for Yielding {
    async fn get(&self, key: &str, read: Read) -> Result<Option<Item>, StoreError> {
        self.inner.get(key, read).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.inner.get_many(keys).await
    }

    async fn listed(&self, list: &str, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.inner.listed(list, from, until, limit).await
    }

    async fn due(&self, list: &str, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.inner.due(list, until, limit).await
    }

    async fn update(&self, update: &Update) -> Result<Outcome, StoreError> {
        yield_now().await;
        let outcome = self.inner.apply(update);
        yield_now().await;
        let lost = self.lose.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if lost { Err(StoreError::Unreachable("the answer was lost".into())) } else { Ok(outcome) }
    }
}

/// Polls `future` so many times, unless it is ready before.
fn poll<F: Future>(mut future: Pin<&mut F>, times: usize) -> Option<F::Output> {
    let mut context = Context::from_waker(Waker::noop());
    (0..times).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    })
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_point_the_next_attempt_goes_on_under_the_same_id() {
    let (mut refused, mut with_effect) = (0, 0);
    for polls in 1.. {
        let shop = Shop::over(Arc::new(Yielding::default())).await;
        // Polled so often, and dropped.
        let answered = poll(pin!(shop.order()), polls);
        with_effect += shop.orders();
        let soon = shop.order().await;
        match soon.status_code {
            202 => {}
            _ => {
                assert_eq!(refusal(&soon), (409, "in_progress".to_owned(), Some("2")), "killed after {polls}");
                refused += 1;
            }
        }
        advance(secs(DEAD)).await;
        let later = shop.order().await;
        assert_eq!((later.status_code, shop.ids(), shop.orders()), (202, 1, 1), "killed after {polls}");
        let again = shop.order().await;
        assert!(is_replay(&again));
        for answer in answered.iter().chain((soon.status_code == 202).then_some(&soon)).chain([&again]) {
            assert_eq!(told(answer), told(&later), "killed after {polls}");
        }
        if answered.is_some() {
            // Two points at BEGIN, two in the work, two at COMPLETE; the first and the last but one leave no attempt open.
            assert_eq!((polls, refused, with_effect), (7, 4, 4));
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_taken_for_dead_gives_no_answer_of_its_own() {
    late_answer(false).await;
    late_answer(true).await;
}

/// What a first attempt answers that comes back while its successor is running, or when that has `finished`.
async fn late_answer(finished: bool) {
    let shop = Shop::over(Arc::new(MemoryStore::new())).await;
    let [first_may, second_may] = [(); 2].map(|()| Arc::new(Notify::new()));
    shop.then(Then::Wait(Arc::clone(&first_may))).then(Then::Wait(Arc::clone(&second_may)));
    // Frozen after its effect, thawed when it is too late: nobody polls it meanwhile, as in a frozen environment.
    let (mut first, mut second) = (pin!(shop.order()), pin!(shop.order()));
    assert!(poll(first.as_mut(), 5).is_none());
    advance(secs(DEAD)).await;
    assert!(poll(second.as_mut(), 5).is_none());
    first_may.notify_one();
    if !finished {
        let late = poll(first.as_mut(), 5).unwrap();
        assert_eq!(refusal(&late), (409, "in_progress".to_owned(), Some("2")));
    }
    second_may.notify_one();
    let answer = second.await;
    assert_eq!((answer.status_code, shop.runs(), shop.ids(), shop.orders()), (202, 2, 1, 1));
    if finished {
        let late = poll(first.as_mut(), 5).unwrap();
        assert!(is_replay(&late));
        assert_eq!(told(&late), told(&answer));
    }
    assert_eq!(told(&shop.order().await), told(&answer));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_of_the_store_is_asked_for_again() {
    let store = Arc::new(Yielding::default());
    let shop = Shop::over(store.clone()).await;
    for lost in [1, 2] {
        store.lose.store(lost, Ordering::Relaxed);
        let key = format!("lost-{lost}");
        assert_eq!(shop.send(order(&key, r#"{"item":"tea"}"#)).await.status_code, 202);
        assert!(is_replay(&shop.send(order(&key, r#"{"item":"tea"}"#)).await));
    }
    let finish = Arc::new(Notify::new());
    shop.then(Then::Wait(Arc::clone(&finish)));
    let (first, ()) = tokio::join!(shop.order(), async {
        advance(secs(1)).await;
        // Of COMPLETE, which is carried out all the same.
        store.lose.store(2, Ordering::Relaxed);
        finish.notify_one();
    });
    assert_eq!((first.status_code, is_replay(&first)), (202, false));
    assert_eq!(told(&shop.order().await), told(&first));
    assert_eq!((shop.runs(), shop.orders()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn without_the_store_there_is_no_work() {
    let store = FaultyStore::new();
    let shop = Shop::over(store.clone()).await;
    for mode in [Mode::Unreachable, Mode::Throttled, Mode::Hanging] {
        store.set(mode);
        assert_eq!(refusal(&shop.order().await), (503, "store_unavailable".to_owned(), None), "{mode:?}");
    }
    assert_eq!(shop.runs(), 0);
    store.set(Mode::Slow(secs(1)));
    assert_eq!(shop.order().await.status_code, 202, "a caller was promised something: it may take its time");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_kept_is_not_given() {
    let store = FaultyStore::new();
    let shop = Shop::over(store.clone()).await;
    let finish = Arc::new(Notify::new());
    shop.then(Then::Wait(Arc::clone(&finish)));
    let (first, ()) = tokio::join!(shop.order(), async {
        advance(secs(1)).await;
        store.set(Mode::Unreachable);
        finish.notify_one();
    });
    assert_eq!(refusal(&first).1, "store_unavailable");
    store.set(Mode::Well);
    assert_eq!(refusal(&shop.order().await).1, "in_progress");
    advance(secs(DEAD)).await;
    assert_eq!(shop.order().await.status_code, 202);
    assert_eq!((shop.runs(), shop.ids(), shop.orders()), (2, 1, 1));
}

#[tokio::test]
async fn the_same_holds_over_dynamodb() {
    let clock = ManualClock::start();
    let shop = Shop::with(Arc::new(embedded()), clock.clone()).await;
    shop.then(Then::Refuse(INVALID_REQUEST)).then(Then::Wait(Arc::default()));
    assert_eq!(refusal(&shop.order().await).1, "invalid_request");
    {
        // It dies after its effect.
        let (mut dying, mut done) = (
            pin!(shop.order()),
            pin!(async {
                while shop.orders() == 0 {
                    yield_now().await;
                }
            }),
        );
        tokio::select! { _ = &mut dying => panic!("it waits for ever"), () = &mut done => {} }
    }
    assert_eq!(refusal(&shop.order().await), (409, "in_progress".to_owned(), Some("2")));
    assert_eq!(refusal(&shop.send(order("k-1", "{}")).await).1, "idempotency_key_reused");
    clock.advance(secs(DEAD));
    let answer = shop.order().await;
    assert_eq!((answer.status_code, shop.runs(), shop.ids(), shop.orders()), (202, 3, 2, 1));
    assert_eq!(told(&shop.order().await), told(&answer));
    clock.advance(secs(24 * 60 * 60));
    assert!(!is_replay(&shop.order().await));
    assert_eq!(shop.orders(), 2);
}
