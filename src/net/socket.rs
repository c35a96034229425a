//! What carries a connection: a TCP socket, or anything else that octets go through both ways.
//!
//! It refuses to know more of that anything than that it reads and writes: no socket options, no error queue.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Octets both ways, in order: a pipe in memory, a simulated network, another process.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// The carrier. What is not TCP is boxed, so that TCP stays small.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Other(Box<Other>),
}

/// A carrier that is not TCP, with the addresses it stands for.
pub struct Other {
    duplex: Box<dyn Duplex>,
    local: SocketAddr,
    peer: SocketAddr,
}

impl fmt::Debug for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Other").field("local", &self.local).field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Socket {
    pub(super) fn over(duplex: impl Duplex + 'static, local: SocketAddr, peer: SocketAddr) -> Socket {
        Socket::Other(Box::new(Other { duplex: Box::new(duplex), local, peer }))
    }

    /// # Errors
    /// When the connection is gone.
    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Socket::Tcp(tcp) => tcp.peer_addr(),
            Socket::Other(other) => Ok(other.peer),
        }
    }

    /// # Errors
    /// When the connection is gone.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Socket::Tcp(tcp) => tcp.local_addr(),
            Socket::Other(other) => Ok(other.local),
        }
    }

    fn carrier(self: Pin<&mut Self>) -> Pin<&mut dyn Duplex> {
        match self.get_mut() {
            Socket::Tcp(tcp) => Pin::new(tcp),
            Socket::Other(other) => Pin::new(other.duplex.as_mut()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.carrier().poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.carrier().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.carrier().poll_write_vectored(cx, bufs)
    }

    /// Where it is not one write below, the first slice is written, and the caller comes again.
    fn is_write_vectored(&self) -> bool {
        match self {
            Socket::Tcp(tcp) => tcp.is_write_vectored(),
            Socket::Other(other) => other.duplex.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.carrier().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.carrier().poll_shutdown(cx)
    }
}
