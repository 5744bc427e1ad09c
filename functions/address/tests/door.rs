//! `address` through its own door: events of API Gateway in, responses out, Juso and Kakao on loopback.
//!
//! Each test begins with a file in `events/`, the same that `cargo lambda invoke --data-file` takes.

mod support;

use std::time::Duration;

use ieum::telemetry::LogLevel;
use ieum::testing::door::{event_names, unsent};
use ieum_sandbox::Mode;
use serde_json::{Value, json};
use support::{Door, Settings, event, policy};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn one_building_is_found_by_road_lot_and_name() {
    let door = Door::open().await;
    for name in ["search-road", "search-lot", "search-building"] {
        let answer = door.send(name).await;
        assert_eq!(answer.outcome(), (200, Some("live")), "{name}: {}", answer.text);
        assert_eq!(answer.body["total"], 1, "{name}");
        assert_eq!(
            answer.body["addresses"][0],
            json!({
                "postal_code": "04524",
                "road_address": "서울특별시 중구 세종대로 110",
                "lot_address": "서울특별시 중구 태평로1가 31",
                "extra": "(태평로1가, 서울특별시청)",
                "building_name": "서울특별시청",
                "apartment": false,
                "english_address": "110 Sejong-daero, Jung-gu, Seoul",
                "building_number": {"underground": false, "main": 110, "sub": 0},
                "region": {"sido": "서울특별시", "sigungu": "중구", "eupmyeondong": "태평로1가", "road": "세종대로"},
                "codes": {
                    "legal_dong": "1114010300", "sigungu": "11140", "road": "111402005001",
                    "building": "1114010300100310000000001",
                },
                "match_quality": "building",
            }),
            "{name}"
        );
        assert_eq!((&answer.body["provider"], &answer.body["stale"]), (&json!("juso"), &json!(false)));
        assert_eq!(answer.body["as_of"], "2026-11-21T03:50:00Z");
    }
    assert_eq!(door.calls("kakao").await, 0);
}

#[tokio::test]
async fn the_same_search_in_another_spelling_is_one_call_and_one_entry() {
    let door = Door::open().await;
    assert_eq!(door.send("search-road").await.outcome(), (200, Some("live")));
    door.clock.advance(HOUR);
    let again = door.send("search-loose").await;
    assert_eq!((again.outcome(), again.header("age")), ((200, Some("cached")), Some("3600")));
    assert_eq!((door.calls("juso").await, door.items("cache#addresses#")), (1, 1));
}

#[tokio::test]
async fn an_english_search_finds_the_korean_address() {
    let door = Door::open().await;
    let answer = door.send("search-english").await;
    let address = &answer.body["addresses"][0];
    assert_eq!(address["road_address"], "서울특별시 중구 세종대로 110", "{}", answer.text);
    assert_eq!(address["english_address"], "110 Sejong-daero, Jung-gu, Seoul");
    assert_eq!((&address["postal_code"], &address["region"]["sido"]), (&json!("04524"), &json!("서울특별시")));
}

#[tokio::test]
async fn floor_and_room_are_told_apart_from_the_address() {
    let door = Door::open().await;
    let answer = door.send("search-detail").await;
    assert_eq!((&answer.body["total"], &answer.body["detail"]), (&json!(1), &json!("5층 500호")), "{}", answer.text);
    assert_eq!(answer.body["addresses"][0]["road_address"], "서울특별시 종로구 삼일대로 428");
}

#[tokio::test]
async fn what_juso_forbids_never_reaches_it() {
    let door = Door::open().await;
    let answer = door.send("search-forbidden").await;
    assert_eq!((answer.status, &answer.body["total"]), (200, &json!(1)), "{}", answer.text);
}

#[tokio::test]
async fn pages_are_numbered_and_counted() {
    let door = Door::open().await;
    let answer = door.send("search-pages").await;
    let roads: Vec<_> = answer.body["addresses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|address| address["building_number"]["main"].clone())
        .collect();
    assert_eq!(json!(roads), json!([6, 7, 8, 9, 10]));
    assert_eq!(
        (&answer.body["total"], &answer.body["page"], &answer.body["size"]),
        (&json!(250), &json!(2), &json!(5))
    );
}

#[tokio::test]
async fn nothing_found_is_an_answer_that_is_remembered_briefly() {
    let door = Door::open().await;
    for _ in 0..2 {
        let answer = door.send("search-nothing").await;
        assert_eq!((answer.status, &answer.body["addresses"], &answer.body["total"]), (200, &json!([]), &json!(0)));
    }
    assert_eq!(door.calls("juso").await, 1);
    door.clock.advance(Duration::from_secs(300));
    door.send("search-nothing").await;
    assert_eq!(door.calls("juso").await, 2);
}

#[tokio::test]
async fn coordinates_cost_a_second_call_and_come_only_when_asked_for() {
    let door = Door::open().await;
    assert_eq!(door.send("search-road").await.body["addresses"][0].get("coordinates"), None);
    assert_eq!(door.calls("juso").await, 1);
    let answer = door.send("search-coordinates").await;
    let address = &answer.body["addresses"][0];
    assert_eq!(
        address["coordinates"],
        json!({"latitude": 37.566_499_3, "longitude": 126.977_998_1}),
        "{}",
        answer.text
    );
    let map = address["links"]["map"].as_str().unwrap();
    assert!(map.starts_with("https://map.kakao.com/link/map/%EC%84%9C") && map.ends_with(",37.5664993,126.9779981"));
    assert_eq!(door.calls("juso").await, 2);
    door.send("search-coordinates").await;
    assert_eq!(door.calls("juso").await, 2, "a place is remembered too");
}

#[tokio::test]
async fn an_address_without_coordinates_is_still_an_address() {
    let door = Door::with(Settings { providers: "juso", ..Settings::default() }).await;
    door.send("search-road").await;
    door.sandbox.set_mode("juso", Mode::down()).await;
    let answer = door.send("search-coordinates").await;
    assert_eq!((answer.outcome(), &answer.body["total"]), ((200, Some("cached")), &json!(1)));
    assert_eq!(answer.body["notices"][0]["notice"], "no_coordinates");
}

#[tokio::test]
async fn when_juso_is_down_kakao_answers_in_the_same_form() {
    let door = Door::open().await;
    door.sandbox.set_mode("juso", Mode::down()).await;
    for name in ["search-road", "search-lot", "search-building"] {
        let answer = door.send(name).await;
        assert_eq!((answer.outcome(), &answer.body["provider"]), ((200, Some("live")), &json!("kakao")), "{name}");
        let address = &answer.body["addresses"][0];
        assert_eq!(address["postal_code"], "04524");
        assert_eq!(address["road_address"], "서울특별시 중구 세종대로 110");
        assert_eq!(address["lot_address"], "서울특별시 중구 태평로1가 31");
        assert_eq!(address["extra"], "(태평로1가, 서울특별시청)");
        assert_eq!(address["coordinates"], json!({"latitude": 37.566_499_3, "longitude": 126.977_998_1}));
        let quality = if name == "search-road" { "building" } else { "lot" };
        assert_eq!(
            (&address["match_quality"], &address["codes"]["administrative_dong"]),
            (&json!(quality), &json!("1114055000"))
        );
    }
    assert_eq!(door.items("cache#addresses#"), 0, "a stand-in's answer does not keep Juso from being asked again");
}

#[tokio::test]
async fn a_town_and_a_village_mean_the_same_to_both() {
    let door = Door::open().await;
    let of_juso = door.search("query=%EC%83%98%ED%94%8C%EB%A6%AC%EA%B8%B8").await.body["addresses"][0].clone();
    door.sandbox.set_mode("juso", Mode::down()).await;
    door.clock.advance(HOUR * 25);
    let of_kakao =
        door.search("query=%EC%83%98%ED%94%8C%EB%A6%AC%EA%B8%B8&page=1&size=9").await.body["addresses"][0].clone();
    for member in ["postal_code", "road_address", "lot_address", "region", "building_number"] {
        assert_eq!(of_juso[member], of_kakao[member], "{member}");
    }
    assert_eq!(of_juso["road_address"], "경기도 가평군 청평면 샘플리길 7-1");
    assert_eq!((&of_juso["region"]["eupmyeondong"], &of_juso["region"]["ri"]), (&json!("청평면"), &json!("샘플리")));
}

#[tokio::test]
async fn when_both_are_down_the_stale_answer_is_told_with_its_age() {
    let door = Door::open().await;
    door.send("search-road").await;
    for provider in ["juso", "kakao"] {
        door.sandbox.set_mode(provider, Mode::down()).await;
    }
    door.clock.advance(HOUR * 24 + Duration::from_secs(5));
    let answer = door.send("search-road").await;
    assert_eq!((answer.outcome(), answer.header("age")), ((200, Some("stale")), Some("86405")));
    assert_eq!((&answer.body["stale"], &answer.body["as_of"]), (&json!(true), &json!("2026-11-21T03:50:00Z")));
    assert_eq!(answer.body["addresses"][0]["postal_code"], "04524");
}

#[tokio::test]
async fn when_both_are_down_and_nothing_is_remembered_the_error_shows_another_way() {
    let door = Door::open().await;
    for provider in ["juso", "kakao"] {
        door.sandbox.set_mode(provider, Mode::status(503)).await;
    }
    let answer = door.send("search-road").await;
    assert_eq!((answer.status, answer.code()), (503, "provider_unavailable"));
    let offer = &answer.body["error"]["details"][0];
    assert_eq!((&offer["issue"], &offer["path"]), (&json!("widget"), &json!("/v1/addresses/widget")));
    assert!(offer["message"].as_str().is_some_and(|message| message.contains("우편번호 서비스")));
}

#[tokio::test]
async fn an_empty_page_says_that_nobody_answered_where_policy_wants_one() {
    let door = Door::with(Settings { fallback: "empty", ..Settings::default() }).await;
    for provider in ["juso", "kakao"] {
        door.sandbox.set_mode(provider, Mode::down()).await;
    }
    let answer = door.send("search-road").await;
    assert_eq!((answer.outcome(), answer.header("age")), ((200, Some("default")), None));
    assert_eq!((&answer.body["addresses"], &answer.body["total"]), (&json!([]), &json!(0)));
    let notice = &answer.body["notices"][0];
    assert_eq!(notice["notice"], "no_provider");
    assert!(notice["message"].as_str().is_some_and(|message| message.contains("잠시 후")));
    assert_eq!(door.items("cache#addresses#"), 0, "it is no answer to remember");
    for provider in ["juso", "kakao"] {
        door.sandbox.reset(provider).await;
    }
    door.clock.advance(Duration::from_secs(61));
    assert_eq!(door.send("search-road").await.outcome(), (200, Some("live")));
}

#[tokio::test]
async fn a_search_nobody_could_answer_is_refused_with_advice_and_costs_no_call() {
    let door = Door::open().await;
    for (name, issue, advice) in [
        ("search-empty", "query_empty", "도로명"),
        ("search-one-letter", "query_too_short", "at least two letters"),
        ("search-very-long", "query_too_long", "40자"),
        ("search-digits", "query_without_letters", "도로명이나 동 이름"),
    ] {
        let answer = door.send(name).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{name}");
        assert_eq!(answer.issues(), [("query", issue)], "{name}");
        assert!(
            answer.body["error"]["details"][0]["message"].as_str().is_some_and(|text| text.contains(advice)),
            "{name}"
        );
        assert!(answer.text.len() < 1_000, "{name}: what was sent is not sent back");
    }
    let answer = door.send("search-mistakes").await;
    assert_eq!(
        answer.issues(),
        [
            ("query", "query_too_broad"),
            ("page", "page_too_deep"),
            ("size", "too_many_to_locate"),
            ("colour", "unknown_field"),
        ]
    );
    assert_eq!((door.calls("juso").await, door.calls("kakao").await), (0, 0));
}

#[tokio::test]
async fn nobody_searches_without_a_key_and_a_scope() {
    let door = Door::open().await;
    let answer = door.send("search-without-key").await;
    assert_eq!((answer.status, answer.code()), (401, "unauthenticated"));
    assert_eq!(door.calls("juso").await, 0);
}

#[tokio::test]
async fn every_code_of_juso_is_answered_as_what_it_means() {
    for (code, status, outside, juso, kakao) in [
        // What the caller can mend is told to the caller, and nobody else is asked.
        ("E0005", 400, "query_empty", 1, 0),
        ("E0006", 400, "query_too_broad", 1, 0),
        ("E0008", 400, "query_too_short", 1, 0),
        ("E0009", 400, "query_without_letters", 1, 0),
        ("E0010", 400, "query_too_long", 1, 0),
        ("E0011", 400, "query_number_too_long", 1, 0),
        ("E0012", 400, "query_without_letters", 1, 0),
        ("E0013", 400, "query_not_searchable", 1, 0),
        ("E0015", 400, "page_too_deep", 1, 0),
        // What only we can mend is not the caller's business: Kakao answers.
        ("E0001", 200, "", 2, 1),
        ("E0014", 200, "", 2, 1),
        ("E0099", 200, "", 1, 1),
        ("-999", 200, "", 4, 1),
    ] {
        let door = Door::open().await;
        door.sandbox.set_mode("juso", Mode::own("refuse").code(code)).await;
        let answer = door.send("search-road").await;
        let issue = answer.issues().pop().map(|(_, issue)| issue).unwrap_or_default();
        assert_eq!((answer.status, issue), (status, outside), "{code}: {}", answer.text);
        assert_eq!((door.calls("juso").await, door.calls("kakao").await), (juso, kakao), "{code}");
        if status == 400 {
            assert_eq!(door.send("search-road").await.status, 400);
            assert_eq!(door.calls("juso").await, 1, "{code} is remembered briefly");
        } else {
            assert_eq!(door.items("cache#addresses#"), 0, "{code} is never remembered");
        }
    }
}

#[tokio::test]
async fn a_key_that_juso_refuses_for_a_moment_is_tried_once_more() {
    let door = Door::open().await;
    door.sandbox.set_mode("juso", Mode::own("refuse").code("E0001").for_calls(1)).await;
    let answer = door.send("search-road").await;
    assert_eq!((answer.status, &answer.body["provider"], door.calls("juso").await), (200, &json!("juso"), 2));
    door.sandbox.set_mode("juso", Mode::own("refuse").code("E0001").for_calls(1)).await;
    let answer = door.send("search-lot").await;
    assert_eq!((&answer.body["provider"], door.calls("juso").await), (&json!("juso"), 4), "it was good in between");
}

#[tokio::test]
async fn a_spent_quota_of_kakao_is_not_asked_again_and_the_fallback_answers() {
    let door = Door::with(Settings { providers: "kakao,juso", ..Settings::default() }).await;
    door.sandbox.set_mode("kakao", Mode::status(429).retry_after(1)).await;
    for name in ["search-road", "search-lot", "search-building"] {
        let answer = door.send(name).await;
        assert_eq!((answer.status, &answer.body["provider"]), (200, &json!("juso")), "{name}");
    }
    assert_eq!(door.calls("kakao").await, 1, "one 429 is enough for everybody");
    door.sandbox.reset("kakao").await;
    door.clock.advance(Duration::from_secs(600));
    assert_eq!(door.send("search-road").await.body["provider"], "kakao");
}

#[tokio::test]
async fn our_own_quota_keeps_kakao_from_being_asked_too_often() {
    let door = Door::with(Settings { providers: "kakao,juso", kakao_quota: "1", ..Settings::default() }).await;
    assert_eq!(door.send("search-road").await.body["provider"], "kakao");
    assert_eq!(door.send("search-lot").await.body["provider"], "juso");
    assert_eq!(door.calls("kakao").await, 1);
}

#[tokio::test]
async fn kakaos_refusals_are_not_the_callers_business() {
    for (status, calls) in [(400, 1), (401, 1), (403, 1), (500, 4)] {
        let door = Door::with(Settings { providers: "kakao,juso", ..Settings::default() }).await;
        door.sandbox.set_mode("kakao", Mode::status(status)).await;
        let answer = door.send("search-road").await;
        assert_eq!((answer.status, &answer.body["provider"]), (200, &json!("juso")), "{status}");
        assert_eq!(door.calls("kakao").await, calls, "{status}");
    }
}

#[tokio::test]
async fn kakao_is_not_asked_for_pages_it_does_not_have() {
    let door = Door::with(Settings { providers: "kakao,juso", ..Settings::default() }).await;
    let answer = door.search("query=%EA%B0%80%EB%82%98%EB%8B%A4%EB%A1%9C&page=46&size=5").await;
    assert_eq!((&answer.body["provider"], &answer.body["total"]), (&json!("juso"), &json!(250)), "{}", answer.text);
    assert_eq!(door.calls("kakao").await, 0);
}

#[tokio::test]
async fn a_place_has_an_address_which_kakao_knows() {
    let door = Door::open().await;
    let answer = door.send("at").await;
    assert_eq!((answer.outcome(), &answer.body["provider"]), ((200, Some("live")), &json!("kakao")), "{}", answer.text);
    let address = &answer.body["address"];
    assert_eq!(
        (&address["road_address"], &address["postal_code"]),
        (&json!("서울특별시 중구 세종대로 110"), &json!("04524"))
    );
    assert_eq!((&address["match_quality"], address.get("coordinates")), (&json!("building"), None));
    assert_eq!(door.send("at").await.outcome(), (200, Some("cached")));
    let nowhere = door.send("at-sea").await;
    assert_eq!((nowhere.status, nowhere.code()), (404, "address_not_found"));
    let mistakes = door.send("at-mistakes").await;
    assert_eq!(mistakes.issues(), [("lat", "bad_format"), ("zoom", "unknown_field")]);
    assert_eq!(door.send("at-abroad").await.issues(), [("lat", "outside_korea")]);
    assert_eq!((door.calls("juso").await, door.calls("kakao").await), (0, 2));
    let words: Vec<String> = door.requests("cache#places#");
    assert_eq!(words, ["address at 37.57 126.98"], "where exactly somebody stood is not written down");
}

#[tokio::test]
async fn without_kakao_nobody_knows_the_address_of_a_place() {
    let door = Door::with(Settings { providers: "juso", ..Settings::default() }).await;
    let answer = door.send("at").await;
    assert_eq!((answer.status, answer.code()), (503, "provider_unavailable"));
}

#[tokio::test]
async fn what_the_widget_hands_over_is_checked_unified_and_located() {
    let door = Door::open().await;
    let answer = door.send("normalize").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let address = &answer.body["address"];
    assert_eq!(address["road_address"], "서울특별시 중구 세종대로 110");
    assert_eq!(address["lot_address"], "서울특별시 중구 태평로1가 31");
    assert_eq!((&address["detail"], &address["extra"]), (&json!("3층 민원실"), &json!("(태평로1가)")));
    assert_eq!(address["codes"]["road"], "111402005001");
    assert_eq!(address["coordinates"], json!({"latitude": 37.566_499_3, "longitude": 126.977_998_1}));
    assert_eq!((&answer.body["provider"], &answer.body["notices"]), (&json!("daum"), &json!([])));
    let found = door.send("search-road").await.body["addresses"][0].clone();
    for member in ["postal_code", "road_address", "building_number", "region", "codes", "match_quality"] {
        assert_eq!(address[member], found[member], "{member}: the widget and the search tell the same");
    }
}

#[tokio::test]
async fn what_the_widget_did_not_say_is_named_and_nothing_of_it_comes_back() {
    let door = Door::open().await;
    let answer = door.send("normalize-mistakes").await;
    assert_eq!(
        answer.issues(),
        [
            ("zonecode", "not_5_digits"),
            ("detail", "bad_format"),
            ("apartment", "bad_format"),
            ("sigunguCode", "not_of_bcode"),
        ],
        "a member that the widget may add later is none"
    );
    assert!(!answer.text.contains("script"));
    let incomplete = door.send("normalize-incomplete").await;
    assert_eq!(incomplete.issues(), [("zonecode", "missing"), ("roadAddress", "missing")]);
    assert_eq!(door.calls("juso").await, 0);
}

#[tokio::test]
async fn the_page_is_made_for_one_allowed_origin() {
    let door = Door::open().await;
    let page = door.send("widget").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text.contains(r#"data-origin="https://portal.example.org""#));
    assert_eq!(page.header("referrer-policy"), Some("strict-origin"));
    let policy = policy(&page);
    for (directive, value) in [
        ("default-src", "'none'"),
        ("script-src", "'self' https://t1.daumcdn.net"),
        ("style-src", "'self'"),
        ("connect-src", "'self'"),
        ("frame-src", "https://postcode.map.kakao.com https://postcode.map.daum.net"),
        ("frame-ancestors", "https://portal.example.org"),
        ("base-uri", "'none'"),
        ("form-action", "'none'"),
    ] {
        assert_eq!(policy.get(directive), Some(&value), "{directive}");
    }
    for (name, fields) in [("widget-wrong-origin", vec!["origin"]), ("widget-markup", vec!["lang"])] {
        let refused = door.send(name).await;
        let named: Vec<_> = refused.issues().into_iter().map(|(field, _)| field).collect();
        assert_eq!(named, fields, "{name}");
        assert!(
            matches!(refused.status, 400 | 403) && !refused.text.contains("evil") && !refused.text.contains("alert")
        );
        assert_eq!(refused.header("content-type"), Some("application/json; charset=utf-8"));
    }
}

#[tokio::test]
async fn the_page_speaks_korean_and_english() {
    let door = Door::open().await;
    let korean = door.send("widget").await.text;
    assert!(korean.contains(r#"<html lang="ko">"#) && korean.contains("<h1>주소 찾기</h1>"));
    let english = door.send("widget-english").await.text;
    assert!(english.contains(r#"<html lang="en">"#) && english.contains("<h1>Find an address</h1>"));
    assert!(!english.chars().any(|c| ('가'..='힣').contains(&c)), "no Korean is left");
    assert!(!korean.contains('{') && !english.contains('{'), "every place is filled");
}

#[tokio::test]
async fn script_and_style_are_files_of_their_own() {
    let door = Door::open().await;
    for (name, content_type) in
        [("widget-script", "text/javascript; charset=utf-8"), ("widget-style", "text/css; charset=utf-8")]
    {
        let file = door.send(name).await;
        assert_eq!((file.status, file.header("content-type")), (200, Some(content_type)), "{name}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(file.header("content-security-policy"), Some("default-src 'none'"));
        assert!(!file.text.is_empty());
    }
}

#[tokio::test]
async fn no_response_or_log_line_holds_a_key_or_the_providers_words() {
    let door = Door::with(Settings { log_level: LogLevel::Debug, ..Settings::default() }).await;
    let mut seen = String::new();
    for mode in [Mode::ok(), Mode::status(500), Mode::status(401), Mode::status(400), Mode::garbage()] {
        for provider in ["juso", "kakao"] {
            door.sandbox.set_mode(provider, mode.clone()).await;
        }
        for name in ["search-road", "search-english", "search-coordinates", "normalize"] {
            seen.push_str(&door.send(name).await.text);
        }
        door.clock.advance(HOUR * 25);
    }
    let log = door.log.text();
    assert!(log.contains("http.request") && log.contains("call.failed"), "there was something to hide");
    for secret in ["sandbox+juso", "sandbox%2Bjuso", "sandbox-kakao-rest-api-key", "portal-key"] {
        assert!(!seen.contains(secret) && !log.contains(secret), "`{secret}`");
    }
    for words in ["JUSO-INTERNAL-DETAIL", "KAKAO-INTERNAL-DETAIL"] {
        assert!(!seen.contains(words), "`{words}` in a response");
    }
}

#[tokio::test]
async fn the_mock_answers_by_its_table() {
    let door = Door::with(Settings { providers: "mock", ..Settings::default() }).await;
    let answer = door.send("search-coordinates").await;
    assert_eq!((&answer.body["total"], &answer.body["provider"]), (&json!(3), &json!("mock")));
    assert!(answer.body["addresses"][0]["coordinates"]["latitude"].is_f64());
    assert_eq!(door.send("search-nothing").await.body["total"], 0);
    let mut failing = event("search-road");
    failing["rawQueryString"] = json!("query=%EC%9E%A5%EC%95%A0%EB%A1%9C");
    assert_eq!(door.serve(failing).await.status, 503);
    assert_eq!(
        door.search("query=%EC%A2%85%EB%A1%9C&page=2&size=2").await.body["addresses"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(door.calls("juso").await, 0);
}

/// What the tests above send, against what lies in `events/`.
#[test]
fn every_event_of_this_function_is_sent_by_a_test() {
    assert_eq!(unsent("address", &[include_str!("door.rs")]), Vec::<String>::new());
}

/// The bodies in the files are what the files say they are.
#[test]
fn every_body_in_the_events_is_json() {
    for name in event_names("address") {
        if let Some(body) = event(&name)["body"].as_str() {
            assert!(serde_json::from_str::<Value>(body).is_ok(), "{name}");
        }
    }
}
