//! The ledger of messages: what became of each, and what may be done about it next. Pure.
//!
//! ```text
//!              BEGIN                SENT            provider's events
//!   accepted --------> sending ------------> sent ---------------------> delivered < undelivered < bounced < complained
//!      |                |  |  ^                ^
//!      |  POSTPONE      |  |  | AGAIN          | SETTLE, or an event, or a late SENT
//!      v                |  |  |                |
//!   queued <------------+  +--+----------> in-doubt -----> queued (REPEAT: a person decided)
//!      |        DEFER          DOUBT           |
//!      +---------------------------------------+---------> failed (refused, expired, settled)
//! ```
//!
//! A message waits (`accepted`, `queued`) or is being sent; an attempt that is known not to have happened goes back to
//! waiting. From `sent` on every state has a rank and states only move up, so any order and any repetition of a
//! provider's events leads to the same state. An event also lifts a message out of waiting: whoever hears that a message
//! arrived does not send it again.
//!
//! Each rule is one guarded update. `attempt` is the token of whoever sends: it grows with each attempt, and only the
//! holder of the present one may say what became of it. This file refuses to know a provider, a queue or the time.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::planted::{Rule, broken};
use crate::store::{Action, CREATED_AT, DUE, EXPIRES_AT, Item, NOT_BEFORE, Test, Update};

/// The list of messages that wait for a person.
pub const IN_DOUBT: &str = "in_doubt";

/// How long a message is kept once it has come to an end. One that has not is kept until it has.
pub const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// For how long a message may be sent that a person has sent again.
pub const REPEAT_VALIDITY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is to be sent, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// In the item itself.
    Text(String),
    /// In a blob, under this key.
    Blob(String),
}

impl Body {
    fn read(item: &Item) -> Option<Self> {
        let text = |name| item.text(name).map(str::to_owned);
        text("body").map(Self::Text).or_else(|| text("blob").map(Self::Blob))
    }

    fn written(&self) -> Action {
        match self {
            Self::Text(text) => Action::Set("body", text.as_str().into()),
            Self::Blob(key) => Action::Set("blob", key.as_str().into()),
        }
    }
}

/// What a message has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Written down, not looked at yet.
    Accepted,
    /// Waiting for its time.
    Queued,
    /// An attempt is under way.
    Sending,
    /// Nobody knows whether an attempt happened.
    InDoubt,
    /// The provider has taken it.
    Sent,
    /// It will not be sent, or the provider gave up on it.
    Failed,
    /// It has arrived.
    Delivered,
    /// It has not arrived and will not.
    Undelivered,
    /// It came back.
    Bounced,
    /// Its recipient complained about it.
    Complained,
}

impl State {
    /// Every state, in the order of their ranks.
    pub const ALL: [Self; 10] = [
        Self::Accepted,
        Self::Queued,
        Self::Sending,
        Self::InDoubt,
        Self::Sent,
        Self::Failed,
        Self::Delivered,
        Self::Undelivered,
        Self::Bounced,
        Self::Complained,
    ];

    /// The name in the table and in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::InDoubt => "in_doubt",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Bounced => "bounced",
            Self::Complained => "complained",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing is left to be done by us.
    pub const fn is_settled(self) -> bool {
        self.rank() >= Self::Sent.rank()
    }

    /// Events move a message up, never down. Waiting has no rank of its own: a deferred message goes back to it.
    const fn rank(self) -> i64 {
        match self {
            Self::Accepted | Self::Queued => 0,
            Self::Sending => 10,
            Self::InDoubt => 20,
            Self::Sent => 30,
            Self::Failed => 40,
            Self::Delivered => 50,
            Self::Undelivered => 60,
            Self::Bounced => 70,
            Self::Complained => 80,
        }
    }
}

/// A new message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Its id, which also travels to the provider.
    pub id: String,
    /// The list it is worked off from: one per kind of message.
    pub list: &'static str,
    /// What is to be sent.
    pub body: Body,
    /// Who asked for it.
    pub caller: String,
    /// When that was.
    pub created_at: Timestamp,
    /// Not to be sent before.
    pub not_before: Timestamp,
    /// Not to be sent from here on.
    pub valid_until: Timestamp,
}

/// A message as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it has come to.
    pub state: State,
    /// The attempts written down so far; one whose slot was lost meanwhile was not made.
    pub attempt: i64,
    /// The list it is worked off from.
    pub list: String,
    /// What is to be sent.
    pub body: Body,
    /// Who asked for it.
    pub caller: String,
    /// When something is to be done about it; absent when nothing is.
    pub not_before: Option<Timestamp>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Not to be sent from here on.
    pub valid_until: Timestamp,
    /// Until when the attempt under way may take.
    pub until: Option<Timestamp>,
    /// The provider of the last attempt.
    pub provider: Option<String>,
    /// The provider's own name for the message.
    pub reference: Option<String>,
    /// Why it failed or did not arrive, as a stable word.
    pub error: Option<String>,
    /// When it came to its present end.
    pub ended_at: Option<Timestamp>,
}

impl Message {
    /// Reads an item; `None` when it is none of this version's.
    pub fn read(item: &Item) -> Option<Self> {
        let time = |name| item.number(name).map(Timestamp::from_millis);
        let text = |name| item.text(name).map(str::to_owned);
        Some(Self {
            state: State::parse(item.text("state")?)?,
            attempt: item.number("attempt")?,
            list: text("list")?,
            body: Body::read(item)?,
            caller: text("caller")?,
            not_before: time(NOT_BEFORE),
            created_at: time(CREATED_AT)?,
            valid_until: time("valid_until")?,
            until: time("until"),
            provider: text("provider"),
            reference: text("reference"),
            error: text("error"),
            ended_at: time("ended_at"),
        })
    }

    /// What is to be done about the message at `now`.
    pub fn next(&self, now: Timestamp) -> Next {
        match self.state {
            State::Accepted | State::Queued if now >= self.valid_until => Next::Expire,
            State::Accepted | State::Queued => match self.not_before {
                Some(at) if now < at => Next::Wait(at),
                Some(_) | None => Next::Send,
            },
            State::Sending => match self.until {
                Some(until) if now < until => Next::Wait(until),
                Some(_) | None if broken(Rule::LeftBehindIsDoubt) => Next::Nothing,
                Some(_) | None => Next::Doubt,
            },
            State::InDoubt
            | State::Sent
            | State::Failed
            | State::Delivered
            | State::Undelivered
            | State::Bounced
            | State::Complained => Next::Nothing,
        }
    }
}

/// What is to be done about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send it.
    Send,
    /// Come back at this time.
    Wait(Timestamp),
    /// An attempt was left behind: nobody knows.
    Doubt,
    /// It is too late for it.
    Expire,
    /// Nothing.
    Nothing,
}

/// The key of a message's item.
pub fn key(id: &str) -> String {
    format!("message#{id}")
}

/// The id of the message whose item has this key; `None` when it is not a message's.
pub fn id(key: &str) -> Option<&str> {
    key.strip_prefix("message#")
}

/// ACCEPT: the message is written down. A refusal means that it was before, and changes nothing.
pub fn accept(message: &NewMessage) -> Update {
    Update::of(key(&message.id)).when([Test::Absent("state")]).then([
        Action::Set("state", State::Accepted.name().into()),
        Action::Set("rank", State::Accepted.rank().into()),
        Action::Set("attempt", 0.into()),
        Action::Set("list", message.list.into()),
        message.body.written(),
        Action::Set("caller", message.caller.as_str().into()),
        Action::Set(CREATED_AT, message.created_at.as_millis().into()),
        Action::Set("valid_until", message.valid_until.as_millis().into()),
        Action::Set(DUE, message.list.into()),
        Action::Set(NOT_BEFORE, message.not_before.as_millis().into()),
        Action::Add("v", 1),
    ])
}

/// POSTPONE: a waiting message may not be sent before `until`.
pub fn postpone(id: &str, attempt: i64, until: Timestamp) -> Update {
    waiting(id, attempt).then([
        Action::Set("state", State::Queued.name().into()),
        Action::Set(NOT_BEFORE, until.as_millis().into()),
        Action::Add("v", 1),
    ])
}

/// BEGIN: attempt number `attempt + 1` is about to be made by `provider` and over by `until`.
pub fn begin(id: &str, attempt: i64, provider: &str, until: Timestamp) -> Update {
    attempting(waiting(id, attempt), attempt, provider, until)
}

/// AGAIN: attempt number `attempt` did not happen, and the next one is about to be made in the same pass.
pub fn again(id: &str, attempt: i64, provider: &str, until: Timestamp) -> Update {
    attempting(sending(id, attempt), attempt, provider, until)
}

fn attempting(update: Update, attempt: i64, provider: &str, until: Timestamp) -> Update {
    update.then([
        Action::Set("state", State::Sending.name().into()),
        Action::Set("rank", State::Sending.rank().into()),
        Action::Set("attempt", (attempt + 1).into()),
        Action::Set("provider", provider.into()),
        Action::Set("until", until.as_millis().into()),
        // If nobody says what became of it, it is looked at then.
        Action::Set(NOT_BEFORE, until.as_millis().into()),
        Action::Add("v", 1),
    ])
}

/// DEFER: attempt number `attempt` did not happen; the message waits until `until`.
pub fn defer(id: &str, attempt: i64, until: Timestamp) -> Update {
    sending(id, attempt).then([
        Action::Set("state", State::Queued.name().into()),
        Action::Set("rank", State::Queued.rank().into()),
        Action::Set(NOT_BEFORE, until.as_millis().into()),
        Action::Remove("until"),
        Action::Add("v", 1),
    ])
}

/// SENT: the provider has taken attempt number `attempt` and calls it `reference`. Also settles a doubt about it.
pub fn sent(id: &str, attempt: i64, reference: &str, now: Timestamp) -> Update {
    let of_it = Update::of(key(id)).when([Test::Equals("attempt", attempt.into())]).when([
        Test::Equals("state", State::Sending.name().into()),
        Test::Equals("state", State::InDoubt.name().into()),
    ]);
    ended(of_it, State::Sent, now).then([Action::Set("reference", reference.into())])
}

/// FAIL: the message will not be sent, for the reason `code`; attempt number `attempt` did not happen.
pub fn fail(id: &str, attempt: i64, code: &str, now: Timestamp) -> Update {
    let of_it = Update::of(key(id))
        .when([Test::Equals("attempt", attempt.into())])
        .when([Test::AtMost("rank", State::Sending.rank())]);
    ended(of_it, State::Failed, now).then([Action::Set("error", code.into())])
}

/// DOUBT: nobody knows whether attempt number `attempt` happened.
pub fn doubt(id: &str, attempt: i64, now: Timestamp) -> Update {
    sending(id, attempt).then([
        Action::Set("state", State::InDoubt.name().into()),
        Action::Set("rank", State::InDoubt.rank().into()),
        if broken(Rule::DoubtsAreListed) { Action::Remove(DUE) } else { Action::Set(DUE, IN_DOUBT.into()) },
        Action::Set(NOT_BEFORE, now.as_millis().into()),
        Action::Add("v", 1),
    ])
}

/// What a provider reports, for the reason `why` (a stable word) where there is one: the message moves up to `state`, or
/// stays where it is. `state` is a settled one.
pub fn report(id: &str, state: State, why: Option<&str>, now: Timestamp) -> Update {
    let bound = if broken(Rule::StatesOnlyMoveUp) { i64::MAX } else { state.rank() - 1 };
    let below = Update::of(key(id)).when([Test::AtMost("rank", bound)]);
    let update = ended(below, state, now);
    match why {
        Some(why) => update.then([Action::Set("error", why.into())]),
        None => update,
    }
}

/// SETTLE: a person knows what became of a message in doubt.
pub fn settle(id: &str, sent: bool, now: Timestamp) -> Update {
    ended(in_doubt(id), if sent { State::Sent } else { State::Failed }, now)
}

/// REPEAT: a person decides that a message in doubt is sent again, from `list`, within [`REPEAT_VALIDITY`].
pub fn repeat(id: &str, list: &str, now: Timestamp) -> Update {
    in_doubt(id).then([
        Action::Set("state", State::Queued.name().into()),
        Action::Set("rank", State::Queued.rank().into()),
        Action::Set(DUE, list.into()),
        Action::Set(NOT_BEFORE, now.as_millis().into()),
        Action::Set("valid_until", now.after(REPEAT_VALIDITY).as_millis().into()),
        Action::Remove("until"),
        Action::Add("v", 1),
    ])
}

fn waiting(id: &str, attempt: i64) -> Update {
    Update::of(key(id))
        .when([Test::AtMost("rank", State::Queued.rank())])
        .when([Test::Equals("attempt", attempt.into())])
}

fn sending(id: &str, attempt: i64) -> Update {
    Update::of(key(id))
        .when([Test::Equals("state", State::Sending.name().into())])
        .when([Test::Equals("attempt", attempt.into())])
}

fn in_doubt(id: &str) -> Update {
    Update::of(key(id)).when([Test::Equals("state", State::InDoubt.name().into())])
}

fn ended(update: Update, state: State, now: Timestamp) -> Update {
    update.then([
        Action::Set("state", state.name().into()),
        Action::Set("rank", state.rank().into()),
        Action::Set("ended_at", now.as_millis().into()),
        Action::Set(EXPIRES_AT, now.after(RETENTION).as_seconds().into()),
        Action::Remove(DUE),
        Action::Remove(NOT_BEFORE),
        Action::Remove("until"),
        Action::Add("v", 1),
    ])
}

/// Messages that were accepted together: one item, which becomes as many messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The list its messages are worked off from.
    pub list: String,
    /// A JSON array of what is to be sent.
    pub body: Body,
    /// How many messages that are.
    pub count: u32,
    /// Who asked for it.
    pub caller: String,
    /// When that was.
    pub created_at: Timestamp,
    /// Not to be sent from here on.
    pub valid_until: Timestamp,
    /// When each message had an item of its own; absent while some may not.
    pub expanded_at: Option<Timestamp>,
}

impl Batch {
    /// Reads an item; `None` when it is none of this version's.
    pub fn read(item: &Item) -> Option<Self> {
        let time = |name| item.number(name).map(Timestamp::from_millis);
        let text = |name| item.text(name).map(str::to_owned);
        Some(Self {
            list: text("list")?,
            body: Body::read(item)?,
            count: u32::try_from(item.number("count")?).ok()?,
            caller: text("caller")?,
            created_at: time(CREATED_AT)?,
            valid_until: time("valid_until")?,
            expanded_at: time("expanded_at"),
        })
    }
}

/// The key of a batch's item.
pub fn batch_key(id: &str) -> String {
    format!("batch#{id}")
}

/// The id of the batch whose item has this key; `None` when it is not a batch's.
pub fn batch_id(key: &str) -> Option<&str> {
    key.strip_prefix("batch#")
}

/// The id of message number `index`, from 0, of the batch `id`.
pub fn member(id: &str, index: usize) -> String {
    format!("{id}-{index}")
}

/// ACCEPT for a batch. A refusal means that it was accepted before, and changes nothing.
pub fn accept_batch(id: &str, batch: &Batch) -> Update {
    Update::of(batch_key(id)).when([Test::Absent(CREATED_AT)]).then([
        Action::Set("list", batch.list.as_str().into()),
        batch.body.written(),
        Action::Set("count", i64::from(batch.count).into()),
        Action::Set("caller", batch.caller.as_str().into()),
        Action::Set(CREATED_AT, batch.created_at.as_millis().into()),
        Action::Set("valid_until", batch.valid_until.as_millis().into()),
        Action::Set(DUE, batch.list.as_str().into()),
        Action::Set(NOT_BEFORE, batch.created_at.as_millis().into()),
        Action::Add("v", 1),
    ])
}

/// EXPANDED: each message of the batch has an item of its own.
pub fn expanded(id: &str, now: Timestamp) -> Update {
    Update::of(batch_key(id)).when([Test::Absent("expanded_at")]).then([
        Action::Set("expanded_at", now.as_millis().into()),
        Action::Set(EXPIRES_AT, now.after(RETENTION).as_seconds().into()),
        Action::Remove(DUE),
        Action::Remove(NOT_BEFORE),
        Action::Add("v", 1),
    ])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{MemoryStore, Outcome};

    const NOW: Timestamp = Timestamp::from_millis(1_795_233_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn accepted() -> MemoryStore {
        let store = MemoryStore::new();
        let message = NewMessage {
            id: "m".to_owned(),
            list: "email",
            body: Body::Text("{}".to_owned()),
            caller: "key:portal".to_owned(),
            created_at: NOW,
            not_before: NOW,
            valid_until: NOW.after(MINUTE * 60),
        };
        assert!(applied(&store, &accept(&message)));
        assert!(!applied(&store, &accept(&message)), "it is written down once");
        store
    }

    fn applied(store: &MemoryStore, update: &Update) -> bool {
        matches!(store.apply(update), Outcome::Applied(_))
    }

    fn message(store: &MemoryStore) -> Message {
        Message::read(&store.read("message#m").unwrap()).unwrap()
    }

    #[test]
    fn a_message_is_sent_by_one_attempt_and_leaves_the_list() {
        let store = accepted();
        assert_eq!(message(&store).next(NOW), Next::Send);
        assert!(applied(&store, &begin("m", 0, "ses", NOW.after(MINUTE))));
        assert!(!applied(&store, &begin("m", 0, "ses", NOW.after(MINUTE))), "another worker was first");
        assert_eq!(message(&store).next(NOW), Next::Wait(NOW.after(MINUTE)));
        assert!(applied(&store, &sent("m", 1, "ref", NOW)));
        let item = store.read("message#m").unwrap();
        assert_eq!((item.text("state"), item.text(DUE), item.number(NOT_BEFORE)), (Some("sent"), None, None));
        assert_eq!(message(&store).next(NOW.after(MINUTE * 999)), Next::Nothing);
    }

    #[test]
    fn an_attempt_left_behind_is_in_doubt_and_never_sent_again_by_itself() {
        let store = accepted();
        assert!(applied(&store, &begin("m", 0, "ses", NOW.after(MINUTE))));
        assert_eq!(message(&store).next(NOW.after(MINUTE)), Next::Doubt);
        assert!(applied(&store, &doubt("m", 1, NOW)));
        assert_eq!(message(&store).next(NOW.after(MINUTE * 99)), Next::Nothing);
        assert!(!applied(&store, &begin("m", 1, "ses", NOW)));
        assert_eq!(store.read("message#m").unwrap().text(DUE), Some(IN_DOUBT), "a person sees it");
        assert!(applied(&store, &sent("m", 1, "late", NOW)), "the attempt itself may still say that it happened");
    }

    #[test]
    fn a_person_settles_or_repeats_what_is_in_doubt_and_nothing_else() {
        for (update, state) in [
            (settle("m", true, NOW), State::Sent),
            (settle("m", false, NOW), State::Failed),
            (repeat("m", "email", NOW), State::Queued),
        ] {
            let store = accepted();
            assert!(!applied(&store, &update));
            assert!(applied(&store, &begin("m", 0, "ses", NOW)) && applied(&store, &doubt("m", 1, NOW)));
            assert!(applied(&store, &update));
            assert_eq!(message(&store).state, state);
        }
    }

    #[test]
    fn a_message_is_kept_until_it_has_come_to_an_end_and_then_for_a_month() {
        let kept = |store: &MemoryStore| store.read("message#m").unwrap().number(EXPIRES_AT);
        let store = accepted();
        assert!(applied(&store, &begin("m", 0, "ses", NOW)) && applied(&store, &doubt("m", 1, NOW)));
        assert_eq!(kept(&store), None, "a doubt does not go away by itself");
        let late = NOW.after(MINUTE * 60 * 24 * 7);
        assert!(applied(&store, &settle("m", true, late)));
        assert_eq!(kept(&store), Some(late.after(RETENTION).as_seconds()));
        assert!(applied(&store, &report("m", State::Bounced, Some("mailbox_full"), late.after(MINUTE))));
        assert_eq!(kept(&store), Some(late.after(MINUTE).after(RETENTION).as_seconds()));
        assert_eq!(message(&store).error.as_deref(), Some("mailbox_full"));
    }

    #[test]
    fn what_a_person_repeats_long_after_it_expired_is_sent_all_the_same() {
        let store = accepted();
        assert!(applied(&store, &begin("m", 0, "ses", NOW)) && applied(&store, &doubt("m", 1, NOW)));
        let late = NOW.after(MINUTE * 60 * 24 * 7);
        assert!(applied(&store, &repeat("m", "email", late)));
        assert_eq!(message(&store).next(late), Next::Send);
        assert_eq!(message(&store).next(late.after(REPEAT_VALIDITY)), Next::Expire);
    }

    #[test]
    fn a_batch_is_written_down_once_and_stands_on_its_list_until_it_is_expanded() {
        let store = MemoryStore::new();
        let batch = Batch {
            list: "email".to_owned(),
            body: Body::Blob("message/b".to_owned()),
            count: 1_000,
            caller: "key:portal".to_owned(),
            created_at: NOW,
            valid_until: NOW.after(MINUTE),
            expanded_at: None,
        };
        let item = || store.read("batch#b").unwrap();
        assert!(applied(&store, &accept_batch("b", &batch)) && !applied(&store, &accept_batch("b", &batch)));
        assert_eq!((Batch::read(&item()), item().text(DUE)), (Some(batch), Some("email")));
        assert!(applied(&store, &expanded("b", NOW)) && !applied(&store, &expanded("b", NOW)));
        assert_eq!((item().text(DUE), item().number(NOT_BEFORE)), (None, None));
        assert!(!applied(&store, &accept_batch("b", &Batch::read(&item()).unwrap())), "it does not begin anew");
        assert_eq!((batch_id("batch#b"), batch_id("message#b"), member("b", 0)), (Some("b"), None, "b-0".to_owned()));
    }

    #[test]
    fn what_expires_while_waiting_is_not_sent() {
        let store = accepted();
        assert_eq!(message(&store).next(NOW.after(MINUTE * 60)), Next::Expire);
        assert!(applied(&store, &postpone("m", 0, NOW.after(MINUTE))));
        assert_eq!(message(&store).next(NOW), Next::Wait(NOW.after(MINUTE)));
        assert!(applied(&store, &fail("m", 0, "expired", NOW)));
        assert_eq!(message(&store).state, State::Failed);
    }

    #[test]
    fn states_are_told_by_their_names() {
        for state in State::ALL {
            assert_eq!(State::parse(state.name()), Some(state));
        }
        assert_eq!(State::parse("lost"), None);
    }

    const REPORTS: [State; 6] =
        [State::Sent, State::Failed, State::Delivered, State::Undelivered, State::Bounced, State::Complained];

    proptest! {
        /// Any order and any repetition of a provider's events ends in the same state.
        #[test]
        fn events_in_any_order_lead_to_one_state(
            order in prop::collection::vec(prop::sample::select(REPORTS.to_vec()), 1..12), sending in any::<bool>(),
        ) {
            let store = accepted();
            if sending {
                prop_assert!(applied(&store, &begin("m", 0, "ses", NOW)));
            }
            for state in &order {
                let before = message(&store).state;
                prop_assert_eq!(applied(&store, &report("m", *state, None, NOW)), *state > before);
            }
            prop_assert_eq!(message(&store).state, order.into_iter().max().unwrap());
        }

        /// Whatever is tried in whatever order: an attempt begins only on a waiting message, a settled one is not on a
        /// list, everything else is on exactly one, and attempts only grow.
        #[test]
        fn any_history_keeps_the_invariants(steps in prop::collection::vec((0..10_u8, 0..4_i64), 1..60)) {
            let store = accepted();
            for (step, attempt) in steps {
                let before = message(&store);
                let update = match step {
                    0 => begin("m", attempt, "ses", NOW),
                    1 => again("m", attempt, "ses", NOW),
                    2 => defer("m", attempt, NOW),
                    3 => postpone("m", attempt, NOW),
                    4 => sent("m", attempt, "r", NOW),
                    5 => fail("m", attempt, "x", NOW),
                    6 => doubt("m", attempt, NOW),
                    7 => report("m", REPORTS[usize::try_from(attempt).unwrap()], None, NOW),
                    8 => settle("m", true, NOW),
                    _ => repeat("m", "email", NOW),
                };
                let changed = applied(&store, &update);
                let after = message(&store);
                prop_assert!(changed || after == before);
                prop_assert!(after.attempt >= before.attempt);
                if after.attempt > before.attempt {
                    prop_assert!(!before.state.is_settled() && before.state != State::InDoubt);
                    prop_assert_eq!(after.state, State::Sending);
                }
                prop_assert!(!before.state.is_settled() || after.state >= before.state, "a settled message only moves up");
                let item = store.read("message#m").unwrap();
                let waiting = if after.state == State::InDoubt { IN_DOUBT } else { "email" };
                let list = (!after.state.is_settled()).then_some(waiting);
                prop_assert_eq!(item.text(DUE), list);
                prop_assert_eq!(item.number(NOT_BEFORE).is_some(), list.is_some());
            }
        }
    }
}
