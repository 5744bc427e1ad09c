//! What happens by the clock on the deployed system.

use std::time::Duration;

use ieum::clock::{Clock, SystemClock};
use ieum::store::{Action, DUE, NOT_BEFORE, Store, Update};
use serde_json::{Value, json};

use super::Stage;
use super::client::{eventually, within};
use super::store::table;

pub(crate) async fn what_is_overdue_is_woken_through_the_queue_of_its_list(stage: &mut Stage) {
    let client = stage.client.clone();
    let made = client.aws("sqs", "AmazonSQS.CreateQueue", json!({"QueueName": "clockwork"})).await;
    let (queue, store) = (made["QueueUrl"].as_str().unwrap().to_owned(), table(stage));
    for (key, ago) in [("message#young", 60), ("message#old", 600), ("message#not-yet", 1)] {
        let at = SystemClock.now().before(Duration::from_secs(ago)).as_millis();
        let due = Update::of(key).then([Action::Set(DUE, "clockwork".into()), Action::Set(NOT_BEFORE, at.into())]);
        store.update(&due).await.unwrap();
    }
    let event = json!({"sweep": [{"list": "clockwork", "queue": queue, "limit": 60}]});
    assert_eq!(stage.system.invoke("HealthCronFunction", &event).await.unwrap(), Ok(Value::Null));
    let mut woken = Vec::new();
    eventually("both are woken", async || {
        let wanted = json!({"QueueUrl": queue, "MaxNumberOfMessages": 10});
        let answer = client.aws("sqs", "AmazonSQS.ReceiveMessage", wanted).await;
        for message in answer["Messages"].as_array().into_iter().flatten() {
            let body: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
            woken.push(body["key"].as_str().unwrap().to_owned());
        }
        (woken.len() >= 2).then_some(())
    })
    .await;
    assert_eq!(woken, ["message#old", "message#young"], "the oldest first, and nothing before its time");

    let nowhere = json!({"sweep": [{"list": "clockwork", "queue": format!("{queue}-gone"), "limit": 60}]});
    assert!(stage.system.invoke("HealthCronFunction", &nowhere).await.unwrap().is_err(), "a failed sweep is heard of");
    assert!(stage.system.invoke("HealthCronFunction", &json!({"dance": []})).await.unwrap().is_err());
}

pub(crate) async fn the_schedule_sweeps_each_minute(stage: &mut Stage) {
    let swept = async || {
        let lines = stage.system.function_logs("HealthCronFunction").await.unwrap();
        lines.iter().filter(|line| line.contains("sweep.over") && line.contains("\"failed\":0")).count()
    };
    let before = swept().await;
    within(Duration::from_secs(100), "the schedule calls the function", async || {
        (swept().await > before).then_some(())
    })
    .await;
}

/// Of the e-mail worker's queue, because it is the first of its kind; the others are made by the same pattern.
pub(crate) async fn of_a_batch_only_the_poison_ends_as_a_dead_letter(stage: &mut Stage) {
    let client = stage.client.clone();
    let [queue, dead] = ["EmailQueue", "EmailDeadLetters"].map(|id| stage.system.reference(id).unwrap().to_owned());
    let visible_after = async |seconds: &str| {
        let attributes = json!({"QueueUrl": queue, "Attributes": {"VisibilityTimeout": seconds}});
        client.aws("sqs", "AmazonSQS.SetQueueAttributes", attributes).await;
    };
    assert_eq!(client.held(&dead).await, 0);
    // Five receipts would take half an hour. Shorter than a cold start it may not be: what is received again while it is
    // worked on can no longer be deleted.
    visible_after("8").await;
    let wake_up =
        |id: &str| json!({"key": format!("message#{id}"), "traceparent": format!("00-{:032x}-00f067aa0ba902b7-01", 7)});
    let bodies = [wake_up("nobody-1").to_string(), "poison".to_owned(), wake_up("nobody-2").to_string()];
    let entries: Vec<Value> =
        bodies.iter().enumerate().map(|(id, body)| json!({"Id": id.to_string(), "MessageBody": body})).collect();
    client.aws("sqs", "AmazonSQS.SendMessageBatch", json!({"QueueUrl": queue, "Entries": entries})).await;
    within(Duration::from_secs(150), "the poison is put aside", async || {
        (client.held(&dead).await == 1 && client.held(&queue).await == 0).then_some(())
    })
    .await;
    visible_after("360").await;
    let answer = client.aws("sqs", "AmazonSQS.ReceiveMessage", json!({"QueueUrl": dead})).await;
    assert_eq!(answer["Messages"][0]["Body"], "poison");
}
