//! The one HTTP server in front of all providers: it counts, applies the mode, and only then asks the provider.
//!
//! Whatever is true for every provider happens here, so that a provider's file holds nothing but that provider.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Bytes, to_bytes};
use axum::extract::{ConnectInfo, Path, Query, Request as HttpRequest, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::connection::{Connection, Door, Ending};
use crate::control::{Fault, Mode, Order, Stats};
use crate::panel;
use crate::providers::{Answer, Make, Provider, Request};

/// Large enough for an e-mail with attachments.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
const MAX_CALL_TIMES: usize = 10_000;
/// Paths may hold ids; beyond this many the rest is counted together, so that a long load cannot fill the memory.
const MAX_PATHS: usize = 1_000;
const OTHER_PATHS: &str = "(other)";

/// All providers of one sandbox.
#[derive(Debug)]
pub(crate) struct Registry(Vec<Arc<Mounted>>);

impl Registry {
    pub(crate) fn new(makers: Vec<Make>) -> Self {
        Self(makers.into_iter().map(|make| Arc::new(Mounted::new(make))).collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Mounted>> {
        self.0.iter()
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Mounted>> {
        self.iter().find(|mounted| mounted.name == name)
    }
}

/// One provider with its mode and its counters.
pub(crate) struct Mounted {
    name: &'static str,
    make: Make,
    inner: Mutex<Inner>,
}

struct Inner {
    provider: Box<dyn Provider>,
    mode: Mode,
    calls: u64,
    token_calls: u64,
    by_path: BTreeMap<String, u64>,
    call_times_ms: VecDeque<u64>,
    in_flight: u64,
    max_in_flight: u64,
}

/// What shall become of a request, decided when it arrives and done after the delay.
enum Outcome {
    Answer(Answer),
    End(Ending),
}

impl Mounted {
    fn new(make: Make) -> Self {
        let inner = Inner::new(make());
        Self { name: inner.provider.name(), make, inner: Mutex::new(inner) }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// No code that holds the lock leaves a half-made change behind, so a panic in a test elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_mode(&self, mode: Mode) -> Result<(), String> {
        let mut inner = self.lock();
        mode.check(inner.provider.as_ref())?;
        inner.mode = mode;
        Ok(())
    }

    /// Does all of a control body or nothing of it.
    pub(crate) fn control(&self, body: &[u8]) -> Result<(), String> {
        let order = Order::parse(body)?;
        let mut inner = self.lock();
        if let Some(mode) = &order.mode {
            mode.check(inner.provider.as_ref())?;
        }
        inner.provider.set(order.settings)?;
        if let Some(mode) = order.mode {
            inner.mode = mode;
        }
        Ok(())
    }

    pub(crate) fn stats(&self) -> Stats {
        let inner = self.lock();
        Stats {
            calls: inner.calls,
            token_calls: inner.token_calls,
            mode: inner.mode.clone(),
            by_path: inner.by_path.clone(),
            call_times_ms: inner.call_times_ms.iter().copied().collect(),
            in_flight: inner.in_flight,
            max_in_flight: inner.max_in_flight,
            state: inner.provider.state(),
        }
    }

    pub(crate) fn reset(&self) {
        let mut inner = self.lock();
        let in_flight = inner.in_flight;
        *inner = Inner::new((self.make)());
        // Requests that are still being answered will be subtracted later.
        inner.in_flight = in_flight;
        inner.max_in_flight = in_flight;
    }

    /// The mode in force.
    pub(crate) fn mode(&self) -> Mode {
        self.lock().mode.clone()
    }

    /// Counts an attempt to hand over a mail, and says how it goes.
    pub(crate) fn arrive_mail(&self) -> Mode {
        let mut inner = self.lock();
        inner.count("/", false);
        inner.take_mode(false)
    }

    /// Hands a mail over that was counted before; what the server says to it.
    pub(crate) fn take_mail(&self, mail: &Request, mode: &Mode) -> String {
        String::from_utf8_lossy(&self.lock().provider.answer(mail, mode).body).into_owned()
    }

    fn arrive(self: &Arc<Self>, request: &Request) -> (InFlight, Duration, Outcome) {
        let mut inner = self.lock();
        inner.in_flight += 1;
        inner.max_in_flight = inner.max_in_flight.max(inner.in_flight);
        let is_token = inner.provider.token_paths().contains(&request.path.as_str());
        inner.count(&request.path, is_token);
        let mode = inner.take_mode(is_token);
        (InFlight(self.clone()), mode.delay, inner.decide(request, &mode))
    }
}

impl fmt::Debug for Mounted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Mounted").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Inner {
    fn new(provider: Box<dyn Provider>) -> Self {
        Self {
            provider,
            mode: Mode::ok(),
            calls: 0,
            token_calls: 0,
            by_path: BTreeMap::new(),
            call_times_ms: VecDeque::new(),
            in_flight: 0,
            max_in_flight: 0,
        }
    }

    fn count(&mut self, path: &str, is_token: bool) {
        if is_token {
            self.token_calls += 1;
        } else {
            self.calls += 1;
            if self.call_times_ms.len() == MAX_CALL_TIMES {
                self.call_times_ms.pop_front();
            }
            self.call_times_ms.push_back(unix_ms());
        }
        let known = self.by_path.contains_key(path) || self.by_path.len() < MAX_PATHS;
        *self.by_path.entry(if known { path } else { OTHER_PATHS }.to_owned()).or_default() += 1;
    }

    /// Returns the mode for one request and counts it down.
    fn take_mode(&mut self, is_token: bool) -> Mode {
        if !self.mode.concerns(is_token) {
            return Mode::ok();
        }
        let mode = self.mode.clone();
        match mode.for_calls {
            None => {}
            Some(0 | 1) => self.mode = Mode::ok(),
            Some(left) => self.mode.for_calls = Some(left - 1),
        }
        mode
    }

    fn decide(&mut self, request: &Request, mode: &Mode) -> Outcome {
        match &mode.fault {
            Fault::Down => Outcome::End(Ending::Closed),
            Fault::Reset => Outcome::End(Ending::Reset),
            Fault::Garbage => Outcome::Answer(garbage(self.provider.internal_detail())),
            Fault::Status(status) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut answer = self.provider.error(status, mode.code.as_deref());
                if let Some(seconds) = mode.retry_after {
                    answer.headers.insert(RETRY_AFTER, seconds.into());
                }
                Outcome::Answer(answer)
            }
            Fault::Ok | Fault::Slow | Fault::Own(_) => Outcome::Answer(self.provider.answer(request, mode)),
        }
    }
}

/// Claims to be JSON, starts with bytes that are no text, and names the provider so that a leak can be seen.
fn garbage(detail: &str) -> Answer {
    let mut body = vec![0xff, 0xfe, 0x00, 0x9c];
    body.extend_from_slice(detail.as_bytes());
    body.extend_from_slice(b" ]}> not what was asked for \x00");
    Answer { status: StatusCode::OK, content_type: "application/json", headers: Default::default(), body }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Counts a request out again, also when the caller went away and the handler was dropped in the middle of a delay.
struct InFlight(Arc<Mounted>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
    }
}

/// Serves until the sandbox is dropped; requests in the middle of an answer may still end.
pub(crate) async fn serve(listener: TcpListener, registry: Arc<Registry>, stopped: oneshot::Receiver<()>) {
    let router = Router::new()
        .route("/_sandbox", get(show_all))
        .route("/_sandbox/panel", get(panel::show))
        .route("/_sandbox/panel.js", get(panel::script))
        .route("/_sandbox/{provider}", get(show).post(control).delete(reset))
        .fallback(call)
        .with_state(registry);
    let service = router.into_make_service_with_connect_info::<Connection>();
    let stop = async {
        // The sender is never used: its end is the signal.
        let _ = stopped.await;
    };
    // An error here would be one of the listener, and `Door` never reports one.
    let _ = axum::serve(Door(listener), service).with_graceful_shutdown(stop).await;
}

/// A request to a provider, whatever the path below its name.
async fn call(
    State(registry): State<Arc<Registry>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: HttpRequest,
) -> Response {
    let (parts, body) = request.into_parts();
    let (name, path) = split(parts.uri.path());
    let Some(mounted) = registry.find(name) else { return unknown(&registry, name) };
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let path = path.to_owned();
    let request = Request { method: parts.method, path, query: query(&parts.uri), headers: parts.headers, body };
    let (_in_flight, delay, outcome) = mounted.arrive(&request);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match outcome {
        Outcome::Answer(answer) => answer.into_response(),
        Outcome::End(ending) => {
            connection.end(ending);
            // Never seen: the connection refuses to write it.
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Splits `/nice/a/b` into `nice` and `/a/b`.
fn split(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    match path.find('/') {
        Some(slash) => path.split_at(slash),
        None => (path, "/"),
    }
}

/// Decodes the query once, as providers do: `%2B` becomes a plus and a bare plus becomes a space.
fn query(uri: &Uri) -> Vec<(String, String)> {
    Query::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default()
}

async fn show_all(State(registry): State<Arc<Registry>>) -> Json<Value> {
    let all: Map<String, Value> =
        registry.iter().map(|mounted| (mounted.name.to_owned(), json!(mounted.stats()))).collect();
    Json(Value::Object(all))
}

async fn show(State(registry): State<Arc<Registry>>, Path(name): Path<String>) -> Response {
    match registry.find(&name) {
        Some(mounted) => Json(mounted.stats()).into_response(),
        None => unknown(&registry, &name),
    }
}

async fn control(State(registry): State<Arc<Registry>>, Path(name): Path<String>, body: Bytes) -> Response {
    let Some(mounted) = registry.find(&name) else { return unknown(&registry, &name) };
    match mounted.control(&body) {
        Ok(()) => Json(mounted.stats()).into_response(),
        Err(reason) => (StatusCode::BAD_REQUEST, Json(json!({ "error": reason }))).into_response(),
    }
}

async fn reset(State(registry): State<Arc<Registry>>, Path(name): Path<String>) -> Response {
    let Some(mounted) = registry.find(&name) else { return unknown(&registry, &name) };
    mounted.reset();
    Json(mounted.stats()).into_response()
}

fn unknown(registry: &Registry, name: &str) -> Response {
    let known: Vec<&str> = registry.iter().map(|mounted| mounted.name).collect();
    let reason = format!("the sandbox has no provider `{name}`, only {}", known.join(", "));
    (StatusCode::NOT_FOUND, Json(json!({ "error": reason }))).into_response()
}
