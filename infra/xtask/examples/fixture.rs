//! Deploys `fixtures/everything.yaml`, one of each resource kind, and waits for Ctrl-C: to be run after a change in
//! `src/deploy/`.
//!
//! `cargo run -p xtask --example fixture [FOLDER]` takes the binaries from FOLDER (`verify` and `ieum-sandbox`), or
//! builds them.

use std::path::PathBuf;
use std::process::ExitCode;

use xtask::up::{Options, UpError, run};

#[tokio::main]
async fn main() -> ExitCode {
    match deploy().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn deploy() -> Result<(), UpError> {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = own.ancestors().nth(2).map(PathBuf::from).unwrap_or_default();
    let mut options = Options::for_people(root)?;
    options.template = own.join("fixtures/everything.yaml");
    options.settings = own.join("fixtures/local.toml");
    options.base_secrets = own.join("fixtures/secrets.json");
    if let Some(folder) = std::env::args().nth(1) {
        options.binaries = folder.into();
        options.build = false;
    }
    run(options, false).await
}
