//! Requests that a caller may send again: one effect, one answer, for 24 hours.
//!
//! This is the doing half of [`crate::resilience::idempotency`]: it reads the header `Idempotency-Key`, asks the store,
//! runs the work and keeps its answer. A caller who sends the same request again gets the same status, headers and body,
//! with `idempotency-replayed: true`; another request under the same key is a 422, and one that is still being worked on
//! a 409.
//!
//! # What the work has to do
//!
//! An environment may die after the effect and before its answer is kept. The next attempt then runs the work again, once
//! this one's time is over. So **the work must name its effect by [`Begun::id`]**, and do nothing that exists under
//! that name already. It must also be true that an answer of 4xx, other than 408, 409, 425 and 429, means that nothing
//! was done.
//!
//! # What is kept
//!
//! Answers below 400, as they were given, so a route whose answer holds a secret must not be idempotent. After any other
//! answer the caller may try again. So it is with answers above 300 kB, which no item can hold: the next attempt runs the
//! work again, under the same id. The client's key and the request are known by digests only.
//! A server with a new API key (another id) is another caller: it must not repeat what it began with the old one.
//!
//! This was promised to a caller, so it takes the store its time needs, and without the store there is no work: 503. An
//! answer that could not be kept is a 503 too, although the work is done: otherwise a second one could differ from it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use crate::answers::MAX_VALUE_BYTES;
use crate::api::{Call, Reply};
use crate::clock::{SharedClock, Timestamp};
use crate::error::{ApiError, BAD_FORMAT, IDEMPOTENCY_KEY_REUSED, IN_PROGRESS, INTERNAL, MISSING, TOO_LONG, chain};
use crate::provider::Cause;
pub use crate::resilience::idempotency::Begun;
use crate::resilience::idempotency::{Answer, Claim, Ending, Scope, Verdict};
use crate::store::{Outcome, Store, StoreError, Update};

const KEY: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest key, in characters.
const MAX_KEY: usize = 255;

/// How often an update is tried that got no answer. Each names its attempt, so a second time does nothing more.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// How often an attempt looks again when rivals were faster.
const LOOKS: u32 = 3;

/// How long after the call's deadline the record may still be written; the edge keeps a little more back to answer in.
const SETTLE: Duration = Duration::from_millis(300);

/// An attempt is taken for dead so long after its deadline: [`SETTLE`], and what clocks may be off by.
const DEAD_AFTER: Duration = Duration::from_secs(2);

/// Nobody is told to stay away for longer than this: most work is done in less.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Whether a route's caller must send a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRule {
    /// Without one the answer is 400.
    Required,
    /// Without one each request is a request of its own.
    Optional,
}

/// The records of idempotency keys.
#[derive(Clone, Debug)]
pub struct Idempotency {
    store: Arc<dyn Store>,
    clock: SharedClock,
}

/// What an attempt may do.
enum Entry {
    Run(Begun),
    Replay(Reply),
}

impl Idempotency {
    /// Records in `durable`, a store that is allowed to take its time.
    pub fn new(durable: Arc<dyn Store>, clock: SharedClock) -> Self {
        Self { store: durable, clock }
    }

    /// Answers `call` with `work`, or with what it answered before. The work is given up at the call's deadline.
    ///
    /// # Errors
    /// 400 for a missing or malformed key, 409 while another attempt is running, 422 when the key belongs to another
    /// request, 500 on a route that does not know its caller, 503 without the store, and whatever `work` says.
    pub async fn run(
        &self,
        call: &Call,
        rule: KeyRule,
        work: impl AsyncFnOnce(Begun) -> Result<Reply, ApiError>,
    ) -> Result<Reply, ApiError> {
        let Some(key) = key(call, rule)? else { return work(Begun { id: Uuid::new_v4(), first: true }).await };
        let Some(caller) = &call.caller else {
            return Err(ApiError::new(INTERNAL).because("a public route cannot be idempotent: its callers would meet"));
        };
        let [params, query, body] = call.payload();
        let scope = Scope { caller: &caller.id, route: &call.route(), key };
        let claim = Claim::new(scope, &[&params, &query, &body], Uuid::new_v4());
        let begun = match self.enter(&claim, call.deadline).await? {
            Entry::Run(begun) => begun,
            Entry::Replay(reply) => return Ok(reply),
        };
        let outcome = match timeout_at(call.deadline, work(begun)).await {
            Ok(outcome) => outcome,
            Err(elapsed) => Err(ApiError::new(INTERNAL).because(elapsed)),
        };
        self.settle(&claim, begun, outcome, call.deadline + SETTLE).await
    }

    async fn enter(&self, claim: &Claim, deadline: Instant) -> Result<Entry, ApiError> {
        let alive_for = deadline.saturating_duration_since(Instant::now()) + DEAD_AFTER;
        let until = self.clock.now().after(alive_for);
        let mut update = claim.begin(Uuid::new_v4(), until, self.clock.now());
        for _ in 0..LOOKS {
            let record = self.carry_out(&update, deadline).await?.into_item();
            let now = self.clock.now();
            update = match claim.judge(&record, now).map_err(ApiError::store_unavailable)? {
                Verdict::Own(begun) => {
                    if !begun.first {
                        tracing::warn!(target: "ieum::idempotency", id = %begun.id, "idempotency.resumed");
                    }
                    return Ok(Entry::Run(begun));
                }
                Verdict::Completed { answer, .. } => return replay(&answer).map(Entry::Replay),
                Verdict::Reused => return Err(ApiError::new(IDEMPOTENCY_KEY_REUSED)),
                Verdict::Running(until) => return Err(in_progress(until, now)),
                Verdict::Free => claim.begin(Uuid::new_v4(), until, now),
                Verdict::Resumable => claim.resume(until, now),
            };
        }
        let now = self.clock.now();
        Err(in_progress(now, now))
    }

    /// Keeps the answer, or makes way for the next attempt.
    async fn settle(
        &self,
        claim: &Claim,
        begun: Begun,
        outcome: Result<Reply, ApiError>,
        deadline: Instant,
    ) -> Result<Reply, ApiError> {
        let status = outcome.as_ref().map_or_else(|error| error.code().status, |reply| reply.status);
        let (ending, now) = (begun.ending(status), self.clock.now());
        let reply = match outcome {
            Ok(reply) if ending == Ending::Complete => reply,
            failed => {
                let update = if ending == Ending::Withdraw { claim.withdraw() } else { claim.release() };
                // The caller learns what happened all the same; the record's own time limit makes way later.
                if let Err(error) = self.carry_out(&update, deadline).await {
                    tracing::warn!(target: "ieum::idempotency", id = %begun.id, error = chain(&error), "idempotency.unreleased");
                }
                return failed;
            }
        };
        let update = match keepable(&reply)? {
            Some(answer) => claim.complete(&answer, now),
            None => {
                let bytes = reply.body.len();
                tracing::warn!(target: "ieum::idempotency", id = %begun.id, bytes, "idempotency.too_large");
                claim.release()
            }
        };
        let record = match self.carry_out(&update, deadline).await? {
            Outcome::Applied(_) => return Ok(reply),
            Outcome::Refused(record) => record.unwrap_or_default(),
        };
        // Either an earlier try of the same update got through, or this attempt was taken for dead: then its answer is
        // not the one that counts.
        match claim.judge(&record, now).map_err(ApiError::store_unavailable)? {
            Verdict::Completed { own: true, .. } => Ok(reply),
            Verdict::Completed { answer, own: false } => replay(&answer),
            Verdict::Running(until) => Err(in_progress(until, now)),
            Verdict::Free | Verdict::Own(_) | Verdict::Resumable | Verdict::Reused => Err(in_progress(now, now)),
        }
    }

    async fn carry_out(&self, update: &Update, deadline: Instant) -> Result<Outcome, ApiError> {
        let tries = async {
            for _ in 1..TRIES {
                match self.store.update(update).await {
                    Err(StoreError::Unreachable(_) | StoreError::Throttled(_)) => sleep(PAUSE).await,
                    answer => return answer,
                }
            }
            self.store.update(update).await
        };
        timeout_at(deadline, tries).await.map_err(ApiError::store_unavailable)?.map_err(ApiError::store_unavailable)
    }
}

/// The key that the client sent.
fn key(call: &Call, rule: KeyRule) -> Result<Option<&str>, ApiError> {
    let Some(value) = call.headers().get(KEY) else {
        return if rule == KeyRule::Optional { Ok(None) } else { Err(ApiError::invalid(KEY, MISSING)) };
    };
    match value.to_str() {
        Ok(key) if key.len() > MAX_KEY => Err(ApiError::invalid(KEY, TOO_LONG)),
        Ok(key) if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(key)),
        Ok(_) | Err(_) => Err(ApiError::invalid(KEY, BAD_FORMAT)),
    }
}

/// `reply` as it is kept; `None` when it is too large for an item.
fn keepable(reply: &Reply) -> Result<Option<Answer>, ApiError> {
    let internal = |error: Cause| ApiError::new(INTERNAL).because(error);
    let mut headers = Vec::with_capacity(reply.headers.len());
    for (name, value) in &reply.headers {
        headers.push((name.as_str(), value.to_str().map_err(|error| internal(error.into()))?));
    }
    let headers = serde_json::to_string(&headers).map_err(|error| internal(error.into()))?;
    let fits = reply.body.len() + headers.len() <= MAX_VALUE_BYTES;
    Ok(fits.then(|| Answer { status: reply.status, headers, body: reply.body.clone() }))
}

/// The kept answer, marked as such.
fn replay(answer: &Answer) -> Result<Reply, ApiError> {
    let kept: Vec<(String, String)> = serde_json::from_str(&answer.headers).map_err(ApiError::store_unavailable)?;
    let mut headers = vec![(REPLAYED, HeaderValue::from_static("true"))];
    for (name, value) in kept {
        let name = HeaderName::try_from(name).map_err(ApiError::store_unavailable)?;
        headers.push((name, HeaderValue::try_from(value).map_err(ApiError::store_unavailable)?));
    }
    Ok(Reply { status: answer.status, headers, body: answer.body.clone() })
}

fn in_progress(until: Timestamp, now: Timestamp) -> ApiError {
    let seconds = until.since(now).min(LONGEST_WAIT).as_millis().div_ceil(1_000).max(1);
    ApiError::new(IN_PROGRESS).retry_after(u64::try_from(seconds).ok())
}
