//! Who changed what by hand: written before the change itself, so that no change goes without.
//!
//! If the change then fails the line stays, and says what was tried. Nobody ever changes one.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::store::{Action, EXPIRES_AT, Outcome, Store, StoreError, Test, Update};

/// Audit items are kept for a year.
const RETENTION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// One change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// The caller.
    pub(crate) who: &'a str,
    /// The kind of change, such as `company.enter_manually`.
    pub(crate) what: &'a str,
    /// What is changed, in words without personal data.
    pub(crate) target: &'a str,
    /// The former value as JSON; `null` when there was none.
    pub(crate) before: &'a str,
    /// The new value as JSON.
    pub(crate) after: &'a str,
    /// When.
    pub(crate) at: Timestamp,
}

/// Writes `entry`.
///
/// # Errors
/// Any [`StoreError`]: the change must then not be made.
pub(crate) async fn record(store: &dyn Store, entry: Entry<'_>) -> Result<(), StoreError> {
    let update = Update::of(format!("audit#{}#{}", entry.at.rfc3339(), uuid::Uuid::new_v4()))
        .when([Test::Absent("who")])
        .then([
            Action::Set("who", entry.who.into()),
            Action::Set("what", entry.what.into()),
            Action::Set("target", entry.target.into()),
            Action::Set("before", entry.before.into()),
            Action::Set("after", entry.after.into()),
            Action::Set("at", entry.at.as_millis().into()),
            Action::Set(EXPIRES_AT, entry.at.after(RETENTION).as_seconds().into()),
        ]);
    match store.update(&update).await? {
        Outcome::Applied(_) => Ok(()),
        Outcome::Refused(_) => Err(StoreError::Refused("the audit item exists already".into())),
    }
}
