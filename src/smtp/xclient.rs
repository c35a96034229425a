//! The words behind XCLIENT and XFORWARD (Postfix's XCLIENT_README and XFORWARD_README): attributes with values in
//! xtext, or `[UNAVAILABLE]` and `[TEMPUNAVAIL]`.
//!
//! Strict: an unknown attribute, one that comes twice, or a value that is not what its attribute holds refuses the
//! whole command, and nothing is changed by it. Who may say any of it is not known here.

use std::net::IpAddr;
use std::sync::Arc;

use super::xtext;

/// As EHLO lists them.
pub const XCLIENT_ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT REVERSE_NAME";
/// As EHLO lists them.
pub const XFORWARD_ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO IDENT SOURCE";
/// Encoded; Postfix takes no more either.
const VALUE_OCTETS_MAX: usize = 255;
/// RFC 1035 2.3.4.
const HOST_NAME_OCTETS_MAX: usize = 253;

/// What an attribute holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told<T> {
    Known(T),
    Unavailable,
    TemporarilyUnavailable,
}

impl<T> Told<T> {
    #[must_use]
    pub fn known(self) -> Option<T> {
        match self {
            Told::Known(value) => Some(value),
            Told::Unavailable | Told::TemporarilyUnavailable => None,
        }
    }
}

/// What one command says; None: it does not speak of that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    pub name: Option<Told<Arc<str>>>,
    pub reverse_name: Option<Told<Arc<str>>>,
    pub address: Option<Told<IpAddr>>,
    pub port: Option<Told<u16>>,
    /// "SMTP" or "ESMTP".
    pub protocol: Option<Told<Arc<str>>>,
    pub helo: Option<Told<Arc<str>>>,
    pub login: Option<Told<Arc<str>>>,
    pub destination_address: Option<Told<IpAddr>>,
    pub destination_port: Option<Told<u16>>,
    pub ident: Option<Told<Arc<str>>>,
    /// "LOCAL" or "REMOTE".
    pub source: Option<Told<Arc<str>>>,
}

impl Attributes {
    /// What follows the verb; `known` is the list of EHLO. None: it is not of that form.
    #[must_use]
    pub fn parse(text: &str, known: &str) -> Option<Attributes> {
        let mut all = Attributes::default();
        let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty()).peekable();
        words.peek()?;
        for word in words {
            let (attribute, value) = word.split_once('=')?;
            let attribute = known.split(' ').find(|known| known.eq_ignore_ascii_case(attribute))?;
            if value.is_empty() || value.len() > VALUE_OCTETS_MAX {
                return None;
            }
            all.set(attribute, &String::from_utf8(xtext::decode(value)?).ok()?)?;
        }
        Some(all)
    }

    fn set(&mut self, attribute: &str, value: &str) -> Option<()> {
        match attribute {
            "NAME" => once(&mut self.name, told(value, host_name)?),
            "REVERSE_NAME" => once(&mut self.reverse_name, told(value, host_name)?),
            "ADDR" => once(&mut self.address, told(value, address)?),
            "PORT" => once(&mut self.port, told(value, port)?),
            "PROTO" => once(&mut self.protocol, told(value, |text| one_of(text, &["SMTP", "ESMTP"]))?),
            "HELO" => once(&mut self.helo, told(value, printable)?),
            "LOGIN" => once(&mut self.login, told(value, printable)?),
            "DESTADDR" => once(&mut self.destination_address, told(value, address)?),
            "DESTPORT" => once(&mut self.destination_port, told(value, port)?),
            "IDENT" => once(&mut self.ident, told(value, printable)?),
            "SOURCE" => once(&mut self.source, told(value, |text| one_of(text, &["LOCAL", "REMOTE"]))?),
            _ => None,
        }
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.is_none().then(|| *slot = Some(value))
}

fn told<T>(value: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<Told<T>> {
    if value.eq_ignore_ascii_case("[UNAVAILABLE]") {
        return Some(Told::Unavailable);
    }
    if value.eq_ignore_ascii_case("[TEMPUNAVAIL]") {
        return Some(Told::TemporarilyUnavailable);
    }
    read(value).map(Told::Known)
}

/// A name of the DNS; underscores are found there.
fn host_name(text: &str) -> Option<Arc<str>> {
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let address = name.parse::<IpAddr>().is_ok();
    (name.len() <= HOST_NAME_OCTETS_MAX && !address && name.split('.').all(label)).then(|| Arc::from(name))
}

/// IPv6 is said with a prefix, as in an address literal, and taken without it as well.
fn address(text: &str) -> Option<IpAddr> {
    match text.split_at_checked(5) {
        Some((prefix, six)) if prefix.eq_ignore_ascii_case("IPV6:") => six.parse().ok().map(IpAddr::V6),
        _ => text.parse().ok(),
    }
    .map(|address: IpAddr| address.to_canonical())
}

fn port(text: &str) -> Option<u16> {
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok())?
}

fn one_of(text: &str, words: &[&'static str]) -> Option<Arc<str>> {
    words.iter().find(|word| word.eq_ignore_ascii_case(text)).map(|word| Arc::from(*word))
}

fn printable(text: &str) -> Option<Arc<str>> {
    (!text.is_empty() && !text.contains(char::is_control)).then(|| Arc::from(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn xclient(text: &str) -> Option<Attributes> {
        Attributes::parse(text, XCLIENT_ATTRIBUTES)
    }

    #[test]
    fn the_examples_of_the_readme() {
        let said = xclient("NAME=spike.porcupine.org ADDR=168.100.189.2").unwrap();
        assert_eq!(said.name, Some(Told::Known("spike.porcupine.org".into())));
        assert_eq!(said.address.unwrap().known(), Some("168.100.189.2".parse().unwrap()));
        assert_eq!(said.helo, None, "it does not speak of that");
        let said = Attributes::parse("NAME=spike.porcupine.org ADDR=168.100.189.2 PROTO=ESMTP", XFORWARD_ATTRIBUTES);
        assert_eq!(said.unwrap().protocol, Some(Told::Known("ESMTP".into())));
        let said = Attributes::parse("HELO=spike.porcupine.org IDENT=4F+20 SOURCE=local", XFORWARD_ATTRIBUTES).unwrap();
        assert_eq!(
            (said.ident.unwrap().known(), said.source.unwrap().known()),
            (Some("4F ".into()), Some("LOCAL".into()))
        );
    }

    #[test]
    fn absent_values_are_said_too() {
        let said =
            xclient("name=[tempunavail] ADDR=[UNAVAILABLE] LOGIN=[unavailable] REVERSE_NAME=[UNAVAILABLE]").unwrap();
        assert_eq!(said.name, Some(Told::TemporarilyUnavailable));
        assert_eq!((said.address, said.login), (Some(Told::Unavailable), Some(Told::Unavailable)));
    }

    #[test]
    fn addresses_of_both_kinds() {
        let address = |text: &str| xclient(text).and_then(|said| said.address?.known());
        for text in ["ADDR=IPV6:2001:db8::7", "ADDR=ipv6:2001:db8::7", "ADDR=2001:db8::7"] {
            assert_eq!(address(text), Some("2001:db8::7".parse().unwrap()), "{text}");
        }
        assert_eq!(address("ADDR=IPV6:::ffff:192.0.2.7"), Some("192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn what_is_wrong_refuses_the_whole() {
        for text in [
            "",
            "NAME",
            "NAME=",
            "=x",
            "ADDR=192.0.2",
            "ADDR=192.0.2.7 ADDR=192.0.2.8",
            "ADDR=IPV6:192.0.2.7",
            "PORT=-1",
            "PORT=+25",
            "PORT=65536",
            "PROTO=LMTP",
            "HELO=a+0D+0Ab",
            "LOGIN=+00",
            "LOGIN=+",
            "NAME=a..b",
            "NAME=-+20",
            "NAME=192.0.2.7",
            "IDENT=x",
            "SOURCE=LOCAL",
            "NAME=a b",
            "LOGIN=+FF",
        ] {
            assert_eq!(xclient(text), None, "{text}");
        }
        assert_eq!(Attributes::parse("LOGIN=ann", XFORWARD_ATTRIBUTES), None, "XFORWARD has no login");
        assert!(xclient(&format!("HELO={}", "x".repeat(255))).is_some());
        assert_eq!(xclient(&format!("HELO={}", "x".repeat(256))), None);
    }

    proptest! {
        #[test]
        fn any_text_is_attributes_or_nothing(text in ".{0,200}") {
            let _ = xclient(&text);
        }

        #[test]
        fn a_login_is_what_was_encoded(login in "[^\\p{Cc}]{1,40}") {
            let word = format!("LOGIN={}", xtext::encode(&login));
            prop_assume!(word.len() <= VALUE_OCTETS_MAX && !login.starts_with('['));
            prop_assert_eq!(xclient(&word).unwrap().login, Some(Told::Known(login.as_str().into())));
        }
    }
}
