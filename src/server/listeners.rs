//! The listening sockets of the running configuration. A reload keeps those whose address stayed, opens the new
//! ones, closes the others; sessions are not touched.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::net::inherit::Inherited;
use crate::net::listen::{self, Bound, ListenError};

use super::accept::accept;
use super::gateway::Gateway;

#[derive(Debug)]
pub struct Listeners {
    inherited: Inherited,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    socket: Bound,
    stop: CancellationToken,
}

impl Listeners {
    #[must_use]
    pub fn new(inherited: Inherited) -> Listeners {
        Listeners { inherited, open: Vec::new() }
    }

    /// Opens what a configuration wants. When that fails nothing has changed; [`Listeners::accept`] makes it so.
    ///
    /// # Errors
    /// The address that cannot be had, why, and what to do about it.
    pub fn bind(&mut self, config: &Config) -> Result<Vec<Bound>, ListenError> {
        let kept: Vec<Bound> = self.open.iter().map(|open| open.socket.clone()).collect();
        listen::bind(&config.listeners, &kept, &mut self.inherited)
    }

    /// Accepts from these sockets and from no others any more.
    pub fn accept(&mut self, gateway: &Arc<Gateway>, sockets: Vec<Bound>) {
        self.open.retain(|open| {
            let keep =
                sockets.iter().any(|socket| socket.same_socket(&open.socket) && socket.name() == open.socket.name());
            if !keep {
                open.stop.cancel();
                tracing::info!(listener = %open.socket.name(), "closed");
            }
            keep
        });
        for socket in sockets {
            let known = |open: &Open| open.socket.same_socket(&socket) && open.socket.name() == socket.name();
            if self.open.iter().any(known) {
                continue;
            }
            if let Ok(address) = socket.local_addr() {
                tracing::info!(listener = %socket.name(), %address, "listening");
            }
            let stop = CancellationToken::new();
            tokio::spawn(accept(Arc::clone(gateway), socket.clone(), stop.clone()));
            self.open.push(Open { socket, stop });
        }
    }

    /// Where each listener really is: name and bound address.
    pub fn bound(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.open.iter().filter_map(|open| Some((&**open.socket.name(), open.socket.local_addr().ok()?)))
    }
}
