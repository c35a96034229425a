//! The programs of a language: found, run with our terminal, or named with what to install.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// A program's path.
///
/// # Errors
/// It is not in `PATH`; `install` is what the person has to type.
pub(super) fn find(program: &str, install: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file()) {
        Some(found) => Ok(found),
        None => bail!("`{program}` is missing. Install it:\n\n    {install}\n"),
    }
}

/// Shows the command and runs it with our terminal.
///
/// # Errors
/// It cannot be started or ends with an error; it has told why by then.
pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    show(command)?;
    let status = command.stdin(Stdio::null()).status().with_context(|| line(command))?;
    if status.success() { Ok(()) } else { bail!("`{}` failed ({status}): see above", line(command)) }
}

/// The same, with what it writes to its standard output.
///
/// # Errors
/// As for [`run`].
pub(super) fn output(command: &mut Command) -> anyhow::Result<String> {
    show(command)?;
    let done = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().with_context(|| line(command))?;
    if !done.status.success() {
        bail!("`{}` failed ({}): see above", line(command), done.status);
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// What a program prints when asked something, for which nobody needs to see the question; none when it fails.
pub(super) fn asked(command: &mut Command) -> Option<String> {
    let done = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

fn show(command: &Command) -> anyhow::Result<()> {
    writeln!(std::io::stderr().lock(), "   $ {}", line(command)).context("the terminal is gone")
}

fn line(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// The folder without what differs from one way of writing it to another, for programs that run in it.
///
/// # Errors
/// It is not there.
pub(super) fn absolute(dir: &Path) -> anyhow::Result<PathBuf> {
    fs::canonicalize(dir).with_context(|| dir.display().to_string())
}
