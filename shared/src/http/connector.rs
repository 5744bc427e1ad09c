//! Makes connections, or hands out the one that was made ahead.
//!
//! A connection costs a name, three journeys and a handshake, and a function has a whole processor for that only before
//! its first request. This file refuses to hand out what has lain for more than ten seconds: a sandbox that was frozen makes
//! its connection anew. Whoever was hung up on sooner loses an attempt, so nobody who sends messages connects ahead.

use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::names::Names;
use crate::clock::{Clock, Moment, SystemClock};
use crate::provider::Cause;

/// For how long a connection made ahead may lie, and a name looked up ahead be used: far less than servers wait for a first request.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(10);

type Connection = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connecting = Pin<Box<dyn Future<Output = Result<Connection, Cause>> + Send>>;

/// Clones share what was made ahead.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<HttpConnector<Names>>,
    ahead: Arc<Mutex<Option<Ahead>>>,
}

/// A connection that nobody has used yet.
struct Ahead {
    uri: Uri,
    connection: Connection,
    made: Moment,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    pub(super) fn new(inner: HttpsConnector<HttpConnector<Names>>) -> Self {
        Self { inner, ahead: Arc::default() }
    }

    /// A new connection to the host of `uri`, whatever was made ahead.
    pub(super) fn connect(&self, uri: Uri) -> Connecting {
        self.inner.clone().call(uri)
    }

    /// Keeps a new connection for whoever connects to that host next.
    pub(super) async fn connect_ahead(&self, uri: Uri) -> Result<(), Cause> {
        let connection = self.connect(uri.clone()).await?;
        let ahead = Ahead { uri, connection, made: SystemClock.moment() };
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        Ok(())
    }

    /// What was made ahead for the host of `uri`, if it is as good as new at `now`.
    fn take(&self, uri: &Uri, now: Moment) -> Option<Connection> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = |ahead: &mut Ahead| (ahead.uri.scheme(), ahead.uri.authority()) == (uri.scheme(), uri.authority());
        let Ahead { connection, made, .. } = ahead.take_if(theirs)?;
        made.is_within(LONGEST_WAIT, now).then_some(connection)
    }
}

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = Cause;
    type Future = Connecting;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        match self.take(&uri, SystemClock.moment()) {
            Some(connection) => Box::pin(ready(Ok(connection))),
            None => self.inner.call(uri),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::http::HttpClient;

    #[tokio::test]
    async fn what_was_made_ahead_is_handed_out_once_to_its_own_host_and_not_when_it_is_old() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connector = HttpClient::new(None).unwrap().connector;
        let uri = |path: &str| format!("http://{address}{path}").parse::<Uri>().unwrap();
        let at = |span| {
            let now = SystemClock.moment();
            Moment { wall: now.wall.after(span), monotonic: now.monotonic }
        };
        connector.connect_ahead(uri("/")).await.unwrap();
        assert!(connector.take(&"http://127.0.0.1:1/".parse().unwrap(), at(Duration::ZERO)).is_none(), "another host");
        assert!(connector.take(&uri("/v1?a=b"), at(Duration::ZERO)).is_some());
        assert!(connector.take(&uri("/"), at(Duration::ZERO)).is_none(), "once");
        connector.connect_ahead(uri("/")).await.unwrap();
        assert!(connector.take(&uri("/"), at(LONGEST_WAIT * 2)).is_none(), "frozen in between");
    }
}
