//! Connections that come through a proxy: its header is read first, and the session is the client's that it names.
//!
//! A header is believed only on listeners that require one, from networks the operator named. Everything else is
//! closed without having been a session.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::config::{self, ListenerTls, holds};
use crate::mail::proxy::{Header, HeaderError, Progress, read};
use crate::mail::{Introduced, Proxied};
use crate::net::listen::canonical;
use crate::net::stream::Stream;
use crate::report::event;
use crate::smtp::replies;

use super::accept::{Arrival, Place, admit, admit_proxy, begin, turn_away};
use super::connection::LINGER;
use super::gateway::Gateway;

/// What `connection refused` calls it in the log.
const NOT_A_PROXY: &str = "proxy-networks";
/// A header is read in pieces; this is far more than one has.
const READ_BYTES_MAX: usize = 4_096;

/// Why a proxy's connection never became a session.
#[derive(Debug, thiserror::Error)]
enum Unproxied {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("the connection ended before its PROXY header")]
    Gone,
    #[error("no PROXY header in time (timeouts.handshake)")]
    Late,
}

/// A connection to a listener with proxies in front.
pub(super) fn welcome(gateway: &Arc<Gateway>, place: Place, proxy: &config::Proxy, stream: Stream, peer: SocketAddr) {
    if !holds(&proxy.networks, peer.ip()) {
        gateway.metrics.limited(NOT_A_PROXY);
        event::connection_refused(place.name(), peer.ip(), NOT_A_PROXY);
        return;
    }
    // It takes room, but no client's: who the client is nobody knows yet.
    let room = match admit_proxy(gateway, &stream) {
        Ok(room) => room,
        Err(refused) => return turn_away(gateway, &place, stream, peer, refused.which),
    };
    let own = Arc::clone(gateway);
    gateway.shutdown.sessions().spawn(async move {
        if let Some((place, arrival)) = introduced(&own, place, stream, peer).await {
            drop(room);
            let client = arrival.peer;
            match admit(&own, &place, &arrival.stream, client) {
                Ok(room) => begin(&own, place, arrival, room),
                Err(refused) => turn_away(&own, &place, arrival.stream, client, refused.which),
            }
        }
    });
}

/// Reads the header, in the time a handshake may take.
async fn introduced(gateway: &Gateway, place: Place, mut stream: Stream, peer: SocketAddr) -> Option<(Place, Arrival)> {
    let wait = place.generation.config.timeouts.handshake;
    let header = tokio::select! {
        biased;
        header = timeout(wait, header(&mut stream)) => header.unwrap_or(Err(Unproxied::Late)),
        () = gateway.shutdown.expired() => return None,
    };
    match header {
        Ok(header) => {
            let own = canonical(stream.local_addr().ok()?);
            let client = header.client;
            let proxied = Proxied { peer, tls: header.tls, authority: header.authority, unique_id: header.unique_id };
            let arrival = Arrival {
                stream,
                peer: client.map_or(peer, |client| canonical(client.source)),
                local: client.map_or(own, |client| canonical(client.destination)),
                introduced: Some(Arc::new(Introduced { proxy: Some(proxied), ..Introduced::default() })),
            };
            Some((place, arrival))
        }
        Err(why) => {
            event::not_proxied(place.name(), peer.ip(), &why.to_string());
            let plain = place.listener().is_some_and(|listener| listener.tls != ListenerTls::Implicit);
            if plain && !matches!(why, Unproxied::Gone) {
                let mut line = Vec::new();
                replies::PROXY_HEADER_WANTED.encode(&mut line);
                let _ = timeout(LINGER, async {
                    stream.write_all(&line).await?;
                    stream.finish().await
                })
                .await;
            }
            None
        }
    }
}

/// The header and not an octet more: what follows may be a TLS handshake.
async fn header(stream: &mut Stream) -> Result<Header, Unproxied> {
    let mut input = Vec::new();
    let mut wanted = 1;
    loop {
        match stream.read_more(&mut input, wanted.min(READ_BYTES_MAX)).await {
            Ok(0) | Err(_) => return Err(Unproxied::Gone),
            Ok(_) => {}
        }
        match read(&input)? {
            Progress::Whole(header) => return Ok(header),
            Progress::More(more) => wanted = more,
        }
    }
}
