//! One request, one effect, one answer: the record behind an idempotency key.
//!
//! ```text
//!                 BEGIN                              COMPLETE (token)
//!   +--------+ ----------> +---------------------+ ------------------> +-----------+
//!   | absent |             | in progress         |                     | completed |
//!   +--------+ <---------- | id, payload, token, | <-+                 +-----------+
//!       ^       WITHDRAW   | running_until       | --+ RESUME               |
//!       |       (token)    +---------------------+     new token, same id   |
//!       |                             | RELEASE (token): `running_until` 0  |
//!       +-----------------------------+-------------------------------------+
//!                          `kept_until` passes (no write needed)
//! ```
//!
//! The rules, each one guarded update:
//!
//! | rule | guard | effect |
//! |---|---|---|
//! | BEGIN | no record, or `kept_until` passed | a new `id`, this attempt's token, `running_until` |
//! | RESUME | in progress, same payload, `running_until` passed, `kept_until` not | this attempt's token, `running_until`; the `id` stays |
//! | COMPLETE | in progress, my token | the answer, kept for [`RETENTION`] |
//! | RELEASE | in progress, my token | `running_until` 0 |
//! | WITHDRAW | in progress, my token | no record |
//!
//! An attempt may die after its effect and before COMPLETE, and nobody can tell. So the record promises less than "the
//! work runs once": it promises that the work does not run *twice at a time*, and that each repetition is given the same
//! [`Begun::id`]. Work that names its effect by that id (`message#id`, written if absent) then has it once. The id is
//! drawn, not derived from the key: after [`RETENTION`] the same key is another request and has to have another id.
//!
//! For the same reason a failed attempt keeps the record, with id and payload; it is only no longer running. An answer
//! that says "this request is wrong, nothing was done" takes the record back, so that a caller may correct the request
//! under the same key; but only if it is the first attempt's: an earlier one may have done something.
//!
//! The token keeps an attempt that was taken for dead from completing another's record, and so two answers from leaving
//! for one key. This file refuses to know the time, a store, or what the work is.

use std::time::Duration;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::store::{Action, EXPIRES_AT, Item, Key, StoreError, Test, Update};

/// How long a record is kept after its last attempt began or its answer was given.
pub const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

const IN_PROGRESS: &str = "in_progress";
const COMPLETED: &str = "completed";

/// What an idempotency key is unique in: two callers, or two routes, cannot meet.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The caller's id.
    pub caller: &'a str,
    /// The route's method and path, as in the table of routes.
    pub route: &'a str,
    /// The key as the client sent it; it is not stored.
    pub key: &'a str,
}

/// One attempt's claim to a record.
#[derive(Clone, Debug)]
pub struct Claim {
    key: Key,
    caller: String,
    route: String,
    payload: String,
    token: String,
}

/// An attempt that may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The name of the effect: the same for each attempt at the same request, never that of another request.
    pub id: Uuid,
    /// Whether no attempt was made before this one.
    pub first: bool,
}

/// What becomes of a record when an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The answer is kept and given again.
    Complete,
    /// The next attempt goes on, with the same id and payload.
    Release,
    /// The next attempt begins anew.
    Withdraw,
}

impl Begun {
    /// What becomes of the record after an answer of `status`. Whatever invites the caller to try again may have had its
    /// effect; another 4xx says that nothing was done.
    pub fn ending(&self, status: u16) -> Ending {
        match status {
            ..=399 => Ending::Complete,
            408 | 409 | 425 | 429 | 500.. => Ending::Release,
            _ if self.first => Ending::Withdraw,
            _ => Ending::Release,
        }
    }
}

/// An answer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The handler's own headers: a JSON list of names and values.
    pub headers: String,
    /// The body.
    pub body: String,
}

/// What a record says to an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no record: [`Claim::begin`].
    Free,
    /// The record is this attempt's own.
    Own(Begun),
    /// Another attempt is running, until this time at the latest.
    Running(Timestamp),
    /// An attempt failed or died: [`Claim::resume`].
    Resumable,
    /// The key was used for another request.
    Reused,
    /// The answer was given; `own` when by this attempt.
    Completed {
        /// The answer.
        answer: Answer,
        /// Whether it is this attempt's.
        own: bool,
    },
}

impl Claim {
    /// A claim to the record of `scope` for a request that consists of `payload`. `token` is of this attempt alone.
    pub fn new(scope: Scope<'_>, payload: &[&[u8]], token: Uuid) -> Self {
        let name = digest(&[scope.caller.as_bytes(), scope.route.as_bytes(), scope.key.as_bytes()]);
        // With the client's key in front, which is not stored, a short payload cannot be guessed from its digest.
        let payload = [&[scope.key.as_bytes()], payload].concat();
        Self {
            key: format!("idempotency#{name}"),
            caller: scope.caller.to_owned(),
            route: scope.route.to_owned(),
            payload: digest(&payload),
            token: token.to_string(),
        }
    }

    /// What the record says at `now`.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] when it is none of ours.
    pub fn judge(&self, record: &Item, now: Timestamp) -> Result<Verdict, StoreError> {
        let Some(state) = record.text("state") else { return Ok(Verdict::Free) };
        let own = text(record, "token")? == self.token;
        if !own && time(record, "kept_until")? <= now {
            return Ok(Verdict::Free);
        }
        if text(record, "payload")? != self.payload {
            return Ok(Verdict::Reused);
        }
        match state {
            COMPLETED => {
                let status = number(record, "status")?.try_into().map_err(|_| unreadable("status"))?;
                let (headers, body) = (text(record, "headers")?.to_owned(), text(record, "body")?.to_owned());
                Ok(Verdict::Completed { answer: Answer { status, headers, body }, own })
            }
            IN_PROGRESS if own => {
                let id = text(record, "id")?.parse().map_err(|_| unreadable("id"))?;
                Ok(Verdict::Own(Begun { id, first: number(record, "attempt")? == 1 }))
            }
            IN_PROGRESS => {
                let until = time(record, "running_until")?;
                Ok(if now < until { Verdict::Running(until) } else { Verdict::Resumable })
            }
            _ => Err(unreadable("state")),
        }
    }

    /// BEGIN: the first attempt, taken to be alive until `until`; `id` is new.
    pub fn begin(&self, id: Uuid, until: Timestamp, now: Timestamp) -> Update {
        let free = [Test::Absent("state"), Test::AtMost("kept_until", now.as_millis())];
        keep(Update::of(&self.key).when(free), now).then([
            Action::Set("state", IN_PROGRESS.into()),
            Action::Set("id", id.to_string().into()),
            Action::Set("caller", self.caller.as_str().into()),
            Action::Set("route", self.route.as_str().into()),
            Action::Set("payload", self.payload.as_str().into()),
            Action::Set("token", self.token.as_str().into()),
            Action::Set("attempt", 1.into()),
            Action::Set("running_until", until.as_millis().into()),
            Action::Remove("status"),
            Action::Remove("headers"),
            Action::Remove("body"),
        ])
    }

    /// RESUME: another attempt at the same request, taken to be alive until `until`.
    pub fn resume(&self, until: Timestamp, now: Timestamp) -> Update {
        let update = Update::of(&self.key)
            .when([Test::Equals("state", IN_PROGRESS.into())])
            .when([Test::Equals("payload", self.payload.as_str().into())])
            .when([Test::AtMost("running_until", now.as_millis())])
            .when([Test::AtLeast("kept_until", now.as_millis().saturating_add(1))]);
        keep(update, now).then([
            Action::Set("token", self.token.as_str().into()),
            Action::Add("attempt", 1),
            Action::Set("running_until", until.as_millis().into()),
        ])
    }

    /// COMPLETE: this attempt's answer is the answer.
    pub fn complete(&self, answer: &Answer, now: Timestamp) -> Update {
        keep(self.own(), now).then([
            Action::Set("state", COMPLETED.into()),
            Action::Set("status", i64::from(answer.status).into()),
            Action::Set("headers", answer.headers.as_str().into()),
            Action::Set("body", answer.body.as_str().into()),
            Action::Remove("running_until"),
        ])
    }

    /// RELEASE: this attempt has failed.
    pub fn release(&self) -> Update {
        self.own().then([Action::Set("running_until", 0.into())])
    }

    /// WITHDRAW: this attempt has done nothing, and none was made before it.
    pub fn withdraw(&self) -> Update {
        self.own().then([Action::Remove("state"), Action::Remove("payload")])
    }

    fn own(&self) -> Update {
        Update::of(&self.key)
            .when([Test::Equals("state", IN_PROGRESS.into())])
            .when([Test::Equals("token", self.token.as_str().into())])
    }
}

fn keep(update: Update, now: Timestamp) -> Update {
    let until = now.after(RETENTION);
    update.then([
        Action::Set("kept_until", until.as_millis().into()),
        Action::Set(EXPIRES_AT, (until.as_seconds() + 1).into()),
    ])
}

/// SHA-256 of `parts`, each after its length, so that no two lists of parts look alike.
fn digest(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    hex::encode(digest.finalize())
}

fn text<'i>(record: &'i Item, name: &str) -> Result<&'i str, StoreError> {
    record.text(name).ok_or_else(|| unreadable(name))
}

fn number(record: &Item, name: &str) -> Result<i64, StoreError> {
    record.number(name).ok_or_else(|| unreadable(name))
}

fn time(record: &Item, name: &str) -> Result<Timestamp, StoreError> {
    number(record, name).map(Timestamp::from_millis)
}

fn unreadable(name: &str) -> StoreError {
    StoreError::Unreadable(format!("`{name}` of an idempotency record"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{MemoryStore, Outcome};

    const START: Timestamp = Timestamp::from_millis(1_795_233_000_000);
    const LEASE: Duration = Duration::from_secs(30);
    const SCOPE: Scope<'_> = Scope { caller: "key:portal", route: "POST /v1/emails", key: "k-1" };

    fn at(seconds: u64) -> Timestamp {
        START.after(Duration::from_secs(seconds))
    }

    fn claim(payload: &str, token: u128) -> Claim {
        Claim::new(SCOPE, &[payload.as_bytes()], Uuid::from_u128(token))
    }

    fn answer(body: &str) -> Answer {
        Answer { status: 202, headers: "[]".to_owned(), body: body.to_owned() }
    }

    fn applied(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Applied(_))
    }

    /// A store in which attempt 1 has begun at the start, under the id 7.
    fn begun() -> (MemoryStore, Claim) {
        let (store, first) = (MemoryStore::new(), claim("a", 1));
        assert!(applied(&store.apply(&first.begin(Uuid::from_u128(7), START.after(LEASE), START))));
        (store, first)
    }

    fn judged(store: &MemoryStore, claim: &Claim, now: Timestamp) -> Verdict {
        claim.judge(&store.read(&claim.key).unwrap_or_default(), now).expect("our own shape")
    }

    #[test]
    fn a_record_is_in_progress_then_completed_then_forgotten() {
        let (store, first) = begun();
        let second = claim("a", 2);
        assert_eq!(judged(&store, &first, START), Verdict::Own(Begun { id: Uuid::from_u128(7), first: true }));
        assert_eq!(judged(&store, &second, at(29)), Verdict::Running(at(30)));
        assert!(applied(&store.apply(&first.complete(&answer("x"), at(29)))));
        let day = RETENTION.as_secs();
        assert_eq!(judged(&store, &second, at(29 + day - 1)), Verdict::Completed { answer: answer("x"), own: false });
        assert_eq!(judged(&store, &second, at(29 + day)), Verdict::Free);
        let anew = second.begin(Uuid::from_u128(8), at(60 + day), at(28 + day));
        assert!(!applied(&store.apply(&anew)), "a day is not over");
        let anew = second.begin(Uuid::from_u128(8), at(60 + day), at(29 + day));
        let Outcome::Applied(item) = store.apply(&anew) else { panic!("the day is over") };
        assert_eq!((item.text("body"), item.number("attempt")), (None, Some(1)));
        assert_eq!(item.number(EXPIRES_AT), Some(at(29 + 2 * day + 1).as_seconds()));
    }

    #[test]
    fn a_dead_attempt_is_followed_by_one_with_its_id_and_comes_too_late_if_it_was_not_dead() {
        let (store, first) = begun();
        let second = claim("a", 2);
        assert!(!applied(&store.apply(&second.resume(at(59), at(29)))));
        assert_eq!(judged(&store, &second, at(30)), Verdict::Resumable);
        assert!(applied(&store.apply(&second.resume(at(60), at(30)))));
        assert_eq!(judged(&store, &second, at(30)), Verdict::Own(Begun { id: Uuid::from_u128(7), first: false }));
        for late in [first.complete(&answer("late"), at(31)), first.release(), first.withdraw()] {
            assert!(!applied(&store.apply(&late)));
        }
        assert!(applied(&store.apply(&second.complete(&answer("x"), at(32)))));
        assert_eq!(judged(&store, &first, at(33)), Verdict::Completed { answer: answer("x"), own: false });
    }

    #[test]
    fn a_failed_attempt_keeps_id_and_payload_and_a_withdrawn_one_nothing() {
        let (store, first) = begun();
        assert!(applied(&store.apply(&first.release())));
        assert!(applied(&store.apply(&first.release())), "a second try of the same update is no refusal");
        assert_eq!(judged(&store, &claim("b", 2), at(1)), Verdict::Reused);
        assert_eq!(judged(&store, &claim("a", 2), at(1)), Verdict::Resumable);
        assert!(!applied(&store.apply(&claim("b", 2).resume(at(31), at(1)))));
        let (store, first) = begun();
        assert!(applied(&store.apply(&first.withdraw())));
        let corrected = claim("b", 2);
        assert_eq!(judged(&store, &corrected, at(1)), Verdict::Free);
        assert!(applied(&store.apply(&corrected.begin(Uuid::from_u128(8), at(31), at(1)))));
    }

    #[test]
    fn only_a_first_attempt_that_was_refused_for_good_is_withdrawn() {
        let (first, again) = (Begun { id: Uuid::nil(), first: true }, Begun { id: Uuid::nil(), first: false });
        for status in [200, 202, 303] {
            assert_eq!([first.ending(status), again.ending(status)], [Ending::Complete; 2]);
        }
        for status in [408, 409, 425, 429, 500, 502, 503] {
            assert_eq!([first.ending(status), again.ending(status)], [Ending::Release; 2]);
        }
        for status in [400, 403, 404, 413, 422] {
            assert_eq!([first.ending(status), again.ending(status)], [Ending::Withdraw, Ending::Release]);
        }
    }

    #[test]
    fn no_two_scopes_and_no_two_payloads_look_alike() {
        let key = |caller, route, key| Claim::new(Scope { caller, route, key }, &[b"x"], Uuid::nil()).key;
        let keys = [key("a", "b", "c"), key("ab", "", "c"), key("a", "bc", ""), key("c", "b", "a"), key("", "abc", "")];
        let payload = |key, parts: &[&[u8]]| Claim::new(Scope { key, ..SCOPE }, parts, Uuid::nil()).payload;
        let payloads =
            [payload("k", &[b"ab"]), payload("k", &[b"a", b"b"]), payload("k", &[b"ab", b""]), payload("l", &[b"ab"])];
        let mut all = [keys.as_slice(), &payloads].concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), keys.len() + payloads.len());
        assert!(keys.iter().all(|key| key.len() == "idempotency#".len() + 64));
    }

    #[test]
    fn what_another_version_wrote_is_unreadable_and_not_guessed_at() {
        let (store, first) = begun();
        let whole = store.read(&first.key).expect("a record");
        for name in ["token", "kept_until", "payload", "running_until"] {
            let mut part = whole.clone();
            part.0.remove(name);
            assert!(matches!(claim("a", 2).judge(&part, START), Err(StoreError::Unreadable(_))), "without `{name}`");
        }
        for (name, value) in [("id", "seven"), ("state", "EXPIRED")] {
            let mut odd = whole.clone();
            odd.0.insert(name.to_owned(), value.into());
            assert!(matches!(first.judge(&odd, START), Err(StoreError::Unreadable(_))), "`{name}`");
        }
    }

    /// One attempt in the property below.
    struct Attempt {
        claim: Claim,
        payload: &'static str,
        /// What it was let in with, and until when it is taken to be alive.
        running: Option<(Begun, Timestamp)>,
    }

    proptest! {
        /// Attempts at one key in any interleaving, with any times between, which die, fail, are refused or answer late:
        /// nobody is let in while another is alive, one id names one payload's effect until it is forgotten, and every
        /// answer that leaves is the one that was kept.
        #[test]
        fn any_interleaving_has_one_runner_one_id_and_one_answer(
            steps in prop::collection::vec((0..6_usize, 0..6_u8, prop_oneof![6 => 0..20_u64, 2 => 20..60_u64, 1 => 80_000..90_000_u64]), 1..120),
        ) {
            let (store, mut now, mut drawn) = (MemoryStore::new(), START, 100);
            let payloads = ["a", "a", "a", "a", "b", "b"];
            let mut attempts: Vec<_> = payloads.iter().zip(1..).map(|(payload, token)| {
                Attempt { claim: claim(payload, token), payload, running: None }
            }).collect();
            // What the world knows: the payload of each id that work ran under, and the answer given last, with its end.
            let mut effects = std::collections::HashMap::new();
            let mut given: Option<(Answer, Timestamp)> = None;
            for (who, step, seconds) in steps {
                now = now.after(Duration::from_secs(seconds));
                if given.as_ref().is_some_and(|(_, until)| *until <= now) {
                    given = None;
                }
                let alive = attempts.iter().filter(|one| one.running.is_some_and(|(_, until)| now < until)).count();
                let attempt = &mut attempts[who];
                if let Some((begun, until)) = attempt.running {
                    let body = format!("by {who} at {now}");
                    let (claim, status) = (&attempt.claim, [202, 202, 503, 400, 0, 0][usize::from(step)]);
                    if status == 0 {
                        // It hangs, or it dies: nobody can tell the one from the other.
                        continue;
                    }
                    attempt.running = None;
                    let update = match begun.ending(status) {
                        Ending::Complete => claim.complete(&answer(&body), now),
                        Ending::Release => claim.release(),
                        Ending::Withdraw => claim.withdraw(),
                    };
                    let outcome = store.apply(&update);
                    prop_assert!(applied(&outcome) || until <= now, "an attempt in time is the owner");
                    if !applied(&outcome) {
                        continue;
                    }
                    match begun.ending(status) {
                        Ending::Complete => {
                            prop_assert!(given.is_none(), "a second answer");
                            given = Some((answer(&body), now.after(RETENTION)));
                        }
                        // Nothing was done under this id, as the work has said.
                        Ending::Withdraw => drop(effects.remove(&begun.id)),
                        Ending::Release => {}
                    }
                    continue;
                }
                drawn += 1;
                attempt.claim = claim(attempt.payload, drawn);
                let until = now.after(LEASE);
                let before = judged(&store, &attempt.claim, now);
                let update = match &before {
                    Verdict::Free => attempt.claim.begin(Uuid::from_u128(drawn), until, now),
                    Verdict::Resumable => attempt.claim.resume(until, now),
                    Verdict::Completed { answer, own } => {
                        prop_assert!(!own);
                        prop_assert_eq!(Some(answer), given.as_ref().map(|(answer, _)| answer));
                        continue;
                    }
                    Verdict::Running(_) | Verdict::Reused => {
                        // Neither rule would let it in.
                        let outcome = store.apply(&attempt.claim.begin(Uuid::from_u128(drawn), until, now));
                        prop_assert!(!applied(&outcome));
                        prop_assert!(!applied(&store.apply(&attempt.claim.resume(until, now))));
                        continue;
                    }
                    Verdict::Own(_) => return Err(TestCaseError::fail("a new token owns nothing")),
                };
                prop_assert!(applied(&store.apply(&update)));
                prop_assert_eq!(alive, 0, "let in beside a living attempt");
                prop_assert!(given.is_none(), "let in after the answer");
                let Verdict::Own(begun) = judged(&store, &attempt.claim, now) else {
                    return Err(TestCaseError::fail("let in, and not the owner"));
                };
                prop_assert_eq!(begun.first, before == Verdict::Free);
                prop_assert_eq!(begun.first, begun.id == Uuid::from_u128(drawn));
                prop_assert_eq!(*effects.entry(begun.id).or_insert(attempt.payload), attempt.payload);
                attempt.running = Some((begun, until));
            }
        }
    }
}
