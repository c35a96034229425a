//! What `[[table]]` means: a list of the operator's, and where it is.

use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    pub kind: TableKind,
    pub source: TableSource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// The whole key, ASCII case ignored.
    Exact,
    /// The key or any parent domain of it; of an address, its domain.
    Domain,
    Cidr,
    Regex,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableSource {
    /// Key → value (empty value when only listed).
    Inline(BTreeMap<String, String>),
    /// One `key` or `key value` a line, `#` comments.
    File(PathBuf),
}
