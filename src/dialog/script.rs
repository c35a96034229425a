//! A `.dialog` file as data: who says what, in which order.
//!
//! ```text
//! # What this shows.
//! client: 192.0.2.7
//! upstream: 8BITMIME DSN
//!
//! C: EHLO client.test
//! S: 250-mx.example.org …
//!   P: MAIL FROM:<a@client.test>
//!   U: 250 2.1.0 Ok
//! ```
//! `C:` the client says a line, `C~` raw octets with `\r \n \0 \\ \xNN \*N{…}` escapes; `S:` we answer; `P:` what the
//! upstream hears (`P~` raw, up to and with an LF); `U:` what it answers. `…` at an end: the rest (of the reply, of the field) is not compared.
//! Directives: `C! tls` (handshake), `C! reset`, `C! half-close`, `S! closed`, `P! cut` (part of a message,
//! then the connection closes without a dot), `P! message` (a whole one), `U! close`, `U! reset`, `U! gone`
//! (nobody listens), `U! back`. `P?` and `U?` are `P:` and `U:` of the replay in one packet only: what is asked
//! upstream together with its group, and not asked at all where the answers before it are known. `clock: +5m` between
//! them turns the clock of the filters on. Lines of the head that are not known here are for whoever replays it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// One thing that is said or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Client(Vec<u8>),
    ClientTls,
    ClientReset,
    ClientHalfClose,
    /// All lines of one reply.
    Server(Vec<String>),
    ServerCloses,
    Upstream(String),
    /// One line octet for octet, its line end included.
    UpstreamRaw(Vec<u8>),
    /// Part of a message, then the end of the connection, and never a lone dot.
    UpstreamCut,
    /// A whole message, whatever it says, with its dot.
    UpstreamMessage,
    UpstreamSays(Vec<u8>),
    UpstreamCloses,
    UpstreamResets,
    UpstreamGone,
    UpstreamBack,
    /// Only where the client's commands come in one packet: the gateway has to ask before it knows.
    Grouped(Box<Event>),
    /// The filters' clock goes on by so much.
    Clock(Duration),
}

/// In which pieces the client's side is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    AsWritten,
    OctetByOctet,
    /// Each group of commands.
    OnePacket,
}

/// A line of the head that is for whoever replays the dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub line: usize,
    pub key: String,
    pub value: String,
}

/// A dialog.
#[derive(Debug, Clone)]
pub struct Script {
    /// The address the client comes from.
    pub client: IpAddr,
    /// None: the first one of the configuration.
    pub listener: Option<String>,
    /// EHLO keywords of the upstream; None: it knows only HELO.
    pub upstream: Option<Vec<String>>,
    /// Banner, EHLO and XCLIENT are written out in the dialog instead of being answered by the harness.
    pub handshake: bool,
    /// Replay only as written (a dialog about packets or time).
    pub as_written: bool,
    /// All other lines of its head, in their order.
    pub head: Vec<Head>,
    /// With the number of their line.
    pub events: Vec<(usize, Event)>,
}

/// Where a client comes from when the dialog does not say.
const CLIENT_DEFAULT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// Octets of what `\*N{…}` comes to.
const REPEATED_BYTES_MAX: usize = 256 << 20;

/// The keywords an upstream has when the dialog does not say.
const UPSTREAM_DEFAULT: &str = "PIPELINING SIZE 8BITMIME SMTPUTF8 DSN ENHANCEDSTATUSCODES CHUNKING \
    XCLIENT=NAME,REVERSE_NAME,ADDR,PORT,PROTO,HELO,LOGIN,DESTADDR,DESTPORT";

impl Script {
    /// Reads the text of a `.dialog` file.
    ///
    /// # Errors
    /// The first line that means nothing: its number, why, and the line.
    pub fn parse(text: &str) -> Result<Script, (usize, String)> {
        let mut script = Script {
            client: CLIENT_DEFAULT,
            listener: None,
            upstream: Some(words(UPSTREAM_DEFAULT)),
            handshake: false,
            as_written: false,
            head: Vec::new(),
            events: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            script.line(number, line).map_err(|why| (number, format!("{why}: {line}")))?;
        }
        Ok(script)
    }

    /// The value of a line of the head, the last one of this key.
    #[must_use]
    pub fn said(&self, key: &str) -> Option<&str> {
        self.head.iter().rev().find(|head| head.key == key).map(|head| head.value.as_str())
    }

    /// Nothing of the head is left unread.
    ///
    /// # Errors
    /// The first line whose key is none of `keys`: its number, and what is wrong.
    pub fn knows(&self, keys: &[&str]) -> Result<(), (usize, String)> {
        match self.head.iter().find(|head| !keys.contains(&head.key.as_str())) {
            None => Ok(()),
            Some(head) => Err((head.line, format!("unknown header {}", head.key))),
        }
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let header = line.split_once(": ").filter(|(key, _)| key.len() > 1 && self.events.is_empty());
        if let Some((key, value)) = header.filter(|_| !line.starts_with("S:")) {
            return self.header(number, key, value.trim());
        }
        if let Some(by) = line.strip_prefix("clock: ") {
            self.events.push((number, Event::Clock(clock_step(by.trim())?)));
            return Ok(());
        }
        let (mark, rest) = line.split_at_checked(2).ok_or("too short")?;
        let said = rest.strip_prefix(' ').unwrap_or(rest);
        let event = match mark {
            "C:" => Event::Client([said.as_bytes(), b"\r\n"].concat()),
            "C~" => Event::Client(unescape(said)?),
            "U:" => Event::UpstreamSays([said.as_bytes(), b"\r\n"].concat()),
            "U~" => Event::UpstreamSays(unescape(said)?),
            "P:" => Event::Upstream(said.to_owned()),
            "P?" => Event::Grouped(Box::new(Event::Upstream(said.to_owned()))),
            "U?" => Event::Grouped(Box::new(Event::UpstreamSays([said.as_bytes(), b"\r\n"].concat()))),
            "P~" => Event::UpstreamRaw(unescape(said)?),
            "S:" => return self.server(number, said),
            "C!" | "S!" | "U!" | "P!" => directive(mark, said)?,
            _ => return Err("neither C, S, P nor U".into()),
        };
        self.events.push((number, event));
        Ok(())
    }

    /// Lines of one reply are one event.
    fn server(&mut self, number: usize, said: &str) -> Result<(), String> {
        if let Some((_, Event::Server(lines))) = self.events.last_mut()
            && lines.last().is_some_and(|last| last.as_bytes().get(3) == Some(&b'-') && !last.ends_with('…'))
        {
            lines.push(said.to_owned());
        } else {
            self.events.push((number, Event::Server(vec![said.to_owned()])));
        }
        Ok(())
    }

    fn header(&mut self, line: usize, key: &str, value: &str) -> Result<(), String> {
        match key {
            "client" => self.client = value.parse().map_err(|_| "not an IP address")?,
            "listener" => self.listener = Some(value.to_owned()),
            "upstream" if value == "helo-only" => self.upstream = None,
            "upstream" => self.upstream = Some(words(value)),
            "handshake" => self.handshake = value == "written",
            "replay" => self.as_written = value == "as-written",
            _ => self.head.push(Head { line, key: key.to_owned(), value: value.to_owned() }),
        }
        Ok(())
    }

    /// The upstream's answer to EHLO.
    pub(super) fn ehlo_answer(&self) -> String {
        let Some(words) = &self.upstream else { return "502 5.5.1 EHLO? Never heard of it\r\n".into() };
        let mut lines = vec!["upstream.test".to_owned()];
        lines.extend(words.iter().map(|word| word.replacen('=', " ", 1).replace(',', " ")));
        let mut out = String::new();
        for (index, line) in lines.iter().enumerate() {
            let mark = if index + 1 == lines.len() { ' ' } else { '-' };
            // Writing to a text does not fail.
            let _ = write!(out, "250{mark}{line}\r\n");
        }
        out
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn directive(mark: &str, said: &str) -> Result<Event, String> {
    Ok(match (mark, said) {
        ("C!", "tls") => Event::ClientTls,
        ("C!", "reset") => Event::ClientReset,
        ("C!", "half-close") => Event::ClientHalfClose,
        ("S!", "closed") => Event::ServerCloses,
        ("P!", "message") => Event::UpstreamMessage,
        ("P!", "cut") => Event::UpstreamCut,
        ("U!", "close") => Event::UpstreamCloses,
        ("U!", "reset") => Event::UpstreamResets,
        ("U!", "gone") => Event::UpstreamGone,
        ("U!", "back") => Event::UpstreamBack,
        _ => return Err("unknown directive".into()),
    })
}

/// `+90s`, `+5m`, `+2h`, `+30d`, `+250ms`.
fn clock_step(text: &str) -> Result<Duration, String> {
    let wrong = || "write by how much it goes on: +90s, +5m, +2h, +30d".to_owned();
    let text = text.strip_prefix('+').ok_or_else(wrong)?;
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds: u64 = match unit.trim() {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

/// `\*N{text}` repeats; the rest is as in C.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next() {
            Some('r') => out.push(b'\r'),
            Some('n') => out.push(b'\n'),
            Some('t') => out.push(b'\t'),
            Some('0') => out.push(0),
            Some('\\') => out.push(b'\\'),
            Some('x') => {
                let hex: String = chars.by_ref().take(2).collect();
                out.push(u8::from_str_radix(&hex, 16).map_err(|_| "bad \\x")?);
            }
            Some('*') => {
                let count: String = chars.by_ref().take_while(|c| *c != '{').collect();
                let body: String = chars.by_ref().take_while(|c| *c != '}').collect();
                let (body, count) = (unescape(&body)?, count.parse::<usize>().map_err(|_| "bad \\*")?);
                if body.len().saturating_mul(count) > REPEATED_BYTES_MAX {
                    return Err("too much of it".into());
                }
                out.extend(body.repeat(count));
            }
            _ => return Err("unknown escape".into()),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_is_not_known_is_kept_and_can_be_refused() {
        let script = Script::parse("# x\nconfig: a b\nclient: 192.0.2.9\n\nS: 220 hi\nclock: +5m\nC: QUIT\n").unwrap();
        assert_eq!((script.said("config"), script.client), (Some("a b"), "192.0.2.9".parse().unwrap()));
        assert_eq!(script.events.get(1), Some(&(6, Event::Clock(Duration::from_secs(300)))));
        assert_eq!(script.knows(&["config"]), Ok(()));
        assert_eq!(script.knows(&["x"]), Err((2, "unknown header config".into())));
    }

    #[test]
    fn a_line_that_means_nothing_is_named() {
        for (text, line) in
            [("X: y z", 1), ("S: 220 a\nQ: b", 2), ("C~ a\\q", 1), ("S: 220 a\nclock: 5m", 2), ("C! jump", 1)]
        {
            let found = Script::parse(text).and_then(|script| script.knows(&[])).unwrap_err();
            assert_eq!(found.0, line, "{text} {found:?}");
        }
    }
}
