//! The gateway as its operator meets it: signals, reload, shutdown, health, metrics, the log.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod after_login;
mod asked;
mod bounds;
#[path = "../dialogs/components.rs"]
mod components;
mod door;
mod exchange;
mod gateway;
mod probe;
mod quarantine;
mod snapshot;
mod upstream;

use std::net::TcpStream;

use gateway::{Client, Gateway, configuration};
use upstream::Upstream;

#[test]
fn a_reload_takes_what_is_good_and_leaves_what_is_not() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(upstream.address, "");
    let mut before = Client::connect(gateway.mx);
    before.say("EHLO client.test");
    std::fs::write(gateway.configuration(), configuration(upstream.address, "other.test", "")).unwrap();
    gateway.signal("HUP");
    gateway.wait_for("reloaded");

    // A session under way keeps what it began with; a new one has the new configuration, at the same port.
    assert!(before.say("MAIL FROM:<a@client.test>").starts_with("250 "));
    assert!(before.say("RCPT TO:<b@example.org>").starts_with("250 "));
    let recipient = |gateway: &Gateway, address: &str| {
        let mut client = Client::connect(gateway.mx);
        client.say("EHLO client.test");
        client.say("MAIL FROM:<a@client.test>");
        client.say(&format!("RCPT TO:<{address}>"))
    };
    assert!(recipient(&gateway, "b@example.org").starts_with("550 5.7.1 "));
    assert!(recipient(&gateway, "b@other.test").starts_with("250 "));

    let bad = [
        ("[relay]\ndomain = []\n", "no key `domain`"),
        ("[tls]\ncertificate = \"/nonexistent.pem\"\nkey = \"/nonexistent.key\"\n", "/nonexistent"),
        ("[[filter]]\nname = \"f\"\npath = \"missing.wasm\"\n", "missing.wasm"),
    ];
    for (more, words) in bad {
        let text = configuration(upstream.address, "third.test", "");
        let text = if more.starts_with("[relay]") { text.replace("domains", "domain") } else { text + more };
        std::fs::write(gateway.configuration(), text).unwrap();
        gateway.signal("HUP");
        let said = gateway.wait_for("reload refused");
        assert!(said.contains(words), "{said}");
        assert!(recipient(&gateway, "b@other.test").starts_with("250 "), "after {more}");
    }
}

#[test]
fn a_shutdown_drains_and_never_cuts_between_the_dot_and_its_reply() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(upstream.address, "[shutdown]\ndrain = \"1s\"\nfinal-reply = \"1min\"\n");
    let mut idle = Client::connect(gateway.mx);
    idle.say("EHLO client.test");
    let mut silent = Client::connect(gateway.mx);
    let mut busy = Client::connect(gateway.mx);
    busy.hand_in("b@example.org");
    upstream.whole.recv().unwrap();
    assert!(gateway.get("/healthz").0.contains(" 200 "));

    gateway.signal("TERM");
    gateway.wait_for("stopping");
    assert!(gateway.get("/healthz").0.contains(" 503 "));
    assert!(idle.say("MAIL FROM:<a@client.test>").starts_with("421 4.3.2 "));
    assert_eq!(idle.reply(), "");
    // Who says nothing hears it when the drain is over, well before the other's answer comes.
    assert!(silent.reply().starts_with("421 4.3.2 "));
    assert!(TcpStream::connect(gateway.mx).is_err());
    upstream.answer.send(()).unwrap();
    assert_eq!(busy.reply(), "250 2.0.0 Ok: queued as LATE\r\n");
    let (status, log) = gateway.wait();
    assert!(status.success(), "{log}");
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn the_log_has_one_line_a_transaction_and_nothing_from_outside_unescaped() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(upstream.address, "[log]\nformat = \"json\"\n");
    upstream.answer.send(()).unwrap();
    let mut client = Client::connect(gateway.mx);
    client.hand_in("\"evil\\\"=b\"@example.org");
    assert!(client.reply().starts_with("250 "));
    assert!(client.say("MAIL FROM:<a@client.test>").starts_with("250 "));
    assert!(client.say("RCPT TO:<b@elsewhere.test>").starts_with("550 "));
    let line = gateway.wait_for("queued as LATE");
    let fields: serde_json::Value = serde_json::from_str(&line).unwrap();
    for field in ["id", "peer", "helo", "sender", "recipients", "size", "outcome", "upstream"] {
        assert!(!fields[field].is_null(), "{field} in {line}");
    }
    assert_eq!(fields["outcome"], "accepted");
    assert_eq!(fields["sender"], "a@client.test");
    assert_eq!(fields["recipients"][0], "\"evil\\\"=b\"@example.org");
    let refused: serde_json::Value = serde_json::from_str(&gateway.wait_for("elsewhere.test")).unwrap();
    assert_eq!(refused["message"], "refused");
    assert!(client.say("QUIT").starts_with("221 "));
    let (_, metrics) = gateway.get("/metrics");
    assert!(metrics.contains("wasmilter_transactions_total{outcome=\"accepted\"} 1"), "{metrics}");
    assert!(metrics.contains("wasmilter_sessions_total{listener=\"mx\"} 1"), "{metrics}");
}

#[test]
fn an_open_relay_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.toml");
    let text = configuration(([127, 0, 0, 1], 25).into(), "example.org", "");
    std::fs::write(&path, text.replace("[admin]", "trusted-networks = [\"0.0.0.0/0\"]\n[admin]")).unwrap();
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_wasmilter"))
        .args(["serve", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(78));
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(said.contains("open relay") && said.contains("w.toml:7:"), "{said}");
}

#[test]
fn the_audit_ends_by_what_it_finds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.toml");
    let audit = |more: &str| {
        let text = configuration(([127, 0, 0, 1], 25).into(), "example.org", "");
        std::fs::write(&path, text + more).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wasmilter"));
        let run = command.args(["audit", "--config"]).arg(&path).output().unwrap();
        (run.status.code(), String::from_utf8_lossy(&run.stdout).into_owned())
    };
    let (status, said) = audit("");
    assert!(status == Some(0) && said.ends_with("nothing surprising\n"), "{said}");
    let (status, said) = audit("[[access]]\nnope = 1\n");
    assert_eq!((status, said.as_str()), (Some(78), ""));
    let logins = "[tls]\ncertificate = \"c\"\nkey = \"k\"\n[auth]\nmechanisms = [\"EXTERNAL\", \"PLAIN\"]\npassword-file = \"p\"\n\
                  [[listener]]\nname = \"devices\"\naddress = \"127.0.0.1:465\"\ntls = \"implicit\"\nauth = \"required\"\n\
                  client-certificate = \"ask\"\nclient-ca = \"ca.pem\"\n";
    let rules = |identity: &str| {
        format!(
            "{logins}[[access]]\nname = \"people\"\nat = \"mail\"\nidentity = [\"@example.org\"]\naction = \"permit\"\n\
             [[access]]\nname = \"others\"\nat = \"mail\"\n{identity}\naction = \"reject\"\n"
        )
    };
    let (status, said) = audit(&rules("authenticated = true"));
    assert!(status == Some(0) && said.contains("by password (password-file), certificate: relays"), "{said}");
    let (status, said) = audit(&rules("identity = [\"/@/\"]"));
    assert!(status == Some(1) && said.contains("SURPRISING  login \"somebody\" (no address) by certificate"), "{said}");
}
