//! `HttpClient` against servers on loopback: one that behaves and some that do not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::response::Redirect;
use axum::routing::{any, get, post};
use ieum::http::{HttpClient, Outgoing};
use ieum::policy::Replay;
use ieum::provider::ProviderError;
use ieum::telemetry::{Captured, LogLevel};
use serde_json::json;
use url::Url;

use crate::support::listen;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

const TWO_MEGABYTES: usize = 2 * 1024 * 1024;

fn client() -> HttpClient {
    HttpClient::new(None).unwrap()
}

/// Serves `router` on loopback until the test ends.
async fn serve(router: Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    url(address, "/")
}

fn url(address: SocketAddr, path: &str) -> Url {
    Url::parse(&format!("http://{address}{path}")).unwrap()
}

/// Reads the head of one request, writes `answer` and hangs up.
fn hang_up_after(answer: &'static [u8]) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut buffer = [0; 1_024];
        // A greeting in TLS (its first byte is 22) has no such end.
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.first() != Some(&22) {
            let count = stream.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "the client left before it had asked");
            head.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(answer).unwrap();
    });
    url(address, "/")
}

fn nobody() -> Url {
    url(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(), "/")
}

fn to(url: Url, replay: Replay) -> Outgoing {
    Outgoing { replay, ..Outgoing::get(url) }
}

async fn label(outgoing: Outgoing) -> &'static str {
    client().exchange(outgoing).await.map_or_else(|error| error.label(), |_| "answered")
}

/// Answers on every connection, and counts connections.
fn counting() -> (Url, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicU32::new(0)));
    let connections = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            connections.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let (mut stream, mut buffer) = (stream.unwrap(), [0; 4_096]);
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
                }
            });
        }
    });
    (url(address, "/"), count)
}

#[tokio::test]
async fn a_connection_made_ahead_serves_the_first_request_and_those_after_it() {
    let ((theirs, made), (others, _)) = (counting(), counting());
    let client = client();
    client.connect_ahead(&theirs, LONG).await.unwrap();
    for path in ["/v1", "/v2?a=b"] {
        let url = theirs.join(path).unwrap();
        assert_eq!(client.exchange(to(url, Replay::Never)).await.unwrap().status, 200);
        assert_eq!(client.exchange(to(others.clone(), Replay::Never)).await.unwrap().status, 200);
    }
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn whoever_cannot_be_reached_ahead_is_told_in_time_and_harms_nobody_else() {
    let client = client();
    assert_eq!(client.connect_ahead(&nobody(), LONG).await.unwrap_err().label(), "unreachable");
    // It listens, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let greeted = Url::parse(&format!("https://{}/", silent.local_addr().unwrap())).unwrap();
    assert_eq!(client.connect_ahead(&greeted, SHORT).await.unwrap_err().label(), "unreachable");
    let (theirs, _) = counting();
    assert_eq!(client.exchange(to(theirs, Replay::Never)).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_exchange_brings_status_headers_and_the_whole_body() {
    let echo = |headers: axum::http::HeaderMap, body: String| async move {
        (axum::http::StatusCode::CREATED, [("x-seen", headers["content-type"].clone())], body)
    };
    let base = serve(Router::new().route("/echo", post(echo))).await;
    let request = Outgoing::post_json(base.join("echo").unwrap(), &json!({"이름": "이음"}), Replay::Never).unwrap();
    let answer = client().exchange(request).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.headers["x-seen"].to_str().unwrap()), (201, "application/json"));
    assert_eq!(answer.json::<serde_json::Value>().unwrap(), json!({"이름": "이음"}));
}

#[tokio::test]
async fn whatever_the_status_it_is_an_answer_and_nothing_is_sent_twice() {
    let hits = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&hits);
    let status = move |Path(status): Path<u16>| async move {
        counter.fetch_add(1, Ordering::Relaxed);
        axum::http::StatusCode::from_u16(status).unwrap()
    };
    let base = serve(Router::new().route("/{status}", any(status))).await;
    for (count, status) in [200_u16, 404, 408, 429, 500, 503].into_iter().enumerate() {
        let answer = client().exchange(Outgoing::get(base.join(&status.to_string()).unwrap())).await.unwrap();
        assert_eq!((answer.status.as_u16(), hits.load(Ordering::Relaxed) as usize), (status, count + 1));
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let base = serve(
        Router::new()
            .route("/from", get(|| async { Redirect::temporary("/to") }))
            .route("/to", get(|| async { "a place nobody asked for" })),
    )
    .await;
    let answer = client().exchange(Outgoing::get(base.join("from").unwrap())).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (307, 0));
    assert_eq!(answer.failure().unwrap().label(), "rejected");
}

#[tokio::test]
async fn an_answer_may_have_two_megabytes_and_not_a_byte_more() {
    let sized = |Path(bytes): Path<usize>| async move { vec![b'x'; bytes] };
    let base = serve(Router::new().route("/{bytes}", get(sized))).await;
    let of = |bytes: usize| base.join(&bytes.to_string()).unwrap();
    let answer = client().exchange(Outgoing::get(of(TWO_MEGABYTES))).await.unwrap();
    assert_eq!(answer.body.len(), TWO_MEGABYTES);
    for replay in [Replay::Safe, Replay::Never] {
        assert_eq!(label(to(of(TWO_MEGABYTES + 1), replay)).await, "malformed");
    }
}

#[tokio::test]
async fn a_connection_that_never_came_about_harmed_nobody() {
    for replay in [Replay::Safe, Replay::WithKey, Replay::Never] {
        assert_eq!(label(to(nobody(), replay)).await, "unreachable");
        let unknown = Url::parse("http://no-such-host.invalid/").unwrap();
        assert_eq!(label(to(unknown, replay)).await, "unreachable");
    }
}

#[tokio::test]
async fn a_connection_that_broke_is_ambiguous_where_repeating_could_do_harm() {
    let answers: [&[u8]; 5] = [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    ];
    for answer in answers {
        for (replay, expected) in
            [(Replay::Safe, "unreachable"), (Replay::WithKey, "unreachable"), (Replay::Never, "ambiguous")]
        {
            let shown = String::from_utf8_lossy(answer);
            assert_eq!(label(to(hang_up_after(answer), replay)).await, expected, "{shown:?} {replay:?}");
        }
    }
}

#[tokio::test]
async fn tls_with_somebody_who_does_not_speak_it_is_no_connection() {
    let mut plain = hang_up_after(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    plain.set_scheme("https").unwrap();
    assert_eq!(label(to(plain, Replay::Never)).await, "unreachable", "not a byte of the request has left");
}

#[tokio::test]
async fn reaching_a_host_connects_and_sends_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let visitor = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sent = Vec::new();
        stream.read_to_end(&mut sent).unwrap();
        sent
    });
    client().reach(&url(address, "/path?query")).await.unwrap();
    assert_eq!(visitor.join().unwrap(), b"");
    assert!(matches!(client().reach(&nobody()).await, Err(ProviderError::Unreachable(_))));
}

/// One exchange full of secrets, and the log of it.
async fn logged(level: LogLevel) -> Captured {
    let (captured, guard) = listen(level);
    let answer = || async {
        let cookie = [("set-cookie", "sid=cookie-value"), ("content-type", "application/json")];
        (cookie, json!({"access_token": "token-value", "company": "이음"}).to_string())
    };
    let base = serve(Router::new().route("/v1/companies/1234567891", post(answer))).await;
    let address = base.join("v1/companies/1234567891?serviceKey=query-value&page=2").unwrap();
    let mut request =
        Outgoing::post_json(address, &json!({"password": "body-value", "size": 3}), Replay::Safe).unwrap();
    request.headers.insert("authorization", "Bearer header-value".parse().unwrap());
    request.headers.insert("x-custom", "custom-value".parse().unwrap());
    client().exchange(request).await.unwrap();
    drop(guard);
    captured
}

#[tokio::test]
async fn request_and_response_are_logged_at_debug_without_their_secrets() {
    let captured = logged(LogLevel::Debug).await;
    let (lines, text) = (captured.lines(), captured.text());
    let ours: Vec<_> = lines.iter().filter(|line| line["target"] == "ieum::http").collect();
    assert_eq!(ours.iter().map(|line| &line["message"]).collect::<Vec<_>>(), ["http.request", "http.response"]);
    let (request, response) = (ours[0], ours[1]);
    assert_eq!((&request["level"], &request["method"]), (&json!("debug"), &json!("POST")));
    assert!(request["url"].as_str().unwrap().ends_with("/v1/companies/1234567891?serviceKey=[redacted]&page=2"));
    assert_eq!(request["body"], r#"{"password":"[redacted]","size":3}"#);
    assert_eq!((&response["status"], &response["level"]), (&json!(200), &json!("debug")));
    assert_eq!(response["body"], r#"{"access_token":"[redacted]","company":"이음"}"#);
    assert!(response["headers"].as_str().unwrap().contains(r#""content-type":"application/json""#));
    for secret in ["cookie-value", "token-value", "query-value", "body-value", "header-value", "custom-value"] {
        assert!(!text.contains(secret), "`{secret}` in {text}");
    }
}

#[tokio::test]
async fn nothing_of_an_exchange_is_logged_above_debug() {
    assert_eq!(logged(LogLevel::Info).await.text(), "");
}
