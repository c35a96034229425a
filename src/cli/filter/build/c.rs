//! C: clang and a libc for WebAssembly. The bindings and the component are made here, so that nobody needs another tool
//! for them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use wasmparser::{Parser, Payload};
use wit_bindgen_c::Opts;
use wit_bindgen_core::Files;
use wit_component::ComponentEncoder;
use wit_parser::{Resolve, WorldItem};

use super::super::project::Project;
use super::tool;

const APT: &str = "apt-get install clang lld wasi-libc libclang-rt-dev-wasm32";
/// The filter's stack, at the bottom of its memory: an overflow traps.
const STACK: &str = "-Wl,--stack-first,-z,stack-size=65536";
/// For our own files and the author's. The names of functions and the lines stay in, for backtraces.
const FLAGS: [&str; 6] =
    ["--target=wasm32-wasi", "-std=c17", "-O2", "-gline-tables-only", "-ffunction-sections", "-fdata-sections"];
const WARNINGS: [&str; 3] = ["-Wall", "-Wextra", "-Wmissing-prototypes"];
/// What a module imports for what only an operating system has.
const WASI_MODULE: &str = "wasi_snapshot_preview1";

pub(super) fn build(project: &Project) -> anyhow::Result<()> {
    let clang = tool::find("clang", APT)?;
    if tool::find("wasm-ld", APT).is_err() {
        bail!("`wasm-ld`, clang's linker for WebAssembly, is missing. Install it:\n\n    {APT}\n");
    }
    let dir = tool::absolute(&project.dir)?;
    let stages = bindings(&dir)?;
    let sources = sources(&dir)?;
    libc(&clang, &dir)?;
    // The bindings free what they were given with a function that does nothing: all of it ends with the stage.
    let quiet = ["-w", "-Dfree=wm_bindings_free", "-c", "target/bindings/wit.c", "-o", "target/bindings/wit.o"];
    tool::run(Command::new(&clang).current_dir(&dir).args(FLAGS).args(quiet))?;
    let defines = stages.iter().map(|stage| format!("-DWM_{}", stage.to_uppercase().replace('-', "_")));
    tool::run(
        Command::new(&clang)
            .current_dir(&dir)
            .args(FLAGS)
            .args(WARNINGS)
            .args(["-mexec-model=reactor", STACK, "-Isdk", "-Itarget/bindings"])
            .args(defines)
            .args(sources)
            .args(["sdk/wasmilter.c", "sdk/stages.c", "sdk/nowasi.c"])
            .args(["target/bindings/wit.o", "target/bindings/wit_component_type.o", "-o", "target/module.wasm"]),
    )?;
    component(&dir, &project.component())
}

/// The author's files, by name.
fn sources(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = dir.join("src");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let mut files: Vec<PathBuf> = names
        .map(|name| Path::new("src").join(name))
        .filter(|file| file.extension().is_some_and(|extension| extension == "c"))
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "{}: no file in it ends in .c", folder.display());
    Ok(files)
}

/// Whether clang finds its libc and its own small library; the linker's message about a missing one helps nobody.
fn libc(clang: &Path, dir: &Path) -> anyhow::Result<()> {
    let ask = |what: &str| {
        let found = tool::asked(Command::new(clang).current_dir(dir).args(["--target=wasm32-wasi", what]))?;
        Path::new(&found).is_file().then_some(())
    };
    if ask("-print-file-name=libc.a").is_none() || ask("-print-libgcc-file-name").is_none() {
        bail!("clang has no C library for WebAssembly. Install it:\n\n    {APT}\n");
    }
    Ok(())
}

/// Writes the bindings of all capabilities and of the stages that the project's world exports, whose names it returns.
/// What is never called is not in the component: the linker leaves it out.
fn bindings(dir: &Path) -> anyhow::Result<BTreeSet<String>> {
    let wit = dir.join("wit");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(&wit).with_context(|| wit.display().to_string())?;
    let world = resolve.select_world(&[package], None).with_context(|| wit.display().to_string())?;
    let mut stages = BTreeSet::new();
    let mut text = "package wasmilter:build;\nworld wit {\n".to_owned();
    let mut contract = None;
    for (key, item) in &resolve.worlds.get(world).context("a world")?.exports {
        let WorldItem::Interface { id, .. } = item else { bail!("{}: exports more than stages", wit.display()) };
        let interface = resolve.interfaces.get(*id).context("an interface")?;
        let name = interface.name.clone().context("an export without a name")?;
        text += &format!("  export {};\n", resolve.name_world_key(key));
        contract = interface.package;
        stages.insert(name);
    }
    let contract = contract.with_context(|| {
        format!("{}: the world exports no stage: write one, as `export wasmilter:filter/on-rcpt@0.1.0;`", wit.display())
    })?;
    let contract = resolve.packages.get(contract).context("a package")?.name.clone();
    text += &format!("  include {};\n}}\n", contract.interface_id("capabilities"));
    let package = resolve.push_str("build.wit", &text)?;
    let world = resolve.select_world(&[package], None)?;
    let mut files = Files::default();
    Opts::default().build().generate(&mut resolve, world, &mut files)?;
    let folder = dir.join("target/bindings");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for (name, octets) in files.iter() {
        fs::write(folder.join(name), octets).with_context(|| folder.join(name).display().to_string())?;
    }
    Ok(stages)
}

/// Makes a component of the module.
fn component(dir: &Path, path: &Path) -> anyhow::Result<()> {
    let module = fs::read(dir.join("target/module.wasm")).context("target/module.wasm")?;
    let wanted = system_calls(&module)?;
    if !wanted.is_empty() {
        bail!(
            "the filter calls what needs an operating system ({}): there are no files, clocks or sockets in a filter. \
             For the time there is wasmilter_filter_clock_now(), for randomness wasmilter_filter_random_bytes()",
            wanted.join(", ")
        );
    }
    let component = ComponentEncoder::default().validate(true).module(&module).and_then(|mut encoder| encoder.encode());
    fs::write(path, component.context("no component can be made of target/module.wasm")?)
        .with_context(|| path.display().to_string())
}

fn system_calls(module: &[u8]) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ImportSection(imports) = payload? {
            for import in imports.into_imports() {
                let import = import?;
                if import.module == WASI_MODULE {
                    found.push(import.name.to_owned());
                }
            }
        }
    }
    Ok(found)
}
