//! What XCLIENT and XFORWARD said: checked as Postfix checks it, remembered as Postfix remembers it. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::net::hosts::host_name;
use crate::smtp::{Reply, replies, xtext};

pub(super) const XCLIENT_ATTRIBUTES: [&str; 9] =
    ["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT", "REVERSE_NAME"];
pub(super) const XFORWARD_ATTRIBUTES: [&str; 7] = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"];
/// Encoded.
const VALUE_OCTETS_MAX: usize = 255;

/// Attributes by name, decoded, printable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Introduced(BTreeMap<&'static str, String>);

impl Introduced {
    /// Takes in the words behind XCLIENT or XFORWARD; nothing is changed when one of them is wrong.
    pub(super) fn take(&mut self, words: &str, known: &[&'static str]) -> Result<(), Reply> {
        let mut said = BTreeMap::new();
        for word in words.split_ascii_whitespace() {
            let (attribute, value) = word.split_once('=').ok_or(replies::PARAMETER_BAD)?;
            let attribute = known.iter().find(|known| known.eq_ignore_ascii_case(attribute));
            let attribute = *attribute.ok_or(replies::PARAMETER_UNKNOWN)?;
            if value.is_empty() || value.len() > VALUE_OCTETS_MAX {
                return Err(replies::PARAMETER_BAD);
            }
            let value = xtext::decode(value).ok_or(replies::PARAMETER_BAD)?;
            let value = printable(&value);
            let unavailable = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|none| value.eq_ignore_ascii_case(none));
            if !unavailable && !fits(attribute, &value) {
                return Err(replies::PARAMETER_BAD);
            }
            said.insert(attribute, value);
        }
        if said.is_empty() {
            return Err(replies::PARAMETER_BAD);
        }
        self.0.extend(said);
        Ok(())
    }

    /// What Postfix forgets at each XCLIENT.
    pub(super) fn forget_hello_and_login(&mut self) {
        for attribute in ["HELO", "PROTO", "LOGIN"] {
            self.0.remove(attribute);
        }
    }

    /// The client's address, where one was said.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.0.get("ADDR").and_then(|address| parse_address(address))
    }
}

/// `name=… addr=…`, in a header's words.
impl std::fmt::Display for Introduced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (nth, (attribute, value)) in self.0.iter().enumerate() {
            let space = if nth == 0 { "" } else { " " };
            write!(f, "{space}{}={value}", attribute.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

fn fits(attribute: &str, value: &str) -> bool {
    match attribute {
        "NAME" | "REVERSE_NAME" => host_name(value).is_some(),
        "ADDR" | "DESTADDR" => parse_address(value).is_some(),
        "PORT" | "DESTPORT" => value.parse::<u16>().is_ok(),
        "PROTO" => ["SMTP", "ESMTP"].contains(&value.to_ascii_uppercase().as_str()),
        _ => true,
    }
}

fn parse_address(text: &str) -> Option<IpAddr> {
    match text.split_at_checked(5) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("IPV6:") => rest.parse().ok().map(IpAddr::V6),
        _ => text.parse().ok().map(IpAddr::V4),
    }
}

fn printable(octets: &[u8]) -> String {
    octets.iter().map(|octet| if octet.is_ascii_graphic() { char::from(*octet) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn attributes_are_checked_and_shown() {
        let mut told = Introduced::default();
        told.take("NAME=a.test addr=IPV6:2001:db8::1 PROTO=esmtp HELO=x+0D+0Ay LOGIN=a+2Bb", &XCLIENT_ATTRIBUTES)
            .unwrap();
        assert_eq!(told.to_string(), "addr=IPV6:2001:db8::1 helo=x??y login=a+b name=a.test proto=esmtp");
        assert_eq!(told.address(), Some("2001:db8::1".parse().unwrap()));
        told.forget_hello_and_login();
        told.take("NAME=[unavailable] ADDR=192.0.2.1", &XCLIENT_ATTRIBUTES).unwrap();
        assert_eq!(told.to_string(), "addr=192.0.2.1 name=[unavailable]");
    }

    #[test]
    fn what_postfix_refuses_is_refused_and_changes_nothing() {
        for words in [
            "",
            "NAME",
            "NAME=",
            "NAME=[1.2.3.4]",
            "NAME=a..b",
            "ADDR=2001:db8::1",
            "ADDR=IPV6:1.2.3.4",
            "PORT=99999",
            "PROTO=UUCP",
            "HELO=+",
            "SOURCE=LOCAL",
            "ADDR=192.0.2.1 HELO=",
        ] {
            let mut told = Introduced::default();
            assert!(told.take(words, &XCLIENT_ATTRIBUTES).is_err(), "{words}");
            assert_eq!(told, Introduced::default(), "{words}");
        }
        let long = format!("HELO={}", "x".repeat(256));
        assert!(Introduced::default().take(&long, &XCLIENT_ATTRIBUTES).is_err());
    }
}
