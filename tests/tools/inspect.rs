//! What a filter is said to be.

use std::path::Path;

use super::{filter, says, standard, text};

#[test]
fn a_filter_is_shown_with_what_it_needs() {
    let path = standard("greylist");
    let shown = filter(&["inspect", path.to_str().unwrap()]);
    assert!(shown.status.success(), "{shown:?}");
    let shown = text(&shown.stdout);
    let wanted = [
        "signature   none (greylist.wasm.minisig is not there)",
        "version     0.1.0\n",
        "summary     ",
        "phase       decide\n",
        "settings    held against its own JSON Schema (",
        "stages      rcpt",
        "kv: get, swap",
        "WASI        none",
        "rustc",
        "[filter.grants]\n    tables = []\n    kv = true\n",
    ];
    says(&shown, &wanted);
}

#[test]
fn what_it_says_to_write_is_what_the_gateway_takes() {
    for name in ["greylist", "add_header", "attachment_guard", "blocklist", "dnsbl", "no_exe", "endless"] {
        let path = standard(name);
        let shown = filter(&["inspect", "--format", "json", path.to_str().unwrap()]);
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(shown["loads"], true, "{shown}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        let section = shown["toml"].as_str().unwrap();
        let file = path.file_name().unwrap().to_str().unwrap();
        let here = folder.path().join(file);
        let section =
            section.replace(&format!("path = \"{file}\""), &format!("path = {:?}", here.display().to_string()));
        let toml = format!(
            "hostname = \"mx.example.org\"\n[relay]\ndomains = [\"example.org\"]\n[[upstream]]\naddress = \
             \"127.0.0.1:10025\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:2525\"\n[engine]\ninstances = 8\n{section}"
        );
        let config = wasmilter::config::parse(&toml, "shown", &|_| None).unwrap_or_else(|why| panic!("{why}\n{toml}"));
        if let Err(why) = wasmilter::chain::Chain::load(&config) {
            // What its settings should be is nothing that inspecting tells.
            let why = why.to_string();
            assert!(
                why.contains("init") || why.contains("its settings are not what it takes"),
                "{name}: {why}\n{toml}"
            );
        }
    }
}

#[test]
fn what_is_no_filter_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (octets, wanted) in [
        (&b"no wasm"[..], "is no Wasm component"),
        (b"\0asm\x01\0\0\0", "is a core Wasm module and no component"),
        (b"\0asm\x0d\0\x01\0\x07", "does not compile"),
        (b"", "is empty"),
    ] {
        let path = folder.path().join("\u{1b}[31mx.wasm");
        std::fs::write(&path, octets).unwrap();
        let refused = filter(&["inspect", path.to_str().unwrap()]);
        assert_eq!(refused.status.code(), Some(65));
        let refused = text(&refused.stderr);
        says(&refused, &[wanted, "help: "]);
        assert!(!refused.contains('\u{1b}'), "{refused}");
    }
    let away = filter(&["inspect", "nowhere.wasm"]);
    assert_eq!(away.status.code(), Some(66));
    says(&text(&away.stderr), &["cannot read nowhere.wasm", "help: "]);
    assert_eq!(filter(&["inspect"]).status.code(), Some(64));
}

#[test]
fn a_component_of_nothing_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.wasm");
    let world = "(component (import \"example:other/thing@1.0.0\" (instance)))";
    std::fs::write(&path, wat::parse_str(world).unwrap()).unwrap();
    let shown = filter(&["inspect", path.to_str().unwrap()]);
    assert_eq!(shown.status.code(), Some(65));
    says(
        &text(&shown.stdout),
        &["none: nothing would ever be asked of it", "example:other/thing@1.0.0", "build it again"],
    );
}

/// A component in a folder of its own, and whether this gateway loads it, with all that is said.
fn inspected(folder: &Path, more: &[&str]) -> (bool, String) {
    let path = folder.join("quit.wasm");
    let arguments: Vec<&str> = [&["inspect", path.to_str().unwrap()], more].concat();
    let shown = filter(&arguments);
    (shown.status.success(), text(&shown.stdout))
}

#[test]
fn a_signature_is_held_against_the_keys_that_are_named() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/signed");
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(from.join("quit.wasm"), folder.path().join("quit.wasm")).unwrap();
    let (loads, said) = inspected(folder.path(), &[]);
    assert!(loads, "{said}");
    says(&said, &["about       it says nothing of itself", "signature   none (quit.wasm.minisig is not there)"]);
    let beside = folder.path().join("quit.wasm.minisig");
    std::fs::copy(from.join("quit.wasm.minisig"), &beside).unwrap();
    let (loads, said) = inspected(folder.path(), &[]);
    assert!(loads, "{said}");
    says(&said, &["signature   by the key 4702C73E55EA27CF, NOT VERIFIED"]);
    assert!(!said.contains("the postmaster"), "nobody vouches for these words:\n{said}");
    let key = ["--key", "RWTPJ+pVPscCR2d48uaWeOQJs505f+dESulmvjIG9urVHeIfpzAk2D7T"];
    let (loads, said) = inspected(folder.path(), &key);
    assert!(loads, "{said}");
    says(&said, &["signature   good, by the key 4702C73E55EA27CF: quit 1.0.0, built by the postmaster"]);
    let (_, said) = inspected(folder.path(), &[&key[..], &["--format", "json"]].concat());
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["signature"]["state"], &said["about"]), (&"good".into(), &serde_json::Value::Null));
    // By somebody else, and no signature at all.
    std::fs::copy(from.join("other.minisig"), &beside).unwrap();
    let (loads, said) = inspected(folder.path(), &key);
    says(&said, &["NOT GOOD: quit.wasm.minisig was made with the key 4209C6B7648E9600", "its signature is not good"]);
    std::fs::write(&beside, "mine").unwrap();
    says(&inspected(folder.path(), &[]).1, &["NOT GOOD: quit.wasm.minisig is none that minisign made"]);
    assert!(!loads);
    assert_eq!(filter(&["inspect", "--key", "none", "x.wasm"]).status.code(), Some(64));
}

#[test]
fn what_fails_when_it_is_asked_of_itself_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let wat = |quit: &str| {
        format!(
            r#"(component (core module $m (func (export "quit")) (func $s {quit}) (start $s))
                (core instance $i (instantiate $m)) (func $quit (canon lift (core func $i "quit")))
                (instance $q (export "quit" (func $quit))) (export "wasmilter:filter/on-quit@0.1.0" (instance $q)))"#
        )
    };
    for (quit, wanted) in
        [("nop", "on-quit@0.1.0: its function is not of the type"), ("unreachable", "instruction executed")]
    {
        std::fs::write(folder.path().join("quit.wasm"), wat::parse_str(wat(quit)).unwrap()).unwrap();
        let (loads, said) = inspected(folder.path(), &[]);
        says(&said, &[wanted, "what it says of itself cannot be had"]);
        assert!(!loads);
    }
}
