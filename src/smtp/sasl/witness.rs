//! Reading whose login an exchange is, where somebody else has it with the client: for the limits on logins, and for a
//! verifier that says yes or no and not who.

use super::bearer::{oauthbearer, xoauth2};
use super::plain::plain;
use super::scram::first;
use super::{Channel, Mechanism, Name, Step, identity};

/// Listens to what the client says. Only where the name is there to be read and can be no other than the verifier's: a
/// DIGEST-MD5 client names a realm beside it, which some take for a part of the name and others do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    kind: Kind,
    /// Messages of the client's; beyond those that the mechanism has it hears nothing more.
    heard: u8,
    account: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Login,
    CramMd5,
    Scram,
    OauthBearer,
    Xoauth2,
}

/// What the client says names nobody, or one account and another to act for, or is more than there is to say: a second
/// name after the first would be another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// Hexadecimal digits of an MD5 digest.
const CRAM_DIGEST_OCTETS: usize = 32;

impl Witness {
    /// None: of this mechanism nobody can be read.
    #[must_use]
    pub fn of(mechanism: Name) -> Option<Witness> {
        let kind = match mechanism.as_str() {
            "PLAIN" => Kind::Plain,
            "LOGIN" => Kind::Login,
            "CRAM-MD5" => Kind::CramMd5,
            "OAUTHBEARER" => Kind::OauthBearer,
            "XOAUTH2" => Kind::Xoauth2,
            name if name.starts_with("SCRAM-") && !mechanism.is_bound() => Kind::Scram,
            _ => return None,
        };
        Some(Witness { kind, heard: 0, account: None })
    }

    /// The client's next message.
    ///
    /// # Errors
    /// [`Unreadable`], and whatever comes after it is, too.
    pub fn hear(&mut self, message: &[u8]) -> Result<(), Unreadable> {
        self.heard = self.heard.saturating_add(1);
        let sound = match self.heard {
            1 => {
                let named = self.kind.account(message);
                self.account = named.clone().unwrap_or_default();
                named.is_ok()
            }
            _ if self.account.is_none() && self.kind != Kind::OauthBearer => false,
            2 => match self.kind {
                // The password, the proof; the word of a client whose token was refused.
                Kind::Login | Kind::Scram | Kind::OauthBearer | Kind::Xoauth2 => true,
                Kind::Plain | Kind::CramMd5 => false,
            },
            // It has seen the server's proof.
            3 => self.kind == Kind::Scram && message.is_empty(),
            _ => false,
        };
        if sound {
            return Ok(());
        }
        self.account = None;
        self.heard = u8::MAX;
        Err(Unreadable)
    }

    /// Whom the client has named.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// Whose login it is, if the verifier says yes now: never before the client has said all that it takes, nor after.
    #[must_use]
    pub fn concluded(&self) -> Option<&str> {
        let all = match self.kind {
            Kind::Plain | Kind::CramMd5 | Kind::OauthBearer | Kind::Xoauth2 => 1..=1,
            Kind::Login => 2..=2,
            Kind::Scram => 2..=3,
        };
        self.account().filter(|_| all.contains(&self.heard))
    }
}

impl Kind {
    /// The account that the client's first message names. A token may come without one.
    fn account(self, message: &[u8]) -> Result<Option<String>, Unreadable> {
        let step = match self {
            Kind::Plain => plain(message),
            Kind::Login => return identity(message).map(Some).ok_or(Unreadable),
            Kind::CramMd5 => return cram_md5(message).map(Some).ok_or(Unreadable),
            // All of them begin alike. What is bound is bound to another connection.
            Kind::Scram => first(Mechanism::ScramSha256, &Channel::default(), message),
            Kind::OauthBearer => oauthbearer(message),
            Kind::Xoauth2 => xoauth2(message),
        };
        match step {
            Some(Step::Password { identity, .. } | Step::Keys { identity, .. }) => Ok(Some(identity)),
            Some(Step::Token { identity, .. }) => Ok(identity),
            _ => Err(Unreadable),
        }
    }
}

/// `name digest` (RFC 2195); the name may have spaces.
fn cram_md5(message: &[u8]) -> Option<String> {
    let space = message.iter().rposition(|octet| *octet == b' ')?;
    let (name, digest) = message.split_at_checked(space)?;
    let digest = digest.get(1..)?;
    let sound = digest.len() == CRAM_DIGEST_OCTETS && digest.iter().all(u8::is_ascii_hexdigit);
    identity(name).filter(|_| sound)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn witness(mechanism: &str) -> Option<Witness> {
        Witness::of(Name::parse(mechanism).unwrap())
    }

    fn heard(mechanism: &str, message: &[u8]) -> Result<Option<String>, Unreadable> {
        let mut witness = witness(mechanism).unwrap();
        witness.hear(message).map(|()| witness.account().map(str::to_owned))
    }

    #[test]
    fn the_name_is_read_where_it_is_there() {
        for (mechanism, message, name) in [
            ("PLAIN", &b"\0anna\0secret"[..], Some("anna")),
            ("PLAIN", b"anna\0anna\0secret", Some("anna")),
            ("LOGIN", b"anna", Some("anna")),
            ("CRAM-MD5", b"tim b913a602c7eda7a495b4e6e7334d3890", Some("tim")),
            ("CRAM-MD5", b"tim smith B913A602C7EDA7A495B4E6E7334D3890", Some("tim smith")),
            ("SCRAM-SHA-1", b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", Some("user")),
            ("SCRAM-SHA-512", b"y,a=a=2Cb,n=a=2Cb,r=abc", Some("a,b")),
            ("XOAUTH2", b"user=anna\x01auth=Bearer t\x01\x01", Some("anna")),
            ("OAUTHBEARER", b"n,a=anna,\x01auth=Bearer t\x01\x01", Some("anna")),
            ("OAUTHBEARER", b"n,,\x01auth=Bearer t\x01\x01", None),
        ] {
            assert_eq!(heard(mechanism, message), Ok(name.map(str::to_owned)), "{mechanism}");
        }
    }

    #[test]
    fn who_acts_for_another_or_is_nobody_is_not_read() {
        for (mechanism, message) in [
            ("PLAIN", &b"otto\0anna\0secret"[..]),
            ("PLAIN", b"\0\0secret"),
            ("PLAIN", b"\0anna\0secret\0"),
            ("LOGIN", b""),
            ("LOGIN", b"an\nna"),
            ("CRAM-MD5", b"b913a602c7eda7a495b4e6e7334d3890"),
            ("CRAM-MD5", b" b913a602c7eda7a495b4e6e7334d3890"),
            ("CRAM-MD5", b"tim b913a602c7eda7a495b4e6e7334d389"),
            ("CRAM-MD5", b"tim b913a602c7eda7a495b4e6e7334d389g"),
            ("CRAM-MD5", b"tim\0 b913a602c7eda7a495b4e6e7334d3890"),
            ("SCRAM-SHA-1", b"n,a=otto,n=user,r=abc"),
            ("SCRAM-SHA-1", b"p=tls-unique,,n=user,r=abc"),
            ("SCRAM-SHA-1", b"n,,m=x,n=user,r=abc"),
            ("XOAUTH2", b"auth=Bearer t\x01\x01"),
            ("OAUTHBEARER", b"n,a=,\x01auth=Bearer t\x01\x01"),
        ] {
            assert_eq!(heard(mechanism, message), Err(Unreadable), "{mechanism} {}", message.escape_ascii());
        }
        for mechanism in ["DIGEST-MD5", "GSSAPI", "NTLM", "SCRAM-SHA-1-PLUS", "EXTERNAL", "ANONYMOUS"] {
            assert_eq!(witness(mechanism), None, "{mechanism}");
        }
    }

    #[test]
    fn a_yes_counts_when_the_client_has_said_all_and_no_other_name() {
        let proof = b"c=biws,r=abc,p=AAAA";
        for (mechanism, messages, good_after) in [
            ("PLAIN", vec![&b"\0anna\0secret"[..], b"\0otto\0secret"], 1..=1),
            ("LOGIN", vec![b"anna", b"secret", b"otto"], 2..=2),
            ("CRAM-MD5", vec![b"tim b913a602c7eda7a495b4e6e7334d3890", b"ann b913a602c7eda7a495b4e6e7334d3890"], 1..=1),
            ("SCRAM-SHA-1", vec![b"n,,n=user,r=abc", proof, b"", b""], 2..=3),
            ("SCRAM-SHA-1", vec![b"n,,n=user,r=abc", proof, b"n,,n=other,r=abc"], 2..=2),
            ("XOAUTH2", vec![b"user=anna\x01auth=Bearer t\x01\x01", b"", b""], 1..=1),
            ("OAUTHBEARER", vec![b"n,a=anna,\x01auth=Bearer t\x01\x01", b"\x01", b"n"], 1..=1),
            // A name that is not there: no yes can be believed.
            ("OAUTHBEARER", vec![b"n,,\x01auth=Bearer t\x01\x01", b"\x01", b"n"], 9..=9),
            ("PLAIN", vec![b"", b"\0otto\0secret"], 9..=9),
            ("LOGIN", vec![b"", b"anna", b"secret"], 9..=9),
        ] {
            let mut witness = witness(mechanism).unwrap();
            assert_eq!(witness.concluded(), None);
            for (number, message) in messages.iter().enumerate() {
                let _ = witness.hear(message);
                assert_eq!(witness.concluded().is_some(), good_after.contains(&(number + 1)), "{mechanism} {number}");
            }
            assert_eq!(witness.hear(b"more"), Err(Unreadable));
            assert_eq!(witness.account(), None);
        }
    }
}
