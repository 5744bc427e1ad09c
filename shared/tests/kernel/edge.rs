//! `Edge::serve`: API Gateway events of every kind in, responses in one form out.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ieum::api::{Call, Edge, HttpEvent, HttpResponse, Reply, Route};
use ieum::auth::{Access, Door, IeumSecret};
use ieum::clock::{Clock, Timestamp};
use ieum::error::{ApiError, BAD_FORMAT, Detail, RATE_LIMITED};
use ieum::integration::{Answer, Source};
use ieum::telemetry::LogLevel;
use ieum::testing::{TokioClock, secret_of};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::support::listen;

const KEY: &str = "the-portals-own-key";
const OLD_KEY: &str = "a-key-of-last-year";
const MAX_BODY: usize = 200;

#[derive(Clone, Copy, Debug)]
enum Action {
    Show,
    All,
    Create,
    Panic,
    Limited,
    Stale,
    Page,
    Form,
}

const ROUTES: [Route<Action>; 6] = [
    route("GET", "/v1/things/{name}", Access::Scope("things:read"), Action::Show),
    route("GET", "/v1/things/all", Access::Public, Action::All),
    route("POST", "/v1/things", Access::Scope("things:read"), Action::Create),
    route("DELETE", "/v1/things", Access::Scope("things:delete"), Action::All),
    route("POST", "/v1/{what}/panic", Access::Public, Action::Panic),
    route("POST", "/v1/things/{name}/limited", Access::Public, Action::Limited),
];

const STALE: [Route<Action>; 1] = [route("GET", "/v1/stale", Access::Public, Action::Stale)];
const FORM: [Route<Action>; 1] = [route("POST", "/v1/form", Access::Public, Action::Form)];
const PAGE: [Route<Action>; 1] = [route("GET", "/v1/page", Access::Public, Action::Page)];

const fn route(method: &'static str, path: &'static str, access: Access, action: Action) -> Route<Action> {
    Route { method, path, access, action }
}

async fn handle(action: Action, call: Call) -> Result<Reply, ApiError> {
    match action {
        Action::Show => {
            let mut query = call.query()?;
            let page = query.number("page", 1, 1, 100);
            let page = query.finish(page)?;
            let caller = call.caller.as_ref().map(|caller| caller.id.as_str());
            Reply::json(200, &json!({"name": call.param("name"), "page": page, "caller": caller}))
        }
        Action::All => {
            let left = call.deadline.saturating_duration_since(Instant::now());
            let agent = call.header("user-agent");
            Reply::json(200, &json!({"all": true, "left_ms": u64::try_from(left.as_millis()).unwrap(), "agent": agent}))
        }
        Action::Create => {
            let mut body = call.body()?;
            let (name, tags) = (body.text("name", 10), body.texts("tags", 3));
            let (note, count) = (body.optional_text("note", 5), body.number("count", 1, 1, 9));
            let thing = name.zip(tags).zip(note).zip(count);
            let (((name, tags), note), count) = body.finish(thing)?;
            Reply::json(201, &json!({"name": name, "tags": tags, "note": note, "count": count}))
        }
        Action::Panic => panic!("words that must not leave: {}", call.param("what")),
        Action::Limited => Err(ApiError::new(RATE_LIMITED)
            .retry_after(Some(7))
            .with(Detail::field("name", BAD_FORMAT))
            .because("words that must not leave")),
        Action::Stale => {
            let source = Source::Stale { age: Duration::from_millis(90_999) };
            let answer = Answer { value: 1, source, provider: "nice".to_owned(), as_of: Timestamp::default() };
            Ok(Reply::json(200, &answer.value)?.provenance(&answer))
        }
        Action::Form => {
            let mut body = call.body()?;
            let note = body.text_or_blank("note", 5);
            let extra = body.value("extra").is_some();
            body.ignore_rest();
            Reply::json(200, &json!({"note": body.finish(note)?, "extra": extra}))
        }
        Action::Page => Reply::page("text/html; charset=utf-8", call.header("x-policy").unwrap_or_default(), "<p>가"),
    }
}

/// The edge with one caller, who may read; and one whose key has expired.
async fn edge() -> Edge {
    let key = |id: &str, key: &str, not_after: &str| json!({"id": id, "label": id, "scopes": ["things:read"], "not_after": not_after, "sha256": hex::encode(Sha256::digest(key))});
    let keys = [key("portal", KEY, "2027-01-01T00:00:00Z"), key("old", OLD_KEY, "2026-01-01T00:00:00Z")];
    let secret = json!({"api_keys": keys, "cache_key": "AAAA"}).to_string();
    Edge::new(Door::new(secret_of::<IeumSecret>(&secret).await), TokioClock::start(), MAX_BODY)
}

/// An event as API Gateway sends it, without headers, query or body; members are changed by name.
fn event(method: &str, path: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {},
        "requestContext": {"stage": "$default", "http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}},
        "isBase64Encoded": false,
    })
}

/// The same from the caller who may read.
fn from_portal(method: &str, path: &str) -> Value {
    with(event(method, path), "headers", json!({"x-api-key": KEY}))
}

fn with(mut event: Value, member: &str, value: impl Into<Value>) -> Value {
    event[member] = value.into();
    event
}

async fn send(event: Value) -> HttpResponse {
    send_to(&edge().await, event).await
}

async fn send_to(edge: &Edge, event: Value) -> HttpResponse {
    edge.serve(&ROUTES, serde_json::from_value::<HttpEvent>(event).unwrap(), 0, handle).await
}

fn body(response: &HttpResponse) -> Value {
    serde_json::from_str(&response.body).unwrap()
}

/// What an error response says: status, code, and each detail's field and issue. Checks the form on the way.
fn problem(response: &HttpResponse) -> (u16, String, Vec<(String, String)>) {
    check(response).unwrap();
    let error = &body(response)["error"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let details = error["details"].as_array().unwrap().iter();
    (
        response.status_code,
        text(&error["code"]),
        details.map(|one| (text(&one["field"]), text(&one["issue"]))).collect(),
    )
}

fn expected(status: u16, code: &str, details: &[(&str, &str)]) -> (u16, String, Vec<(String, String)>) {
    let details = details.iter().map(|(field, issue)| ((*field).to_owned(), (*issue).to_owned()));
    (status, code.to_owned(), details.collect())
}

/// Whether a response has the one form that leaves this layer.
fn check(response: &HttpResponse) -> Result<(), String> {
    let header = |name: &str| response.headers.get(name).map(String::as_str);
    let trace = header("x-trace-id").ok_or("no trace id")?;
    let standard = header("content-type") == Some("application/json; charset=utf-8")
        && header("cache-control") == Some("no-store")
        && header("x-content-type-options") == Some("nosniff")
        && !response.is_base64_encoded
        && trace.len() == 32;
    let body: Value = serde_json::from_str(&response.body).map_err(|error| format!("{error}: {}", response.body))?;
    if !standard {
        return Err(format!("headers: {:?}", response.headers));
    }
    if (200..300).contains(&response.status_code) {
        return Ok(());
    }
    let error = &body["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    let whole = (400..600).contains(&response.status_code)
        && body.as_object().is_some_and(|members| members.len() == 1)
        && error.as_object().is_some_and(|members| members.len() == 5)
        && !text("code").is_empty()
        && !text("message").is_empty()
        && error["details"].is_array()
        && Timestamp::parse_rfc3339(text("timestamp")).is_some()
        && text("traceId") == trace;
    if whole { Ok(()) } else { Err(response.body.clone()) }
}

mod routes {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_unknown_path_is_404_and_a_known_one_with_another_method_405() {
        for path in ["/", "", "/v1/nothing", "/v1/things/", "/v1/things/a/b/c", "/v1//things", "v1/things", "//"] {
            let told = problem(&send(from_portal("POST", path)).await);
            // A trailing slash is an empty name, which `GET` alone takes.
            let one = if path == "/v1/things/" { (405, "method_not_allowed") } else { (404, "not_found") };
            assert_eq!(told, expected(one.0, one.1, &[]), "`{path}`");
        }
        for method in ["PATCH", "get", "", "GET "] {
            assert_eq!(problem(&send(event(method, "/v1/things/all")).await), expected(405, "method_not_allowed", &[]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_literal_segment_goes_before_a_parameter() {
        assert_eq!(body(&send(event("GET", "/v1/things/all")).await)["all"], true);
        assert_eq!(body(&send(from_portal("GET", "/v1/things/al")).await)["name"], "al");
    }

    #[tokio::test(start_paused = true)]
    async fn path_parameters_are_decoded_after_the_path_is_split() {
        for (raw, name) in [
            ("%ED%95%9C%EA%B8%80", "한글"),
            ("한글", "한글"),
            ("a%2Fb", "a/b"),
            ("a+b%20c", "a+b c"),
            ("%25ED", "%ED"),
            ("100%", "100%"),
            ("%zz", "%zz"),
            ("%00", "\u{0}"),
            ("", ""),
        ] {
            let response = send(from_portal("GET", &format!("/v1/things/{raw}"))).await;
            assert_eq!((response.status_code, &body(&response)["name"]), (200, &json!(name)), "`{raw}`");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_parameter_that_is_no_utf8_is_at_fault_by_name() {
        for raw in ["%FF", "a%C3", "%ED%A0%80"] {
            let told = problem(&send(from_portal("GET", &format!("/v1/things/{raw}"))).await);
            assert_eq!(told, expected(400, "invalid_request", &[("name", "bad_format")]), "`{raw}`");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_of_ten_kilobytes_is_a_path() {
        let (long, many) = ("x".repeat(10_000), "/x".repeat(5_000));
        let response = send(from_portal("GET", &format!("/v1/things/{long}"))).await;
        assert_eq!((response.status_code, &body(&response)["name"]), (200, &json!(long)));
        assert_eq!(problem(&send(from_portal("GET", &many)).await), expected(404, "not_found", &[]));
    }
}

mod callers {
    use super::*;

    async fn told(headers: Value) -> (u16, String, Vec<(String, String)>) {
        let response = send(with(event("GET", "/v1/things/a"), "headers", headers)).await;
        assert_eq!(response.headers.get("www-authenticate").map(String::as_str), Some("Bearer, ApiKey"));
        problem(&response)
    }

    #[tokio::test(start_paused = true)]
    async fn without_valid_credentials_the_header_at_fault_is_named() {
        for (headers, header, issue) in [
            (json!({}), "x-api-key", "missing"),
            (json!({"x-api-key": "wrong"}), "x-api-key", "invalid"),
            (json!({"x-api-key": ""}), "x-api-key", "invalid"),
            (json!({"x-api-key": format!("{KEY} ")}), "x-api-key", "invalid"),
            (json!({"x-api-key": "열쇠"}), "x-api-key", "invalid"),
            (json!({"x-api-key": "x".repeat(100_000)}), "x-api-key", "invalid"),
            (json!({"x-api-key": OLD_KEY}), "x-api-key", "expired"),
            (json!({"authorization": "Bearer a.b.c"}), "authorization", "invalid"),
            (json!({"authorization": format!("Bearer {KEY}")}), "authorization", "invalid"),
            (json!({"authorization": KEY}), "authorization", "invalid"),
        ] {
            assert_eq!(told(headers).await, expected(401, "unauthenticated", &[(header, issue)]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_valid_key_enters_however_its_header_is_written() {
        for name in ["x-api-key", "X-Api-Key", "X-API-KEY"] {
            let response = send(with(event("GET", "/v1/things/a"), "headers", json!({name: KEY}))).await;
            assert_eq!((response.status_code, &body(&response)["caller"]), (200, &json!("key:portal")));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_scope_the_missing_one_is_named() {
        let response = send(from_portal("DELETE", "/v1/things")).await;
        assert_eq!(problem(&response), expected(403, "forbidden", &[("-", "scope_missing")]));
        assert_eq!(body(&response)["error"]["details"][0]["scope"], "things:delete");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_learns_nothing_about_the_body() {
        let large = with(event("POST", "/v1/things"), "body", "x".repeat(MAX_BODY + 1));
        assert_eq!(send(large).await.status_code, 401);
    }
}

mod bodies {
    use super::*;

    fn post(body: &str) -> Value {
        with(from_portal("POST", "/v1/things"), "body", body)
    }

    fn post_base64(body: impl AsRef<[u8]>) -> Value {
        with(post(&STANDARD.encode(body)), "isBase64Encoded", true)
    }

    /// A valid body of `bytes` bytes.
    fn of(bytes: usize) -> String {
        let body = json!({"name": "a", "tags": ["b"]}).to_string();
        format!("{body}{}", " ".repeat(bytes - body.len()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_valid_one_is_read_whole_plain_or_base64() {
        let text = json!({"name": " 이음 ", "tags": ["a", "b"], "count": "3"}).to_string();
        for event in [post(&text), post_base64(&text)] {
            let response = send(event).await;
            assert_eq!(response.status_code, 201);
            assert_eq!(body(&response), json!({"name": "이음", "tags": ["a", "b"], "note": null, "count": 3}));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_above_the_limit_is_413_and_one_at_the_limit_is_not() {
        let too_large = expected(413, "payload_too_large", &[("body", "too_long")]);
        for bytes in [MAX_BODY + 1, MAX_BODY + 2, MAX_BODY + 3, 1_000_000] {
            assert_eq!(problem(&send(post(&of(bytes))).await), too_large, "{bytes}");
            assert_eq!(problem(&send(post_base64(of(bytes))).await), too_large, "{bytes} as base64");
        }
        for bytes in [MAX_BODY - 2, MAX_BODY - 1, MAX_BODY] {
            assert_eq!(send(post(&of(bytes))).await.status_code, 201, "{bytes}");
            assert_eq!(send(post_base64(of(bytes))).await.status_code, 201, "{bytes} as base64");
        }
        // Bytes are counted, not characters.
        assert_eq!(problem(&send(post(&"한".repeat(MAX_BODY / 3 + 1))).await), too_large);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_json_object_is_at_fault_as_a_whole() {
        for (event, issue) in [
            (from_portal("POST", "/v1/things"), "missing"),
            (post(""), "missing"),
            (post("{"), "not_json"),
            (post("name=a"), "not_json"),
            (post("{\"name\": \u{0}}"), "not_json"),
            (post(&"[".repeat(MAX_BODY)), "not_json"),
            (post("[1]"), "bad_format"),
            (post("null"), "bad_format"),
            (post("\"text\""), "bad_format"),
            (post_base64(b"{\"name\": \"\xFF\"}"), "not_json"),
            (with(post("***"), "isBase64Encoded", true), "bad_format"),
            (with(post("e30"), "isBase64Encoded", true), "bad_format"),
        ] {
            let told = problem(&send(event.clone()).await);
            assert_eq!(told, expected(400, "invalid_request", &[("body", issue)]), "{}", event["body"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn everything_wrong_with_the_members_is_said_at_once() {
        let told = problem(&send(post(r#"{"name":"","tags":"a","note":"toolong","count":10,"b":1,"a":2}"#)).await);
        let issues = [
            ("name", "missing"),
            ("tags", "bad_format"),
            ("note", "too_long"),
            ("count", "bad_format"),
            ("a", "unknown_field"),
            ("b", "unknown_field"),
        ];
        assert_eq!(told, expected(400, "invalid_request", &issues));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_outside_format_sends_empty_or_new_is_let_pass_and_what_is_wrong_is_not() {
        let form = async |body: &str| {
            let event = with(event("POST", "/v1/form"), "body", body);
            edge().await.serve(&FORM, serde_json::from_value(event).unwrap(), 0, handle).await
        };
        for members in ["{}", r#"{"note":""}"#, r#"{"note":" ","new":1}"#, r#"{"note":null,"extra":null}"#] {
            assert_eq!(body(&form(members).await), json!({"note": null, "extra": false}), "{members}");
        }
        let whole = form(r#"{"note":" 이음 ","extra":[1]}"#).await;
        assert_eq!(body(&whole), json!({"note": "이음", "extra": true}));
        for (members, issue) in [(r#"{"note":7}"#, "bad_format"), (r#"{"note":"123456","new":1}"#, "too_long")] {
            assert_eq!(
                problem(&form(members).await),
                expected(400, "invalid_request", &[("note", issue)]),
                "{members}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_member_has_its_bounds() {
        for (members, issue) in [
            (r#""name":"12345678901","tags":["a"]"#, ("name", "too_long")),
            (r#""name":"a\nb","tags":["a"]"#, ("name", "bad_format")),
            (r#""name":null,"tags":["a"]"#, ("name", "missing")),
            (r#""name":7,"tags":["a"]"#, ("name", "bad_format")),
            (r#""name":"a","tags":[]"#, ("tags", "missing")),
            (r#""name":"a""#, ("tags", "missing")),
            (r#""name":"a","tags":["1","2","3","4"]"#, ("tags", "too_long")),
            (r#""name":"a","tags":[1]"#, ("tags", "bad_format")),
            (r#""name":"a","tags":["a"],"count":-1"#, ("count", "bad_format")),
            (r#""name":"a","tags":["a"],"count":1.5"#, ("count", "bad_format")),
            (r#""name":"a","tags":["a"],"count":4294967297"#, ("count", "bad_format")),
        ] {
            let told = problem(&send(post(&format!("{{{members}}}"))).await);
            assert_eq!(told, expected(400, "invalid_request", &[issue]), "{members}");
        }
        assert_eq!(send(post(r#"{"name":"가나다라마바사아자차","tags":["a"]}"#)).await.status_code, 201, "ten letters");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_members_name_comes_back_short_and_harmless() {
        let long = format!("{}\u{1b}[31m", "x".repeat(70));
        let told = problem(&send(post(&json!({"name": "a", "tags": ["b"], long: 1}).to_string())).await);
        assert_eq!(told, expected(400, "invalid_request", &[(&"x".repeat(64), "unknown_field")]));
    }
}

mod queries {
    use super::*;

    fn get(query: &str) -> Value {
        with(from_portal("GET", "/v1/things/a"), "rawQueryString", query)
    }

    #[tokio::test(start_paused = true)]
    async fn parameters_are_decoded_and_bounded() {
        for query in ["page=7", "%70age=7", "page=%37", "&&page=7&"] {
            assert_eq!(body(&send(get(query)).await)["page"], 7, "{query}");
        }
        for query in ["page=0", "page=101", "page=", "page", "page=1e1", "page=%FF", "page=-1"] {
            let told = problem(&send(get(query)).await);
            assert_eq!(told, expected(400, "invalid_request", &[("page", "bad_format")]), "{query}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_given_twice_or_unknown_is_at_fault_by_name() {
        let told = problem(&send(get("page=1&page=1")).await);
        assert_eq!(told, expected(400, "invalid_request", &[("page", "bad_format")]));
        let told = problem(&send(get("size=1&%ED%95%9C=2")).await);
        assert_eq!(told, expected(400, "invalid_request", &[("size", "unknown_field"), ("한", "unknown_field")]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_name_of_one_given_twice_comes_back_short() {
        let name = "x".repeat(5_000);
        let told = problem(&send(get(&format!("{name}=1&{name}=2"))).await);
        assert_eq!(told, expected(400, "invalid_request", &[(&"x".repeat(64), "bad_format")]));
    }
}

mod headers {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_an_emulator_sends_as_null_is_as_good_as_absent() {
        let mut event = event("GET", "/v1/things/all");
        for member in ["rawQueryString", "headers", "body", "isBase64Encoded"] {
            event[member] = Value::Null;
        }
        assert_eq!(send(event.clone()).await.status_code, 200);
        event["headers"] = json!({"user-agent": null});
        event["rawPath"] = Value::Null;
        assert_eq!(problem(&send(event).await), expected(404, "not_found", &[]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_header_is_as_good_as_absent() {
        let hostile = json!({
            "": "empty", "a b": "space", "x\u{0}y": "nul", "한글": "name", "x\r\ny": "line",
            "user-agent": "two\r\nlines", "accept-language": "e\u{0}n", "cookie": "x".repeat(1_000_000),
        });
        let response = send(with(event("GET", "/v1/things/all"), "headers", hostile)).await;
        assert_eq!((response.status_code, &body(&response)["agent"]), (200, &Value::Null));
        let foreign = json!({"user-agent": "브라우저", "traceparent": "헤더"});
        let response = send(with(event("GET", "/v1/things/all"), "headers", foreign)).await;
        assert_eq!((response.status_code, &body(&response)["agent"]), (200, &Value::Null));
    }

    #[tokio::test(start_paused = true)]
    async fn more_of_them_than_anybody_counts_do_no_harm() {
        let many: BTreeMap<String, &str> = (0..40_000).map(|number| (format!("x-{number}"), "1")).collect();
        let response = send(with(event("GET", "/v1/things/all"), "headers", json!(many))).await;
        assert_eq!(check(&response), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trace_is_continued_and_a_senseless_one_is_not() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let headers = json!({"TraceParent": format!("00-{TRACE}-00f067aa0ba902b7-01")});
        for path in ["/v1/things/all", "/v1/nothing"] {
            let response = send(with(event("GET", path), "headers", headers.clone())).await;
            assert_eq!(check(&response), Ok(()));
            assert_eq!(response.headers["x-trace-id"], TRACE);
        }
        let senseless = json!({"traceparent": "00-<script>-00f067aa0ba902b7-01"});
        let [one, other] = [0, 1].map(|_| send(with(event("GET", "/v1/nothing"), "headers", senseless.clone())));
        let (one, other) = (one.await, other.await);
        assert_eq!(check(&one), Ok(()));
        assert_ne!(one.headers["x-trace-id"], other.headers["x-trace-id"], "each request has its own");
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_language_is_spoken() {
        for (language, sentence) in [
            (json!({}), "요청하신 항목을 찾을 수 없습니다."),
            (json!({"accept-language": "ko-KR,en;q=0.9"}), "요청하신 항목을 찾을 수 없습니다."),
            (json!({"Accept-Language": "en-GB,en;q=0.9"}), "There is no such thing here."),
        ] {
            let response = send(with(event("GET", "/v1/nothing"), "headers", language)).await;
            assert_eq!(body(&response)["error"]["message"], sentence);
        }
    }
}

mod responses {
    use super::*;

    #[tokio::test]
    async fn a_page_has_its_own_type_and_the_policy_of_its_maker() {
        let page = with(event("GET", "/v1/page"), "headers", json!({"x-policy": "default-src 'none'"}));
        let response = edge().await.serve(&PAGE, serde_json::from_value(page).unwrap(), 0, handle).await;
        let header = |name: &str| response.headers.get(name).map(String::as_str);
        assert_eq!((response.status_code, response.body.as_str()), (200, "<p>가"));
        assert_eq!(header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(header("content-security-policy"), Some("default-src 'none'"));
        assert_eq!(
            (header("referrer-policy"), header("x-content-type-options")),
            (Some("strict-origin"), Some("nosniff"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_panics_is_a_500_that_says_nothing() {
        let response = send(event("POST", "/v1/words-of-the-caller/panic")).await;
        assert_eq!(problem(&response), expected(500, "internal_error", &[]));
        assert!(!response.body.contains("words"), "{}", response.body);
        let edge = edge().await;
        for _ in 0..3 {
            send_to(&edge, event("POST", "/v1/x/panic")).await;
            assert_eq!(send_to(&edge, event("GET", "/v1/things/all")).await.status_code, 200, "the edge survives it");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_tells_when_to_return_and_never_its_inside() {
        let response = send(event("POST", "/v1/things/a/limited")).await;
        assert_eq!(problem(&response), expected(429, "rate_limited", &[("name", "bad_format")]));
        assert_eq!(response.headers["retry-after"], "7");
        assert!(!response.body.contains("words"), "{}", response.body);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_says_where_it_comes_from_and_how_old_it_is() {
        let event = serde_json::from_value(event("GET", "/v1/stale")).unwrap();
        let response = edge().await.serve(&STALE, event, 0, handle).await;
        assert_eq!(check(&response), Ok(()));
        assert_eq!((response.headers["x-ieum-source"].as_str(), response.headers["age"].as_str()), ("stale", "90"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_environments_deadline_is_believed_only_when_it_is_plausible() {
        let edge = edge().await;
        let now = u64::try_from(TokioClock::start().now().as_millis()).unwrap();
        for (deadline, left_ms) in [
            (now + 5_000, 4_500),
            (now + 28_499, 27_999),
            (now + 900_000, 28_000),
            (now + 300, 0),
            (now, 28_000),
            (now - 1, 28_000),
            (0, 28_000),
            (u64::MAX, 28_000),
            (1_795_233_000, 28_000),
        ] {
            let event = serde_json::from_value(event("GET", "/v1/things/all")).unwrap();
            let response = edge.serve(&ROUTES, event, deadline, handle).await;
            assert_eq!(body(&response)["left_ms"], left_ms, "{deadline}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_is_one_line_without_what_the_caller_sent() {
        let (captured, _guard) = listen(LogLevel::Info);
        let query =
            with(from_portal("GET", "/v1/things/a-name-of-the-caller"), "rawQueryString", "page=a-query-of-the-caller");
        let responses = [send(query).await, send(event("POST", "/v1/words-of-the-caller/panic")).await];
        let lines = captured.lines();
        let told: Vec<_> = lines.iter().map(|line| (&line["level"], &line["route"], &line["status"])).collect();
        assert_eq!(told[0], (&json!("info"), &json!("/v1/things/{name}"), &json!(400)));
        assert_eq!(told[1], (&json!("error"), &json!("/v1/{what}/panic"), &json!(500)));
        assert_eq!(lines.len(), 2);
        for (line, response) in lines.iter().zip(&responses) {
            assert_eq!(line["trace_id"], response.headers["x-trace-id"]);
        }
        for words in [KEY, "of-the-caller", "must not leave"] {
            assert!(!captured.text().contains(words), "`{words}` in {}", captured.text());
        }
    }
}

/// Text of every kind a client may find: any characters, any bytes, any bytes in escapes, and what parsers stumble over.
fn hostile() -> impl Strategy<Value = String> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        any::<String>(),
        bytes().prop_map(|bytes| bytes.into_iter().map(char::from).collect()),
        bytes().prop_map(|bytes| bytes.into_iter().map(|byte| format!("%{byte:02X}")).collect()),
        "[-%&=+/?#{}\\[\\]\"\\\\:,.; 0-9a-f]{0,60}",
        Just("x".repeat(10_000)),
    ]
}

/// Bodies: anything, anything in base64, and members of the right names with anything in them.
fn any_body() -> impl Strategy<Value = String> {
    let member = prop_oneof![
        hostile().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(["a", "b"])),
        Just(json!({"a": [null]})),
    ];
    let name = prop_oneof![Just("name".to_owned()), Just("tags".to_owned()), Just("count".to_owned()), hostile()];
    prop_oneof![
        1 => hostile(),
        1 => hostile().prop_map(|text| STANDARD.encode(text)),
        2 => Just(json!({"name": "a", "tags": ["b"]}).to_string()),
        2 => prop::collection::btree_map(name, member, 0..4).prop_map(|members| json!(members).to_string()),
    ]
}

fn any_event() -> impl Strategy<Value = Value> {
    let path = prop_oneof![
        1 => hostile(),
        4 => hostile().prop_map(|text| format!("/v1/things/{text}")),
        4 => Just("/v1/things".to_owned()),
        1 => Just("/v1/x/panic".to_owned()),
    ];
    let method = prop_oneof![4 => Just("GET".to_owned()), 4 => Just("POST".to_owned()), 1 => hostile()];
    let name = prop_oneof![
        Just("x-api-key".to_owned()),
        Just("authorization".to_owned()),
        Just("traceparent".to_owned()),
        Just("X-Amzn-Trace-Id".to_owned()),
        Just("accept-language".to_owned()),
        hostile(),
    ];
    let value = prop_oneof![hostile(), hostile().prop_map(|text| format!("Bearer {text}")), Just(KEY.to_owned())];
    let query = prop_oneof![Just(String::new()), hostile(), hostile().prop_map(|text| format!("page={text}"))];
    let headers = prop::collection::hash_map(name, value, 0..5);
    let known = any::<bool>();
    (method, path, query, headers, any_body(), any::<bool>(), known).prop_map(
        |(method, path, query, mut headers, body, base64, known)| {
            if known {
                headers.insert("x-api-key".to_owned(), KEY.to_owned());
            }
            let event = with(with(event(&method, &path), "rawQueryString", query), "headers", json!(headers));
            with(with(event, "body", body), "isBase64Encoded", base64)
        },
    )
}

#[test]
fn whatever_comes_in_a_response_in_our_form_goes_out() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let edge = runtime.block_on(edge());
    let config = ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() };
    let mut statuses: BTreeMap<u16, u32> = BTreeMap::new();
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let seen = std::cell::RefCell::new(&mut statuses);
    let outcome = runner.run(&any_event(), |event| {
        let panics = event["rawPath"].as_str().is_some_and(|path| path.ends_with("/panic"));
        let event =
            serde_json::from_value::<HttpEvent>(event).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let response = runtime.block_on(edge.serve(&ROUTES, event, 0, handle));
        prop_assert_eq!(check(&response), Ok(()));
        prop_assert!(response.status_code < 500 || panics, "{:?}", response);
        prop_assert!(!response.body.contains(KEY));
        *seen.borrow_mut().entry(response.status_code).or_default() += 1;
        Ok(())
    });
    assert_eq!(outcome, Ok(()));
    for status in [200, 201, 400, 401, 404, 405, 413] {
        assert!(statuses.contains_key(&status), "{status} never came up: the events are too tame: {statuses:?}");
    }
}

mod logs {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_and_responses_are_logged_at_debug_without_their_secrets() {
        let request = |path: &str| {
            let event =
                with(from_portal("POST", path), "body", r#"{"name":"a","note":"010-1234-5678","password":"pw-1"}"#);
            with(event, "rawQueryString", "page=2&token=query-secret")
        };
        for (level, expected) in
            [(LogLevel::Info, vec!["request"]), (LogLevel::Debug, vec!["edge.request", "request", "edge.response"])]
        {
            let (captured, guard) = listen(level);
            send(request("/v1/things")).await;
            drop(guard);
            let (text, lines) = (captured.text(), captured.lines());
            let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
            assert_eq!(messages, expected);
            for secret in [KEY, "query-secret", "pw-1", "010-1234"] {
                assert!(!text.contains(secret), "`{secret}` in {text}");
            }
            assert!(lines.iter().all(|line| line["trace_id"] == lines[0]["trace_id"]));
            if level == LogLevel::Debug {
                let (request, response) = (&lines[0], &lines[2]);
                assert_eq!((&request["method"], &response["status"]), (&json!("POST"), &json!(400)));
                assert_eq!(request["url"], "/v1/things?page=2&token=[redacted]");
                assert_eq!(request["body"], r#"{"name":"a","note":"[phone]","password":"[redacted]"}"#);
                assert!(request["headers"].as_str().unwrap().contains(r#""x-api-key":"[redacted]""#));
                let trace = response["trace_id"].as_str().unwrap();
                assert!(response["headers"].as_str().unwrap().contains(trace), "the trace id is not taken for a key");
                assert!(response["body"].as_str().unwrap().contains(trace));
            }
        }
    }
}
