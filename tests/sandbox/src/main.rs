//! The sandbox as a program: `cargo up` runs it beside the local system, and a person can run it alone.

use std::env;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use ieum_sandbox::Sandbox;

const DEFAULT_PORT: u16 = 4600;
const PORT_VARIABLE: &str = "IEUM_SANDBOX_PORT";
const USAGE: &str =
    "usage: ieum-sandbox [--port N]   (or IEUM_SANDBOX_PORT=N; 4600 without either, 0 for any free port)";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        say(USAGE);
        return ExitCode::SUCCESS;
    }
    let port = match port(&arguments, env::var(PORT_VARIABLE).ok()) {
        Ok(port) => port,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(port).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(port: u16) -> Result<(), String> {
    // Before the first line is printed: whoever reads it may send the signal at once.
    let stop = stop_signal().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let sandbox = match Sandbox::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
        Ok(sandbox) => sandbox,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            return Err(format!(
                "port {port} of 127.0.0.1 is taken: stop the other program or choose a port with --port N or {PORT_VARIABLE}=N"
            ));
        }
        Err(error) => return Err(format!("cannot listen on 127.0.0.1:{port}: {error}")),
    };
    say(&format!("sandbox {}", sandbox.url()));
    for provider in sandbox.providers() {
        say(&format!("  {provider:<8} {}", sandbox.base_url(provider)));
    }
    stop.await;
    Ok(())
}

/// Finds the port: the argument first, then the environment, then the default.
fn port(arguments: &[String], variable: Option<String>) -> Result<u16, String> {
    let mut chosen = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = match argument.split_once('=') {
            Some(("--port", value)) => value,
            None if argument == "--port" => rest.next().ok_or("--port needs a number")?.as_str(),
            Some(_) | None => return Err(format!("unknown argument: `{argument}`")),
        };
        chosen = Some(parse("--port", value)?);
    }
    match (chosen, variable) {
        (Some(port), _) => Ok(port),
        (None, Some(value)) => parse(PORT_VARIABLE, &value),
        (None, None) => Ok(DEFAULT_PORT),
    }
}

fn parse(name: &str, value: &str) -> Result<u16, String> {
    value.parse().map_err(|_| format!("{name} must be a number from 0 to 65535: `{value}`"))
}

/// Prints one line; a reader that has gone away is no reason to end.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

#[cfg(test)]
mod tests {
    use super::port;

    fn arguments(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_argument_wins_over_the_variable_and_the_default() {
        assert_eq!(port(&[], None), Ok(4600));
        assert_eq!(port(&[], Some("4700".into())), Ok(4700));
        assert_eq!(port(&arguments(&["--port", "4800"]), Some("4700".into())), Ok(4800));
        assert_eq!(port(&arguments(&["--port=4900"]), None), Ok(4900));
    }

    #[test]
    fn a_bad_port_is_named_with_its_value() {
        for (list, variable) in [(vec!["--port", "x"], None), (vec![], Some("70000")), (vec!["--prot", "1"], None)] {
            let problem = port(&arguments(&list), variable.map(ToString::to_string));
            assert!(problem.is_err_and(|text| text.contains('`')), "{list:?} {variable:?}");
        }
        assert!(port(&arguments(&["--port"]), None).is_err());
    }
}
