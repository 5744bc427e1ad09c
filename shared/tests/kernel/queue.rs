//! Wake-ups on their way: what SQS is told, what it is told of a batch that did not all go well, and which events a
//! function may be called with.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use ieum::clock::SharedClock;
use ieum::provider::Cause;
use ieum::queue::{Queue, WakeUp, local, sweep, sweep_here};
use ieum::runtime::{Answer, Bounds, Event, Function, Scheduled, Worker, answer, work_here};
use ieum::store::{Action, DUE, MemoryStore, NOT_BEFORE, Store, Update};
use ieum::telemetry::trace::TraceId;
use ieum::testing::{TokioClock, aws_at};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::{ms, secs};

const BOUNDS: Bounds = Bounds { at_once: 4, limit: Duration::from_secs(60) };

/// A function with a queue, whose work goes as the item's key says.
struct Scene {
    clock: SharedClock,
    seen: Mutex<Vec<(String, String, Duration)>>,
    began: Instant,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Scene {
    fn new() -> Arc<Self> {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { clock: TokioClock::start(), seen: Mutex::default(), began: Instant::now(), now, most })
    }

    fn deadline_in(&self, span: Duration) -> u64 {
        u64::try_from(self.clock.now().after(span).as_millis()).unwrap()
    }

    /// The keys worked on so far, in order.
    fn keys(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(key, ..)| key.clone()).collect()
    }
}

impl Worker for Scene {
    async fn work(&self, key: &str, deadline: Instant) -> Result<(), Cause> {
        let time = deadline.duration_since(Instant::now());
        self.seen.lock().unwrap().push((key.to_owned(), TraceId::current().as_str().to_owned(), time));
        self.most.fetch_max(self.now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let (kind, span) = key.split_once('#').unwrap();
        sleep(ms(span.parse().unwrap())).await;
        self.now.fetch_sub(1, Ordering::Relaxed);
        match kind {
            "well" => Ok(()),
            "once" if self.keys().iter().filter(|seen| *seen == key).count() > 1 => Ok(()),
            "panic" => panic!("ordered"),
            _ => Err("ordered".into()),
        }
    }
}

impl Function for Scene {
    async fn serve(&self, event: Event, deadline_ms: u64) -> Result<Answer, Cause> {
        match event {
            Event::Queue(batch) => Ok(batch.work(self, BOUNDS, &self.clock, deadline_ms).await.into()),
            Event::Scheduled(Scheduled::Sweep(lists)) if lists[0].list == "email" => Ok(Answer::Done(())),
            event @ (Event::Http(_) | Event::Scheduled(_) | Event::Logs(_) | Event::Objects(_)) => {
                Err(event.unexpected())
            }
        }
    }
}

/// A batch of these items, each message named like its item.
fn batch(keys: &[&str]) -> Value {
    let body = |key: &&str| json!({"key": key, "traceparent": traceparent(key)}).to_string();
    raw(&keys.iter().map(|key| (*key, body(key))).collect::<Vec<_>>())
}

fn raw(records: &[(&str, String)]) -> Value {
    let records = records.iter().map(|(id, body)| json!({"messageId": id, "body": body, "eventSource": "aws:sqs"}));
    json!({ "Records": records.collect::<Vec<_>>() })
}

fn traceparent(key: &str) -> String {
    format!("00-{:032x}-00f067aa0ba902b7-01", key.len() + 1)
}

/// The messages that are to come again, in alphabetical order.
async fn failed(scene: &Scene, event: Value, time: Duration) -> Vec<String> {
    let answer = answer(scene, &event.to_string(), scene.deadline_in(time)).await.unwrap();
    let told = serde_json::to_value(&answer).unwrap();
    let failures = told["batchItemFailures"].as_array().unwrap();
    let mut ids: Vec<String> = failures.iter().map(|one| one["itemIdentifier"].as_str().unwrap().to_owned()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(start_paused = true)]
async fn what_was_not_done_comes_again_and_nothing_else() {
    let scene = Scene::new();
    let event = batch(&["well#10", "ill#10", "well#20", "panic#5", "well#0"]);
    assert_eq!(failed(&scene, event, secs(60)).await, ["ill#10", "panic#5"]);
    assert_eq!(scene.keys().len(), 5);
    assert_eq!(failed(&scene, batch(&[]), secs(60)).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_none_of_ours_comes_again_until_it_is_a_dead_letter() {
    let scene = Scene::new();
    for body in ["", "{}", "hello", r#"{"key":"well#1"}"#, r#"{"key":1,"traceparent":""}"#] {
        let event = raw(&[("poison", body.to_owned()), ("m", json!({"key": "well#1", "traceparent": ""}).to_string())]);
        assert_eq!(failed(&scene, event, secs(60)).await, ["poison"], "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn work_is_side_by_side_within_bounds_and_goes_on_in_its_trace() {
    let scene = Scene::new();
    let keys: Vec<String> = (0..10).map(|number| format!("well#1{number}0")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(failed(&scene, batch(&keys), secs(60)).await, Vec::<String>::new());
    assert_eq!(scene.most.load(Ordering::Relaxed), BOUNDS.at_once);
    for (key, trace, _) in &*scene.seen.lock().unwrap() {
        assert_eq!(*trace, traceparent(key)[3..35]);
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_time_is_over_whatever_is_not_done_comes_again() {
    let scene = Scene::new();
    let event = batch(&["well#1", "well#9000", "well#9001", "well#9002", "well#8000", "well#7000"]);
    assert_eq!(
        failed(&scene, event, secs(10)).await,
        ["well#7000", "well#9001", "well#9002"],
        "two were not done in time, and one had none left to begin"
    );
    let took = Instant::now() - scene.began;
    assert!(took <= secs(9), "{took:?}");
    let seen = scene.seen.lock().unwrap();
    assert!(seen.iter().all(|(_, _, time)| *time <= secs(5)), "work has time to conclude after its own deadline");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_is_made_up_is_not_believed() {
    for deadline_ms in [0, 1, u64::MAX] {
        let scene = Scene::new();
        let answer = answer(&*scene, &batch(&["well#1", "well#90000"]).to_string(), deadline_ms).await.unwrap();
        assert_eq!(
            serde_json::to_value(answer).unwrap(),
            json!({"batchItemFailures": [{"itemIdentifier": "well#90000"}]}),
            "{deadline_ms}"
        );
        assert_eq!(scene.seen.lock().unwrap()[0].2, secs(55), "the function's own limit holds");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_of_no_known_shape_fails_the_invocation() {
    let scene = Scene::new();
    for event in [
        json!(null),
        json!([]),
        json!("sweep"),
        json!({}),
        json!({"Records": [{"eventSource": "aws:s3", "s3": {}}]}),
        json!({"Records": [{"eventSource": "aws:sqs"}]}),
        json!({"Records": [{"eventSource": "aws:sqs", "messageId": "m", "body": "{}"}, {"eventSource": "aws:sns"}]}),
        json!({"Records": {}}),
        json!({"requestContext": {"http": {}}}),
        json!({"requestContext": {"elb": {}}, "path": "/"}),
        json!({"sweep": 1}),
        json!({"sweep": {"list": "email", "queue": "http://localhost/q", "limit": 300}}),
        json!({"sweep": [{"list": "email", "queue": "http://localhost/q"}]}),
        json!({"sweep": [{"list": "email", "queue": "http://localhost/q", "limit": -1}]}),
        json!({"sweep": [{"list": "email", "queue": "http://localhost/q", "limit": 300, "and": "more"}]}),
        json!({"sweep": [{"list": "email", "queue": "http://localhost/q", "limit": 300}], "and": "more"}),
        json!({"dance": [{"list": "email", "queue": "http://localhost/q", "limit": 300}]}),
        json!({"detail-type": "Scheduled Event", "detail": {}}),
    ] {
        assert!(answer(&*scene, &event.to_string(), 0).await.is_err(), "{event}");
    }
    let sweep = json!({"sweep": [{"list": "email", "queue": "http://localhost/q", "limit": 300}]});
    let known = answer(&*scene, &sweep.to_string(), 0).await.unwrap();
    assert_eq!(serde_json::to_value(known).unwrap(), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_run_without_aws_works_its_wake_ups_off_itself() {
    let scene = Scene::new();
    let (queue, wake_ups) = local();
    let working = tokio::spawn(work_here(wake_ups, Arc::clone(&scene), BOUNDS));
    let wake = |key: &str, after| WakeUp { key: key.to_owned(), after };
    queue.wake(&[wake("well#2", secs(5)), wake("well#1", secs(0)), wake("once#0", secs(7))]).await.unwrap();
    sleep(secs(6)).await;
    assert_eq!(scene.keys(), ["well#1", "well#2"]);
    sleep(secs(120)).await;
    assert_eq!(scene.keys(), ["well#1", "well#2", "once#0", "once#0"], "what failed comes again");
    drop(queue);
    working.await.unwrap();
}

/// An SQS that keeps what it is sent and refuses what it is told to.
#[derive(Clone, Default)]
struct Sqs {
    requests: Arc<Mutex<Vec<Value>>>,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Sqs {
    async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().route("/", post(Self::answer)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        format!("http://{address}")
    }

    async fn answer(State(sqs): State<Self>, body: String) -> Json<Value> {
        let request: Value = serde_json::from_str(&body).unwrap();
        let (mut taken, mut failed) = (Vec::new(), Vec::new());
        for entry in request["Entries"].as_array().unwrap() {
            if sqs.refused.lock().unwrap().contains(&key(entry)) {
                failed.push(json!({"Id": entry["Id"], "Code": "InternalError", "SenderFault": false}));
            } else {
                taken.push(json!({"Id": entry["Id"], "MessageId": "m"}));
            }
        }
        sqs.requests.lock().unwrap().push(request);
        Json(json!({"Successful": taken, "Failed": failed}))
    }

    /// Every entry so far: the item, its delay, the trace.
    fn entries(&self) -> Vec<(String, i64, String)> {
        let requests = self.requests.lock().unwrap();
        let entries = requests.iter().flat_map(|request| request["Entries"].as_array().unwrap());
        entries.map(|entry| (key(entry), entry["DelaySeconds"].as_i64().unwrap(), said(entry, "traceparent"))).collect()
    }
}

fn said(entry: &Value, member: &str) -> String {
    let body: Value = serde_json::from_str(entry["MessageBody"].as_str().unwrap()).unwrap();
    body[member].as_str().unwrap().to_owned()
}

fn key(entry: &Value) -> String {
    said(entry, "key")
}

#[tokio::test]
async fn wake_ups_go_to_sqs_ten_at_a_time_with_their_trace_and_no_delay_is_too_long() {
    let sqs = Sqs::default();
    let endpoint = sqs.listen().await;
    let queue = aws_at(&endpoint).queue(&format!("{endpoint}/000000000000/q"));
    let after = [0, 1, 999, 1_000, 1_001, 899_500, 900_000, 900_001, 86_400_000];
    let wake_ups: Vec<WakeUp> =
        (0..23).map(|place| WakeUp { key: format!("message#{place}"), after: ms(after[place % 9]) }).collect();
    let trace = TraceId::random();
    trace.clone().during(queue.wake(&wake_ups)).await.unwrap();
    let entries = sqs.entries();
    assert_eq!(sqs.requests.lock().unwrap().len(), 3);
    for (place, (key, delay, traceparent)) in entries.iter().enumerate() {
        assert_eq!(*key, format!("message#{place}"));
        assert_eq!(*delay, [0, 1, 1, 1, 2, 900, 900, 900, 900][place % 9]);
        assert_eq!(TraceId::from_traceparent(traceparent), Some(trace.clone()));
    }
    assert_eq!(entries.len(), 23);
    queue.wake(&[]).await.unwrap();
    assert_eq!(sqs.entries().len(), 23);
}

#[tokio::test]
async fn a_wake_up_that_sqs_does_not_take_is_an_error_and_the_others_are_sent() {
    let sqs = Sqs::default();
    let endpoint = sqs.listen().await;
    let queue = aws_at(&endpoint).queue(&format!("{endpoint}/000000000000/q"));
    let wake_ups: Vec<WakeUp> = (0..15).map(|n| WakeUp { key: format!("message#{n}"), after: ms(0) }).collect();
    *sqs.refused.lock().unwrap() = vec!["message#3".to_owned()];
    let error = queue.wake(&wake_ups).await.unwrap_err().to_string();
    assert_eq!(error, "1 of 15 wake-ups were not taken: the queue refused them");
    assert_eq!(sqs.entries().len(), 15);
    let nowhere = aws_at("http://127.0.0.1:9").queue("http://127.0.0.1:9/000000000000/q");
    assert!(nowhere.wake(&wake_ups).await.unwrap_err().to_string().starts_with("15 of 15 wake-ups were not taken: "));
}

#[tokio::test(start_paused = true)]
async fn a_sweep_wakes_what_is_overdue_the_oldest_first_and_no_more_than_the_rate_allows() {
    let (store, clock) = (MemoryStore::new(), TokioClock::start());
    let now = ieum::clock::Clock::now(&*clock);
    for (name, list, age) in [
        ("a", "email", 30),
        ("b", "email", 90),
        ("c", "email", 6),
        ("d", "email", 4),
        ("e", "sms", 99),
        ("f", "email", 60),
    ] {
        let update = Update::of(format!("message#{name}"))
            .then([Action::Set(DUE, list.into()), Action::Set(NOT_BEFORE, now.before(secs(age)).as_millis().into())]);
        store.update(&update).await.unwrap();
    }
    let (queue, mut wake_ups) = Recorded::new();
    assert_eq!(sweep(&store, &queue, "email", 3, secs(60), now).await.unwrap(), 3);
    assert_eq!(
        wake_ups(),
        [("message#b", 0), ("message#f", 20), ("message#a", 40)].map(|(k, s)| (k.to_owned(), secs(s)))
    );
    assert_eq!(
        sweep(&store, &queue, "email", 100, secs(60), now).await.unwrap(),
        4,
        "what is not late by 5 s is not due"
    );
    *queue.fails.lock().unwrap() = true;
    assert!(sweep(&store, &queue, "email", 3, secs(60), now).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_run_without_aws_sweeps_itself_each_minute() {
    let (store, clock) = (Arc::new(MemoryStore::new()), TokioClock::start());
    let now = ieum::clock::Clock::now(&*clock).as_millis();
    let due = Update::of("message#a").then([Action::Set(DUE, "email".into()), Action::Set(NOT_BEFORE, now.into())]);
    store.update(&due).await.unwrap();
    let (queue, mut wake_ups) = Recorded::new();
    *queue.fails.lock().unwrap() = true;
    let sweeping = tokio::spawn(sweep_here(store, Arc::new(queue.clone()), "email", 3, clock));
    sleep(secs(61)).await;
    assert_eq!(wake_ups(), []);
    *queue.fails.lock().unwrap() = false;
    sleep(secs(120)).await;
    assert_eq!(wake_ups(), vec![("message#a".to_owned(), secs(0)); 2], "one that failed does not end it");
    sweeping.abort();
}

/// A queue that only remembers.
#[derive(Clone, Debug, Default)]
struct Recorded {
    wake_ups: Arc<Mutex<Vec<WakeUp>>>,
    fails: Arc<Mutex<bool>>,
}

impl Recorded {
    fn new() -> (Self, impl FnMut() -> Vec<(String, Duration)>) {
        let queue = Self::default();
        let wake_ups = Arc::clone(&queue.wake_ups);
        (queue, move || wake_ups.lock().unwrap().drain(..).map(|wake_up| (wake_up.key, wake_up.after)).collect())
    }
}

#[async_trait::async_trait]
impl Queue for Recorded {
    async fn wake(&self, wake_ups: &[WakeUp]) -> Result<(), Cause> {
        if *self.fails.lock().unwrap() {
            return Err("ordered".into());
        }
        self.wake_ups.lock().unwrap().extend_from_slice(wake_ups);
        Ok(())
    }
}
