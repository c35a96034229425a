//! `cargo xtask demo`: from a fresh clone to a gateway that can be talked to.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::shell::{Outcome, cargo, command, root, run};
use crate::tools;

/// Builds, and becomes the demonstration: its Ctrl-C and its exit status are its own.
pub(crate) fn main(words: &[&str]) -> Outcome {
    let why = prepared(words)?.exec();
    Err(format!("the demonstration cannot be started: {why}"))
}

/// Builds, and sees whether all of it happens.
pub(crate) fn once() -> Outcome {
    run(prepared(&["--once"])?)
}

/// Builds the filters and the gateway (unoptimised: it compiles faster than it would start slower).
fn prepared(words: &[&str]) -> Outcome<Command> {
    tools::wasm_targets()?;
    run(tools::filters())?;
    run(cargo(&["build", "--locked"]))?;
    let mut demo = command(root().join("target/debug/wasmilter"), &["demo"]);
    demo.args(words);
    Ok(demo)
}
