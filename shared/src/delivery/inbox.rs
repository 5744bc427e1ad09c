//! The ledger of webhooks: what was received, and what became of it. Pure.
//!
//! ```text
//!   RECEIVE             BEGIN                  END
//!  ----------> received ------> processing ------------> done | ignored | failed
//!                  ^  ^              |                            |
//!                  |  +-- LATER -----+                            |
//!                  +------------------- AGAIN, REPLAY ------------+
//! ```
//!
//! A webhook is written down before its sender hears 200, and stands on a list until it has come to an end. Processing may
//! be repeated: what it does is a merge, and the same twice is the same once. So an attempt that was left behind is simply
//! made again, unlike that of a message.
//!
//! What has come to an end goes onto a list of its status and day (UTC), ordered by the time of receipt, so that it can be
//! found and replayed without reading the whole table: the one index `due` serves for both.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::store::{Action, DUE, EXPIRES_AT, Item, NOT_BEFORE, Test, Update};

/// How long a webhook is kept.
pub const RETENTION: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// How long it is tried.
pub const PATIENCE: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// What has become of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Written down.
    Received,
    /// Somebody is at it.
    Processing,
    /// It has had its effect.
    Done,
    /// There is nothing for us in it.
    Ignored,
    /// It will not have an effect, and a person should know.
    Failed,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Received, Self::Processing, Self::Done, Self::Ignored, Self::Failed];

    /// The name in the table and in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Processing => "processing",
            Self::Done => "done",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether nothing is left to be done.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Ignored | Self::Failed)
    }
}

/// A webhook about to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWebhook {
    /// Who sent it.
    pub provider: &'static str,
    /// The name of the delivery, unique for its sender.
    pub delivery: String,
    /// The list it is worked off from.
    pub list: &'static str,
    /// The body as it is kept.
    pub body: Body,
    /// SHA-256 of the body as it came, in hexadecimal.
    pub digest: String,
    /// The headers that were kept, as a JSON object.
    pub headers: String,
    /// What proved it, in words; `None` for a hint.
    pub proof: Option<String>,
}

/// A body as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// As text.
    Text(String),
    /// In base64, because it is no text.
    Base64(String),
    /// Elsewhere, under this key.
    Blob(String),
}

impl Body {
    const fn attribute(&self) -> &'static str {
        match self {
            Self::Text(_) => "body",
            Self::Base64(_) => "body_b64",
            Self::Blob(_) => "blob",
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Base64(text) | Self::Blob(text) => text,
        }
    }
}

/// A webhook as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Who sent it.
    pub provider: String,
    /// The name of the delivery.
    pub delivery: String,
    /// What has become of it.
    pub status: Status,
    /// The list it is worked off from.
    pub list: String,
    /// The body as it is kept.
    pub body: Body,
    /// The headers that were kept, as a JSON object.
    pub headers: String,
    /// What proved it, in words; `None` for a hint.
    pub proof: Option<String>,
    /// When it was received first.
    pub received_at: Timestamp,
    /// Attempts ever begun; the number of the present one is its token.
    pub attempts: i64,
    /// Attempts that had been begun when it was last received or replayed.
    pub earlier: i64,
    /// How often the same was received.
    pub arrivals: i64,
    /// When something is to be done.
    pub not_before: Option<Timestamp>,
    /// Until when it is tried.
    pub valid_until: Timestamp,
    /// What came of it, as a stable word.
    pub outcome: Option<String>,
}

impl Webhook {
    /// Reads an item; `None` when it is none of this version's.
    pub fn read(item: &Item) -> Option<Self> {
        let time = |name| item.number(name).map(Timestamp::from_millis);
        let text = |name| item.text(name).map(str::to_owned);
        let body = (text("body").map(Body::Text))
            .or_else(|| text("body_b64").map(Body::Base64))
            .or_else(|| text("blob").map(Body::Blob))?;
        Some(Self {
            provider: text("provider")?,
            delivery: text("delivery")?,
            status: Status::parse(item.text("status")?)?,
            list: text("list")?,
            body,
            headers: text("headers")?,
            proof: text("proof"),
            received_at: time("received_at")?,
            attempts: item.number("attempts")?,
            earlier: item.number("earlier")?,
            arrivals: item.number("arrivals")?,
            not_before: time(NOT_BEFORE),
            valid_until: time("valid_until")?,
            outcome: text("outcome"),
        })
    }

    /// Where it stands on its list: by when it is due, or by when it was received once it has come to an end.
    pub fn listed_at(&self) -> Timestamp {
        self.not_before.unwrap_or(self.received_at)
    }

    /// What an operator may see of it in a list: never its body, which may be about a person.
    pub fn summary(&self) -> Value {
        json!({
            "id": format!("{}:{}", self.provider, self.delivery),
            "provider": self.provider,
            "status": self.status.name(),
            "outcome": self.outcome,
            "verified_by": self.proof,
            "received_at": self.received_at.rfc3339(),
            "arrivals": self.arrivals,
            "attempts": self.attempts,
        })
    }

    /// The key of its item.
    pub fn key(&self) -> String {
        key(&self.provider, &self.delivery)
    }

    /// Attempts begun since it was last received or replayed.
    pub fn tries(&self) -> u32 {
        u32::try_from(self.attempts.saturating_sub(self.earlier)).unwrap_or(0)
    }

    /// What is to be done about it at `now`.
    pub fn next(&self, now: Timestamp) -> Next {
        match self.status {
            Status::Done | Status::Ignored | Status::Failed => Next::Nothing,
            // Whoever has it in hand is over by then, or dead.
            Status::Received | Status::Processing => match self.not_before {
                Some(at) if now < at => Next::Wait(at),
                Some(_) | None if now >= self.valid_until => Next::Expire,
                Some(_) | None => Next::Process,
            },
        }
    }
}

/// What is to be done about a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Process it.
    Process,
    /// Its time comes then.
    Wait(Timestamp),
    /// It was tried for long enough.
    Expire,
    /// Nothing.
    Nothing,
}

/// The key of a webhook's item.
pub fn key(provider: &str, delivery: &str) -> String {
    format!("webhook#{provider}#{delivery}")
}

/// Whether this is the key of a webhook's item.
pub fn is_key(key: &str) -> bool {
    key.starts_with("webhook#")
}

/// The list of the webhooks of `list` that came to `status` and were received on the day (UTC) of `received_at`.
pub fn archive(list: &str, status: Status, received_at: Timestamp) -> String {
    let day = received_at.rfc3339();
    format!("{list}.{}.{}", status.name(), day.get(..10).unwrap_or(&day))
}

/// RECEIVE: the webhook is written down. A refusal means that it was before, and changes nothing.
pub fn receive(webhook: &NewWebhook, now: Timestamp) -> Update {
    let update = Update::of(key(webhook.provider, &webhook.delivery)).when([Test::Absent("status")]).then([
        Action::Set("provider", webhook.provider.into()),
        Action::Set("delivery", webhook.delivery.as_str().into()),
        Action::Set("list", webhook.list.into()),
        Action::Set(webhook.body.attribute(), webhook.body.text().into()),
        Action::Set("digest", webhook.digest.as_str().into()),
        Action::Set("headers", webhook.headers.as_str().into()),
        Action::Set("received_at", now.as_millis().into()),
        Action::Set("arrivals", 1.into()),
    ]);
    let update = match &webhook.proof {
        Some(proof) => update
            .then([Action::Set("proof", proof.as_str().into()), Action::Set("verified_at", now.as_millis().into())]),
        None => update,
    };
    waiting(update.then([Action::Set("attempts", 0.into())]), webhook.list, 0, now)
}

/// AGAIN: the same was received again, and may be about something new: what has ended begins anew, and what is being
/// processed is to be looked at once more. What waits is left alone.
pub fn again(webhook: &Webhook, now: Timestamp) -> Update {
    let update = same(webhook).then([Action::Add("arrivals", 1)]);
    if webhook.status.is_ended() {
        waiting(update, &webhook.list, webhook.attempts, now)
    } else {
        update.then([Action::Add("v", 1)])
    }
}

/// REPLAY: what has ended is processed again, because a person says so. Whether it was verified is not asked again.
pub fn replay(webhook: &Webhook, now: Timestamp) -> Update {
    waiting(same(webhook).then([Action::Add("replays", 1)]), &webhook.list, webhook.attempts, now)
}

/// BEGIN: attempt number `attempts + 1` begins and is over by `until`.
pub fn begin(webhook: &Webhook, until: Timestamp) -> Update {
    Update::of(webhook.key())
        .when([Test::Equals("attempts", webhook.attempts.into())])
        .when([
            Test::Equals("status", Status::Received.name().into()),
            Test::Equals("status", Status::Processing.name().into()),
        ])
        .then([
            Action::Set("status", Status::Processing.name().into()),
            Action::Set("attempts", (webhook.attempts + 1).into()),
            // If nobody says what became of it, it is looked at then.
            Action::Set(NOT_BEFORE, until.as_millis().into()),
            Action::Add("v", 1),
        ])
}

/// END: the attempt under way, which `webhook` was read after, has led to `status`, in a stable word `outcome`. Refused
/// when the same was received again meanwhile: then it is to be looked at once more.
pub fn end(webhook: &Webhook, status: Status, outcome: &str, now: Timestamp) -> Update {
    mine(webhook).when([Test::Equals("arrivals", webhook.arrivals.into())]).then([
        Action::Set("status", status.name().into()),
        Action::Set("outcome", outcome.into()),
        Action::Set("ended_at", now.as_millis().into()),
        Action::Set(DUE, archive(&webhook.list, status, webhook.received_at).into()),
        Action::Set(NOT_BEFORE, webhook.received_at.as_millis().into()),
        Action::Add("v", 1),
    ])
}

/// LATER: the attempt under way came to nothing, for the reason `outcome`; the next is made from `at` on.
pub fn later(webhook: &Webhook, outcome: &str, at: Timestamp) -> Update {
    mine(webhook).then([
        Action::Set("status", Status::Received.name().into()),
        Action::Set("outcome", outcome.into()),
        Action::Set(NOT_BEFORE, at.as_millis().into()),
        Action::Add("v", 1),
    ])
}

fn same(webhook: &Webhook) -> Update {
    Update::of(webhook.key())
        .when([Test::Equals("status", webhook.status.name().into())])
        .when([Test::Equals("attempts", webhook.attempts.into())])
}

/// The attempt under way, which `webhook` was read after.
fn mine(webhook: &Webhook) -> Update {
    same(&Webhook { status: Status::Processing, ..webhook.clone() })
}

/// It waits to be processed, from now on.
fn waiting(update: Update, list: &str, earlier: i64, now: Timestamp) -> Update {
    update.then([
        Action::Set("status", Status::Received.name().into()),
        Action::Set("earlier", earlier.into()),
        Action::Set("valid_until", now.after(PATIENCE).as_millis().into()),
        Action::Set(EXPIRES_AT, now.after(RETENTION).as_seconds().into()),
        Action::Set(DUE, list.into()),
        Action::Set(NOT_BEFORE, now.as_millis().into()),
        Action::Add("v", 1),
    ])
}
