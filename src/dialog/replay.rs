//! Replaying a dialog against the gateway: as written, one octet a packet, and whole groups in one packet.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::{Failure, Why};
use super::groups::groups;
use super::script::{Event, How, Script};
use super::upstream::{Heard, Manners, Order, Upstream};
use crate::chain::Chain;
use crate::config::Config;
use crate::net::stream::Stream;
use crate::net::tls::{Connector, Expect};
use crate::report::Metrics;
use crate::server::{Environment, Gateway, Generation};

/// Lines that were said meanwhile.
const MEANWHILE_MAX: usize = 20;
/// Longer than any dialog.
const SEEN_FOR: Duration = Duration::from_secs(3_600);
/// The client's port, as filters see it.
const CLIENT_PORT: u16 = 4_321;

/// How long a dialog waits before it has failed.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For anything.
    pub answer: Duration,
    /// For one side, once the other side has heard something instead.
    pub otherwise: Duration,
}

/// Turns the clock of the filters on.
pub type TurnClock = Arc<dyn Fn(Duration) + Send + Sync>;

/// Does something with the filters before anybody connects.
pub type Prepare = Arc<dyn Fn(&Chain) -> Result<(), String> + Send + Sync>;

/// What a dialog is replayed against.
pub struct Setting {
    pub config: Config,
    pub environment: Environment,
    /// None: a dialog may not turn it.
    pub clock: Option<TurnClock>,
    pub prepare: Option<Prepare>,
    /// From there somebody has logged in elsewhere just before.
    pub seen: Option<IpAddr>,
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setting").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How content must end upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Dot,
    /// Without one.
    Cut,
}

struct Stage {
    client: Option<Stream>,
    input: Vec<u8>,
    upstream: Upstream,
    gateway: Arc<Gateway>,
    clock: Option<TurnClock>,
    patience: Patience,
    /// Heard while the client's reply was awaited.
    early: VecDeque<Heard>,
    /// The last `P:` ended in `…`: folded lines behind it belong to it.
    folds: bool,
}

/// Holds the gateway to a dialog. `set` says what it is configured with, whose upstream listens at that address.
///
/// # Errors
/// Where it was left, and how.
pub async fn replay(
    script: &Script,
    how: How,
    patience: Patience,
    set: &(dyn Fn(SocketAddr) -> Result<Setting, String> + Sync),
) -> Result<(), Failure> {
    let failed = |line, why| Failure { line, how, why, meanwhile: Vec::new() };
    let mut stage = Stage::set_up(script, patience, set).await.map_err(|why| failed(None, why))?;
    for group in groups(script, how) {
        for (number, event) in group {
            if let Err(why) = stage.play(event, how).await {
                return Err(Failure { meanwhile: stage.unread(), ..failed(Some(number), why) });
            }
        }
    }
    stage.end().await.map_err(|why| failed(None, Why::Other(format!("at the end: {why}"))))
}

impl Stage {
    async fn set_up(
        script: &Script,
        patience: Patience,
        set: &(dyn Fn(SocketAddr) -> Result<Setting, String> + Sync),
    ) -> Result<Stage, Why> {
        let broken = |error: std::io::Error| Why::Other(format!("no loopback connection: {error}"));
        let ehlo = (!script.handshake).then(|| script.ehlo_answer());
        let upstream = Upstream::start(Manners { ehlo }).await.map_err(broken)?;
        let Setting { config, environment, clock, prepare, seen } = set(upstream.address)?;
        let first = config.listeners.first().map(|listener| listener.name.clone());
        let listener = script.listener.clone().or(first).unwrap_or_default();
        if config.listeners.iter().all(|known| known.name != listener) {
            return Err(Why::Other(format!("there is no listener \"{listener}\"")));
        }
        let generation = Generation::build_with(config, None, environment).map_err(|error| format!("{error:#}"))?;
        if let Some(prepare) = prepare {
            prepare(&generation.chain())?;
        }
        let gateway = Gateway::new(generation, Metrics::install().map_err(|error| error.to_string())?);
        if let Some(address) = seen {
            gateway.saw(address, SEEN_FOR)?;
        }
        let socket = TcpListener::bind("127.0.0.1:0").await.map_err(broken)?;
        let client = TcpStream::connect(socket.local_addr().map_err(broken)?).await.map_err(broken)?;
        client.set_nodelay(true).map_err(broken)?;
        let (accepted, _) = socket.accept().await.map_err(broken)?;
        let peer = SocketAddr::new(script.client, CLIENT_PORT);
        gateway.welcome(&Arc::from(listener.as_str()), Stream::from(accepted), peer);
        let client = Some(Stream::from(client));
        Ok(Stage {
            client,
            input: Vec::new(),
            upstream,
            gateway,
            clock,
            patience,
            early: VecDeque::new(),
            folds: false,
        })
    }

    async fn play(&mut self, event: Event, how: How) -> Result<(), Why> {
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
                client.shutdown().await.map_err(|error| Why::Other(error.to_string()))
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
            Event::Clock(by) => match &self.clock {
                Some(turn) => {
                    turn(by);
                    Ok(())
                }
                None => Err("there is no clock to be turned here".into()),
            },
        }
    }

    fn order(&self, order: Order) -> Result<(), Why> {
        self.upstream.orders.try_send(order).map_err(|_| "the upstream has ended".into())
    }

    async fn send(&mut self, octets: &[u8], how: How) -> Result<(), Why> {
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

    async fn handshake(&mut self) -> Result<(), Why> {
        let client = self.client.as_mut().ok_or("the client is gone")?;
        let connector = Connector::new(&Expect::Any { host: "mx.example.org" }).map_err(|error| error.to_string())?;
        let handshake =
            timeout(self.patience.answer, client.start_tls_client(&connector)).await.map_err(|_| "no handshake")?;
        handshake.map(drop).map_err(|error| Why::Other(error.to_string()))
    }

    /// The whole reply is read before it is judged, so that all of it can be shown.
    async fn expect_reply(&mut self, patterns: &[String]) -> Result<(), Why> {
        let mut heard = Vec::new();
        loop {
            let line = String::from_utf8_lossy(&self.reply_line().await?).into_owned();
            let more = line.as_bytes().get(3) == Some(&b'-');
            heard.push(line);
            if !more {
                break;
            }
        }
        let open = patterns.last().is_some_and(|last| last.ends_with('…'));
        let long_enough = if open { heard.len() >= patterns.len() } else { heard.len() == patterns.len() };
        if long_enough && patterns.iter().zip(&heard).all(|(pattern, line)| matches(pattern, line)) {
            return Ok(());
        }
        Err(Why::Differs { mark: "S:", expected: patterns.to_vec(), heard })
    }

    /// The next line for the client. An upstream that is asked something instead makes the wait short.
    async fn reply_line(&mut self) -> Result<Vec<u8>, Why> {
        let mut until = Instant::now() + self.patience.answer;
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let mut line: Vec<u8> = self.input.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(line);
            }
            let mut room = [0; 4_096];
            let client = self.client.as_mut().ok_or("the client is gone")?;
            let asked = Instant::now() + self.patience.otherwise;
            tokio::select! {
                biased;
                read = timeout_at(until, client.read(&mut room)) => {
                    match read.map_err(|_| "no reply came")? {
                        Ok(0) => {
                            let input = String::from_utf8_lossy(&self.input);
                            return Err(format!("the connection closed after {input:?}").into());
                        }
                        Ok(read) => self.input.extend_from_slice(room.get(..read).unwrap_or_default()),
                        Err(error) => return Err(format!("the connection broke: {error}").into()),
                    }
                }
                Some(heard) = self.upstream.heard.recv(), if asked < until => {
                    if matches!(heard, Heard::Line(_)) {
                        until = asked;
                    }
                    self.early.push_back(heard);
                }
            }
        }
    }

    async fn expect_close(&mut self) -> Result<(), Why> {
        let client = self.client.as_mut().ok_or("the client is gone")?;
        let mut rest = std::mem::take(&mut self.input);
        match timeout(self.patience.answer, client.read_to_end(&mut rest)).await {
            Err(_) => Err("still open".into()),
            Ok(_) if rest.is_empty() => Ok(()),
            Ok(_) => Err(format!("more was said: {:?}", String::from_utf8_lossy(&rest)).into()),
        }
    }

    /// What the upstream hears next. A client that was answered instead makes the wait short.
    async fn heard(&mut self, awaited: &str) -> Result<Heard, Why> {
        if let Some(heard) = self.early.pop_front() {
            return Ok(heard);
        }
        let mut until = Instant::now() + self.patience.answer;
        loop {
            let Stage { client, input, upstream, .. } = self;
            let mut room = [0; 4_096];
            let answered = async {
                match client {
                    Some(client) => client.read(&mut room).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                heard = timeout_at(until, upstream.heard.recv()) => {
                    let heard = heard.map_err(|_| format!("the upstream never heard {awaited}"))?;
                    return heard.ok_or_else(|| "the upstream has ended".into());
                }
                read = answered, if Instant::now() + self.patience.otherwise < until => {
                    input.extend_from_slice(room.get(..read.unwrap_or(0)).unwrap_or_default());
                    until = Instant::now() + self.patience.otherwise;
                }
            }
        }
    }

    async fn expect_upstream(&mut self, pattern: &str) -> Result<(), Why> {
        loop {
            match self.heard(pattern).await? {
                Heard::Opened | Heard::Closed => {}
                Heard::Line(line) => {
                    let Some(line) = line.strip_suffix(b"\r\n") else {
                        let line = String::from_utf8_lossy(&line);
                        return Err(format!("a line without CRLF went upstream: {line:?}").into());
                    };
                    let text = String::from_utf8_lossy(line).into_owned();
                    if self.folds && text.starts_with([' ', '\t']) && !pattern.starts_with([' ', '\t']) {
                        continue;
                    }
                    self.folds = pattern.ends_with('…');
                    if matches(pattern, &text) {
                        return Ok(());
                    }
                    return Err(Why::Differs { mark: "P:", expected: vec![pattern.to_owned()], heard: vec![text] });
                }
            }
        }
    }

    async fn expect_octets(&mut self, octets: &[u8]) -> Result<(), Why> {
        loop {
            match self.heard("the octets").await? {
                Heard::Opened | Heard::Closed => {}
                Heard::Line(line) if line == octets => return Ok(()),
                Heard::Line(line) => {
                    let (expected, heard) = (octets.escape_ascii().to_string(), line.escape_ascii().to_string());
                    return Err(Why::Differs { mark: "P~", expected: vec![expected], heard: vec![heard] });
                }
            }
        }
    }

    /// What was said meanwhile, and the dialog did not come to.
    fn unread(&mut self) -> Vec<String> {
        let client = String::from_utf8_lossy(&self.input);
        let mut meanwhile: Vec<String> = client.lines().map(|line| format!("the client heard {line}")).collect();
        while let Ok(heard) = self.upstream.heard.try_recv() {
            self.early.push_back(heard);
        }
        for heard in &self.early {
            if let Heard::Line(line) = heard {
                meanwhile.push(format!("the server heard {}", String::from_utf8_lossy(line).trim_ascii_end()));
            }
        }
        meanwhile.truncate(MEANWHILE_MAX);
        meanwhile
    }

    async fn expect_content(&mut self, ending: Ending) -> Result<(), Why> {
        loop {
            match self.heard("the end of the message").await? {
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
    async fn end(mut self) -> Result<(), Why> {
        drop(self.client.take());
        self.gateway.shutdown.begin();
        self.gateway.shutdown.finish(self.patience.answer, self.patience.answer).await;
        drop(self.upstream.orders);
        let mut early = self.early;
        while let Some(heard) = match early.pop_front() {
            Some(heard) => Some(heard),
            None => self.upstream.heard.recv().await,
        } {
            if let Heard::Line(line) = heard
                && !(self.folds && line.starts_with(b"\t"))
            {
                return Err(format!("the upstream also heard {:?}", String::from_utf8_lossy(&line)).into());
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
