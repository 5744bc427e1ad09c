//! Objects in buckets, as far as thumbnails need them.
//!
//! Not the kernel's `Blobs`: those are small, ours, and in one bucket. Here the bucket is named by whoever calls, what
//! lies there was put by strangers, and whether it is read at all is decided by what S3 says of it first.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use ieum::aws::s3::{Place, S3, Writing};
use ieum::provider::Cause;
use sha2::{Digest, Sha256};

/// What is known of an object before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Names this content, without quotes.
    pub etag: String,
    /// Which version of the object it is, in a bucket that keeps versions.
    pub version: Option<String>,
    /// Its length in bytes.
    pub length: u64,
    /// What its owner wrote down beside it; names in lower case, without S3's prefix.
    pub metadata: BTreeMap<String, String>,
}

/// Whether an object of these facts is wanted.
pub type Wanted<'a> = &'a (dyn Fn(&Facts) -> bool + Sync);

/// Where objects lie.
#[async_trait]
pub trait Objects: fmt::Debug + Send + Sync {
    /// The newest object at `place`: its facts, and its content if it is `wanted`.
    ///
    /// # Errors
    /// The bucket did not answer, or refused; absence is `Ok(None)`.
    async fn read(&self, place: &Place, wanted: Wanted<'_>) -> Result<Option<(Facts, Option<Bytes>)>, Cause>;

    /// The name of the content at `place`.
    ///
    /// # Errors
    /// The bucket did not answer, or refused; absence is `Ok(None)`.
    async fn etag(&self, place: &Place) -> Result<Option<String>, Cause>;

    /// Writes an object, whatever was there.
    ///
    /// # Errors
    /// The bucket did not answer, or refused.
    async fn write(&self, place: &Place, writing: Writing) -> Result<(), Cause>;
}

#[async_trait]
impl Objects for S3 {
    async fn read(&self, place: &Place, wanted: Wanted<'_>) -> Result<Option<(Facts, Option<Bytes>)>, Cause> {
        let Some(mut found) = self.get(place).await? else { return Ok(None) };
        let head = found.head.clone();
        let facts = Facts { etag: head.etag, version: head.version, length: head.length, metadata: head.metadata };
        if !wanted(&facts) {
            return Ok(Some((facts, None)));
        }
        let length = usize::try_from(facts.length)?;
        let mut bytes = Vec::with_capacity(length);
        while let Some(piece) = found.next().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > length {
                return Err("S3 sent more than it had said".into());
            }
        }
        if bytes.len() < length {
            return Err("S3 sent less than it had said".into());
        }
        Ok(Some((facts, Some(bytes.into()))))
    }

    async fn etag(&self, place: &Place) -> Result<Option<String>, Cause> {
        Ok(self.head(place).await?.map(|head| head.etag))
    }

    async fn write(&self, place: &Place, writing: Writing) -> Result<(), Cause> {
        Ok(self.put(place, writing).await?)
    }
}

/// An object in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What is known of it.
    pub facts: Facts,
    /// What it was written as, if by [`Objects::write`].
    pub writing: Option<Writing>,
    /// The content.
    pub bytes: Bytes,
}

/// Objects of one process: for runs without AWS and for tests.
#[derive(Debug, Default)]
pub struct MemoryObjects {
    objects: Mutex<HashMap<(String, String), Stored>>,
}

impl MemoryObjects {
    /// Puts `bytes` there as an owner does. Contents that differ have different ETags.
    pub fn put(&self, place: &Place, bytes: Bytes, metadata: BTreeMap<String, String>) {
        let length = bytes.len() as u64;
        let etag = hex::encode(Sha256::digest(&bytes));
        let facts = Facts { etag, version: None, length, metadata };
        self.all().insert(name(place), Stored { facts, writing: None, bytes });
    }

    /// What lies there.
    pub fn found(&self, place: &Place) -> Option<Stored> {
        self.all().get(&name(place)).cloned()
    }

    /// The keys in all buckets, in order.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.all().keys().map(|(_, key)| key.clone()).collect();
        keys.sort_unstable();
        keys
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(String, String), Stored>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(place: &Place) -> (String, String) {
    (place.bucket.clone(), place.key.clone())
}

#[async_trait]
impl Objects for MemoryObjects {
    async fn read(&self, place: &Place, wanted: Wanted<'_>) -> Result<Option<(Facts, Option<Bytes>)>, Cause> {
        Ok(self.found(place).map(|stored| {
            let bytes = wanted(&stored.facts).then_some(stored.bytes);
            (stored.facts, bytes)
        }))
    }

    async fn etag(&self, place: &Place) -> Result<Option<String>, Cause> {
        Ok(self.found(place).map(|stored| stored.facts.etag))
    }

    async fn write(&self, place: &Place, writing: Writing) -> Result<(), Cause> {
        self.put(place, writing.bytes.clone(), writing.metadata.clone());
        if let Some(stored) = self.all().get_mut(&name(place)) {
            stored.writing = Some(writing);
        }
        Ok(())
    }
}
