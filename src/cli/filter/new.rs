//! `wasmilter filter new`: a folder with a filter that builds and passes its tests.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::project::{Language, Project, name_fault, write_new};
use super::{Trouble, build, ours, test};

/// EX_USAGE of sysexits.
const EXIT_USAGE: u8 = 64;

#[derive(Debug, clap::Args)]
pub struct New {
    /// What it is called: small letters, digits and hyphens, as in no-exe.
    #[arg(value_name = "NAME")]
    name: String,
    /// The language it is written in.
    #[arg(long, value_enum, value_name = "LANG")]
    lang: Language,
    /// The folder to make; it must not be there yet, or be empty.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only write the files: do not build and test what was written.
    #[arg(long)]
    no_build: bool,
}

/// Makes the folder, then builds and tests what is in it.
///
/// # Errors
/// The folder is in the way or cannot be written; a tool is missing or fails.
pub(super) fn run(args: &New) -> anyhow::Result<ExitCode> {
    if let Some(fault) = name_fault(&args.name) {
        writeln!(std::io::stderr().lock(), "error: the name \"{}\" {fault}", args.name)?;
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    vacant(&dir)?;
    let project = make(&dir, &args.name, args.lang)?;
    if args.no_build {
        return Ok(ExitCode::SUCCESS);
    }
    let built = build::build(&project).with_context(|| {
        format!("{} is written, and does not build yet. Then: wasmilter filter build {0}", dir.display())
    })?;
    build::report(&project, &built)?;
    let tested = test::folder(&project.dir).or_else(Trouble::tell)?;
    if tested == ExitCode::SUCCESS { next_steps(&project) } else { Ok(tested) }
}

/// What to type now.
fn next_steps(project: &Project) -> anyhow::Result<ExitCode> {
    let (mut out, component) = (std::io::stdout().lock(), format!("target/{}.wasm", project.name));
    writeln!(out, "\nNext, after each change:")?;
    for (words, what) in [
        (format!("cd {}", project.dir.display()), ""),
        ("wasmilter filter build".to_owned(), "makes it anew"),
        ("wasmilter filter test".to_owned(), "plays tests/*.dialog"),
        (format!("wasmilter filter run {component} MAIL"), "shows what it does with mail you have"),
        (format!("wasmilter filter inspect {component}"), "the section for wasmilter.toml"),
    ] {
        writeln!(out, "  {}", format!("{words:<48}{what}").trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the folder may be filled.
fn vacant(dir: &Path) -> anyhow::Result<()> {
    match fs::read_dir(dir).map(Iterator::count) {
        Ok(0) => Ok(()),
        Ok(_) => bail!("{} is there and not empty: name another folder with --dir", dir.display()),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(why) => bail!("{}: {why}", dir.display()),
    }
}

/// Writes the files, and says which.
fn make(dir: &Path, name: &str, language: Language) -> anyhow::Result<Project> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}:", dir.display())?;
    for file in ours::template(language) {
        write_new(&dir.join(file.name), &filled(file.text, name))?;
        writeln!(out, "  {:<28} {}", file.name, file.what)?;
    }
    let project = Project::load(dir)?;
    for place in project.complete()? {
        writeln!(
            out,
            "  {:<28} wasmilter's own: leave it, or take it away to have it written anew",
            format!("{place}/")
        )?;
    }
    Ok(project)
}

/// The template's text with the filter's name in it: `@NAME@` as it is, `@TYPE@` as a type is called.
fn filled(text: &str, name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    let type_name: String = name.split('-').map(capital).collect();
    text.replace("@NAME@", name).replace("@TYPE@", &type_name).replace("@SNAKE@", &name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_language_has_a_whole_folder() {
        for language in Language::ALL {
            let scratch = tempfile::tempdir().unwrap();
            let dir = scratch.path().join("no-exe");
            vacant(&dir).unwrap();
            let project = make(&dir, "no-exe", language).unwrap();
            assert_eq!((project.name.as_str(), project.language), ("no-exe", language));
            assert!(dir.join("README.md").is_file() && dir.join("tests").is_dir(), "{language:?}");
            assert!(vacant(&dir).unwrap_err().to_string().contains("--dir"), "nothing is overwritten");
            assert!(make(&dir, "no-exe", language).is_err(), "nothing is overwritten");
        }
    }

    #[test]
    fn names_go_where_the_template_wants_them() {
        assert_eq!(filled("@NAME@ @TYPE@ @SNAKE@", "no-exe2"), "no-exe2 NoExe2 no_exe2");
    }
}
