//! What no rule may bring about, and that the first one decides.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::config::{Config, TableKind};
use crate::policy::tables::Lookup;

/// The rules of a file with these sections.
fn rules(sections: &str) -> Config {
    let text = format!(
        "hostname = \"mx.example.org\"\nupstream = {{ address = \"127.0.0.1:10025\" }}\n\
         listener = [{{ name = \"mx\", address = \"127.0.0.1:25\" }}, {{ name = \"two\", address = \"127.0.0.1:26\" }}]\n\
         [table.people]\nentries = [\"never read here\"]\n[table.nets]\nkind = \"cidr\"\nentries = [\"10.0.0.0/8\"]\n{sections}"
    );
    crate::config::parse(&text, "wasmilter.toml", &|_| None).unwrap()
}

#[derive(Debug)]
struct Listed(TableKind, &'static [&'static str]);

impl Lookup for Listed {
    fn find(&self, key: &str) -> Option<String> {
        self.1.contains(&key).then(String::new)
    }

    fn kind(&self) -> TableKind {
        self.0
    }
}

fn tables() -> Tables {
    let people = Listed(TableKind::Exact, &["anna@example.org", "@b.example", "<>", "host.test"]);
    let nets = Listed(TableKind::Cidr, &["192.0.2.7"]);
    [
        ("people".to_owned(), std::sync::Arc::new(people) as std::sync::Arc<dyn Lookup>),
        ("nets".to_owned(), std::sync::Arc::new(nets)),
    ]
    .into_iter()
    .collect()
}

/// What decides about a client 192.0.2.7 without TLS.
fn decided(sections: &str, at: AccessStage, helo: &str, sender: &str, recipient: &str) -> Option<String> {
    let config = rules(sections);
    let (sender, recipient) = (ReversePath::parse(sender).unwrap(), ForwardPath::parse(recipient).unwrap());
    let asked = Asked {
        listener: "mx",
        at,
        client: "192.0.2.7".parse().unwrap(),
        tls: false,
        identity: Some("Anna@Example.org"),
        helo: Some(helo),
        sender: Some(&sender),
        recipient: Some(&recipient),
    };
    judge(&config.access, &tables(), &asked).decided.map(|rule| rule.name.clone())
}

/// Whether one condition at `rcpt` matches.
fn holds_at_rcpt(condition: &str, helo: &str, sender: &str, recipient: &str) -> bool {
    let section = format!("[[access]]\nname = \"x\"\nat = \"rcpt\"\naction = \"reject\"\n{condition}\n");
    decided(&section, AccessStage::Rcpt, helo, sender, recipient).is_some()
}

#[test]
fn patterns_mean_what_the_manual_says() {
    let sender = |pattern: &str, said: &str| holds_at_rcpt(&format!("sender = ['{pattern}']"), "h", said, "r@x.test");
    assert!(sender("a@b.example", "A@B.Example") && sender("a@b.example", "\"a\"@b.example"));
    assert!(!sender("a@b.example", "aa@b.example") && !sender("a@b.example", "a@x.b.example"));
    assert!(sender("b.example", "x@b.example") && sender("@b.example", "x@B.example"));
    assert!(!sender("b.example", "x@a.b.example") && !sender("b.example", ""));
    assert!(sender(".b.example", "x@a.b.example") && !sender(".b.example", "x@b.example"));
    assert!(!sender(".b.example", "x@ab.example"));
    assert!(sender("<>", "") && !sender("<>", "x@b.example"));
    assert!(sender("/^[a-c]+@b/", "ABC@b.example") && !sender("/^[a-c]+@b/", "d@b.example"));
    let recipient = |pattern: &str, said: &str| holds_at_rcpt(&format!("recipient = ['{pattern}']"), "h", "", said);
    assert!(recipient("/^postmaster$/", "Postmaster") && !recipient("example.org", "Postmaster"));
    let helo = |pattern: &str, said: &str| holds_at_rcpt(&format!("helo = ['{pattern}']"), said, "", "r@x.test");
    assert!(helo("host.test", "HOST.test.") && !helo("host.test", "a.host.test"));
    assert!(helo(".test", "a.host.test") && helo("[192.0.2.7]", "[192.0.2.7]"));
    let identity = |pattern: &str| holds_at_rcpt(&format!("identity = ['{pattern}']"), "h", "", "r@x.test");
    assert!(identity("anna@example.org") && identity("@example.org") && identity(".org") && identity("/^anna@/"));
    assert!(!identity("anna") && !identity("example.org"));
}

#[test]
fn tables_stand_for_lists() {
    let holds = |condition: &str, sender: &str| holds_at_rcpt(condition, "host.test", sender, "x@b.example");
    assert!(holds("sender = { table = \"people\" }", "ANNA@example.org"));
    assert!(holds("sender = { table = \"people\" }", "who@b.example"), "all of a domain");
    assert!(holds("sender = { table = \"people\" }", ""));
    assert!(!holds("sender = { table = \"people\" }", "bob@example.org"));
    assert!(holds("recipient = { table = \"people\" }", "bob@example.org"));
    assert!(holds("identity = { table = \"people\" }", "bob@example.org"));
    assert!(holds("helo = { table = \"people\" }", "bob@example.org"));
    assert!(holds("client = { table = \"nets\" }", "bob@example.org"));
}

#[test]
fn all_conditions_must_hold() {
    let holds = |conditions: &str| holds_at_rcpt(conditions, "h", "a@b.example", "r@x.test");
    assert!(holds("client = ['192.0.2.0/24']\nsender = ['b.example']\nauthenticated = true\ntls = false"));
    assert!(!holds("client = ['192.0.2.8']\nsender = ['b.example']"));
    assert!(!holds("client = ['192.0.2.0/24']\nsender = ['c.example']"));
    assert!(!holds("authenticated = false") && !holds("tls = true"));
    assert!(holds("listeners = ['two', 'mx']") && !holds("listeners = ['two']"));
}

proptest! {
    /// Each rule is asked at one of two stages, matches or not, and decides or only would.
    #[test]
    fn the_first_that_matches_decides(shapes in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..8)) {
        let sections: String = shapes.iter().enumerate().map(|(place, (here, fits, would))| {
            let at = if *here { "mail" } else { "rcpt" };
            let sender = if *fits { "b.example" } else { "c.example" };
            format!("[[access]]\nname = \"r{place}\"\nat = {at:?}\nsender = {sender:?}\naction = \"reject\"\nwould = {would}\n")
        }).collect();
        let config = rules(&sections);
        let sender = ReversePath::parse("x@b.example").unwrap();
        let asked = Asked {
            listener: "mx", at: AccessStage::Mail, client: "192.0.2.7".parse().unwrap(), tls: false,
            identity: None, helo: None, sender: Some(&sender), recipient: None,
        };
        let found = judge(&config.access, &Tables::default(), &asked);
        let first = shapes.iter().position(|(here, fits, would)| *here && *fits && !*would);
        prop_assert_eq!(found.decided.map(|rule| rule.name.clone()), first.map(|place| format!("r{place}")));
        let before = &shapes[..first.unwrap_or(shapes.len())];
        let would = before.iter().filter(|(here, fits, would)| *here && *fits && *would).count();
        prop_assert_eq!(found.would.len(), would);
    }
}
