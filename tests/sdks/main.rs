//! The SDKs as an author meets them: what `wasmilter filter new` makes in every language, and the examples, built by
//! `wasmilter filter build` and held to their dialogs by the real gateway. Needs the languages' own tools:
//! `cargo xtask test --all` installs and runs it.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use wasmilter::config;
use wasmilter::dialog::files::collect;
use wasmilter::dialog::{How, Patience, Script, Setting, replay};
use wasmilter::server::Environment;

/// Far longer than anything here takes: a dialog that waits this long has failed.
const WAIT: Duration = Duration::from_mins(2);
const PATIENCE: Patience = Patience { answer: WAIT, answered_instead: WAIT };

const GATEWAY: &str = r#"
hostname = "mx.example.org"
[upstream]
address = "${UPSTREAM}"
[relay]
domains = ["example.org"]
[[listener]]
name = "mx"
address = "127.0.0.1:0"
[engine]
instances = 64
cache = "${CACHE}"
"#;

/// What the program says is shown when the test fails.
fn wasmilter(arguments: &[&str]) {
    let done = Command::new(env!("CARGO_BIN_EXE_wasmilter")).arg("filter").args(arguments).output().unwrap();
    println!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "wasmilter filter {} failed", arguments.join(" "));
    let warned = String::from_utf8_lossy(&done.stderr).lines().any(|line| line.contains("warning:"));
    assert!(!warned, "wasmilter filter {} warns", arguments.join(" "));
}

/// An empty folder outside of the sources, kept from one run to the next but for what a test makes in it.
fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdks").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    folder
}

/// Makes a filter as an author would.
fn new(language: &str) -> PathBuf {
    let folder = fresh(&format!("new-{language}"));
    wasmilter(&["new", "no-exe", "--lang", language, "--dir", folder.to_str().unwrap()]);
    folder
}

/// Copies an example out of the sources, so that nothing is written there, and builds it.
fn example(name: &str) -> PathBuf {
    let folder = fresh(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("filters/examples").join(name);
    copy(&source, &folder);
    wasmilter(&["build", folder.to_str().unwrap()]);
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// The gateway with the filter of a folder, as its filter.toml has it.
fn set(folder: &Path, upstream: SocketAddr) -> Result<Setting, String> {
    let text = std::fs::read_to_string(folder.join("filter.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let name = manifest["name"].as_str().unwrap();
    let mut filter = manifest["filter"].as_table().unwrap().clone();
    filter.insert("name".into(), name.into());
    filter.insert("path".into(), format!("{}/target/{name}.wasm", folder.display()).into());
    let filters = toml::Table::from_iter([("filter".to_owned(), toml::Value::Array(vec![filter.into()]))]);
    let environment = |name: &str| match name {
        "UPSTREAM" => Some(upstream.to_string()),
        "CACHE" => Some(folder.join("target/compiled").display().to_string()),
        _ => None,
    };
    let config =
        config::parse(&format!("{GATEWAY}\n{filters}"), "test", &environment).map_err(|error| error.to_string())?;
    Ok(Setting { config, environment: Environment::default(), clock: None })
}

/// Every dialog of the folder, in every way.
fn holds_its_dialogs(folder: &Path) {
    let compiled = std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
        .create(folder.join("target/compiled"));
    compiled.unwrap();
    let files = collect(&folder.join("tests")).unwrap();
    assert!(!files.is_empty(), "{} has no dialogs", folder.display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for file in files {
        let script = Script::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
        for how in [How::AsWritten, How::OctetByOctet, How::OnePacket] {
            if how == How::AsWritten || !script.as_written {
                let set = |upstream| set(folder, upstream);
                let heard = runtime.block_on(Box::pin(replay(&script, how, PATIENCE, &set)));
                assert!(heard.is_ok(), "{}: {}", file.display(), heard.unwrap_err());
            }
        }
    }
}

#[test]
fn a_new_filter_in_rust_keeps_its_word() {
    holds_its_dialogs(&new("rust"));
}

#[test]
fn a_new_filter_in_c_keeps_its_word() {
    holds_its_dialogs(&new("c"));
}

#[test]
fn a_new_filter_in_javascript_keeps_its_word() {
    holds_its_dialogs(&new("js"));
}

#[test]
fn a_new_filter_in_python_keeps_its_word() {
    holds_its_dialogs(&new("python"));
}

#[test]
fn the_example_in_c_keeps_its_word() {
    holds_its_dialogs(&example("received-limit"));
}

#[test]
fn the_example_in_javascript_keeps_its_word() {
    holds_its_dialogs(&example("subject-tag"));
}

#[test]
fn the_example_in_python_keeps_its_word() {
    holds_its_dialogs(&example("sender-quota"));
}
