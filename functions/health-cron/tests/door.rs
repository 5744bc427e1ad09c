//! `health-cron` through its own door, over a store in memory and an AWS that keeps what it is sent: SQS, SNS, and functions
//! that answer what a test wants them to.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use health_cron::{Config, Handler};
use ieum::backup::files::MemoryBuckets;
use ieum::blobs::{Blobs, MemoryBlobs};
use ieum::clock::{Clock, SharedClock};
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::resilience::health::{self, Finding, PERIOD, Reason, Sight, Status};
use ieum::runtime::{Answer, answer};
use ieum::start::Kernel;
use ieum::store::{Action, DUE, MemoryStore, NOT_BEFORE, Update};
use ieum::telemetry::{Captured, LevelSwitch};
use ieum::testing::{ManualClock, aws_at};
use serde_json::{Value, json};

/// Whose subscribers are told.
const TOPIC: &str = "arn:aws:sns:ap-northeast-2:000000000000:ieum-local-alerts";

/// A message: the queue's name, the item, the delay in seconds, the trace.
type Message = (String, String, i64, String);

/// An SQS that refuses everything sent to one of its queues.
#[derive(Clone, Default)]
struct Sqs {
    /// Each message so far.
    taken: Arc<Mutex<Vec<Message>>>,
    refused: Arc<Mutex<Option<&'static str>>>,
    /// What subscribers were told, as programs read it.
    told: Arc<Mutex<Vec<Value>>>,
    /// Whether the topic takes anything.
    mute: Arc<Mutex<bool>>,
    /// What each function answers; one that is not there fails.
    functions: Arc<Mutex<BTreeMap<String, Value>>>,
    /// What the functions were asked.
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Sqs {
    async fn invoke(State(sqs): State<Self>, Path(function): Path<String>, body: String) -> Response {
        sqs.asked.lock().expect("a lock").push(serde_json::from_str(&body).expect("JSON"));
        match sqs.functions.lock().expect("a lock").get(&function) {
            Some(answer) => Json(answer.clone()).into_response(),
            None => ([("x-amz-function-error", "Unhandled")], "{}").into_response(),
        }
    }

    /// A form of SNS, with the fields that matter.
    fn publish(&self, form: &str) -> (StatusCode, Json<Value>) {
        let form: BTreeMap<String, String> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        let fields = (form["Action"].as_str(), form["TopicArn"].as_str(), form["MessageStructure"].as_str());
        assert_eq!(fields, ("Publish", TOPIC, "json"));
        if *self.mute.lock().expect("a lock") {
            return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({})));
        }
        let structure: Value = serde_json::from_str(&form["Message"]).expect("JSON");
        let told = serde_json::from_str(structure["https"].as_str().expect("text")).expect("JSON");
        self.told.lock().expect("a lock").push(told);
        (StatusCode::OK, Json(json!({})))
    }

    async fn answer(State(sqs): State<Self>, headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
        if headers.get("x-amz-target").is_some_and(|target| target == "secretsmanager.DescribeSecret") {
            let asked: Value = serde_json::from_str(&body).expect("JSON");
            let arn = asked["SecretId"].as_str().expect("a name");
            let name = arn.split(":secret:").last().expect("a name").trim_end_matches("-AbCdEf");
            // Changed ten seconds before the scene begins.
            let changed = ManualClock::start().now().before(Duration::from_secs(10)).as_seconds();
            return (StatusCode::OK, Json(json!({"ARN": arn, "Name": name, "LastChangedDate": changed})));
        }
        if body.starts_with("Action=") {
            return sqs.publish(&body);
        }
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
    archive: Arc<MemoryBlobs>,
    buckets: Arc<MemoryBuckets>,
    clock: Arc<ManualClock>,
    sqs: Sqs,
}

fn config() -> Config {
    let env = [("ALERT_TOPIC_ARN", TOPIC), ("ARCHIVE_BUCKET", "archive"), ("BACKUP_FILES", "data/, pictures/upload/")];
    Config::from_env(&Env::from(env).with("STAGE", "local")).expect("a valid configuration")
}

async fn kernel(store: &Arc<MemoryStore>, clock: &Arc<ManualClock>) -> Kernel {
    let config = config();
    let (http, clock) = (HttpClient::new(None).expect("TLS"), Arc::clone(clock) as SharedClock);
    Kernel::over(&config.common, http, clock, Arc::clone(store) as _, None).await.expect("a kernel")
}

impl Scene {
    async fn new() -> Self {
        let sqs = Sqs::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let invoked = post(Sqs::invoke);
        let router = Router::new().route("/", post(Sqs::answer));
        let router = router.route("/2015-03-31/functions/{function}/invocations", invoked).with_state(sqs.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::start());
        let mut kernel = kernel(&store, &clock).await;
        kernel.aws = Some(aws_at(&endpoint));
        let (archive, buckets) = (Arc::new(MemoryBlobs::new()), Arc::new(MemoryBuckets::default()));
        let outside = (Arc::clone(&store), Arc::clone(&archive), Arc::clone(&buckets));
        let handler = Handler::over(&kernel, &config(), outside.0, outside.1, outside.2);
        Self { handler: handler.expect("there is AWS"), store, archive, buckets, clock, sqs }
    }

    /// An item on `list` that was due so many seconds ago.
    fn due(&self, key: &str, list: &str, ago: u64) {
        let at = self.clock.now().before(Duration::from_secs(ago)).as_millis();
        let update = Update::of(key).then([Action::Set(DUE, list.into()), Action::Set(NOT_BEFORE, at.into())]);
        self.store.apply(&update);
    }

    async fn send(&self, event: &str) -> Result<Answer, String> {
        answer(&self.handler, &read(event).to_string(), 0).await.map_err(|error| error.to_string())
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
        assert!(answer(&scene.handler, &event.to_string(), 0).await.is_err(), "{event}");
    }
    assert_eq!(answer(&scene.handler, r#"{"sweep": []}"#, 0).await.ok(), Some(Answer::Done(())));
    let kernel = kernel(&scene.store, &scene.clock).await;
    let (archive, buckets) = (scene.archive.clone(), scene.buckets.clone());
    let alone = Handler::over(&kernel, &config(), scene.store.clone(), archive, buckets);
    let alone = alone.err().map(|error| error.to_string());
    assert_eq!(alone.as_deref(), Some("there is nothing to sweep without `TABLE_NAME`"));
}

impl Scene {
    /// What `function` answers of its providers from now on.
    fn is(&self, function: &str, integration: &str, providers: &[(&str, Finding)]) {
        let sight =
            |(name, finding): &(&str, Finding)| ((*name).to_owned(), json!(Sight { finding: *finding, asked: true }));
        let providers: serde_json::Map<String, Value> = providers.iter().map(sight).collect();
        let answer = json!({"integration": integration, "numbers": {"finding": "well"}, "providers": providers});
        self.sqs.functions.lock().expect("a lock").insert(function.to_owned(), answer);
    }

    fn all_are_well(&self) {
        self.is("ieum-dev-verify", "verify", &[("nice", Finding::Well), ("nts", Finding::Well)]);
        self.is("ieum-dev-sms", "sms", &[("solapi", Finding::Well)]);
    }

    /// One check, five minutes after the last.
    async fn check(&self) -> Result<Answer, String> {
        self.clock.advance(PERIOD);
        self.send("check").await
    }

    /// What subscribers were told since the last time they were asked, by subject: of whom, what, since when.
    fn told(&self) -> Vec<(String, String, String)> {
        let text = |told: &Value, name: &str| told[name].as_str().expect("text").to_owned();
        let taken = std::mem::take(&mut *self.sqs.told.lock().expect("a lock"));
        let mut told: Vec<_> =
            taken.iter().map(|told| (text(told, "subject"), text(told, "status"), text(told, "since"))).collect();
        told.sort();
        told
    }

    fn state(&self, subject: &str) -> health::State {
        health::State::from(&self.store.read(&health::key(subject)).expect("a state"))
    }
}

fn tells<const N: usize>(told: [(&str, &str, String); N]) -> Vec<(String, String, String)> {
    told.map(|(subject, status, since)| (subject.to_owned(), status.to_owned(), since)).to_vec()
}

#[tokio::test]
async fn an_outage_is_told_once_for_each_step_with_its_time() {
    let scene = Scene::new().await;
    scene.all_are_well();
    let down = [("nice", Finding::Failing(Reason::TimedOut)), ("nts", Finding::Well)];
    assert_eq!(scene.check().await, Ok(Answer::Done(())));
    assert_eq!(scene.told(), [], "all is well, which is no news");
    assert_eq!(scene.sqs.asked.lock().expect("a lock")[0], json!({"probe": {"paid": false}}));
    assert_eq!(scene.state("verify/nice").status, Status::Healthy);

    scene.is("ieum-dev-verify", "verify", &down);
    scene.check().await.expect("a check");
    let began = scene.clock.now().rfc3339();
    assert_eq!(scene.told(), tells([("verify/nice", "degraded", began)]));
    scene.check().await.expect("a check");
    let worse = scene.clock.now().rfc3339();
    assert_eq!(scene.told(), tells([("verify/nice", "unhealthy", worse)]));
    for _ in 0..3 {
        scene.check().await.expect("a check");
    }
    assert_eq!(scene.told(), [], "nothing new");
    assert_eq!(scene.state("verify/nice").reason, Some(Reason::TimedOut));

    scene.all_are_well();
    scene.check().await.expect("a check");
    let better = scene.clock.now().rfc3339();
    assert_eq!(scene.told(), [], "once is no recovery");
    scene.check().await.expect("a check");
    assert_eq!(scene.told(), tells([("verify/nice", "healthy", better)]));
}

#[tokio::test]
async fn a_silent_function_is_told_of_and_a_checker_that_reaches_nobody_accuses_itself() {
    let scene = Scene::new().await;
    scene.all_are_well();
    scene.sqs.functions.lock().expect("a lock").remove("ieum-dev-sms");
    assert_eq!(scene.check().await, Ok(Answer::Done(())), "the others were checked");
    assert_eq!(scene.told(), tells([("sms", "degraded", scene.clock.now().rfc3339())]));
    assert_eq!(scene.state("sms").reason, Some(Reason::FunctionSilent));

    scene.sqs.functions.lock().expect("a lock").clear();
    scene.check().await.expect("a check");
    let cut_off = scene.clock.now().rfc3339();
    assert_eq!(scene.told(), tells([("checker", "unhealthy", cut_off)]), "and of nobody else");
    assert_eq!(scene.state("verify/nice").status, Status::Healthy);
    scene.all_are_well();
    scene.check().await.expect("a check");
    let back = scene.clock.now().rfc3339();
    scene.check().await.expect("a check");
    assert_eq!(scene.told(), tells([("checker", "healthy", back.clone()), ("sms", "healthy", back)]));
}

#[tokio::test]
async fn what_could_not_be_told_is_told_later() {
    let scene = Scene::new().await;
    scene.all_are_well();
    scene.is("ieum-dev-sms", "sms", &[("solapi", Finding::Down(Reason::CircuitOpen))]);
    *scene.sqs.mute.lock().expect("a lock") = true;
    let failed = scene.check().await;
    let since = scene.clock.now().rfc3339();
    assert_eq!(failed, Err("1 states were not kept or not told".to_owned()));
    assert_eq!(scene.state("sms/solapi").status, Status::Unhealthy);
    *scene.sqs.mute.lock().expect("a lock") = false;
    scene.check().await.expect("a check");
    assert_eq!(scene.told(), tells([("sms/solapi", "unhealthy", since)]), "with the time when it began");
    scene.check().await.expect("a check");
    assert_eq!(scene.told(), []);
}

#[tokio::test]
async fn a_backup_is_made_read_back_and_told_of_when_it_is_not_what_was_written() {
    let scene = Scene::new().await;
    scene.due("message#1", "email", 0);
    scene.due("rate#nice", "none", 0);
    assert_eq!(scene.send("backup").await, Ok(Answer::Done(())));
    let item = scene.store.read("backup#table/daily").expect("it is on record");
    assert_eq!((item.number("items"), item.text("sha256").map(str::len)), (Some(1), Some(64)));
    assert_eq!(scene.send("check-backup").await, Ok(Answer::Done(())));
    assert_eq!(scene.told(), []);

    let part = scene.archive.keys().into_iter().find(|key| key.ends_with(".gz")).expect("a part");
    assert!(part.starts_with("data-archive/table/daily/2026-11-21T"), "{part}");
    let good = scene.archive.get(&part, 1_000).await.expect("it is read").expect("it is there").bytes;
    scene.archive.put(&part, "application/gzip", good.slice(1..)).await.expect("it is put");
    assert!(scene.send("check-backup").await.is_err());
    let since = scene.clock.now().rfc3339();
    assert_eq!(scene.told(), tells([("backup/table/daily", "unhealthy", since)]));
    assert_eq!(scene.state("backup/table/daily").reason, Some(Reason::BackupCorrupt));
    scene.clock.advance(PERIOD);
    assert!(scene.send("check-backup").await.is_err());
    assert_eq!(scene.told(), [], "once");

    scene.clock.advance(PERIOD);
    assert_eq!(scene.send("backup").await, Ok(Answer::Done(())));
    scene.all_are_well();
    scene.check().await.expect("a check");
    assert_eq!(scene.told().len(), 1, "a good one makes it good");
    assert_eq!(scene.state("backup/table/daily").status, Status::Healthy);
}

#[tokio::test]
async fn a_run_that_does_not_come_is_missed_an_hour_later() {
    let scene = Scene::new().await;
    scene.all_are_well();
    scene.check().await.expect("a check");
    // 03:00 in Seoul is 18:00, and the scene begins at 03:50.
    scene.clock.advance(Duration::from_secs(15 * 3_600 - 60));
    scene.check().await.expect("a check");
    assert_eq!(scene.told(), [], "{}: not yet", scene.clock.now());
    scene.check().await.expect("a check");
    scene.check().await.expect("a check");
    let told = scene.told();
    assert_eq!(
        (told.len(), told[0].0.as_str(), told[0].1.as_str()),
        (1, "backup/table/daily", "unhealthy"),
        "{told:?}"
    );
    assert_eq!(scene.state("backup/table/daily").reason, Some(Reason::BackupMissed));
    scene.send("backup").await.expect("it comes after all");
    scene.check().await.expect("a check");
    assert_eq!(scene.told().len(), 1);
    assert_eq!(scene.state("backup/table/daily").status, Status::Healthy);
}

/// Backups of files are made and read back as those of the table are.
#[tokio::test]
async fn files_are_copied_by_what_has_changed_and_read_back() {
    let scene = Scene::new().await;
    let send = async |doing: &str, of: &str| {
        scene.clock.advance(PERIOD);
        let event = json!({doing: {"of": of}});
        answer(&scene.handler, &event.to_string(), 0).await.map_err(|error| error.to_string())
    };
    scene.buckets.put("data", "message/1", "one");
    scene.buckets.put("pictures", "upload/1.jpg", "a picture");
    scene.buckets.put("pictures", "thumbnail/card/1.jpg.webp", "made from it");
    for (of, items, copied) in [("files/daily", 2, 2), ("files/weekly", 3, 3), ("files/daily", 4, 1)] {
        assert_eq!(send("backup", of).await, Ok(Answer::Done(())));
        let item = scene.store.read(&format!("backup#{of}")).expect("it is on record");
        assert_eq!((item.number("items"), item.number("copied")), (Some(items), Some(copied)), "{of}");
        assert_eq!(send("check_backup", of).await, Ok(Answer::Done(())));
        scene.buckets.put("data", &format!("message/after-{items}"), "new");
    }
    assert_eq!(scene.told(), []);
    assert!(scene.archive.keys().iter().all(|key| key.starts_with("data-archive/files/")));

    let copies = scene.buckets.all("archive");
    let (newest, _) = copies.iter().rfind(|(key, _)| key.starts_with("data-archive/files/daily/")).expect("a copy");
    scene.buckets.put("archive", newest, "something else");
    assert!(send("check_backup", "files/daily").await.is_err());
    let since = scene.clock.now().rfc3339();
    assert_eq!(scene.told(), tells([("backup/files/daily", "unhealthy", since)]));
    assert_eq!(scene.state("backup/files/daily").reason, Some(Reason::BackupCorrupt));
}

#[tokio::test]
async fn a_backup_that_nobody_has_read_back_is_told_of() {
    let scene = Scene::new().await;
    scene.all_are_well();
    scene.check().await.expect("a check");
    // Backups are due from 18:00 to 19:30, 03:00 to 04:30 in Seoul, the first is read back at 20:00, and the scene begins at 03:50.
    scene.clock.advance(Duration::from_secs(15 * 3_600 + 25 * 60));
    for (of, minutes) in [("table/daily", 0), ("table/weekly", 0), ("files/daily", 20), ("files/weekly", 70)] {
        answer(&scene.handler, &json!({"backup": {"of": of}}).to_string(), 0).await.expect("it is made");
        scene.clock.advance(Duration::from_secs(minutes * 60));
    }
    scene.check().await.expect("a check");
    assert_eq!(scene.told(), [], "{}: not yet", scene.clock.now());
    for _ in 0..4 {
        scene.check().await.expect("a check");
    }
    let told = scene.told();
    let told: Vec<(&str, &str)> = told.iter().map(|(subject, status, _)| (subject.as_str(), status.as_str())).collect();
    assert_eq!(told, [("backup/table/daily", "unhealthy")], "{}", scene.clock.now());
    assert_eq!(scene.state("backup/table/daily").reason, Some(Reason::BackupUnread));
    scene.send("check-backup").await.expect("it is read back after all");
    scene.check().await.expect("a check");
    assert_eq!(scene.told().len(), 1);
    assert_eq!(scene.state("backup/table/daily").status, Status::Healthy);
}

#[tokio::test]
async fn each_check_says_how_old_the_backups_are_and_since_when_nobody_has_read_them_back() {
    let (scene, written) = (Scene::new().await, Captured::default());
    let clock = Arc::clone(&scene.clock) as SharedClock;
    let _written = tracing::dispatcher::set_default(&written.dispatch(LevelSwitch::default(), &[], clock));
    scene.all_are_well();
    scene.check().await.expect("a check, from which on both are waited for");
    scene.clock.advance(Duration::from_secs(3_600));
    assert_eq!(scene.send("backup").await, Ok(Answer::Done(())));
    scene.check().await.expect("a check");
    let lines = written.lines();
    let ages: Vec<_> = lines.iter().filter(|line| line["message"] == "backup.age").collect();
    let [.., daily, weekly, _, _] = &ages[..] else { panic!("{lines:?}") };
    let said = |line: &BTreeMap<String, Value>| {
        (line["integration"].clone(), line["backup_age_seconds"].clone(), line["backup_read_age_seconds"].clone())
    };
    assert_eq!(said(daily), (json!("table/daily"), json!(300), json!(3_900)));
    assert_eq!(said(weekly), (json!("table/weekly"), json!(3_900), json!(3_900)));
    assert!(daily.contains_key("_aws"), "they are metrics");
}

#[tokio::test]
async fn a_backup_nobody_knows_is_an_error() {
    let scene = Scene::new().await;
    for event in [json!({"backup": {"of": "table/hourly"}}), json!({"check_backup": {"of": "everything"}})] {
        assert!(answer(&scene.handler, &event.to_string(), 0).await.is_err());
    }
    assert!(scene.archive.keys().is_empty());
}

#[tokio::test]
async fn a_secret_is_spoken_of_after_ninety_days() {
    let scene = Scene::new().await;
    scene.send("secrets").await.expect("secrets are looked at");
    assert_eq!(scene.told(), [], "they are new");
    scene.clock.advance(Duration::from_secs(90 * 24 * 3_600));
    scene.send("secrets").await.expect("secrets are looked at");
    let since = scene.clock.now().rfc3339();
    let [one, other] = ["secret/ieum/dev/ieum", "secret/ieum/dev/nice"].map(|name| (name, "degraded", since.clone()));
    assert_eq!(scene.told(), tells([one, other]));
    scene.clock.advance(Duration::from_secs(24 * 3_600));
    scene.send("secrets").await.expect("secrets are looked at");
    assert_eq!(scene.told(), [], "once");
}
