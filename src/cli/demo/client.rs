//! A mail client: connects, greets, encrypts, logs in, hands in. It does what it is told and judges nothing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::mail::Mail;
use crate::net::stream::Stream;
use crate::net::tls::{Connector, Expect};
use crate::smtp::body::Stuffer;
use crate::smtp::{Reply, ReplyParser};

/// For any one answer. Whoever needs longer has failed.
const ANSWER: Duration = Duration::from_secs(30);
/// Octets of answers not yet read.
const INPUT_BYTES_MAX: usize = 64 * 1_024;

/// A session with the gateway.
#[derive(Debug)]
pub(super) struct Client {
    stream: Stream,
    input: Vec<u8>,
}

impl Client {
    /// Connects, and says EHLO.
    pub(super) async fn plain(server: SocketAddr) -> anyhow::Result<Client> {
        Client::begin(Stream::from(TcpStream::connect(server).await?)).await
    }

    /// The same inside TLS.
    pub(super) async fn tls(server: SocketAddr) -> anyhow::Result<Client> {
        let mut stream = Stream::from(TcpStream::connect(server).await?);
        stream.start_tls_client(&connector()?).await?;
        Client::begin(stream).await
    }

    async fn begin(stream: Stream) -> anyhow::Result<Client> {
        stream.set_nodelay()?;
        let mut client = Client { stream, input: Vec::new() };
        client.reply().await?.expect(220)?;
        client.hello().await?;
        Ok(client)
    }

    /// STARTTLS, and EHLO again.
    pub(super) async fn start_tls(&mut self) -> anyhow::Result<()> {
        self.command("STARTTLS").await?.expect(220)?;
        self.stream.start_tls_client(&connector()?).await?;
        self.hello().await
    }

    /// AUTH PLAIN.
    pub(super) async fn log_in(&mut self, account: &str, password: &str) -> anyhow::Result<()> {
        let secret = BASE64.encode(format!("\0{account}\0{password}"));
        self.command(&format!("AUTH PLAIN {secret}")).await?.expect(235)
    }

    /// MAIL, RCPT, DATA and the message: the answer that decided about it.
    pub(super) async fn send(&mut self, mail: &Mail) -> anyhow::Result<Reply> {
        let envelope = [format!("MAIL FROM:<{}>", mail.sender), format!("RCPT TO:<{}>", mail.recipient)];
        for command in envelope {
            let reply = self.command(&command).await?;
            if reply.class() != 2 {
                return Ok(reply);
            }
        }
        let reply = self.command("DATA").await?;
        if reply.code != 354 {
            return Ok(reply);
        }
        let mut wire = Vec::new();
        let mut stuffer = Stuffer::new();
        stuffer.push(mail.message.as_bytes(), &mut wire);
        stuffer.finish(&mut wire);
        self.write(&wire).await?;
        self.reply().await
    }

    pub(super) async fn command(&mut self, line: &str) -> anyhow::Result<Reply> {
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await.with_context(|| format!("after {line}"))
    }

    async fn hello(&mut self) -> anyhow::Result<()> {
        self.command("EHLO client.world.test").await?.expect(250)
    }

    async fn write(&mut self, octets: &[u8]) -> anyhow::Result<()> {
        let write = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        Ok(timeout(ANSWER, write).await??)
    }

    async fn reply(&mut self) -> anyhow::Result<Reply> {
        let mut parser = ReplyParser::new();
        loop {
            let (used, parsed) = parser.feed(&self.input)?;
            self.input.drain(..used);
            if let Some(parsed) = parsed {
                return Ok(parsed.reply);
            }
            let read = timeout(ANSWER, self.stream.read_more(&mut self.input, INPUT_BYTES_MAX)).await;
            if read.context("the gateway did not answer in time")?? == 0 {
                bail!("the gateway closed the connection");
            }
        }
    }
}

/// What a scene needs to hear before it can go on.
pub(super) trait Expected {
    fn expect(self, code: u16) -> anyhow::Result<()>;
}

impl Expected for Reply {
    fn expect(self, code: u16) -> anyhow::Result<()> {
        if self.code != code {
            bail!("the gateway answered {} where {code} was expected", in_one_line(&self));
        }
        Ok(())
    }
}

/// A reply as a person reads it, without what is only of interest to machines (where a message was stored).
pub(super) fn in_one_line(reply: &Reply) -> String {
    let enhanced = reply.enhanced.map(|enhanced| format!("{enhanced} ")).unwrap_or_default();
    let text = reply.lines().collect::<Vec<_>>().join(" / ");
    let text = if reply.class() == 2 { text.split(':').next().unwrap_or_default() } else { &text };
    format!("{} {enhanced}{text}", reply.code)
}

/// The certificate is one that nobody vouches for.
fn connector() -> anyhow::Result<Connector> {
    Ok(Connector::new(&Expect::Any { host: "mx.example.test" })?)
}
