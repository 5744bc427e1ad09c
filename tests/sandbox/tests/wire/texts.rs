//! The three that send texts: what they take, what they refuse, and what their signatures are over.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ieum_sandbox::{Mode, Sandbox};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::client::{Reply, post, send};

const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";
const TWILIO: &str = "/2010-04-01/Accounts/ACsandbox0000000000000000000000000/Messages.json";

async fn twilio(sandbox: &Sandbox, params: &[(&str, &str)], token: &str) -> Reply {
    let basic = STANDARD.encode(format!("ACsandbox0000000000000000000000000:{token}"));
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    let headers = format!("{FORM}authorization: Basic {basic}\r\n");
    send(&sandbox.base_url("twilio"), "POST", TWILIO, &headers, &body).await.unwrap()
}

#[tokio::test]
async fn twilio_takes_a_form_and_tells_each_mistake_by_its_code() {
    let sandbox = Sandbox::start().await.unwrap();
    let token = "sandbox-twilio-auth-token";
    let text = [("To", "+821012345678"), ("From", "+15005550006"), ("Body", "안녕")];
    let taken = twilio(&sandbox, &text, token).await;
    assert_eq!((taken.status, &taken.json()["status"]), (201, &json!("queued")));
    assert_eq!(sandbox.stats("twilio").await.state["texts"][0]["form"]["Body"], "안녕");
    for (number, code) in
        [("+15005550001", 21_211), ("+15005550004", 21_610), ("+15005550009", 21_614), ("010", 21_211)]
    {
        let refused = twilio(&sandbox, &[("To", number), text[1], text[2]], token).await;
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!(code)), "{number}");
    }
    assert_eq!(twilio(&sandbox, &text[..2], token).await.json()["code"], 21_602);
    assert_eq!(twilio(&sandbox, &[text[0], text[2]], token).await.json()["code"], 21_603);
    let stranger = twilio(&sandbox, &text, "wrong").await;
    assert_eq!((stranger.status, &stranger.json()["code"]), (401, &json!(20_003)));
    sandbox.set_mode("twilio", Mode::status(429)).await;
    assert_eq!(twilio(&sandbox, &text, token).await.json()["code"], 20_429);
}

#[tokio::test]
async fn twilio_signs_the_address_and_the_sorted_parameters() {
    let sandbox = Sandbox::start().await.unwrap();
    let wanted = json!({"url": "https://api.example.org/v1/webhooks/twilio?id=m", "params": {"b": "2", "a": "1 x"}});
    let signed = post(&sandbox.base_url("twilio"), "/sandbox/sign", &wanted.to_string()).await.json();
    assert_eq!(signed["body"], "a=1+x&b=2");
    // printf 'https://api.example.org/v1/webhooks/twilio?id=ma1 xb2' | openssl dgst -sha1 -hmac sandbox-twilio-auth-token -binary | base64
    assert_eq!(signed["x-twilio-signature"], "IGfo3JGRHTcRsEYwfx7xJGmEavE=");
    assert_eq!((sandbox.calls("twilio").await, sandbox.token_calls("twilio").await), (0, 1));
}

async fn solapi(sandbox: &Sandbox, authorization: &str, message: &Value) -> Reply {
    let headers = format!("content-type: application/json\r\nauthorization: {authorization}\r\n");
    let body = json!({"messages": [message], "showMessageList": true}).to_string();
    send(&sandbox.base_url("solapi"), "POST", "/messages/v4/send-many/detail", &headers, &body).await.unwrap()
}

#[tokio::test]
async fn solapi_takes_each_signature_once_and_fails_within_a_200() {
    let sandbox = Sandbox::start().await.unwrap();
    // printf '2026-11-21T03:50:00Zsalt00000001' | openssl dgst -sha256 -hmac SANDBOX0SECRET0OF0SOLAPI00000000
    let signed = |salt: &str, signature: &str| {
        format!("HMAC-SHA256 apiKey=NCSSANDBOX000000, date=2026-11-21T03:50:00Z, salt={salt}, signature={signature}")
    };
    let first = signed("salt00000001", "90a66c354924e4dbe86fb71b81a19afb531e55a3655a11b85bd6f7d441adceb6");
    let text = json!({"to": "01012345678", "from": "0332501234", "text": "안녕", "type": "SMS", "country": "82"});
    let taken = solapi(&sandbox, &first, &text).await;
    assert_eq!((taken.status, &taken.json()["failedMessageList"]), (200, &json!([])), "{}", taken.text());
    assert!(taken.json()["messageList"][0]["messageId"].is_string());
    assert_eq!(solapi(&sandbox, &first, &text).await.json()["errorCode"], "DuplicatedSignature");
    assert_eq!(
        solapi(&sandbox, &signed("salt00000002", "00"), &text).await.json()["errorCode"],
        "SignatureDoesNotMatch"
    );
    let mut failing = text.clone();
    failing["to"] = json!("01099990000");
    let failed = solapi(
        &sandbox,
        &signed("salt00000002", "eec1f341117583374dd5e2740acca3939627bc76f2807531699b9491bd2afdbb"),
        &failing,
    )
    .await;
    assert_eq!((failed.status, &failed.json()["failedMessageList"][0]["statusCode"]), (200, &json!("3059")));
    let mut unregistered = text.clone();
    unregistered["from"] = json!("01000000000");
    let refused = solapi(
        &sandbox,
        &signed("salt00000003", "8e2993557913eb6b40073afddcaa6b493a75bb19384950e0b52d422e6e3a1fbe"),
        &unregistered,
    )
    .await;
    assert_eq!((refused.status, &refused.json()["errorCode"]), (400, &json!("UnregisteredSender")));
    assert_eq!(sandbox.stats("solapi").await.state["texts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn sns_takes_a_signed_form_and_answers_in_xml() {
    let sandbox = Sandbox::start().await.unwrap();
    let publish = async |number: &str, authorization: &str| {
        let params = [("Action", "Publish"), ("Version", "2010-03-31"), ("PhoneNumber", number), ("Message", "안녕")];
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
        let headers = format!("{FORM}x-amz-date: 20261121T035000Z\r\nauthorization: {authorization}\r\n");
        send(&sandbox.base_url("sns"), "POST", "/", &headers, &body).await.unwrap()
    };
    let signed =
        "AWS4-HMAC-SHA256 Credential=AKID/20261121/ap-northeast-2/sns/aws4_request, SignedHeaders=host, Signature=0";
    let taken = publish("+821012345678", signed).await;
    assert!(taken.status == 200 && taken.text().contains("<MessageId>5a8d0c4e-"), "{}", taken.text());
    for (number, authorization, code) in [
        ("+821099990000", signed, "OptedOut"),
        ("010", signed, "InvalidParameter"),
        ("+821012345678", "none", "InvalidClientTokenId"),
    ] {
        let refused = publish(number, authorization).await;
        assert!(refused.text().contains(&format!("<Code>{code}</Code>")), "{}", refused.text());
    }
}
