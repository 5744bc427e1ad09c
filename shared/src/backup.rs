//! The table, written down where it can be read back from.
//!
//! A backup is a folder of the archive: parts with the items, one JSON object a line, gzipped, and a manifest that is written
//! last and says how many items each part has and what its SHA-256 is. Without its manifest there is no backup. The table is
//! read in segments side by side, and each holds one part in memory, so memory does not grow with the table. A table too
//! large to be read in the time there is is exported by DynamoDB itself, into the same archive.
//!
//! What lives by the minute is left out ([`VOLATILE`]): an old circuit, limit or remembered answer would do harm, and all of
//! them come back by themselves. Everything else is kept as it is, with its time to live: records of idempotency keys too,
//! because a request sent again after a restore must not have its effect again.
//!
//! Reading back believes nothing: not the number of items, and no part whose digest is another. This file refuses to know
//! when a backup is due ([`crate::resilience::schedule`]) and how long it is kept (the archive's lifecycle, in
//! `template.yaml`). [`files`] does the same for the objects of buckets.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};

use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use self::files::Copied;
use crate::blobs::{BlobError, Blobs};
use crate::clock::Timestamp;
use crate::forget::forgotten;
use crate::store::{Item, Key, StoreError, Value};

pub mod files;

/// The folder of the archive that all backups are in.
pub const ARCHIVE: &str = "data-archive";

/// What begins so is not written down.
pub const VOLATILE: [&str; 6] = ["breaker#", "rate#", "cache#", "metric#", "health#", "backup#"];

/// Segments that are read side by side.
const SEGMENTS: u32 = 4;

/// A part is put away once it has this size; a page of items, at most a megabyte before it is packed, comes on top.
const PART_BYTES: usize = 4 * 1024 * 1024;

/// A part is read back up to this size. Larger ones were not written by us.
const MOST_BYTES: usize = 4 * PART_BYTES;

/// Items that are put back in one request.
pub const BATCH: usize = 25;

/// A table of which all items can be read and put. Two implementations, one conformance suite.
#[async_trait]
pub trait Whole: Send + Sync {
    /// Some items of a segment: the first ones, or those after `after`, as an earlier page said.
    ///
    /// # Errors
    /// Any [`StoreError`].
    async fn page(&self, segment: u32, segments: u32, after: Option<&Key>) -> Result<Page, StoreError>;

    /// Puts up to [`BATCH`] items, whatever was there.
    ///
    /// # Errors
    /// Any [`StoreError`]; some of them may be there.
    async fn put_all(&self, items: &[(Key, Item)]) -> Result<(), StoreError>;

    /// Takes up to [`BATCH`] items away, those that are there.
    ///
    /// # Errors
    /// Any [`StoreError`]; some of them may be gone.
    async fn remove_all(&self, keys: &[Key]) -> Result<(), StoreError>;

    /// About how many bytes there are.
    ///
    /// # Errors
    /// Any [`StoreError`].
    async fn bytes(&self) -> Result<u64, StoreError>;

    /// Has DynamoDB write itself down into the folder `prefix` of `bucket`, and says what the export is called.
    ///
    /// # Errors
    /// Any [`StoreError`].
    async fn export(&self, bucket: &str, prefix: &str) -> Result<String, StoreError>;
}

/// Some items.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The items.
    pub items: Vec<(Key, Item)>,
    /// After which key it goes on; `None` at the end.
    pub next: Option<Key>,
}

/// An item as a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    pk: Key,
    item: BTreeMap<String, Scalar>,
}

/// What an attribute holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(i64),
    Text(String),
}

/// A part of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Where it lies.
    pub key: String,
    /// How many items it has.
    pub items: u64,
    /// How large it is.
    pub bytes: u64,
    /// The SHA-256 of it as it lies there, in hexadecimal digits.
    pub sha256: String,
}

/// What a backup consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What this is a backup of.
    pub of: String,
    /// When it was begun and when it was done, RFC 3339.
    pub started_at: String,
    /// When it was done.
    pub ended_at: String,
    /// How many items it has.
    pub items: u64,
    /// How many of each kind, by what their keys begin with.
    pub kinds: BTreeMap<String, u64>,
    /// Its parts.
    pub parts: Vec<Part>,
    /// The SHA-256 of the parts' digests, one after the other.
    pub sha256: String,
    /// What DynamoDB calls its own export; then there are no parts.
    pub export: Option<String>,
    /// What a backup of files has copied. Its items are all objects that were there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<Copied>,
}

impl Manifest {
    /// A backup of `of` from then to then; how many items it has and its digest follow from what was written.
    fn of(of: &str, [started_at, ended_at]: [Timestamp; 2], parts: Vec<Part>, kinds: BTreeMap<String, u64>) -> Self {
        Self {
            of: of.to_owned(),
            started_at: started_at.rfc3339(),
            ended_at: ended_at.rfc3339(),
            items: parts.iter().map(|part| part.items).sum(),
            sha256: digest(&parts),
            kinds,
            parts,
            export: None,
            copied: None,
        }
    }
}

/// Why a backup was not made or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The table did not answer.
    #[error("the table did not answer")]
    Store(#[from] StoreError),
    /// The archive did not answer.
    #[error("the archive did not answer")]
    Archive(#[from] BlobError),
    /// There was not enough time.
    #[error("there was not enough time: {0} items are written down, and there are more")]
    Short(u64),
    /// It is not what was written.
    #[error("`{key}` is not what was written: {what}")]
    Corrupt {
        /// Where it lies.
        key: String,
        /// What is the matter.
        what: String,
    },
    /// DynamoDB exported it, so it is imported by DynamoDB.
    #[error("this backup is an export of DynamoDB's, `{0}`: it is imported into a new table by DynamoDB itself")]
    Export(String),
    /// It cannot be written as JSON.
    #[error("it cannot be written down")]
    Unwritable(#[from] std::io::Error),
}

pub(crate) fn corrupt(key: &str, what: impl Into<String>) -> BackupError {
    BackupError::Corrupt { key: key.to_owned(), what: what.into() }
}

/// Where the manifest of the newest backup of `of` lies.
pub fn latest(of: &str) -> String {
    format!("{ARCHIVE}/{of}/latest.json")
}

/// A part that is being written.
struct Open {
    packed: GzEncoder<Vec<u8>>,
    items: u64,
}

impl Open {
    fn new() -> Self {
        Self { packed: GzEncoder::new(Vec::new(), Compression::default()), items: 0 }
    }

    fn add(&mut self, pk: Key, item: Item) -> Result<(), std::io::Error> {
        let scalar = |value| match value {
            Value::Number(number) => Scalar::Number(number),
            Value::Text(text) => Scalar::Text(text),
        };
        let item = item.0.into_iter().map(|(name, value)| (name, scalar(value))).collect();
        serde_json::to_writer(&mut self.packed, &Line { pk, item })?;
        self.packed.write_all(b"\n")?;
        self.items += 1;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.packed.get_ref().len() >= PART_BYTES
    }

    async fn put(self, archive: &dyn Blobs, key: String) -> Result<Part, BackupError> {
        let bytes = Bytes::from(self.packed.finish()?);
        let part =
            Part { key, items: self.items, bytes: bytes.len() as u64, sha256: hex::encode(Sha256::digest(&bytes)) };
        archive.put(&part.key, "application/gzip", bytes).await?;
        Ok(part)
    }
}

/// Writes `table` down as a backup of `of`, begun at `now`, and is done by `deadline`. `clock` says when that was.
///
/// # Errors
/// Any [`BackupError`]: there is no new backup then, and the one before is still the newest.
pub async fn make(
    table: &dyn Whole,
    archive: &dyn Blobs,
    of: &str,
    clock: &dyn crate::clock::Clock,
    deadline: Instant,
) -> Result<Manifest, BackupError> {
    let started_at = clock.now();
    let folder = folder(of, started_at);
    let segments = (0..SEGMENTS).map(|segment| write_segment(table, archive, segment, &folder, deadline));
    let (mut parts, mut kinds) = (Vec::new(), BTreeMap::new());
    for (written, counted) in try_join_all(segments).await? {
        parts.extend(written);
        for (kind, count) in counted {
            *kinds.entry(kind).or_insert(0) += count;
        }
    }
    let manifest = Manifest::of(of, [started_at, clock.now()], parts, kinds);
    put_manifest(archive, &folder, &manifest).await?;
    Ok(manifest)
}

/// Has DynamoDB write `table` down into `bucket`, which `archive` is too.
///
/// # Errors
/// Any [`BackupError`].
pub async fn export(
    table: &dyn Whole,
    archive: &dyn Blobs,
    bucket: &str,
    of: &str,
    now: Timestamp,
) -> Result<Manifest, BackupError> {
    let folder = folder(of, now);
    let export = table.export(bucket, &folder).await?;
    let manifest = Manifest { export: Some(export), ..Manifest::of(of, [now, now], Vec::new(), BTreeMap::new()) };
    put_manifest(archive, &folder, &manifest).await?;
    Ok(manifest)
}

/// `data-archive/table/daily/2026-11-21T18-00-00Z`: no colons, which some tools stumble over.
fn folder(of: &str, at: Timestamp) -> String {
    folder_of(of, &at.rfc3339())
}

fn folder_of(of: &str, started_at: &str) -> String {
    format!("{ARCHIVE}/{of}/{}", started_at.replace(':', "-"))
}

async fn put_manifest(archive: &dyn Blobs, folder: &str, manifest: &Manifest) -> Result<(), BackupError> {
    let text = Bytes::from(serde_json::to_vec(manifest).map_err(std::io::Error::from)?);
    archive.put(&format!("{folder}/manifest.json"), "application/json", text.clone()).await?;
    archive.put(&latest(&manifest.of), "application/json", text).await?;
    Ok(())
}

fn digest(parts: &[Part]) -> String {
    let sha256 = parts.iter().fold(Sha256::new(), |sha256, part| sha256.chain_update(&part.sha256));
    hex::encode(sha256.finalize())
}

async fn write_segment(
    table: &dyn Whole,
    archive: &dyn Blobs,
    segment: u32,
    folder: &str,
    deadline: Instant,
) -> Result<(Vec<Part>, BTreeMap<String, u64>), BackupError> {
    let (mut parts, mut kinds, mut open, mut after) = (Vec::new(), BTreeMap::new(), Open::new(), None);
    let key = |parts: &[Part]| format!("{folder}/{segment}-{:05}.jsonl.gz", parts.len());
    loop {
        let page = table.page(segment, SEGMENTS, after.as_ref()).await?;
        for (pk, item) in page.items {
            if VOLATILE.iter().any(|kind| pk.starts_with(kind)) {
                continue;
            }
            let kind = pk.split('#').next().unwrap_or_default().to_owned();
            *kinds.entry(kind).or_insert(0) += 1;
            open.add(pk, item)?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
        if open.is_full() {
            let full = std::mem::replace(&mut open, Open::new());
            parts.push(full.put(archive, key(&parts)).await?);
        }
        if Instant::now() >= deadline {
            return Err(BackupError::Short(open.items + parts.iter().map(|part: &Part| part.items).sum::<u64>()));
        }
    }
    if open.items > 0 {
        parts.push(open.put(archive, key(&parts)).await?);
    }
    Ok((parts, kinds))
}

/// The manifest under `key`.
///
/// # Errors
/// [`BackupError::Corrupt`] when there is none, or it does not agree with itself.
pub async fn manifest(archive: &dyn Blobs, key: &str) -> Result<Manifest, BackupError> {
    let blob = archive.get(key, MOST_BYTES).await?.ok_or_else(|| corrupt(key, "there is nothing"))?;
    let manifest: Manifest = serde_json::from_slice(&blob.bytes).map_err(|_| corrupt(key, "it is no manifest"))?;
    if manifest.items != manifest.parts.iter().map(|part| part.items).sum::<u64>() {
        return Err(corrupt(key, "its parts have another number of items"));
    }
    if manifest.items != manifest.kinds.values().sum::<u64>() {
        return Err(corrupt(key, "its kinds have another number of items"));
    }
    if manifest.sha256 != digest(&manifest.parts) {
        return Err(corrupt(key, "its parts have another digest"));
    }
    Ok(manifest)
}

/// What reading back has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Items that were read, and are as they were written.
    pub items: u64,
    /// Those of them that were wanted: put back, or would be.
    pub wanted: u64,
    /// Those of them that were wanted, and are forgotten ([`crate::forget`]): they stay away.
    pub forgotten: u64,
}

/// Reads each part of a backup back and compares it with `manifest`. Of an export it reads what DynamoDB says about it once it
/// is whole; only DynamoDB's import reads the rest.
///
/// # Errors
/// [`BackupError::Corrupt`] names the first part that is not what was written.
pub async fn check(archive: &dyn Blobs, manifest: &Manifest) -> Result<Read, BackupError> {
    match &manifest.export {
        Some(export) => exported(archive, manifest, export).await,
        None => read(archive, manifest, "", None).await,
    }
}

/// What an export of DynamoDB's says of itself
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html>).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    export_arn: String,
    item_count: u64,
}

async fn exported(archive: &dyn Blobs, manifest: &Manifest, export: &str) -> Result<Read, BackupError> {
    let id = export.rsplit('/').next().unwrap_or_default();
    let key = format!("{}/AWSDynamoDB/{id}/manifest-summary.json", folder_of(&manifest.of, &manifest.started_at));
    let blob = archive.get(&key, MOST_BYTES).await?.ok_or_else(|| corrupt(&key, "DynamoDB has not finished it"))?;
    match serde_json::from_slice(&blob.bytes) {
        Ok(Summary { export_arn, item_count }) if export_arn == export => {
            Ok(Read { items: item_count, ..Read::default() })
        }
        Ok(_) => Err(corrupt(&key, "it is about another export")),
        Err(error) => Err(corrupt(&key, error.to_string())),
    }
}

/// Puts the items whose keys begin with `prefix` back into `table`, over what is there. Without a table nothing is put, and
/// only said what would be. A part is put back once all of it is known to be good. What was forgotten since stays away.
///
/// # Errors
/// Any [`BackupError`]; the parts before are back. Doing it again does no harm.
pub async fn restore(
    archive: &dyn Blobs,
    manifest: &Manifest,
    prefix: &str,
    table: Option<&dyn Whole>,
) -> Result<Read, BackupError> {
    match &manifest.export {
        Some(export) => Err(BackupError::Export(export.clone())),
        None => read(archive, manifest, prefix, table).await,
    }
}

async fn read(
    archive: &dyn Blobs,
    manifest: &Manifest,
    prefix: &str,
    table: Option<&dyn Whole>,
) -> Result<Read, BackupError> {
    let (mut found, forgotten) = (Read::default(), forgotten(archive).await?);
    for part in &manifest.parts {
        let bytes = read_part(archive, part).await?;
        found.items += part.items;
        let mut batch = Vec::with_capacity(BATCH);
        for line in lines(&bytes) {
            let (key, item) = line?;
            if !key.starts_with(prefix) {
                continue;
            }
            if forgotten.contains_key(&key) {
                found.forgotten += 1;
                continue;
            }
            found.wanted += 1;
            batch.push((key, item));
            if batch.len() == BATCH {
                put(table, &batch).await?;
                batch.clear();
            }
        }
        put(table, &batch).await?;
    }
    Ok(found)
}

/// A part as it lies there, once it is known to be what was written.
async fn read_part(archive: &dyn Blobs, part: &Part) -> Result<Bytes, BackupError> {
    let blob = match archive.get(&part.key, MOST_BYTES).await {
        Err(BlobError::TooLarge(_)) => return Err(corrupt(&part.key, "it is larger than any part")),
        blob => blob?.ok_or_else(|| corrupt(&part.key, "there is nothing"))?,
    };
    let sha256 = hex::encode(Sha256::digest(&blob.bytes));
    if (blob.bytes.len() as u64, &sha256) != (part.bytes, &part.sha256) {
        return Err(corrupt(&part.key, format!("{} bytes with the digest {sha256}", blob.bytes.len())));
    }
    let items = lines(&blob.bytes).try_fold(0, |count, line| line.map(|_| count + 1));
    match items {
        Ok(items) if items == part.items => Ok(blob.bytes),
        Ok(items) => Err(corrupt(&part.key, format!("{items} items"))),
        Err(error) => Err(corrupt(&part.key, error.to_string())),
    }
}

async fn put(table: Option<&dyn Whole>, batch: &[(Key, Item)]) -> Result<(), StoreError> {
    match table {
        Some(table) if !batch.is_empty() => table.put_all(batch).await,
        Some(_) | None => Ok(()),
    }
}

/// The items of a part.
fn lines(packed: &[u8]) -> impl Iterator<Item = Result<(Key, Item), std::io::Error>> + '_ {
    BufReader::new(GzDecoder::new(packed)).lines().map(|line| {
        let Line { pk, item } = serde_json::from_str(&line?)?;
        let value = |scalar| match scalar {
            Scalar::Number(number) => Value::Number(number),
            Scalar::Text(text) => Value::Text(text),
        };
        Ok((pk, Item(item.into_iter().map(|(name, scalar)| (name, value(scalar))).collect())))
    })
}

/// One suite for every table that can be read and put as a whole.
#[cfg(any(test, feature = "testing"))]
pub mod conformance {
    #![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a failed expectation is a failed test")]

    use super::{BATCH, BTreeMap, Item, Key, SEGMENTS, Value, Whole};

    /// All items whose keys begin with `prefix`.
    pub async fn all(table: &dyn Whole, prefix: &str) -> BTreeMap<Key, Item> {
        let mut all = BTreeMap::new();
        for segment in 0..SEGMENTS {
            let mut after = None;
            loop {
                let page = table.page(segment, SEGMENTS, after.as_ref()).await.expect("a page");
                for (key, item) in page.items.into_iter().filter(|(key, _)| key.starts_with(prefix)) {
                    assert!(all.insert(key, item).is_none(), "each item is in one segment, once");
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        all
    }

    /// Checks on `table`, which may hold others already, that what is put is read.
    pub async fn check(table: &dyn Whole) {
        let prefix = format!("conformance#{}#", uuid::Uuid::new_v4());
        let text = "이음 \"quoted\"\n\u{1f600}".repeat(40);
        let item = |number: i64| {
            let attributes = [("count", Value::Number(number)), ("state", Value::Text(format!("{text}{number}")))];
            Item(attributes.map(|(name, value)| (name.to_owned(), value)).into())
        };
        let items: Vec<(Key, Item)> = (0..2_500).map(|number| (format!("{prefix}{number:05}"), item(number))).collect();
        for batch in items.chunks(BATCH) {
            table.put_all(batch).await.expect("put");
        }
        let changed = (items[7].0.clone(), item(i64::MIN));
        table.put_all(std::slice::from_ref(&changed)).await.expect("put");
        let mut expected: BTreeMap<Key, Item> = items.into_iter().collect();
        expected.insert(changed.0, changed.1);
        assert!(all(table, &prefix).await == expected, "what was put is read, and the last put wins");
        let gone: Vec<Key> = expected.keys().take(2 * BATCH).cloned().collect();
        for batch in gone.chunks(BATCH) {
            table.remove_all(batch).await.expect("removed");
        }
        table.remove_all(&gone[..1]).await.expect("what is not there is no error");
        expected.retain(|key, _| !gone.contains(key));
        assert!(all(table, &prefix).await == expected, "what was removed is gone, and nothing else");
        assert!(table.bytes().await.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::blobs::MemoryBlobs;
    use crate::clock::Clock;
    use crate::store::MemoryStore;
    use crate::testing::ManualClock;

    const OF: &str = "table/daily";

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    fn item(number: i64, text: &str) -> Item {
        Item([("n".to_owned(), Value::Number(number)), ("t".to_owned(), Value::Text(text.to_owned()))].into())
    }

    /// A table with messages, payments, and what is not kept.
    fn full(items: i64, characters: usize) -> MemoryStore {
        let table = MemoryStore::new();
        for number in 0..items {
            // Of no pattern, so that it packs badly.
            let text: String = (0..characters).map(|_| char::from(fastrand::u8(b'!'..b'~'))).collect();
            table.replace(format!("message#{number}"), item(number, &text));
            table.replace(format!("cache#verify#{number}"), item(number, "x"));
        }
        for kind in VOLATILE {
            table.replace(format!("{kind}nice"), item(1, "y"));
        }
        table.replace("payment#toss#1".to_owned(), item(i64::MAX, "한글 \" \\ \n"));
        table
    }

    async fn made(table: &MemoryStore, archive: &MemoryBlobs) -> Manifest {
        make(table, archive, OF, &*ManualClock::start(), later()).await.unwrap()
    }

    #[tokio::test]
    async fn memory_conforms() {
        conformance::check(&MemoryStore::new()).await;
    }

    #[tokio::test]
    async fn what_is_wiped_is_put_back_item_by_item() {
        let (table, archive) = (full(5_000, 9), MemoryBlobs::new());
        let written = made(&table, &archive).await;
        assert_eq!(written.items, 5_001);
        assert_eq!(written.kinds, BTreeMap::from([("message".to_owned(), 5_000), ("payment".to_owned(), 1)]));
        let found = manifest(&archive, &latest(OF)).await.unwrap();
        assert_eq!(found, written);
        assert_eq!(check(&archive, &found).await.unwrap(), Read { items: 5_001, wanted: 5_001, forgotten: 0 });

        let empty = MemoryStore::new();
        let dry = restore(&archive, &found, "payment#", None).await.unwrap();
        assert_eq!((dry.items, dry.wanted), (5_001, 1));
        let some = restore(&archive, &found, "payment#", Some(&empty)).await.unwrap();
        assert_eq!(some, dry);
        assert_eq!(conformance::all(&empty, "").await.len(), 1, "what was asked for and nothing else");
        restore(&archive, &found, "", Some(&empty)).await.unwrap();
        let mut expected = conformance::all(&table, "").await;
        expected.retain(|key, _| !VOLATILE.iter().any(|kind| key.starts_with(kind)));
        assert!(conformance::all(&empty, "").await == expected);
    }

    #[tokio::test]
    async fn a_large_table_has_several_parts_of_a_bounded_size() {
        let (table, archive) = (full(4_500, 6_000), MemoryBlobs::new());
        let written = made(&table, &archive).await;
        assert!(written.parts.len() > 4, "{} parts", written.parts.len());
        // A page of a hundred items goes on top.
        let most = (PART_BYTES + 1024 * 1024) as u64;
        assert!(written.parts.iter().all(|part| part.bytes < most));
        assert_eq!(check(&archive, &written).await.unwrap().items, 4_501);
    }

    #[tokio::test]
    async fn a_backup_that_is_not_what_was_written_is_found_out() {
        let (table, archive) = (full(100, 9), MemoryBlobs::new());
        let written = made(&table, &archive).await;
        let part = written.parts[0].key.clone();
        let good = archive.get(&part, MOST_BYTES).await.unwrap().unwrap().bytes;
        let mut flipped = good.to_vec();
        flipped[good.len() / 2] ^= 1;
        for bad in [Bytes::from(flipped), good.slice(..good.len() - 1), Bytes::new()] {
            archive.put(&part, "application/gzip", bad).await.unwrap();
            let error = check(&archive, &written).await.unwrap_err();
            assert!(matches!(&error, BackupError::Corrupt { key, .. } if *key == part), "{error}");
            let target = MemoryStore::new();
            assert!(restore(&archive, &written, "", Some(&target)).await.is_err());
        }
        archive.put(&part, "application/gzip", good).await.unwrap();
        assert!(check(&archive, &written).await.is_ok());
        let mut gone = written.clone();
        gone.parts[0].key.push('x');
        assert!(check(&archive, &gone).await.is_err());
        for (name, other) in [("items", 1.into()), ("sha256", "00".into())] {
            let mut changed = serde_json::to_value(&written).unwrap();
            changed[name] = other;
            archive.put("m", "application/json", serde_json::to_vec(&changed).unwrap().into()).await.unwrap();
            assert!(matches!(manifest(&archive, "m").await, Err(BackupError::Corrupt { .. })), "{name}");
        }
        assert!(matches!(manifest(&archive, &latest("files")).await, Err(BackupError::Corrupt { .. })));
    }

    #[tokio::test]
    async fn an_export_is_good_once_dynamodb_says_that_it_is_whole() {
        let archive = MemoryBlobs::new();
        let now = ManualClock::start().now();
        let arn = "arn:aws:dynamodb:ap-northeast-2:1:table/t/export/01-ab";
        let key = format!("{}/AWSDynamoDB/01-ab/manifest-summary.json", folder(OF, now));
        let exported = Manifest::of(OF, [now, now], Vec::new(), BTreeMap::new());
        let manifest = Manifest { export: Some(arn.to_owned()), ..exported };
        let summary = |arn: &str| format!(r#"{{"version":"2020-06-30","exportArn":"{arn}","itemCount":8}}"#);
        for (said, whole) in
            [(None, false), (Some(summary("other")), false), (Some("{".to_owned()), false), (Some(summary(arn)), true)]
        {
            if let Some(said) = said {
                archive.put(&key, "application/json", said.into()).await.unwrap();
            }
            let read = check(&archive, &manifest).await;
            assert_eq!(read.is_ok(), whole, "{read:?}");
            assert!(read.map_or_else(|error| matches!(error, BackupError::Corrupt { .. }), |read| read.items == 8));
        }
    }

    #[tokio::test]
    async fn a_run_without_time_leaves_the_backup_before_it_the_newest() {
        let (table, archive) = (full(8_000, 9), MemoryBlobs::new());
        let first = made(&table, &archive).await;
        let clock = ManualClock::start();
        clock.advance(Duration::from_secs(86_400));
        let short = make(&table, &archive, OF, &*clock, Instant::now()).await;
        assert!(matches!(short, Err(BackupError::Short(_))), "{short:?}");
        assert_eq!(manifest(&archive, &latest(OF)).await.unwrap(), first);
    }
}
