//! Replaying a dialog against the gateway: as written, one octet a packet, and whole groups in one packet.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use wasmilter::config;
use wasmilter::net::stream::Stream;
use wasmilter::net::tls::{Connector, Expect};
use wasmilter::report::Metrics;
use wasmilter::server::{Gateway, Generation};

use super::script::{Event, Script};
use super::upstream::{Heard, Manners, Order, Upstream};

/// Far longer than anything here takes: a dialog that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    AsWritten,
    OctetByOctet,
    OnePacket,
}

/// What the configurations of the dialogs may name.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub filters: String,
    pub puppet: String,
    pub scratch: String,
    pub certificate: String,
    pub key: String,
    pub configs: String,
}

/// How content must end upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Dot,
    /// Without one.
    Cut,
}

#[derive(Debug)]
struct Stage {
    client: Option<Stream>,
    input: Vec<u8>,
    upstream: Upstream,
    gateway: Arc<Gateway>,
    /// The last `P:` ended in `…`: folded lines behind it belong to it.
    folds: bool,
}

pub(crate) async fn replay(script: &Script, how: How, around: &Surroundings) -> Result<(), String> {
    let mut stage = set_up(script, around).await?;
    let groups = groups(script, how);
    for group in groups {
        for (number, event) in group {
            stage.play(event, how).await.map_err(|why| format!("line {number} ({how:?}): {why}"))?;
        }
    }
    stage.end().await.map_err(|why| format!("at the end ({how:?}): {why}"))
}

async fn set_up(script: &Script, around: &Surroundings) -> Result<Stage, String> {
    let ehlo = (!script.handshake).then(|| script.ehlo_answer());
    let upstream = Upstream::start(Manners { ehlo }).await;
    let path = Path::new(&around.configs).join(format!("{}.toml", script.config));
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = text + &script.puppet_section();
    let address = upstream.address.to_string();
    let environment = |name: &str| match name {
        "UPSTREAM" => Some(address.clone()),
        "FILTERS" => Some(around.filters.clone()),
        "PUPPET" => Some(around.puppet.clone()),
        "SCRATCH" => Some(around.scratch.clone()),
        "CERTIFICATE" => Some(around.certificate.clone()),
        "KEY" => Some(around.key.clone()),
        "CONFIGS" => Some(around.configs.clone()),
        _ => None,
    };
    let config = config::parse(&text, &path.display().to_string(), &environment).map_err(|e| e.to_string())?;
    let listener = script.listener.clone().unwrap_or_else(|| config.listeners[0].name.clone());
    let generation = Generation::build(config, None).map_err(|error| format!("{error:#}"))?;
    let gateway = Gateway::new(generation, Metrics::install().map_err(|error| error.to_string())?);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    let (accepted, _) = socket.accept().await.unwrap();
    let peer = SocketAddr::new(script.client.parse().map_err(|_| "bad client address")?, 4_321);
    gateway.welcome(&Arc::from(listener.as_str()), Stream::from(accepted), peer);
    Ok(Stage { client: Some(Stream::from(client)), input: Vec::new(), upstream, gateway, folds: false })
}

/// For one packet: everything up to a command that must be the last of its group (RFC 2920 3.1) is sent at once,
/// then the upstream has its say, then our replies are read.
fn groups(script: &Script, how: How) -> Vec<Vec<(usize, Event)>> {
    if how != How::OnePacket {
        return vec![script.events.clone()];
    }
    let mut groups: Vec<Vec<(usize, Event)>> = vec![Vec::new()];
    let (mut ended, mut in_data) = (true, false);
    for (number, event) in &script.events {
        let starts = matches!(event, Event::Client(_) | Event::ClientTls | Event::ClientReset | Event::ClientHalfClose);
        if starts && ended {
            groups.push(Vec::new());
            ended = false;
        }
        if let Event::Client(octets) = event {
            ended = if in_data { octets.ends_with(b".\r\n") && octets.len() == 3 } else { ends_group(octets) };
            in_data = if in_data { !ended } else { verb(octets) == "DATA" };
        } else if starts {
            ended = true;
        }
        groups.last_mut().unwrap().push((*number, event.clone()));
    }
    groups.into_iter().map(reorder).collect()
}

fn reorder(group: Vec<(usize, Event)>) -> Vec<(usize, Event)> {
    let is_client = |event: &Event| matches!(event, Event::Client(_));
    let is_server = |event: &Event| matches!(event, Event::Server(_) | Event::ServerCloses);
    let packet: Vec<u8> = group
        .iter()
        .filter_map(|(_, e)| if let Event::Client(octets) = e { Some(octets.clone()) } else { None })
        .flatten()
        .collect();
    let number = group.first().map_or(0, |(number, _)| *number);
    let mut out = Vec::new();
    if !packet.is_empty() {
        out.push((number, Event::Client(packet)));
    }
    out.extend(group.iter().filter(|(_, e)| !is_client(e) && !is_server(e)).cloned());
    out.extend(group.iter().filter(|(_, e)| is_server(e)).cloned());
    out
}

fn verb(octets: &[u8]) -> String {
    let word = octets.split(|octet| matches!(octet, b' ' | b'\r' | b'\n')).next().unwrap_or_default();
    String::from_utf8_lossy(word).to_ascii_uppercase()
}

/// Anything but MAIL, RCPT, RSET and a chunk that is not the last waits for its answer.
fn ends_group(octets: &[u8]) -> bool {
    let line = octets.split(|octet| *octet == b'\r').next().unwrap_or_default();
    match verb(octets).as_str() {
        "MAIL" | "RCPT" | "RSET" => false,
        "BDAT" => line.to_ascii_uppercase().ends_with(b" LAST"),
        _ => true,
    }
}

impl Stage {
    async fn play(&mut self, event: Event, how: How) -> Result<(), String> {
        match event {
            Event::Client(octets) => self.send(&octets, how).await,
            Event::ClientTls => self.handshake().await,
            Event::ClientReset => {
                if let Some(Ok(stream)) = self.client.as_ref().map(Stream::tcp) {
                    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
                }
                self.client = None;
                Ok(())
            }
            Event::ClientHalfClose => {
                let client = self.client.as_mut().ok_or("the client is gone")?;
                client.shutdown().await.map_err(|error| error.to_string())
            }
            Event::Server(patterns) => self.expect_reply(&patterns).await,
            Event::ServerCloses => self.expect_close().await,
            Event::Upstream(pattern) => self.expect_upstream(&pattern).await,
            Event::UpstreamRaw(octets) => self.expect_octets(&octets).await,
            Event::UpstreamCut => self.expect_content(Ending::Cut).await,
            Event::UpstreamMessage => self.expect_content(Ending::Dot).await,
            Event::UpstreamSays(octets) => self.order(Order::Say(octets)),
            Event::UpstreamCloses => self.order(Order::Close),
            Event::UpstreamResets => self.order(Order::Reset),
            Event::UpstreamGone => self.order(Order::Gone),
            Event::UpstreamBack => self.order(Order::Back),
            Event::Grouped(event) if how == How::OnePacket => Box::pin(self.play(*event, how)).await,
            Event::Grouped(_) => Ok(()),
        }
    }

    fn order(&self, order: Order) -> Result<(), String> {
        self.upstream.orders.try_send(order).map_err(|_| "the upstream has ended".into())
    }

    async fn send(&mut self, octets: &[u8], how: How) -> Result<(), String> {
        let client = self.client.as_mut().ok_or("the client is gone")?;
        // A session that was ended by us may refuse what is still to be sent; the next expectation tells.
        if how == How::OctetByOctet {
            for octet in octets {
                if client.write_all(&[*octet]).await.is_err() || client.flush().await.is_err() {
                    break;
                }
            }
        } else if client.write_all(octets).await.is_ok() {
            let _ = client.flush().await;
        }
        Ok(())
    }

    async fn handshake(&mut self) -> Result<(), String> {
        let client = self.client.as_mut().ok_or("the client is gone")?;
        let connector = Connector::new(&Expect::Any { host: "mx.example.org" }).map_err(|error| error.to_string())?;
        let handshake = timeout(PATIENCE, client.start_tls_client(&connector)).await.map_err(|_| "no handshake")?;
        handshake.map(drop).map_err(|error| error.to_string())
    }

    async fn expect_reply(&mut self, patterns: &[String]) -> Result<(), String> {
        let mut patterns = patterns.iter();
        let mut open = false;
        loop {
            let line = self.reply_line().await?;
            let text = String::from_utf8_lossy(&line).into_owned();
            if !open {
                let pattern = patterns.next().ok_or_else(|| format!("one line too many: {text}"))?;
                if !matches(pattern, &text) {
                    return Err(format!("expected S: {pattern}\n  but heard   {text}"));
                }
                open = pattern.ends_with('…');
            }
            if text.as_bytes().get(3) != Some(&b'-') {
                return match patterns.next() {
                    Some(pattern) if !open => Err(format!("the reply ended before S: {pattern}")),
                    _ => Ok(()),
                };
            }
        }
    }

    async fn reply_line(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.input[..end].to_vec();
                self.input.drain(..end + 2);
                return Ok(line);
            }
            let client = self.client.as_mut().ok_or("the client is gone")?;
            let mut buffer = [0; 4_096];
            let read = timeout(PATIENCE, client.read(&mut buffer)).await.map_err(|_| "no reply came")?;
            match read {
                Ok(0) => return Err(format!("the connection closed after {:?}", String::from_utf8_lossy(&self.input))),
                Ok(read) => self.input.extend_from_slice(&buffer[..read]),
                Err(error) => return Err(format!("the connection broke: {error}")),
            }
        }
    }

    async fn expect_close(&mut self) -> Result<(), String> {
        let client = self.client.as_mut().ok_or("the client is gone")?;
        let mut rest = std::mem::take(&mut self.input);
        match timeout(PATIENCE, client.read_to_end(&mut rest)).await {
            Err(_) => Err("still open".into()),
            Ok(_) if rest.is_empty() => Ok(()),
            Ok(_) => Err(format!("more was said: {:?}", String::from_utf8_lossy(&rest))),
        }
    }

    async fn expect_upstream(&mut self, pattern: &str) -> Result<(), String> {
        loop {
            let heard = timeout(PATIENCE, self.upstream.heard.recv()).await;
            match heard.map_err(|_| format!("the upstream never heard {pattern}"))?.ok_or("the upstream has ended")? {
                Heard::Opened | Heard::Closed => {}
                Heard::Line(line) => {
                    let Some(line) = line.strip_suffix(b"\r\n") else {
                        return Err(format!("a line without CRLF went upstream: {:?}", String::from_utf8_lossy(&line)));
                    };
                    let text = String::from_utf8_lossy(line).into_owned();
                    if self.folds && text.starts_with([' ', '\t']) && !pattern.starts_with([' ', '\t']) {
                        continue;
                    }
                    self.folds = pattern.ends_with('…');
                    let said = matches(pattern, &text);
                    return if said { Ok(()) } else { Err(format!("expected P: {pattern}\n  but heard   {text}")) };
                }
            }
        }
    }

    async fn expect_octets(&mut self, octets: &[u8]) -> Result<(), String> {
        loop {
            let heard = timeout(PATIENCE, self.upstream.heard.recv()).await;
            match heard.map_err(|_| "the upstream never heard the octets")?.ok_or("the upstream has ended")? {
                Heard::Opened | Heard::Closed => {}
                Heard::Line(line) if line == octets => return Ok(()),
                Heard::Line(line) => {
                    return Err(format!(
                        "expected P~ {}\n  but heard   {}",
                        octets.escape_ascii(),
                        line.escape_ascii()
                    ));
                }
            }
        }
    }

    async fn expect_content(&mut self, ending: Ending) -> Result<(), String> {
        loop {
            let heard = timeout(PATIENCE, self.upstream.heard.recv()).await;
            match heard.map_err(|_| "the message does not end")?.ok_or("the upstream has ended")? {
                Heard::Opened => {}
                Heard::Closed if ending == Ending::Cut => return Ok(()),
                Heard::Closed => return Err("the message was cut".into()),
                Heard::Line(line) if line == b".\r\n" && ending == Ending::Dot => return Ok(()),
                Heard::Line(line) if line.trim_ascii_end() == b"." => return Err("a dot went upstream".into()),
                Heard::Line(_) => {}
            }
        }
    }

    /// Silence is asserted: what the upstream heard and the dialog does not say is a failure.
    async fn end(mut self) -> Result<(), String> {
        drop(self.client.take());
        self.gateway.shutdown.begin();
        self.gateway.shutdown.finish(PATIENCE, PATIENCE).await;
        drop(self.upstream.orders);
        while let Some(heard) = self.upstream.heard.recv().await {
            if let Heard::Line(line) = heard
                && !(self.folds && line.starts_with(b"\t"))
            {
                return Err(format!("the upstream also heard {:?}", String::from_utf8_lossy(&line)));
            }
        }
        Ok(())
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('…') {
        Some(start) => text.starts_with(start.trim_end()),
        None => text == pattern,
    }
}
