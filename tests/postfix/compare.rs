//! A tester who sees only the wire: the same words to Postfix itself and to the gateway in front of it, from the same
//! client. The codes are the same, or `docs/postfix.md` has the two and the reason.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::TRUSTED_BY_THE_GATEWAY;
use crate::gateway::Gateway;
use crate::mta::Postfix;

const TRANSCRIPTS: &str = include_str!("transcripts.txt");
const EXPLAINED: &str = include_str!("../../docs/postfix.md");

/// A stranger to both.
const CLIENT: &str = "127.0.0.41:0";

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The codes heard, the banner's first. Two answers that end the connection are one here: nobody sees the second.
type Codes = Vec<String>;

#[test]
fn postfix_itself_and_behind_the_gateway_answer_alike() {
    let postfix = Postfix::start(&["ann@inside.test", "bob@inside.test"]);
    let gateway = Gateway::start(postfix.address, TRUSTED_BY_THE_GATEWAY);
    let transcripts = transcripts();
    assert!(transcripts.len() > 80, "{}", transcripts.len());
    let mut explained = explained();
    let mut findings = Vec::new();
    for (name, lines) in transcripts {
        let (direct, behind) = (converse(postfix.address, &lines), converse(gateway.mx, &lines));
        let explanation = explained.remove(name);
        if direct == behind {
            findings.extend(explanation.map(|_| format!("{name} is explained and does not differ")));
        } else if explanation != Some((direct.join(" "), behind.join(" "))) {
            findings.push(format!("| `{name}` | {} | {} |", direct.join(" "), behind.join(" ")));
        }
    }
    findings.extend(explained.keys().map(|name| format!("{name} is explained and is no transcript")));
    assert!(findings.is_empty(), "{} differ:\n{}", findings.len(), findings.join("\n"));
    gateway.stop();
}

fn transcripts() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut transcripts: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in TRANSCRIPTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix("== "), transcripts.last_mut()) {
            (Some(name), _) => transcripts.push((name, Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => panic!("no name before {line}"),
        }
    }
    transcripts
}

/// By name, the codes of both and a reason that is not empty.
fn explained() -> BTreeMap<&'static str, (String, String)> {
    let section = EXPLAINED.split("\n## ").find(|section| section.starts_with("Where the codes differ")).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = |line: &'static str| line.split('|').map(str::trim).collect::<Vec<&str>>();
    rows.filter_map(|line| match cells(line)[..] {
        ["", name, direct, behind, why, ""] if !why.is_empty() => {
            Some((name.trim_matches('`'), (direct.to_owned(), behind.to_owned())))
        }
        _ => None,
    })
    .collect()
}

fn converse(server: SocketAddr, lines: &[&str]) -> Codes {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&CLIENT.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut wire = Wire { stream, heard: Vec::new(), codes: Vec::new() };
    wire.hear(1);
    let mut content = Vec::new();
    for line in lines {
        if let Some(text) = line.strip_prefix('>') {
            let go_ahead = wire.codes.last().is_some_and(|code| code == "354");
            content.extend(unescape(text.strip_prefix(' ').unwrap_or(text)));
            content.extend_from_slice(b"\r\n");
            if text == "." {
                let said = std::mem::take(&mut content);
                if go_ahead {
                    wire.say(&said, 1);
                }
            }
        } else if let Some((count, octets)) = line.strip_prefix('~').and_then(|rest| rest.split_once(' ')) {
            wire.say(&unescape(octets), count.parse().unwrap());
        } else {
            wire.say(&[line.as_bytes(), b"\r\n"].concat(), 1);
        }
    }
    wire.codes
}

struct Wire {
    stream: TcpStream,
    heard: Vec<u8>,
    codes: Codes,
}

impl Wire {
    fn say(&mut self, octets: &[u8], answers: usize) {
        if self.codes.last().is_some_and(|code| code == "closed") {
            return;
        }
        // A server that has closed is noticed where its answer is missing.
        let _ = self.stream.write_all(octets);
        self.hear(answers);
    }

    fn hear(&mut self, answers: usize) {
        for _ in 0..answers {
            let code = self.reply();
            let ended = code == "closed";
            self.codes.push(code);
            if ended {
                return;
            }
        }
    }

    /// The code of the next reply.
    fn reply(&mut self) -> String {
        loop {
            while let Some(end) = self.heard.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                if line.get(3) != Some(&b'-') {
                    return String::from_utf8_lossy(&line[..3]).into_owned();
                }
            }
            let mut room = [0; 4_096];
            match self.stream.read(&mut room) {
                Ok(0) => return "closed".into(),
                Ok(read) => self.heard.extend_from_slice(&room[..read]),
                Err(why) if matches!(why.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    return "silent".into();
                }
                Err(_) => return "closed".into(),
            }
        }
    }
}

/// As in dialogs: `\r \n \xNN`, and `\*N{text}` repeats.
fn unescape(text: &str) -> Vec<u8> {
    let Some((before, rest)) = text.split_once('\\') else { return text.as_bytes().to_vec() };
    let (octets, rest) = match rest.split_at(1) {
        ("r", rest) => (b"\r".to_vec(), rest),
        ("n", rest) => (b"\n".to_vec(), rest),
        ("x", rest) => (vec![u8::from_str_radix(&rest[..2], 16).unwrap()], &rest[2..]),
        ("*", rest) => {
            let (count, rest) = rest.split_once('{').unwrap();
            let (repeated, rest) = rest.split_once('}').unwrap();
            (repeated.repeat(count.parse().unwrap()).into_bytes(), rest)
        }
        _ => panic!("unknown escape in {text}"),
    };
    [before.as_bytes(), &octets, &unescape(rest)].concat()
}
