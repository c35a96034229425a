//! One connection, plain or TLS: reading without holding buffers, writing in one piece, noticing a lost peer.
//!
//! It refuses to buffer: an idle connection holds no read buffer (idle memory is counted in hundreds of octets),
//! and a write returns when the kernel, or rustls's bounded buffer, has taken it. Timeouts are the caller's.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::socket::{Duplex, Socket};
use super::tls::{self, Acceptor, ClientTls, Connector, HandshakeError, ServerTls};
use crate::mail::TlsFacts;

/// The most one [`Stream::read_more`] takes in. One such buffer per thread, shared by all its connections.
pub const SCRATCH_BYTES: usize = 64 * 1024;
/// The most [`Stream::finish`] reads and throws away.
const LINGER_BYTES_MAX: usize = 256 * 1024;

thread_local! {
    /// Where octets land before it is known how many they are.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A connection. TLS is boxed, so that a plain one stays small.
#[derive(Debug)]
pub enum Stream {
    Plain(Socket),
    ServerTls(Box<ServerTls>),
    ClientTls(Box<ClientTls>),
    /// A TLS handshake failed or was abandoned; every use is `NotConnected`.
    Lost,
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Stream {
        Stream::Plain(Socket::Tcp(tcp))
    }
}

impl Stream {
    /// A connection over anything that octets go through both ways, said to be between these two addresses: for
    /// programs that embed the gateway, and for simulated networks.
    pub fn over(duplex: impl Duplex + 'static, local: SocketAddr, peer: SocketAddr) -> Stream {
        Stream::Plain(Socket::over(duplex, local, peer))
    }

    fn socket(&self) -> io::Result<&Socket> {
        match self {
            Stream::Plain(socket) => Ok(socket),
            Stream::ServerTls(tls) => Ok(tls.get_ref().0),
            Stream::ClientTls(tls) => Ok(tls.get_ref().0),
            Stream::Lost => Err(lost()),
        }
    }

    /// The TCP socket underneath.
    ///
    /// # Errors
    /// `NotConnected` when the connection was lost in a handshake, `Unsupported` when it is [over](Stream::over)
    /// something else.
    pub fn tcp(&self) -> io::Result<&TcpStream> {
        match self.socket()? {
            Socket::Tcp(tcp) => Ok(tcp),
            Socket::Other(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// # Errors
    /// When the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket()?.peer_addr()
    }

    /// # Errors
    /// When the connection is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket()?.local_addr()
    }

    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::ServerTls(_) | Stream::ClientTls(_))
    }

    /// Sends small writes at once. Needed for connections we open; accepted ones inherit it from their listener.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn set_nodelay(&self) -> io::Result<()> {
        self.tcp()?.set_nodelay(true)
    }

    /// Waits for octets and appends at most `max` of them (and at most [`SCRATCH_BYTES`]) to `buf`; 0 is the end
    /// of input. While it waits nothing is allocated; `buf` grows only by what came. Safe to cancel.
    ///
    /// # Errors
    /// `InvalidInput` when `max` is 0 (the answer could not be told from the end of input), else the network's.
    pub async fn read_more(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_read_more(cx, buf, max)).await
    }

    /// As [`read_more`](Stream::read_more), for callers that poll.
    pub fn poll_read_more(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>, max: usize) -> Poll<io::Result<usize>> {
        if max == 0 {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.is_empty() {
                *scratch = vec![0; SCRATCH_BYTES];
            }
            let room = scratch.len().min(max);
            let mut landing = ReadBuf::new(scratch.get_mut(..room).unwrap_or_default());
            ready!(Pin::new(self).poll_read(cx, &mut landing))?;
            buf.extend_from_slice(landing.filled());
            Poll::Ready(Ok(landing.filled().len()))
        })
    }

    /// Reads into a buffer of the caller's: for bodies, where the buffer is large and there anyway. Safe to cancel.
    ///
    /// # Errors
    /// The network's. `Ok(0)` is the end of input.
    pub async fn read_into(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read(buf).await
    }

    /// Resolves when the peer has reset the connection, or the network has given it up, while we wait for
    /// something else. It reads nothing, so octets that came are still there to be read.
    ///
    /// An end of input alone is not the end: a half-closed peer still listens (RFC 9293 3.6). Nor can a peer that
    /// closed both ways be told from a half-closed one before something is written to it, so that shows here
    /// only then, as its reset. What is not TCP shows nothing before it is read or written.
    pub async fn closed(&self) {
        let Ok(socket) = self.socket() else { return };
        let Socket::Tcp(tcp) = socket else { return std::future::pending().await };
        // epoll reports an error condition without being asked; data and FIN do not count as one.
        let _ = tcp.ready(Interest::ERROR).await;
    }

    /// Writes what can be written without waiting; for a word to somebody who is not served. How much left, if any
    /// did, is nobody's concern.
    pub fn write_at_once(&mut self, octets: &[u8]) {
        let _ = Pin::new(self).poll_write(&mut Context::from_waker(Waker::noop()), octets);
    }

    /// Begins TLS as the server (after STARTTLS was answered, or on an implicit-TLS listener). The caller bounds
    /// it in time and guarantees that no plaintext it has already read is used afterwards (CVE-2011-0411).
    ///
    /// # Errors
    /// The connection is lost then; dropping the future half-way loses it as well.
    pub async fn start_tls_server(&mut self, acceptor: &Acceptor) -> Result<TlsFacts, HandshakeError> {
        let socket = self.take_plain()?;
        // Boxed: a handshake is rare and large, the session's future is neither.
        let (tls, facts) = Box::pin(acceptor.accept(socket)).await?;
        *self = Stream::ServerTls(tls);
        Ok(facts)
    }

    /// Begins TLS as the client (after the upstream answered 220 to STARTTLS), likewise.
    ///
    /// # Errors
    /// The connection is lost then.
    pub async fn start_tls_client(&mut self, connector: &Connector) -> Result<TlsFacts, HandshakeError> {
        let socket = self.take_plain()?;
        let (tls, facts) = Box::pin(connector.connect(socket)).await?;
        *self = Stream::ClientTls(tls);
        Ok(facts)
    }

    /// What the server showed for itself, on a connection on which we are the client.
    #[must_use]
    pub fn server_certificate(&self) -> Option<tls::Certificate> {
        match self {
            Stream::ClientTls(tls) => tls::of_server(tls),
            _ => None,
        }
    }

    /// Says goodbye so that our last words arrive: ends our side (TLS close_notify, FIN), then reads and drops
    /// what the peer still sends, at most a bounded amount, until it closes too. Closing with input unread would
    /// reset the connection, and a reset overtakes the reply. The caller bounds it in time.
    ///
    /// # Errors
    /// The network's; of no consequence by then.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.shutdown().await?;
        let mut dropped = 0;
        let mut sink = Vec::new();
        while dropped < LINGER_BYTES_MAX {
            match self.read_more(&mut sink, SCRATCH_BYTES).await? {
                0 => break,
                count => dropped += count,
            }
            sink.clear();
        }
        Ok(())
    }

    fn take_plain(&mut self) -> Result<Socket, HandshakeError> {
        match std::mem::replace(self, Stream::Lost) {
            Stream::Plain(socket) => Ok(socket),
            other => {
                *self = other;
                Err(HandshakeError::NotPlain)
            }
        }
    }
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection was lost in a TLS handshake")
}

/// TCP's end without TLS's close_notify is the end of input like any other: many mail programs close so, and SMTP
/// itself says where a command or message ends, so nothing can be cut short unnoticed.
fn bare_end(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        other => other,
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Stream::ServerTls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf).map(bare_end),
            Stream::ClientTls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf).map(bare_end),
            Stream::Lost => Poll::Ready(Err(lost())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Stream::ServerTls(tls) => Pin::new(tls.as_mut()).poll_write(cx, buf),
            Stream::ClientTls(tls) => Pin::new(tls.as_mut()).poll_write(cx, buf),
            Stream::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Stream::ServerTls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, bufs),
            Stream::ClientTls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, bufs),
            Stream::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(socket) => socket.is_write_vectored(),
            Stream::ServerTls(_) | Stream::ClientTls(_) | Stream::Lost => true,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Stream::ServerTls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
            Stream::ClientTls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
            Stream::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::ServerTls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
            Stream::ClientTls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
            Stream::Lost => Poll::Ready(Err(lost())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::time::Duration;

    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Stream::from(server), client)
    }

    #[tokio::test]
    async fn read_more_appends_at_most_what_was_asked() {
        let (mut server, mut client) = pair().await;
        client.write_all(b"EHLO client.test\r\n").await.unwrap();
        let mut buf = b"kept ".to_vec();
        assert_eq!(server.read_more(&mut buf, 4).await.unwrap(), 4);
        assert_eq!(buf, b"kept EHLO");
        assert_eq!(server.read_more(&mut buf, 100).await.unwrap(), 14);
        assert_eq!(buf, b"kept EHLO client.test\r\n");
        drop(client);
        assert_eq!(server.read_more(&mut buf, 100).await.unwrap(), 0);
        assert_eq!(server.read_more(&mut buf, 0).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn a_waiting_reader_holds_no_buffer() {
        let (mut server, _client) = pair().await;
        let mut buf = Vec::new();
        let waiting = std::future::poll_fn(|cx| Poll::Ready(server.poll_read_more(cx, &mut buf, 4096))).await;
        assert!(waiting.is_pending());
        assert_eq!(buf.capacity(), 0);
    }

    #[tokio::test]
    async fn a_reset_is_noticed_while_octets_wait_unread() {
        let (mut server, mut client) = pair().await;
        client.write_all(b"NOOP\r\n").await.unwrap();
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        server.closed().await;
        // Whatever the kernel still has of them, the next read does not wait.
        let mut buf = Vec::new();
        let _ = server.read_more(&mut buf, 100).await;
    }

    #[tokio::test]
    async fn a_half_closed_peer_is_not_gone() {
        let (mut server, mut client) = pair().await;
        client.write_all(b"QUIT\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        let mut buf = Vec::new();
        while server.read_more(&mut buf, 100).await.unwrap() > 0 {}
        assert_eq!(buf, b"QUIT\r\n");
        let gone = tokio::select! {
            biased;
            () = server.closed() => true,
            () = tokio::task::yield_now() => false,
        };
        assert!(!gone);
        server.write_all(b"221 Bye\r\n").await.unwrap();
        server.shutdown().await.unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "221 Bye\r\n");
    }

    #[tokio::test]
    async fn last_words_arrive_although_input_was_left_unread() {
        let (mut server, mut client) = pair().await;
        client.write_all(&vec![b'x'; 50_000]).await.unwrap();
        server.write_all(b"554 go away\r\n").await.unwrap();
        let server = tokio::spawn(async move { server.finish().await });
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "554 go away\r\n");
        drop(client);
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn octets_go_over_whatever_carries_them() {
        let (near, mut far) = tokio::io::duplex(64);
        let (local, peer) = ("192.0.2.1:25".parse().unwrap(), "192.0.2.2:4321".parse().unwrap());
        let mut server = Stream::over(near, local, peer);
        assert_eq!((server.local_addr().unwrap(), server.peer_addr().unwrap()), (local, peer));
        assert_eq!(server.tcp().unwrap_err().kind(), io::ErrorKind::Unsupported);
        far.write_all(b"QUIT\r\n").await.unwrap();
        let mut buf = Vec::new();
        assert_eq!(server.read_more(&mut buf, 100).await.unwrap(), 6);
        server.write_at_once(b"221 Bye\r\n");
        server.shutdown().await.unwrap();
        let mut said = String::new();
        far.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "221 Bye\r\n");
    }

    #[tokio::test]
    async fn vectored_writes_go_out_in_one_piece() {
        let (mut server, mut client) = pair().await;
        assert!(server.is_write_vectored());
        let parts = [IoSlice::new(b"250-one\r\n"), IoSlice::new(b"250 two\r\n")];
        assert_eq!(server.write_vectored(&parts).await.unwrap(), 18);
        let mut said = [0; 18];
        client.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"250-one\r\n250 two\r\n");
    }
}
