//! The server's side of SASL PLAIN (RFC 4616) and LOGIN, without a socket and without a password in reach of
//! a log: what comes out are credentials for somebody else to verify.
//!
//! Base64 is strict: padding is required, and nothing may stand around it.

mod mechanism;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::replies;
use super::reply::Reply;

pub use mechanism::{Mechanism, Mechanisms};

/// Each of authorization identity, name and password, decoded (RFC 4616 section 2 asks for 255).
pub const CREDENTIAL_OCTETS_MAX: usize = 255;

/// Octets that cannot be printed, and are overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Secret {
        Secret(octets)
    }

    /// The only way in: for verifying.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // The compiler has to believe that somebody still looks at the zeros.
        std::hint::black_box(&self.0);
    }
}

/// What happens next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Say this (334), and give the next line to the exchange.
    Challenge(Reply, Exchange),
    /// To be verified. The identity is UTF-8 without control characters and not empty.
    Credentials { identity: String, password: Secret },
    /// Over; say this.
    Failed(Reply),
}

/// An exchange that waits for the client's next line.
#[derive(Debug, PartialEq, Eq)]
pub struct Exchange(Awaiting);

#[derive(Debug, PartialEq, Eq)]
enum Awaiting {
    Plain,
    LoginName,
    LoginPassword { identity: String },
}

impl Exchange {
    /// From an AUTH command: its initial response is still in base64.
    #[must_use]
    pub fn begin(mechanism: Mechanism, initial: Option<&Secret>) -> Step {
        let exchange = Exchange(match mechanism {
            Mechanism::Plain => Awaiting::Plain,
            Mechanism::Login => Awaiting::LoginName,
        });
        match initial {
            Some(initial) => exchange.take(initial.reveal()),
            None => exchange.ask(),
        }
    }

    /// The client's answer to the challenge, without its line end.
    #[must_use]
    pub fn respond(self, line: &[u8]) -> Step {
        if line == b"*" { Step::Failed(replies::AUTH_CANCELLED) } else { self.take(line) }
    }

    fn ask(self) -> Step {
        let challenge = match self.0 {
            Awaiting::Plain => "",
            // "Username:" and "Password:", as every client of this mechanism expects.
            Awaiting::LoginName => "VXNlcm5hbWU6",
            Awaiting::LoginPassword { .. } => "UGFzc3dvcmQ6",
        };
        Step::Challenge(replies::challenge(challenge), self)
    }

    fn take(self, base64: &[u8]) -> Step {
        let Ok(decoded) = STANDARD.decode(base64).map(Secret::new) else {
            return Step::Failed(replies::AUTH_NOT_BASE64);
        };
        let step = match self.0 {
            Awaiting::Plain => plain(decoded.reveal()),
            Awaiting::LoginName => {
                identity(decoded.reveal()).map(|identity| Exchange(Awaiting::LoginPassword { identity }).ask())
            }
            Awaiting::LoginPassword { identity } => {
                password(decoded.reveal()).map(|password| Step::Credentials { identity, password })
            }
        };
        step.unwrap_or(Step::Failed(replies::AUTH_MALFORMED))
    }
}

/// `[authzid] NUL authcid NUL passwd`. Acting for somebody else is not provided for.
fn plain(message: &[u8]) -> Option<Step> {
    let mut parts = message.split(|&b| b == 0);
    let (acting_for, name, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let identity = identity(name)?;
    let password = password(secret).filter(|_| parts.next().is_none())?;
    if !acting_for.is_empty() && acting_for != name {
        return Some(Step::Failed(replies::AUTH_FAILED));
    }
    Some(Step::Credentials { identity, password })
}

fn identity(octets: &[u8]) -> Option<String> {
    let name = str::from_utf8(octets).ok()?;
    let sound = (1..=CREDENTIAL_OCTETS_MAX).contains(&name.len()) && !name.contains(char::is_control);
    sound.then(|| name.to_owned())
}

fn password(octets: &[u8]) -> Option<Secret> {
    let sound = (1..=CREDENTIAL_OCTETS_MAX).contains(&octets.len()) && !octets.contains(&0);
    sound.then(|| Secret::new(octets.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(mechanism: Mechanism, initial: Option<&str>) -> Step {
        Exchange::begin(mechanism, initial.map(|text| Secret::new(text.into())).as_ref())
    }

    fn plain_step(message: &[u8]) -> Step {
        step(Mechanism::Plain, Some(&STANDARD.encode(message)))
    }

    fn credentials(identity: &str, password: &str) -> Step {
        Step::Credentials { identity: identity.into(), password: Secret::new(password.into()) }
    }

    #[test]
    fn plain_with_and_without_initial_response() {
        // RFC 4616 section 4: tim, tanstaaftanstaaf.
        assert_eq!(plain_step(b"\0tim\0tanstaaf"), credentials("tim", "tanstaaf"));
        assert_eq!(plain_step(b"tim\0tim\0tanstaaf"), credentials("tim", "tanstaaf"));
        let Step::Challenge(reply, exchange) = step(Mechanism::Plain, None) else { panic!("no challenge") };
        assert_eq!((reply.code, reply.text.as_ref()), (334, ""));
        assert_eq!(exchange.respond(b"AHRpbQB0YW5zdGFhZg=="), credentials("tim", "tanstaaf"));
    }

    #[test]
    fn login_asks_for_what_it_was_not_told() {
        for initial in [None, Some("dGlt")] {
            let mut next = step(Mechanism::Login, initial);
            if initial.is_none() {
                let Step::Challenge(reply, exchange) = next else { panic!("no challenge") };
                assert_eq!(reply.text, "VXNlcm5hbWU6");
                next = exchange.respond(b"dGlt");
            }
            let Step::Challenge(reply, exchange) = next else { panic!("no challenge") };
            assert_eq!(reply.text, "UGFzc3dvcmQ6");
            assert_eq!(exchange.respond(b"dGFuc3RhYWY="), credentials("tim", "tanstaaf"));
        }
    }

    #[test]
    fn cancelled_means_cancelled() {
        let Step::Challenge(_, exchange) = step(Mechanism::Login, Some("dGlt")) else { panic!("no challenge") };
        assert_eq!(exchange.respond(b"*"), Step::Failed(replies::AUTH_CANCELLED));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let long = [b"\0tim\0".as_slice(), &[b'x'; 256]].concat();
        let messages: [&[u8]; 9] =
            [b"", b"\0", b"\0\0", b"\0tim\0", b"\0\0pass", b"tim\0pass", b"\0tim\0pass\0", b"\0t\nm\0pass", &long];
        for message in messages {
            assert_eq!(plain_step(message), Step::Failed(replies::AUTH_MALFORMED), "{message:?}");
        }
        assert_eq!(plain_step(b"\0\xff\0pass"), Step::Failed(replies::AUTH_MALFORMED));
        assert_eq!(plain_step(b"root\0tim\0pass"), Step::Failed(replies::AUTH_FAILED));
        assert_eq!(step(Mechanism::Login, Some("")), Step::Failed(replies::AUTH_MALFORMED));
    }

    #[test]
    fn base64_is_strict() {
        for text in
            ["AHRpbQB0YW5zdGFhZg", "AHRpbQB0YW5zdGFhZg=", "AHRpbQB0YW5zdGFhZh==", " AHRpbQB0YW5zdGFhZg==", "=", "*"]
        {
            assert_eq!(step(Mechanism::Plain, Some(text)), Step::Failed(replies::AUTH_NOT_BASE64), "{text:?}");
        }
    }

    #[test]
    fn a_secret_cannot_be_printed() {
        assert_eq!(
            format!("{:?}", credentials("tim", "tanstaaf")),
            r#"Credentials { identity: "tim", password: Secret }"#
        );
    }
}
