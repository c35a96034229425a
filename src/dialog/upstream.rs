//! A scripted upstream on a port of 127.0.0.1: says what the dialog says, hands over every line it hears.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// More lines than any dialog sends.
const EVENTS_MAX: usize = 100_000;

#[derive(Debug)]
pub(super) enum Heard {
    Opened,
    /// With its line end.
    Line(Vec<u8>),
    Closed,
}

#[derive(Debug)]
pub(super) enum Order {
    Say(Vec<u8>),
    Close,
    Reset,
    /// Refuse connections.
    Gone,
    Back,
}

/// What the harness answers by itself unless the dialog writes its handshakes out.
#[derive(Debug, Clone)]
pub(super) struct Manners {
    pub ehlo: Option<String>,
}

#[derive(Debug)]
pub(super) struct Upstream {
    pub address: SocketAddr,
    pub heard: mpsc::Receiver<Heard>,
    pub orders: mpsc::Sender<Order>,
}

impl Upstream {
    pub(super) async fn start(manners: Manners) -> io::Result<Upstream> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (tell, heard) = mpsc::channel(EVENTS_MAX);
        let (orders, take) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(run(listener, address, manners, tell, take));
        Ok(Upstream { address, heard, orders })
    }
}

async fn run(
    listener: TcpListener,
    address: SocketAddr,
    manners: Manners,
    tell: mpsc::Sender<Heard>,
    mut orders: mpsc::Receiver<Order>,
) {
    let mut listener = Some(listener);
    let mut early: Vec<Order> = Vec::new();
    loop {
        let accepted = match &listener {
            Some(open) => tokio::select! {
                accepted = open.accept() => accepted.ok().map(|(stream, _)| stream),
                order = orders.recv() => match order {
                    None => return,
                    Some(Order::Gone) => { listener = None; None }
                    Some(order) => { early.push(order); None }
                },
            },
            None => match orders.recv().await {
                None => return,
                Some(Order::Back) => {
                    // Whoever has the address meanwhile: the dialog will say that nobody hears.
                    listener = TcpListener::bind(address).await.ok();
                    None
                }
                Some(order) => {
                    early.push(order);
                    None
                }
            },
        };
        let Some(stream) = accepted else { continue };
        let _ = tell.send(Heard::Opened).await;
        let gone = converse(stream, &manners, &tell, &mut orders, &mut early).await;
        let _ = tell.send(Heard::Closed).await;
        if gone {
            listener = None;
        }
    }
}

/// One connection; true when the upstream is to be gone altogether. `early`: what was said before it, to be said to it; and
/// then what is for the next.
async fn converse(
    stream: TcpStream,
    manners: &Manners,
    tell: &mpsc::Sender<Heard>,
    orders: &mut mpsc::Receiver<Order>,
    early: &mut Vec<Order>,
) -> bool {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    let (mut in_data, mut has_quit) = (false, false);
    if manners.ehlo.is_some() {
        let _ = stream.write_all(b"220 upstream.test ESMTP\r\n").await;
    }
    for order in std::mem::take(early) {
        if let Order::Say(octets) = order {
            let _ = stream.write_all(&octets).await;
        }
    }
    let mut line = Vec::new();
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                // A greeting, to whoever comes next; the end of this one may be on its way yet.
                Some(Order::Say(octets)) if has_quit && octets.starts_with(b"220") => {
                    early.push(Order::Say(octets));
                    return false;
                }
                Some(Order::Say(octets)) => {
                    in_data = octets.starts_with(b"354") || (in_data && !octets.starts_with(b"2"));
                    let _ = stream.write_all(&octets).await;
                }
                Some(Order::Gone) => return true,
                Some(Order::Close | Order::Back) => return false,
                None => return false,
                Some(Order::Reset) => {
                    let _ = socket2::SockRef::from(stream.get_ref()).set_linger(Some(std::time::Duration::ZERO));
                    return false;
                }
            },
            read = stream.read_until(b'\n', &mut line) => {
                if read.unwrap_or(0) == 0 {
                    return false;
                }
                let whole = std::mem::take(&mut line);
                has_quit |= !in_data && whole.eq_ignore_ascii_case(b"QUIT\r\n");
                let answer = if in_data { None } else { polite(&whole, manners) };
                match answer {
                    Some(answer) => { let _ = stream.write_all(answer.as_bytes()).await; }
                    None => {
                        if whole == b".\r\n" {
                            in_data = false;
                        }
                        let _ = tell.send(Heard::Line(whole)).await;
                    }
                }
            }
        }
    }
}

fn polite(line: &[u8], manners: &Manners) -> Option<String> {
    let ehlo = manners.ehlo.as_ref()?;
    let verb = line.split(|octet| *octet == b' ' || *octet == b'\r').next().unwrap_or_default();
    Some(match verb {
        b"EHLO" => ehlo.clone(),
        b"HELO" => "250 upstream.test\r\n".into(),
        b"XCLIENT" => "220 upstream.test ESMTP\r\n".into(),
        b"XFORWARD" => "250 2.0.0 Ok\r\n".into(),
        b"QUIT" => "221 2.0.0 Bye\r\n".into(),
        _ => return None,
    })
}
