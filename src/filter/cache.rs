//! Compiled filters on disk. The one file with `unsafe` in it: machine code is loaded and later run.
//!
//! What makes that sound: the octets that are handed to wasmtime carry a code (HMAC-SHA-256) that only who has this
//! directory's key can make, over the name of the file as well, which names the engine and the component. So they were
//! written by this program for exactly this engine (wasmtime checks its version and settings again) from exactly this
//! component, and none of them was changed since: not by a disk, and not by somebody who can only write here. Directory,
//! key and files belong to our own user, nobody else may write them, and nobody else may read the key; symbolic and hard
//! links are refused. What is checked is read once, and those octets are used. Where any of this does not hold, the
//! component is compiled as if there were no cache. Whoever can read the key is our own user, who can do all of this anyway.

#![allow(unsafe_code, reason = "Component::deserialize runs what the file says; audited above")]

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Octets of a compiled filter.
const CWASM_BYTES_MAX: u64 = 1 << 30;
/// Files of this engine, and of all others together: the newest stay.
const FILES_MAX: usize = 128;
const OTHER_FILES_MAX: usize = 32;
/// What a file begins with, before its code.
const MAGIC: &[u8; 16] = b"wasmilter cwasm\n";
const TAG_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const KEY_NAME: &str = "cache.key";

/// A directory that was checked, and its key.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    key: hmac::Key,
}

impl Cache {
    /// Makes the directory (mode 0700) and its key (0600) if they are missing.
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
        ours(&metadata, 0o022).map_err(|why| format!("{shown} {why}"))?;
        let path = directory.join(KEY_NAME);
        let key = key(&path).map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(Cache { directory: directory.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, &key) })
    }

    /// The component, compiled now or earlier.
    ///
    /// # Errors
    /// wasmtime's, when it does not compile. Trouble with the cache is only logged.
    pub(super) fn component(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Component> {
        let name = file_name(engine, wasm);
        let path = self.directory.join(&name);
        match self.load(engine, &name) {
            Ok(Some(component)) => return Ok(component),
            Ok(None) => {}
            Err(why) => tracing::warn!(path = %path.display(), why, "a compiled filter was not used"),
        }
        let component = Component::from_binary(engine, wasm)?;
        match component.serialize() {
            Ok(code) => {
                if let Err(error) = self.store(&name, &code) {
                    tracing::warn!(path = %path.display(), %error, "a compiled filter was not kept");
                }
                self.prune(name.split('-').next().unwrap_or_default());
            }
            Err(error) => tracing::warn!(%error, "a compiled filter cannot be kept"),
        }
        Ok(component)
    }

    /// `Ok(None)`: there is none.
    fn load(&self, engine: &Engine, name: &str) -> Result<Option<Component>, String> {
        let Some(octets) = read(&self.directory.join(name), 0o022, CWASM_BYTES_MAX)? else { return Ok(None) };
        let code = code(&octets)?;
        // Compared in constant time.
        if !same(self.tag(name, code.octets).as_ref(), code.tag) {
            return Err("was changed since it was written, or written by somebody else".into());
        }
        // SAFETY: the octets were written by this program (see the head of this file) and are in memory only
        // this process can reach; wasmtime checks the version and the engine's settings itself.
        unsafe { Component::deserialize(engine, code.octets) }.map(Some).map_err(|e| format!("{e:#}"))
    }

    /// The code of a file: over its name and what is in it.
    fn tag(&self, name: &str, code: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(name.len() as u64).to_le_bytes());
        context.update(name.as_bytes());
        context.update(code);
        context.sign()
    }

    /// Written beside and moved into place: never half a file under the final name, not even after a power cut.
    fn store(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let beside = fresh(&self.directory, name);
        let tag = self.tag(name, code);
        let written = create(&beside).and_then(|mut file| {
            file.write_all(MAGIC)?;
            file.write_all(tag.as_ref())?;
            file.write_all(code)?;
            file.sync_all()
        });
        let moved = written.and_then(|()| fs::rename(&beside, self.directory.join(name)));
        if moved.is_err() {
            let _ = fs::remove_file(&beside);
        }
        moved.and_then(|()| File::open(&self.directory)?.sync_all())
    }

    /// Takes away what is too old to be of use: compiled by other engines, or left by a crash. `ours` begins the names of
    /// this engine's files.
    fn prune(&self, ours: &str) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let (mut mine, mut others) = (Vec::new(), Vec::new());
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.contains(".cwasm") {
                continue;
            }
            let age = entry.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let list = if name.starts_with(ours) && name.ends_with(".cwasm") { &mut mine } else { &mut others };
            list.push((age, entry.path()));
        }
        for (list, files_max) in [(&mut mine, FILES_MAX), (&mut others, OTHER_FILES_MAX)] {
            list.sort_unstable();
            let old = list.len().saturating_sub(files_max);
            list.iter().take(old).for_each(|(_, path)| drop(fs::remove_file(path)));
        }
    }
}

/// A file taken apart.
#[derive(Debug)]
struct Code<'a> {
    tag: &'a [u8],
    octets: &'a [u8],
}

fn code(file: &[u8]) -> Result<Code<'_>, String> {
    let body = file.strip_prefix(MAGIC.as_slice()).ok_or("is no compiled filter of this program")?;
    let (tag, octets) = body.split_at_checked(TAG_BYTES).ok_or("ends before its beginning is complete")?;
    Ok(Code { tag, octets })
}

/// For whoever tries what a file could hold.
pub(super) fn take_apart(file: &[u8]) -> bool {
    code(file).is_ok_and(|code| code.tag.len() == TAG_BYTES && code.octets.len() < file.len())
}

fn same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// The secret of a directory: read, or made once.
fn key(path: &Path) -> Result<Vec<u8>, String> {
    // Twice: another process may be faster.
    for _ in 0..2 {
        if let Some(key) = read(path, 0o077, KEY_BYTES as u64)? {
            if key.len() != KEY_BYTES {
                return Err("is no key: remove it, and a new one is made".into());
            }
            return Ok(key);
        }
        let mut key = [0; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| "no random numbers")?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let beside = fresh(directory, KEY_NAME);
        let made = create(&beside).and_then(|mut file| {
            file.write_all(&key)?;
            file.sync_all()
        });
        // A link fails where there is one already, and never shows half a key.
        let linked = made.and_then(|()| fs::hard_link(&beside, path));
        let _ = fs::remove_file(&beside);
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.to_string()),
            _ => {}
        }
    }
    Err("vanishes".into())
}

/// A file of ours that nobody else can have written, as a whole. `None`: there is none.
fn read(path: &Path, others: u32, bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(Errno::ELOOP as i32) => return Err("is a symbolic link".into()),
        Err(e) => return Err(e.to_string()),
    };
    // Of the open file, not of the path: it cannot be exchanged between check and use.
    let metadata = file.metadata().map_err(|e| e.to_string())?;
    if !metadata.is_file() || metadata.len() > bytes_max {
        return Err("is not a file of a sensible size".into());
    }
    ours(&metadata, others)?;
    if metadata.nlink() != 1 {
        return Err("has another name, too: a hard link".into());
    }
    let mut octets = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default() + 1);
    file.take(bytes_max + 1).read_to_end(&mut octets).map_err(|e| e.to_string())?;
    Ok(Some(octets))
}

/// A name that nobody uses, for a file that is not complete.
fn fresh(directory: &Path, name: &str) -> PathBuf {
    static RUNNING: AtomicU32 = AtomicU32::new(0);
    let number = RUNNING.fetch_add(1, Ordering::Relaxed);
    directory.join(format!("{name}.{}.{number}.new", std::process::id()))
}

fn create(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags.bits()).open(path)
}

/// Whether it is ours, and none of `others` may be done by others.
fn ours(metadata: &fs::Metadata, others: u32) -> Result<(), String> {
    let us = nix::unistd::geteuid().as_raw();
    if metadata.uid() != us {
        return Err(format!("belongs to user {} and not to us (user {us})", metadata.uid()));
    }
    let mode = metadata.permissions().mode();
    if mode & others & 0o022 != 0 {
        return Err(format!("may be written by others (mode {:o}): chmod go-w", mode & 0o7777));
    }
    if mode & others != 0 {
        return Err(format!("may be read by others (mode {:o}): chmod go-rwx", mode & 0o7777));
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

    fn cached() -> (tempfile::TempDir, Cache, Engine, Vec<u8>, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let engine = Engine::default();
        let wasm = wat::parse_str("(component)").unwrap();
        cache.component(&engine, &wasm).unwrap();
        let path = cache.directory.join(file_name(&engine, &wasm));
        assert!(cache.load(&engine, &file_name(&engine, &wasm)).unwrap().is_some());
        (dir, cache, engine, wasm, path)
    }

    /// What is said of the file, and that a filter loads all the same and the file is mended.
    #[track_caller]
    fn refused_and_mended(cache: &Cache, engine: &Engine, wasm: &[u8], words: &str) {
        let name = file_name(engine, wasm);
        let error = cache.load(engine, &name).map(|_| ()).unwrap_err();
        assert!(error.contains(words), "{error}");
        assert!(cache.component(engine, wasm).is_ok());
        assert!(cache.load(engine, &name).unwrap().is_some());
    }

    #[test]
    fn compiled_once_and_loaded_again() {
        let (_dir, cache, engine, wasm, path) = cached();
        let before = fs::metadata(&path).unwrap().ino();
        cache.component(&engine, &wasm).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), before, "it was not written again");
        // The next start has the same key.
        let again = Cache::open(&cache.directory).unwrap();
        assert!(again.load(&engine, &file_name(&engine, &wasm)).unwrap().is_some());
    }

    #[test]
    fn damage_is_found_before_anything_is_run() {
        let (_dir, cache, engine, wasm, path) = cached();
        let whole = fs::read(&path).unwrap();
        for len in [0, 1, MAGIC.len(), MAGIC.len() + TAG_BYTES - 1, MAGIC.len() + TAG_BYTES, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(cache.load(&engine, &file_name(&engine, &wasm)).is_err(), "{len}");
        }
        for place in (0..whole.len()).step_by(whole.len() / 200 + 1) {
            let mut bent = whole.clone();
            bent[place] ^= 1;
            fs::write(&path, &bent).unwrap();
            let error = cache.load(&engine, &file_name(&engine, &wasm)).map(|_| ()).unwrap_err();
            assert!(error.contains("was changed") || error.contains("is no compiled filter"), "{place}: {error}");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        refused_and_mended(&cache, &engine, &wasm, "was changed");
    }

    #[test]
    fn what_others_wrote_is_not_run() {
        let (dir, cache, engine, wasm, path) = cached();
        let whole = fs::read(&path).unwrap();
        // Sound code, by another key.
        let other = Cache::open(&dir.path().join("other")).unwrap();
        other.component(&engine, &wasm).unwrap();
        fs::copy(other.directory.join(file_name(&engine, &wasm)), &path).unwrap();
        refused_and_mended(&cache, &engine, &wasm, "written by somebody else");
        // Our own code of another component.
        let second = wat::parse_str("(component (core module))").unwrap();
        cache.component(&engine, &second).unwrap();
        fs::copy(cache.directory.join(file_name(&engine, &second)), &path).unwrap();
        refused_and_mended(&cache, &engine, &wasm, "was changed");
        mode(&path, 0o666);
        refused_and_mended(&cache, &engine, &wasm, "written by others");
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, &whole).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        refused_and_mended(&cache, &engine, &wasm, "symbolic link");
        fs::hard_link(&path, dir.path().join("second-name")).unwrap();
        refused_and_mended(&cache, &engine, &wasm, "hard link");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(cache.component(&engine, &wasm).is_ok());
        assert!(cache.load(&engine, &file_name(&engine, &wasm)).is_err());
    }

    #[test]
    fn a_key_that_others_know_is_none() {
        let (dir, cache, _, _, _) = cached();
        let key = cache.directory.join(KEY_NAME);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        mode(&key, 0o640);
        assert!(Cache::open(&cache.directory).unwrap_err().contains("may be read by others"));
        mode(&key, 0o600);
        fs::write(&key, b"short").unwrap();
        assert!(Cache::open(&cache.directory).unwrap_err().contains("is no key"));
        fs::rename(&key, dir.path().join("key")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("key"), &key).unwrap();
        assert!(Cache::open(&cache.directory).unwrap_err().contains("symbolic link"));
        fs::remove_file(&key).unwrap();
        // Without it, what is there is compiled anew.
        assert!(Cache::open(&cache.directory).is_ok());
    }

    #[test]
    fn old_files_go() {
        let (_dir, cache, _, _, path) = cached();
        for number in 0..FILES_MAX * 2 {
            fs::write(cache.directory.join(format!("0123456789abcdef-{number}.cwasm")), b"").unwrap();
        }
        fs::write(cache.directory.join("mine"), b"").unwrap();
        let ours = path.file_name().unwrap().to_str().unwrap().split('-').next().unwrap();
        cache.prune(ours);
        let left = fs::read_dir(&cache.directory).unwrap().count();
        assert_eq!(left, OTHER_FILES_MAX + 3, "theirs, ours, the key, and what is none of our business");
        assert!(path.exists());
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
