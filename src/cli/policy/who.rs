//! Who is tried at a listener: one of each kind of client that any rule there could tell from another. The bounds are on
//! how many kinds, so that a file with many rules does not take for ever.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::battery::ours;
use super::rehearsal::{By, Client, Introduced};
use super::shapes::FOREIGN;
use crate::config::{
    AccessRule, Auth, AuthBackendKind, AuthService, ClientCondition, Config, Listener, ListenerAuth, NameCondition,
    NamePattern, WantedCertificate, holds,
};
use crate::policy::access::{comes_from, is_named};
use crate::policy::relay::is_ours;
use crate::policy::tables::Tables;
use crate::smtp::sasl::{Mechanism, Mechanisms, Name, Way};

/// Kinds of addresses that are tried at one listener.
pub(super) const ADDRESSES_MAX: usize = 32;
/// Kinds of logins that are tried at one listener.
pub(super) const LOGINS_MAX: usize = 32;
/// Entries of one table that are looked at: one more than can be tried.
const ENTRIES_MAX: usize = 33;

/// Where strangers come from: documentation (RFC 5737, RFC 3849), this machine, and networks like one's own.
const STRANGERS: &[&str] = &["192.0.2.77", "2001:db8:77::77", "127.0.0.1", "::1", "10.77.77.77", "::ffff:192.0.2.77"];

/// So many of them, and whether there are more.
#[derive(Debug)]
pub(super) struct Bounded<T> {
    pub(super) tried: Vec<T>,
    pub(super) more: bool,
}

/// A kind of address.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) address: IpAddr,
    /// What the file calls it; empty: nothing.
    pub(super) named: String,
    pub(super) is_trusted: bool,
}

/// What rules can tell of an address.
type Traits = (u8, bool, Vec<bool>);

/// Addresses of every kind that this listener's rules can tell apart, strangers first.
pub(super) fn addresses(config: &Config, tables: &Tables, listener: &Listener) -> Bounded<Place> {
    let rules: Vec<&AccessRule> = rules_of(config, listener).collect();
    let traits = |address: IpAddr| -> Traits {
        let by_rules = rules.iter().filter_map(|rule| rule.client.as_ref());
        let by_rules = by_rules.map(|client| comes_from(client, tables, address));
        let by_networks = config.networks.iter().map(|network| holds(&network.networks, address));
        let speaks = [&listener.trust.xclient, &listener.trust.xforward].map(|networks| holds(networks, address));
        let all = by_rules.chain(by_networks).chain(speaks).collect();
        (looks(address), holds(&listener.trusted_networks, address), all)
    };
    let strangers = STRANGERS.iter().filter_map(|text| Some((text.parse().ok()?, String::new())));
    let trusted = listener.trusted_networks.iter();
    let trusted = trusted.map(|network| (one_of(network), format!("trusted network {network}")));
    let mut seen = BTreeSet::new();
    let mut found: Vec<Place> = Vec::new();
    for (address, named) in strangers.chain(trusted).chain(named_networks(config, tables, listener, &rules)) {
        let traits = traits(address);
        let is_trusted = traits.1;
        // Each trusted network is told, whoever could tell it from others.
        if seen.insert(traits) || named.starts_with("trusted") {
            found.push(Place { address, named, is_trusted });
        }
    }
    bounded(found, ADDRESSES_MAX)
}

/// Families, and what code could take for something of its own.
fn looks(address: IpAddr) -> u8 {
    let (mapped, plain) = (address != address.to_canonical(), address.to_canonical());
    let private = match plain {
        IpAddr::V4(four) => four.is_private() || four.is_link_local(),
        IpAddr::V6(six) => six.is_unique_local() || six.is_unicast_link_local(),
    };
    u8::from(mapped) | u8::from(plain.is_ipv6()) << 1 | u8::from(plain.is_loopback()) << 2 | u8::from(private) << 3
}

/// Networks that the file names for something else than relaying.
fn named_networks<'c>(
    config: &'c Config,
    tables: &Tables,
    listener: &'c Listener,
    rules: &[&'c AccessRule],
) -> Vec<(IpAddr, String)> {
    let mut found = Vec::new();
    let mut add = |networks: &[IpNet], what: String| {
        found.extend(networks.iter().map(|network| (one_of(network), format!("{network} ({what})"))));
    };
    for rule in rules {
        match &rule.client {
            Some(ClientCondition::Networks(networks)) => add(networks, format!("rule \"{}\"", rule.name)),
            Some(ClientCondition::Table(table)) => {
                let entries = tables.some_of(table, ENTRIES_MAX).into_iter();
                let networks: Vec<IpNet> = entries.filter_map(|(network, _)| network.parse().ok()).collect();
                add(&networks, format!("table \"{table}\""));
            }
            None => {}
        }
    }
    for network in &config.networks {
        add(&network.networks, "[[network]]".to_owned());
    }
    add(&listener.trust.xclient, "xclient-networks".to_owned());
    add(&listener.trust.xforward, "xforward-networks".to_owned());
    if let Some(proxy) = &listener.trust.proxy {
        add(&proxy.networks, "proxy-networks".to_owned());
    }
    found
}

/// Somebody in there.
pub(super) fn one_of(network: &IpNet) -> IpAddr {
    let first = network.network();
    let any = if first.is_ipv4() { "192.0.2.77" } else { "2001:db8:77::77" };
    if first.is_unspecified() { any.parse().unwrap_or(first) } else { first }
}

/// Nobody whom anybody knows there.
pub(super) fn unknown(listener: &Listener) -> Option<IpAddr> {
    let mut addresses = STRANGERS.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    addresses.find(|address| !holds(&listener.trusted_networks, *address))
}

pub(super) fn client(config: &Config, listener: usize, address: IpAddr) -> Client {
    let trust = config.listeners.get(listener).map(|listener| &listener.trust);
    let proxy = trust.and_then(|trust| trust.proxy.as_ref()?.networks.first());
    Client {
        listener,
        address,
        introduced: proxy.map(|network| Introduced::ByProxy(one_of(network))),
        helo: "client.relay-test.invalid".to_owned(),
        tls: false,
        certificate: None,
        login: None,
        after_login: false,
    }
}

/// The access rules that are asked there.
fn rules_of<'c>(config: &'c Config, listener: &Listener) -> impl Iterator<Item = &'c AccessRule> {
    let name = listener.name.clone();
    config.access.iter().filter(move |rule| rule.listeners.is_empty() || rule.listeners.contains(&name))
}

/// How a login can be proven there.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    pub(super) by: By,
    what: String,
    /// Those that no rule can tell apart.
    backends: Vec<String>,
    /// Whose names it can prove; empty: anybody's.
    domains: Vec<String>,
}

impl Proof {
    fn new(by: By, what: &str, backend: &str) -> Proof {
        let backends = Some(backend).filter(|name| !name.is_empty()).map(str::to_owned).into_iter().collect();
        Proof { by, what: what.to_owned(), backends, domains: Vec::new() }
    }

    /// "password (users, directory)"
    pub(super) fn shown(&self) -> String {
        if self.backends.is_empty() {
            return self.what.clone();
        }
        format!("{} ({})", self.what, self.backends.join(", "))
    }

    /// Whether a login of this name can be had so.
    pub(super) fn can_prove(&self, name: &str) -> bool {
        let domain = name.rsplit_once('@').map(|(_, domain)| domain.to_lowercase());
        self.domains.is_empty() || domain.is_some_and(|domain| self.domains.contains(&domain))
    }

    /// Whether somebody else than the operator says who there is.
    pub(super) const fn is_by_others(&self) -> bool {
        matches!(self.by, By::Token | By::Certificate)
    }
}

/// Every way to log in at a listener: one for each class of mechanisms, of all the backends where it proves the same.
pub(super) fn proofs(config: &Config, listener: &Listener) -> Vec<Proof> {
    let mut proofs: Vec<Proof> = Vec::new();
    for proof in proofs_of_each(config, listener) {
        match proofs.iter_mut().find(|known| known.by == proof.by && known.domains == proof.domains) {
            Some(known) => known.backends.extend(proof.backends),
            None => proofs.push(proof),
        }
    }
    proofs
}

fn proofs_of_each(config: &Config, listener: &Listener) -> Vec<Proof> {
    let mut proofs = Vec::new();
    let auth = config.auth.as_ref().filter(|_| listener.auth != ListenerAuth::Off);
    if let Some(auth) = auth {
        let offered = auth.could_offer().are_here();
        for backend in &auth.backends {
            let serves = |class: Mechanisms| !backend.kind.could_serve().and(class).and(offered).is_empty();
            if serves(Mechanisms::PASSWORDS.or(Mechanisms::SCRAM)) {
                proofs.push(Proof::new(By::Password, "password", &backend.name));
            }
            if serves(Mechanisms::TOKENS) {
                let domains = match &backend.kind {
                    AuthBackendKind::Remote(remote) => match &remote.service {
                        AuthService::Oauth(accounts) => accounts.domains.clone(),
                        _ => Vec::new(),
                    },
                    AuthBackendKind::File { .. } => Vec::new(),
                };
                proofs.push(Proof { domains, ..Proof::new(By::Token, "token", &backend.name) });
            }
            if let Some(mechanism) = relayed(auth, &backend.kind) {
                proofs.push(Proof::new(By::Relayed(mechanism), mechanism.as_str(), &backend.name));
            }
        }
        let certified = listener.handshakes.client_certificate != WantedCertificate::Off;
        if certified && offered.contains(Mechanism::External) {
            proofs.push(Proof::new(By::Certificate, "certificate", ""));
        }
    }
    if !listener.trust.xclient.is_empty() {
        proofs.push(Proof::new(By::Xclient, "XCLIENT", ""));
    }
    proofs
}

/// A mechanism that this backend has with clients by itself.
fn relayed(auth: &Auth, backend: &AuthBackendKind) -> Option<Name> {
    let could = |name: &Name| backend.could_relay(*name);
    match &auth.mechanisms {
        None => Name::parse("CRAM-MD5").filter(could),
        Some(named) => {
            let served = auth.could_offer();
            let by_backends = |name: &&Name| matches!(served.find(name.as_str()), Some(Way::Relayed(_)));
            named.iter().filter(by_backends).copied().find(could)
        }
    }
}

/// A kind of login.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) name: String,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// In a domain of ours, and nowhere named.
    Ours,
    /// In somebody else's domain, and nowhere named.
    Foreign,
    /// No address at all, and nowhere named.
    Bare,
    /// Access rules or a map speak of it.
    Named,
}

/// Logins of every kind that this listener's rules can tell apart: three whom nobody knows, then those that are named.
pub(super) fn logins(config: &Config, tables: &Tables, listener: &Listener) -> Bounded<Login> {
    let rules: Vec<&AccessRule> = rules_of(config, listener).collect();
    let map = listener.sender_login.as_ref().and_then(|rule| rule.map.as_ref());
    let made_up = [
        (format!("somebody@{}", ours(config)), Kind::Ours),
        (format!("somebody@{FOREIGN}"), Kind::Foreign),
        ("somebody".to_owned(), Kind::Bare),
    ];
    let by_rules = rules.iter().filter_map(|rule| rule.identity.as_ref()).flat_map(|named| named_in(named, tables));
    let by_map = map.into_iter().flat_map(|table| keys(tables, table));
    let named = by_rules.chain(by_map).map(|name| (name, Kind::Named));
    let mut seen = BTreeSet::new();
    let different = |(name, _): &(String, Kind)| {
        let by_rules: Vec<bool> = rules
            .iter()
            .filter_map(|rule| rule.identity.as_ref())
            .map(|named| is_named(named, tables, &name.to_lowercase()))
            .collect();
        let domain = name.rsplit_once('@').map(|(_, domain)| is_ours(&config.relay, tables, &domain.to_lowercase()));
        seen.insert((domain, by_rules, map.and_then(|table| tables.find(table, name))))
    };
    let found = made_up.into_iter().chain(named).filter(different);
    bounded(found.map(|(name, kind)| Login { name, kind }).collect(), LOGINS_MAX)
}

/// Somebody for each way in which a condition names logins; not for regular expressions.
fn named_in(condition: &NameCondition, tables: &Tables) -> Vec<String> {
    match condition {
        NameCondition::Table(table) => keys(tables, table),
        NameCondition::Listed(patterns) => patterns
            .iter()
            .filter_map(|pattern| match pattern {
                NamePattern::Exact(name) => Some(name.clone()),
                NamePattern::Domain(domain) => Some(format!("somebody@{domain}")),
                NamePattern::Below(parent) => Some(format!("somebody@mail.{parent}")),
                NamePattern::Regex(_) => None,
            })
            .collect(),
    }
}

fn keys(tables: &Tables, table: &str) -> Vec<String> {
    let entries = tables.some_of(table, ENTRIES_MAX).into_iter().map(|(key, _)| key);
    entries.map(|key| if key.starts_with('@') { format!("somebody{key}") } else { key }).collect()
}

fn bounded<T>(mut all: Vec<T>, max: usize) -> Bounded<T> {
    let more = all.len() > max;
    all.truncate(max);
    Bounded { tried: all, more }
}
