//! The door before a stand-in for the local AWS: a listener that answers what each test tells it to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::aws::http_client;

struct Stand {
    url: String,
    http: Http,
    seen: Arc<Mutex<Vec<http::request::Parts>>>,
    reports: Arc<Mutex<Vec<String>>>,
}

async fn stand(status: StatusCode, body: impl Into<Bytes>) -> Stand {
    let body = body.into();
    let seen: Arc<Mutex<Vec<http::request::Parts>>> = Arc::default();
    let record = seen.clone();
    let router = Router::new().fallback(move |request: Request| {
        let (parts, _) = request.into_parts();
        record.lock().unwrap_or_else(|error| panic!("{error}")).push(parts);
        let mut response = Response::new(Body::from(body.clone()));
        *response.status_mut() = status;
        response.headers_mut().insert("access-control-allow-origin", HeaderValue::from_static("*"));
        async move { response }
    });
    stand_before(router, seen).await
}

async fn stand_before(router: Router, seen: Arc<Mutex<Vec<http::request::Parts>>>) -> Stand {
    let listener = || async { TcpListener::bind(("127.0.0.1", 0)).await.unwrap_or_else(|error| panic!("{error}")) };
    let url =
        |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap_or_else(|error| panic!("{error}")));
    let (aws, front) = (listener().await, listener().await);
    let (aws_url, front_url) = (url(&aws), url(&front));

    tokio::spawn(async move { axum::serve(aws, router).await });

    let cors = Cors::from_template(
        &json!({"AllowOrigins": ["https://portal.example"], "AllowMethods": ["GET"], "ExposeHeaders": ["age"]}),
    );
    let routes = ["GET /v1/things/{id}", "POST /v1/things"].map(|key| (key.to_owned(), "i".to_owned()));
    let api = Api { id: "abc".to_owned(), routes: routes.into(), cors: cors.ok() };
    let reports: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = reports.clone();
    let report: Report =
        Arc::new(move |sentence: &str| sink.lock().unwrap_or_else(|error| panic!("{error}")).push(sentence.to_owned()));
    open(front, http_client(), [&aws_url, &aws_url], Some(&api), report).unwrap_or_else(|error| panic!("{error}"));
    Stand { url: front_url, http: http_client(), seen, reports }
}

impl Stand {
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> http::Response<Bytes> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).unwrap_or_else(|error| panic!("{error}"));
        fetch(&self.http, request).await.unwrap_or_else(|error| panic!("{error}"))
    }

    fn passed(&self) -> Vec<http::request::Parts> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(|error| panic!("{error}")))
    }
}

fn error(response: &http::Response<Bytes>) -> Value {
    serde_json::from_slice::<Value>(response.body()).unwrap_or_default()["error"].take()
}

#[tokio::test]
async fn a_request_reaches_the_api_under_its_own_host_with_who_called_and_a_trace() {
    let stand = stand(StatusCode::OK, "{}").await;
    let response = stand
        .send("GET", "/v1/things/%EA%B0%80?q=a+b%20c&q=2", &[("connection", "x-private"), ("x-private", "1")], vec![])
        .await;
    assert_eq!(response.status(), StatusCode::OK);
    let passed = stand.passed().remove(0);
    assert_eq!(passed.uri.to_string(), "/v1/things/%EA%B0%80?q=a+b%20c&q=2");
    assert_eq!(passed.headers["host"], "abc.execute-api.localhost");
    assert_eq!(passed.headers["x-forwarded-for"], "127.0.0.1");
    assert!(
        passed.headers["x-amzn-trace-id"].to_str().is_ok_and(|root| root.starts_with("Root=1-") && root.len() == 40)
    );
    assert_eq!(passed.headers.get("x-private"), None);
    assert_eq!(response.headers().get("access-control-allow-origin"), None);
}

#[tokio::test]
async fn callers_for_whom_there_is_no_place_wait_their_turn() {
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (full, counted) = (Arc::new(tokio::sync::Barrier::new(CONCURRENCY)), Arc::clone(&most));
    let router = Router::new().fallback(move || {
        let (inside, most, full) = (Arc::clone(&inside), Arc::clone(&counted), Arc::clone(&full));
        async move {
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Nobody is answered before every place is taken; then a while for one who comes too many.
            full.wait().await;
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            inside.fetch_sub(1, Ordering::SeqCst);
            "{}"
        }
    });
    let stand = Arc::new(stand_before(router, Arc::default()).await);
    let ask = |stand: Arc<Stand>| async move { stand.send("GET", "/v1/things/1", &[], vec![]).await.status() };
    let callers: tokio::task::JoinSet<_> = (0..3 * CONCURRENCY).map(|_| ask(Arc::clone(&stand))).collect();
    assert_eq!(callers.join_all().await, vec![StatusCode::OK; 3 * CONCURRENCY]);
    assert_eq!(most.load(Ordering::SeqCst), CONCURRENCY);
}

#[tokio::test]
async fn an_unknown_route_is_404_in_the_projects_format_and_goes_no_further() {
    let stand = stand(StatusCode::OK, "{}").await;
    for path in ["/v1/other", "/_ministack/health", "/v1/things/a%2Fb"] {
        let response = stand
            .send(
                "GET",
                path,
                &[
                    ("accept-language", "en"),
                    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
                ],
                vec![],
            )
            .await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let error = error(&response);
        assert_eq!(error["code"], "not_found");
        assert_eq!(error["message"], "There is no such thing here.");
        assert_eq!(error["details"], json!([]));
        assert_eq!(error["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(error["timestamp"].is_string());
    }
    assert!(stand.passed().is_empty());
}

#[tokio::test]
async fn limits_are_api_gateways() {
    let stand = stand(StatusCode::OK, "{}").await;
    let response = stand.send("POST", "/v1/things", &[], vec![b'x'; BODY_LIMIT + 1]).await;
    assert_eq!(
        (response.status(), error(&response)["code"].clone()),
        (StatusCode::PAYLOAD_TOO_LARGE, json!("payload_too_large"))
    );
    assert_eq!(stand.send("POST", "/v1/things", &[], vec![b'x'; BODY_LIMIT]).await.status(), StatusCode::OK);
    let response = stand.send("GET", "/v1/things/1", &[("x-long", &"x".repeat(HEADERS_LIMIT))], vec![]).await;
    assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(stand.passed().len(), 1);
}

#[tokio::test]
async fn a_response_over_lambdas_limit_is_a_failed_function() {
    let stand = stand(StatusCode::OK, vec![b'x'; BODY_LIMIT + 1]).await;
    let response = stand.send("GET", "/v1/things/1", &[], vec![]).await;
    assert_eq!(
        (response.status(), error(&response)["code"].clone()),
        (StatusCode::BAD_GATEWAY, json!("function_failed"))
    );
}

#[tokio::test]
async fn a_crash_is_reported_to_the_operator_and_hidden_from_the_caller() {
    let stand =
        stand(StatusCode::BAD_GATEWAY, r#"{"errorMessage":"secret detail","errorType":"Runtime.ExitError"}"#).await;
    let response = stand.send("GET", "/v1/things/1", &[], vec![]).await;
    assert_eq!(error(&response)["code"], "function_failed");
    assert!(!String::from_utf8_lossy(response.body()).contains("secret detail"));
    let reports = stand.reports.lock().unwrap_or_else(|error| panic!("{error}")).clone();
    assert_eq!(reports, ["GET /v1/things/{id}: the function failed: Runtime.ExitError: secret detail"]);
}

#[tokio::test]
async fn a_timeout_of_lambda_is_504() {
    let stand = stand(
        StatusCode::BAD_GATEWAY,
        r#"{"errorMessage":"Task timed out after 29.00 seconds","errorType":"Sandbox.Timedout"}"#,
    )
    .await;
    assert_eq!(stand.send("GET", "/v1/things/1", &[], vec![]).await.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_functions_own_502_passes_untouched() {
    let own = r#"{"error":{"code":"provider_rejected"}}"#;
    let stand = stand(StatusCode::BAD_GATEWAY, own).await;
    assert_eq!(stand.send("GET", "/v1/things/1", &[], vec![]).await.body(), own);
}

#[tokio::test]
async fn a_preflight_is_answered_at_the_door() {
    let stand = stand(StatusCode::OK, "{}").await;
    let headers = [("origin", "https://portal.example"), ("access-control-request-method", "GET")];
    let response = stand.send("OPTIONS", "/v1/things/1", &headers, vec![]).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.headers()["access-control-allow-origin"], "https://portal.example");
    assert!(stand.passed().is_empty());
    let response = stand.send("GET", "/v1/nothing", &headers[..1], vec![]).await;
    assert_eq!(response.headers()["access-control-expose-headers"], "age");
}

#[tokio::test]
async fn the_sandboxs_switches_are_below_a_path_of_their_own() {
    let stand = stand(StatusCode::OK, r#"{"mode":"ok"}"#).await;
    let response = stand.send("POST", "/_sandbox/nice", &[("x-api-key", "k"), ("content-type", "a/b")], vec![]).await;
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, &br#"{"mode":"ok"}"#[..]));
    let passed = stand.passed().remove(0);
    assert_eq!((passed.uri.path(), passed.headers.get("x-api-key")), ("/_sandbox/nice", None));
    assert_eq!(passed.headers["content-type"], "a/b");
}
