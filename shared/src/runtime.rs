//! A started function, handed to Lambda's runtime.
//!
//! What is the same in the `main.rs` of every function stands here; what differs (its configuration, its handler) is
//! given. A function that cannot start says why on standard error and exits: Lambda then shows it as an init failure.
//!
//! A function may be called by several services. Their events are told apart by shape, and an event of no known shape
//! fails the invocation: whoever sent it must hear of it, so that it is sent again or kept as a dead letter.

use std::convert::Infallible;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use lambda_runtime::{Diagnostic, LambdaEvent, run, service_fn};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::{HttpEvent, HttpResponse};
use crate::checkup::{Checked, Checkup};
use crate::error::chain;
use crate::provider::Cause;

mod batch;

pub use batch::{Batch, BatchAnswer, Bounds, Reader, Worker, work_here};

/// A function that answers API Gateway.
pub trait HttpFunction: Send + Sync + 'static {
    /// Answers one event; `deadline_ms` is Lambda's, in milliseconds since the epoch.
    fn serve(&self, event: HttpEvent, deadline_ms: u64) -> impl Future<Output = HttpResponse> + Send;
}

/// A function that is called by more than API Gateway.
pub trait Function: Send + Sync + 'static {
    /// Does what `event` asks for; `deadline_ms` is Lambda's, in milliseconds since the epoch. An event that is not for
    /// this function is [`Event::unexpected`].
    ///
    /// # Errors
    /// The invocation has failed: whoever called it repeats it, or keeps the event as a dead letter.
    fn serve(&self, event: Event, deadline_ms: u64) -> impl Future<Output = Result<Answer, Cause>> + Send;
}

/// What a function with an API and providers, and no queue, is called for: to answer a request, or to say how its providers
/// are.
///
/// # Errors
/// As of [`Function::serve`].
pub async fn answer_or_check(
    function: &impl HttpFunction,
    checkup: &Checkup,
    event: Event,
    deadline_ms: u64,
) -> Result<Answer, Cause> {
    match event {
        Event::Http(event) => Ok(function.serve(*event, deadline_ms).await.into()),
        Event::Scheduled(Scheduled::Probe(probe)) => Ok(checkup.run(probe.paid).await?.into()),
        Event::Scheduled(_) | Event::Queue(_) | Event::Logs(_) | Event::Objects(_) => Err(event.unexpected()),
    }
}

/// What a function is called with.
#[derive(Debug)]
pub enum Event {
    /// A request from API Gateway.
    Http(Box<HttpEvent>),
    /// Messages from a queue: wake-ups, or what another service has to say.
    Queue(Batch),
    /// It is time for something.
    Scheduled(Scheduled),
    /// Lines that CloudWatch Logs delivers.
    Logs(Logs),
    /// What S3 tells of objects, as it tells it.
    Objects(Value),
}

/// What a schedule of `template.yaml` sends: one member, named after what it is time for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Scheduled {
    /// To wake what is due on these lists.
    Sweep(Vec<Sweep>),
    /// To compare what is known with what providers list.
    Reconcile(Reconcile),
    /// To say how one's providers are: `health-cron` sends this on.
    Probe(Probe),
    /// To ask these functions how their providers are.
    Check(Check),
    /// To write the table down.
    Backup(Of),
    /// To read the newest backup back.
    CheckBackup(Of),
    /// To see how old these secrets are, by name or ARN.
    Secrets(Vec<String>),
}

/// Which backup.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Of {
    /// Its folder in the archive: `table/daily`.
    pub of: String,
}

/// A question of how one's providers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Whether probes that are charged for may be made.
    pub paid: bool,
}

impl Probe {
    /// The question as the event that a function is called with.
    pub fn event(self) -> Value {
        serde_json::json!({"probe": {"paid": self.paid}})
    }
}

/// Who is to be asked. Whoever deploys says all of it, so whoever checks knows no function.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The functions.
    pub functions: Vec<Asked>,
    /// Whether probes that are charged for may be made.
    pub paid: bool,
}

/// A function that is asked how its providers are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The integration it serves.
    pub integration: String,
    /// Its name or ARN.
    pub function: String,
}

/// A comparison of the day before.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconcile {}

/// A list whose overdue items are to be woken. Whoever deploys says all of it, so whoever sweeps knows no list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The list.
    pub list: String,
    /// The address of the queue from which the list is worked off.
    pub queue: String,
    /// How many items are woken at most: as many as may be worked off until the next sweep.
    pub limit: u32,
}

/// What a subscription of CloudWatch Logs delivers
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html>).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Logs {
    /// The lines.
    pub awslogs: PackedLogs,
}

/// Lines, packed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PackedLogs {
    /// JSON, gzipped, in base64.
    pub data: String,
}

/// An event of no known shape.
#[derive(Debug, thiserror::Error)]
#[error("an event of no known shape: {0}")]
pub struct UnknownEvent(String);

impl Event {
    /// Reads an event, a text of JSON, and tells of what kind it is.
    ///
    /// # Errors
    /// [`UnknownEvent`], which names the event's members and none of their values.
    pub fn read(text: &str) -> Result<Self, UnknownEvent> {
        // Somebody waits for the answer to a request, and nothing else can be read as one.
        if let Ok(event) = serde_json::from_str(text) {
            return Ok(Self::Http(Box::new(event)));
        }
        let value: Value = serde_json::from_str(text).map_err(|_| UnknownEvent("not JSON".to_owned()))?;
        let malformed = |kind: &str| UnknownEvent(format!("{kind} of another form"));
        if value["requestContext"]["http"].is_object() {
            return Err(malformed("a request"));
        }
        if value["awslogs"].is_object() {
            return serde_json::from_value(value).map(Self::Logs).map_err(|_| malformed("logs"));
        }
        if let Some(records) = value["Records"].as_array()
            && records.iter().all(|record| record["eventSource"] == "aws:sqs")
        {
            return serde_json::from_value(value).map(Self::Queue).map_err(|_| malformed("a queue's"));
        }
        if let Some(records) = value["Records"].as_array()
            && records.iter().all(|record| record["eventSource"] == "aws:s3")
        {
            return Ok(Self::Objects(value));
        }
        if let Ok(scheduled) = serde_json::from_value(value.clone()) {
            return Ok(Self::Scheduled(scheduled));
        }
        let members = value.as_object().map(|members| members.keys().cloned().collect::<Vec<_>>().join(", "));
        Err(UnknownEvent(members.unwrap_or_else(|| "not an object".to_owned())))
    }

    /// The error of a function that is not called by such events.
    pub fn unexpected(&self) -> Cause {
        match self {
            Self::Http(_) => "this function answers no requests".into(),
            Self::Queue(_) => "this function works no queue off".into(),
            Self::Scheduled(_) => "this function goes by no schedule".into(),
            Self::Logs(_) => "this function reads no logs".into(),
            Self::Objects(_) => "this function is not interested in objects".into(),
        }
    }
}

/// What an invocation returns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To API Gateway.
    Http(Box<HttpResponse>),
    /// To the queue: which wake-ups are to come again.
    Queue(BatchAnswer),
    /// To whoever asked how one's providers are.
    Checked(Checked),
    /// To a schedule, or for logs: it is done.
    Done(()),
}

impl From<Checked> for Answer {
    fn from(checked: Checked) -> Self {
        Self::Checked(checked)
    }
}

impl From<HttpResponse> for Answer {
    fn from(response: HttpResponse) -> Self {
        Self::Http(Box::new(response))
    }
}

impl From<BatchAnswer> for Answer {
    fn from(answer: BatchAnswer) -> Self {
        Self::Queue(answer)
    }
}

/// Serves API Gateway until Lambda ends the process, or tells why `function` did not start.
pub async fn serve_http<F: HttpFunction>(function: &str, started: Result<F, Cause>) -> ExitCode {
    let outcome = match started {
        Ok(handler) => {
            let handler = Arc::new(handler);
            run(service_fn(|event: LambdaEvent<HttpEvent>| {
                let handler = Arc::clone(&handler);
                // Boxed: the compiler gives up on the layout of a future this deep.
                Box::pin(async move { Ok::<_, Infallible>(handler.serve(event.payload, event.context.deadline).await) })
            }))
            .await
        }
        Err(error) => Err(error),
    };
    ended(function, outcome)
}

/// Serves events until Lambda ends the process, or tells why `function` did not start.
pub async fn serve<F: Function>(function: &str, started: Result<F, Cause>) -> ExitCode {
    let outcome = match started {
        Ok(handler) => {
            let handler = Arc::new(handler);
            run(service_fn(|event: LambdaEvent<Box<RawValue>>| {
                let handler = Arc::clone(&handler);
                Box::pin(
                    async move { answer(&*handler, event.payload.get(), event.context.deadline).await.map_err(Failed) },
                )
            }))
            .await
        }
        Err(error) => Err(error),
    };
    ended(function, outcome)
}

/// What `function` does about `event`, a text of JSON of whatever shape.
///
/// # Errors
/// The invocation has failed, and the log says why.
pub async fn answer<F: Function>(function: &F, event: &str, deadline_ms: u64) -> Result<Answer, Cause> {
    let answer = match Event::read(event) {
        Ok(event) => function.serve(event, deadline_ms).await,
        Err(unknown) => Err(unknown.into()),
    };
    if let Err(error) = &answer {
        tracing::error!(target: "ieum::runtime", error = chain(&**error), "invocation.failed");
    }
    answer
}

/// A failed invocation, for Lambda: the log has said why.
struct Failed(Cause);

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the invocation has failed")
    }
}

impl From<Failed> for Diagnostic {
    fn from(Failed(cause): Failed) -> Self {
        Self { error_type: "Failed".to_owned(), error_message: chain(&*cause) }
    }
}

fn ended(function: &str, outcome: Result<(), Cause>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There may be no telemetry yet, and nobody but the operator reads this.
            eprintln!("{function} does not start: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}
