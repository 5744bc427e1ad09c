//! The front door stands for API Gateway: the same limits, the same CORS, the same paths.

use serde_json::json;

use super::Stage;

pub(crate) async fn bodies_and_headers_have_the_limits_of_api_gateway(stage: &mut Stage) {
    let client = &stage.client;
    let large = vec![b'x'; 6 * 1024 * 1024 + 1];
    let answer = client.raw("POST", "/v1/companies/status", &[("x-api-key", "k")], large).await;
    assert_eq!((answer.status, answer.code()), (413, "payload_too_large"), "{}", answer.text);
    let header = "h".repeat(12_000);
    let answer = client.raw("GET", "/v1/health", &[("x-padding", &header)], "").await;
    assert_eq!(answer.status, 431, "{}", answer.text);
}

pub(crate) async fn browsers_of_allowed_origins_are_let_in(stage: &mut Stage) {
    let client = &stage.client;
    let preflight = [
        ("origin", "http://localhost:5173"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "x-api-key"),
    ];
    let answer = client.raw("OPTIONS", "/v1/companies/1234567891", &preflight, "").await;
    assert!(answer.status == 200 || answer.status == 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:5173"));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("x-api-key"));
    let answer = client.raw("GET", "/v1/health", &[("origin", "http://localhost:5173")], "").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:5173"));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("x-trace-id"));
    let answer = client.raw("GET", "/v1/health", &[("origin", "https://evil.example")], "").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

pub(crate) async fn paths_arrive_as_they_were_sent(stage: &mut Stage) {
    // The function itself answers, with its own code, whatever a segment holds.
    for path in ["/v1/health/%ED%8C%A9%EC%8A%A4", "/v1/health/a+b", "/v1/health/a%20b%3Fc", "/v1/health/%25"] {
        let answer = stage.client.get(path).await;
        assert_eq!((answer.status, answer.code()), (404, "not_found"), "{path}: {}", answer.text);
        assert_eq!(answer.header("x-trace-id"), answer.body["error"]["traceId"].as_str(), "{path}");
    }
}

pub(crate) async fn unknown_routes_and_methods_are_refused_in_the_error_format(stage: &mut Stage) {
    for (method, path) in [("GET", "/v1/company/1"), ("POST", "/"), ("DELETE", "/v1/companies/1234567891")] {
        let answer = stage.client.send(method, path, None).await;
        assert!(matches!(answer.status, 404 | 405), "{method} {path}: {}", answer.text);
        let error = &answer.body["error"];
        assert!(error["code"].is_string() && error["traceId"].is_string() && error["timestamp"].is_string(), "{error}");
        assert_eq!(error["details"], json!([]));
    }
}
