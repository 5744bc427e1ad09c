//! What the tests of the whole share: the API's description read as a promise ([`description`]), and requests made from it that
//! keep it, strain it and break it ([`requests`]).

#![expect(clippy::expect_used, reason = "what cannot be read here fails the test that asked")]

pub mod description;
pub mod requests;
