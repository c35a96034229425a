//! Which upstream takes a message: the one a filter chose, the first `[[route]]` that matches, or the default one.
//!
//! What is not known yet matches nothing: before RCPT no route by recipient is chosen.

use crate::config::{AddressPattern, Config, ListenerAuth, Route, UPSTREAM_DEFAULT};
use crate::smtp::{ForwardPath, Mailbox, ReversePath};

/// What is known of a message.
#[derive(Debug, Clone, Copy)]
pub struct RouteKey<'a> {
    pub listener: &'a str,
    /// Who logged in.
    pub identity: Option<&'a str>,
    pub sender: Option<&'a ReversePath>,
    pub recipient: Option<&'a ForwardPath>,
    /// The upstream that a filter asked for; a name that no upstream has is as good as none.
    pub filter_route: Option<&'a str>,
}

/// The name of the upstream for this message.
#[must_use]
pub fn choose<'c>(config: &'c Config, key: &RouteKey<'_>) -> &'c str {
    let asked = key.filter_route.and_then(|name| config.upstreams.iter().find(|upstream| upstream.name == name));
    if let Some(upstream) = asked {
        return &upstream.name;
    }
    config.routes.iter().find(|route| matches(route, key)).map_or(UPSTREAM_DEFAULT, |route| &route.upstream)
}

/// Whether the upstream is not known before a recipient is: some route that can match on this listener looks at it, or
/// some filter may still choose.
#[must_use]
pub fn needs_recipient(config: &Config, listener: &str) -> bool {
    config.routes.iter().any(|route| !route.recipients.is_empty() && is_for(route, listener))
        || granted(config, listener).next().is_some()
}

/// All upstreams that may be chosen in a session of this identity, or later in one that has not logged in yet.
#[must_use]
pub fn candidates<'c>(config: &'c Config, listener: &str, identity: Option<&str>) -> Vec<&'c str> {
    let mut names = by_routes(config, listener, identity);
    for name in granted(config, listener) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Those that filters of this listener may choose.
fn granted<'c>(config: &'c Config, listener: &str) -> impl Iterator<Item = &'c str> {
    let listener = config.listeners.iter().find(|known| known.name == listener);
    let runs = move |name: &String| listener.is_some_and(|listener| listener.filters.contains(name));
    let filters = config.filters.iter().filter(move |filter| !filter.shadow && runs(&filter.name));
    filters.flat_map(|filter| filter.grants.route.iter().flatten().map(String::as_str))
}

fn by_routes<'c>(config: &'c Config, listener: &str, identity: Option<&str>) -> Vec<&'c str> {
    let login_may_come = identity.is_none()
        && config.listeners.iter().any(|known| known.name == listener && known.auth != ListenerAuth::Off);
    let mut names: Vec<&str> = Vec::new();
    for route in config.routes.iter().filter(|route| is_for(route, listener)) {
        let settled = route.identities.is_empty() || has(&route.identities, identity);
        if !settled && !login_may_come {
            continue;
        }
        if !names.contains(&route.upstream.as_str()) {
            names.push(&route.upstream);
        }
        // Nothing later is ever chosen.
        if settled && route.senders.is_empty() && route.recipients.is_empty() {
            return names;
        }
    }
    if !names.contains(&UPSTREAM_DEFAULT) {
        names.push(UPSTREAM_DEFAULT);
    }
    names
}

fn matches(route: &Route, key: &RouteKey<'_>) -> bool {
    is_for(route, key.listener)
        && (route.identities.is_empty() || has(&route.identities, key.identity))
        && (route.senders.is_empty() || key.sender.is_some_and(|sender| sends(&route.senders, sender)))
        && (route.recipients.is_empty()
            || key.recipient.and_then(ForwardPath::mailbox).is_some_and(|mailbox| names(&route.recipients, mailbox)))
}

fn is_for(route: &Route, listener: &str) -> bool {
    route.listeners.is_empty() || has(&route.listeners, Some(listener))
}

fn has(list: &[String], name: Option<&str>) -> bool {
    name.is_some_and(|name| list.iter().any(|listed| listed == name))
}

pub(super) fn sends(patterns: &[AddressPattern], sender: &ReversePath) -> bool {
    match sender.mailbox() {
        Some(mailbox) => names(patterns, mailbox),
        None => patterns.contains(&AddressPattern::Null),
    }
}

/// Local parts are compared without their case, as every mail server of today does.
pub(super) fn names(patterns: &[AddressPattern], mailbox: &Mailbox) -> bool {
    let canonical = mailbox.domain().canonical();
    let said = canonical.strip_suffix('.').unwrap_or(&canonical);
    patterns.iter().any(|pattern| match pattern {
        AddressPattern::Null => false,
        AddressPattern::Domain(domain) => domain == said,
        AddressPattern::Below(parent) => {
            said.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        }
        AddressPattern::Address { local, domain } => {
            domain == said && mailbox.local_unquoted().to_lowercase() == *local
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = r#"
hostname = "mx.example.org"
upstream = [
    { address = "127.0.0.1:10025" },
    { name = "lists", address = "127.0.0.1:10026" },
    { name = "staff", address = "127.0.0.1:10027" },
    { name = "bounces", address = "127.0.0.1:10028" },
]
tls = { certificate = "c", key = "k" }
auth = { password-file = "p" }
listener = [
    { name = "mx", address = "0.0.0.0:25" },
    { name = "submission", address = "0.0.0.0:587", auth = "required" },
    { name = "inside", address = "127.0.0.1:2525" },
]
route = [
    { listeners = ["mx"], recipients = ["lists.example.org", ".lists.example.org", "Owner@example.org"], upstream = "lists" },
    { identities = ["anna"], upstream = "staff" },
    { listeners = ["inside"], upstream = "staff" },
    { senders = ["<>", "staff.example"], upstream = "bounces" },
]
"#;

    fn config() -> Config {
        crate::config::parse(TEXT, "wasmilter.toml", &|_| None).unwrap()
    }

    fn chosen(listener: &str, identity: Option<&str>, sender: &str, recipient: Option<&str>) -> String {
        let sender = ReversePath::parse(sender.trim_matches(['<', '>'])).unwrap();
        let recipient = recipient.map(|recipient| ForwardPath::parse(recipient.trim_matches(['<', '>'])).unwrap());
        let key =
            RouteKey { listener, identity, sender: Some(&sender), recipient: recipient.as_ref(), filter_route: None };
        choose(&config(), &key).to_owned()
    }

    #[test]
    fn the_first_route_that_matches_decides() {
        let from = "<a@client.test>";
        assert_eq!(chosen("mx", None, from, Some("<x@lists.example.org>")), "lists");
        assert_eq!(chosen("mx", None, from, Some("<x@a.Lists.Example.ORG>")), "lists");
        assert_eq!(chosen("mx", None, from, Some("<OWNER@example.org>")), "lists");
        assert_eq!(chosen("mx", None, from, Some("<x@xlists.example.org>")), "default");
        assert_eq!(chosen("mx", None, from, Some("<x@example.org>")), "default");
        assert_eq!(chosen("mx", None, from, None), "default", "nothing is known of recipients yet");
        assert_eq!(chosen("mx", None, "<>", Some("<x@lists.example.org>")), "lists");
        assert_eq!(chosen("mx", None, "<>", Some("<x@example.org>")), "bounces");
        assert_eq!(chosen("mx", None, "<a@staff.example>", None), "bounces");
        assert_eq!(chosen("submission", Some("anna"), "<>", Some("<x@lists.example.org>")), "staff");
        assert_eq!(chosen("submission", Some("Anna"), from, None), "default", "identities are what they are");
        assert_eq!(chosen("inside", None, "<>", None), "staff");
        assert_eq!(chosen("mx", None, from, Some("<Postmaster>")), "default");
    }

    #[test]
    fn a_filters_choice_goes_before_and_only_to_an_upstream_there_is() {
        let config = config();
        let key =
            |filter_route| RouteKey { listener: "inside", identity: None, sender: None, recipient: None, filter_route };
        assert_eq!(choose(&config, &key(Some("lists"))), "lists");
        assert_eq!(choose(&config, &key(Some("10.0.0.1:25"))), "staff");
        assert_eq!(choose(&config, &key(None)), "staff");
    }

    #[test]
    fn what_filters_may_choose_may_be_chosen_later() {
        let filters = r#"
filter = [
    { name = "judge", path = "j.wasm", grants = { route = ["bounces", "lists"] } },
    { name = "other", path = "o.wasm", grants = { route = ["staff"] } },
    { name = "may-not", path = "m.wasm", grants = { route = [] } },
]
"#;
        let text = TEXT.replace(r#"{ name = "inside","#, r#"{ name = "inside", filters = ["judge", "may-not"],"#);
        let text = text.replace(r#"{ name = "mx","#, r#"{ name = "mx", filters = ["may-not"],"#) + filters;
        let config = crate::config::parse(&text, "wasmilter.toml", &|_| None).unwrap();
        assert_eq!(candidates(&config, "inside", None), ["staff", "bounces", "lists"]);
        assert_eq!(candidates(&config, "mx", None), ["lists", "bounces", "default"]);
        assert_eq!(candidates(&config, "submission", Some("bob")), ["bounces", "default", "lists", "staff"]);
        assert!(needs_recipient(&config, "inside") && needs_recipient(&config, "submission"));
        let without = config_without_recipients(&text);
        assert!(!needs_recipient(&without, "mx"), "an empty grant chooses nothing");
    }

    fn config_without_recipients(text: &str) -> Config {
        let mut config = crate::config::parse(text, "wasmilter.toml", &|_| None).unwrap();
        config.routes.retain(|route| route.recipients.is_empty());
        config
    }

    #[test]
    fn what_may_be_chosen_later_is_known() {
        let config = config();
        assert_eq!(candidates(&config, "mx", None), ["lists", "bounces", "default"]);
        assert_eq!(candidates(&config, "submission", None), ["staff", "bounces", "default"]);
        assert_eq!(candidates(&config, "submission", Some("anna")), ["staff"]);
        assert_eq!(candidates(&config, "submission", Some("bob")), ["bounces", "default"]);
        assert_eq!(candidates(&config, "inside", None), ["staff"]);
        assert!(needs_recipient(&config, "mx"));
        assert!(!needs_recipient(&config, "submission") && !needs_recipient(&config, "inside"));
    }
}
