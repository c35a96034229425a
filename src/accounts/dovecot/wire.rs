//! Lines of Dovecot's auth client protocol, version 1.x: fields between tabs, read and written without a socket.
//!
//! What a client typed travels in base64 only, so nothing of it can become a field.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::accounts::Client;
use crate::smtp::sasl::Secret;

/// What is ours to speak.
const VERSION: &str = "VERSION\t1\t1";

/// A line of the server, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The major version; another one than 1 is another protocol.
    Version(u32),
    Mechanism(String),
    /// The handshake is over.
    Done,
    Answer(u32, Answer),
    /// What is of no interest, or newer than this.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Whom Dovecot calls the user; octets as they came.
    Ok(Option<Vec<u8>>),
    Fail,
    /// It cannot tell for now.
    Temporary,
    /// It wants more, which PLAIN never does.
    Continue,
}

/// What opens a connection. `client` is a number that no other connection to the same Dovecot has.
pub(super) fn hello(client: u32) -> Vec<u8> {
    format!("{VERSION}\nCPID\t{client}\n").into_bytes()
}

/// A login with PLAIN. Wiped by whoever has sent it: the password is in it.
pub(super) fn login(id: u32, client: &Client<'_>, name: &str, password: &Secret) -> Secret {
    let message = Secret::new([b"\0", name.as_bytes(), b"\0", password.reveal()].concat());
    let response = Secret::new(STANDARD.encode(message.reveal()).into_bytes());
    let (local, remote) = (client.session.local, client.session.peer);
    let head = format!(
        "AUTH\t{id}\tPLAIN\tservice=smtp\tnologin{}\tsession={}\tlip={}\trip={}\tlport={}\trport={}\tresp=",
        if client.session.tls.is_some() { "\tsecured" } else { "" },
        client.session.id,
        local.ip().to_canonical(),
        remote.ip().to_canonical(),
        local.port(),
        remote.port(),
    );
    Secret::new([head.as_bytes(), response.reveal(), b"\n"].concat())
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
        b"MECH" => Said::Mechanism(String::from_utf8(fields.next()?.to_vec()).ok()?),
        b"DONE" => Said::Done,
        b"CONT" => Said::Answer(number()?, Answer::Continue),
        b"OK" => Said::Answer(number()?, accepted(fields)),
        b"FAIL" => Said::Answer(number()?, refused(fields)),
        _ => Said::Other,
    })
}

/// `nologin`: the password is right, and the account is closed; with `proxy` it only means that Dovecot itself does not
/// serve it.
fn accepted<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Answer {
    let (mut user, mut closed, mut elsewhere) = (None, false, false);
    for field in fields {
        let (key, value) = key_and_value(field);
        match key {
            b"user" => user = Some(unescape(value)),
            b"nologin" => closed = true,
            b"proxy" | b"proxy_maybe" => elsewhere = true,
            _ => {}
        }
    }
    if closed && !elsewhere { Answer::Fail } else { Answer::Ok(user) }
}

fn refused<'a>(mut fields: impl Iterator<Item = &'a [u8]>) -> Answer {
    let for_now = |field: &[u8]| matches!(field, b"temp" | b"code=temp_fail");
    if fields.any(for_now) { Answer::Temporary } else { Answer::Fail }
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
        let user = |name: &[u8]| Answer::Ok(Some(name.to_vec()));
        for (line, said) in [
            ("VERSION\t1\t2", Some(Said::Version(1))),
            ("VERSION\tone", None),
            ("MECH\tPLAIN\tplaintext", Some(Said::Mechanism("PLAIN".into()))),
            ("SPID\t17", Some(Said::Other)),
            ("COOKIE\t0123", Some(Said::Other)),
            ("DONE", Some(Said::Done)),
            ("OK\t7\tuser=anna@example.org\tx=y", answer(7, user(b"anna@example.org"))),
            ("OK\t7\tuser=a\u{1}tb\u{1}1\u{1}", answer(7, user(b"a\tb\x01\x01"))),
            ("OK\t7", answer(7, Answer::Ok(None))),
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
            ("CONT\t7\t", answer(7, Answer::Continue)),
            ("", Some(Said::Other)),
        ] {
            assert_eq!(parse(line.as_bytes()), said, "{line}");
        }
    }
}
