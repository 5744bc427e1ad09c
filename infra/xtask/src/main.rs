//! The command line of the project's own commands; the work is in the library.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[cfg(feature = "stages")]
use ieum::forget::{NoMark, Person};
use xtask::thumbnails;
use xtask::up::{self, Options, UpError};
#[cfg(feature = "stages")]
use xtask::{forget, restore};

const USAGE: &str = "\
cargo up [--check] [--env NAME=VALUE]... [--secrets FILE] [--no-build]

Deploys the layer on this machine: a local AWS with everything template.yaml describes, the sandbox of providers, the API.
Ctrl-C stops it and leaves nothing behind.

  --check            tour the system once, then stop; the exit code tells
  --env NAME=VALUE   set a variable on every function (may be repeated)
  --secrets FILE     secrets that win over infra/xtask/secrets.json: {\"<last part of the name>\": {...}}
  --no-build         deploy the binaries as they are

Ports: IEUM_PORT (3000), IEUM_AWS_PORT (4566), IEUM_SANDBOX_PORT (4600). IEUM_LOCAL_API_KEY chooses the API key.

cargo xtask thumbnails DIR [--variants LIST]

Makes the thumbnails of every picture in DIR and below, in DIR/thumbnail/VARIANT/. LIST is as in THUMBNAIL_VARIANTS of
s3-thumbnail; the default is card=300x200.

cargo xtask restore --bucket NAME --table NAME [--of table/daily] [--manifest KEY] [--prefix PREFIX] [--dry-run]
cargo xtask restore --bucket NAME --of files/daily [--manifest KEY] [--prefix BUCKET/PREFIX] [--dry-run]

Puts the newest backup back, or the one of that manifest: items into the table, files into the buckets they come from; only those
whose keys begin with PREFIX, if it is given. Everything is compared with its digest first. What the backup does not have
stays, and what was forgotten since stays away. NAME is the archive's bucket. The credentials, the region and AWS_ENDPOINT_URL are those of the environment.

  --dry-run          read and compare everything, put nothing

cargo xtask forget --stage STAGE [--email A@B]... [--phone +82...]... [--subject ID]... [--yes]

Says what is kept of a person, by kind, what of it would be taken away and what stays and why; with --yes it is taken away. What
backups have of it stays away when one is put back. The environment as above.

  --subject ID       an order, the `sub` of a token, or a folder of pictures that is theirs

cargo xtask check --stage STAGE [--secrets FILE]

Tells everything that is wrong with infra/env/STAGE.toml (dev, staging, production), and with the values of its secrets.

cargo xtask deploy --stage STAGE --dry-run [--secrets FILE]

Checks the stage, writes its parameters to target/deploy/STAGE.json and tells the commands that deploy it.
";

/// What the arguments ask for.
enum Command {
    Help,
    Up {
        options: Box<Options>,
        check: bool,
    },
    Thumbnails {
        folder: PathBuf,
        variants: String,
    },
    #[cfg(feature = "stages")]
    Stage {
        name: String,
        secrets: Option<PathBuf>,
        deploy: bool,
    },
    #[cfg(feature = "stages")]
    Restore(restore::Options),
    #[cfg(feature = "stages")]
    Forget(forget::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match parse(std::env::args().skip(1)) {
        Ok(Command::Up { options, check }) => up::run(*options, check).await,
        Ok(Command::Help) => {
            say(&mut std::io::stdout(), USAGE);
            Ok(())
        }
        Ok(Command::Thumbnails { folder, variants }) => return of_folder(&folder, &variants),
        #[cfg(feature = "stages")]
        Ok(Command::Restore(options)) => return put_back(&options).await,
        #[cfg(feature = "stages")]
        Ok(Command::Forget(options)) => return take_away(&options).await,
        #[cfg(feature = "stages")]
        Ok(Command::Stage { name, secrets, deploy }) => return of_stage(&name, secrets.as_deref(), deploy),
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
    match arguments.next().as_deref() {
        Some("up") => {}
        Some("thumbnails") => return parse_thumbnails(arguments),
        #[cfg(feature = "stages")]
        Some("restore") => return parse_restore(arguments),
        #[cfg(feature = "stages")]
        Some("forget") => return parse_forget(arguments),
        #[cfg(feature = "stages")]
        Some("check") => return parse_stage(arguments, false),
        #[cfg(feature = "stages")]
        Some("deploy") => return parse_stage(arguments, true),
        None | Some("help" | "--help" | "-h") => return Ok(Command::Help),
        Some(other) => {
            return Err(wrong(
                "`up`, or with `cargo xtask` `thumbnails`, `restore`, `forget`, `check` or `deploy`",
                other.to_owned(),
            ));
        }
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

fn parse_thumbnails(mut arguments: impl Iterator<Item = String>) -> Result<Command, UpError> {
    let (mut folder, mut variants) = (None, "card=300x200".to_owned());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--variants" => variants = arguments.next().ok_or_else(|| wrong("followed by a value", argument))?,
            "--help" | "-h" => return Ok(Command::Help),
            _ if argument.starts_with('-') || folder.is_some() => {
                return Err(wrong("one folder, or --variants", argument));
            }
            _ => folder = Some(PathBuf::from(argument)),
        }
    }
    let folder = folder.ok_or_else(|| wrong("followed by a folder", "thumbnails".to_owned()))?;
    Ok(Command::Thumbnails { folder, variants })
}

#[cfg(feature = "stages")]
fn parse_restore(mut arguments: impl Iterator<Item = String>) -> Result<Command, UpError> {
    let mut options = restore::Options { of: "table/daily".to_owned(), ..restore::Options::default() };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| wrong("followed by a value", argument.clone()));
        match argument.as_str() {
            "--table" => options.table = Some(value()?).filter(|table| !table.is_empty()),
            "--bucket" => options.bucket = value()?,
            "--of" => options.of = value()?,
            "--manifest" => options.manifest = Some(value()?),
            "--prefix" => options.prefix = value()?,
            "--dry-run" => options.dry_run = true,
            "--help" | "-h" => return Ok(Command::Help),
            _ => return Err(wrong("one of --table, --bucket, --of, --manifest, --prefix, --dry-run", argument)),
        }
    }
    if options.bucket.is_empty() {
        return Err(wrong("given, with a name", "--bucket".to_owned()));
    }
    Ok(Command::Restore(options))
}

/// The exit code tells whether everything that was wanted is back.
#[cfg(feature = "stages")]
async fn put_back(options: &restore::Options) -> ExitCode {
    match restore::run(options).await {
        Ok((manifest, read)) => {
            let done = if options.dry_run { "would be put back" } else { "are back" };
            let (wanted, all, when) = (read.wanted, read.items, manifest.started_at);
            say(&mut std::io::stdout(), &format!("{wanted} of {all} of the backup of {when} {done}\n"));
            if read.forgotten > 0 {
                say(&mut std::io::stdout(), &format!("{} were forgotten since and stay away\n", read.forgotten));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&mut std::io::stderr(), &format!("error: {}\n", ieum::error::chain(&error)));
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "stages")]
fn parse_forget(mut arguments: impl Iterator<Item = String>) -> Result<Command, UpError> {
    let (mut stage, mut person, mut yes, mut dry) = (None, Person::default(), false, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| wrong("followed by a value", argument.clone()));
        let known_by: fn(Person, &str) -> Result<Person, NoMark> = match argument.as_str() {
            "--stage" => {
                stage = Some(value()?);
                continue;
            }
            "--yes" => {
                yes = true;
                continue;
            }
            "--dry-run" => {
                dry = true;
                continue;
            }
            "--help" | "-h" => return Ok(Command::Help),
            "--email" => Person::email,
            "--phone" => Person::phone,
            "--subject" => Person::subject,
            _ => return Err(wrong("one of --stage, --email, --phone, --subject, --dry-run, --yes", argument)),
        };
        let given = value()?;
        person = known_by(person, &given).map_err(|error| wrong("something to be known by", error.to_string()))?;
    }
    let stage = stage.ok_or_else(|| wrong("given as `--stage`", "the stage".to_owned()))?;
    if person.is_nobody() {
        return Err(wrong("given with an `--email`, a `--phone` or a `--subject`", "forget".to_owned()));
    }
    Ok(Command::Forget(forget::Options { stage, person, really: yes && !dry }))
}

/// The exit code tells whether nothing of what may go is left.
#[cfg(feature = "stages")]
async fn take_away(options: &forget::Options) -> ExitCode {
    match forget::run(options).await {
        Ok(report) => {
            say(&mut std::io::stdout(), &forget::told(&report, options.really));
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&mut std::io::stderr(), &format!("error: {}\n", ieum::error::chain(&error)));
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "stages")]
fn parse_stage(mut arguments: impl Iterator<Item = String>, deploy: bool) -> Result<Command, UpError> {
    let (mut name, mut secrets, mut dry) = (None, None, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| wrong("followed by a value", argument.clone()));
        match argument.as_str() {
            "--stage" => name = Some(value()?),
            "--secrets" => secrets = Some(PathBuf::from(value()?)),
            "--dry-run" if deploy => dry = true,
            _ => return Err(wrong("one of --stage, --secrets, and with `deploy` --dry-run", argument)),
        }
    }
    if deploy && !dry {
        return Err(wrong("followed by `--dry-run`: whoever deploys runs the commands it tells", "deploy".to_owned()));
    }
    let name = name.ok_or_else(|| wrong("given as `--stage`", "the stage".to_owned()))?;
    Ok(Command::Stage { name, secrets, deploy })
}

/// Says what is wrong with a stage, or how it is deployed.
#[cfg(feature = "stages")]
fn of_stage(name: &str, secrets: Option<&Path>, deploy: bool) -> ExitCode {
    use xtask::stage;
    let root = root();
    let stage = match stage::check(&root, name, secrets) {
        Ok(stage) => stage,
        Err(mistakes) => {
            say(&mut std::io::stderr(), &format!("stage `{name}`: {mistakes}\n"));
            return ExitCode::FAILURE;
        }
    };
    let out = &mut std::io::stdout();
    say(out, &format!("stage `{name}`: sound\n"));
    if deploy {
        let (steps, (file, content)) = stage::plan(name, &stage);
        let path = root.join(&file);
        let written =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, content));
        if let Err(error) = written {
            say(&mut std::io::stderr(), &format!("error: cannot write `{}`: {error}\n", path.display()));
            return ExitCode::FAILURE;
        }
        for step in steps {
            say(out, &format!("# {}\n{}\n", step.purpose, step.command.join(" ")));
        }
    }
    ExitCode::SUCCESS
}

fn wrong(form: &'static str, value: String) -> UpError {
    UpError::Argument { what: "the argument".to_owned(), form, value }
}

/// The exit code tells whether every file is a picture that has its thumbnails.
fn of_folder(folder: &Path, variants: &str) -> ExitCode {
    match thumbnails::run(folder, variants) {
        Ok(summary) => {
            for (file, refusal) in &summary.refused {
                say(&mut std::io::stdout(), &format!("{}: {refusal}\n", file.display()));
            }
            say(&mut std::io::stdout(), &format!("{} pictures have thumbnails\n", summary.made));
            if summary.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            say(&mut std::io::stderr(), &format!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
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
