//! `health-cron` through its own door, over a store in memory and an SQS that keeps what it is sent.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use health_cron::{Config, Handler};
use ieum::clock::{Clock, SharedClock};
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::runtime::{Answer, answer};
use ieum::start::Kernel;
use ieum::store::{Action, DUE, MemoryStore, NOT_BEFORE, Update};
use ieum::testing::{ManualClock, aws_at};
use serde_json::{Value, json};

/// A message: the queue's name, the item, the delay in seconds, the trace.
type Message = (String, String, i64, String);

/// An SQS that refuses everything sent to one of its queues.
#[derive(Clone, Default)]
struct Sqs {
    /// Each message so far.
    taken: Arc<Mutex<Vec<Message>>>,
    refused: Arc<Mutex<Option<&'static str>>>,
}

impl Sqs {
    async fn answer(State(sqs): State<Self>, body: String) -> (StatusCode, Json<Value>) {
        let request: Value = serde_json::from_str(&body).expect("JSON");
        let url = request["QueueUrl"].as_str().expect("a queue");
        let name = url.rsplit('-').next().unwrap_or_default().to_owned();
        if *sqs.refused.lock().expect("a lock") == Some(name.as_str()) {
            return (StatusCode::BAD_REQUEST, Json(json!({"__type": "QueueDoesNotExist"})));
        }
        let mut taken = Vec::new();
        for entry in request["Entries"].as_array().expect("entries") {
            let body: Value = serde_json::from_str(entry["MessageBody"].as_str().expect("a body")).expect("JSON");
            let text = |member: &str| body[member].as_str().expect("text").to_owned();
            let delay = entry["DelaySeconds"].as_i64().expect("a delay");
            sqs.taken.lock().expect("a lock").push((name.clone(), text("key"), delay, text("traceparent")));
            taken.push(json!({"Id": entry["Id"], "MessageId": "m"}));
        }
        (StatusCode::OK, Json(json!({"Successful": taken, "Failed": []})))
    }

    fn items(&self) -> Vec<(String, String, i64)> {
        let taken = self.taken.lock().expect("a lock");
        taken.iter().map(|(queue, item, delay, _)| (queue.clone(), item.clone(), *delay)).collect()
    }
}

struct Scene {
    handler: Handler,
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    sqs: Sqs,
}

async fn kernel(store: &Arc<MemoryStore>, clock: &Arc<ManualClock>) -> Kernel {
    let config = Config::from_env(&Env::from([("STAGE", "local")])).expect("a valid configuration");
    let (http, clock) = (HttpClient::new(None).expect("TLS"), Arc::clone(clock) as SharedClock);
    Kernel::over(&config.common, http, clock, Arc::clone(store) as _, None).await.expect("a kernel")
}

impl Scene {
    async fn new() -> Self {
        let sqs = Sqs::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/", post(Sqs::answer)).with_state(sqs.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::start());
        let mut kernel = kernel(&store, &clock).await;
        kernel.aws = Some(aws_at(&endpoint).await);
        Self { handler: Handler::over(&kernel).expect("there is AWS"), store, clock, sqs }
    }

    /// An item on `list` that was due so many seconds ago.
    fn due(&self, key: &str, list: &str, ago: u64) {
        let at = self.clock.now().before(Duration::from_secs(ago)).as_millis();
        let update = Update::of(key).then([Action::Set(DUE, list.into()), Action::Set(NOT_BEFORE, at.into())]);
        self.store.apply(&update);
    }

    async fn send(&self, event: &str) -> Result<Answer, String> {
        answer(&self.handler, read(event), 0).await.map_err(|error| error.to_string())
    }
}

fn read(event: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../events/health-cron-{event}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("an event")).expect("JSON")
}

fn owned<const N: usize>(items: [(&str, &str, i64); N]) -> Vec<(String, String, i64)> {
    items.map(|(queue, item, delay)| (queue.to_owned(), item.to_owned(), delay)).to_vec()
}

#[tokio::test]
async fn what_is_overdue_is_woken_through_its_lists_queue_the_oldest_first() {
    let scene = Scene::new().await;
    scene.due("message#new", "email", 10);
    scene.due("message#old", "email", 3_600);
    scene.due("message#not-yet", "email", 2);
    scene.due("message#text", "sms", 60);
    scene.due("message#nobodys", "in_doubt", 60);
    assert_eq!(scene.send("sweep").await, Ok(Answer::Done(())));
    assert_eq!(
        scene.sqs.items(),
        owned([("email", "message#old", 0), ("email", "message#new", 1), ("sms", "message#text", 0)])
    );
    let taken = scene.sqs.taken.lock().expect("a lock");
    let traces: Vec<&str> = taken.iter().map(|(.., trace)| &trace[3..35]).collect();
    assert!(traces.iter().all(|trace| *trace == traces[0]), "one sweep is one trace");
}

#[tokio::test]
async fn no_more_is_woken_than_the_list_may_be_worked_off_in_a_minute() {
    let scene = Scene::new().await;
    for number in 0..400 {
        scene.due(&format!("message#{number:03}"), "email", 4_000 - number);
    }
    assert_eq!(scene.send("sweep").await, Ok(Answer::Done(())));
    let items = scene.sqs.items();
    assert_eq!((items.len(), items[299].1.as_str()), (300, "message#299"), "the oldest");
    assert!(items.is_sorted_by_key(|(.., delay)| *delay) && items[299].2 <= 60, "over the minute");
}

#[tokio::test]
async fn a_list_that_cannot_be_swept_does_not_keep_the_others_from_it() {
    let scene = Scene::new().await;
    scene.due("message#mail", "email", 60);
    scene.due("message#text", "sms", 60);
    *scene.sqs.refused.lock().expect("a lock") = Some("email");
    assert_eq!(scene.send("sweep").await, Err("not swept: email".to_owned()), "and the invocation fails");
    assert_eq!(scene.sqs.items(), owned([("sms", "message#text", 0)]));
    *scene.sqs.refused.lock().expect("a lock") = None;
    assert_eq!(scene.send("sweep").await, Ok(Answer::Done(())));
    assert!(scene.sqs.items().contains(&("email".to_owned(), "message#mail".to_owned(), 0)), "the next makes it good");
}

#[tokio::test]
async fn it_answers_nobody_but_schedules_and_does_not_start_without_aws() {
    let scene = Scene::new().await;
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../events/console-health.json");
    let request: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("an event")).expect("JSON");
    let wake_up = json!({"Records": [{"messageId": "m", "body": "{}", "eventSource": "aws:sqs"}]});
    for event in [request, wake_up, json!({}), json!({"sweep": "everything"})] {
        assert!(answer(&scene.handler, event.clone(), 0).await.is_err(), "{event}");
    }
    assert_eq!(answer(&scene.handler, json!({"sweep": []}), 0).await.ok(), Some(Answer::Done(())));
    let alone = Handler::over(&kernel(&scene.store, &scene.clock).await).err().map(|error| error.to_string());
    assert_eq!(alone.as_deref(), Some("there is nothing to sweep without `TABLE_NAME`"));
}
