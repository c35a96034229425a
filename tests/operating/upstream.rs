//! A mail server that takes everything (but for mailboxes called full), and whose answer to a message can be held back.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    /// A message has come in whole, and waits for its answer.
    pub(crate) whole: Receiver<()>,
    /// Sends the answer.
    pub(crate) answer: SyncSender<()>,
}

impl Upstream {
    pub(crate) fn start() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (came, whole) = sync_channel(16);
        let (answer, go) = sync_channel(16);
        let go = Arc::new(Mutex::new(go));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (came, go) = (came.clone(), Arc::clone(&go));
                std::thread::spawn(move || converse(stream.unwrap(), &came, &go));
            }
        });
        Upstream { address, whole, answer }
    }
}

fn converse(stream: TcpStream, came: &SyncSender<()>, go: &Mutex<Receiver<()>>) {
    let mut out = stream.try_clone().unwrap();
    let mut say = |text: &str| out.write_all(text.as_bytes()).is_ok();
    say("220 upstream.test ESMTP\r\n");
    let mut in_data = false;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let ok = match line.get(..4).unwrap_or_default() {
            _ if in_data && line == "." => {
                in_data = false;
                let _ = came.send(());
                let _ = go.lock().unwrap_or_else(PoisonError::into_inner).recv();
                say("250 2.0.0 Ok: queued as LATE\r\n")
            }
            _ if in_data => true,
            "DATA" => {
                in_data = true;
                say("354 Go\r\n")
            }
            "RCPT" if line.contains("<full@") => say("452 4.2.2 Full\r\n"),
            "QUIT" => return,
            _ => say("250 2.0.0 Ok\r\n"),
        };
        if !ok {
            return;
        }
    }
}
