//! What a filter is said to be.

use super::{filter, says, standard, text};

#[test]
fn a_filter_is_shown_with_what_it_needs() {
    let path = standard("greylist");
    let shown = filter(&["inspect", path.to_str().unwrap()]);
    assert!(shown.status.success(), "{shown:?}");
    let shown = text(&shown.stdout);
    let wanted = [
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
            assert!(why.to_string().contains("init"), "{name}: {why}\n{toml}");
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
