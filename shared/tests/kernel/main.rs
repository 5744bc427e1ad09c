//! The kernel as its users see it: through its public doors, over real time that is paused or real sockets on loopback.
//!
//! One binary, so that TLS and the embedded DynamoDB are linked once. Read `executor` first.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod aws;
mod batch;
mod delivery;
mod dynamodb;
mod edge;
mod executor;
mod http;
mod idempotency;
mod limits;
mod logs;
mod messages;
mod queue;
mod rollups;
mod s3;
mod script;
mod secrets;
mod settings;
mod sns;
mod store_outage;
mod support;
mod webhook;
mod webhooks;
