//! `cargo xtask restore`: puts a backup back, with the credentials of whoever runs it.
//!
//! Nothing is deleted: items and files that the backup has are put over those that are there, others stay. Each part and each
//! copy is compared with its digest before anything of it is put; `ieum::backup` has the rules.

use ieum::backup::files::Files;
use ieum::backup::{self, BackupError, Manifest, Read, latest};

use crate::own_aws::{OwnAwsError, own_aws};

/// What is put back, and where.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The table, for a backup of one. Files go back to the buckets they come from.
    pub table: Option<String>,
    /// The archive's bucket.
    pub bucket: String,
    /// Whose newest backup it is: `table/daily`, `files/weekly`.
    pub of: String,
    /// The manifest of another one than the newest.
    pub manifest: Option<String>,
    /// What the keys of the items begin with, or the names of the files, `bucket/key`; everything, when empty.
    pub prefix: String,
    /// Whether nothing is put, and only said what would be.
    pub dry_run: bool,
}

/// Why nothing, or not everything, was put back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// AWS cannot be called.
    #[error(transparent)]
    Aws(#[from] OwnAwsError),
    /// It is not said which table.
    #[error("this is a backup of a table: say with `--table` which one it is put back into")]
    NoTable,
    /// The backup cannot be used, or the table did not take it.
    #[error("the backup was not put back")]
    Backup(#[from] BackupError),
}

/// Puts the backup back, and says which it was and how much of it that is.
///
/// # Errors
/// [`RestoreError`]. What was put before stays; doing it again does no harm.
pub async fn run(options: &Options) -> Result<(Manifest, Read), RestoreError> {
    let aws = own_aws().await?;
    let archive = aws.blobs(&options.bucket);
    let key = options.manifest.clone().unwrap_or_else(|| latest(&options.of));
    let manifest = backup::manifest(&archive, &key).await?;
    if manifest.copied.is_some() {
        let files = Files { buckets: &aws.buckets(), sources: &[], archive: &archive, bucket: &options.bucket };
        let read = files.restore(&manifest, &options.prefix, options.dry_run).await?;
        return Ok((manifest, read));
    }
    let table = aws.store(options.table.as_ref().ok_or(RestoreError::NoTable)?);
    let table: Option<&dyn backup::Whole> = if options.dry_run { None } else { Some(&table) };
    let read = backup::restore(&archive, &manifest, &options.prefix, table).await?;
    Ok((manifest, read))
}
