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
use ieum::resilience::health::{self, Finding, Reason, State};
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
async fn what_a_check_has_found_is_served_while_nobody_calls() {
    let (handler, store, clock) = console().await;
    let find = |subject: &str, finding: Finding| {
        let before = store.read(&health::key(subject)).as_ref().map(State::from).unwrap_or_default();
        let write = before.after(finding, clock.now()).write(subject, &before);
        assert!(matches!(store.apply(&write), Outcome::Applied(_)));
    };
    let (_, body) = send(&handler, "health").await;
    assert_eq!(body["checker"], Value::Null, "nobody has looked");
    let since = clock.now().rfc3339();
    find("verify/nice", Finding::Failing(Reason::TimedOut));
    find("verify", Finding::Impaired(Reason::Slow));
    find("checker", Finding::Well);
    clock.advance(Duration::from_secs(60));
    let (status, body) = send(&handler, "health-integration").await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")));
    let found =
        json!({"name": "nice", "status": "degraded", "reason": "timed_out", "since": since, "checked_at": since});
    assert_eq!(body["providers"][0], found);
    assert_eq!(body["providers"][1], json!({"name": "nts", "status": "healthy"}));
    assert_eq!(body["alerts"], json!({"status": "degraded", "reason": "slow", "since": since}));
    let (_, body) = send(&handler, "health").await;
    assert_eq!(body["checker"], json!({"status": "healthy", "reason": null, "since": since}));
    clock.advance(Duration::from_secs(15 * 60));
    let (_, body) = send(&handler, "health-integration").await;
    assert_eq!((&body["status"], &body["alerts"]), (&json!("healthy"), &Value::Null), "that is too long ago");
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

/// The only audit item that tells of `what`.
fn on_record(store: &MemoryStore, what: &str) -> Value {
    let entries = store.items_with("audit#").into_iter().filter(|item| item.text("what") == Some(what));
    let [entry] = entries.collect::<Vec<_>>().try_into().expect("one entry");
    json!(["who", "target", "before", "after"].map(|name| entry.text(name).map(str::to_owned)))
}

#[tokio::test]
async fn settings_are_shown_changed_and_taken_back_on_record() {
    let (handler, store, _) = console().await;
    let (status, before) = send(&handler, "config").await;
    assert_eq!((status, &before["version"], &before["void"]), (200, &json!(0), &json!([])));
    let setting = |body: &Value, name: &str| {
        let all = body["settings"].as_array().expect("settings").iter();
        all.clone().find(|setting| setting["name"] == name).expect("a setting").clone()
    };
    assert_eq!(
        setting(&before, "VERIFY_TIMEOUT_MS"),
        json!({"name": "VERIFY_TIMEOUT_MS", "form": "a whole number from 50 to 60000", "source": "deployed", "value": null})
    );
    let (status, changed) = send(&handler, "config-change").await;
    assert_eq!((status, &changed["version"]), (200, &json!(1)), "{changed}");
    assert_eq!(setting(&changed, "VERIFY_TIMEOUT_MS")["value"], "3000");
    assert_eq!(setting(&changed, "NICE_DAILY_QUOTA")["source"], "runtime");
    let after = r#"{"LOG_LEVEL":"debug","NICE_DAILY_QUOTA":"5000","VERIFY_TIMEOUT_MS":"3000"}"#;
    assert_eq!(on_record(&store, "settings.change"), json!(["key:local", "verify", "{}", after]));

    let (status, body) = send(&handler, "config-change").await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("conflict")), "it was seen at version 0");
    let (status, taken_back) = send(&handler, "config-take-back").await;
    assert_eq!((status, &taken_back["version"]), (200, &json!(2)));
    assert_eq!(setting(&taken_back, "LOG_LEVEL")["source"], "deployed");
    assert_eq!(send(&handler, "config").await.1, taken_back);
}

#[tokio::test]
async fn unsound_settings_are_refused_whole_naming_each_mistake() {
    let (handler, store, _) = console().await;
    for (event, fields) in [
        ("config-mistakes", &["TABLE_NAME", "VERIFY_PROVIDERS", "VERIFY_TIMEOUT_MS"][..]),
        ("config-shapeless", &["version", "VERIFY_TIMEOUT_MS"]),
        ("cache-nothing", &["pattern"]),
        ("cache-both", &["key"]),
    ] {
        let (status, body) = send(&handler, event).await;
        let details = body["error"]["details"].as_array().expect("details");
        let named: Vec<_> = details.iter().map(|detail| detail["field"].as_str().expect("a field")).collect();
        assert_eq!((status, &named[..]), (400, fields), "{event}: {body}");
    }
    assert_eq!(store.items_with("").len(), 0, "nothing is written, not even a record");
}

#[tokio::test]
async fn remembered_answers_are_declared_void_by_pattern_or_key() {
    let (handler, store, _) = console().await;
    let (status, body) = send(&handler, "cache-pattern").await;
    let until = "2026-11-21T03:50:01Z";
    assert_eq!((status, &body["rule"]), (200, &json!({"pattern": "company 401*", "fetched_until": until})));
    assert_eq!(body["acts_by"], "2026-11-21T03:51:00Z");
    let rule = r#"{"pattern":"company 401*","at":1795233001000}"#;
    let target = "verify pattern company 401*";
    assert_eq!(on_record(&store, "settings.invalidate"), json!(["key:local", target, "null", rule]));
    assert_eq!(send(&handler, "cache-key").await.0, 200);
    assert_eq!(send(&handler, "config").await.1["void"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_circuit_is_closed_by_hand_and_what_failed_before_does_not_count() {
    let (handler, store, clock) = console().await;
    open(&store, "nice", &clock);
    let (status, body) = send(&handler, "breaker-reset").await;
    assert_eq!((status, body), (200, json!({"provider": "nice", "circuit": "closed", "status": "healthy"})));
    let circuit = Circuit::from(&store.read("breaker#nice").expect("an item"));
    assert_eq!((circuit.open, circuit.epoch, circuit.failures), (false, 2, 0));
    let before = r#"{"epoch":1,"failures":0,"state":"open"}"#;
    let after = r#"{"epoch":2,"failures":0,"state":"closed"}"#;
    assert_eq!(on_record(&store, "breaker.reset"), json!(["key:local", "nice", before, after]));
    assert_eq!(send(&handler, "breaker-reset-unknown").await.0, 404);
}

#[tokio::test]
async fn nobody_steers_without_a_key() {
    let (handler, ..) = console().await;
    let (status, body) = send(&handler, "config-without-key").await;
    assert_eq!((status, &body["error"]["code"]), (401, &json!("unauthenticated")));
}
