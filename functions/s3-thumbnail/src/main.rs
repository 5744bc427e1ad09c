//! The `s3-thumbnail` function: wiring only. The environment is read here and nowhere else.

use std::process::ExitCode;

use ieum::config::Env;
use ieum::provider::Cause;
use ieum::runtime::serve;
use s3_thumbnail::{Config, Handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    serve("s3-thumbnail", start().await).await
}

async fn start() -> Result<Handler, Cause> {
    let config = Env::of_process().read(Config::read)?;
    Ok(Handler::start(&config).await?)
}
