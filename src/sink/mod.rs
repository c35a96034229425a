//! Floor 9: the embedded upstream, `wasmilter sink`: a small real mail server for demonstrations and tests.
//!
//! It speaks the gateway's own codec, understands XCLIENT and XFORWARD as Postfix does, and stores each message, in
//! memory or as a Maildir. It has no mailboxes and no policy: every recipient is taken, but for the local parts
//! `unknown` (550, no such user) and `full` (452, mailbox full), which show how refusals come through. It refuses
//! XCLIENT and XFORWARD from anywhere but loopback, and everything without a bound.

mod introduced;
mod session;
mod store;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::net::stream::Stream;
use session::Session;
pub use store::Message;
use store::Store;

/// Connections served at once; more wait in the backlog.
const CONNECTIONS_MAX: usize = 1_000;
/// After an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a sink is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// In banner, EHLO answers and file names.
    pub hostname: String,
    /// Where the Maildir is, made when it is not there; `None`: messages are kept in memory.
    pub maildir: Option<PathBuf>,
    /// Offers XCLIENT to clients from loopback.
    pub xclient: bool,
    /// Takes XCLIENT again, whatever address it was told: as a listener of Postfix with
    /// `smtpd_authorized_xclient_hosts=0.0.0.0/0,[::]/0`. Otherwise the new address is asked whether it may.
    pub xclient_again: bool,
    /// Offers XFORWARD to clients from loopback.
    pub xforward: bool,
    /// Offered as SIZE.
    pub message_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            hostname: "sink.localhost".to_owned(),
            maildir: None,
            xclient: true,
            xclient_again: false,
            xforward: true,
            message_bytes_max: 50 * 1_024 * 1_024,
        }
    }
}

/// A sink that serves until it is shut down or dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    store: Arc<Store>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Sink {
    /// Listens at `address` (port 0: any free one) and serves in the background.
    ///
    /// # Errors
    /// When the address cannot be had, or the Maildir cannot be made.
    pub async fn bind(address: SocketAddr, options: Options) -> io::Result<Sink> {
        let store = Arc::new(Store::open(&options)?);
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, Arc::new(options), store.clone(), stop.clone()));
        Ok(Sink { address, store, stop, serving })
    }

    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What has come, in its order; the oldest are forgotten after some thousands.
    #[must_use]
    pub fn messages(&self) -> Vec<Arc<Message>> {
        self.store.messages()
    }

    /// [`messages`](Self::messages), once there have been at least `count`. The caller bounds it in time.
    pub async fn received(&self, count: usize) -> Vec<Arc<Message>> {
        self.store.received(count).await
    }

    /// Stops at once: connections are closed, and a message that has not been answered was not stored.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        // A panic in there was said when it happened.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(listener: TcpListener, options: Arc<Options>, store: Arc<Store>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut sessions = JoinSet::new();
    let accepting = async {
        loop {
            while sessions.try_join_next().is_some() {}
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((tcp, peer)) => {
                    let session = Session::new(Stream::from(tcp), peer, options.clone(), store.clone());
                    sessions.spawn(async move {
                        if let Err(error) = session.run().await {
                            tracing::debug!(%peer, %error, "a sink session ended early");
                        }
                        drop(place);
                    });
                }
                // Out of file descriptors, mostly: the ones in use will come back.
                Err(error) => {
                    tracing::warn!(%error, "the sink cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop.cancelled() => {}
    }
    sessions.shutdown().await;
}
