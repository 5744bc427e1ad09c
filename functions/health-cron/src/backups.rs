//! Backups: made when a schedule says so, read back when another does, and missed when one of them has not.

use std::sync::Arc;
use std::time::Duration;

use ieum::backup::files::{Buckets, Extent, Files, Source};
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

/// What is backed up, and when.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What it is called, in events, in the archive and in alerts.
    pub of: &'static str,
    /// What it is.
    pub what: What,
    /// When it is made. It is read back [`READ_BACK_AFTER`] later.
    pub calendar: Calendar,
}

/// What is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The items of the table.
    Table,
    /// The objects of buckets.
    Files(Extent),
}

/// All backups, as the schedules of `template.yaml` have them.
pub const PLANS: [Plan; 4] = [
    plan("table/daily", What::Table, 3 * 60, false),
    plan("table/weekly", What::Table, 3 * 60 + 30, true),
    plan("files/daily", What::Files(Extent::Changes), 4 * 60, false),
    plan("files/weekly", What::Files(Extent::Full), 4 * 60 + 30, true),
];

const fn plan(of: &'static str, what: What, minute: u64, sundays: bool) -> Plan {
    Plan { of, what, calendar: Calendar { at: Duration::from_secs(minute * 60), sundays } }
}

/// A backup is read back as long after it was due.
pub const READ_BACK_AFTER: Duration = Duration::from_secs(2 * 60 * 60);

/// How long a run may take: Lambda ends it after 15 minutes.
const LIMIT: Duration = Duration::from_secs(14 * 60);

/// A table of more bytes than this is not read within that time, and exported by DynamoDB.
const MOST_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// The table, the archive, and what is remembered of their backups.
#[derive(Clone)]
pub struct Backups {
    /// The table that is written down.
    pub table: Arc<dyn Whole>,
    /// The buckets whose objects are copied, and the archive, which they are copied to.
    pub buckets: Arc<dyn Buckets>,
    /// Which objects.
    pub sources: Vec<Source>,
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
    /// Makes the backup `of`, and remembers what became of it.
    ///
    /// # Errors
    /// There is no new backup.
    pub async fn make(&self, of: &str) -> Result<(), Cause> {
        let made = match planned(of)?.what {
            What::Table => self.write_table_down(of).await,
            What::Files(extent) => self.copy_files(of, extent).await,
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

    async fn write_table_down(&self, of: &str) -> Result<Manifest, BackupError> {
        if self.table.bytes().await? > MOST_BYTES {
            return backup::export(&*self.table, &*self.archive, &self.bucket, of, self.clock.now()).await;
        }
        backup::make(&*self.table, &*self.archive, of, &*self.clock, Instant::now() + LIMIT).await
    }

    async fn copy_files(&self, of: &str, extent: Extent) -> Result<Manifest, BackupError> {
        let deadline = Instant::now() + LIMIT;
        let earlier = self.newest_catalogue().await?;
        self.files().make(of, extent, earlier.as_ref(), &*self.clock, deadline).await
    }

    fn files(&self) -> Files<'_> {
        Files { buckets: &*self.buckets, sources: &self.sources, archive: &*self.archive, bucket: &self.bucket }
    }

    /// The newest backup of files of any kind. One that is not what was written is as good as none: everything is copied.
    async fn newest_catalogue(&self) -> Result<Option<Manifest>, BackupError> {
        let mut newest: Option<Manifest> = None;
        for plan in PLANS.iter().filter(|plan| plan.what != What::Table) {
            match backup::manifest(&*self.archive, &latest(plan.of)).await {
                Ok(found) if newest.as_ref().is_none_or(|newest| newest.started_at < found.started_at) => {
                    newest = Some(found);
                }
                Ok(_) => {}
                Err(BackupError::Corrupt { key, what }) => {
                    tracing::warn!(target: "ieum::health_cron", key, what, "backup.no_earlier_one");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(newest)
    }

    /// The metric says that it has been made: an alarm waits for it.
    async fn remember(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let Manifest { of, items, sha256, started_at, .. } = manifest;
        let copied = manifest.copied.unwrap_or_default();
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let update = Update::of(key(of)).then([
            Action::Set("started_at", started_at.as_str().into()),
            Action::Set("ended_at", self.clock.now().as_millis().into()),
            Action::Set("items", number(*items).into()),
            Action::Set("copied", number(copied.objects).into()),
            Action::Set("sha256", sha256.as_str().into()),
            Action::Remove("short_at"),
            Action::Remove("corrupt_at"),
        ]);
        self.store.update(&update).await?;
        let (parts, exported) = (manifest.parts.len(), manifest.export.is_some());
        let (copied, bytes) = (copied.objects, copied.bytes);
        tracing::info!(
            target: METRIC, integration = of, backup_run = 1, items, parts, sha256, exported, copied, bytes, "backup.made"
        );
        Ok(())
    }

    /// Reads the newest backup of `of` back, and remembers whether it is what was written.
    ///
    /// # Errors
    /// It is not, or could not be read.
    pub async fn check(&self, of: &str) -> Result<(), Cause> {
        let checked = self.read_back(planned(of)?).await;
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

    async fn read_back(&self, Plan { of, what, .. }: &Plan) -> Result<u64, BackupError> {
        let manifest = backup::manifest(&*self.archive, &latest(of)).await?;
        let known = self.store.get(&key(of), ieum::store::Read::Consistent).await?.unwrap_or_default();
        if known.text("sha256").is_some_and(|sha256| sha256 != manifest.sha256) {
            let what = "its digest is not the one that was noted when it was made".to_owned();
            return Err(BackupError::Corrupt { key: latest(of), what });
        }
        let read = match what {
            What::Table => backup::check(&*self.archive, &manifest).await?,
            What::Files(_) => self.files().check(&manifest, Instant::now() + LIMIT).await?,
        };
        Ok(read.items)
    }

    /// How each backup is. What is asked for the first time is waited for from now on.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn findings(&self) -> Result<Vec<(String, Finding)>, StoreError> {
        let now = self.clock.now();
        let items = self.store.get_many(&PLANS.map(|plan| key(plan.of))).await?;
        let mut findings = Vec::new();
        for (Plan { of, calendar, .. }, item) in PLANS.into_iter().zip(items) {
            let item = item.unwrap_or_default();
            if item.number("watched_since").is_none() {
                let since = Action::SetIfAbsent("watched_since", now.as_millis().into());
                self.store.update(&Update::of(key(of)).then([since])).await?;
            }
            findings.push((subject(of), judge(&item, calendar, now)));
        }
        Ok(findings)
    }
}

/// What a backup is called where states are kept.
pub fn subject(of: &str) -> String {
    format!("backup/{of}")
}

fn planned(of: &str) -> Result<&'static Plan, Cause> {
    let plan = PLANS.iter().find(|plan| plan.of == of);
    plan.ok_or_else(|| format!("nothing is backed up as `{of}`").into())
}

/// What `item` says of a backup that is made by `calendar`.
fn judge(item: &Item, calendar: Calendar, now: Timestamp) -> Finding {
    let time = |name| item.number(name).map(Timestamp::from_millis);
    let since = |name| time(name).max(time("watched_since")).unwrap_or(now);
    let read_back = Calendar { at: calendar.at + READ_BACK_AFTER, ..calendar };
    if time("corrupt_at").is_some() {
        Finding::Down(Reason::BackupCorrupt)
    } else if time("short_at").is_some() {
        Finding::Down(Reason::BackupShort)
    } else if calendar.is_missed(since("ended_at"), now) {
        Finding::Down(Reason::BackupMissed)
    } else if read_back.is_missed(since("read_at"), now) {
        Finding::Down(Reason::BackupUnread)
    } else {
        Finding::Well
    }
}
