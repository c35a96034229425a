//! `wasmilter filter …`: the program itself, on the standard filters and on what is none.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../dialogs/components.rs"]
mod components;

mod bench;
mod dialogs;
mod inspect;
mod run;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A standard filter, built once for all tests.
fn standard(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| components::build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("filters")));
    folder.join(format!("{name}.wasm"))
}

/// Runs `wasmilter filter` with these arguments.
fn filter(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wasmilter")).arg("filter").args(arguments).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

/// Holds one after the other against the text.
#[track_caller]
fn says(text: &str, wanted: &[&str]) {
    for part in wanted {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}
