//! The `payment-webhook` function: wiring only. The environment is read here and nowhere else.

use std::process::ExitCode;

use ieum::config::Env;
use ieum::provider::Cause;
use ieum::runtime::serve;
use payment_webhook::{Config, Handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    serve("payment-webhook", start().await).await
}

async fn start() -> Result<Handler, Cause> {
    let config = Env::of_process().read(Config::read)?;
    Ok(Handler::start(&config).await?)
}
