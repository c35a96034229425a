//! What a filter says of itself to the gateway that loads it.

pub use crate::bindings::about::exports::wasmilter::filter::about::Phase;

/// A filter's description: shown in the log and by `wasmilter check`, and what its settings are held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    pub version: String,
    pub summary: String,
    pub phase: Phase,
    pub settings_schema: Option<String>,
}

impl About {
    /// `version` is `env!("CARGO_PKG_VERSION")` most of the time, `summary` one line of at most 256 octets. The phase is
    /// [`Phase::Decide`].
    #[must_use]
    pub fn new(version: &str, summary: &str) -> About {
        About { version: version.to_owned(), summary: summary.to_owned(), phase: Phase::Decide, settings_schema: None }
    }

    /// When the filter runs unless the operator says otherwise: one that edits header fields or the body is
    /// [`Phase::Transform`], one that signs [`Phase::Seal`].
    #[must_use]
    pub fn phase(mut self, phase: Phase) -> About {
        self.phase = phase;
        self
    }

    /// A JSON Schema (2020-12) of the settings: with others the gateway does not start, and says which is wrong.
    #[must_use]
    pub fn settings(mut self, schema: &str) -> About {
        self.settings_schema = Some(schema.to_owned());
        self
    }
}
