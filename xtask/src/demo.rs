//! `cargo xtask demo`: from a fresh clone to a gateway that can be talked to.

use crate::shell::{Outcome, cargo, command, root, run};
use crate::tools;

/// Builds the filters and the gateway (unoptimised: it compiles faster than it would start slower), and hands over.
pub(crate) fn main(words: &[&str]) -> Outcome {
    tools::wasm_targets()?;
    run(tools::filters())?;
    run(cargo(&["build", "--locked"]))?;
    let mut demo = command(root().join("target/debug/wasmilter"), &["demo"]);
    demo.args(words);
    run(demo)
}
