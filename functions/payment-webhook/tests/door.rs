//! `payment-webhook` through its own door: events of API Gateway, of a queue and of schedules in, answers and CloudEvents
//! out, the providers on loopback.
//!
//! Each test begins with a file in `events/`, the same that `cargo lambda invoke --data-file` takes.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use ieum::clock::{Clock, Timestamp};
use ieum::testing::door::unsent;
use ieum_sandbox::Mode;
use serde_json::{Value, json};
use support::{Door, Killed, counted, event, secrets};

const PAID: [&str; 2] = ["payment.paid", "payment.receipt_due"];

#[tokio::test]
async fn a_webhook_of_each_provider_leads_to_what_its_provider_says() {
    let door = Door::open().await;
    let approved = "2026-11-21T12:50:00+09:00";
    door.payment(
        "toss",
        json!({"paymentKey": "pay_toss_1", "orderId": "order-toss-1", "status": "DONE", "approvedAt": approved}),
    )
    .await;
    door.payment("portone", json!({"id": "pay-portone-1", "status": "PAID", "paidAt": "2026-11-21T03:50:00Z"})).await;
    door.payment(
        "iamport",
        json!({"imp_uid": "imp_1", "merchant_uid": "order-imp-1", "status": "paid", "paid_at": 1_795_233_000}),
    )
    .await;
    let charge = json!({"created": 1_795_233_000, "amount_refunded": 0, "payment_method_details": {"type": "card"}});
    let intent =
        json!({"id": "pi_stripe_1", "status": "succeeded", "amount_received": 15_000, "latest_charge": charge});
    door.payment("stripe", intent).await;
    for (event, provider, id) in [
        ("toss-status", "toss", "pay_toss_1"),
        ("portone-paid", "portone", "pay-portone-1"),
        ("iamport-paid", "iamport", "imp_1"),
        ("stripe-succeeded", "stripe", "pi_stripe_1"),
        ("mock", "mock", "paid-1"),
    ] {
        let answer = door.send(event).await;
        assert_eq!((answer.status, &answer.body["result"]), (200, &json!("new")), "{event}: {answer:?}");
        assert_eq!(door.known(provider, id).await.status, 404, "{event}: it is only written down yet");
        door.work().await;
        let known = door.known(provider, id).await;
        assert_eq!(known.status, 200, "{event}: {:?}", door.webhooks());
        assert_eq!(
            (&known.body["status"], &known.body["amount"], &known.body["currency"], &known.body["paid_at"]),
            (&json!("paid"), &json!(15_000), &json!("KRW"), &json!("2026-11-21T03:50:00Z")),
            "{event}"
        );
        assert_eq!(known.body["method"], "card", "{event}");
        assert_eq!(door.told(&format!("{provider}/{id}")), PAID, "{event}");
        door.send(event).await;
        door.work().await;
        assert_eq!(door.told(&format!("{provider}/{id}")), PAID, "{event}: the same again tells nothing new");
    }
    assert_eq!(door.webhooks().iter().filter(|webhook| webhook.proof.is_some()).count(), 2);
    assert_eq!(door.send("iamport-form").await.status, 200, "a form, as the shop may choose");
    assert_eq!(door.send("payment").await.body["order_id"], "order-paid-1");
    let refused = door.send("payment-unknown-provider").await;
    assert_eq!((refused.status, &refused.body["error"]["details"][0]["issue"]), (400, &json!("unknown_provider")));
}

#[tokio::test]
async fn tosss_three_envelopes_are_told_apart() {
    let door = Door::open().await;
    let deposit = json!({
        "paymentKey": "pay_deposit_1", "orderId": "order-deposit-1", "method": "가상계좌", "secret": "ps_other",
        "status": "WAITING_FOR_DEPOSIT",
    });
    door.payment("toss", deposit).await;
    door.send("toss-deposit").await;
    door.work().await;
    assert_eq!(door.outcome(), ("ignored".to_owned(), "wrong_word".to_owned()));
    assert_eq!(door.known("toss", "pay_deposit_1").await.status, 404, "it does not know the word of the payment");

    door.payment("toss", json!({"paymentKey": "pay_deposit_1", "secret": "ps_deposit_1"})).await;
    door.send("toss-deposit").await;
    door.work().await;
    assert_eq!(door.told("toss/pay_deposit_1"), ["payment.waiting"]);
    door.payment(
        "toss",
        json!({"paymentKey": "pay_deposit_1", "status": "DONE", "approvedAt": "2026-11-21T12:55:00+09:00"}),
    )
    .await;
    door.send("toss-deposit").await;
    door.work().await;
    assert_eq!(door.told("toss/pay_deposit_1")[1..], PAID);
    assert_eq!(door.known("toss", "pay_deposit_1").await.body["method"], "virtual_account");

    assert_eq!(door.send("toss-payout-unsigned").await.status, 401);
    for _ in 0..2 {
        assert_eq!(door.send("toss-payout").await.status, 200);
        door.work().await;
    }
    assert_eq!(door.told("toss/evt_payout_1"), ["payout.changed"]);
    assert_eq!(door.published().last().unwrap().data()["status"], "COMPLETED");
}

#[tokio::test]
async fn what_nobody_has_signed_is_no_reason_to_believe_and_what_is_unknown_is_kept() {
    for (event, outcome) in [
        ("toss-unknown-type", "unknown_type"),
        ("portone-unknown-type", "unknown_type"),
        ("stripe-thin", "thin_event"),
        ("portone-probe", "test_probe"),
    ] {
        let door = Door::open().await;
        door.payment("portone", json!({"id": "pay-portone-1", "status": "PAID"})).await;
        assert_eq!(door.send(event).await.status, 200, "{event}");
        door.work().await;
        assert_eq!(door.outcome(), ("ignored".to_owned(), outcome.to_owned()), "{event}");
        assert_eq!((door.published().len(), door.sandbox.calls("portone").await), (0, 0), "{event}");
    }
}

#[tokio::test]
async fn what_is_no_notification_is_refused_and_nothing_is_kept() {
    let door = Door::open().await;
    for (event, status) in [
        ("toss-garbage", 400),
        ("toss-form", 400),
        ("toss-compressed", 400),
        ("stripe-unsigned", 401),
        ("stripe-too-old", 401),
        ("toss-payout-unsigned", 401),
    ] {
        assert_eq!(door.send(event).await.status, status, "{event}");
    }
    let large = "x".repeat(1024 * 1024);
    for provider in ["toss", "portone", "iamport", "stripe", "mock"] {
        let mut event = event("toss-garbage");
        event["rawPath"] = json!(format!("/v1/webhooks/{provider}"));
        event["body"] = json!(format!("{{\"imp_uid\":\"{large}\"}}"));
        assert_eq!(door.serve(event.clone()).await.status, 413, "{provider}: one megabyte");
        for garbage in ["", "[]", "null", "{}", "\u{0}", "{\"a\":{\"a\":{\"a\":1}}}", "[[[[[[[["] {
            event["body"] = json!(garbage);
            let answer = door.serve(event.clone()).await;
            assert!((400..=401).contains(&answer.status), "{provider} `{garbage}`: {answer:?}");
        }
    }
    // API Gateway joins headers that come twice.
    let mut twice = event("stripe-succeeded");
    let signature = twice["headers"]["stripe-signature"].as_str().unwrap().to_owned();
    twice["headers"]["stripe-signature"] = json!(format!("{signature},t=1,v1=00"));
    assert_eq!(door.serve(twice).await.status, 401, "two times are none");
    assert_eq!(door.items("webhook#").len(), 0);
    let mut kakaopay = event("mock");
    kakaopay["rawPath"] = json!("/v1/webhooks/kakaopay");
    assert_eq!(door.serve(kakaopay).await.status, 404, "it sends none");
}

#[tokio::test]
async fn no_bit_of_a_signed_notification_can_change() {
    let door = Door::with(&[("LOG_LEVEL", "error")]).await;
    for (name, headers) in [
        ("stripe-succeeded", &["stripe-signature"][..]),
        ("portone-paid", &["webhook-id", "webhook-timestamp", "webhook-signature"]),
        ("toss-payout", &["tosspayments-webhook-transmission-time", "tosspayments-webhook-signature"]),
    ] {
        let whole = event(name);
        let body = whole["body"].as_str().unwrap().as_bytes().to_vec();
        for bit in 0..body.len() * 8 {
            let mut flipped = body.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut event = whole.clone();
            event["body"] = json!(STANDARD.encode(flipped));
            event["isBase64Encoded"] = json!(true);
            assert_eq!(door.serve(event).await.status, 401, "{name}: bit {bit} of the body");
        }
        for header in headers {
            let value = whole["headers"][header].as_str().unwrap().as_bytes().to_vec();
            for bit in 0..value.len() * 8 {
                let mut flipped = value.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let Ok(text) = String::from_utf8(flipped) else { continue };
                let mut event = whole.clone();
                event["headers"][header] = json!(text);
                assert!(door.serve(event).await.status >= 400, "{name}: bit {bit} of `{header}`");
            }
        }
    }
    assert_eq!(door.webhooks().len(), 0, "nothing of that is written down");
}

#[tokio::test]
async fn without_a_secret_to_verify_with_nothing_starts() {
    for (provider, broken) in [
        ("stripe", json!({"secret_key": "k"})),
        ("stripe", json!({"secret_key": "k", "webhook_secrets": []})),
        ("stripe", json!({"secret_key": "k", "webhook_secrets": [{"label": "a", "secret": ""}]})),
        ("portone", json!({"api_secret": "k", "webhook_secrets": []})),
        ("toss", json!({"secret_key": "k", "security_keys": []})),
    ] {
        let mut secrets = secrets();
        secrets[provider] = broken;
        assert!(Door::start(&[], secrets).await.is_err(), "{provider}");
    }
    // Without a security key Toss' payments are taken, and nothing that claims to be signed.
    let mut secrets = secrets();
    secrets["toss"].as_object_mut().unwrap().remove("security_keys");
    let door = Door::start(&[], secrets).await.unwrap();
    assert_eq!((door.send("toss-payout").await.status, door.send("toss-status").await.status), (401, 200));
}

#[tokio::test]
async fn a_candidate_secret_is_watched_and_not_believed() {
    let mut secrets = secrets();
    let real = secrets["stripe"]["webhook_secrets"].take();
    secrets["stripe"]["webhook_candidates"] = real;
    secrets["stripe"]["webhook_secrets"] = json!([{"label": "other", "secret": "whsec_other"}]);
    let door = Door::start(&[], secrets).await.unwrap();
    assert_eq!(door.send("stripe-succeeded").await.status, 401);
    assert!(door.log.text().contains("webhook.shadow_verified"));
}

#[tokio::test]
async fn a_payment_that_nobody_knows_is_asked_about_once_in_ten_minutes() {
    let door = Door::open().await;
    for number in 0..20 {
        let mut event = event("iamport-paid");
        event["body"] = json!(format!("{{\"imp_uid\":\"imp_nobody\",\"merchant_uid\":\"{number}\"}}"));
        assert_eq!(door.serve(event).await.status, 200);
        door.work().await;
    }
    assert_eq!(door.sandbox.calls("iamport").await, 1, "twenty strangers, one question");
    door.go_on(4).await;
    assert_eq!(door.sandbox.calls("iamport").await, 1);
    door.go_on(2).await;
    assert_eq!(door.sandbox.calls("iamport").await, 2, "after ten minutes one of them may");
    door.go_on(60).await;
    assert!(door.sandbox.calls("iamport").await <= 14, "{}", door.sandbox.calls("iamport").await);
    let ended =
        counted(door.webhooks().iter().map(|webhook| (webhook.status.name(), webhook.outcome.clone().unwrap())));
    assert_eq!(ended, BTreeMap::from([(("ignored", "not_found".to_owned()), 20)]), "and then it is over");
    // Once the payment is there, the next notification is heard.
    door.payment("iamport", json!({"imp_uid": "imp_nobody", "status": "paid", "paid_at": 1_795_233_000})).await;
    door.clock.advance(Duration::from_secs(600));
    let mut event = event("iamport-paid");
    event["body"] = json!("{\"imp_uid\":\"imp_nobody\"}");
    door.serve(event).await;
    door.work().await;
    assert_eq!(door.told("iamport/imp_nobody"), PAID);
}

#[tokio::test]
async fn unsigned_notifications_have_a_limit_of_their_own_and_may_have_an_address() {
    let limits = [
        ("PAYMENT_HINT_RATE_PER_PERIOD", "1"),
        ("PAYMENT_HINT_RATE_PERIOD_SECONDS", "60"),
        ("PAYMENT_HINT_RATE_BURST", "4"),
    ];
    let door = Door::with(&limits).await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(door.send("iamport-paid").await.status);
    }
    assert!(statuses.contains(&200) && statuses[7] == 429, "{statuses:?}");
    assert_eq!(door.send("portone-paid").await.status, 200, "what is signed is not limited by it");

    let door = Door::with(&[("TOSS_SOURCE_IPS", "13.124.18.147"), ("IAMPORT_SOURCE_IPS", "203.0.113.7")]).await;
    assert_eq!((door.send("toss-status").await.status, door.send("iamport-paid").await.status), (403, 200));
}

#[tokio::test]
async fn a_provider_that_is_down_is_asked_again_until_it_answers() {
    let door = Door::open().await;
    door.payment("portone", json!({"id": "pay-portone-1", "status": "PAID"})).await;
    door.sandbox.set_mode("portone", Mode::down()).await;
    assert_eq!(door.send("portone-paid").await.status, 200, "it is written down whatever becomes of the provider");
    door.work().await;
    door.go_on(60).await;
    assert_eq!(door.outcome(), ("received".to_owned(), "provider_unavailable".to_owned()));
    assert_eq!(door.published().len(), 0);
    door.sandbox.reset("portone").await;
    door.payment("portone", json!({"id": "pay-portone-1", "status": "PAID"})).await;
    door.go_on(10).await;
    assert_eq!(door.outcome().0, "done");
    assert_eq!(door.told("portone/pay-portone-1"), PAID);
}

#[tokio::test]
async fn a_wrong_amount_is_discrepant_and_no_success() {
    let door = Door::open().await;
    let expected = door.send("expect").await;
    assert_eq!((expected.status, &expected.body["amount"]), (200, &json!(14_000)));
    assert_eq!(door.send("expect").await.status, 200, "the same again changes nothing");
    let other = door.send("expect-other").await;
    assert_eq!((other.status, &other.body["error"]["details"][0]["issue"]), (409, &json!("other_expectation")));
    let mistakes = door.send("expect-mistakes").await.body["error"]["details"].clone();
    let fields: BTreeSet<&str> =
        mistakes.as_array().unwrap().iter().filter_map(|detail| detail["field"].as_str()).collect();
    assert_eq!(fields, BTreeSet::from(["amount", "currency", "extra"]));
    door.payment("toss", json!({"paymentKey": "pay_toss_1", "orderId": "order-toss-1", "status": "DONE"})).await;
    door.send("toss-status").await;
    door.work().await;
    assert_eq!(door.told("toss/pay_toss_1"), ["payment.discrepant"]);
    let known = door.known("toss", "pay_toss_1").await.body;
    assert_eq!((&known["status"], &known["differs_in"]), (&json!("discrepant"), &json!(["amount"])));
}

#[tokio::test]
async fn a_payment_can_be_asked_about_by_whoever_needs_it() {
    let door = Door::open().await;
    let tid = "T1234567890123456789";
    assert_eq!(door.send("refresh-kakaopay").await.code(), "payment_not_found");
    door.payment("kakaopay", json!({"tid": tid, "status": "SUCCESS_PAYMENT", "approved_at": "2026-11-21T12:50:00"}))
        .await;
    let answer = door.send("refresh-kakaopay").await;
    assert_eq!(
        (answer.status, &answer.body["status"], &answer.body["method"]),
        (200, &json!("paid"), &json!("easy_pay"))
    );
    assert_eq!(door.told(&format!("kakaopay/{tid}")), PAID);
    assert_eq!(door.send("refresh").await.body["status"], "paid");
    assert_eq!(door.send("refresh-unknown").await.status, 404);
    door.sandbox.set_mode("kakaopay", Mode::down()).await;
    assert_eq!(door.send("refresh-kakaopay").await.code(), "provider_unavailable");
}

#[tokio::test]
async fn what_has_failed_can_be_found_and_processed_again() {
    let door = Door::open().await;
    door.sandbox.set_mode("portone", Mode::status(400)).await;
    door.send("portone-paid").await;
    door.work().await;
    assert_eq!(door.outcome(), ("failed".to_owned(), "rejected".to_owned()));
    let found = door.send("events").await.body["events"].clone();
    assert_eq!(
        (&found[0]["id"], &found[0]["verified_by"]),
        (&json!("portone:msg_1"), &json!("standard-webhooks: 2026-11"))
    );
    door.sandbox.reset("portone").await;
    door.payment("portone", json!({"id": "pay-portone-1", "status": "PAID"})).await;
    // Long after the signature's time is over: it was judged once, when it came.
    door.clock.advance(Duration::from_secs(3_600));
    assert_eq!(door.send("replay").await.status, 202);
    door.work().await;
    assert_eq!(door.told("portone/pay-portone-1"), PAID);
    let mut done = event("replay-range");
    done["body"] = json!(done["body"].as_str().unwrap().replace("failed", "done"));
    assert_eq!(door.serve(done).await.body["replayed"], 1);
    door.work().await;
    assert_eq!(door.told("portone/pay-portone-1"), PAID, "what has had its effect has no other");
    assert_eq!(door.send("replay-range").await.body["replayed"], 0);
    let mistakes = door.send("replay-range-mistakes").await;
    assert_eq!((mistakes.status, mistakes.body["error"]["details"].as_array().unwrap().len()), (400, 3));
}

#[tokio::test]
async fn no_card_number_is_kept_or_logged() {
    let door = Door::open().await;
    let card = "4242424242424242";
    door.payment("toss", json!({"paymentKey": "pay_toss_1", "status": "DONE", "card": {"number": card}})).await;
    assert!(event("toss-status")["body"].as_str().unwrap().contains(card));
    door.send("toss-status").await;
    door.work().await;
    assert_eq!(door.told("toss/pay_toss_1"), PAID);
    assert!(!format!("{:?}", door.items("")).contains(card), "in the table");
    assert!(!door.log.text().contains(card), "in the log");
    assert!(!door.published().iter().any(|event| event.json().contains(card)), "in an event");
    for phrase in ["test_sk_sandbox", "ps_pay_toss_1"] {
        assert!(!door.log.text().contains(phrase), "`{phrase}` in the log");
    }
}

/// What happens at night; who fails says why.
async fn reconcile(door: &Door) {
    let outcome = door.invoke(event("reconcile")).await;
    let log = door.log.text();
    let why: Vec<&str> = log.lines().filter(|line| line.contains("reconciliation.")).collect();
    assert!(outcome.is_ok(), "{why:#?}");
}

#[tokio::test]
async fn each_night_finds_what_nobody_told() {
    let door = Door::with(&[("PAYMENT_ATTEMPTS", "4"), ("LOG_LEVEL", "info")]).await;
    let paid = |number: u32| json!({"imp_uid": format!("imp_{number:03}"), "status": "paid", "paid_at": 1_795_233_000 + number});
    for number in 0..150 {
        door.payment("iamport", paid(number)).await;
    }
    door.send("iamport-paid").await;
    let approved = "2026-11-21T12:50:00+09:00";
    for number in 0..3 {
        let payment = json!({"paymentKey": format!("pay_{number}"), "status": "DONE", "approvedAt": approved});
        door.payment("toss", payment).await;
        door.payment(
            "portone",
            json!({"id": format!("pay-{number}"), "status": "PAID", "paidAt": "2026-11-21T03:50:00Z"}),
        )
        .await;
        let intent = json!({"id": format!("pi_{number}"), "status": "succeeded", "amount_received": 15_000, "created": 1_795_233_000,
            "latest_charge": {"created": 1_795_233_000, "amount_refunded": 0}});
        door.payment("stripe", intent).await;
    }
    let tid = "T1234567890123456789";
    door.payment("kakaopay", json!({"tid": tid})).await;
    assert_eq!(door.send("refresh-kakaopay").await.body["status"], "ready");
    door.payment("kakaopay", json!({"tid": tid, "status": "SUCCESS_PAYMENT", "approved_at": "2026-11-21T13:00:00"}))
        .await;
    door.clock.advance(Duration::from_secs(24 * 60 * 60));
    reconcile(&door).await;
    let report = |provider: &str| -> Value {
        let item = door.items(&format!("reconciliation#{provider}#2026-11-21")).pop().unwrap();
        serde_json::from_str(item.text("report").unwrap()).unwrap()
    };
    let krw = |count: u64| json!({"KRW": {"count": count, "sum": count * 15_000}});
    for (provider, listed, repaired, asked) in [
        ("iamport", json!(krw(150)), 150, 0),
        ("toss", json!(krw(3)), 3, 0),
        ("portone", json!(krw(3)), 3, 0),
        ("stripe", json!(krw(3)), 3, 0),
        ("kakaopay", Value::Null, 0, 1),
    ] {
        let report = report(provider);
        assert_eq!(report["listed"], listed, "{provider}");
        assert_eq!(report["known"], if provider == "kakaopay" { krw(1) } else { listed }, "{provider}");
        assert_eq!((&report["repaired"], &report["asked"]), (&json!(repaired), &json!(asked)), "{provider}");
        assert_eq!((&report["failed"], &report["complete"]), (&json!(0), &json!(true)), "{provider}");
    }
    assert_eq!(door.told(&format!("kakaopay/{tid}")), PAID);
    assert_eq!(door.told("iamport/imp_149"), PAID);
    let calls = door.sandbox.calls("iamport").await;
    let canceled =
        json!({"id": "pay-0", "status": "PARTIAL_CANCELLED", "amount": {"total": 15_000, "cancelled": 5_000}});
    door.payment("portone", canceled).await;
    reconcile(&door).await;
    assert_eq!(report("portone")["repaired"], 1, "what went back since is found as well");
    assert_eq!(door.told("portone/pay-0")[2..], ["payment.partially_canceled"]);
    assert_eq!(report("iamport")["repaired"], 0, "the second time there is nothing to repair");
    assert_eq!(door.sandbox.calls("iamport").await - calls, 2, "two pages of the list, and no payment");
    assert_eq!(door.told("iamport/2026-11-21").len(), 2, "each run is told");
}

#[tokio::test]
async fn a_webhook_that_waits_for_its_next_attempt_is_listed() {
    let door = Door::open().await;
    // The provider does not know the payment yet.
    assert_eq!(door.send("toss-status").await.status, 200);
    door.work().await;
    assert_eq!(door.outcome().0, "received");
    let mut list = event("events");
    let now = door.clock.now().rfc3339();
    list["rawQueryString"] = json!(format!("status=received&from=2026-11-01T00:00:00Z&to={now}"));
    let found = door.serve(list.clone()).await.body["events"].clone();
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    list["rawQueryString"] = json!("status=received&from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z");
    assert_eq!(door.serve(list.clone()).await.body["events"], json!([]), "received later");

    // One that is due later comes on the next page, though it was received long before that.
    door.clock.advance(Duration::from_secs(1));
    let mut other = event("toss-status");
    other["headers"]["tosspayments-webhook-transmission-id"] = json!("whtrans_other");
    other["body"] = json!(other["body"].as_str().unwrap().replace("\"paymentKey\":\"", "\"paymentKey\":\"other-"));
    assert_eq!(door.serve(other).await.status, 200);
    door.work().await;
    let mut seen = BTreeSet::new();
    let (mut from, to) = ("2026-11-01T00:00:00Z".to_owned(), door.clock.now().rfc3339());
    for _ in 0..2 {
        list["rawQueryString"] = json!(format!("status=received&limit=1&from={from}&to={to}"));
        let page = door.serve(list.clone()).await.body;
        seen.insert(page["events"][0]["id"].as_str().unwrap().to_owned());
        let next = Timestamp::parse_rfc3339(page["next_from"].as_str().unwrap()).unwrap();
        from = next.after(Duration::from_millis(1)).rfc3339();
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

/// What a payment goes through at Toss, and what is told of it when all is heard in order.
const LIFE: [&str; 4] = ["WAITING_FOR_DEPOSIT", "DONE", "PARTIAL_CANCELED", "CANCELED"];

#[tokio::test]
async fn thousands_of_webhooks_at_full_speed_lose_nothing_when_everybody_is_killed() {
    let webhooks: u64 = std::env::var("IEUM_PAYMENT_WEBHOOKS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let door = Door::with(&[("LOG_LEVEL", "error")]).await;
    let mut random = Rng::with_seed(webhooks);
    let payments = webhooks / LIFE.len() as u64;
    let mut killed = 0_u32;
    let mut to_send: Vec<(u64, usize)> =
        (0..payments).flat_map(|payment| (0..LIFE.len()).map(move |step| (payment, step))).collect();
    random.shuffle(&mut to_send);
    let mut reached = vec![0; usize::try_from(payments).unwrap()];
    for (payment, step) in to_send {
        let furthest = &mut reached[usize::try_from(payment).unwrap()];
        *furthest = step.max(*furthest);
        let id = format!("pay_{payment}");
        let balance = [15_000, 15_000, 9_000, 0][*furthest];
        let change = json!({"paymentKey": id, "status": LIFE[*furthest], "balanceAmount": balance, "approvedAt": "2026-11-21T12:50:00+09:00"});
        door.payment("toss", change).await;
        let mut event = event("toss-status");
        event["headers"]["tosspayments-webhook-transmission-id"] = json!(format!("whtrans_{payment}_{step}"));
        event["body"] = json!(json!({"eventType": "PAYMENT_STATUS_CHANGED", "data": {"paymentKey": id}}).to_string());
        door.clock.advance(Duration::from_millis(1));
        // The sender comes again until it has heard 200.
        let mut polls = if random.u32(0..4) == 0 { random.u32(1..12) } else { u32::MAX };
        while !matches!(Killed(Box::pin(door.serve(event.clone())), polls).await, Some(answer) if answer.status == 200)
        {
            killed += 1;
            polls = u32::MAX;
        }
        // The queue hands out in any order, some twice.
        let mut due = door.due();
        random.shuffle(&mut due);
        for key in due {
            let polls = if random.u32(0..4) == 0 { random.u32(1..60) } else { u32::MAX };
            let done = Killed(Box::pin(door.wake(&key)), polls).await;
            killed += u32::from(done.is_none());
            if random.u32(0..10) == 0 {
                door.wake(&key).await;
            }
        }
    }
    assert!(u64::from(killed) > webhooks / 10, "{killed} were killed");
    door.go_on(20).await;
    let open: Vec<_> = door.webhooks().into_iter().filter(|webhook| webhook.status.name() != "done").collect();
    assert!(open.is_empty(), "{} are not done: {:?}", open.len(), open.first());
    assert_eq!(door.webhooks().len() as u64, webhooks);

    let published = door.published();
    let ids = counted(published.iter().map(|event| event.id().to_owned()));
    let repeats = ids.values().map(|count| count - 1).sum::<usize>();
    assert!(repeats <= usize::try_from(killed).unwrap(), "{repeats} repeats, {killed} killed");
    for payment in 0..payments {
        let (id, subject) = (format!("pay_{payment}"), format!("toss/pay_{payment}"));
        let known = door.known("toss", &id).await.body;
        assert_eq!((&known["status"], &known["canceled_amount"]), (&json!("canceled"), &json!(15_000)), "{id}");
        // Each effect has one id: no two events say the same of the payment.
        let of: BTreeMap<&str, String> = (published.iter().filter(|event| event.subject() == subject))
            .map(|event| (event.id(), format!("{} {}", event.kind(), event.data()["canceled_amount"])))
            .collect();
        let effects = counted(of.values());
        assert!(effects.values().all(|count| *count == 1), "{id}: {effects:?}");
        assert_eq!(effects.get(&"payment.canceled 15000".to_owned()), Some(&1), "{id}: {effects:?}");
    }
    println!("{webhooks} webhooks, {killed} killed, {} effects, {repeats} repeats", ids.len());
}

/// Every order of the numbers below `count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let insert = |order: Vec<usize>| (0..count).map(move |place| [&order[..place], &[last], &order[place..]].concat());
    orders(last).into_iter().flat_map(insert).collect()
}

#[tokio::test]
async fn all_720_orders_of_six_webhooks_with_repeats_end_in_one_state() {
    let door = Door::with(&[("LOG_LEVEL", "error")]).await;
    // What the provider shows when the webhook is worked off.
    let life = [
        ("READY", 15_000),
        ("WAITING_FOR_DEPOSIT", 15_000),
        ("DONE", 15_000),
        ("PARTIAL_CANCELED", 11_000),
        ("PARTIAL_CANCELED", 6_000),
        ("CANCELED", 0),
    ];
    let orders = orders(life.len());
    assert_eq!(orders.len(), 720);
    for (number, order) in orders.iter().enumerate() {
        let id = format!("pay_{number}");
        // One of the six comes twice, somewhere later.
        let repeated = order[number % 5];
        for (place, step) in order.iter().chain([&repeated]).enumerate() {
            let (status, balance) = life[*step];
            let change = json!({"paymentKey": id, "status": status, "balanceAmount": balance, "approvedAt": "2026-11-21T12:50:00+09:00"});
            door.payment("toss", change).await;
            let mut event = event("toss-status");
            event["headers"]["tosspayments-webhook-transmission-id"] = json!(format!("whtrans_{number}_{step}"));
            event["body"] =
                json!(json!({"eventType": "PAYMENT_STATUS_CHANGED", "data": {"paymentKey": id}}).to_string());
            assert_eq!(door.serve(event).await.status, 200, "{order:?} at {place}");
            door.work().await;
            door.clock.advance(Duration::from_millis(1));
        }
        let known = door.known("toss", &id).await.body;
        let end = [&known["status"], &known["amount"], &known["canceled_amount"]];
        assert_eq!(end, [&json!("canceled"), &json!(15_000), &json!(15_000)], "{order:?}");
    }
    assert_eq!(door.webhooks().len(), 720 * 6, "a repeat is known");
    let published = door.published();
    let ids = counted(published.iter().map(|event| event.id().to_owned()));
    assert!(ids.values().all(|times| *times == 1), "nobody was killed, so nothing is told twice");
    let told = counted(published.iter().map(|event| (event.subject().to_owned(), event.kind().to_owned())));
    for (number, order) in orders.iter().enumerate() {
        let times =
            |kind: &str| told.get(&(format!("toss/pay_{number}"), kind.to_owned())).copied().unwrap_or_default();
        assert_eq!(times("payment.canceled"), 1, "{order:?}");
        assert!(times("payment.paid") <= 1, "{order:?}");
    }
}

#[tokio::test]
async fn every_event_is_sent_by_a_test() {
    assert_eq!(
        unsent("payment-webhook", &[include_str!("door.rs"), include_str!("support/mod.rs")]),
        Vec::<String>::new()
    );
}
