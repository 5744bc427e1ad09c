//! `cargo xtask forget`: takes away what is kept of a person, with the credentials of whoever runs it.
//!
//! `ieum::forget` has the rules, and `infra/security.md` says what stays. Nothing is written down of whom was asked about.

use ieum::aws::AwsError;
use ieum::blobs::Erase;
use ieum::clock::{Clock, SystemClock};
use ieum::forget::{self, ForgetError, Person, Places, Report};

use crate::own_aws::{OwnAwsError, own_aws};

/// Who is forgotten, and where.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The stage, which names the table and the buckets; `local` is a running `cargo up`.
    pub stage: String,
    /// What the person is known by.
    pub person: Person,
    /// Whether it is done, and not only said what would be.
    pub really: bool,
}

/// Why nothing, or not everything, was forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgettingError {
    /// AWS cannot be called.
    #[error(transparent)]
    Aws(#[from] OwnAwsError),
    /// The buckets of the stage are not to be seen.
    #[error("the buckets of this account cannot be listed")]
    Buckets(#[source] AwsError),
    /// A bucket of the stage is not there.
    #[error("this account has no bucket `{0}…`: is it the right account and stage?")]
    NoBucket(String),
    /// Something did not answer.
    #[error(transparent)]
    Forget(#[from] ForgetError),
}

/// Forgets the person, or says what that would be.
///
/// # Errors
/// [`ForgettingError`]. What is gone stays gone; doing it again does no harm.
pub async fn run(options: &Options) -> Result<Report, ForgettingError> {
    let aws = own_aws().await?;
    let names = aws.s3().buckets().await.map_err(ForgettingError::Buckets)?;
    // An account's number ends the name of each bucket (template.yaml).
    let bucket = |beginning: String| {
        let of_account = |name: &&String| {
            name.strip_prefix(&beginning)
                .is_some_and(|rest| rest.len() == 12 && rest.bytes().all(|b| b.is_ascii_digit()))
        };
        let found = names.iter().find(of_account).map(|name| (name.as_str(), aws.blobs(name)));
        found.ok_or(ForgettingError::NoBucket(beginning))
    };
    let stage = &options.stage;
    let (kept, pictures) = (bucket(format!("ieum-{stage}-"))?, bucket(format!("ieum-{stage}-pictures-"))?);
    let (archive, table) = (bucket(format!("ieum-{stage}-archive-"))?, aws.store(&format!("ieum-{stage}")));
    let [kept, pictures] = [&kept, &pictures].map(|(name, bucket)| (*name, bucket as &dyn Erase));
    let places = Places { table: &table, bucket: kept, pictures, archive: &archive.1 };
    Ok(forget::run(places, &options.person, SystemClock.now(), options.really).await?)
}

/// The report, a line for each kind. Nothing in it says who it is about.
pub fn told(report: &Report, really: bool) -> String {
    let mut text = format!("{} items were read\n", report.read);
    let gone = if really { "taken away" } else { "would be taken away" };
    for (kind, count) in &report.gone {
        text.push_str(&format!("{kind}: {count} {gone}\n"));
    }
    text.push_str(&format!("files in the buckets: {} {gone}\n", report.files));
    for (kind, count) in &report.on_their_way {
        text.push_str(&format!("{kind}: {count} still on their way or in doubt: settle them, and run this again\n"));
    }
    for ((kind, why), count) in &report.stays {
        text.push_str(&format!("{kind}: {count} stay: {why}\n"));
    }
    text.push_str("suppressions stay: a hash, so that nobody is written to again who did not want it\n");
    if !really {
        text.push_str("nothing was taken away: `--yes` does it\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_told_with_its_reason() {
        let mut report = Report { read: 9, files: 2, ..Report::default() };
        report.gone.insert("message".to_owned(), 3);
        report.on_their_way.insert("webhook".to_owned(), 1);
        report.stays.insert(("audit".to_owned(), "a reason"), 1);
        let (dry, done) = (told(&report, false), told(&report, true));
        for line in [
            "message: 3 would be taken away\n",
            "webhook: 1 still on their way",
            "audit: 1 stay: a reason\n",
            "`--yes`",
        ] {
            assert!(dry.contains(line), "{line}: {dry}");
        }
        assert!(done.contains("message: 3 taken away\n") && !done.contains("`--yes`"), "{done}");
    }
}
