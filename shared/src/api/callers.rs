//! A limit for each caller, so that one front end's loop is not everybody's outage.
//!
//! It is the same bucket as a provider's, one for each caller and for the whole fleet, kept under `rate#caller#id`. A
//! caller is never made to wait: too many requests are a 429 that says when to return. Every answer says how the limit
//! stands. Where no such limit is configured, nothing is counted and nothing is written.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use crate::auth::Caller;
use crate::clock::SharedClock;
use crate::error::{ApiError, RATE_LIMITED};
use crate::limiter::{Limiter, Standing};
use crate::resilience::rate_limit::{RatePolicy, caller_key};
use crate::store::Store;

/// Callers an environment remembers at a time.
const CALLERS: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// The store forgets a caller who has not been seen for so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// The name of the limit in answers.
pub(super) const NAME: &str = "caller";

/// The limits of all callers.
#[derive(Debug)]
pub struct CallerLimits {
    policy: RatePolicy,
    store: Arc<dyn Store>,
    clock: SharedClock,
    limiters: Mutex<LruCache<String, Arc<Limiter>>>,
}

impl CallerLimits {
    /// `policy` for each caller, kept in `store`. Its `max_wait` is not used: nobody waits here.
    pub fn new(policy: RatePolicy, store: Arc<dyn Store>, clock: SharedClock) -> Self {
        let policy = RatePolicy { max_wait: Duration::ZERO, ..policy };
        Self { policy, store, clock, limiters: Mutex::new(LruCache::new(CALLERS)) }
    }

    /// Counts one request of `caller`, and says how the limit stands then.
    ///
    /// # Errors
    /// 429 when the caller has used up the limit.
    pub(super) async fn admit(&self, caller: &Caller) -> Result<Standing, ApiError> {
        let limiter = self.limiter(caller);
        let slot = limiter.slot(Instant::now()).await;
        let policy = Some((self.policy.calls, self.policy.period));
        match slot {
            Ok(_) => Ok(limiter.standing().unwrap_or(Standing { policy, remaining: 0, reset: Duration::ZERO })),
            Err(reset) => Err(ApiError::new(RATE_LIMITED).limited(NAME, Standing { policy, remaining: 0, reset })),
        }
    }

    fn limiter(&self, caller: &Caller) -> Arc<Limiter> {
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = limiters.get_or_insert_ref(&caller.id, || {
            let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
            let limiter = Limiter::new(caller_key(&caller.id), Some(self.policy), store, clock);
            Arc::new(limiter.forgotten_after(FORGOTTEN_AFTER))
        });
        Arc::clone(limiter)
    }
}
