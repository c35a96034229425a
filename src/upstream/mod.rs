//! Floor 6: the SMTP client towards the mail server behind us.
//!
//! One connection serves one client's session. It is told who the client is before it hears anything of the
//! client's; its answers to MAIL, RCPT, DATA and the final dot are the client's answers; everything else it may
//! say or not say comes out as an [`UpstreamError`], which knows what the client is told (again later) and whether
//! the operator has to hear of it. Nothing here retries a message, keeps one, or sends a dot of its own.

mod connection;
mod error;
mod identify;
mod judge;
mod shared;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tests;
mod wait;
mod wire;

use std::sync::{Arc, Mutex};

pub use connection::Connection;
pub use error::UpstreamError;
pub use judge::judge;
pub use wait::Wait;

use crate::config::{Timeouts, Upstream as Settings, UpstreamTls};
use crate::mail::SessionFacts;
use crate::net::dial::Dial;
use crate::net::dns::Resolver;
use crate::net::tls::{Connector, Expect, TlsError};
use crate::smtp::Offer;
use shared::Shared;

/// The upstream as it is configured. Cheap to clone; replaced at reload.
#[derive(Debug, Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

impl Upstream {
    /// `hostname` is what we call ourselves in EHLO.
    ///
    /// # Errors
    /// When TLS is demanded and its name or CA file cannot be used.
    pub fn new(
        settings: &Settings,
        hostname: &str,
        timeouts: &Timeouts,
        resolver: Resolver,
        dialer: Arc<dyn Dial>,
    ) -> Result<Self, TlsError> {
        let connector = match &settings.tls {
            UpstreamTls::Off => None,
            UpstreamTls::Opportunistic => Some(Connector::new(&Expect::Any { host: &settings.host })?),
            UpstreamTls::Verify { name, ca_file } => {
                Some(Connector::new(&Expect::Verified { name, ca_file: ca_file.as_deref() })?)
            }
        };
        let shared = Shared {
            settings: settings.clone(),
            hostname: hostname.to_owned(),
            timeouts: timeouts.clone(),
            name: format!("{}:{}", settings.host, settings.port),
            resolver,
            dialer,
            connector,
            offers: Mutex::default(),
        };
        Ok(Upstream { shared: Arc::new(shared) })
    }

    /// A new connection that knows who the client is.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn connect(&self, who: &SessionFacts) -> Result<Connection, UpstreamError> {
        let mut connection = self.open().await?;
        connection.identify(who).await?;
        Ok(connection)
    }

    /// A new connection that does not know yet who the client is: good for its [`offer`](Connection::offer), and for
    /// everything else once [`Connection::identify`] has been through. A client that will log in is better
    /// identified after that: most upstreams can be told only once a connection.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn open(&self) -> Result<Connection, UpstreamError> {
        // Boxed: rare, and larger than a session that waits for its client.
        Box::pin(Shared::open(&self.shared)).await.map_err(|error| error.announced(&self.shared.name))
    }

    /// The last answer to EHLO, however old: what an upstream that is away for now will most likely offer.
    #[must_use]
    pub fn last_offer(&self) -> Option<Arc<Offer>> {
        self.shared.last_offer().map(|(_, offer)| offer)
    }

    /// How long ago it last answered EHLO as it should.
    #[must_use]
    pub fn last_seen(&self) -> Option<std::time::Duration> {
        self.shared.last_offer().map(|(when, _)| when.elapsed())
    }

    /// The last answer to EHLO if it is younger than `extensions-ttl`; never with the default of zero.
    #[must_use]
    pub fn fresh_offer(&self) -> Option<Arc<Offer>> {
        let ttl = self.shared.settings.extensions_ttl;
        self.shared.last_offer().filter(|(when, _)| !ttl.is_zero() && when.elapsed() < ttl).map(|(_, offer)| offer)
    }
}
