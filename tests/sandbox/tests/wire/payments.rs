//! Payments: what the fakes answer, and how they tell of changes until somebody listens.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use ieum_sandbox::Sandbox;
use serde_json::{Value, json};

use crate::client::{post, send};

/// Whoever is told: answers with these statuses in turn, and with the last one from then on.
#[derive(Clone)]
struct Listener {
    statuses: Arc<Vec<u16>>,
    heard: Arc<Mutex<Vec<(HeaderMap, String)>>>,
}

impl Listener {
    async fn start(statuses: &[u16]) -> (Self, String) {
        let listener = Self { statuses: Arc::new(statuses.to_vec()), heard: Arc::default() };
        let listen = |State(listener): State<Self>, headers: HeaderMap, body: String| async move {
            let mut heard = listener.heard.lock().unwrap();
            let status = listener.statuses.get(heard.len()).or(listener.statuses.last()).copied().unwrap();
            heard.push((headers, body));
            StatusCode::from_u16(status).unwrap()
        };
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", socket.local_addr().unwrap());
        let router = Router::new().fallback(listen).with_state(listener.clone());
        tokio::spawn(async { axum::serve(socket, router).await });
        (listener, url)
    }
}

/// Waits until every delivery has ended.
async fn ended(sandbox: &Sandbox, provider: &str) -> Value {
    for _ in 0..1_000 {
        let state = sandbox.stats(provider).await.state;
        let sum = state["taken"].as_u64().unwrap() + state["given_up"].as_u64().unwrap();
        if state["deliveries"].as_u64() == Some(sum) && sum > 0 {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", sandbox.stats(provider).await);
}

#[tokio::test]
async fn a_change_is_told_again_until_it_is_taken() {
    let sandbox = Sandbox::start().await.unwrap();
    for (provider, payment, attempts) in [
        ("toss", json!({"paymentKey": "p", "status": "DONE"}), 4),
        ("portone", json!({"id": "p", "status": "PAID"}), 4),
        ("stripe", json!({"id": "p", "status": "succeeded"}), 4),
        ("iamport", json!({"imp_uid": "p", "status": "paid"}), 1),
    ] {
        let (listener, url) = Listener::start(&[500, 503, 404, 200]).await;
        let order = json!({"webhook_url": url, "time_scale": 0.0, "payment": payment});
        sandbox.control(provider, order).await.unwrap();
        let state = ended(&sandbox, provider).await;
        assert_eq!(state["attempts"], attempts, "{provider}: {state}");
        assert_eq!(state["taken"], i32::from(attempts == 4), "{provider}: by default I'mport sends once");
        let heard = listener.heard.lock().unwrap();
        assert!(heard.windows(2).all(|two| two[0].1 == two[1].1), "{provider}: always the same words");
        if provider == "toss" {
            let count = |headers: &HeaderMap| headers["tosspayments-webhook-transmission-retried-count"].clone();
            let counts: Vec<_> = heard.iter().map(|(headers, _)| count(headers)).collect();
            assert_eq!(counts, ["0", "1", "2", "3"]);
        }
    }
}

#[tokio::test]
async fn who_never_listens_is_given_up_on_after_the_providers_schedule() {
    let sandbox = Sandbox::start().await.unwrap();
    for (provider, payment, attempts) in [
        ("toss", json!({"paymentKey": "p", "status": "DONE"}), 8),
        ("portone", json!({"id": "p", "status": "PAID"}), 6),
        ("stripe", json!({"id": "p", "status": "succeeded"}), 8),
        ("iamport", json!({"imp_uid": "p", "status": "paid"}), 1),
    ] {
        let (_, url) = Listener::start(&[500]).await;
        let order = json!({"webhook_url": url, "time_scale": 0.0, "payment": payment});
        sandbox.control(provider, order).await.unwrap();
        let state = ended(&sandbox, provider).await;
        assert_eq!((&state["attempts"], &state["given_up"]), (&json!(attempts), &json!(1)), "{provider}");
    }
    // Toss takes nothing but 200 for an answer.
    let (_, url) = Listener::start(&[204]).await;
    sandbox.reset("toss").await;
    let order = json!({"webhook_url": url, "time_scale": 0.0, "payment": {"paymentKey": "p", "status": "DONE"}});
    sandbox.control("toss", order).await.unwrap();
    assert_eq!(ended(&sandbox, "toss").await["taken"], 0);
}

#[tokio::test]
async fn payments_are_told_to_whoever_has_the_key() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.control("toss", json!({"payment": {"paymentKey": "p", "orderId": "o"}})).await.unwrap();
    let base = sandbox.base_url("toss");
    // `test_sk_sandbox…` and its colon, in base64.
    let key = "authorization: Basic dGVzdF9za19zYW5kYm94MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDo=\r\n";
    for path in ["/v1/payments/p", "/v1/payments/orders/o"] {
        assert_eq!(send(&base, "GET", path, "", "").await.unwrap().status, 401);
        let reply = send(&base, "GET", path, key, "").await.unwrap();
        assert_eq!((reply.status, &reply.json()["paymentKey"]), (200, &json!("p")));
    }
    let unknown = send(&base, "GET", "/v1/payments/q", key, "").await.unwrap();
    assert_eq!((unknown.status, &unknown.json()["code"]), (404, &json!("NOT_FOUND_PAYMENT")));

    sandbox.control("kakaopay", json!({"payment": {"tid": "T1"}})).await.unwrap();
    let order = |key: &str| {
        let (base, key) = (sandbox.base_url("kakaopay"), format!("authorization: SECRET_KEY {key}\r\n"));
        async move {
            send(&base, "POST", "/online/v1/payment/order", &key, r#"{"cid":"TC0ONETIME","tid":"T1"}"#).await.unwrap()
        }
    };
    assert_eq!(order("wrong").await.status, 401);
    assert_eq!(order("sandbox-kakaopay-secret-key").await.json()["status"], "READY");

    let token = post(&sandbox.base_url("iamport"), "/users/getToken", r#"{"imp_key":"x","imp_secret":"y"}"#).await;
    assert_eq!(token.status, 401);
    let refused = sandbox.control("stripe", json!({"payments": {}})).await.unwrap_err();
    assert!(refused.to_string().contains("`payments`"), "{refused}");
}
