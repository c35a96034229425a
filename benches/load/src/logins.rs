//! Logins: those of people who know their passwords, and those of somebody with very many addresses who does not.
//!
//! Every address of 127.0.0.0/8 is this machine, so one program can come from thousands of them.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls;

/// A whole measurement may take this long.
const PATIENCE: Duration = Duration::from_mins(30);
/// More than any reply that is expected here.
const REPLY_BYTES_MAX: usize = 4_096;
/// Where honest people are, and where attackers begin.
const HOME: Ipv4Addr = Ipv4Addr::new(127, 200, 0, 1);
const ABROAD: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
/// Attackers are this far apart, so that each has a network of its own.
const NETWORK_ADDRESSES: u32 = 256;

/// The password of every account.
pub(crate) const RIGHT: &str = "correct horse";

type Outcome<T = ()> = Result<T, String>;

/// What is to be done, by the words of the command line.
pub(crate) struct Logins {
    pub(crate) server: SocketAddr,
    /// Each of them logs in as the account of its number, or guesses at it.
    pub(crate) addresses: u32,
    /// Of each address, one after the other.
    pub(crate) attempts: u32,
    pub(crate) at_once: usize,
    /// `AUTH PLAIN` with this password, behind the number of the account.
    pub(crate) password: &'static str,
}

#[derive(Default)]
struct Tally {
    next: Cell<u32>,
    good: Cell<u32>,
    bad: Cell<u32>,
    put_off: Cell<u32>,
    turned_away: Cell<u32>,
    /// From the first octet of a connection to the answer to its first login, where that was good.
    micros: RefCell<Vec<u64>>,
}

impl Logins {
    /// Prints one line: how each attempt ended, and how long the good ones took.
    pub(crate) fn run(self, runtime: &tokio::runtime::Runtime) -> Outcome {
        let (all, tally) = (Rc::new(self), Rc::new(Tally::default()));
        let connector = tls::connector()?;
        let began = Instant::now();
        LocalSet::new().block_on(runtime, async {
            let mut clients = JoinSet::new();
            for _ in 0..all.at_once.min(all.addresses as usize) {
                clients.spawn_local(work(Rc::clone(&all), Rc::clone(&tally), connector.clone()));
            }
            let done = async {
                while let Some(ended) = clients.join_next().await {
                    ended.map_err(|error| error.to_string())??;
                }
                Ok(())
            };
            tokio::time::timeout(PATIENCE, done).await.unwrap_or_else(|_| Err("it takes too long".to_owned()))
        })?;
        let mut micros = tally.micros.take();
        micros.sort_unstable();
        let at = |part: usize| micros.get(micros.len() * part / 100).or(micros.last()).copied().unwrap_or_default();
        println!(
            "seconds={:.3} good={} bad={} put_off={} turned_away={} p50_us={} p95_us={}",
            began.elapsed().as_secs_f64(),
            tally.good.get(),
            tally.bad.get(),
            tally.put_off.get(),
            tally.turned_away.get(),
            at(50),
            at(95),
        );
        Ok(())
    }
}

/// Takes addresses until there are no more.
async fn work(all: Rc<Logins>, tally: Rc<Tally>, connector: TlsConnector) -> Outcome {
    while tally.next.get() < all.addresses {
        let number = tally.next.replace(tally.next.get() + 1);
        let honest = all.attempts == 1;
        let first = if honest { HOME.to_bits() + number } else { ABROAD.to_bits() + number * NETWORK_ADDRESSES };
        let mut left = all.attempts;
        while left > 0 {
            left = session(&all, &tally, &connector, first.into(), number, left).await?;
        }
    }
    Ok(())
}

/// One connection, with as many attempts as it is granted of those that are left; gives how many are left then.
async fn session(
    all: &Logins,
    tally: &Tally,
    connector: &TlsConnector,
    from: Ipv4Addr,
    account: u32,
    mut left: u32,
) -> Outcome<u32> {
    let count = |cell: &Cell<u32>| cell.set(cell.get() + 1);
    let began = Instant::now();
    let Some(mut wire) = greeted(all.server, connector, from).await? else {
        count(&tally.turned_away);
        return Ok(left - 1);
    };
    let response = STANDARD.encode(format!("\0u{account}@inside.test\0{}", all.password));
    while left > 0 {
        left -= 1;
        match wire.say(&format!("AUTH PLAIN {response}\r\n")).await?.as_deref() {
            Some("235") => {
                count(&tally.good);
                tally.micros.borrow_mut().push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
                wire.say("QUIT\r\n").await?;
                return Ok(left);
            }
            Some("535") => count(&tally.bad),
            Some("454") => count(&tally.put_off),
            Some("421") | None => {
                count(&tally.turned_away);
                return Ok(left);
            }
            Some(other) => return Err(format!("AUTH was answered with {other}")),
        }
    }
    Ok(left)
}

struct Wire(TlsStream<TcpStream>, Vec<u8>);

/// None: it was turned away before it could say anything.
async fn greeted(server: SocketAddr, connector: &TlsConnector, from: Ipv4Addr) -> Outcome<Option<Wire>> {
    let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
    socket.bind((from, 0).into()).map_err(|error| format!("{from}: {error}"))?;
    let tcp = socket.connect(server).await.map_err(|error| error.to_string())?;
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    let Ok(stream) = connector.connect(tls::name()?, tcp).await else { return Ok(None) };
    let mut wire = Wire(stream, Vec::new());
    if wire.hear().await?.as_deref() != Some("220") {
        return Ok(None);
    }
    let hello = wire.say("EHLO client.test\r\n").await?;
    Ok((hello.as_deref() == Some("250")).then_some(wire))
}

impl Wire {
    async fn say(&mut self, line: &str) -> Outcome<Option<String>> {
        if self.0.write_all(line.as_bytes()).await.is_err() || self.0.flush().await.is_err() {
            return Ok(None);
        }
        self.hear().await
    }

    /// The code of the next reply; None: there is no more.
    async fn hear(&mut self) -> Outcome<Option<String>> {
        loop {
            while let Some(end) = self.1.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.1.drain(..=end).collect();
                if line.get(3) != Some(&b'-') {
                    return Ok(line.get(..3).map(|code| String::from_utf8_lossy(code).into_owned()));
                }
            }
            if self.1.len() > REPLY_BYTES_MAX {
                return Err("a reply without an end".to_owned());
            }
            match self.0.read_buf(&mut self.1).await {
                Ok(1..) => {}
                _ => return Ok(None),
            }
        }
    }
}
