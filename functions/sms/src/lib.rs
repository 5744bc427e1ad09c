//! Texts: accepted once, sent once, over SNS, Twilio and a Korean gateway.
//!
//! [`handler`] takes requests and providers' events, the kernel's delivery keeps and sends what was accepted, [`providers`]
//! speak the wire formats. [`phone`], [`length`], [`price`] and [`text`] decide what can be sent, by whom and for how much.

pub mod config;
pub mod events;
pub mod handler;
pub mod length;
pub mod phone;
pub mod price;
pub mod providers;
pub mod references;
pub mod reports;
pub mod request;
pub mod text;

pub use config::Config;
pub use handler::Handler;
