//! How long the overview takes over a million rollup rows: 24 integrations, a week of minutes and quarters, four parts each.
//!
//! `cargo run -p console --example million`. The rows lie in memory, so what is measured is ours: keys, sums, percentiles,
//! pictures and templates. The trips to the table are counted, each of 100 items.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench tells what it measured, and ends when it cannot"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use console::{Config, Handler};
use ieum::api::HttpEvent;
use ieum::clock::{Clock, SharedClock, Timestamp};
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::resilience::rollup::{Counts, Ending, Grain, SHARDS};
use ieum::runtime::HttpFunction;
use ieum::start::Kernel;
use ieum::store::{Item, Key, MemoryStore, Outcome, Read, Store, StoreError, Update};
use ieum::testing::ManualClock;

const INTEGRATIONS: usize = 24;
const MINUTES: i64 = 7 * 24 * 60;

/// A memory store that counts trips. Lists are apart: finding them by looking at a million items is not what a table does.
#[derive(Debug, Default)]
struct Counting {
    rollups: MemoryStore,
    lists: MemoryStore,
    trips: AtomicU64,
}

#[async_trait]
impl Store for Counting {
    async fn get(&self, key: &str, read: Read) -> Result<Option<Item>, StoreError> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        self.lists.get(key, read).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        self.rollups.get_many(keys).await
    }

    async fn listed(&self, list: &str, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        self.lists.listed(list, from, until, limit).await
    }

    async fn due(&self, list: &str, until: Timestamp, limit: u32) -> Result<Vec<Key>, StoreError> {
        self.lists.due(list, until, limit).await
    }

    async fn update(&self, update: &Update) -> Result<Outcome, StoreError> {
        self.lists.update(update).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (store, clock) = (Arc::new(Counting::default()), ManualClock::start());
    let names: Vec<String> = (0..INTEGRATIONS).map(|number| format!("integration{number}")).collect();
    let mut rows = 0;
    for name in &names {
        for (grain, count) in [(Grain::Minute, MINUTES), (Grain::Quarter, MINUTES / 15)] {
            for period in grain.of(clock.now()).and_before(count) {
                for shard in 0..SHARDS {
                    let mut counts = Counts::default();
                    counts.note(Ending::Live, Duration::from_millis(u64::from(fastrand::u32(1..3_000))));
                    store.rollups.apply(&counts.flush(name, period, shard));
                    rows += 1;
                }
            }
        }
    }
    let pairs: Vec<String> = names.iter().map(|name| format!("{name}/provider-of-{name}")).collect();
    let pairs = pairs.join(",");
    let env = Env::from([
        ("STAGE", "local"),
        ("IEUM_LOCAL_API_KEY", "local-events-key"),
        ("CONSOLE_INTEGRATIONS", pairs.as_str()),
    ]);
    let config = Config::from_env(&env).expect("a configuration");
    let (http, shared) = (HttpClient::new(None).expect("TLS"), Arc::clone(&clock) as SharedClock);
    let kernel = Kernel::over(&config.common, http, shared, Arc::clone(&store) as _, None).await.expect("a kernel");
    let handler = Handler::over(&kernel, &config);
    println!("{rows} rollup rows, {INTEGRATIONS} integrations");
    let event = include_str!("../../../events/console-view-overview.json");
    for what in ["the first time", "within five seconds", "ten seconds later", "ten seconds later"] {
        if what == "ten seconds later" {
            clock.advance(Duration::from_secs(10));
        }
        let event: HttpEvent = serde_json::from_str(event).expect("an event");
        let (before, began) = (store.trips.load(Ordering::Relaxed), Instant::now());
        let response = handler.serve(event, 0).await;
        let (took, trips) = (began.elapsed(), store.trips.load(Ordering::Relaxed) - before);
        println!("{what}: {} in {took:?}, {trips} trips, {} bytes", response.status_code, response.body.len());
    }
}
