//! `DynamoStore` behaves as the memory store does: the conformance suite against a DynamoDB embedded in this process.
//!
//! Time is real here, because the requests cross a socket; nothing waits for it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use dynoxide::Database;
use futures_util::future::join_all;
use ieum::clock::{Clock, CorrectedClock, SystemClock, Timestamp};
use ieum::http::HttpClient;
use ieum::store::{Action, DynamoStore, MemoryStore, Outcome, Read, Store, StoreError, Test, Update, conformance};
use ieum::testing::{dynamodb_at, dynamodb_over};

const TABLE: &str = "ieum";

/// The address of the one embedded DynamoDB of these tests. It runs on a thread of its own and ends with the process.
static ENDPOINT: LazyLock<String> = LazyLock::new(|| {
    let database = Database::memory().unwrap();
    let table = serde_json::json!({
        "TableName": TABLE,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "due", "AttributeType": "S"},
            {"AttributeName": "not_before", "AttributeType": "N"},
        ],
        "GlobalSecondaryIndexes": [{
            "IndexName": "due",
            "KeySchema": [
                {"AttributeName": "due", "KeyType": "HASH"},
                {"AttributeName": "not_before", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["created_at"]},
        }],
        "BillingMode": "PAY_PER_REQUEST",
    });
    database.create_table(serde_json::from_value(table).unwrap()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            dynoxide::server::serve_on(listener, database).await;
        });
    });
    format!("http://{address}")
});

pub(crate) fn embedded() -> DynamoStore {
    dynamodb_at(&ENDPOINT, TABLE)
}

#[tokio::test]
async fn the_written_rules_hold() {
    conformance::check(&embedded()).await;
    conformance::check_due(&embedded()).await;
}

#[tokio::test]
async fn the_histories_every_store_is_asked_have_the_same_answers_as_in_memory() {
    for seed in conformance::SEEDS {
        conformance::check_random(&embedded(), seed, 25, 20).await;
    }
}

/// `IEUM_SEED` repeats the histories of an earlier run; a failure names its seed.
#[tokio::test]
async fn any_history_has_the_same_answers_as_in_memory() {
    let seed = std::env::var("IEUM_SEED").ok().map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    conformance::check_random(&embedded(), seed, 200, 20).await;
}

#[tokio::test]
async fn the_memory_store_agrees_with_a_second_one_on_the_same_histories() {
    for seed in conformance::SEEDS {
        conformance::check_random(&MemoryStore::new(), seed, 25, 20).await;
    }
}

#[tokio::test]
async fn concurrent_increments_lose_nothing() {
    conformance::check_contended(Arc::new(embedded()), 32, 200).await;
}

#[tokio::test]
async fn concurrent_increments_lose_nothing_in_memory_either() {
    conformance::check_contended(Arc::new(MemoryStore::new()), 32, 200).await;
}

/// Exactly one of many rivals for the same thing gets it, as with the probe of a circuit.
#[tokio::test]
async fn of_many_claims_one_wins_and_the_losers_see_the_winner() {
    let store = Arc::new(embedded());
    let claims = (0..32_i64).map(|claimant| {
        let store = Arc::clone(&store);
        let claim = Update::of("claim#1").when([Test::Absent("token")]).then([Action::Set("token", claimant.into())]);
        tokio::spawn(async move { store.update(&claim).await.unwrap() })
    });
    let outcomes: Vec<_> = join_all(claims.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Applied(_))).count(), 1);
    let holders: Vec<_> = outcomes.into_iter().map(|outcome| outcome.into_item().number("token")).collect();
    assert!(holders[0].is_some() && holders.iter().all(|holder| *holder == holders[0]), "{holders:?}");
}

#[tokio::test]
async fn names_and_values_are_never_part_of_an_expression() {
    let store = embedded();
    for hostile in ["\"; DROP #x", ":v0", "#count = :v1", "한글 \u{1F600}\u{0}", &"x".repeat(10_000)] {
        let key = format!("hostile#{}", hostile.chars().take(500).collect::<String>());
        let update = Update::of(&key)
            .when([Test::Absent("state"), Test::Equals("state", hostile.into())])
            .then([Action::Set("state", hostile.into()), Action::Add("count", 1)]);
        for times in 1..=2 {
            let item = store.update(&update).await.unwrap().into_item();
            assert_eq!((item.text("state"), item.number("count")), (Some(hostile), Some(times)));
        }
    }
}

/// What every operation says, one by one, about a store that fails.
async fn failures(store: &DynamoStore) -> [StoreError; 3] {
    let update = Update::of("k").then([Action::Set("state", "x".into())]);
    [
        store.get("k", Read::Consistent).await.unwrap_err(),
        store.get_many(&["k".to_owned()]).await.unwrap_err(),
        store.update(&update).await.unwrap_err(),
    ]
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_unreachable() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for error in failures(&dynamodb_at(&format!("http://{nobody}"), TABLE)).await {
        assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_missing_table_is_a_refusal() {
    for error in failures(&dynamodb_at(&ENDPOINT, "elsewhere")).await {
        assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    }
}

/// Answers every request with this error, as DynamoDB words it.
async fn always(status: u16, code: &'static str) -> DynamoStore {
    let status = http::StatusCode::from_u16(status).unwrap();
    let body = serde_json::json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "x"});
    let answer = move || async move { (status, [("content-type", "application/x-amz-json-1.0")], body.to_string()) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    dynamodb_at(&format!("http://{address}"), TABLE)
}

#[tokio::test]
async fn a_store_that_asks_to_slow_down_is_alive() {
    for code in ["ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"] {
        for error in failures(&always(400, code).await).await {
            assert!(matches!(error, StoreError::Throttled(_)), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_store_that_fails_inside_is_unreachable_and_one_that_denies_access_is_not() {
    for error in failures(&always(500, "InternalServerError").await).await {
        assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    }
    for error in failures(&always(400, "AccessDeniedException").await).await {
        assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    }
}

#[tokio::test]
async fn what_another_version_wrote_is_unreadable_and_not_guessed_at() {
    let put = |key: &str, attribute: serde_json::Value| {
        let item = serde_json::json!({"pk": {"S": key}, "state": attribute});
        let body = serde_json::json!({"TableName": TABLE, "Item": item}).to_string();
        let mut request = ieum::http::Outgoing::get(ENDPOINT.parse().unwrap());
        request.method = http::Method::POST;
        request.body = body.into();
        for (name, value) in [
            ("x-amz-target", "DynamoDB_20120810.PutItem"),
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-date", "20261121T035000Z"),
            ("authorization", AUTHORIZATION),
        ] {
            request.headers.insert(name, value.parse().unwrap());
        }
        async move { HttpClient::new(None).unwrap().exchange(request).await.unwrap().status }
    };
    for (key, attribute) in [("odd#1", serde_json::json!({"BOOL": true})), ("odd#2", serde_json::json!({"N": "1.5"}))] {
        assert_eq!(put(key, attribute).await, 200);
        let error = embedded().get(key, Read::Consistent).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unreadable(what) if what.contains("`state`")), "{error:?}");
    }
}

const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=test/20261121/ap-northeast-2/dynamodb/aws4_request, SignedHeaders=host;x-amz-date, Signature=00";

/// The machine's clock, five seconds ahead.
#[derive(Debug)]
struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().after(Duration::from_secs(5))
    }
}

#[tokio::test]
async fn every_answer_corrects_the_clock() {
    let clock = Arc::new(CorrectedClock::new(Arc::new(Ahead)));
    let store = dynamodb_over(HttpClient::new(None).unwrap().correcting(Arc::clone(&clock)), &ENDPOINT, TABLE);
    let off = || clock.now().as_millis() - SystemClock.now().as_millis();
    assert!((4_900..=5_100).contains(&off()), "{}", off());
    store.get("warm", Read::Consistent).await.unwrap();
    // Half a second, half a slow trip, and the moment between two looks.
    assert!(off().abs() <= 1_100, "{}", off());
}
