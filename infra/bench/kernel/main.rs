//! What the resilience layer costs: processor time and syscalls of a warm hit, and trips to the store by path.
//!
//! ```text
//! cargo run --release -p ieum-bench --no-default-features --features kernel --bin bench-kernel
//! ```
//!
//! With `--worker` it is one environment of `contention.mjs`, over a DynamoDB, and is told what to do by variables.
//!
//! The layer is put together as `verify` does it: settings that can change, cache, circuit breaker, rate limit, minutes.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for a terminal")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::future::join_all;
use ieum::answers::{Request, Response};
use ieum::aws::Aws;
use ieum::clock::{SystemClock, Timestamp};
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::integration::{Integration, Way};
use ieum::policy::Replay;
use ieum::provider::{Provider, ProviderError};
use ieum::settings::Schema;
use ieum::start::Kernel;
use ieum::store::{Item, Key, MemoryStore, Outcome, Read, Store, StoreError, Update};
use ieum::telemetry;
use ieum_bench::process::cpu_us;
use ieum_bench::{Fault, chart, flag, median};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// One trip to the store.
const TRIP: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, Serialize)]
struct Question(u64);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answer {
    name: String,
    status: String,
}

impl Request for Question {
    fn readable(&self) -> String {
        self.0.to_string()
    }
}

impl Response for Answer {
    fn is_known(&self) -> bool {
        true
    }
}

/// A provider that answers after a while, or is down.
#[derive(Clone, Debug, Default)]
struct Tax {
    down: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    takes: Duration,
}

#[async_trait]
impl Provider<Question, Answer> for Tax {
    fn name(&self) -> &'static str {
        "nts"
    }

    async fn call(&self, _: &Question) -> Result<Answer, ProviderError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if !self.takes.is_zero() {
            sleep(self.takes).await;
        }
        if self.down.load(Ordering::Relaxed) {
            return Err(ProviderError::Unavailable { status: 503 });
        }
        Ok(Answer { name: "주식회사 이음".to_owned(), status: "active".to_owned() })
    }
}

/// A memory store that counts, and takes a while when told to.
#[derive(Debug, Default)]
struct Counted {
    store: MemoryStore,
    gets: AtomicU64,
    batches: AtomicU64,
    updates: AtomicU64,
    slow: AtomicBool,
}

impl Counted {
    async fn trip(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
        if self.slow.load(Ordering::Relaxed) {
            sleep(TRIP).await;
        }
    }

    fn counts(&self) -> [u64; 3] {
        [&self.gets, &self.batches, &self.updates].map(|counter| counter.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl Store for Counted {
    async fn get(&self, key: &str, read: Read) -> Result<Option<Item>, StoreError> {
        self.trip(&self.gets).await;
        self.store.get(key, read).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.trip(&self.batches).await;
        self.store.get_many(keys).await
    }

    async fn listed(&self, list: &str, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.store.listed(list, from, until, limit).await
    }

    async fn due(&self, list: &str, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.store.due(list, until, limit).await
    }

    async fn update(&self, update: &Update) -> Result<Outcome, StoreError> {
        self.trip(&self.updates).await;
        self.store.update(update).await
    }
}

/// An environment of a function, over `store`; `more` are its variables.
async fn environment(
    store: Arc<dyn Store>,
    provider: Tax,
    remembers: bool,
    more: &[(&str, &str)],
) -> Result<Integration<Question, Answer>, Fault> {
    // One secret for all environments: without it each would name what it remembers by a key of its own.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    std::fs::create_dir_all(&folder)?;
    // Several environments write it at once, and none may read half of it.
    let (secret, own) =
        (folder.join("kernel-secret.json"), folder.join(format!("kernel-secret-{}", std::process::id())));
    std::fs::write(&own, r#"{"cache_key": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}"#)?;
    std::fs::rename(own, &secret)?;
    let secret = format!("file:{}", secret.display());
    let mut env = Env::from([
        ("STAGE", "local"),
        ("IEUM_SECRET", secret.as_str()),
        ("STORE_TIMEOUT_MS", "1000"),
        ("NTS_RATE_PER_PERIOD", "1000"),
        ("NTS_RATE_BURST", "1000"),
        ("VERIFY_ATTEMPTS", "1"),
    ]);
    for (name, value) in more {
        env = env.with(name, value);
    }
    let (common, policy, breaker, cache, rate) = env.read(|reader| {
        let cache = reader.cache("VERIFY", 86_400, 604_800, 300)?;
        let (policy, breaker) = (reader.policy("VERIFY", Replay::Safe)?, reader.breaker("VERIFY")?);
        Some((reader.common()?, policy, breaker, cache, reader.rate("NTS", 10, 10)?))
    })?;
    let clock = Arc::new(SystemClock);
    let kernel = Kernel::over(&common, HttpClient::new(None)?, clock, store, None).await?;
    let settings = kernel.settings(Schema::new("verify", &["nts"]));
    let gate = kernel.gate("nts", settings.live("VERIFY", breaker), settings.live("NTS", Some(rate)));
    let way = Way { provider: Box::new(provider), gate };
    let clock = Arc::clone(&kernel.clock);
    let integration = Integration::new("verify", "company", settings.live("VERIFY", policy), vec![way], clock)
        .rollups(kernel.rollups("verify"));
    if !remembers {
        return Ok(integration);
    }
    let cache = kernel.cache("company", settings.live("VERIFY", cache));
    Ok(integration.cache(cache).manual(kernel.manual_entries("company")))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

fn main() -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if flag("worker").is_some() {
        return runtime.block_on(work());
    }
    match flag("calls") {
        Some(calls) => runtime.block_on(hits(calls.parse()?, flag("log").is_some())),
        None => {
            runtime.block_on(trips())?;
            warm()
        }
    }
}

/// One environment among others: so many calls by so many callers, and what became of them.
async fn work() -> Result<(), Fault> {
    let given = |name: &str| std::env::var(name).map_err(|_| format!("`{name}` is missing"));
    let number = |name: &str| -> Result<u64, Fault> { Ok(given(name)?.parse()?) };
    let aws = Aws::of_environment(HttpClient::new(None)?)?;
    let provider = Tax { takes: Duration::from_millis(number("SLOW_MS")?), ..Tax::default() };
    provider.down.store(given("MODE")? == "fail", Ordering::Relaxed);
    let (threshold, open) = (given("THRESHOLD")?, given("OPEN_SECONDS")?);
    let numbers = [("VERIFY_BREAKER_FAILURES", threshold.as_str()), ("VERIFY_BREAKER_OPEN_SECONDS", open.as_str())];
    let store = Arc::new(aws.store(&given("TABLE")?));
    let integration = environment(store, provider.clone(), false, &numbers).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    sleep(Duration::from_millis(number("START_AT")?).saturating_sub(now)).await;
    let (calls, rest) = (number("CALLS")?, Duration::from_millis(number("REST_MS")?));
    let caller = async || {
        let mut answered = 0;
        for call in 0..calls {
            answered += u64::from(integration.call(&Question(call + (fastrand::u64(..) << 20)), soon()).await.is_ok());
            sleep(rest).await;
        }
        answered
    };
    let answered: u64 = join_all((0..number("CONCURRENT")?).map(|_| caller())).await.into_iter().sum();
    println!("{{\"upstream\": {}, \"answered\": {answered}}}", provider.asked.load(Ordering::Relaxed));
    Ok(())
}

/// Asks the same question again and again, and says what one answer cost.
async fn hits(calls: u32, log: bool) -> Result<(), Fault> {
    if log {
        telemetry::init(telemetry::LevelSwitch::new(telemetry::LogLevel::Info), &[], Arc::new(SystemClock));
    }
    let integration = environment(Arc::new(MemoryStore::new()), Tax::default(), true, &[]).await?;
    let _ = integration.call(&Question(1), soon()).await;
    let used = cpu_us(std::process::id());
    for _ in 0..calls {
        if integration.call(&Question(1), soon()).await.is_err() {
            return Err("no answer".into());
        }
    }
    eprintln!("{}", (cpu_us(std::process::id()) - used) / f64::from(calls));
    Ok(())
}

/// The cost of a warm hit, in children: alternately without a log and with one, then under strace.
fn warm() -> Result<(), Fault> {
    let child = |wrapper: &[&str], arguments: &[&str]| -> Result<f64, Fault> {
        let own = std::env::current_exe()?;
        let mut words = wrapper.iter().map(AsRef::as_ref).chain([own.as_os_str()]);
        let mut command = Command::new(words.next().ok_or("nothing to run")?);
        let output = command.args(words).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
        Ok(String::from_utf8_lossy(&output.stderr).trim().parse()?)
    };
    let (mut silent, mut logging) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        silent.push(child(&[], &["--calls", "200000"])?);
        logging.push(child(&[], &["--calls", "100000", "--log", "yes"])?);
    }
    let summary = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench/kernel.strace");
    std::fs::create_dir_all(summary.parent().ok_or("no folder")?)?;
    let place = summary.display().to_string();
    let syscalls = |calls: &str| -> Result<f64, Fault> {
        child(&["strace", "-f", "-c", "-o", &place], &["--calls", calls])?;
        let text = std::fs::read_to_string(&summary)?;
        let total = text.lines().rfind(|line| line.ends_with("total")).ok_or("no total")?;
        Ok(total.split_whitespace().nth(3).ok_or("no count")?.parse()?)
    };
    let (few, many) = (syscalls("1000")?, syscalls("101000")?);
    println!("\n| a warm hit | |\n|---|---|");
    println!("| the layer: executor, cache, settings, minutes | {} µs of CPU |", chart::number(median(&silent)));
    println!("| the same with its log line (`answer`, with metrics) | {} µs of CPU |", chart::number(median(&logging)));
    println!("| syscalls of the layer, of 100,000 hits | {} |", many - few);
    Ok(())
}

/// Trips to the store, by path.
async fn trips() -> Result<(), Fault> {
    println!("| path | reads | batches of reads | writes | trips the caller waits for |\n|---|---|---|---|---|");
    let (store, provider) = (Arc::new(Counted::default()), Tax::default());
    let another = |remembers| environment(Arc::clone(&store) as Arc<dyn Store>, provider.clone(), remembers, &[]);
    let first = another(true).await?;
    store.slow.store(true, Ordering::Relaxed);
    tell(&store, "miss, first of an environment", &first, Question(1)).await;
    tell(&store, "miss, within a lease", &first, Question(2)).await;
    tell(&store, "hit in memory", &first, Question(1)).await;
    let second = another(true).await?;
    tell(&store, "stored hit, by another environment", &second, Question(1)).await;
    let plain = another(false).await?;
    tell(&store, "uncacheable, first of an environment", &plain, Question(1)).await;
    tell(&store, "uncacheable, within a lease", &plain, Question(1)).await;
    provider.down.store(true, Ordering::Relaxed);
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let _ = plain.call(&Question(1), soon()).await;
        sleep(Duration::from_millis(100)).await;
    }
    let late = another(false).await?;
    tell(&store, "open circuit, first of an environment", &late, Question(1)).await;
    tell(&store, "open circuit, known", &late, Question(1)).await;
    tell(&store, "open circuit, stored hit", &another(true).await?, Question(1)).await;
    Ok(())
}

async fn tell(store: &Counted, path: &str, integration: &Integration<Question, Answer>, question: Question) {
    let before = store.counts();
    let began = Instant::now();
    let _ = integration.call(&question, soon()).await;
    let waited = began.elapsed().as_micros() / TRIP.as_micros();
    // What is written behind the caller's back counts as well.
    sleep(TRIP * 3).await;
    let after = store.counts();
    let [gets, batches, updates] = [0, 1, 2].map(|place| after[place] - before[place]);
    println!("| {path} | {gets} | {batches} | {updates} | {waited} |");
}
