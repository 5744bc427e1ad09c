//! `verify` through its own door: events of API Gateway in, responses out, NICE and the tax service on loopback.
//!
//! Each test begins with a file in `events/`, the same that `cargo lambda invoke --data-file` takes.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ieum::testing::door::unsent;
use ieum_sandbox::{Mode, Only};
use serde_json::json;
use support::{Door, Settings};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_company_comes_from_nice_once_and_then_from_the_cache() {
    let door = Door::open().await;
    let first = door.send("company").await;
    assert_eq!((first.status, first.header("x-ieum-source")), (200, Some("live")));
    assert_eq!(first.header("age"), None);
    assert_eq!(first.body["name"], "(주)샘플강원");
    assert_eq!(first.body["representative"], "홍길동");
    assert_eq!(first.body["established_on"], "2018-05-10");
    assert_eq!((&first.body["provider"], &first.body["source"]), (&json!("nice"), &json!("live")));
    door.clock.advance(HOUR);
    let second = door.send("company").await;
    assert_eq!(
        (second.status, second.header("x-ieum-source"), second.header("age")),
        (200, Some("cached"), Some("3600"))
    );
    assert_eq!(second.body["name"], first.body["name"]);
    assert_eq!((door.calls("nice").await, door.sandbox.token_calls("nice").await), (1, 1));
}

#[tokio::test]
async fn a_provider_that_says_nothing_keeps_no_function_from_starting() {
    // Connections come about, and no greeting is answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nts = format!("https://{}", silent.local_addr().unwrap());
    let door = Door::with(Settings { providers: "nts,nice", nts: (Some(nts), "50"), ..Settings::default() }).await;
    silent.set_nonblocking(true).unwrap();
    let _greeting = silent.accept().expect("whom callers will need is connected to at the start");
    let answer = door.send("company").await;
    assert_eq!((answer.status, &answer.body["provider"]), (200, &json!("nice")));
}

#[tokio::test]
async fn amounts_are_told_in_won_although_nice_counts_in_thousands() {
    let door = Door::open().await;
    let answer = door.send("company").await;
    assert_eq!(answer.body["sales_krw"], 4_500_000_000_i64);
    assert_eq!(answer.body["employees"], 42);
}

#[tokio::test]
async fn a_key_of_the_wrong_plan_is_not_a_verification() {
    let door = Door::open().await;
    door.sandbox.set_mode("nice", Mode::weak_key()).await;
    let answer = door.send("company").await;
    assert_eq!((answer.status, answer.code()), (503, "provider_unavailable"));
    assert!(!answer.text.contains("9990000016"), "the test company is nobody's answer");
}

#[tokio::test]
async fn a_profile_read_with_get_is_learned_once() {
    let door = Door::open().await;
    door.control("nice", json!({"post_is_405": true})).await;
    assert_eq!(door.send("company").await.status, 200);
    assert_eq!(door.calls("nice").await, 2);
    assert_eq!(door.send("company-never-seen").await.status, 200);
    assert_eq!(door.calls("nice").await, 3);
}

#[tokio::test]
async fn an_outage_after_the_ttl_is_bridged_with_the_stale_answer_and_its_age() {
    let door = Door::open().await;
    door.send("company").await;
    door.sandbox.set_mode("nice", Mode::down()).await;
    door.clock.advance(HOUR * 24 + Duration::from_secs(5));
    let answer = door.send("company").await;
    assert_eq!(
        (answer.status, answer.header("x-ieum-source"), answer.header("age")),
        (200, Some("stale"), Some("86405"))
    );
    assert_eq!((&answer.body["stale"], &answer.body["name"]), (&json!(true), &json!("(주)샘플강원")));
    door.clock.advance(HOUR * 24 * 7);
    assert_eq!(door.send("company").await.status, 503, "past the stale window there is nothing left to say");
}

#[tokio::test]
async fn a_path_that_has_moved_is_an_outage_and_not_a_rejection() {
    let door = Door::open().await;
    door.send("company").await;
    door.clock.advance(HOUR * 25);
    door.sandbox.set_mode("nice", Mode::status(404).only(Only::Data)).await;
    let answer = door.send("company").await;
    assert_eq!((answer.status, answer.header("x-ieum-source")), (200, Some("stale")));
    assert_eq!(door.send("company-never-seen").await.code(), "provider_unavailable");
}

#[tokio::test]
async fn a_company_never_seen_can_be_entered_by_hand_until_a_provider_answers() {
    let door = Door::open().await;
    door.sandbox.set_mode("nice", Mode::down()).await;
    let answer = door.send("company-never-seen").await;
    assert_eq!((answer.status, answer.code()), (503, "provider_unavailable"));
    let offer = &answer.body["error"]["details"][0];
    assert_eq!((&offer["issue"], &offer["method"]), (&json!("manual_entry"), &json!("PUT")));
    assert_eq!(offer["path"], "/v1/companies/4010394930");

    let entered = door.send("company-enter").await;
    assert_eq!((entered.status, &entered.body["source"]), (200, &json!("manual")));
    assert_eq!(entered.body["expires_at"], "2026-12-21T03:50:00Z");
    let answer = door.send("company-never-seen").await;
    assert_eq!((answer.status, answer.header("x-ieum-source")), (200, Some("manual")));
    assert_eq!((&answer.body["source"], &answer.body["name"]), (&json!("manual"), &json!("(주)직접입력")));
    assert_eq!(answer.body["corporate_number"], "1101110062432");

    door.sandbox.reset("nice").await;
    door.clock.advance(Duration::from_secs(61));
    let live = door.send("company-never-seen").await;
    assert_eq!((live.header("x-ieum-source"), &live.body["provider"]), (Some("live"), &json!("nice")));
    assert_ne!(live.body["name"], "(주)직접입력");
    assert_eq!(door.send("company-enter").await.status, 409, "nothing is entered over a live answer");
    door.send("company").await;
    let refused = door.send("company-enter-known").await;
    assert_eq!((refused.code(), refused.issues()[0].1), ("conflict", "live_answer_exists"));
}

#[tokio::test]
async fn an_entry_by_hand_leaves_an_audit_and_expires() {
    let door = Door::open().await;
    door.sandbox.set_mode("nice", Mode::down()).await;
    assert_eq!(door.send("company-enter").await.status, 200);
    let audits = door.items("audit#");
    assert_eq!(audits.len(), 1);
    assert_eq!(audits[0].text("who"), Some("key:portal"));
    assert_eq!(audits[0].text("target"), Some("company 4010394930"));
    assert_eq!((audits[0].text("before"), audits[0].text("after").is_some()), (Some("null"), true));
    door.clock.advance(HOUR * 24 * 30);
    assert_eq!(door.send("company-never-seen").await.status, 503);
}

#[tokio::test]
async fn after_five_failures_in_a_row_nobody_calls_until_one_probe_closes_the_circuit() {
    let door = Door::open().await;
    door.sandbox.set_mode("nice", Mode::status(500)).await;
    for _ in 0..4 {
        assert_eq!(door.send("company").await.status, 503);
    }
    assert_eq!(door.attempts().await, 5, "four attempts for the first request, one for the second, then silence");
    let refused = door.send("company").await;
    assert_eq!((refused.code(), refused.header("retry-after")), ("provider_unavailable", Some("60")));

    door.clock.advance(Duration::from_secs(60));
    assert_eq!(door.send("company").await.status, 503);
    assert_eq!(door.attempts().await, 6, "a probe that fails is not repeated");
    door.clock.advance(Duration::from_secs(59));
    assert_eq!(door.send("company").await.status, 503);
    assert_eq!(door.attempts().await, 6);

    door.sandbox.set_mode("nice", Mode::ok()).await;
    door.clock.advance(Duration::from_secs(1));
    assert_eq!(door.send("company").await.status, 200);
    assert_eq!(door.send("company-never-seen").await.status, 200);
    assert_eq!(door.attempts().await, 8, "one probe, and then business as usual");
}

#[tokio::test]
async fn throttling_is_obeyed_and_opens_nothing() {
    let door = Door::open().await;
    door.sandbox.set_mode("nice", Mode::status(429).retry_after(30).only(Only::Data)).await;
    for _ in 0..7 {
        let answer = door.send("company").await;
        assert_eq!((answer.status, answer.code()), (429, "rate_limited"));
        assert_eq!(answer.header("retry-after"), Some("30"));
    }
    assert_eq!(door.calls("nice").await, 1, "everybody stays away for as long as NICE said");
    door.sandbox.set_mode("nice", Mode::ok()).await;
    door.clock.advance(Duration::from_secs(30));
    assert_eq!(door.send("company").await.status, 200);
}

#[tokio::test]
async fn a_burst_above_the_limit_waits_and_then_is_told_when_to_return() {
    let door = Door::with(Settings { rate: ("2", "4", "400"), ..Settings::default() }).await;
    let numbers: Vec<String> = (0..5).map(support::number).collect();
    let sent: Vec<_> = numbers.iter().map(|number| door.send_to("company", number)).collect();
    let answers = support::all(sent).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    // The clock stands still: two of a burst of four leave at once, the third's slot is 500 ms away and so further than 400 ms.
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 2);
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert_eq!(refused.len(), 3);
    assert!(refused.iter().all(|answer| answer.header("retry-after") == Some("1")));
    assert_eq!(door.calls("nice").await, 2);
}

#[tokio::test]
async fn bad_numbers_are_refused_with_the_field_and_cost_no_call() {
    let door = Door::open().await;
    for (event, issue) in [
        ("company-nine-digits", "not_10_digits"),
        ("company-letters", "not_10_digits"),
        ("company-full-width", "not_10_digits"),
        ("company-very-long", "not_10_digits"),
        ("company-bad-check-digit", "check_digit"),
        ("company-all-zero", "not_assigned"),
    ] {
        let answer = door.send(event).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{event}");
        let detail = &answer.body["error"]["details"][0];
        assert_eq!((&detail["field"], &detail["issue"]), (&json!("business_number"), &json!(issue)), "{event}");
        assert!(detail["message"].as_str().is_some_and(|text| text.contains("사업자등록번호")), "{event}");
        assert!(answer.text.len() < 1_000, "{event}: what was sent is not sent back");
    }
    let english = door.send("company-english").await;
    assert!(english.body["error"]["details"][0]["message"].as_str().is_some_and(|text| text.contains("check digit")));
    assert_eq!((door.calls("nice").await, door.sandbox.token_calls("nice").await), (0, 0));
}

#[tokio::test]
async fn nobody_enters_without_a_valid_key_and_the_scope() {
    let door = Door::open().await;
    for event in ["company-without-key", "company-wrong-key"] {
        let answer = door.send_as(event, None).await;
        assert_eq!((answer.status, answer.code()), (401, "unauthenticated"), "{event}");
        assert_eq!(answer.body["error"]["details"][0]["field"], "x-api-key");
    }
    let expired = door.send_as("company", Some("expired-key")).await;
    assert_eq!((expired.status, &expired.body["error"]["details"][0]["issue"]), (401, &json!("expired")));
    let reader = door.send_as("company-enter", Some("reader-key")).await;
    assert_eq!((reader.status, &reader.body["error"]["details"][0]["scope"]), (403, &json!("verify:write")));
    assert_eq!(door.calls("nice").await, 0);
}

#[tokio::test]
async fn bad_bodies_are_refused_with_every_field_at_fault() {
    let door = Door::open().await;
    let answer = door.send("company-enter-mistakes").await;
    let fields: Vec<_> = answer.issues().into_iter().map(|(field, _)| field).collect();
    assert_eq!((answer.status, json!(fields)), (400, json!(["name", "corporate_number", "established_on", "colour"])));
    assert_eq!(door.send("company-enter-not-json").await.issues()[0].1, "not_json");
    assert_eq!(door.send("status-too-large").await.status, 413);
    let answer = door.send("status-mistakes").await;
    let fields: Vec<_> = answer.issues().into_iter().map(|(field, _)| field).collect();
    assert_eq!(json!(fields), json!(["business_numbers[1]", "business_numbers[2]"]));
    let answer = door.send("search-without-name").await;
    let fields: Vec<_> = answer.issues().into_iter().map(|(field, _)| field).collect();
    assert_eq!((answer.status, json!(fields)), (400, json!(["name", "page"])));
    assert_eq!(door.send("unknown-route").await.status, 404);
    assert_eq!(door.send("wrong-method").await.status, 405);
    assert_eq!((door.calls("nice").await, door.calls("nts").await), (0, 0));
}

#[tokio::test]
async fn a_number_nobody_knows_is_a_404_that_offers_manual_entry_and_is_remembered_briefly() {
    let door = Door::open().await;
    for _ in 0..2 {
        let answer = door.send("company-not-found").await;
        assert_eq!((answer.status, answer.code()), (404, "company_not_found"));
        assert_eq!(answer.issues()[0].1, "manual_entry");
    }
    assert_eq!(door.calls("nice").await, 1);
    door.clock.advance(Duration::from_secs(300));
    door.send("company-not-found").await;
    assert_eq!(door.calls("nice").await, 2);
    let entered = door.send_to("company-enter", "9990000016").await;
    assert_eq!(entered.status, 200, "{}", entered.text);
    let answer = door.send("company-not-found").await;
    assert_eq!((answer.status, answer.header("x-ieum-source")), (200, Some("manual")), "the offer is kept");
}

#[tokio::test]
async fn the_tax_service_confirms_a_representative_who_comes_with_a_date() {
    let door = Door::open().await;
    let answer = door.send("representative").await;
    assert_eq!((answer.status, &answer.body["representative_match"]), (200, &json!("match")));
    assert_eq!(answer.body["provider"], "nts");
    let answer = door.send("representative-mismatch").await;
    assert_eq!(answer.body["representative_match"], "mismatch");
    assert_eq!((door.calls("nts").await, door.calls("nice").await), (2, 0));
    let cached = door.send("representative").await;
    assert_eq!(cached.header("x-ieum-source"), Some("cached"));
    let names: String =
        door.items("cache#").iter().filter_map(|item| item.text("request").map(str::to_owned)).collect();
    assert!(!names.contains("홍길동"), "a person's name is not kept in the clear");
}

#[tokio::test]
async fn nice_compares_names_when_there_is_no_date_or_the_tax_service_is_down() {
    let door = Door::open().await;
    let answer = door.send("representative-undated").await;
    assert_eq!((&answer.body["representative_match"], &answer.body["provider"]), (&json!("match"), &json!("nice")));
    door.sandbox.set_mode("nts", Mode::down()).await;
    let answer = door.send("representative").await;
    assert_eq!((&answer.body["representative_match"], &answer.body["provider"]), (&json!("match"), &json!("nice")));
    door.sandbox.set_mode("nice", Mode::down()).await;
    let answer = door.send("representative-mismatch").await;
    assert_eq!((answer.status, answer.body.get("representative_match")), (503, None), "no answer is not a verdict");
}

#[tokio::test]
async fn names_are_searched_page_by_page() {
    let door = Door::open().await;
    let answer = door.send("search").await;
    assert_eq!((answer.status, &answer.body["size"]), (200, &json!(5)));
    assert_eq!(answer.body["companies"][0]["name"], "(주)샘플강원");
    assert_eq!(answer.body["companies"].as_array().map(Vec::len), Some(5));
    assert!(answer.body["total"].as_u64().is_some_and(|total| total > 5));
    assert_eq!(door.send("search").await.header("x-ieum-source"), Some("cached"));
}

#[tokio::test]
async fn many_numbers_make_one_call_and_each_answer_is_remembered() {
    let door = Door::open().await;
    let answer = door.send("status").await;
    assert_eq!(answer.status, 200);
    let of = |place: usize| {
        (answer.body["results"][place]["status"].clone(), answer.body["results"][place]["source"].clone())
    };
    let expected = ["active", "suspended", "closed", "not_registered", "not_registered", "active"];
    for (place, status) in expected.into_iter().enumerate() {
        assert_eq!(of(place), (json!(status), json!("live")));
    }
    assert_eq!(answer.body["results"][2]["closed_on"], "2024-03-31");
    assert_eq!(answer.body["results"][2]["business_number"], "3333333336");
    assert_eq!(
        answer.body["results"][3].get("tax_type"),
        None,
        "a sentence is no kind of taxpayer, with or without a full stop"
    );
    assert_eq!(door.calls("nts").await, 1);
    let again = door.send("status").await;
    assert_eq!((again.header("x-ieum-source"), door.calls("nts").await), (Some("cached"), 1));

    door.sandbox.set_mode("nts", Mode::down()).await;
    door.clock.advance(HOUR);
    let stale = door.send("status").await;
    assert_eq!((stale.status, stale.header("x-ieum-source")), (200, Some("stale")));
    assert_eq!(stale.body["results"][0]["stale"], true);
    let unknown = &stale.body["results"][3];
    assert_eq!((&unknown["status"], &unknown["error"]), (&json!("unknown"), &json!("provider_unavailable")));
}

#[tokio::test]
async fn the_gateways_xml_is_read_as_what_it_means() {
    for (code, status, calls) in [("22", 429, 1), ("30", 503, 1), ("05", 503, 4)] {
        let door = Door::open().await;
        door.sandbox.set_mode("nts", Mode::gateway_error(code)).await;
        let answer = door.send("status").await;
        assert_eq!((answer.status, door.calls("nts").await), (status, calls), "code {code}");
    }
}

#[tokio::test]
async fn a_revoked_token_is_replaced_without_the_caller_noticing() {
    let door = Door::open().await;
    assert_eq!(door.send("company").await.status, 200);
    door.control("nice", json!({"mode": "ok", "revoke_tokens": true})).await;
    assert_eq!(door.send("company-never-seen").await.status, 200);
    assert_eq!(door.sandbox.token_calls("nice").await, 2);
}

#[tokio::test]
async fn tokens_are_renewed_before_they_expire() {
    let door = Door::open().await;
    assert_eq!(door.send_to("company", &support::number(1)).await.status, 200);
    door.clock.advance(HOUR - Duration::from_secs(301));
    assert_eq!(door.send_to("company", &support::number(2)).await.status, 200);
    assert_eq!(door.sandbox.token_calls("nice").await, 1);
    door.clock.advance(Duration::from_secs(1));
    assert_eq!(door.send_to("company", &support::number(3)).await.status, 200);
    assert_eq!(door.sandbox.token_calls("nice").await, 2);
}

#[tokio::test]
async fn garbage_is_no_answer_and_is_not_asked_for_twice() {
    let door = Door::open().await;
    door.sandbox.set_mode("nice", Mode::garbage().only(Only::Data)).await;
    let answer = door.send("company").await;
    assert_eq!((answer.status, door.calls("nice").await), (503, 1));
}

/// What a server does to whoever has asked it something.
type Manner = fn(&mut TcpStream);

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{";

/// What no server built on an HTTP library does.
const MANNERS: [(&str, Manner); 6] = [
    ("silent", |stream| until_it_leaves(stream)),
    ("half an answer", |stream| {
        let _ = stream.write_all(HEAD);
        until_it_leaves(stream);
    }),
    ("a byte at a time", |stream| {
        let _ = stream.write_all(HEAD);
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }),
    ("cut off", |stream| drop(stream.write_all(HEAD))),
    ("without end", |stream| while stream.write_all(&[b'x'; 4_096]).is_ok() {}),
    ("another protocol", |stream| drop(stream.write_all(b"220 smtp.example.kr ESMTP\r\n"))),
];

fn until_it_leaves(stream: &mut TcpStream) {
    while stream.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
}

#[tokio::test]
async fn a_server_without_manners_costs_each_attempt_its_time_and_the_caller_an_honest_answer() {
    for (name, behave) in MANNERS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        // It ends with the process.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                counter.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    if stream.read(&mut [0; 65_536]).is_ok_and(|read| read > 0) {
                        behave(&mut stream);
                    }
                });
            }
        });
        let door = Door::with(Settings { nts: (Some(url), "150"), ..Settings::default() }).await;
        let answer = door.send("status").await;
        assert_eq!((answer.status, answer.code()), (503, "provider_unavailable"), "{name}: {}", answer.text);
        assert_eq!(asked.load(Ordering::SeqCst), 4, "{name}: a question may be asked again");
    }
}

#[tokio::test]
async fn no_log_line_of_the_usual_level_holds_the_providers_words() {
    let door = Door::open().await;
    for mode in [Mode::status(500), Mode::status(401), Mode::status(400), Mode::status(403), Mode::garbage()] {
        door.sandbox.set_mode("nice", mode).await;
        assert!(door.send("company").await.status >= 400);
        door.clock.advance(HOUR);
    }
    for code in ["10", "22", "30"] {
        door.sandbox.set_mode("nts", Mode::gateway_error(code)).await;
        assert!(door.send("status").await.status >= 400);
        door.clock.advance(HOUR);
    }
    let log = door.log.text();
    assert!(log.contains("call.failed"), "what failed is logged");
    for words in ["NICE-INTERNAL-DETAIL", "NTS-INTERNAL-DETAIL", "SERVICE ERROR"] {
        assert!(!log.contains(words), "`{words}` in the log");
    }
}

#[tokio::test]
async fn no_response_holds_a_key_or_the_providers_words_and_no_log_line_a_key() {
    let door = Door::with(Settings { log_level: ieum::telemetry::LogLevel::Debug, ..Settings::default() }).await;
    let mut seen = String::new();
    for mode in [Mode::ok(), Mode::status(500), Mode::status(401), Mode::status(400), Mode::garbage(), Mode::weak_key()]
    {
        door.sandbox.set_mode("nice", mode).await;
        for event in ["company", "company-never-seen", "search", "company-wrong-key"] {
            seen.push_str(&door.send(event).await.text);
        }
        door.clock.advance(HOUR);
    }
    for code in ["22", "30"] {
        door.sandbox.set_mode("nts", Mode::gateway_error(code)).await;
        seen.push_str(&door.send("status").await.text);
        seen.push_str(&door.send("representative").await.text);
    }
    let log = door.log.text();
    assert!(log.contains("http.request") && log.contains("http.response"), "the exchange is logged at debug");
    for secret in
        ["portal-key", "not-a-key", "sandbox-app-secret", "sandbox-app-key", "sandbox+service", "sandbox%2Bservice"]
    {
        assert!(!seen.contains(secret), "`{secret}` in a response");
        assert!(!log.contains(secret), "`{secret}` in the log");
    }
    for words in ["NICE-INTERNAL-DETAIL", "NTS-INTERNAL-DETAIL"] {
        assert!(!seen.contains(words), "`{words}` in a response");
    }
    let bearer = log.lines().filter(|line| line.contains("accessToken")).count();
    assert!(bearer > 0, "the token endpoint's answer was logged");
    assert!(
        log.lines()
            .filter(|line| line.contains("accessToken"))
            .all(|line| line.contains(r#"\"accessToken\":\"[redacted]\""#))
    );
}

#[tokio::test]
async fn every_call_is_one_line_with_provider_endpoint_duration_status_and_trace() {
    let door = Door::open().await;
    let answer = door.send("company").await;
    let trace = answer.header("x-trace-id").expect("every response has one").to_owned();
    let lines = door.log.lines();
    let calls: Vec<_> = lines.iter().filter(|line| line["message"] == "api_call").collect();
    assert_eq!(calls.len(), 1);
    for (field, value) in [("provider", "nice"), ("endpoint", "company"), ("status", "ok"), ("integration", "verify")] {
        assert_eq!(calls[0][field], value);
    }
    assert_eq!((&calls[0]["trace_id"], &calls[0]["attempt"]), (&json!(trace), &json!(1)));
    assert!(calls[0]["duration_ms"].is_number());
    let answers: Vec<_> = lines.iter().filter(|line| line["message"] == "answer").collect();
    assert_eq!((answers.len(), &answers[0]["source"], &answers[0]["cache_miss"]), (1, &json!("live"), &json!(1)));
}

#[tokio::test]
async fn the_mock_answers_by_its_table() {
    let door = Door::with(Settings { providers: "mock", ..Settings::default() }).await;
    let answer = door.send("company").await;
    assert_eq!((&answer.body["name"], &answer.body["provider"]), (&json!("(주)샘플강원"), &json!("mock")));
    let status = async |prefix: &str| door.send_to("company", &support::number_with(prefix)).await;
    assert_eq!(status("999").await.status, 404);
    assert_eq!(status("998").await.body["status"], "closed");
    assert_eq!(status("997").await.body["status"], "suspended");
    assert_eq!(status("996").await.status, 503);
    assert_eq!(door.send("representative").await.body["representative_match"], "match");
    assert_eq!(door.send("representative-mismatch").await.body["representative_match"], "mismatch");
    assert_eq!(door.send("search").await.body["total"], 2);
    assert_eq!(door.send("status").await.body["results"][0]["status"], "active");
    assert_eq!(door.calls("nice").await, 0);
}

#[tokio::test]
async fn a_mock_is_as_slow_and_unreliable_as_it_is_told_to_be() {
    let failing = Door::with(Settings { providers: "mock", mock: ("0", "1"), ..Settings::default() }).await;
    assert_eq!(failing.send("company").await.status, 503);
    let slow = Door::with(Settings { providers: "mock", mock: ("250", "0"), ..Settings::default() }).await;
    assert_eq!(slow.send("company").await.status, 200);
    let lines = slow.log.lines();
    let call = lines.iter().find(|line| line["message"] == "api_call").expect("a call was made");
    assert!(call["duration_ms"].as_i64().is_some_and(|ms| ms >= 250), "{call:?}");
    assert_eq!(call["mock"], "on", "each line says that answers are made up");
}

#[tokio::test]
async fn the_stale_answer_bridges_a_throttled_provider_too() {
    let door = Door::open().await;
    door.send("company").await;
    door.clock.advance(HOUR * 25);
    door.sandbox.set_mode("nice", Mode::status(429).retry_after(3_600)).await;
    let answer = door.send("company").await;
    assert_eq!((answer.status, answer.header("x-ieum-source")), (200, Some("stale")));
}

/// What the tests above send, against what lies in `events/`.
#[tokio::test]
async fn asked_how_its_providers_are_it_looks_at_calls_first_and_makes_none_that_costs() {
    let door = Door::open().await;
    let (well, asked) = (json!({"finding": "well", "asked": false}), json!({"finding": "well", "asked": true}));
    let idle = door.invoke("probe").await;
    assert_eq!((&idle["integration"], &idle["numbers"]), (&json!("verify"), &json!({"finding": "well"})));
    assert_eq!(idle["providers"], json!({"nice": asked, "nts": asked}));
    let calls = (door.calls("nice").await, door.calls("nts").await, door.sandbox.token_calls("nice").await);
    assert_eq!(calls, (0, 0, 1), "a token is free");
    door.send("company").await;
    let busy = door.invoke("probe").await;
    assert_eq!(busy["providers"], json!({"nice": well, "nts": asked}), "a call that went well is proof enough");

    door.clock.advance(HOUR);
    door.sandbox.set_mode("nice", Mode::down()).await;
    let down = door.invoke("probe").await;
    let failing = json!({"finding": "failing", "reason": "unreachable", "asked": true});
    assert_eq!(down["providers"], json!({"nice": failing, "nts": asked}));
    door.sandbox.set_mode("nice", Mode::status(500)).await;
    for _ in 0..6 {
        door.send("company-never-seen").await;
    }
    let open = door.invoke("probe").await;
    let circuit = json!({"finding": "down", "reason": "circuit_open", "asked": false});
    assert_eq!(open["providers"]["nice"], circuit, "nobody has to be asked");
}

#[test]
fn every_event_of_this_function_is_sent_by_a_test() {
    assert_eq!(unsent("verify", &[include_str!("door.rs")]), Vec::<String>::new());
}
