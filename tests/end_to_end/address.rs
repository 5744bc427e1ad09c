//! `address` as deployed.

use serde_json::{Value, json};
use tokio::time::sleep;

use super::client::{Response, eventually};
use super::{FRESH, STALE, Stage, encoded};

async fn search(stage: &Stage, keyword: &str) -> Response {
    stage.client.get(&format!("/v1/addresses?query={}", encoded(keyword))).await
}

pub(crate) async fn one_building_is_found_by_road_lot_and_name(stage: &mut Stage) {
    for keyword in ["세종대로 110", "태평로1가 31", "서울특별시청", "110 Sejong-daero", "<세종대로> OR %110"]
    {
        let answer = search(stage, keyword).await;
        assert_eq!((answer.status, &answer.body["provider"]), (200, &json!("juso")), "{keyword}: {}", answer.text);
        let address = &answer.body["addresses"][0];
        assert_eq!(address["road_address"], "서울특별시 중구 세종대로 110", "{keyword}");
        assert_eq!((&address["postal_code"], &answer.body["total"]), (&json!("04524"), &json!(1)));
    }
    let calls = stage.client.calls("juso").await;
    let again = search(stage, "  세종대로110 ").await;
    assert_eq!((again.source(), stage.client.calls("juso").await), (Some("cached"), calls), "{}", again.text);
    let answer = stage.client.get(&format!("/v1/addresses?query={}&coordinates=true", encoded("세종대로 110"))).await;
    let place = json!({"latitude": 37.566_499_3, "longitude": 126.977_998_1});
    assert_eq!(answer.body["addresses"][0]["coordinates"], place, "{}", answer.text);
}

pub(crate) async fn addresses_outlive_their_providers(stage: &mut Stage) {
    assert_eq!(search(stage, "낙원상가").await.status, 200);
    stage.client.sandbox("juso", json!({"mode": "down"})).await;
    let answer = search(stage, "삼일대로 428").await;
    let address = &answer.body["addresses"][0];
    assert_eq!((answer.status, &answer.body["provider"]), (200, &json!("kakao")), "{}", answer.text);
    assert_eq!(
        (&address["postal_code"], &address["road_address"]),
        (&json!("03140"), &json!("서울특별시 종로구 삼일대로 428"))
    );

    stage.client.sandbox("kakao", json!({"mode": "down"})).await;
    sleep(STALE).await;
    let answer = search(stage, "낙원상가").await;
    assert_eq!((answer.status, answer.source(), &answer.body["stale"]), (200, Some("stale"), &json!(true)));
    assert!(answer.header("age").unwrap().parse::<u64>().unwrap() >= FRESH.as_secs());
    let answer = search(stage, "샘플로 10").await;
    assert_eq!((answer.status, answer.code()), (503, "provider_unavailable"), "{}", answer.text);
    let offer = &answer.body["error"]["details"][0];
    assert_eq!(offer["path"], "/v1/addresses/widget");
    assert!(offer["message"].as_str().unwrap().contains("주소를 직접 입력해 주세요"), "{offer}");

    stage.client.reset_sandbox().await;
    recovered(stage).await;
}

/// Both providers are asked again.
async fn recovered(stage: &Stage) {
    let mut number = 0;
    eventually("Juso is asked again", async || {
        number += 1;
        (search(stage, &format!("가나다로 {number}")).await.body["provider"] == "juso").then_some(())
    })
    .await;
    eventually("Kakao is asked again", async || {
        number += 1;
        let place = format!("/v1/addresses/at?lat=37.5{number:03}&lon=126.9881");
        matches!(stage.client.get(&place).await.status, 200 | 404).then_some(())
    })
    .await;
}

/// Last of those that need Kakao: it is left alone for ten minutes.
pub(crate) async fn a_spent_quota_of_kakao_is_asked_once_and_not_again(stage: &mut Stage) {
    stage.client.sandbox("kakao", json!({"mode": "status", "status": 429})).await;
    stage.client.sandbox("juso", json!({"mode": "down"})).await;
    for keyword in ["샘플아파트", "샘플동 12-3", "샘플리길 7-1"] {
        let answer = search(stage, keyword).await;
        assert!(matches!(answer.status, 429 | 503), "{}", answer.text);
    }
    assert_eq!(stage.client.calls("kakao").await, 1, "one 429 is enough for everybody");
    stage.client.sandbox("juso", json!({"mode": "ok"})).await;
    eventually("Juso answers in its place", async || {
        (search(stage, "샘플아파트").await.body["provider"] == "juso").then_some(())
    })
    .await;
}

pub(crate) async fn searches_that_cannot_be_answered_say_what_to_type(stage: &mut Stage) {
    let long = "가".repeat(1_000);
    for (keyword, issue) in
        [("", "query_empty"), ("가", "query_too_short"), (long.as_str(), "query_too_long"), ("서울", "query_too_broad")]
    {
        let answer = search(stage, keyword).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{issue}: {}", answer.text);
        let detail = &answer.body["error"]["details"][0];
        assert_eq!((&detail["field"], &detail["issue"]), (&json!("query"), &json!(issue)));
    }
    assert_eq!(stage.client.calls("juso").await, 0);
}

pub(crate) async fn the_postcode_page_is_served_to_an_allowed_origin_only(stage: &mut Stage) {
    let client = &stage.client;
    let origin = "http://localhost:5173";
    let page = client.raw("GET", &format!("/v1/addresses/widget?origin={}", encoded(origin)), &[], "").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{}", page.text);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.ends_with(&format!("frame-ancestors {origin}")) && !policy.contains("unsafe"), "{policy}");
    assert!(page.text.contains(&format!("data-origin=\"{origin}\"")) && page.text.contains("주소 찾기"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("strict-origin"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    // What the page names is there: the script and the style beside it, and the widget where the sandbox stands for Daum.
    for (path, kind) in [("/v1/addresses/widget.js", "text/javascript"), ("/v1/addresses/widget.css", "text/css")] {
        let file = client.raw("GET", path, &[], "").await;
        assert_eq!(file.status, 200);
        assert!(file.header("content-type").unwrap().starts_with(kind), "{path}");
        assert!(page.text.contains(path.rsplit('/').next().unwrap()));
    }
    let wrong = client.raw("GET", "/v1/addresses/widget?origin=https%3A%2F%2Fevil.example", &[], "").await;
    assert_eq!((wrong.status, &wrong.body["error"]["details"][0]["issue"]), (403, &json!("origin_not_allowed")));

    // A page of another origin searches through CORS.
    let preflight = [
        ("origin", origin),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization"),
    ];
    let answer = client.raw("OPTIONS", "/v1/addresses", &preflight, "").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("authorization"));
    let key = stage.system.api_key().to_owned();
    let path = format!("/v1/addresses?query={}", encoded("세종대로 110"));
    let answer = client.raw("GET", &path, &[("origin", origin), ("x-api-key", &key)], "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(origin)));
}

pub(crate) async fn what_the_postcode_widget_hands_over_is_unified(stage: &mut Stage) {
    let event = include_str!("../../events/address-normalize.json");
    let event: Value = serde_json::from_str(event).unwrap();
    let body: Value = serde_json::from_str(event["body"].as_str().unwrap()).unwrap();
    let answer = stage.client.send("POST", "/v1/addresses/normalize", Some(body.clone())).await;
    let address = &answer.body["address"];
    assert_eq!(
        (answer.status, &address["road_address"]),
        (200, &json!("서울특별시 중구 세종대로 110")),
        "{}",
        answer.text
    );
    assert!(address["coordinates"]["latitude"].is_f64() && address["links"]["map"].is_string(), "{}", answer.text);
    let mut wrong = body;
    wrong["zonecode"] = json!("1");
    let answer = stage.client.send("POST", "/v1/addresses/normalize", Some(wrong)).await;
    assert_eq!((answer.status, &answer.body["error"]["details"][0]["field"]), (400, &json!("zonecode")));
}
