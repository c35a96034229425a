//! Guests for tests that run the gateway with real filters.

use std::path::{Path, PathBuf};

/// Builds a workspace of guests; says where its components are.
pub(crate) fn build(workspace: &Path) -> PathBuf {
    let built = std::process::Command::new(env!("CARGO"))
        .current_dir(workspace)
        .args(["build", "--release", "--locked", "--quiet", "--target", "wasm32-unknown-unknown"])
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .status();
    assert!(built.is_ok_and(|status| status.success()), "{} does not build: cargo xtask test", workspace.display());
    workspace.join("target/wasm32-unknown-unknown/release")
}
