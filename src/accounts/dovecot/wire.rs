//! Lines of Dovecot's auth client protocol, version 1.x: fields between tabs, read and written without a socket.
//!
//! What a client typed travels in base64 only, and the host it named in TLS escaped, so nothing of it can become a field.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::accounts::Client;
use crate::smtp::sasl::{Name, Secret};

/// What is ours to speak.
const VERSION: &str = "VERSION\t1\t1";

/// A line of the server, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The major version; another one than 1 is another protocol.
    Version(u32),
    /// Of a name that is none, None.
    Mechanism(Option<Name>),
    /// The handshake is over.
    Done,
    Answer(u32, Answer),
    /// What is of no interest, or newer than this.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Whom Dovecot calls the user; octets as they came. And what the client is still to be shown.
    Ok {
        user: Option<Vec<u8>>,
        last: Option<Vec<u8>>,
    },
    Fail,
    /// It cannot tell for now.
    Temporary,
    /// It wants more; PLAIN never does.
    Continue(Vec<u8>),
}

/// What opens a connection. `client` is a number that no other connection to the same Dovecot has.
pub(super) fn hello(client: u32) -> Vec<u8> {
    format!("{VERSION}\nCPID\t{client}\n").into_bytes()
}

/// PLAIN's one message.
pub(super) fn plain(name: &str, password: &Secret) -> Secret {
    Secret::new([b"\0", name.as_bytes(), b"\0", password.reveal()].concat())
}

/// A login begins. Wiped by whoever has sent it: there may be a password in it.
pub(super) fn begin(id: u32, client: &Client<'_>, mechanism: Name, initial: Option<&Secret>) -> Secret {
    let session = client.session;
    let mut head = format!("AUTH\t{id}\t{mechanism}\tservice=smtp\tnologin\tsession={}", escaped(&session.id));
    // Writing to a text does not fail.
    let _ = write!(head, "\tlip={}\trip={}", session.local.ip().to_canonical(), session.peer.ip().to_canonical());
    let _ = write!(head, "\tlport={}\trport={}", session.local.port(), session.peer.port());
    if let Some(tls) = &session.tls {
        head.push_str("\tsecured=tls");
        if let Some(name) = tls.sni.as_deref() {
            let _ = write!(head, "\tlocal_name={}", escaped(name));
        }
        // One that did not verify is not among the facts.
        if tls.client_fingerprint.is_some() {
            head.push_str("\tvalid-client-cert");
        }
    }
    match initial {
        None => Secret::new([head.as_bytes(), b"\n"].concat()),
        // The last of all fields.
        Some(message) => {
            let response = encoded(message);
            Secret::new([head.as_bytes(), b"\tresp=", response.reveal(), b"\n"].concat())
        }
    }
}

/// The client's next message.
pub(super) fn go_on(id: u32, message: &Secret) -> Secret {
    let response = encoded(message);
    Secret::new([format!("CONT\t{id}\t").as_bytes(), response.reveal(), b"\n"].concat())
}

fn encoded(message: &Secret) -> Secret {
    Secret::new(STANDARD.encode(message.reveal()).into_bytes())
}

/// What ends a field or a line cannot stand in one.
fn escaped(text: &str) -> String {
    text.replace('\u{1}', "\u{1}1")
        .replace('\0', "\u{1}0")
        .replace('\t', "\u{1}t")
        .replace('\r', "\u{1}r")
        .replace('\n', "\u{1}n")
}

/// The client of this login is gone.
pub(super) fn cancel(id: u32) -> Vec<u8> {
    format!("CANCEL\t{id}\n").into_bytes()
}

/// One line without its end. None: it is not of this protocol.
pub(super) fn parse(line: &[u8]) -> Option<Said> {
    let mut fields = line.split(|octet| *octet == b'\t');
    let word = fields.next()?;
    let mut number = || str::from_utf8(fields.next()?).ok()?.parse::<u32>().ok();
    Some(match word {
        b"VERSION" => Said::Version(number()?),
        b"MECH" => Said::Mechanism(mechanism(fields)?),
        b"DONE" => Said::Done,
        b"CONT" => Said::Answer(number()?, Answer::Continue(STANDARD.decode(fields.next().unwrap_or_default()).ok()?)),
        b"OK" => Said::Answer(number()?, accepted(fields)?),
        b"FAIL" => Said::Answer(number()?, refused(fields)),
        _ => Said::Other,
    })
}

/// `nologin`: the password is right, and the account is closed; with `proxy` it only means that Dovecot itself does not
/// serve it.
fn accepted<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Option<Answer> {
    let (mut user, mut last, mut closed, mut elsewhere) = (None, None, false, false);
    for field in fields {
        let (key, value) = key_and_value(field);
        match key {
            b"user" => user = Some(unescape(value)),
            b"resp" => last = Some(STANDARD.decode(value).ok()?),
            b"nologin" => closed = true,
            b"proxy" | b"proxy_maybe" => elsewhere = true,
            _ => {}
        }
    }
    Some(if closed && !elsewhere { Answer::Fail } else { Answer::Ok { user, last } })
}

fn refused<'a>(mut fields: impl Iterator<Item = &'a [u8]>) -> Answer {
    let for_now = |field: &[u8]| matches!(field, b"temp" | b"code=temp_fail");
    if fields.any(for_now) { Answer::Temporary } else { Answer::Fail }
}

/// The outer None: it names none. Inner: nothing that could be relayed, since Dovecot does not want it said, or it logs
/// in whoever comes.
fn mechanism<'a>(mut fields: impl Iterator<Item = &'a [u8]>) -> Option<Option<Name>> {
    let name = Name::parse(str::from_utf8(fields.next()?).ok()?);
    let hidden = fields.any(|field| matches!(field, b"private" | b"anonymous"));
    Some(name.filter(|_| !hidden))
}

fn key_and_value(field: &[u8]) -> (&[u8], &[u8]) {
    let end = field.iter().position(|octet| *octet == b'=').unwrap_or(field.len());
    let (key, value) = field.split_at_checked(end).unwrap_or((field, &[]));
    (key, value.get(1..).unwrap_or_default())
}

/// 0x01 and a letter stand for what would end a field or a line.
fn unescape(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut octets = value.iter().copied();
    while let Some(octet) = octets.next() {
        plain.push(match octet {
            1 => match octets.next() {
                Some(b'0') => 0,
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(other) => other.wrapping_sub(b'0'),
                None => 1,
            },
            other => other,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_what_is_newer_is_passed_over() {
        let answer = |id, answer| Some(Said::Answer(id, answer));
        let user = |name: &[u8]| Answer::Ok { user: Some(name.to_vec()), last: None };
        let mechanism = |name| Some(Said::Mechanism(name));
        for (line, said) in [
            ("VERSION\t1\t2", Some(Said::Version(1))),
            ("VERSION\tone", None),
            ("MECH\tPLAIN\tplaintext", mechanism(Name::parse("PLAIN"))),
            ("MECH\tCRAM-MD5\tdictionary\tactive", mechanism(Name::parse("CRAM-MD5"))),
            ("MECH\tX", mechanism(Name::parse("X"))),
            ("MECH\tAPOP\tprivate\tdictionary", mechanism(None)),
            ("MECH\tANONYMOUS\tanonymous", mechanism(None)),
            ("MECH\tÄ", mechanism(None)),
            ("MECH\t", mechanism(None)),
            ("MECH", None),
            ("SPID\t17", Some(Said::Other)),
            ("COOKIE\t0123", Some(Said::Other)),
            ("DONE", Some(Said::Done)),
            ("OK\t7\tuser=anna@example.org\tx=y", answer(7, user(b"anna@example.org"))),
            ("OK\t7\tuser=a\u{1}tb\u{1}1\u{1}", answer(7, user(b"a\tb\x01\x01"))),
            ("OK\t7", answer(7, Answer::Ok { user: None, last: None })),
            ("OK\t7\tuser=anna\tnologin\treason=closed", answer(7, Answer::Fail)),
            ("OK\t7\tuser=anna\tnologin=Y\tproxy=Y", answer(7, user(b"anna"))),
            ("OK", None),
            ("OK\t-1\tuser=anna", None),
            ("FAIL\t4294967295\tuser=anna", answer(u32::MAX, Answer::Fail)),
            ("FAIL\t4294967296\tuser=anna", None),
            ("FAIL\t7\tuser=anna\tuser_disabled\tcode=user_disabled", answer(7, Answer::Fail)),
            ("FAIL\t7\tuser=anna\ttemp", answer(7, Answer::Temporary)),
            ("FAIL\t7\tcode=temp_fail", answer(7, Answer::Temporary)),
            ("FAIL\t7\treason=temp", answer(7, Answer::Fail)),
            ("OK\t7\tuser=a\tresp=dj0x", answer(7, Answer::Ok { user: Some(b"a".into()), last: Some(b"v=1".into()) })),
            ("OK\t7\tuser=a\tresp=dj0", None),
            ("CONT\t7\t", answer(7, Answer::Continue(Vec::new()))),
            ("CONT\t7", answer(7, Answer::Continue(Vec::new()))),
            ("CONT\t7\tPDE+", answer(7, Answer::Continue(b"<1>".into()))),
            ("CONT\t7\tPDE", None),
            ("CONT\tx\tPDE+", None),
            ("", Some(Said::Other)),
        ] {
            assert_eq!(parse(line.as_bytes()), said, "{line}");
        }
    }
}
