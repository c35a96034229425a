//! What is found out about configurations, good and bad.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use super::audit::{audit, open_relay};
use super::explain::explain;
use super::rehearsal::{self, By, Client, Login};
use super::*;

mod logins;

const SITE: &str = r#"
hostname = "mx.example.org"
upstream = { address = "127.0.0.1:10025" }
tls = { certificate = "c", key = "k" }
auth = { password-file = "p" }
relay = { domains = ["example.org", ".sub.example.org"], trusted-networks = ["10.0.0.0/8"] }
[[listener]]
name = "mx"
address = "127.0.0.1:25"
[[listener]]
name = "submission"
address = "127.0.0.1:587"
auth = "required"
sender-login = { domains = true }
[[listener]]
name = "submissions"
address = "127.0.0.1:465"
tls = "implicit"
auth = "required"
"#;

fn site(change: impl Fn(&str) -> String) -> (Arc<Config>, Tables) {
    let config = crate::config::parse(&change(SITE), "wasmilter.toml", &|_| None).unwrap();
    let tables = rehearsal::tables(&config).unwrap();
    (Arc::new(config), tables)
}

fn text_of(change: impl Fn(&str) -> String) -> (String, usize) {
    let (config, tables) = site(change);
    let report = audit(&config, &tables);
    (report.text, report.surprising)
}

#[track_caller]
fn says(text: &str, wanted: &[&str]) {
    for part in wanted {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn an_honest_site_has_no_surprises() {
    let (text, surprising) = text_of(str::to_owned);
    assert_eq!(surprising, 0, "{text}");
    says(
        &text,
        &[
            "listener \"mx\"\n  a stranger: nothing is relayed (",
            "trusted network 10.0.0.0/8 (10.0.0.0): relays to anywhere (trusted-networks)",
            "login \"somebody@example.org\" (one of yours) by password (",
            "): relays to anywhere, from <>, itself, others of yours; not from anybody elsewhere: 553 5.7.1",
            "login \"somebody\" (no address) by password (",
            "a login in clear: does not relay: 538 5.7.11",
            "nothing surprising\n",
        ],
    );
    let mx = text.split("listener \"submission\"").next().unwrap();
    assert!(!mx.contains("login"), "{mx}");
}

#[test]
fn each_listener_trusts_whom_it_names() {
    let own = |networks: &str| {
        let own = format!("address = \"127.0.0.1:25\"\ntrusted-networks = {networks}");
        text_of(move |site| site.replace("address = \"127.0.0.1:25\"", &own))
    };
    let (text, surprising) = own("[]");
    assert_eq!(surprising, 0, "{text}");
    let (mx, others) = text.split_once("listener \"submission\"").unwrap();
    assert!(!mx.contains("trusted network") && mx.contains("a stranger: nothing is relayed ("), "{mx}");
    says(others, &["trusted network 10.0.0.0/8 (10.0.0.0): "]);
    let (text, surprising) = own("[\"9.0.0.0/8\"]");
    assert_eq!(surprising, 1, "{text}");
    says(&text, &["trusted network 9.0.0.0/8 (9.0.0.0): relays to anywhere (trusted-networks)", "hardly all yours"]);
}

#[test]
fn shipped_configurations_have_no_surprises() {
    for text in [include_str!("../../../config/minimal.toml"), include_str!("../../../config/submission.toml")] {
        let (report, surprising) = text_of(|_| text.to_owned());
        assert_eq!(surprising, 0, "{report}");
    }
    let reference = include_str!("../../../config/wasmilter.toml");
    assert_eq!(text_of(|_| reference.to_owned()).1, 0);
}

/// Each opens the gateway in a way that no parser could see.
#[test]
fn what_strangers_get_through_is_found() {
    let with_table = |entries: &str| {
        let table = format!("[table.d]\nkind = \"domain\"\nentries = [{entries}]\n");
        move |text: &str| text.replace("relay = { ", "relay = { domains-table = \"d\", ") + &table
    };
    for (entries, trick) in [
        (
            "\"invalid\"",
            "plain: MAIL FROM:<test@relay-test.invalid>, RCPT TO:<user@relay-test.invalid>; your server hears",
        ),
        ("\"com\"", "a domain that anybody could register: MAIL FROM:<>"),
        ("\"example.org\", \"co.uk\"", "wasmilter-relay-test-7f3a9c.co.uk"),
    ] {
        let (text, surprising) = text_of(with_table(entries));
        assert!(surprising > 0, "{text}");
        says(&text, &["SURPRISING  a stranger (192.0.2.77) relays", trick, "surprise"]);
        let (config, _) = site(with_table(entries));
        says(&open_relay(&config).unwrap(), &["this would be an open relay", "at listener \"mx\", 192.0.2.77", trick]);
    }
    let (config, _) = site(with_table("\"example.net\""));
    assert_eq!(open_relay(&config), None);
}

#[test]
fn a_domain_below_ours_is_no_trick() {
    let (text, surprising) = text_of(|text| text.replace("[\"example.org\", ", "[\"mail.sub.example.org\", "));
    assert_eq!(surprising, 0, "{text}");
}

#[test]
fn networks_that_are_hardly_ones_own_are_surprising() {
    let trusted = |networks: &'static str| move |text: &str| text.replace("\"10.0.0.0/8\"", networks);
    for (networks, why) in [
        ("\"8.0.0.0/9\"", "trusted network 8.0.0.0/9: a public network that is hardly all yours"),
        ("\"2600::/20\"", "trusted network 2600::/20: a public network"),
    ] {
        let (text, surprising) = text_of(trusted(networks));
        assert_eq!(surprising, 1, "{text}");
        says(&text, &[why, "1 surprise\n"]);
    }
    assert_eq!(text_of(trusted("\"172.16.0.0/12\", \"192.0.0.0/16\", \"fd00::/16\", \"127.0.0.0/8\"")).1, 0);
    let proxied = |text: &str| {
        let proxy = "proxy-protocol = \"required\"\nproxy-networks = [\"10.1.0.0/16\"]\n";
        text.replacen("[[listener]]\nname = \"mx\"\n", &format!("[[listener]]\nname = \"mx\"\n{proxy}"), 1)
    };
    says(&text_of(proxied).0, &["SURPRISING  listener \"mx\": clients that the proxy 10.1.0.0/16 does not know relay"]);
}

fn plain(listener: usize, ip: &str) -> Client {
    Client {
        listener,
        address: ip.parse().unwrap(),
        introduced: None,
        helo: "client.test".to_owned(),
        tls: false,
        certificate: None,
        login: None,
        after_login: false,
    }
}

fn explained(
    change: impl Fn(&str) -> String,
    listener: usize,
    ip: &str,
    user: Option<&str>,
    from: &str,
    to: &str,
) -> (String, bool) {
    let (config, tables) = site(change);
    let login = user.map(|name| Login { name: name.to_owned(), by: By::Password });
    let client = Client { tls: user.is_some(), login, ..plain(listener, ip) };
    explain(&config, &tables, &client, from, &[to.to_owned()])
}

#[test]
fn who_decides_is_said() {
    let rules = |text: &str| {
        format!(
            "{text}[[access]]\nname = \"trial\"\nat = \"helo\"\naction = \"defer\"\nwould = true\n\
             [[access]]\nname = \"spam\"\nat = \"mail\"\nsender = [\"@spam.test\"]\naction = \"reject\"\n\
             [[access]]\nname = \"friends\"\nat = \"mail\"\nclient = [\"192.0.2.7\"]\naction = \"permit\"\n"
        )
    };
    let (text, permitted) = explained(rules, 0, "192.0.2.7", None, "<a@client.test>", "b@elsewhere.test");
    assert!(!permitted);
    assert_eq!(
        text,
        "(connects)\n    220 mx.example.org ESMTP\n\
         EHLO client.test\n    rule \"trial\": would defer: 450 4.7.1 Access denied for now, try again later\n    \
         250 mx.example.org\n\
         MAIL FROM:<a@client.test>\n    rule \"friends\": permit\n    250 2.1.0 Ok\n\
         RCPT TO:<b@elsewhere.test>\n    550 5.7.1 Relaying denied\n    \
         relay policy: a stranger, and the domain is not yours\nrefused\n"
    );
    let (text, permitted) = explained(rules, 0, "192.0.2.7", None, "a@client.test", "b@example.org");
    assert!(permitted, "{text}");
    says(
        &text,
        &[
            "relay policy: the domain is yours",
            "permitted: limits, policy daemons, filters and the server behind decide next",
        ],
    );
    let (text, permitted) = explained(rules, 0, "192.0.2.7", None, "a@spam.test", "b@example.org");
    assert!(!permitted);
    says(&text, &["rule \"spam\": reject: 554 5.7.1 Access denied\n    554 5.7.1 Access denied"]);
    let (text, permitted) = explained(rules, 0, "10.1.2.3", None, "", "b@elsewhere.test");
    assert!(permitted, "{text}");
    says(&text, &["MAIL FROM:<>", "relay policy: the client is in a trusted network"]);
}

#[test]
fn a_login_elsewhere_counts_where_it_is_taken() {
    let taken = |text: &str| text.replacen("name = \"mx\"\n", "name = \"mx\"\nafter-login = true\n", 1);
    let asked = |change: &dyn Fn(&str) -> String| {
        let (config, tables) = site(change);
        let client = Client { after_login: true, ..plain(0, "192.0.2.7") };
        explain(&config, &tables, &client, "a@client.test", &["b@elsewhere.test".to_owned()])
    };
    let (text, permitted) = asked(&taken);
    assert!(permitted, "{text}");
    says(&text, &["relay policy: somebody has logged in from its address elsewhere"]);
    assert!(!asked(&str::to_owned).1);
    let (text, surprising) = text_of(taken);
    assert_eq!(surprising, 0, "{text}");
    says(&text, &["  an address that has logged in elsewhere lately: relays to anywhere (after-login)"]);
    assert!(!text_of(str::to_owned).0.contains("logged in elsewhere"));
}

#[test]
fn logins_are_explained() {
    for listener in [1, 2] {
        let (text, permitted) = explained(
            str::to_owned,
            listener,
            "192.0.2.7",
            Some("anna@example.org"),
            "x@example.org",
            "b@elsewhere.test",
        );
        assert!(permitted, "{text}");
        says(&text, &["AUTH PLAIN …\n    235", "relay policy: who has logged in may send anywhere"]);
    }
    let (text, permitted) =
        explained(str::to_owned, 1, "192.0.2.7", Some("anna@example.org"), "x@example.net", "b@elsewhere.test");
    assert!(!permitted);
    says(&text, &["rule \"sender-login\": reject: 553 5.7.1 <x@example.net>", "not owned by user anna@example.org"]);
    let (text, permitted) = explained(str::to_owned, 1, "192.0.2.7", None, "x@example.org", "b@example.org");
    assert!(!permitted);
    says(&text, &["530 5.7.0"]);
}
