//! What AWS is asked without an SDK client, as it arrives: words, signature, second attempts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_types::SdkConfig;
use aws_types::region::Region;
use axum::http::Method;
use ieum::aws::{Aws, SetUpError};
use ieum::backup::Whole;
use ieum::clock::{Clock, CorrectedClock, SystemClock, Timestamp};
use ieum::error::chain;
use ieum::events::{CloudEvent, Publisher};
use ieum::http::HttpClient;
use ieum::queue::DeadLetters;
use ieum::secrets::{ExposeSecret, SecretName, SecretSource, Secrets};
use ieum::store::{Action, Item, Outcome, Read, Store, StoreError, Test, Update, Value as Stored};
use ieum::testing::{ManualClock, aws_as, aws_at, dynamodb_over};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::script::{Asked, Script, someone};

fn event() -> CloudEvent {
    let at = Timestamp::from_millis(1_795_233_000_000);
    CloudEvent::new("ieum.payment", "payment.paid", "toss/1/paid".to_owned(), "toss/1".to_owned(), at, json!({}))
        .unwrap()
}

#[tokio::test]
async fn each_service_is_asked_in_its_own_words_and_signed_for_as_aws_checks_it() {
    let (script, endpoint) = Script::listen([
        (200, json!({"Item": {"pk": {"S": "k"}, "n": {"N": "7"}, "t": {"S": "글"}}})),
        (200, json!({"ARN": "a", "Name": "s", "SecretString": "hush", "CreatedDate": 1.5})),
        (200, json!({"MD5OfMessageBody": "m", "MessageId": "1"})),
        (200, json!({"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]})),
    ])
    .await;
    let aws = aws_as(someone(None), HttpClient::new(None).unwrap(), &endpoint);
    let item = aws.store("t").get("k", Read::Consistent).await.unwrap().unwrap();
    assert_eq!((item.number("n"), item.text("t"), item.0.len()), (Some(7), Some("글"), 2), "without its key");
    let secrets = Secrets::new(Some(aws.secrets()));
    let secret = secrets.fetch(&SecretName::Managed("s".to_owned())).await.unwrap();
    assert_eq!(secret.expose_secret(), "hush");
    aws.queue("http://q/1").send("안녕").await.unwrap();
    aws.events("bus").publish(&[event()]).await.unwrap();

    let asked = script.asked();
    let words: Vec<_> =
        asked.iter().map(|asked| (asked.header("x-amz-target"), asked.header("content-type"), asked.json())).collect();
    let entry = json!({
        "EventBusName": "bus", "Source": "ieum.payment", "DetailType": "payment.paid", "Detail": event().json(),
    });
    let get = json!({"TableName": "t", "Key": {"pk": {"S": "k"}}, "ConsistentRead": true});
    assert_eq!(
        words,
        [
            ("DynamoDB_20120810.GetItem", "application/x-amz-json-1.0", get),
            ("secretsmanager.GetSecretValue", "application/x-amz-json-1.1", json!({"SecretId": "s"})),
            (
                "AmazonSQS.SendMessage",
                "application/x-amz-json-1.0",
                json!({"QueueUrl": "http://q/1", "MessageBody": "안녕"}),
            ),
            ("AWSEvents.PutEvents", "application/x-amz-json-1.1", json!({"Entries": [entry]})),
        ]
    );
    for (asked, service) in asked.iter().zip(["dynamodb", "secretsmanager", "sqs", "events"]) {
        assert_eq!((&asked.method, asked.uri.to_string().as_str()), (&Method::POST, "/"));
        asked.check_signature(service, &["content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target"]);
    }
}

#[tokio::test]
async fn a_failed_service_is_asked_once_more_and_the_table_never() {
    let failed = || (503, Value::Null);
    let refused = || (400, json!({"__type": "ResourceNotFoundException", "message": "no such secret"}));
    let fine = || (200, json!({"SecretString": "hush"}));
    for (answers, requests, heard) in [
        (vec![failed(), fine()], 2, Ok("hush")),
        (vec![failed(), failed()], 2, Err("503")),
        (vec![(400, json!({"__type": "ThrottlingException"})), fine()], 2, Ok("hush")),
        (
            vec![refused()],
            1,
            Err("GetSecretValue of secretsmanager has failed: status 400, ResourceNotFoundException, no such secret"),
        ),
        (vec![(404, json!("<html>"))], 1, Err("status 404")),
        (
            vec![(200, json!({"SecretString": 7}))],
            1,
            Err("what GetSecretValue of secretsmanager answers cannot be read: Data at line 1"),
        ),
        (vec![(200, Value::Null)], 1, Err("cannot be read: Eof")),
    ] {
        let (script, endpoint) = Script::listen(answers).await;
        let secrets = Secrets::new(Some(aws_at(&endpoint).secrets()));
        let fetched = secrets.fetch(&SecretName::Managed("s".to_owned())).await;
        match (fetched, heard) {
            (Ok(secret), Ok(text)) => assert_eq!(secret.expose_secret(), text),
            (Err(error), Err(words)) => assert!(chain(&error).contains(words), "{}", chain(&error)),
            (fetched, heard) => panic!("{fetched:?} instead of {heard:?}"),
        }
        assert_eq!(script.asked().len(), requests);
    }
    let (script, endpoint) = Script::listen([failed()]).await;
    let error = aws_at(&endpoint).store("t").get("k", Read::Eventual).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn a_refused_update_tells_what_is_there_and_no_error_shows_it() {
    let met = json!({"pk": {"S": "k"}, "owner": {"S": "hong@example.kr"}});
    let refusal = |name: &str| json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "Message": "The conditional request failed", "Item": met});
    let (_, endpoint) = Script::listen([
        (400, refusal("ConditionalCheckFailedException")),
        (400, json!({"__type": "ConditionalCheckFailedException"})),
        (400, refusal("SomethingElse")),
    ])
    .await;
    let store = aws_at(&endpoint).store("t");
    let update = Update::of("k").when([Test::Absent("owner")]).then([Action::Set("owner", "me".into())]);
    let Outcome::Refused(Some(item)) = store.update(&update).await.unwrap() else { panic!("the item is told") };
    assert_eq!(item.text("owner"), Some("hong@example.kr"));
    assert!(matches!(store.update(&update).await.unwrap(), Outcome::Refused(None)), "there was none");
    let error = store.update(&update).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    for shown in [chain(&error), format!("{error:?}")] {
        assert!(shown.contains("SomethingElse") && !shown.contains("hong"), "{shown}");
    }
}

/// Of two keys DynamoDB answers one and leaves the other for another request.
#[tokio::test]
async fn what_a_batch_leaves_is_asked_for_again() {
    let item = |key: &str| json!({"pk": {"S": key}, "n": {"N": "1"}});
    let left = json!({"t": {"Keys": [{"pk": {"S": "b"}}]}});
    let (script, endpoint) = Script::listen([
        (200, json!({"Responses": {"t": [item("a")]}, "UnprocessedKeys": left})),
        (200, json!({"Responses": {"t": [item("b")]}})),
        (200, json!({"Responses": {}, "UnprocessedKeys": left})),
    ])
    .await;
    let store = aws_at(&endpoint).store("t");
    let found = store.get_many(&["b".to_owned(), "a".to_owned(), "b".to_owned()]).await.unwrap();
    assert!(found.iter().all(|item| item.as_ref().unwrap().0["n"] == Stored::Number(1)));
    let keys = |asked: &Asked| asked.json()["RequestItems"]["t"]["Keys"].clone();
    let asked: Vec<Value> = script.asked().iter().map(keys).collect();
    assert_eq!(asked, [json!([{"pk": {"S": "a"}}, {"pk": {"S": "b"}}]), json!([{"pk": {"S": "b"}}])]);
    let error = store.get_many(&["b".to_owned()]).await.unwrap_err();
    assert!(matches!(error, StoreError::Throttled(_)), "{error:?}");
}

#[tokio::test]
async fn dead_letters_are_sent_before_they_are_deleted_and_an_empty_answer_is_an_answer() {
    let message = |n: u32| json!({"MessageId": "m", "Body": format!("letter {n}"), "ReceiptHandle": format!("r{n}")});
    let (script, endpoint) = Script::listen([
        (200, json!({"Messages": [message(1), message(2)]})),
        (200, json!({"MessageId": "x"})),
        (200, Value::Null),
        (200, json!({"MessageId": "y"})),
        (200, json!({})),
        (200, json!({})),
        (200, json!({"Attributes": {"ApproximateNumberOfMessages": "3"}})),
    ])
    .await;
    let dead = DeadLetters::new("dead", aws_at(&endpoint).queue("queue"));
    assert_eq!(dead.redrive(25).await.unwrap(), 2);
    assert_eq!(dead.depth().await.unwrap(), 3);
    let asked: Vec<_> = script
        .asked()
        .iter()
        .map(|asked| {
            let (body, operation) = (asked.json(), asked.header("x-amz-target").to_owned());
            (operation.trim_start_matches("AmazonSQS.").to_owned(), body["QueueUrl"].as_str().unwrap().to_owned())
        })
        .collect();
    let steps = [
        ("ReceiveMessage", "dead"),
        ("SendMessage", "queue"),
        ("DeleteMessage", "dead"),
        ("SendMessage", "queue"),
        ("DeleteMessage", "dead"),
        ("ReceiveMessage", "dead"),
        ("GetQueueAttributes", "dead"),
    ];
    assert_eq!(asked, steps.map(|(operation, url)| (operation.to_owned(), url.to_owned())));
}

#[tokio::test]
async fn when_a_secret_was_changed_is_told_to_the_millisecond() {
    let (_, endpoint) = Script::listen([
        (200, json!({"Name": "s", "CreatedDate": 1.0, "LastChangedDate": 1_795_233_000.25})),
        (200, json!({"Name": "s", "CreatedDate": 1})),
        (200, json!({})),
    ])
    .await;
    let secrets = aws_at(&endpoint).secrets();
    for changed in [Some(1_795_233_000_250), Some(1_000), None] {
        assert_eq!(secrets.describe("s").await.unwrap().changed, changed.map(Timestamp::from_millis));
    }
}

/// A request signed by a clock that is hours off is refused, which says what time it is; the table is asked again, for
/// nothing has happened.
#[tokio::test]
async fn a_signature_has_the_time_that_aws_says_it_is() {
    let clock = Arc::new(CorrectedClock::new(ManualClock::start()));
    let late = json!({"__type": "com.amazon.coral.service#InvalidSignatureException", "message": "Signature expired"});
    let (script, endpoint) = Script::listen([(400, late), (200, json!({}))]).await;
    let store = dynamodb_over(HttpClient::new(None).unwrap().correcting(Arc::clone(&clock)), &endpoint, "t");
    assert_eq!(store.get("k", Read::Eventual).await.unwrap(), None);
    let stamps: Vec<String> = script.asked().iter().map(|asked| asked.header("x-amz-date").to_owned()).collect();
    assert_eq!(stamps[0], "20261121T035000Z");
    let [year, month, day, hour, minute, second] =
        [0..4, 4..6, 6..8, 9..11, 11..13, 13..15].map(|part| stamps[1][part].to_owned());
    let signed_at = Timestamp::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).unwrap();
    let off = signed_at.as_millis() - SystemClock.now().as_millis();
    assert!(off.abs() <= 2_200, "{off}");
}

#[test]
fn a_wrong_address_or_nobody_to_be_is_an_error_before_the_first_request() {
    let http = || HttpClient::new(None).unwrap();
    let keys = || SharedCredentialsProvider::new(Credentials::new("id", "key", None, None, "test"));
    let region = || Region::from_static("ap-northeast-2");
    let nowhere = Aws::of(SdkConfig::builder().credentials_provider(keys()).build(), http()).unwrap_err();
    assert!(matches!(nowhere, SetUpError::NoRegion));
    let nobody = Aws::of(SdkConfig::builder().region(region()).build(), http()).unwrap_err();
    assert!(matches!(nobody, SetUpError::NoCredentials));
    for misspelt in ["localhost", "localhost:8000", "ftp://localhost", ""] {
        let config = SdkConfig::builder().region(region()).credentials_provider(keys()).endpoint_url(misspelt);
        let error = Aws::of(config.build(), http()).unwrap_err();
        assert!(matches!(error, SetUpError::Address("DynamoDB")), "{misspelt}");
    }
    let china = SdkConfig::builder().region(Region::from_static("cn-north-1")).credentials_provider(keys());
    let fips = SdkConfig::builder().region(region()).credentials_provider(keys()).use_fips(true);
    for unknown in [china, fips] {
        let unknown = unknown.build();
        assert!(matches!(Aws::of(unknown.clone(), http()).unwrap_err(), SetUpError::Hosts(_)));
        Aws::of(unknown.into_builder().endpoint_url("https://here").build(), http()).unwrap();
    }
    let usual = Aws::of(SdkConfig::builder().region(region()).credentials_provider(keys()).build(), http()).unwrap();
    assert_eq!(usual.endpoint("SNS", "sns").unwrap().as_str(), "https://sns.ap-northeast-2.amazonaws.com/");
}

/// Whoever finds credentials, and how often that was asked.
#[derive(Clone, Debug)]
struct Finder {
    lasting: Duration,
    asked: Arc<AtomicU32>,
}

impl ProvideCredentials for Finder {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        self.asked.fetch_add(1, Ordering::Relaxed);
        future::ProvideCredentials::ready(Ok(someone(Some(SystemTime::now() + self.lasting))))
    }
}

#[tokio::test]
async fn credentials_are_found_once_until_they_are_about_to_run_out() {
    for (minutes, times) in [(60, 1), (4, 3)] {
        let finder = Finder { lasting: Duration::from_secs(60 * minutes), asked: Arc::default() };
        let (_, endpoint) = Script::listen([(200, json!({})), (200, json!({})), (200, json!({}))]).await;
        let store = aws_as(finder.clone(), HttpClient::new(None).unwrap(), &endpoint).store("t");
        for _ in 0..3 {
            store.get("k", Read::Eventual).await.unwrap();
        }
        assert_eq!(finder.asked.load(Ordering::Relaxed), times, "of {minutes} minutes");
    }
}

/// The first connection is closed once the request has come, as happens to one that lay through a freeze.
async fn broken_once(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for place in 0.. {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = connection.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"POST / HTTP/1.1"));
            if place > 0 {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
                connection.write_all(head.as_bytes()).await.unwrap();
            }
        }
    });
    endpoint
}

#[tokio::test]
async fn a_connection_that_broke_is_replaced_at_once_but_for_the_table() {
    let secrets = Secrets::new(Some(aws_at(&broken_once(r#"{"SecretString": "hush"}"#).await).secrets()));
    let secret = secrets.fetch(&SecretName::Managed("s".to_owned())).await.unwrap();
    assert_eq!(secret.expose_secret(), "hush");
    let store = aws_at(&broken_once("{}").await).store("t");
    let update = Update::of("k").then([Action::Set("state", "x".into())]);
    let error = store.update(&update).await.unwrap_err();
    assert!(chain(&error).contains("UpdateItem of dynamodb has no answer"), "{}", chain(&error));
}

#[tokio::test]
async fn events_that_were_not_taken_are_counted_with_their_reasons() {
    let entries = json!([{"EventId": "1"}, {"ErrorCode": "ThrottlingException"}, {"ErrorMessage": "no"}]);
    let (_, endpoint) = Script::listen([(200, json!({"FailedEntryCount": 2, "Entries": entries}))]).await;
    let error = aws_at(&endpoint).events("bus").publish(&[event(), event(), event()]).await.unwrap_err();
    assert_eq!(error.to_string(), r#"2 of 3 events were not taken: ["ThrottlingException"]"#);
}

#[tokio::test]
async fn what_a_batch_of_writes_leaves_is_sent_again() {
    let left = json!({"t": [{"DeleteRequest": {"Key": {"pk": {"S": "b"}}}}]});
    let put = json!({"t": [{"PutRequest": {"Item": {"pk": {"S": "c"}, "n": {"N": "3"}}}}]});
    let (script, endpoint) = Script::listen([
        (200, json!({"UnprocessedItems": left})),
        (200, json!({"UnprocessedItems": {}})),
        (200, json!({"UnprocessedItems": put})),
        (200, json!({})),
    ])
    .await;
    let store = aws_at(&endpoint).store("t");
    store.remove_all(&["a".to_owned(), "b".to_owned()]).await.unwrap();
    let mut item = Item::default();
    item.0.insert("n".to_owned(), Stored::Number(3));
    store.put_all(&[("c".to_owned(), item)]).await.unwrap();
    let asked: Vec<Value> = script.asked().iter().map(|asked| asked.json()["RequestItems"].clone()).collect();
    let both = json!({"t": [
        {"DeleteRequest": {"Key": {"pk": {"S": "a"}}}},
        {"DeleteRequest": {"Key": {"pk": {"S": "b"}}}},
    ]});
    assert_eq!(asked, [both, left, put.clone(), put]);
}

#[tokio::test]
async fn an_export_is_of_the_table_by_its_arn() {
    let (script, endpoint) = Script::listen([
        (200, json!({"Table": {"TableArn": "arn:t", "TableSizeBytes": 7}})),
        (200, json!({"ExportDescription": {"ExportArn": "arn:e", "ExportStatus": "IN_PROGRESS"}})),
        (200, json!({"Table": {"TableArn": "arn:t", "TableSizeBytes": 7}})),
        (200, json!({"Table": {}})),
    ])
    .await;
    let store = aws_at(&endpoint).store("t");
    assert_eq!(store.export("b", "p/").await.unwrap(), "arn:e");
    assert_eq!(script.asked()[1].json(), json!({"TableArn": "arn:t", "S3Bucket": "b", "S3Prefix": "p/"}));
    assert_eq!(store.bytes().await.unwrap(), 7);
    assert!(matches!(store.bytes().await.unwrap_err(), StoreError::Unreadable(_)), "no size is no size of 0");
}

#[tokio::test]
async fn what_is_due_is_read_to_the_last_page() {
    let entry = |key: &str, since: i64| json!({"pk": {"S": key}, "created_at": {"N": since.to_string()}});
    let last = json!({"pk": {"S": "b"}, "due": {"S": "l"}, "not_before": {"N": "5"}});
    let (script, endpoint) = Script::listen([
        (200, json!({"Items": [entry("a", 2), entry("b", 3)], "LastEvaluatedKey": last})),
        (200, json!({"Items": [entry("c", 1)]})),
    ])
    .await;
    let due = aws_at(&endpoint).store("t").due("l", Timestamp::from_millis(9), 2).await.unwrap();
    assert_eq!(due, ["c", "a"], "those that have waited longest");
    let asked = script.asked();
    assert_eq!(asked[0].json().get("ExclusiveStartKey"), None);
    assert_eq!(asked[1].json()["ExclusiveStartKey"], last);
}
