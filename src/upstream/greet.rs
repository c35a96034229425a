//! One conversation's beginning: address, connection, banner, EHLO, TLS.
//!
//! Refuses to go on in clear where TLS that verifies is demanded, and to read one octet as encrypted that came
//! in clear.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::connection::Connection;
use super::error::UpstreamError;
use super::judge::judge;
use super::servers;
use super::shared::Shared;
use super::wait::Wait;
use super::wire::Wire;
use crate::config::{Server, UpstreamTls};
use crate::net::stream::Stream;
use crate::net::tls::Connector;
use crate::smtp::{Offer, Reply};

/// Whether STARTTLS is used where it is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cipher {
    AsConfigured,
    Never,
}

impl Shared {
    /// Where TLS is only preferred and its handshake fails,
    /// another connection is made and goes on in clear: an upstream with a broken certificate still gets its mail.
    pub(super) async fn open_at(shared: &Arc<Self>, server: &Arc<Server>) -> Result<Connection, UpstreamError> {
        let opened = match shared.greet(server, Cipher::AsConfigured).await {
            Err(error @ (UpstreamError::Tls(_) | UpstreamError::Timeout(Wait::Handshake)))
                if shared.settings.tls == UpstreamTls::Opportunistic =>
            {
                tracing::warn!(upstream = %shared.settings.name, server = servers::shown(server), %error, "going on in clear");
                shared.greet(server, Cipher::Never).await
            }
            opened => opened,
        };
        let (wire, offer) = opened?;
        let offer = shared.remember(offer);
        Connection::new(shared.clone(), server.clone(), wire, offer)
    }

    async fn greet(&self, server: &Server, cipher: Cipher) -> Result<(Wire, Offer), UpstreamError> {
        let mut wire = Wire::new(self.dial(server).await?);
        self.hear(&mut wire, Wait::Greeting).await?;
        let offer = self.hello(&mut wire).await?;
        let Some(connector) = self.connector.as_ref().filter(|_| cipher == Cipher::AsConfigured) else {
            return Ok((wire, offer));
        };
        let demanded = matches!(self.settings.tls, UpstreamTls::Verify { .. });
        if !offer.start_tls {
            if demanded {
                return Err(UpstreamError::Tls("the upstream does not offer STARTTLS".to_owned()));
            }
            return Ok((wire, offer));
        }
        match self.ask(&mut wire, b"STARTTLS\r\n", Wait::StartTls).await {
            Ok(_) => {}
            // Offered and then refused: where TLS is only preferred, the conversation goes on without.
            Err(UpstreamError::Refused { .. }) if !demanded => return Ok((wire, offer)),
            Err(error) => return Err(error),
        }
        // What came in clear behind the 220 must not be read as if it had come encrypted.
        wire.expect_silence(Wait::StartTls)?;
        let connector = self.connector_for(connector, server)?;
        timeout(Wait::Handshake.limit(&self.timeouts), wire.stream.start_tls_client(&connector))
            .await
            .map_err(|_| UpstreamError::Timeout(Wait::Handshake))?
            .map_err(|error| UpstreamError::Tls(error.to_string()))?;
        // Nothing said before counts any more (RFC 3207 4.2).
        let offer = self.hello(&mut wire).await?;
        Ok((wire, offer))
    }

    /// The name in the certificate is the configured one, else the server's own.
    fn connector_for(&self, connector: &Connector, server: &Server) -> Result<Connector, UpstreamError> {
        match &self.settings.tls {
            UpstreamTls::Verify { name: Some(_), .. } => Ok(connector.clone()),
            _ => connector.named(&server.host).map_err(|error| UpstreamError::Tls(error.to_string())),
        }
    }

    /// All addresses in turn; each gets its share of what is left of the wait.
    async fn dial(&self, server: &Server) -> Result<Stream, UpstreamError> {
        let until = Instant::now() + Wait::Connect.limit(&self.timeouts);
        let addresses = timeout_at(until, self.resolver.addresses(&server.host))
            .await
            .map_err(|_| UpstreamError::Timeout(Wait::Connect))??;
        let mut failure = UpstreamError::Timeout(Wait::Connect);
        let mut left = u32::try_from(addresses.len()).unwrap_or(1);
        for address in addresses {
            let share: Duration = until.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            let address = SocketAddr::new(address, server.port);
            match timeout(share, self.dialer.dial(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = UpstreamError::Connect(error),
                Err(_) => failure = UpstreamError::Timeout(Wait::Connect),
            }
        }
        Err(failure)
    }

    /// EHLO, and HELO where that is all the upstream knows: it then offers nothing.
    async fn hello(&self, wire: &mut Wire) -> Result<Offer, UpstreamError> {
        let line = format!("EHLO {}\r\n", self.hostname);
        match self.ask(wire, line.as_bytes(), Wait::Hello).await {
            Ok(reply) => Ok(Offer::parse(&reply)),
            Err(UpstreamError::Refused { reply, .. }) if reply.class() == 5 => {
                let line = format!("HELO {}\r\n", self.hostname);
                self.ask(wire, line.as_bytes(), Wait::Hello).await?;
                Ok(Offer::default())
            }
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, wire: &mut Wire, line: &[u8], wait: Wait) -> Result<Reply, UpstreamError> {
        wire.expect_silence(wait)?;
        wire.send(line, wait, Wait::Write.limit(&self.timeouts)).await?;
        self.hear(wire, wait).await
    }

    async fn hear(&self, wire: &mut Wire, wait: Wait) -> Result<Reply, UpstreamError> {
        judge(wait, wire.reply(wait, wait.limit(&self.timeouts)).await?)
    }
}
