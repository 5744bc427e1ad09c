//! S3, as far as this layer needs it: one signed request for each operation, over the one HTTP client.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>. Objects are bodies
//! and headers; lists and errors are XML. What is repeated is whole: an object is written or it is not, and whoever writes the
//! same again changes nothing.
//!
//! Traps handled here, each with a test: a copy that fails may have begun with a good status; an answer to `HEAD` has no words; a
//! key may have characters that XML has not, so that lists are asked for encoded. This file refuses keys of which a URL
//! cannot be made as they are (`a/../b`): it would be another object's.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use roxmltree::{Document, Node};
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::caller::{AwsError, Caller, Failure, OPERATION_TIMEOUT, Operation, text, unheard};
use crate::http::{Arriving, Incoming, Outgoing};
use crate::policy::Replay;
use crate::provider::Cause;

/// S3 in the names of hosts and in signatures.
pub(super) const NAME: &str = "s3";

/// All that a signature encodes: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The same of a path, whose slashes stay.
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const VERSION: HeaderName = HeaderName::from_static("x-amz-version-id");
const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const COPY_IF_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-match");

/// What an object's owner wrote down beside it has names that begin so.
const METADATA: &str = "x-amz-meta-";

/// Where an object lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bucket.
    pub bucket: String,
    /// The key in it, as its owner wrote it.
    pub key: String,
}

/// An object, as a listing has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// What changes when its content does, without quotation marks.
    pub etag: String,
    /// How large it is.
    pub bytes: u64,
}

/// One version of an object, or the mark that it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The object's key.
    pub key: String,
    /// The version's name; `null` in a bucket that keeps none.
    pub id: String,
}

/// What S3 says of an object beside its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What changes when its content does, without quotation marks.
    pub etag: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its version, in a bucket that keeps them.
    pub version: Option<String>,
    /// The media type it was written with.
    pub content_type: Option<String>,
    /// How long whoever fetches it may keep it.
    pub cache_control: Option<String>,
    /// What its owner wrote down beside it; names in lower case, without S3's prefix.
    pub metadata: BTreeMap<String, String>,
}

impl Head {
    fn of(operation: Operation, headers: &HeaderMap) -> Result<Self, AwsError> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let needed =
            |name: HeaderName| text(&name).ok_or_else(|| AwsError::Unreadable(operation, format!("no `{name}`")));
        let length = needed(header::CONTENT_LENGTH)?.parse();
        let metadata = headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(METADATA)?.to_owned();
            Some((name, String::from_utf8_lossy(value.as_bytes()).into_owned()))
        });
        Ok(Self {
            etag: unquoted(&needed(header::ETAG)?),
            length: length.map_err(|_| AwsError::Unreadable(operation, "the length is no number".to_owned()))?,
            version: text(&VERSION).filter(|version| version != "null"),
            content_type: text(&header::CONTENT_TYPE),
            cache_control: text(&header::CACHE_CONTROL),
            metadata: metadata.collect(),
        })
    }
}

/// What is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writing {
    /// The media type.
    pub content_type: String,
    /// How long whoever fetches it may keep it: RFC 9111, 5.2.
    pub cache_control: Option<String>,
    /// What is written down beside it: names in lower case, values in ASCII.
    pub metadata: BTreeMap<String, String>,
    /// The content.
    pub bytes: Bytes,
}

impl Writing {
    fn headers(&self) -> Result<HeaderMap, Cause> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::try_from(&self.content_type)?);
        if let Some(cache_control) = &self.cache_control {
            headers.insert(header::CACHE_CONTROL, HeaderValue::try_from(cache_control)?);
        }
        for (name, value) in &self.metadata {
            headers.insert(HeaderName::try_from(format!("{METADATA}{name}"))?, HeaderValue::try_from(value)?);
        }
        Ok(headers)
    }
}

/// An object that is being read.
#[derive(Debug)]
pub struct Object {
    /// What S3 says of it.
    pub head: Head,
    operation: Operation,
    arriving: Arriving,
}

impl Object {
    /// The next piece of its content, within ten seconds; `None` behind the last.
    ///
    /// # Errors
    /// [`AwsError::Unanswered`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, AwsError> {
        let piece = timeout(OPERATION_TIMEOUT, self.arriving.next()).await;
        let piece = piece.map_err(|elapsed| AwsError::Unanswered(self.operation, elapsed.into()))?;
        piece.map_err(|error| unheard(self.operation, error))
    }
}

/// The client.
#[derive(Clone, Debug)]
pub struct S3 {
    url: Url,
    caller: Caller,
}

impl S3 {
    pub(super) fn new(url: Url, caller: Caller) -> Self {
        Self { url, caller }
    }

    /// The object at `place`, whose content is still to be read.
    ///
    /// # Errors
    /// Any [`AwsError`]; absence is `Ok(None)`.
    pub async fn get(&self, place: &Place) -> Result<Option<Object>, AwsError> {
        let operation = self.caller.operation("GetObject");
        let request = self.request(operation, Method::GET, place, &[])?;
        match self.caller.call::<Arriving>(operation, request).await {
            Ok(arriving) => Ok(Some(Object { head: Head::of(operation, &arriving.headers)?, operation, arriving })),
            Err(AwsError::Failed(_, failure)) if failure.code.as_deref() == Some("NoSuchKey") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What S3 says of the object at `place`.
    ///
    /// # Errors
    /// Any [`AwsError`]; absence is `Ok(None)`.
    pub async fn head(&self, place: &Place) -> Result<Option<Head>, AwsError> {
        let operation = self.caller.operation("HeadObject");
        let request = self.request(operation, Method::HEAD, place, &[])?;
        match self.caller.call::<Incoming>(operation, request).await {
            Ok(answer) => Head::of(operation, &answer.headers).map(Some),
            Err(AwsError::Failed(_, failure)) if failure.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an object, whatever was at `place`.
    ///
    /// # Errors
    /// Any [`AwsError`].
    pub async fn put(&self, place: &Place, writing: Writing) -> Result<(), AwsError> {
        let operation = self.caller.operation("PutObject");
        let mut request = self.request(operation, Method::PUT, place, &[])?;
        request.headers = writing.headers().map_err(|cause| AwsError::NotSent(operation, cause))?;
        request.body = writing.bytes;
        self.caller.call::<Incoming>(operation, request).await.map(drop)
    }

    /// Copies an object with its metadata, whatever was at `to`. It says whether it did: only an object that has `etag` is
    /// copied.
    ///
    /// # Errors
    /// Any [`AwsError`].
    pub async fn copy(&self, from: &Place, etag: &str, to: &Place) -> Result<bool, AwsError> {
        let operation = self.caller.operation("CopyObject");
        let mut request = self.request(operation, Method::PUT, to, &[])?;
        let source = format!("{}/{}", from.bucket, utf8_percent_encode(&from.key, ENCODED_PATH));
        for (name, value) in [(COPY_SOURCE, source), (COPY_IF_MATCH, format!("\"{etag}\""))] {
            let value = HeaderValue::try_from(value).map_err(|error| AwsError::NotSent(operation, error.into()))?;
            request.headers.insert(name, value);
        }
        let asked = async || match self.caller.call::<Incoming>(operation, request.clone()).await {
            Ok(answer) if tells_of_an_error(operation, &answer)? => {
                Err(AwsError::Failed(operation, Box::new(failure(&answer))))
            }
            Ok(_) => Ok(true),
            // Gone, or another one by now.
            Err(AwsError::Failed(_, failure)) if [404, 412].contains(&failure.status) => Ok(false),
            Err(error) => Err(error),
        };
        match asked().await {
            // It began to copy, and then it could not.
            Err(AwsError::Failed(_, failure)) if failure.status == 200 => asked().await,
            copied => copied,
        }
    }

    /// Up to a thousand objects of `bucket` whose keys begin with `prefix`, in the order of their keys' bytes: the first
    /// ones, or those after `after`.
    ///
    /// # Errors
    /// Any [`AwsError`].
    pub async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Vec<Listed>, AwsError> {
        let operation = self.caller.operation("ListObjectsV2");
        let mut query = vec![("encoding-type", "url"), ("list-type", "2"), ("prefix", prefix)];
        query.extend(after.map(|after| ("start-after", after)));
        let answer = self.listing(operation, bucket, &query).await?;
        read(operation, &answer, |list| {
            list.children()
                .filter(|node| node.has_tag_name("Contents"))
                .map(|object| {
                    let bytes = words(object, "Size")?.parse().ok()?;
                    Some(Listed { key: key(object)?, etag: unquoted(words(object, "ETag")?), bytes })
                })
                .collect()
        })
    }

    /// Up to a thousand versions of objects of `bucket` whose keys begin with `prefix`, and whether there are more.
    ///
    /// # Errors
    /// Any [`AwsError`].
    pub async fn versions(&self, bucket: &str, prefix: &str) -> Result<(Vec<Version>, bool), AwsError> {
        let operation = self.caller.operation("ListObjectVersions");
        let query = [("encoding-type", "url"), ("prefix", prefix), ("versions", "")];
        let answer = self.listing(operation, bucket, &query).await?;
        read(operation, &answer, |list| {
            let versions = list.children().filter(|node| ["Version", "DeleteMarker"].contains(&node.tag_name().name()));
            let version = |node| Some(Version { key: key(node)?, id: words(node, "VersionId")?.to_owned() });
            Some((versions.map(version).collect::<Option<_>>()?, words(list, "IsTruncated")? == "true"))
        })
    }

    /// Takes an object away: one version for good, or what can be seen of it.
    ///
    /// # Errors
    /// Any [`AwsError`].
    pub async fn delete(&self, place: &Place, version: Option<&str>) -> Result<(), AwsError> {
        let operation = self.caller.operation("DeleteObject");
        let query: Vec<_> = version.map(|version| ("versionId", version)).into_iter().collect();
        let request = self.request(operation, Method::DELETE, place, &query)?;
        self.caller.call::<Incoming>(operation, request).await.map(drop)
    }

    /// The names of the account's buckets.
    ///
    /// # Errors
    /// Any [`AwsError`].
    pub async fn buckets(&self) -> Result<Vec<String>, AwsError> {
        let operation = self.caller.operation("ListBuckets");
        let answer = self.caller.call::<Incoming>(operation, outgoing(Method::GET, self.url.clone())).await?;
        read(operation, &answer, |list| {
            let buckets = list.descendants().filter(|node| node.has_tag_name("Bucket"));
            buckets.map(|bucket| words(bucket, "Name").map(str::to_owned)).collect()
        })
    }

    /// An address to which anybody can put exactly `bytes` bytes of `content_type` as the object at `place`, for `lifetime`.
    /// Whoever puts must send both headers as they are here.
    ///
    /// # Errors
    /// [`AwsError::NotSent`].
    pub async fn upload_url(
        &self,
        place: &Place,
        content_type: &str,
        bytes: usize,
        lifetime: Duration,
    ) -> Result<Url, AwsError> {
        let operation = self.caller.operation("PutObject");
        let mut request = self.request(operation, Method::PUT, place, &[])?;
        let unsigned = |cause| AwsError::NotSent(operation, cause);
        let content_type = HeaderValue::try_from(content_type).map_err(|error| unsigned(error.into()))?;
        request.headers.insert(header::CONTENT_TYPE, content_type);
        request.headers.insert(header::CONTENT_LENGTH, bytes.into());
        let Caller { signer, region, .. } = &self.caller;
        signer.signed_address(&request, NAME, region, self.caller.now(), lifetime).await.map_err(unsigned)
    }

    async fn listing(&self, operation: Operation, bucket: &str, query: &[(&str, &str)]) -> Result<Incoming, AwsError> {
        let place = Place { bucket: bucket.to_owned(), key: String::new() };
        self.caller.call(operation, self.request(operation, Method::GET, &place, query)?).await
    }

    fn request(
        &self,
        operation: Operation,
        method: Method,
        place: &Place,
        query: &[(&str, &str)],
    ) -> Result<Outgoing, AwsError> {
        let mut url = self.address(place).map_err(|cause| AwsError::NotSent(operation, cause))?;
        if !query.is_empty() {
            let pair = |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, ENCODED));
            url.set_query(Some(&query.iter().map(pair).collect::<Vec<_>>().join("&")));
        }
        Ok(outgoing(method, url))
    }

    /// Where an object is: on AWS on its bucket's own host, unless the name has dots, for which no certificate stands.
    fn address(&self, place: &Place) -> Result<Url, Cause> {
        let Place { bucket, key } = place;
        let (mut url, key) = (self.url.clone(), utf8_percent_encode(key, ENCODED_PATH));
        let aws = format!("{NAME}.{}.amazonaws.com", self.caller.region);
        let path = if url.host_str() == Some(&aws) && !bucket.contains('.') {
            url.set_host(Some(&format!("{bucket}.{aws}")))?;
            format!("/{key}")
        } else {
            format!("{}/{bucket}/{key}", url.path().trim_end_matches('/'))
        };
        url.set_path(&path);
        if url.path() == path { Ok(url) } else { Err("the key is no path as it is".into()) }
    }
}

fn outgoing(method: Method, url: Url) -> Outgoing {
    Outgoing { method, url, headers: HeaderMap::new(), body: Bytes::new(), replay: Replay::Safe }
}

/// What an answer of failure says.
pub(super) fn failure(answer: &Incoming) -> Failure {
    // There is nothing in an answer to `HEAD`, and anything in one of a gateway on the way.
    let document = std::str::from_utf8(&answer.body).ok().and_then(|body| Document::parse(body).ok());
    let told = |name| words(document.as_ref()?.root_element(), name).map(str::to_owned);
    let (code, message, request_id) = (told("Code"), told("Message"), text(answer, &REQUEST_ID));
    Failure { status: answer.status.as_u16(), code, message, request_id, told: Value::Null }
}

/// Whether an answer with a good status is about a failure.
fn tells_of_an_error(operation: Operation, answer: &Incoming) -> Result<bool, AwsError> {
    read(operation, answer, |root| Some(root.has_tag_name("Error")))
}

/// What `reading` finds in the document that an answer is. `None`: it is not what it should be.
fn read<T>(
    operation: Operation,
    answer: &Incoming,
    reading: impl FnOnce(Node<'_, '_>) -> Option<T>,
) -> Result<T, AwsError> {
    let unreadable = |what: String| AwsError::Unreadable(operation, what);
    let body = std::str::from_utf8(&answer.body).map_err(|error| unreadable(error.to_string()))?;
    // An XML error names a place and what it met there, which may be of a key.
    let document = Document::parse(body).map_err(|error| unreadable(format!("no XML at {}", error.pos())))?;
    reading(document.root_element()).ok_or_else(|| unreadable("an element is missing".to_owned()))
}

/// The text of the child `name`.
fn words<'d>(node: Node<'d, '_>, name: &str) -> Option<&'d str> {
    node.children().find(|child| child.tag_name().name() == name)?.text()
}

/// The key of an object in a list that was asked for encoded.
fn key(node: Node<'_, '_>) -> Option<String> {
    let key = words(node, "Key")?.replace('+', " ");
    percent_decode_str(&key).decode_utf8().ok().map(Into::into)
}

fn unquoted(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}
