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
