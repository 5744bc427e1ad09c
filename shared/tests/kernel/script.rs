//! An AWS that answers what it is told to, and checks who asks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use aws_credential_types::Credentials;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::{digest, hmac};
use serde_json::Value;
use tokio::net::TcpListener;

const SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Whom the script knows.
pub fn someone(until: Option<SystemTime>) -> Credentials {
    Credentials::new("AKIDEXAMPLE", SECRET_ACCESS_KEY, Some("a token".into()), until, "test")
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// That the request is signed for `service`, and that the signature covers the body and these headers.
    pub fn check_signature(&self, service: &str, covered: &[&str]) {
        assert_eq!(self.header("x-amz-security-token"), "a token");
        let rest = self.header("authorization").strip_prefix("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/").unwrap();
        let (scope, rest) = rest.split_once(", SignedHeaders=").unwrap();
        let (signed, signature) = rest.split_once(", Signature=").unwrap();
        let stamp = self.header("x-amz-date");
        assert_eq!(scope, format!("{}/ap-northeast-2/{service}/aws4_request", &stamp[..8]));
        for name in covered {
            assert!(signed.split(';').any(|covered| covered == *name), "{name} is not signed: {signed}");
        }
        assert_eq!(signature, self.expected_signature(signed, scope, stamp, &sha256(&self.body)));
    }

    /// The signature that AWS would compute, step by step as in
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
    pub fn expected_signature(&self, signed: &str, scope: &str, stamp: &str, body: &str) -> String {
        let headers: String =
            signed.split(';').map(|name| format!("{name}:{}\n", self.headers[name].to_str().unwrap().trim())).collect();
        let (method, path, query) = (&self.method, self.uri.path(), self.canonical_query());
        let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{signed}\n{body}");
        let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let first = format!("AWS4{SECRET_ACCESS_KEY}").into_bytes();
        let key = scope.split('/').fold(first, |key, part| hmac_sha256(&key, part.as_bytes()));
        hex::encode(hmac_sha256(&key, to_sign.as_bytes()))
    }

    /// The query but its signature: decoded, encoded as AWS does it, in order.
    fn canonical_query(&self) -> String {
        const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
        let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let pairs = url::form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes());
        let unsigned = pairs.filter(|(name, _)| name != "X-Amz-Signature");
        let mut pairs: Vec<_> = unsigned.map(|(name, value)| (encoded(&name), encoded(&value))).collect();
        pairs.sort();
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
}

/// What the script answers once.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    pub fn new(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Self {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Self { status, headers: headers.collect(), body: body.to_owned() }
    }
}

/// Nothing for `null`.
impl From<(u16, Value)> for Reply {
    fn from((status, body): (u16, Value)) -> Self {
        Self::new(status, &[], &if body.is_null() { String::new() } else { body.to_string() })
    }
}

impl From<(u16, &str)> for Reply {
    fn from((status, body): (u16, &str)) -> Self {
        Self::new(status, &[], body)
    }
}

/// It answers in this order, and keeps what it was asked.
#[derive(Clone, Default)]
pub struct Script {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Script {
    pub async fn listen<R: Into<Reply>>(replies: impl IntoIterator<Item = R>) -> (Self, String) {
        let replies = replies.into_iter().map(Into::into).collect();
        let script = Self { replies: Arc::new(Mutex::new(replies)), ..Self::default() };
        let router = Router::new().fallback(Self::answer).with_state(script.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        (script, endpoint)
    }

    async fn answer(
        State(script): State<Self>,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> (StatusCode, HeaderMap, String) {
        script.asked.lock().unwrap().push(Asked { method, uri, headers, body });
        let reply = script.replies.lock().unwrap().pop_front().unwrap();
        (StatusCode::from_u16(reply.status).unwrap(), reply.headers, reply.body)
    }

    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}
