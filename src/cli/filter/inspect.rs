//! `wasmilter filter inspect`: what a filter is, and the section of configuration it would need.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use super::trouble::{EXIT_DATA, EXIT_SOFTWARE, Trouble};
use super::{Format, site};
use crate::config::{self, SigningKey, show_size};
use crate::filter::{About, Host, HostOptions, Import, Inspection, Maker, Signature};
use crate::report::printable;

/// Octets of a component, as the gateway has it.
const COMPONENT_BYTES_MAX: u64 = 128 << 20;
/// Slots of the pool: more than any one instance takes.
const SLOTS: u32 = 32;
/// Columns before what is said.
const LABEL_COLUMNS: usize = 12;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 this gateway can load it, 65 it cannot, 66 the file cannot be read, 64 usage.")]
pub struct Inspect {
    /// The filter.
    #[arg(value_name = "F.wasm")]
    filter: PathBuf,
    /// A public key of minisign that you trust, as often as needed: the signature beside the file (F.wasm.minisig) is
    /// held against it.
    #[arg(long = "key", value_name = "KEY", value_parser = SigningKey::parse)]
    keys: Vec<SigningKey>,
    /// How to show it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A component, what it says of itself, and what stands beside it.
struct Looked {
    found: Inspection,
    /// Or why it cannot be asked.
    about: Result<Option<About>, String>,
    signature: Signature,
}

impl Looked {
    /// Whether all it wants is here, and it is what was signed.
    fn loads(&self) -> bool {
        has_all(&self.found) && self.about.is_ok() && !matches!(self.signature, Signature::Bad(_))
    }
}

/// Looks, and prints. Status 65 when this gateway would not load it.
pub(super) fn run(args: &Inspect) -> Result<ExitCode, Trouble> {
    let path = &args.filter;
    let wasm = read(path)?;
    let host = Arc::new(host()?);
    let found = inspect(&host, path, &wasm)?;
    let about = if has_all(&found) { describe(&host, path, &found) } else { Ok(None) };
    let looked = Looked { found, about, signature: Signature::beside(path, &wasm, &args.keys) };
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Text => write!(out, "{}", text(path, &looked))?,
        Format::Json => writeln!(out, "{:#}", as_json(path, &looked))?,
    }
    Ok(if looked.loads() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DATA) })
}

/// What stands in the file.
pub(super) fn look(path: &Path) -> Result<Inspection, Trouble> {
    let wasm = read(path)?;
    inspect(&host()?, path, &wasm)
}

fn host() -> Result<Host, Trouble> {
    Host::new(HostOptions { instances: Some(SLOTS), backtrace_lines: false })
        .map_err(|why| Trouble::new(EXIT_SOFTWARE, why, ""))
}

fn inspect(host: &Host, path: &Path, wasm: &[u8]) -> Result<Inspection, Trouble> {
    Inspection::of(host, wasm).map_err(|what| {
        let help = "a filter is a component of the contract in filters/wit; filters/README.md says how to build one";
        Trouble::new(EXIT_DATA, format!("{}: {what}", path.display()), help)
    })
}

/// Asks it, with all it imports granted.
fn describe(host: &Arc<Host>, path: &Path, found: &Inspection) -> Result<Option<About>, String> {
    let grants = site::everything(found, &[], &[]);
    let listener = "[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n";
    let toml = format!("{}{listener}{}", site::BASE, site::section(&name_of(path), path, &grants));
    let config = config::parse(&toml, "(made up)", &|_| None).map_err(|why| why.render(false))?;
    let filter = config.filters.first().ok_or("has no section in a configuration")?;
    found.describe(host, filter)
}

fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    let unreadable = |why| Trouble::unreadable(path, &why);
    let mut wasm = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut wasm).map_err(unreadable)?;
    if wasm.len() as u64 > COMPONENT_BYTES_MAX {
        let what = format!("{}: larger than {}", path.display(), show_size(COMPONENT_BYTES_MAX));
        return Err(Trouble::new(EXIT_DATA, what, "the gateway loads nothing of this size: is it a filter?"));
    }
    Ok(wasm)
}

/// Whether all it wants is here.
fn has_all(found: &Inspection) -> bool {
    found.lacking.is_empty() && !found.stages.is_empty()
}

/// A name that a configuration may have, from that of the file.
pub(super) fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let name = name.trim_matches('-');
    if name.is_empty() || !name.starts_with(|c: char| c.is_ascii_alphabetic()) { "filter".into() } else { name.into() }
}

/// A text as TOML has it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The section to write for it.
pub(super) fn section(path: &Path, found: &Inspection) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let mut toml = format!("[[filter]]\nname = {}\npath = {}\n", quoted(&name_of(path)), quoted(&file));
    let grants = found.grants();
    if !grants.is_empty() {
        let _ = writeln!(toml, "\n[filter.grants]\n{}", grants.join("\n"));
    }
    toml
}

/// What of the section is for the operator to say.
fn left_open(found: &Inspection) -> Vec<&'static str> {
    let mut open = Vec::new();
    for grant in found.grants() {
        open.extend(match grant.split_once(' ').map_or(grant, |(key, _)| key) {
            "edit" if grant.contains("headers") => {
                Some("edit.headers: the names of the fields it may write, as its settings have them (`X-Corp-*`)")
            }
            "tables" => Some("tables: the names of the [table.NAME] it may look into"),
            "route" => Some("route: the names of the [[upstream]] it may choose"),
            "http" => Some("http: the addresses it may ask, as far as you want them to begin like"),
            _ => None,
        });
    }
    open
}

fn text(path: &Path, looked: &Looked) -> String {
    let found = &looked.found;
    let mut out = format!("{}\n\n", printable(&path.display().to_string()));
    let mut facts = facts(found);
    facts.splice(2..2, [signature(path, &looked.signature)]);
    facts.splice(3..3, about(looked));
    for (label, lines) in facts {
        let mut label = label;
        for line in lines {
            // Writing to a text does not fail.
            let _ = writeln!(out, "  {label:<LABEL_COLUMNS$}{}", printable(&line));
            label = "";
        }
    }
    if !looked.loads() {
        let why = if !has_all(found) {
            "build it again with the filters/wit of this gateway, and with a stage to be asked at"
        } else if looked.about.is_err() {
            "what it says of itself cannot be had"
        } else {
            "its signature is not good"
        };
        let _ = writeln!(out, "\nThis gateway does not load it: {why}.");
        return out;
    }
    let _ = write!(out, "\nWhat it needs in a configuration, and its name in `filters` of a listener:\n\n");
    for line in section(path, found).lines() {
        let _ = writeln!(out, "{}{line}", if line.is_empty() { "" } else { "    " });
    }
    let open = left_open(found);
    if !open.is_empty() {
        let _ = writeln!(out, "\nYours to fill in:\n  {}", open.join("\n  "));
    }
    out
}

type Fact = (&'static str, Vec<String>);

fn signature(path: &Path, signature: &Signature) -> Fact {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let said = match signature {
        Signature::None => format!("none ({file}.minisig is not there)"),
        Signature::Unchecked { key_id } => {
            format!("by the key {key_id}, NOT VERIFIED: name the public key that you trust with --key")
        }
        Signature::Good(signed) => format!("good, by the key {}: {}", signed.key_id, signed.comment),
        Signature::Bad(why) => format!("NOT GOOD: {file}.minisig {why}"),
    };
    ("signature", vec![said])
}

/// What it says of itself.
fn about(looked: &Looked) -> Vec<Fact> {
    let about = match &looked.about {
        Ok(Some(about)) => about,
        Ok(None) if !has_all(&looked.found) => return Vec::new(),
        Ok(None) => return vec![("about", vec!["it says nothing of itself".to_owned()])],
        Err(why) => return vec![("about", vec![why.clone()])],
    };
    let schema = match &about.schema {
        Some(schema) => format!("held against its own JSON Schema ({})", show_octets(schema.len() as u64)),
        None => "not described: it takes whatever is written".to_owned(),
    };
    vec![
        ("version", vec![about.version.to_string()]),
        ("summary", vec![about.summary.clone()]),
        ("phase", vec![about.phase.name().to_owned()]),
        ("settings", vec![schema]),
    ]
}

/// A label, and what there is to say, a line each.
fn facts(found: &Inspection) -> Vec<Fact> {
    let names: Vec<&str> = found.stages.iter().map(|stage| stage.name()).collect();
    let stages = if names.is_empty() { "none: nothing would ever be asked of it".to_owned() } else { names.join(", ") };
    let mut imports: Vec<String> = found.imports.iter().map(import).collect();
    if imports.is_empty() {
        imports.push("nothing".to_owned());
    }
    let wasi = match found.wasi.len() {
        0 => "none".to_owned(),
        count => format!("{count} interfaces, which it finds empty: no files, no environment, no sockets"),
    };
    let plural = |count: u32, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let memory = format!(
        "{} of {} to begin with, {}; an instance takes {} of the pool",
        if found.memories == 1 {
            "one linear memory".to_owned()
        } else {
            format!("{} linear memories", found.memories)
        },
        show_octets(found.memory_bytes),
        plural(found.tables, "table"),
        plural(found.slots, "slot"),
    );
    let debug = match (found.lines, found.names) {
        (true, _) => "files and lines: a fault shows them",
        (false, true) => "names of functions: a fault shows them, without lines",
        (false, false) => "none: a fault shows numbers (keep the names: `strip = \"debuginfo\"`)",
    };
    let mut facts = vec![
        ("size", vec![show_octets(found.octets as u64)]),
        ("sha256", vec![found.digest.clone()]),
        ("stages", vec![stages]),
        ("imports", imports),
        ("WASI", vec![wasi]),
        ("memory", vec![memory]),
        ("made with", makers(found)),
        ("debugging", vec![debug.to_owned()]),
    ];
    if !found.lacking.is_empty() {
        facts.push(("not here", found.lacking.iter().map(|(name, why)| format!("{name}: {why}")).collect()));
    }
    facts
}

fn import(import: &Import) -> String {
    let functions = import.functions.join(", ");
    let granted = if import.grant.is_none() { " (granted by default)" } else { "" };
    format!("{}: {functions}{granted}", import.name)
}

/// "132.2 KiB".
pub(super) fn show_octets(octets: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let (octets, as_float) = (octets, octets as f64);
    match octets {
        0..1_024 => format!("{octets} B"),
        1_024..1_048_576 => format!("{:.1} KiB", as_float / 1_024.0),
        _ => format!("{:.1} MiB", as_float / 1_048_576.0),
    }
}

/// Languages and tools; what took part twice, once.
fn makers(found: &Inspection) -> Vec<String> {
    let line = |maker: &Maker| format!("{} {}", maker.name, maker.version).trim_end().to_owned();
    let mut lines: Vec<String> = found.makers.iter().map(line).collect();
    lines.dedup();
    if lines.is_empty() { vec!["it does not say".to_owned()] } else { vec![lines.join(", ")] }
}

fn as_json(path: &Path, looked: &Looked) -> serde_json::Value {
    let found = &looked.found;
    let about = looked.about.as_ref().ok().and_then(Option::as_ref).map(|about| {
        let schema = about.schema.as_deref().and_then(|schema| serde_json::from_str::<serde_json::Value>(schema).ok());
        json!({
            "version": *about.version,
            "summary": about.summary,
            "phase": about.phase.name(),
            "settings-schema": schema,
        })
    });
    let signature = match &looked.signature {
        Signature::None => json!({ "state": "none" }),
        Signature::Unchecked { key_id } => json!({ "state": "unchecked", "key": key_id }),
        Signature::Good(signed) => json!({ "state": "good", "key": signed.key_id, "comment": signed.comment }),
        Signature::Bad(why) => json!({ "state": "bad", "why": why }),
    };
    let imports: Vec<_> = found
        .imports
        .iter()
        .map(|import| json!({ "interface": import.name, "functions": import.functions, "grant": import.grant }))
        .collect();
    let lacking: Vec<_> = found.lacking.iter().map(|(name, why)| json!({ "name": name, "why": why })).collect();
    let makers: Vec<_> = found
        .makers
        .iter()
        .map(|maker| json!({ "role": maker.role, "name": maker.name, "version": maker.version }))
        .collect();
    json!({
        "path": path.display().to_string(),
        "octets": found.octets,
        "sha256": found.digest,
        "signature": signature,
        "about": about,
        "about-fault": looked.about.as_ref().err(),
        "stages": found.stages.iter().map(|stage| stage.name()).collect::<Vec<_>>(),
        "imports": imports,
        "wasi": found.wasi,
        "lacking": lacking,
        "makers": makers,
        "memories": found.memories,
        "memory-octets": found.memory_bytes,
        "tables": found.tables,
        "slots": found.slots,
        "names": found.names,
        "lines": found.lines,
        "loads": looked.loads(),
        "toml": section(path, found),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_becomes_a_name_for_a_configuration() {
        for (file, name) in
            [("x/no_exe.wasm", "no-exe"), ("1.wasm", "filter"), ("Ä.wasm", "filter"), ("A b.wasm", "a-b")]
        {
            assert_eq!(name_of(Path::new(file)), name);
        }
    }
}
