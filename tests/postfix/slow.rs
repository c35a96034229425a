//! Many slow clients in front of few processes: with `connect = "deferred"` a client that takes a minute for its
//! message holds nothing of Postfix's while it does.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::gateway::Gateway;
use crate::mta::Postfix;

const CLIENTS: usize = 2_000;
/// Of one address: fewer than the gateway lets in at once.
const CLIENTS_OF_ONE_ADDRESS: usize = 40;
/// Lines of a message, one a second.
const LINES: usize = 60;
/// What Postfix runs at most, and the gateway has of connections at most.
const PROCESSES: u32 = 20;

const MAILBOXES: [&str; 4] = ["s0@inside.test", "s1@inside.test", "s2@inside.test", "s3@inside.test"];

#[test]
fn two_thousand_slow_clients_share_twenty_processes() {
    let postfix = Postfix::start_with_processes(&MAILBOXES, PROCESSES);
    let keys = format!("connect = \"deferred\"\nconnections = {PROCESSES}\nkeep-answers = \"10min\"\n");
    let gateway = Gateway::start_with(postfix.address, "127.0.0.7", &keys, "");
    let most = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(deliver(gateway.mx, number));
        }
        let mut most = 0;
        let mut looks = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                client = clients.join_next() => match client {
                    Some(client) => client.unwrap(),
                    None => return most,
                },
                _ = looks.tick() => most = most.max(postfix.processes("smtpd")),
            }
        }
    });
    assert!((1..=PROCESSES as usize).contains(&most), "{most} smtpd processes");
    for mailbox in MAILBOXES {
        postfix.wait_for_messages(mailbox, CLIENTS / MAILBOXES.len());
    }
    gateway.stop();
}

/// One client: quick up to DATA, then a line a second. They do not all begin in the same moment.
async fn deliver(server: SocketAddr, number: usize) {
    let begin = Instant::now() + Duration::from_millis(10 * number as u64);
    let mut pace = interval_at(begin, Duration::from_secs(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace.tick().await;
    let socket = TcpSocket::new_v4().unwrap();
    let address = format!("127.0.1.{}:0", 1 + number / CLIENTS_OF_ONE_ADDRESS);
    socket.bind(address.parse().unwrap()).unwrap();
    let mut client = BufReader::new(socket.connect(server).await.unwrap());
    expect(&mut client, "220").await;
    let mailbox = MAILBOXES[number % MAILBOXES.len()];
    for (line, code) in [
        ("EHLO slow.test".to_owned(), "250"),
        (format!("MAIL FROM:<c{number}@client.test>"), "250"),
        (format!("RCPT TO:<{mailbox}>"), "250"),
        ("DATA".to_owned(), "354"),
        (format!("Subject: {number}\r\n"), ""),
    ] {
        say(&mut client, &line).await;
        if !code.is_empty() {
            expect(&mut client, code).await;
        }
    }
    let line = "slowly ".repeat(30);
    for _ in 0..LINES {
        say(&mut client, &line).await;
        pace.tick().await;
    }
    say(&mut client, ".").await;
    expect(&mut client, "250").await;
    say(&mut client, "QUIT").await;
    expect(&mut client, "221").await;
}

async fn say(client: &mut BufReader<TcpStream>, line: &str) {
    client.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
}

/// The whole reply has this code.
async fn expect(client: &mut BufReader<TcpStream>, code: &str) {
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await.unwrap();
        assert!(line.starts_with(code), "expected {code}: {line:?}");
        if line.as_bytes().get(3) != Some(&b'-') {
            return;
        }
    }
}
