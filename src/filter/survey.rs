//! The size of a component in the ways that cost a compiler time and memory, looked at before it is compiled.
//!
//! What is larger is no filter that somebody wrote: the largest interpreters stay far below each of these.

use wasmparser::{Parser, Payload};

/// Modules and components inside of one another.
const NESTED_MAX: usize = 16;
/// Modules and components in all.
const PARTS_MAX: usize = 256;
/// Functions with a body.
const FUNCTIONS_MAX: u64 = 200_000;
/// Octets of one function.
const FUNCTION_BYTES_MAX: u64 = 2 << 20;
/// Local variables of one function …
const LOCALS_MAX: u64 = 20_000;
/// … times its octets: what some passes of a compiler grow with.
const LOCALS_TIMES_BYTES_MAX: u64 = 1 << 30;
/// Types, imports, exports, globals, segments and the like, all together.
const ITEMS_MAX: u64 = 1_000_000;

/// # Errors
/// Completes a sentence that begins with the filter's file.
pub(super) fn check(wasm: &[u8]) -> Result<(), String> {
    let (mut depth, mut parts, mut functions, mut items) = (0_usize, 0_usize, 0_u64, 0_u64);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|e| format!("does not compile (is the file complete?): {e}"))?;
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth += 1;
                parts += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionStart { count, .. } => functions += u64::from(*count),
            Payload::CodeSectionEntry(body) => function(body)?,
            _ => items += count(&payload),
        }
        within("modules and components inside of one another", depth as u64, NESTED_MAX as u64)?;
        within("modules and components", parts as u64, PARTS_MAX as u64)?;
        within("functions", functions, FUNCTIONS_MAX)?;
        within("types, imports, exports, globals and segments", items, ITEMS_MAX)?;
    }
    Ok(())
}

fn within(what: &str, found: u64, most: u64) -> Result<(), String> {
    if found > most { Err(format!("has {found} {what}; at most {most} are allowed")) } else { Ok(()) }
}

fn function(body: &wasmparser::FunctionBody<'_>) -> Result<(), String> {
    let damaged = |e| format!("does not compile (is the file complete?): {e}");
    let bytes = body.range().len() as u64;
    within("octets in one function", bytes, FUNCTION_BYTES_MAX)?;
    let mut locals = 0_u64;
    for local in body.get_locals_reader().map_err(damaged)? {
        locals += u64::from(local.map_err(damaged)?.0);
    }
    within("local variables in one function", locals, LOCALS_MAX)?;
    within("local variables times octets in one function", locals * bytes, LOCALS_TIMES_BYTES_MAX)
}

fn count(payload: &Payload<'_>) -> u64 {
    u64::from(match payload {
        Payload::TypeSection(section) => section.count(),
        Payload::ImportSection(section) => section.count(),
        Payload::FunctionSection(section) => section.count(),
        Payload::TableSection(section) => section.count(),
        Payload::MemorySection(section) => section.count(),
        Payload::GlobalSection(section) => section.count(),
        Payload::ExportSection(section) => section.count(),
        Payload::ElementSection(section) => section.count(),
        Payload::DataSection(section) => section.count(),
        Payload::InstanceSection(section) => section.count(),
        Payload::CoreTypeSection(section) => section.count(),
        Payload::ComponentInstanceSection(section) => section.count(),
        Payload::ComponentAliasSection(section) => section.count(),
        Payload::ComponentTypeSection(section) => section.count(),
        Payload::ComponentCanonicalSection(section) => section.count(),
        Payload::ComponentImportSection(section) => section.count(),
        Payload::ComponentExportSection(section) => section.count(),
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(text: &str) -> String {
        check(&wat::parse_str(text).unwrap()).unwrap_err()
    }

    #[test]
    fn what_would_keep_a_compiler_busy_is_refused_before() {
        assert_eq!(check(&wat::parse_str("(component (core module (func (local i32) nop)))").unwrap()), Ok(()));
        let deep = format!("{}{}", "(component ".repeat(18), ")".repeat(18));
        assert!(refusal(&deep).contains("inside of one another"));
        assert!(refusal(&format!("(component {})", "(core module)".repeat(257))).contains("modules and components"));
        let locals = |count: usize, code: usize| {
            format!("(component (core module (func {} {})))", "(local i32)".repeat(count), "nop ".repeat(code))
        };
        assert!(refusal(&locals(20_001, 1)).contains("20001 local variables"));
        assert!(refusal(&locals(20_000, 60_000)).contains("times octets"));
        assert!(refusal(&locals(0, (2 << 20) + 1)).contains("octets in one function"));
        let many = "(func)".repeat(200_001);
        assert!(refusal(&format!("(component (core module {many}))")).contains("200001 functions"));
        // As many types as a section says it has, one more than allowed, in LEB128; it need not have them.
        let section = |low: u8| [b"\0asm\x01\0\0\0\x01\x03".as_slice(), &[low, 0x84, 0x3d]].concat();
        assert!(check(&section(0xc1)).unwrap_err().contains("1000001 types"));
        assert_eq!(check(&section(0xc0)), Ok(()));
        let whole = wat::parse_str("(component (core module (func)))").unwrap();
        assert!(check(whole.get(..whole.len() - 1).unwrap()).unwrap_err().contains("is the file complete?"));
    }
}
