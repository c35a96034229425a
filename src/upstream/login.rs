//! A client's login, said on to the server: in a connection of its own, which knows who the client is, carries nothing
//! else and ends with the login.
//!
//! It refuses to say anything of the kind where somebody could listen, and to take for a verdict on the client what the
//! server says of the command or of the gateway.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::{Instant, timeout, timeout_at};

use super::Upstream;
use super::connection::{Connection, Due};
use super::error::UpstreamError;
use super::greet::LogsIn;
use super::shared::Shared;
use super::wait::Wait;
use crate::mail::SessionFacts;
use crate::smtp::Reply;
use crate::smtp::sasl::{Name, Secret};

/// With CRLF (RFC 5321 4.5.3.1.4). A longer first message is said after the server's empty challenge (RFC 4954 4).
const COMMAND_LINE_OCTETS_MAX: usize = 512;

/// What the server says to a message of the client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Challenge(Vec<u8>),
    Good,
    Bad,
}

/// A connection for one login.
#[derive(Debug)]
pub struct Login {
    connection: Connection,
}

impl Upstream {
    /// A connection in which this client can log in. It takes none of the places of `connections`: sessions hold those
    /// while they wait for their login.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn for_login(&self, who: &SessionFacts) -> Result<Login, UpstreamError> {
        // Whatever the client said: who does not say EHLO is not offered AUTH.
        let mut who = who.clone();
        who.auth = None;
        if let Some(hello) = &mut who.hello {
            hello.extended = true;
        }
        let connection = Box::pin(Shared::open_for_login(&self.shared, &who)).await?;
        if !connection.wire.is_private() {
            let why = "there is none, and clients' logins are not said in clear to another machine";
            return Err(UpstreamError::Tls(why.to_owned()).announced(self.name()));
        }
        Ok(Login { connection })
    }
}

impl Shared {
    /// Servers in their order, as for mail, but nothing from the pool: there the gateway may have logged in itself.
    async fn open_for_login(shared: &Arc<Self>, who: &SessionFacts) -> Result<Connection, UpstreamError> {
        let until = Instant::now() + Wait::Connect.limit(&shared.timeouts);
        let servers =
            timeout_at(until, shared.servers()).await.map_err(|_| UpstreamError::Timeout(Wait::Connect))??;
        let mut failure = UpstreamError::Timeout(Wait::Connect);
        let mut left = u32::try_from(servers.len()).unwrap_or(u32::MAX);
        for server in &servers {
            let share = until.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            let attempt = Self::open_at(shared, server, Some(who), LogsIn::Client);
            let opened = timeout(share, attempt).await.unwrap_or(Err(UpstreamError::Timeout(Wait::Connect)));
            shared.learn(server, opened.as_ref().err());
            failure = match opened {
                Err(error) => error.announced(&shared.settings.name),
                Ok(mut connection) => match connection.identify(who).await {
                    Ok(()) => return Ok(connection),
                    Err(error) if error.is_the_clients() => return Err(error),
                    Err(error) => error,
                },
            };
        }
        Err(failure)
    }
}

impl Login {
    /// Whether the server offers this client that mechanism.
    #[must_use]
    pub fn offers(&self, mechanism: Name) -> bool {
        self.connection.offer.auth.iter().any(|offered| offered == mechanism.as_str())
    }

    /// AUTH, with the client's first message if it came already.
    ///
    /// # Errors
    /// Whatever is no verdict; the connection is of no use then.
    pub async fn begin(&mut self, mechanism: Name, initial: Option<&Secret>) -> Result<Said, UpstreamError> {
        let with_it = initial.map(|message| {
            let message = if message.reveal().is_empty() { "=".to_owned() } else { STANDARD.encode(message.reveal()) };
            Secret::new(format!("AUTH {mechanism} {message}\r\n").into_bytes())
        });
        let short = |line: &Secret| line.reveal().len() <= COMMAND_LINE_OCTETS_MAX;
        match (initial, with_it) {
            (Some(_), Some(line)) if short(&line) => self.say(&line).await,
            (initial, _) => {
                let said = self.say(&Secret::new(format!("AUTH {mechanism}\r\n").into_bytes())).await?;
                match (initial, &said) {
                    (Some(message), Said::Challenge(challenge)) if challenge.is_empty() => self.go_on(message).await,
                    (Some(_), Said::Challenge(_)) => {
                        Err(UpstreamError::protocol(Wait::Login, "it speaks first where the client does"))
                    }
                    _ => Ok(said),
                }
            }
        }
    }

    /// The client's next message.
    ///
    /// # Errors
    /// As with [`begin`](Self::begin).
    pub async fn go_on(&mut self, message: &Secret) -> Result<Said, UpstreamError> {
        let line = Secret::new(format!("{}\r\n", STANDARD.encode(message.reveal())).into_bytes());
        self.say(&line).await
    }

    /// QUIT, whatever came of it.
    pub async fn leave(self) {
        self.connection.quit().await;
    }

    async fn say(&mut self, line: &Secret) -> Result<Said, UpstreamError> {
        match self.connection.exchange(line.reveal(), Wait::Login).await {
            Ok(reply) if reply.code == 235 => Ok(Said::Good),
            Ok(reply) => challenge(&reply),
            // Not an alarm: a client could ring that bell.
            Err(UpstreamError::Refused { during: Wait::Login, reply }) if is_verdict(reply.code) => {
                // An answer like any other: it is our turn again.
                self.connection.due = Due::Nothing;
                Ok(Said::Bad)
            }
            Err(error) => Err(error),
        }
    }
}

/// A no to these credentials. The others speak of the command, or of the gateway and its connection (RFC 4954 4 and 6,
/// RFC 3207 4), and 4xx of a server that cannot tell for now.
const fn is_verdict(code: u16) -> bool {
    matches!(code, 500..=599) && !matches!(code, 500 | 502 | 503 | 504 | 530 | 538)
}

fn challenge(reply: &Reply) -> Result<Said, UpstreamError> {
    let octets = STANDARD.decode(reply.text.trim_end().as_bytes());
    octets.map(Said::Challenge).map_err(|_| UpstreamError::protocol(Wait::Login, "its challenge is no base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_the_command_or_about_us_is_no_verdict() {
        for code in [501, 534, 535, 550, 554, 599] {
            assert!(is_verdict(code), "{code}");
        }
        for code in [235, 334, 421, 432, 450, 454, 500, 502, 503, 504, 530, 538, 600] {
            assert!(!is_verdict(code), "{code}");
        }
    }
}
