//! `cargo up`: deploys the layer on this machine, and takes it away again without a trace.
//!
//! `bring_up` is the whole story on one page. It never cleans up: every process it starts goes into a list of children
//! that its callers keep, so that a failure half-way, a Ctrl-C or a cancelled start end the same way as an orderly
//! stop. The tests start the system through [`System::start`], a person through [`run`].

mod build;
mod check;
mod children;
mod error;
mod instance;
mod options;
mod ports;
mod progress;
mod python;
mod services;
mod system;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

pub use crate::aws::AwsError;
pub use crate::deploy::{DeployError, Fault};
pub use crate::local::LocalError;
pub use crate::template::TemplateError;
pub use error::UpError;
pub use options::Options;
pub use ports::MAIL_ABOVE;
pub use progress::Progress;
pub use system::System;

use crate::aws::{Aws, http_client};
use crate::deploy::{Archives, Site, deploy};
use crate::door;
use crate::local::{Addresses, Secrets, Settings};
use crate::template::{FUNCTION, Template};
use children::Children;
use instance::Instance;

/// Starts everything, from a fresh clone to an open front door.
async fn bring_up(options: &Options, children: &Children) -> Result<System, UpError> {
    let show = options.progress;
    let root = &options.root;
    let (doing, detail) = watch::channel(String::new());

    let python = show.step("python3", python::find()).await?;
    let (addresses, listener) = show.step("ports", async { ports::take(options) }).await?;
    let Plan { template, binaries, secrets, environment } = plan(options, &addresses)?;

    let preparing = python::prepare(&python, root, &doing);
    let venv = show.long_step("local AWS in .venv", detail.clone(), preparing).await?;
    if options.build {
        let names = binaries.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let building = build::build(&python, root, &binaries, &doing);
        show.long_step(&format!("build {names} and the sandbox"), detail, building).await?;
    }

    let archives = Archives::begin(&options.binaries, &binaries);
    let instance = Instance::create(root, &addresses.aws)?;
    let http = http_client();
    let starting = services::start(options, &venv, &addresses, &instance, children, &http);
    show.step("start the local AWS and the sandbox", starting).await?;

    let aws = Aws::new(http.clone(), addresses.aws.clone());
    let api_key = secrets.api_key.clone();
    let site = Site { aws: aws.clone(), secrets, environment, archives };
    let deployed = show.step(&format!("deploy {}", options.template.display()), deploy(&template, &site)).await?;
    let routes = deployed.api.as_ref().map_or(0, |api| api.routes.len());
    show.line(&format!("        {} resources and {routes} routes created, read back and compared", deployed.resources));
    for note in &deployed.notes {
        show.line(&format!("        note: {note}"));
    }

    let report: door::Report = Arc::new(move |sentence: &str| show.line(sentence));
    let door = door::open(listener, http, [&addresses.aws, &addresses.sandbox], deployed.api.as_ref(), report)
        .map_err(|source| UpError::Start { what: "the front door".to_owned(), source })?;
    Ok(System { addresses, api_key, aws, deployed, door, children: children.clone(), instance })
}

/// What is to be deployed, as the files say; read before anything slow begins, because most mistakes are in them.
struct Plan {
    template: Template,
    binaries: BTreeSet<String>,
    secrets: Secrets,
    environment: BTreeMap<String, String>,
}

fn plan(options: &Options, addresses: &Addresses) -> Result<Plan, UpError> {
    let settings = Settings::read(&options.settings, addresses)?;
    let parameters: Vec<String> = settings.parameters.keys().cloned().collect();
    let local = |name: &str, default: Option<&str>| settings.parameter(name, default);
    let template = Template::read(&options.template, local, &parameters)?;

    let files = [Some(options.base_secrets.as_path()), options.secrets.as_deref()];
    let files: Vec<&Path> = files.into_iter().flatten().collect();
    let secrets = Secrets::read(&files, options.api_key.clone())?;

    let mut binaries = BTreeSet::new();
    let mut names = Vec::new();
    for resource in &template.resources {
        if resource.kind == FUNCTION {
            binaries.insert(resource.binary()?.to_owned());
        } else if resource.kind == "AWS::SecretsManager::Secret" {
            let name = template.scope.resolve(&resource.properties["Name"], &resource.place())?;
            let name = name.as_str().unwrap_or_default().to_owned();
            secrets.value(&resource.id, &name)?;
            names.push((resource.id.clone(), name));
        }
    }
    secrets.all_known(&names)?;
    let environment = settings.environment.into_iter().chain(options.environment.clone()).collect();
    Ok(Plan { template, binaries, secrets, environment })
}

/// Runs the command: starts the system, then waits for a signal, or with `check` tours it once.
///
/// # Errors
/// Whatever keeps it from starting, ends it, or fails the tour.
pub async fn run(options: Options, check: bool) -> Result<(), UpError> {
    let show = options.progress;
    let children = Children::default();
    let signal = stop_signal().map_err(|source| UpError::Start { what: "waiting for signals".to_owned(), source })?;
    let serve = async {
        let system = bring_up(&options, &children).await?;
        let key = if system.api_key().is_empty() { "as in your secrets file" } else { system.api_key() };
        show.line(&format!("ready {}\napi key: {key}", system.url()));
        if check { check::tour(&system, show).await } else { Err(system.failed().await) }
    };
    let outcome = tokio::select! {
        outcome = serve => outcome,
        () = signal => Ok(()),
    };
    if !children.is_empty() {
        let stop = async {
            children.stop().await;
            Ok::<(), UpError>(())
        };
        show.step("stop", stop).await?;
    }
    outcome
}

/// Ctrl-C, a polite kill, or a closed terminal.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signals =
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
    Ok(async move {
        let [interrupt, terminate, hangup] = &mut signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
