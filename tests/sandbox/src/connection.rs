//! Connections that can end without an answer, because a crashed server and a reset are part of what a caller must survive.
//!
//! A handler cannot close the socket below it, so each accepted stream carries a [`Connection`] the handler can mark. The
//! mark makes the next write fail, and the server then drops the stream before any byte of an answer has left.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// How a connection ends when no answer shall leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// An orderly end of the stream (FIN), as when a process dies.
    Closed,
    /// A reset (RST), as from a middle box or a kernel that lost the connection.
    Reset,
}

/// The handler's handle on the connection its request came through.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection(Arc<OnceLock<Ending>>);

impl Connection {
    /// Lets the connection end instead of answering; the first ending counts.
    pub(crate) fn end(&self, ending: Ending) {
        let _ = self.0.set(ending);
    }
}

impl Connected<IncomingStream<'_, Door>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().connection.clone()
    }
}

/// The listening socket, handing out [`Stream`]s.
#[derive(Debug)]
pub(crate) struct Door(pub(crate) TcpListener);

impl Listener for Door {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        // By its full name: the listener's own `accept` of the same name gives up at the first error.
        let (tcp, address) = Listener::accept(&mut self.0).await;
        // Tests measure latency; a socket that refuses the option still works.
        let _ = tcp.set_nodelay(true);
        (Stream { tcp, connection: Connection::default() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A TCP stream whose writes fail once its [`Connection`] was told to end.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
    connection: Connection,
}

impl Stream {
    fn refuse_if_ended(&self) -> io::Result<()> {
        match self.connection.0.get() {
            None => Ok(()),
            Some(Ending::Closed) => Err(io::ErrorKind::ConnectionAborted.into()),
            Some(Ending::Reset) => {
                // With no time to linger the kernel sends RST instead of FIN when the socket is dropped.
                self.tcp.set_zero_linger()?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.refuse_if_ended() {
            Ok(()) => Pin::new(&mut self.tcp).poll_write(cx, bytes),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A shutdown would send FIN ahead of the reset.
        match self.refuse_if_ended() {
            Ok(()) => Pin::new(&mut self.tcp).poll_shutdown(cx),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}
