//! Every trick by which a stranger ever got a mail server to relay: recipients that are elsewhere for somebody who reads
//! them, whatever they look like here.

use crate::config::Config;
use crate::policy::tables::Tables;

/// One way to ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trick {
    pub(crate) name: &'static str,
    /// MAIL and RCPT.
    pub(crate) commands: [String; 2],
}

/// Nobody's domain (RFC 2606), and a host in it.
const FOREIGN: &str = "relay-test.invalid";
/// Under these, strangers register domains. A gateway that takes mail for all of one of them relays.
const REGISTRIES: &[&str] = &[
    "com", "net", "org", "info", "biz", "edu", "gov", "io", "eu", "de", "fr", "nl", "it", "es", "pl", "ch", "at", "se",
    "ru", "cn", "in", "jp", "br", "us", "uk", "co.uk", "org.uk", "com.au", "co.jp", "com.br", "co.in",
];
/// No one has registered this anywhere.
const UNREGISTERED: &str = "wasmilter-relay-test-7f3a9c";

/// What a stranger could try at a gateway with this configuration.
pub(crate) fn tricks(config: &Config, tables: &Tables) -> Vec<Trick> {
    let ours = ours(config);
    let mut tricks = Vec::new();
    let alike = [("ours as an ending", format!("not{ours}"))].into_iter();
    let alike = alike.chain(lookalike(&ours).map(|name| ("letters of another script", name)));
    let alike = alike.filter(|(_, name)| !is_below_ours(config, tables, name));
    let alike = alike.map(|(name, domain)| (name, format!("<user@{domain}>")));
    for (name, recipient) in
        by_the_local_part(&ours, &config.hostname).into_iter().chain(by_the_domain(&ours)).chain(alike)
    {
        tricks.push(trick(name, "<test@relay-test.invalid>", &recipient));
    }
    let plain = format!("<user@{FOREIGN}>");
    tricks.push(trick("null sender", "<>", &plain));
    tricks.push(trick("sender in our domain", &format!("<postmaster@{ours}>"), &plain));
    tricks.push(trick("sender with our name", &format!("<root@{}>", config.hostname), &plain));
    tricks.push(trick("percent, null sender", "<>", &format!("<user%{FOREIGN}@{ours}>")));
    tricks.push(trick("percent, our sender", &format!("<postmaster@{ours}>"), &format!("<user%{FOREIGN}@{ours}>")));
    for registry in REGISTRIES {
        tricks.push(trick("a domain that anybody could register", "<>", &format!("<user@{UNREGISTERED}.{registry}>")));
    }
    tricks
}

/// Something that is ours.
fn ours(config: &Config) -> String {
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

fn trick(name: &'static str, sender: &str, recipient: &str) -> Trick {
    let utf8 = if sender.is_ascii() && recipient.is_ascii() { "" } else { " SMTPUTF8" };
    Trick { name, commands: [format!("MAIL FROM:{sender}{utf8}"), format!("RCPT TO:{recipient}")] }
}

/// Those that lead elsewhere by their local part, and plain ones.
fn by_the_local_part(o: &str, host: &str) -> Vec<(&'static str, String)> {
    let f = FOREIGN;
    let upper = f.to_uppercase();
    vec![
        ("plain", format!("<user@{f}>")),
        ("upper case", format!("<USER@{upper}>")),
        ("final dot", format!("<user@{f}.>")),
        ("no brackets", format!("user@{f}")),
        ("quoted local part", format!("<\"user\"@{f}>")),
        ("postmaster elsewhere", format!("<postmaster@{f}>")),
        ("percent", format!("<user%{f}@{o}>")),
        ("percent, upper case", format!("<USER%{upper}@{}>", o.to_uppercase())),
        ("percent, our name", format!("<user%{f}@{host}>")),
        ("percent, no domain", format!("<user%{f}>")),
        ("percent twice", format!("<user%{f}%{o}@{o}>")),
        ("percent, escaped @", format!("<user%40{f}@{o}>")),
        ("percent at a literal", format!("<user%{f}@[127.0.0.1]>")),
        ("percent, quoted", format!("<\"user%{f}\"@{o}>")),
        ("bang path", format!("<{f}!user>")),
        ("bang path at ours", format!("<{f}!user@{o}>")),
        ("bang path through ours", format!("<{o}!{f}!user>")),
        ("bang path through ours at ours", format!("<{o}!{f}!user@{o}>")),
        ("bang and percent", format!("<{f}!user%{o}@{o}>")),
        ("bang path, quoted", format!("<\"{f}!user\"@{o}>")),
        ("@ in quotes at ours", format!("<\"user@{f}\"@{o}>")),
        ("@ in quotes at our name", format!("<\"user@{f}\"@{host}>")),
        ("@ in quotes, no domain", format!("<\"user@{f}\">")),
        ("escaped @ in quotes", format!("<\"user\\@{f}\"@{o}>")),
        ("escaped @", format!("<user\\@{f}@{o}>")),
        ("nested quotes", format!("<\"\\\"user@{f}\\\"\"@{o}>")),
        ("quotes within", format!("<\"user\"@{f}\"@{o}>")),
        ("two @, ours last", format!("<user@{f}@{o}>")),
        ("two @, ours first", format!("<user@{o}@{f}>")),
        ("source route", format!("<@{o}:user@{f}>")),
        ("source route, two hops", format!("<@{o},@{f}:user@{f}>")),
        ("source route by a literal", format!("<@[127.0.0.1]:user@{f}>")),
        ("source route to a percent", format!("<@{o}:user%{f}@{o}>")),
        ("source route in the local part", format!("<\"@{f}:user\"@{o}>")),
    ]
}

/// Those that lead elsewhere by what stands for the domain, or behind the path.
fn by_the_domain(o: &str) -> Vec<(&'static str, String)> {
    let f = FOREIGN;
    vec![
        ("address literal", "<user@[192.0.2.25]>".to_owned()),
        ("address literal, loopback", "<user@[127.0.0.1]>".to_owned()),
        ("address literal, IPv6", "<user@[IPv6:2001:db8::25]>".to_owned()),
        ("address literal, mapped", "<user@[IPv6:::ffff:192.0.2.25]>".to_owned()),
        ("address literal, general", "<user@[dns:relay-test.invalid]>".to_owned()),
        ("address without brackets", "<user@192.0.2.25>".to_owned()),
        ("number for an address", "<user@#3221225497>".to_owned()),
        ("empty domain", format!("<user@{f}@>")),
        ("two addresses, comma", format!("<user@{o},user@{f}>")),
        ("two addresses, semicolon", format!("<user@{o};user@{f}>")),
        ("two addresses, space", format!("<user@{o} user@{f}>")),
        ("two paths", format!("<user@{o}><user@{f}>")),
        ("two paths, space", format!("<user@{o}> <user@{f}>")),
        ("path in a path", format!("<<user@{f}>@{o}>")),
        ("comment", format!("<user@{f}(@{o})>")),
        ("comment at ours", format!("<user(@{f})@{o}.{f}>")),
        ("colon", format!("<smtp:user@{f}>")),
        ("group", format!("<group:user@{f};@{o}>")),
        ("pipe", format!("<|user@{f}>")),
        ("slash", format!("</user/{o}@{f}>")),
        ("ours as a label", format!("<user@{o}.{f}>")),
        ("ours in front of a hyphen", format!("<user@{o}-{f}>")),
        ("ours in the local part", format!("<{o}@{f}>")),
        ("plus", format!("<{o}+user@{f}>")),
        ("control character", format!("<user@{f}\t@{o}>")),
        ("UTF-8 local part", format!("<us\u{e9}r@{f}>")),
        ("full-width @", format!("<user\u{ff20}{f}@{f}>")),
        ("full-width full stop", format!("<user@{o}\u{ff0e}{f}>")),
        ("ideographic full stop", format!("<user@{o}\u{3002}{f}>")),
        ("half-width full stop", format!("<user@{o}\u{ff61}{f}>")),
        ("zero width joiner", format!("<user@{o}\u{200d}>")),
        ("soft hyphen", format!("<user@{o}\u{ad}>")),
        ("ORCPT elsewhere", format!("<user@{f}> ORCPT=rfc822;user@{o}")),
        ("parameters in the path", format!("<user@{f} NOTIFY=NEVER>")),
    ]
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
