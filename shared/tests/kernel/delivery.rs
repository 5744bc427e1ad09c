//! Delivery as it must survive: killed at every await point, woken twice, late, never and out of order, with a provider
//! that fails in every way and a ledger that does not always answer.
//!
//! What is held against it: nothing accepted is lost in silence, nothing is sent twice in silence, and what nobody knows
//! is on the list for a person.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fastrand::Rng;
use ieum::answers::{Request, RequestKeys};
use ieum::blobs::{Blob, BlobError, Blobs, MemoryBlobs};
use ieum::clock::{Clock, SharedClock, Timestamp};
use ieum::delivery::ledger::{self, IN_DOUBT, Message, State};
use ieum::delivery::recipients::Recipients;
use ieum::delivery::worker::{Addressed, Delivery, Done, Letter, Receipt};
use ieum::gate::Gate;
use ieum::integration::{Integration, Way};
use ieum::policy::{Policy, Replay};
use ieum::provider::{Cause, Provider, ProviderError};
use ieum::queue::{Queue, WakeUp};
use ieum::resilience::backoff::Backoff;
use ieum::resilience::circuit_breaker::BreakerPolicy;
use ieum::resilience::rate_limit::RatePolicy;
use ieum::runtime::Worker;
use ieum::store::{Item, Key, MemoryStore, Outcome, Read, Store, StoreError, Update};
use ieum::testing::TokioClock;
use secrecy::SecretSlice;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use url::Url;

use crate::support::{ms, secs};

pub(crate) const LIST: &str = "test";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Text {
    pub(crate) to: String,
    pub(crate) text: String,
}

impl Request for Text {
    fn readable(&self) -> String {
        "text".to_owned()
    }
}

impl Addressed for Text {
    fn recipients(&self) -> Vec<String> {
        vec![self.to.clone()]
    }
}

pub(crate) fn text_to(to: &str) -> Text {
    Text { to: to.to_owned(), text: "hello".to_owned() }
}

/// A memory store with an await point before and after everything, so that a caller can be killed on either side.
#[derive(Debug)]
pub(crate) struct Steps {
    pub(crate) inner: MemoryStore,
    pub(crate) random: Mutex<Rng>,
    /// One in so many operations gets no answer; half of those have happened. 0 for none.
    pub(crate) lossy: u32,
    /// How long each way takes.
    pub(crate) way: Duration,
}

impl Steps {
    async fn step<T>(&self, work: impl FnOnce() -> T) -> Result<T, StoreError> {
        sleep(self.way).await;
        let (lost, happened) = {
            let mut random = self.random.lock().unwrap();
            (self.lossy > 0 && random.u32(0..self.lossy) == 0, random.bool())
        };
        if lost && !happened {
            return Err(StoreError::Unreachable("ordered".into()));
        }
        let result = work();
        sleep(self.way).await;
        if lost { Err(StoreError::Unreachable("ordered".into())) } else { Ok(result) }
    }
}

#[async_trait]
impl Store for Steps {
    async fn get(&self, key: &str, _: Read) -> Result<Option<Item>, StoreError> {
        self.step(|| self.inner.read(key)).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.step(|| keys.iter().map(|key| self.inner.read(key)).collect()).await
    }

    async fn listed(&self, list: &str, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        sleep(ms(1)).await;
        self.inner.listed(list, from, until, limit).await
    }

    async fn due(&self, list: &str, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        sleep(ms(1)).await;
        self.inner.due(list, until, limit).await
    }

    async fn update(&self, update: &Update) -> Result<Outcome, StoreError> {
        self.step(|| self.inner.apply(update)).await
    }
}

/// A queue that repeats, reorders and loses.
#[derive(Debug)]
pub(crate) struct Wakes {
    pub(crate) waiting: Mutex<Vec<(Instant, String)>>,
    pub(crate) random: Mutex<Rng>,
    /// One in so many is lost, and as many come twice; 0 for none.
    pub(crate) unreliable: u32,
}

impl Wakes {
    /// The wake-ups that are due, in any order.
    pub(crate) fn due(&self) -> Vec<String> {
        let (now, mut waiting) = (Instant::now(), self.waiting.lock().unwrap());
        let due: Vec<String> = waiting.iter().filter(|(at, _)| *at <= now).map(|(_, key)| key.clone()).collect();
        waiting.retain(|(at, _)| *at > now);
        due
    }

    pub(crate) fn again(&self, key: String, after: Duration) {
        self.waiting.lock().unwrap().push((Instant::now() + after, key));
    }
}

#[async_trait]
impl Queue for Wakes {
    async fn wake(&self, wake_ups: &[WakeUp]) -> Result<(), Cause> {
        for WakeUp { key, after } in wake_ups {
            sleep(ms(1)).await;
            let luck = if self.unreliable > 0 { self.random.lock().unwrap().u32(0..self.unreliable) } else { u32::MAX };
            match luck {
                0 => return Err("lost".into()),
                1 => {
                    self.again(key.clone(), *after);
                    self.again(key.clone(), *after + secs(3));
                }
                2 => {}
                _ => self.again(key.clone(), *after),
            }
            sleep(ms(1)).await;
        }
        Ok(())
    }
}

/// Blobs in memory, with an await point before and after everything.
#[derive(Debug, Default)]
pub(crate) struct Shelf(pub(crate) MemoryBlobs);

#[async_trait]
impl Blobs for Shelf {
    async fn put(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), BlobError> {
        sleep(ms(1)).await;
        self.0.put(key, content_type, bytes).await?;
        sleep(ms(1)).await;
        Ok(())
    }

    async fn get(&self, key: &str, limit: usize) -> Result<Option<Blob>, BlobError> {
        sleep(ms(1)).await;
        self.0.get(key, limit).await
    }

    async fn upload_url(&self, key: &str, kind: &str, bytes: usize, span: Duration) -> Result<Url, BlobError> {
        self.0.upload_url(key, kind, bytes, span).await
    }
}

/// How the provider answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Taking,
    Down,
    /// Takes every other message and says nothing; never says which.
    Silent,
    Refusing,
    /// Wants to be left alone for 18 s.
    Busy,
    /// Any of these, by chance.
    Any,
}

/// A provider that keeps what it has taken: how often, and when last.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) taken: Arc<Mutex<BTreeMap<String, Vec<Instant>>>>,
    mood: Arc<Mutex<Mood>>,
    random: Arc<Mutex<Rng>>,
}

#[async_trait]
impl Provider<Letter<Text>, Receipt> for Post {
    fn name(&self) -> &'static str {
        "post"
    }

    async fn call(&self, letter: &Letter<Text>) -> Result<Receipt, ProviderError> {
        let (mood, luck) = {
            let mut random = self.random.lock().unwrap();
            let any = [Mood::Taking, Mood::Taking, Mood::Down, Mood::Silent, Mood::Refusing][random.usize(..5)];
            let mood = *self.mood.lock().unwrap();
            (if mood == Mood::Any { any } else { mood }, random.bool())
        };
        sleep(ms(1)).await;
        let take = || self.taken.lock().unwrap().entry(letter.id.clone()).or_default().push(Instant::now());
        match mood {
            Mood::Taking | Mood::Any => take(),
            Mood::Down => return Err(ProviderError::Unavailable { status: 503 }),
            Mood::Busy => return Err(ProviderError::Throttled { retry_after: Some(secs(18)) }),
            Mood::Refusing => return Err(ProviderError::Rejected { code: "no".to_owned() }),
            Mood::Silent => {
                if luck {
                    take();
                }
                return Err(ProviderError::Ambiguous("no answer".into()));
            }
        }
        sleep(ms(1)).await;
        Ok(Receipt { reference: format!("post-{}", letter.id) })
    }
}

/// A world with one kind of message. Several workers share its state, as environments do.
pub(crate) struct World {
    pub(crate) store: Arc<Steps>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) queue: Arc<Wakes>,
    pub(crate) post: Post,
    pub(crate) clock: SharedClock,
    pub(crate) rate: Option<RatePolicy>,
    /// How often one recipient is written to.
    pub(crate) each: Option<RatePolicy>,
}

impl World {
    pub(crate) fn new(seed: u64, lossy: u32, unreliable: u32) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut fork = || Mutex::new(random.fork());
        Self {
            store: Arc::new(Steps { inner: MemoryStore::new(), random: fork(), lossy, way: ms(1) }),
            shelf: Arc::default(),
            queue: Arc::new(Wakes { waiting: Mutex::default(), random: fork(), unreliable }),
            post: Post { taken: Arc::default(), mood: Arc::new(Mutex::new(Mood::Taking)), random: Arc::new(fork()) },
            clock: TokioClock::start(),
            rate: None,
            each: None,
        }
    }

    /// A worker in an environment of its own.
    pub(crate) fn worker(&self) -> Delivery<Text> {
        let store: Arc<dyn Store> = self.store.clone();
        let gate = Gate::new("post", BreakerPolicy::default(), self.rate, Arc::clone(&store), Arc::clone(&self.clock));
        let ways = vec![Way { provider: Box::new(self.post.clone()) as Box<_>, gate: Arc::new(gate) }];
        let policy = Policy {
            attempts: 2,
            backoff: Backoff::Fixed(ms(10)),
            retryable_statuses: vec![503],
            timeout: secs(1),
            deadline: secs(20),
            replay: Replay::Never,
        };
        let integration = Integration::new("test", "send", policy, ways, Arc::clone(&self.clock));
        let (kept, clock) = ((store, self.shelf.clone() as Arc<dyn Blobs>), Arc::clone(&self.clock));
        Delivery::new(LIST, integration, self.recipients(), kept, self.queue.clone(), clock)
    }

    pub(crate) fn recipients(&self) -> Recipients {
        let keys = RequestKeys::new(SecretSlice::from(vec![7; 32]));
        Recipients::new(LIST, keys, self.each, self.store.clone(), Arc::clone(&self.clock))
    }

    pub(crate) fn mood(&self, mood: Mood) {
        *self.post.mood.lock().unwrap() = mood;
    }

    pub(crate) fn taken(&self, id: &str) -> usize {
        self.post.taken.lock().unwrap().get(id).map_or(0, Vec::len)
    }

    pub(crate) fn message(&self, id: &str) -> Option<Message> {
        Message::read(&self.store.inner.read(&ledger::key(id))?)
    }

    pub(crate) async fn accept(&self, worker: &Delivery<Text>, id: &str) -> Result<(), StoreError> {
        let valid_until = self.clock.now().after(secs(24 * 60 * 60));
        worker.accept(id, &text_to(id), "key:portal", valid_until).await
    }

    /// Lets the world go on for `span`: wake-ups are worked off, and each minute there is a sweep. Says how many of them
    /// failed, which the queue would count.
    pub(crate) async fn go_on(&self, worker: &Delivery<Text>, span: Duration) -> u32 {
        let (until, mut failed) = (Instant::now() + span, 0);
        let mut sweep_at = Instant::now() + secs(60);
        while Instant::now() < until {
            for key in self.queue.due() {
                if worker.work(&key, Instant::now() + secs(20)).await.is_err() {
                    failed += 1;
                    self.queue.again(key, secs(30));
                }
            }
            if Instant::now() >= sweep_at {
                sweep_at += secs(60);
                let _ = worker.sweep(300, secs(60)).await;
            }
            sleep(secs(1)).await;
        }
        failed
    }

    /// What must hold of every message that was accepted.
    pub(crate) async fn check(&self, id: &str, place: &str) {
        let message = self.message(id).unwrap_or_else(|| panic!("{place}: `{id}` is lost"));
        let taken = self.taken(id);
        assert!(taken <= 1, "{place}: `{id}` was sent {taken} times");
        match message.state {
            State::Sent => assert_eq!(taken, 1, "{place}: `{id}` was not sent"),
            State::Failed => assert_eq!(taken, 0, "{place}: `{id}` has failed and was sent"),
            State::InDoubt => {
                let listed = self.store.inner.due(IN_DOUBT, self.clock.now(), 1_000).await.unwrap();
                assert!(listed.contains(&ledger::key(id)), "{place}: `{id}` is in doubt and not listed");
            }
            State::Accepted
            | State::Queued
            | State::Sending
            | State::Delivered
            | State::Undelivered
            | State::Bounced
            | State::Complained => panic!("{place}: `{id}` is {} after a long time", message.state.name()),
        }
    }
}

/// Polls `work` so often, a millisecond apart, and then drops it as a crash would. What it returned, if it came so far.
pub(crate) async fn killed_after<T>(polls: u32, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    for _ in 0..polls {
        if let std::task::Poll::Ready(result) = futures_util::poll!(&mut work) {
            return Some(result);
        }
        sleep(ms(1)).await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_message_is_accepted_sent_once_and_settled() {
    let world = World::new(1, 0, 0);
    let worker = world.worker();
    world.accept(&worker, "m").await.unwrap();
    world.accept(&worker, "m").await.unwrap();
    assert_eq!(worker.deliver("m", Instant::now() + secs(20)).await.unwrap(), Done::Sent);
    assert_eq!(
        worker.deliver("m", Instant::now() + secs(20)).await.unwrap(),
        Done::Nothing,
        "a wake-up that came twice"
    );
    world.go_on(&worker, secs(600)).await;
    world.check("m", "calm").await;
    assert_eq!(world.message("m").unwrap().reference.as_deref(), Some("post-m"));
}

/// A clock that is behind another.
#[derive(Debug)]
struct Behind(SharedClock, Duration);

impl Clock for Behind {
    fn now(&self) -> Timestamp {
        self.0.now().before(self.1)
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_clock_is_behind_needs_no_sweep() {
    let mut world = World::new(1, 0, 0);
    world.accept(&world.worker(), "m").await.unwrap();
    world.clock = Arc::new(Behind(Arc::clone(&world.clock), ms(900)));
    let (worker, until) = (world.worker(), Instant::now() + secs(3));
    while Instant::now() < until {
        for id in world.queue.due() {
            worker.work(&id, Instant::now() + secs(20)).await.unwrap();
        }
        sleep(ms(100)).await;
    }
    assert_eq!(world.message("m").unwrap().state, State::Sent);
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_bids_to_wait_waits_in_the_ledger() {
    let world = World::new(1, 0, 0);
    let worker = world.worker();
    world.accept(&worker, "m").await.unwrap();
    world.mood(Mood::Busy);
    let began = Instant::now();
    assert_eq!(worker.deliver("m", began + secs(60)).await.unwrap(), Done::Waiting);
    assert!(began.elapsed() < secs(1), "nobody holds a message that long");
    world.mood(Mood::Taking);
    world.go_on(&worker, secs(17)).await;
    assert_eq!((world.message("m").unwrap().state, world.taken("m")), (State::Queued, 0), "not before its time");
    world.go_on(&worker, secs(60)).await;
    assert_eq!((world.message("m").unwrap().state, world.taken("m")), (State::Sent, 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_killed_while_accepting_loses_nothing_that_was_promised() {
    for polls in 0..40 {
        let world = World::new(1, 0, 0);
        let accepted = killed_after(polls, world.accept(&world.worker(), "m")).await.is_some();
        world.go_on(&world.worker(), secs(300)).await;
        if accepted || world.message("m").is_some() {
            world.check("m", &format!("killed at {polls}")).await;
            assert_eq!(world.taken("m"), 1, "killed at {polls}: what is written down is sent");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_killed_at_any_point_neither_loses_nor_repeats_a_message() {
    for mood in [Mood::Taking, Mood::Down, Mood::Silent, Mood::Refusing] {
        let mut doubts = 0;
        for polls in 0..120 {
            let world = World::new(u64::from(polls), 0, 0);
            world.accept(&world.worker(), "m").await.unwrap();
            world.mood(mood);
            let worker = world.worker();
            let done = killed_after(polls, worker.deliver("m", Instant::now() + secs(20))).await;
            world.mood(Mood::Taking);
            // The queue has not been told that the message was handled, so it hands it out again.
            world.queue.again(ledger::key("m"), secs(120));
            world.go_on(&world.worker(), secs(900)).await;
            let place = format!("{mood:?}, killed at {polls}, done {done:?}");
            world.check("m", &place).await;
            doubts += u32::from(world.message("m").unwrap().state == State::InDoubt);
        }
        assert!(
            doubts > 0 || mood == Mood::Refusing || mood == Mood::Down,
            "{mood:?}: nobody was killed while sending"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_to_many_messages_each_comes_to_an_end_that_is_true() {
    let seeds: u64 = std::env::var("IEUM_DELIVERY_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    for seed in 0..seeds {
        let mut random = Rng::with_seed(seed);
        let world = World::new(seed, [0, 12, 40][random.usize(..3)], [0, 8][random.usize(..2)]);
        let mut promised = Vec::new();
        for number in 0..random.u32(3..12) {
            let id = format!("m{number}");
            let polls = if random.bool() { 1_000 } else { random.u32(0..12) };
            if let Some(Ok(())) = killed_after(polls, world.accept(&world.worker(), &id)).await {
                promised.push(id);
            }
        }
        for _ in 0..20 {
            world.mood([Mood::Taking, Mood::Down, Mood::Any][random.usize(..3)]);
            for key in world.queue.due() {
                let polls = if random.bool() { 5_000 } else { random.u32(0..80) };
                let worker = world.worker();
                let handled = killed_after(polls, worker.work(&key, Instant::now() + secs(20))).await;
                if !matches!(handled, Some(Ok(()))) {
                    world.queue.again(key, secs(30));
                }
            }
            sleep(secs(random.u64(1..60))).await;
        }
        world.mood(Mood::Taking);
        world.go_on(&world.worker(), secs(3_600)).await;
        for id in &promised {
            world.check(id, &format!("seed {seed}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_dead_for_two_hours_costs_no_message_and_the_oldest_go_first() {
    const MESSAGES: usize = 5_000;
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let mut world = World::new(7, 0, 0);
    world.rate = RatePolicy::new(5, secs(1), 5, secs(1));
    // Nobody dies here, and a quarter of a million trips take their time.
    Arc::get_mut(&mut world.store).unwrap().way = Duration::ZERO;
    let worker = world.worker();
    world.mood(Mood::Down);
    let began = Instant::now();
    let accepting = async {
        for number in 0..MESSAGES {
            world.accept(&world.worker(), &format!("m{number:04}")).await.unwrap();
            sleep(secs(1)).await;
        }
    };
    let (failed, ()) = tokio::join!(world.go_on(&worker, 2 * HOUR), accepting);
    assert_eq!(failed, 0, "a receive that failed is on its way to the dead letters");
    assert_eq!(world.post.taken.lock().unwrap().len(), 0);
    world.mood(Mood::Taking);
    let recovered = began.elapsed();
    assert_eq!(world.go_on(&worker, HOUR / 2).await, 0);
    for number in 0..MESSAGES {
        let id = format!("m{number:04}");
        world.check(&id, "after the outage").await;
        assert_eq!(world.message(&id).unwrap().state, State::Sent);
    }
    // By age: the names are in the order of acceptance.
    let times: Vec<Duration> = world.post.taken.lock().unwrap().values().map(|at| at[0] - began - recovered).collect();
    for second in 0..1_800 {
        let calls = times.iter().filter(|at| at.as_secs() == second).count();
        assert!(calls <= 5 + 5, "{calls} calls in second {second}");
    }
    // A minute until the circuit is probed, 5,000 messages at 5 a second and a tenth more, and a sweep for the last.
    let last = times.iter().max().unwrap();
    assert!(*last <= secs(60 + 1_100 + 60), "the last has left after {last:?}");
    // A sweep's period, how late an item must be for it, and the time of the trip.
    let allowed = secs(60 + 5 + 2);
    let mut first_of_the_younger = Duration::MAX;
    for (age, at) in times.iter().enumerate().rev() {
        assert!(
            *at <= first_of_the_younger.saturating_add(allowed),
            "message {age} left {:?} late",
            *at - first_of_the_younger
        );
        first_of_the_younger = first_of_the_younger.min(*at);
    }
}
