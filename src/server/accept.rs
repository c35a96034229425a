//! Accepting clients: one task a listening socket, one task a session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::{Listener, ListenerTls, ProxyTls};
use crate::mail::{Introduced, PeerName, SessionFacts, TlsFacts};
use crate::net::listen::{Bound, canonical};
use crate::net::stream::Stream;
use crate::report::event;
use crate::smtp::replies;
use crate::state::limits::{ConnectionGuard, Refused};

use super::connection::Connection;
use super::gateway::{Gateway, Generation};
use super::{ids, proxied};

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
    /// Serves a client that somebody accepted for the listener of this name; `peer` is who connected, be it the client
    /// or a proxy the listener knows. Returns at once: the session runs in a task of its own. A listener the running
    /// configuration does not have closes the connection.
    pub fn welcome(self: &Arc<Self>, listener: &Arc<str>, stream: Stream, peer: SocketAddr) {
        let generation = self.generation();
        let Some(index) = generation.config.listeners.iter().position(|known| known.name == **listener) else { return };
        let place = Place { generation, index };
        if let Some(proxy) = place.listener().and_then(|listener| listener.trust.proxy.clone()) {
            return proxied::welcome(self, place, &proxy, stream, peer);
        }
        match admit(self, &place, peer) {
            Ok(guard) => {
                let Ok(local) = stream.local_addr() else { return };
                begin(self, place, Arrival { stream, peer, local: canonical(local), introduced: None }, guard);
            }
            Err(refused) => turn_away(self, &place, stream, peer, refused.which),
        }
    }
}

/// The listener somebody came to, in the configuration that holds for it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) generation: Arc<Generation>,
    pub(super) index: usize,
}

impl Place {
    pub(super) fn listener(&self) -> Option<&Listener> {
        self.generation.config.listeners.get(self.index)
    }

    pub(super) fn name(&self) -> &str {
        self.listener().map_or("", |listener| &listener.name)
    }
}

/// A connection and between whom it is.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: Stream,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) introduced: Option<Arc<Introduced>>,
}

pub(super) fn begin(gateway: &Arc<Gateway>, place: Place, arrival: Arrival, guard: ConnectionGuard) {
    let Some(listener) = place.listener() else { return };
    let facts = SessionFacts {
        id: ids::session(),
        listener: Arc::from(listener.name.as_str()),
        peer: arrival.peer,
        local: arrival.local,
        peer_name: PeerName::Unavailable,
        reverse_name: PeerName::Unavailable,
        hello: None,
        tls: believed_tls(listener, arrival.introduced.as_deref()),
        auth: None,
        introduced: arrival.introduced,
    };
    let mut session = Connection::new(Arc::clone(gateway), place.generation, place.index, arrival.stream, facts);
    gateway.shutdown.sessions().spawn(async move {
        session.run().await;
        drop(guard);
    });
}

/// TLS that ended at the proxy, where the operator takes the way from there for safe.
fn believed_tls(listener: &Listener, introduced: Option<&Introduced>) -> Option<Arc<TlsFacts>> {
    let believed = listener.trust.proxy.as_ref().is_some_and(|proxy| proxy.tls == ProxyTls::Believe);
    introduced.and_then(|said| said.proxy.as_ref()).filter(|_| believed).and_then(|proxy| proxy.tls.clone())
}

/// Room for one more connection from there; clients that rates do not count still take room.
pub(super) fn admit(gateway: &Gateway, place: &Place, peer: SocketAddr) -> Result<ConnectionGuard, Refused> {
    let (_, rates) = place.generation.limits_for(peer.ip());
    if rates { gateway.limits.connection(peer.ip()) } else { gateway.limits.exempt_connection() }
}

/// One line to a client there is no room for, without ever waiting for it. Under implicit TLS there is no language
/// to say it in.
pub(super) fn turn_away(gateway: &Gateway, place: &Place, mut stream: Stream, peer: SocketAddr, limit: &'static str) {
    gateway.metrics.limited(limit);
    let Some(listener) = place.listener() else { return };
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
