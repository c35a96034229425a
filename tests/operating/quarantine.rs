//! What the log and the metrics say of a message that a filter wants in quarantine.

use std::path::Path;

use serde_json::Value;

use crate::components;
use crate::gateway::{Client, Gateway};
use crate::upstream::Upstream;

/// A gateway whose one filter wants every message in this mailbox.
fn quarantining(upstream: &Upstream, mailbox: &str) -> Gateway {
    let built = components::build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests"));
    let filter = format!(
        "[log]\nformat = \"json\"\n[engine]\ninstances = 8\n[[filter]]\nname = \"judge\"\npath = '{}'\n\
         settings = {{ do = 'message: quarantine' }}\n\
         grants = {{ headers = true, body = true, mime = true, metrics = true, counters = true, tables = [], kv = true, \
         dns = true, http = [], facts = true, mark = true, delay = \"1s\", route = [], edit = {{ headers = [\"X-*\"] }}, \
         quarantine = {{ recipient = \"{mailbox}\" }} }}\n",
        built.join("puppet.wasm").display()
    );
    Gateway::start(upstream.address, &filter)
}

fn transactions(gateway: &Gateway, outcome: &str) -> Option<u64> {
    let series = format!("wasmilter_transactions_total{{outcome=\"{outcome}\"}} ");
    gateway.get("/metrics").1.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
}

/// The one line about the transaction.
fn transaction(gateway: &mut Gateway) -> Value {
    serde_json::from_str(&gateway.wait_for("\"transaction\"")).unwrap()
}

#[test]
fn a_message_in_quarantine_is_an_outcome_of_its_own() {
    let upstream = Upstream::start();
    let mut gateway = quarantining(&upstream, "box@example.net");
    upstream.answer.send(()).unwrap();
    let mut client = Client::connect(gateway.mx);
    client.hand_in("b@example.org");
    assert_eq!(client.reply(), "250 2.0.0 Ok: queued as LATE\r\n");
    let line = transaction(&mut gateway);
    assert_eq!(line["outcome"], "quarantined", "{line}");
    assert_eq!(line["recipients"][0], "b@example.org", "{line}");
    assert_eq!((&line["filters"][0]["filter"], &line["filters"][0]["action"]), (&"judge".into(), &"quarantine".into()));
    assert!(client.say("QUIT").starts_with("221 "));
    assert_eq!((transactions(&gateway, "quarantined"), transactions(&gateway, "accepted")), (Some(1), Some(0)));
}

/// Nobody has it, so the log must not say that somebody has.
#[test]
fn a_message_that_quarantine_does_not_take_is_deferred() {
    let upstream = Upstream::start();
    let mut gateway = quarantining(&upstream, "full@example.net");
    let mut client = Client::connect(gateway.mx);
    client.hand_in("b@example.org");
    assert!(client.reply().starts_with("451 4.7.1 "));
    let line = transaction(&mut gateway);
    assert_eq!(line["outcome"], "deferred", "{line}");
    assert!(client.say("QUIT").starts_with("221 "));
    assert_eq!((transactions(&gateway, "quarantined"), transactions(&gateway, "deferred")), (Some(0), Some(1)));
}
