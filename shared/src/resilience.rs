//! The decisions of the resilience layer, and nothing but decisions.
//!
//! Everything below is pure: no async, no clock, no store, no AWS type. Time and randomness are arguments; shared state
//! comes in as an [`Item`](crate::store::Item) and goes out as an [`Update`](crate::store::Update). The doing is in
//! [`crate::gate`] and [`crate::integration`], which are thin because the thinking is done here.

pub mod alert;
pub mod backoff;
pub mod cache;
pub mod circuit_breaker;
pub mod health;
pub mod idempotency;
pub mod invalidation;
pub mod rate_limit;
pub mod rollup;
pub mod schedule;
