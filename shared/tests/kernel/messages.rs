//! What surrounds a message: large bodies, batches, recipients who get nothing or not so much, reports that come at any
//! time, and what a person decides.

use std::time::Duration;

use ieum::delivery::ledger::{self, Body, State};
use ieum::delivery::messages::{Decided, Decision, Messages, Reported};
use ieum::delivery::worker::Done;
use ieum::error::ApiError;
use ieum::resilience::rate_limit::RatePolicy;
use ieum::runtime::Worker;
use ieum::store::EXPIRES_AT;
use std::sync::Arc;
use tokio::time::{Instant, sleep};

use crate::delivery::{Mood, Text, World, killed_after, text_to};
use crate::support::secs;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl World {
    fn messages(&self) -> Messages {
        Messages::new(self.store.clone(), Arc::clone(&self.clock))
    }

    async fn accept_batch(&self, id: &str, contents: &[Text]) {
        self.worker().accept_batch(id, contents, "key:portal", self.clock.now().after(DAY)).await.unwrap();
    }

    /// Brings the message `id` into doubt.
    async fn doubt(&self, id: &str) {
        let worker = self.worker();
        self.accept(&worker, id).await.unwrap();
        self.mood(Mood::Silent);
        assert_eq!(worker.deliver(id, Instant::now() + secs(20)).await.unwrap(), Done::InDoubt);
        self.mood(Mood::Taking);
    }

    fn state(&self, id: &str) -> State {
        self.message(id).unwrap().state
    }

    /// What is on record: what was done, and by whom.
    fn audits(&self) -> Vec<(String, String)> {
        let items = self.store.inner.items_with("audit#");
        let mut audits: Vec<(String, String)> = items
            .iter()
            .map(|item| (item.text("what").unwrap().to_owned(), item.text("who").unwrap().to_owned()))
            .collect();
        audits.sort();
        audits
    }
}

fn batch(count: usize) -> Vec<Text> {
    (0..count).map(|number| text_to(&format!("to{number}"))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_large_body_lies_in_a_blob_that_was_there_before_its_message() {
    let large = Text { to: "a".to_owned(), text: "이음".repeat(60_000) };
    for polls in 0..12 {
        let world = World::new(1, 0, 0);
        let worker = world.worker();
        let valid_until = world.clock.now().after(DAY);
        killed_after(polls, worker.accept("m", &large, "key:portal", valid_until)).await;
        if let Some(message) = world.message("m") {
            assert_eq!(message.body, Body::Blob("message/m".to_owned()));
            assert_eq!(world.shelf.0.keys(), ["message/m"], "killed at {polls}");
            world.go_on(&worker, secs(180)).await;
            world.check("m", &format!("killed at {polls}")).await;
        }
    }
    let mut world = World::new(1, 0, 0);
    world.accept_batch("b", std::slice::from_ref(&large)).await;
    world.worker().accept("m", &large, "key:portal", world.clock.now().after(DAY)).await.unwrap();
    world.go_on(&world.worker(), secs(5)).await;
    assert_eq!((world.state("b-0"), world.state("m")), (State::Sent, State::Sent));
    world.worker().accept("gone", &large, "key:portal", world.clock.now().after(DAY)).await.unwrap();
    world.shelf = Arc::default();
    world.go_on(&world.worker(), secs(5)).await;
    let gone = world.message("gone").unwrap();
    assert_eq!((gone.state, gone.error.as_deref()), (State::Failed, Some("unreadable")));
}

#[tokio::test(start_paused = true)]
async fn a_batch_becomes_as_many_messages_whoever_is_killed_meanwhile() {
    const COUNT: usize = 30;
    let mut whole = false;
    for polls in 0..100 {
        let world = World::new(u64::from(polls), 0, 0);
        world.accept_batch("b", &batch(COUNT)).await;
        world.accept_batch("b", &batch(COUNT)).await;
        world.queue.due();
        let done = killed_after(polls, world.worker().expand("b", Instant::now() + secs(20))).await;
        whole |= done.is_some();
        // The queue has not been told that the wake-up was handled, so it hands it out again.
        world.queue.again(ledger::batch_key("b"), secs(10));
        world.go_on(&world.worker(), secs(300)).await;
        for index in 0..COUNT {
            let (id, place) = (ledger::member("b", index), format!("killed at {polls}"));
            world.check(&id, &place).await;
            assert_eq!(world.taken(&id), 1, "{place}");
        }
        let item = world.store.inner.read("batch#b").unwrap();
        assert!(item.text("due").is_none() && item.number(EXPIRES_AT).is_some(), "killed at {polls}");
    }
    assert!(whole, "nobody came to the end");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_expanded_over_a_store_and_a_queue_that_lose_things() {
    for seed in 0..10 {
        let world = World::new(seed, 40, 8);
        let contents = batch(40);
        while world.worker().accept_batch("b", &contents, "key:portal", world.clock.now().after(DAY)).await.is_err() {}
        world.go_on(&world.worker(), secs(3_600)).await;
        for index in 0..40 {
            world.check(&ledger::member("b", index), &format!("seed {seed}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_has_no_time_left_comes_again_and_says_how_far_it_is() {
    let world = World::new(1, 0, 0);
    world.accept_batch("b", &batch(60)).await;
    let (worker, messages) = (world.worker(), world.messages());
    assert!(worker.work("batch#b", Instant::now()).await.is_err(), "it is reported, and handed out again");
    let known = messages.batch("b").await.unwrap().unwrap();
    assert_eq!((known.count, known.expanded_at), (60, None));
    assert_eq!(messages.states("b", &known).await.unwrap(), vec![None; 60]);
    worker.work("batch#b", Instant::now() + secs(20)).await.unwrap();
    assert_eq!(messages.states("b", &known).await.unwrap(), vec![Some(State::Accepted); 60]);
    assert_eq!(world.message("b-59").unwrap().created_at, known.created_at, "it is as old as its batch");
    assert!(messages.batch("b").await.unwrap().unwrap().expanded_at.is_some());
    assert_eq!(messages.batch("c").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_on_the_list_gets_nothing_until_it_is_lifted() {
    let world = World::new(1, 0, 0);
    let (worker, recipients) = (world.worker(), world.recipients());
    recipients.suppress("m", "bounced", "ses").await.unwrap();
    recipients.suppress("m", "complained", "ses").await.unwrap();
    let why = recipients.suppression("m").await.unwrap().unwrap();
    assert_eq!((why.reason.as_str(), why.by.as_str()), ("bounced", "ses"));
    assert!(why.since < world.clock.now());
    world.accept(&worker, "m").await.unwrap();
    world.accept(&worker, "other").await.unwrap();
    world.go_on(&worker, secs(5)).await;
    let refused = world.message("m").unwrap();
    assert_eq!((refused.state, refused.error.as_deref(), world.taken("m")), (State::Failed, Some("suppressed"), 0));
    assert_eq!(world.state("other"), State::Sent);

    assert!(recipients.lift("m", "key:desk").await.unwrap());
    assert!(!recipients.lift("m", "key:desk").await.unwrap() && !recipients.lift("n", "key:desk").await.unwrap());
    assert_eq!(recipients.suppression("m").await.unwrap(), None);
    assert!(!recipients.any_suppressed(&["m".to_owned(), "n".to_owned()]).await.unwrap());
    recipients.suppress_by_hand("n", "by_hand", "key:desk").await.unwrap();
    assert!(recipients.any_suppressed(&["m".to_owned(), "n".to_owned()]).await.unwrap());
    let audits = [("suppression.add", "key:desk"), ("suppression.lift", "key:desk")];
    assert_eq!(world.audits(), audits.map(|(what, who)| (what.to_owned(), who.to_owned())));
    let items = format!("{:?}", world.store.inner.items_with(""));
    assert!(items.contains("suppression#test#"), "the list knows an address by its digest");
}

#[tokio::test(start_paused = true)]
async fn one_recipient_is_written_to_as_often_as_the_rate_allows() {
    let mut world = World::new(1, 0, 0);
    world.each = RatePolicy::new(2, secs(60), 2, Duration::ZERO);
    let (a, b) = (["a".to_owned()], ["b".to_owned(), "a".to_owned()]);
    let recipients = world.recipients();
    recipients.admit(&a).await.unwrap();
    recipients.admit(&a).await.unwrap();
    let refused: ApiError = recipients.admit(&b).await.unwrap_err();
    assert_eq!(refused.code().status, 429);
    sleep(secs(31)).await;
    recipients.admit(&a).await.unwrap();

    // What was accepted together waits its turn instead.
    let to_one: Vec<Text> = (0..6).map(|_| text_to("c")).collect();
    world.accept_batch("b", &to_one).await;
    let (worker, began) = (world.worker(), Instant::now());
    world.go_on(&worker, secs(300)).await;
    let taken = world.post.taken.lock().unwrap();
    let mut times: Vec<u64> = taken.values().map(|at| (at[0] - began).as_secs()).collect();
    times.sort_unstable();
    assert_eq!(times.len(), 6);
    for (place, at) in times.iter().enumerate().skip(2) {
        assert!(*at >= 30 * (place as u64 - 1), "message {place} left after {at} s");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_is_listed_until_a_person_decides() {
    let world = World::new(3, 0, 0);
    let messages = world.messages();
    for id in ["a", "b", "c"] {
        world.doubt(id).await;
        sleep(secs(1)).await;
    }
    let listed = async |from| {
        let listed = messages.in_doubt(from, 2).await.unwrap();
        listed.into_iter().map(|one| (one.id, one.message.not_before.unwrap())).collect::<Vec<_>>()
    };
    let first = listed(world.clock.now().before(DAY)).await;
    assert_eq!(first.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b"], "the oldest first");
    assert_eq!(listed(first[1].1).await.last().unwrap().0, "c", "and on from the last");

    assert_eq!(messages.decide("a", Decision::Sent, "key:desk").await.unwrap(), Decided::Done);
    assert_eq!(messages.decide("b", Decision::Failed, "key:desk").await.unwrap(), Decided::Done);
    let taken = world.taken("c");
    assert_eq!(messages.decide("c", Decision::Repeat, "key:desk").await.unwrap(), Decided::Done);
    assert_eq!(messages.decide("c", Decision::Repeat, "key:desk").await.unwrap(), Decided::NotInDoubt(State::Queued));
    assert_eq!(messages.decide("d", Decision::Sent, "key:desk").await.unwrap(), Decided::Unknown);
    assert_eq!(messages.waiting(crate::delivery::LIST, world.clock.now().before(DAY), 9).await.unwrap()[0].id, "c");
    world.go_on(&world.worker(), secs(180)).await;
    assert_eq!([world.state("a"), world.state("b"), world.state("c")], [State::Sent, State::Failed, State::Sent]);
    assert_eq!(world.taken("c"), taken + 1, "a person took the risk");
    assert!(listed(world.clock.now().before(DAY)).await.is_empty());
    let done = ["message.repeat", "message.settle_as_failed", "message.settle_as_sent"];
    assert_eq!(world.audits(), done.map(|what| (what.to_owned(), "key:desk".to_owned())));
    assert_eq!(
        ["sent", "failed", "repeat", "again"].map(Decision::parse).map(|one| one.is_some()),
        [true, true, true, false]
    );
}

#[tokio::test(start_paused = true)]
async fn a_report_may_come_at_any_time_and_only_moves_a_message_up() {
    let world = World::new(1, 0, 0);
    let (worker, messages) = (world.worker(), world.messages());
    assert_eq!(messages.report("m", State::Delivered, None).await.unwrap(), Reported::Unknown);
    assert!(world.message("m").is_none(), "a report makes no message");
    world.accept(&worker, "m").await.unwrap();
    assert_eq!(messages.report("m", State::Queued, None).await.unwrap(), Reported::Known);
    // It came before the worker: whoever hears that a message arrived does not send it again.
    assert_eq!(messages.report("m", State::Delivered, None).await.unwrap(), Reported::Moved);
    world.go_on(&worker, secs(180)).await;
    assert_eq!((world.state("m"), world.taken("m")), (State::Delivered, 0));
    assert_eq!(messages.report("m", State::Sent, None).await.unwrap(), Reported::Known);
    assert_eq!(messages.report("m", State::Complained, Some("abuse")).await.unwrap(), Reported::Moved);
    assert_eq!(messages.report("m", State::Bounced, Some("late")).await.unwrap(), Reported::Known);
    let complained = messages.get("m").await.unwrap().unwrap();
    assert_eq!((complained.state, complained.error.as_deref()), (State::Complained, Some("abuse")));

    world.doubt("n").await;
    assert_eq!(messages.report("n", State::Delivered, None).await.unwrap(), Reported::Moved);
    assert!(messages.in_doubt(world.clock.now().before(DAY), 9).await.unwrap().is_empty(), "the doubt is settled");
}
