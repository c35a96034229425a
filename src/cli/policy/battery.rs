//! Every trick by which a stranger ever got a mail server to relay: recipients that are elsewhere for somebody who reads
//! them, whatever they look like here; senders that seem to be somebody's; and what is said before MAIL.

use std::net::{IpAddr, Ipv4Addr};

use super::shapes::{FOREIGN, by_the_domain, by_the_local_part, in_octets};
use crate::config::Config;
use crate::policy::tables::Tables;

/// What a trick plays with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    /// Nothing: a recipient elsewhere, as everybody would say it.
    Plainness,
    /// How the recipient looks.
    Recipient,
    Sender,
    /// What is said before MAIL.
    Session,
    /// The same, where only those are heard who may speak for clients.
    Introduction,
    /// The same, where only those are heard who show a certificate.
    Certificate,
}

/// One way to ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trick {
    pub(crate) name: &'static str,
    pub(crate) with: With,
    /// After EHLO.
    before: Vec<String>,
    /// With its brackets, and parameters behind them.
    sender: String,
    recipient: Vec<u8>,
}

impl Trick {
    fn new(name: &'static str, with: With, sender: &str, recipient: &[u8]) -> Trick {
        Trick { name, with, before: Vec::new(), sender: sender.to_owned(), recipient: recipient.to_vec() }
    }

    fn after(name: &'static str, before: &[&str]) -> Trick {
        let before = before.iter().map(|line| (*line).to_owned()).collect();
        Trick { before, ..Trick::new(name, With::Session, "<>", PLAIN.as_bytes()) }
    }

    fn with(self, with: With) -> Trick {
        Trick { with, ..self }
    }

    /// What is said after EHLO; the last command names the recipient.
    pub(crate) fn commands(&self) -> Vec<Vec<u8>> {
        self.commands_from(&self.sender)
    }

    /// The same from another sender.
    pub(crate) fn commands_from(&self, sender: &str) -> Vec<Vec<u8>> {
        let utf8 = if sender.is_ascii() && self.recipient.is_ascii() { "" } else { " SMTPUTF8" };
        let mut commands: Vec<Vec<u8>> = self.before.iter().map(|line| line.clone().into_bytes()).collect();
        commands.push(format!("MAIL FROM:{sender}{utf8}").into_bytes());
        commands.push([b"RCPT TO:", self.recipient.as_slice()].concat());
        commands
    }
}

/// A recipient elsewhere.
pub(crate) const PLAIN: &str = "<user@relay-test.invalid>";
const STRANGER: &str = "<test@relay-test.invalid>";
/// Under these, strangers register domains. A gateway that takes mail for all of one of them relays.
const REGISTRIES: &[&str] = &[
    "com", "net", "org", "info", "biz", "edu", "gov", "io", "eu", "de", "fr", "nl", "it", "es", "pl", "ch", "at", "se",
    "ru", "cn", "in", "jp", "br", "us", "uk", "co.uk", "org.uk", "com.au", "co.jp", "com.br", "co.in",
];
/// No one has registered this anywhere.
const UNREGISTERED: &str = "wasmilter-relay-test-7f3a9c";

/// What a stranger could try at a gateway with this configuration.
pub(crate) fn tricks(config: &Config, tables: &Tables) -> Vec<Trick> {
    let (ours, host, literal) = (ours(config), config.hostname.as_str(), literal(config));
    let mut tricks = vec![Trick::new("plain", With::Plainness, STRANGER, PLAIN.as_bytes())];
    let alike = [("ours as an ending", format!("not{ours}"))].into_iter();
    let alike = alike.chain(lookalike(&ours).map(|name| ("letters of another script", name)));
    let alike = alike.filter(|(_, name)| !is_below_ours(config, tables, name));
    let alike = alike.map(|(name, domain)| (name, format!("<user@{domain}>")));
    let shaped = by_the_local_part(&ours, host, &literal).into_iter().chain(by_the_domain(&ours)).chain(alike);
    tricks.extend(shaped.map(|(name, recipient)| Trick::new(name, With::Recipient, STRANGER, recipient.as_bytes())));
    let octets = in_octets(&ours).into_iter();
    tricks.extend(octets.map(|(name, recipient)| Trick::new(name, With::Recipient, STRANGER, &recipient)));
    tricks.extend(by_the_sender(&ours, host, &literal));
    tricks.extend(by_the_session(&ours, host, &literal));
    for registry in REGISTRIES {
        let recipient = format!("<user@{UNREGISTERED}.{registry}>");
        let name = "a domain that anybody could register";
        tricks.push(Trick::new(name, With::Plainness, "<>", recipient.as_bytes()));
    }
    tricks
}

fn by_the_sender(ours: &str, host: &str, literal: &str) -> Vec<Trick> {
    let ours_says = format!("<postmaster@{ours}>");
    let percent = format!("<user%{FOREIGN}@{ours}>");
    let from = |name, sender: &str| Trick::new(name, With::Sender, sender, PLAIN.as_bytes());
    vec![
        from("null sender", "<>"),
        from("sender in our domain", &ours_says),
        from("sender with our name", &format!("<root@{host}>")),
        from("sender at our address", &format!("<root@{literal}>")),
        from("sender at localhost", "<root@localhost>"),
        from("sender without a domain", "<postmaster>"),
        from("sender is the recipient", PLAIN),
        from("sender by a source route", &format!("<@{ours}:test@{FOREIGN}>")),
        from("sender in our domain by percent", &format!("<test%{FOREIGN}@{ours}>")),
        from("AUTH of MAIL", &format!("{STRANGER} AUTH=postmaster@{ours}")),
        Trick::new("percent, null sender", With::Sender, "<>", percent.as_bytes()),
        Trick::new("percent, our sender", With::Sender, &ours_says, percent.as_bytes()),
    ]
}

fn by_the_session(ours: &str, host: &str, literal: &str) -> Vec<Trick> {
    let hello = |name| format!("EHLO {name}");
    let xclient = format!("XCLIENT ADDR=127.0.0.1 NAME={host} LOGIN=postmaster@{ours}");
    let ours_is_good = format!("RCPT TO:<postmaster@{ours}>");
    vec![
        Trick::after("EHLO with our name", &[&hello(host)]),
        Trick::after("EHLO with our domain", &[&hello(ours)]),
        Trick::after("EHLO with our address", &[&hello(literal)]),
        Trick::after("EHLO as localhost", &[&hello("localhost")]),
        Trick::after("EHLO as the loopback", &[&hello("[127.0.0.1]")]),
        Trick::after("HELO", &["HELO client.relay-test.invalid"]),
        // "\0postmaster\0postmaster" and "postmaster".
        Trick::after("a login that fails", &["AUTH PLAIN AHBvc3RtYXN0ZXIAcG9zdG1hc3Rlcg=="]),
        Trick::after("a login that is cancelled", &["AUTH LOGIN cG9zdG1hc3Rlcg==", "*"]),
        Trick::after("AUTH ANONYMOUS", &["AUTH ANONYMOUS cG9zdG1hc3Rlcg=="]),
        Trick::after("AUTH EXTERNAL", &["AUTH EXTERNAL =", "="]).with(With::Certificate),
        Trick::after("XFORWARD", &["XFORWARD ADDR=127.0.0.1 SOURCE=LOCAL"]),
        Trick::after("PROXY", &["PROXY TCP4 127.0.0.1 127.0.0.1 25 25"]),
        Trick::after("behind a recipient of ours", &["MAIL FROM:<>", &ours_is_good]),
        Trick::after("behind a transaction of ours", &["MAIL FROM:<>", &ours_is_good, "RSET"]),
        Trick::after("XCLIENT", &[&xclient, "EHLO localhost"]).with(With::Introduction),
    ]
}

/// An address of this gateway's, as a literal.
fn literal(config: &Config) -> String {
    let mut own = config.listeners.iter().flat_map(|listener| &listener.addresses).map(std::net::SocketAddr::ip);
    match own.find(|address| !address.is_unspecified()).unwrap_or(Ipv4Addr::LOCALHOST.into()) {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

/// Something that is ours.
pub(crate) fn ours(config: &Config) -> String {
    let below = config.relay.subdomains_of.first().map(|parent| format!("mail.{parent}"));
    config.relay.domains.first().cloned().or(below).unwrap_or_else(|| config.hostname.clone())
}

/// Whether the operator takes mail for all names below one that this ends in. Told without the policy that is tried.
fn is_below_ours(config: &Config, tables: &Tables, name: &str) -> bool {
    let parents = name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..));
    let listed = |table: &String| tables.contains(table, name);
    parents.into_iter().any(|parent| config.relay.subdomains_of.iter().any(|all_below| all_below == parent))
        || config.relay.domains_table.as_ref().is_some_and(listed)
}

/// The same domain to the eye: one Latin letter is a Cyrillic one.
fn lookalike(domain: &str) -> Option<String> {
    const PAIRS: [(char, char); 7] =
        [('a', 'а'), ('e', 'е'), ('o', 'о'), ('p', 'р'), ('c', 'с'), ('x', 'х'), ('y', 'у')];
    PAIRS.iter().find(|(latin, _)| domain.contains(*latin)).map(|(latin, other)| {
        let mut done = false;
        let swap = |c: char| if c == *latin && !std::mem::replace(&mut done, true) { *other } else { c };
        domain.chars().map(swap).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookalike_differs_in_one_letter() {
        assert_eq!(lookalike("example.org").as_deref(), Some("ex\u{430}mple.org"));
        assert_eq!(lookalike("mm.test"), Some("mm.t\u{435}st".to_owned()));
        assert_eq!(lookalike("mm"), None);
    }
}
