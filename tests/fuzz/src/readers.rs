//! What reads bytes and nothing else: signatures, notices, addresses, headers, configuration, what was kept.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ieum::backup::files::Source;
use ieum::backup::{self, latest};
use ieum::blobs::{Blobs, MemoryBlobs};
use ieum::clock::Timestamp;
use ieum::config::Env;
use ieum::error::Language;
use ieum::http::Incoming;
use ieum::runtime::Event;
use ieum::secrets::SecretString;
use ieum::store::MemoryStore;
use ieum::telemetry::redact;
use ieum::telemetry::trace::TraceId;
use ieum::testing::ManualClock;
use ieum::webhook::sns::{self, Topics};
use ieum::webhook::{
    KeyEncoding, LiveSecrets, Received, Scheme, SendGrid, StandardWebhooks, Stripe, Toss, Twilio, Verifier,
};
use payment_webhook::config::ProviderName;
use s3_thumbnail::variant::Variant;
use serde_json::{Value, json};
use sms::events::SolapiCodes;

use crate::doors::{block_on, events};
use crate::{Outcome, Seed, Target};

fn target(
    name: &'static str,
    about: &'static str,
    seeds: Vec<Seed>,
    read: impl Fn(usize, &[u8]) -> Outcome + 'static,
) -> Target {
    assert!(!seeds.is_empty(), "{name} has no seeds");
    Target { name, about, seeds, read: Box::new(read) }
}

fn texts(texts: &[&str]) -> Vec<Seed> {
    texts.iter().map(|text| Seed { case: 0, bytes: text.as_bytes().to_vec() }).collect()
}

/// The bodies of the events of a function whose names begin with `prefix`.
fn bodies(function: &str, prefix: &str) -> Vec<Seed> {
    let body = |event: Value| {
        let body = event["body"].as_str()?.to_owned();
        let packed = event["isBase64Encoded"] == true;
        Some(if packed { STANDARD.decode(body).ok()? } else { body.into_bytes() })
    };
    let bodies = events(function, prefix).into_iter().filter_map(body);
    bodies.map(|bytes| Seed { case: 0, bytes }).collect()
}

pub(crate) fn targets() -> Vec<Target> {
    vec![
        signatures(),
        sns_messages(),
        notices(),
        reports(),
        shapes(),
        mail_addresses(),
        phone_numbers(),
        keywords(),
        unsubscribe_links(),
        headers(),
        configuration(),
        backups(),
        logs(),
    ]
}

const VECTORS: [&str; 6] = [
    include_str!("../../../shared/tests/kernel/vectors/stripe.json"),
    include_str!("../../../shared/tests/kernel/vectors/portone_v2.json"),
    include_str!("../../../shared/tests/kernel/vectors/standard_webhooks.json"),
    include_str!("../../../shared/tests/kernel/vectors/toss.json"),
    include_str!("../../../shared/tests/kernel/vectors/sendgrid_event.json"),
    include_str!("../../../shared/tests/kernel/vectors/twilio.json"),
];

/// A signed request of the vectors.
struct Signed {
    file: usize,
    secrets: Value,
    now: Timestamp,
    url: String,
}

fn signatures() -> Target {
    let (mut cases, mut seeds, mut genuine) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (file, vectors) in VECTORS.iter().enumerate() {
        let vectors: Value = serde_json::from_str(vectors).expect("vectors");
        for case in vectors["cases"].as_array().expect("cases") {
            let Some(secrets) = case["secrets"].as_array() else { continue };
            let body = STANDARD.decode(case["body_b64"].as_str().expect("a body")).expect("base64");
            let label =
                |(number, secret): (usize, &Value)| json!({"label": format!("secret-{number}"), "secret": secret});
            let mut bytes = Vec::new();
            for (name, value) in case["headers"].as_object().into_iter().flatten() {
                bytes.extend_from_slice(format!("{name}: {}\n", value.as_str().unwrap_or_default()).as_bytes());
            }
            bytes.push(b'\n');
            bytes.extend_from_slice(&body);
            genuine.insert((file, body));
            seeds.push(Seed { case: cases.len(), bytes });
            cases.push(Signed {
                file,
                secrets: secrets.iter().enumerate().map(label).collect(),
                now: Timestamp::from_millis(case["now_unix"].as_i64().unwrap_or(0) * 1_000),
                url: case["url"].as_str().unwrap_or("https://api.example.kr/v1/webhooks/x").to_owned(),
            });
        }
    }
    target("signatures", "signed webhooks of Stripe, PortOne, Toss, SendGrid and Twilio", seeds, move |case, bytes| {
        let signed = &cases[case];
        let (headers, body) = message(bytes);
        let received = Received { headers: &headers, body, url: &signed.url };
        let believed = match signed.file {
            0 => believed(Stripe, signed, &received),
            1 | 2 => believed(StandardWebhooks, signed, &received),
            3 => believed(Toss { key: KeyEncoding::Either }, signed, &received),
            4 => believed(SendGrid, signed, &received),
            _ => believed(Twilio, signed, &received),
        };
        // Twilio signs the parameters of a form, in their order by name: another body may say the same.
        let same = signed.file == 5 || genuine.contains(&(signed.file, body.to_vec()));
        assert!(!believed || same, "a forgery was believed");
        if believed { "believed" } else { "refused" }
    })
}

fn believed<S: Scheme>(scheme: S, signed: &Signed, received: &Received<'_>) -> bool {
    let Ok(secrets) = serde_json::from_value::<LiveSecrets<S::Key>>(signed.secrets.clone()) else { return false };
    let verifier = Verifier::new(scheme, &secrets);
    verifier.verify(received, signed.now).is_ok()
}

/// Lines of headers, an empty one, a body.
fn message(bytes: &[u8]) -> (HeaderMap, &[u8]) {
    let mut headers = HeaderMap::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = line[colon + 1..].trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    (headers, rest)
}

fn sns_messages() -> Target {
    let vectors = include_str!("../../../shared/tests/kernel/vectors/sns_message.json");
    let vectors: Value = serde_json::from_str(vectors).expect("vectors");
    let cases = vectors["cases"].as_array().expect("cases");
    let body = |case: &Value| STANDARD.decode(case["body_b64"].as_str().expect("a body")).expect("base64");
    let seeds = cases.iter().map(|case| Seed { case: 0, bytes: body(case) }).collect();
    let arns = cases.iter().flat_map(|case| case["allowed_topics"].as_array().into_iter().flatten());
    let mut arns: Vec<String> = arns.filter_map(Value::as_str).map(str::to_owned).collect();
    let topics = Topics::new(arns.remove(0), arns);
    target("sns", "messages of Amazon SNS, before their certificate is fetched", seeds, move |_, bytes| {
        let Ok(unproven) = sns::read(bytes, &topics, sns::LIMITS) else { return "refused" };
        let url = unproven.certificate_url().as_str();
        let host = url::Url::parse(url).expect("it was read as one").host_str().expect("a host").to_owned();
        let amazons = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
        assert!(url.starts_with("https://sns.") && amazons, "a certificate would be fetched from {url}");
        "to be proven"
    })
}

const PAYMENTS: [ProviderName; 5] =
    [ProviderName::Toss, ProviderName::PortOne, ProviderName::Iamport, ProviderName::Stripe, ProviderName::Mock];

fn notices() -> Target {
    let bodies = bodies("payment-webhook", "");
    let seeds =
        (0..PAYMENTS.len()).flat_map(|case| bodies.iter().map(move |seed| Seed { case, ..seed.clone() })).collect();
    target("notices", "what payment providers post, once it is let in", seeds, |case, bytes| {
        match payment_webhook::providers::read(PAYMENTS[case], bytes) {
            Ok(_) => "read",
            Err(_) => "unreadable",
        }
    })
}

fn reports() -> Target {
    let mut seeds = Vec::new();
    let named = [("email", "sendgrid"), ("email", "ses"), ("sms", "report-solapi"), ("sms", "report-twilio")];
    for (case, (function, prefix)) in named.into_iter().enumerate() {
        for Seed { bytes, .. } in bodies(function, prefix) {
            // SES' report is in the message of a message.
            let inner = serde_json::from_slice::<Value>(&bytes).ok();
            let inner = inner.and_then(|value| Some(value["Message"].as_str()?.as_bytes().to_vec()));
            seeds.push(Seed { case, bytes: inner.unwrap_or(bytes) });
        }
    }
    for event in events("sms", "sns") {
        let data = event["awslogs"]["data"].as_str().expect("lines").to_owned();
        seeds.push(Seed { case: 4, bytes: data.into_bytes() });
    }
    let codes = SolapiCodes { delivered: vec!["4000".to_owned()], dead: vec!["3059".to_owned()] };
    target("reports", "what providers of mail and texts report", seeds, move |case, bytes| {
        let text = String::from_utf8_lossy(bytes);
        let read = match case {
            0 => email::events::sendgrid(bytes).is_ok(),
            1 => email::events::ses(&text).is_ok(),
            2 => sms::events::solapi(bytes, &codes).is_ok(),
            3 => {
                sms::events::twilio("m1", bytes, false, "AC").is_some()
                    | sms::events::twilio("m1", bytes, true, "AC").is_some()
            }
            _ => sms::events::sns(&text).is_ok(),
        };
        if read { "read" } else { "unreadable" }
    })
}

const FUNCTIONS: [&str; 8] =
    ["address", "console", "email", "health-cron", "payment-webhook", "s3-thumbnail", "sms", "verify"];

fn shapes() -> Target {
    let all = FUNCTIONS.iter().flat_map(|function| events(function, ""));
    let seeds = all.map(|event| Seed { case: 0, bytes: event.to_string().into_bytes() }).collect();
    target("shapes", "which kind of event it is that Lambda calls with", seeds, |_, bytes| {
        let Ok(text) = str::from_utf8(bytes) else { return "no text" };
        match Event::read(text) {
            Ok(Event::Http(_)) => "http",
            Ok(Event::Queue(_)) => "queue",
            Ok(Event::Scheduled(_)) => "schedule",
            Ok(Event::Logs(_)) => "logs",
            Ok(Event::Objects(_)) => "objects",
            Err(_) => "unknown",
        }
    })
}

fn mail_addresses() -> Target {
    let seeds = texts(&[
        "hong@example.kr",
        "hong.gildong+ieum@mail.example.co.kr",
        "\"hong gildong\"@example.kr",
        "이음@한글.한국",
        "a@xn--bj0bj06e.kr",
        "bücher@bücher.example",
        "postmaster@[192.0.2.1]",
        "very.long@sub.sub.sub.sub.example.museum",
    ]);
    target("mail-addresses", "addresses of mail", seeds, |_, bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Ok(address) = email::address::Address::parse(&text) else { return "refused" };
        let written = address.as_str();
        assert!(!written.contains(|c: char| c.is_control() || c.is_whitespace()), "{written:?} would break a header");
        assert!(address.domain().is_ascii() && written.len() <= 254, "{written:?}");
        assert_eq!(email::address::Address::parse(written).as_ref(), Ok(&address), "what was read is read again");
        "read"
    })
}

fn phone_numbers() -> Target {
    let seeds = texts(&[
        "010-1234-5678",
        "+82 10 1234 5678",
        "02-312-3456",
        "+1 (650) 253-0000",
        "０１０１２３４５６７８",
        "15881234",
        "+81 90-1234-5678",
    ]);
    target("phone-numbers", "numbers of telephones", seeds, |_, bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Ok(number) = sms::phone::PhoneNumber::parse(&text) else { return "refused" };
        let digits = number.as_str().strip_prefix('+').expect("E.164");
        assert!((7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()), "{digits}");
        assert_eq!(
            sms::phone::PhoneNumber::parse(number.as_str()).as_ref(),
            Ok(&number),
            "what was read is read again"
        );
        "read"
    })
}

fn keywords() -> Target {
    let seeds = texts(&[
        "세종대로 110",
        "서울특별시 중구 태평로1가 31",
        "시청 12층 1203호",
        "110 Sejong-daero",
        "ㅅㅈㄷㄹ",
        "SELECT * FROM 도로",
        "%세종=대로>",
    ]);
    target("keywords", "what people type to find an address", seeds, |_, bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Ok((keyword, _)) = address::keyword::Keyword::parse(&text) else { return "refused" };
        // Juso takes these for an attack: https://business.juso.go.kr/addrlink/openApi/apiExprn.do
        assert!(!keyword.as_str().contains(['%', '=', '>', '<']), "{:?}", keyword.as_str());
        let (again, _) = address::keyword::Keyword::parse(keyword.as_str()).expect("what was read is read again");
        assert_eq!(again.as_str(), keyword.as_str());
        "read"
    })
}

fn unsubscribe_links() -> Target {
    let key = SecretString::from("a key of thirty-two characters ..");
    let base = url::Url::parse("https://api.example.kr/").expect("a URL");
    let link = |address: &str| {
        let address = email::address::Address::parse(address).expect("an address");
        let link = email::unsubscribe::link(&base, &key, &address);
        link.rsplit('/').next().expect("a token").to_owned()
    };
    let links = ["hong@example.kr", "gil.dong@mail.example.kr"].map(link);
    let seeds = texts(&links.each_ref().map(String::as_str));
    target("unsubscribe-links", "links that take an address off a list", seeds, move |_, bytes| {
        let text = String::from_utf8_lossy(bytes);
        let read = email::unsubscribe::read(&text, &key);
        assert!(read.is_none() || links.iter().any(|link| *link == text), "a link that we did not make: {text}");
        if read.is_some() { "believed" } else { "refused" }
    })
}

fn headers() -> Target {
    let seeds = texts(&[
        "retry-after: 30\n",
        "retry-after: Sat, 21 Nov 2026 18:00:00 GMT\ndate: Sat, 21 Nov 2026 17:59:00 GMT\n",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
        "accept-language: ko-KR,ko;q=0.9,en;q=0.8\n",
        "x-amzn-trace-id: Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1\n",
        "authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.x\n",
    ]);
    target("headers", "headers of requests and answers", seeds, |_, bytes| {
        let (headers, _) = message(bytes);
        let trace = TraceId::from_headers(&headers);
        assert!(trace.as_str().len() == 32 && trace.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
        let language = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        language.map(Language::from_accept_language);
        let shown = redact::headers(&headers);
        assert!(!shown.contains("eyJhbGciOiJIUzI1NiJ9"), "{shown}");
        let answer = Incoming { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Bytes::new() };
        if answer.retry_after().is_some() { "to wait" } else { "read" }
    })
}

/// Every line is a variable. What is configured is read as all functions would read it.
fn configuration() -> Target {
    let mock = include_str!("../../../infra/env/mock.env");
    let sandbox = include_str!("../../../infra/env/sandbox.env");
    let more = "SMS_MAX_PRICE=100\nTHUMBNAIL_VARIANTS=card=300x200,cover,webp,q80;profile=160x160\nBACKUP_FILES=bucket/a/,other/\n\
                TABLE_NAME=t\nBUCKET_NAME=b\nALERT_TOPIC_ARN=arn\nARCHIVE_BUCKET=a\nVERIFY_TIMEOUT_MS=5000\nJUSO_DAILY_QUOTA=100\n";
    let seeds = [format!("{mock}{more}"), format!("{sandbox}{more}"), more.to_owned()];
    let seeds = texts(&seeds.each_ref().map(String::as_str));
    target("configuration", "variables of all functions", seeds, |_, bytes| {
        let text = String::from_utf8_lossy(bytes);
        let mut env = Env::from([("STAGE", "local")]);
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            env = env.with(name, value);
        }
        env.get("THUMBNAIL_VARIANTS").map(Variant::parse_list);
        env.get("BACKUP_FILES").map(Source::parse);
        let errors = [
            env.read(verify::Config::read).err(),
            env.read(address::Config::read).err(),
            env.read(email::Config::read).err(),
            env.read(sms::Config::read).err(),
            env.read(payment_webhook::Config::read).err(),
            env.read(console::Config::read).err(),
            env.read(health_cron::Config::read).err(),
            env.read(s3_thumbnail::Config::read).err(),
        ];
        let refused = errors.iter().flatten().inspect(|error| assert!(!error.to_string().is_empty())).count();
        if refused == errors.len() { "refused by all" } else { "taken by some" }
    })
}

/// A backup that somebody has had his hands on.
fn backups() -> Target {
    let (table, archive) = (MemoryStore::new(), MemoryBlobs::new());
    let item = |number: i64| ieum::store::Item([("n".to_owned(), ieum::store::Value::Number(number))].into());
    (0..50).for_each(|number| table.replace(format!("message#{number}"), item(number)));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(600);
    let made =
        block_on(backup::make(&table, &archive, "table/daily", &*ManualClock::start(), deadline)).expect("a backup");
    let blob = |key: &str| block_on(archive.get(key, 1 << 20)).expect("memory").expect("a blob").bytes.to_vec();
    let mut seeds = vec![Seed { case: 0, bytes: blob(&latest("table/daily")) }];
    seeds.extend(made.parts.iter().map(|part| Seed { case: 1, bytes: blob(&part.key) }));
    let good: BTreeSet<Vec<u8>> = seeds.iter().map(|seed| seed.bytes.clone()).collect();
    let part = made.parts[0].key.clone();
    let whole = blob(&part);
    target("backups", "manifests and parts of backups", seeds, move |case, bytes| {
        let bytes = bytes.to_vec();
        let restored = MemoryStore::new();
        let read = block_on(async {
            if case == 0 {
                archive.put("manifest", "application/json", bytes.clone().into()).await?;
                let manifest = backup::manifest(&archive, "manifest").await?;
                return backup::restore(&archive, &manifest, "", Some(&restored)).await;
            }
            archive.put(&part, "application/gzip", bytes.clone().into()).await?;
            let read = backup::restore(&archive, &made, "", Some(&restored)).await;
            archive.put(&part, "application/gzip", whole.clone().into()).await?;
            read
        });
        assert!(case == 0 || read.is_err() || good.contains(&bytes), "a part that was not written by us was put back");
        if read.is_ok() { "put back" } else { "refused" }
    })
}

/// Whatever is logged: what is secret in it does not come out.
fn logs() -> Target {
    const SECRET: &str = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";
    let seeds = texts(&[
        "{\"secret_key\":\"sk_live_4eC39HqLyjWDarjtT1zdp7dc\",\"name\":\"hong\"}",
        "Authorization: Bearer sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "card 4242 4242 4242 4242, phone 010-1234-5678, 900101-1234567",
        "https://api.example.kr/x?serviceKey=sk_live_4eC39HqLyjWDarjtT1zdp7dc&b_no=1",
    ]);
    target("logs", "what is written into logs", seeds, |_, bytes| {
        let shown = redact::body(bytes);
        let text = String::from_utf8_lossy(bytes);
        let _ = redact::text(&text);
        // Damage may part a secret from its name and its form; whole and by itself it is known by its form.
        assert!(!shown.contains(SECRET), "{shown}");
        if shown == text { "as it is" } else { "redacted" }
    })
}
