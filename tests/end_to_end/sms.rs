//! Texts on the deployed local system: over the queue and the worker, to the local AWS's SNS and to the sandbox.

use std::io::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use ieum::resilience::rate_limit::RatePolicy;
use serde_json::{Value, json};

use super::Stage;
use super::client::{Client, at_once, eventually, within};

const TEXT: &str = "[강원포털] 인증번호 123456 을 입력해 주세요. 똠방각하 ①②③";

/// What clocks may be off by, on both ends of a window: as in the check of NTS's rate.
const CLOCKS: Duration = Duration::from_millis(500);

/// Has a text accepted; its id.
async fn accepted(client: &Client, body: Value) -> String {
    let answer = client.send("POST", "/v1/sms", Some(body)).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.body["id"].as_str().unwrap().to_owned()
}

/// Waits until the text has come to `status`; what is then known of it.
async fn came_to(client: &Client, id: &str, status: &str, limit: Duration) -> Value {
    within(limit, &format!("the text is {status}"), async || {
        let answer = client.get(&format!("/v1/sms/{id}")).await;
        (answer.body["status"] == status).then_some(answer.body)
    })
    .await
}

async fn status_of(client: &Client, id: &str) -> Value {
    client.get(&format!("/v1/sms/{id}")).await.body["status"].clone()
}

const SOON: Duration = Duration::from_secs(30);

pub(crate) async fn a_korean_text_goes_through_sns_and_is_read_back_intact(stage: &mut Stage) {
    let client = &stage.client;
    // SNS is the cheapest here, so the limit chooses it.
    let id = accepted(client, json!({"to": "010-2345-6789", "text": TEXT, "max_price": 15})).await;
    let sent = came_to(client, &id, "sent", SOON).await;
    assert_eq!((&sent["provider"], &sent["to"]), (&json!("sns"), &json!("+8210****6789")));
    let texts = client.local_aws("/_ministack/sns/sms-messages?phoneNumber=%2B821023456789").await;
    let texts = texts["sms_messages"]["+821023456789"].as_array().unwrap_or_else(|| panic!("{texts}")).clone();
    assert_eq!(texts.iter().map(|text| &text["Message"]).collect::<Vec<_>>(), [TEXT]);
    // The local AWS fires no log subscriptions, so what SNS would write there is handed to the worker.
    let line = json!({
        "notification": {"messageId": texts[0]["MessageId"], "timestamp": "2026-11-21 03:50:00.000"},
        "delivery": {"destination": "+821023456789", "providerResponse": "Message has been accepted by phone carrier"},
        "status": "SUCCESS",
    });
    let delivery =
        json!({"messageType": "DATA_MESSAGE", "logEvents": [{"id": "1", "timestamp": 1, "message": line.to_string()}]});
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(delivery.to_string().as_bytes()).unwrap();
    let logs = json!({"awslogs": {"data": STANDARD.encode(gzip.finish().unwrap())}});
    for _ in 0..2 {
        assert_eq!(stage.system.invoke("SmsWorkerFunction", &logs).await.unwrap(), Ok(Value::Null));
        assert_eq!(status_of(client, &id).await, "delivered");
    }
    assert_eq!((client.calls("solapi").await, client.calls("twilio").await), (0, 0));
}

pub(crate) async fn signed_callbacks_of_twilio_and_solapi_move_texts_forward_only(stage: &mut Stage) {
    let client = &stage.client;
    let domestic = accepted(client, json!({"to": "010-3456-7890", "text": TEXT})).await;
    let abroad = accepted(client, json!({"to": "+81 90-3456-7890", "text": TEXT})).await;
    let seen = came_to(client, &domestic, "sent", SOON).await;
    assert_eq!(seen["provider"], "solapi");
    let seen = came_to(client, &abroad, "sent", SOON).await;
    assert_eq!(seen["provider"], "twilio");

    let taken = client.state("solapi").await["texts"].clone();
    let ours = |text: &&Value| text["message"]["customFields"]["ieumId"] == json!(domestic);
    let taken = taken.as_array().unwrap().iter().find(ours).unwrap().clone();
    assert_eq!((&taken["message"]["text"], &taken["message"]["to"]), (&json!(TEXT), &json!("01034567890")));
    let report = |code: &str| {
        let message = &taken["message"];
        json!([{"messageId": taken["messageId"], "to": message["to"], "statusCode": code, "customFields": message["customFields"]}])
    };
    let forged = client.solapi_report(&report("4000"), Some("00")).await;
    assert_eq!((forged, status_of(client, &domestic).await), (401, json!("sent")));
    for (code, status) in [("4000", "delivered"), ("4000", "delivered"), ("2000", "delivered")] {
        assert_eq!(client.solapi_report(&report(code), None).await, 200);
        assert_eq!(status_of(client, &domestic).await, status);
    }

    let taken = client.state("twilio").await["texts"].clone();
    let callback = format!("/v1/webhooks/twilio?id={abroad}");
    let ours = |text: &&Value| text["form"]["StatusCallback"].as_str().unwrap().ends_with(&callback);
    let taken = taken.as_array().unwrap().iter().find(ours).unwrap().clone();
    assert_eq!((&taken["form"]["Body"], &taken["form"]["To"]), (&json!(TEXT), &json!("+819034567890")));
    assert_eq!(client.twilio_callback(&taken, "delivered", Some("forged")).await, 401);
    assert_eq!(status_of(client, &abroad).await, "sent");
    for (said, status) in
        [("queued", "sent"), ("delivered", "delivered"), ("delivered", "delivered"), ("sent", "delivered")]
    {
        assert_eq!(client.twilio_callback(&taken, said, None).await, 200);
        assert_eq!(status_of(client, &abroad).await, status, "after {said}");
    }
}

pub(crate) async fn what_cannot_be_sent_is_refused_without_a_provider_call(stage: &mut Stage) {
    let client = &stage.client;
    for (to, text, field, issue) in [
        ("02-123-4567", TEXT.to_owned(), "to", "not_a_mobile_number"),
        ("010-12345-6789", TEXT.to_owned(), "to", "not_a_phone_number"),
        ("+999 123 456 789", TEXT.to_owned(), "to", "not_a_phone_number"),
        ("+44 7911 123456", TEXT.to_owned(), "to", "country_not_served"),
        ("010-1234-5678", String::new(), "text", "missing"),
        ("010-1234-5678", "a".repeat(2_001), "text", "too_long"),
        ("010-1234-5678", "벨\u{7}소리".to_owned(), "text", "control_character"),
        ("010-1234-5678", "안녕하세요 😀".to_owned(), "text", "not_in_korean_charset"),
    ] {
        let answer = client.send("POST", "/v1/sms", Some(json!({"to": to, "text": text}))).await;
        let detail = &answer.body["error"]["details"][0];
        assert_eq!((answer.status, &detail["field"], &detail["issue"]), (400, &json!(field), &json!(issue)));
    }
    assert_eq!((client.calls("solapi").await, client.calls("twilio").await), (0, 0));
}

pub(crate) async fn two_hundred_texts_leave_at_ten_a_second_and_none_is_lost(stage: &mut Stage) {
    let client = stage.client.clone();
    let mut ids = Vec::new();
    // Each that is accepted at once needs an environment of its own, and two cores have room for a few.
    for first in (0..200).step_by(4) {
        let sending = (first..first + 4).map(|number| {
            let client = client.clone();
            // So long that nobody else would send it when the gateway's rate is used up.
            let text = json!({"to": format!("010-7000-{number:04}"), "text": "a".repeat(1_700)});
            async move { accepted(&client, text).await }
        });
        ids.extend(at_once(sending.collect()).await);
    }
    // What finds no slot at once waits for the sweep of the next minute, which hands out ten a second.
    within(Duration::from_secs(180), "all have left", async || (client.calls("solapi").await >= 200).then_some(()))
        .await;
    for id in &ids {
        came_to(&client, id, "sent", SOON).await;
    }
    let times = client.call_times("solapi").await;
    assert_eq!(times.len(), 200, "none is lost, and none is sent twice");
    let policy = RatePolicy::new(10, Duration::from_secs(1), 10, Duration::ZERO).unwrap();
    let late_ms = i64::try_from((2 * CLOCKS + policy.lease()).as_millis()).unwrap();
    for (first, from) in times.iter().enumerate() {
        for (last, to) in times.iter().enumerate().skip(first) {
            let (calls, window_ms) = (i64::try_from(last - first + 1).unwrap(), to - from);
            assert!(calls <= 10 + 10 * (window_ms + late_ms) / 1_000, "{calls} calls within {window_ms} ms");
        }
    }
    println!("200 texts left within {:.1} s", (times[199] - times[0]) as f64 / 1_000.0);
}

pub(crate) async fn a_gateway_that_throttles_is_left_alone_for_as_long_as_it_says(stage: &mut Stage) {
    let client = stage.client.clone();
    let throttled = json!({"mode": "status", "status": 429, "retry_after": 12, "for_calls": 1});
    client.sandbox("solapi", throttled).await;
    // So long that nobody else would send it.
    let text = |number: u32| json!({"to": format!("010-5000-000{number}"), "text": "a".repeat(1_700)});
    let first = accepted(&client, text(1)).await;
    eventually("the gateway was asked", async || (client.calls("solapi").await == 1).then_some(())).await;
    // The whole fleet knows after a second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let second = accepted(&client, text(2)).await;
    for id in [first, second] {
        came_to(&client, &id, "sent", Duration::from_secs(150)).await;
    }
    let times = client.call_times("solapi").await;
    assert!(times.len() == 3 && times[1..].iter().all(|at| at - times[0] >= 11_500), "{times:?}");
}
