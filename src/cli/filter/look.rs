//! What a component says of itself in its outermost section: read, not compiled.

use anyhow::{Context as _, bail};
use wasmparser::{Encoding, Parser, Payload};

/// The package of the contract.
const PACKAGE: &str = "wasmilter:filter/";

/// Names of a component's outermost imports and exports, without package and version where they are the contract's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// `message` for `on-message`.
    pub stages: Vec<String>,
    pub imports: Vec<String>,
    /// Imports that are not the contract's.
    pub foreign: Vec<String>,
}

/// Reads them.
///
/// # Errors
/// It is no component, or a damaged one.
pub(super) fn outline(wasm: &[u8]) -> anyhow::Result<Outline> {
    let mut found = Outline::default();
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.context("no WebAssembly, or a damaged file")? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                bail!("a core module and no component");
            }
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports {
                    let name = import?.name.name;
                    match ours(name) {
                        Some("types") => {}
                        Some(name) => found.imports.push(name.to_owned()),
                        None => found.foreign.push(name.to_owned()),
                    }
                }
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                for export in exports {
                    let name = export?.name.name;
                    let stage = ours(name).and_then(|name| name.strip_prefix("on-"));
                    found.stages.extend(stage.map(str::to_owned));
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn ours(name: &str) -> Option<&str> {
    let name = name.strip_prefix(PACKAGE)?;
    Some(name.split_once('@').map_or(name, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_outermost_names_are_read() {
        let wat = r#"(component
            (import "wasmilter:filter/mime@0.1.0" (instance))
            (import "wasi:cli/exit@0.2.6" (instance))
            (component (import "wasmilter:filter/kv@0.1.0" (instance)))
            (instance $stage)
            (export "wasmilter:filter/on-message@0.1.0" (instance $stage)))"#;
        let found = outline(&wat::parse_str(wat).unwrap()).unwrap();
        assert_eq!(found.stages, ["message"]);
        assert_eq!(found.imports, ["mime"]);
        assert_eq!(found.foreign, ["wasi:cli/exit@0.2.6"]);
    }

    #[test]
    fn what_is_no_component_is_told() {
        assert!(outline(&wat::parse_str("(module)").unwrap()).unwrap_err().to_string().contains("core module"));
        assert!(outline(b"MZ").is_err());
        assert!(outline(b"").is_err());
    }
}
