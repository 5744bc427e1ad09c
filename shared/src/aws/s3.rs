//! S3, as far as this layer needs it: one signed request for each operation, over the one HTTP client.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>. Objects are bodies
//! and headers; lists and errors are XML. What is repeated is whole: an object is written or it is not, and whoever writes the
//! same again changes nothing.
//!
//! Traps handled here, each with a test: an answer with a good status may tell of a failure; one to `HEAD` has no words; a write of
//! nothing has to say how long that is; a key may have characters that XML has not, so that lists are asked for encoded, and
//! segments that a URL loses (`a/../b`), so that it is signed and sent as it is. This file refuses names of buckets that
//! would be read as part of another address, and objects without a key, which are buckets.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use roxmltree::{Document, Node};
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::caller::{AwsError, Caller, Failure, OPERATION_TIMEOUT, Operation, Protocol, Request, text, unheard};
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

/// The failure that says that there is no such object; another 404 is about the bucket.
const NO_SUCH_KEY: &str = "NoSuchKey";

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
        let mut headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, self.bytes.len().into())]);
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
            Err(AwsError::Failed(_, failure)) if failure.is(NO_SUCH_KEY) => Ok(None),
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
        request.outgoing.headers = writing.headers().map_err(|cause| AwsError::NotSent(operation, cause))?;
        request.outgoing.body = writing.bytes;
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
            request.outgoing.headers.insert(name, value);
        }
        match self.caller.call::<Incoming>(operation, request).await {
            Ok(answer) => read(operation, &answer, "CopyObjectResult", |_| Some(true)),
            // Gone, or another one by now.
            Err(AwsError::Failed(_, failure)) if failure.status == 412 || failure.is(NO_SUCH_KEY) => Ok(false),
            Err(error) => Err(error),
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
        read(operation, &answer, "ListBucketResult", |list| {
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
        read(operation, &answer, "ListVersionsResult", |list| {
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
        let answer = self.caller.call::<Incoming>(operation, outgoing(Method::GET, self.url.clone()).into()).await?;
        read(operation, &answer, "ListAllMyBucketsResult", |list| {
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
        let Request { outgoing: mut request, uri } = self.request(operation, Method::PUT, place, &[])?;
        let unsigned = |cause| AwsError::NotSent(operation, cause);
        if request.url.as_str() != uri {
            return Err(unsigned("the key is no part of a URL as it is".into()));
        }
        let content_type = HeaderValue::try_from(content_type).map_err(|error| unsigned(error.into()))?;
        request.headers.insert(header::CONTENT_TYPE, content_type);
        request.headers.insert(header::CONTENT_LENGTH, bytes.into());
        self.caller.signer.signed_address(&request, self.caller.scope(), lifetime).await.map_err(unsigned)
    }

    async fn listing(&self, operation: Operation, bucket: &str, query: &[(&str, &str)]) -> Result<Incoming, AwsError> {
        let request =
            self.address(bucket, "", query).map(|(url, uri)| Request { outgoing: outgoing(Method::GET, url), uri });
        self.caller.call(operation, request.map_err(|cause| AwsError::NotSent(operation, cause))?).await
    }

    fn request(
        &self,
        operation: Operation,
        method: Method,
        place: &Place,
        query: &[(&str, &str)],
    ) -> Result<Request, AwsError> {
        let unsent = |cause| AwsError::NotSent(operation, cause);
        if place.key.is_empty() {
            return Err(unsent("an object has a key".into()));
        }
        let (url, uri) = self.address(&place.bucket, &place.key, query).map_err(unsent)?;
        Ok(Request { outgoing: outgoing(method, url), uri })
    }

    /// Where a bucket or an object in it is, as a URL and as it is sent: on AWS on the bucket's own host, unless its name
    /// is no part of one, or has dots, for which no certificate stands.
    fn address(&self, bucket: &str, key: &str, query: &[(&str, &str)]) -> Result<(Url, String), Cause> {
        let of = |others: &[u8]| bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte));
        if bucket.is_empty() || [".", ".."].contains(&bucket) || !of(b"._-") {
            return Err("the bucket's name is none".into());
        }
        let (mut url, aws) = (self.url.clone(), format!("{NAME}.{}.amazonaws.com", self.caller.region));
        let key = utf8_percent_encode(key, ENCODED_PATH);
        let path = if url.host_str() == Some(&aws) && of(b"-") && !bucket.bytes().any(|byte| byte.is_ascii_uppercase())
        {
            url.set_host(Some(&format!("{bucket}.{aws}")))?;
            format!("/{key}")
        } else {
            format!("{}/{bucket}/{key}", url.path().trim_end_matches('/'))
        };
        let pair = |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, ENCODED));
        let query: Vec<String> = query.iter().map(pair).collect();
        let rest = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
        url.set_path("");
        let uri = format!("{}{rest}", url.as_str().trim_end_matches('/'));
        Ok((Url::parse(&uri)?, uri))
    }
}

fn outgoing(method: Method, url: Url) -> Outgoing {
    // Of a write that has no body S3 wants to hear that.
    let none = (method == Method::PUT).then_some((header::CONTENT_LENGTH, 0.into()));
    Outgoing { method, url, headers: HeaderMap::from_iter(none), body: Bytes::new(), replay: Replay::Safe }
}

/// A failure has the status of one, or is what is told with another.
pub(super) const PROTOCOL: Protocol = Protocol {
    tells_of_failure: |answer| {
        let tells = || document(answer).is_ok_and(|document| document.root_element().has_tag_name("Error"));
        !answer.status.is_success() || tells()
    },
    failure,
};

/// The XML that an answer is.
fn document(answer: &Incoming) -> Result<Document<'_>, String> {
    let body = std::str::from_utf8(&answer.body).map_err(|error| error.to_string())?;
    // An XML error names a place and what it met there, which may be of a key.
    Document::parse(body).map_err(|error| format!("no XML at {}", error.pos()))
}

/// What an answer of failure says.
fn failure(answer: &Incoming) -> Failure {
    // There is nothing in an answer to `HEAD`, and anything in one of a gateway on the way.
    let document = document(answer).ok();
    let told = |name| words(document.as_ref()?.root_element(), name).map(str::to_owned);
    let (code, message, request_id) = (told("Code"), told("Message"), text(answer, &REQUEST_ID));
    Failure { status: answer.status.as_u16(), code, message, request_id, told: Value::Null }
}

/// What `reading` finds in the document that an answer is, whose root is `root`. `None`: it is not what it should be.
fn read<T>(
    operation: Operation,
    answer: &Incoming,
    root: &str,
    reading: impl FnOnce(Node<'_, '_>) -> Option<T>,
) -> Result<T, AwsError> {
    let unreadable = |what: String| AwsError::Unreadable(operation, what);
    let document = document(answer).map_err(unreadable)?;
    let found = Some(document.root_element()).filter(|found| found.tag_name().name() == root);
    found.and_then(reading).ok_or_else(|| unreadable(format!("it is no {root}, or not a whole one")))
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
