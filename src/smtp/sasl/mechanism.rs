//! The SASL mechanisms there are, and sets of them.

use std::fmt;

/// A mechanism by its registered name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// RFC 7677, bound to the TLS connection (RFC 9266).
    ScramSha256Plus,
    /// RFC 7677.
    ScramSha256,
    /// RFC 4422 appendix A, by a client certificate.
    External,
    /// RFC 7628.
    OauthBearer,
    /// Google's and Microsoft's, before there was OAUTHBEARER.
    Xoauth2,
    /// RFC 4616.
    Plain,
    /// Never standardised, and what many mail programs still say first.
    Login,
}

impl Mechanism {
    /// In the order in which EHLO lists them: what gives least away comes first.
    pub const ALL: &'static [Mechanism] = &[
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha256,
        Mechanism::External,
        Mechanism::OauthBearer,
        Mechanism::Xoauth2,
        Mechanism::Plain,
        Mechanism::Login,
    ];

    /// Any case. None: there is no such mechanism here, 504.
    #[must_use]
    pub fn parse(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.iter().copied().find(|known| known.name().eq_ignore_ascii_case(name))
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::External => "EXTERNAL",
            Mechanism::OauthBearer => "OAUTHBEARER",
            Mechanism::Xoauth2 => "XOAUTH2",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Some of them.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Mechanisms(u16);

impl Mechanisms {
    pub const NONE: Mechanisms = Mechanisms(0);
    /// Those by which the server gets to see a password.
    pub const PASSWORDS: Mechanisms = Mechanisms(Mechanism::Plain.bit() | Mechanism::Login.bit());

    /// Those by which it only gets a proof that the client has one.
    pub const SCRAM: Mechanisms = Mechanisms(Mechanism::ScramSha256.bit() | Mechanism::ScramSha256Plus.bit());
    /// Those by which it gets a token of a third party.
    pub const TOKENS: Mechanisms = Mechanisms(Mechanism::OauthBearer.bit() | Mechanism::Xoauth2.bit());
    /// The one that needs nobody but the TLS connection.
    pub const CERTIFICATES: Mechanisms = Mechanisms(Mechanism::External.bit());

    #[must_use]
    pub const fn contains(self, mechanism: Mechanism) -> bool {
        self.0 & mechanism.bit() != 0
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either.
    #[must_use]
    pub const fn or(self, other: Mechanisms) -> Mechanisms {
        Mechanisms(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Mechanisms) -> Mechanisms {
        Mechanisms(self.0 & other.0)
    }

    /// What is in this one alone.
    #[must_use]
    pub const fn without(self, other: Mechanisms) -> Mechanisms {
        Mechanisms(self.0 & !other.0)
    }

    /// In the order of [`Mechanism::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL.iter().copied().filter(move |mechanism| self.contains(*mechanism))
    }
}

impl FromIterator<Mechanism> for Mechanisms {
    fn from_iter<T: IntoIterator<Item = Mechanism>>(all: T) -> Mechanisms {
        Mechanisms(all.into_iter().fold(0, |bits, mechanism| bits | mechanism.bit()))
    }
}

/// As in the EHLO line: `PLAIN LOGIN`.
impl fmt::Display for Mechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, mechanism) in self.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            f.write_str(mechanism.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mechanisms({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!(Mechanism::parse("plain"), Some(Mechanism::Plain));
        assert_eq!(Mechanism::parse("NTLM"), None);
        for known in Mechanism::ALL {
            assert_eq!(Mechanism::parse(&known.name().to_ascii_lowercase()), Some(*known));
        }
    }

    #[test]
    fn a_set_knows_its_members_and_their_order() {
        let both: Mechanisms = [Mechanism::Login, Mechanism::Plain].into_iter().collect();
        assert_eq!(both, Mechanisms::PASSWORDS);
        assert_eq!(both.to_string(), "PLAIN LOGIN");
        assert_eq!(both.without([Mechanism::Plain].into_iter().collect()).to_string(), "LOGIN");
        assert!(Mechanisms::NONE.is_empty() && both.and(Mechanisms::NONE).is_empty());
        assert_eq!(Mechanisms::NONE.or(both), both);
        let all: Mechanisms = Mechanism::ALL.iter().copied().collect();
        assert!(all.iter().eq(Mechanism::ALL.iter().copied()), "each has a bit of its own");
    }
}
