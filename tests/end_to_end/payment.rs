//! `payment-webhook` as deployed: the sandbox's providers send their webhooks to the front door, the worker asks them, and
//! what became of payments is read from the event bus.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::Stage;
use super::client::{Client, within};

/// How long it may take until what a killed worker left behind is done: its time, and two sweeps.
const RECOVERED: Duration = Duration::from_secs(240);

/// How long it may take when a wake-up was lost: until the sweep after next.
const SWEPT: Duration = Duration::from_secs(150);

/// Webhooks that are sent while functions are killed; `IEUM_PAYMENT_WEBHOOKS` for more.
const WEBHOOKS: usize = 240;

/// Webhooks under way at once.
const AT_ONCE: usize = 20;

/// Providers and where their webhooks go.
const SENDERS: [&str; 4] = ["toss", "portone", "iamport", "stripe"];

/// A queue that hears everything that is published.
struct Ear {
    client: Client,
    url: String,
}

impl Ear {
    async fn open(client: &Client, bus: &str, name: &str) -> Self {
        let created = client.aws("sqs", "AmazonSQS.CreateQueue", json!({"QueueName": name})).await;
        let url = created["QueueUrl"].as_str().unwrap_or_else(|| panic!("{created}")).to_owned();
        let asked = json!({"QueueUrl": url, "AttributeNames": ["QueueArn"]});
        let arn = client.aws("sqs", "AmazonSQS.GetQueueAttributes", asked).await["Attributes"]["QueueArn"].clone();
        let pattern = json!({"source": ["ieum.payment"]}).to_string();
        let rule = json!({"Name": name, "EventBusName": bus, "EventPattern": pattern, "State": "ENABLED"});
        client.aws("events", "AWSEvents.PutRule", rule).await;
        let targets = json!({"Rule": name, "EventBusName": bus, "Targets": [{"Id": "ear", "Arn": arn}]});
        client.aws("events", "AWSEvents.PutTargets", targets).await;
        Self { client: client.clone(), url }
    }

    /// What was heard since last time: each a CloudEvent.
    async fn heard(&self) -> Vec<Value> {
        let mut heard = Vec::new();
        loop {
            let asked = json!({"QueueUrl": self.url, "MaxNumberOfMessages": 10});
            let answer = self.client.aws("sqs", "AmazonSQS.ReceiveMessage", asked).await;
            let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
            if messages.is_empty() {
                return heard;
            }
            for message in messages {
                let event: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
                heard.push(event["detail"].clone());
                let receipt = json!({"QueueUrl": self.url, "ReceiptHandle": message["ReceiptHandle"]});
                self.client.aws("sqs", "AmazonSQS.DeleteMessage", receipt).await;
            }
        }
    }
}

async fn send_to_us(client: &Client, time_scale: f64) {
    for provider in SENDERS {
        let url = format!("{}/v1/webhooks/{provider}", client.url());
        client.sandbox(provider, json!({"webhook_url": url, "time_scale": time_scale})).await;
    }
}

/// A payment of `provider` that was just paid.
fn paid(provider: &str, id: &str) -> Value {
    match provider {
        "toss" => json!({"paymentKey": id, "status": "DONE", "approvedAt": "2026-11-21T12:50:00+09:00"}),
        "portone" => json!({"id": id, "status": "PAID", "paidAt": "2026-11-21T03:50:00Z"}),
        "iamport" => json!({"imp_uid": id, "status": "paid", "paid_at": 1_795_233_000}),
        _ => {
            let charge = json!({"created": 1_795_233_000, "amount_refunded": 0});
            json!({"id": id, "status": "succeeded", "amount_received": 15_000, "latest_charge": charge})
        }
    }
}

async fn status(client: &Client, provider: &str, id: &str) -> String {
    let answer = client.get(&format!("/v1/payments/{provider}/{id}")).await;
    answer.body["status"].as_str().unwrap_or_default().to_owned()
}

pub(crate) async fn a_payment_of_each_provider_is_heard_of_asked_about_and_told(stage: &mut Stage) {
    let client = stage.client.clone();
    let ear = Ear::open(&client, stage.system.reference("Bus").unwrap(), "ear-each").await;
    send_to_us(&client, 0.001).await;
    let wrong = json!({"amount": 1, "currency": "KRW"});
    let put = client.send("PUT", "/v1/payments/toss/order-e2e-toss-2/expectation", Some(wrong)).await;
    assert_eq!(put.status, 200, "{}", put.text);
    for provider in SENDERS {
        client.sandbox(provider, json!({"payment": paid(provider, &format!("e2e-{provider}-1"))})).await;
    }
    client.sandbox("toss", json!({"payment": paid("toss", "e2e-toss-2")})).await;
    client.sandbox("kakaopay", json!({"payment": {"tid": "e2e-kakaopay-1", "status": "SUCCESS_PAYMENT"}})).await;
    let refreshed = client.send("POST", "/v1/payments/kakaopay/e2e-kakaopay-1/refresh", None).await;
    assert_eq!((refreshed.status, &refreshed.body["status"]), (200, &json!("paid")), "{}", refreshed.text);
    for provider in SENDERS {
        within(SWEPT, "the payment is paid", async || {
            (status(&client, provider, &format!("e2e-{provider}-1")).await == "paid").then_some(())
        })
        .await;
        let state = client.state(provider).await;
        assert_eq!(state["given_up"], 0, "{provider}: {state}");
    }
    within(SWEPT, "the other is not", async || {
        (status(&client, "toss", "e2e-toss-2").await == "discrepant").then_some(())
    })
    .await;
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    within(SWEPT, "all is told", async || {
        for event in ear.heard().await {
            let (subject, kind) = (event["subject"].as_str().unwrap().to_owned(), event["type"].as_str().unwrap());
            told.entry(subject).or_default().insert(kind.to_owned());
        }
        (told.len() == 6).then_some(())
    })
    .await;
    for (subject, kinds) in told {
        let expected: &[&str] = match subject.as_str() {
            "toss/e2e-toss-2" => &["payment.discrepant"],
            _ => &["payment.paid", "payment.receipt_due"],
        };
        assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{subject}");
    }
}

pub(crate) async fn an_operator_sends_dead_letters_back_to_their_queue(stage: &mut Stage) {
    let client = stage.client.clone();
    let [queue, dead] = ["PaymentQueue", "PaymentDeadLetters"].map(|id| stage.system.reference(id).unwrap().to_owned());
    // More than one receipt hands out.
    let letters: Vec<Value> = (0..12)
        .map(|number| {
            let wake_up = json!({"key": format!("webhook#toss#gone-{number}"), "traceparent": format!("00-{:032x}-00f067aa0ba902b7-01", 7)});
            json!({"Id": number.to_string(), "MessageBody": wake_up.to_string()})
        })
        .collect();
    for some in letters.chunks(10) {
        client.aws("sqs", "AmazonSQS.SendMessageBatch", json!({"QueueUrl": dead, "Entries": some})).await;
    }
    let forbidden = client.raw("POST", "/v1/queues/payment/redrive", &[], String::new()).await;
    assert_eq!(forbidden.status, 401, "{}", forbidden.text);
    let answer = client.send("POST", "/v1/queues/payment/redrive", None).await;
    assert_eq!((answer.status, &answer.body), (200, &json!({"redriven": 12})), "{}", answer.text);
    assert_eq!(client.held(&dead).await, 0);
    within(SWEPT, "the worker has had them all", async || (client.held(&queue).await == 0).then_some(())).await;
    assert_eq!(client.held(&dead).await, 0, "what names nothing is no failure");
}

pub(crate) async fn forged_and_broken_notifications_are_refused_at_the_front_door(stage: &mut Stage) {
    let client = &stage.client;
    let before = client.keys(stage.system.reference("Table").unwrap(), "webhook#").await.len();
    let large = format!("{{\"imp_uid\":\"{}\"}}", "x".repeat(1024 * 1024));
    let json = ("content-type", "application/json");
    for (provider, headers, body, expected) in [
        ("stripe", vec![json, ("stripe-signature", "t=1795233000,v1=00")], "{\"id\":\"evt_1\"}", 401),
        (
            "portone",
            vec![json, ("webhook-id", "m"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,AA==")],
            "{}",
            401,
        ),
        ("toss", vec![json, ("content-encoding", "gzip")], "\u{1f}not gzip", 400),
        ("toss", vec![("content-type", "application/x-www-form-urlencoded")], "paymentKey=1", 400),
        ("iamport", vec![json], large.as_str(), 413),
        ("iamport", vec![json], "{", 400),
    ] {
        let answer = client.raw("POST", &format!("/v1/webhooks/{provider}"), &headers, body.to_owned()).await;
        assert_eq!(answer.status, expected, "{provider}: {}", answer.text);
    }
    let after = client.keys(stage.system.reference("Table").unwrap(), "webhook#").await.len();
    assert_eq!(before, after, "nothing of that is written down");
}

/// Waits until `providers` have been told that each of their webhooks was taken.
async fn all_taken(client: &Client, providers: &[&str]) {
    within(RECOVERED, "every webhook is taken", async || {
        let mut taken = 0;
        for provider in providers {
            let state = client.state(provider).await;
            assert_eq!(state["given_up"], 0, "{provider}: {state}");
            taken += usize::from(state["taken"] == state["deliveries"]);
        }
        (taken == providers.len()).then_some(())
    })
    .await;
}

pub(crate) async fn webhooks_survive_functions_that_are_killed_and_each_effect_has_one_id(stage: &mut Stage) {
    let webhooks = std::env::var("IEUM_PAYMENT_WEBHOOKS").ok().and_then(|text| text.parse().ok()).unwrap_or(WEBHOOKS);
    let client = stage.client.clone();
    let ear = Ear::open(&client, stage.system.reference("Bus").unwrap(), "ear-killed").await;
    // A minute of the schedules passes in 0.6 s.
    send_to_us(&client, 0.01).await;
    let providers = ["toss", "portone", "stripe"];
    let mut kills = 0;
    for number in 0..webhooks {
        let provider = providers[number % providers.len()];
        client.sandbox(provider, json!({"payment": paid(provider, &format!("killed-{provider}-{number}"))})).await;
        if number % 40 == 39 {
            kills += stage.system.kill_environments("PaymentWorkerFunction").unwrap();
            kills += stage.system.kill_environments("PaymentWebhookFunction").unwrap();
        }
        // As many at once as two cores have room for: each needs an environment of its own.
        if number % AT_ONCE == AT_ONCE - 1 {
            all_taken(&client, &providers).await;
        }
    }
    assert!(kills > 0, "somebody was killed");
    all_taken(&client, &providers).await;
    let mut heard: BTreeMap<String, usize> = BTreeMap::new();
    let mut effects: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    within(RECOVERED, "every effect is told", async || {
        for event in ear.heard().await {
            let text = |member: &str| event[member].as_str().unwrap().to_owned();
            *heard.entry(text("id")).or_default() += 1;
            effects.entry((text("subject"), text("type"))).or_default().insert(text("id"));
        }
        (effects.keys().filter(|(subject, _)| subject.contains("/killed-")).count() == webhooks * 2).then_some(())
    })
    .await;
    assert!(effects.values().all(|ids| ids.len() == 1), "{effects:?}");
    let repeats: usize = heard.values().map(|count| count - 1).sum();
    assert!(repeats <= kills * 10, "{repeats} repeats, {kills} killed");
    println!("  {webhooks} webhooks, {kills} environments killed, {} events, {repeats} repeats", heard.len());
}
