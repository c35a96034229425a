//! Running other programs: shown before they start, and a failure names the whole command line.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What every chore returns: nothing, or the sentence a person has to read.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// The repository's top folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A command that starts in the repository's top folder.
pub(crate) fn command(program: impl AsRef<OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// The cargo that started us.
pub(crate) fn cargo(args: &[&str]) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args)
}

/// Shows the command, runs it with our terminal, and is an error unless it ends well.
pub(crate) fn run(mut command: Command) -> Outcome {
    let line = describe(&command);
    println!("   $ {line}");
    let status = command.status().map_err(|why| format!("cannot start `{line}`: {why}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` failed ({status})")) }
}

/// Runs a command without a terminal and returns what it printed.
pub(crate) fn output(mut command: Command) -> Outcome<String> {
    let line = describe(&command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|why| format!("cannot start `{line}`: {why}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("`{line}` failed ({})\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

/// Whether the command can be started and ends well; nothing of it is shown.
pub(crate) fn succeeds(mut command: Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn describe(command: &Command) -> String {
    let mut words = vec![
        Path::new(command.get_program()).file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned(),
    ];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}
