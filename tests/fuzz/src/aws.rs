//! AWS, whose servers send whatever they like, asked as the kernel asks: table, secrets, queues, events.

use std::time::Duration;

use ieum::aws::Aws;
use ieum::backup::Whole;
use ieum::clock::Timestamp;
use ieum::events::{CloudEvent, Publisher};
use ieum::queue::{DeadLetters, Queue, WakeUp};
use ieum::secrets::{SecretName, SecretSource, Secrets};
use ieum::store::{Action, Read, Store, StoreError, Test, Update};
use ieum::testing::aws_at;
use serde_json::{Value, json};

use crate::doors::{block_on, server};
use crate::{Outcome, Seed, Target};

/// What is asked, by case, and how an answer to it looks.
fn answers() -> Vec<(usize, u16, Value)> {
    let item = json!({"pk": {"S": "k"}, "state": {"S": "열림"}, "count": {"N": "-7"}, "not_before": {"N": "5"}});
    let key = json!({"pk": {"S": "k"}});
    let refused = |name: &str| json!({"__type": format!("com.amazonaws#{name}"), "message": "no", "Item": item});
    vec![
        (0, 200, json!({"Item": item})),
        (0, 400, refused("ProvisionedThroughputExceededException")),
        (1, 200, json!({"Responses": {"t": [item]}, "UnprocessedKeys": {"t": {"Keys": [{"pk": {"S": "l"}}]}}})),
        (2, 200, json!({"Attributes": item})),
        (2, 400, refused("ConditionalCheckFailedException")),
        (3, 200, json!({"Items": [item], "LastEvaluatedKey": key})),
        (3, 200, json!({"Items": [item, item], "Count": 2})),
        (4, 200, json!({"Items": [item], "LastEvaluatedKey": key})),
        (5, 200, json!({"UnprocessedItems": {}})),
        (6, 200, json!({"ARN": "arn:s", "Name": "s", "SecretString": "{}", "CreatedDate": 1.5})),
        (7, 200, json!({"SecretValues": [{"ARN": "arn:s", "Name": "s", "SecretString": "{}"}], "Errors": []})),
        (8, 200, json!({"Name": "s", "LastChangedDate": 1_795_233_000.25, "CreatedDate": 1})),
        (9, 200, json!({"Successful": [], "Failed": [{"Id": "0", "Code": "InternalError", "SenderFault": false}]})),
        (10, 200, json!({"Messages": [{"Body": "글", "ReceiptHandle": "r"}]})),
        (11, 200, json!({"Attributes": {"ApproximateNumberOfMessages": "3"}})),
        (12, 200, json!({"FailedEntryCount": 1, "Entries": [{"ErrorCode": "Throttling"}]})),
    ]
}

pub(crate) fn target() -> Target {
    let (port, answer) = server();
    let endpoint = format!("http://127.0.0.1:{port}");
    let seeds = answers().into_iter().map(|(case, status, body)| {
        let (kind, body) = ("application/x-amz-json-1.0", body.to_string());
        let head = format!("HTTP/1.1 {status} Answer\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        let bytes =
            format!("{head}Date: Sat, 21 Nov 2026 03:50:00 GMT\r\nConnection: close\r\n\r\n{body}").into_bytes();
        Seed { case, bytes }
    });
    let read = move |case: usize, bytes: &[u8]| {
        *answer.lock().expect("a lock") = bytes.to_vec();
        block_on(async { asked(case, &aws_at(&endpoint)).await })
    };
    let about = "answers of DynamoDB, Secrets Manager, SQS and EventBridge, status line and all";
    Target { name: "aws", about, seeds: seeds.collect(), read: Box::new(read) }
}

async fn asked(case: usize, aws: &Aws) -> Outcome {
    let (store, keys) = (aws.store("t"), ["k".to_owned(), "l".to_owned()]);
    let queue = aws.queue("q");
    match case {
        0 => word(store.get("k", Read::Consistent).await),
        1 => word(store.get_many(&keys).await),
        2 => {
            let update = Update::of("k").when([Test::Absent("state")]).then([Action::Add("count", 1)]);
            word(store.update(&update).await)
        }
        3 => word(store.due("l", Timestamp::from_millis(9), 5).await),
        4 => word(store.page(0, 1, None).await),
        5 => word(store.remove_all(&keys[..1]).await),
        6 => found(Secrets::new(Some(aws.secrets())).fetch(&SecretName::Managed("s".to_owned())).await),
        7 => {
            let secrets = Secrets::new(Some(aws.secrets()));
            secrets.read_ahead(&["s".to_owned(), "arn:s".to_owned()]).await;
            found(secrets.fetch(&SecretName::Managed("s".to_owned())).await)
        }
        8 => found(aws.secrets().describe("s").await),
        9 => found(queue.wake(&[WakeUp { key: "k".to_owned(), after: Duration::ZERO }]).await),
        10 => found(DeadLetters::new("d", queue).redrive(2).await),
        11 => found(DeadLetters::new("d", queue).depth().await),
        _ => {
            let at = Timestamp::from_millis(1_795_233_000_000);
            let event = CloudEvent::new("ieum", "kind", "1".to_owned(), "2".to_owned(), at, Value::Null);
            found(aws.events("bus").publish(&[event.expect("a small event")]).await)
        }
    }
}

fn word<T>(asked: Result<T, StoreError>) -> Outcome {
    match asked {
        Ok(_) => "answered",
        Err(StoreError::Unreadable(_)) => "unreadable",
        Err(StoreError::Unreachable(_)) => "unreachable",
        Err(StoreError::Throttled(_)) => "throttled",
        Err(StoreError::Refused(_)) => "refused",
        Err(StoreError::NotAsked) => panic!("it was asked"),
    }
}

fn found<T, E>(asked: Result<T, E>) -> Outcome {
    if asked.is_ok() { "answered" } else { "an error" }
}
