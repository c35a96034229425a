//! A filter put behind the gateway's own chain, with the settings and grants that somebody wrote for it, or with what it
//! asks for.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::answers::{Answers, World};
use super::inspect;
use super::trouble::{EXIT_CONFIG, EXIT_DATA, EXIT_SOFTWARE, EXIT_USAGE, Trouble};
use crate::chain::Chain;
use crate::config::{self, Config, SettingsJson, UPSTREAM_DEFAULT};
use crate::filter::{Clock, Inspection, Outside};
use crate::net::dial::{Dial, Tcp};
use crate::net::dns::Resolver;

/// Lines a filter may log in a tool: somebody wants to read them.
const LOG_LINES_PER_SECOND: u32 = 100_000;

/// What the filter is run with.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SiteArgs {
    /// Take settings, grants, tables and limits from a filter of this configuration.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["grants", "tables"])]
    config: Option<PathBuf>,
    /// Which of its filters; not needed where there is one.
    #[arg(long = "filter", value_name = "NAME", requires = "config")]
    name: Option<String>,
    /// Its settings, as a JSON object.
    #[arg(long, value_name = "JSON")]
    settings: Option<String>,
    /// A line of `[filter.grants]`, such as 'kv = true'; as often as needed. Without any, all it imports is granted.
    #[arg(long = "grant", value_name = "TOML")]
    grants: Vec<String>,
    /// A table it may look into, with a file of its entries; as often as needed.
    #[arg(long = "table", value_name = "NAME=FILE", value_parser = table)]
    tables: Vec<(String, PathBuf)>,
    /// Answers of the DNS, of servers and of the stores, a line each, as in the head of a dialog (docs/dialogs.md).
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Let it ask the real DNS, and servers that `--grant 'http = […]'` names. Otherwise only what `--answers` says is answered.
    #[arg(long, conflicts_with = "answers")]
    online: bool,
}

fn table(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write a name and a file: friends=friends.txt")?;
    Ok((name.to_owned(), PathBuf::from(path)))
}

/// One or two filters, each on a listener of its own, in one chain.
#[derive(Debug)]
pub(super) struct Site {
    pub chain: Arc<Chain>,
    /// The listeners, in the order of the filters.
    pub listeners: Vec<String>,
    /// What was decided for whoever runs it.
    pub notes: Vec<String>,
    /// What they can ask; None: whatever there is.
    world: Option<World>,
}

impl Site {
    /// Loads these components.
    pub(super) fn open(args: &SiteArgs, components: &[&Path], instances: u32) -> Result<Site, Trouble> {
        let mut notes = Vec::new();
        let answers = answers(args)?;
        let config = configuration(args, &answers, components, instances, &mut notes)?;
        let listeners = config.listeners.iter().map(|listener| listener.name.clone()).collect();
        let (outside, world) = outside(args, &answers, &config)?;
        let chain = Chain::load_with(&config, &outside).map_err(not_loaded)?;
        if let Some(world) = &world {
            let help = "see the kv lines of --answers";
            world.kv().fill(&chain).map_err(|why| Trouble::new(EXIT_DATA, why, help))?;
        }
        Ok(Site { chain: Arc::new(chain), listeners, notes, world })
    }

    /// Questions of the filters that nobody answered, since they are run offline.
    pub(super) fn unanswered(&self) -> Vec<String> {
        self.world.as_ref().map(World::unanswered).unwrap_or_default()
    }
}

/// Of the file that was named.
fn answers(args: &SiteArgs) -> Result<Answers, Trouble> {
    let Some(path) = &args.answers else { return Ok(Answers::default()) };
    let text = std::fs::read_to_string(path).map_err(|why| Trouble::unreadable(path, &why))?;
    Answers::parse(&text).map_err(|(line, why)| {
        let what = format!("{}:{line}: {why}", path.display());
        Trouble::new(EXIT_DATA, what, "docs/dialogs.md says how answers are written")
    })
}

fn outside(args: &SiteArgs, answers: &Answers, config: &Config) -> Result<(Outside, Option<World>), Trouble> {
    if args.online {
        let resolver = Resolver::new(&config.resolver).map_err(|why| Trouble::new(EXIT_SOFTWARE, why, ""))?;
        let dialer: Arc<dyn Dial> = Arc::new(Tcp);
        return Ok((Outside::real(&resolver, &dialer), None));
    }
    let world = answers.world(&Clock::System);
    Ok((world.outside.clone(), Some(world)))
}

/// A chain refused, and what helps.
pub(super) fn not_loaded(why: impl std::fmt::Display) -> Trouble {
    let why = why.to_string();
    let help = if why.contains("init:") {
        "these are the filter's own words about its settings: give them with --settings, or with --config and --filter"
    } else if why.contains("not granted") {
        "say so with --grant, or leave --grant away: then all it imports is granted"
    } else if why.starts_with("table ") {
        "each --table is the name of a table and a file with its entries: friends=friends.txt"
    } else {
        "`wasmilter filter inspect` shows what it is"
    };
    Trouble::new(EXIT_DATA, why, help)
}

/// A configuration with a listener for each component.
fn configuration(
    args: &SiteArgs,
    answers: &Answers,
    components: &[&Path],
    instances: u32,
    notes: &mut Vec<String>,
) -> Result<Config, Trouble> {
    let mut config = match &args.config {
        Some(path) => configured(path, args.name.as_deref(), components)?,
        None => made_up(args, answers, components, notes)?,
    };
    config.engine.instances = Some(instances);
    config.engine.cache_dir = None;
    // The author is at hand, and it is their own component.
    config.engine.backtrace_lines = true;
    for filter in &mut config.filters {
        filter.bounds.log_lines_per_second = LOG_LINES_PER_SECOND;
        if let Some(settings) = &args.settings {
            filter.settings_json = SettingsJson::new(object(settings)?);
        }
    }
    Ok(config)
}

/// What the operator's configuration says of one filter, for each of the components.
fn configured(path: &Path, name: Option<&str>, components: &[&Path]) -> Result<Config, Trouble> {
    let (mut config, _) = crate::cli::load::load(path)
        .map_err(|why| Trouble::new(EXIT_CONFIG, why, "`wasmilter check` shows all of it"))?;
    let names: Vec<&str> = config.filters.iter().map(|filter| filter.name.as_str()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let filter = match name {
        Some(name) => config.filters.iter().find(|filter| filter.name == name),
        None => config.filters.first().filter(|_| config.filters.len() == 1),
    };
    let Some(filter) = filter.cloned() else {
        let what = match name {
            Some(name) => format!("{} has no filter \"{name}\"", path.display()),
            None => format!("{} does not have one filter", path.display()),
        };
        return Err(Trouble::new(EXIT_USAGE, what, format!("name one with --filter; it has {names}")));
    };
    let Some(listener) = config.listeners.first().cloned() else {
        return Err(Trouble::new(EXIT_CONFIG, "the configuration has no listener", "`wasmilter check` shows more"));
    };
    config.filters.clear();
    config.listeners.clear();
    for (place, component) in components.iter().enumerate() {
        let mut filter = filter.clone();
        filter.path = component.to_path_buf();
        if place > 0 {
            let _ = write!(filter.name, "-{}", place + 1);
        }
        let mut listener = listener.clone();
        listener.name.clone_from(&filter.name);
        listener.filters = vec![filter.name.clone()];
        config.filters.push(filter);
        config.listeners.push(listener);
    }
    Ok(config)
}

/// The least that makes a configuration, with the filters granted what was said, or what they import.
fn made_up(
    args: &SiteArgs,
    answers: &Answers,
    components: &[&Path],
    notes: &mut Vec<String>,
) -> Result<Config, Trouble> {
    let mut toml = String::from(BASE);
    for (name, path) in &args.tables {
        let _ = writeln!(toml, "[table.{}]\nfile = {}", inspect::quoted(name), inspect::quoted(&absolute(path)));
    }
    for (place, component) in components.iter().enumerate() {
        let grants = if args.grants.is_empty() {
            let mut grants = everything(&inspect::look(component)?, &args.tables, &answers.servers());
            grants.push(format!("quarantine = {{ recipient = {QUARANTINE} }}"));
            if place == 0 && !grants.is_empty() {
                notes.push(format!("granted what it imports: {}", grants.join(", ")));
            }
            grants
        } else {
            args.grants.clone()
        };
        let mut name = inspect::name_of(component);
        if place > 0 {
            let _ = write!(name, "-{}", place + 1);
        }
        let section = section(&name, component, &grants);
        let _ = write!(
            toml,
            "[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\nfilters = [\"{name}\"]\n{section}"
        );
    }
    for name in upstreams(&args.grants) {
        let _ = write!(toml, "[[upstream]]\nname = {}\naddress = \"127.0.0.1:10025\"\n", inspect::quoted(&name));
    }
    config::parse(&toml, "(made up)", &|_| None).map_err(|why| {
        let help = "this was made of --grant and --table: each --grant is a line of [filter.grants] (docs/filters.md)";
        Trouble::new(EXIT_USAGE, why.render(false), help)
    })
}

/// The servers that grants name, to choose from or for quarantine: nobody connects to them here.
fn upstreams(grants: &[String]) -> BTreeSet<String> {
    let lines = grants.iter().filter_map(|grant| grant.parse::<toml::Table>().ok());
    let named = lines.flatten().flat_map(|(key, value)| match (key.as_str(), value) {
        ("route", toml::Value::Array(names)) => names,
        ("quarantine", toml::Value::Table(mut place)) => place.remove("upstream").into_iter().collect(),
        ("quarantine", name @ toml::Value::String(_)) => vec![name],
        _ => Vec::new(),
    });
    // That one is there.
    named.filter_map(|name| name.as_str().filter(|name| *name != UPSTREAM_DEFAULT).map(str::to_owned)).collect()
}

/// Where what a filter wants in quarantine goes, where nobody has configured it.
const QUARANTINE: &str = "\"quarantine@example.org\"";

/// Where a filter runs that nobody has configured.
pub(super) const BASE: &str = "hostname = \"mx.example.org\"\n[relay]\ndomains = [\"example.org\"]\n[[upstream]]\naddress = \
                               \"127.0.0.1:10025\"\n";

/// `[[filter]]` and its grants.
pub(super) fn section(name: &str, component: &Path, grants: &[String]) -> String {
    let path = inspect::quoted(&absolute(component));
    format!("[[filter]]\nname = \"{name}\"\npath = {path}\n[filter.grants]\n{}\n", grants.join("\n"))
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// All that a filter imports, as widely as it can be said, and the verdicts that need a grant.
pub(super) fn everything(found: &Inspection, tables: &[(String, PathBuf)], servers: &[String]) -> Vec<String> {
    let list = |names: &mut dyn Iterator<Item = &str>| names.map(inspect::quoted).collect::<Vec<_>>().join(", ");
    let mut grants: Vec<String> = found
        .grants()
        .into_iter()
        .map(|grant| match grant {
            "tables = []" => format!("tables = [{}]", list(&mut tables.iter().map(|(name, _)| name.as_str()))),
            "http = []" => format!("http = [{}]", list(&mut servers.iter().map(String::as_str))),
            grant => grant.replace("headers = [\"X-Example\"]", "headers = true"),
        })
        .collect();
    grants.push("discard = true".to_owned());
    grants
}

/// `text` is a JSON object.
pub(super) fn object(text: &str) -> Result<String, Trouble> {
    let help = "write an object, as in --settings '{\"words\": [\"casino\"]}'";
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) if value.is_object() => Ok(text.to_owned()),
        Ok(_) => Err(Trouble::new(EXIT_USAGE, "the settings are no JSON object", help)),
        Err(why) => Err(Trouble::new(EXIT_USAGE, format!("the settings are no JSON: {why}"), help)),
    }
}
