//! JavaScript: Node.js, and the npm package componentize-qjs, which puts the source and QuickJS into a component.

use std::process::Command;

use anyhow::{Context as _, ensure};

use super::super::project::Project;
use super::tool;

const NODE: &str = "apt-get install nodejs npm      # version 18 or newer";
/// Where npm puts the program.
const PROGRAM: &str = "node_modules/componentize-qjs/bin/componentize-qjs";
/// Without component-model async, which no gateway speaks; without WASI, so that there is nothing to grant; half as large.
const OPTIONS: [&str; 3] = ["--sync", "--stub-wasi", "--opt-size"];

pub(super) fn build(project: &Project) -> anyhow::Result<()> {
    let node = tool::find("node", NODE)?;
    let dir = tool::absolute(&project.dir)?;
    if !dir.join(PROGRAM).is_file() {
        let npm = tool::find("npm", NODE)?;
        tool::run(Command::new(npm).current_dir(&dir).args(["install", "--no-audit", "--no-fund"]))?;
        ensure!(
            dir.join(PROGRAM).is_file(),
            "componentize-qjs is not among the devDependencies of package.json: npm install --save-dev componentize-qjs"
        );
    }
    let out = format!("target/{}.wasm", project.name);
    let files = ["--wit", "wit", "--module-root", ".", "--js", "src/filter.js", "--output", &out];
    tool::run(Command::new(node).current_dir(&dir).arg(PROGRAM).args(OPTIONS).args(files))
        .context("if it names an import: wit/world.wit lists what a filter may import")
}
