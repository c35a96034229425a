//! What the files in tests/configs cannot show.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

fn no_environment(_: &str) -> Option<String> {
    None
}

fn read(text: &str) -> Result<Config, ConfigErrors> {
    parse(text, "/etc/wasmilter/wasmilter.toml", &no_environment)
}

const SMALL: &str = r#"
hostname = "mx.example.org"
upstream = { address = "127.0.0.1:10025" }
relay = { domains = ["example.org", ".example.org"] }
[[listener]]
name = "mx"
address = "0.0.0.0:25"
"#;

#[test]
fn a_small_file_has_every_default() {
    let config = read(SMALL).unwrap();
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.rates, Rates::default());
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.relay.domains, ["example.org"]);
    assert_eq!(config.relay.subdomains_of, ["example.org"]);
    assert_eq!(config.listeners[0].tls, ListenerTls::Off);
    let upstream = &config.upstreams[0];
    let server = Server { host: "127.0.0.1".to_owned(), port: 10025, priority: 0, weight: 1 };
    assert_eq!(upstream.servers, Servers::Listed(vec![server]));
    assert_eq!((upstream.name.as_str(), upstream.connect), (UPSTREAM_DEFAULT, Connect::Eager));
    assert_eq!(upstream.pool, Pool::default());
    assert_eq!(config.admin, None);
}

const REFERENCE: &str = include_str!("../../config/wasmilter.toml");

/// `#key = value` in the reference is a default, `# Example: key = value` a value for a key without one.
fn commented<'t>(line: &'t str, mark: &str) -> Option<&'t str> {
    let setting = line.strip_prefix(mark)?;
    let (key, _) = setting.split_once(" = ")?;
    key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-').then_some(setting)
}

fn with_comments_taken_away(mark: &str) -> String {
    REFERENCE.lines().map(|line| format!("{}\n", commented(line, mark).unwrap_or(line))).collect()
}

#[test]
fn shipped_configurations_are_taken() {
    let minimal = include_str!("../../config/minimal.toml");
    let submission = include_str!("../../config/submission.toml");
    for (name, text) in [("wasmilter.toml", REFERENCE), ("minimal.toml", minimal), ("submission.toml", submission)] {
        let (_, warnings) = parse_with_warnings(text, name, &no_environment).unwrap();
        // The smallest one is for a first look, before there is a certificate.
        let warnings: Vec<String> = warnings.iter().map(Warning::line).collect();
        match name {
            "minimal.toml" => assert!(matches!(&*warnings, [one] if one.contains("no `[tls]`")), "{warnings:?}"),
            _ => assert!(warnings.is_empty(), "{warnings:?}"),
        }
    }
    assert!(minimal.lines().count() <= 20, "more than half a screen");
}

#[test]
fn the_reference_shows_the_defaults() {
    let spoken = with_comments_taken_away("#");
    assert!(spoken.lines().count() > 100);
    let (left_out, written) = (read(REFERENCE).unwrap(), read(&spoken).unwrap());
    assert_eq!(format!("{left_out:#?}"), format!("{written:#?}"));
    assert_eq!(left_out, written);
    // And as nothing but defaults is commented out, these are the coded ones.
    assert_eq!(written.limits, Limits::default());
    assert_eq!(written.rates, Rates::default());
    assert_eq!(written.timeouts, Timeouts::default());
    assert_eq!(written.filters.iter().find(|f| f.name == "attachment-guard").unwrap().bounds, FilterBounds::default());
    assert_eq!((written.engine, written.spool), (Engine::default(), Spool::default()));
    assert_eq!((written.log, written.shutdown, written.resolver), Default::default());
}

/// Each on its own: an example may contradict another.
#[test]
fn the_examples_of_the_reference_are_right() {
    let examples: Vec<usize> = REFERENCE
        .lines()
        .enumerate()
        .filter(|(_, line)| commented(line, "# Example: ").is_some())
        .map(|(number, _)| number)
        .collect();
    assert!(examples.len() >= 7);
    for number in examples {
        let example = commented(REFERENCE.lines().nth(number).unwrap(), "# Example: ").unwrap();
        let key = example.split(" = ").next().unwrap();
        // What the example replaces: the same key somewhere above it, and for a table's file its entries.
        let replaced: &[&str] = match key {
            "file" => &["entries = { \"198"],
            "address" => &["address = \"127.0.0.1:10025\""],
            "bind-dn" => &["search = {"],
            "ldap" | "redis" => &["url = \"https://directory"],
            _ => &[],
        };
        let text: String = REFERENCE
            .lines()
            .enumerate()
            .map(|(at, line)| match line {
                _ if at == number => format!("{example}\n"),
                "#tls = \"none\"" => beside_example(key).to_owned(),
                "#client-certificate = \"off\"" if key == "client-ca" => "client-certificate = \"ask\"\n".to_owned(),
                // What is known at helo is not all there is.
                "at = \"helo\"" if ["sender", "recipient"].contains(&key) => "at = \"rcpt\"\n".to_owned(),
                "#action = \"defer\"" if example == "delay = \"5s\"" => "action = \"delay\"\n".to_owned(),
                "#address = \"127.0.0.1:9925\"" if key.starts_with("socket-") => "socket = \"s\"\n".to_owned(),
                "#dnssec = false" if key == "trust-anchor" => "dnssec = true\n".to_owned(),
                _ if replaced.iter().any(|start| line.starts_with(start)) => "\n".to_owned(),
                _ => format!("{line}\n"),
            })
            .collect();
        if let Err(errors) = read(&text) {
            panic!("{errors}");
        }
    }
}

/// What an example of `[upstream]` needs beside it.
fn beside_example(key: &str) -> &'static str {
    match key {
        "tls-name" | "tls-pin" => "tls = \"verify\"\n",
        "tls-ca" => "tls = \"verify\"\ntls-name = \"mail.internal\"\n",
        "tls-certificate" => "tls = \"opportunistic\"\ntls-key = \"k\"\n",
        "tls-key" => "tls = \"opportunistic\"\ntls-certificate = \"c\"\n",
        // Where people log in at it.
        "address" => "tls = \"verify\"\ntls-name = \"mail.internal\"\n",
        "user" => "password = \"p\"\n",
        "password" | "password-file" => "user = \"u\"\n",
        _ => "#tls = \"none\"\n",
    }
}

/// Every section of the reference with the keys that stand below it, commented out or not, inline tables included.
fn keys_shown() -> std::collections::BTreeSet<(String, String)> {
    let mut shown = std::collections::BTreeSet::new();
    let mut section = String::new();
    for line in REFERENCE.lines() {
        if line.starts_with('[') {
            section = line.to_owned();
            if section.starts_with("[table.") {
                section = "[table.NAME]".to_owned();
            }
            shown.insert((String::new(), section.trim_matches(['[', ']']).split('.').next().unwrap().to_owned()));
        }
        let setting = commented(line, "#").or_else(|| commented(line, "# Example: ")).or_else(|| commented(line, ""));
        let Some((key, value)) = setting.and_then(|setting| setting.split_once(" = ")) else { continue };
        shown.insert((section.clone(), key.to_owned()));
        let inline = match key {
            "kv" => "[filter.grants.kv]",
            "when" => "[filter.when]",
            "sender-login" => "[listener.sender-login]",
            "http" => "[filter.grants.http]",
            "except" => "[limit.except]",
            "search" => "[auth.backend.search]",
            "ldap" => "[table.NAME.ldap]",
            "redis" => "[table.NAME.redis]",
            "address" => "[upstream.address]",
            _ => "[network.limits]",
        };
        for part in value.trim_matches(['[', '{', '}', ']', ' ']).split(", ") {
            shown.insert((inline.to_owned(), part.split(" = ").next().unwrap().to_owned()));
        }
    }
    shown
}

#[test]
fn the_reference_has_every_key_and_its_reader() {
    let shown = keys_shown();
    let limits_shown: Vec<&str> =
        shown.iter().filter(|(section, _)| section == "[limits]").map(|(_, key)| key.as_str()).collect();
    for shape in schema::ALL {
        for key in shape.keys {
            // A network's limits are those of [limits], explained there.
            let elsewhere = shape.title == "[network.limits]" && limits_shown.contains(key);
            let nested = ["grants", "edit", "limits", "additional", "backend"].contains(key);
            let found = shown.contains(&(shape.title.to_owned(), (*key).to_owned())) || elsewhere || nested;
            assert!(found, "{} {key} is not in config/wasmilter.toml", shape.title);
        }
    }
    // The other way round: what the schema lists is also read.
    let text = with_comments_taken_away("#").replace("\nkv = false\n", "\nkv = { quota = \"16 MiB\" }\n");
    let text = text.replace("\nhttp = false\n", "\nhttp = { urls = [] }\n");
    let text = text.replace("address = \"127.0.0.1:10025\"", "address = [{ address = \"127.0.0.1:10025\" }]");
    let text = text + "\n[table.by-ldap.ldap]\nurl = \"ldaps://l.test\"\nbase = \"\"\nfilter = \"(uid=%u)\"\n";
    let text = text + "[table.in-redis]\nredis = { hash = \"people\" }\n";
    let asked = parse::keys_asked_for(&text);
    for shape in schema::ALL {
        for key in shape.keys {
            assert!(
                asked.contains(&(shape.title, *key)),
                "{} {key} is in the schema, but nobody reads it",
                shape.title
            );
        }
    }
}

/// `more` behind a file where people log in.
fn page(more: &str) -> Option<String> {
    let base = "tls = { certificate = \"c\", key = \"k\" }\nhostname = \"mx.example.org\"\nupstream = { address = \
                \"127.0.0.1:10025\" }\nrelay = { domains = [\"example.org\"] }\n[[listener]]\nname = \"s\"\naddress = \
                \"0.0.0.0:465\"\ntls = \"implicit\"\nauth = \"required\"\n";
    let config = read(&format!("{base}{more}")).unwrap_or_else(|errors| panic!("{errors}"));
    config.auth.unwrap().discovery().map(ToString::to_string)
}

#[test]
fn a_provider_is_named_where_it_is_the_only_one_and_asked_by_tls() {
    let provider = |name: &str, more: &str| {
        format!("[[auth.backend]]\nname = \"{name}\"\nkind = \"oauth\"\naudience = \"smtp\"\n{more}\n")
    };
    let one = provider("one", "issuer = \"https://login.example.org/\"");
    let found = Some("https://login.example.org/.well-known/openid-configuration".to_owned());
    assert_eq!(page(&one), found);
    let people = "[[auth.backend]]\nname = \"people\"\nkind = \"file\"\npath = \"p\"\n";
    assert_eq!(page(&format!("{people}{one}")), found);
    // Two audiences of one provider are one provider.
    assert_eq!(page(&format!("{one}{}", provider("two", "issuer = \"https://login.example.org\""))), found);
    for other in [
        "issuer = \"https://other.example.org\"",
        "issuer = \"https://login.example.org\"\njwks = \"https://login.example.org/keys\"",
        "introspection = \"https://other.example.org/ask\"\nclient-id = \"c\"\nclient-secret-file = \"s\"",
    ] {
        assert_eq!(page(&format!("{one}{}", provider("two", other))), None, "{other}");
        assert_eq!(page(&format!("{}{one}", provider("two", other))), None, "{other}");
    }
    assert_eq!(page(&provider("near", "issuer = \"http://127.0.0.1:8080\"")), None, "not by TLS");
    assert_eq!(page(people), None);
}

#[test]
fn names_in_redis_are_bounded() {
    let table = |name: &str| {
        let state = "[state]\nredis = \"redis://127.0.0.1\"\nshare = []\n[table.t]\nredis = { prefix = ";
        read(&format!("{}{state}\"{name}\" }}\n", include_str!("../../config/minimal.toml")))
    };
    assert!(table("x").is_ok() && table(&"x".repeat(255)).is_ok());
    assert!(table(&"x".repeat(256)).is_err() && table("").is_err());
}
