//! The control interface, which is never counted as a call.

use ieum_sandbox::Sandbox;
use serde_json::{Value, json};

use crate::client::{get, nts, post, send};

#[tokio::test]
async fn a_fresh_provider_has_counted_nothing() {
    let sandbox = Sandbox::start().await.unwrap();
    let expected = json!({
        "calls": 0, "token_calls": 0, "mode": {"mode": "ok", "delay_ms": 0}, "by_path": {}, "call_times_ms": [],
        "in_flight": 0, "max_in_flight": 0, "state": {},
    });
    assert_eq!(get(&sandbox.url(), "/_sandbox/nts").await.json(), expected);
    let all = get(&sandbox.url(), "/_sandbox").await.json();
    let names: Vec<&String> = all.as_object().unwrap().keys().collect();
    let mut sorted = sandbox.providers();
    sorted.sort_unstable();
    assert!(sorted.len() >= 17, "{sorted:?}");
    assert_eq!(names, sorted);
}

#[tokio::test]
async fn calls_are_counted_by_path_and_time_whatever_became_of_them() {
    let sandbox = Sandbox::start().await.unwrap();
    let base = sandbox.base_url("nts");
    nts(&base, "/status", r#"{"b_no":["1234567891"]}"#).await;
    post(&base, "/status?serviceKey=wrong", "{}").await;
    nts(&base, "/nowhere", "{}").await;
    let stats = get(&sandbox.url(), "/_sandbox/nts").await.json();
    assert_eq!((&stats["calls"], &stats["token_calls"]), (&json!(3), &json!(0)));
    assert_eq!(stats["by_path"], json!({"/status": 2, "/nowhere": 1}));
    let times: Vec<u64> = serde_json::from_value(stats["call_times_ms"].clone()).unwrap();
    assert!(times.len() == 3 && times.is_sorted() && times[0] > 1_700_000_000_000, "{times:?}");
    assert_eq!(stats["max_in_flight"], 1);
    assert_eq!(sandbox.calls("nice").await, 0);
}

#[tokio::test]
async fn a_mode_is_shown_as_it_was_set() {
    let sandbox = Sandbox::start().await.unwrap();
    let modes = [
        json!({"mode": "ok", "delay_ms": 0}),
        json!({"mode": "slow", "delay_ms": 40}),
        json!({"mode": "status", "status": 429, "delay_ms": 5, "retry_after": 2, "for_calls": 3, "only": "token"}),
        json!({"mode": "weak_key", "delay_ms": 0, "only": "data"}),
        json!({"mode": "status", "status": 500, "delay_ms": 0, "code": "E999"}),
    ];
    for mode in modes {
        let reply = post(&sandbox.url(), "/_sandbox/nice", &mode.to_string()).await;
        assert_eq!((reply.status, &reply.json()["mode"]), (200, &mode));
        assert_eq!(get(&sandbox.url(), "/_sandbox/nice").await.json()["mode"], mode);
    }
}

#[tokio::test]
async fn every_field_of_the_contract_is_taken_with_any_mode() {
    let sandbox = Sandbox::start().await.unwrap();
    for mode in ["ok", "down", "slow", "garbage", "reset", "status"] {
        let body = json!({"mode": mode, "status": 503, "delay_ms": 0, "retry_after": 1});
        assert_eq!(post(&sandbox.url(), "/_sandbox/nts", &body.to_string()).await.status, 200, "{mode}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_reason_and_changes_nothing() {
    let sandbox = Sandbox::start().await.unwrap();
    let wrong = [
        ("nts", "", "control body"),
        ("nts", "[]", "control body"),
        ("nts", "{}", "`mode` is missing"),
        ("nts", r#"{"status":503}"#, "`mode` is missing"),
        ("nts", r#"{"mode":"broken"}"#, "`broken`"),
        ("nts", r#"{"mode":"weak_key"}"#, "gateway_error"),
        ("nice", r#"{"mode":"gateway_error"}"#, "weak_key"),
        ("nts", r#"{"mode":"down","colour":"red"}"#, "`colour`"),
        ("nice", r#"{"mode":"down","colour":"red"}"#, "`colour`"),
        ("nts", r#"{"mode":"status","status":99}"#, "`99`"),
        ("nts", r#"{"mode":"status","status":100}"#, "`100`"),
        ("nts", r#"{"mode":"ok","status":600}"#, "`600`"),
        ("nts", r#"{"mode":"status","status":"503"}"#, "control body"),
        ("nts", r#"{"mode":"slow"}"#, "`delay_ms`"),
        ("nts", r#"{"mode":"slow","delay_ms":-1}"#, "control body"),
        ("nts", r#"{"mode":"down","for_calls":0}"#, "`for_calls`"),
        ("nts", r#"{"mode":"down","only":"token"}"#, "no tokens"),
        ("nice", r#"{"mode":"down","only":"some"}"#, "`some`"),
        ("nts", r#"{"mode":"gateway_error","code":"<22>"}"#, "`code`"),
        ("nice", r#"{"mode":"down","token_ttl_seconds":"x"}"#, "setting of nice"),
        ("nice", r#"{"mode":"broken","post_is_405":true}"#, "`broken`"),
    ];
    for (provider, body, reason) in wrong {
        let reply = post(&sandbox.url(), &format!("/_sandbox/{provider}"), body).await;
        assert_eq!(reply.status, 400, "{body}");
        let words = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(words.contains(reason), "{body}: {words}");
    }
    let refused = sandbox.control("nts", json!({"mode": "broken"})).await.unwrap_err();
    assert!(refused.to_string().contains("`broken`"));
    for provider in ["nice", "nts", "juso", "kakao", "daum"] {
        let stats = get(&sandbox.url(), &format!("/_sandbox/{provider}")).await.json();
        assert_eq!(stats["mode"]["mode"], "ok");
    }
    assert_eq!(sandbox.stats("nice").await.state["post_is_405"], false);
}

#[tokio::test]
async fn an_unknown_provider_is_404_and_named() {
    let sandbox = Sandbox::start().await.unwrap();
    for (method, path) in [
        ("GET", "/_sandbox/nise"),
        ("POST", "/_sandbox/nise"),
        ("DELETE", "/_sandbox/nise"),
        ("GET", "/nise/x"),
        ("GET", "/"),
    ] {
        let reply = send(&sandbox.url(), method, path, "", "").await.unwrap();
        assert_eq!(reply.status, 404, "{method} {path}");
        assert!(reply.json()["error"].as_str().unwrap().contains("nice, nts, juso, kakao, daum"));
    }
}

#[tokio::test]
async fn delete_forgets_everything() {
    let sandbox = Sandbox::start().await.unwrap();
    post(&sandbox.url(), "/_sandbox/nice", r#"{"mode":"down","token_ttl_seconds":5,"post_is_405":true}"#).await;
    let _ = send(&sandbox.base_url("nice"), "GET", "/x", "", "").await;
    assert_eq!(sandbox.calls("nice").await, 1);
    let fresh = Sandbox::start().await.unwrap().stats("nice").await;
    let reply = send(&sandbox.url(), "DELETE", "/_sandbox/nice", "", "").await.unwrap();
    assert_eq!((reply.status, reply.json()), (200, serde_json::to_value(fresh).unwrap()));
}

#[tokio::test]
async fn the_typed_methods_act_on_what_http_shows() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.control("nice", json!({"mode": "garbage", "for_calls": 9, "post_is_405": true})).await.unwrap();
    let shown = get(&sandbox.url(), "/_sandbox/nice").await.json();
    assert_eq!((&shown["mode"]["mode"], &shown["state"]["post_is_405"]), (&json!("garbage"), &json!(true)));
    // A setting alone leaves the mode as it is.
    sandbox.control("nice", json!({"post_is_405": false})).await.unwrap();
    assert_eq!(get(&sandbox.url(), "/_sandbox/nice").await.json()["mode"]["for_calls"], 9);
    sandbox.reset("nice").await;
    assert_eq!(get(&sandbox.url(), "/_sandbox/nice").await.json()["mode"]["mode"], Value::from("ok"));
}
