//! What is listened at, as `[admin]` has it. Made ready first and opened afterwards, so that a start or a reload can fail
//! before it changes anything; a reload keeps what stayed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::filters::Peer;
use super::listener::Limited;
use super::socket::{Made, Placed};
use super::{Condition, Filters, Lists, Seeing, Shown, SocketError};
use crate::config;
use crate::report::Metrics;

/// There is no listening where `[admin]` wants it.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("cannot listen on {address} ([admin]): {error}")]
    Address { address: SocketAddr, error: std::io::Error },
    #[error(transparent)]
    Socket(#[from] SocketError),
}

/// The admin address and the admin socket of a running gateway. Dropped, both are closed, and the socket's file is gone.
pub struct Doors {
    shown: Arc<Shown>,
    address: Option<AddressDoor>,
    socket: Option<SocketDoor>,
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doors").field("address", &self.address).field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct AddressDoor {
    wanted: SocketAddr,
    bound: SocketAddr,
    _stop: DropGuard,
}

#[derive(Debug)]
struct SocketDoor {
    wanted: config::AdminSocket,
    /// Before the listener: as long as that is there, the file cannot be mistaken for another.
    file: Placed,
    _stop: DropGuard,
}

/// What [`Doors::open`] will do.
#[derive(Debug)]
pub struct Prepared {
    address: Next<(SocketAddr, TcpListener, SocketAddr)>,
    socket: Next<(config::AdminSocket, Ready)>,
}

#[derive(Debug)]
enum Next<T> {
    Keep,
    Close,
    Open(T),
}

#[derive(Debug)]
enum Ready {
    Placed(UnixListener, Placed),
    /// At the path of the one that is open now.
    InPlaceOfOurs(Made),
}

impl Doors {
    /// Closed.
    #[must_use]
    pub fn new(metrics: Metrics, health: Condition, filters: Filters, lists: Lists, seeing: Seeing) -> Doors {
        let (began, orders_at) = (Instant::now(), ArcSwapOption::empty());
        let shown = Arc::new(Shown { metrics, health, filters, lists, seeing, began, orders_at });
        Doors { shown, address: None, socket: None }
    }

    /// Where the address is, with the port the kernel chose for port 0.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.address.as_ref().map(|door| door.bound)
    }

    /// Whatever is new is bound. Nothing has changed when this fails, or when nothing is done with the answer.
    ///
    /// # Errors
    /// Names the address or the socket that cannot be had.
    pub async fn prepare(&self, settings: Option<&config::Admin>) -> Result<Prepared, AdminError> {
        let address = match settings.and_then(|settings| settings.address) {
            None => Next::Close,
            wanted if wanted == self.address.as_ref().map(|door| door.wanted) => Next::Keep,
            Some(address) => {
                let failed = |error| AdminError::Address { address, error };
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                Next::Open((address, listener, bound))
            }
        };
        let socket = match (settings.and_then(|settings| settings.socket.as_ref()), &self.socket) {
            (None, _) => Next::Close,
            // One whose file somebody removed is made anew.
            (Some(wanted), Some(door)) if door.wanted == *wanted && door.file.stands() => Next::Keep,
            (Some(wanted), Some(door)) if door.wanted.path == wanted.path => {
                Next::Open((wanted.clone(), Ready::InPlaceOfOurs(Made::new(wanted)?)))
            }
            (Some(wanted), _) => {
                let (listener, file) = Made::new(wanted)?.place().await?;
                Next::Open((wanted.clone(), Ready::Placed(listener, file)))
            }
        };
        Ok(Prepared { address, socket })
    }

    /// Serves there, and nowhere else any more. Answers under way may finish, for at most
    /// [`CONNECTION_TIME_MAX`](super::CONNECTION_TIME_MAX).
    pub async fn open(&mut self, prepared: Prepared) {
        match prepared.address {
            Next::Keep => {}
            Next::Close => self.address = None,
            Next::Open((wanted, listener, bound)) => {
                tracing::info!(address = %bound, "metrics and health");
                self.address = Some(AddressDoor { wanted, bound, _stop: serve(listener, &self.shown) });
            }
        }
        match prepared.socket {
            Next::Keep => {}
            Next::Close => self.socket = None,
            Next::Open((wanted, ready)) => self.open_socket(wanted, ready).await,
        }
        self.shown.orders_at.store(self.socket.as_ref().map(|door| Arc::new(door.wanted.path.clone())));
    }

    async fn open_socket(&mut self, wanted: config::AdminSocket, ready: Ready) {
        let placed = match (ready, &self.socket) {
            (Ready::Placed(listener, file), _) => Ok((listener, file)),
            (Ready::InPlaceOfOurs(made), Some(door)) => made.replace(&door.file).await,
            (Ready::InPlaceOfOurs(made), None) => made.place().await,
        };
        match placed {
            Ok((listener, file)) => {
                tracing::info!(socket = %wanted.path.display(), "orders");
                let stop = serve(listener, &self.shown);
                self.socket = Some(SocketDoor { wanted, file, _stop: stop });
            }
            Err(error) => tracing::error!(%error, "the admin socket stays as it was"),
        }
    }
}

/// How a listener says who is connected.
trait Door: axum::serve::Listener<Addr: std::fmt::Debug> {
    fn peer(address: &Self::Addr) -> Peer;
}

impl Door for TcpListener {
    fn peer(address: &SocketAddr) -> Peer {
        Peer::Tcp(address.ip())
    }
}

impl Door for UnixListener {
    fn peer(_: &tokio::net::unix::SocketAddr) -> Peer {
        Peer::Socket
    }
}

impl<L: Door> Connected<IncomingStream<'_, Limited<L>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Limited<L>>) -> Peer {
        L::peer(stream.remote_addr())
    }
}

/// Until what is returned is dropped.
fn serve<L: Door>(listener: L, shown: &Arc<Shown>) -> DropGuard {
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let service = Arc::clone(shown).router().into_make_service_with_connect_info::<Peer>();
    let serving = axum::serve(Limited::new(listener), service).with_graceful_shutdown(stopped);
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "[admin] is no longer served");
        }
    });
    stop.drop_guard()
}
