//! A conversation with a mail server that is being looked at: it waits so long and no longer, and what it hears
//! instead of a reply (nothing, an end, nonsense) is an answer as well. It judges nothing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::mail::TlsFacts;
use crate::net::stream::Stream;
use crate::net::tls::{Certificate, Connector};
use crate::smtp::{Offer, Reply, ReplyParser};

/// Octets of answers not yet read.
const INPUT_BYTES_MAX: usize = 64 * 1_024;

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cipher {
    /// With STARTTLS, where it is offered.
    Offered,
    /// With the connection.
    Implicit,
    Never,
}

/// Whom to talk to, and how.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) port: u16,
    pub(super) cipher: Cipher,
    pub(super) connector: Connector,
    pub(super) hello: String,
    /// For a connection, a handshake, an answer.
    pub(super) wait: Duration,
}

/// What came when an answer was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    Reply(Reply),
    Silence,
    Closed,
    Nonsense(String),
}

impl Heard {
    pub(super) fn class(&self) -> u8 {
        match self {
            Heard::Reply(reply) => reply.class(),
            _ => 0,
        }
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Heard::Reply(reply) => write!(f, "{reply}"),
            Heard::Silence => f.write_str("no answer"),
            Heard::Closed => f.write_str("the connection was closed"),
            Heard::Nonsense(why) => f.write_str(why),
        }
    }
}

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stopped {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("{during}: {heard}")]
    Said { during: &'static str, heard: Heard },
}

/// A connection that has been greeted.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) talk: Talk,
    pub(super) banner: Reply,
    pub(super) banner_wait: Duration,
    /// What it offers in clear, where TLS came after.
    pub(super) before_tls: Option<Offer>,
    pub(super) offer: Offer,
    pub(super) tls: Option<(TlsFacts, Certificate)>,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

#[derive(Debug)]
pub(super) struct Talk {
    stream: Stream,
    parser: ReplyParser,
    input: Vec<u8>,
    wait: Duration,
}

impl Target {
    /// Connects, and gets to the point where mail can be spoken of.
    pub(super) async fn open(&self) -> Result<Opened, Stopped> {
        let stream = self.connect().await?;
        let ends = stream.peer_addr().and_then(|peer| Ok((peer, stream.local_addr()?)));
        let (peer, local) = ends.map_err(Stopped::Connect)?;
        let mut talk = Talk { stream, parser: ReplyParser::new(), input: Vec::new(), wait: self.wait };
        let mut tls = None;
        if self.cipher == Cipher::Implicit {
            tls = Some(talk.encrypt(&self.connector).await?);
        }
        let began = Instant::now();
        let banner = talk.reply().await;
        let banner_wait = began.elapsed();
        let Heard::Reply(banner) = banner else { return Err(Stopped::Said { during: "the banner", heard: banner }) };
        if banner.code != 220 {
            return Err(Stopped::Said { during: "the banner", heard: Heard::Reply(banner) });
        }
        let mut offer = talk.hello(&self.hello).await?;
        let mut before_tls = None;
        if self.cipher == Cipher::Offered && offer.start_tls {
            match talk.say("STARTTLS").await {
                Heard::Reply(reply) if reply.code == 220 => {}
                heard => return Err(Stopped::Tls(format!("STARTTLS is offered, and answered with: {heard}"))),
            }
            if !talk.input.is_empty() {
                return Err(Stopped::Tls("octets in clear behind the answer to STARTTLS".to_owned()));
            }
            tls = Some(talk.encrypt(&self.connector).await?);
            before_tls = Some(std::mem::replace(&mut offer, talk.hello(&self.hello).await?));
        }
        Ok(Opened { talk, banner, banner_wait, before_tls, offer, tls, peer, local })
    }

    async fn connect(&self) -> Result<Stream, Stopped> {
        let mut failure = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        for address in &self.addresses {
            let tcp = timeout(self.wait, TcpStream::connect((*address, self.port))).await;
            match tcp.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
                Ok(tcp) => {
                    tcp.set_nodelay(true).map_err(Stopped::Connect)?;
                    return Ok(Stream::from(tcp));
                }
                Err(error) => failure = error,
            }
        }
        Err(Stopped::Connect(failure))
    }
}

impl Talk {
    async fn encrypt(&mut self, connector: &Connector) -> Result<(TlsFacts, Certificate), Stopped> {
        let facts = timeout(self.wait, self.stream.start_tls_client(connector))
            .await
            .map_err(|_| Stopped::Tls("the handshake took too long".to_owned()))?
            .map_err(|error| Stopped::Tls(error.to_string()))?;
        Ok((facts, self.stream.server_certificate().unwrap_or_default()))
    }

    /// EHLO; HELO where that is all it knows.
    pub(super) async fn hello(&mut self, name: &str) -> Result<Offer, Stopped> {
        match self.say(&format!("EHLO {name}")).await {
            Heard::Reply(reply) if reply.code == 250 => return Ok(Offer::parse(&reply)),
            Heard::Reply(reply) if reply.class() == 5 => {}
            heard => return Err(Stopped::Said { during: "EHLO", heard }),
        }
        match self.say(&format!("HELO {name}")).await {
            Heard::Reply(reply) if reply.code == 250 => Ok(Offer::default()),
            heard => Err(Stopped::Said { during: "HELO", heard }),
        }
    }

    /// A command, and the answer to it.
    pub(super) async fn say(&mut self, line: &str) -> Heard {
        self.send(format!("{line}\r\n").as_bytes()).await;
        self.reply().await
    }

    /// Octets as they are. That the other side is gone shows when its answer is read.
    pub(super) async fn send(&mut self, octets: &[u8]) {
        let write = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        let _: Result<std::io::Result<()>, _> = timeout(self.wait, write).await;
    }

    pub(super) async fn reply(&mut self) -> Heard {
        self.reply_within(self.wait).await
    }

    pub(super) async fn reply_within(&mut self, wait: Duration) -> Heard {
        let until = Instant::now() + wait;
        loop {
            match self.parser.feed(&self.input) {
                Ok((used, parsed)) => {
                    self.input.drain(..used);
                    if let Some(parsed) = parsed {
                        return Heard::Reply(parsed.reply);
                    }
                }
                Err(error) => return Heard::Nonsense(error.to_string()),
            }
            match tokio::time::timeout_at(until, self.stream.read_more(&mut self.input, INPUT_BYTES_MAX)).await {
                Err(_) => return Heard::Silence,
                Ok(Ok(0) | Err(_)) => return Heard::Closed,
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Says QUIT and does not insist on an answer.
    pub(super) async fn quit(mut self) {
        self.say("QUIT").await;
    }
}
