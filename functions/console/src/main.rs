//! The `console` function: wiring only. The environment is read here and nowhere else.

use std::process::ExitCode;
use std::sync::Arc;

use console::{Config, Handler};
use ieum::api::HttpEvent;
use ieum::config::Env;
use ieum::error::chain;
use lambda_runtime::{LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There may be no telemetry yet, and nobody but the operator reads this.
            eprintln!("console does not start: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let config = Config::from_env(&Env::of_process())?;
    let handler = Arc::new(Handler::start(&config).await?);
    let service = service_fn(|event: LambdaEvent<HttpEvent>| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, std::convert::Infallible>(handler.serve(event.payload, event.context.deadline).await) }
    });
    run(service).await
}
