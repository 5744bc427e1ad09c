//! For operators: how the integrations are, and the levers they steer them by.
//!
//! The console reads the state that the other functions leave in the table. It calls no provider: a page about an outage
//! must not depend on what is out.

mod charts;
pub mod config;
pub mod handler;
pub mod health;
pub mod history;
pub mod integrations;
mod ledgers;
pub mod metrics;
mod page;
mod queues;
pub mod snapshot;
mod steering;

pub use config::Config;
pub use handler::Handler;
