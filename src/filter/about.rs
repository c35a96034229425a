//! What a filter says of itself: asked once, when it is loaded, and believed only where it is short and printable.

use std::sync::Arc;

use super::answer::excerpt;
use super::bindings::exports::wasmilter::filter::about as wit;
use crate::config::FilterPhase;

/// Octets of a version.
const VERSION_BYTES_MAX: usize = 64;
/// Octets of a summary.
const SUMMARY_BYTES_MAX: usize = 256;
/// Octets of a schema.
const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// A checked description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// "1.4.0"
    pub version: Arc<str>,
    /// One line.
    pub summary: String,
    /// Unless the operator says otherwise.
    pub phase: FilterPhase,
    /// A JSON Schema of the settings, as the filter wrote it.
    pub schema: Option<String>,
}

/// Checks a description against the contract.
///
/// # Errors
/// A sentence for the operator that says what the filter's author has to mend.
pub(super) fn check(said: wit::Description) -> Result<About, String> {
    let wit::Description { version, summary, phase, settings_schema: schema } = said;
    bounded("version", version.len(), VERSION_BYTES_MAX)?;
    bounded("summary", summary.len(), SUMMARY_BYTES_MAX)?;
    bounded("settings-schema", schema.as_ref().map_or(0, String::len), SCHEMA_BYTES_MAX)?;
    // It stands in the log between a name and a stage.
    if version.is_empty() || !version.bytes().all(|b| b.is_ascii_alphanumeric() || b".-+_~".contains(&b)) {
        return Err(format!(
            "says that its version is \"{}\": a version is letters, digits and any of `.-+_~`",
            excerpt(&version)
        ));
    }
    if let Some(c) = summary.chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(format!("has a summary with the control character U+{:04X}", u32::from(c)));
    }
    let phase = match phase {
        wit::Phase::Inspect => FilterPhase::Inspect,
        wit::Phase::Decide => FilterPhase::Decide,
        wit::Phase::Transform => FilterPhase::Transform,
        wit::Phase::Seal => FilterPhase::Seal,
    };
    Ok(About { version: version.into(), summary, phase, schema })
}

fn bounded(what: &str, bytes: usize, bytes_max: usize) -> Result<(), String> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(format!("has a {what} of {bytes} octets in its description; at most {bytes_max} are allowed"))
}
