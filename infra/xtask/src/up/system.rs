//! A running system, as the end-to-end tests hold it.

use std::time::Duration;

use serde_json::{Value, json};

use super::children::Children;
use super::instance::{self, Instance};
use super::{Options, UpError, bring_up};
use crate::aws::{Aws, AwsError, Service};
use crate::deploy::Deployed;
use crate::local::Addresses;

/// A running system.
#[derive(Debug)]
pub struct System {
    pub(super) addresses: Addresses,
    pub(super) api_key: String,
    pub(super) aws: Aws,
    pub(super) deployed: Deployed,
    pub(super) door: tokio::task::JoinHandle<()>,
    pub(super) children: Children,
    pub(super) instance: Instance,
}

impl System {
    /// Starts the system and answers when the front door is open; after a failure nothing is left running.
    ///
    /// # Errors
    /// Whatever keeps it from starting.
    pub async fn start(options: Options) -> Result<Self, UpError> {
        let children = Children::default();
        let outcome = bring_up(&options, &children).await;
        if outcome.is_err() {
            children.stop().await;
        }
        outcome
    }

    /// The address of the API, such as `http://127.0.0.1:3000`.
    pub fn url(&self) -> &str {
        &self.addresses.api
    }

    /// The address of the sandbox.
    pub fn sandbox_url(&self) -> &str {
        &self.addresses.sandbox
    }

    /// The address of the local AWS.
    pub fn aws_url(&self) -> &str {
        self.aws.endpoint()
    }

    /// The key callers present as `x-api-key`; empty when a secrets file brought the layer's own secret and no key was
    /// given.
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// What `!Ref` of a resource is here: a table's or function's name, a queue's URL, a secret's ARN.
    pub fn reference(&self, logical_id: &str) -> Option<&str> {
        self.deployed.names.get(logical_id).map(String::as_str)
    }

    /// Calls a function directly, with any event, and answers its response; the inner `Err` is what a failed function
    /// says of itself.
    ///
    /// # Errors
    /// When there is no such function, or the local AWS does not answer.
    pub async fn invoke(&self, function: &str, event: &Value) -> Result<Result<Value, Value>, UpError> {
        Ok(self.aws.invoke(self.function(function)?, event).await?)
    }

    /// All lines a function has printed so far, oldest first.
    ///
    /// # Errors
    /// When there is no such function, or the local AWS does not answer.
    pub async fn function_logs(&self, function: &str) -> Result<Vec<String>, UpError> {
        let mut input = json!({"logGroupName": format!("/aws/lambda/{}", self.function(function)?)});
        let mut lines = Vec::new();
        loop {
            let page = match self.aws.json(Service::Logs, "FilterLogEvents", &input).await {
                Ok(page) => page,
                // The group appears with the first line.
                Err(AwsError::Refused { answer, .. }) if answer.contains("ResourceNotFoundException") => {
                    return Ok(lines);
                }
                Err(error) => return Err(error.into()),
            };
            let messages =
                page["events"].as_array().into_iter().flatten().filter_map(|event| event["message"].as_str());
            lines.extend(messages.map(|message| message.trim_end().to_owned()));
            match page["nextToken"].as_str() {
                Some(token) => input["nextToken"] = json!(token),
                None => return Ok(lines),
            }
        }
    }

    /// The process ids of a function's running environments (Linux only: elsewhere none are found).
    ///
    /// # Errors
    /// When there is no such function.
    pub fn environments(&self, function: &str) -> Result<Vec<u32>, UpError> {
        Ok(self.instance.environments(self.function(function)?))
    }

    /// Kills all running environments of a function, as a crash of their host would; answers how many there were.
    ///
    /// # Errors
    /// When there is no such function.
    pub fn kill_environments(&self, function: &str) -> Result<usize, UpError> {
        let found = self.environments(function)?;
        Ok(found.into_iter().filter(|id| instance::kill(*id)).count())
    }

    fn function(&self, logical_id: &str) -> Result<&str, UpError> {
        let found =
            self.deployed.functions.iter().find(|function| function.id == logical_id || function.name == logical_id);
        found.map(|function| function.name.as_str()).ok_or_else(|| UpError::Unknown(logical_id.to_owned()))
    }

    /// Answers when a process the system needs has ended by itself, which never happens in good order.
    pub(super) async fn failed(&self) -> UpError {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if let Some(sentence) = self.children.ended() {
                return UpError::Ended(sentence);
            }
        }
    }

    /// Closes the door and ends all processes; answers when they are gone.
    pub async fn stop(self) {
        self.door.abort();
        self.children.stop().await;
        drop(self.instance);
    }
}
