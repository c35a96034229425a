//! What a dialog is replayed against: a gateway with the filter at its listeners, as the filter's folder and the dialog's
//! head have it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::answers::{Answers, KEYS, World, standing};
use super::super::inspect;
use super::super::site::{everything, not_loaded, object};
use super::super::trouble::{EXIT_SOFTWARE, Trouble};
use super::place::Place;
use crate::accounts::{Scheme, make, with_entry};
use crate::config::{self, SettingsJson};
use crate::dialog::{Script, Setting};
use crate::filter::Inspection;
use crate::server::Environment;

/// Where the filter runs unless the dialog names a configuration.
const BASE: &str = r#"
hostname = "mx.example.org"
[tls]
certificate = "${CERTIFICATE}"
key = "${KEY}"
[auth]
password-file = "${PASSWORDS}"
[relay]
domains = ["example.org"]
[upstream]
address = "${UPSTREAM}"
[engine]
instances = 64
[[listener]]
name = "mx"
address = "127.0.0.1:0"
auth = "off"
[[listener]]
name = "submission"
address = "127.0.0.1:0"
auth = "required"
[[listener]]
name = "submissions"
address = "127.0.0.1:0"
auth = "required"
tls = "implicit"
"#;
/// Who may log in there.
const ACCOUNT: (&str, &str) = ("ann@example.org", "secret");
/// Keys of a dialog's head that are understood here.
const OWN_KEYS: [&str; 5] = ["config", "filter", "grants", "settings", "table"];

/// What all dialogs of a filter have in common.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    place: &'a Place,
    found: Inspection,
    scratch: tempfile::TempDir,
}

/// One dialog's.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    stage: &'a Stage<'a>,
    toml: String,
    settings: Option<String>,
    answers: Answers,
}

impl<'a> Stage<'a> {
    /// Looks at the filter, and makes what a gateway has to have.
    pub(super) fn set(place: &'a Place) -> Result<Stage<'a>, Trouble> {
        let found = inspect::look(&place.component)?;
        let software = |why: &dyn std::fmt::Display| Trouble::new(EXIT_SOFTWARE, why, "is the temporary folder full?");
        let scratch = tempfile::tempdir().map_err(|why| software(&why))?;
        let identity = crate::net::tls::self_signed(&["mx.example.org"]).map_err(|why| software(&why))?;
        // The cheapest of the hashes: nothing is kept secret here.
        let hash = make(Scheme::Sha512Crypt, ACCOUNT.1.as_bytes()).map_err(|why| software(&why))?;
        for (name, text) in [
            ("certificate", identity.certificate_pem.as_str()),
            ("key", &identity.key_pem),
            ("passwords", &with_entry("", ACCOUNT.0, Some(&hash)).0),
        ] {
            let write = || {
                let path = scratch.path().join(name);
                let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                file.write_all(text.as_bytes())
            };
            write().map_err(|why| software(&why))?;
        }
        let stage = Stage { place, found, scratch };
        stage.try_to_load()?;
        Ok(stage)
    }

    /// A filter that does not load is one failure, and not one for each dialog.
    fn try_to_load(&self) -> Result<(), Trouble> {
        let bare = Script::parse("").ok().and_then(|script| self.scene(&script).ok());
        let Some(scene) = bare.filter(|_| self.place.dialogs.len() > 1) else { return Ok(()) };
        let Ok(setting) = scene.setting(&scene.world(), SocketAddr::from(([127, 0, 0, 1], 1))) else { return Ok(()) };
        match crate::chain::Chain::load(&setting.config) {
            // Its settings may be in the heads of the dialogs.
            Err(why) if !why.to_string().contains("init:") && !why.to_string().contains("settings") => {
                Err(not_loaded(why))
            }
            _ => Ok(()),
        }
    }

    /// What the head of a dialog says.
    ///
    /// # Errors
    /// The line, and what is wrong with it.
    pub(super) fn scene(&'a self, script: &Script) -> Result<Scene<'a>, (usize, String)> {
        let known: Vec<&str> = OWN_KEYS.into_iter().chain(KEYS).collect();
        script.knows(&known).map_err(|(line, why)| (line, format!("{why}; there are {}", known.join(", "))))?;
        let mut filter = self.place.filter.clone();
        let mut tables = toml::Table::new();
        let mut answers = Answers::default();
        let mut settings = None;
        for head in &script.head {
            let read = match head.key.as_str() {
                "config" => Ok(()),
                "filter" => inline(&head.value).map(|more| filter.extend(more)),
                "grants" => inline(&head.value).map(|grants| {
                    filter.insert("grants".to_owned(), toml::Value::Table(grants));
                }),
                "settings" => {
                    object(&head.value).map(|text| settings = Some(text)).map_err(|_| "is no JSON object".into())
                }
                "table" => table(&head.value).map(|(name, table)| {
                    tables.insert(name, table);
                }),
                key => answers.add(key, &head.value),
            };
            read.map_err(|why| (head.line, format!("{}: {why}", head.key)))?;
        }
        let toml = match script.head.iter().find(|head| head.key == "config") {
            Some(head) => self.configuration(&head.value).map_err(|why| (head.line, why))?,
            None => self.document(filter, tables, &answers).map_err(|why| (0, why))?,
        };
        Ok(Scene { stage: self, toml, settings, answers })
    }

    /// The file that a dialog names, beside the dialogs.
    fn configuration(&self, name: &str) -> Result<String, String> {
        let folder = self.place.dialogs.first().and_then(|dialog| dialog.parent()).unwrap_or(Path::new("."));
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|why| format!("{}: {why}", path.display()))
    }

    fn document(&self, mut filter: toml::Table, tables: toml::Table, answers: &Answers) -> Result<String, String> {
        let mut document: toml::Table = BASE.parse().map_err(|why: toml::de::Error| why.to_string())?;
        if !filter.contains_key("grants") {
            let named: Vec<(String, PathBuf)> = tables.keys().map(|name| (name.clone(), PathBuf::new())).collect();
            let grants = everything(&self.found, &named, &answers.servers()).join("\n");
            let grants = grants.parse::<toml::Table>().map_err(|why| why.to_string())?;
            filter.insert("grants".to_owned(), toml::Value::Table(grants));
        }
        let name = inspect::name_of(&self.place.component);
        filter.insert("name".to_owned(), toml::Value::String(name));
        filter.insert("path".to_owned(), toml::Value::String("${FILTER}".to_owned()));
        document.insert("filter".to_owned(), toml::Value::Array(vec![toml::Value::Table(filter)]));
        document.insert("table".to_owned(), toml::Value::Table(tables));
        toml::to_string(&document).map_err(|why| why.to_string())
    }
}

impl Scene<'_> {
    /// A world in which nothing has happened.
    pub(super) fn world(&self) -> World {
        self.answers.world(&standing())
    }

    /// For one replay.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn setting(&self, world: &World, upstream: SocketAddr) -> Result<Setting, String> {
        let scratch = self.stage.scratch.path();
        let inside = |name: &str| Some(scratch.join(name).display().to_string());
        let component = std::path::absolute(&self.stage.place.component).map_err(|why| why.to_string())?;
        let environment = |name: &str| match name {
            "UPSTREAM" => Some(upstream.to_string()),
            "FILTER" => Some(component.display().to_string()),
            "CERTIFICATE" => inside("certificate"),
            "KEY" => inside("key"),
            "PASSWORDS" => inside("passwords"),
            _ => None,
        };
        let mut config = config::parse(&self.toml, "(of the dialog)", &environment).map_err(|why| why.render(false))?;
        // Compiled for the first replay only.
        config.engine.cache_dir = Some(scratch.join("compiled"));
        for filter in &mut config.filters {
            if let Some(settings) = &self.settings {
                filter.settings_json = SettingsJson::new(settings.clone());
            }
        }
        let clock = world.outside.clock.clone();
        let kv = world.kv();
        Ok(Setting {
            seen: None,
            config,
            environment: Environment { outside: Some(world.outside.clone()), ..Environment::default() },
            clock: Some(Arc::new(move |by| clock.advance(by))),
            prepare: Some(Arc::new(move |chain| kv.fill(chain))),
        })
    }
}

/// `{ kv = true }`, as TOML.
fn inline(text: &str) -> Result<toml::Table, String> {
    let wrong = || "write an inline table of TOML, such as { kv = true }".to_owned();
    let mut table: toml::Table = format!("it = {text}").parse().map_err(|_| wrong())?;
    match table.remove("it") {
        Some(toml::Value::Table(inner)) if table.is_empty() => Ok(inner),
        _ => Err(wrong()),
    }
}

/// `friends = ["a", "b"]`, or `friends = { kind = "cidr", entries = [...] }`.
fn table(text: &str) -> Result<(String, toml::Value), String> {
    let wrong = || "write a name and entries, such as friends = [\"a@example.org\"]".to_owned();
    let table: toml::Table = text.parse().map_err(|_| wrong())?;
    let (name, value) = table.into_iter().next().ok_or_else(wrong)?;
    match value {
        toml::Value::Array(entries) => {
            let inner = toml::Table::from_iter([("entries".to_owned(), toml::Value::Array(entries))]);
            Ok((name, toml::Value::Table(inner)))
        }
        toml::Value::Table(inner) => Ok((name, toml::Value::Table(inner))),
        _ => Err(wrong()),
    }
}
