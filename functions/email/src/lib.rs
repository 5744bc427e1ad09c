//! Mail: accepted once, sent once, over several providers, with templates in two languages.
//!
//! [`handler`] takes requests and providers' events, the kernel's delivery keeps and sends what was accepted, [`composer`]
//! makes a mail of it, [`providers`] speak the wire formats.

pub mod address;
pub mod attachment;
pub mod compose;
pub mod composer;
pub mod config;
pub mod events;
pub mod handler;
pub mod intake;
pub mod mail;
pub mod providers;
pub mod reports;
pub mod request;
pub mod template;
pub mod templates;
pub mod unsubscribe;

pub use config::Config;
pub use handler::Handler;
