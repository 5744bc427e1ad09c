//! `sms` through its own door: events of API Gateway, SQS and CloudWatch Logs in, answers out, providers on loopback.
//!
//! Each test begins with a file in `events/`, the same that `cargo lambda invoke --data-file` takes.

mod support;

use std::time::Duration;

use ieum::testing::door::unsent;
use ieum::testing::sha256_hex;
use ieum_sandbox::{Mode, providers};
use serde_json::{Value, json};
use support::{Door, PUBLIC_URL, event, solapi_report, twilio_report};

const TEXT: &str = "[강원포털] 인증번호 123456 을 입력해 주세요.";

#[tokio::test]
async fn a_korean_text_goes_by_the_korean_gateway_from_the_registered_number() {
    let door = Door::open().await;
    let accepted = door.send("send").await;
    assert_eq!((accepted.status, &accepted.body["status"]), (202, &json!("queued")), "{}", accepted.text);
    assert_eq!(door.calls().await, 0, "sending is the worker's business");
    let id = accepted.id();
    assert_eq!(door.status(&id).await, "accepted");
    door.work().await;
    let taken = door.taken("solapi").await;
    let message = json!({
        "to": "01012345678", "from": "0332501234", "text": TEXT, "type": "SMS", "country": "82", "customFields": {"ieumId": id},
    });
    assert_eq!(taken.iter().map(|text| &text["message"]).collect::<Vec<_>>(), [&message]);
    let seen = door.message(&id).await;
    assert_eq!((&seen.body["status"], &seen.body["provider"]), (&json!("sent"), &json!("solapi")));
    assert_eq!((&seen.body["to"], &seen.body["attempts"]), (&json!("+8210****5678"), &json!(1)));
    // It is written down as E.164, and nowhere in the log in full.
    assert!(door.items("message#")[0].text("body").expect("a body").contains("\"to\":\"+821012345678\""));
    assert!(!door.log.text().contains("1012345678"), "a number is personal");
    assert!(door.log.lines().iter().any(|line| line.get("recipient") == Some(&json!("+8210****5678"))));
}

#[tokio::test]
async fn a_longer_text_is_an_lms_with_its_title() {
    let door = Door::open().await;
    door.deliver("send-long").await;
    let taken = door.taken("solapi").await;
    assert_eq!((&taken[0]["message"]["type"], &taken[0]["message"]["subject"]), (&json!("LMS"), &json!("예약 안내")));
}

#[tokio::test]
async fn a_text_abroad_passes_the_korean_gateway_over_and_may_have_an_emoji() {
    let door = Door::open().await;
    let id = door.deliver("send-abroad").await;
    let callback = format!("{PUBLIC_URL}/v1/webhooks/twilio?id={id}");
    let form = json!({
        "To": "+819012345678", "From": "+15005550006", "Body": "Your code is 123456 😀", "StatusCallback": callback,
    });
    assert_eq!(door.taken("twilio").await[0]["form"], form);
    assert_eq!((door.sandbox.calls("solapi").await, door.status(&id).await.as_str()), (0, "sent"));
}

#[tokio::test]
async fn a_price_limit_chooses_the_provider_and_sns_gets_its_exact_form() {
    let door = Door::open().await;
    let id = door.deliver("send-limited").await;
    assert_eq!((door.sandbox.calls("solapi").await, door.sandbox.calls("twilio").await), (0, 0));
    let form = json!({
        "Action": "Publish", "Version": "2010-03-31", "PhoneNumber": "+821012345678", "Message": TEXT,
        "MessageAttributes.entry.1.Name": "AWS.SNS.SMS.SMSType",
        "MessageAttributes.entry.1.Value.DataType": "String",
        "MessageAttributes.entry.1.Value.StringValue": "Transactional",
        "MessageAttributes.entry.2.Name": "AWS.SNS.SMS.SenderID",
        "MessageAttributes.entry.2.Value.DataType": "String",
        "MessageAttributes.entry.2.Value.StringValue": "Gangwon",
        "MessageAttributes.entry.3.Name": "AWS.SNS.SMS.MaxPrice",
        "MessageAttributes.entry.3.Value.DataType": "Number",
        "MessageAttributes.entry.3.Value.StringValue": "0.05",
    });
    assert_eq!(door.taken("sns").await[0]["form"], form);
    // SNS tells what became of it in a log only, under a name of its own.
    assert_eq!(door.items("reference#").len(), 1);
    assert_eq!(door.serve(event("sns-status")).await.expect("read"), Value::Null);
    assert_eq!(door.status(&id).await, "delivered");
    assert_eq!(door.serve(event("sns-status")).await.expect("read again"), Value::Null);
    assert!(door.serve(json!({"awslogs": {"data": "aGVsbG8="}})).await.is_err(), "what cannot be read comes again");
}

#[tokio::test]
async fn advertising_is_marked_and_paid_for_with_its_mark() {
    let door = Door::open().await;
    door.deliver("send-promotional").await;
    assert_eq!(door.taken("solapi").await[0]["message"]["text"], "(광고)가을 축제에 초대합니다.");
    let unmarked = Door::with(&[("SMS_AD_MARK", "off"), ("SMS_PROVIDERS", "sns")]).await;
    unmarked.deliver("send-promotional").await;
    let form = &unmarked.taken("sns").await[0]["form"];
    assert_eq!(form["Message"], "가을 축제에 초대합니다.");
    assert_eq!(form["MessageAttributes.entry.1.Value.StringValue"], "Promotional");
}

#[tokio::test]
async fn what_cannot_be_sent_is_a_400_that_names_it_and_reaches_nobody() {
    let door = Door::open().await;
    for (event, field, issue) in [
        ("send-landline", "to", "not_a_mobile_number"),
        ("send-bad-number", "to", "not_a_phone_number"),
        ("send-unknown-country", "to", "not_a_phone_number"),
        ("send-country-not-served", "to", "country_not_served"),
        ("send-empty", "text", "missing"),
        ("send-too-long", "text", "too_long"),
        ("send-control-character", "text", "control_character"),
        ("send-emoji", "text", "not_in_korean_charset"),
        ("send-over-price", "max_price", "over_max_price"),
    ] {
        let answer = door.send(event).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{event}: {}", answer.text);
        assert_eq!(answer.issues(), [(field, issue)], "{event}");
    }
    let answer = door.send("send-mistakes").await;
    let told = [
        ("to", "bad_format"),
        ("text", "bad_format"),
        ("subject", "too_long"),
        ("kind", "bad_format"),
        ("max_price", "bad_format"),
        ("colour", "unknown_field"),
    ];
    assert_eq!(answer.issues(), told);
    assert_eq!(door.send("send-without-key").await.status, 401);
    door.work().await;
    assert_eq!((door.calls().await, door.items("message#").len()), (0, 0));
}

#[tokio::test]
async fn a_preview_counts_in_both_ways_and_names_each_price() {
    let door = Door::open().await;
    let preview = door.send("preview").await;
    let expected = json!({
        "to": "+821012345678", "country": "KR", "text": "가".repeat(46), "characters": 46,
        "segments": {"encoding": "UCS-2", "units": 46, "count": 1},
        "korean": {"bytes": 92, "kind": "lms"},
        "provider": "twilio", "kind": "sms", "price_krw": 40,
        "providers": [
            {"provider": "solapi", "refused": "over_max_price"},
            {"provider": "twilio", "kind": "sms", "price_krw": 40},
            {"provider": "sns", "kind": "sms", "price_krw": 10},
        ],
    });
    assert_eq!((preview.status, preview.body), (200, expected));
    let answer = door.send("preview-mistakes").await;
    assert_eq!(answer.issues(), [("to", "not_a_mobile_number"), ("text", "missing")]);
    assert_eq!(door.calls().await, 0);
}

#[tokio::test]
async fn the_same_request_again_is_the_same_text() {
    let door = Door::open().await;
    let (first, second) = (door.send("send-once").await, door.send("send-once").await);
    assert_eq!((first.id(), second.header("idempotency-replayed")), (second.id(), Some("true")));
    door.work().await;
    let another = door.send_body("send-once", &json!({"to": "010-1234-5678", "text": "other"})).await;
    assert_eq!((another.status, door.taken("solapi").await.len()), (422, 1));
}

#[tokio::test]
async fn a_gateway_in_trouble_is_replaced_and_one_that_may_have_sent_is_not() {
    let door = Door::open().await;
    door.sandbox.set_mode("solapi", Mode::status(503)).await;
    let id = door.deliver("send").await;
    assert_eq!(door.sandbox.calls("solapi").await, 4, "one attempt and three retries");
    let seen = door.message(&id).await.body;
    assert_eq!((&seen["status"], &seen["provider"], &seen["attempts"]), (&json!("sent"), &json!("twilio"), &json!(5)));

    // The balance is used up: no fault of the text's, and no use in trying again.
    let door = Door::open().await;
    door.sandbox.set_mode("solapi", Mode::own("no_balance")).await;
    door.deliver("send").await;
    assert_eq!((door.sandbox.calls("solapi").await, door.taken("twilio").await.len()), (1, 1));

    for mode in [Mode::down(), Mode::status(504), Mode::garbage()] {
        let door = Door::open().await;
        door.sandbox.set_mode("solapi", mode.clone()).await;
        let id = door.deliver("send").await;
        assert_eq!((door.calls().await, door.status(&id).await.as_str()), (1, "in_doubt"), "{mode:?}");
        door.sandbox.set_mode("solapi", Mode::ok()).await;
        door.clock.advance(Duration::from_secs(3_600));
        door.work().await;
        assert_eq!(door.calls().await, 1, "what may have been sent is not sent again: {mode:?}");
        // The gateway's own report settles it.
        let report = json!([{"messageId": "M4V1", "statusCode": "4000", "customFields": {"ieumId": id}}]);
        assert_eq!(door.request(solapi_report(&report)).await.status, 200);
        assert_eq!(door.status(&id).await, "delivered");
    }
}

#[tokio::test]
async fn two_hundred_with_a_failure_inside_is_a_failure() {
    let door = Door::open().await;
    let body = json!({"to": providers::solapi::FAILING, "text": "안녕하세요"});
    let accepted = door.send_body("send", &body).await;
    door.work().await;
    let seen = door.message(&accepted.id()).await.body;
    assert_eq!((&seen["status"], &seen["error"]), (&json!("failed"), &json!("rejected")));
    assert_eq!(door.calls().await, 1, "nobody else is asked for what was understood and refused");
}

#[tokio::test]
async fn each_attempt_has_a_signature_of_its_own() {
    let door = Door::open().await;
    door.sandbox.set_mode("solapi", Mode::status(500).for_calls(2)).await;
    let (first, second) = (door.deliver("send").await, door.deliver("send").await);
    // The fake takes no signature twice, and time stands still here: only the salt differs.
    assert_eq!((door.status(&first).await.as_str(), door.status(&second).await.as_str()), ("sent", "sent"));
    assert_eq!((door.sandbox.calls("solapi").await, door.taken("solapi").await.len()), (4, 2));
}

#[tokio::test]
async fn retry_after_is_obeyed_by_the_whole_fleet() {
    let door = Door::with(&[("SMS_PROVIDERS", "twilio")]).await;
    door.sandbox.set_mode("twilio", Mode::status(429).retry_after(90).for_calls(1)).await;
    let first = door.deliver("send").await;
    assert_eq!((door.sandbox.calls("twilio").await, door.status(&first).await.as_str()), (1, "queued"));
    // Nobody else asks either, and who is woken too early goes back to waiting.
    let second = door.send("send").await.id();
    door.wake(&second).await;
    door.clock.advance(Duration::from_secs(80));
    door.wake(&first).await;
    door.wake(&second).await;
    assert_eq!(door.sandbox.calls("twilio").await, 1, "too early");
    door.clock.advance(Duration::from_secs(40));
    door.sweep().await;
    assert!(door.work().await < Duration::from_secs(120));
    assert_eq!((door.status(&first).await.as_str(), door.status(&second).await.as_str()), ("sent", "sent"));
    assert_eq!(door.taken("twilio").await.len(), 2);
}

#[tokio::test]
async fn twilios_callbacks_move_the_state_forward_only() {
    let door = Door::open().await;
    let id = door.deliver("send-abroad").await;
    for (status, state) in [
        ("queued", "sent"),
        ("sent", "sent"),
        ("delivered", "delivered"),
        ("delivered", "delivered"),
        ("sent", "delivered"),
        ("failed", "delivered"),
    ] {
        let answer = door.request(twilio_report(&id, &[("MessageStatus", status)], None)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(door.status(&id).await, state, "after {status}");
    }
    assert_eq!(
        door.send("report-twilio").await.status,
        200,
        "a report about a text we do not know is heard and forgotten"
    );
    assert_eq!(door.items("message#").len(), 1);
}

#[tokio::test]
async fn twilio_signs_the_configured_address_and_not_the_one_in_the_request() {
    let door = Door::open().await;
    let id = door.deliver("send-abroad").await;
    assert_eq!(door.send("report-twilio-forged").await.status, 401);
    let status = [("MessageStatus", "delivered")];
    // Signed for the host that the request names, which is anybody's.
    let mut forged = twilio_report(&id, &status, Some(&format!("https://evil.example/v1/webhooks/twilio?id={id}")));
    forged["headers"]["host"] = json!("evil.example");
    assert_eq!(door.request(forged).await.status, 401);
    // Signed for another text.
    let mut moved = twilio_report("another", &status, None);
    moved["rawQueryString"] = json!(format!("id={id}"));
    assert_eq!(door.request(moved).await.status, 401);
    let mut tampered = twilio_report(&id, &[("MessageStatus", "sent")], None);
    tampered["body"] = json!(tampered["body"].as_str().expect("a body").replace("=sent", "=delivered"));
    assert_eq!(door.request(tampered).await.status, 401);
    assert_eq!(door.status(&id).await, "sent");
    // Right, although the request names another host.
    let mut report = twilio_report(&id, &status, None);
    report["headers"]["host"] = json!("internal.example");
    assert_eq!(door.request(report).await.status, 200);
    assert_eq!(door.status(&id).await, "delivered");
    let without = Door::with(&[("SMS_PROVIDERS", "sns")]).await;
    assert_eq!(without.send("report-twilio").await.status, 404);
}

/// The kernel's tests hold the signature to Twilio's vectors, forms and JSON; here it is that a JSON body is read, too.
#[tokio::test]
async fn a_callback_may_be_json_whose_hash_is_signed() {
    let door = Door::open().await;
    let id = door.deliver("send-abroad").await;
    let body = json!({"AccountSid": providers::twilio::ACCOUNT_SID, "MessageSid": "SM1", "MessageStatus": "delivered"});
    let body = body.to_string();
    let query = format!("id={id}&bodySHA256={}", sha256_hex(&body));
    let (_, signature) = providers::twilio::callback(&format!("{PUBLIC_URL}/v1/webhooks/twilio?{query}"), &[]);
    let mut report = event("report-twilio");
    report["rawQueryString"] = json!(query);
    report["headers"]["content-type"] = json!("application/json");
    report["headers"]["x-twilio-signature"] = json!(signature);
    report["body"] = json!(body.replace("delivered", "undelivered"));
    assert_eq!(door.request(report.clone()).await.status, 401, "another body");
    report["body"] = json!(body);
    assert_eq!(door.request(report).await.status, 200);
    assert_eq!(door.status(&id).await, "delivered");
}

#[tokio::test]
async fn a_callback_that_lacks_what_each_has_is_a_400() {
    let door = Door::open().await;
    assert_eq!(door.request(twilio_report("m", &[], None)).await.issues(), [("body", "bad_format")]);
    let url = format!("{PUBLIC_URL}/v1/webhooks/twilio");
    let mut nameless = twilio_report("m", &[("MessageStatus", "sent")], Some(&url));
    nameless["rawQueryString"] = json!("");
    assert_eq!(door.request(nameless).await.issues(), [("id", "missing")]);
}

#[tokio::test]
async fn solapis_reports_move_the_state_and_a_wrong_signature_does_not() {
    let door = Door::open().await;
    let id = door.deliver("send").await;
    let report = |code: &str| json!([{"messageId": "M4V1", "to": "01012345678", "statusCode": code, "customFields": {"ieumId": id}}]);
    assert_eq!(door.send("report-solapi-forged").await.status, 401);
    let mut unsigned = solapi_report(&report("4000"));
    unsigned["headers"]["x-solapi-signature"] = Value::Null;
    assert_eq!(door.request(unsigned).await.status, 401);
    assert_eq!(door.status(&id).await, "sent");
    for (code, state) in [("2000", "sent"), ("4000", "delivered"), ("4000", "delivered"), ("2000", "delivered")] {
        assert_eq!(door.request(solapi_report(&report(code))).await.status, 200);
        assert_eq!(door.status(&id).await, state, "after {code}");
    }
    assert_eq!(door.send("report-solapi").await.status, 200);
}

#[tokio::test]
async fn who_wants_no_texts_and_who_cannot_get_them_is_not_written_to_again() {
    // Twilio says so at once,
    let door = Door::open().await;
    let body = |to: &str| json!({"to": to, "text": "hello"});
    let refuse = async |door: &Door, to: &str, reason: &str| {
        let calls = door.calls().await;
        let answer = door.send_body("send", &json!({"to": to, "text": "hello"})).await;
        assert_eq!((answer.status, answer.code()), (422, "recipient_suppressed"), "{}", answer.text);
        assert_eq!((answer.issues(), door.calls().await), (vec![("to", reason)], calls));
        assert!(!format!("{:?}", door.items("suppression#")).contains("5678"), "the list knows no number");
    };
    door.sandbox.set_mode("twilio", Mode::status(400).code("21610")).await;
    let accepted = door.send_body("send", &body("+81 90-8765-4321")).await;
    door.work().await;
    assert_eq!((door.status(&accepted.id()).await.as_str(), door.calls().await), ("failed", 1));
    refuse(&door, "+81 90-8765-4321", "opted_out").await;
    door.sandbox.set_mode("twilio", Mode::ok()).await;
    // or in a callback,
    let id = door.deliver("send-abroad").await;
    let params = [("MessageStatus", "undelivered"), ("ErrorCode", "30005"), ("To", "+819012345678")];
    assert_eq!(door.request(twilio_report_to(&id, &params)).await.status, 200);
    let seen = door.message(&id).await.body;
    assert_eq!((&seen["status"], &seen["error"]), (&json!("undelivered"), &json!("30005")));
    refuse(&door, "+81 90-1234-5678", "dead_number").await;
    // Solapi in a report,
    let door = Door::open().await;
    let id = door.deliver("send").await;
    let report = json!([{"messageId": "M", "to": "01012345678", "statusCode": "3040", "customFields": {"ieumId": id}}]);
    assert_eq!(door.request(solapi_report(&report)).await.status, 200);
    refuse(&door, "010-1234-5678", "dead_number").await;
    // SNS when it is asked.
    let door = Door::with(&[("SMS_PROVIDERS", "sns")]).await;
    let accepted = door.send_body("send", &body("010-9999-0000")).await;
    door.work().await;
    assert_eq!(door.status(&accepted.id()).await, "failed");
    refuse(&door, "010-9999-0000", "opted_out").await;
}

/// A callback about another number.
fn twilio_report_to(id: &str, params: &[(&str, &str)]) -> Value {
    let own = format!("{PUBLIC_URL}/v1/webhooks/twilio?id={id}");
    let account = [("AccountSid", providers::twilio::ACCOUNT_SID), ("MessageSid", "SM1")];
    let params: Vec<_> = account.iter().chain(params).copied().collect();
    let (body, signature) = providers::twilio::callback(&own, &params);
    let mut event = twilio_report(id, &[], None);
    event["headers"]["x-twilio-signature"] = json!(signature);
    event["body"] = json!(body);
    event
}

#[tokio::test]
async fn one_number_gets_so_many_texts_and_no_more() {
    let door = Door::with(&[("SMS_RECIPIENT_RATE_PER_PERIOD", "3")]).await;
    for _ in 0..3 {
        assert_eq!(door.send("send").await.status, 202);
    }
    let refused = door.send("send").await;
    assert_eq!((refused.status, refused.code()), (429, "rate_limited"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(door.send("send-abroad").await.status, 202, "others are not meant");
    door.clock.advance(Duration::from_secs(1_201));
    assert_eq!(door.send("send").await.status, 202);
}

#[tokio::test]
async fn a_day_has_so_many_texts() {
    let door = Door::with(&[("SMS_PROVIDERS", "twilio"), ("TWILIO_DAILY_QUOTA", "2")]).await;
    for _ in 0..3 {
        assert_eq!(door.send("send").await.status, 202, "what is above the quota waits for tomorrow");
    }
    door.work().await;
    assert_eq!(door.taken("twilio").await.len(), 2);
}

#[tokio::test]
async fn what_waited_too_long_is_not_sent() {
    let door = Door::with(&[("SMS_VALIDITY_SECONDS", "600")]).await;
    let id = door.send("send").await.id();
    door.clock.advance(Duration::from_secs(601));
    door.work().await;
    let seen = door.message(&id).await.body;
    assert_eq!((&seen["status"], &seen["error"], door.calls().await), (&json!("failed"), &json!("expired"), 0));
}

#[tokio::test]
async fn a_text_nobody_knows_is_a_404() {
    let door = Door::open().await;
    assert_eq!(door.send("message-unknown").await.code(), "not_found");
    assert_eq!(door.serve(event("wake-up")).await.expect("an answer"), json!({"batchItemFailures": []}));
}

#[tokio::test]
async fn the_mock_does_what_its_table_says() {
    let door = Door::with(&[("SMS_PROVIDERS", "mock"), ("SMS_ATTEMPTS", "1")]).await;
    for (to, state) in [
        ("010-1234-5678", "sent"),
        ("010-1234-9999", "failed"),
        ("010-1234-9998", "queued"),
        ("010-1234-9997", "in_doubt"),
    ] {
        let accepted = door.send_body("send", &json!({"to": to, "text": "안녕하세요"})).await;
        door.work().await;
        assert_eq!(door.status(&accepted.id()).await, state, "{to}");
    }
}

/// What the tests above send, against what lies in `events/`.
#[test]
fn every_event_of_this_function_is_sent_by_a_test() {
    assert_eq!(unsent("sms", &[include_str!("door.rs"), include_str!("support/mod.rs")]), Vec::<String>::new());
}
