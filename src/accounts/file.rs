//! The password file: one `name:hash` a line, `#` comments, empty lines.
//!
//! It is read whole and either taken or refused, with the line at fault: a line that cannot be read could be the
//! account somebody meant to close. Dovecot's passwd-file lines are taken as long as the fields after the hash are
//! empty; what those could restrict would be lost silently otherwise.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::backend::Verdict;
use super::hash::{Cost, HashFault, NOBODY, StoredHash};
use crate::smtp::sasl::scram::ScramKeys;

/// A file larger than this is refused; about half a million accounts.
pub const PASSWORD_FILE_BYTES_MAX: u64 = 64 << 20;
/// As SASL PLAIN takes them (RFC 4616 section 2).
pub const NAME_OCTETS_MAX: usize = 255;

/// Accounts as a file gave them.
pub struct PasswordFile {
    accounts: HashMap<Arc<str>, StoredHash>,
    /// What unknown names are checked against: a hash of the cost most accounts have. Its verdict is not used.
    decoy: Option<StoredHash>,
    /// Iterations and octets of salt that most accounts with keys for SCRAM have, and how many have some.
    scram: Option<(u32, usize)>,
    scram_accounts: usize,
    warnings: Vec<String>,
}

impl std::fmt::Debug for PasswordFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordFile").field("accounts", &self.accounts.len()).finish_non_exhaustive()
    }
}

/// Why a password file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFileError {
    #[error("cannot read the password file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the password file {} is larger than {PASSWORD_FILE_BYTES_MAX} octets", path.display())]
    TooLarge { path: PathBuf },
    #[error("{}:{line}: {fault}", path.display())]
    Line {
        path: PathBuf,
        /// From 1.
        line: usize,
        fault: LineFault,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    #[error("not UTF-8")]
    NotText,
    #[error("no colon; a line is `name:hash`")]
    NoColon,
    #[error("{0}")]
    Name(&'static str),
    #[error("the account is there already, in line {first}")]
    Duplicate { first: usize },
    #[error("fields after the hash are not supported; what they restrict would be ignored")]
    MoreFields,
    #[error(transparent)]
    Hash(#[from] HashFault),
}

/// What keeps a text from being an account's name, if anything.
#[must_use]
pub fn name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("the name is empty")
    } else if name.len() > NAME_OCTETS_MAX {
        Some("the name is longer than 255 octets")
    } else if name.contains(char::is_control) {
        Some("the name holds a control character")
    } else if name.contains(':') {
        Some("a name cannot hold a colon")
    } else if name.starts_with('#') || name.trim() != name {
        Some("a name can neither begin with # nor begin or end with a space")
    } else {
        None
    }
}

impl PasswordFile {
    /// # Errors
    /// Names the file, and the line where it is a line's fault.
    pub fn load(path: &Path) -> Result<PasswordFile, PasswordFileError> {
        let unreadable = |source| PasswordFileError::Unreadable { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let meta = file.metadata().map_err(unreadable)?;
        if meta.len() > PASSWORD_FILE_BYTES_MAX {
            return Err(PasswordFileError::TooLarge { path: path.to_owned() });
        }
        let capacity = usize::try_from(meta.len()).unwrap_or(0) + 1;
        let mut octets = Zeroizing::new(Vec::with_capacity(capacity));
        file.take(PASSWORD_FILE_BYTES_MAX + 1).read_to_end(&mut octets).map_err(unreadable)?;
        if u64::try_from(octets.len()).unwrap_or(u64::MAX) > PASSWORD_FILE_BYTES_MAX {
            return Err(PasswordFileError::TooLarge { path: path.to_owned() });
        }
        let mut read = PasswordFile::parse(&octets).map_err(|(line, fault)| PasswordFileError::Line {
            path: path.to_owned(),
            line,
            fault,
        })?;
        if meta.permissions().mode() & 0o007 != 0 {
            read.warnings.push(format!(
                "the password file {} can be read by every user of this machine; chmod o= it",
                path.display()
            ));
        }
        if read.accounts.is_empty() {
            read.warnings.push(format!(
                "the password file {} holds no account; make one with `wasmilter passwd NAME --file {}`",
                path.display(),
                path.display()
            ));
        }
        Ok(read)
    }

    /// # Errors
    /// The first line (from 1) that is not one, and why.
    pub fn parse(octets: &[u8]) -> Result<PasswordFile, (usize, LineFault)> {
        let mut accounts: HashMap<Arc<str>, (usize, StoredHash)> = HashMap::new();
        let mut costs: Vec<(Cost, usize, StoredHash)> = Vec::new();
        for (index, line) in octets.split(|&b| b == b'\n').enumerate() {
            let number = index + 1;
            let Some((name, hash)) = entry(line).map_err(|fault| (number, fault))? else { continue };
            if let Some((first, _)) = accounts.get(name) {
                return Err((number, LineFault::Duplicate { first: *first }));
            }
            match costs.iter_mut().find(|(cost, _, _)| *cost == hash.cost()) {
                Some((_, count, _)) => *count += 1,
                None => costs.push((hash.cost(), 1, hash.clone())),
            }
            accounts.insert(Arc::from(name), (number, hash));
        }
        let keys = || accounts.values().filter_map(|(_, hash)| hash.scram());
        let mut kinds: HashMap<(u32, usize), usize> = HashMap::new();
        for keys in keys() {
            *kinds.entry((keys.iterations, keys.salt.len())).or_default() += 1;
        }
        let scram_accounts = keys().count();
        let most = costs.into_iter().max_by_key(|(_, count, _)| *count).map(|(_, _, hash)| hash);
        Ok(PasswordFile {
            accounts: accounts.into_iter().map(|(name, (_, hash))| (name, hash)).collect(),
            decoy: most.or_else(|| StoredHash::parse(NOBODY).ok()),
            scram: kinds.into_iter().max_by_key(|(kind, count)| (*count, *kind)).map(|(kind, _)| kind),
            scram_accounts,
            warnings: Vec::new(),
        })
    }

    /// What the operator should hear although the file is taken.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How many accounts there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.accounts.len()
    }

    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.accounts.contains_key(name)
    }

    /// Whether this is the account's password. Slow, as the hashes are; for blocking threads.
    pub(super) fn verify(&self, name: &str, password: &[u8]) -> Verdict {
        match self.accounts.get_key_value(name) {
            Some((name, hash)) if hash.verify(password) => Verdict::Good(Arc::clone(name)),
            Some(_) => Verdict::Bad,
            None => Verdict::NotMine,
        }
    }

    /// The account's keys for SCRAM, if it has some; None: there is no such account.
    pub(super) fn scram_keys(&self, name: &str) -> Option<Option<&ScramKeys>> {
        self.accounts.get(name).map(StoredHash::scram)
    }

    /// Iterations and octets of salt that most keys for SCRAM have.
    pub(super) fn scram_kind(&self) -> Option<(u32, usize)> {
        self.scram
    }

    /// How many accounts have keys for SCRAM.
    #[must_use]
    pub fn scram_accounts(&self) -> usize {
        self.scram_accounts
    }

    /// The same as a yes or no, for tools.
    #[must_use]
    pub fn has_password(&self, name: &str, password: &[u8]) -> bool {
        matches!(self.verify(name, password), Verdict::Good(_))
    }

    /// Takes as long as a wrong password for an account of the commonest scheme and cost; in a file of several kinds,
    /// names of the rarer ones could still be told by time. No verdict comes of it.
    pub(super) fn decoy(&self, password: &[u8]) {
        if let Some(decoy) = &self.decoy {
            std::hint::black_box(decoy.verify(password));
        }
    }

    #[cfg(test)]
    pub(super) fn decoy_cost(&self) -> Option<Cost> {
        self.decoy.as_ref().map(StoredHash::cost)
    }
}

/// One line: nothing, or a name with its hash.
fn entry(line: &[u8]) -> Result<Option<(&str, StoredHash)>, LineFault> {
    let line = std::str::from_utf8(line).map_err(|_| LineFault::NotText)?;
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.trim().is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, rest) = line.split_once(':').ok_or(LineFault::NoColon)?;
    if let Some(fault) = name_fault(name) {
        return Err(LineFault::Name(fault));
    }
    let (hash, more) = rest.split_once(':').unwrap_or((rest, ""));
    if !more.bytes().all(|octet| octet == b':') {
        return Err(LineFault::MoreFields);
    }
    Ok(Some((name, StoredHash::parse(hash.trim_end())?)))
}

/// A password file's text with one account set (`Some`) or removed (`None`); every other line stays as it was.
/// The flag tells whether the account was there before.
#[must_use]
pub fn with_entry(text: &str, name: &str, hash: Option<&StoredHash>) -> (Zeroizing<String>, bool) {
    // Room for all of it at once: growing would leave copies behind.
    let room = text.len() + name.len() + hash.map_or(0, |hash| hash.reveal().len()) + 3;
    let mut out = Zeroizing::new(String::with_capacity(room));
    let mut found = false;
    let put = |out: &mut String| {
        if let Some(hash) = hash {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name}:{}", hash.reveal());
        }
    };
    for line in text.lines() {
        let this = !line.starts_with('#') && line.split_once(':').is_some_and(|(found, _)| found == name);
        if this {
            found = true;
            put(&mut out);
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    if !found {
        put(&mut out);
    }
    (out, found)
}
