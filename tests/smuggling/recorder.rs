//! An upstream that takes everything, reads as strictly as can be, and remembers every octet.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What it heard of all connections.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// With their CRLF.
    pub(crate) commands: Vec<Vec<u8>>,
    /// Whole messages as they came, without the final dot.
    pub(crate) messages: Vec<Vec<u8>>,
    /// Messages in chunks, which may hold anything, as they came.
    pub(crate) binary: Vec<Vec<u8>>,
    /// Messages that no dot ended.
    pub(crate) cut: Vec<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    pub(crate) records: Arc<Mutex<Records>>,
    /// Connections under way: the rest is told when they have ended.
    connections: tokio::task::JoinHandle<()>,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl Recorder {
    /// `binary`: it offers CHUNKING and BINARYMIME.
    pub(crate) async fn start(binary: bool) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let records = Arc::new(Mutex::new(Records::default()));
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(&records);
        let connections = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => drop(open.spawn(converse(accepted.unwrap().0, binary, Arc::clone(&shared)))),
                    _ = &mut stopped => break,
                }
            }
            open.join_all().await;
        });
        Recorder { address, records, connections, stop }
    }

    /// All that was heard, once every connection has been closed by the gateway.
    pub(crate) async fn finish(self) -> Records {
        let _ = self.stop.send(());
        self.connections.await.unwrap();
        std::mem::take(&mut *self.records.lock().unwrap())
    }
}

async fn converse(stream: TcpStream, binary: bool, records: Arc<Mutex<Records>>) {
    let mut stream = BufReader::new(stream);
    stream.get_ref().set_nodelay(true).unwrap();
    if stream.write_all(b"220 upstream.test ESMTP\r\n").await.is_err() {
        return;
    }
    let mut chunks = Vec::new();
    while let Some(line) = line(&mut stream).await {
        records.lock().unwrap().commands.push(line.clone());
        let verb = line[..line.len().min(4)].to_ascii_uppercase();
        let reply: &[u8] = match verb.as_slice() {
            b"EHLO" if !binary => b"250-upstream.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n",
            b"EHLO" => {
                b"250-upstream.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250 SIZE\r\n"
            }
            b"DATA" => {
                if stream.write_all(b"354 Go\r\n").await.is_err() {
                    return;
                }
                let (wire, whole) = message(&mut stream).await;
                let mut records = records.lock().unwrap();
                if !whole {
                    records.cut.push(wire);
                    return;
                }
                records.messages.push(wire);
                b"250 2.0.0 queued\r\n"
            }
            b"BDAT" => {
                let words = String::from_utf8_lossy(&line[4..]).into_owned();
                let mut words = words.split_whitespace();
                let mut chunk = vec![0; words.next().unwrap().parse().unwrap()];
                if stream.read_exact(&mut chunk).await.is_err() {
                    return;
                }
                chunks.extend_from_slice(&chunk);
                if words.next().is_some() {
                    records.lock().unwrap().binary.push(std::mem::take(&mut chunks));
                }
                b"250 2.0.0 queued\r\n"
            }
            b"QUIT" => b"221 2.0.0 Bye\r\n",
            _ => b"250 2.0.0 Ok\r\n",
        };
        if stream.write_all(reply).await.is_err() || verb == b"QUIT" {
            return;
        }
    }
}

/// Up to CRLF and nothing else; None at the end of the connection.
async fn line(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if stream.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    Some(line)
}

/// Up to a line that is a dot, and whether there was one.
async fn message(stream: &mut BufReader<TcpStream>) -> (Vec<u8>, bool) {
    let mut wire = Vec::new();
    loop {
        match line(stream).await {
            None => return (wire, false),
            Some(line) if line == b".\r\n" => return (wire, true),
            Some(line) => wire.extend_from_slice(&line),
        }
    }
}
