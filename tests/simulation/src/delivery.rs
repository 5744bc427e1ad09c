//! Messages on their way: callers, workers, a queue, a provider and persons, none of whom can be relied upon.
//!
//! The code under test is the real one, from the queue's event to the ledger: [`ieum::runtime::answer`], the worker, the
//! executor, the sweep, reports and decisions. Made up is the world around it, drawn from one seed: a store that loses
//! requests and replies; a queue that loses, repeats, reorders and delays, hands out again what was not deleted in time, and
//! puts aside what was handed out five times; a provider that is down, refuses, or takes a message and says nothing;
//! environments and callers that die at any await point, while their request goes on; reports that come early, late, twice
//! and in any order; persons who decide about what is in doubt.
//!
//! Held against it: nothing promised is lost in silence, nothing is sent twice but by a person's decision, what a message has
//! come to is true, and every doubt is on the list.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use ieum::answers::{Request, RequestKeys};
use ieum::blobs::{Blobs, MemoryBlobs};
use ieum::clock::{SharedClock, Timestamp};
use ieum::delivery::ledger::{self, Message, State};
use ieum::delivery::messages::{Decided, Decision, Messages, Reported};
use ieum::delivery::recipients::Recipients;
use ieum::delivery::worker::{Addressed, Delivery, Letter, Receipt};
use ieum::gate::Gate;
use ieum::integration::{Integration, Way};
use ieum::planted::{Rule, with_broken};
use ieum::policy::{Policy, Replay};
use ieum::provider::{Cause, Provider, ProviderError};
use ieum::queue::{Queue, WakeUp, sweep};
use ieum::resilience::backoff::Backoff;
use ieum::resilience::circuit_breaker::BreakerPolicy;
use ieum::resilience::rate_limit::RatePolicy;
use ieum::runtime::{Answer, Bounds, Event, Function, answer};
use ieum::secrets::SecretSlice;
use ieum::store::{Item, Key, MemoryStore, Outcome, Read, Store, StoreError, Update};
use ieum::testing::TokioClock;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::{ms, secs};

const LIST: &str = "mail";

/// What a consumer of the queue is given, and six times that.
const LIMIT: Duration = secs(30);
const VISIBILITY: Duration = secs(180);

/// Receipts after which a wake-up is a dead letter.
const RECEIPTS: u32 = 5;

/// While things go wrong, and how long they may take to come right afterwards.
const TROUBLE: Duration = secs(20 * 60);
const PATIENCE: Duration = secs(2 * 60 * 60);

/// Whoever gets nothing.
const SUPPRESSED: &str = "blocked";

/// What happened in one simulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that follow, the provider's calls and the sweeps; ordinary trips to the store are not counted.
    pub events: u64,
    /// Messages and batches accepted.
    pub accepted: u64,
    /// Wake-ups handed out.
    pub received: u64,
    /// Callers and environments that died.
    pub killed: u64,
    /// Wake-ups lost, and handed out twice.
    pub unreliable: u64,
    /// Wake-ups put aside after five receipts.
    pub dead_letters: u64,
    /// Messages that the provider took.
    pub taken: u64,
    /// Reports that were told.
    pub reports: u64,
    /// Messages that came into doubt.
    pub doubts: u64,
    /// Decisions of persons.
    pub decisions: u64,
    /// Answers of the store that were lost.
    pub lost_trips: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.accepted += other.accepted;
        self.received += other.received;
        self.killed += other.killed;
        self.unreliable += other.unreliable;
        self.dead_letters += other.dead_letters;
        self.taken += other.taken;
        self.reports += other.reports;
        self.doubts += other.doubts;
        self.decisions += other.decisions;
        self.lost_trips += other.lost_trips;
    }
}

/// What one simulation showed.
#[derive(Clone, Debug)]
pub struct Report {
    /// From which it was drawn.
    pub seed: u64,
    /// What happened.
    pub counts: Counts,
    /// What should not have happened; empty when all promises held.
    pub violations: Vec<String>,
}

/// Runs the simulation of `seed`, with one rule broken if need be.
///
/// # Panics
/// When the runtime cannot be made.
#[expect(clippy::expect_used, reason = "a machine that cannot make a runtime cannot simulate")]
pub fn run(seed: u64, broken: Option<Rule>) -> Report {
    fastrand::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let world = with_broken(broken, || {
        runtime.block_on(async {
            let world = World::new(seed);
            live(&world).await;
            world
        })
    });
    let violations = world.violations();
    let counts = *lock(&world.counts);
    Report { seed, counts, violations }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A text to somebody.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Text {
    to: String,
    text: String,
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

/// What is drawn once.
#[derive(Clone, Copy, Debug)]
struct Plan {
    environments: usize,
    /// One in so many trips to the store gets no answer; half of those have happened. 0 for none.
    lossy: u32,
    /// One in so many wake-ups is lost, and as many come twice; 0 for none.
    unreliable: u32,
    /// Whether anybody dies.
    killing: bool,
    /// How the provider behaves, in tenths: down, silent, refusing.
    moods: [u32; 3],
    rate: Option<RatePolicy>,
}

struct World {
    plan: Plan,
    store: MemoryStore,
    blobs: Arc<MemoryBlobs>,
    clock: SharedClock,
    random: Mutex<Rng>,
    queue: Mutex<Vec<Waiting>>,
    counts: Mutex<Counts>,
    /// How often the provider took each message.
    taken: Mutex<BTreeMap<String, u32>>,
    /// The messages whose callers were told that they were accepted; of a batch each.
    promised: Mutex<BTreeSet<String>>,
    /// The furthest that a message was reported to have come.
    reported: Mutex<BTreeMap<String, State>>,
    repeated: Mutex<BTreeMap<String, u32>>,
    /// The messages to somebody who gets nothing.
    suppressed: Mutex<BTreeSet<String>>,
    noted: Mutex<Vec<String>>,
    calm: AtomicBool,
}

/// A message of the queue.
#[derive(Clone, Debug)]
struct Waiting {
    number: u64,
    body: String,
    visible_at: Instant,
    receipts: u32,
}

impl World {
    fn new(seed: u64) -> Arc<Self> {
        let mut random = Rng::with_seed(seed);
        let plan = Plan {
            environments: random.usize(1..4),
            lossy: [0, 15, 60][random.usize(..3)],
            unreliable: [0, 6][random.usize(..2)],
            killing: random.u8(0..3) > 0,
            moods: [[0, 0, 0], [3, 1, 1], [8, 0, 0], [1, 4, 0]][random.usize(..4)],
            rate: if random.bool() { RatePolicy::new(2, secs(1), 4, secs(1)) } else { None },
        };
        Arc::new(Self {
            plan,
            store: MemoryStore::new(),
            blobs: Arc::default(),
            clock: TokioClock::start(),
            random: Mutex::new(random),
            queue: Mutex::default(),
            counts: Mutex::default(),
            taken: Mutex::default(),
            promised: Mutex::default(),
            reported: Mutex::default(),
            repeated: Mutex::default(),
            suppressed: Mutex::default(),
            noted: Mutex::default(),
            calm: AtomicBool::new(false),
        })
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut lock(&self.random))
    }

    fn one_in(&self, many: u32) -> bool {
        many > 0 && !self.is_calm() && self.draw(|random| random.u32(0..many)) == 0
    }

    fn count(&self, count: impl FnOnce(&mut Counts)) {
        let mut counts = lock(&self.counts);
        counts.events += 1;
        count(&mut counts);
    }

    /// Does `work`, unless whoever does it dies first.
    async fn mortal<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let work = pin!(work);
        if !self.plan.killing || self.is_calm() || self.draw(|random| random.u8(0..4)) > 0 {
            return Some(work.await);
        }
        // As short as a trip to the store, or as long as an attempt.
        let life = self.draw(|random| if random.bool() { random.u64(0..60) } else { random.u64(0..3_000) });
        let outcome = timeout(ms(life), work).await.ok();
        if outcome.is_none() {
            self.count(|counts| counts.killed += 1);
        }
        outcome
    }

    fn message(&self, id: &str) -> Option<Message> {
        Message::read(&self.store.read(&ledger::key(id))?)
    }

    fn all(&self) -> impl Iterator<Item = Message> {
        self.store.items_with("message#").into_iter().filter_map(|item| Message::read(&item))
    }

    fn is_settled(&self) -> bool {
        let pending = |message: Message| !message.state.is_settled() && message.state != State::InDoubt;
        !self.all().any(pending) && self.store.items_with("batch#").iter().all(|batch| batch.text("due").is_none())
    }

    /// What should not have happened.
    fn violations(&self) -> Vec<String> {
        let mut violations = lock(&self.noted).clone();
        let mut wrong = |id: &str, what: String| violations.push(format!("`{id}` {what}"));
        for id in &*lock(&self.promised) {
            if self.message(id).is_none() {
                wrong(id, "is lost".to_owned());
            }
        }
        for (id, taken) in &*lock(&self.taken) {
            let allowed = 1 + lock(&self.repeated).get(id).copied().unwrap_or(0);
            if *taken > allowed {
                wrong(id, format!("was sent {taken} times, {allowed} allowed"));
            }
        }
        for id in self.ids() {
            let Some(message) = self.message(&id) else { continue };
            let taken = lock(&self.taken).get(&id).copied().unwrap_or(0);
            let reported = lock(&self.reported).get(&id).copied();
            let state = message.state;
            if message.error.as_deref() != Some("suppressed") && lock(&self.suppressed).contains(&id) {
                wrong(&id, format!("is {} and was to be suppressed", state.name()));
            }
            if reported.is_some_and(|reported| state < reported) {
                wrong(&id, format!("is {} and was reported {reported:?}", state.name()));
            }
            match state {
                State::InDoubt => {}
                State::Accepted | State::Queued | State::Sending => {
                    wrong(&id, format!("is {} after a long time", state.name()));
                }
                State::Failed if taken > 0 && !lock(&self.repeated).contains_key(&id) => {
                    wrong(&id, "has failed and was sent".to_owned());
                }
                State::Failed => {}
                State::Sent | State::Delivered | State::Undelivered | State::Bounced | State::Complained => {
                    if taken == 0 {
                        wrong(&id, format!("is {} and was never sent", state.name()));
                    }
                }
            }
        }
        let quiet = !self.plan.killing && self.plan.lossy == 0;
        let dead = lock(&self.counts).dead_letters;
        if quiet && dead > 0 {
            violations.push(format!("{dead} dead letters, and nobody died"));
        }
        violations
    }

    /// The ids of everything that may have been accepted.
    fn ids(&self) -> Vec<String> {
        let singles = (0..MESSAGES).map(|number| format!("m{number}"));
        let members = (0..BATCHES)
            .flat_map(|batch| (0..BATCH_SIZE).map(move |index| ledger::member(&format!("b{batch}"), index)));
        singles.chain(members).collect()
    }
}

const MESSAGES: usize = 24;
const BATCHES: usize = 2;
const BATCH_SIZE: usize = 30;

/// The store, over a network that loses things.
#[derive(Clone)]
struct Line(Arc<World>);

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

impl Line {
    async fn trip<T>(&self, work: impl FnOnce() -> T) -> Result<T, StoreError> {
        let [there, back] = [(); 2].map(|()| ms(self.0.draw(|random| random.u64(1..8))));
        let (lost, happened) = (self.0.one_in(self.0.plan.lossy), self.0.draw(Rng::bool));
        sleep(there).await;
        if lost {
            self.0.count(|counts| counts.lost_trips += 1);
        }
        if lost && !happened {
            return Err(StoreError::Unreachable("ordered".into()));
        }
        let result = work();
        sleep(back).await;
        if lost { Err(StoreError::Unreachable("ordered".into())) } else { Ok(result) }
    }
}

#[async_trait]
impl Store for Line {
    async fn get(&self, key: &str, _: Read) -> Result<Option<Item>, StoreError> {
        self.trip(|| self.0.store.read(key)).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.trip(|| keys.iter().map(|key| self.0.store.read(key)).collect()).await
    }

    async fn listed(&self, list: &str, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.trip(|| ()).await?;
        self.0.store.listed(list, from, until, limit).await
    }

    async fn due(&self, list: &str, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.trip(|| ()).await?;
        self.0.store.due(list, until, limit).await
    }

    async fn update(&self, update: &Update) -> Result<Outcome, StoreError> {
        self.trip(|| self.0.store.apply(update)).await
    }
}

#[async_trait]
impl Queue for Line {
    async fn wake(&self, wake_ups: &[WakeUp]) -> Result<(), Cause> {
        let (world, mut lost) = (&self.0, 0);
        sleep(ms(world.draw(|random| random.u64(1..8)))).await;
        for WakeUp { key, after } in wake_ups {
            let traceparent = format!("00-{:032x}-00f067aa0ba902b7-01", 1);
            let body = json!({"key": key, "traceparent": traceparent}).to_string();
            let copies = match world.draw(|random| random.u32(0..world.plan.unreliable.max(1))) {
                _ if world.plan.unreliable == 0 || world.is_calm() => 1,
                0 => 0,
                1 => 2,
                _ => 1,
            };
            if copies != 1 {
                world.count(|counts| counts.unreliable += 1);
            }
            lost += u32::from(copies == 0);
            for _ in 0..copies {
                // A queue keeps no order.
                let (number, late) = world.draw(|random| (random.u64(..), ms(random.u64(0..1_500))));
                let waiting =
                    Waiting { number, body: body.clone(), visible_at: Instant::now() + *after + late, receipts: 0 };
                lock(&world.queue).push(waiting);
            }
        }
        sleep(ms(world.draw(|random| random.u64(1..8)))).await;
        if lost > 0 { Err("lost".into()) } else { Ok(()) }
    }
}

/// A provider that goes on with a request whoever has died meanwhile.
#[derive(Clone)]
struct Post(Arc<World>);

#[async_trait]
impl Provider<Letter<Text>, Receipt> for Post {
    fn name(&self) -> &'static str {
        "post"
    }

    async fn call(&self, letter: &Letter<Text>) -> Result<Receipt, ProviderError> {
        let (world, id) = (Arc::clone(&self.0), letter.id.clone());
        world.count(|_| {});
        let [down, silent, refusing] = world.plan.moods;
        let luck = if world.is_calm() { 10 } else { world.draw(|random| random.u32(0..10)) };
        sleep(ms(world.draw(|random| random.u64(1..40)))).await;
        if luck < down {
            return Err(ProviderError::Unavailable { status: 503 });
        }
        if luck < down + refusing {
            return Err(ProviderError::Rejected { code: "no".to_owned() });
        }
        let says_nothing = luck < down + refusing + silent;
        let takes = !says_nothing || world.draw(Rng::bool);
        let (answer, taken) = oneshot::channel();
        tokio::spawn(async move {
            sleep(ms(world.draw(|random| random.u64(1..200)))).await;
            if takes {
                *lock(&world.taken).entry(id.clone()).or_default() += 1;
                world.count(|counts| counts.taken += 1);
                tokio::spawn(report(Arc::clone(&world), id));
            }
            // Whoever asked may be dead.
            let _ = answer.send(());
        });
        if says_nothing {
            sleep(secs(5)).await;
        }
        match taken.await {
            Ok(()) => Ok(Receipt { reference: format!("post-{}", letter.id) }),
            Err(error) => Err(ProviderError::Ambiguous(error.into())),
        }
    }
}

/// Tells what became of a message that was taken: early or late, in any order, some of it twice.
async fn report(world: Arc<World>, id: String) {
    let mut states = vec![State::Sent, State::Delivered, State::Undelivered, State::Bounced, State::Complained];
    let (kept, twice) = world.draw(|random| {
        random.shuffle(&mut states);
        (random.usize(0..4), random.bool())
    });
    states.truncate(kept);
    if twice {
        states.extend_from_within(..);
    }
    let messages = Messages::new(Arc::new(Line(Arc::clone(&world))), Arc::clone(&world.clock));
    for state in states {
        sleep(ms(world.draw(|random| if random.bool() { random.u64(0..50) } else { random.u64(0..300_000) }))).await;
        // Whoever reports comes again until it was heard.
        while let Err(_) | Ok(Reported::Unknown) = messages.report(&id, state, None).await {
            sleep(secs(10)).await;
        }
        world.count(|counts| counts.reports += 1);
        let mut reported = lock(&world.reported);
        let furthest = reported.get(&id).copied().unwrap_or(state).max(state);
        reported.insert(id.clone(), furthest);
    }
}

/// An environment of the consumer.
struct Environment {
    delivery: Delivery<Text>,
    clock: SharedClock,
}

impl Environment {
    fn new(world: &Arc<World>) -> Self {
        let (line, clock) = (Arc::new(Line(Arc::clone(world))), Arc::clone(&world.clock));
        let store: Arc<dyn Store> = line.clone();
        let gate = Gate::new("post", BreakerPolicy::default(), world.plan.rate, Arc::clone(&store), Arc::clone(&clock));
        let provider = Box::new(Post(Arc::clone(world))) as Box<_>;
        let policy = Policy {
            attempts: 2,
            backoff: Backoff::Fixed(ms(100)),
            retryable_statuses: vec![503],
            timeout: secs(2),
            deadline: secs(15),
            replay: Replay::Never,
        };
        let ways = vec![Way { provider, gate: Arc::new(gate) }];
        let integration = Integration::new("mail", "send", policy, ways, Arc::clone(&clock));
        let keys = RequestKeys::new(SecretSlice::from(vec![7; 32]));
        let recipients = Recipients::new(LIST, keys, None, Arc::clone(&store), Arc::clone(&clock));
        let kept = (store, world.blobs.clone() as Arc<dyn Blobs>);
        let delivery = Delivery::new(LIST, integration, recipients, kept, line, Arc::clone(&clock));
        Self { delivery, clock }
    }
}

impl Function for Environment {
    async fn serve(&self, event: Event, deadline_ms: u64) -> Result<Answer, Cause> {
        match event {
            Event::Queue(batch) => {
                let bounds = Bounds { at_once: 5, limit: LIMIT };
                Ok(batch.work(&self.delivery, bounds, &self.clock, deadline_ms).await.into())
            }
            Event::Http(_) | Event::Scheduled(_) | Event::Logs(_) | Event::Objects(_) => Err(event.unexpected()),
        }
    }
}

async fn live(world: &Arc<World>) {
    let recipients = Environment::new(world);
    while recipients.delivery.recipients().suppress(SUPPRESSED, "bounced", "post").await.is_err() {}
    let mut lives = JoinSet::new();
    for _ in 0..world.plan.environments {
        lives.spawn(consume(Arc::clone(world)));
    }
    lives.spawn(sweep_each_minute(Arc::clone(world)));
    lives.spawn(decide(Arc::clone(world)));
    accept(world).await;
    sleep(TROUBLE).await;
    world.calm.store(true, Ordering::Relaxed);
    let until = Instant::now() + PATIENCE;
    // Reports may come for ten minutes more.
    sleep(secs(30 * 60)).await;
    while Instant::now() < until && !world.is_settled() {
        sleep(secs(30)).await;
    }
    check_the_list(world).await;
}

/// Callers, each of whom may die, hear an error, and come again.
async fn accept(world: &Arc<World>) {
    let valid = world.clock.now().after(secs(24 * 60 * 60));
    let text = |place: usize| {
        let to = if place % 17 == 5 { SUPPRESSED.to_owned() } else { format!("somebody {place}") };
        // Some of it lies in a blob.
        Text { to, text: "x".repeat(if place % 11 == 3 { 110 * 1024 } else { 10 }) }
    };
    let mut work: Vec<(String, Vec<Text>)> =
        (0..MESSAGES).map(|number| (format!("m{number}"), vec![text(number)])).collect();
    work.extend((0..BATCHES).map(|batch| (format!("b{batch}"), (0..BATCH_SIZE).map(text).collect())));
    for (id, contents) in &work {
        let members = contents.iter().enumerate().filter(|(_, content)| content.to == SUPPRESSED);
        let name = |index| if id.starts_with('m') { id.clone() } else { ledger::member(id, index) };
        lock(&world.suppressed).extend(members.map(|(index, _)| name(index)));
    }
    world.draw(|random| random.shuffle(&mut work));
    for (id, contents) in work {
        sleep(ms(world.draw(|random| random.u64(0..20_000)))).await;
        for _ in 0..world.draw(|random| random.usize(1..4)) {
            let environment = Environment::new(world);
            let (delivery, single) = (&environment.delivery, id.starts_with('m'));
            let accepting = async {
                match contents.first() {
                    Some(content) if single => delivery.accept(&id, content, "key:portal", valid).await,
                    _ => delivery.accept_batch(&id, &contents, "key:portal", valid).await,
                }
            };
            if let Some(Ok(())) = world.mortal(accepting).await {
                world.count(|counts| counts.accepted += 1);
                let mut promised = lock(&world.promised);
                if single {
                    promised.insert(id.clone());
                } else {
                    promised.extend((0..contents.len()).map(|index| ledger::member(&id, index)));
                }
                break;
            }
        }
    }
}

/// One place among the consumers: an environment, and its successor after a crash.
async fn consume(world: Arc<World>) {
    let mut environment = Environment::new(&world);
    loop {
        let received = receive(&world);
        if received.is_empty() {
            sleep(secs(1)).await;
            continue;
        }
        let records = received.iter().map(
            |waiting| json!({"messageId": waiting.number.to_string(), "body": waiting.body, "eventSource": "aws:sqs"}),
        );
        let event = json!({"Records": records.collect::<Vec<_>>()});
        let deadline = u64::try_from(world.clock.now().after(LIMIT).as_millis()).unwrap_or(0);
        match world.mortal(answer(&environment, &event.to_string(), deadline)).await {
            Some(Ok(told)) => {
                let failed = serde_json::to_string(&told).unwrap_or_default();
                let done = |waiting: &Waiting| {
                    received.iter().any(|one| one.number == waiting.number)
                        && !failed.contains(&format!("\"{}\"", waiting.number))
                };
                lock(&world.queue).retain(|waiting| !done(waiting));
            }
            Some(Err(error)) => lock(&world.noted).push(format!("an invocation failed: {error}")),
            None => environment = Environment::new(&world),
        }
    }
}

/// Up to ten wake-ups, in any order; nobody else gets them for a while.
fn receive(world: &World) -> Vec<Waiting> {
    let (now, mut queue) = (Instant::now(), lock(&world.queue));
    let most = world.draw(|random| {
        random.shuffle(&mut queue);
        random.usize(1..=10)
    });
    let before = queue.len();
    queue.retain(|waiting| waiting.visible_at > now || waiting.receipts < RECEIPTS);
    let dead = before - queue.len();
    let mut received = Vec::new();
    for waiting in queue.iter_mut().filter(|waiting| waiting.visible_at <= now).take(most) {
        waiting.receipts += 1;
        waiting.visible_at = now + VISIBILITY;
        received.push(waiting.clone());
    }
    drop(queue);
    for _ in 0..dead {
        world.count(|counts| counts.dead_letters += 1);
    }
    for _ in &received {
        world.count(|counts| counts.received += 1);
    }
    received
}

async fn sweep_each_minute(world: Arc<World>) {
    let line = Line(Arc::clone(&world));
    loop {
        sleep(secs(60)).await;
        world.count(|_| {});
        // What fails here is made good by the next.
        let _ = world.mortal(sweep(&line, &line, LIST, 120, secs(60), world.clock.now())).await;
    }
}

/// A person who looks at what is in doubt, finds out what happened, and says so or has it sent again.
async fn decide(world: Arc<World>) {
    let messages = Messages::new(Arc::new(Line(Arc::clone(&world))), Arc::clone(&world.clock));
    let mut known = BTreeSet::new();
    loop {
        sleep(secs(400)).await;
        if world.is_calm() {
            return;
        }
        let Ok(listed) = messages.in_doubt(Timestamp::default(), 100).await else { continue };
        for one in listed {
            if known.insert(one.id.clone()) {
                world.count(|counts| counts.doubts += 1);
            }
            let taken = lock(&world.taken).contains_key(&one.id);
            let decision = match world.draw(|random| random.u8(0..4)) {
                0 => continue,
                1 if !taken => Decision::Failed,
                2 => Decision::Repeat,
                _ if taken => Decision::Sent,
                _ => continue,
            };
            if decision == Decision::Repeat {
                // Counted before, because it may act at once. Nobody knows whether one without an answer was carried out.
                *lock(&world.repeated).entry(one.id.clone()).or_default() += 1;
            }
            match messages.decide(&one.id, decision, "key:desk").await {
                Ok(Decided::Done) => world.count(|counts| counts.decisions += 1),
                Ok(Decided::NotInDoubt(_) | Decided::Unknown) if decision == Decision::Repeat => {
                    lock(&world.repeated).entry(one.id).and_modify(|times| *times -= 1);
                }
                Ok(Decided::NotInDoubt(_) | Decided::Unknown) | Err(_) => {}
            }
        }
    }
}

/// Every doubt is on the list, page by page.
async fn check_the_list(world: &Arc<World>) {
    let messages = Messages::new(Arc::new(Line(Arc::clone(world))), Arc::clone(&world.clock));
    let (mut listed, mut from) = (BTreeSet::new(), Timestamp::default());
    while let Ok(page) = messages.in_doubt(from, 10).await {
        let before = listed.len();
        listed.extend(page.iter().map(|one| one.id.clone()));
        match page.last().and_then(|last| last.message.not_before) {
            Some(last) if listed.len() > before => from = last,
            _ => break,
        }
    }
    let doubted =
        world.ids().into_iter().filter(|id| world.message(id).is_some_and(|message| message.state == State::InDoubt));
    for id in doubted.filter(|id| !listed.contains(id)) {
        lock(&world.noted).push(format!("`{id}` is in doubt and not listed"));
    }
}
