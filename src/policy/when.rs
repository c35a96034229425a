//! Which filters a session, a sender and a recipient are for: the conditions of `when`. What is not known yet does not
//! hold, as with routes.

use std::net::IpAddr;

use crate::config::{Config, Filter, Listener, ListenerAuth, When, holds};
use crate::mail::{Sender, SessionFacts};
use crate::smtp::ForwardPath;

use super::routes::{names, sends};

/// What the conditions ask about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    pub authenticated: bool,
}

impl Client {
    #[must_use]
    pub fn of(facts: &SessionFacts) -> Client {
        Client { address: facts.peer.ip(), authenticated: facts.auth.is_some() }
    }
}

/// Whether a filter runs in this session, as far as the session alone can tell.
#[must_use]
pub fn session_holds(when: &When, listener: &str, client: Client) -> bool {
    (when.listeners.is_empty() || when.listeners.iter().any(|name| name == listener))
        && (when.networks.is_empty() || holds(&when.networks, client.address))
        && !holds(&when.except_networks, client.address)
        && when.authenticated.is_none_or(|wanted| wanted == client.authenticated)
}

/// Whether a filter runs on mail of this sender.
#[must_use]
pub fn sender_holds(when: &When, sender: &Sender) -> bool {
    when.senders.is_empty() || sends(&when.senders, &sender.path)
}

/// Whether a filter runs on mail to this recipient.
#[must_use]
pub fn recipient_holds(when: &When, recipient: &ForwardPath) -> bool {
    when.recipients.is_empty() || recipient.mailbox().is_some_and(|mailbox| names(&when.recipients, mailbox))
}

/// The size that was announced, RFC 1870.
#[must_use]
pub fn declared_size(sender: &Sender) -> Option<u64> {
    sender.params.get("SIZE")?.value.as_ref()?.parse().ok()
}

/// Some of the filters whose conditions name recipients: places in `Config::filters`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilterSet(Vec<usize>);

impl FilterSet {
    #[must_use]
    pub fn contains(&self, place: usize) -> bool {
        self.0.binary_search(&place).is_ok()
    }

    /// Those of the other, too.
    pub fn join(&mut self, other: &FilterSet) {
        self.0.extend_from_slice(&other.0);
        self.0.sort_unstable();
        self.0.dedup();
    }
}

/// How recipients that are for different filters come together in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixed {
    /// They do not: a server sends them again, each in a transaction of its own.
    Apart,
    /// Every filter that one of them is for judges the message: mail programs do not try again.
    Together,
}

/// How they do for this client; `None`: no filter at this listener looks at recipients.
#[must_use]
pub fn mixed(config: &Config, listener: &Listener, authenticated: bool) -> Option<Mixed> {
    about_recipients(config, listener).next()?;
    let apart = about_recipients(config, listener).any(|(_, filter)| !filter.shadow);
    let together = !apart || authenticated || listener.auth == ListenerAuth::Required;
    Some(if together { Mixed::Together } else { Mixed::Apart })
}

/// The filters that look at recipients and do not run on mail of this sender.
#[must_use]
pub fn held_off(config: &Config, listener: &Listener, sender: &Sender) -> FilterSet {
    let held_off = about_recipients(config, listener).filter(|(_, filter)| !sender_holds(&filter.when, sender));
    FilterSet(held_off.map(|(place, _)| place).collect())
}

/// The filters that look at recipients and run on mail to this one, those aside that are `held_off`.
#[must_use]
pub fn of_recipient(
    config: &Config,
    listener: &Listener,
    client: Client,
    held_off: &FilterSet,
    recipient: &ForwardPath,
) -> FilterSet {
    let wanted = about_recipients(config, listener).filter(|(place, filter)| {
        recipient_holds(&filter.when, recipient)
            && !held_off.contains(*place)
            && session_holds(&filter.when, &listener.name, client)
    });
    FilterSet(wanted.map(|(place, _)| place).collect())
}

/// Whether mail to both may be one message: what comes of it is the same. Of filters in shadow nothing comes.
#[must_use]
pub fn agree(config: &Config, one: &FilterSet, other: &FilterSet) -> bool {
    let real = |set: &FilterSet| {
        let real = |place: &&usize| config.filters.get(**place).is_some_and(|filter| !filter.shadow);
        set.0.iter().filter(real).copied().collect::<Vec<_>>()
    };
    one == other || real(one) == real(other)
}

fn about_recipients<'c>(config: &'c Config, listener: &'c Listener) -> impl Iterator<Item = (usize, &'c Filter)> {
    let filters = config.filters.iter().enumerate();
    filters.filter(|(_, filter)| !filter.when.recipients.is_empty() && listener.filters.contains(&filter.name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::smtp::{Params, ReversePath};

    const TEXT: &str = r#"
hostname = "mx.example.org"
upstream = { address = "127.0.0.1:10025" }
tls = { certificate = "c", key = "k" }
auth = { password-file = "p" }
listener = [
    { name = "mx", address = "0.0.0.0:25" },
    { name = "submission", address = "0.0.0.0:587", auth = "required", filters = ["all", "b"] },
    { name = "plain", address = "0.0.0.0:26", filters = ["all"] },
]
filter = [
    { name = "all", path = "a.wasm" },
    { name = "a", path = "a.wasm", when = { recipient-domains = ["a.example", ".a.example"], listeners = "mx" } },
    { name = "b", path = "a.wasm", when = { recipient-domains = ["b.example"], sender-domains = ["<>", "s.example"] } },
    { name = "ab", path = "a.wasm", when = { recipient-domains = ["a.example", "b.example"], networks = "192.0.2.0/24" } },
    { name = "in", path = "a.wasm", when = { except-networks = "192.0.2.7", authenticated = true, listeners = "submission" } },
]
"#;

    fn config() -> Config {
        // `in` runs at submission, too.
        let text = TEXT.replace(r#"["all", "b"]"#, r#"["all", "b", "in"]"#);
        crate::config::parse(&text, "wasmilter.toml", &|_| None).unwrap()
    }

    fn client(address: &str, authenticated: bool) -> Client {
        Client { address: address.parse().unwrap(), authenticated }
    }

    fn sender(address: &str) -> Sender {
        Sender { path: ReversePath::parse(address).unwrap(), params: Params::default() }
    }

    /// The filters of one recipient, by name.
    fn filters(listener: usize, address: &str, from: &str, to: &str) -> Vec<String> {
        let config = config();
        let listener = &config.listeners[listener];
        let held_off = held_off(&config, listener, &sender(from));
        let to = ForwardPath::parse(to).unwrap();
        let set = of_recipient(&config, listener, client(address, false), &held_off, &to);
        let named = config.filters.iter().enumerate().filter(|(place, _)| set.contains(*place));
        named.map(|(_, filter)| filter.name.clone()).collect()
    }

    #[test]
    fn recipients_are_for_the_filters_whose_conditions_hold() {
        assert_eq!(filters(0, "198.51.100.1", "x@s.example", "u@a.example"), ["a"]);
        assert_eq!(filters(0, "198.51.100.1", "x@s.example", "u@A.b.A.Example"), ["a"]);
        assert_eq!(filters(0, "192.0.2.1", "x@s.example", "u@a.example"), ["a", "ab"]);
        assert_eq!(filters(0, "192.0.2.1", "x@s.example", "u@b.example"), ["b", "ab"]);
        assert_eq!(filters(0, "192.0.2.1", "", "u@b.example"), ["b", "ab"]);
        assert_eq!(filters(0, "192.0.2.1", "x@other.example", "u@b.example"), ["ab"]);
        assert_eq!(filters(0, "192.0.2.1", "x@s.example", "u@c.example"), [""; 0]);
        assert_eq!(filters(0, "192.0.2.1", "x@s.example", "Postmaster"), [""; 0]);
        assert_eq!(filters(1, "192.0.2.1", "x@s.example", "u@a.example"), [""; 0], "neither runs there");
    }

    #[test]
    fn sessions_meet_conditions_or_not() {
        let config = config();
        let when = &config.filters.iter().find(|filter| filter.name == "in").unwrap().when;
        assert!(session_holds(when, "submission", client("192.0.2.1", true)));
        assert!(!session_holds(when, "submission", client("192.0.2.1", false)), "no login");
        assert!(!session_holds(when, "submission", client("::ffff:192.0.2.7", true)), "an exception");
        assert!(!session_holds(when, "mx", client("192.0.2.1", true)), "elsewhere");
    }

    #[test]
    fn recipients_come_apart_where_the_client_comes_again() {
        let config = config();
        assert_eq!(mixed(&config, &config.listeners[0], false), Some(Mixed::Apart));
        assert_eq!(mixed(&config, &config.listeners[0], true), Some(Mixed::Together));
        assert_eq!(mixed(&config, &config.listeners[1], false), Some(Mixed::Together));
        assert_eq!(mixed(&config, &config.listeners[2], false), None, "nothing to tell apart");
    }

    #[test]
    fn sets_join() {
        let mut set = FilterSet(vec![3, 5]);
        set.join(&FilterSet(vec![1, 5]));
        assert_eq!(set, FilterSet(vec![1, 3, 5]));
        assert!(set.contains(1) && !set.contains(2));
    }
}
