//! Thumbnails of the pictures that people upload.
//!
//! [`picture`] is the craft: bytes and wishes in, encoded thumbnails out, nothing else touched. Everything around it is
//! about objects in a bucket.

pub mod picture;
pub mod variant;
