//! The SDKs as an author meets them: what `wasmilter filter new` makes in every language, and the examples, built by
//! `wasmilter filter build` and held to their dialogs by the real gateway. Needs the languages' own tools:
//! `cargo xtask test --all` installs and runs it.
#![cfg(feature = "tools")]
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Makes a filter as an author would; it is tested by that.
fn new(language: &str) {
    let folder = fresh(&format!("new-{language}"));
    wasmilter(&["new", "no-exe", "--lang", language, "--dir", folder.to_str().unwrap()]);
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

/// Every dialog of the folder, in every way.
fn holds_its_dialogs(folder: &Path) {
    wasmilter(&["test", folder.to_str().unwrap()]);
}

#[test]
fn a_new_filter_in_rust_keeps_its_word() {
    new("rust");
}

#[test]
fn a_new_filter_in_c_keeps_its_word() {
    new("c");
}

#[test]
fn a_new_filter_in_javascript_keeps_its_word() {
    new("js");
}

#[test]
fn a_new_filter_in_python_keeps_its_word() {
    new("python");
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
