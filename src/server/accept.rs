//! Accepting clients: one task a listening socket, one task a session.

use std::future::Future as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::{Listener, ListenerTls, ProxyTls};
use crate::mail::{Introduced, SessionFacts, TlsFacts};
use crate::net::files::is_exhausted;
use crate::net::listen::{Bound, canonical};
use crate::net::stream::Stream;
use crate::policy::limits::Subject;
use crate::report::event;
use crate::smtp::{Reply, replies};
use crate::state::limits::{ConnectionGuard, Refused, RuleGuard};
use crate::state::memory::Lease;

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
            Err(error) if is_exhausted(&error) => {
                gateway.refuse_for_want_of_files(&socket);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
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
        match admit(self, &place, &stream, peer) {
            Ok(room) => {
                let Ok(local) = stream.local_addr() else { return };
                begin(self, place, Arrival { stream, peer, local: canonical(local), introduced: None }, room);
            }
            Err(refused) => turn_away(self, &place, stream, peer, refused.which),
        }
    }

    /// No descriptor is left: with the one kept back, the next client in the queue hears that it is to come again.
    fn refuse_for_want_of_files(&self, socket: &Bound) {
        let generation = self.generation();
        let index = generation.config.listeners.iter().position(|known| known.name == **socket.name());
        let place = index.map(|index| Place { generation, index });
        // All of it before the spare is taken back: this is the descriptor that the client's connection has.
        self.overload.files.with_spare(|| {
            let accepted = std::pin::pin!(socket.accept()).poll(&mut Context::from_waker(Waker::noop()));
            if let (Poll::Ready(Ok((stream, peer))), Some(place)) = (accepted, &place) {
                turn_away(self, place, stream, peer, "files");
            }
        });
    }
}

/// What a session holds as long as it lasts.
pub(super) type Room = (ConnectionGuard, Lease);

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

pub(super) fn begin(gateway: &Arc<Gateway>, place: Place, arrival: Arrival, room: Room) {
    let Some(listener) = place.listener() else { return };
    let listener_tls = listener.tls;
    let name = Arc::from(listener.name.as_str());
    let facts = SessionFacts {
        tls: believed_tls(listener, arrival.introduced.as_deref()),
        introduced: arrival.introduced,
        ..SessionFacts::new(ids::session(), name, arrival.peer, arrival.local)
    };
    let Place { generation, index } = place;
    let (guard, lease) = room;
    let (_, rates) = generation.limits_for(facts.peer.ip());
    if !rates || !gateway.limits_entry() {
        let room = (guard, RuleGuard::default());
        let session = Connection::new(Arc::clone(gateway), generation, index, arrival.stream, facts, room);
        serve(gateway, session, lease);
        return;
    }
    let (own, implicit) = (Arc::clone(gateway), listener_tls == ListenerTls::Implicit);
    gateway.shutdown.sessions().spawn(async move {
        let (rules, ruling) = own.enter(&Subject::arriving(facts.peer.ip(), &facts.listener)).await;
        let mut stream = arrival.stream;
        if let Some(which) = ruling.limited {
            own.metrics.limited(which);
            event::connection_refused(&facts.listener, facts.peer.ip(), which);
        }
        if let Some(reply) = ruling.refusal {
            if !implicit {
                let mut line = Vec::new();
                reply.encode(&mut line);
                stream.write_at_once(&line);
            }
            return;
        }
        let waited = tokio::select! {
            biased;
            () = stream.closed(), if !ruling.delay.is_zero() => false,
            () = own.shutdown.beginning() => true,
            () = tokio::time::sleep(ruling.delay) => true,
        };
        if waited {
            let mut session = Connection::new(Arc::clone(&own), generation, index, stream, facts, (guard, rules));
            session.arrives_marked(ruling.tags);
            serve(&own, session, lease);
        }
    });
}

/// The session, in a task that holds nothing else.
fn serve(gateway: &Arc<Gateway>, mut session: Connection, lease: Lease) {
    gateway.shutdown.sessions().spawn(async move {
        session.run().await;
        drop(lease);
    });
}

/// TLS that ended at the proxy, where the operator takes the way from there for safe.
fn believed_tls(listener: &Listener, introduced: Option<&Introduced>) -> Option<Arc<TlsFacts>> {
    let believed = listener.trust.proxy.as_ref().is_some_and(|proxy| proxy.tls == ProxyTls::Believe);
    introduced.and_then(|said| said.proxy.as_ref()).filter(|_| believed).and_then(|proxy| proxy.tls.clone())
}

/// Room for one more connection from there; clients that rates do not count still take room.
pub(super) fn admit(gateway: &Gateway, place: &Place, stream: &Stream, peer: SocketAddr) -> Result<Room, Refused> {
    gateway.look_at_load();
    let lease = gateway.overload.admit(stream, gateway.limits.open_connections())?;
    Ok((admit_client(gateway, &place.generation, peer.ip())?, lease))
}

/// Of that, what is counted for the client.
pub(super) fn admit_client(
    gateway: &Gateway,
    generation: &Generation,
    peer: IpAddr,
) -> Result<ConnectionGuard, Refused> {
    let (_, rates) = generation.limits_for(peer);
    match rates {
        false => gateway.limits.exempt_connection(),
        true if gateway.shares_connections() => gateway.limits.enter(peer),
        true => gateway.limits.connection(peer),
    }
}

/// The same for a proxy that has not said yet who its client is.
pub(super) fn admit_proxy(gateway: &Gateway, stream: &Stream) -> Result<Room, Refused> {
    let lease = gateway.overload.admit(stream, gateway.limits.open_connections())?;
    Ok((gateway.limits.exempt_connection()?, lease))
}

/// One line to a client there is no room for, without ever waiting for it. Under implicit TLS there is no language
/// to say it in.
pub(super) fn turn_away(gateway: &Gateway, place: &Place, mut stream: Stream, peer: SocketAddr, limit: &'static str) {
    gateway.metrics.limited(limit);
    let Some(listener) = place.listener() else { return };
    event::connection_refused(&listener.name, peer.ip(), limit);
    if listener.tls != ListenerTls::Implicit {
        let mut line = Vec::new();
        no_room(limit).encode(&mut line);
        stream.write_at_once(&line);
    }
}

/// What a client hears that this limit keeps out.
pub(super) fn no_room(limit: &str) -> Reply {
    match limit {
        "connections-at-once" | "files" | "memory" => replies::SERVER_FULL,
        "connections-per-address" => replies::CONNECTING_TOO_OFTEN,
        _ => replies::TOO_MANY_CONNECTIONS,
    }
}
