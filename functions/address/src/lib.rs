//! Addresses: found by keyword, completed with coordinates, taken over from a postcode widget.
//!
//! Two providers: Juso (도로명주소, the register of the interior ministry) and Kakao Local. Daum Postcode is neither: it is
//! a widget in the browser without an interface for servers, so a page of ours holds it ([`widget`]) and what it hands
//! over is checked like any other input ([`normalize`]). [`address`] and [`keyword`] hold the types, [`handler`] decides,
//! [`providers`] speak the wire formats.

pub mod address;
pub mod config;
pub mod handler;
pub mod keyword;
pub mod normalize;
pub mod providers;
pub mod sido;
pub mod utm_k;
pub mod widget;

pub use config::Config;
pub use handler::Handler;
