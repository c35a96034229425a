//! `[relay]`: who may have mail taken to where. What would open the gateway to everybody is refused here.

use ipnet::{IpNet, Ipv6Net};

use crate::config::names;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::value::Value;
use crate::config::{Relay, TableKind};

use super::table::TableNames;

/// Nobody's own network is wider than this.
const TRUSTED_V4_PREFIX_MIN: u8 = 8;
/// Nobody's own network is wider than this.
const TRUSTED_V6_PREFIX_MIN: u8 = 16;

const DOMAIN_HELP: &str = "write \"example.org\" for one domain, \".example.org\" for all its subdomains";

pub(in crate::config) fn read(section: &Section<'_>, tables: &TableNames) -> Relay {
    let exact_or_domain = [TableKind::Exact, TableKind::Domain];
    let mut relay = Relay {
        domains_table: section.get("domains-table", |v| tables.one_of_all(v, &exact_or_domain)),
        recipients: section
            .get("recipients", |v| tables.one_of_all(v, &[TableKind::Exact, TableKind::Domain, TableKind::Regex])),
        ..Relay::default()
    };
    if let Some(value) = section.value("domains") {
        for (name, below) in value.list(domain) {
            let list = if below { &mut relay.subdomains_of } else { &mut relay.domains };
            if !list.contains(&name) {
                list.push(name);
            }
        }
    }
    relay
}

/// Whose clients may send anywhere, as `[relay]` or a listener says; None where it does not.
pub(in crate::config) fn trusted_networks(section: &Section<'_>) -> Option<Vec<IpNet>> {
    section.value("trusted-networks").map(|value| own_networks(&value, &OPEN_RELAY))
}

/// A domain of ours, and whether its subdomains were meant.
fn domain(value: &Value<'_>) -> Result<(String, bool), Problem> {
    let text = value.text()?;
    if matches!(text.as_str(), "" | "*" | "." | "*.") {
        return Err(value
            .error("would make every domain yours: anybody could send mail to anywhere through this gateway")
            .help(format!("list your own domains; {DOMAIN_HELP}"))
            .help("clients that may send anywhere belong to relay.trusted-networks, or log in ([auth])"));
    }
    if text.starts_with('[') {
        return Err(value
            .error("is an address literal, and mail for literals is not taken from strangers")
            .help(DOMAIN_HELP));
    }
    let (bare, below) = match text.strip_prefix("*.").or_else(|| text.strip_prefix('.')) {
        Some(bare) => (bare, true),
        None => (text.as_str(), false),
    };
    let name = names::domain(bare, true).map_err(|why| value.error(why).help(DOMAIN_HELP))?;
    if below && is_registry(&name) {
        value.reader.warn(
            Problem::at(value.span(), format!("\"{text}\" makes every domain that anybody registers there yours"))
                .label("very wide")
                .help(DOMAIN_HELP),
        );
    }
    if !name.is_ascii() {
        value.reader.warn(
            Problem::at(value.span(), "most clients send this domain in its ASCII form")
                .label("only matches clients that speak SMTPUTF8")
                .help("list the form that begins with \"xn--\" as well"),
        );
    }
    Ok((name, below))
}

/// A top-level domain, or one where a country registers domains of the second level, as far as its name tells.
fn is_registry(name: &str) -> bool {
    const SECOND_LEVELS: [&str; 10] = ["ac", "co", "com", "edu", "gov", "gob", "net", "ne", "or", "org"];
    match name.split_once('.') {
        None => true,
        Some((second, top)) => top.len() == 2 && SECOND_LEVELS.contains(&second),
    }
}

/// Networks whose clients may do what strangers may not: wide ones are refused.
pub(super) fn own_networks(value: &Value<'_>, danger: &Danger) -> Vec<IpNet> {
    let networks = value.list(|item| own_network(item, danger));
    refuse_the_world_in_pieces(value, &networks, danger);
    networks
}

/// What would follow if a network held the world: the end of a sentence, and why it matters.
pub(super) struct Danger {
    pub(super) consequence: &'static str,
    pub(super) because: &'static str,
    pub(super) instead: &'static str,
}

const OPEN_RELAY: Danger = Danger {
    consequence: "as a trusted network it would make this an open relay",
    because: "everybody in a trusted network may send anything to anywhere; spammers find such a gateway within hours",
    instead: "people elsewhere log in ([auth])",
};

fn own_network(value: &Value<'_>, danger: &Danger) -> Result<IpNet, Problem> {
    let net = value.network()?;
    let why = match net {
        IpNet::V4(four) if four.prefix_len() < TRUSTED_V4_PREFIX_MIN => Some("is wider than any one network"),
        IpNet::V6(six) if six.prefix_len() < TRUSTED_V6_PREFIX_MIN => Some("is wider than any one network"),
        IpNet::V6(six) => disguised_world(six),
        IpNet::V4(_) => None,
    };
    match why {
        Some(why) => Err(too_wide(value, why, danger)),
        None => Ok(net),
    }
}

fn too_wide(value: &Value<'_>, why: &str, danger: &Danger) -> Problem {
    value.error(format!("{why}: {}", danger.consequence)).help(danger.because).help(format!(
        "list your own hosts and networks, at most a /{TRUSTED_V4_PREFIX_MIN} (IPv6: a /{TRUSTED_V6_PREFIX_MIN}); {}",
        danger.instead
    ))
}

/// IPv6 networks that hold all of IPv4.
fn disguised_world(net: Ipv6Net) -> Option<&'static str> {
    let worlds: [(&str, &str); 4] = [
        ("::ffff:0:0/96", "holds all IPv4 addresses (mapped)"),
        ("64:ff9b::/96", "holds all IPv4 addresses (NAT64)"),
        ("2002::/16", "holds all IPv4 addresses (6to4)"),
        ("2001::/32", "holds all IPv4 addresses (Teredo)"),
    ];
    worlds
        .iter()
        .find(|(world, _)| world.parse::<Ipv6Net>().is_ok_and(|world| net.contains(&world)))
        .map(|(_, why)| *why)
}

/// 0.0.0.0/0 written as many /8 is still the world.
fn refuse_the_world_in_pieces(value: &Value<'_>, networks: &[IpNet], danger: &Danger) {
    let wide = |net: &IpNet| match net {
        IpNet::V4(four) => four.prefix_len() < TRUSTED_V4_PREFIX_MIN,
        IpNet::V6(six) => six.prefix_len() < TRUSTED_V6_PREFIX_MIN,
    };
    if let Some(sum) = IpNet::aggregate(&networks.to_vec()).iter().find(|net| wide(net)) {
        let why = format!("adds up to {sum}, which is wider than any one network");
        value.reader.error(too_wide(value, &why, danger));
    }
}
