//! `email` through its own door: events of API Gateway and SQS in, answers out, providers on loopback.
//!
//! Each test begins with a file in `events/`, the same that `cargo lambda invoke --data-file` takes.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ieum::testing::door::unsent;
use ieum_sandbox::Mode;
use ieum_sandbox::providers::ses_events;
use mail_parser::{MessageParser, MimeHeaders};
use serde_json::{Value, json};
use support::{Door, TOPIC};

const MINUTE: Duration = Duration::from_secs(60);

/// A mail as SES or a server took it, read by another parser than wrote it.
fn read(mail: &Value) -> mail_parser::Message<'_> {
    MessageParser::default().parse(mail["raw"].as_str().unwrap().as_bytes()).unwrap()
}

#[tokio::test]
async fn a_mail_is_accepted_sent_once_and_can_be_followed() {
    let door = Door::open().await;
    let accepted = door.send("send").await;
    assert_eq!((accepted.status, &accepted.body["status"]), (202, &json!("queued")));
    let id = accepted.id();
    assert_eq!(door.status(&id).await, "queued");
    assert_eq!(door.work().await, 0);
    let message = door.message(&id).await;
    assert_eq!(
        (&message["status"], &message["provider"], &message["attempts"]),
        (&json!("sent"), &json!("ses"), &json!(1))
    );
    assert_eq!((&message["template"], &message["recipients"]), (&json!("welcome"), &json!(["h***@example.kr"])));

    let mails = door.taken("ses").await;
    let mail = read(&mails[0]);
    assert_eq!(mail.subject(), Some("홍길동님, 이음 가입을 환영합니다"));
    assert_eq!(mail.from().unwrap().first().unwrap().name(), Some("이음"));
    assert!(mail.body_html(0).unwrap().contains("https://portal.example.kr/start"));
    assert!(mail.header_raw("List-Unsubscribe").is_none(), "nobody can refuse it");

    let again = door.send("send").await;
    assert_eq!((again.id(), again.header("idempotency-replayed")), (id, Some("true")));
    door.work().await;
    assert_eq!(door.taken("ses").await.len(), 1);
}

#[tokio::test]
async fn what_is_attached_arrives_byte_for_byte_from_the_request_or_from_an_upload() {
    // Unoptimised code takes its time over megabytes.
    let door = Door::with(&[("EMAIL_TIMEOUT_MS", "60000"), ("EMAIL_DEADLINE_MS", "90000")]).await;
    let id = door.send("send-attachment").await.id();
    let upload = "6c2f41c7-9a3f-4e0b-8b5d-1f2e3d4c5b6a";
    let large: Vec<u8> = b"%PDF-1.7\n".iter().copied().chain((0..=255).cycle().take(5_000_000)).collect();
    let key = format!("attachment/upload-{upload}");
    door.blobs.put(&key, "application/octet-stream", Bytes::from(large.clone())).await.unwrap();
    let files = json!({"attachments": [{"name": "큰 파일.pdf", "upload": upload}]});
    let uploaded = door.send_with("send-attachment", files).await.id();
    door.work().await;
    assert_eq!((door.status(&id).await, door.status(&uploaded).await), ("sent".to_owned(), "sent".to_owned()));
    let event = support::event("send-attachment");
    let asked: Value = serde_json::from_str(event["body"].as_str().unwrap()).unwrap();
    let small = STANDARD.decode(asked["attachments"][0]["content"].as_str().unwrap()).unwrap();
    let mails = door.taken("ses").await;
    let mut files = Vec::new();
    for mail in &mails {
        let mail = read(mail);
        assert_eq!(mail.subject(), Some("[이음] 심사 결과 안내: 2026년 하반기 지원 사업"));
        let file = mail.attachments().next().unwrap();
        assert_eq!(file.content_type().unwrap().subtype(), Some("pdf"));
        files.push((file.attachment_name().unwrap().to_owned(), file.contents().to_vec()));
    }
    files.sort();
    assert!(files == [("선정 안내문.pdf".to_owned(), small), ("큰 파일.pdf".to_owned(), large)], "the files differ");
    assert_eq!(mails[0]["destination"]["CcAddresses"], json!(["kim@xn--3e0b707e.xn--3e0b707e"]));
}

#[tokio::test]
async fn a_file_that_cannot_be_sent_is_refused_with_the_reason() {
    let door = Door::open().await;
    let refused = door.send("send-executable").await;
    assert_eq!((refused.status, refused.issues()), (400, vec![("attachments[0].content", "executable")]));
    let upload = |id: &str| json!({"name": "a.pdf", "upload": id});
    let missing = "00000000-0000-4000-8000-000000000000";
    let refused = door.send_with("send-executable", json!({"attachments": [upload(missing)]})).await;
    assert_eq!(refused.issues(), [("attachments[0].upload", "not_uploaded")]);
    let id = |number| format!("00000000-0000-4000-8000-00000000000{number}");
    for (number, bytes) in [(1, 6_000_000), (2, 6_000_000), (3, 11_000_000)] {
        let (key, content) = (format!("attachment/upload-{}", id(number)), Bytes::from(vec![b'a'; bytes]));
        door.blobs.put(&key, "application/octet-stream", content).await.unwrap();
    }
    let refused = door.send_with("send-executable", json!({"attachments": [upload(&id(1)), upload(&id(2))]})).await;
    assert_eq!(refused.issues(), [("attachments", "too_long")], "12 MB in all");
    let refused = door.send_with("send-executable", json!({"attachments": [upload(&id(3))]})).await;
    assert_eq!(refused.issues(), [("attachments[0].upload", "too_long")], "11 MB in one");
    let inline = STANDARD.encode(vec![b'a'; 4_300_000]);
    let refused =
        door.send_with("send-executable", json!({"attachments": [{"name": "a.txt", "content": inline}]})).await;
    assert_eq!(refused.issues(), [("attachments", "too_long")], "more than 4 MB in the request");
    let refused = door.send("upload-too-large").await;
    assert_eq!((refused.status, refused.issues()), (400, vec![("bytes", "bad_format")]));
    // Only a bucket has addresses to upload to.
    assert_eq!(door.send("upload").await.code(), "store_unavailable");
    assert!(door.items("message#").is_empty());
}

#[tokio::test]
async fn hostile_input_is_told_by_field_and_costs_nothing() {
    let door = Door::open().await;
    for (event, faults) in [
        (
            "send-hostile",
            vec![
                ("subject", "bad_format"),
                ("to.address", "bad_format"),
                ("to.name", "bad_format"),
                ("cc[0]", "homograph"),
                ("cc[1]", "too_long"),
            ],
        ),
        ("send-hostile-variable", vec![("variables.name", "bad_format")]),
        ("send-51-recipients", vec![("to", "too_many_recipients")]),
        ("send-unknown-template", vec![("template", "unknown_template")]),
        (
            "send-missing-variable",
            vec![("variables.expires_minutes", "missing"), ("variables.action_url", "not_https")],
        ),
    ] {
        let refused = door.send(event).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_request"), "{event}: {}", refused.text);
        assert_eq!(refused.issues(), faults, "{event}");
    }
    let refused = door.send_with("send", json!({"to": ["a@example.kr", "A@EXAMPLE.kr"], "nonsense": 1})).await;
    assert_eq!(refused.issues(), [("to", "repeated"), ("nonsense", "unknown_field")]);
    assert_eq!(door.work().await, 0);
    assert!(door.items("message#").is_empty());
}

#[tokio::test]
async fn html_in_a_variable_arrives_as_text() {
    let door = Door::open().await;
    door.send("send-html-variable").await.id();
    door.work().await;
    let mails = door.taken("ses").await;
    let html = read(&mails[0]).body_html(0).unwrap().into_owned();
    assert!(!html.contains("<script") && !html.contains("<img") && html.contains("&lt;script&gt;"), "{html}");
}

#[tokio::test]
async fn only_a_caller_with_the_scope_may_send() {
    let door = Door::open().await;
    assert_eq!(door.send_as_it_is("send-without-key").await.status, 401);
    let reader = door.send_changed("send", |event| event["headers"]["x-api-key"] = json!("reader-key")).await;
    assert_eq!((reader.status, reader.code()), (403, "forbidden"));
}

#[tokio::test]
async fn the_next_provider_takes_over_and_the_ledger_says_so() {
    let door = Door::open().await;
    door.sandbox.set_mode("ses", Mode::status(503)).await;
    let id = door.send("send-english").await.id();
    door.work().await;
    let message = door.message(&id).await;
    assert_eq!(
        (&message["status"], &message["provider"], &message["attempts"]),
        (&json!("sent"), &json!("sendgrid"), &json!(2))
    );
    let taken = door.taken("sendgrid").await;
    assert_eq!(taken[0]["mail"]["subject"], "[이음] Reset your password");
    assert_eq!(taken[0]["message_id"], message["provider_message_id"]);

    door.sandbox.set_mode("sendgrid", Mode::status(429).retry_after(30)).await;
    let id = door.send_with("send-english", json!({})).await.id();
    door.work().await;
    let message = door.message(&id).await;
    assert_eq!(
        (&message["status"], &message["provider"], &message["attempts"]),
        (&json!("sent"), &json!("smtp"), &json!(3))
    );
    assert_eq!(door.taken("smtp").await[0]["to"], json!(["jane@example.org"]));
}

#[tokio::test]
async fn a_mail_that_a_provider_refuses_is_not_handed_to_the_next() {
    let door = Door::open().await;
    door.sandbox.set_mode("ses", Mode::status(400).code("MessageRejected")).await;
    let id = door.send("send").await.id();
    door.work().await;
    let message = door.message(&id).await;
    assert_eq!((&message["status"], &message["error"]), (&json!("failed"), &json!("rejected")));
    assert_eq!((door.taken("sendgrid").await.len(), door.taken("smtp").await.len()), (0, 0));
}

#[tokio::test]
async fn when_all_are_down_mail_waits_and_leaves_later_no_faster_than_it_may() {
    const MAILS: usize = 40;
    const PER_MINUTE: u32 = 12;
    let door = Door::open().await;
    for (provider, status) in [("ses", 503), ("sendgrid", 503), ("smtp", 451)] {
        door.sandbox.set_mode(provider, Mode::status(status)).await;
    }
    let mut ids = Vec::new();
    for number in 0..MAILS {
        ids.push(door.send_with("send", json!({"to": format!("r{number}@example.kr")})).await.id());
    }
    assert_eq!(door.work().await, 0, "waiting is no failure of the wake-up");
    for id in &ids {
        assert_eq!(door.status(id).await, "queued");
    }
    for _ in 0..3 {
        door.sweep(PER_MINUTE).await;
        door.work().await;
    }
    assert!(door.taken("ses").await.is_empty());

    for provider in ["ses", "sendgrid", "smtp"] {
        door.sandbox.reset(provider).await;
    }
    let sent = async || {
        let mut sent = 0;
        for provider in ["ses", "sendgrid", "smtp"] {
            sent += door.taken(provider).await.len();
        }
        sent
    };
    let mut before = 0;
    for minute in 0.. {
        assert!(minute < 20, "{before} of {MAILS} have left");
        door.sweep(PER_MINUTE).await;
        door.work().await;
        let now = sent().await;
        assert!(now - before <= PER_MINUTE as usize, "{} in one minute", now - before);
        before = now;
        if now == MAILS {
            break;
        }
    }
    for id in &ids {
        assert_eq!(door.status(id).await, "sent");
    }
    assert_eq!(sent().await, MAILS, "each of them once");
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_sent_again_and_the_providers_event_settles_it() {
    let door = Door::with(&[("EMAIL_PROVIDERS", "smtp,sendgrid")]).await;
    door.sandbox.control("smtp", json!({"mode": "silent"})).await.unwrap();
    let id = door.send("send").await.id();
    door.work().await;
    assert_eq!(door.status(&id).await, "in_doubt");
    for _ in 0..3 {
        door.sweep(100).await;
        door.work().await;
    }
    assert_eq!((door.taken("smtp").await.len(), door.taken("sendgrid").await.len()), (1, 0));
    let told = door.sendgrid_reports(&json!([{"event": "delivered", "ieum_id": id, "email": "hong@example.kr"}])).await;
    assert_eq!(told.status, 200);
    assert_eq!(door.status(&id).await, "delivered");
}

#[tokio::test]
async fn a_worker_that_dies_in_the_middle_of_sending_leaves_a_doubt_that_an_event_settles() {
    let door = Door::with(&[("EMAIL_PROVIDERS", "sendgrid")]).await;
    let id = door.send("send").await.id();
    door.sandbox.set_mode("sendgrid", Mode::slow(Duration::from_secs(2))).await;
    // Whoever waits for it is gone while the provider is at it.
    let died = tokio::time::timeout(Duration::from_millis(700), door.work()).await;
    assert!(died.is_err());
    assert_eq!(door.status(&id).await, "sending");
    assert_eq!(door.taken("sendgrid").await.len(), 1, "it has left");
    door.sandbox.reset("sendgrid").await;
    for _ in 0..3 {
        door.sweep(100).await;
        door.work().await;
    }
    assert_eq!(door.status(&id).await, "in_doubt");
    assert_eq!(door.sandbox.calls("sendgrid").await, 0, "nobody sends it again");
    let events = json!([{"event": "processed", "ieum_id": id}, {"event": "delivered", "ieum_id": id}]);
    assert_eq!(door.sendgrid_reports(&events).await.status, 200);
    assert_eq!(door.status(&id).await, "delivered");
}

#[tokio::test]
async fn states_only_move_forward_whatever_the_order_of_events() {
    let door = Door::open().await;
    let id = door.send("send").await.id();
    door.work().await;
    let event = |name: &str| json!([{"event": name, "ieum_id": id, "email": "hong@example.kr", "type": "bounce"}]);
    for (name, status) in [
        ("processed", "sent"),
        ("open", "sent"),
        ("delivered", "delivered"),
        ("processed", "delivered"),
        ("spamreport", "complained"),
        ("delivered", "complained"),
        ("bounce", "complained"),
        ("unknown_to_us", "complained"),
    ] {
        assert_eq!(door.sendgrid_reports(&event(name)).await.status, 200);
        assert_eq!(door.status(&id).await, status, "after {name}");
    }
    let stranger = json!([{"event": "delivered", "ieum_id": "no-such-message"}, {"event": "delivered"}]);
    assert_eq!(door.sendgrid_reports(&stranger).await.status, 200, "what is not ours is no mistake");
    assert_eq!(door.items("message#").len(), 1);
}

#[tokio::test]
async fn a_bounce_that_ses_reports_suppresses_the_address_until_an_operator_lifts_it() {
    let door = Door::open().await;
    let told = door.send_as_it_is("ses-events").await;
    assert_eq!(told.status, 200, "{}", told.text);
    let found = door.send("suppression").await;
    assert_eq!(found.body["suppressions"][0]["reason"], "bounced");
    assert_eq!(
        (&found.body["suppressions"][0]["by"], &found.body["suppressions"][0]["mail"]),
        (&json!("ses"), &json!("all"))
    );

    let refused = door.send("send").await;
    assert_eq!((refused.status, refused.code()), (422, "recipient_suppressed"));
    assert_eq!(refused.issues(), [("to[0]", "bounced")]);
    let refused = door.send_with("send", json!({"to": "kim@example.kr", "bcc": ["HONG@example.kr"]})).await;
    assert_eq!(refused.issues(), [("bcc[0]", "bounced")]);
    assert!(door.items("message#").is_empty());

    assert_eq!(door.send("release").await.status, 200);
    assert_eq!(door.send("suppression").await.status, 404);
    assert_eq!(door.send("release").await.status, 404);
    door.send("send").await.id();
    assert_eq!(door.items("audit#").len(), 1);
}

#[tokio::test]
async fn an_operator_can_block_an_address_also_for_what_was_accepted_before() {
    let door = Door::open().await;
    let id = door.send("send").await.id();
    let blocked = door.send("suppress").await;
    assert_eq!((blocked.status, &blocked.body["suppressions"][0]["reason"]), (200, &json!("by_hand")));
    assert_eq!(blocked.body["suppressions"][0]["by"], "key:portal");
    door.work().await;
    let message = door.message(&id).await;
    assert_eq!((&message["status"], &message["error"]), (&json!("failed"), &json!("suppressed")));
    assert!(door.taken("ses").await.is_empty());
    assert_eq!(door.send_with("send", json!({})).await.issues(), [("to[0]", "by_hand")]);
}

#[tokio::test]
async fn only_what_is_signed_is_believed() {
    let door = Door::open().await;
    assert_eq!(door.send_as_it_is("sendgrid-events").await.status, 200, "signed, and in time");
    for change in [
        |event: &mut Value| event["body"] = json!("[]"),
        |event: &mut Value| event["headers"]["x-twilio-email-event-webhook-timestamp"] = json!("1795233001"),
        |event: &mut Value| {
            drop(event["headers"].as_object_mut().unwrap().remove("x-twilio-email-event-webhook-signature"))
        },
    ] {
        assert_eq!(door.send_changed("sendgrid-events", change).await.status, 401);
    }
    door.clock.advance(MINUTE * 6);
    assert_eq!(door.send_as_it_is("sendgrid-events").await.status, 401, "too old");

    for (topic, status) in [(TOPIC, 200), ("arn:aws:sns:ap-northeast-2:999999999999:ses-events", 401)] {
        let message = ses_events::signed("SubscriptionConfirmation", topic, "sns-2", "You have chosen to subscribe");
        let answer = door.send_changed("ses-events", |event| event["body"] = json!(message.to_string())).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    assert_eq!(door.sandbox.stats("ses-events").await.state["confirmed"], json!([TOPIC]));
    let mut forged = ses_events::signed("Notification", TOPIC, "sns-3", "{}");
    forged["Signature"] = json!("RkFLRQ==");
    let answer = door.send_changed("ses-events", |event| event["body"] = json!(forged.to_string())).await;
    assert_eq!(answer.status, 401);
    let words = ses_events::signed("Notification", TOPIC, "sns-4", "Successfully validated SNS topic.");
    let answer = door.send_changed("ses-events", |event| event["body"] = json!(words.to_string())).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        door.sandbox.stats("ses-events").await.by_path[ses_events::CERTIFICATE_PATH],
        1,
        "the certificate is kept"
    );
}

#[tokio::test]
async fn while_the_certificate_cannot_be_had_the_sender_is_to_come_again() {
    let door = Door::open().await;
    door.sandbox.set_mode("ses-events", Mode::status(500)).await;
    assert_eq!(door.send_as_it_is("ses-events").await.status, 503);
    door.sandbox.reset("ses-events").await;
    assert_eq!(door.send_as_it_is("ses-events").await.status, 200);
}

#[tokio::test]
async fn of_a_thousand_mails_with_seven_bad_addresses_993_are_sent_and_the_seven_named() {
    let door = Door::open().await;
    let bad = [3, 141, 159, 265, 358, 979, 999];
    let address = |number| {
        if bad.contains(&number) { format!("bad address {number}@example.kr") } else { format!("r{number}@example.kr") }
    };
    let messages: Vec<Value> = (0..1_000)
        .map(|number| json!({"to": address(number), "variables": {"code": format!("{number:06}")}}))
        .collect();
    let answer = door.send_with("batch", json!({"messages": messages})).await;
    let id = answer.id();
    assert_eq!((&answer.body["accepted"], &answer.body["rejected"]), (&json!(993), &json!(7)));
    let results = answer.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 1_000);
    let named: Vec<usize> = (0..1_000).filter(|place| !results[*place]["error"].is_null()).collect();
    assert_eq!(named, bad);
    assert_eq!(results[3]["error"]["details"][0]["field"], "to");
    assert_eq!(results[3]["error"]["details"][0]["issue"], "bad_format");

    assert_eq!(door.work().await, 0);
    let mails = door.taken("ses").await;
    assert_eq!(mails.len(), 993);
    let mut seen: Vec<(String, String)> = mails
        .iter()
        .map(|mail| {
            let to = mail["destination"]["ToAddresses"][0].as_str().unwrap().to_owned();
            let text = read(mail).body_text(0).unwrap().into_owned();
            let code = text.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() == 6);
            (to, code.unwrap().to_owned())
        })
        .collect();
    seen.sort();
    let mut expected: Vec<(String, String)> = (0..1_000)
        .filter(|number| !bad.contains(number))
        .map(|number| (address(number), format!("{number:06}")))
        .collect();
    expected.sort();
    assert!(seen == expected, "everybody got their own code once");

    assert_eq!(door.message(&id).await["statuses"], json!({"sent": 993}));
    let last = results[998]["id"].as_str().unwrap();
    assert_eq!(door.status(last).await, "sent");
}

#[tokio::test]
async fn each_mail_of_a_batch_has_its_own_language_variables_and_result() {
    let door = Door::open().await;
    let answer = door.send("batch").await;
    answer.id();
    let results = &answer.body["results"];
    assert_eq!(results[2]["error"]["details"][0]["field"], "to");
    assert_eq!(
        results[3]["error"]["details"][0],
        json!({
            "field": "variables.code", "issue": "missing", "message": "필수 항목입니다.",
        })
    );
    door.work().await;
    let mails = door.taken("ses").await;
    let texts: Vec<String> = mails.iter().map(|mail| read(mail).body_text(0).unwrap().into_owned()).collect();
    assert!(texts.iter().any(|text| text.contains("314159") && text.contains("10분")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("271828") && text.contains("5 minutes")), "{texts:?}");

    let none = door.send_with("batch", json!({"messages": [{"to": "nobody@"}, {"to": "a@example.kr"}]})).await;
    assert_eq!(
        (none.status, none.issues()),
        (400, vec![("messages[0].to", "bad_format"), ("messages[1].variables.code", "missing")])
    );
    let many: Vec<Value> = (0..1_001).map(|number| json!({"to": format!("r{number}@example.kr")})).collect();
    assert_eq!(door.send_with("batch", json!({"messages": many})).await.issues(), [("messages", "too_long")]);
}

#[tokio::test]
async fn a_batch_of_own_words_keeps_them_once() {
    let door = Door::open().await;
    let messages: Vec<Value> = (0..50)
        .map(|number| json!({"to": format!("r{number}@example.kr"), "variables": {"name": format!("{number}번")}}))
        .collect();
    let html = format!("<p>{{{{ name }}}}님</p>{}", "<p>긴 본문</p>".repeat(3_000));
    let words = json!({"template": "custom", "subject": "{{ name }}", "html": html, "text": "{{ name }}님", "variables": null, "messages": messages});
    let id = door.send_with("batch", words).await.id();
    let item = &door.items("batch#")[0];
    assert!(item.text("body").unwrap().len() < 20_000, "the words are elsewhere");
    door.work().await;
    assert_eq!(door.message(&id).await["statuses"], json!({"sent": 50}));
    let subjects = door.taken("ses").await.iter().filter(|mail| read(mail).subject() == Some("49번")).count();
    assert_eq!(subjects, 1);
}

#[tokio::test]
async fn nobody_is_written_to_more_often_than_the_limit_allows() {
    let limits = [("EMAIL_RECIPIENT_RATE_PER_PERIOD", "2"), ("EMAIL_RECIPIENT_RATE_BURST", "2")];
    let door = Door::with(&limits).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = door.send_with("send", json!({})).await;
        statuses.push(answer.status);
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 429);
    }
    assert_eq!((statuses[0], statuses[3]), (202, 429), "{statuses:?}");
    assert_eq!(door.send_with("send", json!({"to": "kim@example.kr"})).await.status, 202);
    door.clock.advance(Duration::from_secs(3_600));
    assert_eq!(door.send_with("send", json!({})).await.status, 202);
}

#[tokio::test]
async fn promotional_mail_has_a_way_out_that_takes_one_click() {
    let door = Door::open().await;
    door.send("send-promotional").await.id();
    let refused = door.send_with("send-promotional", json!({"to": ["a@example.kr", "b@example.kr"]})).await;
    assert_eq!(refused.issues(), [("to", "one_recipient")]);
    door.work().await;
    let mails = door.taken("ses").await;
    let mail = read(&mails[0]);
    assert_eq!(mail.header_raw("List-Unsubscribe-Post").unwrap().trim(), "List-Unsubscribe=One-Click");
    let link = mail.header_raw("List-Unsubscribe").unwrap().trim().trim_matches(['<', '>']).to_owned();
    assert!(mail.body_html(0).unwrap().contains(&link) && mail.body_text(0).unwrap().contains(&link));
    let path = link.strip_prefix("https://api.example.kr").unwrap().to_owned();

    let page = door.send_changed("unsubscribe-page", |event| event["rawPath"] = json!(path)).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text.contains("hong@example.kr") && page.text.contains("<form method=\"post\">"));
    assert_eq!(door.send("suppression").await.status, 404, "whoever only looks at the page has said nothing");
    let done = door.send_changed("unsubscribe", |event| event["rawPath"] = json!(path)).await;
    assert_eq!(done.status, 200);
    assert!(done.text.contains("수신거부가 완료되었습니다"));

    let refused = door.send("send-promotional").await;
    assert_eq!((refused.code(), refused.issues()), ("recipient_suppressed", vec![("to[0]", "unsubscribed")]));
    door.send("send").await.id();
    assert_eq!(door.send_as_it_is("unsubscribe-page").await.status, 404);
    assert_eq!(door.send_as_it_is("unsubscribe").await.status, 404);
}

#[tokio::test]
async fn whoever_unsubscribes_gets_nothing_promotional_that_was_accepted_before() {
    let door = Door::open().await;
    let id = door.send("send-promotional").await.id();
    let told = door.sendgrid_reports(&json!([{"event": "group_unsubscribe", "email": "Hong@example.kr"}])).await;
    assert_eq!(told.status, 200);
    door.work().await;
    assert_eq!(door.status(&id).await, "failed");
    assert!(door.taken("ses").await.is_empty());
}

#[tokio::test]
async fn without_an_address_for_its_way_out_promotional_mail_is_refused() {
    let door = Door::with(&[("EMAIL_PUBLIC_URL", "")]).await;
    let refused = door.send("send-promotional").await;
    assert_eq!((refused.status, refused.issues()), (400, vec![("kind", "no_way_out")]));
}

#[tokio::test]
async fn templates_are_listed_previewed_and_replaced_from_the_bucket_within_a_minute() {
    let door = Door::open().await;
    let listed = door.send("templates").await;
    let names: Vec<&str> =
        listed.body["templates"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    let expected = [
        "welcome",
        "verification",
        "password-reset",
        "account-suspended",
        "notification",
        "review-notification",
        "custom",
    ];
    assert_eq!((names, &listed.body["languages"]), (expected.to_vec(), &json!(["ko", "en"])));

    let preview = door.send("preview").await;
    assert_eq!((preview.status, &preview.body["subject"]), (200, &json!("[이음] 계정 이용 정지 안내")));
    let english = door.send_with("preview", json!({"language": "en"})).await;
    assert!(english.body["html"].as_str().unwrap().contains("lang=\"en\""));
    let faults = door.send_with("preview", json!({"variables": {}})).await;
    assert_eq!(faults.issues(), [("variables.name", "missing"), ("variables.reason", "missing")]);
    assert_eq!(door.send("preview-unknown").await.status, 404);

    let put = async |name: &str, text: &str| {
        let key = format!("email-templates/{name}");
        door.blobs.put(&key, "text/plain", Bytes::from(text.to_owned())).await.unwrap();
    };
    put("account-suspended.ko.txt", "Subject: 새 제목\n\n{{ name }}: {{ reason }} {{ action_url or '' }}").await;
    let fresh = Door::open().await;
    assert_eq!(fresh.send("preview").await.body["subject"], "[이음] 계정 이용 정지 안내");
    tokio::time::pause();
    tokio::time::advance(MINUTE).await;
    tokio::time::resume();
    assert_eq!(door.send("preview").await.body["subject"], "새 제목");
    put("account-suspended.ko.txt", "Subject: {{ no_such_variable }}\n\n본문").await;
    tokio::time::pause();
    tokio::time::advance(MINUTE).await;
    tokio::time::resume();
    assert_eq!(door.send("preview").await.body["subject"], "[이음] 계정 이용 정지 안내", "mail goes on");
    assert!(door.log.text().contains("override.refused"));
}

#[tokio::test]
async fn every_operation_is_logged_without_a_whole_address() {
    let door = Door::open().await;
    door.sandbox.set_mode("ses", Mode::status(503)).await;
    let id = door.send("send").await.id();
    door.work().await;
    let log = door.log.text();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |status: &str| {
        let found = lines
            .iter()
            .find(|line| line["message"] == "email" && line["status"] == status && line["message_id"] == id);
        found.unwrap_or_else(|| panic!("no line with `{status}`: {log}")).clone()
    };
    assert_eq!(of("accepted")["recipients"], "***@example.kr");
    assert_eq!(
        (of("unavailable")["provider"].clone(), of("sent")["provider"].clone()),
        (json!("ses"), json!("sendgrid"))
    );
    assert_eq!(of("sent")["subject"], "홍길동님, 이음 가입을 환영합니다");
    for secret in ["hong@example.kr", "SG.sandbox", "sandbox-app-password", "INTERNAL-DETAIL", "portal-key"] {
        assert!(!log.contains(secret), "`{secret}` in the log");
    }
}

#[tokio::test]
async fn the_mock_goes_by_its_table() {
    let door = Door::with(&[("EMAIL_PROVIDERS", "mock")]).await;
    for (local, status) in [("hong", "sent"), ("rejected", "failed"), ("unavailable", "queued"), ("silent", "in_doubt")]
    {
        let id = door.send_with("send", json!({"to": format!("{local}@example.kr")})).await.id();
        door.work().await;
        assert_eq!(door.status(&id).await, status, "{local}");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let door = Door::open().await;
    assert_eq!(door.send("message").await.status, 404);
    assert_eq!(door.send("suppression").await.status, 404);
    let strange = door.send_changed("suppression", |event| event["rawPath"] = json!("/v1/suppressions/nobody")).await;
    assert_eq!(strange.issues(), [("address", "bad_format")]);
}

#[test]
fn every_event_of_this_function_is_sent_by_a_test() {
    assert_eq!(unsent("email", &[include_str!("door.rs"), include_str!("support/mod.rs")]), Vec::<String>::new());
}
