//! The sections of `schema` in a TOML document, read key by key. A key that is not in the schema is an error.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Span, shown};
use super::reader::Reader;
use super::schema::Shape;
use super::value::Value;

/// One section of the file, present or not.
pub(super) struct Section<'a> {
    pub(super) reader: &'a Reader<'a>,
    /// `listener.0`; empty for the top.
    pub(super) path: String,
    shape: &'static Shape,
    span: Span,
    table: Option<&'a DeTable<'a>>,
    /// Keys that are there with a slip of the pen: noted once, not once more as missing.
    misspelled: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// Opens a section and reports the keys that do not belong there.
    pub(super) fn open(
        reader: &'a Reader<'a>,
        path: String,
        shape: &'static Shape,
        span: Span,
        table: &'a DeTable<'a>,
    ) -> Section<'a> {
        let mut misspelled = Vec::new();
        for (key, _) in table {
            let name: &str = key.get_ref();
            if !shape.keys.contains(&name) {
                let title = match shape.title {
                    "" => format!("there is no section or key `{}`", shown(name)),
                    title => format!("there is no key `{}` in {title}", shown(name)),
                };
                reader.error(Problem::at(key.span(), title).label("not known").help(shape.advice(name)));
                misspelled.extend(shape.nearest(name));
            }
        }
        reader.mark(&path, span.clone());
        Section { reader, path, shape, span, table: Some(table), misspelled }
    }

    /// A value as a section.
    pub(super) fn of(value: &Value<'a>, shape: &'static Shape) -> Result<Section<'a>, Problem> {
        match value.node.get_ref() {
            DeValue::Table(table) => {
                Ok(Section::open(value.reader, value.path.clone(), shape, value.node.span(), table))
            }
            _ => Err(value.wrong_type("a section").help(format!("write {} and its keys below it", shape.title))),
        }
    }

    pub(super) fn present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether it has no key at all.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_none_or(|table| table.is_empty())
    }

    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Whether the file has no such key, not even with a slip of the pen (which is noted elsewhere).
    pub(super) fn lacks(&self, key: &'static str) -> bool {
        self.value(key).is_none() && !self.misspelled.contains(&key)
    }

    fn below(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key of this section, if the file has it.
    pub(super) fn value(&self, key: &'static str) -> Option<Value<'a>> {
        debug_assert!(self.shape.keys.contains(&key), "{key} is not in the schema of {}", self.shape.title);
        #[cfg(test)]
        self.reader.asked.borrow_mut().insert((self.shape.title, key));
        let (name, node) = self.table?.get_key_value(key)?;
        let path = self.below(key);
        // A value that is a section of its own is shown by its head line.
        let span = if node.get_ref().is_table() { name.span() } else { node.span() };
        self.reader.mark(&path, span);
        Some(Value { reader: self.reader, node, path })
    }

    /// Reads a key; an error is noted and reads as absent.
    pub(super) fn get<T>(&self, key: &'static str, read: impl FnOnce(&Value<'a>) -> Result<T, Problem>) -> Option<T> {
        let value = self.value(key)?;
        read(&value).map_err(|problem| self.reader.error(problem)).ok()
    }

    pub(super) fn get_or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Value<'a>) -> Result<T, Problem>,
    ) -> T {
        self.get(key, read).unwrap_or(default)
    }

    /// Reads a key that must be there; `example` is a line that would do.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Value<'a>) -> Result<T, Problem>,
    ) -> Option<T> {
        if self.value(key).is_none() {
            if self.lacks(key) {
                let title = match self.shape.title {
                    "" => format!("the key `{key}` is missing"),
                    title => format!("{title} has no `{key}`"),
                };
                let label = format!("`{key}` is missing here");
                let help = format!("add a line like this: {example}");
                self.reader.error(Problem::at(self.span(), title).label(label).help(help));
            }
            return None;
        }
        self.get(key, read)
    }

    /// A section below this one; absent reads as empty.
    pub(super) fn section(&self, key: &'static str, shape: &'static Shape) -> Section<'a> {
        let path = self.below(key);
        if let Some(value) = self.value(key) {
            match Section::of(&value, shape) {
                Ok(section) => return section,
                Err(problem) => self.reader.error(problem),
            }
        }
        Section { reader: self.reader, path, shape, span: self.span.clone(), table: None, misspelled: Vec::new() }
    }

    /// All `[[key]]` sections.
    pub(super) fn sections(&self, key: &'static str, shape: &'static Shape) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        match value.node.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .enumerate()
                .filter_map(|(place, node)| {
                    let item = Value { reader: self.reader, node, path: format!("{}.{place}", value.path) };
                    Section::of(&item, shape).map_err(|problem| self.reader.error(problem)).ok()
                })
                .collect(),
            DeValue::Table(_) => {
                self.reader.error(
                    Problem::at(value.head(), format!("there may be several of `{key}`, so it needs double brackets"))
                        .label("single brackets")
                        .help(format!("write [[{key}]] instead of [{key}]")),
                );
                Vec::new()
            }
            _ => {
                self.reader.error(value.wrong_type(&format!("sections that begin with [[{key}]]")));
                Vec::new()
            }
        }
    }

    /// One `[key]`, or several `[[key]]`: the path of the first is `key.0` either way.
    pub(super) fn one_or_more(&self, key: &'static str, shape: &'static Shape) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let one = match value.node.get_ref() {
            DeValue::Array(items) if items.iter().all(|item| item.get_ref().is_table()) => {
                return self.sections(key, shape);
            }
            _ => Value { reader: self.reader, node: value.node, path: format!("{}.0", value.path) },
        };
        self.reader.mark(&one.path, value.head());
        Section::of(&one, shape).map_err(|problem| self.reader.error(problem)).ok().into_iter().collect()
    }

    /// All `[key.NAME]` sections with their names.
    pub(super) fn named_sections(
        &self,
        key: &'static str,
        shape: &'static Shape,
    ) -> Vec<(&'a Spanned<toml::de::DeString<'a>>, Section<'a>)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Table(table) = value.node.get_ref() else {
            let example = format!("sections that begin with [{key}.NAME]");
            self.reader.error(match value.node.get_ref() {
                DeValue::Array(_) => Problem::at(value.head(), format!("`{key}` wants {example}"))
                    .label("double brackets")
                    .help(format!("write [{key}.some-name]")),
                _ => value.wrong_type(&example),
            });
            return Vec::new();
        };
        table
            .iter()
            .filter_map(|(name, node)| {
                let item = Value { reader: self.reader, node, path: format!("{}.{}", value.path, name.get_ref()) };
                match Section::of(&item, shape) {
                    Ok(section) => Some((name, section)),
                    Err(_) => {
                        self.reader.error(
                            Problem::at(name.span(), format!("`{key}` wants a name: [{key}.NAME]"))
                                .label("this is not a section")
                                .help(format!("write [{key}.some-name] above it")),
                        );
                        None
                    }
                }
            })
            .collect()
    }
}
