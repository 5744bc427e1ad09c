//! What is too large for an item of the table: raw webhooks, message bodies, attachments, templates.
//!
//! A blob is written before the item that names it, so that an item never points at nothing; a blob without an item is
//! removed by the bucket's lifecycle. Nothing is listed or deleted here, and nothing is read without a limit: what lies
//! under a key may have been put there by an outsider with an address we gave him.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use url::Url;

use crate::aws::s3::{Place, S3, Writing};
use crate::provider::Cause;

/// What is larger than this lies in a blob and not in an item, which may hold 400 kB in all
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
pub const INLINE_BYTES: usize = 100 * 1024;

/// A blob and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The media type it was put with.
    pub content_type: String,
    /// The content.
    pub bytes: Bytes,
}

/// Why a blob could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bucket did not answer, or refused.
    #[error("the bucket did not do it: {0}")]
    Bucket(String, #[source] Cause),
    /// There is more under the key than may be read.
    #[error("the blob is larger than {0} bytes")]
    TooLarge(usize),
}

/// Where blobs lie. Two implementations, one conformance suite.
#[async_trait]
pub trait Blobs: fmt::Debug + Send + Sync {
    /// Puts `bytes` under `key`, whatever was there. Once this returns, everybody reads them.
    ///
    /// # Errors
    /// [`BlobError::Bucket`]: they may or may not be there.
    async fn put(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), BlobError>;

    /// What lies under `key`, if it is at most `limit` bytes.
    ///
    /// # Errors
    /// Any [`BlobError`]; absence is `Ok(None)`.
    async fn get(&self, key: &str, limit: usize) -> Result<Option<Blob>, BlobError>;

    /// An address to which anybody can put exactly `bytes` bytes of `content_type` under `key`, for `lifetime`. Whoever
    /// puts must send both headers, `content-type` and `content-length`, as they are here.
    ///
    /// # Errors
    /// [`BlobError::Bucket`] when there is no such address.
    async fn upload_url(
        &self,
        key: &str,
        content_type: &str,
        bytes: usize,
        lifetime: Duration,
    ) -> Result<Url, BlobError>;
}

/// Where blobs can be taken away for good: of people who are to be forgotten, by the program of an operator. No function does.
#[async_trait]
pub trait Erase: Blobs {
    /// Takes away what lies under `key`, and each of its former versions.
    ///
    /// # Errors
    /// [`BlobError::Bucket`]: some versions may be there still.
    async fn erase(&self, key: &str) -> Result<(), BlobError>;
}

/// A bucket of S3.
#[derive(Clone, Debug)]
pub struct S3Blobs {
    s3: S3,
    bucket: String,
}

impl S3Blobs {
    /// The bucket of that name.
    pub fn new(s3: S3, bucket: impl Into<String>) -> Self {
        Self { s3, bucket: bucket.into() }
    }

    fn place(&self, key: &str) -> Place {
        Place { bucket: self.bucket.clone(), key: key.to_owned() }
    }
}

pub(crate) fn failed(doing: &str, cause: impl Into<Cause>) -> BlobError {
    BlobError::Bucket(doing.to_owned(), cause.into())
}

#[async_trait]
impl Blobs for S3Blobs {
    async fn put(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), BlobError> {
        let writing = Writing { content_type: content_type.to_owned(), bytes, ..Writing::default() };
        self.s3.put(&self.place(key), writing).await.map_err(|error| failed("put", error))
    }

    async fn get(&self, key: &str, limit: usize) -> Result<Option<Blob>, BlobError> {
        let found = self.s3.get(&self.place(key)).await.map_err(|error| failed("get", error))?;
        let Some(mut found) = found else { return Ok(None) };
        let mut bytes = BytesMut::new();
        while let Some(piece) = found.next().await.map_err(|error| failed("get", error))? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > limit {
                return Err(BlobError::TooLarge(limit));
            }
        }
        Ok(Some(Blob { content_type: found.head.content_type.unwrap_or_default(), bytes: bytes.freeze() }))
    }

    async fn upload_url(
        &self,
        key: &str,
        content_type: &str,
        bytes: usize,
        lifetime: Duration,
    ) -> Result<Url, BlobError> {
        let url = self.s3.upload_url(&self.place(key), content_type, bytes, lifetime).await;
        url.map_err(|error| failed("presign", error))
    }
}

#[async_trait]
impl Erase for S3Blobs {
    async fn erase(&self, key: &str) -> Result<(), BlobError> {
        let place = self.place(key);
        loop {
            // What is deleted is listed no more, so the first page is always the next one.
            let (versions, more) = self.s3.versions(&self.bucket, key).await.map_err(|error| failed("erase", error))?;
            let own: Vec<_> = versions.iter().filter(|version| version.key == key).collect();
            for version in &own {
                self.s3.delete(&place, Some(&version.id)).await.map_err(|error| failed("erase", error))?;
            }
            // Keys come in order, and the shortest of those with a beginning is that beginning.
            if own.is_empty() || !more {
                return Ok(());
            }
        }
    }
}

/// The blobs of one process: for runs without AWS and for tests. They are gone when it ends.
#[derive(Debug, Default)]
pub struct MemoryBlobs {
    blobs: Mutex<HashMap<String, Blob>>,
}

impl MemoryBlobs {
    /// No blobs yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The keys of all blobs, in order.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.blobs().keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    fn blobs(&self) -> std::sync::MutexGuard<'_, HashMap<String, Blob>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn put(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), BlobError> {
        self.blobs().insert(key.to_owned(), Blob { content_type: content_type.to_owned(), bytes });
        Ok(())
    }

    async fn get(&self, key: &str, limit: usize) -> Result<Option<Blob>, BlobError> {
        let found = self.blobs().get(key).cloned();
        if found.as_ref().is_some_and(|blob| blob.bytes.len() > limit) {
            return Err(BlobError::TooLarge(limit));
        }
        Ok(found)
    }

    async fn upload_url(&self, _: &str, _: &str, _: usize, _: Duration) -> Result<Url, BlobError> {
        Err(failed("presign", "memory has no address: set `TABLE_NAME` and `BUCKET_NAME`"))
    }
}

#[async_trait]
impl Erase for MemoryBlobs {
    async fn erase(&self, key: &str) -> Result<(), BlobError> {
        self.blobs().remove(key);
        Ok(())
    }
}

/// One suite for every place where blobs lie.
#[cfg(any(test, feature = "testing"))]
pub mod conformance {
    #![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a failed expectation is a failed test")]

    use super::{Blob, BlobError, Blobs, Bytes};

    /// Checks the written rules on `blobs`, which may hold others already.
    pub async fn check(blobs: &dyn Blobs) {
        let key = format!("conformance/{}/이음 a+b?c", uuid::Uuid::new_v4());
        assert_eq!(blobs.get(&key, 10).await.expect("get"), None, "absence is not an error");
        for (content_type, bytes) in [
            ("text/plain; charset=utf-8", Bytes::from_static("이음".as_bytes())),
            ("application/octet-stream", Bytes::from((0..=255_u8).cycle().take(300_000).collect::<Vec<_>>())),
            ("application/json", Bytes::new()),
        ] {
            blobs.put(&key, content_type, bytes.clone()).await.expect("put");
            let found = blobs.get(&key, bytes.len()).await.expect("get");
            assert_eq!(found, Some(Blob { content_type: content_type.to_owned(), bytes: bytes.clone() }));
            if let Some(limit) = bytes.len().checked_sub(1) {
                let refused = blobs.get(&key, limit).await.expect_err("one byte too many");
                assert!(matches!(refused, BlobError::TooLarge(_)), "{refused:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_conforms() {
        conformance::check(&MemoryBlobs::new()).await;
    }
}
