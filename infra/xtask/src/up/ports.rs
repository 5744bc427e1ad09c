//! The three loopback ports, checked before anything is started on them.

use std::net::{Ipv4Addr, TcpListener};

use super::{Options, UpError};
use crate::local::Addresses;

/// What listens, and the variable that moves it.
pub(super) const AWS: (&str, &str) = ("the local AWS", "IEUM_AWS_PORT");
pub(super) const SANDBOX: (&str, &str) = ("the sandbox", "IEUM_SANDBOX_PORT");
pub(super) const DOOR: (&str, &str) = ("the API", "IEUM_PORT");

/// Binds a port, 0 for any; the caller keeps the listener or drops it for a child to take over.
fn bind(port: u16, (what, variable): (&'static str, &'static str)) -> Result<TcpListener, UpError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|source| UpError::PortTaken { port, what, variable, source })
}

/// Checks all ports before anything runs; the door's stays bound.
pub(super) fn take(options: &Options) -> Result<(Addresses, tokio::net::TcpListener), UpError> {
    let bound = [bind(options.aws_port, AWS)?, bind(options.sandbox_port, SANDBOX)?, bind(options.port, DOOR)?];
    let failed = |source| UpError::Start { what: "the front door".to_owned(), source };
    let mut urls = Vec::new();
    for listener in &bound {
        urls.push(format!("http://{}", listener.local_addr().map_err(failed)?));
    }
    let [aws, sandbox, door] = bound;
    drop((aws, sandbox));
    door.set_nonblocking(true).map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(door).map_err(failed)?;
    Ok((Addresses { aws: urls[0].clone(), sandbox: urls[1].clone(), api: urls[2].clone() }, listener))
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
