//! Python: a virtual environment in the folder, and componentize-py in it, which puts the source and CPython into a
//! component.

use std::process::Command;

use anyhow::{Context as _, ensure};

use super::super::project::Project;
use super::tool;

const PYTHON: &str = "apt-get install python3 python3-venv      # version 3.10 or newer";
const PROGRAM: &str = ".venv/bin/componentize-py";

pub(super) fn build(project: &Project) -> anyhow::Result<()> {
    let dir = tool::absolute(&project.dir)?;
    if !dir.join(PROGRAM).is_file() {
        let python = tool::find("python3", PYTHON)?;
        tool::run(Command::new(python).current_dir(&dir).args(["-m", "venv", ".venv"]))
            .with_context(|| format!("without `venv`: {PYTHON}"))?;
        let install = ["install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"];
        tool::run(Command::new(dir.join(".venv/bin/pip")).current_dir(&dir).args(install))?;
        ensure!(dir.join(PROGRAM).is_file(), "componentize-py is not in requirements.txt: add it, with a version");
    }
    let out = format!("target/{}.wasm", project.name);
    // Without WASI: what Python asks of a system is answered by a trap, and there is nothing to grant.
    let make = ["--quiet", "--wit-path", "wit", "componentize", "--stub-wasi", "-p", "src", "-p", "sdk", "filter"];
    let mut program = Command::new(dir.join(PROGRAM));
    // Where pip puts what the filter imports.
    program.env("VIRTUAL_ENV", dir.join(".venv"));
    tool::run(program.current_dir(&dir).args(make).args(["--output", &out]))
        .context("if it names an import: wit/world.wit lists what a filter may import")
}
