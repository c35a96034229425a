//! A configuration's filters, loaded; and loaded again without forgetting what they remember.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::outcome::BodyMode;
use super::when::Conditions;
use crate::config::{self, Config};
use crate::filter::{Host, HostOptions, LoadError, Memory, Outside, Profile, Program};
use crate::mail::Stage;
use crate::policy::tables::{Lookup, Tables};
use crate::state::tables::{Table, TableError};

/// The filters cannot be loaded: says which, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    #[error(transparent)]
    Filter(#[from] LoadError),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// One configuration's filters. Sessions keep the chain they began with.
#[derive(Debug)]
pub struct Chain {
    /// None: there are no filters, and no engine either.
    host: Option<Arc<Host>>,
    options: HostOptions,
    programs: Vec<Arc<Program>>,
    tables: Vec<Arc<Table>>,
    listeners: Vec<Arc<ListenerChain>>,
}

/// The filters of one listener, in the order in which they are asked.
#[derive(Debug)]
pub(super) struct ListenerChain {
    pub name: String,
    pub programs: Vec<Arc<Program>>,
    pub conditions: Conditions,
    pub message_deadline: Duration,
    /// Somebody reads `headers` at `body`, so that they must be remembered until then.
    pub keeps_headers: bool,
    pub wants_names: bool,
}

impl ListenerChain {
    pub(super) fn body_mode(programs: impl Iterator<Item = impl AsRef<Program>>) -> BodyMode {
        programs
            .map(|program| {
                let program = program.as_ref();
                let sees_message = program.stages().contains(Stage::Message);
                let holds = (sees_message && program.may_edit()) || program.may_quarantine();
                match (holds && !program.is_shadow(), sees_message) {
                    (true, _) => BodyMode::Hold,
                    (false, true) => BodyMode::Spooled,
                    (false, false) => BodyMode::Stream,
                }
            })
            .max()
            .unwrap_or(BodyMode::Stream)
    }
}

impl Chain {
    /// Loads everything the configuration names. Blocks: components are compiled here, and each is tried once. Filters
    /// that ask somebody outside hear that nobody has an answer.
    ///
    /// # Errors
    /// The first filter or table that cannot be used.
    pub fn load(config: &Config) -> Result<Chain, ChainError> {
        Chain::load_with(config, &Outside::default())
    }

    /// The same, with somebody outside to ask, and with that clock.
    ///
    /// # Errors
    /// As [`Chain::load`].
    pub fn load_with(config: &Config, outside: &Outside) -> Result<Chain, ChainError> {
        Chain::reload(None, config, outside)
    }

    /// Loads a newer configuration beside `old`, whose sessions go on undisturbed. Filters keep their counters
    /// and keys under their name; tables of the same name change for everybody, all at once, and only when
    /// nothing else failed.
    ///
    /// # Errors
    /// As [`Chain::load`]; `old` is then as it was.
    pub fn reload(old: Option<&Chain>, config: &Config, outside: &Outside) -> Result<Chain, ChainError> {
        let fresh = config.tables.iter().map(Table::load).collect::<Result<Vec<_>, _>>()?;
        let replaced: Vec<(Arc<Table>, Option<Table>)> = fresh
            .into_iter()
            .map(|table| match old.and_then(|old| old.tables.iter().find(|t| t.name() == table.name())) {
                Some(known) => (Arc::clone(known), Some(table)),
                None => (Arc::new(table), None),
            })
            .collect();
        let tables: Vec<Arc<Table>> = replaced.iter().map(|(table, _)| Arc::clone(table)).collect();
        let host = host(old, config)?;
        let mut programs = Vec::new();
        if let Some(host) = &host {
            for filter in &config.filters {
                programs.push(load_filter(old, config, filter, host, &tables, outside)?);
            }
            // inspect → decide → transform → seal, and as written within a phase (the sort is stable).
            programs.sort_by_key(|program| program.phase());
        }
        // Nothing can fail any more.
        for (table, content) in &replaced {
            if let Some(content) = content {
                table.replace(content);
            }
        }
        for program in &programs {
            program.profile().memory.adopt(&program.profile().config);
        }
        announce(old.map_or(&[], |old| &old.programs), &programs);
        let listeners = config.listeners.iter().map(|l| Arc::new(listener(l, config, &programs))).collect();
        Ok(Chain { host, options: options(config), programs, tables, listeners })
    }

    /// The same chain with one filter read anew. It shares everything else with this one, whose sessions go on.
    ///
    /// # Errors
    /// Why the filter cannot be loaded.
    pub fn with_fresh(&self, config: &Config, name: &str) -> Result<Chain, ChainError> {
        let mut programs = self.programs.clone();
        let named = config.filters.iter().find(|filter| filter.name == name);
        if let (Some(filter), Some(host)) = (named, &self.host) {
            let outside = self.program(name).map(|known| known.profile().outside.clone()).unwrap_or_default();
            let fresh = load_filter(Some(self), config, filter, host, &self.tables, &outside)?;
            programs = config.filters.iter().filter_map(|f| self.program(&f.name).cloned()).collect();
            for program in &mut programs {
                if *program.profile().name == *name {
                    *program = Arc::clone(&fresh);
                }
            }
            programs.sort_by_key(|program| program.phase());
        }
        announce(&self.programs, &programs);
        let listeners = config.listeners.iter().map(|l| Arc::new(listener(l, config, &programs))).collect();
        let (host, tables) = (self.host.clone(), self.tables.clone());
        Ok(Chain { host, options: self.options, programs, tables, listeners })
    }

    /// All tables of the configuration, for policy.
    #[must_use]
    pub fn tables(&self) -> Tables {
        let one = |table: &Arc<Table>| (table.name().to_owned(), Arc::clone(table) as Arc<dyn Lookup>);
        self.tables.iter().map(one).collect()
    }

    fn program(&self, name: &str) -> Option<&Arc<Program>> {
        self.programs.iter().find(|program| *program.profile().name == *name)
    }

    pub(super) fn listener(&self, name: &str) -> Option<&Arc<ListenerChain>> {
        self.listeners.iter().find(|listener| listener.name == name)
    }

    /// All filters, in the order in which they are asked.
    pub fn programs(&self) -> impl Iterator<Item = &Arc<Program>> {
        self.programs.iter()
    }

    /// The engine, when there are filters.
    #[must_use]
    pub fn host(&self) -> Option<&Arc<Host>> {
        self.host.as_ref()
    }
}

/// `wasmilter_loaded_filter_info`: 1 for what runs, 0 for what ran before.
fn announce(before: &[Arc<Program>], now: &[Arc<Program>]) {
    for (programs, value) in [(before, 0.0), (now, 1.0)] {
        for program in programs {
            let filter = program.profile().name.to_string();
            let version = program.version().map(ToString::to_string).unwrap_or_default();
            let phase = program.phase().name();
            metrics::gauge!("wasmilter_loaded_filter_info", "filter" => filter, "version" => version, "phase" => phase)
                .set(value);
        }
    }
}

/// The old engine if it has the right size, since two pools take twice the room.
fn host(old: Option<&Chain>, config: &Config) -> Result<Option<Arc<Host>>, LoadError> {
    if config.filters.is_empty() {
        return Ok(None);
    }
    if let Some(old) = old
        && let Some(host) = &old.host
        && old.options == options(config)
    {
        return Ok(Some(Arc::clone(host)));
    }
    Host::new(options(config)).map(|host| Some(Arc::new(host)))
}

fn options(config: &Config) -> HostOptions {
    HostOptions { instances: config.engine.instances, backtrace_lines: config.engine.backtrace_lines }
}

fn load_filter(
    old: Option<&Chain>,
    config: &Config,
    filter: &config::Filter,
    host: &Arc<Host>,
    tables: &[Arc<Table>],
    outside: &Outside,
) -> Result<Arc<Program>, ChainError> {
    let known = old.and_then(|old| old.program(&filter.name));
    let memory = Memory::for_next(filter, known.map(|p| &p.profile().memory));
    let granted = tables.iter().filter(|table| filter.grants.tables.iter().flatten().any(|name| name == table.name()));
    let http = filter.grants.http.as_ref().map(|grant| outside.http(grant)).transpose();
    let http = http.map_err(|error| LoadError::Http { filter: filter.name.clone(), error })?;
    let profile = Arc::new(Profile {
        name: filter.name.as_str().into(),
        config: filter.clone(),
        tables: granted.cloned().collect(),
        memory,
        outside: outside.clone(),
        trusted_networks: trusted_networks(config),
        http,
    });
    Ok(Program::load(host, profile, &config.engine, known.map(AsRef::as_ref))?)
}

fn trusted_networks(config: &Config) -> BTreeMap<String, Vec<IpNet>> {
    config.listeners.iter().map(|listener| (listener.name.clone(), listener.trusted_networks.clone())).collect()
}

fn listener(listener: &config::Listener, config: &Config, programs: &[Arc<Program>]) -> ListenerChain {
    let programs: Vec<Arc<Program>> =
        programs.iter().filter(|p| listener.filters.iter().any(|name| **name == *p.profile().name)).cloned().collect();
    ListenerChain {
        name: listener.name.clone(),
        conditions: Conditions::of(config, programs.iter().map(AsRef::as_ref)),
        keeps_headers: programs.iter().any(|p| p.reads_headers() && p.stages().contains(Stage::Body)),
        wants_names: programs.iter().any(|p| p.wants_peer_name()),
        message_deadline: config.engine.message_deadline,
        programs,
    }
}
