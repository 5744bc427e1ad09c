//! One suite for every store: the written rules, then random histories compared with a second, independent store.
//!
//! A store that passes behaves, update by update and read by read, as the memory store does. Run it against anything
//! new before trusting it with state.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a failed expectation is a failed test")]

use std::sync::Arc;

use futures_util::future::join_all;

use super::{Action, CREATED_AT, DUE, Item, MemoryStore, NOT_BEFORE, Outcome, Read, Store, Test, Update, Value};
use crate::clock::Timestamp;

/// Seeds for [`check_random`], so that every store is asked the same histories.
pub const SEEDS: [u64; 8] = [1, 2, 3, 5, 8, 13, 21, 34];

/// Attributes the random histories use. One is a reserved word of DynamoDB's expression language.
const NAMES: [&str; 4] = ["state", "count", "until", "token"];

/// Checks the written rules on `store`, which may hold other items already.
pub async fn check(store: &dyn Store) {
    let key = format!("conformance#{}", uuid::Uuid::new_v4());
    assert_eq!(store.get(&key, Read::Consistent).await.expect("get"), None, "absence is not an error");
    let long = "k".repeat(2_049);
    assert_eq!(store.get(&long, Read::Consistent).await.expect("get"), None, "what no key can be is absent too");
    assert_eq!(store.get_many(&[long, key.clone()]).await.expect("get"), [None, None]);

    let refused = Update::of(&key).when([Test::AtMost("count", 9)]).then([Action::Add("count", 1)]);
    assert_eq!(
        store.update(&refused).await.expect("update"),
        Outcome::Refused(None),
        "a comparison with an absent attribute fails and creates nothing"
    );
    assert_eq!(store.get(&key, Read::Consistent).await.expect("get"), None);

    let first = Update::of(&key).when([Test::Absent("count"), Test::AtMost("count", 0)]).then([
        Action::Add("count", 1),
        Action::Set("state", "열림 \"open\"".into()),
        Action::SetIfAbsent("until", 7.into()),
    ]);
    let expected = item([("count", 1.into()), ("state", "열림 \"open\"".into()), ("until", 7.into())]);
    assert_eq!(store.update(&first).await.expect("update"), Outcome::Applied(expected.clone()));
    assert_eq!(
        store.update(&first).await.expect("update"),
        Outcome::Refused(Some(expected.clone())),
        "a refusal returns the item as it is"
    );
    assert_eq!(store.get(&key, Read::Consistent).await.expect("get"), Some(expected));

    let second = Update::of(&key)
        .when([Test::Equals("state", "열림 \"open\"".into())])
        .when([Test::AtLeast("until", 7)])
        .then([Action::SetIfAbsent("until", 9.into()), Action::Remove("state"), Action::Add("count", -3)]);
    let expected = item([("count", (-2).into()), ("until", 7.into())]);
    assert_eq!(store.update(&second).await.expect("update"), Outcome::Applied(expected.clone()));

    let mistyped = Update::of(&key).when([Test::Equals("count", "-2".into())]).then([Action::Remove("count")]);
    assert_eq!(store.update(&mistyped).await.expect("update"), Outcome::Refused(Some(expected.clone())));

    let (lowest, highest) = (i64::MIN + 1, i64::MAX);
    let extremes = Update::of(&key).then([Action::Set("count", lowest.into()), Action::Set("until", highest.into())]);
    let expected = item([("count", lowest.into()), ("until", highest.into())]);
    assert_eq!(store.update(&extremes).await.expect("update"), Outcome::Applied(expected.clone()));

    let missing = format!("{key}#missing");
    let many = store.get_many(&[missing.clone(), key.clone(), key.clone()]).await.expect("get_many");
    assert_eq!(many, [None, Some(expected.clone()), Some(expected)], "in the order asked, absence in its place");
    assert_eq!(store.get_many(&[]).await.expect("get_many"), []);
}

/// Checks the list of what is due on `store`, whose index may be a moment behind.
pub async fn check_due(store: &dyn Store) {
    let list = format!("conformance-{}", uuid::Uuid::new_v4());
    let put = async |name: &str, at: i64| {
        let key = format!("{list}#{name}");
        let update =
            Update::of(&key).then([Action::Set(DUE, list.as_str().into()), Action::Set(NOT_BEFORE, at.into())]);
        store.update(&update).await.expect("update");
        key
    };
    let (late, early, later) = (put("b", 20).await, put("a", 10).await, put("c", 30).await);
    let off_the_list = Update::of(put("d", 5).await).then([Action::Remove(DUE)]);
    store.update(&off_the_list).await.expect("update");
    let due = async |until: i64, limit| store.due(&list, Timestamp::from_millis(until), limit).await.expect("due");
    assert_eq!(due(20, 9).await, [early.clone(), late.clone()], "oldest first, to the millisecond");
    assert_eq!(due(99, 1).await, std::slice::from_ref(&early));
    assert_eq!(due(9, 9).await, [""; 0]);
    let between = async |from: i64, until: i64| {
        let (from, until) = (Timestamp::from_millis(from), Timestamp::from_millis(until));
        store.listed(&list, from, until, 9).await.expect("listed")
    };
    assert_eq!(between(20, 30).await, [late.clone(), later.clone()], "both ends are included");
    assert_eq!(between(21, 29).await, [""; 0]);
    assert_eq!(between(30, 20).await, [""; 0], "a range that ends before it begins");
    put("a", 40).await;
    assert_eq!(due(99, 9).await, [late.clone(), later.clone(), early.clone()], "an item moves with its time");
    for (key, since) in [(&early, 1), (&later, 25)] {
        store.update(&Update::of(key).then([Action::Set(CREATED_AT, since.into())])).await.expect("update");
    }
    assert_eq!(due(99, 9).await, [early.clone(), late.clone(), later.clone()], "who has waited longest is first");
    assert_eq!(due(39, 9).await, [late.clone(), later.clone()], "but nobody before its time");
    assert_eq!(due(99, 1).await, [early]);
}

/// Runs `histories` random histories of `length` updates and reads against `store` and a fresh memory store, which must
/// agree on every answer. The same `seed` gives the same histories.
pub async fn check_random(store: &dyn Store, seed: u64, histories: u32, length: u32) {
    let mut random = fastrand::Rng::with_seed(seed);
    for history in 0..histories {
        let prefix = format!("conformance#{}", uuid::Uuid::new_v4());
        let model = MemoryStore::new();
        for step in 0..length {
            let place = format!("seed {seed}, history {history}, step {step}");
            let key = format!("{prefix}#{}", random.u8(0..3));
            if random.u8(0..8) == 0 {
                let got = store.get(&key, Read::Consistent).await.expect(&place);
                assert_eq!(got, model.read(&key), "{place}");
                continue;
            }
            let update = random_update(&mut random, key);
            let got = store.update(&update).await.expect(&place);
            assert_eq!(got, model.apply(&update), "{place}: {update:?}");
        }
    }
}

/// Lets `tasks` tasks at once add one to the same number, `each` times each. No addition may be lost or made twice, and a
/// guard stops whoever comes after the last.
pub async fn check_contended(store: Arc<dyn Store>, tasks: u32, each: u32) {
    let key = format!("conformance#{}", uuid::Uuid::new_v4());
    let all = i64::from(tasks) * i64::from(each);
    let below = Update::of(&key).when([Test::Absent("count"), Test::AtMost("count", all - 1)]);
    let add = below.then([Action::Add("count", 1)]);
    let adding = (0..tasks).map(|_| {
        let (store, add) = (Arc::clone(&store), add.clone());
        tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..each {
                let outcome = store.update(&add).await.expect("update");
                assert!(matches!(outcome, Outcome::Applied(_)), "refused before the last: {outcome:?}");
                seen.extend(outcome.into_item().number("count"));
            }
            seen
        })
    });
    let seen = join_all(adding.collect::<Vec<_>>()).await;
    let mut seen: Vec<i64> = seen.into_iter().flat_map(|task| task.expect("a task that adds")).collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=all).collect::<Vec<_>>(), "each addition is told what it alone has made");
    let left = store.get(&key, Read::Consistent).await.expect("get");
    assert_eq!(left, Some(item([("count", all.into())])));
    assert_eq!(store.update(&add).await.expect("update"), Outcome::Refused(left));
}

fn random_update(random: &mut fastrand::Rng, key: String) -> Update {
    let mut update = Update::of(key);
    for _ in 0..random.u8(0..3) {
        let tests = (0..random.u8(1..3)).map(|_| random_test(random)).collect();
        update.guards.push(tests);
    }
    // An attribute may be named by one action only.
    let mut names = NAMES;
    random.shuffle(&mut names);
    for name in &names[..random.usize(1..=3)] {
        // Numbers live in `count` and `until`, so that `Add` always meets one.
        let numeric = matches!(*name, "count" | "until");
        update.actions.push(match (random.u8(0..4), numeric) {
            (0, true) => Action::Add(name, random.i64(-3..4)),
            (1, _) => Action::Remove(name),
            (2, _) => Action::SetIfAbsent(name, random_value(random, numeric)),
            _ => Action::Set(name, random_value(random, numeric)),
        });
    }
    update
}

fn random_test(random: &mut fastrand::Rng) -> Test {
    let name = NAMES[random.usize(..NAMES.len())];
    let number = random.bool();
    match random.u8(0..4) {
        0 => Test::Absent(name),
        1 => Test::Equals(name, random_value(random, number)),
        2 => Test::AtMost(name, random.i64(-3..4)),
        _ => Test::AtLeast(name, random.i64(-3..4)),
    }
}

fn random_value(random: &mut fastrand::Rng, number: bool) -> Value {
    if number {
        Value::Number(random.i64(-3..4))
    } else {
        Value::Text(["", "닫힘", "open"][random.usize(..3)].to_owned())
    }
}

fn item<const N: usize>(attributes: [(&str, Value); N]) -> Item {
    Item(attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
