//! Thumbnails of the pictures that people upload.
//!
//! [`picture`] is the craft: bytes and wishes in, encoded thumbnails out, nothing else touched. Everything around it is
//! about objects in a bucket: [`notification`] is what S3 says, [`handler`] decides and does, [`record`] is what the
//! table knows, [`objects`] and [`dead_letters`] are the outside.

pub mod config;
pub mod dead_letters;
pub mod handler;
pub mod notification;
pub mod objects;
pub mod picture;
pub mod record;
pub mod variant;

pub use config::Config;
pub use handler::Handler;
