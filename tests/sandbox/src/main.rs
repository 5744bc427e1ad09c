//! The sandbox as a program: `cargo up` runs it beside the local system, and a person can run it alone.

use std::env;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use ieum_sandbox::Sandbox;

const DEFAULT_PORT: u16 = 4600;
const PORT_VARIABLE: &str = "IEUM_SANDBOX_PORT";
/// How far above the other the port for mail is, unless it is chosen.
const MAIL_ABOVE: u16 = 25;
const USAGE: &str = "usage: ieum-sandbox [--port N] [--smtp-port N]   (or IEUM_SANDBOX_PORT=N; 4600 without either, 0 for \
                     any free port; mail is taken 25 ports above it)";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        say(USAGE);
        return ExitCode::SUCCESS;
    }
    let ports = match Ports::choose(&arguments, env::var(PORT_VARIABLE).ok()) {
        Ok(ports) => ports,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(ports).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(ports: Ports) -> Result<(), String> {
    // Before the first line is printed: whoever reads it may send the signal at once.
    let stop = stop_signal().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let sandbox = match Sandbox::start_on(at(ports.http), at(ports.smtp)).await {
        Ok(sandbox) => sandbox,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let Ports { http, smtp } = ports;
            return Err(format!(
                "port {http} of 127.0.0.1 is taken, or {smtp} for mail: stop the other program or choose a port with \
                 --port N, --smtp-port N or {PORT_VARIABLE}=N"
            ));
        }
        Err(error) => return Err(format!("cannot listen on {ports:?}: {error}")),
    };
    say(&format!("sandbox {}", sandbox.url()));
    for provider in sandbox.providers() {
        say(&format!("  {provider:<8} {}", sandbox.base_url(provider)));
    }
    say(&format!("  mail     smtp://127.0.0.1:{}, smtps://127.0.0.1:{}", sandbox.smtp_port(), sandbox.smtps_port()));
    stop.await;
    Ok(())
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports {
    http: u16,
    smtp: u16,
}

impl Ports {
    /// The arguments first, then the variable, then the default.
    fn choose(arguments: &[String], variable: Option<String>) -> Result<Self, String> {
        let mut http = match variable {
            Some(value) => parse(PORT_VARIABLE, &value)?,
            None => DEFAULT_PORT,
        };
        let mut smtp = None;
        let mut rest = arguments.iter().map(String::as_str);
        while let Some(argument) = rest.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (argument, None),
            };
            if !["--port", "--smtp-port"].contains(&name) {
                return Err(format!("unknown argument: `{argument}`"));
            }
            let value = value.or_else(|| rest.next()).ok_or_else(|| format!("{name} needs a number"))?;
            let port = parse(name, value)?;
            if name == "--port" { http = port } else { smtp = Some(port) }
        }
        let above = if http == 0 { 0 } else { http.saturating_add(MAIL_ABOVE) };
        Ok(Self { http, smtp: smtp.unwrap_or(above) })
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
    use super::Ports;

    fn chosen(list: &[&str], variable: Option<&str>) -> Result<(u16, u16), String> {
        let arguments: Vec<String> = list.iter().map(ToString::to_string).collect();
        let ports = Ports::choose(&arguments, variable.map(ToString::to_string));
        ports.map(|ports| (ports.http, ports.smtp))
    }

    #[test]
    fn the_argument_wins_over_the_variable_and_the_default() {
        assert_eq!(chosen(&[], None), Ok((4600, 4625)));
        assert_eq!(chosen(&[], Some("4700")), Ok((4700, 4725)));
        assert_eq!(chosen(&["--port", "4800"], Some("4700")), Ok((4800, 4825)));
        assert_eq!(chosen(&["--port=0"], None), Ok((0, 0)));
        assert_eq!(chosen(&["--port=4900", "--smtp-port", "2525"], None), Ok((4900, 2525)));
    }

    #[test]
    fn a_bad_port_is_named_with_its_value() {
        for (list, variable) in [(vec!["--port", "x"], None), (vec![], Some("70000")), (vec!["--prot", "1"], None)] {
            let problem = chosen(&list, variable);
            assert!(problem.is_err_and(|text| text.contains('`')), "{list:?} {variable:?}");
        }
        assert!(chosen(&["--smtp-port"], None).is_err());
    }
}
