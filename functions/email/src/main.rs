//! The `email` function: wiring only. The environment is read here and nowhere else.

use std::process::ExitCode;

use email::{Config, Handler};
use ieum::config::Env;
use ieum::provider::Cause;
use ieum::runtime::serve;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    serve("email", start().await).await
}

async fn start() -> Result<Handler, Cause> {
    let config = Env::of_process().read(Config::read)?;
    Handler::start(&config).await
}
