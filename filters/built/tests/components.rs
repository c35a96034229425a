//! Builds the filters as the README says and reads what came out. A filter that imports more than it uses makes
//! an operator grant what it does not need; one that exports more is called for nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use wasmparser::{Parser, Payload, Validator};

/// Larger than any of them should become; a filter is compiled anew on each machine it is installed on.
const COMPONENT_BYTES_MAX: usize = 256 * 1_024;
/// Stack, data, and the arena of the SDK's allocator. What is more must be made for each instance.
const INITIAL_MEMORY_PAGES_MAX: u64 = 5;

#[derive(Debug, Default, PartialEq)]
struct Component {
    imports: Vec<String>,
    exports: Vec<String>,
    initial_memory_pages: u64,
}

/// The directory with the components, built anew.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let status = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet", "--locked", "--target", "wasm32-unknown-unknown"])
            .current_dir(workspace)
            .status()
            .expect("cargo runs");
        assert!(
            status.success(),
            "the filters build; is the target installed (rustup target add wasm32-unknown-unknown)?"
        );
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
        target.join("wasm32-unknown-unknown/release")
    })
}

fn component(name: &str) -> Component {
    let octets = std::fs::read(built().join(name).with_extension("wasm")).expect("it was built");
    assert!(octets.len() <= COMPONENT_BYTES_MAX, "{name} has {} octets", octets.len());
    assert!(Parser::is_component(&octets), "{name} is a core module: was it linked with wasm-component-ld?");
    Validator::new().validate_all(&octets).expect("a valid component");
    let mut found = Component::default();
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(&octets) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(imports) if depth == 0 => {
                found.imports.extend(imports.into_iter().map(|import| short(import.unwrap().name.name)));
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                found.exports.extend(exports.into_iter().map(|export| short(export.unwrap().name.name)));
            }
            Payload::MemorySection(memories) => {
                found.initial_memory_pages += memories.into_iter().map(|memory| memory.unwrap().initial).sum::<u64>();
            }
            _ => {}
        }
    }
    // Words only, no capability: every component with a verdict has it.
    found.imports.retain(|import| import != "types");
    found.imports.sort();
    found.exports.sort();
    found
}

/// `wasmilter:filter/log@0.1.0` is `log`; what is not of the contract keeps its whole name.
fn short(name: &str) -> String {
    let ours = name.strip_prefix("wasmilter:filter/").and_then(|rest| rest.split_once('@'));
    ours.map_or(name, |(interface, _)| interface).to_owned()
}

#[track_caller]
fn assert_is(name: &str, exports: &[&str], imports: &[&str]) {
    let found = component(name);
    assert_eq!(found.exports, exports, "exports of {name}");
    assert_eq!(found.imports, imports, "imports of {name}");
    assert!(found.initial_memory_pages <= INITIAL_MEMORY_PAGES_MAX, "{name} has {} pages", found.initial_memory_pages);
}

#[test]
fn the_readme_shows_the_example() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |name: &str| std::fs::read_to_string(workspace.join(name)).unwrap();
    let (_, shown) = read("README.md").split_once("```rust\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(shown.split_once("```").unwrap().0, read("examples/no-exe/src/lib.rs"));
}

// `log` is in all of them: the words of a panic go there.

#[test]
fn no_exe_needs_the_mime_tree_only() {
    assert_is("no_exe", &["about", "on-message"], &["log", "mime"]);
}

#[test]
fn add_header_needs_edits_and_who_is_speaking() {
    assert_is("add_header", &["about", "lifecycle", "on-headers"], &["config", "edit", "envelope", "log", "session"]);
}

#[test]
fn blocklist_looks_into_tables() {
    let exports = ["about", "lifecycle", "on-connect", "on-helo", "on-mail"];
    assert_is("blocklist", &exports, &["config", "log", "session", "tables"]);
}

#[test]
fn attachment_guard_reads_the_mime_tree() {
    assert_is("attachment_guard", &["about", "lifecycle", "on-message"], &["config", "log", "mime"]);
}

#[test]
fn greylist_remembers() {
    let imports = ["clock", "config", "envelope", "kv", "log", "session", "tables"];
    assert_is("greylist", &["about", "lifecycle", "on-rcpt"], &imports);
}

#[test]
fn dnsbl_asks_the_dns_and_marks() {
    let imports = ["config", "dns", "log", "mark", "session"];
    assert_is("dnsbl", &["about", "lifecycle", "on-mail", "on-rcpt"], &imports);
}

#[test]
fn endless_needs_nothing() {
    assert_is("endless", &["about", "on-rcpt"], &["log"]);
}
