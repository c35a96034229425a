//! A `.dialog` file as data: who says what, in which order.
//!
//! ```text
//! # What this shows.
//! config: relay-local-only
//! client: 192.0.2.7
//! upstream: 8BITMIME DSN
//! puppet: message: append X-A=b
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
//! upstream together with its group, and not asked at all where the answers before it are known.

use std::fmt::Write as _;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
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
}

#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub config: String,
    pub client: String,
    pub listener: Option<String>,
    /// EHLO keywords of the upstream; None: it knows only HELO.
    pub upstream: Option<Vec<String>>,
    /// What the puppet (tests/guests/puppet) does, and its `on-fault`.
    pub(crate) puppet: Option<String>,
    pub(crate) on_fault: String,
    /// The upstreams it may choose.
    pub(crate) routes: Vec<String>,
    /// Banner, EHLO and XCLIENT are written out in the dialog instead of being answered by the harness.
    pub handshake: bool,
    /// Replay only as written (a dialog about packets or time).
    pub as_written: bool,
    pub events: Vec<(usize, Event)>,
}

/// The keywords an upstream has when the dialog does not say.
const UPSTREAM_DEFAULT: &str = "PIPELINING SIZE 8BITMIME SMTPUTF8 DSN ENHANCEDSTATUSCODES CHUNKING \
    XCLIENT=NAME,REVERSE_NAME,ADDR,PORT,PROTO,HELO,LOGIN,DESTADDR,DESTPORT";

impl Script {
    pub(crate) fn parse(text: &str) -> Result<Script, String> {
        let mut script = Script {
            config: String::new(),
            client: "192.0.2.7".into(),
            listener: None,
            upstream: Some(words(UPSTREAM_DEFAULT)),
            puppet: None,
            on_fault: "defer".into(),
            routes: Vec::new(),
            handshake: false,
            as_written: false,
            events: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            script.line(number, line).map_err(|why| format!("line {number}: {why}: {line}"))?;
        }
        if script.config.is_empty() {
            return Err("no `config:`".into());
        }
        Ok(script)
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let header = line.split_once(": ").filter(|(key, _)| key.len() > 1 && self.events.is_empty());
        if let Some((key, value)) = header.filter(|_| !line.starts_with("S:")) {
            return self.header(key, value.trim());
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

    fn header(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "config" => self.config = value.to_owned(),
            "client" => self.client = value.to_owned(),
            "listener" => self.listener = Some(value.to_owned()),
            "upstream" if value == "helo-only" => self.upstream = None,
            "upstream" => self.upstream = Some(words(value)),
            "puppet" => self.puppet = Some(value.to_owned()),
            "on-fault" => self.on_fault = value.to_owned(),
            "routes" => self.routes = words(value),
            "handshake" => self.handshake = value == "written",
            "replay" => self.as_written = value == "as-written",
            _ => return Err(format!("unknown header {key}")),
        }
        Ok(())
    }

    /// A `[[filter]]` with the puppet, granted everything, but of upstreams only `routes`.
    pub(crate) fn puppet_section(&self) -> String {
        let Some(script) = &self.puppet else { return String::new() };
        format!(
            "[[filter]]\nname = \"puppet\"\npath = \"${{PUPPET}}\"\non-fault = {:?}\nsettings = {{ do = '{script}' }}\n\
             [filter.grants]\nheaders = true\nbody = true\nmime = true\nmetrics = true\ncounters = true\n\
             tables = [\"words\"]\nkv = true\ndiscard = true\nroute = {:?}\n\
             edit = {{ headers = true, body = true, sender = true, recipients = [\"*@archive.test\"] }}\n\
             [table.words]\nentries = [\"word\"]\n[engine]\ninstances = 64\ncache = \"${{SCRATCH}}/compiled\"\n",
            self.on_fault, self.routes
        )
    }

    /// The upstream's answer to EHLO.
    pub(crate) fn ehlo_answer(&self) -> String {
        let Some(words) = &self.upstream else { return "502 5.5.1 EHLO? Never heard of it\r\n".into() };
        let mut lines = vec!["upstream.test".to_owned()];
        lines.extend(words.iter().map(|word| word.replacen('=', " ", 1).replace(',', " ")));
        let mut out = String::new();
        for (index, line) in lines.iter().enumerate() {
            let mark = if index + 1 == lines.len() { ' ' } else { '-' };
            write!(out, "250{mark}{line}\r\n").unwrap();
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
                out.extend(unescape(&body)?.repeat(count.parse().map_err(|_| "bad \\*")?));
            }
            _ => return Err("unknown escape".into()),
        }
    }
    Ok(out)
}
