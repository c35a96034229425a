//! Configurations that are open for one kind of identity only.

use super::{says, text_of};

/// Our own people by token, devices by certificate.
const TWO_WAYS: &str = r#"
hostname = "mx.example.org"
upstream = { address = "127.0.0.1:10025" }
tls = { certificate = "c", key = "k" }
relay = { domains = ["example.org"] }
[[listener]]
name = "mx"
address = "192.0.2.1:25"
[[listener]]
name = "submissions"
address = "192.0.2.1:465"
tls = "implicit"
auth = "required"
client-certificate = "ask"
client-ca = "devices.pem"
[auth]
mechanisms = ["EXTERNAL", "OAUTHBEARER"]
[[auth.backend]]
name = "sso"
kind = "oauth"
issuer = "https://sso.example.org"
audience = "smtp"
domains = ["example.org"]
"#;

fn two_ways(listener: &str, more: &str) -> (String, usize) {
    let ca = "client-ca = \"devices.pem\"\n";
    text_of(|_| TWO_WAYS.replace(ca, &format!("{ca}{listener}\n")) + more)
}

#[test]
fn every_way_to_log_in_is_tried() {
    let (text, surprising) = two_ways("", "");
    assert_eq!(surprising, 0, "{text}");
    says(
        &text,
        &[
            "  login \"somebody@example.org\" (one of yours) by token (sso), certificate: relays to anywhere, from any sender\n",
            "  login \"somebody\" (no address) by certificate: relays to anywhere",
            " sessions tried; at each listener one for each kind that its rules can tell apart, at most 32 addresses and 32 logins\n",
        ],
    );
    assert!(!text.contains("somebody@relay-test.invalid\" (somebody elsewhere) by token"), "{text}");
    let dovecot = "[[auth.backend]]\nname = \"mailboxes\"\nkind = \"dovecot\"\nsocket = \"/run/x\"\n";
    let (text, surprising) = text_of(|text| text.replace("auth = { password-file = \"p\" }\n", "") + dovecot);
    assert_eq!(surprising, 0, "{text}");
    says(&text, &["by password (mailboxes), CRAM-MD5 (mailboxes): relays to anywhere"]);
    let file = |name: &str| format!("[[auth.backend]]\nname = \"{name}\"\nkind = \"file\"\npath = \"{name}\"\n");
    let files = file("people") + &file("guests");
    let (text, _) = text_of(|text| text.replace("auth = { password-file = \"p\" }\n", "") + &files);
    says(&text, &["by password (people, guests): relays to anywhere"]);
}

#[test]
fn a_map_that_holds_all_but_certificates_is_found() {
    let held = "sender-login = { domains = true }";
    let (text, surprising) = two_ways(held, "");
    assert_eq!(surprising, 0, "{text}");
    says(
        &text,
        &[
            "by token (sso), certificate: relays to anywhere, from <>, itself, others of yours; not from anybody elsewhere: 553",
        ],
    );
    let map = "sender-login = { domains = true, map = \"devices\" }";
    let entries = |entry: &str| format!("[table.devices]\nkind = \"regex\"\nentries = {{ {entry} }}\n");
    let (text, surprising) = two_ways(map, &entries("'^[^@]+$' = \"@example.org\""));
    assert_eq!(surprising, 1, "{text}");
    says(
        &text,
        &[
            "SURPRISING  login \"somebody\" (no address) by certificate relays from others of yours: sender-login does not hold",
        ],
    );
    let (text, surprising) = two_ways(map, &entries("'^printer[0-9]$' = \"@example.org\""));
    assert_eq!(surprising, 0, "{text}");
    // Whoever is named may have what they are named for.
    let (text, surprising) =
        two_ways(map, "[table.devices]\nentries = { fax = \"fax@example.org, postmaster@example.org\" }\n");
    assert_eq!(surprising, 0, "{text}");
    says(&text, &["login \"fax\" (named) by certificate: relays to anywhere, from <>, others of yours; not from"]);
}

#[test]
fn a_rule_that_refuses_all_but_certificates_is_found() {
    let people = "[[access]]\nname = \"people\"\nat = \"mail\"\nidentity = [\"@example.org\"]\naction = \"permit\"\n";
    let nobody = "[[access]]\nname = \"nobody-else\"\nat = \"mail\"\nauthenticated = true\naction = \"reject\"\n";
    let (text, surprising) = two_ways("", &format!("{people}{nobody}"));
    assert_eq!(surprising, 0, "{text}");
    says(&text, &["login \"somebody\" (no address) by certificate: does not relay: 554 5.7.1"]);
    // Meant to be the same. A common name has no @.
    let nobody = nobody.replace("authenticated = true", "identity = [\"/@/\"]");
    let (text, surprising) = two_ways("", &format!("{people}{nobody}"));
    assert_eq!(surprising, 1, "{text}");
    says(
        &text,
        &[
            "SURPRISING  login \"somebody\" (no address) by certificate relays from <>, and login \"somebody@relay-test.invalid\"",
        ],
    );
    // The wrong way round, whatever proves it.
    let wrong = "[[access]]\nname = \"wrong\"\nat = \"rcpt\"\nidentity = [\"@example.org\"]\naction = \"reject\"\n";
    let (text, surprising) = text_of(|text| text.to_owned() + wrong);
    assert!(surprising > 0, "{text}");
    says(&text, &["(somebody elsewhere) by password (", "and login \"somebody@example.org\" (one of yours) does not"]);
}

#[test]
fn recipients_that_a_login_gets_by_a_trick_are_found() {
    let rules = |recipient: &str| {
        format!(
            "[[access]]\nname = \"inside\"\nat = \"rcpt\"\nauthenticated = true\nrecipient = [{recipient}]\naction = \"permit\"\n\
             [[access]]\nname = \"no-farther\"\nat = \"rcpt\"\nauthenticated = true\naction = \"reject\"\n"
        )
    };
    let (text, surprising) = text_of(|text| text.to_owned() + &rules("\"@example.org\""));
    assert!(surprising > 0, "{text}");
    says(
        &text,
        &[
            "is held to some recipients, and yet relays\n",
            "your server hears RCPT TO:<user%relay-test.invalid@example.org>",
        ],
    );
    let (text, surprising) = text_of(|text| text.to_owned() + &rules("'/^[a-z.]+@example\\.org$/'"));
    assert_eq!(surprising, 0, "{text}");
}

#[test]
fn who_speaks_for_strangers_gives_them_nothing() {
    let trusts =
        |more: &'static str| move |text: &str| text.replacen("name = \"mx\"\n", &format!("name = \"mx\"\n{more}"), 1);
    let (text, surprising) = text_of(trusts("xclient-networks = [\"10.1.0.0/24\"]\n"));
    assert_eq!(surprising, 0, "{text}");
    // A login by its word counts, whatever `auth` of the listener says.
    says(
        &text,
        &[
            "\"mx\"\n  a stranger: nothing",
            "  login \"somebody@example.org\" (one of yours) by XCLIENT: relays to anywhere",
        ],
    );
    let proxied = "proxy-protocol = \"required\"\nproxy-networks = [\"192.0.2.8/32\"]\n";
    let (text, surprising) = text_of(trusts(proxied));
    assert_eq!(surprising, 0, "{text}");
}

#[test]
fn who_says_who_there_is_may_be_anybody() {
    let issuer = |text: &str| text.replace("https://sso.example.org", "https://accounts.google.com");
    let (text, surprising) = text_of(|_| issuer(TWO_WAYS));
    assert_eq!(surprising, 0, "{text}");
    let open = issuer(TWO_WAYS).trim_end().trim_end_matches("domains = [\"example.org\"]").to_owned();
    let (text, surprising) = text_of(|_| open.clone());
    assert_eq!(surprising, 1, "{text}");
    says(&text, &["backend \"sso\": anybody can have an account at https://accounts.google.com and log in"]);

    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.pem");
    let one = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";
    let shown = bundle.display().to_string();
    for (count, surprises) in [(2, 0), (17, 1)] {
        std::fs::write(&bundle, one.repeat(count)).unwrap();
        let (text, surprising) = text_of(|_| TWO_WAYS.replace("devices.pem", &shown));
        assert_eq!(surprising, surprises, "{text}");
        assert_eq!(text.contains("of any of the 17 authorities in"), surprises == 1, "{text}");
    }
}

#[test]
fn kinds_that_nothing_tells_apart_are_tried_once_and_all_have_a_bound() {
    let lines = |text: &str| text.lines().filter(|line| line.starts_with("  login ")).count();
    let entries: Vec<String> = (0..500).map(|number| format!("p{number} = \"p{number}@example.org\"")).collect();
    let map = format!("[table.many]\nentries = {{ {} }}\n", entries.join(", "));
    let (text, surprising) = two_ways("sender-login = { map = \"many\" }", &map);
    assert_eq!(surprising, 0, "{text}");
    assert_eq!(lines(&text), 32);
    says(&text, &["  there are more kinds of logins than the 32 that are tried\n"]);
    let same: Vec<String> = (0..500).map(|number| format!("\"p{number}\"")).collect();
    let rule =
        format!("[[access]]\nname = \"same\"\nat = \"mail\"\nidentity = [{}]\naction = \"permit\"\n", same.join(", "));
    let (text, surprising) = two_ways("", &rule);
    assert_eq!(surprising, 0, "{text}");
    assert_eq!(lines(&text), 4, "{text}");
    let networks: Vec<String> = (0..40)
        .map(|number| {
            format!("[[access]]\nname = \"n{number}\"\nat = \"connect\"\nclient = [\"198.51.100.{number}\"]\naction = \"permit\"\n")
        })
        .collect();
    let (text, surprising) = two_ways("", &networks.concat());
    assert_eq!(surprising, 0, "{text}");
    says(
        &text,
        &["tricks, 32 kinds of addresses)", "  there are more kinds of addresses than the 32 that are tried\n"],
    );
}
