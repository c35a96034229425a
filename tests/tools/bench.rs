//! What a filter is said to cost; and the empty filter that it is held against.

use std::path::Path;

use serde_json::Value;

use super::{filter, says, standard, text};

#[test]
fn the_empty_filter_is_made_of_its_text() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/filter/bench");
    let made = wat::parse_file(folder.join("empty.wat")).unwrap();
    if std::fs::read(folder.join("empty.wasm")).ok() != Some(made.clone()) {
        let here = Path::new(env!("CARGO_TARGET_TMPDIR")).join("empty.wasm");
        std::fs::write(&here, made).unwrap();
        panic!("empty.wasm is not made of empty.wat: cp {} {}", here.display(), folder.display());
    }
    let shown = filter(&["inspect", folder.join("empty.wasm").to_str().unwrap()]);
    assert!(shown.status.success(), "{}", text(&shown.stdout));
    says(&text(&shown.stdout), &["stages      connect, helo, tls, auth, mail, rcpt, data, headers, body, message"]);
}

#[test]
fn a_filter_is_measured_beside_the_empty_one() {
    let path = standard("add_header");
    let bench = filter(&["bench", path.to_str().unwrap(), "--seconds", "1"]);
    assert!(bench.status.success(), "{bench:?}");
    let wanted =
        ["add_header.wasm", "headers", "a message", "256.0 KiB", "messages a second", "What these figures mean"];
    says(&text(&bench.stdout), &wanted);

    let bench = filter(&["bench", path.to_str().unwrap(), "--seconds", "1", "--format", "json"]);
    let shown: Value = serde_json::from_slice(&bench.stdout).unwrap();
    let stages: Vec<&str> = shown["stages"].as_array().unwrap().iter().filter_map(|s| s["stage"].as_str()).collect();
    assert_eq!(stages, ["headers"]);
    for (mode, whose) in [("warm", "this"), ("warm", "empty"), ("fresh", "this"), ("fresh", "empty")] {
        assert!(shown["message"][mode][whose]["cpu-us"].as_f64().is_some_and(|time| time > 0.0), "{shown}");
    }
    assert_eq!(shown["memory-octets"], 262_144);
}

#[test]
fn messages_of_ones_own_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let mail = folder.path().join("a.eml");
    std::fs::write(&mail, "To: b@example.org\nSubject: x\n\nx\n").unwrap();
    let path = standard("no_exe");
    let bench = filter(&["bench", path.to_str().unwrap(), mail.to_str().unwrap(), "--seconds", "1"]);
    assert!(bench.status.success(), "{bench:?}");
    says(&text(&bench.stdout), &["1 message of 36 B", "message"]);
    let nothing = filter(&["bench", path.to_str().unwrap(), "nowhere.eml"]);
    assert_eq!(nothing.status.code(), Some(66));
}
