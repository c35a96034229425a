//! Lists the operator named, indexed for lookup, replaced as a whole when they change.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use regex::{RegexBuilder, RegexSet, RegexSetBuilder};

use crate::config::{self, TableKind, TableSource};
use crate::policy;

/// Octets of one table file.
pub const TABLE_FILE_BYTES_MAX: u64 = 256 << 20;
/// Patterns of one regex table.
pub const TABLE_PATTERNS_MAX: usize = 5_000;
/// Octets of a compiled regex table.
const REGEX_BYTES_MAX: usize = 64 << 20;
/// Octets of a key that is looked up; a longer one is in no table.
pub const TABLE_KEY_BYTES_MAX: usize = 4_096;

/// A table that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableError {
    pub table: String,
    /// Where the entry stands; none for entries in the configuration itself.
    pub place: Option<(PathBuf, usize)>,
    pub what: String,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table \"{}\": ", self.table)?;
        match &self.place {
            Some((path, 0)) => write!(f, "{}: {}", path.display(), self.what),
            Some((path, line)) => write!(f, "{}:{line}: {}", path.display(), self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for TableError {}

/// One table under its name. Readers see either the old or the new content, never a mixture.
#[derive(Debug)]
pub struct Table {
    name: Arc<str>,
    index: ArcSwap<Index>,
}

impl Table {
    /// Reads and indexes.
    ///
    /// # Errors
    /// The file cannot be read, or an entry is no entry of this kind: with its line.
    pub fn load(table: &config::Table) -> Result<Table, TableError> {
        Ok(Table { name: table.name.as_str().into(), index: ArcSwap::from_pointee(Index::load(table)?) })
    }

    /// The new content, from now on, for everybody who holds this table.
    pub fn replace(&self, with: &Table) {
        self.index.store(with.index.load_full());
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands beside the entry that matches `key`, "" when only listed.
    #[must_use]
    pub fn lookup(&self, key: &str) -> Option<String> {
        if key.len() > TABLE_KEY_BYTES_MAX {
            return None;
        }
        self.index.load().lookup(key).map(str::to_owned)
    }

    /// How its content is looked up.
    #[must_use]
    pub fn kind(&self) -> TableKind {
        match &**self.index.load() {
            Index::Exact(_) | Index::Asked => TableKind::Exact,
            Index::Domain(_) => TableKind::Domain,
            Index::Cidr { .. } => TableKind::Cidr,
            Index::Regex { .. } => TableKind::Regex,
        }
    }

    /// Whether an entry matches `key`.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        key.len() <= TABLE_KEY_BYTES_MAX && self.index.load().lookup(key).is_some()
    }
}

impl policy::tables::Lookup for Table {
    fn find(&self, key: &str) -> Option<String> {
        self.lookup(key)
    }

    fn kind(&self) -> TableKind {
        self.kind()
    }

    fn some(&self, max: usize) -> Vec<(String, String)> {
        self.index.load().some(max)
    }

    fn is_asked(&self) -> bool {
        matches!(&**self.index.load(), Index::Asked)
    }
}

#[derive(Debug)]
enum Index {
    Exact(HashMap<Box<str>, Box<str>>),
    Domain(HashMap<Box<str>, Box<str>>),
    Cidr {
        v4: PrefixMap<Ipv4Net, Box<str>>,
        v6: PrefixMap<Ipv6Net, Box<str>>,
    },
    Regex {
        set: RegexSet,
        values: Vec<Box<str>>,
    },
    /// Nothing is here: see `lookup`.
    Asked,
}

impl Index {
    fn load(table: &config::Table) -> Result<Index, TableError> {
        let fail = |place, what| TableError { table: table.name.clone(), place, what };
        let mut builder = Builder::new(table.kind);
        match &table.source {
            TableSource::Inline(entries) => read_inline(entries, &mut builder).map_err(|what| fail(None, what))?,
            TableSource::Asked(_) => return Ok(Index::Asked),
            TableSource::File(path) => {
                read_file(path, &mut builder).map_err(|(line, what)| fail(Some((path.clone(), line)), what))?
            }
        }
        builder.finish().map_err(|what| {
            let place = match &table.source {
                TableSource::File(path) => Some((path.clone(), 0)),
                TableSource::Inline(_) | TableSource::Asked(_) => None,
            };
            fail(place, what)
        })
    }

    fn lookup(&self, key: &str) -> Option<&str> {
        match self {
            Index::Exact(map) => map.get(key.to_ascii_lowercase().as_str()).map(|v| &**v),
            Index::Domain(map) => lookup_domain(map, key),
            Index::Cidr { v4, v6 } => match parse_ip(key)?.to_canonical() {
                IpAddr::V4(ip) => v4.get_lpm(&Ipv4Net::from(ip)).map(|(_, v)| &**v),
                IpAddr::V6(ip) => v6.get_lpm(&Ipv6Net::from(ip)).map(|(_, v)| &**v),
            },
            Index::Asked => None,
            Index::Regex { set, values } => set.matches(key).iter().next().and_then(|i| values.get(i)).map(|v| &**v),
        }
    }

    /// The first of its keys. What patterns match is no list.
    fn some(&self, max: usize) -> Vec<(String, String)> {
        let mut all: Vec<(String, &str)> = match self {
            Index::Exact(map) | Index::Domain(map) => {
                let mut all: Vec<_> = map.iter().collect();
                all.sort_unstable();
                all.into_iter().take(max).map(|(key, value)| (key.to_string(), &**value)).collect()
            }
            Index::Cidr { v4, v6 } => {
                let four = v4.iter().take(max).map(|(network, value)| (network.to_string(), &**value));
                four.chain(v6.iter().take(max).map(|(network, value)| (network.to_string(), &**value))).collect()
            }
            Index::Asked | Index::Regex { .. } => Vec::new(),
        };
        all.truncate(max);
        all.into_iter().map(|(key, value)| (key, value.to_owned())).collect()
    }
}

/// The domain itself, then each parent; of an address, its domain.
fn lookup_domain<'a>(map: &'a HashMap<Box<str>, Box<str>>, key: &str) -> Option<&'a str> {
    let domain = key.rsplit_once('@').map_or(key, |(_, domain)| domain);
    let lower = domain.trim_end_matches('.').to_ascii_lowercase();
    let mut rest = lower.as_str();
    loop {
        if let Some(value) = map.get(rest) {
            return Some(value);
        }
        rest = rest.split_once('.')?.1;
    }
}

/// Also as SMTP writes it: `IPv6:…`, `[…]`.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let text = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let tagged = text.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("ipv6:"));
    let text = if tagged { text.get(5..)? } else { text };
    IpAddr::from_str(text).ok()
}

fn read_inline(entries: &BTreeMap<String, String>, builder: &mut Builder) -> Result<(), String> {
    for (key, value) in entries {
        builder.add(key, value)?;
    }
    Ok(())
}

/// One `key` or `key value` a line; empty lines and lines that begin with `#` say nothing.
fn read_file(path: &Path, builder: &mut Builder) -> Result<(), (usize, String)> {
    let size = std::fs::metadata(path).map_err(|e| (0, e.to_string()))?.len();
    if size > TABLE_FILE_BYTES_MAX {
        return Err((0, format!("{size} octets; at most {TABLE_FILE_BYTES_MAX} are read")));
    }
    let octets = std::fs::read(path).map_err(|e| (0, e.to_string()))?;
    let text = String::from_utf8(octets).map_err(|e| {
        let before = e.as_bytes().get(..e.utf8_error().valid_up_to()).unwrap_or_default();
        (1 + memchr::memchr_iter(b'\n', before).count(), "not UTF-8".to_owned())
    })?;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        builder.add(key, value.trim()).map_err(|what| (number + 1, what))?;
    }
    Ok(())
}

enum Builder {
    Map(TableKind, HashMap<Box<str>, Box<str>>),
    Cidr { v4: PrefixMap<Ipv4Net, Box<str>>, v6: PrefixMap<Ipv6Net, Box<str>> },
    Regex { patterns: Vec<String>, values: Vec<Box<str>> },
}

impl Builder {
    fn new(kind: TableKind) -> Builder {
        match kind {
            TableKind::Exact | TableKind::Domain => Builder::Map(kind, HashMap::new()),
            TableKind::Cidr => Builder::Cidr { v4: PrefixMap::new(), v6: PrefixMap::new() },
            TableKind::Regex => Builder::Regex { patterns: Vec::new(), values: Vec::new() },
        }
    }

    /// Where two entries have the same key, the later one holds.
    fn add(&mut self, key: &str, value: &str) -> Result<(), String> {
        match self {
            Builder::Map(TableKind::Domain, map) => {
                let domain = key.trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
                if domain.is_empty() || domain.contains('@') || domain.contains("..") {
                    return Err(format!("{key:?} is not a domain"));
                }
                map.insert(domain.into(), value.into());
            }
            Builder::Map(_, map) => {
                map.insert(key.to_ascii_lowercase().into(), value.into());
            }
            Builder::Cidr { v4, v6 } => match parse_net(key)
                .ok_or_else(|| format!("{key:?} is not an address or a network (192.0.2.0/24, 2001:db8::/32)"))?
            {
                IpNet::V4(net) => drop(v4.insert(net.trunc(), value.into())),
                IpNet::V6(net) => drop(v6.insert(net.trunc(), value.into())),
            },
            Builder::Regex { patterns, values } => {
                if patterns.len() >= TABLE_PATTERNS_MAX {
                    return Err(format!("more than {TABLE_PATTERNS_MAX} patterns"));
                }
                RegexBuilder::new(key).case_insensitive(true).build().map_err(|e| e.to_string())?;
                patterns.push(key.to_owned());
                values.push(value.into());
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Index, String> {
        Ok(match self {
            Builder::Map(TableKind::Domain, map) => Index::Domain(map),
            Builder::Map(_, map) => Index::Exact(map),
            Builder::Cidr { v4, v6 } => Index::Cidr { v4, v6 },
            Builder::Regex { patterns, values } => {
                let set = RegexSetBuilder::new(patterns).case_insensitive(true).size_limit(REGEX_BYTES_MAX).build();
                Index::Regex { set: set.map_err(|e| e.to_string())?, values }
            }
        })
    }
}

fn parse_net(text: &str) -> Option<IpNet> {
    IpNet::from_str(text).ok().or_else(|| IpAddr::from_str(text).ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn inline(kind: TableKind, entries: &[(&str, &str)]) -> Result<Table, TableError> {
        let map = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Table::load(&config::Table { name: "t".into(), kind, source: TableSource::Inline(map) })
    }

    #[test]
    fn exact_ignores_case() {
        let table = inline(TableKind::Exact, &[("Bad@Example.org", "why"), ("x", "")]).unwrap();
        assert_eq!(table.lookup("bad@example.ORG").as_deref(), Some("why"));
        assert_eq!(table.lookup("X").as_deref(), Some(""));
        assert!(!table.contains("example.org"));
    }

    #[test]
    fn domains_cover_their_children() {
        let table = inline(TableKind::Domain, &[("example.org", "a"), (".mail.example.net", "b")]).unwrap();
        assert_eq!(table.lookup("example.org").as_deref(), Some("a"));
        assert_eq!(table.lookup("user@x.y.EXAMPLE.org.").as_deref(), Some("a"));
        assert_eq!(table.lookup("\"a@b\"@mail.example.net").as_deref(), Some("b"));
        assert!(!table.contains("notexample.org"));
        assert!(!table.contains("org"));
        assert!(inline(TableKind::Domain, &[("a@b", "")]).is_err());
    }

    #[test]
    fn networks_match_the_longest_prefix() {
        let table =
            inline(TableKind::Cidr, &[("192.0.2.0/24", "net"), ("192.0.2.9", "host"), ("2001:db8::/32", "six")])
                .unwrap();
        assert_eq!(table.lookup("192.0.2.8").as_deref(), Some("net"));
        assert_eq!(table.lookup("192.0.2.9").as_deref(), Some("host"));
        assert_eq!(table.lookup("::ffff:192.0.2.9").as_deref(), Some("host"));
        assert_eq!(table.lookup("[IPv6:2001:db8::1]").as_deref(), Some("six"));
        assert!(!table.contains("192.0.3.1") && !table.contains("nonsense"));
        assert!(inline(TableKind::Cidr, &[("192.0.2.0/33", "")]).unwrap_err().what.contains("192.0.2.0/33"));
    }

    #[test]
    fn patterns_match_anywhere() {
        let table = inline(TableKind::Regex, &[(r"^dyn-\d+\.", "dialup"), ("spam", "")]).unwrap();
        assert_eq!(table.lookup("dyn-17.example.net").as_deref(), Some("dialup"));
        assert!(table.contains("a-SPAM-b") && !table.contains("spa"));
        assert!(inline(TableKind::Regex, &[("(", "")]).is_err());
    }

    #[test]
    fn files_are_read_and_errors_name_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nets");
        let table = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            let source = TableSource::File(path.clone());
            Table::load(&config::Table { name: "nets".into(), kind: TableKind::Cidr, source })
        };
        let loaded = table(b"# ours\n\n10.0.0.0/8 \t office net \n::1\n").unwrap();
        assert_eq!(loaded.lookup("10.1.2.3").as_deref(), Some("office net"));
        let error = table(b"10.0.0.0/8\nhello\n").unwrap_err().to_string();
        assert!(error.contains("nets:2: \"hello\" is not an address"), "{error}");
        let error = table(b"::1\n\xff\n").unwrap_err().to_string();
        assert!(error.contains("nets:2: not UTF-8"), "{error}");
        loaded.replace(&table(b"11.0.0.0/8").unwrap());
        assert!(!loaded.contains("10.1.2.3") && loaded.contains("11.0.0.1"));
    }
}
