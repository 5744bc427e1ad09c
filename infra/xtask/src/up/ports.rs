//! The loopback ports, checked before anything is started on them.

use std::net::{Ipv4Addr, TcpListener};

use super::{Options, UpError};
use crate::local::Addresses;

/// What listens, and the variable that moves it.
pub(super) const AWS: (&str, &str) = ("the local AWS", "IEUM_AWS_PORT");
pub(super) const SANDBOX: (&str, &str) = ("the sandbox", "IEUM_SANDBOX_PORT");
const MAIL: (&str, &str) = ("the sandbox's mail server", SANDBOX.1);
/// The sandbox's mail server listens so far above the sandbox.
pub const MAIL_ABOVE: u16 = 25;
pub(super) const DOOR: (&str, &str) = ("the API", "IEUM_PORT");

/// Binds a port, 0 for any; the caller keeps the listener or drops it for a child to take over.
fn bind(port: u16, (what, variable): (&'static str, &'static str)) -> Result<TcpListener, UpError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|source| UpError::PortTaken { port, what, variable, source })
}

/// Checks all ports before anything runs; the door's stays bound.
pub(super) fn take(options: &Options) -> Result<(Addresses, tokio::net::TcpListener), UpError> {
    let mail_port = if options.sandbox_port == 0 { 0 } else { options.sandbox_port.saturating_add(MAIL_ABOVE) };
    let bound = [
        bind(options.aws_port, AWS)?,
        bind(options.sandbox_port, SANDBOX)?,
        bind(mail_port, MAIL)?,
        bind(options.port, DOOR)?,
    ];
    let failed = |source| UpError::Start { what: "the front door".to_owned(), source };
    let mut addresses = Vec::new();
    for listener in &bound {
        addresses.push(listener.local_addr().map_err(failed)?);
    }
    let url = |place: usize| format!("http://{}", addresses[place]);
    let smtp_port = addresses[2].port().to_string();
    let addresses = Addresses { aws: url(0), sandbox: url(1), smtp_port, api: url(3) };
    let [aws, sandbox, mail, door] = bound;
    drop((aws, sandbox, mail));
    door.set_nonblocking(true).map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(door).map_err(failed)?;
    Ok((addresses, listener))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_itself_and_the_variable_that_changes_it() {
        let taken = bind(0, AWS).unwrap_or_else(|error| panic!("{error}"));
        let port = taken.local_addr().map(|address| address.port()).unwrap_or_default();
        let message = bind(port, AWS).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains(&format!("`{port}`")) && message.contains("IEUM_AWS_PORT"), "{message}");
    }
}
