//! Mail: what SES, SendGrid and the mail server take and refuse, and what SNS signs.

use ieum_sandbox::{Mode, Sandbox};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::client::{get, post, send};

fn sendgrid_mail(to: &Value) -> Value {
    json!({
        "personalizations": [{"to": to}],
        "from": {"email": "noreply@example.kr"},
        "subject": "제목",
        "content": [{"type": "text/plain", "value": "본문"}, {"type": "text/html", "value": "<p>본문</p>"}],
    })
}

async fn to_sendgrid(sandbox: &Sandbox, key: &str, mail: &Value) -> u16 {
    let headers = format!("content-type: application/json\r\nauthorization: Bearer {key}\r\n");
    send(&sandbox.base_url("sendgrid"), "POST", "/v3/mail/send", &headers, &mail.to_string()).await.unwrap().status
}

#[tokio::test]
async fn sendgrid_takes_a_mail_and_keeps_it() {
    let sandbox = Sandbox::start().await.unwrap();
    let mail = sendgrid_mail(&json!([{"email": "a@example.kr"}]));
    assert_eq!(to_sendgrid(&sandbox, "SG.sandbox-api-key", &mail).await, 202);
    assert_eq!(sandbox.stats("sendgrid").await.state["mails"][0]["mail"], mail);
    assert_eq!(to_sendgrid(&sandbox, "SG.other", &mail).await, 401);
    for to in [json!([]), json!([{"email": "nobody"}]), json!([{"email": "a@b.kr"}, {"email": "A@B.kr"}])] {
        assert_eq!(to_sendgrid(&sandbox, "SG.sandbox-api-key", &sendgrid_mail(&to)).await, 400, "{to}");
    }
    let mut upside_down = mail.clone();
    upside_down["content"].as_array_mut().unwrap().reverse();
    assert_eq!(to_sendgrid(&sandbox, "SG.sandbox-api-key", &upside_down).await, 400);
    assert_eq!(sandbox.stats("sendgrid").await.state["taken"], 1);
}

#[tokio::test]
async fn ses_wants_a_signature_and_names_its_errors_in_a_header() {
    let sandbox = Sandbox::start().await.unwrap();
    let base = sandbox.base_url("ses");
    let mail =
        json!({"Destination": {"ToAddresses": ["a@example.kr"]}, "Content": {"Raw": {"Data": "YQ=="}}}).to_string();
    let path = "/v2/email/outbound-emails";
    assert_eq!(post(&base, path, &mail).await.status, 403);
    let headers = "authorization: AWS4-HMAC-SHA256 Credential=a/20261121/ap-northeast-2/ses/aws4_request, Signature=0\r\nx-amz-date: 20261121T000000Z\r\n";
    let taken = send(&base, "POST", path, headers, &mail).await.unwrap();
    assert_eq!((taken.status, taken.json()["MessageId"].as_str().unwrap().is_empty()), (200, false));
    sandbox.set_mode("ses", Mode::status(400).code("LimitExceededException")).await;
    let refused = send(&base, "POST", path, headers, &mail).await.unwrap();
    assert!(refused.header("x-amzn-errortype").unwrap().starts_with("LimitExceededException:"));
}

#[tokio::test]
async fn the_mail_server_speaks_smtp_and_takes_nothing_without_a_login() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = BufReader::new(TcpStream::connect(("127.0.0.1", sandbox.smtp_port())).await.unwrap());
    let mut line = String::new();
    let mut replies = Vec::new();
    wire.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("220 "), "{line}");
    for command in [
        "MAIL FROM:<a@example.kr>",
        "AUTH PLAIN AHNhbmRib3hAZXhhbXBsZS5rcgB3cm9uZw==",
        "AUTH PLAIN AHNhbmRib3hAZXhhbXBsZS5rcgBzYW5kYm94LWFwcC1wYXNzd29yZA==",
        "RCPT TO:<b@example.kr>",
        "MAIL FROM:<a@example.kr>",
        "DATA",
        "RCPT TO:<b@example.kr>",
        "DATA",
        "Subject: a\r\n\r\n..dot\r\n.",
        "NOOP",
        "HELP",
        "QUIT",
    ] {
        wire.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        line.clear();
        wire.read_line(&mut line).await.unwrap();
        replies.push(line[..3].to_owned());
    }
    assert_eq!(replies, ["530", "535", "235", "503", "250", "503", "250", "354", "250", "250", "500", "221"]);
    let mails = sandbox.stats("smtp").await.state["mails"].clone();
    assert_eq!(
        mails[0],
        json!({
            "from": "a@example.kr", "to": ["b@example.kr"], "encrypted": false, "raw": "Subject: a\r\n\r\n.dot\r\n",
        })
    );
    assert_eq!(sandbox.calls("smtp").await, 1);
}

#[tokio::test]
async fn sns_serves_its_certificate_and_confirms_what_brings_its_token() {
    let sandbox = Sandbox::start().await.unwrap();
    let base = sandbox.base_url("ses-events");
    let order = json!({"kind": "SubscriptionConfirmation", "topic": "arn:t", "id": "1", "message": "hello"});
    let message = post(&base, "/sandbox/sign", &order.to_string()).await.json();
    let path = |url: &str| url.strip_prefix("https://sns.ap-northeast-2.amazonaws.com").unwrap().to_owned();
    let certificate = get(&base, &path(message["SigningCertURL"].as_str().unwrap())).await;
    assert!(certificate.text().starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(get(&base, "/?Action=ConfirmSubscription&TopicArn=arn:t&Token=guessed").await.status, 400);
    assert_eq!(get(&base, &path(message["SubscribeURL"].as_str().unwrap())).await.status, 200);
    assert_eq!(sandbox.stats("ses-events").await.state["confirmed"], json!(["arn:t"]));
    assert!(message["Signature"].as_str().is_some_and(|signature| signature.len() > 300));
}
