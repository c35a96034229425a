//! From a file to a component that may be instantiated: read, looked at, compiled, its imports held against
//! the operator's grants. Every refusal says what is wrong and what to do about it.

use std::fs;
use std::io::Read;

use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker};

use super::cache::Cache;
use super::error::LoadError;
use super::guest::Guest;
use super::imports::{self, CAPABILITIES, KeysAre, PACKAGE, VERSION};
use super::{fit, survey, wasi};
use crate::config;

/// Octets of a component (StarlingMonkey has 12 MB, CPython 18).
pub(super) const COMPONENT_BYTES_MAX: u64 = 128 << 20;

/// What a component asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Needs {
    /// It imports WASI.
    pub wasi: bool,
    /// It imports something it could wait in without being interrupted by a tick.
    pub waits: bool,
    /// It imports `edit`, `headers`.
    pub edit: bool,
    pub headers: bool,
    /// It asks `session` for the name of the peer.
    pub peer_name: bool,
}

/// Reads the file.
pub(super) fn read(filter: &config::Filter) -> Result<Vec<u8>, LoadError> {
    let fail = |error| LoadError::Read { filter: filter.name.clone(), path: filter.path.clone(), error };
    let file = fs::File::open(&filter.path).map_err(fail)?;
    let mut octets = Vec::new();
    file.take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut octets).map_err(fail)?;
    if octets.len() as u64 > COMPONENT_BYTES_MAX {
        return Err(refused(filter, format!("larger than {} MiB", COMPONENT_BYTES_MAX >> 20)));
    }
    Ok(octets)
}

pub(super) fn refused(filter: &config::Filter, what: String) -> LoadError {
    LoadError::Refused { filter: filter.name.clone(), path: filter.path.clone(), what }
}

/// Compiles, or finds it compiled in the cache.
pub(super) fn compile(
    filter: &config::Filter,
    engine: &Engine,
    cache: Option<&Cache>,
    wasm: &[u8],
) -> Result<Component, LoadError> {
    preamble(wasm).and_then(|()| survey::check(wasm)).map_err(|what| refused(filter, what))?;
    let compiled = match cache {
        Some(cache) => cache.component(engine, wasm),
        None => Component::from_binary(engine, wasm),
    };
    compiled.map_err(|e| refused(filter, format!("does not compile (is the file complete?): {e:#}")))
}

/// The first eight octets tell a component from everything else.
pub(super) fn preamble(wasm: &[u8]) -> Result<(), String> {
    match wasm {
        [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err("is a core Wasm module and no component: build it for \
             wasm32-wasip2, or make a component of it with `wasm-tools component new`"
            .into()),
        [b'\0', b'a', b's', b'm', ..] => Err("is a Wasm component of another binary version".into()),
        [] => Err("is empty".into()),
        _ => Err("is no Wasm component (it does not begin with \\0asm)".into()),
    }
}

/// Checks every import against the grants, and links.
pub(super) fn link(
    filter: &config::Filter,
    keys: KeysAre,
    component: &Component,
) -> Result<(InstancePre<Guest>, Needs), LoadError> {
    let engine = component.engine();
    let mut needs = Needs::default();
    for (name, item) in component.component_type().imports(engine) {
        check_import(filter, name, &mut needs).map_err(|what| refused(filter, what))?;
        if let ComponentItem::ComponentInstance(interface) = item.ty {
            needs.peer_name |= interface.exports(engine).any(|(function, _)| function == "peer-name");
        }
    }
    let mut linker = Linker::new(engine);
    let linked = imports::link(&mut linker, &filter.grants, keys)
        .and_then(|()| if needs.wasi { wasi::link(&mut linker) } else { Ok(()) })
        .and_then(|()| linker.instantiate_pre(component));
    let pre = linked.map_err(|e| refused(filter, format!("does not fit this gateway's interfaces: {e:#}")))?;
    Ok((pre, needs))
}

fn check_import(filter: &config::Filter, name: &str, needs: &mut Needs) -> Result<(), String> {
    if name.starts_with("wasi:") {
        needs.wasi = true;
        needs.waits |= name.starts_with("wasi:io/poll") || name.starts_with("wasi:clocks/");
        return check_wasi(filter, name);
    }
    let Some(interface) = fit::ours(name).map_err(|why| format!("imports {name}: it {why}"))? else {
        return Err(format!("imports {name}, which this gateway does not have"));
    };
    let Some(capability) = CAPABILITIES.iter().find(|c| c.name == interface) else {
        return Err(format!("imports {name}, which is no interface of {PACKAGE}@{VERSION}"));
    };
    if !capability.is_granted(&filter.grants) {
        return Err(format!(
            "imports `{interface}`, which is not granted: write `grants = {}` for filter \"{}\", or take the import \
             out of the filter",
            capability.grant, filter.name
        ));
    }
    needs.edit |= interface == "edit";
    needs.headers |= interface == "headers";
    needs.peer_name |= interface == "facts";
    Ok(())
}

fn check_wasi(filter: &config::Filter, name: &str) -> Result<(), String> {
    if !wasi::PACKAGES.iter().any(|package| name.starts_with(package)) {
        return Err(format!("imports {name}: filters get no network and nothing else from WASI but an empty world"));
    }
    for (package, granted, grant) in
        [("wasi:clocks/", filter.grants.clock, "clock"), ("wasi:random/random", filter.grants.random, "random")]
    {
        if name.starts_with(package) && !granted {
            return Err(format!(
                "imports {name}, which is not granted: write `grants = {{ {grant} = true }}` for filter \"{}\"",
                filter.name
            ));
        }
    }
    Ok(())
}
