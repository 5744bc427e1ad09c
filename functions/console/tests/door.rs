//! `console` through its own door, over a store that other functions have written to.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use console::{Config, Handler};
use ieum::api::HttpEvent;
use ieum::clock::{Clock, SharedClock};
use ieum::config::Env;
use ieum::http::HttpClient;
use ieum::resilience::circuit_breaker::{BreakerPolicy, Cause, Circuit};
use ieum::resilience::rate_limit::{Bucket, Plan, RatePolicy};
use ieum::runtime::HttpFunction;
use ieum::start::Kernel;
use ieum::store::{MemoryStore, Outcome};
use ieum::testing::ManualClock;
use serde_json::{Value, json};

async fn console() -> (Handler, Arc<MemoryStore>, Arc<ManualClock>) {
    let env = Env::from([
        ("STAGE", "local"),
        ("IEUM_LOCAL_API_KEY", "local-events-key"),
        ("CONSOLE_INTEGRATIONS", "verify/nice,verify/nts,email/ses"),
    ]);
    let config = Config::from_env(&env).expect("a valid configuration");
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::start());
    let (http, shared) = (HttpClient::new(None).expect("TLS"), Arc::clone(&clock) as SharedClock);
    let kernel = Kernel::over(&config.common, http, shared, Arc::clone(&store) as _, None).await.expect("a kernel");
    (Handler::over(&kernel, &config), store, clock)
}

async fn send(handler: &Handler, event: &str) -> (u16, Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../events/console-{event}.json"));
    let text = std::fs::read_to_string(path).expect("an event");
    let event: HttpEvent = serde_json::from_str(&text).expect("an event of API Gateway");
    let response = handler.serve(event, 0).await;
    (response.status_code, serde_json::from_str(&response.body).expect("JSON"))
}

fn open(store: &MemoryStore, provider: &str, clock: &ManualClock) {
    let update = Circuit::open(provider, 0, Cause::Local, &BreakerPolicy::default(), clock.now());
    assert!(matches!(store.apply(&update), Outcome::Applied(_)));
}

#[tokio::test]
async fn a_fleet_that_has_written_nothing_is_healthy() {
    let (handler, ..) = console().await;
    let (status, body) = send(&handler, "health").await;
    assert_eq!((status, &body["status"]), (200, &json!("healthy")));
    assert_eq!(body["integrations"], json!({"email": {"status": "healthy"}, "verify": {"status": "healthy"}}));
}

#[tokio::test]
async fn an_open_circuit_degrades_and_the_last_one_makes_unhealthy() {
    let (handler, store, clock) = console().await;
    open(&store, "nice", &clock);
    let (status, body) = send(&handler, "health").await;
    assert_eq!(
        (status, &body["status"], &body["integrations"]["verify"]["status"]),
        (200, &json!("degraded"), &json!("degraded"))
    );
    open(&store, "nts", &clock);
    let (status, body) = send(&handler, "health").await;
    assert_eq!(
        (status, &body["status"], &body["integrations"]["email"]["status"]),
        (503, &json!("unhealthy"), &json!("healthy"))
    );
    clock.advance(Duration::from_secs(60));
    assert_eq!(send(&handler, "health").await.1["status"], "degraded", "a probe is due");
}

#[tokio::test]
async fn a_quota_is_shown_and_counts_as_down_when_it_is_used_up() {
    let (handler, store, clock) = console().await;
    let policy = RatePolicy::new(10, Duration::from_secs(1), 20, Duration::ZERO).unwrap().daily(Some(2));
    for used in 1..=2 {
        let bucket = store.read("rate#nts").as_ref().map(Bucket::from).unwrap_or_default();
        let Plan::Take { update, .. } = bucket.plan("rate#nts", &policy, 1, Duration::ZERO, clock.now()) else {
            panic!("a place is left");
        };
        assert!(matches!(store.apply(&update), Outcome::Applied(_)));
        let (_, body) = send(&handler, "health-integration").await;
        assert_eq!(body["providers"][1]["quota"], json!({"used": used, "of": 2}));
    }
    let (_, body) = send(&handler, "health-integration").await;
    let nts = &body["providers"][1];
    assert_eq!((&nts["reason"], &nts["until"]), (&json!("quota_used_up"), &json!("2026-11-21T15:00:00Z")));
    clock.advance(Duration::from_secs(12 * 60 * 60));
    let (_, body) = send(&handler, "health-integration").await;
    assert_eq!(body["providers"][1], json!({"name": "nts", "status": "healthy", "quota": {"used": 0, "of": 2}}));
}

#[tokio::test]
async fn one_integration_tells_its_providers_with_reason_and_time() {
    let (handler, store, clock) = console().await;
    open(&store, "nice", &clock);
    assert!(matches!(
        store.apply(&Bucket::block("rate#nts", clock.now().after(Duration::from_secs(30)))),
        Outcome::Applied(_)
    ));
    let (status, body) = send(&handler, "health-integration").await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")));
    assert_eq!(
        body["providers"],
        json!([
            {"name": "nice", "status": "unhealthy", "reason": "circuit_open", "until": "2026-11-21T03:51:00Z"},
            {"name": "nts", "status": "degraded", "reason": "throttled", "until": "2026-11-21T03:50:30Z"},
        ])
    );
    let (status, body) = send(&handler, "health-unknown").await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("not_found")));
}
