//! What S3 is asked, as it arrives, and what its answers mean: signatures, keys, lists, errors.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{Method, Uri};
use ieum::aws::s3::{Listed, Place, S3, Version, Writing};
use ieum::aws::{Aws, AwsError};
use ieum::blobs::{BlobError, Blobs, Erase};
use ieum::error::chain;
use ieum::http::HttpClient;
use ieum::testing::{aws_as, aws_at};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

use super::script::{Asked, Reply, Script, someone};

const KEY: &str = "2026/한글 1+1=2 (100%)~'*.jpg";
const ENCODED: &str = "2026/%ED%95%9C%EA%B8%80%201%2B1%3D2%20%28100%25%29~%27%2A.jpg";
const HEAD: [(&str, &str); 3] = [("etag", "\"e1\""), ("x-amz-version-id", "null"), ("content-type", "text/plain")];

fn place() -> Place {
    at(KEY)
}

fn at(key: &str) -> Place {
    Place { bucket: "b".to_owned(), key: key.to_owned() }
}

async fn script(replies: impl IntoIterator<Item = Reply>) -> (Script, S3) {
    let (script, endpoint) = Script::listen(replies).await;
    let aws = aws_as(someone(None), HttpClient::new(None).unwrap(), &endpoint);
    (script, aws.s3())
}

fn said(status: u16, code: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>words</Message><Key>hong</Key></Error>"
    );
    Reply::new(status, &[("x-amz-request-id", "R1")], &body)
}

fn empty() -> Reply {
    Reply::new(200, &[], "")
}

#[tokio::test]
async fn each_operation_is_asked_in_its_own_words_and_signed_for_as_aws_checks_it() {
    let list =
        |root: &str, inside: &str| Reply::new(200, &[], &format!("<{root} xmlns=\"http://s3\">{inside}</{root}>"));
    let (script, s3) = script([
        empty(),
        Reply::new(200, &HEAD, "hello"),
        Reply::new(200, &HEAD, ""),
        list("ListBucketResult", ""),
        list("ListBucketResult", ""),
        list("ListVersionsResult", "<IsTruncated>false</IsTruncated>"),
        Reply::new(204, &[], ""),
        list("CopyObjectResult", "<ETag>e</ETag>"),
        list(
            "ListAllMyBucketsResult",
            "<Buckets><Bucket><Name>b</Name></Bucket><Bucket><Name>c</Name></Bucket></Buckets>",
        ),
    ])
    .await;
    let writing = Writing {
        content_type: "image/webp".to_owned(),
        cache_control: Some("no-store".to_owned()),
        metadata: BTreeMap::from([("ieum-width".to_owned(), "300".to_owned())]),
        bytes: "hello".into(),
    };
    s3.put(&place(), writing).await.unwrap();
    let mut object = s3.get(&place()).await.unwrap().unwrap();
    assert_eq!((object.head.length, object.next().await.unwrap().as_deref()), (5, Some(&b"hello"[..])));
    assert_eq!(object.next().await.unwrap(), None);
    s3.head(&place()).await.unwrap().unwrap();
    assert_eq!(s3.list("b", "2026/한", None).await.unwrap(), []);
    s3.list("b", "", Some(KEY)).await.unwrap();
    assert_eq!(s3.versions("b", KEY).await.unwrap(), (vec![], false));
    s3.delete(&place(), Some("v+1")).await.unwrap();
    assert!(s3.copy(&place(), "e1", &at("copy")).await.unwrap());
    assert_eq!(s3.buckets().await.unwrap(), ["b", "c"]);

    let asked = script.asked();
    let words: Vec<_> = asked.iter().map(|asked| format!("{} {}", asked.method, asked.uri)).collect();
    let name = |rest: &str| format!("/b/{ENCODED}{rest}");
    let expected = [
        format!("PUT {}", name("")),
        format!("GET {}", name("")),
        format!("HEAD {}", name("")),
        "GET /b/?encoding-type=url&list-type=2&prefix=2026%2F%ED%95%9C".to_owned(),
        format!("GET /b/?encoding-type=url&list-type=2&prefix=&start-after={}", ENCODED.replace('/', "%2F")),
        format!("GET /b/?encoding-type=url&prefix={}&versions=", ENCODED.replace('/', "%2F")),
        format!("DELETE {}", name("?versionId=v%2B1")),
        "PUT /b/copy".to_owned(),
        "GET /".to_owned(),
    ];
    assert_eq!(words, expected);
    for asked in &asked {
        asked.check_signature("s3", &["host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"]);
    }
    assert_eq!((asked[0].header("content-length"), asked[7].header("content-length")), ("5", "0"));
    asked[0].check_signature("s3", &["cache-control", "content-type", "x-amz-meta-ieum-width"]);
    assert_eq!((asked[0].header("content-type"), asked[0].header("cache-control")), ("image/webp", "no-store"));
    assert_eq!((asked[0].header("x-amz-meta-ieum-width"), &asked[0].body[..]), ("300", &b"hello"[..]));
    asked[7].check_signature("s3", &["x-amz-copy-source", "x-amz-copy-source-if-match"]);
    assert_eq!(asked[7].header("x-amz-copy-source"), format!("b/{ENCODED}"));
    assert_eq!(asked[7].header("x-amz-copy-source-if-match"), "\"e1\"");
}

/// The address is checked as S3 does once somebody puts: with the headers that it names, and whatever body.
#[tokio::test]
async fn an_address_to_upload_to_is_signed_with_its_length_and_type() {
    let (_, s3) = script([]).await;
    let url = s3.upload_url(&place(), "application/pdf", 7_000, Duration::from_secs(900)).await.unwrap();
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let signed = query["X-Amz-SignedHeaders"].as_str();
    assert_eq!(signed, "content-length;content-type;host");
    assert_eq!((query["X-Amz-Expires"].as_str(), query["X-Amz-Security-Token"].as_str()), ("900", "a token"));
    let mut put = Asked {
        method: Method::PUT,
        uri: url.as_str().parse::<Uri>().unwrap(),
        headers: [("content-length", "7000"), ("content-type", "application/pdf")]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect(),
        body: "not what was signed".into(),
    };
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    put.headers.insert("host", host.parse().unwrap());
    let scope = query["X-Amz-Credential"].strip_prefix("AKIDEXAMPLE/").unwrap();
    let expected = put.expected_signature(signed, scope, &query["X-Amz-Date"], "UNSIGNED-PAYLOAD");
    assert_eq!(query["X-Amz-Signature"], expected);
}

#[tokio::test]
async fn absence_is_told_from_failure_and_what_may_pass_is_asked_once_more() {
    let missing = |outcome: Result<bool, AwsError>| outcome.map_err(|error| chain(&error));
    for (reply, absent) in [(said(404, "NoSuchKey"), true), (said(404, "NoSuchBucket"), false)] {
        let (_, s3) = script([reply]).await;
        let got = missing(s3.get(&place()).await.map(|found| found.is_none()));
        let words = "GetObject of s3 has failed: status 404, NoSuchBucket, words, request R1";
        assert_eq!(got, if absent { Ok(true) } else { Err(words.to_owned()) });
    }
    // A refusal that does not say why may be of the clock, and is signed once more.
    let (_, s3) = script([Reply::new(404, &[], ""), Reply::new(403, &[], ""), Reply::new(403, &[], "")]).await;
    assert_eq!(s3.head(&place()).await.unwrap(), None);
    assert_eq!(missing(s3.head(&place()).await.map(|_| false)), Err("HeadObject of s3 has failed: status 403".into()));

    let fine = || Reply::new(200, &HEAD, "hello");
    for (replies, heard) in [
        (vec![said(503, "SlowDown"), fine()], Ok(())),
        (vec![said(500, "InternalError"), Reply::new(502, &[], "<html>bad gateway")], Err("status 502")),
        (vec![said(400, "RequestTimeout"), fine()], Ok(())),
        (vec![said(403, "RequestTimeTooSkewed"), fine()], Ok(())),
        (vec![said(403, "AccessDenied")], Err("status 403, AccessDenied")),
        (vec![Reply::new(200, &[], "hello")], Err("what GetObject of s3 answers cannot be read: no `etag`")),
    ] {
        let (script, s3) = script(replies.clone()).await;
        match (s3.get(&place()).await, heard) {
            (Ok(Some(_)), Ok(())) => {}
            (Err(error), Err(words)) => assert!(chain(&error).contains(words), "{}", chain(&error)),
            (got, heard) => panic!("{got:?} instead of {heard:?}"),
        }
        assert_eq!(script.asked().len(), replies.len());
    }
}

#[tokio::test]
async fn a_copy_that_failed_after_a_good_status_is_made_again() {
    let copied = || Reply::new(200, &[], "<CopyObjectResult><ETag>e</ETag></CopyObjectResult>");
    for (replies, outcome) in [
        (vec![copied()], Ok(true)),
        (vec![said(200, "InternalError"), copied()], Ok(true)),
        (vec![said(200, "InternalError"), said(200, "InternalError")], Err("status 200, InternalError")),
        (vec![said(412, "PreconditionFailed")], Ok(false)),
        (vec![said(200, "SlowDown"), said(404, "NoSuchKey")], Ok(false)),
        (vec![said(404, "NoSuchBucket")], Err("NoSuchBucket")),
        (vec![said(403, "AccessDenied")], Err("AccessDenied")),
        (vec![Reply::new(200, &[], "<html>")], Err("cannot be read: no XML at 1:")),
        (vec![Reply::new(200, &[], "<html/>")], Err("cannot be read: it is no CopyObjectResult")),
    ] {
        let (script, s3) = script(replies.clone()).await;
        match (s3.copy(&place(), "e", &at("copy")).await, outcome) {
            (Ok(copied), Ok(expected)) => assert_eq!(copied, expected),
            (Err(error), Err(words)) => assert!(chain(&error).contains(words), "{}", chain(&error)),
            (copied, outcome) => panic!("{copied:?} instead of {outcome:?}"),
        }
        assert_eq!(script.asked().len(), replies.len());
    }
}

#[tokio::test]
async fn lists_are_read_as_they_are_or_not_at_all() {
    let object = |key: &str| format!("<Contents><Key>{key}</Key><ETag>&quot;e&quot;</ETag><Size>3</Size></Contents>");
    let list = |inside: &str| Reply::new(200, &[], &format!("<ListBucketResult>{inside}</ListBucketResult>"));
    let (_, s3) = script([
        list(&format!("<Name>b</Name>{}{}", object("a%2Bb+c%00%ED%95%9C"), object("z"))),
        list("<Contents><Key>hong</Key><ETag>e</ETag></Contents>"),
        list("<Contents><Key>%FF</Key><ETag>e</ETag><Size>1</Size></Contents>"),
        list("<Contents><Key>hong"),
        Reply::new(200, &[], "<html><body>hong</body></html>"),
        Reply::new(200, &[], "<!DOCTYPE r [<!ENTITY a \"hong\">]><r>&a;</r>"),
        Reply::new(
            200,
            &[],
            "<ListVersionsResult><IsTruncated>true</IsTruncated><Version><Key>a+b</Key><VersionId>1</VersionId></Version>\
             <DeleteMarker><Key>a</Key><VersionId>null</VersionId></DeleteMarker></ListVersionsResult>",
        ),
    ])
    .await;
    let listed = |key: &str| Listed { key: key.to_owned(), etag: "e".to_owned(), bytes: 3 };
    assert_eq!(s3.list("b", "", None).await.unwrap(), [listed("a+b c\0한"), listed("z")]);
    for _ in 0..5 {
        let error = chain(&s3.list("b", "", None).await.unwrap_err());
        assert!(
            error.contains("what ListObjectsV2 of s3 answers cannot be read") && !error.contains("hong"),
            "{error}"
        );
    }
    let version = |key: &str, id: &str| Version { key: key.to_owned(), id: id.to_owned() };
    assert_eq!(s3.versions("b", "a").await.unwrap(), (vec![version("a b", "1"), version("a", "null")], true));
}

/// Every version of the object itself is taken away, page by page, and none of another whose key begins the same.
#[tokio::test]
async fn erasing_takes_the_object_and_nothing_that_begins_like_it() {
    let page = |more: bool, keys: &[&str]| {
        let version = |key: &&str| format!("<Version><Key>{key}</Key><VersionId>v</VersionId></Version>");
        let versions: String = keys.iter().map(version).collect();
        let inside = format!("<IsTruncated>{more}</IsTruncated>{versions}");
        Reply::new(200, &[], &format!("<ListVersionsResult>{inside}</ListVersionsResult>"))
    };
    let gone = || Reply::new(204, &[], "");
    let (script, s3) =
        script([page(true, &["k", "k"]), gone(), gone(), page(true, &["k", "k2"]), gone(), page(true, &["k2"])]).await;
    ieum::blobs::S3Blobs::new(s3, "b").erase("k").await.unwrap();
    let deleted = script.asked().iter().filter(|asked| asked.uri == "/b/k?versionId=v").count();
    assert_eq!(deleted, 3);
}

/// An empty list where there was a failure would be a backup without most of its objects.
#[tokio::test]
async fn a_list_that_is_a_failure_with_a_good_status_is_no_short_list() {
    let failed = || [said(200, "InternalError"), said(200, "InternalError")];
    let (script, s3) = script([failed(), failed(), failed()].into_iter().flatten()).await;
    let errors = [
        s3.list("b", "", None).await.map(drop).unwrap_err(),
        s3.versions("b", "").await.map(drop).unwrap_err(),
        s3.buckets().await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(chain(&error).contains("status 200, InternalError"), "{}", chain(&error));
    }
    assert_eq!(script.asked().len(), 6, "each is asked once more");
}

#[tokio::test]
async fn keys_are_sent_and_signed_as_they_are() {
    let keys = [
        ("a//b", "/b/a//b"),
        ("/a", "/b//a"),
        ("a/../b", "/b/a/../b"),
        ("..", "/b/.."),
        ("./a/.", "/b/./a/."),
        ("%2e%2e/a", "/b/%252e%252e/a"),
        ("a/..b?c#d", "/b/a/..b%3Fc%23d"),
    ];
    let (script, s3) = script(keys.map(|_| empty())).await;
    for (key, path) in keys {
        s3.put(&at(key), Writing::default()).await.unwrap();
        let asked = script.asked().remove(0);
        assert_eq!((asked.uri.path(), asked.header("content-length")), (path, "0"));
        asked.check_signature("s3", &["host"]);
    }
    let address = s3.upload_url(&at("a/../b"), "text/plain", 1, Duration::from_secs(60)).await;
    assert!(chain(&address.unwrap_err()).contains("the key is no part of a URL as it is"));
}

#[tokio::test]
async fn what_is_no_object_or_cannot_be_signed_is_refused_before_anything_is_sent() {
    let (script, s3) = script([]).await;
    let refused = |error: AwsError| {
        assert!(matches!(error, AwsError::NotSent(..)), "{error:?}");
        chain(&error)
    };
    assert!(refused(s3.delete(&at(""), None).await.unwrap_err()).contains("an object has a key"));
    for bucket in ["", "..", "b:80", "b/c", "b@c", "한글", "b?c"] {
        let place = Place { bucket: bucket.to_owned(), key: "k".to_owned() };
        assert!(refused(s3.get(&place).await.unwrap_err()).contains("the bucket's name is none"), "{bucket}");
        assert!(
            refused(s3.list(bucket, "", None).await.unwrap_err()).contains("the bucket's name is none"),
            "{bucket}"
        );
    }
    let metadata = BTreeMap::from([("name".to_owned(), "한글".to_owned())]);
    refused(s3.put(&place(), Writing { metadata, ..Writing::default() }).await.unwrap_err());
    assert_eq!(script.asked().len(), 0);
}

#[tokio::test]
async fn on_aws_a_bucket_has_a_host_of_its_own_unless_its_name_has_dots() {
    let config = aws_types::SdkConfig::builder()
        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(someone(None)))
        .region(aws_types::region::Region::from_static("ap-northeast-2"));
    let s3 = Aws::of(config.build(), HttpClient::new(None).unwrap()).unwrap().s3();
    let mut addresses = Vec::new();
    for bucket in ["ieum-prod", "pictures.example.kr", "Old_Bucket"] {
        let place = Place { bucket: bucket.to_owned(), key: "a b".to_owned() };
        let mut url: Url = s3.upload_url(&place, "text/plain", 1, Duration::from_secs(60)).await.unwrap();
        url.set_query(None);
        addresses.push(url.to_string());
    }
    assert_eq!(
        addresses,
        [
            "https://ieum-prod.s3.ap-northeast-2.amazonaws.com/a%20b",
            "https://s3.ap-northeast-2.amazonaws.com/pictures.example.kr/a%20b",
            "https://s3.ap-northeast-2.amazonaws.com/Old_Bucket/a%20b",
        ]
    );
}

/// An S3 that begins to answer with a part of what it says is there, and does nothing more until it is let go.
async fn beginning(go_on: tokio::sync::oneshot::Receiver<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = connection.read(&mut request).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\netag: \"e\"\r\ncontent-type: text/plain\r\n\r\nhello";
        connection.write_all(head.as_bytes()).await.unwrap();
        let _ = go_on.await;
    });
    endpoint
}

#[tokio::test]
async fn a_body_that_breaks_off_or_stands_still_is_a_failure_and_not_a_shorter_object() {
    let (break_off, end) = tokio::sync::oneshot::channel();
    let mut object = aws_at(&beginning(end).await).s3().get(&place()).await.unwrap().unwrap();
    assert_eq!(object.next().await.unwrap().as_deref(), Some(&b"hello"[..]));
    drop(break_off);
    let error = object.next().await.unwrap_err();
    assert!(matches!(error, AwsError::Unanswered(..)), "{error:?}");

    let (_silent, end) = tokio::sync::oneshot::channel();
    let mut object = aws_at(&beginning(end).await).s3().get(&place()).await.unwrap().unwrap();
    assert_eq!(object.next().await.unwrap().as_deref(), Some(&b"hello"[..]));
    tokio::time::pause();
    let error = chain(&object.next().await.unwrap_err());
    assert!(error.contains("GetObject of s3 has no answer: deadline has elapsed"), "{error}");
}

#[tokio::test]
async fn a_blob_is_read_up_to_its_limit_and_no_further() {
    let (_, s3) =
        script([Reply::new(200, &HEAD, "hello"), Reply::new(200, &HEAD, "hello"), said(404, "NoSuchKey")]).await;
    let blobs = ieum::blobs::S3Blobs::new(s3, "b");
    let found = blobs.get("k", 5).await.unwrap().unwrap();
    assert_eq!((found.content_type.as_str(), &found.bytes[..]), ("text/plain", &b"hello"[..]));
    assert!(matches!(blobs.get("k", 4).await.unwrap_err(), BlobError::TooLarge(4)));
    assert_eq!(blobs.get("k", 4).await.unwrap(), None);
}
