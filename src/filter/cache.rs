//! Compiled filters on disk. The one file with `unsafe` in it: machine code is loaded and later run.
//!
//! What makes that sound: the file was written by this program for exactly this engine (its compatibility hash
//! is in the name, and wasmtime checks it again) from exactly this component (its SHA-256 is in the name), and
//! nobody else can have changed it: directory and file belong to our own user and only that user may write
//! there. Where that does not hold, the cache is not used and the component is compiled as if there were none.

#![allow(unsafe_code, reason = "Component::deserialize runs what the file says; audited above")]

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Octets of a compiled filter.
const CWASM_BYTES_MAX: u64 = 1 << 30;

/// A directory that was checked.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// Makes the directory if it is missing (mode 0700).
    ///
    /// # Errors
    /// Why it cannot be used: to be shown as a warning, not as a failure.
    pub(super) fn open(directory: &Path) -> Result<Cache, String> {
        let shown = directory.display();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|e| format!("{shown}: {e}"))?;
        let metadata = fs::symlink_metadata(directory).map_err(|e| format!("{shown}: {e}"))?;
        if !metadata.is_dir() {
            return Err(format!("{shown} is not a directory"));
        }
        ours(&metadata).map_err(|why| format!("{shown} {why}"))?;
        Ok(Cache { directory: directory.to_owned() })
    }

    /// The component, compiled now or earlier.
    ///
    /// # Errors
    /// wasmtime's, when it does not compile. Trouble with the cache is only logged.
    pub(super) fn component(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Component> {
        let path = self.directory.join(file_name(engine, wasm));
        match self.load(engine, &path) {
            Ok(Some(component)) => return Ok(component),
            Ok(None) => {}
            Err(why) => tracing::warn!(path = %path.display(), why, "a compiled filter was not used"),
        }
        let component = Component::from_binary(engine, wasm)?;
        match component.serialize() {
            Ok(code) => {
                if let Err(error) = self.store(&path, &code) {
                    tracing::warn!(path = %path.display(), %error, "a compiled filter was not kept");
                }
            }
            Err(error) => tracing::warn!(%error, "a compiled filter cannot be kept"),
        }
        Ok(component)
    }

    /// `Ok(None)`: there is none.
    fn load(&self, engine: &Engine, path: &Path) -> Result<Option<Component>, String> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        // Of the open file, not of the path: it cannot be exchanged between check and use.
        let metadata = file.metadata().map_err(|e| e.to_string())?;
        ours(&metadata)?;
        if !metadata.is_file() || metadata.len() > CWASM_BYTES_MAX {
            return Err("not a file of a sensible size".into());
        }
        let mut code = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
        file.read_to_end(&mut code).map_err(|e| e.to_string())?;
        // SAFETY: the octets were written by this program (see the head of this file) and are in memory only
        // this process can reach; wasmtime checks the version and the engine's settings itself.
        unsafe { Component::deserialize(engine, &code) }.map(Some).map_err(|e| format!("{e:#}"))
    }

    /// Written beside and moved into place: never half a file under the final name.
    fn store(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| file.write_all(code));
        let moved = written.and_then(|()| fs::rename(&beside, path));
        if moved.is_err() {
            let _ = fs::remove_file(&beside);
        }
        moved
    }
}

/// Whether only we can have written this.
fn ours(metadata: &fs::Metadata) -> Result<(), String> {
    let us = nix::unistd::geteuid().as_raw();
    if metadata.uid() != us {
        return Err(format!("belongs to user {} and not to us (user {us})", metadata.uid()));
    }
    let mode = metadata.permissions().mode();
    if mode & 0o022 != 0 {
        return Err(format!("may be written by others (mode {:o}): chmod go-w", mode & 0o7777));
    }
    Ok(())
}

/// Engine and component.
fn file_name(engine: &Engine, wasm: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}-{}.cwasm", hasher.finish(), hex(digest(&SHA256, wasm).as_ref()))
}

/// Lower-case hexadecimal.
pub(super) fn hex(octets: &[u8]) -> String {
    use std::fmt::Write;
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn compiled_once_and_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let engine = Engine::default();
        let wasm = wat::parse_str("(component)").unwrap();
        cache.component(&engine, &wasm).unwrap();
        let path = cache.directory.join(file_name(&engine, &wasm));
        assert!(cache.load(&engine, &path).unwrap().is_some());
        // A changed file is a broken one, not a crash.
        fs::write(&path, b"nonsense").unwrap();
        assert!(cache.load(&engine, &path).is_err());
        assert!(cache.component(&engine, &wasm).is_ok());
        assert!(cache.load(&engine, &path).unwrap().is_some());
        mode(&path, 0o666);
        assert!(cache.load(&engine, &path).unwrap_err().contains("written by others"));
    }

    #[test]
    fn a_directory_others_may_write_to_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        mode(dir.path(), 0o777);
        assert!(Cache::open(dir.path()).unwrap_err().contains("chmod go-w"));
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(Cache::open(&file).is_err());
    }
}
