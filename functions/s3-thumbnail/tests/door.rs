//! `s3-thumbnail` through its own door: what S3 and SQS send in, thumbnails, records and dead letters out.
//!
//! Each test begins with a file in `events/`, the same that `cargo lambda invoke --data-file` takes.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use ieum::aws::s3::{Place, Writing};
use ieum::clock::SharedClock;
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::provider::Cause;
use ieum::runtime::answer;
use ieum::start::Kernel;
use ieum::store::{Item, MemoryStore, Read, Store};
use ieum::testing::{ManualClock, door};
use s3_thumbnail::dead_letters::MemoryDeadLetters;
use s3_thumbnail::handler::MARK;
use s3_thumbnail::objects::{Facts, MemoryObjects, Objects, Wanted};
use s3_thumbnail::{Config, Handler, record};
use serde_json::{Value, json};

const BUCKET: &str = "ieum-dev-pictures-123456789012";

/// A rocket's start, by SpaceX, in the public domain.
const PHOTOGRAPH: &[u8] = include_bytes!("pictures/rocket.jpg");

/// A bucket of which one object cannot be reached, and another changes when it is first looked at.
#[derive(Debug, Default)]
struct Bucket {
    objects: MemoryObjects,
    reads: AtomicUsize,
    writes: AtomicUsize,
}

#[async_trait::async_trait]
impl Objects for Bucket {
    async fn read(&self, place: &Place, wanted: Wanted<'_>) -> Result<Option<(Facts, Option<Bytes>)>, Cause> {
        if place.key.contains("unreachable") {
            return Err("the bucket did not answer".into());
        }
        let read = self.objects.read(place, wanted).await?;
        if self.reads.fetch_add(1, Ordering::Relaxed) == 0 && place.key.contains("changing") {
            self.objects.put(place, PHOTOGRAPH.to_vec().into(), BTreeMap::new());
        }
        Ok(read)
    }

    async fn etag(&self, place: &Place) -> Result<Option<String>, Cause> {
        self.objects.etag(place).await
    }

    async fn write(&self, place: &Place, writing: Writing) -> Result<(), Cause> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.objects.write(place, writing).await
    }
}

struct Door {
    bucket: Arc<Bucket>,
    dead_letters: Arc<MemoryDeadLetters>,
    store: Arc<MemoryStore>,
    handler: Handler,
}

impl Door {
    async fn open() -> Self {
        Self::with(&Env::from([("STAGE", "local"), ("THUMBNAIL_VARIANTS", "card=300x200;square=64x64,jpeg,q70")])).await
    }

    async fn with(env: &Env) -> Self {
        let config = env.read(Config::read).expect("a configuration");
        let clock: SharedClock = ManualClock::start();
        let store = Arc::new(MemoryStore::new());
        let http = HttpClient::new(None).expect("a client");
        let kernel = Kernel::over(&config.common, http, clock, store.clone(), None).await.expect("a kernel");
        let (bucket, dead_letters) = (Arc::<Bucket>::default(), Arc::<MemoryDeadLetters>::default());
        let handler = Handler::new(&config, &kernel, bucket.clone(), dead_letters.clone());
        Self { bucket, dead_letters, store, handler }
    }

    fn put(&self, key: &str, bytes: &[u8], metadata: &[(&str, &str)]) {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.bucket.objects.put(&place(key), bytes.to_vec().into(), metadata);
    }

    async fn send(&self, event: Value) -> Result<Value, Cause> {
        let answer = answer(&self.handler, &event.to_string(), 0).await?;
        Ok(serde_json::to_value(answer)?)
    }

    /// The keys of all thumbnails.
    fn thumbnails(&self) -> Vec<String> {
        self.bucket.objects.keys().into_iter().filter(|key| key.starts_with("thumbnail/")).collect()
    }

    async fn item(&self, key: &str) -> Option<Item> {
        self.store.get(&record::key(&place(key)), Read::Consistent).await.expect("the store")
    }

    fn writes(&self) -> usize {
        self.bucket.writes.load(Ordering::Relaxed)
    }
}

fn place(key: &str) -> Place {
    Place { bucket: BUCKET.to_owned(), key: key.to_owned() }
}

/// `events/s3-thumbnail-{name}.json`.
fn event(name: &str) -> Value {
    door::event("s3-thumbnail", name)
}

/// A notification about `key`, as S3 sends it.
fn put_event(key: &str) -> Value {
    let mut event = event("direct");
    event["Records"][0]["s3"]["object"]["key"] = key.into();
    event
}

const KOREAN: &str = "upload/2026/한글 사진 1+1.jpg";

#[tokio::test]
async fn a_picture_gets_its_thumbnails_and_all_that_is_known_of_them() {
    let door = Door::open().await;
    door.put(KOREAN, PHOTOGRAPH, &[]);
    assert_eq!(door.send(event("direct")).await.expect("done"), Value::Null);
    let card = "thumbnail/card/2026/한글 사진 1+1.jpg.webp";
    assert_eq!(door.thumbnails(), [card, "thumbnail/square/2026/한글 사진 1+1.jpg.jpg"]);
    let stored = door.bucket.objects.found(&place(card)).expect("a thumbnail");
    let writing = stored.writing.expect("written by the function");
    assert_eq!(
        (writing.content_type.as_str(), writing.cache_control.as_deref()),
        ("image/webp", Some("public, max-age=86400"))
    );
    let metadata = &writing.metadata;
    assert_eq!(
        (metadata[MARK].as_str(), metadata["ieum-width"].as_str(), metadata["ieum-height"].as_str()),
        ("card", "300", "200")
    );
    assert!(metadata.values().all(|value| value.is_ascii()), "S3 takes ASCII only: {metadata:?}");
    let item = door.item(KOREAN).await.expect("a record");
    let made = record::made(&item).expect("thumbnails");
    assert_eq!((made[0].key.as_str(), made[0].width, made[0].bytes), (card, 300, stored.bytes.len() as u64));
    assert_eq!((made[1].content_type.as_str(), made[1].width, made[1].height), ("image/jpeg", 64, 64));
    assert_eq!((item.text("object"), item.text("etag")), (Some(KOREAN), Some(metadata["ieum-source-etag"].as_str())));
    assert_eq!(made[0].colour, metadata["ieum-colour"]);
    assert!(door.dead_letters.all().is_empty());
}

#[tokio::test]
async fn of_a_batch_only_what_failed_comes_again() {
    let door = Door::open().await;
    door.put("upload/rocket.jpg", PHOTOGRAPH, &[]);
    door.put("upload/cut.jpg", &PHOTOGRAPH[..20_000], &[]);
    door.put("upload/notes.txt", b"buy more film\n", &[]);
    let answer = door.send(event("queue")).await.expect("an answer");
    let mut again: Vec<&str> = answer["batchItemFailures"]
        .as_array()
        .expect("failures")
        .iter()
        .filter_map(|failure| failure["itemIdentifier"].as_str())
        .collect();
    again.sort_unstable();
    // The one that is no notification, and the one whose bucket did not answer.
    assert_eq!(again, ["059f36b4-87a3-44ab-83d2-661970000004", "059f36b4-87a3-44ab-83d2-661970000005"]);
    assert_eq!(door.thumbnails(), ["thumbnail/card/rocket.jpg.webp", "thumbnail/square/rocket.jpg.jpg"]);
    // The poison is out of the way, with its cause.
    let letters = door.dead_letters.all();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["cause"]["reason"], "broken");
    assert!(letters[0]["cause"]["message"].as_str().expect("a message").starts_with("the picture is broken: "));
    assert_eq!(letters[0]["Records"][0]["s3"]["object"]["key"], "upload/cut.jpg");
    assert_eq!(door.item("upload/notes.txt").await.expect("a record").text("reason"), Some("not_a_picture"));
}

#[tokio::test]
async fn a_dead_letter_that_is_sent_back_is_worked_on() {
    let door = Door::open().await;
    door.put("upload/cut.jpg", &PHOTOGRAPH[..20_000], &[]);
    door.send(put_event("upload/cut.jpg")).await.expect("done");
    let letter = door.dead_letters.all().remove(0);
    // Nothing has changed: there is nothing to do, and no second letter.
    door.send(letter.clone()).await.expect("done");
    assert_eq!(door.dead_letters.all().len(), 1);
    door.put("upload/cut.jpg", PHOTOGRAPH, &[]);
    door.send(letter).await.expect("done");
    assert_eq!(door.thumbnails().len(), 2);
    assert_eq!(door.item("upload/cut.jpg").await.expect("a record").text("reason"), None);
}

#[tokio::test]
async fn the_same_again_costs_one_look() {
    let door = Door::open().await;
    door.put(KOREAN, PHOTOGRAPH, &[]);
    for _ in 0..3 {
        door.send(event("direct")).await.expect("done");
    }
    assert_eq!(door.writes(), 2);
    // Another content, or another wish about the same content, is not the same.
    door.put(KOREAN, PHOTOGRAPH, &[("focus", "10,90")]);
    door.send(event("direct")).await.expect("done");
    assert_eq!(door.writes(), 4);
    door.put(KOREAN, include_bytes!("pictures/interlaced.png"), &[]);
    door.send(event("direct")).await.expect("done");
    assert_eq!(door.writes(), 6);
}

#[tokio::test]
async fn a_picture_that_changes_meanwhile_gets_the_thumbnails_of_its_newest_content() {
    let door = Door::open().await;
    door.put("upload/changing.jpg", include_bytes!("pictures/interlaced.png"), &[]);
    door.send(put_event("upload/changing.jpg")).await.expect("done");
    let newest = door.bucket.etag(&place("upload/changing.jpg")).await.expect("an answer").expect("an object");
    assert_eq!(door.item("upload/changing.jpg").await.expect("a record").text("etag"), Some(newest.as_str()));
    let card = door.bucket.objects.found(&place("thumbnail/card/changing.jpg.webp")).expect("a thumbnail");
    assert_eq!(card.facts.metadata["ieum-width"], "300");
    assert_eq!(card.facts.metadata["ieum-source-etag"], newest);
}

#[tokio::test]
async fn thumbnails_have_no_thumbnails() {
    let door = Door::open().await;
    door.put("thumbnail/card/rocket.jpg.webp", PHOTOGRAPH, &[]);
    // Somebody has copied a thumbnail to where pictures are.
    door.put("upload/copied.webp", PHOTOGRAPH, &[(MARK, "card")]);
    door.send(event("thumbnail")).await.expect("done");
    assert_eq!((door.writes(), door.thumbnails().len()), (0, 1));
}

#[tokio::test]
async fn what_needs_no_thumbnails_is_passed_over() {
    let door = Door::open().await;
    assert_eq!(door.send(event("test-event")).await.expect("an answer"), json!({"batchItemFailures": []}));
    for key in ["upload/", "upload/2026/", "elsewhere/a.jpg", "upload/gone.jpg"] {
        door.send(put_event(&key.replace('/', "%2F"))).await.expect("done");
    }
    assert_eq!(door.writes(), 0);
    assert!(door.dead_letters.all().is_empty());
    let failed = door.send(put_event("upload/unreachable.jpg")).await.expect_err("S3 calls again");
    assert_eq!(failed.to_string(), "the bucket did not answer");
    assert!(door.send(json!({"Records": [{"eventSource": "aws:sns"}]})).await.is_err());
}

#[tokio::test]
async fn what_is_too_long_is_not_even_read() {
    let env = Env::from([("STAGE", "local"), ("THUMBNAIL_MAX_BYTES", "100000")]);
    let door = Door::with(&env).await;
    door.put(KOREAN, PHOTOGRAPH, &[]);
    door.send(event("direct")).await.expect("done");
    let letters = door.dead_letters.all();
    assert_eq!(letters[0]["cause"]["reason"], "too_large");
    assert_eq!(letters[0]["cause"]["message"], "the picture has 112525 bytes; at most 100000 are allowed");
}

#[test]
fn every_event_of_this_function_is_sent_by_a_test() {
    assert_eq!(door::unsent("s3-thumbnail", &[include_str!("door.rs")]), Vec::<String>::new());
}
