//! `sender-login` of a listener: which sender addresses belong to a login.

use super::access::plain;
use super::tables::Tables;
use crate::config::SenderLogin;
use crate::smtp::ReversePath;

/// Whether who has logged in as `identity` may say this sender. The null sender is nobody's, and everybody's.
#[must_use]
pub fn owns(rule: &SenderLogin, tables: &Tables, identity: &str, sender: &ReversePath) -> bool {
    let Some(mailbox) = sender.mailbox() else { return true };
    let said = plain(mailbox);
    let base = rule.plus_addressing.then(|| without_extension(&said)).flatten();
    let domain = said.rsplit_once('@').map_or("", |(_, domain)| domain);
    let is_said = |address: &str| address == said || Some(address) == base.as_deref();
    let own = identity.to_lowercase();
    let own_domain = own.rsplit_once('@').map(|(_, domain)| domain);
    let mapped = || rule.map.as_ref().and_then(|table| tables.find(table, identity)).unwrap_or_default().to_lowercase();
    is_said(&own)
        || (rule.domains && own_domain == Some(domain))
        || mapped().split([',', ' ', '\t']).filter(|item| !item.is_empty()).any(|item| match item.strip_prefix('@') {
            Some(all_of) => all_of == domain,
            None => is_said(item),
        })
}

/// `user+anything@domain` is `user@domain`; None where there is no extension.
#[must_use]
pub fn without_extension(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    let (base, _) = local.split_once('+')?;
    (!base.is_empty()).then(|| format!("{base}@{domain}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::TableKind;
    use crate::policy::tables::Lookup;

    #[derive(Debug)]
    struct Map;

    impl Lookup for Map {
        fn find(&self, key: &str) -> Option<String> {
            (key == "anna").then(|| "Anna@Example.org, sales@example.org\t@shop.example".to_owned())
        }

        fn kind(&self) -> TableKind {
            TableKind::Exact
        }
    }

    const PLAIN: SenderLogin = SenderLogin { map: None, domains: false, plus_addressing: true, would: false };

    fn may(rule: &SenderLogin, identity: &str, sender: &str) -> bool {
        let tables: Tables =
            [("map".to_owned(), std::sync::Arc::new(Map) as std::sync::Arc<dyn Lookup>)].into_iter().collect();
        owns(rule, &tables, identity, &ReversePath::parse(sender).unwrap())
    }

    #[test]
    fn a_login_is_its_own_sender() {
        for sender in ["bob@example.org", "BOB@Example.ORG", "\"bob\"@example.org", "bob+x@example.org", ""] {
            assert!(may(&PLAIN, "Bob@example.org", sender), "{sender}");
        }
        for sender in ["anna@example.org", "xbob@example.org", "bob@x.example.org", "+bob@example.org", "bob@example"] {
            assert!(!may(&PLAIN, "Bob@example.org", sender), "{sender}");
        }
        assert!(!may(&PLAIN, "bob", "bob@example.org"), "a name is no address");
        let exact = SenderLogin { plus_addressing: false, ..PLAIN };
        assert!(!may(&exact, "bob@example.org", "bob+x@example.org"));
        assert!(may(&PLAIN, "bob+x@example.org", "bob+x@example.org"));
        assert!(!may(&PLAIN, "bob+x@example.org", "bob@example.org"), "not the other way round");
    }

    #[test]
    fn domains_are_that_of_the_login() {
        let domains = SenderLogin { domains: true, ..PLAIN };
        assert!(may(&domains, "bob@example.org", "anybody@EXAMPLE.org"));
        assert!(!may(&domains, "bob@example.org", "anybody@x.example.org"));
        assert!(!may(&domains, "bob", "anybody@example.org"));
    }

    #[test]
    fn a_map_names_more() {
        let map = SenderLogin { map: Some("map".to_owned()), ..PLAIN };
        for sender in ["anna@example.org", "sales+spring@example.org", "x@Shop.example"] {
            assert!(may(&map, "anna", sender), "{sender}");
        }
        for sender in ["bob@example.org", "x@y.shop.example"] {
            assert!(!may(&map, "anna", sender), "{sender}");
        }
        assert!(!may(&map, "bob", "anna@example.org"));
        let gone = SenderLogin { map: Some("gone".to_owned()), ..PLAIN };
        assert!(!may(&gone, "anna", "anna@example.org"), "a table that is not there names nobody");
    }
}
