//! NICE D&B: tokens, one company, a search.

use std::time::Duration;

use ieum_sandbox::{Mode, Sandbox};
use serde_json::{Value, json};

use crate::client::{Reply, post, send};

const TOKEN: &str = "/nice/oauth/v1.0/accesstoken";
const COMPANY: &str = "/nice/bizinfo/v1.0/enterprise/general/info";
const SEARCH: &str = "/nice/bizinfo/v1.0/enterprise/general/search";
const PHRASE: &str = "NICE-INTERNAL-DETAIL";

fn credentials() -> Value {
    json!({
        "appKey": "sandbox-app-key", "appSecret": "sandbox-app-secret",
        "grantType": "client_credentials", "scope": "oob",
    })
}

async fn token(sandbox: &Sandbox) -> String {
    let reply = post(&sandbox.base_url("nice"), TOKEN, &credentials().to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["accessToken"].as_str().unwrap().to_owned()
}

async fn ask(sandbox: &Sandbox, token: &str, path: &str, body: Value) -> Reply {
    let headers = format!("content-type: application/json\r\nauthorization: Bearer {token}\r\n");
    send(&sandbox.base_url("nice"), "POST", path, &headers, &body.to_string()).await.unwrap()
}

async fn company(sandbox: &Sandbox, token: &str, number: &str) -> Reply {
    ask(sandbox, token, COMPANY, json!({ "bizNo": number })).await
}

async fn search(sandbox: &Sandbox, token: &str, text: &str, page: u64, size: u64) -> Value {
    let body = json!({"searchName": "CMP_NM", "searchValue": text, "pageNum": page, "pageCount": size});
    ask(sandbox, token, SEARCH, body).await.json()["dataBody"].clone()
}

#[tokio::test]
async fn a_token_is_issued_for_the_right_body_only() {
    let sandbox = Sandbox::start().await.unwrap();
    let base = sandbox.base_url("nice");
    let reply = post(&base, TOKEN, &credentials().to_string()).await;
    assert_eq!((reply.status, &reply.json()["expiresIn"]), (200, &json!(3600)));

    for (field, value, status) in [
        ("appKey", json!("other"), 401),
        ("appSecret", json!("other"), 401),
        ("grantType", json!("password"), 400),
        ("scope", json!("all"), 400),
        ("scope", Value::Null, 400),
    ] {
        let mut body = credentials();
        body[field] = value;
        let reply = post(&base, TOKEN, &body.to_string()).await;
        assert_eq!(reply.status, status, "{field}");
        assert!(reply.json()["dataBody"]["errorMsg"].as_str().unwrap().contains(PHRASE));
    }
    let form = "appKey=sandbox-app-key&appSecret=sandbox-app-secret&grantType=client_credentials&scope=oob";
    let headers = "content-type: application/x-www-form-urlencoded\r\n";
    assert_eq!(send(&base, "POST", TOKEN, headers, form).await.unwrap().status, 415);
    assert_eq!(send(&base, "GET", TOKEN, "", "").await.unwrap().status, 405);
    assert_eq!((sandbox.token_calls("nice").await, sandbox.calls("nice").await), (8, 0));
}

#[tokio::test]
async fn a_token_dies_by_time_by_revocation_and_by_reset() {
    let sandbox = Sandbox::start().await.unwrap();
    let refused = async |token: &str| {
        let reply = company(&sandbox, token, "1234567891").await;
        assert!(reply.status == 200 || reply.text().contains(PHRASE));
        reply.status == 401
    };
    assert!(refused("never-issued").await);

    sandbox.control("nice", json!({"mode": "ok", "token_ttl_seconds": 1})).await.unwrap();
    let short = token(&sandbox).await;
    assert!(!refused(&short).await);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(refused(&short).await);

    sandbox.control("nice", json!({"mode": "ok", "token_ttl_seconds": 3600})).await.unwrap();
    let long = token(&sandbox).await;
    sandbox.control("nice", json!({"mode": "ok", "revoke_tokens": false})).await.unwrap();
    assert!(!refused(&long).await);
    sandbox.control("nice", json!({"mode": "ok", "revoke_tokens": true})).await.unwrap();
    assert!(refused(&long).await);

    let third = token(&sandbox).await;
    assert_eq!(sandbox.stats("nice").await.state["live_tokens"], 1);
    sandbox.reset("nice").await;
    token(&sandbox).await;
    assert!(refused(&third).await);
}

#[tokio::test]
async fn the_sample_company_has_every_field_with_amounts_in_thousand_won() {
    let sandbox = Sandbox::start().await.unwrap();
    let token = token(&sandbox).await;
    let answer = company(&sandbox, &token, "1234567891").await.json();
    let expected = json!({
        "dataHeader": {"resCd": "0000"},
        "dataBody": {
            "bizNo": "1234567891", "corpNo": "1101110062432", "cmpNm": "(주)샘플강원", "cmpEnm": "Sample Gangwon Co., Ltd.",
            "ceoNm": "홍길동", "addr1": "강원특별자치도 춘천시 중앙로 1", "addr2": "3층", "zip": "24266", "telNo": "033-000-1234",
            "faxTelNo": "033-001-1234", "emlAdr": "contact@sample-gangwon.example", "indNm": "소프트웨어 개발",
            "indCd1": "J58222", "bzcndNm": "정보통신업", "cmpSclNm": "중소기업", "cmpTypNm": "법인", "estbDate": "20180510",
            "criGrd": "BB", "crDate": "20260630", "sttDate": "20251231", "empCnt": 42, "empAccYm": "202609",
            "salesAmt": 4_500_000, "oprIcAmt": 320_000, "shEqAmt": 1_500_000, "debtAmt": 2_100_000, "assetAmt": 3_600_000,
        },
    });
    assert_eq!(answer, expected);
    assert_eq!((sandbox.calls("nice").await, sandbox.token_calls("nice").await), (1, 1));
}

#[tokio::test]
async fn other_numbers_are_companies_that_stay_the_same() {
    let sandbox = Sandbox::start().await.unwrap();
    let token = token(&sandbox).await;
    // The last one is a corporation by its digits four and five; the others are sole traders.
    for number in ["1000000090", "1230000021", "4010394930", "3018100125"] {
        let answer = company(&sandbox, &token, number).await.json();
        assert_eq!(answer, company(&sandbox, &token, number).await.json());
        assert_eq!(answer["dataHeader"]["resCd"], "0000");
        let body = answer["dataBody"].as_object().unwrap();
        assert_eq!((body["bizNo"].as_str(), body.len()), (Some(number), 27));
        let empty: Vec<&String> =
            body.iter().filter(|(_, value)| value.is_null() || *value == "").map(|(field, _)| field).collect();
        let expected: &[&str] = if number == "3018100125" { &[] } else { &["corpNo"] };
        assert_eq!(empty, expected, "{number}");
    }
}

#[tokio::test]
async fn nobody_knows_numbers_that_begin_with_999_or_whose_check_digit_is_wrong() {
    let sandbox = Sandbox::start().await.unwrap();
    let token = token(&sandbox).await;
    for number in ["9990000016", "9990000035", "1234567890", "0000000000"] {
        let reply = company(&sandbox, &token, number).await;
        let expected = json!({"dataHeader": {"resCd": "E404"}, "dataBody": {}});
        assert_eq!((reply.status, reply.json()), (200, expected), "{number}");
    }
    for body in [json!({}), json!({"bizNo": "123-45-67891"}), json!({"bizNo": 1_234_567_891})] {
        let reply = ask(&sandbox, &token, COMPANY, body).await;
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains(PHRASE));
    }
}

#[tokio::test]
async fn the_lookup_can_be_made_to_take_get_only() {
    let sandbox = Sandbox::start().await.unwrap();
    let token = token(&sandbox).await;
    let headers = format!("authorization: Bearer {token}\r\n");
    let path = format!("{COMPANY}?bizNo=1234567891");
    let get = async || send(&sandbox.base_url("nice"), "GET", &path, &headers, "").await.unwrap();
    assert_eq!(get().await.json()["dataBody"]["ceoNm"], "홍길동");
    sandbox.control("nice", json!({"mode": "ok", "post_is_405": true})).await.unwrap();
    assert_eq!(company(&sandbox, &token, "1234567891").await.status, 405);
    assert_eq!(get().await.json()["dataBody"]["ceoNm"], "홍길동");
    assert_eq!(search(&sandbox, &token, "샘플", 1, 1).await["cmpList"][0]["ceoNm"], "홍길동");
}

#[tokio::test]
async fn a_weak_key_gets_one_test_company_whatever_it_asks_for() {
    let sandbox = Sandbox::start().await.unwrap();
    let token = token(&sandbox).await;
    sandbox.set_mode("nice", Mode::weak_key()).await;
    let mut answers = Vec::new();
    for number in ["1234567891", "1111111119", "9990000035"] {
        let reply = company(&sandbox, &token, number).await;
        let answer = reply.json();
        assert_eq!((reply.status, &answer["dataHeader"]["resCd"]), (200, &json!("0000")));
        assert_ne!(answer["dataBody"]["bizNo"], number);
        answers.push(answer);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_search_pages_through_companies_that_can_be_looked_up() {
    let sandbox = Sandbox::start().await.unwrap();
    let token = token(&sandbox).await;
    let all = search(&sandbox, &token, "샘플", 1, 100).await;
    let all_found = all["cmpList"].as_array().unwrap().clone();
    assert_eq!(all["totalCnt"], all_found.len());
    assert_eq!(
        all_found[0],
        json!({
            "bizNo": "1234567891", "cmpNm": "(주)샘플강원", "ceoNm": "홍길동", "addr1": "강원특별자치도 춘천시 중앙로 1",
        })
    );

    let mut paged = Vec::new();
    for page in 1.. {
        let answer = search(&sandbox, &token, "샘플", page, 7).await;
        assert_eq!(answer["totalCnt"], all["totalCnt"]);
        let list = answer["cmpList"].as_array().unwrap().clone();
        if list.is_empty() {
            break;
        }
        paged.extend(list);
    }
    assert_eq!(paged, all_found);

    for found in [&all_found[3], &all_found[20]] {
        let number = found["bizNo"].as_str().unwrap();
        assert_eq!(company(&sandbox, &token, number).await.json()["dataBody"]["cmpNm"], found["cmpNm"]);
    }
    assert_eq!(search(&sandbox, &token, "없는회사", 1, 10).await, json!({"totalCnt": 0, "cmpList": []}));
    assert_eq!(search(&sandbox, &token, "샘플강원", 1, 10).await["totalCnt"], 1);
}

#[tokio::test]
async fn a_search_needs_its_fields() {
    let sandbox = Sandbox::start().await.unwrap();
    let token = token(&sandbox).await;
    let whole = json!({"searchName": "CMP_NM", "searchValue": "샘플", "pageNum": "1", "pageCount": "2"});
    let reply = ask(&sandbox, &token, SEARCH, whole.clone()).await;
    assert_eq!(reply.json()["dataBody"]["cmpList"].as_array().unwrap().len(), 2);
    for (field, value) in [
        ("searchName", json!("BIZ_NO")),
        ("searchValue", json!(" ")),
        ("searchValue", Value::Null),
        ("pageNum", json!(0)),
        ("pageNum", json!("x")),
        ("pageCount", json!(101)),
    ] {
        let mut body = whole.clone();
        body[field] = value;
        let reply = ask(&sandbox, &token, SEARCH, body).await;
        assert_eq!(reply.status, 400, "{field}");
        assert!(reply.text().contains(PHRASE));
    }
    let reply = ask(&sandbox, "never-issued", SEARCH, whole).await;
    assert_eq!(reply.status, 401);
    assert_eq!(ask(&sandbox, &token, "/nice/elsewhere", json!({})).await.status, 404);
}
