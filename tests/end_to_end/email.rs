//! Mail on the deployed system: through the queue and the worker to the local SES, to the sandbox's SendGrid, and to a mail
//! server that speaks SMTP.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{MessageParser, MimeHeaders};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Stage;
use super::browser::Browser;
use super::client::{Client, eventually, within};

/// Mails that `smtp` takes in a second, as the checks deploy it.
pub(crate) const SMTP_RATE: usize = 10;

/// How long an attempt may take, as the checks deploy it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(4);

/// How long until every environment goes by other settings.
const SETTINGS: Duration = Duration::from_secs(60);

const SUBJECT: &str = "[Ieum] 심사 결과 안내: 2026년 하반기 지원 사업";

/// A mail of ours to `to`, with `attachments`.
fn mail(to: &str, attachments: &Value) -> Value {
    json!({
        "to": {"address": to, "name": "홍길동"},
        "template": "review-notification",
        "variables": {
            "name": "홍길동",
            "item": "2026년 하반기 지원 사업",
            "result": "선정",
            "comment": "축하드립니다.\n자세한 일정은 첨부를 확인해 주세요. 😀",
        },
        "attachments": attachments,
    })
}

async fn accepted(client: &Client, mail: Value) -> String {
    let answer = client.send("POST", "/v1/emails", Some(mail)).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.body["id"].as_str().unwrap().to_owned()
}

/// What became of a mail, once that is one of `statuses`.
async fn settled(client: &Client, id: &str, statuses: &[&str]) -> Value {
    within(Duration::from_secs(60), &format!("{id} is one of {statuses:?}"), async || {
        let message = client.get(&format!("/v1/emails/{id}")).await.body;
        statuses.iter().any(|status| message["status"] == *status).then_some(message)
    })
    .await
}

/// The mails that `provider` of the sandbox has taken.
async fn taken(client: &Client, provider: &str) -> Vec<Value> {
    client.state(provider).await["mails"].as_array().unwrap().clone()
}

/// Reports events of SendGrid about mails, signed by the sandbox.
async fn sendgrid_reports(client: &Client, events: &Value) -> u16 {
    let body = events.to_string();
    let signed = client.ask_sandbox("sendgrid/sandbox/sign", body.clone()).await;
    let headers: Vec<(String, String)> = signed
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    client.raw("POST", "/v1/webhooks/sendgrid", &headers, body).await.status
}

/// Says what is wrong with each provider in turn, so that the mail reaches the next.
async fn break_providers(client: &Client, providers: &[(&str, u16)]) {
    for (provider, status) in providers {
        client.sandbox(provider, json!({"mode": "status", "status": status})).await;
    }
}

/// Has the worker use only `order` of its providers, or all of them again; it does so within [`SETTINGS`].
async fn order(client: &Client, order: Option<&str>) {
    let version = client.get("/v1/config/email").await.body["version"].clone();
    let change = json!({"version": version, "changes": {"EMAIL_PROVIDERS": order}});
    let answer = client.send("PATCH", "/v1/config/email", Some(change)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

pub(crate) async fn a_korean_mail_with_a_file_arrives_byte_for_byte_through_each_provider(stage: &mut Stage) {
    let client = stage.client.clone();
    client.verify_sender("example.kr").await;
    let file: Vec<u8> = b"%PDF-1.7\n".iter().copied().chain((0..=255).cycle().take(300_000)).collect();
    let room = client.send("POST", "/v1/attachments", Some(json!({"bytes": file.len()}))).await;
    assert_eq!(room.status, 201, "{}", room.text);
    let (url, headers) = (room.body["url"].as_str().unwrap(), &room.body["headers"]);
    let put = client.put(url, headers["content-type"].as_str().unwrap(), file.clone()).await;
    assert_eq!(put.status, 200, "{}", put.text);
    let attachments = json!([
        {"name": "선정 안내문.pdf", "upload": room.body["id"]},
        {"name": "명단.csv", "content": STANDARD.encode("이름,금액\n홍길동,1000\n")},
    ]);
    let mut subjects = Vec::new();
    for (provider, attempts, broken) in [
        ("sendgrid", 1, &[][..]),
        ("smtp", 2, &[("sendgrid", 503)][..]),
        ("ses", 3, &[("sendgrid", 503), ("smtp", 451)][..]),
    ] {
        break_providers(&client, broken).await;
        let id = accepted(&client, mail(&format!("{provider}@example.kr"), &attachments)).await;
        let message = settled(&client, &id, &["sent", "failed", "in_doubt"]).await;
        assert_eq!((&message["status"], &message["provider"]), (&json!("sent"), &json!(provider)), "{message}");
        assert_eq!(message["attempts"], attempts, "each attempt is in the ledger");
        client.reset_sandbox().await;
        subjects.push(id);
    }

    let sent = &taken(&client, "sendgrid").await;
    let sent =
        &sent.iter().find(|mail| mail["mail"]["personalizations"][0]["custom_args"]["ieum_id"] == subjects[0]).unwrap()
            ["mail"];
    assert_eq!(sent["subject"], SUBJECT);
    assert!(sent["content"][1]["value"].as_str().unwrap().contains("자세한 일정은 첨부를 확인해 주세요. 😀"));
    let content = STANDARD.decode(sent["attachments"][0]["content"].as_str().unwrap()).unwrap();
    assert!(content == file, "the file differs at SendGrid");

    let mails = taken(&client, "smtp").await;
    let raw = mails.iter().filter_map(|mail| mail["raw"].as_str()).find(|raw| raw.contains(&subjects[1])).unwrap();
    let read = MessageParser::default().parse(raw.as_bytes()).unwrap();
    assert_eq!(read.subject(), Some(SUBJECT));
    assert!(read.body_html(0).unwrap().contains("자세한 일정은 첨부를 확인해 주세요. 😀"));
    assert!(read.body_text(0).unwrap().contains("선정"));
    let files: Vec<_> = read.attachments().map(|part| (part.attachment_name().unwrap(), part.contents())).collect();
    assert!(files[0] == ("선정 안내문.pdf", &file[..]), "the file differs at the mail server");
    assert_eq!(files[1], ("명단.csv", "이름,금액\n홍길동,1000\n".as_bytes()));

    let text = client.local_aws("/_ministack/ses/messages").await.to_string();
    // What is read back has no headers of ours: the recipient is of this mail alone.
    assert!(text.contains("ses@example.kr"), "the mail is not there");
    assert!(text.contains(SUBJECT), "the subject differs: {}", text.chars().take(2_000).collect::<String>());
}

pub(crate) async fn of_a_thousand_mails_993_leave_and_seven_are_named(stage: &mut Stage) {
    let client = stage.client.clone();
    client.verify_sender("example.kr").await;
    let bad = [3, 141, 159, 265, 358, 979, 999];
    let to = |number| {
        if bad.contains(&number) { format!("bad {number}@example.kr") } else { format!("batch{number}@example.kr") }
    };
    let messages: Vec<Value> =
        (0..1_000).map(|number| json!({"to": to(number), "variables": {"code": format!("{number:06}")}})).collect();
    let batch = json!({"template": "verification", "variables": {"expires_minutes": 10}, "messages": messages});
    let began = Instant::now();
    let answer = client.send("POST", "/v1/emails/batch", Some(batch)).await;
    assert_eq!(
        (answer.status, &answer.body["accepted"], &answer.body["rejected"]),
        (202, &json!(993), &json!(7)),
        "{}",
        answer.text
    );
    let results = answer.body["results"].as_array().unwrap();
    let named: Vec<usize> = (0..1_000).filter(|place| !results[*place]["error"].is_null()).collect();
    assert_eq!(named, bad);
    let path = format!("/v1/emails/{}", answer.body["id"].as_str().unwrap());
    let mut last = Value::Null;
    within(Duration::from_secs(180), "all have left", async || {
        last = client.get(&path).await.body["statuses"].clone();
        (last == json!({"sent": 993})).then_some(())
    })
    .await;
    println!("  993 mails in {:.1} s", began.elapsed().as_secs_f64());
    // What one could not take at once was the next one's.
    let mut codes = Vec::new();
    for mail in taken(&client, "sendgrid").await {
        let to = mail["mail"]["personalizations"][0]["to"][0]["email"].as_str().unwrap().to_owned();
        codes.push((to, mail["mail"]["subject"].as_str().unwrap().to_owned()));
    }
    for mail in taken(&client, "smtp").await {
        let read = MessageParser::default().parse(mail["raw"].as_str().unwrap()).unwrap();
        let to = read.to().and_then(|to| to.first()?.address()).unwrap().to_owned();
        codes.push((to, read.subject().unwrap().to_owned()));
    }
    for mail in client.local_aws("/_ministack/ses/messages").await["messages"].as_object().unwrap().values() {
        for mail in mail.as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            codes.push((text(&mail["To"][0]), text(&mail["Subject"])));
        }
    }
    let ours = codes.into_iter().filter(|(to, _)| to.starts_with("batch"));
    let mut codes: Vec<String> = ours.map(|(_, subject)| subject.rsplit(' ').next().unwrap().to_owned()).collect();
    codes.sort();
    let expected: Vec<String> =
        (0..1_000).filter(|number| !bad.contains(number)).map(|number| format!("{number:06}")).collect();
    assert!(codes == expected, "{} mails, not one for each", codes.len());
}

/// Every template in both languages, as a phone and a desk show it. Pictures of them lie in `target/tmp/mail-*.png`.
pub(crate) async fn mails_can_be_read_on_a_phone_and_a_desk_in_both_languages(stage: &mut Stage) {
    let client = stage.client.clone();
    let Some(mut browser) = Browser::start(&[]).await else {
        stage.skipped = Some("no Chromium in PATH or IEUM_CHROMIUM");
        return;
    };
    let link = "https://portal.example.kr/path?of=a&link=that-is-rather-long-and-has-no-place-to-break-in-it";
    let variables = [
        ("welcome", json!({"name": "홍길동", "action_url": link})),
        ("verification", json!({"code": "042917", "expires_minutes": 10})),
        ("password-reset", json!({"name": "홍길동", "action_url": link, "expires_minutes": 30})),
        ("account-suspended", json!({"name": "홍길동", "reason": "비밀번호 5회 오류", "action_url": link})),
        (
            "notification",
            json!({"title": "점검 안내", "message": "일요일 02:00~04:00\n이용할 수 없습니다.", "action_url": link}),
        ),
        (
            "review-notification",
            json!({"name": "<b>홍길동</b>", "item": "지원 사업", "result": "선정", "comment": "x".repeat(200)}),
        ),
    ];
    for (template, variables) in variables {
        for language in ["ko", "en"] {
            let order = json!({"language": language, "variables": variables});
            let path = format!("/v1/email-templates/{template}/preview");
            let shown = client.send("POST", &path, Some(order)).await;
            assert_eq!(shown.status, 200, "{template} {language}: {}", shown.text);
            let html = shown.body["html"].as_str().unwrap();
            let page = browser.open(&format!("data:text/html;base64,{}", STANDARD.encode(html))).await;
            for (device, size) in [("phone", (360, 740)), ("desk", (1024, 768))] {
                browser.show(&page, size).await;
                let state = "[document.documentElement.lang, document.documentElement.scrollWidth > innerWidth, \
                    document.scripts.length + document.images.length, document.querySelectorAll('td b').length]";
                assert_eq!(
                    browser.run(&page, state).await,
                    json!([language, false, 0, 0]),
                    "{template} on a {device}: its language, nothing too wide, nothing loaded, no HTML of a variable"
                );
                browser.picture(&page, &format!("mail-{template}-{language}-{device}")).await;
            }
            assert_eq!(browser.complaints(&page).await, Vec::<String>::new(), "{template} {language}");
        }
    }
    browser.close().await;
}

pub(crate) async fn a_bounce_suppresses_and_states_never_move_back(stage: &mut Stage) {
    let client = stage.client.clone();
    let id = accepted(&client, mail("bounces@example.kr", &json!([]))).await;
    settled(&client, &id, &["sent"]).await;
    let event = json!({
        "eventType": "Bounce",
        "mail": {"tags": {"ieum-id": [id]}},
        "bounce": {"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": "bounces@example.kr"}]},
    });
    let topic = "arn:aws:sns:ap-northeast-2:000000000000:ses-events";
    let order = json!({"kind": "Notification", "topic": topic, "id": id, "message": event.to_string()});
    let signed = client.ask_sandbox("ses-events/sandbox/sign", order.to_string()).await;
    let mut forged = signed.clone();
    forged["Message"] = json!(event.to_string().replace("bounces@", "victim@"));
    let headers = [("content-type", "text/plain; charset=UTF-8")];
    assert_eq!(client.raw("POST", "/v1/webhooks/ses", &headers, forged.to_string()).await.status, 401);
    let told = client.raw("POST", "/v1/webhooks/ses", &headers, signed.to_string()).await;
    assert_eq!(told.status, 200, "{}", told.text);
    settled(&client, &id, &["bounced"]).await;
    let refused = client.send("POST", "/v1/emails", Some(mail("Bounces@example.kr", &json!([])))).await;
    assert_eq!((refused.status, refused.code()), (422, "recipient_suppressed"));

    for (event, status) in [("delivered", "bounced"), ("spamreport", "complained"), ("delivered", "complained")] {
        let events = json!([{"event": event, "ieum_id": id, "email": "bounces@example.kr"}]);
        assert_eq!(sendgrid_reports(&client, &events).await, 200);
        settled(&client, &id, &[status]).await;
    }
    assert_eq!(client.send("DELETE", "/v1/suppressions/bounces%40example.kr", None).await.status, 200);
    let id = accepted(&client, mail("bounces@example.kr", &json!([]))).await;
    settled(&client, &id, &["sent"]).await;
}

pub(crate) async fn a_worker_killed_while_sending_leaves_a_doubt_that_an_event_settles(stage: &mut Stage) {
    let client = stage.client.clone();
    let of_it = async |id: &str| {
        let mails = taken(&client, "sendgrid").await;
        mails.iter().filter(|mail| mail["mail"]["personalizations"][0]["custom_args"]["ieum_id"] == id).count()
    };
    client.sandbox("sendgrid", json!({"mode": "slow", "delay_ms": 3_500})).await;
    let id = accepted(&client, mail("doubt@example.kr", &json!([]))).await;
    eventually("the mail is on its way", async || (of_it(&id).await == 1).then_some(())).await;
    assert!(stage.system.kill_environments("EmailWorkerFunction").unwrap() > 0);
    let message = client.get(&format!("/v1/emails/{id}")).await.body;
    assert_eq!(message["status"], "sending", "{message}");
    client.reset_sandbox().await;
    // The sweep finds it once its time is over.
    let message = within(Duration::from_secs(120), "the doubt is noticed", async || {
        let message = client.get(&format!("/v1/emails/{id}")).await.body;
        (message["status"] == "in_doubt").then_some(message)
    })
    .await;
    assert_eq!((of_it(&id).await, &message["attempts"]), (1, &json!(1)), "nobody has sent it again");
    assert_eq!(sendgrid_reports(&client, &json!([{"event": "delivered", "ieum_id": id}])).await, 200);
    settled(&client, &id, &["delivered"]).await;
    assert_eq!(of_it(&id).await, 1);
}

pub(crate) async fn mail_waits_while_nobody_takes_it_and_leaves_no_faster_than_it_may(stage: &mut Stage) {
    const MAILS: usize = 60;
    let client = stage.client.clone();
    order(&client, Some("smtp")).await;
    sleep(SETTINGS).await;
    break_providers(&client, &[("smtp", 451)]).await;
    let mut ids = Vec::new();
    for number in 0..MAILS {
        ids.push(accepted(&client, mail(&format!("waits{number}@example.kr"), &json!([]))).await);
    }
    // Long enough for every wake-up to have been in vain.
    sleep(Duration::from_secs(5)).await;
    for id in &ids {
        let message = client.get(&format!("/v1/emails/{id}")).await.body;
        assert!(["queued", "sending"].contains(&message["status"].as_str().unwrap()), "{message}");
    }
    client.reset_sandbox().await;
    for id in &ids {
        within(Duration::from_secs(240), "everything has left", async || {
            (client.get(&format!("/v1/emails/{id}")).await.body["status"] == "sent").then_some(())
        })
        .await;
    }
    let times = client.call_times("smtp").await;
    assert_eq!(times.len(), MAILS, "each of them once");
    // The burst, the rate, and as much again for what clocks differ by.
    for (place, time) in times.iter().enumerate() {
        let within_a_second = times[place..].iter().take_while(|other| **other < time + 1_000).count();
        assert!(within_a_second <= 3 * SMTP_RATE, "{within_a_second} mails in a second");
    }
    let took = (times[MAILS - 1] - times[0]) / 1_000;
    println!("  {MAILS} mails drained in {took} s");
    order(&client, None).await;
}

pub(crate) async fn bad_mail_costs_nothing(stage: &mut Stage) {
    let client = stage.client.clone();
    let hostile = json!({
        "to": {"address": "hong@example.kr\r\nBcc: victim@example.org", "name": "홍\r\nBcc: x"},
        "template": "custom", "subject": "a\r\nBcc: victim@example.org", "html": "x", "text": "x",
    });
    let refused = client.send("POST", "/v1/emails", Some(hostile)).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let fields: Vec<&str> =
        refused.body["error"]["details"].as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["subject", "to.address", "to.name"]);
    let too_large = client.send("POST", "/v1/attachments", Some(json!({"bytes": 11 * 1024 * 1024}))).await;
    assert_eq!(too_large.status, 400);
    let huge = json!([{"name": "a.bin", "content": STANDARD.encode(vec![0; 8_000_000])}]);
    assert_eq!(client.send("POST", "/v1/emails", Some(mail("hong@example.kr", &huge))).await.status, 413);
    let many: Vec<String> = (0..51).map(|number| format!("r{number}@example.kr")).collect();
    let mut crowd = mail("hong@example.kr", &json!([]));
    crowd["to"] = json!(many);
    let refused = client.send("POST", "/v1/emails", Some(crowd)).await;
    assert_eq!((refused.status, &refused.body["error"]["details"][0]["issue"]), (400, &json!("too_many_recipients")));
    sleep(Duration::from_secs(1)).await;
    assert_eq!((client.calls("sendgrid").await, client.calls("smtp").await), (0, 0));
}
