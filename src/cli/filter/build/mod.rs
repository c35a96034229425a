//! `wasmilter filter build`: one command for every language. It finds the language's own tools, says what is missing,
//! and looks at what came of it.

#[cfg(feature = "tools")]
mod c;
mod js;
mod python;
mod rust;
mod tool;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::look::{self, Outline};
use super::project::{Language, Project};
use crate::config::show_size;
use crate::filter;

#[derive(Debug, clap::Args)]
pub struct Build {
    /// The filter's folder.
    #[arg(default_value = ".", value_name = "DIR")]
    dir: PathBuf,
}

/// Builds the filter of a folder.
///
/// # Errors
/// A tool is missing or fails, or what it made is no filter.
pub(super) fn run(args: &Build) -> anyhow::Result<ExitCode> {
    let project = Project::load(&args.dir)?;
    let built = build(&project)?;
    report(&project, &built)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the component and puts it where [`Project::component`] says.
pub(super) fn build(project: &Project) -> anyhow::Result<Outline> {
    for place in project.complete()? {
        writeln!(std::io::stderr().lock(), "   wrote {place}/, which was not there")?;
    }
    let target = project.dir.join("target");
    fs::create_dir_all(&target).with_context(|| target.display().to_string())?;
    match project.language {
        Language::Rust => rust::build(project)?,
        #[cfg(feature = "tools")]
        Language::C => c::build(project)?,
        #[cfg(not(feature = "tools"))]
        Language::C => bail!("this wasmilter was built without the feature `tools`, which makes components of C"),
        Language::Js => js::build(project)?,
        Language::Python => python::build(project)?,
    }
    outline(&project.component())
}

/// What is in a component's file.
fn outline(component: &Path) -> anyhow::Result<Outline> {
    let wasm = fs::read(component).with_context(|| component.display().to_string())?;
    let outline = look::outline(&wasm).with_context(|| component.display().to_string())?;
    if outline.stages.is_empty() {
        bail!("{}: exports no stage, so that nothing would ever be asked of it", component.display());
    }
    Ok(outline)
}

/// Where it is and what is in it, and what to think of.
pub(super) fn report(project: &Project, built: &Outline) -> anyhow::Result<()> {
    let component = project.component();
    let size = fs::metadata(&component).map_or(0, |metadata| metadata.len());
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}  {}", component.display(), show_size(size.next_multiple_of(1 << 10)))?;
    writeln!(out, "  stages   {}", words(&built.stages))?;
    writeln!(out, "  imports  {}", words(&built.imports))?;
    let mut warn = std::io::stderr().lock();
    for what in grown(project, built) {
        writeln!(warn, "warning: {what}")?;
    }
    Ok(())
}

fn words(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(" ") }
}

/// Imports for which `filter.toml` has no grant.
fn grown(project: &Project, built: &Outline) -> Vec<String> {
    let grants = project.filter.get("grants").and_then(toml::Value::as_table);
    let mut found: Vec<String> = Vec::new();
    for import in &built.imports {
        let Some(grant) = filter::grant_of(import) else { continue };
        // `{ mime = true }`: the first word is the key.
        let key = grant.trim_start_matches(['{', ' ']).split([' ', '=']).next().unwrap_or(import);
        if !grants.is_some_and(|grants| grants.contains_key(key) || grants.contains_key(import)) {
            found.push(format!(
                "it imports `{import}`, which [filter] in filter.toml does not grant, and the operator will have to: \
                 write grants = {grant}, or take out what calls it"
            ));
        }
    }
    found.extend(built.foreign.iter().map(|import| {
        format!(
            "it imports {import}, of which the gateway has an empty shell at best: no files, no network, no environment"
        )
    }));
    found
}
