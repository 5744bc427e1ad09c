//! Companies: who they are, who represents them, whether they are in business.
//!
//! Two providers: NICE D&B knows profiles, the National Tax Service (국세청) knows tax status and representatives.
//! [`company`] holds the types, [`handler`] decides, [`providers`] speak the wire formats.

pub mod company;
pub mod config;
pub mod handler;
pub mod providers;

pub use config::Config;
pub use handler::Handler;
