//! The file: a redb database, in which a part's pages are exchanged in one transaction. Whenever the machine stops, each
//! part is there as it was written last.
//!
//! The file is another program's business: whoever calls does so in a thread that may wait. What is damaged is moved
//! aside and never read; redb holds every page against its checksum when a file is opened.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition};

use super::{Moment, Part, Reading, Saving};
use crate::state::keyed::{HASH_KEY_BYTES, HashKey};

/// Of our records. A file with another number is a stranger's.
const FORMAT: u64 = 1;
/// Octets of pages that redb holds in memory.
const CACHE_BYTES: usize = 8 << 20;
/// Only for us: keys of filters may be anything.
const MODE: u32 = 0o600;

/// `format`, `key`, `written`.
const HEAD: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("head");
/// How many pages a part has.
const PARTS: TableDefinition<'_, &str, u32> = TableDefinition::new("parts");
/// A part's pages by their number.
const PAGES: TableDefinition<'_, (&str, u32), &[u8]> = TableDefinition::new("pages");

/// Why there is no snapshot.
#[derive(Debug)]
pub enum SnapshotError {
    /// Another process has the file.
    Locked(PathBuf),
    /// It cannot be opened, read or written: the system's reason.
    Unusable(PathBuf, String),
    /// It is no snapshot of ours, or not as it was written.
    Damaged(PathBuf, String),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Locked(path) => write!(f, "{} is in use by another process", path.display()),
            SnapshotError::Unusable(path, why) => write!(f, "{}: {why}", path.display()),
            SnapshotError::Damaged(path, why) => write!(f, "{} is damaged or no snapshot: {why}", path.display()),
        }
    }
}

impl std::error::Error for SnapshotError {}

/// An open snapshot. Nobody else can open it meanwhile.
#[derive(Debug)]
pub struct File {
    database: Database,
    path: PathBuf,
    /// What names were hashed with by whoever wrote it.
    key: HashKey,
}

/// A file that was opened.
#[derive(Debug)]
pub struct Opened {
    pub file: File,
    pub key: HashKey,
    /// When it was last written, in milliseconds since 1970; none in a new one.
    pub written_ms: Option<u64>,
    /// What was found in its place and why that was no good; it was moved there.
    pub aside: Option<(PathBuf, String)>,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub bytes: u64,
    /// Records for which there was no room.
    pub dropped: u64,
}

impl File {
    /// Opens it or makes a new one. One that is no good is moved to `….corrupt`, over what was there before.
    ///
    /// # Errors
    /// [`SnapshotError::Locked`] and [`SnapshotError::Unusable`]; a damaged file only where it cannot be moved.
    pub fn open(path: &Path) -> Result<Opened, SnapshotError> {
        let why = match File::open_good(path) {
            Err(SnapshotError::Damaged(_, why)) => why,
            done => return done,
        };
        let mut aside = path.as_os_str().to_owned();
        aside.push(".corrupt");
        let aside = PathBuf::from(aside);
        fs::rename(path, &aside).map_err(|error| {
            let why = format!("{why}; and it cannot be moved to {}: {error}", aside.display());
            SnapshotError::Damaged(path.to_owned(), why)
        })?;
        File::open_good(path).map(|opened| Opened { aside: Some((aside, why)), ..opened })
    }

    fn open_good(path: &Path) -> Result<Opened, SnapshotError> {
        let unusable = |error: io::Error| SnapshotError::Unusable(path.to_owned(), error.to_string());
        // A pipe would be waited for.
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(SnapshotError::Unusable(path.to_owned(), "not a file".to_owned()));
        }
        let mut options = fs::OpenOptions::new();
        let file =
            options.read(true).write(true).create(true).truncate(false).mode(MODE).open(path).map_err(unusable)?;
        let found = file.metadata().map_err(unusable)?;
        if found.permissions().mode() & 0o777 != MODE {
            file.set_permissions(fs::Permissions::from_mode(MODE)).map_err(unusable)?;
        }
        let fresh = found.len() == 0;
        guarded(path, || {
            let backend = FileBackend::new(file).map_err(|error| in_words(path, error))?;
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(!fresh);
            let database = builder.create_with_backend(backend).map_err(|error| in_words(path, error))?;
            let known = if fresh { None } else { Some(head(&database, path)?) };
            let (key, written_ms) = known.map_or((HashKey::random(), None), |(key, written)| (key, Some(written)));
            let file = File { database, path: path.to_owned(), key };
            if fresh {
                file.begin(key)?;
            }
            Ok(Opened { file, key, written_ms, aside: None })
        })
    }

    /// Everything in it goes: it is another key's from now on.
    fn begin(&self, key: HashKey) -> Result<(), SnapshotError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.delete_table(PAGES)?;
            transaction.delete_table(PARTS)?;
            {
                let mut head = transaction.open_table(HEAD)?;
                head.insert("format", FORMAT.to_le_bytes().as_slice())?;
                head.insert("key", key.octets().as_slice())?;
                head.insert("written", 0_u64.to_le_bytes().as_slice())?;
                transaction.open_table(PAGES)?;
                transaction.open_table(PARTS)?;
            }
            Ok(transaction.commit()?)
        };
        write().map_err(|error| fault(&self.path, error))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives each part what was kept under its name, and says how many of them had something.
    ///
    /// # Errors
    /// The file cannot be read, or holds what nobody of this version wrote.
    pub fn restore(&self, parts: &[Box<dyn Part>], moment: Moment) -> Result<usize, SnapshotError> {
        guarded(&self.path, || {
            let mut found = 0;
            for part in parts {
                found += usize::from(self.restore_one(part.as_ref(), moment)?);
            }
            Ok(found)
        })
    }

    fn restore_one(&self, part: &dyn Part, moment: Moment) -> Result<bool, SnapshotError> {
        let name = part.name();
        let read = || -> Result<Result<bool, super::Malformed>, redb::Error> {
            let transaction = self.database.begin_read()?;
            let pages = transaction.open_table(PAGES)?;
            let mut any = false;
            for page in pages.range((name.as_str(), 0)..=(name.as_str(), u32::MAX))? {
                any = true;
                let (_, page) = page?;
                if part.restore(Reading::new(page.value()), moment).is_err() {
                    return Ok(Err(super::Malformed));
                }
            }
            Ok(Ok(any))
        };
        let read = read().map_err(|error| fault(&self.path, error))?;
        read.map_err(|_| SnapshotError::Damaged(self.path.clone(), format!("what is kept of {name} cannot be read")))
    }

    /// Writes what the parts remember, a transaction for each; at most `room_bytes` altogether, and the first parts get
    /// theirs first. What is kept under other names goes.
    ///
    /// # Errors
    /// The file cannot be written. It is of no use then, and has to be opened anew.
    pub fn write(
        &mut self,
        key: HashKey,
        parts: &[Box<dyn Part>],
        room_bytes: u64,
        now: impl Fn() -> Moment,
    ) -> Result<Written, SnapshotError> {
        let path = self.path.clone();
        guarded(&path, || {
            if self.key != key {
                self.begin(key)?;
                self.key = key;
            }
            let (mut room, mut dropped) = (room_bytes, 0);
            for part in parts {
                let (left, without) = self.write_one(part.as_ref(), room, now())?;
                room = left;
                dropped += without;
            }
            let names: Vec<String> = parts.iter().map(|part| part.name()).collect();
            self.end(&names, now()).map_err(|error| fault(&self.path, error))?;
            Ok(Written { bytes: room_bytes - room, dropped })
        })
    }

    fn write_one(&self, part: &dyn Part, room_bytes: u64, moment: Moment) -> Result<(u64, u64), SnapshotError> {
        let name = part.name();
        let write = || -> Result<Result<(u64, u64), SnapshotError>, redb::Error> {
            let transaction = self.database.begin_write()?;
            let outcome = {
                let mut pages = transaction.open_table(PAGES)?;
                let mut count = 0_u32;
                let mut sink = |page: &[u8]| -> Result<(), SnapshotError> {
                    pages.insert((name.as_str(), count), page).map_err(|error| in_words(&self.path, error.into()))?;
                    count += 1;
                    Ok(())
                };
                let mut saving = Saving::new(moment, room_bytes, &mut sink);
                part.save(&mut saving);
                let outcome = saving.finish();
                pages.retain_in((name.as_str(), count)..=(name.as_str(), u32::MAX), |_, _| false)?;
                transaction.open_table(PARTS)?.insert(name.as_str(), count)?;
                outcome
            };
            if outcome.is_ok() {
                transaction.commit()?;
            }
            Ok(outcome)
        };
        write().map_err(|error| fault(&self.path, error))?
    }

    fn end(&self, names: &[String], moment: Moment) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut parts = transaction.open_table(PARTS)?;
            let mut pages = transaction.open_table(PAGES)?;
            let gone: Vec<String> = parts
                .iter()?
                .filter_map(|entry| Some(entry.ok()?.0.value().to_owned()))
                .filter(|known| !names.contains(known))
                .collect();
            for name in gone {
                pages.retain_in((name.as_str(), 0)..=(name.as_str(), u32::MAX), |_, _| false)?;
                parts.remove(name.as_str())?;
            }
            transaction.open_table(HEAD)?.insert("written", moment.wall_ms().to_le_bytes().as_slice())?;
        }
        Ok(transaction.commit()?)
    }
}

/// The key, and when it was written.
fn head(database: &Database, path: &Path) -> Result<(HashKey, u64), SnapshotError> {
    let foreign = |why: &str| SnapshotError::Damaged(path.to_owned(), why.to_owned());
    let read = || -> Result<Option<(u64, [u8; HASH_KEY_BYTES], u64)>, redb::Error> {
        let transaction = database.begin_read()?;
        let head = transaction.open_table(HEAD)?;
        let number = |name| -> Result<Option<u64>, redb::Error> {
            Ok(head.get(name)?.and_then(|value| value.value().try_into().ok()).map(u64::from_le_bytes))
        };
        let key = head.get("key")?.and_then(|value| value.value().try_into().ok());
        Ok(number("format")?.zip(key).zip(number("written")?).map(|((format, key), written)| (format, key, written)))
    };
    match read() {
        Ok(Some((FORMAT, key, written))) => Ok((HashKey::from_octets(key), written)),
        Ok(Some((format, ..))) => Err(foreign(&format!("it has format {format}, and this version writes {FORMAT}"))),
        Ok(None) => Err(foreign("it has no head")),
        Err(error) => Err(match fault(path, error) {
            SnapshotError::Damaged(_, why) => foreign(&format!("another program's: {why}")),
            other => other,
        }),
    }
}

/// A file can be damaged in ways in which redb panics.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, SnapshotError>) -> Result<T, SnapshotError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<&str>().map(|why| (*why).to_owned());
        let why = why.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(SnapshotError::Damaged(path.to_owned(), format!("it cannot be worked with: {why}")))
    })
}

fn in_words(path: &Path, error: DatabaseError) -> SnapshotError {
    let (path, why) = (path.to_owned(), error.to_string());
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => SnapshotError::Locked(path),
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => SnapshotError::Damaged(path, why),
            _ => SnapshotError::Unusable(path, why),
        },
        DatabaseError::Storage(StorageError::Corrupted(_))
        | DatabaseError::UpgradeRequired(_)
        | DatabaseError::RepairAborted => SnapshotError::Damaged(path, why),
        _ => SnapshotError::Unusable(path, why),
    }
}

fn fault(path: &Path, error: redb::Error) -> SnapshotError {
    let (path, why) = (path.to_owned(), error.to_string());
    match error {
        redb::Error::Io(_) | redb::Error::PreviousIo => SnapshotError::Unusable(path, why),
        _ => SnapshotError::Damaged(path, why),
    }
}
