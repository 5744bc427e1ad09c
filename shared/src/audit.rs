//! Who changed what by hand: written before the change itself, so that no change goes without.
//!
//! If the change then fails the line stays, and says what was tried. Nobody ever changes one.
//!
//! The lines of a day (UTC) are on a list of their own, by the index that lists what waits: there they wait to be read.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::clock::Timestamp;
use crate::store::{Action, DUE, EXPIRES_AT, Item, NOT_BEFORE, Outcome, Store, StoreError, Test, Update};

/// Audit items are kept for a year.
const RETENTION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How many changes of one day are listed at most.
pub const MAX_OF_A_DAY: u32 = 1_000;

/// One change.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The caller.
    pub who: &'a str,
    /// The kind of change, such as `company.enter_manually`.
    pub what: &'a str,
    /// What is changed, in words without personal data.
    pub target: &'a str,
    /// The former value as JSON; `null` when there was none.
    pub before: &'a str,
    /// The new value as JSON.
    pub after: &'a str,
    /// When.
    pub at: Timestamp,
}

/// Writes `entry`.
///
/// # Errors
/// Any [`StoreError`]: the change must then not be made.
pub async fn record(store: &dyn Store, entry: Entry<'_>) -> Result<(), StoreError> {
    let update = Update::of(format!("audit#{}#{}", entry.at.rfc3339(), uuid::Uuid::new_v4()))
        .when([Test::Absent("who")])
        .then([
            Action::Set("who", entry.who.into()),
            Action::Set("what", entry.what.into()),
            Action::Set("target", entry.target.into()),
            Action::Set("before", entry.before.into()),
            Action::Set("after", entry.after.into()),
            Action::Set("at", entry.at.as_millis().into()),
            Action::Set(DUE, list(entry.at).into()),
            Action::Set(NOT_BEFORE, entry.at.as_millis().into()),
            Action::Set(EXPIRES_AT, entry.at.after(RETENTION).as_seconds().into()),
        ]);
    match store.update(&update).await? {
        Outcome::Applied(_) => Ok(()),
        Outcome::Refused(_) => Err(StoreError::Refused("the audit item exists already".into())),
    }
}

/// A change on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The caller.
    pub who: String,
    /// The kind of change, such as `settings.change`.
    pub what: String,
    /// What was changed, in words without personal data.
    pub target: String,
    /// The former value as JSON; `null` when there was none.
    pub before: String,
    /// The new value as JSON.
    pub after: String,
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
}

fn rfc3339<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.rfc3339())
}

impl Record {
    fn read(item: &Item) -> Option<Self> {
        let text = |name| item.text(name).map(str::to_owned);
        Some(Self {
            who: text("who")?,
            what: text("what")?,
            target: text("target")?,
            before: text("before")?,
            after: text("after")?,
            at: item.number("at").map(Timestamp::from_millis)?,
        })
    }
}

/// The changes of the day (UTC) that `at` lies in, oldest first: the first [`MAX_OF_A_DAY`] of them.
///
/// # Errors
/// Any [`StoreError`].
pub async fn of_day(store: &dyn Store, at: Timestamp) -> Result<Vec<Record>, StoreError> {
    let keys = store.due(&list(at), Timestamp::from_millis(i64::MAX), MAX_OF_A_DAY).await?;
    let mut records = Vec::with_capacity(keys.len());
    for keys in keys.chunks(100) {
        let items = store.get_many(keys).await?;
        records.extend(items.iter().flatten().filter_map(Record::read));
    }
    Ok(records)
}

/// The list that the lines of a day are on.
fn list(at: Timestamp) -> String {
    let time = at.rfc3339();
    format!("audit#{}", time.get(..10).unwrap_or(&time))
}
