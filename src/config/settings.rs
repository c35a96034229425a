//! A filter's settings: JSON for the guest, and where each of them stands in the file, for errors that are found only
//! when the filter is loaded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::problem::{ConfigErrors, Problem, Span};
use super::reader::Reader;

/// A filter's settings as a JSON object. They may hold the keys of other services, so they cannot be printed.
#[derive(Clone)]
pub struct SettingsJson {
    json: String,
    origin: Option<Arc<Origin>>,
}

/// Where they were written.
struct Origin {
    file: Arc<str>,
    text: Arc<str>,
    /// The filter's section.
    section: Span,
    /// `limits.0.name` → its place.
    places: BTreeMap<String, Span>,
}

/// A setting that its filter does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongSetting {
    /// The keys and numbers that lead to it; empty for the settings as a whole.
    pub at: Vec<String>,
    /// Completes a sentence that begins with the setting.
    pub why: String,
    /// What the filter says of this setting, if anything.
    pub about: Option<String>,
}

impl SettingsJson {
    /// `json` must be an object.
    #[must_use]
    pub fn new(json: String) -> SettingsJson {
        SettingsJson { json, origin: None }
    }

    /// The same, read from a file: `path` is that of the settings, `section` where the filter's section stands.
    pub(super) fn written(self, reader: &Reader<'_>, path: &str, section: Span) -> SettingsJson {
        let (file, text) = reader.source();
        let places = reader.places_below(path);
        SettingsJson { origin: Some(Arc::new(Origin { file, text, section, places })), ..self }
    }

    /// For the guest, and for nobody else.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.json
    }

    /// What is wrong with them in the words and with the place of every other error in the file.
    #[must_use]
    pub fn errors(&self, filter: &str, wrong: &[WrongSetting]) -> ConfigErrors {
        let problems = wrong.iter().map(|one| {
            let key = one.at.join(".");
            let what = if key.is_empty() { "the settings".to_owned() } else { format!("the setting `{key}`") };
            let span = self.origin.as_ref().map_or(0..0, |origin| origin.place(&one.at));
            let problem = Problem::at(span, format!("{what} of the filter \"{filter}\" {}", one.why));
            let problem = if key.is_empty() { problem } else { problem.label(format!("`{key}`")) };
            match &one.about {
                Some(about) => problem.help(format!("the filter says of it: {about}")),
                None => problem.help("the filter's own description says what it takes"),
            }
        });
        let (file, text) = self.origin.as_ref().map_or(("the settings", ""), |origin| (&*origin.file, &*origin.text));
        ConfigErrors::new(file, text, problems.collect())
    }
}

impl Origin {
    /// Where a setting stands; if it does not, what is around it.
    fn place(&self, at: &[String]) -> Span {
        let known = (1..=at.len()).rev().find_map(|len| self.places.get(&at.get(..len)?.join(".")));
        known.or_else(|| self.places.get("")).unwrap_or(&self.section).clone()
    }
}

impl Default for SettingsJson {
    fn default() -> Self {
        SettingsJson::new("{}".to_owned())
    }
}

/// What the guest sees is what counts.
impl PartialEq for SettingsJson {
    fn eq(&self, other: &SettingsJson) -> bool {
        self.json == other.json
    }
}

impl Eq for SettingsJson {}

impl fmt::Debug for SettingsJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SettingsJson({} octets)", self.json.len())
    }
}
