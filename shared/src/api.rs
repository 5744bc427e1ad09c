//! The edge that every HTTP function shares: from an API Gateway event to a typed call, and back.
//!
//! A request is matched to a route, its caller is let in, its body bounded; then the function's handler decides. Whatever
//! comes of it leaves in one form, with a trace id. The event (payload format 2.0) is read by this file itself: it must
//! survive any path, header and body a client can produce, and a function must never crash over one.
//!
//! Source of the wire format:
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;
use tracing::Instrument;
use url::Url;

use crate::auth::{Access, Caller, Door};
use crate::clock::{SharedClock, millis};
use crate::error::{
    ApiError, BAD_FORMAT, Detail, INTERNAL, Language, METHOD_NOT_ALLOWED, MISSING, NOT_FOUND, NOT_JSON,
    PAYLOAD_TOO_LARGE, TOO_LONG, chain,
};
use crate::integration::Answer;
use crate::limiter::Standing;
use crate::telemetry::redact;
use crate::telemetry::trace::TraceId;
use crate::webhook::Received;

mod callers;
mod fields;

pub use callers::CallerLimits;
pub use fields::Fields;

/// No request may take longer: API Gateway gives up after 29 s.
const MAX_TIME: Duration = Duration::from_secs(28);

/// Encoded bodies up to this size are decoded for the log.
const LOGGED_BYTES: usize = 64 * 1024;

/// What is kept back of the environment's deadline, to answer in.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// The part of an API Gateway event that we read. Emulators send null where the service leaves a member out.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpEvent {
    raw_path: Option<String>,
    raw_query_string: Option<String>,
    headers: Option<HashMap<String, Option<String>>>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
    request_context: RequestContext,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    http: HttpContext,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpContext {
    method: String,
    source_ip: Option<String>,
}

impl HttpEvent {
    /// The method.
    pub fn method(&self) -> &str {
        &self.request_context.http.method
    }
}

/// The response in API Gateway's form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpResponse {
    /// The status.
    pub status_code: u16,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    /// Always false: bodies are text.
    pub is_base64_encoded: bool,
    /// Always empty: we keep no sessions. Some emulators insist on the member.
    pub cookies: [String; 0],
}

/// One route of a function. A test compares the table with `template.yaml`.
#[derive(Clone, Copy, Debug)]
pub struct Route<A> {
    /// The method.
    pub method: &'static str,
    /// The path, with `{names}` for parameters.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What the handler is to do.
    pub action: A,
}

/// A request that was let in.
#[derive(Debug)]
pub struct Call {
    method: &'static str,
    path: &'static str,
    raw_path: String,
    source_ip: Option<IpAddr>,
    params: HashMap<&'static str, String>,
    query: String,
    headers: HeaderMap,
    body: Bytes,
    /// Who is calling; absent on public routes.
    pub caller: Option<Caller>,
    /// When the answer must be there.
    pub deadline: Instant,
}

impl Call {
    /// The decoded path parameter `name`, which the route declares.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// The caller's id, as it goes on record; empty on public routes.
    pub fn who(&self) -> &str {
        self.caller.as_ref().map_or("", |caller| &caller.id)
    }

    /// The route's method and path, as in the table of routes.
    pub(crate) fn route(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// All headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// What the request asks for: path parameters, query, body. Two bodies of the same JSON are the same.
    pub(crate) fn payload(&self) -> [Vec<u8>; 3] {
        let params = BTreeMap::from_iter(&self.params);
        let body = match serde_json::from_slice::<serde_json::Value>(&self.body) {
            Ok(body) => body.to_string().into_bytes(),
            Err(_) => self.body.to_vec(),
        };
        [json!(params).to_string().into_bytes(), self.query.clone().into_bytes(), body]
    }

    /// The header `name`, if it is there and readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The address the request came from, as the gateway saw it.
    pub fn source_ip(&self) -> Option<IpAddr> {
        self.source_ip
    }

    /// The URL as its sender called it, below the configured address `public`: what the header `Host` says is the sender's
    /// own word.
    pub fn url(&self, public: &Url) -> String {
        let mut url = format!("{}{}", public.as_str().trim_end_matches('/'), self.raw_path);
        if !self.query.is_empty() {
            url.push('?');
            url.push_str(&self.query);
        }
        url
    }

    /// The request as a webhook: its headers and its body, byte for byte, called at `url` (see [`Call::url`]).
    ///
    /// # Errors
    /// 400 for a compressed body: nobody sends one, and none is unpacked.
    pub fn received<'r>(&'r self, url: &'r str) -> Result<Received<'r>, ApiError> {
        let encoding = self.header(header::CONTENT_ENCODING.as_str());
        if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Err(ApiError::invalid(header::CONTENT_ENCODING.as_str(), BAD_FORMAT));
        }
        Ok(Received { headers: &self.headers, body: &self.body, url })
    }

    /// The body's members.
    ///
    /// # Errors
    /// 400 when the body is not a JSON object.
    pub fn body(&self) -> Result<Fields, ApiError> {
        match serde_json::from_slice(&self.body) {
            Ok(serde_json::Value::Object(members)) => Ok(Fields::new(members)),
            Ok(_) => Err(ApiError::invalid("body", BAD_FORMAT)),
            Err(_) if self.body.is_empty() => Err(ApiError::invalid("body", MISSING)),
            Err(_) => Err(ApiError::invalid("body", NOT_JSON)),
        }
    }

    /// The query's parameters.
    ///
    /// # Errors
    /// 400 when a parameter is given twice.
    pub fn query(&self) -> Result<Fields, ApiError> {
        let mut members = serde_json::Map::new();
        for (name, value) in url::form_urlencoded::parse(self.query.as_bytes()) {
            if members.insert(name.clone().into_owned(), value.into_owned().into()).is_some() {
                return Err(ApiError::invalid(fields::presentable(&name), BAD_FORMAT));
            }
        }
        Ok(Fields::new(members))
    }
}

/// What a handler answers.
#[derive(Debug)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: String,
}

impl Reply {
    /// A JSON body.
    ///
    /// # Errors
    /// 500 when it cannot be written.
    pub fn json(status: u16, body: &impl Serialize) -> Result<Self, ApiError> {
        let body = serde_json::to_string(body).map_err(|error| ApiError::new(INTERNAL).because(error))?;
        Ok(Self { status, headers: Vec::new(), body })
    }

    /// A page, script or style of ours, for a browser that loads only what `policy` (CSP, level 3) allows.
    ///
    /// # Errors
    /// 500 when the policy is not fit for a header.
    pub fn page(content_type: &'static str, policy: &str, body: impl Into<String>) -> Result<Self, ApiError> {
        let policy = HeaderValue::from_str(policy).map_err(|error| ApiError::new(INTERNAL).because(error))?;
        let headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::REFERRER_POLICY, HeaderValue::from_static("strict-origin")),
        ];
        Ok(Self { status: 200, headers, body: body.into() })
    }

    /// A body of text that is not JSON. Its content type names the charset.
    pub fn text(status: u16, content_type: &'static str, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: vec![(header::CONTENT_TYPE, HeaderValue::from_static(content_type))],
            body: body.into(),
        }
    }

    /// Sets a header, in place of the one every answer has under that name.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds where the body comes from, as the headers `x-ieum-source` and `age`.
    pub fn provenance<T>(mut self, answer: &Answer<T>) -> Self {
        self.headers.push((SOURCE, HeaderValue::from_static(answer.source.label())));
        if let Some(age) = answer.source.age() {
            self.headers.push((header::AGE, age.as_secs().into()));
        }
        self
    }
}

impl Reply {
    /// Adds how the caller's limit stands.
    fn standing(mut self, standing: &Standing) -> Self {
        for (name, value) in standing.headers(callers::NAME) {
            if let Ok(value) = HeaderValue::try_from(value) {
                self.headers.push((HeaderName::from_static(name), value));
            }
        }
        self
    }
}

const SOURCE: HeaderName = HeaderName::from_static("x-ieum-source");
const TRACE: HeaderName = HeaderName::from_static("x-trace-id");

/// The edge of one function.
#[derive(Debug)]
pub struct Edge {
    door: Door,
    callers: Option<CallerLimits>,
    clock: SharedClock,
    max_body_bytes: usize,
}

impl Edge {
    /// An edge whose routes take bodies of at most `max_body_bytes` bytes.
    pub fn new(door: Door, clock: SharedClock, max_body_bytes: usize) -> Self {
        Self { door, callers: None, clock, max_body_bytes }
    }

    /// The same edge, which turns away callers that ask too often.
    pub fn limiting(self, callers: Option<CallerLimits>) -> Self {
        Self { callers, ..self }
    }

    /// Serves one event. `environment_deadline_ms` is Lambda's, in milliseconds since the epoch; it is believed only when
    /// it is plausible, because local emulators make it up.
    pub async fn serve<A: Copy>(
        &self,
        routes: &[Route<A>],
        event: HttpEvent,
        environment_deadline_ms: u64,
        handle: impl AsyncFnOnce(A, Call) -> Result<Reply, ApiError>,
    ) -> HttpResponse {
        let began = Instant::now();
        let headers = readable_headers(event.headers.as_ref());
        let trace = TraceId::from_headers(&headers);
        let accept = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let language = accept.map_or_else(Language::default, Language::from_accept_language);
        let deadline = began + self.time_allowed(environment_deadline_ms);
        let span = tracing::info_span!(target: "ieum::api", "request", trace_id = trace.as_str());
        let work = async {
            log_request(&event, &headers);
            let method = event.request_context.http.method.clone();
            let found = find(routes, &method, event.raw_path.as_deref().unwrap_or_default());
            let route = found.as_ref().map_or("none", |(route, _)| route.path);
            let work = self.admitted(found, event, headers, deadline, handle);
            let outcome = match AssertUnwindSafe(work).catch_unwind().await {
                Ok(outcome) => outcome,
                Err(_) => Err(ApiError::new(INTERNAL).because("the handler panicked")),
            };
            let response = self.respond(&outcome, &trace, language);
            log(&outcome, &method, route, response.status_code, began.elapsed());
            tracing::debug!(
                target: "ieum::api",
                status = response.status_code,
                headers = %json!(response.headers),
                body = redact::body(response.body.as_bytes()),
                "edge.response"
            );
            response
        };
        trace.clone().during(work).instrument(span).await
    }

    async fn admitted<A: Copy>(
        &self,
        found: Result<(&Route<A>, HashMap<&'static str, String>), ApiError>,
        event: HttpEvent,
        headers: HeaderMap,
        deadline: Instant,
        handle: impl AsyncFnOnce(A, Call) -> Result<Reply, ApiError>,
    ) -> Result<Reply, ApiError> {
        let (route, params) = found?;
        let caller = self.door.admit(&headers, route.access, self.clock.now()).await?;
        let standing = match (&self.callers, &caller) {
            (Some(limits), Some(caller)) => Some(limits.admit(caller).await?),
            (Some(_), None) | (None, _) => None,
        };
        let body = self.body(event.body, event.is_base64_encoded == Some(true))?;
        let query = event.raw_query_string.unwrap_or_default();
        let (method, path) = (route.method, route.path);
        let raw_path = event.raw_path.unwrap_or_default();
        let source_ip = event.request_context.http.source_ip.and_then(|text| text.parse().ok());
        let call = Call { method, path, raw_path, source_ip, params, query, headers, body, caller, deadline };
        let reply = handle(route.action, call).await?;
        Ok(match standing {
            Some(standing) => reply.standing(&standing),
            None => reply,
        })
    }

    fn body(&self, body: Option<String>, base64: bool) -> Result<Bytes, ApiError> {
        let body = body.unwrap_or_default();
        let bounded = |bytes: usize| {
            let too_large = || ApiError::new(PAYLOAD_TOO_LARGE).with(Detail::field("body", TOO_LONG));
            if bytes > self.max_body_bytes { Err(too_large()) } else { Ok(()) }
        };
        if !base64 {
            bounded(body.len())?;
            return Ok(body.into());
        }
        // Before decoding, by the least that so much base64 can hold; after it, exactly.
        bounded((body.len() / 4 * 3).saturating_sub(2))?;
        let decoded = STANDARD.decode(body).map_err(|_| ApiError::invalid("body", BAD_FORMAT))?;
        bounded(decoded.len())?;
        Ok(decoded.into())
    }

    fn time_allowed(&self, environment_deadline_ms: u64) -> Duration {
        let left = i64::try_from(environment_deadline_ms).unwrap_or(0).saturating_sub(self.clock.now().as_millis());
        match u64::try_from(left) {
            Ok(left) if left > 0 => Duration::from_millis(left).saturating_sub(ANSWER_MARGIN).min(MAX_TIME),
            Ok(_) | Err(_) => MAX_TIME,
        }
    }

    fn respond(&self, outcome: &Result<Reply, ApiError>, trace: &TraceId, language: Language) -> HttpResponse {
        let (status_code, headers, body) = match outcome {
            Ok(reply) => {
                let mut headers = HeaderMap::new();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                for (name, value) in &reply.headers {
                    headers.insert(name, value.clone());
                }
                (reply.status, headers, reply.body.clone())
            }
            Err(error) => {
                let (parts, body) = error.to_response(trace.as_str(), self.clock.now(), language).into_parts();
                (parts.status.as_u16(), parts.headers, body)
            }
        };
        let mut headers: BTreeMap<String, String> = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        headers.insert(TRACE.as_str().to_owned(), trace.as_str().to_owned());
        headers.insert("x-content-type-options".to_owned(), "nosniff".to_owned());
        HttpResponse { status_code, headers, body, is_base64_encoded: false, cookies: [] }
    }
}

/// The headers that are headers; what is not valid as one is ignored, and so is what is beyond counting.
fn readable_headers(headers: Option<&HashMap<String, Option<String>>>) -> HeaderMap {
    let mut readable = HeaderMap::new();
    for (name, value) in headers.into_iter().flatten() {
        let value = value.as_ref().and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), value) {
            let _ = readable.try_append(name, value);
        }
    }
    readable
}

/// The route for a request and its decoded parameters. A literal segment goes before a parameter.
fn find<'r, A>(
    routes: &'r [Route<A>],
    method: &str,
    raw_path: &str,
) -> Result<(&'r Route<A>, HashMap<&'static str, String>), ApiError> {
    let segments: Vec<&str> = raw_path.split('/').collect();
    let mut matches: Vec<_> =
        routes.iter().filter_map(|route| Some((route, match_path(route.path, &segments)?))).collect();
    if matches.is_empty() {
        return Err(ApiError::new(NOT_FOUND));
    }
    matches.sort_by_key(|(_, params)| params.len());
    let Some((route, params)) = matches.into_iter().find(|(route, _)| route.method == method) else {
        return Err(ApiError::new(METHOD_NOT_ALLOWED));
    };
    let decoded = params.into_iter().map(|(name, raw)| match percent_decode_str(raw).decode_utf8() {
        Ok(value) => Ok((name, value.into_owned())),
        Err(_) => Err(ApiError::invalid(name, BAD_FORMAT)),
    });
    Ok((route, decoded.collect::<Result<_, _>>()?))
}

fn match_path<'p>(template: &'static str, segments: &[&'p str]) -> Option<Vec<(&'static str, &'p str)>> {
    let parts: Vec<&'static str> = template.split('/').collect();
    if parts.len() != segments.len() {
        return None;
    }
    let mut params = Vec::new();
    for (part, &segment) in parts.into_iter().zip(segments) {
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => params.push((name, segment)),
            None if part == segment => {}
            None => return None,
        }
    }
    Some(params)
}

/// What came in, at level debug: nothing of this is computed above it.
fn log_request(event: &HttpEvent, headers: &HeaderMap) {
    let text = |member: &Option<String>| member.clone().unwrap_or_default();
    let body = || match (&event.body, event.is_base64_encoded) {
        (Some(body), Some(true)) if body.len() <= LOGGED_BYTES => {
            STANDARD.decode(body).map_or_else(|_| "[not base64]".to_owned(), |body| redact::body(&body))
        }
        (Some(body), _) => redact::body(body.as_bytes()),
        (None, _) => String::new(),
    };
    tracing::debug!(
        target: "ieum::api",
        method = event.request_context.http.method,
        url = redact::path_and_query(&text(&event.raw_path), &text(&event.raw_query_string)),
        headers = redact::headers(headers),
        body = body(),
        "edge.request"
    );
}

fn log(outcome: &Result<Reply, ApiError>, method: &str, route: &str, status: u16, took: Duration) {
    let duration_ms = millis(took);
    match outcome {
        Ok(_) => tracing::info!(target: "ieum::api", method, route, status, duration_ms, "request"),
        Err(error) if status >= 500 => {
            let error = chain(error);
            tracing::error!(target: "ieum::api", method, route, status, duration_ms, error, "request");
        }
        Err(error) => {
            let error = chain(error);
            tracing::info!(target: "ieum::api", method, route, status, duration_ms, error, "request");
        }
    }
}
