//! Telling the upstream who the client is, in the words of Postfix's XCLIENT and XFORWARD. Pure.
//!
//! What Postfix does with them decides the order here (XCLIENT_README, and 3.7 as it was seen to behave): once
//! ADDR has changed, the new address is asked whether it may use XCLIENT, so whatever comes after is refused;
//! and HELO, PROTO and LOGIN are forgotten at the next XCLIENT. So the last command carries ADDR and LOGIN, and
//! what does not fit beside them goes ahead. Refuses to shorten a login; other long values are cut.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::connection::Manner;
use crate::config::UpstreamProtocol;
use crate::mail::{Forwarded, Hello, PeerName, SessionFacts};
use crate::smtp::xtext;

/// With CRLF (RFC 5321 4.5.3.1.4; XCLIENT_README, note 1).
const COMMAND_LINE_OCTETS_MAX: usize = 512;
/// As encoded; Postfix refuses more.
const ATTRIBUTE_VALUE_OCTETS_MAX: usize = 255;
/// What the client said in HELO, as we repeat it.
const HELLO_NAME_OCTETS_MAX: usize = 255;

/// Attributes in the order in which they are said. (REVERSE_NAME after NAME, which Postfix also takes for it.)
const SAID_ORDER: [&str; 9] =
    ["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT", "REVERSE_NAME"];
/// Attributes by their claim to a place in the last XCLIENT. (PROTO and HELO are said once more by the hello after it.)
const LAST_ORDER: [&str; 9] =
    ["ADDR", "LOGIN", "NAME", "REVERSE_NAME", "PROTO", "HELO", "PORT", "DESTADDR", "DESTPORT"];
const FORWARD_ORDER: [&str; 7] = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"];

const UNAVAILABLE: &str = "[UNAVAILABLE]";

/// Attributes of XCLIENT, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Attributes(u16);

impl Attributes {
    /// What is said to an upstream that offers these.
    pub(super) fn add(&mut self, offered: &[String]) {
        self.0 |= Self::of(offered);
    }

    /// All of them are on offer, so that each can be said anew; where nothing is offered, nothing can.
    pub(super) fn are_in(self, offered: &[String]) -> bool {
        !offered.is_empty() && self.0 & !Self::of(offered) == 0
    }

    fn of(offered: &[String]) -> u16 {
        let bit = |attribute: &str| SAID_ORDER.iter().position(|said| *said == attribute).map_or(0, |at| 1 << at);
        offered.iter().fold(0, |set, attribute| set | bit(attribute))
    }
}

/// The facts of a session that the upstream is told, and no others: what makes a session another one for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    peer: SocketAddr,
    local: SocketAddr,
    name: PeerName,
    reverse_name: PeerName,
    hello: Option<Hello>,
    login: Option<Arc<str>>,
    /// Of the session; only for XFORWARD's IDENT.
    id: Arc<str>,
    /// Whom XFORWARD named to us: passed on by XFORWARD only, because it decides nothing.
    forwarded: Option<Forwarded>,
}

impl Identity {
    pub(super) fn of(who: &SessionFacts, manner: Manner) -> Self {
        let introduced = who.introduced.as_ref().filter(|_| manner == Manner::Xforward);
        Identity {
            peer: who.peer,
            local: who.local,
            name: who.peer_name.clone(),
            reverse_name: who.reverse_name.clone(),
            hello: who.hello.clone(),
            login: who.auth.as_ref().map(|auth| auth.identity.clone()),
            id: who.id.clone(),
            forwarded: introduced.and_then(|said| said.forwarded.clone()),
        }
    }

    /// The XCLIENT commands for an upstream that lists `offered`, each with CRLF, to be sent one after the other.
    ///
    /// # Errors
    /// When the list lacks what makes it worth anything, or the login cannot be said.
    pub(super) fn xclient(&self, offered: &[String]) -> Result<Vec<String>, &'static str> {
        if !offered.iter().any(|attribute| attribute == "ADDR") {
            return Err("its XCLIENT has no ADDR");
        }
        let login = self.login.as_deref().map_or_else(|| UNAVAILABLE.to_owned(), xtext::encode);
        if login.is_empty() || login.len() > ATTRIBUTE_VALUE_OCTETS_MAX {
            return Err("the login is too long for XCLIENT");
        }
        let value = |attribute: &str| match attribute {
            "NAME" => name(&self.name),
            "REVERSE_NAME" => name(&self.reverse_name),
            "ADDR" => address(self.peer.ip()),
            "PORT" => self.peer.port().to_string(),
            "PROTO" => self.protocol().to_owned(),
            "HELO" => self.helo(),
            "LOGIN" => login.clone(),
            "DESTADDR" => address(self.local.ip()),
            _ => self.local.port().to_string(),
        };
        let wanted = LAST_ORDER.into_iter().filter(|attribute| offered.iter().any(|offer| offer == attribute));
        let words = wanted.map(|attribute| (attribute, format!(" {attribute}={}", value(attribute)))).collect();
        Ok(packed("XCLIENT", words, &SAID_ORDER))
    }

    /// The XFORWARD commands for an upstream that lists `offered`; they hold for one transaction.
    ///
    /// # Errors
    /// When the list lacks what makes it worth anything.
    pub(super) fn xforward(&self, offered: &[String]) -> Result<Vec<String>, &'static str> {
        if !offered.iter().any(|attribute| attribute == "ADDR") {
            return Err("its XFORWARD has no ADDR");
        }
        let own = |attribute: &str| match attribute {
            "NAME" => match &self.name {
                PeerName::TemporarilyUnavailable => UNAVAILABLE.to_owned(),
                known => name(known),
            },
            "ADDR" => address(self.peer.ip()),
            "PORT" => self.peer.port().to_string(),
            "PROTO" => self.protocol().to_owned(),
            "HELO" => self.plain_helo(),
            "IDENT" => cut(xtext::encode(self.id.as_bytes())),
            _ => "REMOTE".to_owned(),
        };
        let value = |attribute: &str| match &self.forwarded {
            None => own(attribute),
            Some(forwarded) => said(forwarded, attribute).unwrap_or_else(|| UNAVAILABLE.to_owned()),
        };
        let wanted = FORWARD_ORDER.into_iter().filter(|attribute| offered.iter().any(|offer| offer == attribute));
        let words = wanted.map(|attribute| (attribute, format!(" {attribute}={}", value(attribute)))).collect();
        Ok(packed("XFORWARD", words, &FORWARD_ORDER))
    }

    /// The hello after XCLIENT, with CRLF: the client's own verb and name, because this is what an upstream judges
    /// and writes into Received. A client that has not said any is spoken for in our name.
    /// LMTP has one verb only, LHLO.
    pub(super) fn hello_line(&self, protocol: UpstreamProtocol, hostname: &str) -> String {
        let verb = match protocol {
            UpstreamProtocol::Lmtp => "LHLO",
            UpstreamProtocol::Smtp if self.is_extended() => "EHLO",
            UpstreamProtocol::Smtp => "HELO",
        };
        match &self.hello {
            Some(hello) => format!("{verb} {}\r\n", spoken(&hello.name)),
            None => format!("{verb} {hostname}\r\n"),
        }
    }

    /// The client spoke ESMTP, or nothing yet.
    pub(super) fn is_extended(&self) -> bool {
        self.hello.as_ref().is_none_or(|hello| hello.extended)
    }

    pub(super) fn has_login(&self) -> bool {
        self.login.is_some()
    }

    fn protocol(&self) -> &'static str {
        if self.hello.as_ref().is_some_and(|hello| hello.extended) { "ESMTP" } else { "SMTP" }
    }

    fn helo(&self) -> String {
        match &self.hello {
            Some(hello) if !hello.name.is_empty() => cut(xtext::encode(hello.name.as_bytes())),
            _ => UNAVAILABLE.to_owned(),
        }
    }

    /// XFORWARD allows nothing that is special in a header (XFORWARD_README, note 1).
    fn plain_helo(&self) -> String {
        match &self.hello {
            Some(hello) if !hello.name.is_empty() => plain(&hello.name),
            _ => UNAVAILABLE.to_owned(),
        }
    }
}

fn plain(text: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(&octet);
    let text = text.bytes().map(|octet| if plain(octet) { char::from(octet) } else { '?' });
    text.take(ATTRIBUTE_VALUE_OCTETS_MAX).collect()
}

/// What XFORWARD said to us, as we say it on; None: unavailable.
fn said(forwarded: &Forwarded, attribute: &str) -> Option<String> {
    match attribute {
        "NAME" => forwarded.name.as_deref().map(plain),
        "ADDR" => forwarded.address.map(address),
        "PORT" => forwarded.port.map(|port| port.to_string()),
        "PROTO" => forwarded.protocol.as_deref().map(plain),
        "HELO" => forwarded.helo.as_deref().map(plain),
        "IDENT" => forwarded.ident.as_deref().map(|ident| cut(xtext::encode(ident.as_bytes()))),
        _ => forwarded.source.as_deref().map(plain),
    }
}

fn name(name: &PeerName) -> String {
    match name {
        PeerName::Confirmed(name) => cut(xtext::encode(name.as_bytes())),
        PeerName::Unavailable => UNAVAILABLE.to_owned(),
        PeerName::TemporarilyUnavailable => "[TEMPUNAVAIL]".to_owned(),
    }
}

fn address(address: IpAddr) -> String {
    match address.to_canonical() {
        // Nobody's: who spoke for the client did not know it.
        unknown if unknown.is_unspecified() => UNAVAILABLE.to_owned(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("IPV6:{address}"),
    }
}

/// What Postfix takes of an encoded value; no `+XX` is cut in two.
fn cut(mut encoded: String) -> String {
    if encoded.len() > ATTRIBUTE_VALUE_OCTETS_MAX {
        let half = encoded.as_bytes().iter().take(ATTRIBUTE_VALUE_OCTETS_MAX).rposition(|&octet| octet == b'+');
        let end = half.filter(|at| at + 3 > ATTRIBUTE_VALUE_OCTETS_MAX).unwrap_or(ATTRIBUTE_VALUE_OCTETS_MAX);
        encoded.truncate(end);
    }
    encoded
}

/// A name as it may stand in a command line, whoever made it up.
fn spoken(name: &str) -> String {
    let printable = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    let said: String = name.chars().map(printable).take(HELLO_NAME_OCTETS_MAX).collect();
    if said.is_empty() { "?".to_owned() } else { said }
}

/// Fills commands from the last to the first; `words` come by their claim to the last one.
fn packed(verb: &str, words: Vec<(&'static str, String)>, order: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut waiting = words;
    while !waiting.is_empty() {
        let mut room = COMMAND_LINE_OCTETS_MAX - 2 - verb.len();
        let mut chosen = Vec::new();
        let mut rest = Vec::new();
        for (attribute, word) in waiting {
            // The first always fits: no value is longer than 255 octets.
            if word.len() <= room {
                room -= word.len();
                chosen.push((attribute, word));
            } else {
                rest.push((attribute, word));
            }
        }
        chosen.sort_by_key(|(attribute, _)| order.iter().position(|said| said == attribute));
        let words: String = chosen.into_iter().map(|(_, word)| word).collect();
        lines.push(format!("{verb}{words}\r\n"));
        waiting = rest;
    }
    lines.reverse();
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::super::support::client;
    use super::*;
    use crate::mail::AuthFacts;

    fn of(who: &SessionFacts) -> Identity {
        Identity::of(who, Manner::Xforward)
    }

    fn all() -> Vec<String> {
        "NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT".split(' ').map(str::to_owned).collect()
    }

    fn login(who: &mut SessionFacts, identity: &str) {
        who.auth = Some(Arc::new(AuthFacts {
            mechanism: crate::smtp::sasl::Mechanism::Plain.into(),
            identity: identity.into(),
        }));
    }

    #[test]
    fn every_attribute_that_is_listed_is_said() {
        let mut who = client();
        let said = of(&who).xclient(&all()).unwrap();
        assert_eq!(
            said,
            ["XCLIENT NAME=client.test ADDR=192.0.2.7 PORT=4321 PROTO=ESMTP HELO=client.test LOGIN=[UNAVAILABLE] \
              DESTADDR=198.51.100.1 DESTPORT=25 REVERSE_NAME=client.test\r\n"]
        );
        login(&mut who, "a+b c=ü@x");
        who.peer = "[2001:db8::7]:9".parse().unwrap();
        who.local = "[::ffff:198.51.100.1]:587".parse().unwrap();
        who.peer_name = PeerName::TemporarilyUnavailable;
        who.reverse_name = PeerName::Unavailable;
        who.hello = Some(Hello { name: "[2001:db8::7]".into(), extended: false });
        let said = of(&who).xclient(&all()).unwrap();
        assert_eq!(
            said,
            ["XCLIENT NAME=[TEMPUNAVAIL] ADDR=IPV6:2001:db8::7 PORT=9 PROTO=SMTP HELO=[2001:db8::7] \
              LOGIN=a+2Bb+20c+3D+C3+BC@x DESTADDR=198.51.100.1 DESTPORT=587 REVERSE_NAME=[UNAVAILABLE]\r\n"]
        );
        who.hello = None;
        let said = of(&who).xclient(&["HELO".into(), "ADDR".into(), "UNHEARD_OF".into()]).unwrap();
        assert_eq!(said, ["XCLIENT ADDR=IPV6:2001:db8::7 HELO=[UNAVAILABLE]\r\n"]);
    }

    #[test]
    fn no_line_is_too_long_and_the_last_one_decides() {
        let mut who = client();
        who.peer = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".parse().unwrap();
        who.peer_name = PeerName::Confirmed("n".repeat(253).into());
        who.reverse_name = who.peer_name.clone();
        who.hello = Some(Hello { name: "ü".repeat(127).into(), extended: true });
        for login_len in [1, 100, 190, 200, 255] {
            login(&mut who, &"l".repeat(login_len));
            let said = of(&who).xclient(&all()).unwrap();
            assert!(said.len() > 1);
            assert!(said.iter().all(|line| line.len() <= COMMAND_LINE_OCTETS_MAX && line.ends_with("\r\n")));
            let (last, before) = said.split_last().unwrap();
            assert!(last.contains(" ADDR=IPV6:") && last.contains(" LOGIN=l"), "{last}");
            assert!(!before.iter().any(|line| line.contains(" ADDR=") || line.contains(" LOGIN=")));
            for attribute in SAID_ORDER {
                let key = format!(" {attribute}=");
                assert_eq!(said.iter().filter(|line| line.contains(&key)).count(), 1, "{attribute}");
            }
            let helo = said.iter().find_map(|line| line.split(" HELO=").nth(1)).unwrap();
            let helo = helo.split([' ', '\r']).next().unwrap();
            assert!(helo.len() <= ATTRIBUTE_VALUE_OCTETS_MAX);
            assert!(xtext::decode(helo).is_some(), "no escape is cut in two");
        }
    }

    #[test]
    fn a_login_is_never_shortened() {
        let mut who = client();
        login(&mut who, &"l".repeat(256));
        assert!(of(&who).xclient(&all()).is_err());
        login(&mut who, &"ü".repeat(50));
        assert!(of(&who).xclient(&all()).is_err());
        assert!(of(&client()).xclient(&["NAME".into(), "HELO".into()]).is_err(), "no ADDR, no identity");
        assert!(of(&client()).xforward(&["NAME".into()]).is_err());
    }

    #[test]
    fn xforward_speaks_for_logs() {
        let mut who = client();
        who.hello = Some(Hello { name: "a<b>\u{fc}\"(c)".into(), extended: true });
        who.peer_name = PeerName::TemporarilyUnavailable;
        let offered: Vec<String> = "NAME ADDR PROTO HELO SOURCE PORT IDENT".split(' ').map(str::to_owned).collect();
        assert_eq!(
            of(&who).xforward(&offered).unwrap(),
            [
                "XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.7 PORT=4321 PROTO=ESMTP HELO=a?b?????c? IDENT=abc SOURCE=REMOTE\r\n"
            ]
        );
    }

    #[test]
    fn the_hello_is_the_clients_and_one_line() {
        let mut who = client();
        assert_eq!(of(&who).hello_line(UpstreamProtocol::Smtp, "mx.test"), "EHLO client.test\r\n");
        who.hello = Some(Hello { name: "x\r\nMAIL FROM:<>\u{fc}".into(), extended: false });
        assert_eq!(of(&who).hello_line(UpstreamProtocol::Smtp, "mx.test"), "HELO x??MAIL?FROM:<>?\r\n");
        who.hello = None;
        assert_eq!(of(&who).hello_line(UpstreamProtocol::Smtp, "mx.test"), "EHLO mx.test\r\n");
    }
}
