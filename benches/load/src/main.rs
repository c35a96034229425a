//! A load of mail for `cargo xtask bench`: many connections from one thread, in every way in which clients differ.
//!
//! Postfix's smtp-source neither pipelines nor encrypts; this does both, and knows how long a message took. It is a
//! package of its own, so that nothing of the gateway measures itself. It judges nothing: one refused message ends
//! it. Prints one line: `seconds=… p50_us=…`.

#![allow(clippy::print_stdout, reason = "a command line tool talks to its terminal")]

mod logins;
mod tls;

use std::cell::{Cell, RefCell};
use std::io::Read as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsConnector;

/// The whole load may take this long.
const PATIENCE: Duration = Duration::from_secs(300);
/// More than any reply that is expected here.
const INPUT_BYTES_MAX: usize = 64 * 1_024;
const ENVELOPE: [&[u8]; 3] = [b"MAIL FROM:<ann@client.test>\r\n", b"RCPT TO:<bob@inside.test>\r\n", b"DATA\r\n"];

type Outcome<T = ()> = Result<T, String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cipher {
    None,
    StartTls,
    Implicit,
}

#[allow(clippy::struct_excessive_bools, reason = "the words of the command line, one each")]
struct Load {
    server: SocketAddr,
    messages: usize,
    at_once: usize,
    kept: bool,
    pipelined: bool,
    /// Opens all connections, greets, says `ready`, and waits for the end of its input.
    hold: bool,
    /// Connects, greets, encrypts and leaves.
    handshakes: bool,
    cipher: Cipher,
    /// Shared by all connections, so that they resume the first one's session; otherwise each handshake is a full one.
    resumed: Option<TlsConnector>,
    content: Vec<u8>,
    left: Cell<usize>,
    micros: RefCell<Vec<u64>>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((word, words)) if word == "logins" => logins(words),
        _ => load(&words).and_then(run),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("load: {why}");
            ExitCode::FAILURE
        }
    }
}

/// `logins SERVER ADDRESSES ATTEMPTS AT-ONCE`; with one attempt, passwords are right.
fn logins(words: &[String]) -> Outcome {
    let [server, numbers @ ..] = words else { return Err("logins wants a server".to_owned()) };
    let server = server.parse().map_err(|_| format!("{server} is no address"))?;
    let numbers: Vec<u32> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    let [addresses, attempts, at_once] = numbers[..] else { return Err("logins wants three numbers".to_owned()) };
    let password = if attempts == 1 { logins::RIGHT } else { "guess" };
    logins::Logins { server, addresses, attempts, at_once: at_once as usize, password }.run(&runtime()?)
}

fn load(words: &[String]) -> Outcome<Load> {
    let mut load = Load {
        server: SocketAddr::from(([127, 0, 0, 1], 0)),
        messages: 1,
        at_once: 1,
        kept: false,
        pipelined: false,
        hold: false,
        handshakes: false,
        cipher: Cipher::None,
        resumed: None,
        content: Vec::new(),
        left: Cell::new(0),
        micros: RefCell::default(),
    };
    let mut octets = 4_096;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse::<usize>().ok()).ok_or(format!("{word} wants a number"));
        match word.as_str() {
            "--messages" => load.messages = number()?,
            "--at-once" => load.at_once = number()?,
            "--octets" => octets = number()?,
            "--kept" => load.kept = true,
            "--pipelined" => load.pipelined = true,
            "--hold" => load.hold = true,
            "--handshakes" => load.handshakes = true,
            "--resumed" => load.resumed = Some(tls::connector()?),
            "--starttls" => load.cipher = Cipher::StartTls,
            "--implicit" => load.cipher = Cipher::Implicit,
            server => load.server = server.parse().map_err(|_| format!("{server} is no address"))?,
        }
    }
    load.content = content(octets);
    load.left = Cell::new(load.messages);
    Ok(load)
}

/// A message of about so many octets, with its end.
fn content(octets: usize) -> Vec<u8> {
    let mut content = b"From: <ann@client.test>\r\nTo: <bob@inside.test>\r\nSubject: load\r\n\r\n".to_vec();
    while content.len() + 80 <= octets {
        content.extend_from_slice(&[b'x'; 78]);
        content.extend_from_slice(b"\r\n");
    }
    content.extend_from_slice(b".\r\n");
    content
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

fn run(load: Load) -> Outcome {
    let runtime = runtime()?;
    if load.hold {
        return hold(&runtime, &load);
    }
    let load = Rc::new(load);
    let began = Instant::now();
    LocalSet::new().block_on(&runtime, async {
        let mut clients = JoinSet::new();
        for _ in 0..load.at_once.min(load.messages) {
            clients.spawn_local(client(load.clone()));
        }
        let all = async {
            while let Some(ended) = clients.join_next().await {
                ended.map_err(|error| error.to_string())??;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| Err("it takes too long".to_owned()))
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let mut micros = load.micros.borrow_mut();
    micros.sort_unstable();
    let p50 = micros.get(micros.len() / 2).copied().unwrap_or_default();
    println!("seconds={seconds:.6} p50_us={p50}");
    Ok(())
}

fn hold(runtime: &tokio::runtime::Runtime, load: &Load) -> Outcome {
    let held = runtime.block_on(async {
        let mut held = Vec::with_capacity(load.at_once);
        for nth in 1..=load.at_once {
            held.push(Wire::greeted(load).await.map_err(|why| format!("connection {nth}: {why}"))?);
        }
        Ok::<_, String>(held)
    })?;
    println!("ready");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(held);
    Ok(())
}

/// Takes what is left to do until nothing is.
async fn client(load: Rc<Load>) -> Outcome {
    let mut kept = None;
    while let Some(left) = load.left.get().checked_sub(1) {
        load.left.set(left);
        let began = Instant::now();
        let mut wire = match kept.take() {
            Some(wire) => wire,
            None => Wire::greeted(&load).await?,
        };
        if !load.handshakes {
            wire.message(&load).await?;
        }
        load.micros.borrow_mut().push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        if load.kept {
            kept = Some(wire);
        } else {
            wire.say(b"QUIT\r\n", b'2').await?;
        }
    }
    match kept {
        Some(mut wire) => wire.say(b"QUIT\r\n", b'2').await,
        None => Ok(()),
    }
}

trait Octets: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Octets for T {}

struct Wire {
    stream: Box<dyn Octets>,
    input: Vec<u8>,
}

impl Wire {
    async fn greeted(load: &Load) -> Outcome<Wire> {
        let tcp = TcpStream::connect(load.server).await.map_err(|error| error.to_string())?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let mut wire = Wire { stream: Box::new(tcp), input: Vec::new() };
        if load.cipher == Cipher::Implicit {
            wire = wire.encrypted(load).await?;
        }
        wire.hear(b'2').await?;
        wire.say(b"EHLO client.test\r\n", b'2').await?;
        if load.cipher == Cipher::StartTls {
            wire.say(b"STARTTLS\r\n", b'2').await?;
            wire = wire.encrypted(load).await?;
            wire.say(b"EHLO client.test\r\n", b'2').await?;
        }
        Ok(wire)
    }

    async fn encrypted(self, load: &Load) -> Outcome<Wire> {
        let connector = load.resumed.clone().map_or_else(tls::connector, Ok)?;
        let stream = connector.connect(tls::name()?, self.stream).await.map_err(|error| error.to_string())?;
        Ok(Wire { stream: Box::new(stream), input: self.input })
    }

    async fn message(&mut self, load: &Load) -> Outcome {
        if load.pipelined {
            self.send(&ENVELOPE.concat()).await?;
            for class in [b'2', b'2', b'3'] {
                self.hear(class).await?;
            }
        } else {
            for (command, class) in ENVELOPE.iter().zip([b'2', b'2', b'3']) {
                self.say(command, class).await?;
            }
        }
        self.say(&load.content, b'2').await
    }

    async fn say(&mut self, octets: &[u8], class: u8) -> Outcome {
        self.send(octets).await?;
        self.hear(class).await
    }

    async fn send(&mut self, octets: &[u8]) -> Outcome {
        self.stream.write_all(octets).await.map_err(|error| error.to_string())?;
        self.stream.flush().await.map_err(|error| error.to_string())
    }

    /// One reply, of the class that is expected.
    async fn hear(&mut self, class: u8) -> Outcome {
        loop {
            while let Some(end) = self.input.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                if line.first() != Some(&class) {
                    return Err(format!("refused: {}", String::from_utf8_lossy(&line).trim_end()));
                }
                if line.get(3) != Some(&b'-') {
                    return Ok(());
                }
            }
            if self.input.len() > INPUT_BYTES_MAX {
                return Err("a reply without an end".to_owned());
            }
            let read = self.stream.read_buf(&mut self.input).await.map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("the server closed the connection".to_owned());
            }
        }
    }
}
