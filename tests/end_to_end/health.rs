//! Knowing first, and a backup that restores: on the deployed system, told through a real topic, kept in a real bucket.
//!
//! The five minutes between two checks, and the nights between two backups, are not waited for: the function is called with
//! the events of its schedules, which the contract test reads in the template.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use ieum::aws::s3::{Place, Writing};
use ieum::backup::files::{Buckets, S3Buckets, conformance as conformance_of_files};
use ieum::backup::{self, BATCH, Whole, conformance, latest};
use ieum::blobs::{Blobs, conformance as conformance_of_blobs};
use ieum::clock::{Clock, SystemClock};
use ieum::store::{Action, Item, Key, Read as StoreRead, Store, Update, Value as Scalar};
use ieum::testing::aws_at;
use serde_json::{Value, json};

use super::client::{eventually, within};
use super::store::table;
use super::{Stage, binary};

const DAILY: &str = "table/daily";

/// Everybody who subscribed, as a queue.
struct Subscriber {
    queue: String,
    told: Vec<Value>,
}

impl Subscriber {
    async fn new(stage: &Stage, name: &str) -> Self {
        let made = stage.client.aws("sqs", "AmazonSQS.CreateQueue", json!({"QueueName": name})).await;
        let queue = made["QueueUrl"].as_str().unwrap().to_owned();
        let wanted = json!({"QueueUrl": queue, "AttributeNames": ["QueueArn"]});
        let attributes = stage.client.aws("sqs", "AmazonSQS.GetQueueAttributes", wanted).await;
        let endpoint = attributes["Attributes"]["QueueArn"].as_str().unwrap();
        let topic = stage.system.reference("AlertTopic").unwrap();
        stage.client.subscribe(topic, "sqs", endpoint).await;
        Self { queue, told: Vec::new() }
    }

    /// Takes what has come and shows what was told of `subject` so far: the status and since when.
    async fn told_of(&mut self, stage: &Stage, subject: &str) -> Vec<(String, String)> {
        loop {
            let wanted = json!({"QueueUrl": self.queue, "MaxNumberOfMessages": 10});
            let answer = stage.client.aws("sqs", "AmazonSQS.ReceiveMessage", wanted).await;
            let Some(messages) = answer["Messages"].as_array().filter(|messages| !messages.is_empty()) else { break };
            for message in messages {
                let envelope: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
                self.told.push(serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap());
                let receipt = json!({"QueueUrl": self.queue, "ReceiptHandle": message["ReceiptHandle"]});
                stage.client.aws("sqs", "AmazonSQS.DeleteMessage", receipt).await;
            }
        }
        let text = |told: &Value, name: &str| told[name].as_str().unwrap().to_owned();
        let of = self.told.iter().filter(|told| told["subject"] == subject);
        of.map(|told| (text(told, "status"), text(told, "since"))).collect()
    }
}

/// The event of the schedule, with the names of this deployment.
fn check(stage: &Stage) -> Value {
    let function = |(integration, id): (&str, &str)| json!({"integration": integration, "function": stage.system.reference(id).unwrap()});
    let functions = [
        ("verify", "VerifyFunction"),
        ("address", "AddressFunction"),
        ("email", "EmailFunction"),
        ("sms", "SmsFunction"),
        ("payment", "PaymentWebhookFunction"),
    ];
    json!({"check": {"functions": functions.map(function), "paid": false}})
}

async fn checked(stage: &Stage) {
    let answer = stage.system.invoke("HealthCronFunction", &check(stage)).await.unwrap();
    assert_eq!(answer, Ok(Value::Null));
}

/// Lets it look as if nobody had called NICE for a while.
async fn nice_is_idle(stage: &Stage) {
    let store = table(stage);
    store.update(&Update::of("rate#nice").then([Action::Set("tat", 0.into())])).await.unwrap();
    let closed = [Action::Set("state", "closed".into()), Action::Set("failures", 0.into())];
    store.update(&Update::of("breaker#nice").then(closed)).await.unwrap();
}

pub(crate) async fn an_outage_is_told_once_for_each_step(stage: &mut Stage) {
    let mut subscriber = Subscriber::new(stage, "alerts-outage").await;
    let shown = async |stage: &Stage| {
        let answer = stage.client.raw("GET", "/v1/health/verify", &[], "").await;
        answer.body["providers"][0].clone()
    };
    nice_is_idle(stage).await;
    within(Duration::from_secs(60), "all is well at first", async || {
        checked(stage).await;
        (shown(stage).await["status"] == "healthy").then_some(())
    })
    .await;
    subscriber.told_of(stage, "verify/nice").await;
    subscriber.told.clear();

    stage.client.sandbox("nice", json!({"mode": "down"})).await;
    let began = SystemClock.now();
    checked(stage).await;
    let degraded = shown(stage).await;
    assert_eq!((&degraded["status"], &degraded["reason"]), (&json!("degraded"), &json!("unreachable")), "{degraded}");
    checked(stage).await;
    let unhealthy = shown(stage).await;
    assert_eq!(unhealthy["status"], "unhealthy", "{unhealthy}");
    checked(stage).await;
    stage.client.sandbox("nice", json!({"mode": "ok"})).await;
    let ended = SystemClock.now();
    checked(stage).await;
    assert_eq!(shown(stage).await["status"], "unhealthy", "once is no recovery");
    checked(stage).await;
    let healthy = shown(stage).await;
    assert_eq!(healthy["status"], "healthy", "{healthy}");

    let told = eventually("the subscriber has heard it", async || {
        let told = subscriber.told_of(stage, "verify/nice").await;
        (told.len() >= 3).then_some(told)
    })
    .await;
    let statuses: Vec<&str> = told.iter().map(|(status, _)| status.as_str()).collect();
    assert_eq!(statuses, ["degraded", "unhealthy", "healthy"], "each once");
    assert_eq!([&told[0].1, &told[1].1, &told[2].1], [&degraded["since"], &unhealthy["since"], &healthy["since"]]);
    let (first, second, third) = (told[0].1.clone(), told[1].1.clone(), told[2].1.clone());
    // The store's clock is a second off at most.
    let early = began.before(Duration::from_secs(1)).rfc3339();
    let after = ended.before(Duration::from_secs(1)).rfc3339();
    assert!(
        early <= first && first <= second && second < third && after <= third,
        "{told:?}, outage {early} to {after}"
    );
}

pub(crate) async fn an_idle_day_costs_nothing(stage: &mut Stage) {
    let providers = ["nice", "nts", "juso", "kakao", "sendgrid", "smtp", "solapi", "twilio"];
    nice_is_idle(stage).await;
    let began = Instant::now();
    for _ in 0..288 {
        checked(stage).await;
    }
    for provider in providers {
        assert_eq!(stage.client.calls(provider).await, 0, "{provider}");
    }
    for integration in ["verify", "address", "email", "sms", "payment"] {
        let answer = stage.client.raw("GET", &format!("/v1/health/{integration}"), &[], "").await;
        let providers = answer.body["providers"].as_array().unwrap();
        assert!(providers.len() > 1, "{}", answer.body);
        for provider in providers {
            assert!(provider["since"].is_string(), "it was asked: {provider}");
            // Another check may have spent a quota: then nobody is asked, and that is told.
            let asked_or_waiting = provider["status"] == "healthy" || provider["reason"] == "throttled";
            assert!(asked_or_waiting, "{integration}: {provider}");
        }
    }
    let tokens = stage.client.counted("nice").await["token_calls"].clone();
    println!(
        "288 checks in {:.0} s; NICE was asked for {tokens} tokens, which are free",
        began.elapsed().as_secs_f64()
    );
}

pub(crate) async fn a_backup_missed_is_told(stage: &mut Stage) {
    let mut subscriber = Subscriber::new(stage, "alerts-missed").await;
    backed_up(stage).await;
    for _ in 0..2 {
        checked(stage).await;
    }
    let store = table(stage);
    let days_ago = SystemClock.now().before(Duration::from_secs(3 * 86_400)).as_millis();
    let update = Update::of(format!("backup#{DAILY}"))
        .then([Action::Set("ended_at", days_ago.into()), Action::Set("watched_since", days_ago.into())]);
    store.update(&update).await.unwrap();
    checked(stage).await;
    checked(stage).await;
    let subject = format!("backup/{DAILY}");
    let told = eventually("it is told", async || {
        let told = subscriber.told_of(stage, &subject).await;
        (!told.is_empty()).then_some(told)
    })
    .await;
    assert_eq!((told.len(), told[0].0.as_str()), (1, "unhealthy"));
    assert_eq!(subscriber.told.iter().find(|told| told["subject"] == *subject).unwrap()["reason"], "backup_missed");
    backed_up(stage).await;
    asked(stage, "check_backup", DAILY).await;
    checked(stage).await;
    let told = eventually("it is well again", async || {
        let told = subscriber.told_of(stage, &subject).await;
        (told.len() > 1).then_some(told)
    })
    .await;
    assert_eq!((told.len(), told[1].0.as_str()), (2, "healthy"));
}

async fn backed_up(stage: &Stage) {
    asked(stage, "backup", DAILY).await;
}

/// Has a backup made or read back.
async fn asked(stage: &Stage, doing: &str, of: &str) {
    let answer = stage.system.invoke("BackupFunction", &json!({doing: {"of": of}})).await.unwrap();
    assert_eq!(answer, Ok(Value::Null), "{doing} {of}");
}

pub(crate) async fn a_corrupted_backup_is_found(stage: &mut Stage) {
    let mut subscriber = Subscriber::new(stage, "alerts-corrupt").await;
    let subject = format!("backup/{DAILY}");
    table(stage).put_all(&[("restored#one".to_owned(), Item::default())]).await.unwrap();
    backed_up(stage).await;
    let read_back = json!({"check_backup": {"of": DAILY}});
    asked(stage, "check_backup", DAILY).await;
    subscriber.told_of(stage, &subject).await;
    let before = subscriber.told.len();

    let archive = aws_at(stage.system.aws_url()).blobs(stage.system.reference("ArchiveBucket").unwrap());
    let manifest = backup::manifest(&archive, &latest(DAILY)).await.unwrap();
    let part = &manifest.parts[0].key;
    let mut bytes = archive.get(part, 1 << 26).await.unwrap().unwrap().bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    archive.put(part, "application/gzip", bytes.into()).await.unwrap();
    assert!(stage.system.invoke("BackupFunction", &read_back).await.unwrap().is_err());
    eventually("it is told", async || {
        let told = subscriber.told_of(stage, &subject).await;
        told.last().is_some_and(|(status, _)| status == "unhealthy").then_some(())
    })
    .await;
    assert!(subscriber.told.len() > before);
    assert_eq!(subscriber.told.last().unwrap()["reason"], "backup_corrupt");
    backed_up(stage).await;
    asked(stage, "check_backup", DAILY).await;
    checked(stage).await;
}

pub(crate) async fn what_is_wiped_is_restored_item_by_item(stage: &mut Stage) {
    wiped_and_restored(stage, "restored#few#", 2_000).await;
}

pub(crate) async fn a_hundred_thousand_items_are_restored_in_bounded_memory(stage: &mut Stage) {
    wiped_and_restored(stage, "restored#many#", 100_000).await;
}

async fn wiped_and_restored(stage: &mut Stage, prefix: &str, count: i64) {
    let store = table(stage);
    let item = |number: i64| {
        let text = format!("이음 {:x} \"{number}\"", number.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed()));
        let attributes = [("n", Scalar::Number(number)), ("text", Scalar::Text(text))];
        Item(attributes.map(|(name, value)| (name.to_owned(), value)).into())
    };
    let items: Vec<(Key, Item)> = (0..count).map(|number| (format!("{prefix}{number:06}"), item(number))).collect();
    let began = Instant::now();
    for batch in items.chunks(BATCH) {
        store.put_all(batch).await.unwrap();
    }
    let filled = began.elapsed();
    let began = Instant::now();
    backed_up(stage).await;
    let made = began.elapsed();
    let peak = stage.system.environments("BackupFunction").unwrap().into_iter().filter_map(peak_kb).max();

    let name = stage.system.reference("Table").unwrap().to_owned();
    for batch in items.chunks(BATCH) {
        let delete = |(key, _): &(Key, Item)| json!({"DeleteRequest": {"Key": {"pk": {"S": key}}}});
        let requests: Vec<Value> = batch.iter().map(delete).collect();
        let body = json!({"RequestItems": {name.clone(): requests}});
        stage.client.aws("dynamodb", "DynamoDB_20120810.BatchWriteItem", body).await;
    }
    assert!(conformance::all(&store, prefix).await.is_empty(), "wiped");

    let restore = |more: &[&str]| restored(stage, &[&["--table", &name, "--prefix", prefix], more].concat());
    let said = restore(&["--dry-run"]);
    assert!(said.starts_with(&format!("{count} of ")) && said.contains("would be put back"), "{said}");
    assert!(conformance::all(&store, prefix).await.is_empty(), "a dry run puts nothing");
    let began = Instant::now();
    let said = restore(&[]);
    assert!(said.starts_with(&format!("{count} of ")) && said.contains("are back"), "{said}");
    let restored = began.elapsed();
    let expected: BTreeMap<Key, Item> = items.into_iter().collect();
    assert!(conformance::all(&store, prefix).await == expected, "item by item");
    println!(
        "{count} items: put {:.1} s, backup {:.1} s, restore {:.1} s, peak of the function {peak:?} kB",
        filled.as_secs_f64(),
        made.as_secs_f64(),
        restored.as_secs_f64(),
    );
    // What lies in the function's memory: 512 MB it may have.
    assert!(peak.is_none_or(|peak| peak < 200 * 1024), "{peak:?} kB");
}

/// Of two people who got a mail each, one is forgotten. What the backup from before still has stays away.
pub(crate) async fn a_person_is_forgotten_and_stays_so_after_a_restore(stage: &mut Stage) {
    let client = stage.client.clone();
    let mut ids = Vec::new();
    for to in ["forget-me@example.kr", "remember-me@example.kr"] {
        let mail = json!({
            "to": {"address": to, "name": "홍길동"},
            "template": "notification",
            "variables": {"title": "공지", "message": "안녕하세요."},
            "attachments": [{"name": "a.csv", "content": "YQ=="}],
        });
        let accepted = client.send("POST", "/v1/emails", Some(mail)).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text);
        ids.push(accepted.body["id"].as_str().unwrap().to_owned());
    }
    let status = async |id: &str| {
        let answer = client.get(&format!("/v1/emails/{id}")).await;
        (answer.status, answer.body["status"].as_str().unwrap_or_default().to_owned())
    };
    for id in &ids {
        eventually("it is sent", async || (status(id).await.1 == "sent").then_some(())).await;
    }
    backed_up(stage).await;

    let forget = ["forget", "--stage", "local", "--email", "Forget-Me@example.kr"];
    let said = xtask(stage, &forget);
    assert!(said.contains("message: 1 would be taken away") && said.contains("buckets: 1 would be"), "{said}");
    assert_eq!(status(&ids[0]).await.0, 200, "nothing was");
    let said = xtask(stage, &[&forget[..], &["--yes"]].concat());
    assert!(said.contains("message: 1 taken away"), "{said}");
    assert_eq!((status(&ids[0]).await.0, status(&ids[1]).await.0), (404, 200));
    let bucket = aws_at(stage.system.aws_url()).blobs(stage.system.reference("Bucket").unwrap());
    for (id, there) in ids.iter().zip([false, true]) {
        let file = bucket.get(&format!("attachment/{id}-0"), 100).await.unwrap();
        assert_eq!(file.is_some(), there, "{id}");
    }

    let said = restored(stage, &["--table", stage.system.reference("Table").unwrap(), "--prefix", "message#"]);
    assert!(said.contains("1 were forgotten since and stay away"), "{said}");
    assert_eq!((status(&ids[0]).await.0, status(&ids[1]).await.0), (404, 200));
}

/// What `cargo xtask restore` says, of the archive of this deployment.
fn restored(stage: &Stage, arguments: &[&str]) -> String {
    let archive = stage.system.reference("ArchiveBucket").unwrap();
    xtask(stage, &[&["restore", "--bucket", archive], arguments].concat())
}

/// What `cargo xtask` says, run as a person does.
fn xtask(stage: &Stage, arguments: &[&str]) -> String {
    let mut command = Command::new(binary("xtask"));
    command.args(arguments);
    command.env("AWS_ENDPOINT_URL", stage.system.aws_url()).env("AWS_REGION", "ap-northeast-2");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) async fn files_that_are_gone_come_back_as_they_were_on_each_day(stage: &mut Stage) {
    let s3 = aws_at(stage.system.aws_url()).s3();
    let buckets = aws_at(stage.system.aws_url()).buckets();
    let data = stage.system.reference("Bucket").unwrap();
    let place = |key: &str| Place { bucket: data.to_owned(), key: key.to_owned() };
    let put = async |key: &str, bytes: Vec<u8>| {
        let writing = Writing { content_type: "text/x-ieum".to_owned(), bytes: bytes.into(), ..Writing::default() };
        s3.put(&place(key), writing).await.unwrap();
    };
    conformance_of_blobs::check(&aws_at(stage.system.aws_url()).blobs(data)).await;
    conformance_of_files::check(&buckets, data, async |key, bytes| put(key, bytes).await).await;

    let folder = "email-templates/restored/";
    let name = |number: u32| format!("{folder}이음 {number:04}+%20.html");
    let contents = |number: u32, day: &str| format!("{day} {number}").repeat(2_000).into_bytes();
    let lying = async || -> BTreeMap<String, String> {
        let mut lying = BTreeMap::new();
        for object in buckets.list(data, folder, None).await.unwrap() {
            let place = place(&object.key);
            lying.insert(object.key, buckets.fingerprint(&place).await.unwrap().unwrap().sha256);
        }
        lying
    };
    for number in 0..300 {
        put(&name(number), contents(number, "sunday")).await;
    }
    let began = Instant::now();
    asked(stage, "backup", "files/weekly").await;
    asked(stage, "check_backup", "files/weekly").await;
    let full = began.elapsed();
    let sunday = lying().await;

    put(&name(7), contents(7, "monday")).await;
    put(&name(300), contents(300, "monday")).await;
    s3.delete(&place(&name(8)), None).await.unwrap();
    let before = archived(stage, &buckets).await;
    asked(stage, "backup", "files/daily").await;
    asked(stage, "check_backup", "files/daily").await;
    let monday = lying().await;
    let item = table(stage).get("backup#files/daily", StoreRead::Consistent).await.unwrap().unwrap();
    let (items, copied) = (item.number("items").unwrap(), item.number("copied").unwrap());
    assert!((2..10).contains(&copied), "{copied} of {items} are copied, ours and perhaps a mail");
    let copies = archived(stage, &buckets).await - before - 2;
    assert_eq!(i64::try_from(copies).unwrap(), copied, "each once, beside a catalogue and its manifest");

    for (of, expected) in [("files/weekly", sunday), ("files/daily", monday)] {
        for key in lying().await.into_keys() {
            s3.delete(&place(&key), None).await.unwrap();
        }
        let prefix = format!("{data}/{folder}");
        let count = expected.len();
        let said = restored(stage, &["--of", of, "--prefix", &prefix, "--dry-run"]);
        assert!(said.starts_with(&format!("{count} of ")) && said.contains("would be put back"), "{said}");
        assert!(lying().await.is_empty(), "a dry run puts nothing");
        restored(stage, &["--of", of, "--prefix", &prefix]);
        assert!(lying().await == expected, "{of}: file by file");
    }
    let back = s3.head(&place(&name(7))).await.unwrap().unwrap();
    assert_eq!(back.content_type.as_deref(), Some("text/x-ieum"), "as what it was");
    println!("{items} files: all copied and read back in {:.1} s, {copied} of them the next day", full.as_secs_f64());
}

/// How many objects there are in the archive of what is kept daily.
async fn archived(stage: &Stage, buckets: &S3Buckets) -> usize {
    let (mut count, mut after) = (0, None);
    loop {
        let bucket = stage.system.reference("ArchiveBucket").unwrap();
        let listed = buckets.list(bucket, "data-archive/files/daily/2", after.as_deref()).await.unwrap();
        let Some(last) = listed.last() else { return count };
        (count, after) = (count + listed.len(), Some(last.key.clone()));
    }
}

/// The most memory that a process has had.
fn peak_kb(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
}
