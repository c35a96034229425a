//! Names of mechanisms, also of those that there is no machine for here, and what of them is served.

use std::fmt;

use super::super::command::MECHANISM_OCTETS_MAX;
use super::mechanism::{Mechanism, Mechanisms};

/// The registered name of a mechanism: 1 to 20 of `A-Z`, `0-9`, `-` and `_`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Filled up with zeros, which no name has in it.
    octets: [u8; MECHANISM_OCTETS_MAX],
}

impl Name {
    /// What Postfix calls a login that XCLIENT named.
    pub const XCLIENT: Name = Name { octets: *b"XCLIENT\0\0\0\0\0\0\0\0\0\0\0\0\0" };

    /// Any case. None: it is no such name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Name> {
        let sound = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=MECHANISM_OCTETS_MAX).contains(&text.len()) || !text.bytes().all(sound) {
            return None;
        }
        Some(Name::filled(text))
    }

    fn filled(text: &str) -> Name {
        let mut octets = [0; MECHANISM_OCTETS_MAX];
        octets.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from.to_ascii_uppercase());
        Name { octets }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.octets.iter().position(|octet| *octet == 0).unwrap_or(MECHANISM_OCTETS_MAX);
        str::from_utf8(self.octets.get(..end).unwrap_or_default()).unwrap_or_default()
    }

    /// Whether it is bound to the TLS connection (RFC 5801 section 4), and so cannot be had by somebody in between.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.as_str().ends_with("-PLUS")
    }

    /// Whether somebody else can have the exchange. Passwords the gateway takes itself, since any backend can verify
    /// those; a certificate is shown to the gateway; what is bound is bound to the gateway's own connection; and
    /// whoever is anonymous has not logged in.
    #[must_use]
    pub fn can_be_relayed(&self) -> bool {
        !matches!(self.as_str(), "PLAIN" | "LOGIN" | "EXTERNAL" | "ANONYMOUS") && !self.is_bound()
    }

    /// Its place in the answer to EHLO: what gives least away comes first.
    fn rank(self) -> (usize, Name) {
        let known = |mechanism: Mechanism| 1 + 2 * mechanism as usize;
        let rank = match Mechanism::parse(self.as_str()) {
            Some(mechanism) => known(mechanism),
            None if self.as_str().starts_with("SCRAM-") => known(Mechanism::ScramSha256) + 1,
            None => known(Mechanism::Plain) - 1,
        };
        (rank, self)
    }
}

impl From<Mechanism> for Name {
    fn from(mechanism: Mechanism) -> Name {
        Name::filled(mechanism.name())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// Who has the exchange with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The gateway itself.
    Here(Mechanism),
    /// A backend: what client and backend say is passed on.
    Relayed(Name),
}

impl Way {
    /// Of a mechanism, where backends are asked in this order: what the gateway can serve with each, and whether it can
    /// be relayed there. The first that can do either decides; EXTERNAL needs none. None: nobody can.
    pub fn of(name: Name, backends: impl IntoIterator<Item = (Mechanisms, bool)>) -> Option<Way> {
        let known = Mechanism::parse(name.as_str());
        if known == Some(Mechanism::External) {
            return known.map(Way::Here);
        }
        backends.into_iter().find_map(|(here, relays)| match known {
            Some(mechanism) if here.contains(mechanism) => Some(Way::Here(mechanism)),
            _ => (relays && name.can_be_relayed()).then_some(Way::Relayed(name)),
        })
    }
}

/// The mechanisms that are served, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Served {
    here: Mechanisms,
    /// None that is among `here`, none twice, at most `RELAYED_MECHANISMS_MAX`; each [can be](Name::can_be_relayed).
    relayed: Vec<Name>,
}

/// More mechanisms than this a backend does not have; those beyond are not offered.
pub const RELAYED_MECHANISMS_MAX: usize = 32;

impl Served {
    /// Those that the gateway serves itself.
    #[must_use]
    pub const fn here(here: Mechanisms) -> Served {
        Served { here, relayed: Vec::new() }
    }

    /// And one more.
    #[must_use]
    pub fn and(mut self, way: Way) -> Served {
        let unbound = Name::from(Mechanism::ScramSha256);
        match way {
            // The bound form belongs to the other one: whoever serves the one has to know of both.
            Way::Here(Mechanism::ScramSha256Plus) if self.relayed.contains(&unbound) => {}
            Way::Here(mechanism) => self.here = self.here.or([mechanism].into_iter().collect()),
            Way::Relayed(name) if !name.can_be_relayed() || self.relayed.contains(&name) => {}
            Way::Relayed(name) if self.relayed.len() < RELAYED_MECHANISMS_MAX => {
                let known: Mechanisms = Mechanism::parse(name.as_str()).into_iter().collect();
                self.here = self.here.without(if name == unbound { Mechanisms::SCRAM } else { known });
                self.relayed.push(name);
            }
            Way::Relayed(_) => {}
        }
        self
    }

    #[must_use]
    pub fn without(&self, others: Mechanisms) -> Served {
        Served { here: self.here.without(others), relayed: self.relayed.clone() }
    }

    /// Any case. None: it is not served.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Way> {
        let here = Mechanism::parse(name).filter(|known| self.here.contains(*known)).map(Way::Here);
        let relayed = || Name::parse(name).filter(|name| self.relayed.contains(name)).map(Way::Relayed);
        here.or_else(relayed)
    }

    #[must_use]
    pub const fn are_here(&self) -> Mechanisms {
        self.here
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.here.is_empty() && self.relayed.is_empty()
    }
}

/// As in the EHLO line: `CRAM-MD5 PLAIN LOGIN`.
impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: Vec<Name> = self.here.iter().map(Name::from).chain(self.relayed.iter().copied()).collect();
        all.sort_by_key(|name| name.rank());
        for (place, name) in all.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            f.write_str(name.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn names_are_what_the_rfc_says_and_nothing_else() {
        for text in ["A", "cram-md5", "SCRAM-SHA-256-PLUS", "GS2_X", "ABCDEFGHIJKLMNOPQRST"] {
            assert_eq!(name(text).as_str(), text.to_ascii_uppercase());
        }
        for text in ["", "ABCDEFGHIJKLMNOPQRSTU", "A B", "A\r\n", "A\0", "Ä", "A.B", "A=B"] {
            assert_eq!(Name::parse(text), None, "{text:?}");
        }
        assert_eq!(Name::parse("XCLIENT"), Some(Name::XCLIENT));
        for known in Mechanism::ALL {
            assert_eq!(Name::from(*known).as_str(), known.name());
        }
    }

    fn relayed(text: &str) -> Way {
        Way::Relayed(name(text))
    }

    #[test]
    fn some_are_never_relayed() {
        let never = ["PLAIN", "login", "EXTERNAL", "ANONYMOUS", "SCRAM-SHA-1-PLUS", "GS2-KRB5-PLUS"];
        for text in never {
            let served = Served::here(Mechanisms::NONE).and(relayed(text));
            assert!(served.is_empty() && served.find(text).is_none(), "{text}");
        }
    }

    #[test]
    fn one_is_served_by_one_and_listed_once() {
        let served = Served::here(Mechanisms::PASSWORDS.or(Mechanisms::SCRAM).or(Mechanisms::TOKENS));
        assert_eq!(served.find("scram-sha-256"), Some(Way::Here(Mechanism::ScramSha256)));
        let served = served.and(relayed("CRAM-MD5")).and(relayed("cram-md5")).and(relayed("NTLM"));
        assert_eq!(
            served.to_string(),
            "SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER XOAUTH2 CRAM-MD5 NTLM PLAIN LOGIN"
        );
        let served = served.and(relayed("SCRAM-SHA-1")).and(relayed("SCRAM-SHA-256"));
        assert_eq!(served.find("scram-sha-256"), Some(Way::Relayed(name("SCRAM-SHA-256"))));
        assert_eq!(
            served.to_string(),
            "SCRAM-SHA-256 SCRAM-SHA-1 OAUTHBEARER XOAUTH2 CRAM-MD5 NTLM PLAIN LOGIN",
            "the bound one goes with it"
        );
        let served = served.and(Way::Here(Mechanism::ScramSha256Plus));
        assert_eq!(served.find("SCRAM-SHA-256-PLUS"), None);
        let served = served.without(Mechanisms::PASSWORDS);
        assert_eq!(served.find("PLAIN"), None);
        let mut many = Served::default();
        for number in 0..100 {
            many = many.and(relayed(&format!("X-{number}")));
        }
        assert_eq!(many.relayed.len(), RELAYED_MECHANISMS_MAX);
    }

    #[test]
    fn the_first_that_can_decides() {
        let (file, dovecot) = ((Mechanisms::PASSWORDS.or(Mechanisms::SCRAM), false), (Mechanisms::PASSWORDS, true));
        let way = |text: &str, order: [(Mechanisms, bool); 2]| Way::of(name(text), order);
        assert_eq!(way("PLAIN", [dovecot, file]), Some(Way::Here(Mechanism::Plain)));
        assert_eq!(way("SCRAM-SHA-256", [file, dovecot]), Some(Way::Here(Mechanism::ScramSha256)));
        assert_eq!(way("SCRAM-SHA-256", [dovecot, file]), Some(relayed("SCRAM-SHA-256")));
        assert_eq!(way("SCRAM-SHA-256-PLUS", [dovecot, file]), Some(Way::Here(Mechanism::ScramSha256Plus)));
        assert_eq!(way("CRAM-MD5", [file, dovecot]), Some(relayed("CRAM-MD5")));
        assert_eq!(way("CRAM-MD5", [file, file]), None);
        assert_eq!(way("ANONYMOUS", [file, dovecot]), None);
        assert_eq!(way("EXTERNAL", [file, dovecot]), Some(Way::Here(Mechanism::External)));
    }
}
