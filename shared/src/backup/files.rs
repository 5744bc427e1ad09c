//! Files, copied to where they can be put back from: the objects of buckets, all of them once a week and what has changed each
//! day.
//!
//! A backup of files is a catalogue, written as a backup of the table is ([`super`]): a line for each object that is there, with
//! its digest and where its copy lies. The copies lie beside it, numbered, because a name of theirs could be too long. S3
//! copies by itself; an object is read here once, in pieces, for its digest, and not again while it stays as it is. A daily
//! catalogue names every object too, and where nothing has changed it names the copy of an earlier one, for at most
//! [`REUSED_FOR`]: so each catalogue can be put back alone, and none leans on a copy that the archive's lifecycle has removed.
//!
//! Listings and catalogues have one order, that of the keys' bytes, and are read side by side: memory does not grow with the
//! number of objects. An object that cannot be copied fails the run: a backup without it would be called whole. S3 copies
//! objects of up to 5 GB in one request
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>), and this file refuses to copy larger ones.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

use super::{BackupError, Manifest, Open, Part, Read, corrupt, folder, lines, put_manifest, read_part};
use crate::aws::s3::{Listed, Place, S3};
use crate::blobs::{BlobError, Blobs, failed};
use crate::clock::{Clock, Timestamp};
use crate::forget::forgotten;
use crate::store::{Item, Key, Value};

/// A copy of an object that has not changed is named again for as long. A daily catalogue that is to be usable for 30 days needs
/// daily copies to be kept for 30 days and this long.
pub const REUSED_FOR: Duration = Duration::from_secs(9 * 24 * 60 * 60);

/// Objects that are read or copied side by side.
const AT_ONCE: usize = 16;

/// An object that is being written while it is copied is tried as often.
const TRIES: u32 = 3;

/// Objects of a bucket, written `bucket/prefix`; a prefix may be empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The bucket.
    pub bucket: String,
    /// What the objects' keys begin with.
    pub prefix: String,
}

impl Source {
    /// Reads `bucket/prefix`.
    pub fn parse(text: &str) -> Option<Self> {
        let (bucket, prefix) = text.split_once('/')?;
        (!bucket.is_empty()).then(|| Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

/// What an object was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its ETag, without quotation marks.
    pub etag: String,
    /// How many bytes were read.
    pub bytes: u64,
    /// Their SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// Buckets whose objects are listed, read through and copied. Two implementations, one conformance suite.
#[async_trait]
pub trait Buckets: fmt::Debug + Send + Sync {
    /// Up to a thousand objects of `bucket` whose keys begin with `prefix`, in the order of their keys' bytes: the first ones,
    /// or those after `after`. None, when there are no more.
    ///
    /// # Errors
    /// The bucket did not answer, or refused.
    async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Vec<Listed>, BlobError>;

    /// Reads what lies at `place`, without keeping it.
    ///
    /// # Errors
    /// The bucket did not answer, or refused; absence is `Ok(None)`.
    async fn fingerprint(&self, place: &Place) -> Result<Option<Fingerprint>, BlobError>;

    /// Copies an object with its metadata, whatever was at `to`. It says whether it did: only an object that has `etag` is
    /// copied.
    ///
    /// # Errors
    /// A bucket did not answer, or refused.
    async fn copy(&self, from: &Place, etag: &str, to: &Place) -> Result<bool, BlobError>;
}

/// The buckets of S3.
#[derive(Clone, Debug)]
pub struct S3Buckets {
    s3: S3,
}

impl S3Buckets {
    /// All that `s3` may reach.
    pub fn new(s3: S3) -> Self {
        Self { s3 }
    }
}

#[async_trait]
impl Buckets for S3Buckets {
    async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Vec<Listed>, BlobError> {
        self.s3.list(bucket, prefix, after).await.map_err(|error| failed("list", error))
    }

    async fn fingerprint(&self, place: &Place) -> Result<Option<Fingerprint>, BlobError> {
        let found = self.s3.get(place).await.map_err(|error| failed("get", error))?;
        let Some(mut found) = found else { return Ok(None) };
        let (mut bytes, mut sha256) = (0, Sha256::new());
        while let Some(piece) = found.next().await.map_err(|error| failed("get", error))? {
            bytes += piece.len() as u64;
            sha256.update(&piece);
        }
        if found.head.length != bytes {
            return Err(failed("get", "S3 sent another number of bytes than it had said"));
        }
        Ok(Some(Fingerprint { etag: found.head.etag, bytes, sha256: hex::encode(sha256.finalize()) }))
    }

    async fn copy(&self, from: &Place, etag: &str, to: &Place) -> Result<bool, BlobError> {
        self.s3.copy(from, etag, to).await.map_err(|error| failed("copy", error))
    }
}

/// What a catalogue knows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    found: Fingerprint,
    /// The key of its copy in the archive.
    copy: String,
    copied_at: Timestamp,
}

impl Kept {
    fn of(item: &Item) -> Option<Self> {
        let text = |name| item.text(name).map(str::to_owned);
        let bytes = u64::try_from(item.number("bytes")?).ok()?;
        let found = Fingerprint { etag: text("etag")?, bytes, sha256: text("sha256")? };
        let copied_at = Timestamp::from_millis(item.number("copied_at")?);
        Some(Self { found, copy: text("copy")?, copied_at })
    }

    fn item(&self) -> Item {
        let bytes = i64::try_from(self.found.bytes).unwrap_or(i64::MAX);
        let attributes = [
            ("bytes", Value::Number(bytes)),
            ("copied_at", Value::Number(self.copied_at.as_millis())),
            ("copy", Value::Text(self.copy.clone())),
            ("etag", Value::Text(self.found.etag.clone())),
            ("sha256", Value::Text(self.found.sha256.clone())),
        ];
        Item(attributes.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// Whether `object` is still the one that was copied.
    fn is(&self, object: &Listed) -> bool {
        self.found.etag == object.etag && self.found.bytes == object.bytes
    }
}

/// An object that a catalogue is to name.
struct Wanted {
    /// `bucket/key`.
    name: Key,
    from: Place,
    /// What an earlier catalogue knows of it as it is now.
    known: Option<Kept>,
    /// Where a copy would lie.
    copy: String,
}

/// The objects of an earlier catalogue, read along with a listing.
struct Earlier<'a> {
    archive: &'a dyn Blobs,
    parts: VecDeque<Part>,
    lines: VecDeque<(Key, Item)>,
}

impl<'a> Earlier<'a> {
    fn new(archive: &'a dyn Blobs, manifest: Option<&Manifest>) -> Self {
        let parts = manifest.map(|manifest| manifest.parts.clone()).unwrap_or_default();
        Self { archive, parts: parts.into(), lines: VecDeque::new() }
    }

    /// What it knows of `name`. Names are asked for in their order.
    ///
    /// A part that is not what was written is as good as none: its objects are copied anew, and whoever reads that backup
    /// back will say what is the matter with it.
    async fn find(&mut self, name: &str) -> Result<Option<Kept>, BackupError> {
        loop {
            while let Some((first, _)) = self.lines.front() {
                match first.as_str().cmp(name) {
                    std::cmp::Ordering::Less => drop(self.lines.pop_front()),
                    std::cmp::Ordering::Equal => {
                        return Ok(self.lines.pop_front().and_then(|(_, item)| Kept::of(&item)));
                    }
                    std::cmp::Ordering::Greater => return Ok(None),
                }
            }
            let Some(part) = self.parts.pop_front() else { return Ok(None) };
            match read_part(self.archive, &part).await {
                Ok(bytes) => self.lines = lines(&bytes).collect::<Result<_, _>>()?,
                Err(BackupError::Corrupt { key, what }) => {
                    tracing::warn!(target: "ieum::backup", key, what, "backup.copied_anew");
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// How much of the objects is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of them.
    Full,
    /// Those that are new or have changed since the earlier catalogue.
    Changes,
}

/// What was copied by a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copied {
    /// How many objects.
    pub objects: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

/// Where files are copied from and to.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// All buckets.
    pub buckets: &'a dyn Buckets,
    /// What is copied.
    pub sources: &'a [Source],
    /// The archive, for catalogues.
    pub archive: &'a dyn Blobs,
    /// The archive's name, for copies.
    pub bucket: &'a str,
}

impl Files<'_> {
    /// Makes a backup of `of`, and is done by `deadline`. What `earlier` knows is not read again, nor copied again when only
    /// changes are.
    ///
    /// # Errors
    /// Any [`BackupError`]: there is no new backup then, and the one before is still the newest.
    pub async fn make(
        &self,
        of: &str,
        extent: Extent,
        earlier: Option<&Manifest>,
        clock: &dyn Clock,
        deadline: Instant,
    ) -> Result<Manifest, BackupError> {
        let started_at = clock.now();
        let folder = folder(of, started_at);
        let mut sources = self.sources.to_vec();
        sources.sort_by_key(|source| format!("{}/{}", source.bucket, source.prefix));
        let mut earlier = Earlier::new(self.archive, earlier);
        let mut catalogue = Catalogue::new(&folder);
        let mut copied = Copied::default();
        let mut number = 0_u64;
        for source in &sources {
            let mut after = None;
            loop {
                if Instant::now() >= deadline {
                    return Err(BackupError::Short(catalogue.items()));
                }
                let listed = self.buckets.list(&source.bucket, &source.prefix, after.as_deref()).await?;
                let Some(last) = listed.last() else { break };
                after = Some(last.key.clone());
                let mut wanted = Vec::with_capacity(listed.len());
                for object in listed {
                    let name = format!("{}/{}", source.bucket, object.key);
                    let known = earlier.find(&name).await?.filter(|known| known.is(&object));
                    let copy = format!("{folder}/{number:08}");
                    number += 1;
                    let from = Place { bucket: source.bucket.clone(), key: object.key };
                    wanted.push(Wanted { name, from, known, copy });
                }
                let kept = stream::iter(wanted).map(|wanted| self.kept(wanted, extent, started_at));
                let kept = kept.buffered(AT_ONCE).try_filter_map(async |kept| Ok(kept)).try_collect::<Vec<_>>();
                let kept = timeout_at(deadline, kept).await.map_err(|_| BackupError::Short(catalogue.items()))??;
                for (name, kept) in kept {
                    if kept.copied_at == started_at {
                        copied.objects += 1;
                        copied.bytes += kept.found.bytes;
                    }
                    catalogue.add(self.archive, name, &kept).await?;
                }
            }
        }
        let (parts, kinds) = catalogue.finish(self.archive).await?;
        let manifest = Manifest { copied: Some(copied), ..Manifest::of(of, [started_at, clock.now()], parts, kinds) };
        put_manifest(self.archive, &folder, &manifest).await?;
        Ok(manifest)
    }

    /// What the catalogue says of an object, which is copied for it unless an earlier copy serves; `None` when it is gone.
    async fn kept(&self, wanted: Wanted, extent: Extent, now: Timestamp) -> Result<Option<(Key, Kept)>, BackupError> {
        let Wanted { name, from, known, copy } = wanted;
        let kept = match known {
            Some(known) if extent == Extent::Changes && is_reused(&known, now) => Some(known),
            known => self.copied(&from, known.map(|known| known.found), copy, now).await?,
        };
        Ok(kept.map(|kept| (name, kept)))
    }

    /// Copies what lies at `from`, unless it is gone. `found` is what it was when it was read last.
    async fn copied(
        &self,
        from: &Place,
        mut found: Option<Fingerprint>,
        copy: String,
        now: Timestamp,
    ) -> Result<Option<Kept>, BackupError> {
        let to = Place { bucket: self.bucket.to_owned(), key: copy };
        for _ in 0..TRIES {
            let read = match found.take() {
                Some(found) => found,
                None => match self.buckets.fingerprint(from).await? {
                    Some(found) => found,
                    None => return Ok(None),
                },
            };
            if self.buckets.copy(from, &read.etag, &to).await? {
                return Ok(Some(Kept { found: read, copy: to.key, copied_at: now }));
            }
        }
        Err(failed("copy", format!("an object of `{}` changes all the time", from.bucket)).into())
    }

    /// Reads back what `manifest` copied, and compares it with what was written. Copies of earlier runs were read back then.
    ///
    /// # Errors
    /// [`BackupError::Corrupt`] names the first thing that is not what was written; [`BackupError::Short`] when `deadline`
    /// has come before the end.
    pub async fn check(&self, manifest: &Manifest, deadline: Instant) -> Result<Read, BackupError> {
        let mut found = Read::default();
        for part in &manifest.parts {
            let mut objects = self.part(part).await?;
            found.items += objects.len() as u64;
            objects.retain(|(_, kept)| kept.copied_at.rfc3339() == manifest.started_at);
            let read = stream::iter(objects).map(|(_, kept)| async move { self.read_back(&kept).await });
            let read = read.buffered(AT_ONCE).try_fold(0, async |count, _| Ok(count + 1));
            found.wanted += timeout_at(deadline, read).await.map_err(|_| BackupError::Short(found.wanted))??;
        }
        Ok(found)
    }

    /// Puts the objects of `manifest` back whose names, `bucket/key`, begin with `prefix`, over what is there; or only reads
    /// them, and says what would be put.
    ///
    /// # Errors
    /// Any [`BackupError`]; the objects before are back. Doing it again does no harm.
    pub async fn restore(&self, manifest: &Manifest, prefix: &str, dry_run: bool) -> Result<Read, BackupError> {
        let (mut found, forgotten) = (Read::default(), forgotten(self.archive).await?);
        for part in &manifest.parts {
            let objects = self.part(part).await?;
            found.items += objects.len() as u64;
            let wanted = objects.into_iter().filter(|(name, _)| name.starts_with(prefix));
            let (away, wanted): (Vec<_>, Vec<_>) = wanted.partition(|(name, _)| forgotten.contains_key(name));
            found.forgotten += away.len() as u64;
            let put = stream::iter(wanted).map(|(name, kept)| self.put_back(name, kept, dry_run));
            found.wanted += put.buffered(AT_ONCE).try_fold(0, async |count, ()| Ok(count + 1)).await?;
        }
        Ok(found)
    }

    async fn put_back(&self, name: Key, kept: Kept, dry_run: bool) -> Result<(), BackupError> {
        let (from, found) = self.read_back(&kept).await?;
        let (bucket, key) = name.split_once('/').ok_or_else(|| corrupt(&from.key, "a name without a bucket"))?;
        let to = Place { bucket: bucket.to_owned(), key: key.to_owned() };
        if !dry_run && !self.buckets.copy(&from, &found.etag, &to).await? {
            return Err(corrupt(&from.key, "it has changed since it was read"));
        }
        Ok(())
    }

    /// The objects of a part.
    async fn part(&self, part: &Part) -> Result<Vec<(Key, Kept)>, BackupError> {
        let bytes = read_part(self.archive, part).await?;
        let object = |line: Result<(Key, Item), std::io::Error>| {
            let (name, item) = line?;
            Ok((name, Kept::of(&item).ok_or_else(|| corrupt(&part.key, "a line is about no object"))?))
        };
        lines(&bytes).map(object).collect()
    }

    /// Reads a copy, and compares it with what was copied.
    async fn read_back(&self, kept: &Kept) -> Result<(Place, Fingerprint), BackupError> {
        let place = Place { bucket: self.bucket.to_owned(), key: kept.copy.clone() };
        let found = self.buckets.fingerprint(&place).await?.ok_or_else(|| corrupt(&kept.copy, "there is nothing"))?;
        if (found.bytes, &found.sha256) != (kept.found.bytes, &kept.found.sha256) {
            return Err(corrupt(&kept.copy, format!("{} bytes with the digest {}", found.bytes, found.sha256)));
        }
        Ok((place, found))
    }
}

fn is_reused(known: &Kept, now: Timestamp) -> bool {
    now.since(known.copied_at) < REUSED_FOR
}

/// A catalogue that is being written.
struct Catalogue<'a> {
    folder: &'a str,
    open: Open,
    parts: Vec<Part>,
    kinds: BTreeMap<String, u64>,
}

impl<'a> Catalogue<'a> {
    fn new(folder: &'a str) -> Self {
        Self { folder, open: Open::new(), parts: Vec::new(), kinds: BTreeMap::new() }
    }

    fn items(&self) -> u64 {
        self.kinds.values().sum()
    }

    async fn add(&mut self, archive: &dyn Blobs, name: String, kept: &Kept) -> Result<(), BackupError> {
        let bucket = name.split('/').next().unwrap_or_default().to_owned();
        *self.kinds.entry(bucket).or_insert(0) += 1;
        self.open.add(name, kept.item())?;
        if self.open.is_full() { self.close(archive).await } else { Ok(()) }
    }

    async fn close(&mut self, archive: &dyn Blobs) -> Result<(), BackupError> {
        let key = format!("{}/catalogue-{:05}.jsonl.gz", self.folder, self.parts.len());
        let full = std::mem::replace(&mut self.open, Open::new());
        self.parts.push(full.put(archive, key).await?);
        Ok(())
    }

    async fn finish(mut self, archive: &dyn Blobs) -> Result<(Vec<Part>, BTreeMap<String, u64>), BackupError> {
        if self.open.items > 0 {
            self.close(archive).await?;
        }
        Ok((self.parts, self.kinds))
    }
}

/// Buckets in memory, for tests.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Default)]
pub struct MemoryBuckets {
    objects: std::sync::Mutex<BTreeMap<(String, String), bytes::Bytes>>,
    /// How many objects were read, and how many copied.
    work: std::sync::Mutex<(u64, u64)>,
}

#[cfg(any(test, feature = "testing"))]
impl MemoryBuckets {
    /// Puts an object.
    pub fn put(&self, bucket: &str, key: &str, bytes: impl Into<bytes::Bytes>) {
        self.objects().insert((bucket.to_owned(), key.to_owned()), bytes.into());
    }

    /// Removes what begins with `prefix`.
    pub fn wipe(&self, bucket: &str, prefix: &str) {
        self.objects().retain(|(of, key), _| of != bucket || !key.starts_with(prefix));
    }

    /// What lies in `bucket`.
    pub fn all(&self, bucket: &str) -> BTreeMap<String, bytes::Bytes> {
        let objects = self.objects();
        let of = objects.iter().filter(|((of, _), _)| of == bucket);
        of.map(|((_, key), bytes)| (key.clone(), bytes.clone())).collect()
    }

    /// How many objects were read and how many copied since this was asked last.
    pub fn work(&self) -> (u64, u64) {
        std::mem::take(&mut *self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn objects(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), bytes::Bytes>> {
        self.objects.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn get(&self, place: &Place) -> Option<(bytes::Bytes, Fingerprint)> {
        let bytes = self.objects().get(&(place.bucket.clone(), place.key.clone()))?.clone();
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let found = Fingerprint { etag: sha256[..32].to_owned(), bytes: bytes.len() as u64, sha256 };
        Some((bytes, found))
    }
}

#[cfg(any(test, feature = "testing"))]
#[async_trait]
impl Buckets for MemoryBuckets {
    async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Vec<Listed>, BlobError> {
        let keys = self.all(bucket).into_keys().filter(|key| key.starts_with(prefix));
        let keys = keys.filter(|key| after.is_none_or(|after| key.as_str() > after)).take(1_000);
        let found = keys.filter_map(|key| {
            let (_, found) = self.get(&Place { bucket: bucket.to_owned(), key: key.clone() })?;
            Some(Listed { key, etag: found.etag, bytes: found.bytes })
        });
        Ok(found.collect())
    }

    async fn fingerprint(&self, place: &Place) -> Result<Option<Fingerprint>, BlobError> {
        self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0 += 1;
        Ok(self.get(place).map(|(_, found)| found))
    }

    async fn copy(&self, from: &Place, etag: &str, to: &Place) -> Result<bool, BlobError> {
        let Some((bytes, _)) = self.get(from).filter(|(_, found)| found.etag == etag) else { return Ok(false) };
        self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1 += 1;
        self.put(&to.bucket, &to.key, bytes);
        Ok(true)
    }
}

/// One suite for all buckets.
#[cfg(any(test, feature = "testing"))]
pub mod conformance {
    #![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a failed expectation is a failed test")]

    use super::{Buckets, Digest, Place, Sha256};

    /// Keys that are easily misread, in the order of their bytes.
    pub const KEYS: [&str; 7] = ["%2B", "+", "a b", "a+b", "a/b", "ab\u{7f}", "이음 사진 (1).jpg"];

    /// Checks the written rules on `buckets`. `put` puts an object into `bucket`, which may hold others already.
    pub async fn check(buckets: &dyn Buckets, bucket: &str, put: impl AsyncFn(&str, Vec<u8>)) {
        let folder = format!("conformance/{}/", uuid::Uuid::new_v4());
        let place = |key: &str| Place { bucket: bucket.to_owned(), key: format!("{folder}{key}") };
        assert_eq!(buckets.list(bucket, &folder, None).await.expect("a listing"), []);
        assert_eq!(buckets.fingerprint(&place("a")).await.expect("an answer"), None, "absence is not an error");
        for key in KEYS {
            put(&place(key).key, key.repeat(30_000).into_bytes()).await;
        }
        let listed = buckets.list(bucket, &folder, None).await.expect("a listing");
        let keys: Vec<&str> = listed.iter().map(|object| &object.key[folder.len()..]).collect();
        assert_eq!(keys, KEYS, "as they were put, in the order of their bytes");
        let rest = buckets.list(bucket, &folder, Some(&listed[2].key)).await.expect("a listing");
        assert_eq!(rest, listed[3..]);
        assert_eq!(buckets.list(bucket, &folder, Some(&listed[6].key)).await.expect("a listing"), []);

        for (object, key) in listed.iter().zip(KEYS) {
            let from = place(key);
            let found = buckets.fingerprint(&from).await.expect("an answer").expect("an object");
            assert_eq!((&found.etag, found.bytes), (&object.etag, object.bytes));
            assert_eq!(found.sha256, hex::encode(Sha256::digest(key.repeat(30_000))));
            let to = place("copy");
            assert!(buckets.copy(&from, &found.etag, &to).await.expect("a copy"), "{key}");
            let copy = buckets.fingerprint(&to).await.expect("an answer").expect("the copy");
            assert_eq!((copy.bytes, copy.sha256), (found.bytes, found.sha256), "{key}");
            assert!(!buckets.copy(&from, "00000000000000000000000000000000", &to).await.expect("an answer"), "another");
        }
        assert!(!buckets.copy(&place("gone"), &listed[0].etag, &place("x")).await.expect("an answer"), "gone");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backup::{latest, manifest};
    use crate::blobs::MemoryBlobs;
    use crate::testing::ManualClock;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    struct Scene {
        buckets: MemoryBuckets,
        archive: MemoryBlobs,
        clock: Arc<ManualClock>,
        sources: Vec<Source>,
    }

    impl Scene {
        fn new() -> Self {
            let sources = ["pictures/upload/", "data/"].map(|text| Source::parse(text).unwrap()).into();
            let scene = Self {
                buckets: MemoryBuckets::default(),
                archive: MemoryBlobs::new(),
                clock: ManualClock::start(),
                sources,
            };
            for number in 0..1_200 {
                scene.buckets.put("data", &format!("message/{number}"), format!("{number}"));
            }
            scene.buckets.put("pictures", "upload/이음 +%20.jpg", vec![7; 100_000]);
            scene.buckets.put("pictures", "thumbnail/x", "made from the others");
            scene
        }

        fn files(&self) -> Files<'_> {
            Files { buckets: &self.buckets, sources: &self.sources, archive: &self.archive, bucket: "archive" }
        }

        async fn made(&self, of: &str, extent: Extent, earlier: Option<&Manifest>) -> Manifest {
            let deadline = Instant::now() + DAY;
            let made = self.files().make(of, extent, earlier, &*self.clock, deadline).await.unwrap();
            assert_eq!(manifest(&self.archive, &latest(of)).await.unwrap(), made, "it is the newest");
            self.clock.advance(DAY);
            made
        }

        async fn checked(&self, manifest: &Manifest) -> Result<Read, BackupError> {
            self.files().check(manifest, Instant::now() + DAY).await
        }

        /// Everything but the archive.
        fn contents(&self) -> [BTreeMap<String, bytes::Bytes>; 2] {
            ["data", "pictures"].map(|bucket| self.buckets.all(bucket))
        }
    }

    #[tokio::test]
    async fn memory_conforms() {
        let buckets = MemoryBuckets::default();
        conformance::check(&buckets, "b", async |key, bytes| buckets.put("b", key, bytes)).await;
    }

    #[tokio::test]
    async fn a_week_is_put_back_as_it_was_on_each_of_its_days() {
        let scene = Scene::new();
        let full = scene.made("files/weekly", Extent::Full, None).await;
        assert_eq!((full.items, full.copied.unwrap().objects), (1_201, 1_201), "what was asked for and nothing else");
        assert_eq!(full.kinds, BTreeMap::from([("data".to_owned(), 1_200), ("pictures".to_owned(), 1)]));
        assert_eq!(scene.buckets.work(), (1_201, 1_201));
        let sunday = scene.contents();

        scene.buckets.put("data", "message/17", "changed");
        scene.buckets.put("data", "message/new", "new");
        scene.buckets.wipe("data", "message/23");
        let monday = scene.made("files/daily", Extent::Changes, Some(&full)).await;
        assert_eq!((monday.items, monday.copied.unwrap()), (1_191, Copied { objects: 2, bytes: 10 }));
        assert_eq!(scene.buckets.work(), (2, 2), "the others are neither read nor copied");
        let on_monday = scene.contents();

        scene.buckets.put("data", "message/0", "changed too");
        let tuesday = scene.made("files/daily", Extent::Changes, Some(&monday)).await;
        assert_eq!((tuesday.items, tuesday.copied.unwrap().objects), (1_191, 1));
        for manifest in [&full, &monday, &tuesday] {
            let read = scene.checked(manifest).await.unwrap();
            assert_eq!((read.items, read.wanted), (manifest.items, manifest.copied.unwrap().objects));
        }

        for (manifest, expected) in [(&full, sunday), (&monday, on_monday)] {
            scene.buckets.wipe("data", "");
            scene.buckets.wipe("pictures", "upload/");
            let dry = scene.files().restore(manifest, "pictures/", true).await.unwrap();
            assert_eq!((dry.items, dry.wanted), (manifest.items, 1));
            assert!(scene.buckets.all("data").is_empty() && scene.buckets.all("pictures").len() == 1);
            scene.files().restore(manifest, "", false).await.unwrap();
            assert!(scene.contents() == expected, "object by object");
        }
    }

    #[tokio::test]
    async fn a_full_one_copies_everything_and_reads_only_what_has_changed() {
        let scene = Scene::new();
        let first = scene.made("files/weekly", Extent::Full, None).await;
        scene.buckets.put("data", "message/5", "changed");
        scene.buckets.work();
        let second = scene.made("files/weekly", Extent::Full, Some(&first)).await;
        assert_eq!(scene.buckets.work(), (1, 1_201));
        scene.buckets.wipe("archive", &folder("files/weekly", ManualClock::start().now()));
        assert_eq!(scene.checked(&second).await.unwrap().wanted, 1_201, "it leans on nothing");
    }

    #[tokio::test]
    async fn a_copy_is_named_again_for_as_long_as_it_is_kept() {
        let scene = Scene::new();
        let mut newest = scene.made("files/weekly", Extent::Full, None).await;
        for days in 1..=10_u64 {
            newest = scene.made("files/daily", Extent::Changes, Some(&newest)).await;
            let copied = newest.copied.unwrap().objects;
            assert_eq!(copied, if days % 9 == 0 { 1_201 } else { 0 }, "day {days}, weeks without a full one");
        }
    }

    #[tokio::test]
    async fn what_is_not_what_was_copied_is_found_and_copied_anew() {
        let scene = Scene::new();
        let full = scene.made("files/weekly", Extent::Full, None).await;
        let part = full.parts[0].clone();
        let folder = part.key.rsplit_once('/').unwrap().0.to_owned();
        let copy = format!("{folder}/00000011");
        let good = scene.buckets.all("archive")[&copy].clone();
        scene.buckets.put("archive", &copy, "other");
        for found in [scene.checked(&full).await, scene.files().restore(&full, "data/", false).await] {
            assert!(matches!(&found, Err(BackupError::Corrupt { key, .. }) if *key == copy), "{found:?}");
        }
        scene.buckets.wipe("archive", &copy);
        assert!(matches!(scene.checked(&full).await, Err(BackupError::Corrupt { .. })));
        scene.buckets.put("archive", &copy, good);
        scene.checked(&full).await.unwrap();

        scene.archive.put(&part.key, "application/gzip", bytes::Bytes::from_static(b"x")).await.unwrap();
        assert!(matches!(scene.checked(&full).await, Err(BackupError::Corrupt { .. })));
        let anew = scene.made("files/daily", Extent::Changes, Some(&full)).await;
        assert_eq!(anew.copied.unwrap().objects, 1_201);
    }

    #[tokio::test]
    async fn a_run_without_time_leaves_the_one_before_it_the_newest() {
        let scene = Scene::new();
        let first = scene.made("files/weekly", Extent::Full, None).await;
        let short = scene.files().make("files/weekly", Extent::Full, None, &*scene.clock, Instant::now()).await;
        assert!(matches!(short, Err(BackupError::Short(_))), "{short:?}");
        assert_eq!(manifest(&scene.archive, &latest("files/weekly")).await.unwrap(), first);
    }

    /// Buckets in which an object becomes another one whenever it is read, for the first `times`.
    #[derive(Debug)]
    struct Restless {
        inner: MemoryBuckets,
        times: std::sync::Mutex<u32>,
    }

    #[async_trait]
    impl Buckets for Restless {
        async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Vec<Listed>, BlobError> {
            self.inner.list(bucket, prefix, after).await
        }

        async fn fingerprint(&self, place: &Place) -> Result<Option<Fingerprint>, BlobError> {
            let found = self.inner.fingerprint(place).await;
            let mut times = self.times.lock().unwrap();
            if *times > 0 {
                *times -= 1;
                self.inner.put(&place.bucket, &place.key, format!("as of {times}"));
            }
            found
        }

        async fn copy(&self, from: &Place, etag: &str, to: &Place) -> Result<bool, BlobError> {
            self.inner.copy(from, etag, to).await
        }
    }

    #[tokio::test]
    async fn what_is_written_meanwhile_is_copied_as_it_is_then() {
        for (times, whole) in [(0, true), (2, true), (3, false)] {
            let buckets = Restless { inner: MemoryBuckets::default(), times: std::sync::Mutex::new(times) };
            buckets.inner.put("data", "a", "first");
            let (archive, clock) = (MemoryBlobs::new(), ManualClock::start());
            let sources = [Source::parse("data/").unwrap()];
            let files = Files { buckets: &buckets, sources: &sources, archive: &archive, bucket: "archive" };
            let made = files.make("files/weekly", Extent::Full, None, &*clock, Instant::now() + DAY).await;
            assert_eq!(made.is_ok(), whole, "{times}: {made:?}");
            if let Ok(made) = made {
                files.check(&made, Instant::now() + DAY).await.unwrap();
            }
        }
    }

    #[test]
    fn a_source_is_a_bucket_and_a_prefix() {
        let source = |bucket: &str, prefix: &str| Some(Source { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        assert_eq!(Source::parse("b/upload/"), source("b", "upload/"));
        assert_eq!(Source::parse("b/"), source("b", ""));
        assert_eq!([Source::parse("b"), Source::parse("/x"), Source::parse("")], [None, None, None]);
    }
}
