//! Payments: what their providers tell, proven and merged into one state.
//!
//! A webhook is only a reason to ask: whatever it says, the payment is fetched again from its provider, and what comes of
//! that is merged ([`state`]) and told. [`handler`] receives, [`worker`] asks and merges, [`reconciliation`] looks each night
//! for what nobody told. [`providers`] speak the wire formats, [`payment`] is what they are translated into.

pub mod config;
pub mod handler;
pub mod payment;
pub mod providers;
pub mod reconciliation;
pub mod state;
pub mod worker;

pub use config::Config;
pub use handler::Handler;
