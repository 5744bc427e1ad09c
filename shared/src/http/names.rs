//! Host names to addresses, by the system's resolver.
//!
//! The system answers one name to one thread, and a name that does not resolve takes it ten seconds: so each has a thread
//! of its own, and none holds up another. Three threads for three names are a quarter of a start's system calls; so the
//! names of a start, which are known before, are looked up by one thread, in order of need ([`Names::look_up_ahead`]). Nobody
//! waits for it longer than a moment: then a thread of one's own is asked after all.
//!
//! This file refuses to remember an address for longer than a start takes: addresses of AWS change every few seconds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use futures_util::FutureExt;
use futures_util::future::Shared;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tower_service::Service;

use super::connector::LONGEST_WAIT;
use crate::clock::{Clock, Moment, SystemClock};

/// So long whoever connects waits for what is looked up ahead.
const PATIENCE: Duration = Duration::from_millis(200);

/// A look-up that was begun ahead, and when.
type Ahead = (Shared<oneshot::Receiver<Vec<SocketAddr>>>, Moment);
type Addresses = vec::IntoIter<SocketAddr>;
type Resolving = Pin<Box<dyn Future<Output = Result<Addresses, io::Error>> + Send>>;

/// Clones share what was looked up ahead.
#[derive(Clone)]
pub(super) struct Names {
    system: GaiResolver,
    ahead: Arc<Mutex<HashMap<String, Ahead>>>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { system: GaiResolver::new(), ahead: Arc::default() }
    }

    /// Looks `hosts` up, one after another, for whoever connects to them in the next seconds.
    pub(super) fn look_up_ahead<'h>(&self, hosts: impl IntoIterator<Item = &'h str>) {
        let mut asked = Vec::new();
        for host in hosts {
            let (sender, receiver) = oneshot::channel();
            if let Entry::Vacant(place) = self.ahead().entry(host.to_owned()) {
                place.insert((receiver.shared(), SystemClock.moment()));
                asked.push((host.to_owned(), sender));
            }
        }
        if asked.is_empty() {
            return;
        }
        tokio::task::spawn_blocking(|| {
            for (host, sender) in asked {
                // Whoever waits for a name that is not found asks again by itself, and hears why.
                if let Ok(found) = (host, 0).to_socket_addrs() {
                    // Nobody may want it any more.
                    let _ = sender.send(found.collect());
                }
            }
        });
    }

    /// The look-up of `name` that was begun ahead, unless that is too long ago at `now`.
    fn begun(&self, name: &Name, now: Moment) -> Option<Shared<oneshot::Receiver<Vec<SocketAddr>>>> {
        let mut ahead = self.ahead();
        ahead.retain(|_, (_, begun)| begun.is_within(LONGEST_WAIT, now));
        ahead.get(name.as_str()).map(|(found, _)| found.clone())
    }

    fn ahead(&self) -> MutexGuard<'_, HashMap<String, Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<Name> for Names {
    type Response = Addresses;
    type Error = io::Error;
    type Future = Resolving;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.system.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Resolving {
        let (mut system, begun) = (self.system.clone(), self.begun(&name, SystemClock.moment()));
        Box::pin(async move {
            if let Some(begun) = begun
                && let Ok(Ok(found)) = timeout(PATIENCE, begun).await
            {
                return Ok(found.into_iter());
            }
            Ok(system.call(name).await?.collect::<Vec<_>>().into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(names: &Names, host: &str) -> Result<Vec<SocketAddr>, io::Error> {
        names.clone().call(host.parse().unwrap()).await.map(Iterator::collect)
    }

    #[tokio::test]
    async fn what_was_looked_up_ahead_is_given_out_for_as_long_as_a_start_takes() {
        let (names, elsewhere) = (Names::new(), SocketAddr::from(([192, 0, 2, 7], 0)));
        let (sender, receiver) = oneshot::channel();
        names.ahead().insert("localhost".to_owned(), (receiver.shared(), SystemClock.moment()));
        sender.send(vec![elsewhere]).unwrap();
        for _ in 0..2 {
            assert_eq!(found(&names, "localhost").await.unwrap(), [elsewhere]);
        }
        let now = SystemClock.moment();
        let later = Moment { wall: now.wall.after(LONGEST_WAIT * 2), monotonic: now.monotonic };
        assert!(names.begun(&"localhost".parse().unwrap(), later).is_none(), "frozen in between");
        assert!(found(&names, "localhost").await.unwrap().iter().all(|address| address.ip().is_loopback()));
    }

    #[tokio::test]
    async fn names_are_looked_up_ahead_and_one_that_is_not_found_is_an_error_to_whoever_asks() {
        let names = Names::new();
        // No resolver is asked for a name with an empty part.
        names.look_up_ahead(["no..such", "localhost", "localhost"]);
        let begun = |host: &str| names.begun(&host.parse().unwrap(), SystemClock.moment()).unwrap();
        assert!(begun("no..such").await.is_err());
        let ahead = begun("localhost").await.unwrap();
        assert!(!ahead.is_empty() && ahead.iter().all(|address| address.ip().is_loopback()));
        assert!(found(&names, "no..such").await.is_err());
    }

    /// The time is paused: waiting for a look-up that never ends costs none.
    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_hangs_holds_nobody_up() {
        let names = Names::new();
        let (_hangs, receiver) = oneshot::channel();
        names.ahead().insert("localhost".to_owned(), (receiver.shared(), SystemClock.moment()));
        assert!(found(&names, "localhost").await.unwrap().iter().all(|address| address.ip().is_loopback()));
    }
}
