//! Which bounds hold for a client, and what it is counted as. Counting is done elsewhere.

use std::net::IpAddr;

use super::routes;
use crate::config::{Config, KeyPart, Limit, Limits};
use crate::mail::SessionFacts;
use crate::smtp::{ForwardPath, ReversePath};

/// The bounds for a client at this address, and whether rate limits count it: the most specific `[[network]]`
/// that holds the address, else the defaults.
#[must_use]
pub fn for_client(config: &Config, address: IpAddr) -> (Limits, bool) {
    let address = address.to_canonical();
    config
        .networks
        .iter()
        .filter_map(|rule| {
            let longest = rule.networks.iter().filter(|net| net.contains(&address)).map(ipnet::IpNet::prefix_len).max();
            longest.map(|prefix| (prefix, rule))
        })
        .max_by_key(|(prefix, _)| *prefix)
        .map_or_else(|| (config.limits.clone(), true), |(_, rule)| (rule.limits.clone(), rule.rates))
}

/// Bits of an IPv6 address that one subscriber has.
const SUBSCRIBER_BITS_V6: u8 = 64;

/// Who does what, as far as it is known when it is counted.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub address: IpAddr,
    pub listener: &'a str,
    pub identity: Option<&'a str>,
    pub helo: Option<&'a str>,
    pub tls: TlsState,
    pub sender: Option<&'a ReversePath>,
    pub recipient: Option<&'a ForwardPath>,
}

/// How much of a client TLS tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsState {
    Clear,
    Encrypted,
    /// With a client certificate that verified.
    Certified,
}

impl<'a> Subject<'a> {
    /// Somebody who has just connected.
    #[must_use]
    pub fn arriving(address: IpAddr, listener: &'a str) -> Subject<'a> {
        let (identity, helo, sender, recipient) = (None, None, None, None);
        Subject { address, listener, identity, helo, tls: TlsState::Clear, sender, recipient }
    }

    /// The client of a session.
    #[must_use]
    pub fn of(facts: &'a SessionFacts) -> Subject<'a> {
        Subject {
            identity: facts.auth.as_ref().map(|auth| &*auth.identity),
            helo: facts.hello.as_ref().map(|hello| &*hello.name),
            tls: match facts.tls.as_ref().map(|tls| tls.client_subject.is_some()) {
                None => TlsState::Clear,
                Some(false) => TlsState::Encrypted,
                Some(true) => TlsState::Certified,
            },
            ..Subject::arriving(facts.peer.ip(), &facts.listener)
        }
    }
}

/// What the limit counts this under: unambiguous octets, and words for the operator. `None`: it does not count it, for
/// its listener is another one, it is excepted, or a part of the key is not there (nobody has logged in, a bounce has no
/// sender).
#[must_use]
pub fn key(limit: &Limit, subject: &Subject<'_>) -> Option<(Vec<u8>, String)> {
    if !limit.listeners.is_empty() && !limit.listeners.iter().any(|name| name == subject.listener) {
        return None;
    }
    if is_excepted(limit, subject) {
        return None;
    }
    let mut words = String::new();
    let mut octets = Vec::new();
    for part in &limit.per {
        let (name, value) = value(*part, subject)?;
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(name);
        words.push('=');
        words.push_str(&value);
        append(&mut octets, &value);
    }
    Some((octets, words))
}

/// With its length, so that two keys of the same parts are two.
fn append(octets: &mut Vec<u8>, value: &str) {
    octets.extend_from_slice(&(value.len() as u64).to_be_bytes());
    octets.extend_from_slice(value.as_bytes());
}

fn octets_of<const N: usize>(values: [&str; N]) -> Vec<u8> {
    let mut octets = Vec::new();
    values.iter().for_each(|value| append(&mut octets, value));
    octets
}

/// An address as `[rates]` counts it: the octets that `per = ["address"]` has for it.
#[must_use]
pub fn address_octets(address: IpAddr) -> Vec<u8> {
    octets_of([&network(address, 32, SUBSCRIBER_BITS_V6)])
}

/// Somebody who has logged in, as `[rates]` counts them: by the name as it is.
#[must_use]
pub fn identity_octets(identity: &str) -> Vec<u8> {
    octets_of([identity])
}

/// An account at an address.
#[must_use]
pub fn account_octets(address: IpAddr, account: &str) -> Vec<u8> {
    octets_of([&network(address, 32, SUBSCRIBER_BITS_V6), account])
}

/// A recipient as distinct ones are told apart.
#[must_use]
pub fn distinct(recipient: &ForwardPath) -> String {
    recipient.as_str().to_lowercase()
}

fn is_excepted(limit: &Limit, subject: &Subject<'_>) -> bool {
    let (except, address) = (&limit.except, subject.address.to_canonical());
    except.networks.iter().any(|net| net.contains(&address))
        || subject.identity.is_some_and(|identity| except.identities.iter().any(|one| one == identity))
        || subject.sender.is_some_and(|sender| routes::sends(&except.senders, sender))
        || subject
            .recipient
            .and_then(ForwardPath::mailbox)
            .is_some_and(|mailbox| routes::names(&except.recipients, mailbox))
}

fn value(part: KeyPart, subject: &Subject<'_>) -> Option<(&'static str, String)> {
    let sender = || subject.sender?.mailbox();
    let recipient = || subject.recipient?.mailbox();
    Some(match part {
        KeyPart::Address => ("address", network(subject.address, 32, SUBSCRIBER_BITS_V6)),
        KeyPart::Network(v4, v6) => ("network", network(subject.address, v4, v6)),
        KeyPart::Listener => ("listener", subject.listener.to_owned()),
        KeyPart::Identity => ("identity", subject.identity?.to_lowercase()),
        KeyPart::Sender => ("sender", sender()?.as_str().to_lowercase()),
        KeyPart::SenderDomain => ("sender-domain", sender()?.domain().canonical()),
        // `postmaster` alone has no domain, and is somebody.
        KeyPart::Recipient => ("recipient", distinct(subject.recipient?)),
        KeyPart::RecipientDomain => ("recipient-domain", recipient()?.domain().canonical()),
        KeyPart::Helo => ("helo", subject.helo?.to_lowercase()),
        KeyPart::Tls => (
            "tls",
            match subject.tls {
                TlsState::Clear => "clear",
                TlsState::Encrypted => "encrypted",
                TlsState::Certified => "certificate",
            }
            .to_owned(),
        ),
    })
}

/// The network of so many bits that holds the address; a whole address without its bits.
fn network(address: IpAddr, v4: u8, v6: u8) -> String {
    let (address, bits, all) = match address.to_canonical() {
        address @ IpAddr::V4(_) => (address, v4, 32),
        address @ IpAddr::V6(_) => (address, v6, 128),
    };
    if bits >= all {
        return address.to_string();
    }
    ipnet::IpNet::new(address, bits).map_or_else(|_| address.to_string(), |net| net.trunc().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Counted, LimitAction, LimitExcept, Most, Rate};

    fn limit(per: Vec<KeyPart>) -> Limit {
        let rate = Rate { count: 1, per: std::time::Duration::from_secs(60), burst: 1 };
        Limit {
            name: "l".into(),
            listeners: Vec::new(),
            count: Counted::Messages,
            per,
            most: Most::Rate(rate),
            except: LimitExcept::default(),
            action: LimitAction::Defer,
            reply: None,
            alarm: false,
        }
    }

    fn words(limit: &Limit, subject: &Subject<'_>) -> Option<String> {
        key(limit, subject).map(|(_, words)| words)
    }

    #[test]
    fn each_part_is_what_it_is_called() {
        let sender = ReversePath::parse("Anna@Example.ORG").unwrap();
        let recipient = ForwardPath::parse("Otto@bücher.example").unwrap();
        let mut subject = Subject {
            identity: Some("Anna"),
            helo: Some("Client.Test"),
            tls: TlsState::Encrypted,
            sender: Some(&sender),
            recipient: Some(&recipient),
            ..Subject::arriving("2001:db8:1:2:3::4".parse().unwrap(), "mx")
        };
        for (part, wanted) in [
            (KeyPart::Address, "address=2001:db8:1:2::/64"),
            (KeyPart::Network(24, 48), "network=2001:db8:1::/48"),
            (KeyPart::Network(24, 128), "network=2001:db8:1:2:3::4"),
            (KeyPart::Listener, "listener=mx"),
            (KeyPart::Identity, "identity=anna"),
            (KeyPart::Sender, "sender=anna@example.org"),
            (KeyPart::SenderDomain, "sender-domain=example.org"),
            (KeyPart::Recipient, "recipient=otto@bücher.example"),
            (KeyPart::RecipientDomain, "recipient-domain=bücher.example"),
            (KeyPart::Helo, "helo=client.test"),
            (KeyPart::Tls, "tls=encrypted"),
        ] {
            assert_eq!(words(&limit(vec![part]), &subject).as_deref(), Some(wanted));
        }
        subject.address = "::ffff:192.0.2.77".parse().unwrap();
        let both = limit(vec![KeyPart::Network(24, 48), KeyPart::Sender]);
        assert_eq!(words(&both, &subject).unwrap(), "network=192.0.2.0/24 sender=anna@example.org");
        assert_eq!(words(&limit(vec![KeyPart::Address]), &subject).unwrap(), "address=192.0.2.77");
        assert_eq!(words(&limit(vec![]), &subject).unwrap(), "", "all share one count");
    }

    #[test]
    fn what_is_not_there_is_not_counted() {
        let bounce = ReversePath::parse("").unwrap();
        let subject = Subject { sender: Some(&bounce), ..Subject::arriving("192.0.2.1".parse().unwrap(), "mx") };
        for part in [KeyPart::Identity, KeyPart::Sender, KeyPart::SenderDomain, KeyPart::Recipient, KeyPart::Helo] {
            assert_eq!(words(&limit(vec![KeyPart::Address, part]), &subject), None, "{part:?}");
        }
        let elsewhere = Limit { listeners: vec!["submission".into()], ..limit(vec![]) };
        assert_eq!(words(&elsewhere, &subject), None);
    }

    #[test]
    fn who_is_excepted_is_not_counted() {
        use crate::config::AddressPattern;
        let sender = ReversePath::parse("News@lists.example.org").unwrap();
        let subject = Subject {
            sender: Some(&sender),
            identity: Some("anna"),
            ..Subject::arriving("192.0.2.1".parse().unwrap(), "mx")
        };
        let except = |except| words(&Limit { except, ..limit(vec![]) }, &subject);
        assert!(except(LimitExcept::default()).is_some());
        assert!(
            except(LimitExcept { networks: vec!["192.0.2.0/24".parse().unwrap()], ..Default::default() }).is_none()
        );
        assert!(except(LimitExcept { identities: vec!["anna".into()], ..Default::default() }).is_none());
        let below = vec![AddressPattern::Below("example.org".into())];
        assert!(except(LimitExcept { senders: below.clone(), ..Default::default() }).is_none());
        assert!(except(LimitExcept { recipients: below, ..Default::default() }).is_some());
    }

    #[test]
    fn values_that_run_into_each_other_are_two_keys() {
        let parts = limit(vec![KeyPart::Identity, KeyPart::Helo]);
        let address = "192.0.2.1".parse().unwrap();
        let one = Subject { identity: Some("ab"), helo: Some("c"), ..Subject::arriving(address, "mx") };
        let other = Subject { identity: Some("a"), helo: Some("bc"), ..one };
        assert_ne!(key(&parts, &one).unwrap().0, key(&parts, &other).unwrap().0);
    }
}
