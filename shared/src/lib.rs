//! The kernel of Ieum: what every integration shares, so that none of them writes it badly again.

pub mod clock;
pub mod resilience;
pub mod store;
