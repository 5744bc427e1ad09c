//! The one HTTP client of a process, for the providers and for AWS alike.
//!
//! One client means one TLS stack (rustls, ring, Mozilla's roots compiled in), one connection pool and one start-up cost.
//! It makes one exchange at a time: no retries, no redirects (a provider that redirects is misconfigured or attacked),
//! no cookies, no proxy, bounded bodies. Time limits come from the caller.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming as Body;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;
use url::Url;

use crate::clock::{Clock, CorrectedClock, SystemClock, Timestamp, millis};
use crate::error::{chain, place};
use crate::policy::Replay;
use crate::provider::{Cause, ProviderError};
use crate::telemetry::redact;

mod connector;
mod names;

use connector::Connector;
use names::Names;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a connection may take with TLS, where nobody else bounds it.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections are dropped before the usual 60 s of a load balancer would drop them under us.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The largest answer a provider may give.
const MAX_RESPONSE_BYTES: usize = 2 * 1024 * 1024;

/// Why the client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// `SSL_CERT_FILE` names a file that cannot be read or holds no certificate.
    #[error("`SSL_CERT_FILE` cannot be used: {0}")]
    Roots(String),
    /// The TLS library refused its own defaults.
    #[error("TLS cannot be set up")]
    Protocol(#[from] rustls::Error),
}

/// The HTTP client. Cloning shares its connections.
#[derive(Clone)]
pub struct HttpClient {
    inner: Client<Connector, Full<Bytes>>,
    connector: Connector,
    names: Names,
    clock: Option<Arc<CorrectedClock>>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

/// What goes out to a provider.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// The whole address, query included.
    pub url: Url,
    /// Headers; `content-type` among them where there is a body.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
    /// Whether the request may be repeated when its fate is unclear.
    pub replay: Replay,
}

impl Outgoing {
    /// A request that only reads.
    pub fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new(), replay: Replay::Safe }
    }

    /// A JSON body posted to `url`.
    ///
    /// # Errors
    /// When `body` cannot be written as JSON.
    pub fn post_json(url: Url, body: &impl serde::Serialize, replay: Replay) -> Result<Self, ProviderError> {
        let body = serde_json::to_vec(body).map_err(|error| ProviderError::Malformed(Box::new(error)))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        Ok(Self { method: Method::POST, url, headers, body: body.into(), replay })
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The status, whatever it is: what it means is the provider's business.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Incoming {
    /// `Retry-After` in seconds or as an HTTP date (RFC 9110, 10.2.3), the latter measured against the answer's own
    /// `Date`; `None` when absent or unreadable.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let sent = http_date(self.headers.get(header::DATE)?.to_str().ok()?)?;
        let seconds = (http_date(text)? - sent).whole_seconds();
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// The failure that a status means everywhere, for providers to apply after their own reading; `None` for 2xx.
    pub fn failure(&self) -> Option<ProviderError> {
        match self.status.as_u16() {
            200..=299 => None,
            401 | 403 => Some(ProviderError::Unauthorized),
            408 => Some(ProviderError::Timeout),
            429 => Some(ProviderError::Throttled { retry_after: self.retry_after() }),
            status @ 500.. => Some(ProviderError::Unavailable { status }),
            status => Some(ProviderError::Rejected { code: format!("http_{status}") }),
        }
    }

    /// The same for a request that must not happen twice: a gateway that gave up says nothing of what became of it.
    pub fn failure_of_effect(&self) -> Option<ProviderError> {
        match self.status.as_u16() {
            status @ (502 | 504) => Some(ProviderError::Ambiguous(format!("status {status}").into())),
            _ => self.failure(),
        }
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`ProviderError::Malformed`] when it is not what was expected. The cause names the place, never the content.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ProviderError> {
        serde_json::from_slice(&self.body).map_err(|error| ProviderError::Malformed(place(&error).into()))
    }
}

fn http_date(text: &str) -> Option<time::OffsetDateTime> {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    time::PrimitiveDateTime::parse(text, format).ok().map(time::PrimitiveDateTime::assume_utc)
}

impl HttpClient {
    /// The client, trusting Mozilla's roots, or those in `ca_file` instead (the value of `SSL_CERT_FILE`).
    ///
    /// # Errors
    /// [`TlsError`] when the roots cannot be used.
    pub fn new(ca_file: Option<&str>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let certificates = CertificateDer::pem_file_iter(path)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|error| TlsError::Roots(error.to_string()))?;
                let (added, _) = roots.add_parsable_certificates(certificates);
                if added == 0 {
                    return Err(TlsError::Roots("it holds no certificate".to_owned()));
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();

        let names = Names::new();
        let mut tcp = HttpConnector::new_with_resolver(names.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = Connector::new(
            hyper_rustls::HttpsConnectorBuilder::new()
                .with_tls_config(tls)
                .https_or_http()
                .enable_http1()
                .wrap_connector(tcp),
        );
        let inner = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector.clone());
        Ok(Self { inner, connector, names, clock: None })
    }

    /// The same client, telling `clock` what time AWS's answers say it is.
    pub fn correcting(&self, clock: Arc<CorrectedClock>) -> Self {
        Self { clock: Some(clock), ..self.clone() }
    }

    /// Makes one exchange. Nothing is retried, whatever comes back.
    ///
    /// # Errors
    /// [`ProviderError::Unreachable`] when no connection came about, or it broke and repeating does no harm;
    /// [`ProviderError::Ambiguous`] when it broke and repeating could do harm; [`ProviderError::Malformed`] when the
    /// answer is too large.
    pub async fn exchange(&self, outgoing: Outgoing) -> Result<Incoming, ProviderError> {
        let (method, url) = (outgoing.method.clone(), outgoing.url.clone());
        tracing::debug!(
            target: "ieum::http",
            method = %method,
            url = redact::url(&url),
            headers = redact::headers(&outgoing.headers),
            body = redact::body(&outgoing.body),
            "http.request"
        );
        let began = Instant::now();
        let outcome = async { self.send(outgoing, url.as_str()).await?.whole(MAX_RESPONSE_BYTES).await }.await;
        let duration_ms = millis(began.elapsed());
        match &outcome {
            Ok(answer) => tracing::debug!(
                target: "ieum::http",
                method = %method,
                url = redact::url(&url),
                status = answer.status.as_u16(),
                headers = redact::headers(&answer.headers),
                body = redact::body(&answer.body),
                duration_ms,
                "http.response"
            ),
            Err(error) => tracing::debug!(
                target: "ieum::http",
                method = %method,
                url = redact::url(&url),
                error = chain(error),
                duration_ms,
                "http.failed"
            ),
        }
        outcome
    }

    /// Sends a request to `uri` and waits for the head of its answer.
    async fn send(&self, outgoing: Outgoing, uri: &str) -> Result<Arriving, ProviderError> {
        let Outgoing { method, url: _, headers, body, replay } = outgoing;
        let mut request = http::Request::builder().method(method).uri(uri);
        if let Some(into) = request.headers_mut() {
            *into = headers;
        }
        let request = request.body(Full::new(body)).map_err(|error| ProviderError::Malformed(Box::new(error)))?;
        let response = self.inner.request(request).await.map_err(|error| {
            if error.is_connect() { ProviderError::Unreachable(Box::new(error)) } else { broken(replay, error) }
        })?;
        let (head, body) = response.into_parts();
        Ok(Arriving { status: head.status, headers: head.headers, body, replay })
    }
}

fn broken(replay: Replay, cause: impl Into<Cause>) -> ProviderError {
    match replay {
        Replay::Safe | Replay::WithKey => ProviderError::Unreachable(cause.into()),
        Replay::Never => ProviderError::Ambiguous(cause.into()),
    }
}

/// An answer whose body is still on its way.
#[derive(Debug)]
pub(crate) struct Arriving {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Body,
    replay: Replay,
}

impl Arriving {
    /// The whole answer, if its body has at most `most_bytes`.
    ///
    /// # Errors
    /// As [`HttpClient::exchange`].
    pub(crate) async fn whole(self, most_bytes: usize) -> Result<Incoming, ProviderError> {
        let Self { status, headers, body, replay } = self;
        match Limited::new(body, most_bytes).collect().await {
            Ok(body) => Ok(Incoming { status, headers, body: body.to_bytes() }),
            Err(error) if error.is::<LengthLimitError>() => Err(ProviderError::Malformed(error)),
            Err(error) => Err(broken(replay, error)),
        }
    }

    /// The next piece of the body; `None` behind the last.
    ///
    /// # Errors
    /// [`ProviderError::Unreachable`] and [`ProviderError::Ambiguous`]: the connection broke.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| broken(self.replay, error))?;
            if let Ok(piece) = frame.into_data() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

/// What AWS is asked ([`crate::aws`]).
impl HttpClient {
    /// Sends a request to AWS, whose answer says what time it is. Nothing of it is logged: it may be a secret. Its `uri` stands
    /// for its URL, because a key of S3 may be what a URL cannot have.
    ///
    /// # Errors
    /// As [`Self::exchange`].
    pub(crate) async fn ask_aws(&self, outgoing: Outgoing, uri: &str) -> Result<Arriving, ProviderError> {
        let sent = self.clock.as_ref().map(|clock| clock.raw_now());
        let answer = self.send(outgoing, uri).await?;
        self.tell_time(sent, &answer.headers);
        Ok(answer)
    }

    /// What time it is by AWS's answers so far.
    pub(crate) fn aws_now(&self) -> Timestamp {
        self.clock.as_ref().map_or_else(|| SystemClock.now(), |clock| clock.now())
    }

    /// Tells the clock what the `Date` of an answer says, whose request was sent at `sent` by the uncorrected clock.
    fn tell_time(&self, sent: Option<Timestamp>, answer: &HeaderMap) {
        let date = answer.get(header::DATE).and_then(|date| http_date(date.to_str().ok()?));
        if let (Some(clock), Some(sent), Some(date)) = (&self.clock, sent, date) {
            clock.observe(sent, clock.raw_now(), Timestamp::from_millis(date.unix_timestamp() * 1_000));
        }
    }
}

/// Connections without a request.
impl HttpClient {
    /// Looks the names of these hosts up with one thread, one after another, where each connection has one of its own
    /// otherwise: for connections that are made now.
    pub fn look_up_ahead<'u>(&self, urls: impl IntoIterator<Item = &'u Url>) {
        self.names.look_up_ahead(urls.into_iter().filter_map(Url::domain));
    }

    /// Makes a connection to the host of `url`, TLS included, and sends nothing: health, see
    /// [`crate::provider::ProbeKind::Reach`].
    ///
    /// # Errors
    /// [`ProviderError::Unreachable`].
    pub async fn reach(&self, url: &Url) -> Result<(), ProviderError> {
        connected(REACH_TIMEOUT, self.connector.connect(uri_of(url)?)).await.map(drop)
    }

    /// The same within `limit`, and keeps the connection for a request to that host that comes within ten seconds.
    ///
    /// # Errors
    /// [`ProviderError::Unreachable`]; requests will then connect by themselves.
    pub async fn connect_ahead(&self, url: &Url, limit: Duration) -> Result<(), ProviderError> {
        connected(limit, self.connector.connect_ahead(uri_of(url)?)).await
    }
}

async fn connected<T>(limit: Duration, connecting: impl Future<Output = Result<T, Cause>>) -> Result<T, ProviderError> {
    let connected = tokio::time::timeout(limit, connecting).await;
    connected.map_err(|elapsed| ProviderError::Unreachable(Box::new(elapsed)))?.map_err(ProviderError::Unreachable)
}

fn uri_of(url: &Url) -> Result<http::Uri, ProviderError> {
    url.as_str().parse().map_err(|error| ProviderError::Malformed(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> Incoming {
        let mut incoming = Incoming {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"<html>secret words"),
        };
        for (name, value) in headers {
            incoming.headers.insert(*name, value.parse().unwrap());
        }
        incoming
    }

    #[test]
    fn retry_after_reads_seconds_and_dates() {
        let seconds = |headers: &[(&'static str, &str)]| answer(429, headers).retry_after().map(|span| span.as_secs());
        assert_eq!(seconds(&[("retry-after", "7")]), Some(7));
        let date = ("date", "Sat, 21 Nov 2026 03:50:00 GMT");
        assert_eq!(seconds(&[date, ("retry-after", "Sat, 21 Nov 2026 03:50:30 GMT")]), Some(30));
        assert_eq!(seconds(&[date, ("retry-after", "Sat, 21 Nov 2026 03:49:00 GMT")]), Some(0));
        assert_eq!(seconds(&[("retry-after", "Sat, 21 Nov 2026 03:49:00 GMT")]), None, "no date to measure against");
        assert_eq!(seconds(&[("retry-after", "soon")]), None);
        assert_eq!(seconds(&[]), None);
    }

    #[test]
    fn statuses_mean_the_same_everywhere_and_bodies_stay_out_of_errors() {
        let label = |status| answer(status, &[]).failure().map(|error| error.label());
        assert_eq!([200, 204].map(label), [None, None]);
        assert_eq!(
            [401, 403, 404, 408, 429, 500, 503].map(label),
            [
                Some("unauthorized"),
                Some("unauthorized"),
                Some("rejected"),
                Some("timeout"),
                Some("throttled"),
                Some("unavailable"),
                Some("unavailable")
            ]
        );
        let error = answer(200, &[]).json::<serde_json::Value>().unwrap_err();
        assert!(!crate::error::chain(&error).contains("secret"));
    }
}
