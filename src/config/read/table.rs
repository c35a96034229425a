//! `[table.NAME]`: lists that filters may look into. A file's content is read when the gateway starts, not here.

use std::collections::BTreeMap;

use toml::de::DeValue;

use crate::config::names;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::suggest;
use crate::config::value::Value;
use crate::config::{Table, TableKind, TableSource};

use super::asked;

const KIND_CHOICES: &[(&str, TableKind)] = &[
    ("exact", TableKind::Exact),
    ("domain", TableKind::Domain),
    ("cidr", TableKind::Cidr),
    ("regex", TableKind::Regex),
];

const ENTRIES_HELP: &str =
    "write entries = [\"one\", \"two\"], entries = { one = \"its value\" }, or file = \"blocked.txt\"";

/// The tables of the file, for sections that name them.
#[derive(Debug, Default)]
pub(in crate::config) struct TableNames(pub(in crate::config) Vec<Named>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Named {
    pub(in crate::config) name: String,
    /// None: its section has an error, which was noted.
    pub(in crate::config) kind: Option<TableKind>,
    /// Its answers have to be waited for.
    pub(in crate::config) asked: bool,
}

impl TableNames {
    /// The same, of a table that is asked, too.
    pub(super) fn one_of_all(&self, value: &Value<'_>, kinds: &[TableKind]) -> Result<String, Problem> {
        let table = self.known(value)?;
        if table.asked { Ok(table.name) } else { self.one_of(value, kinds) }
    }

    /// The name of a table of one of these kinds.
    pub(super) fn one_of(&self, value: &Value<'_>, kinds: &[TableKind]) -> Result<String, Problem> {
        let table = self.named(value)?;
        let fits = table.kind.is_none_or(|kind| kinds.contains(&kind));
        let word = |kind: &TableKind| KIND_CHOICES.iter().find(|(_, known)| known == kind).map_or("", |(word, _)| word);
        let wanted = || kinds.iter().map(|kind| format!("\"{}\"", word(kind))).collect::<Vec<_>>().join(" or ");
        if fits {
            Ok(table.name)
        } else {
            Err(value.error("is of another kind").help(format!("it needs {}", wanted())))
        }
    }
}

/// From what could be read, and all names there are.
pub(in crate::config) fn names(tables: &[Table], names: &[String]) -> TableNames {
    let kind = |name: &str| tables.iter().find(|table| table.name == name).map(|table| table.kind);
    let asked =
        |name: &str| tables.iter().any(|table| table.name == name && matches!(table.source, TableSource::Asked(_)));
    let named = |name: &String| Named { name: name.clone(), kind: kind(name), asked: asked(name) };
    TableNames(names.iter().map(named).collect())
}

impl TableNames {
    /// A table that is in memory.
    pub(super) fn named(&self, value: &Value<'_>) -> Result<Named, Problem> {
        let table = self.known(value)?;
        if table.asked {
            let help =
                "domains-table and recipients of [relay] can wait for an answer; a list in memory can be had here";
            return Err(value.error("is a table that has to be asked, and nobody waits here").help(help));
        }
        Ok(table)
    }

    fn known(&self, value: &Value<'_>) -> Result<Named, Problem> {
        let name = value.text()?;
        if let Some(known) = self.0.iter().find(|known| known.name == name) {
            return Ok(known.clone());
        }
        let problem = value.error("is not the name of a table");
        let known = || self.0.iter().map(|known| known.name.as_str());
        Err(match suggest::nearest(&name, known()) {
            Some(near) => problem.help(format!("did you mean \"{near}\"?")),
            None if self.0.is_empty() => problem.help("there is no [table.NAME] in this file"),
            None => problem.help(format!("this file has: {}", known().collect::<Vec<_>>().join(", "))),
        })
    }
}

pub(in crate::config) fn read(name: &str, section: &Section<'_>) -> Option<Table> {
    let named = names::name(name).map_err(|why| {
        section.reader.error(
            Problem::at(section.span(), format!("\"{}\" {why}", crate::config::problem::shown(name)))
                .label("the name of a table")
                .help(names::NAME_HELP),
        );
    });
    let kind = section.get_or("kind", TableKind::Exact, |v| v.one_of(KIND_CHOICES));
    let entries = section.get("entries", |v| entries(v, kind));
    let file = section.get("file", Value::path);
    let asks = ["url", "ldap", "redis"].iter().any(|key| section.value(key).is_some());
    if asks {
        let source = asked::read(section, kind);
        let keys = ["entries", "file", "url", "ldap", "redis"];
        let given: Vec<Value<'_>> = keys.iter().filter_map(|key| section.value(key)).collect();
        if let [_, second, ..] = given.as_slice() {
            let problem = Problem::at(second.head(), "a table has one place where its entries are").label("one more");
            section.reader.error(problem.help("take all but one of `entries`, `file`, `url`, `ldap` and `redis` away"));
        }
        return Some(Table { name: named.ok()?, kind: TableKind::Exact, source: source? });
    }
    asked::refuse(section);
    let source = match (section.value("entries"), section.value("file")) {
        (Some(_), Some(file)) => {
            section.reader.error(
                Problem::at(file.span(), "a table has its entries in the file or here, not both")
                    .label("`entries` is there as well")
                    .help("take one of them away"),
            );
            None
        }
        (None, None) => {
            section
                .reader
                .error(Problem::at(section.span(), format!("the table \"{name}\" has no entries")).help(ENTRIES_HELP));
            None
        }
        _ => entries.map(TableSource::Inline).or(file.map(TableSource::File)),
    };
    Some(Table { name: named.ok()?, kind, source: source? })
}

fn entries(value: &Value<'_>, kind: TableKind) -> Result<BTreeMap<String, String>, Problem> {
    let mut all = BTreeMap::new();
    match value.node.get_ref() {
        DeValue::Array(_) => {
            for key in value.list(|item| key(item, &item.text()?, kind)) {
                all.insert(key, String::new());
            }
        }
        DeValue::Table(table) => {
            for (name, node) in table {
                let item = Value { reader: value.reader, node, path: value.path.clone() };
                match (key(&item, name.get_ref(), kind), item.text()) {
                    (Ok(key), Ok(text)) => drop(all.insert(key, text)),
                    (key, text) => {
                        key.err().into_iter().chain(text.err()).for_each(|problem| value.reader.error(problem))
                    }
                }
            }
        }
        _ => return Err(value.wrong_type("a list, or keys with values").help(ENTRIES_HELP)),
    }
    Ok(all)
}

/// Checks what can be checked without building the table.
fn key(item: &Value<'_>, text: &str, kind: TableKind) -> Result<String, Problem> {
    let wrong = |why: String, help: &str| {
        let shown = crate::config::problem::shown(text);
        Err(Problem::at(item.span(), format!("\"{shown}\" {why}")).label("an entry of this table").help(help))
    };
    if text.trim() != text || text.is_empty() || text.chars().any(char::is_control) {
        return wrong("can never be found".to_owned(), "an entry has no spaces around it and no control characters");
    }
    match kind {
        TableKind::Exact | TableKind::Regex => Ok(text.to_owned()),
        TableKind::Domain => match names::domain(text.strip_prefix('.').unwrap_or(text), true) {
            Ok(name) => Ok(name),
            Err(why) => {
                wrong(why, "an entry of a domain table is a domain, and holds for all below it: \"example.org\"")
            }
        },
        TableKind::Cidr => {
            let single = text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
            match single.or_else(|_| text.parse::<ipnet::IpNet>()) {
                Ok(_) => Ok(text.to_owned()),
                Err(_) => {
                    wrong("is not a network".to_owned(), "write \"192.0.2.0/24\", \"2001:db8::/32\", or one address")
                }
            }
        }
    }
}
