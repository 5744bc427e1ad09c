//! The `sms` function: wiring only. The environment is read here and nowhere else.

use std::process::ExitCode;

use ieum::config::Env;
use ieum::provider::Cause;
use ieum::runtime::serve;
use sms::{Config, Handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    serve("sms", start().await).await
}

async fn start() -> Result<Handler, Cause> {
    let config = Env::of_process().read(Config::read)?;
    Handler::start(&config).await
}
