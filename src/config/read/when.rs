//! `when` of a `[[filter]]`: on which mail it runs at all. What can never hold is refused: a filter that an operator
//! believes to run and that never does is worse than none.

use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::config::behind::AddressPattern;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::value::Value;
use crate::config::when::When;

use super::route;

/// Entries of one list; each is looked at for every session or recipient.
const ENTRIES_MAX: usize = 1_000;
const SIZE_BYTES: RangeInclusive<u64> = 1..=(1 << 40);

const DOMAIN_HELP: &str = "write \"example.org\" for a domain, \".example.org\" for all its subdomains";

pub(super) fn read(section: &Section<'_>) -> When {
    if section.present() && section.is_empty() {
        section.reader.error(
            Problem::at(section.span(), "`when` without a condition").label("empty").help("take it away, or name one"),
        );
    }
    let when = When {
        listeners: list(section, "listeners", Value::text),
        networks: list(section, "networks", Value::network),
        except_networks: list(section, "except-networks", Value::network),
        authenticated: section.get("authenticated", Value::flag),
        size_bytes_min: section.get("min-size", |v| v.size(SIZE_BYTES)),
        size_bytes_max: section.get("max-size", |v| v.size(SIZE_BYTES)),
        senders: list(section, "sender-domains", |item| domain(item, true)),
        recipients: list(section, "recipient-domains", |item| domain(item, false)),
    };
    contradictions(section, &when);
    when
}

/// A list with something in it: an empty one would be read as "never" by one and as "always" by another.
fn list<'a, T>(section: &Section<'a>, key: &'static str, read: impl Fn(&Value<'a>) -> Result<T, Problem>) -> Vec<T> {
    let Some(value) = section.value(key) else { return Vec::new() };
    let items = value.items();
    if items.is_empty() {
        section.reader.error(
            value
                .error("is empty")
                .help("take the key away if there is to be no such condition, or take the filter away"),
        );
    }
    if items.len() > ENTRIES_MAX {
        section.reader.error(value.error(format!("has more than {ENTRIES_MAX} entries")));
        return Vec::new();
    }
    value.list(read)
}

fn domain(item: &Value<'_>, sender: bool) -> Result<AddressPattern, Problem> {
    let text = item.text()?;
    if text == "<>" && sender {
        return Ok(AddressPattern::Null);
    }
    route::domain(&text).map_err(|why| item.error(why).help(DOMAIN_HELP))
}

fn contradictions(section: &Section<'_>, when: &When) {
    let at = |key: &str| section.reader.place(&format!("{}.{key}", section.path));
    if let (Some(least), Some(most)) = (when.size_bytes_min, when.size_bytes_max)
        && least > most
    {
        section.reader.error(
            Problem::at(at("min-size"), "no message is of this size: `min-size` is more than `max-size`")
                .label("more than that")
                .other(at("max-size"), "this")
                .help("exchange them, or leave one of them out"),
        );
    }
    let excepted = |network: &IpNet| when.except_networks.iter().any(|all| all.contains(network));
    if !when.networks.is_empty() && when.networks.iter().all(excepted) {
        section.reader.error(
            Problem::at(at("except-networks"), "no client is left: all of `networks` is excepted")
                .label("holds all of them")
                .other(at("networks"), "these")
                .help("`networks` says where clients come from, `except-networks` which of them not"),
        );
    }
}
