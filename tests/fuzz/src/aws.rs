//! AWS, whose servers send whatever they like, asked as the kernel asks: table, secrets, queues, events, objects.

use std::time::Duration;

use ieum::aws::Aws;
use ieum::aws::s3::Place;
use ieum::backup::Whole;
use ieum::backup::files::Buckets;
use ieum::blobs::Blobs;
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

/// The same of S3, whose words are XML and whose objects are bodies.
fn answers_of_s3() -> Vec<(usize, u16, String)> {
    let object = "<Key>a%2Bb+%ED%95%9C</Key><ETag>&quot;e&quot;</ETag><Size>3</Size>";
    let version = "<Key>k</Key><VersionId>v</VersionId>";
    let refused =
        |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
    let said = [
        (
            13,
            200,
            format!(
                "<ListBucketResult xmlns=\"http://s3\"><Name>b</Name><Contents>{object}</Contents></ListBucketResult>"
            ),
        ),
        (
            14,
            200,
            format!(
                "<ListVersionsResult><IsTruncated>false</IsTruncated><Version>{version}</Version><DeleteMarker>{version}</DeleteMarker></ListVersionsResult>"
            ),
        ),
        (15, 200, "<CopyObjectResult><ETag>&quot;e&quot;</ETag></CopyObjectResult>".to_owned()),
        (15, 200, refused("InternalError")),
        (
            16,
            200,
            "<ListAllMyBucketsResult><Buckets><Bucket><Name>b</Name></Bucket></Buckets></ListAllMyBucketsResult>"
                .to_owned(),
        ),
        (17, 200, "what lies there".to_owned()),
        (17, 404, refused("NoSuchKey")),
        (18, 200, "what lies there".to_owned()),
    ];
    said.into()
}

/// An answer as it comes over the wire.
fn seed((case, status, body): (usize, u16, String)) -> Seed {
    let lines = [
        format!("HTTP/1.1 {status} Answer"),
        format!("Content-Length: {}", body.len()),
        "Content-Type: application/x-amz-json-1.0".to_owned(),
        "Date: Sat, 21 Nov 2026 03:50:00 GMT".to_owned(),
        "ETag: \"e\"".to_owned(),
        "x-amz-meta-ieum-width: 300".to_owned(),
        "Connection: close".to_owned(),
    ];
    Seed { case, bytes: format!("{}\r\n\r\n{body}", lines.join("\r\n")).into_bytes() }
}

pub(crate) fn target() -> Target {
    let (port, answer) = server();
    let endpoint = format!("http://127.0.0.1:{port}");
    let json = answers().into_iter().map(|(case, status, body)| (case, status, body.to_string()));
    let seeds = json.chain(answers_of_s3()).map(seed);
    let read = move |case: usize, bytes: &[u8]| {
        *answer.lock().expect("a lock") = bytes.to_vec();
        block_on(async { asked(case, &aws_at(&endpoint)).await })
    };
    let about = "answers of DynamoDB, Secrets Manager, SQS, EventBridge and S3, status line and all";
    Target { name: "aws", about, seeds: seeds.collect(), read: Box::new(read) }
}

async fn asked(case: usize, aws: &Aws) -> Outcome {
    let (store, keys) = (aws.store("t"), ["k".to_owned(), "l".to_owned()]);
    let queue = aws.queue("q");
    let place = Place { bucket: "b".to_owned(), key: "k".to_owned() };
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
        12 => {
            let at = Timestamp::from_millis(1_795_233_000_000);
            let event = CloudEvent::new("ieum", "kind", "1".to_owned(), "2".to_owned(), at, Value::Null);
            found(aws.events("bus").publish(&[event.expect("a small event")]).await)
        }
        13 => found(aws.s3().list("b", "", None).await),
        14 => found(aws.s3().versions("b", "k").await),
        15 => found(aws.s3().copy(&place, "e", &place).await),
        16 => found(aws.s3().buckets().await),
        17 => {
            let read = aws.blobs("b").get("k", 20).await;
            let length = read.as_ref().ok().and_then(|found| found.as_ref()).map_or(0, |blob| blob.bytes.len());
            assert!(length <= 20, "{length} bytes of at most 20");
            found(read)
        }
        _ => found(aws.buckets().fingerprint(&place).await),
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
