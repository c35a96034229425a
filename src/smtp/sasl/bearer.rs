//! OAUTHBEARER (RFC 7628) and XOAUTH2, which was there before it: a token of somebody who issues them.

use std::borrow::Cow;

use super::{Mechanism, Secret, Step, identity};

/// Between the parts of a message.
const SEPARATOR: u8 = 1;

/// `n,a=user,` and then `key=value` pairs, each ended by ^A, one more ^A at the end. Only `auth` counts; host and port
/// name the server that the client believes to speak to, which TLS has settled.
pub(super) fn oauthbearer(message: &[u8]) -> Option<Step> {
    let (header, pairs) = message.split_once_octet(SEPARATOR)?;
    let mut parts = header.splitn(3, |&b| b == b',');
    let (flag, acting_for, rest) = (parts.next()?, parts.next()?, parts.next()?);
    // There is nothing to bind with: `p=` is for other mechanisms.
    if !matches!(flag, b"n" | b"y") || !rest.is_empty() {
        return None;
    }
    let identity = match acting_for.strip_prefix(b"a=") {
        Some(name) => Some(identity(&unescaped(name)?)?),
        None if acting_for.is_empty() => None,
        None => return None,
    };
    let pairs = pairs.strip_suffix(&[SEPARATOR])?.strip_suffix(&[SEPARATOR])?;
    let mut token = None;
    for pair in pairs.split(|&b| b == SEPARATOR) {
        let (key, value) = pair.split_once_octet(b'=')?;
        let known = key.iter().all(u8::is_ascii_alphabetic) && !key.is_empty();
        let readable = value.iter().all(|b| matches!(b, 0x20..=0x7e | b'\t' | b'\r' | b'\n'));
        if !known || !readable {
            return None;
        }
        if key == b"auth" && token.replace(bearer(value)?).is_some() {
            return None;
        }
    }
    Some(Step::Token { mechanism: Mechanism::OauthBearer, identity, token: token? })
}

/// `user=` name ^A `auth=Bearer ` token ^A ^A.
pub(super) fn xoauth2(message: &[u8]) -> Option<Step> {
    let (user, auth) = message.strip_prefix(b"user=")?.split_once_octet(SEPARATOR)?;
    let auth = auth.strip_prefix(b"auth=")?.strip_suffix(&[SEPARATOR, SEPARATOR])?;
    Some(Step::Token { mechanism: Mechanism::Xoauth2, identity: Some(identity(user)?), token: bearer(auth)? })
}

/// What is said of a token that is not good, before the client's last word and 535: JSON (RFC 7628 section 3.2.2). With
/// `discovery`, an address without quotes, backslashes and control characters, the client can find out where to get one.
pub(super) fn refusal(mechanism: Mechanism, discovery: Option<&str>) -> Cow<'static, str> {
    let plain = |address: &&str| address.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    match (mechanism, discovery.filter(plain)) {
        (Mechanism::Xoauth2, _) => r#"{"status":"401","schemes":"Bearer","scope":""}"#.into(),
        (_, Some(page)) => format!(r#"{{"status":"invalid_token","openid-configuration":"{page}"}}"#).into(),
        (_, None) => r#"{"status":"invalid_token"}"#.into(),
    }
}

/// `Bearer` in any case, spaces, a `b64token` (RFC 6750 section 2.1).
fn bearer(value: &[u8]) -> Option<Secret> {
    let (scheme, token) = value.split_at_checked(6)?;
    let bare = token.strip_prefix(b" ")?.trim_ascii();
    let body = bare.iter().rposition(|&b| b != b'=').map(|last| bare.get(..=last).unwrap_or_default())?;
    let sound = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    let good = scheme.eq_ignore_ascii_case(b"bearer") && body.iter().all(sound);
    good.then(|| Secret::new(bare.to_vec()))
}

/// A `saslname` (RFC 5801 section 4): `=2C` is a comma, `=3D` an equals sign, and nothing else is escaped.
pub(super) fn unescaped(name: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&octet, more)) = rest.split_first() {
        rest = more;
        match octet {
            b'=' => {
                let (code, more) = rest.split_at_checked(2)?;
                out.push(match code {
                    b"2C" => b',',
                    b"3D" => b'=',
                    _ => return None,
                });
                rest = more;
            }
            b',' | 0 => return None,
            octet => out.push(octet),
        }
    }
    Some(out)
}

trait SplitOnce {
    fn split_once_octet(&self, at: u8) -> Option<(&[u8], &[u8])>;
}

impl SplitOnce for [u8] {
    fn split_once_octet(&self, at: u8) -> Option<(&[u8], &[u8])> {
        let place = self.iter().position(|&b| b == at)?;
        Some((self.get(..place)?, self.get(place + 1..)?))
    }
}
