//! The transports on the wire: SES, SendGrid and a mail server in the sandbox, over real sockets.
#![expect(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use email::address::{Address, Mailbox};
use email::compose::{Composed, File};
use email::providers::Transport;
use email::providers::sendgrid::SendGrid;
use email::providers::ses::Ses;
use email::providers::smtp::{Security, Server, Smtp};
use email::template::Parts;
use ieum::http::HttpClient;
use ieum::provider::ProviderError;
use ieum::sigv4::Signer;
use ieum::testing::{ManualClock, secret_of};
use ieum_sandbox::{Mode, Sandbox};
use mail_parser::{MessageParser, MimeHeaders};
use serde_json::{Value, json};

fn mailbox(address: &str, name: Option<&str>) -> Mailbox {
    Mailbox { address: Address::parse(address).unwrap(), name: name.map(str::to_owned) }
}

fn mail() -> Composed {
    Composed {
        id: "0f8b0b1e-6d3c-4f5e-9a53-2f6c1b1d7c11".to_owned(),
        from: mailbox("noreply@example.kr", Some("이음")),
        to: vec![mailbox("hong@example.kr", Some("홍길동"))],
        cc: vec![mailbox("cc@example.kr", None)],
        bcc: vec![mailbox("bcc@example.kr", None)],
        reply_to: Some(mailbox("help@example.kr", None)),
        parts: Parts {
            subject: "기부금 영수증".to_owned(),
            html: "<p>안녕하세요</p>".to_owned(),
            // A line that is only a dot ends a mail for a client that forgets to double it.
            text: "안녕하세요\n.\n..끝".to_owned(),
        },
        files: vec![File {
            name: "영수증.pdf".to_owned(),
            content_type: "application/pdf".to_owned(),
            content: (0..=255_u8).cycle().take(3_000).collect::<Vec<_>>().into(),
        }],
        unsubscribe_url: Some("https://api.example.kr/v1/unsubscribe/a.b".to_owned()),
    }
}

/// The mails that `provider` has taken.
async fn taken(sandbox: &Sandbox, provider: &str) -> Vec<Value> {
    sandbox.stats(provider).await.state["mails"].as_array().unwrap().clone()
}

/// That what arrived says exactly what was sent.
fn assert_is_the_mail(raw: &str) {
    let (sent, read) = (mail(), MessageParser::default().parse(raw.as_bytes()).unwrap());
    assert_eq!(read.subject(), Some(sent.parts.subject.as_str()));
    let body = |text: Option<std::borrow::Cow<'_, str>>| text.unwrap().replace("\r\n", "\n").trim_end().to_owned();
    assert_eq!(body(read.body_text(0)), sent.parts.text);
    assert_eq!(body(read.body_html(0)), sent.parts.html);
    let file = read.attachments().next().unwrap();
    assert_eq!((file.attachment_name(), file.contents()), (Some("영수증.pdf"), &sent.files[0].content[..]));
    assert!(!raw.contains("bcc@example.kr"));
}

async fn ses(sandbox: &Sandbox) -> Ses {
    let base_url = sandbox.base_url("ses").parse().unwrap();
    let role =
        SharedCredentialsProvider::new(Credentials::new("AKIDEXAMPLE", "secret", Some("token".into()), None, "test"));
    let http = HttpClient::new(None).unwrap();
    Ses::new(base_url, "ap-northeast-2".into(), Some("events".into()), Signer::Role(role), http, ManualClock::start())
}

async fn sendgrid(sandbox: &Sandbox, key: &str) -> SendGrid {
    let secret = secret_of(&json!({"api_key": key}).to_string()).await;
    let base_url = sandbox.base_url("sendgrid").parse().unwrap();
    SendGrid::new(base_url, false, HttpClient::new(None).unwrap(), secret)
}

async fn smtp(sandbox: &Sandbox, security: Security, password: &str, trusted: bool) -> Smtp {
    let port = if security == Security::Tls { sandbox.smtps_port() } else { sandbox.smtp_port() };
    let server = Server { host: "localhost".to_owned(), port, security };
    let secret = secret_of(&json!({"user": "sandbox@example.kr", "password": password}).to_string()).await;
    let ca = trusted.then_some(ieum_sandbox::smtp::CA_PEM.as_bytes());
    let limit = Duration::from_secs(6);
    Smtp::new(server, "ap-northeast-2".into(), "example.kr", limit, ca, secret, ManualClock::start()).unwrap()
}

#[tokio::test]
async fn ses_takes_the_mime_the_envelope_and_our_id() {
    let sandbox = Sandbox::start().await.unwrap();
    let receipt = ses(&sandbox).await.send(&mail()).await.unwrap();
    let mails = taken(&sandbox, "ses").await;
    assert_eq!(mails[0]["message_id"], receipt.reference);
    assert_eq!(mails[0]["from"], "noreply@example.kr");
    let destination = json!({
        "ToAddresses": ["hong@example.kr"], "CcAddresses": ["cc@example.kr"], "BccAddresses": ["bcc@example.kr"],
    });
    assert_eq!(mails[0]["destination"], destination);
    assert_eq!(mails[0]["tags"], json!([{"Name": "ieum-id", "Value": mail().id}]));
    assert_eq!(mails[0]["configuration_set"], "events");
    assert_is_the_mail(mails[0]["raw"].as_str().unwrap());
}

#[tokio::test]
async fn what_ses_refuses_is_told_apart_by_the_name_of_its_error() {
    let sandbox = Sandbox::start().await.unwrap();
    let ses = ses(&sandbox).await;
    for (status, code, label) in [
        (429, "TooManyRequestsException", "throttled"),
        (400, "LimitExceededException", "throttled"),
        (400, "AccountSuspendedException", "unauthorized"),
        (400, "SendingPausedException", "unauthorized"),
        (400, "MailFromDomainNotVerifiedException", "unauthorized"),
        (404, "NotFoundException", "unauthorized"),
        (400, "MessageRejected", "rejected"),
        (400, "BadRequestException", "rejected"),
        (403, "UnrecognizedClientException", "unauthorized"),
        (500, "InternalServiceErrorException", "unavailable"),
        (503, "ServiceUnavailable", "unavailable"),
        // A gateway gave up, and the mail may be on its way.
        (504, "GatewayTimeout", "ambiguous"),
    ] {
        sandbox.set_mode("ses", Mode::status(status).code(code)).await;
        let error = ses.send(&mail()).await.unwrap_err();
        assert_eq!(error.label(), label, "{code}");
        assert!(!ieum::error::chain(&error).contains("SES-INTERNAL-DETAIL"));
    }
    sandbox.set_mode("ses", Mode::garbage()).await;
    assert_eq!(ses.send(&mail()).await.unwrap_err().label(), "malformed");
    for broken in [Mode::down(), Mode::reset()] {
        sandbox.set_mode("ses", broken).await;
        assert_eq!(ses.send(&mail()).await.unwrap_err().label(), "ambiguous", "the request had left");
    }
}

#[tokio::test]
async fn sendgrid_takes_the_parts_and_our_id() {
    let sandbox = Sandbox::start().await.unwrap();
    let receipt = sendgrid(&sandbox, "SG.sandbox-api-key").await.send(&mail()).await.unwrap();
    let mails = taken(&sandbox, "sendgrid").await;
    assert_eq!(mails[0]["message_id"], receipt.reference);
    let sent = &mails[0]["mail"];
    let expected = json!([{
        "to": [{"email": "hong@example.kr", "name": "홍길동"}],
        "cc": [{"email": "cc@example.kr"}],
        "bcc": [{"email": "bcc@example.kr"}],
        "custom_args": {"ieum_id": mail().id},
    }]);
    assert_eq!(sent["personalizations"], expected);
    assert_eq!(sent["from"], json!({"email": "noreply@example.kr", "name": "이음"}));
    assert_eq!(sent["reply_to"], json!({"email": "help@example.kr"}));
    assert_eq!(sent["subject"], "기부금 영수증");
    assert_eq!(sent["content"][0]["value"], mail().parts.text);
    assert_eq!(sent["content"][1]["value"], mail().parts.html);
    let file = &sent["attachments"][0];
    assert_eq!((&file["filename"], &file["type"]), (&json!("영수증.pdf"), &json!("application/pdf")));
    assert_eq!(STANDARD.decode(file["content"].as_str().unwrap()).unwrap(), mail().files[0].content);
    assert_eq!(sent["headers"]["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click");
    assert_eq!(sent["headers"]["X-Ieum-Id"], mail().id);
    assert_eq!(sent["tracking_settings"]["open_tracking"]["enable"], false);
}

#[tokio::test]
async fn what_sendgrid_refuses_is_told_apart_by_its_status() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sendgrid(&sandbox, "SG.sandbox-api-key").await;
    for (status, label) in [
        (400, "rejected"),
        (401, "unauthorized"),
        (413, "rejected"),
        (429, "throttled"),
        (500, "unavailable"),
        (504, "ambiguous"),
    ] {
        sandbox.set_mode("sendgrid", Mode::status(status)).await;
        assert_eq!(client.send(&mail()).await.unwrap_err().label(), label, "{status}");
    }
    sandbox.reset("sendgrid").await;
    assert_eq!(sendgrid(&sandbox, "SG.wrong").await.send(&mail()).await.unwrap_err().label(), "unauthorized");
    assert!(taken(&sandbox, "sendgrid").await.is_empty());
}

#[tokio::test]
async fn a_mail_server_takes_the_same_bytes_over_tls_and_over_starttls() {
    let sandbox = Sandbox::start().await.unwrap();
    for security in [Security::Tls, Security::StartTls, Security::None] {
        let client = smtp(&sandbox, security, "sandbox-app-password", true).await;
        let receipt = client.send(&mail()).await.unwrap();
        assert!(receipt.reference.starts_with("SANDBOX"), "{}", receipt.reference);
        // The second mail goes over the same connection.
        client.send(&mail()).await.unwrap();
    }
    let mails = taken(&sandbox, "smtp").await;
    let encrypted: Vec<_> = mails.iter().map(|mail| mail["encrypted"].as_bool().unwrap()).collect();
    assert_eq!(encrypted, [true, true, true, true, false, false]);
    for mail in &mails {
        assert_eq!(mail["from"], "noreply@example.kr");
        assert_eq!(mail["to"], json!(["hong@example.kr", "cc@example.kr", "bcc@example.kr"]));
        assert_is_the_mail(mail["raw"].as_str().unwrap());
    }
}

#[tokio::test]
async fn a_server_that_cannot_prove_itself_gets_neither_password_nor_mail() {
    let sandbox = Sandbox::start().await.unwrap();
    for security in [Security::Tls, Security::StartTls] {
        let stranger = smtp(&sandbox, security, "sandbox-app-password", false).await;
        assert_eq!(stranger.send(&mail()).await.unwrap_err().label(), "unreachable");
    }
    sandbox.control("smtp", json!({"mode": "no_starttls"})).await.unwrap();
    let downgraded = smtp(&sandbox, Security::StartTls, "sandbox-app-password", true).await;
    assert!(downgraded.send(&mail()).await.is_err());
    assert!(taken(&sandbox, "smtp").await.is_empty());
}

#[tokio::test]
async fn what_a_mail_server_says_decides_whether_to_come_again() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = smtp(&sandbox, Security::None, "sandbox-app-password", true).await;
    for (mode, label) in [
        (json!({"mode": "status", "status": 550}), "rejected"),
        (json!({"mode": "status", "status": 451}), "unavailable"),
        (json!({"mode": "status", "status": 421}), "unavailable"),
        (json!({"mode": "quota"}), "throttled"),
        (json!({"mode": "down"}), "unreachable"),
        (json!({"mode": "garbage"}), "unreachable"),
        // It has taken the mail and said nothing: nobody knows, and nobody sends again.
        (json!({"mode": "silent"}), "ambiguous"),
    ] {
        sandbox.control("smtp", mode.clone()).await.unwrap();
        let error = client.send(&mail()).await.unwrap_err();
        assert_eq!(error.label(), label, "{mode}: {}", ieum::error::chain(&error));
    }
    sandbox.reset("smtp").await;
    let wrong = smtp(&sandbox, Security::None, "wrong", true).await;
    assert!(matches!(wrong.send(&mail()).await, Err(ProviderError::Unauthorized)));
    client.send(&mail()).await.unwrap();
    assert_eq!(taken(&sandbox, "smtp").await.len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_has_not_taken_the_mail() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server { host: "127.0.0.1".to_owned(), port, security: Security::None };
    let secret = secret_of(r#"{"user": "a", "password": "b"}"#).await;
    let limit = Duration::from_secs(6);
    let client = Smtp::new(server, String::new(), "example.kr", limit, None, secret, ManualClock::start()).unwrap();
    assert_eq!(client.send(&mail()).await.unwrap_err().label(), "unreachable");
}
