//! The command line of the project's own commands; the work is in the library.

use std::path::PathBuf;
use std::process::ExitCode;

use xtask::up::{self, Options, UpError};

const USAGE: &str = "\
cargo up [--check] [--env NAME=VALUE]... [--secrets FILE] [--no-build]

Deploys the layer on this machine: a local AWS with everything template.yaml describes, the sandbox of providers, the API.
Ctrl-C stops it and leaves nothing behind.

  --check            tour the system once, then stop; the exit code tells
  --env NAME=VALUE   set a variable on every function (may be repeated)
  --secrets FILE     secrets that win over infra/xtask/secrets.json: {\"<last part of the name>\": {...}}
  --no-build         deploy the binaries as they are

Ports: IEUM_PORT (3000), IEUM_AWS_PORT (4566), IEUM_SANDBOX_PORT (4600). IEUM_LOCAL_API_KEY chooses the API key.
";

/// What the arguments ask for.
enum Command {
    Help,
    Up { options: Box<Options>, check: bool },
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match parse(std::env::args().skip(1)) {
        Ok(Command::Up { options, check }) => up::run(*options, check).await,
        Ok(Command::Help) => {
            say(&mut std::io::stdout(), USAGE);
            Ok(())
        }
        Err(error) => {
            say(&mut std::io::stderr(), &format!("{USAGE}\n"));
            Err(error)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&mut std::io::stderr(), &format!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Command, UpError> {
    let wrong = |form: &'static str, value: String| UpError::Argument { what: "the argument".to_owned(), form, value };
    match arguments.next().as_deref() {
        Some("up") => {}
        None | Some("help" | "--help" | "-h") => return Ok(Command::Help),
        Some(other) => return Err(wrong("`up`", other.to_owned())),
    }
    let mut options = Box::new(Options::for_people(root())?);
    let mut check = false;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| wrong("followed by a value", argument.clone()));
        match argument.as_str() {
            "--check" => check = true,
            "--env" => options.set(&value()?)?,
            "--secrets" => options.secrets = Some(PathBuf::from(value()?)),
            "--no-build" => options.build = false,
            "--help" | "-h" => return Ok(Command::Help),
            _ => return Err(wrong("one of --check, --env, --secrets, --no-build", argument)),
        }
    }
    Ok(Command::Up { options, check })
}

/// The repository: this crate lies two folders below it.
fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).map(PathBuf::from).unwrap_or(own)
}

fn say(out: &mut dyn std::io::Write, text: &str) {
    // A reader that went away is no reason to fail.
    let _ = out.write_all(text.as_bytes());
}
