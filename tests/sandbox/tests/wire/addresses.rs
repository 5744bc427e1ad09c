//! Juso and Kakao: searches, keys, refusals, and that both tell one story.

use ieum_sandbox::providers::juso::{COORDINATE_KEY, ENGLISH_KEY, SEARCH_KEY};
use ieum_sandbox::providers::kakao::REST_API_KEY;
use ieum_sandbox::{Mode, Sandbox};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use crate::client::{Reply, get, send};

fn query(pairs: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

async fn juso(sandbox: &Sandbox, path: &str, key: &str, pairs: &[(&str, &str)]) -> Value {
    let body = query(&[&[("confmKey", key), ("resultType", "json")], pairs].concat());
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let reply = send(&sandbox.base_url("juso"), "POST", path, form, &body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["results"].clone()
}

async fn search(sandbox: &Sandbox, keyword: &str) -> Value {
    juso(sandbox, "/addrlink/addrLinkApi.do", SEARCH_KEY, &[("keyword", keyword)]).await
}

async fn kakao(sandbox: &Sandbox, key: &str, pairs: &[(&str, &str)]) -> Reply {
    let path = format!("/v2/local/search/address.json?{}", query(pairs));
    send(&sandbox.base_url("kakao"), "GET", &path, &format!("authorization: KakaoAK {key}\r\n"), "").await.unwrap()
}

#[tokio::test]
async fn one_building_is_found_by_road_lot_and_name_in_both() {
    let sandbox = Sandbox::start().await.unwrap();
    for keyword in ["세종대로 110", "태평로1가 31", "서울특별시청", "서울 중구 세종대로 110"] {
        let results = search(&sandbox, keyword).await;
        assert_eq!(results["common"]["totalCount"], "1", "{keyword}");
        let row = &results["juso"][0];
        assert_eq!(row.as_object().unwrap().len(), 24);
        assert_eq!(row["roadAddr"], "서울특별시 중구 세종대로 110 (태평로1가, 서울특별시청)");
        assert_eq!(row["bdMgtSn"].as_str().map(str::len), Some(25));
        let answer = kakao(&sandbox, REST_API_KEY, &[("query", keyword)]).await.json();
        assert_eq!(answer["meta"], json!({"total_count": 1, "pageable_count": 1, "is_end": true}), "{keyword}");
        let document = &answer["documents"][0];
        assert_eq!(
            (&document["road_address"]["zone_no"], &document["address"]["b_code"]),
            (&row["zipNo"], &row["admCd"])
        );
        assert_eq!(document["road_address"]["address_name"], "서울 중구 세종대로 110");
    }
    let english = [("keyword", "110 Sejong-daero")];
    let results = juso(&sandbox, "/addrlink/addrEngApi.do", ENGLISH_KEY, &english).await;
    assert_eq!(results["juso"][0]["korAddr"], "서울특별시 중구 세종대로 110");
}

#[tokio::test]
async fn coordinates_are_utm_k_at_juso_and_degrees_at_kakao() {
    let sandbox = Sandbox::start().await.unwrap();
    let row = search(&sandbox, "세종대로 110").await["juso"][0].clone();
    let text = |name: &str| row[name].as_str().unwrap().to_owned();
    let names = ["admCd", "rnMgtSn", "udrtYn", "buldMnnm", "buldSlno"].map(|name| (name, text(name)));
    let pairs: Vec<(&str, &str)> = names.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let results = juso(&sandbox, "/addrlink/addrCoordApi.do", COORDINATE_KEY, &pairs).await;
    assert_eq!((&results["juso"][0]["entX"], &results["juso"][0]["entY"]), (&json!("953901"), &json!("1952032")));
    let elsewhere = juso(&sandbox, "/addrlink/addrCoordApi.do", COORDINATE_KEY, &[("admCd", "1")]).await;
    assert_eq!((&elsewhere["common"]["errorCode"], &elsewhere["juso"]), (&json!("0"), &json!([])));
    let document = kakao(&sandbox, REST_API_KEY, &[("query", "세종대로 110")]).await.json()["documents"][0].clone();
    assert_eq!((&document["x"], &document["y"]), (&json!("126.977998133"), &json!("37.566499262")));
}

#[tokio::test]
async fn juso_refuses_with_200_a_code_and_null() {
    let sandbox = Sandbox::start().await.unwrap();
    let (long, number) = ("가".repeat(41), "세종대로 12345678901");
    for (keyword, code) in [
        ("", "E0005"),
        ("서울특별시", "E0006"),
        ("가", "E0008"),
        ("06236", "E0009"),
        (&long, "E0010"),
        (number, "E0011"),
        ("12-3", "E0012"),
        ("세종대로 > 110", "E0013"),
        ("세종대로 or 110", "E0013"),
    ] {
        let results = search(&sandbox, keyword).await;
        assert_eq!((&results["common"]["errorCode"], &results["juso"]), (&json!(code), &Value::Null), "{keyword}");
    }
    let deep = [("keyword", "가나다로"), ("currentPage", "91"), ("countPerPage", "100")];
    let results = juso(&sandbox, "/addrlink/addrLinkApi.do", SEARCH_KEY, &deep).await;
    assert_eq!(results["common"]["errorCode"], "E0015");
    for (path, key) in [("/addrlink/addrLinkApi.do", ENGLISH_KEY), ("/addrlink/addrCoordApi.do", SEARCH_KEY)] {
        let results = juso(&sandbox, path, key, &[("keyword", "세종대로")]).await;
        assert_eq!(results["common"]["errorCode"], "E0001", "each interface has a key of its own");
    }
    sandbox.set_mode("juso", Mode::own("refuse").code("E0014")).await;
    let results = search(&sandbox, "세종대로").await;
    assert_eq!(results["common"]["errorCode"], "E0014");
    assert!(results.to_string().contains("JUSO-INTERNAL-DETAIL"));
}

#[tokio::test]
async fn kakao_refuses_with_a_status_and_a_kind() {
    let sandbox = Sandbox::start().await.unwrap();
    for (key, pairs, status, kind) in [
        ("nobody's", &[("query", "세종대로")][..], 401, "AccessDeniedError"),
        (REST_API_KEY, &[], 400, "MissingParameter"),
        (REST_API_KEY, &[("query", "세종대로"), ("page", "46")], 400, "InvalidArgument"),
        (REST_API_KEY, &[("query", "세종대로"), ("size", "31")], 400, "InvalidArgument"),
    ] {
        let reply = kakao(&sandbox, key, pairs).await;
        assert_eq!((reply.status, &reply.json()["errorType"]), (status, &json!(kind)));
        assert!(reply.text().contains("KAKAO-INTERNAL-DETAIL"));
    }
    sandbox.set_mode("kakao", Mode::status(429)).await;
    let reply = get(&sandbox.base_url("kakao"), "/v2/local/search/address.json").await;
    assert_eq!((reply.status, &reply.json()["errorType"]), (429, &json!("RequestThrottled")));
}

#[tokio::test]
async fn kakao_knows_the_address_of_a_place() {
    let sandbox = Sandbox::start().await.unwrap();
    let ask = async |place: &str| {
        let path = format!("/v2/local/geo/coord2address.json?{place}");
        let key = format!("authorization: KakaoAK {REST_API_KEY}\r\n");
        send(&sandbox.base_url("kakao"), "GET", &path, &key, "").await.unwrap()
    };
    let answer = ask("x=126.978&y=37.5665").await.json();
    assert_eq!(answer["documents"][0]["road_address"]["address_name"], "서울 중구 세종대로 110");
    assert_eq!(answer["documents"][0]["address"].get("b_code"), None);
    assert_eq!(ask("x=130&y=36").await.json(), json!({"meta": {"total_count": 0}, "documents": []}));
    assert_eq!(ask("x=130").await.status, 400);
}

#[tokio::test]
async fn daum_is_a_script_for_browsers_and_hands_over_the_same_building() {
    let sandbox = Sandbox::start().await.unwrap();
    let reply = get(&sandbox.base_url("daum"), "/mapjsapi/bundle/postcode/prod/postcode.v2.js").await;
    assert_eq!(reply.status, 200);
    assert!(reply.header("content-type").unwrap().starts_with("application/javascript"));
    let text = reply.text();
    let data = text.split_once("oncomplete(").unwrap().1.split_once("));").unwrap().0;
    let data: Value = serde_json::from_str(data).unwrap();
    let row = search(&sandbox, "세종대로 110").await["juso"][0].clone();
    for (of_daum, of_juso) in
        [("zonecode", "zipNo"), ("bcode", "admCd"), ("buildingCode", "bdMgtSn"), ("roadname", "rn")]
    {
        assert_eq!(data[of_daum], row[of_juso]);
    }
    assert_eq!(get(&sandbox.base_url("daum"), "/elsewhere.js").await.status, 404);
}

#[tokio::test]
async fn pages_of_both_hold_every_building_once() {
    let sandbox = Sandbox::start().await.unwrap();
    let (mut of_juso, mut of_kakao) = (Vec::new(), Vec::new());
    for page in 1..=9 {
        let page = page.to_string();
        let pairs = [("keyword", "가나다로"), ("currentPage", &page), ("countPerPage", "30")];
        let results = juso(&sandbox, "/addrlink/addrLinkApi.do", SEARCH_KEY, &pairs).await;
        assert_eq!(results["common"]["totalCount"], "250");
        of_juso.extend(results["juso"].as_array().unwrap().iter().map(|row| row["buldMnnm"].clone()));
        let answer =
            kakao(&sandbox, REST_API_KEY, &[("query", "가나다로"), ("page", &page), ("size", "30")]).await.json();
        let documents = answer["documents"].as_array().unwrap();
        of_kakao.extend(documents.iter().map(|document| document["road_address"]["main_building_no"].clone()));
    }
    assert_eq!(of_juso.len(), 250);
    assert_eq!(of_juso, of_kakao);
}
