//! Accepting clients: one task a listening socket, one task a session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::ListenerTls;
use crate::mail::{PeerName, SessionFacts};
use crate::net::listen::{Bound, canonical};
use crate::net::stream::Stream;
use crate::report::event;
use crate::smtp::replies;
use crate::state::limits::{ConnectionGuard, Refused};

use super::connection::Connection;
use super::gateway::{Gateway, Generation};
use super::ids;

/// After `accept` failed (out of file descriptors, say): time for some sessions to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until told to stop; the socket is closed then.
pub(super) async fn accept(gateway: Arc<Gateway>, socket: Bound, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = gateway.shutdown.beginning() => return,
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => gateway.welcome(socket.name(), stream, peer),
            Err(error) => {
                tracing::error!(listener = %socket.name(), %error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Gateway {
    /// Serves a client that somebody accepted for the listener of this name; `peer` is who the client is. Returns
    /// at once: the session runs in a task of its own. A listener the running configuration does not have closes
    /// the connection.
    pub fn welcome(self: &Arc<Self>, listener: &Arc<str>, stream: Stream, peer: SocketAddr) {
        let generation = self.generation();
        let Some(index) = generation.config.listeners.iter().position(|known| known.name == **listener) else { return };
        match admit(self, &generation, peer) {
            Ok(guard) => begin(self, generation, index, stream, peer, guard),
            Err(refused) => turn_away(self, &generation, index, stream, peer, refused.which),
        }
    }
}

fn begin(
    gateway: &Arc<Gateway>,
    generation: Arc<Generation>,
    index: usize,
    stream: Stream,
    peer: SocketAddr,
    guard: ConnectionGuard,
) {
    let Ok(local) = stream.local_addr() else { return };
    let Some(listener) = generation.config.listeners.get(index).map(|listener| Arc::from(listener.name.as_str()))
    else {
        return;
    };
    let facts = SessionFacts {
        id: ids::session(),
        listener,
        peer,
        local: canonical(local),
        peer_name: PeerName::Unavailable,
        reverse_name: PeerName::Unavailable,
        hello: None,
        tls: None,
        auth: None,
        introduced: None,
    };
    let mut session = Connection::new(Arc::clone(gateway), generation, index, stream, facts);
    gateway.shutdown.sessions().spawn(async move {
        session.run().await;
        drop(guard);
    });
}

/// Room for one more connection from there; clients that rates do not count still take room.
fn admit(gateway: &Gateway, generation: &Generation, peer: SocketAddr) -> Result<ConnectionGuard, Refused> {
    let (_, rates) = generation.limits_for(peer.ip());
    if rates { gateway.limits.connection(peer.ip()) } else { gateway.limits.exempt_connection() }
}

/// One line to a client there is no room for, without ever waiting for it. Under implicit TLS there is no language
/// to say it in.
fn turn_away(
    gateway: &Gateway,
    generation: &Generation,
    index: usize,
    mut stream: Stream,
    peer: SocketAddr,
    limit: &'static str,
) {
    gateway.metrics.limited(limit);
    let Some(listener) = generation.config.listeners.get(index) else { return };
    event::connection_refused(&listener.name, peer.ip(), limit);
    if listener.tls != ListenerTls::Implicit {
        let mut line = Vec::new();
        let reply = match limit {
            "connections-at-once" => replies::SERVER_FULL,
            "connections-per-address" => replies::CONNECTING_TOO_OFTEN,
            _ => replies::TOO_MANY_CONNECTIONS,
        };
        reply.encode(&mut line);
        stream.write_at_once(&line);
    }
}
