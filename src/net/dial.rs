//! Connections that we open: by TCP, or however the program around the gateway makes them.
//!
//! It refuses to know whom it connects to, and to wait for a bounded time: both are the caller's.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::TcpStream;

use super::stream::Stream;

/// A connection in the making. Dropped, it is given up.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send + 'a>>;

/// Makes the gateway's connections to its upstreams. A program that embeds the gateway can bring its own
/// ([`Environment`](crate::server::Environment)): over a simulated network, through a tunnel, to a pipe in memory
/// ([`Stream::over`]).
pub trait Dial: fmt::Debug + Send + Sync {
    /// A new connection to this address, on which small writes leave at once.
    fn dial(&self, to: SocketAddr) -> Dialing<'_>;
}

/// The ordinary way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Dial for Tcp {
    fn dial(&self, to: SocketAddr) -> Dialing<'_> {
        Box::pin(async move {
            let stream = Stream::from(TcpStream::connect(to).await?);
            stream.set_nodelay()?;
            Ok(stream)
        })
    }
}
