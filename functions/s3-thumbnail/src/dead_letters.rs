//! Where notifications go that would never succeed, with the cause.
//!
//! SQS moves a message to its dead letters after five receipts and says nothing about why. A broken picture is broken
//! the first time; so it is put there at once, with what is wrong with it, in a form that can be sent back as it is.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use ieum::provider::Cause;
use ieum::queue::SqsQueue;
use serde_json::Value;

/// Where dead letters are put.
#[async_trait]
pub trait DeadLetters: fmt::Debug + Send + Sync {
    /// Puts one.
    ///
    /// # Errors
    /// It may or may not be there.
    async fn bury(&self, letter: &Value) -> Result<(), Cause>;
}

#[async_trait]
impl DeadLetters for SqsQueue {
    async fn bury(&self, letter: &Value) -> Result<(), Cause> {
        Ok(self.send(&letter.to_string()).await?)
    }
}

/// Dead letters of one process: for runs without AWS and for tests.
#[derive(Debug, Default)]
pub struct MemoryDeadLetters(Mutex<Vec<Value>>);

impl MemoryDeadLetters {
    /// All of them, in order.
    pub fn all(&self) -> Vec<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl DeadLetters for MemoryDeadLetters {
    async fn bury(&self, letter: &Value) -> Result<(), Cause> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(letter.clone());
        Ok(())
    }
}
