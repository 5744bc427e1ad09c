//! Backups: made when a schedule says so, read back when another does, and missed when neither has.

use std::sync::Arc;
use std::time::Duration;

use ieum::backup::{self, BackupError, Manifest, Whole, latest};
use ieum::blobs::Blobs;
use ieum::clock::{SharedClock, Timestamp};
use ieum::error::chain;
use ieum::provider::Cause;
use ieum::resilience::health::{Finding, Reason};
use ieum::resilience::schedule::Calendar;
use ieum::store::{Action, Item, Store, StoreError, Update};
use ieum::telemetry::METRIC;
use tokio::time::Instant;

/// What is backed up, and when: as the schedules of `template.yaml` have it.
pub const BACKUPS: [(&str, Calendar); 2] = [
    ("table/daily", Calendar { at: Duration::from_secs(3 * 3_600), sundays: false }),
    ("table/weekly", Calendar { at: Duration::from_secs(3 * 3_600 + 30 * 60), sundays: true }),
];

/// How long a run may take: Lambda ends it after 15 minutes.
const LIMIT: Duration = Duration::from_secs(14 * 60);

/// A table of more bytes than this is not read within that time, and exported by DynamoDB.
const MOST_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// The table, the archive, and what is remembered of their backups.
#[derive(Clone)]
pub struct Backups {
    /// What is written down.
    pub table: Arc<dyn Whole>,
    /// Where it is written.
    pub archive: Arc<dyn Blobs>,
    /// The archive's name.
    pub bucket: String,
    /// Where it is remembered.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: SharedClock,
}

impl std::fmt::Debug for Backups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backups").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

/// The item of a backup.
fn key(of: &str) -> String {
    format!("backup#{of}")
}

impl Backups {
    /// Writes the table down as `of`, and remembers what became of it.
    ///
    /// # Errors
    /// There is no new backup.
    pub async fn make(&self, of: &str) -> Result<(), Cause> {
        known(of)?;
        let made = match self.table.bytes().await? {
            bytes if bytes > MOST_BYTES => {
                backup::export(&*self.table, &*self.archive, &self.bucket, of, self.clock.now()).await
            }
            _ => backup::make(&*self.table, &*self.archive, of, &*self.clock, Instant::now() + LIMIT).await,
        };
        match made {
            Ok(manifest) => Ok(self.remember(&manifest).await?),
            Err(error) => {
                tracing::error!(target: "ieum::health_cron", of, error = chain(&error), "backup.failed");
                let now = self.clock.now().as_millis().into();
                self.store.update(&Update::of(key(of)).then([Action::Set("short_at", now)])).await?;
                Err(error.into())
            }
        }
    }

    /// The metric says that it has been made: an alarm waits for it.
    async fn remember(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let Manifest { of, items, sha256, started_at, .. } = manifest;
        let (items, parts) = (i64::try_from(*items).unwrap_or(i64::MAX), manifest.parts.len());
        let update = Update::of(key(of)).then([
            Action::Set("started_at", started_at.as_str().into()),
            Action::Set("ended_at", self.clock.now().as_millis().into()),
            Action::Set("items", items.into()),
            Action::Set("sha256", sha256.as_str().into()),
            Action::Remove("short_at"),
            Action::Remove("corrupt_at"),
        ]);
        self.store.update(&update).await?;
        let exported = manifest.export.is_some();
        tracing::info!(target: METRIC, integration = of, backup_run = 1, items, parts, sha256, exported, "backup.made");
        Ok(())
    }

    /// Reads the newest backup of `of` back, and remembers whether it is what was written.
    ///
    /// # Errors
    /// It is not, or could not be read.
    pub async fn check(&self, of: &str) -> Result<(), Cause> {
        known(of)?;
        let checked = self.read_back(of).await;
        let now = self.clock.now().as_millis().into();
        let update = Update::of(key(of));
        match checked {
            Ok(items) => {
                self.store.update(&update.then([Action::Set("read_at", now), Action::Remove("corrupt_at")])).await?;
                tracing::info!(target: "ieum::health_cron", of, items, "backup.read_back");
                Ok(())
            }
            Err(error) => {
                tracing::error!(target: "ieum::health_cron", of, error = chain(&error), "backup.not_read_back");
                if matches!(error, BackupError::Corrupt { .. }) {
                    self.store.update(&update.then([Action::Set("corrupt_at", now)])).await?;
                }
                Err(error.into())
            }
        }
    }

    async fn read_back(&self, of: &str) -> Result<u64, BackupError> {
        let manifest = backup::manifest(&*self.archive, &latest(of)).await?;
        let known = self.store.get(&key(of), ieum::store::Read::Consistent).await?.unwrap_or_default();
        if known.text("sha256").is_some_and(|sha256| sha256 != manifest.sha256) {
            let what = "its digest is not the one that was noted when it was made".to_owned();
            return Err(BackupError::Corrupt { key: latest(of), what });
        }
        Ok(backup::check(&*self.archive, &manifest).await?.items)
    }

    /// How each backup is. What is asked for the first time is waited for from now on. The metrics say how old it is, and since
    /// when nobody has read it back: an alarm of CloudWatch cannot look back as far as a week.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn findings(&self) -> Result<Vec<(String, Finding)>, StoreError> {
        let now = self.clock.now();
        let items = self.store.get_many(&BACKUPS.map(|(of, _)| key(of))).await?;
        let mut findings = Vec::new();
        for ((of, calendar), item) in BACKUPS.into_iter().zip(items) {
            let item = item.unwrap_or_default();
            if item.number("watched_since").is_none() {
                let since = Action::SetIfAbsent("watched_since", now.as_millis().into());
                self.store.update(&Update::of(key(of)).then([since])).await?;
            }
            let age = |name| now.since(since(&item, name).unwrap_or(now)).as_secs();
            tracing::info!(
                target: METRIC, integration = of, backup_age_seconds = age("ended_at"), backup_read_age_seconds = age("read_at"),
                "backup.age"
            );
            findings.push((subject(of), judge(&item, calendar, now)));
        }
        Ok(findings)
    }
}

/// What a backup is called where states are kept.
pub fn subject(of: &str) -> String {
    format!("backup/{of}")
}

fn known(of: &str) -> Result<(), Cause> {
    let known = BACKUPS.iter().any(|(name, _)| *name == of);
    if known { Ok(()) } else { Err(format!("nothing is backed up as `{of}`").into()) }
}

fn time(item: &Item, name: &str) -> Option<Timestamp> {
    item.number(name).map(Timestamp::from_millis)
}

/// When what `name` notes has happened last, or is waited for.
fn since(item: &Item, name: &str) -> Option<Timestamp> {
    time(item, name).max(time(item, "watched_since"))
}

/// What `item` says of a backup that is made by `calendar`.
fn judge(item: &Item, calendar: Calendar, now: Timestamp) -> Finding {
    if time(item, "corrupt_at").is_some() {
        Finding::Down(Reason::BackupCorrupt)
    } else if time(item, "short_at").is_some() {
        Finding::Down(Reason::BackupShort)
    } else if calendar.is_missed(since(item, "ended_at").unwrap_or(now), now) {
        Finding::Down(Reason::BackupMissed)
    } else {
        Finding::Well
    }
}
