//! The National Tax Service: states, checks, keys and its errors.

use ieum_sandbox::{Mode, Sandbox};
use serde_json::{Value, json};

use crate::client::{nts, post, send};

const PHRASE: &str = "NTS-INTERNAL-DETAIL";

async fn rows(sandbox: &Sandbox, numbers: &[&str]) -> Value {
    let reply = nts(&sandbox.base_url("nts"), "/status", &json!({ "b_no": numbers }).to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

async fn validate(sandbox: &Sandbox, business: &Value) -> Value {
    let reply = nts(&sandbox.base_url("nts"), "/validate", &json!({ "businesses": [business] }).to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[tokio::test]
async fn the_sample_company_is_an_active_general_taxpayer() {
    let sandbox = Sandbox::start().await.unwrap();
    let row = json!({
        "b_no": "1234567891", "b_stt": "계속사업자", "b_stt_cd": "01", "tax_type": "부가가치세 일반과세자", "tax_type_cd": "01",
        "end_dt": "", "utcc_yn": "N", "tax_type_change_dt": "", "invoice_apply_dt": "",
        "rbf_tax_type": "해당없음", "rbf_tax_type_cd": "99",
    });
    let expected = json!({"status_code": "OK", "request_cnt": 1, "match_cnt": 1, "data": [row]});
    assert_eq!(rows(&sandbox, &["1234567891"]).await, expected);
    assert_eq!((sandbox.calls("nts").await, sandbox.token_calls("nts").await), (1, 0));
}

#[tokio::test]
async fn special_numbers_have_the_states_of_the_table() {
    let sandbox = Sandbox::start().await.unwrap();
    let table = [
        ("1234567891", "01", "01", ""),
        ("1111111119", "01", "02", ""),
        ("2222222227", "02", "01", ""),
        ("3333333336", "03", "01", "20240331"),
        ("4440000006", "01", "04", ""),
        ("5550000005", "01", "07", ""),
        ("6660000004", "01", "05", ""),
        ("7770000003", "01", "06", ""),
    ];
    let numbers = table.map(|(number, ..)| number);
    let answer = rows(&sandbox, &numbers).await;
    assert_eq!(answer["match_cnt"], table.len());
    for (index, (number, state, tax, closed_on)) in table.into_iter().enumerate() {
        let row = &answer["data"][index];
        let seen = [&row["b_no"], &row["b_stt_cd"], &row["tax_type_cd"], &row["end_dt"]];
        assert_eq!(seen.map(|value| value.as_str().unwrap()), [number, state, tax, closed_on]);
        assert_eq!(row.as_object().unwrap().len(), 11);
    }
    let answer = rows(&sandbox, &["9970000010", "9980000013", "1000000090"]).await;
    let states = [0, 1, 2].map(|index| answer["data"][index]["b_stt_cd"].as_str().unwrap().to_owned());
    assert_eq!(states, ["02", "03", "01"]);
    assert_eq!(answer["data"][1]["end_dt"].as_str().unwrap().len(), 8);
}

#[tokio::test]
async fn an_unknown_number_is_told_in_the_tax_type_with_or_without_a_dot() {
    let sandbox = Sandbox::start().await.unwrap();
    let answer = rows(&sandbox, &["9990000016", "9990000035", "1234567890", "1234567891"]).await;
    let told = "국세청에 등록되지 않은 사업자등록번호입니다";
    let with_dot = format!("{told}.");
    for (index, expected) in [with_dot.as_str(), told, with_dot.as_str()].into_iter().enumerate() {
        let row = answer["data"][index].as_object().unwrap();
        assert_eq!(row["tax_type"], expected);
        assert!(row.iter().all(|(field, value)| ["b_no", "tax_type"].contains(&field.as_str()) || *value == json!("")));
        assert_eq!(row.len(), 11);
    }
    assert_eq!((&answer["request_cnt"], &answer["match_cnt"]), (&json!(4), &json!(1)));
    assert_eq!(rows(&sandbox, &["9990000016"]).await.get("match_cnt"), None);
}

#[tokio::test]
async fn validate_needs_number_opening_day_and_name_to_match() {
    let sandbox = Sandbox::start().await.unwrap();
    let right = json!({"b_no": "1234567891", "start_dt": "20180510", "p_nm": "홍길동", "b_nm": "(주)샘플강원"});
    let answer = validate(&sandbox, &right).await;
    let status = rows(&sandbox, &["1234567891"]).await["data"][0].clone();
    let row = json!({"b_no": "1234567891", "valid": "01", "request_param": right, "status": status});
    assert_eq!(answer, json!({"status_code": "OK", "request_cnt": 1, "valid_cnt": 1, "data": [row]}));

    for (field, value) in
        [("b_no", "1111111119"), ("start_dt", "20180511"), ("p_nm", "홍길순"), ("b_no", "9990000016"), ("start_dt", "")]
    {
        let mut wrong = right.clone();
        wrong[field] = value.into();
        let answer = validate(&sandbox, &wrong).await;
        let row =
            json!({"b_no": wrong["b_no"], "valid": "02", "valid_msg": "확인할 수 없습니다.", "request_param": wrong});
        assert_eq!(answer, json!({"status_code": "OK", "request_cnt": 1, "valid_cnt": 0, "data": [row]}));
    }
    let closed = json!({"b_no": "3333333336", "start_dt": "20110915", "p_nm": "박세찬"});
    let answer = validate(&sandbox, &closed).await;
    assert_eq!((&answer["data"][0]["valid"], &answer["data"][0]["status"]["b_stt_cd"]), (&json!("01"), &json!("03")));
}

#[tokio::test]
async fn the_tax_service_and_nice_tell_the_same_story() {
    let sandbox = Sandbox::start().await.unwrap();
    let base = sandbox.base_url("nice");
    let body = r#"{"appKey":"sandbox-app-key","appSecret":"sandbox-app-secret","grantType":"client_credentials","scope":"oob"}"#;
    let token =
        post(&base, "/nice/oauth/v1.0/accesstoken", body).await.json()["accessToken"].as_str().unwrap().to_owned();
    let headers = format!("authorization: Bearer {token}\r\n");
    for number in ["1000000090", "2222222227", "5550000005"] {
        let path = format!("/nice/bizinfo/v1.0/enterprise/general/info?bizNo={number}");
        let company = send(&base, "GET", &path, &headers, "").await.unwrap().json()["dataBody"].clone();
        let business = json!({"b_no": number, "start_dt": company["estbDate"], "p_nm": company["ceoNm"]});
        assert_eq!(validate(&sandbox, &business).await["valid_cnt"], 1, "{number}");
    }
}

#[tokio::test]
async fn a_hundred_numbers_are_the_most() {
    let sandbox = Sandbox::start().await.unwrap();
    let base = sandbox.base_url("nts");
    let business = json!({"b_no": "1234567891", "start_dt": "20180510", "p_nm": "홍길동"});
    for (count, status) in [(100, 200), (101, 413)] {
        let states = json!({ "b_no": vec!["1234567891"; count] });
        let checks = json!({ "businesses": vec![business.clone(); count] });
        for (path, body) in [("/status", states), ("/validate", checks)] {
            let reply = nts(&base, path, &body.to_string()).await;
            assert_eq!(reply.status, status);
            let code = if status == 200 { "OK" } else { "TOO_LARGE_REQUEST" };
            assert_eq!(reply.json()["status_code"], code);
        }
    }
}

#[tokio::test]
async fn bad_bodies_have_the_codes_of_the_service() {
    let sandbox = Sandbox::start().await.unwrap();
    let base = sandbox.base_url("nts");
    for (path, body, status, code) in [
        ("/status", "{not json", 400, "BAD_JSON_REQUEST"),
        ("/status", "", 400, "BAD_JSON_REQUEST"),
        ("/status", "{}", 411, "REQUEST_DATA_MALFORMED"),
        ("/status", r#"{"b_no":"1234567891"}"#, 411, "REQUEST_DATA_MALFORMED"),
        ("/status", r#"{"b_no":[]}"#, 411, "REQUEST_DATA_MALFORMED"),
        ("/status", r#"{"b_no":[1234567891]}"#, 411, "REQUEST_DATA_MALFORMED"),
        ("/validate", "{}", 411, "REQUEST_DATA_MALFORMED"),
        ("/validate", r#"{"businesses":[{"b_no":"1234567891","p_nm":"홍길동"}]}"#, 411, "REQUEST_DATA_MALFORMED"),
        ("/nowhere", "{}", 404, "HTTP_ERROR"),
    ] {
        let reply = nts(&base, path, body).await;
        assert_eq!((reply.status, &reply.json()["status_code"]), (status, &json!(code)), "{body}");
        assert!(reply.text().contains(PHRASE));
    }
    let path = format!("/status?serviceKey={}", crate::client::ENCODED_KEY);
    assert_eq!(send(&base, "GET", &path, "", "").await.unwrap().status, 405);
}

#[tokio::test]
async fn the_key_must_be_encoded_exactly_once() {
    let sandbox = Sandbox::start().await.unwrap();
    let base = sandbox.base_url("nts");
    let body = r#"{"b_no":["1234567891"]}"#;
    for (key, status) in [
        ("sandbox%2Bservice%2Fkey%3D%3D", 200),
        // A slash and an equals sign may stand in a query as they are; a plus may not.
        ("sandbox%2Bservice/key==", 200),
        ("sandbox+service/key==", 401),
        ("sandbox%252Bservice%252Fkey%253D%253D", 401),
        ("other", 401),
        ("", 401),
    ] {
        let reply = post(&base, &format!("/status?serviceKey={key}"), body).await;
        assert_eq!(reply.status, status, "{key}");
        assert_eq!(reply.text().contains(PHRASE), status == 401);
    }
    assert_eq!(post(&base, "/status", body).await.status, 401);
}

#[tokio::test]
async fn the_gateway_answers_200_and_xml() {
    let sandbox = Sandbox::start().await.unwrap();
    for (mode, code, name) in [
        (json!({"mode": "gateway_error"}), "22", "LIMITED_NUMBER_OF_SERVICE_REQUESTS_EXCEEDS_ERROR"),
        (json!({"mode": "gateway_error", "code": "30"}), "30", "SERVICE_KEY_IS_NOT_REGISTERED_ERROR"),
        (json!({"mode": "gateway_error", "code": "77"}), "77", "UNKNOWN_ERROR"),
    ] {
        sandbox.control("nts", mode).await.unwrap();
        let reply = nts(&sandbox.base_url("nts"), "/status", r#"{"b_no":["1234567891"]}"#).await;
        let text = reply.text();
        assert_eq!(reply.status, 200);
        assert!(reply.header("content-type").unwrap().starts_with("text/xml"));
        assert!(text.contains(&format!("<returnReasonCode>{code}</returnReasonCode>")), "{text}");
        assert!(text.contains(&format!("<returnAuthMsg>{name}</returnAuthMsg>")), "{text}");
        assert!(text.contains("<OpenAPI_ServiceResponse><cmmMsgHeader><errMsg>") && text.contains(PHRASE));
    }
    sandbox.set_mode("nts", Mode::gateway_error("05").for_calls(1)).await;
    assert!(nts(&sandbox.base_url("nts"), "/status", "").await.text().contains("SERVICETIMEOUT_ERROR"));
}
