//! Rust: cargo, the target wasm32-unknown-unknown, and the linker of the toolchain that makes a component.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::super::project::Project;
use super::tool;

const TARGET: &str = "wasm32-unknown-unknown";
const RUSTUP: &str = "see https://rustup.rs (Rust 1.95 or newer)";

pub(super) fn build(project: &Project) -> anyhow::Result<()> {
    let cargo = tool::find("cargo", RUSTUP)?;
    // Both programs look for their settings, the toolchain's version among them, in the folder they run in.
    let dir = tool::absolute(&project.dir)?;
    target(&dir)?;
    let arguments = ["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"];
    let messages = tool::output(
        Command::new(cargo)
            .args(arguments)
            .current_dir(&dir)
            // A wrapper's or the caller's flags are for another target.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS"),
    )?;
    let made = component(&messages).with_context(|| {
        format!("{}: no component came of it: [lib] needs crate-type = [\"cdylib\"]", project.dir.display())
    })?;
    let place = project.component();
    fs::copy(&made, &place).with_context(|| format!("{} to {}", made.display(), place.display()))?;
    Ok(())
}

/// Adds the target where rustup can, or says how.
fn target(dir: &Path) -> anyhow::Result<()> {
    let ask = ["--print", "target-libdir", "--target", TARGET];
    let libraries = tool::asked(Command::new("rustc").args(ask).current_dir(dir));
    if libraries.is_some_and(|folder| Path::new(&folder).is_dir()) {
        return Ok(());
    }
    let Ok(rustup) = tool::find("rustup", "") else {
        bail!(
            "the compiler has no target {TARGET}. With rustup: `rustup target add {TARGET}`; in Debian: \
             `apt-get install libstd-rust-dev-wasm32`"
        );
    };
    tool::run(Command::new(rustup).args(["target", "add", TARGET]).current_dir(dir))
}

/// The last .wasm among cargo's artifacts: dependencies come before what needs them.
fn component(messages: &str) -> Option<PathBuf> {
    let mut found = None;
    for message in messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
        if message.get("reason").is_some_and(|reason| reason == "compiler-artifact") {
            let names = message.get("filenames").and_then(|names| names.as_array()).into_iter().flatten();
            for file in names.filter_map(|name| name.as_str()).filter(|name| name.ends_with(".wasm")) {
                found = Some(PathBuf::from(file));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_found_among_what_cargo_made() {
        let messages = r#"{"reason":"compiler-artifact","filenames":["/a/libsdk.rlib"]}
{"reason":"compiler-artifact","filenames":["/a/no_exe.wasm"]}
{"reason":"build-finished","success":true}"#;
        assert_eq!(component(messages), Some(PathBuf::from("/a/no_exe.wasm")));
        assert_eq!(component(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
