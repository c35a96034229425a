//! SMTP smuggling against real mail servers: as many messages arrive as the client was told, and they are what it sent.
//!
//! `tests/smuggling` asks the same of an upstream that reads strictly; here the readers are those of the world.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::TRUSTED_BY_THE_GATEWAY;
use crate::exim::Exim;
use crate::gateway::Gateway;
use crate::model::{self, Policy};
use crate::mta::Postfix;
use crate::variants::{self, VARIANTS};

const MAILBOX: &str = "everybody@inside.test";

/// Longer than a session takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Data,
    Chunk,
}

/// What has to arrive: a body by its Message-ID.
type Bodies = BTreeMap<String, Vec<u8>>;

#[test]
fn nothing_is_smuggled_into_postfix() {
    for policy in [Policy::Reject, Policy::Normalize] {
        let postfix = Postfix::start(&[MAILBOX]);
        let gateway = start(postfix.address, policy, "");
        let expected = send_all(&gateway, policy);
        for message_id in expected.keys() {
            let line = postfix.log.wait_for(&["postfix/cleanup", &format!("message-id={message_id}")]);
            let id = line.split(": message-id=").next().unwrap().rsplit(' ').next().unwrap();
            postfix.log.wait_for(&[&format!(" {id}: to=<"), "status=sent"]);
        }
        compare(&expected, &postfix.messages_of(MAILBOX), &postfix.log.text());
        gateway.stop();
    }
}

#[test]
fn nothing_is_smuggled_into_exim() {
    for policy in [Policy::Reject, Policy::Normalize] {
        let exim = Exim::start();
        // Exim has no XCLIENT.
        let gateway = start(exim.address, policy, "identify = \"none\"");
        let expected = send_all(&gateway, policy);
        compare(&expected, &exim.messages(), &exim.log());
        gateway.stop();
    }
}

fn start(upstream: SocketAddr, policy: Policy, keys: &str) -> Gateway {
    let ends = if policy == Policy::Reject { "reject" } else { "normalize" };
    let limits = format!("[limits]\nbare-line-ends = \"{ends}\"\n");
    Gateway::start_with(upstream, TRUSTED_BY_THE_GATEWAY, keys, &limits)
}

/// Every variant in both ways; says what has to arrive, and fails where the client was told something else.
fn send_all(gateway: &Gateway, policy: Policy) -> Bodies {
    let mut expected = Bodies::new();
    for way in [Way::Data, Way::Chunk] {
        for (number, variant) in VARIANTS.iter().enumerate() {
            let name = format!("{way:?}-{number}-");
            let content = variants::content(&name, variant, MAILBOX);
            let outcome = match way {
                Way::Data => model::after_data(&content, policy),
                Way::Chunk => model::after_chunks(&content, policy),
            };
            let replies = session(gateway.mx, way, &content);
            let told = |words: &str| replies.lines().filter(|line| line.contains(words)).count();
            let (accepted, refused) = (told(" queued as ") + told(" OK id="), told("550 5.6."));
            assert_eq!((accepted, refused), (outcome.accepted.len(), outcome.refused), "{name}\n{replies}");
            expected.extend(outcome.accepted.iter().map(|wire| stored(&model::unstuffed(wire))));
        }
    }
    expected
}

/// One session, all of it written before an answer is looked at.
fn session(server: SocketAddr, way: Way, content: &[u8]) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let begin = format!("EHLO client.test\r\nMAIL FROM:<ann@client.test>\r\nRCPT TO:<{MAILBOX}>\r\n");
    let data = if way == Way::Data { "DATA\r\n".to_owned() } else { format!("BDAT {} LAST\r\n", content.len()) };
    let said = [begin.as_bytes(), data.as_bytes(), content, b"QUIT\r\n"].concat();
    stream.write_all(&said).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut replies = Vec::new();
    stream.read_to_end(&mut replies).unwrap();
    String::from_utf8_lossy(&replies).into_owned()
}

/// Its Message-ID, and its body as it is stored: lines end in LF.
fn stored(message: &[u8]) -> (String, Vec<u8>) {
    let message: Vec<u8> = message.iter().copied().filter(|octet| *octet != b'\r').collect();
    let (head, body) = message.split_at(model::find(&message, b"\n\n").unwrap() + 2);
    let head = String::from_utf8_lossy(head);
    let message_id = head.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap_or_default();
    (message_id.to_owned(), body.to_vec())
}

/// Everything that was promised is there once, and nothing else.
fn compare(expected: &Bodies, messages: &[Vec<u8>], log: &str) {
    for message in messages {
        let (message_id, body) = stored(message);
        let shown = String::from_utf8_lossy(message);
        assert!(expected.get(&message_id) == Some(&body), "nobody sent this:\n{shown}\n{log}");
    }
    assert_eq!(messages.len(), expected.len(), "{log}");
}
