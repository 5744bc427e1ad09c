//! The sandbox over real loopback HTTP: every mode, every endpoint, every special number, and the program itself.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod addresses;
mod client;
mod control;
mod mail;
mod modes;
mod nice;
mod nts;
mod payments;
mod program;
mod texts;
