//! Wire-level, stateful fakes of outside providers on loopback, so that tests meet a provider's bytes without its network.
//!
//! One server holds every provider: provider `P` answers below `/{P}`, exactly as its own host would below `/`. What a
//! provider does wrong is chosen through [`Mode`], either over HTTP (`/_sandbox/{provider}`) or with the typed methods of
//! [`Sandbox`]. The sandbox deliberately shares no code with the kernel: a fake that reused the kernel's parsers and
//! check digits would agree with its mistakes.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! use ieum_sandbox::{Mode, Sandbox};
//!
//! let sandbox = Sandbox::start().await?;
//! sandbox.set_mode("nice", Mode::status(503).retry_after(1).for_calls(2)).await;
//! assert!(sandbox.base_url("nice").ends_with("/nice"));
//! assert_eq!(sandbox.calls("nice").await, 0);
//! # Ok(())
//! # }
//! ```

mod addresses;
mod companies;
mod connection;
mod control;
mod panel;
mod payments;
pub mod providers;
mod server;
pub mod smtp;

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

pub use control::{Mode, Only, Stats};
use server::{Mounted, Registry};

/// A running sandbox; it stops listening when this value is dropped.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    smtp: SocketAddr,
    smtps: SocketAddr,
    registry: Arc<Registry>,
    /// Dropping the sender is the stop signal, so nothing has to be called.
    _stop: oneshot::Sender<()>,
    _stop_mail: watch::Sender<()>,
}

impl Sandbox {
    /// Starts a sandbox on a free port of 127.0.0.1, for one test.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::start_on(any, any).await
    }

    /// Starts a sandbox on `address`, with its mail server on `smtp`; port 0 means any free port.
    ///
    /// # Errors
    /// When the address cannot be bound, for instance because the port is taken.
    pub async fn start_on(address: SocketAddr, smtp: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let registry = Arc::new(Registry::new(providers::all()));
        let (stop, stopped) = oneshot::channel();
        let (stop_mail, mail_stopped) = watch::channel(());
        let plain = TcpListener::bind(smtp).await?;
        let encrypted = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let (smtp, smtps) = (plain.local_addr()?, encrypted.local_addr()?);
        if let Some(mounted) = registry.find("smtp") {
            tokio::spawn(smtp::serve(plain, mounted.clone(), false, mail_stopped.clone()));
            tokio::spawn(smtp::serve(encrypted, mounted.clone(), true, mail_stopped));
        }
        tokio::spawn(server::serve(listener, registry.clone(), stopped));
        Ok(Self { address, smtp, smtps, registry, _stop: stop, _stop_mail: stop_mail })
    }

    /// Returns the root URL, such as `http://127.0.0.1:4600`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns what a base-URL setting of `provider` should hold, such as `http://127.0.0.1:4600/nice`.
    ///
    /// # Panics
    /// When the sandbox has no such provider, as all methods that take a name: a typing error must not look like silence.
    #[must_use]
    pub fn base_url(&self, provider: &str) -> String {
        format!("{}/{}", self.url(), self.mounted(provider).name())
    }

    /// Returns the port of the mail server that is plain at first and can be upgraded.
    #[must_use]
    pub fn smtp_port(&self) -> u16 {
        self.smtp.port()
    }

    /// Returns the port of the mail server that is encrypted from the first byte.
    #[must_use]
    pub fn smtps_port(&self) -> u16 {
        self.smtps.port()
    }

    /// Returns the names of all providers, in the order they are listed.
    #[must_use]
    pub fn providers(&self) -> Vec<&'static str> {
        self.registry.iter().map(|mounted| mounted.name()).collect()
    }

    /// Makes `provider` behave as `mode` says from the next request on.
    ///
    /// # Panics
    /// When there is no such provider, or it cannot behave that way (an unknown own mode, a status no answer can have).
    pub async fn set_mode(&self, provider: &str, mode: Mode) {
        if let Err(reason) = self.mounted(provider).set_mode(mode) {
            panic!("the mode was refused: {reason}");
        }
    }

    /// Does what `POST /_sandbox/{provider}` with this body does, including the settings only that provider knows.
    ///
    /// # Errors
    /// When the body would be answered with 400; nothing has changed then.
    ///
    /// # Panics
    /// When there is no such provider.
    pub async fn control(&self, provider: &str, body: Value) -> Result<(), Refused> {
        self.mounted(provider).control(body.to_string().as_bytes()).map_err(Refused)
    }

    /// Counts the data requests that arrived, answered or not; requests for a token are not among them.
    ///
    /// # Panics
    /// When there is no such provider.
    pub async fn calls(&self, provider: &str) -> u64 {
        self.mounted(provider).stats().calls
    }

    /// Counts the requests for a token that arrived.
    ///
    /// # Panics
    /// When there is no such provider.
    pub async fn token_calls(&self, provider: &str) -> u64 {
        self.mounted(provider).stats().token_calls
    }

    /// Returns everything that was counted, with the mode in force.
    ///
    /// # Panics
    /// When there is no such provider.
    pub async fn stats(&self, provider: &str) -> Stats {
        self.mounted(provider).stats()
    }

    /// Forgets counters, tokens, settings and mode of `provider`, as if it had just been started.
    ///
    /// # Panics
    /// When there is no such provider.
    pub async fn reset(&self, provider: &str) {
        self.mounted(provider).reset();
    }

    fn mounted(&self, provider: &str) -> &Arc<Mounted> {
        match self.registry.find(provider) {
            Some(mounted) => mounted,
            None => panic!("no provider `{provider}` in the sandbox, only {}", self.providers().join(", ")),
        }
    }
}

/// Why a control body was refused, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Error for Refused {}
