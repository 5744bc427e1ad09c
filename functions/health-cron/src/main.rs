//! The `health-cron` function: wiring only. The environment is read here and nowhere else.

use std::process::ExitCode;

use health_cron::{Config, Handler};
use ieum::config::Env;
use ieum::provider::Cause;
use ieum::runtime::serve;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    serve("health-cron", start().await).await
}

async fn start() -> Result<Handler, Cause> {
    let config = Config::from_env(&Env::of_process())?;
    Handler::start(&config).await
}
