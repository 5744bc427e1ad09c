//! `console` through its own door, over a store that other functions have written to.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use console::{Config, Handler};
use ieum::api::{HttpEvent, HttpResponse};
use ieum::clock::{Clock, SharedClock};
use ieum::config::Env;
use ieum::delivery::{inbox, ledger};
use ieum::http::HttpClient;
use ieum::resilience::circuit_breaker::{BreakerPolicy, Cause, Circuit};
use ieum::resilience::health::{self, Finding, Reason, State};
use ieum::resilience::rate_limit::{Bucket, Plan, RatePolicy};
use ieum::resilience::rollup::{Counts, Ending, Grain};
use ieum::runtime::HttpFunction;
use ieum::start::Kernel;
use ieum::store::{MemoryStore, Outcome};
use ieum::testing::ManualClock;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Keys of somebody who may do everything, look, and send mail.
fn secret() -> String {
    let key = |id: &str, key: &str, scopes: &[&str]| {
        let digest = hex::encode(Sha256::digest(key));
        json!({"id": id, "label": id, "scopes": scopes, "not_after": "9999-12-31T23:59:59Z", "sha256": digest})
    };
    let keys = [
        key("local", "local-events-key", &["*"]),
        key("reader", "reader-key-for-events", &["ops:read"]),
        key("sender", "sender-key-for-events", &["email:send"]),
    ];
    json!({"api_keys": keys, "jwt_issuers": [], "cache_key": "AAECAwQFBgcICQoLDA0ODw=="}).to_string()
}

async fn console() -> (Handler, Arc<MemoryStore>, Arc<ManualClock>) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("console");
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join(format!("{:?}.json", std::thread::current().id()));
    std::fs::write(&file, secret()).expect("a file");
    let secret = format!("file:{}", file.display());
    let env = Env::from([
        ("STAGE", "local"),
        ("IEUM_SECRET", secret.as_str()),
        ("CONSOLE_INTEGRATIONS", "verify/nice,verify/nts,email/ses"),
    ]);
    let config = Config::from_env(&env).expect("a valid configuration");
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::start());
    let (http, shared) = (HttpClient::new(None).expect("TLS"), Arc::clone(&clock) as SharedClock);
    let kernel = Kernel::over(&config.common, http, shared, Arc::clone(&store) as _, None).await.expect("a kernel");
    (Handler::over(&kernel, &config), store, clock)
}

async fn send(handler: &Handler, event: &str) -> (u16, Value) {
    let response = serve(handler, event).await;
    (response.status_code, serde_json::from_str(&response.body).expect("JSON"))
}

/// A part of the page, or all of it.
async fn html(handler: &Handler, event: &str) -> String {
    let response = serve(handler, event).await;
    assert_eq!(response.status_code, 200, "{event}: {}", response.body);
    assert!(response.headers["content-type"].starts_with("text/html"), "{event}");
    assert!(response.headers["content-security-policy"].starts_with("default-src 'none'"), "{event}");
    response.body
}

async fn serve(handler: &Handler, event: &str) -> HttpResponse {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../events/console-{event}.json"));
    let text = std::fs::read_to_string(path).expect("an event");
    let event: HttpEvent = serde_json::from_str(&text).expect("an event of API Gateway");
    handler.serve(event, 0).await
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
        json!({"name": "VERIFY_TIMEOUT_MS", "form": "a whole number from 50 to 60000", "source": "deployed", "value": null, "deployed": null})
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

#[tokio::test]
async fn health_is_told_in_the_form_that_is_asked_for_and_under_both_names() {
    let (handler, store, clock) = console().await;
    open(&store, "nice", &clock);
    assert_eq!(send(&handler, "health-alias").await, send(&handler, "health").await);
    let response = serve(&handler, "health-draft").await;
    assert_eq!(response.headers["content-type"], "application/health+json");
    let body: Value = serde_json::from_str(&response.body).expect("JSON");
    assert_eq!((response.status_code, &body["status"]), (200, &json!("warn")));
    let of_verify = json!([{"componentType": "system", "status": "warn", "time": "2026-11-21T03:50:00Z"}]);
    assert_eq!(body["checks"]["verify"], of_verify);
    assert_eq!(body["checks"]["email"][0]["status"], "pass");
}

/// What the fleet has counted: in the present minute, and three hours ago.
fn calls(store: &MemoryStore, clock: &ManualClock) {
    let (now, before) = (clock.now(), clock.now().before(Duration::from_secs(3 * 60 * 60)));
    let mut counts = Counts::default();
    (0..9).for_each(|_| counts.note(Ending::Live, Duration::from_millis(30)));
    counts.note(Ending::Cached, Duration::from_millis(1));
    for grain in Grain::ALL {
        assert!(matches!(store.apply(&counts.flush("verify", grain.of(now), 0)), Outcome::Applied(_)));
    }
    let mut counts = Counts::default();
    (0..2).for_each(|_| counts.note(Ending::Unanswered, Duration::from_secs(5)));
    counts.note_setback("timeout");
    for grain in Grain::ALL {
        assert!(matches!(store.apply(&counts.flush("verify", grain.of(before), 3)), Outcome::Applied(_)));
    }
}

#[tokio::test]
async fn prometheus_reads_gauges_of_everything() {
    let (handler, store, clock) = console().await;
    calls(&store, &clock);
    open(&store, "nice", &clock);
    in_doubt(&store, &clock);
    let response = serve(&handler, "metrics").await;
    assert_eq!(response.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    for sample in [
        "ieum_status{integration=\"verify\"} 1",
        "ieum_circuit_open{integration=\"verify\",provider=\"nice\"} 1",
        "ieum_calls{integration=\"verify\",window=\"1h\",ending=\"live\"} 9",
        "ieum_calls{integration=\"verify\",window=\"24h\",ending=\"unanswered\"} 2",
        "ieum_call_duration_ms{integration=\"verify\",window=\"1h\",quantile=\"0.5\"} 40",
        "ieum_setbacks{integration=\"verify\",window=\"24h\",reason=\"timeout\"} 1",
        "ieum_waiting{list=\"email\"} 0",
        "ieum_in_doubt 1",
    ] {
        assert!(response.body.lines().any(|line| line == sample), "{sample}: {}", response.body);
    }
    let families: Vec<&str> = response.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(families.iter().all(|family| family.ends_with(" gauge")));
    for line in response.body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        assert!(value.parse::<f64>().is_ok() && name.starts_with("ieum_"), "{line}");
    }
}

#[tokio::test]
async fn the_last_change_is_undone_on_record_by_whoever_has_seen_it() {
    let (handler, store, _) = console().await;
    assert_eq!(send(&handler, "config-undo").await.0, 409, "there is nothing to undo");
    assert_eq!(send(&handler, "config-change").await.0, 200);
    let (status, undone) = send(&handler, "config-undo").await;
    assert_eq!((status, &undone["version"], &undone["can_undo"]), (200, &json!(2), &json!(true)));
    let before = r#"{"LOG_LEVEL":"debug","NICE_DAILY_QUOTA":"5000","VERIFY_TIMEOUT_MS":"3000"}"#;
    assert_eq!(on_record(&store, "settings.undo"), json!(["key:local", "verify", before, "{}"]));
    assert_eq!(send(&handler, "config-undo").await.0, 409, "it was seen at version 1");
}

const MESSAGE: &str = "018f2f4e-7a40-7c11-9d2a-3f5b7c9d1e01";
const HOSTILE: &str = "<img src=x onerror=alert(1)><script>alert(2)</script>";

/// A mail in doubt, with a hostile subject.
fn in_doubt(store: &MemoryStore, clock: &ManualClock) {
    let now = clock.now();
    let message = |id: &str, list| ledger::NewMessage {
        id: id.to_owned(),
        list,
        body: ledger::Body::Text(
            json!({"subject": HOSTILE, "to": "kim@example.kr", "api_key": "s3cr3t-k3y-0123456789"}).to_string(),
        ),
        caller: "key:shop".to_owned(),
        created_at: now,
        not_before: now,
        valid_until: now.after(Duration::from_secs(3600)),
    };
    for update in [
        ledger::accept(&message(MESSAGE, "email")),
        ledger::begin(MESSAGE, 0, "ses", now.after(Duration::from_secs(10))),
        ledger::doubt(MESSAGE, 1, now),
        ledger::accept(&message("018f2f4e-7a40-7c11-9d2a-3f5b7c9d1e02", "sms")),
        ledger::accept(&message("018f2f4e-7a40-7c11-9d2a-3f5b7c9d1e03", "sms")),
    ] {
        assert!(matches!(store.apply(&update), Outcome::Applied(_)), "{update:?}");
    }
}

#[tokio::test]
async fn messages_that_want_attention_are_listed_without_what_they_say() {
    let (handler, store, clock) = console().await;
    in_doubt(&store, &clock);
    let (status, body) = send(&handler, "messages").await;
    assert_eq!((status, body["messages"].as_array().map(Vec::len), &body["next_from"]), (200, Some(1), &json!(null)));
    let message = &body["messages"][0];
    assert_eq!(
        (&message["id"], &message["state"], &message["provider"]),
        (&json!(MESSAGE), &json!("in_doubt"), &json!("ses"))
    );
    assert!(!body.to_string().contains("kim@") && !body.to_string().contains("img"));
    let (_, waiting) = send(&handler, "messages-waiting").await;
    assert_eq!(
        (waiting["messages"].as_array().map(Vec::len), &waiting["next_from"]),
        (Some(1), &json!("2026-11-21T03:50:00Z"))
    );
    let (status, body) = send(&handler, "messages-mistakes").await;
    assert_eq!((status, body["error"]["details"].as_array().map(Vec::len)), (400, Some(4)));
    let (status, body) = send(&handler, "message").await;
    assert_eq!((status, &body["caller"]), (200, &json!("key:shop")));
    assert!(!body.to_string().contains("s3cr3t"), "{body}");
    assert_eq!(send(&handler, "message-unknown").await.0, 404);
}

#[tokio::test]
async fn a_message_in_doubt_is_settled_once_and_on_record() {
    let (handler, store, clock) = console().await;
    in_doubt(&store, &clock);
    assert_eq!(send(&handler, "message-settle-mistake").await.0, 400);
    assert_eq!(send(&handler, "message-settle").await.0, 200);
    assert_eq!(send(&handler, "message").await.1["state"], "sent");
    assert_eq!(on_record(&store, "message.settle_as_sent")[0], "key:local");
    assert_eq!(send(&handler, "message-settle").await.0, 409);
    assert_eq!(send(&handler, "message-settle-unknown").await.0, 404);
}

/// A webhook that waits, with a hostile body.
fn webhook(store: &MemoryStore, clock: &ManualClock) {
    let webhook = inbox::NewWebhook {
        provider: "stripe",
        delivery: "evt_1".to_owned(),
        list: "payment-webhooks",
        body: inbox::Body::Text(json!({"type": HOSTILE, "client_secret": "pi_1_secret_0123456789abcdef"}).to_string()),
        digest: "0".repeat(64),
        headers: json!({"user-agent": HOSTILE}).to_string(),
        proof: Some("stripe: current".to_owned()),
    };
    assert!(matches!(store.apply(&inbox::receive(&webhook, clock.now())), Outcome::Applied(_)));
}

#[tokio::test]
async fn a_webhook_is_shown_without_its_secrets() {
    let (handler, store, clock) = console().await;
    webhook(&store, &clock);
    let (status, body) = send(&handler, "webhook").await;
    assert_eq!((status, &body["status"], &body["verified_by"]), (200, &json!("received"), &json!("stripe: current")));
    assert!(!body.to_string().contains("0123456789abcdef"), "{body}");
    assert_eq!(send(&handler, "webhook-unknown").await.0, 404);
}

#[tokio::test]
async fn dead_letters_go_nowhere_where_there_is_no_queue() {
    let (handler, store, _) = console().await;
    assert_eq!(send(&handler, "redrive").await.0, 404);
    assert_eq!(store.items_with("audit#").len(), 0);
}

#[tokio::test]
async fn changes_are_listed_by_day_the_newest_first() {
    let (handler, _, clock) = console().await;
    send(&handler, "config-change").await;
    clock.advance(Duration::from_secs(1));
    send(&handler, "cache-pattern").await;
    let (status, body) = send(&handler, "audit").await;
    assert_eq!((status, &body["day"], body["changes"].as_array().map(Vec::len)), (200, &json!("2026-11-21"), Some(2)));
    assert_eq!(
        (&body["changes"][0]["what"], &body["changes"][0]["at"]),
        (&json!("settings.invalidate"), &json!("2026-11-21T03:50:01Z"))
    );
    assert_eq!(send(&handler, "audit-mistake").await.0, 400);
}

#[tokio::test]
async fn the_page_is_public_in_both_languages_and_holds_nothing() {
    let (handler, store, clock) = console().await;
    webhook(&store, &clock);
    let (korean, english) = (html(&handler, "page").await, html(&handler, "page-english").await);
    assert!(korean.contains("<html lang=\"ko\">") && english.contains("<html lang=\"en\">"));
    assert!(!korean.contains("verify") && !korean.contains("evt_1"));
    let page = serve(&handler, "page").await;
    let policy = &page.headers["content-security-policy"];
    assert!(
        policy.contains("script-src 'self';")
            && policy.contains("frame-ancestors 'none'")
            && !policy.contains("unsafe")
    );
    for (event, kind) in [("script", "text/javascript"), ("style", "text/css")] {
        let response = serve(&handler, event).await;
        assert_eq!(response.status_code, 200);
        assert!(response.headers["content-type"].starts_with(kind));
    }
}

#[tokio::test]
async fn nothing_is_shown_without_the_scope_and_nothing_offered_without_the_other() {
    let (handler, ..) = console().await;
    assert_eq!(serve(&handler, "view-without-key").await.status_code, 401);
    assert_eq!(serve(&handler, "view-without-scope").await.status_code, 403);
    assert_eq!(serve(&handler, "view-unknown").await.status_code, 404);
    let (reader, operator) = (html(&handler, "view-of-a-reader").await, html(&handler, "view-settings").await);
    assert!(operator.contains("class=\"act") && operator.contains("id=\"set-VERIFY_TIMEOUT_MS\""));
    assert!(!reader.contains("class=\"act") && reader.contains("VERIFY_TIMEOUT_MS"));
    assert_eq!(serve(&handler, "write-of-a-reader").await.status_code, 403);
}

#[tokio::test]
async fn the_overview_shows_what_is_wrong_first_with_charts_and_a_way_out() {
    let (handler, store, clock) = console().await;
    calls(&store, &clock);
    open(&store, "nice", &clock);
    in_doubt(&store, &clock);
    let page = html(&handler, "view-overview").await;
    let place = |what: &str| page.find(what).unwrap_or_else(|| panic!("{what}: {page}"));
    assert!(place("id=\"of-verify\"") < place("id=\"of-email\""), "the worse one first");
    for shown in [
        "circuit open",
        "data-path=\"/v1/breakers/nice/reset\"",
        "<strong>1</strong>",
        "role=\"img\" aria-label=\"verify, Last hour: calls by how they ended\"",
        "<td>100.0 %</td>",
        "<td>40 ms</td>",
        "2026-11-21 09:45:00 – 2026-11-21 10:00:00",
        "timeout × 1",
    ] {
        place(shown);
    }
    let circuit = store.read("breaker#nice").expect("an item");
    send(&handler, "breaker-reset").await;
    assert!(!html(&handler, "view-overview").await.contains("circuit open"), "at once: {circuit:?}");
}

#[tokio::test]
async fn what_comes_from_outside_stays_text() {
    let (handler, store, clock) = console().await;
    in_doubt(&store, &clock);
    webhook(&store, &clock);
    for event in ["view-messages", "view-message", "view-webhooks", "view-webhook", "view-changes"] {
        let page = html(&handler, event).await;
        assert!(!page.contains("<img") && !page.contains("<script"), "{event}: {page}");
    }
    assert!(html(&handler, "view-message").await.contains("&lt;img src=x"), "it is shown");
    assert!(html(&handler, "view-webhook").await.contains("&lt;img src=x"), "it is shown");
}

#[test]
fn every_event_of_this_function_is_sent_by_a_test() {
    let source = include_str!("door.rs");
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../events");
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let name = entry.expect("a file").file_name().into_string().expect("a name");
        if let Some(event) = name.strip_prefix("console-").and_then(|name| name.strip_suffix(".json")) {
            assert!(source.contains(&format!("\"{event}\"")), "no test sends `{name}`");
        }
    }
}
