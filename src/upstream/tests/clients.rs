//! No fact about one client reaches another's transaction: many clients at once, at random, in front of an upstream
//! that forgets nothing by itself.
//!
//! The upstream of this test is worse than Postfix: what XCLIENT told stays until XCLIENT tells something else, and a
//! transaction goes on until it is ended or reset. Each client is a number, and everything it says holds that number.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::mail::{AfterLogin, PeerName};

const CLIENTS: u64 = 240;
const AT_ONCE: u64 = 8;
const OFFER: &str = "250-PIPELINING\r\n250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT REVERSE_NAME\r\n";

/// What was wrong, and how many messages and connections there were.
#[derive(Debug, Default)]
struct Seen {
    mixed: Vec<String>,
    messages: usize,
    connections: usize,
}

#[derive(Debug, Default)]
struct Told {
    attributes: BTreeMap<String, String>,
    hello: String,
    /// Of the open transaction.
    sender: Option<String>,
    recipients: Vec<String>,
}

/// xorshift: the same numbers in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn facts(number: u64, dice: &mut Dice) -> SessionFacts {
    let name = PeerName::Confirmed(format!("n{number}.test").into());
    let mut pick = |name: PeerName| {
        [name, PeerName::Unavailable, PeerName::TemporarilyUnavailable][usize::try_from(dice.below(3)).unwrap()].clone()
    };
    let (peer_name, reverse_name) = (pick(name.clone()), pick(name));
    let login = (dice.below(5) == 0).then(|| AuthFacts {
        mechanism: crate::smtp::sasl::Mechanism::Plain.into(),
        identity: format!("n{number}.").into(),
    });
    SessionFacts {
        after_login: AfterLogin::No,
        id: format!("n{number}.").into(),
        peer: format!("192.0.2.1:{}", 10_000 + number).parse().unwrap(),
        peer_name,
        reverse_name,
        hello: Some(Hello { name: format!("n{number}.test").into(), extended: dice.below(6) > 0 }),
        auth: login.map(Arc::new),
        ..client()
    }
}

/// Everything that is told at this moment belongs to the client of this sender or recipient.
fn mixed(told: &Told, address: &str) -> Option<String> {
    let number: u64 = address.strip_prefix("<n")?.split('.').next()?.parse().ok()?;
    let is_its = |(attribute, value): (&String, &String)| match attribute.as_str() {
        "PORT" => *value == (10_000 + number).to_string(),
        "NAME" | "REVERSE_NAME" | "HELO" => value.starts_with('[') || *value == format!("n{number}.test"),
        "LOGIN" => value == "[UNAVAILABLE]" || *value == format!("n{number}."),
        _ => true,
    };
    let hello = told.hello == format!("n{number}.test");
    let sender = told.sender.as_ref().is_none_or(|sender| sender.starts_with(&format!("<n{number}.")));
    (!told.attributes.iter().all(is_its) || !hello || !sender).then(|| format!("{address}: {told:?}"))
}

async fn forgetful_of_nothing(tcp: TcpStream, seen: Arc<Mutex<Seen>>) {
    seen.lock().unwrap().connections += 1;
    let mut stream = BufReader::new(tcp);
    let mut told = Told::default();
    stream.write_all(b"220 x\r\n").await.unwrap();
    let mut line = String::new();
    let mut content = false;
    while {
        line.clear();
        stream.read_line(&mut line).await.unwrap_or(0) > 0
    } {
        let said = line.trim_end();
        let words: Vec<&str> = said.split(' ').collect();
        let blame = |address: &str, told: &Told| seen.lock().unwrap().mixed.extend(mixed(told, address));
        let answer = match words[0] {
            "." if content => {
                content = false;
                seen.lock().unwrap().messages += 1;
                (told.sender, told.recipients) = (None, Vec::new());
                "250 queued\r\n"
            }
            _ if content => {
                blame(&format!("<{said}"), &told);
                continue;
            }
            "EHLO" | "HELO" => {
                told.hello = words[1].to_owned();
                if words[0] == "EHLO" { &format!("250-x\r\n{OFFER}") } else { "250 x\r\n" }
            }
            "XCLIENT" if told.sender.is_some() => "503 in a transaction\r\n",
            "XCLIENT" => {
                told.attributes.extend(words[1..].iter().map(|word| {
                    let (attribute, value) = word.split_once('=').unwrap();
                    (attribute.to_owned(), value.to_owned())
                }));
                "220 x\r\n"
            }
            "MAIL" if told.sender.is_some() => "503 nested MAIL\r\n",
            "MAIL" => {
                let sender = said.strip_prefix("MAIL FROM:").unwrap().to_owned();
                blame(&sender, &told);
                told.sender = Some(sender);
                "250 ok\r\n"
            }
            "RCPT" => {
                let recipient = said.strip_prefix("RCPT TO:").unwrap().to_owned();
                blame(&recipient, &told);
                told.recipients.push(recipient);
                "250 ok\r\n"
            }
            "DATA" => {
                for recipient in &told.recipients {
                    blame(recipient, &told);
                }
                content = true;
                "354 go\r\n"
            }
            "RSET" => {
                (told.sender, told.recipients) = (None, Vec::new());
                "250 reset\r\n"
            }
            _ => return,
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// One client, who may leave at any point.
async fn visit(upstream: &Upstream, number: u64, mut dice: Dice) -> Result<(), UpstreamError> {
    let who = facts(number, &mut dice);
    let telling = if dice.below(4) == 0 { Telling::Postpone } else { Telling::Now };
    let mut connection = upstream.acquire(&who, telling).await?;
    connection.identify(&who).await?;
    for _ in 0..dice.below(3) {
        let (mail, rcpt) = (format!("MAIL FROM:<n{number}.@a.test>\r\n"), format!("RCPT TO:<n{number}.@b.test>\r\n"));
        if dice.below(2) == 0 && connection.pipelines() {
            connection.send(format!("{mail}{rcpt}").as_bytes(), 2, Wait::Mail).await?;
            if dice.below(6) == 0 {
                // Gone with answers on their way.
                connection.release().await;
                return Ok(());
            }
            connection.reply(Wait::Mail).await?;
            connection.reply(Wait::Rcpt).await?;
        } else {
            assert_eq!(connection.command(mail.as_bytes(), Wait::Mail).await?.code, 250);
            if dice.below(4) == 0 {
                break;
            }
            assert_eq!(connection.command(rcpt.as_bytes(), Wait::Rcpt).await?.code, 250);
        }
        if dice.below(4) == 0 {
            break;
        }
        assert_eq!(connection.command(b"DATA\r\n", Wait::Data).await?.code, 354);
        connection.write(format!("n{number}. says\r\n").as_bytes()).await?;
        if dice.below(6) == 0 {
            break;
        }
        connection.write(b".\r\n").await?;
        connection.final_reply().await?;
    }
    if dice.below(8) == 0 {
        connection.abort()
    } else {
        connection.release().await
    }
    Ok(())
}

#[tokio::test]
async fn no_fact_about_one_client_reaches_the_transaction_of_another() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let theirs = seen.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tcp.set_nodelay(true).unwrap();
            tokio::spawn(forgetful_of_nothing(tcp, theirs.clone()));
        }
    });
    let upstream = upstream_at(address, |settings| {
        settings.identify = Identify::Xclient;
        settings.pool.connections = Some(5);
    });
    let mut visits = tokio::task::JoinSet::new();
    for first in 0..AT_ONCE {
        let upstream = upstream.clone();
        visits.spawn(async move {
            for number in (first..CLIENTS).step_by(usize::try_from(AT_ONCE).unwrap()) {
                visit(&upstream, number, Dice(0x9E37_79B9_7F4A_7C15 ^ (number + 1))).await.unwrap();
            }
        });
    }
    while let Some(done) = visits.join_next().await {
        done.unwrap();
    }
    let seen = seen.lock().unwrap();
    assert!(seen.mixed.is_empty(), "{:#?}", seen.mixed);
    assert!(seen.messages > 60, "{} messages", seen.messages);
    assert!(
        seen.connections < usize::try_from(CLIENTS).unwrap() * 4 / 5,
        "hardly any was reused: {}",
        seen.connections
    );
}
