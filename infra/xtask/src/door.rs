//! The front door: what API Gateway is in an account, in front of the local AWS' HTTP API.
//!
//! The local HTTP API builds the same events as the real one (measured: it decodes paths as an account's HTTP API does,
//! keeps the query string as sent, joins repeated headers), so requests go through the very routes that were deployed
//! and verified. What it lacks is added here: the limits of size, headers and time, CORS as the template says, a trace
//! id, and errors in the project's format where the local one shows raw text. Only requests that match a route are
//! passed on, so the local AWS' own pages stay behind the door. One thing is here that no account has: below `/_sandbox/`
//! are the sandbox's switches, so that the operator page can show them.

pub(crate) mod cors;
mod errors;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::aws::{Http, fetch};
use crate::deploy::Api;
use cors::Cors;
use errors::Problem;
use routes::Routes;

/// Lambda's limit of a synchronous request or response, the tighter one of it and API Gateway's 10 MB.
const BODY_LIMIT: usize = 6 * 1024 * 1024;
/// API Gateway's limit of the request line and all headers together.
const HEADERS_LIMIT: usize = 10_240;
/// So many requests are with the functions at once, each in an environment of its own; the others wait at the door. In
/// an account a thousand may be; here the cores are few, and when all callers of a burst started a process at the same
/// time, none of them would be ready in time.
const CONCURRENCY: usize = 32;
/// How long a caller waits at most, once it is let in.
const TIME_LIMIT: Duration = Duration::from_secs(29);

/// What begins so goes to the sandbox: its switches, for the operator page. There is nothing of this in an account.
const SWITCHES: &str = "/_sandbox/";

/// Headers that concern one connection and end at the door.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Called with a sentence for the operator when a function fails.
pub(crate) type Report = Arc<dyn Fn(&str) + Send + Sync>;

struct Door {
    http: Http,
    /// The address of the local AWS.
    aws: String,
    /// The address of the sandbox, whose switches are on the operator page.
    sandbox: String,
    /// The name under which the local AWS serves this API.
    host: HeaderValue,
    port: HeaderValue,
    cors: Option<Cors>,
    routes: Routes,
    places: Semaphore,
    report: Report,
}

/// Serves the API on `listener` until the returned task is aborted.
pub(crate) fn open(
    listener: TcpListener,
    http: Http,
    [aws, sandbox]: [&str; 2],
    api: Option<&Api>,
    report: Report,
) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let host = format!("{}.execute-api.localhost", api.map_or("none", |api| api.id.as_str()));
    let text = |text: String| HeaderValue::from_str(&text).map_err(std::io::Error::other);
    let door = Door {
        http,
        aws: aws.to_owned(),
        sandbox: sandbox.to_owned(),
        host: text(host)?,
        port: text(listener.local_addr()?.port().to_string())?,
        cors: api.and_then(|api| api.cors.clone()),
        routes: Routes::new(api.iter().flat_map(|api| api.routes.keys())),
        places: Semaphore::new(CONCURRENCY),
        report,
    };
    let router = Router::new().fallback(enter).with_state(Arc::new(door));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    Ok(tokio::spawn(async move {
        // Serving ends with an error only when the listener does; then every call fails and the caller sees it.
        let _ = axum::serve(listener, service).await;
    }))
}

/// One request, top to bottom.
async fn enter(
    State(door): State<Arc<Door>>,
    ConnectInfo(caller): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let asked = parts.headers.clone();
    let trace = errors::trace_id(&asked);

    if let Some(cors) = door.cors.as_ref().filter(|_| Cors::is_preflight(&parts.method, &asked)) {
        return answer(StatusCode::NO_CONTENT, cors.preflight(&asked), Bytes::new());
    }
    let outcome = async {
        if size_of(&parts) > HEADERS_LIMIT {
            return Err(Problem::HeadersTooLarge);
        }
        if parts.uri.path().starts_with(SWITCHES) {
            return door.switch(parts, read(body).await?).await;
        }
        let route = door.routes.find(&parts.method, parts.uri.path()).ok_or(Problem::NotFound)?;
        let body = read(body).await?;
        door.address(&mut parts, caller, &trace);
        door.pass_on(route, parts, body).await
    }
    .await;

    let mut response = outcome.unwrap_or_else(|problem| {
        let (status, body) = problem.render(&asked, &trace);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.extend(HeaderValue::from_str(&trace).map(|trace| (HeaderName::from_static("x-trace-id"), trace)));
        answer(status, headers, body)
    });
    if let Some(cors) = &door.cors {
        cors.apply(&asked, response.headers_mut());
    }
    response
}

impl Door {
    /// Turns the caller's request into the one API Gateway would hand on: its own host, who called, which trace.
    fn address(&self, parts: &mut http::request::Parts, caller: SocketAddr, trace: &str) {
        strip(&mut parts.headers);
        let named = |text: String| HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.remove(header::EXPECT);
        parts.headers.insert(header::HOST, self.host.clone());
        parts.headers.append("x-forwarded-for", named(caller.ip().to_string()));
        parts.headers.insert("x-forwarded-port", self.port.clone());
        parts.headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
        if !parts.headers.contains_key("x-amzn-trace-id") {
            let (time, rest) = trace.split_at(8);
            parts.headers.insert("x-amzn-trace-id", named(format!("Root=1-{time}-{rest}")));
        }
    }

    /// Hands a request on to the sandbox.
    async fn switch(&self, parts: http::request::Parts, body: Bytes) -> Result<Response, Problem> {
        let uri = format!("{}{}", self.sandbox, parts.uri.path()).parse().map_err(|_| Problem::NotFound)?;
        let mut request = http::Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut()) = (parts.method, uri);
        for name in [header::CONTENT_TYPE, header::ACCEPT_LANGUAGE] {
            request.headers_mut().extend(parts.headers.get(&name).map(|value| (name, value.clone())));
        }
        let answered = fetch(&self.http, request).await;
        let (parts, body) =
            answered.map_err(|cause| self.failed("sandbox", &format!("it does not answer: {cause}")))?.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE).cloned();
        Ok(answer(parts.status, kind.map(|kind| (header::CONTENT_TYPE, kind)).into_iter().collect(), body))
    }

    async fn pass_on(&self, route: &str, parts: http::request::Parts, body: Bytes) -> Result<Response, Problem> {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("{}{path}", self.aws).parse().map_err(|_| Problem::NotFound)?;
        let mut request = http::Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (parts.method, uri, parts.headers);

        // In the order of arrival. The semaphore is never closed.
        let _place = self.places.acquire().await;
        let answered =
            tokio::time::timeout(TIME_LIMIT, fetch(&self.http, request)).await.map_err(|_| Problem::TimedOut)?;
        let (parts, body) = answered
            .map_err(|cause| self.failed(route, &format!("the local AWS does not answer: {cause}")))?
            .into_parts();
        if body.len() > BODY_LIMIT {
            return Err(
                self.failed(route, &format!("the function answered {} bytes; Lambda allows {BODY_LIMIT}", body.len()))
            );
        }
        self.raw_failure(route, parts.status, &body)?;
        let mut headers = parts.headers;
        strip(&mut headers);
        headers.remove(header::CONTENT_LENGTH);
        Ok(answer(parts.status, headers, body))
    }

    /// The local HTTP API passes a function's failure on as it is; a function's own errors have another shape.
    fn raw_failure(&self, route: &str, status: StatusCode, body: &Bytes) -> Result<(), Problem> {
        if ![StatusCode::BAD_GATEWAY, StatusCode::TOO_MANY_REQUESTS, StatusCode::INTERNAL_SERVER_ERROR]
            .contains(&status)
        {
            return Ok(());
        }
        let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
        let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
        if parsed["error"].is_object() {
            return Ok(());
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            // Lambda's throttle names its reason; anything else is the function's own answer.
            return if parsed["Reason"].is_string() { Err(Problem::Throttled) } else { Ok(()) };
        }
        match (text(&parsed, "errorType"), text(&parsed, "errorMessage")) {
            (Some(kind), _) if kind == "Sandbox.Timedout" => {
                self.failed(route, "the function did not answer within its timeout");
                Err(Problem::TimedOut)
            }
            (None, None) if status != StatusCode::BAD_GATEWAY => Ok(()),
            (kind, message) => {
                let what = message.unwrap_or_else(|| String::from_utf8_lossy(body).chars().take(2000).collect());
                Err(self.failed(
                    route,
                    &format!("the function failed: {}{what}", kind.map(|kind| format!("{kind}: ")).unwrap_or_default()),
                ))
            }
        }
    }

    fn failed(&self, route: &str, sentence: &str) -> Problem {
        (self.report)(&format!("{route}: {sentence}"));
        Problem::FunctionFailed
    }
}

/// Reads a body up to the limit. One over it is read on, and dropped, for a while: closing the connection under a
/// caller that still sends would lose the answer that says why.
async fn read(mut body: Body) -> Result<Bytes, Problem> {
    let mut bytes = BytesMut::new();
    let mut dropped = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Problem::BadRequest)?.into_data() else { continue };
        if dropped == 0 && bytes.len() + data.len() <= BODY_LIMIT {
            bytes.extend_from_slice(&data);
        } else {
            dropped += data.len();
        }
        if dropped > 10 * BODY_LIMIT {
            break;
        }
    }
    if dropped == 0 { Ok(bytes.freeze()) } else { Err(Problem::BodyTooLarge) }
}

/// The bytes of the request line and the headers.
fn size_of(parts: &http::request::Parts) -> usize {
    let line = parts.method.as_str().len()
        + parts.uri.path_and_query().map_or(1, |path| path.as_str().len())
        + " HTTP/1.1 ".len();
    line + parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
}

/// Removes what concerns one connection only, including what `Connection` itself names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn answer(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
mod tests;
