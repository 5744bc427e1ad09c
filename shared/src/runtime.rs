//! A started function, handed to Lambda's runtime.
//!
//! What is the same in the `main.rs` of every function stands here; what differs (its configuration, its handler) is
//! given. A function that cannot start says why on standard error and exits: Lambda then shows it as an init failure.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use lambda_runtime::{LambdaEvent, run, service_fn};

use crate::api::{HttpEvent, HttpResponse};
use crate::error::chain;
use crate::provider::Cause;

/// A function that answers API Gateway.
pub trait HttpFunction: Send + Sync + 'static {
    /// Answers one event; `deadline_ms` is Lambda's, in milliseconds since the epoch.
    fn serve(&self, event: HttpEvent, deadline_ms: u64) -> impl Future<Output = HttpResponse> + Send;
}

/// Serves events until Lambda ends the process, or tells why `function` did not start.
pub async fn serve_http<F: HttpFunction>(function: &str, started: Result<F, Cause>) -> ExitCode {
    let outcome = match started {
        Ok(handler) => {
            let handler = Arc::new(handler);
            run(service_fn(|event: LambdaEvent<HttpEvent>| {
                let handler = Arc::clone(&handler);
                async move { Ok::<_, Infallible>(handler.serve(event.payload, event.context.deadline).await) }
            }))
            .await
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There may be no telemetry yet, and nobody but the operator reads this.
            eprintln!("{function} does not start: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}
