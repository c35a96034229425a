//! `[[route]]`: which mail goes to which upstream.

use crate::config::behind::{AddressPattern, Route};
use crate::config::names;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::suggest;
use crate::config::value::Value;
use crate::smtp::Mailbox;

/// Patterns in one list; each is looked at for every message that gets this far.
const PATTERNS_MAX: usize = 10_000;

const PATTERN_HELP: &str = "write \"example.org\" for a domain, \".example.org\" for all its subdomains, or an address";

pub(in crate::config) fn read(section: &Section<'_>, upstreams: &[&str], listeners: &[&str]) -> Option<Route> {
    let listeners = known_names(section, "listeners", "[[listener]]", listeners);
    let identities = section.get("identities", |v| Ok(v.list(Value::text))).unwrap_or_default();
    let senders = patterns(section, "senders");
    let recipients = patterns(section, "recipients");
    let upstream = section.required("upstream", "upstream = \"default\"", |v| known(v, "[[upstream]]", upstreams))?;
    let conditions = [listeners.is_empty(), identities.is_empty(), senders.is_empty(), recipients.is_empty()];
    if conditions == [true; 4] {
        section.reader.error(
            Problem::at(section.span(), "this route takes all mail, and leaves none to those after it")
                .label("no condition")
                .help("say for which listeners, identities, senders or recipients it is")
                .help("what no route takes goes to the upstream \"default\""),
        );
        return None;
    }
    Some(Route { listeners, identities, senders, recipients, upstream })
}

pub(super) fn known_names(section: &Section<'_>, key: &'static str, what: &str, names: &[&str]) -> Vec<String> {
    section.get(key, |value| Ok(value.list(|item| known(item, what, names)))).unwrap_or_default()
}

/// One of `names`, which are those of `what`.
pub(super) fn known(value: &Value<'_>, what: &str, names: &[&str]) -> Result<String, Problem> {
    let name = value.text()?;
    if names.contains(&name.as_str()) {
        return Ok(name);
    }
    let problem = value.error(format!("is not the name of a `{what}`"));
    Err(match suggest::nearest(&name, names.iter().copied()) {
        Some(near) => problem.help(format!("did you mean \"{near}\"?")),
        None => problem.help(format!("this file has: {}", names.join(", "))),
    })
}

pub(super) fn patterns(section: &Section<'_>, key: &'static str) -> Vec<AddressPattern> {
    let Some(value) = section.value(key) else { return Vec::new() };
    if value.items().len() > PATTERNS_MAX {
        section.reader.error(value.error(format!("has more than {PATTERNS_MAX} entries")));
        return Vec::new();
    }
    value.list(|item| {
        let text = item.text()?;
        if text == "<>" && key == "senders" {
            return Ok(AddressPattern::Null);
        }
        if text.contains('@') {
            let mailbox = Mailbox::parse(&text)
                .map_err(|error| item.error(format!("is not an address: {error}")).help(PATTERN_HELP))?;
            let domain = mailbox.domain().canonical();
            return Ok(AddressPattern::Address { local: mailbox.local_unquoted().to_lowercase(), domain });
        }
        domain(&text).map_err(|why| item.error(why).help(PATTERN_HELP))
    })
}

/// A domain, or with a dot before it (or `*.`) all below it.
pub(super) fn domain(text: &str) -> Result<AddressPattern, String> {
    Ok(match text.strip_prefix("*.").or_else(|| text.strip_prefix('.')) {
        Some(bare) => AddressPattern::Below(names::domain(bare, true)?),
        None => AddressPattern::Domain(names::domain(text, true)?),
    })
}
