//! A component looked at without running it: what it wants to be asked, what it would have to be granted, what it takes
//! and who made it. Only what it says of itself it has to be asked. Nothing here decides whether it loads;
//! [`component`](super::component) does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use wasmparser::{Parser, Payload, ProducersSectionReader};
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::about::About;
use super::cache::hex;
use super::component::preamble;
use super::engine::{Host, TABLES_PER_SLOT};
use super::error::LoadError;
use super::fit::{self, ours};
use super::imports::{CAPABILITIES, PACKAGE, VERSION};
use super::outside::{Clock, Outside};
use super::profile::{Memory, Profile};
use super::program::Program;
use super::stages::StageSet;
use super::{survey, trial, wasi};
use crate::config::{self, Grants};

/// Modules and components inside of one another; a toolchain makes two levels.
const NESTED_MAX: usize = 16;
/// Tools that a component names as its makers.
const MAKERS_MAX: usize = 64;

/// What a component is.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Of the file.
    pub octets: usize,
    /// SHA-256, lower-case hexadecimal.
    pub digest: String,
    pub stages: StageSet,
    pub imports: Vec<Import>,
    /// What it imports of WASI, and gets an empty world for.
    pub wasi: Vec<String>,
    /// What this gateway does not have: the name, and why.
    pub lacking: Vec<(String, String)>,
    pub makers: Vec<Maker>,
    pub names: bool,
    /// DWARF: a backtrace can name files and lines.
    pub lines: bool,
    pub memories: u32,
    /// Octets that one instance begins with.
    pub memory_bytes: u64,
    pub tables: u32,
    /// Of the pool, for one instance.
    pub slots: u32,
    component: Component,
}

/// A capability that is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The interface: "kv".
    pub name: String,
    pub functions: Vec<String>,
    /// Inside of `grants`: `kv = true`, a line each. None: it is granted by default.
    pub grant: Option<String>,
}

/// A tool that took part in making it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Maker {
    /// "language", "sdk" or "processed-by".
    pub role: String,
    /// As the file says it: any text.
    pub name: String,
    pub version: String,
}

impl Inspection {
    /// Looks at the octets of a component. Blocks: it is compiled, to see that it can be.
    ///
    /// # Errors
    /// What is wrong with it, as a part of a sentence about it.
    pub fn of(host: &Host, wasm: &[u8]) -> Result<Inspection, String> {
        preamble(wasm)?;
        survey::check(wasm)?;
        let engine = host.engine();
        let component = Component::from_binary(engine, wasm)
            .map_err(|error| format!("does not compile (is the file complete?): {error:#}"))?;
        let mut found = Inspection {
            octets: wasm.len(),
            digest: hex(digest(&SHA256, wasm).as_ref()),
            stages: StageSet::NONE,
            imports: Vec::new(),
            wasi: Vec::new(),
            lacking: Vec::new(),
            makers: Vec::new(),
            names: false,
            lines: false,
            memories: 0,
            memory_bytes: 0,
            tables: 0,
            slots: 1,
            component: component.clone(),
        };
        let shape = component.component_type();
        for (name, item) in shape.imports(engine) {
            let functions = match item.ty {
                ComponentItem::ComponentInstance(interface) => {
                    interface.exports(engine).filter(|(_, item)| is_function(&item.ty)).map(|(name, _)| name.to_owned())
                }
                .collect(),
                _ => Vec::new(),
            };
            found.import(name, functions);
        }
        for (name, _) in shape.exports(engine) {
            found.export(name);
        }
        if let Some(needed) = component.resources_required() {
            found.memories = needed.num_memories;
            found.tables = needed.num_tables;
            found.slots = needed.num_memories.max(needed.num_tables.div_ceil(TABLES_PER_SLOT)).max(1);
        }
        found.sections(wasm).map_err(|error| format!("cannot be read: {error}"))?;
        Ok(found)
    }

    fn import(&mut self, name: &str, functions: Vec<String>) {
        if name.starts_with("wasi:") {
            if wasi::PACKAGES.iter().any(|package| name.starts_with(package)) {
                return self.wasi.push(name.to_owned());
            }
            let why = "filters get no network and nothing else from WASI but an empty world";
            return self.lacking.push((name.to_owned(), why.to_owned()));
        }
        let capability = match ours(name) {
            Ok(Some(interface)) => CAPABILITIES.iter().find(|capability| capability.name == interface),
            Ok(None) => None,
            Err(why) => return self.lacking.push((name.to_owned(), format!("it {why}"))),
        };
        match capability {
            // Words, and nothing to call.
            Some(capability) if capability.name == "types" => {}
            Some(capability) => {
                let by_default = capability.is_granted(&Grants::default());
                let grant = (!by_default).then(|| least_grant(capability.name, capability.grant, &functions));
                self.imports.push(Import { name: capability.name.to_owned(), functions, grant });
            }
            None => self.lacking.push((name.to_owned(), format!("it is no interface of {PACKAGE}@{VERSION}"))),
        }
    }

    fn export(&mut self, name: &str) {
        let stage = match ours(name) {
            Ok(Some(interface)) => fit::stage(interface),
            Ok(None) => Ok(None),
            Err(why) => Err(format!("it {why}")),
        };
        match stage {
            Ok(stage) => self.stages = stage.map_or(self.stages, |stage| self.stages.with(stage)),
            Err(why) => self.lacking.push((name.to_owned(), why)),
        }
    }

    /// Goes through the sections of the component and of the modules inside it.
    fn sections(&mut self, wasm: &[u8]) -> wasmparser::Result<()> {
        let mut makers = BTreeSet::new();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        self.memory_bytes = self.memory_bytes.saturating_add(memory?.initial.saturating_mul(64 << 10));
                    }
                }
                Payload::CustomSection(section) => match section.name() {
                    "name" => self.names = true,
                    ".debug_line" => self.lines = true,
                    "producers" => {
                        producers(
                            ProducersSectionReader::new(wasmparser::BinaryReader::new(section.data(), 0)),
                            &mut makers,
                        );
                    }
                    _ => {}
                },
                _ => {}
            }
            if depth > NESTED_MAX {
                break;
            }
        }
        self.makers = makers.into_iter().collect();
        Ok(())
    }

    /// What it says of itself, when it is asked with what `filter` grants: an instance of it is made, held against the
    /// contract, and called once. Blocks, at most for 20 seconds.
    ///
    /// # Errors
    /// Why it does not load, as a part of a sentence about it.
    pub fn describe(&self, host: &Arc<Host>, filter: &config::Filter) -> Result<Option<About>, String> {
        let profile = Arc::new(Profile {
            name: filter.name.as_str().into(),
            config: filter.clone(),
            tables: Vec::new(),
            memory: Arc::new(Memory::new(filter)),
            outside: Outside::scripted(Clock::System, &Arc::default()),
            trusted_networks: BTreeMap::new(),
            http: None,
        });
        let program = Program::of(host, profile, self.component.clone(), self.digest.clone());
        program.and_then(|program| trial::describe(&program)).map_err(|error| match error {
            LoadError::Refused { what, .. } => what,
            error => error.to_string(),
        })
    }

    /// What `grants` would hold, as lines of TOML: nothing but what is imported, with what cannot be known left open.
    #[must_use]
    pub fn grants(&self) -> Vec<&str> {
        self.imports.iter().filter_map(|import| import.grant.as_deref()).flat_map(str::lines).collect()
    }
}

fn is_function(item: &ComponentItem) -> bool {
    matches!(item, ComponentItem::ComponentFunc(_))
}

/// Who made it, as far as it says so in a way that can be read.
fn producers(section: wasmparser::Result<ProducersSectionReader<'_>>, makers: &mut BTreeSet<Maker>) {
    for field in section.into_iter().flatten().filter_map(Result::ok) {
        for value in field.values.into_iter().filter_map(Result::ok) {
            if makers.len() < MAKERS_MAX {
                makers.insert(Maker {
                    role: field.name.to_owned(),
                    name: value.name.to_owned(),
                    version: value.version.to_owned(),
                });
            }
        }
    }
}

/// The narrowest grant that lets it load: by the functions it calls, where they tell.
fn least_grant(interface: &str, usual: &str, functions: &[String]) -> String {
    let calls = |names: &[&str]| functions.iter().any(|function| names.contains(&function.as_str()));
    match interface {
        "edit" => {
            let mut parts = Vec::new();
            if calls(&["append-header", "insert-header", "change-header"]) {
                parts.push("headers = [\"X-Example\"]");
            }
            if calls(&["write-body"]) {
                parts.push("body = true");
            }
            if calls(&["set-sender"]) {
                parts.push("sender = true");
            }
            if calls(&["replace-recipient", "add-recipient", "remove-recipient"]) {
                parts.push("recipients = true");
            }
            format!("edit = {{ {} }}", parts.join(", "))
        }
        "tables" => "tables = []".to_owned(),
        "http" => "http = []".to_owned(),
        "kv" => "kv = true".to_owned(),
        "mark" => {
            let mut lines = Vec::new();
            if calls(&["score", "total", "symbols", "tag", "tags"]) {
                lines.push("mark = true");
            }
            if calls(&["delay"]) {
                lines.push("delay = \"10s\"");
            }
            if calls(&["route"]) {
                lines.push("route = []");
            }
            lines.join("\n")
        }
        _ => usual.trim_start_matches('{').trim_end_matches('}').trim().to_owned(),
    }
}
