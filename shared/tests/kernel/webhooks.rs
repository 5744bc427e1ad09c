//! Webhooks as they must survive: killed at every await point of receiving, processing and publishing, woken twice, late,
//! never and out of order, with a store that does not always answer and a bus that does not always take.
//!
//! What is held against it: what was answered with 200 has its effect; each effect is published under one id; and it is
//! published twice only when somebody was killed, or not told, in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue};
use ieum::blobs::Blobs;
use ieum::clock::SharedClock;
use ieum::delivery::inbox::{self, Status, Webhook};
use ieum::delivery::outbox::{self, Change, Effect, Outbox};
use ieum::delivery::webhooks::{Arrival, Done, Handler, Processed, Receipt, Standing, Stored, Trouble, Webhooks};
use ieum::error::ApiError;
use ieum::events::{CloudEvent, Publisher};
use ieum::provider::Cause;
use ieum::secrets::SecretString;
use ieum::store::{Action, Item, MemoryStore, Store, StoreError};
use ieum::testing::TokioClock;
use ieum::webhook::{BodyHmac, Hint, LiveSecrets, Received, Verifier};
use ring::hmac;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::delivery::{Shelf, Steps, Wakes, killed_after};
use crate::support::{ms, secs};

const LIST: &str = "test-webhooks";
const EVENTS: &str = "test-events";
const SCHEME: BodyHmac = BodyHmac { name: "test", header: "x-signature", prefix: "", base64: false };

/// A bus that keeps how often it took each event, and may take one without saying so.
#[derive(Debug)]
struct Bus {
    taken: Mutex<BTreeMap<String, usize>>,
    random: Mutex<Rng>,
    /// One in so many answers is a failure; half of those have happened. 0 for none.
    lossy: u32,
}

#[async_trait]
impl Publisher for Bus {
    async fn publish(&self, events: &[CloudEvent]) -> Result<(), Cause> {
        sleep(ms(1)).await;
        let (lost, happened) = {
            let mut random = self.random.lock().unwrap();
            (self.lossy > 0 && random.u32(0..self.lossy) == 0, random.bool())
        };
        if !lost || happened {
            for event in events {
                *self.taken.lock().unwrap().entry(event.id().to_owned()).or_default() += 1;
            }
        }
        sleep(ms(1)).await;
        if lost { Err("ordered".into()) } else { Ok(()) }
    }
}

/// What the outside knows: how far each thing has come. It only goes forward.
#[derive(Clone, Debug, Default)]
struct Outside {
    rank: Arc<Mutex<BTreeMap<String, i64>>>,
    down: Arc<Mutex<bool>>,
}

/// Asks the outside how far the thing has come that the webhook is about, and lifts ours up to there.
#[async_trait]
impl Handler for Outside {
    async fn process(&self, stored: &Stored, _: Instant) -> Result<Processed, Trouble> {
        let body: Value =
            serde_json::from_slice(&stored.body).map_err(|_| Trouble::Never { why: "no", cause: None })?;
        let Some(thing) = body["thing"].as_str().map(str::to_owned) else {
            return Ok(Processed::Ignored("unknown_type"));
        };
        let rank = self.rank.lock().unwrap().get(&thing).copied();
        sleep(ms(1)).await;
        if *self.down.lock().unwrap() {
            return Err(Trouble::Later { why: "down", wait: None, cause: None });
        }
        let Some(rank) = rank else { return Err(Trouble::Never { why: "no_such_thing", cause: None }) };
        sleep(ms(1)).await;
        Ok(Processed::Effect(Effect::new(format!("thing#{thing}"), move |item, now| {
            if item.number("rank") >= Some(rank) {
                return Ok(None);
            }
            let (id, subject) = (format!("{thing}/{rank}"), thing.clone());
            let event = CloudEvent::new("test", "thing.moved", id, subject, now, json!({"rank": rank}))?;
            let actions = vec![Action::Set("rank", rank.into())];
            Ok(Some(Change { actions, events: vec![event], list: None }))
        })))
    }
}

struct World {
    store: Arc<Steps>,
    queue: Arc<Wakes>,
    bus: Arc<Bus>,
    shelf: Arc<Shelf>,
    outside: Outside,
    clock: SharedClock,
}

impl World {
    fn new(seed: u64, lossy: u32, unreliable: u32) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut fork = || Mutex::new(random.fork());
        Self {
            store: Arc::new(Steps { inner: MemoryStore::new(), random: fork(), lossy, way: ms(1) }),
            queue: Arc::new(Wakes { waiting: Mutex::default(), random: fork(), unreliable }),
            bus: Arc::new(Bus { taken: Mutex::default(), random: fork(), lossy }),
            shelf: Arc::default(),
            outside: Outside::default(),
            clock: TokioClock::start(),
        }
    }

    /// An environment of its own.
    fn webhooks(&self) -> Webhooks {
        let store: Arc<dyn Store> = self.store.clone();
        let outbox = Outbox::new(EVENTS, Arc::clone(&store), self.bus.clone(), Arc::clone(&self.clock));
        Webhooks::new(LIST, store, self.shelf.clone(), self.queue.clone(), outbox, Arc::clone(&self.clock))
    }

    fn moves(&self, thing: &str, rank: i64) {
        self.outside.rank.lock().unwrap().insert(thing.to_owned(), rank);
    }

    /// A signed webhook about `thing`, delivered under the name `delivery`.
    async fn signed(&self, delivery: Option<&str>, body: &[u8]) -> Result<Receipt, ApiError> {
        let secrets = LiveSecrets::new("now", &SecretString::from("s3cr3t")).unwrap();
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"s3cr3t"), body);
        let mut headers = HeaderMap::new();
        headers.insert("x-signature", HeaderValue::from_str(&hex::encode(mac)).unwrap());
        headers.insert("x-id", HeaderValue::from_static("kept"));
        let received = Received { headers: &headers, body, url: "" };
        let standing = Standing::from(&Verifier::new(SCHEME, &secrets).verify(&received, self.clock.now()).unwrap());
        let delivery = delivery.map(str::to_owned);
        self.webhooks().receive(&Arrival { provider: "test", received, standing, delivery, headers: &["x-id"] }).await
    }

    /// One that nobody signed.
    async fn hinted(&self, delivery: Option<&str>, body: &[u8]) -> Result<Receipt, ApiError> {
        let hint = Hint::read(body, 1_000_000, serde_json::from_slice::<Value>).unwrap();
        let headers = HeaderMap::new();
        let received = Received { headers: &headers, body, url: "" };
        let (standing, delivery) = (Standing::from(&hint), delivery.map(str::to_owned));
        self.webhooks().receive(&Arrival { provider: "test", received, standing, delivery, headers: &[] }).await
    }

    async fn work(&self, key: &str) -> Result<Done, StoreError> {
        self.webhooks().work(key, &self.outside, Instant::now() + secs(20)).await
    }

    /// Lets the world go on for `span`: wake-ups are worked off one after the other, and each minute there is a sweep.
    async fn go_on(&self, span: Duration) {
        let until = Instant::now() + span;
        let step = (span / 1_000).clamp(secs(1), secs(30));
        let mut sweep_at = Instant::now() + secs(60);
        while Instant::now() < until {
            for key in self.queue.due() {
                if self.work(&key).await.is_err() {
                    self.queue.again(key, secs(30));
                }
            }
            if Instant::now() >= sweep_at {
                sweep_at += secs(60);
                let _ = self.webhooks().sweep(300, secs(60)).await;
            }
            sleep(step).await;
        }
    }

    fn rank(&self, thing: &str) -> Option<i64> {
        self.store.inner.read(&format!("thing#{thing}"))?.number("rank")
    }

    fn published(&self, id: &str) -> usize {
        self.bus.taken.lock().unwrap().get(id).copied().unwrap_or(0)
    }

    fn webhook(&self, delivery: &str) -> Option<Webhook> {
        Webhook::read(&self.store.inner.read(&inbox::key("test", delivery))?)
    }

    fn all(&self) -> Vec<Webhook> {
        self.store.inner.items_with("webhook#").iter().filter_map(Webhook::read).collect()
    }

    /// What must hold after a long time: nothing waits, and every event of a thing was published.
    fn check(&self, place: &str) {
        for webhook in self.all() {
            assert_eq!(webhook.status, Status::Done, "{place}: {}", webhook.delivery);
        }
        for item in self.store.inner.items_with("thing#") {
            assert_eq!(outbox::waiting(&item).unwrap(), 0, "{place}: an event waits");
            assert_eq!(item.text("due"), None, "{place}: it is still on a list");
        }
    }
}

fn about(thing: &str) -> Vec<u8> {
    json!({"thing": thing}).to_string().into_bytes()
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_written_down_processed_once_and_told_once() {
    let world = World::new(1, 0, 0);
    world.moves("a", 3);
    assert_eq!(world.signed(Some("d1"), &about("a")).await.unwrap(), Receipt::New);
    assert_eq!(world.signed(Some("d1"), &about("a")).await.unwrap(), Receipt::Waiting, "woken again");
    assert_eq!(world.webhook("d1").unwrap().status, Status::Received);
    assert_eq!(world.queue.due().len(), 2);
    assert_eq!(world.work("webhook#test#d1").await.unwrap(), Done::Ended(Status::Done));
    assert_eq!(world.work("webhook#test#d1").await.unwrap(), Done::Nothing, "a wake-up that came twice");
    assert_eq!(world.signed(Some("d1"), &about("a")).await.unwrap(), Receipt::Ended);
    assert_eq!(world.queue.due(), [""; 0], "what is over wakes nobody");
    assert_eq!((world.rank("a"), world.published("a/3")), (Some(3), 1));
    let kept = world.webhook("d1").unwrap();
    assert_eq!((kept.proof.as_deref(), kept.headers.as_str()), (Some("test: now"), r#"{"x-id":"kept"}"#));
    world.check("calm");
}

/// A webhook about `a`: signed, not signed, or signed and too large for the table.
async fn sent(world: &World, kind: &str) -> Result<Receipt, ApiError> {
    match kind {
        "signed" => world.signed(Some("d"), &about("a")).await,
        "a hint" => world.hinted(None, &about("a")).await,
        _ => {
            let large = json!({"thing": "a", "padding": "x".repeat(100 * 1024)}).to_string();
            world.signed(Some("d"), large.as_bytes()).await
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_killed_while_receiving_loses_nothing_that_was_promised() {
    for (kind, polls) in ["signed", "a hint", "large"].iter().flat_map(|kind| (0..30).map(move |polls| (kind, polls))) {
        let (world, place) = (World::new(1, 0, 0), format!("{kind}, killed at {polls}"));
        world.moves("a", 1);
        let answered = killed_after(polls, sent(&world, kind)).await.is_some();
        world.go_on(secs(180)).await;
        if answered || !world.all().is_empty() {
            assert_eq!((world.rank("a"), world.published("a/1")), (Some(1), 1), "{place}");
        }
        // A sender that heard nothing comes again.
        sent(&world, kind).await.unwrap();
        world.go_on(secs(180)).await;
        assert_eq!((world.rank("a"), world.published("a/1")), (Some(1), 1), "{place}, sent again");
        world.check(&place);
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_killed_at_any_point_leaves_the_effect_to_somebody_else() {
    let (mut repeated, mut whole) = (0, false);
    for polls in 0..60 {
        let world = World::new(1, 0, 0);
        world.moves("a", 1);
        world.signed(Some("d"), &about("a")).await.unwrap();
        world.queue.due();
        let done = killed_after(polls, world.work("webhook#test#d")).await;
        whole |= done.is_some();
        // The queue has not been told that the wake-up was handled, so it hands it out again.
        world.queue.again("webhook#test#d".to_owned(), secs(60));
        world.go_on(secs(300)).await;
        let (place, published) = (format!("killed at {polls}"), world.published("a/1"));
        assert!(published == 1 || published == 2 && done.is_none(), "{place}: published {published} times");
        repeated += published - 1;
        assert_eq!(world.rank("a"), Some(1), "{place}");
        world.check(&place);
    }
    assert!(whole && repeated > 0, "nobody was killed between publishing and striking off");
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_to_many_webhooks_every_effect_is_told_under_one_id() {
    let seeds: u64 = std::env::var("IEUM_WEBHOOK_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    for seed in 0..seeds {
        let mut random = Rng::with_seed(seed);
        let (lossy, unreliable, killing) = ([0, 12, 40][random.usize(..3)], [0, 8][random.usize(..2)], random.bool());
        let world = World::new(seed, lossy, unreliable);
        let place = format!("seed {seed}, lossy {lossy}, unreliable {unreliable}, killing {killing}");
        // Six things, each of which moves six times; the webhooks come in any order, some of them twice.
        let mut to_send: Vec<(String, i64)> = Vec::new();
        for thing in 0..6 {
            for rank in 1..=6 {
                to_send.extend(vec![(format!("t{thing}"), rank); random.usize(1..3)]);
            }
        }
        random.shuffle(&mut to_send);
        for (thing, rank) in to_send {
            let newest = world.outside.rank.lock().unwrap().get(&thing).copied().unwrap_or(0).max(rank);
            world.moves(&thing, newest);
            let delivery = format!("{thing}-{rank}");
            let mut polls = if killing && random.bool() { random.u32(0..12) } else { 1_000 };
            // The sender comes again until it has heard 200.
            while !matches!(killed_after(polls, world.signed(Some(&delivery), &about(&thing))).await, Some(Ok(_))) {
                polls = 1_000;
            }
            for key in world.queue.due() {
                let polls = if killing && random.bool() { random.u32(0..40) } else { 100_000 };
                if !matches!(killed_after(polls, world.work(&key)).await, Some(Ok(_))) {
                    world.queue.again(key, secs(30));
                }
            }
        }
        world.go_on(secs(3_600)).await;
        world.check(&place);
        for thing in (0..6).map(|thing| format!("t{thing}")) {
            assert_eq!(world.rank(&thing), Some(6), "{place}");
            assert!(world.published(&format!("{thing}/6")) >= 1, "{place}: the last effect on {thing} was not told");
        }
        for (id, count) in world.bus.taken.lock().unwrap().iter() {
            assert!(*count == 1 || killing || lossy > 0, "{place}: {id} was told {count} times and nobody had died");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn workers_at_the_same_thing_at_once_tell_each_effect_once() {
    for seed in 0..20 {
        let world = World::new(seed, 0, 0);
        for step in 1..=8_i64 {
            world.moves("a", step);
            world.signed(Some(&format!("d{step}")), &about("a")).await.unwrap();
        }
        let keys: Vec<String> = (1..=8).flat_map(|step| vec![format!("webhook#test#d{step}"); 3]).collect();
        let mut random = Rng::with_seed(seed);
        let work = keys.iter().map(|key| {
            let (delay, world) = (ms(random.u64(0..12)), &world);
            async move {
                sleep(delay).await;
                world.work(key).await.unwrap()
            }
        });
        join_all(work.collect::<Vec<_>>()).await;
        world.go_on(secs(120)).await;
        world.check("at once");
        let taken = world.bus.taken.lock().unwrap().clone();
        assert_eq!(taken, BTreeMap::from([("a/8".to_owned(), 1)]), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_words_may_be_about_something_new() {
    let world = World::new(1, 0, 0);
    world.moves("a", 1);
    assert_eq!(world.hinted(None, &about("a")).await.unwrap(), Receipt::New);
    let key = world.queue.due().pop().unwrap();
    assert_eq!(world.work(&key).await.unwrap(), Done::Ended(Status::Done));
    world.moves("a", 2);
    assert_eq!(world.hinted(None, &about("a")).await.unwrap(), Receipt::Again);
    // While this attempt has already asked, it moves once more, and the same words come.
    let working = world.work(&key);
    let moving = async {
        sleep(ms(5)).await;
        world.moves("a", 3);
        world.hinted(None, &about("a")).await.unwrap()
    };
    let (worked, received) = tokio::join!(working, moving);
    assert_eq!((worked.unwrap(), received), (Done::Waiting, Receipt::Waiting));
    world.go_on(secs(30)).await;
    assert_eq!(world.rank("a"), Some(3));
    assert_eq!(world.all().len(), 1);
    world.check("again");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_cannot_take_the_place_of_a_signed_delivery() {
    let world = World::new(1, 0, 0);
    world.moves("a", 1);
    world.hinted(Some("d"), br#"{"nothing": 1}"#).await.unwrap();
    world.hinted(Some("d"), &about("b")).await.unwrap();
    assert_eq!(world.signed(Some("d"), &about("a")).await.unwrap(), Receipt::New);
    world.go_on(secs(30)).await;
    assert_eq!(world.rank("a"), Some(1));
    let ended: BTreeSet<&str> = world.all().iter().map(|webhook| webhook.status.name()).collect();
    assert_eq!(ended, BTreeSet::from(["done", "failed", "ignored"]));
    assert_eq!(world.all().iter().filter(|webhook| webhook.proof.is_some()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_down_is_asked_again_until_it_answers_and_no_longer_than_three_days() {
    let world = World::new(1, 0, 0);
    world.moves("a", 1);
    *world.outside.down.lock().unwrap() = true;
    world.signed(Some("d"), &about("a")).await.unwrap();
    world.go_on(secs(5 * 60 * 60)).await;
    let waiting = world.webhook("d").unwrap();
    assert_eq!((waiting.status, waiting.outcome.as_deref()), (Status::Received, Some("down")));
    assert!((20..40).contains(&waiting.attempts), "{} attempts in five hours", waiting.attempts);
    *world.outside.down.lock().unwrap() = false;
    world.go_on(secs(16 * 60)).await;
    assert_eq!(world.published("a/1"), 1);
    world.check("recovered");

    *world.outside.down.lock().unwrap() = true;
    world.signed(Some("e"), &about("a")).await.unwrap();
    world.go_on(secs(3 * 24 * 60 * 60 + 20 * 60)).await;
    let failed = world.webhook("e").unwrap();
    assert_eq!((failed.status, failed.outcome.as_deref()), (Status::Failed, Some("expired")));
    let now = world.clock.now();
    let listed = world.webhooks().list(Status::Failed, failed.received_at, now, 10).await.unwrap();
    assert_eq!(listed, [failed], "a person can find it");
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_is_processed_again_when_a_person_says_so() {
    let world = World::new(1, 0, 0);
    let began = world.clock.now();
    for day in 0..3 {
        for number in 0..4 {
            let thing = format!("t{day}{number}");
            world.signed(Some(&thing), &about(&thing)).await.unwrap();
            sleep(secs(60)).await;
        }
        world.go_on(secs(24 * 60 * 60 - 240)).await;
    }
    let webhooks = world.webhooks();
    let failed = webhooks.list(Status::Failed, began, world.clock.now(), 100).await.unwrap();
    assert_eq!(failed.len(), 12, "nobody knew these things");
    for webhook in &failed {
        world.moves(&webhook.delivery, 1);
    }
    assert!(webhooks.replay("key:desk", "test", "t00").await.unwrap());
    assert!(!webhooks.replay("key:desk", "test", "nobody").await.unwrap());
    // The second day, three at a time.
    let (from, to) = (failed[4].received_at, failed[7].received_at);
    let (count, next) = webhooks.replay_range("key:desk", Status::Failed, from, to, 3).await.unwrap();
    assert_eq!((count, next), (3, Some(failed[6].received_at)));
    world.go_on(secs(60)).await;
    let (count, next) = webhooks.replay_range("key:desk", Status::Failed, next.unwrap(), to, 3).await.unwrap();
    assert_eq!((count, next), (1, None));
    world.go_on(secs(60)).await;
    let told: Vec<String> = world.bus.taken.lock().unwrap().keys().cloned().collect();
    assert_eq!(told, ["t00/1", "t10/1", "t11/1", "t12/1", "t13/1"]);
    // And again: what has had its effect has no other.
    assert!(webhooks.replay("key:desk", "test", "t00").await.unwrap());
    world.go_on(secs(60)).await;
    assert_eq!(world.published("t00/1"), 1);
    assert_eq!(world.webhook("t00").unwrap().status, Status::Done);
    let item: Item = world.store.inner.read("webhook#test#t00").unwrap();
    assert_eq!(item.number("replays"), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_large_body_is_kept_elsewhere_and_no_body_with_its_card() {
    let mut world = World::new(1, 0, 0);
    world.moves("a", 1);
    let body = json!({"thing": "a", "card": "4242-4242-4242-4242", "orderId": "4242424242424242"}).to_string();
    world.signed(Some("small"), body.as_bytes()).await.unwrap();
    let item = world.store.inner.read("webhook#test#small").unwrap();
    assert_eq!(item.text("body"), Some(r#"{"card":"[card]","orderId":"4242424242424242","thing":"a"}"#));
    let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    assert_eq!(item.text("digest"), Some(hex::encode(digest).as_str()), "of what came");

    let large = json!({"thing": "a", "padding": "x".repeat(100 * 1024)}).to_string();
    world.signed(Some("large"), large.as_bytes()).await.unwrap();
    let item = world.store.inner.read("webhook#test#large").unwrap();
    assert_eq!((item.text("body"), item.text("blob")), (None, Some("webhook/test/large")));
    let kept = world.shelf.0.get("webhook/test/large", large.len()).await.unwrap().unwrap();
    assert_eq!(kept.bytes, large.as_bytes());
    world.go_on(secs(30)).await;
    world.check("large");
    world.shelf = Arc::default();
    world.webhooks().replay("key:desk", "test", "large").await.unwrap();
    world.go_on(secs(30)).await;
    assert_eq!(world.webhook("large").unwrap().outcome.as_deref(), Some("body_is_gone"));
}
