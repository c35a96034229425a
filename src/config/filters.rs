//! What `[[filter]]` means: one filter, what it was granted and what it may use up.

use std::path::PathBuf;
use std::time::Duration;

use super::quarantine::QuarantineGrant;
use super::settings::SettingsJson;
use super::url::Url;
use super::when::When;

#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    pub name: String,
    pub path: PathBuf,
    /// SHA-256 that the file must have, lower-case hexadecimal.
    pub digest: Option<String>,
    /// `None`: the filter's path and `.minisig`.
    pub signature: Option<PathBuf>,
    /// `None`: as `[engine]` says.
    pub require_signed: Option<bool>,
    pub lifetime: Lifetime,
    pub on_fault: OnFault,
    /// inspect → decide → transform → seal; filters are ordered by phase, then as written. `None`: as the filter says
    /// of itself.
    pub phase: Option<FilterPhase>,
    /// It is asked, and nothing comes of it.
    pub shadow: bool,
    /// On which mail it runs at all.
    pub when: When,
    pub grants: Grants,
    /// The operator's `[filter.settings]`.
    pub settings_json: SettingsJson,
    pub bounds: FilterBounds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    Session,
    Transaction,
    Shared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFault {
    Defer,
    Next,
    Reject,
    Disconnect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterPhase {
    Inspect,
    Decide,
    Transform,
    Seal,
}

impl FilterPhase {
    /// As in the file and the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FilterPhase::Inspect => "inspect",
            FilterPhase::Decide => "decide",
            FilterPhase::Transform => "transform",
            FilterPhase::Seal => "seal",
        }
    }

    /// Whether filters of this phase may edit header fields and the body.
    #[must_use]
    pub const fn edits_content(self) -> bool {
        matches!(self, FilterPhase::Transform | FilterPhase::Seal)
    }
}

/// What a filter may import, with its arguments. One field per interface of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "one switch per interface, read as a table")]
pub struct Grants {
    // These six reveal nothing beyond the stages themselves and are granted unless set to false.
    pub session: bool,
    pub envelope: bool,
    pub log: bool,
    pub config: bool,
    pub clock: bool,
    pub random: bool,
    // These must be asked for.
    pub headers: bool,
    pub body: bool,
    pub mime: bool,
    pub metrics: bool,
    pub counters: bool,
    /// Names of `[table.NAME]` it may look into; an empty list is for filters that can do without.
    pub tables: Option<Vec<String>>,
    pub kv: Option<KvGrant>,
    /// May ask the DNS.
    pub dns: bool,
    pub http: Option<HttpGrant>,
    pub facts: bool,
    pub edit: EditGrant,
    /// May give points and words to a transaction, and read them.
    pub mark: bool,
    /// The longest that it may hold back one answer.
    pub delay: Option<Duration>,
    /// Names of the upstreams it may send mail to; an empty list is for filters that can do without.
    pub route: Option<Vec<String>>,
    /// May answer 250 and deliver nothing.
    pub discard: bool,
    /// May have messages sent there instead.
    pub quarantine: Option<QuarantineGrant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvGrant {
    pub quota_bytes: usize,
    pub value_bytes_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    /// What a request's address has to lie below; empty for a filter that can do without.
    pub urls: Vec<Url>,
    pub response_bytes_max: usize,
    /// Certificates to believe in place of the platform's.
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EditGrant {
    /// Field name patterns (`X-Corp-*`, `Subject`, `*`), ASCII case ignored. Empty: no header edits.
    pub headers: Vec<String>,
    pub body: bool,
    pub sender: bool,
    /// May replace, add and remove recipients. What it adds passes relay policy unless a pattern matches.
    pub recipients: bool,
    /// Addresses outside our domains it may add (`*@corp.example`, `x@y.example`).
    pub recipient_patterns: Vec<String>,
}

impl EditGrant {
    /// Whether header fields or the body may be edited, which only the phases transform and seal do.
    #[must_use]
    pub fn is_of_content(&self) -> bool {
        !self.headers.is_empty() || self.body
    }
}

/// What one filter may use up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterBounds {
    pub memory_bytes: usize,
    /// CPU of one stage call.
    pub cpu_per_call: Duration,
    /// Wall clock of one stage call, waits included.
    pub deadline: Duration,
    /// Octets copied from guest to host in one call.
    pub hostcall_bytes: usize,
    pub log_lines_per_second: u32,
    /// Instances alive at once, all sessions together.
    pub instances: u32,
}
