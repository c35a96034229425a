//! One conversation's beginning: address, connection, banner, EHLO, TLS.
//!
//! Refuses to go on in clear where TLS that verifies is demanded, and to read one octet as encrypted that came
//! in clear.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::Connection;
use super::error::UpstreamError;
use super::judge::judge;
use super::proxy;
use super::servers;
use super::shared::Shared;
use super::wait::Wait;
use super::wire::Wire;
use crate::config::{Believed, ProxyVersion, Server, TlsBegin, UpstreamProtocol, UpstreamTls};
use crate::mail::SessionFacts;
use crate::net::stream::Stream;
use crate::net::tls::Connector;
use crate::smtp::{Offer, Reply};

/// In whose name somebody logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogsIn {
    /// In the gateway's, where that is configured.
    Gateway,
    /// Later, in the client's.
    Client,
}

/// Whether STARTTLS is used where it is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cipher {
    AsConfigured,
    Never,
}

impl Shared {
    /// A new connection to this server. Where TLS is only preferred and its handshake fails, another connection is made and goes on in clear: an upstream with a broken certificate still gets its mail.
    /// `who` is told by the PROXY protocol, where that is the way.
    pub(super) async fn open_at(
        shared: &Arc<Self>,
        server: &Arc<Server>,
        who: Option<&SessionFacts>,
        logs_in: LogsIn,
    ) -> Result<Connection, UpstreamError> {
        let opened = match shared.greet(server, who, Cipher::AsConfigured).await {
            Err(error @ (UpstreamError::Tls(_) | UpstreamError::Timeout(Wait::Handshake)))
                if shared.settings.tls == UpstreamTls::Opportunistic =>
            {
                tracing::warn!(upstream = %shared.settings.name, server = servers::shown(server), %error, "going on in clear");
                shared.greet(server, who, Cipher::Never).await
            }
            opened => opened,
        };
        let (mut wire, offer) = opened?;
        if logs_in == LogsIn::Gateway {
            shared.log_in(&mut wire, &offer).await?;
        }
        let offer = shared.remember(offer);
        Connection::new(shared.clone(), server.clone(), wire, offer)
    }

    async fn greet(
        &self,
        server: &Server,
        who: Option<&SessionFacts>,
        cipher: Cipher,
    ) -> Result<(Wire, Offer), UpstreamError> {
        let mut wire = Wire::new(self.dial(server).await?);
        self.say_proxy(&mut wire, who).await?;
        let connector = self.connector.as_ref().filter(|_| cipher == Cipher::AsConfigured);
        let begin = match &self.settings.tls {
            UpstreamTls::Verify { begin, .. } => Some(*begin),
            UpstreamTls::Off | UpstreamTls::Opportunistic => None,
        };
        if let (Some(connector), Some(TlsBegin::Implicit)) = (connector, begin) {
            self.handshake(&mut wire, connector, server).await?;
            self.hear(&mut wire, Wait::Greeting).await?;
            let offer = self.hello(&mut wire).await?;
            return Ok((wire, offer));
        }
        self.hear(&mut wire, Wait::Greeting).await?;
        let offer = self.hello(&mut wire).await?;
        let Some(connector) = connector else { return Ok((wire, offer)) };
        let demanded = begin.is_some();
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
        self.handshake(&mut wire, connector, server).await?;
        // Nothing said before counts any more (RFC 3207 4.2).
        let offer = self.hello(&mut wire).await?;
        Ok((wire, offer))
    }

    async fn handshake(&self, wire: &mut Wire, connector: &Connector, server: &Server) -> Result<(), UpstreamError> {
        let connector = self.connector_for(connector, server)?;
        timeout(Wait::Handshake.limit(&self.timeouts), wire.stream.start_tls_client(&connector))
            .await
            .map_err(|_| UpstreamError::Timeout(Wait::Handshake))?
            .map(drop)
            .map_err(|error| UpstreamError::Tls(error.to_string()))
    }

    /// Before anything is read: the server waits for it.
    async fn say_proxy(&self, wire: &mut Wire, who: Option<&SessionFacts>) -> Result<(), UpstreamError> {
        let Some(version) = self.settings.proxy_protocol else { return Ok(()) };
        let ours = || wire.stream.local_addr().ok().zip(wire.stream.peer_addr().ok());
        let addresses = match (who, version) {
            (Some(who), _) => Some((who.peer, who.local)),
            (None, ProxyVersion::V1) => ours(),
            (None, ProxyVersion::V2) => None,
        };
        let header = proxy::header(version, addresses);
        wire.send(&header, Wait::Greeting, Wait::Write.limit(&self.timeouts)).await
    }

    /// AUTH in our own name, PLAIN or LOGIN: never where somebody could listen.
    async fn log_in(&self, wire: &mut Wire, offer: &Offer) -> Result<(), UpstreamError> {
        let Some((user, password)) = &self.login else { return Ok(()) };
        if !wire.is_private() {
            return Err(UpstreamError::Tls(
                "there is none, and the gateway's password is not said in clear".to_owned(),
            ));
        }
        let has = |mechanism: &str| offer.auth.iter().any(|offered| offered == mechanism);
        let lines = if has("PLAIN") {
            let plain = STANDARD.encode(format!("\0{user}\0{}", password.reveal()));
            vec![format!("AUTH PLAIN {plain}\r\n")]
        } else if has("LOGIN") {
            let word = |text: &str| format!("{}\r\n", STANDARD.encode(text));
            vec!["AUTH LOGIN\r\n".to_owned(), word(user), word(password.reveal())]
        } else {
            return Err(UpstreamError::NotIdentified("it offers neither AUTH PLAIN nor AUTH LOGIN"));
        };
        let (last, before) = lines.split_last().ok_or(UpstreamError::NotIdentified("no AUTH"))?;
        for line in before {
            if self.ask(wire, line.as_bytes(), Wait::Login).await?.code != 334 {
                return Err(UpstreamError::protocol(Wait::Login, "it does not ask for what AUTH LOGIN says"));
            }
        }
        match self.ask(wire, last.as_bytes(), Wait::Login).await?.code {
            235 => Ok(()),
            _ => Err(UpstreamError::protocol(Wait::Login, "it asks for more than AUTH says")),
        }
    }

    /// The name in the certificate is the configured one, else the server's own.
    fn connector_for(&self, connector: &Connector, server: &Server) -> Result<Connector, UpstreamError> {
        match &self.settings.tls {
            UpstreamTls::Verify { trust: Believed::Named { name: Some(_), .. }, .. } => Ok(connector.clone()),
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
        let line = self.hello_line();
        match self.ask(wire, line.as_bytes(), Wait::Hello).await {
            Ok(reply) => Ok(Offer::parse(&reply)),
            Err(UpstreamError::Refused { reply, .. })
                if reply.class() == 5 && self.settings.protocol == UpstreamProtocol::Smtp =>
            {
                let line = format!("HELO {}\r\n", self.hostname);
                self.ask(wire, line.as_bytes(), Wait::Hello).await?;
                Ok(Offer::default())
            }
            Err(error) => Err(error),
        }
    }

    /// The hello in our own name.
    pub(super) fn hello_line(&self) -> String {
        let verb = match self.settings.protocol {
            UpstreamProtocol::Smtp => "EHLO",
            UpstreamProtocol::Lmtp => "LHLO",
        };
        format!("{verb} {}\r\n", self.hostname)
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
