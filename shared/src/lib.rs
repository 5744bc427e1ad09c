//! The kernel of Ieum: what every integration shares, so that none of them writes it badly again.
//!
//! Begin with [`integration`], the executor that every provider call goes through. [`resilience`] holds its decisions,
//! [`store`] the shared state they act on, [`gate`] the doing in between. Around them: [`api`] is the edge every HTTP
//! function shares, [`auth`] says who may enter, [`idempotency`] that a repeated request has its effect once, [`webhook`] what a provider's request proves, [`config`] and [`secrets`]
//! are read once at start, [`telemetry`] is what operators see.
//!
//! The kernel knows no function and no provider: arrows point from `functions/*` to here. The one thing that is kept here by
//! a provider's name is how it signs, because only the kernel may say that a signature is good.

pub mod answers;
pub mod api;
pub mod audit;
pub mod auth;
pub mod aws;
pub mod backup;
pub mod blobs;
pub mod checkup;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod error;
pub mod events;
pub mod forget;
pub mod gate;
pub mod http;
pub mod idempotency;
pub mod integration;
pub mod limiter;
pub mod mock;
#[cfg(not(any(test, feature = "testing")))]
mod planted;
#[cfg(any(test, feature = "testing"))]
pub mod planted;
pub mod policy;
pub mod provider;
pub mod queue;
pub mod resilience;
pub mod rollups;
pub mod runtime;
pub mod secrets;
pub mod settings;
pub mod sigv4;
pub mod single_flight;
pub mod sns;
pub mod start;
pub mod store;
pub mod telemetry;
pub mod webhook;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
