//! What `[[table]]` means: a list of the operator's, and where it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::auth::LdapAccounts;
use super::url::Url;

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
    /// Somebody elsewhere knows.
    Asked(Box<AskedTable>),
}

/// A table that is asked for each key. [`TableKind::Exact`]: the keys are whole addresses, `@domain` and domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedTable {
    pub service: AskedService,
    /// For an answer, a place to ask at included.
    pub timeout: Duration,
    /// Questions at once; more wait.
    pub concurrent_max: u32,
    /// How long a yes counts, and how long a no.
    pub keep: Duration,
    pub keep_missing: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskedService {
    /// GET of this address with the key behind it: 200 is yes, 404 is no.
    Http { url: String, base: Url, ca: Option<PathBuf> },
    /// An entry that the filter finds is a yes.
    Ldap(LdapAccounts),
    /// By the servers of `[state]`, and in their time.
    Redis(RedisTable),
}

/// Where the entries of a table stand in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisTable {
    /// Members of the set of this name.
    Set(String),
    /// Fields of the hash of this name, with what is beside each.
    Hash(String),
    /// Keys that begin with this, with what each holds.
    Prefix(String),
}
