//! `wasmilter passwd`: entries of a password file: made, changed, removed, tried.
//!
//! A password comes from the terminal without echo, or as one line from a pipe; never as an argument, which every
//! user of the machine could see.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::accounts::{self, PASSWORD_FILE_BYTES_MAX, PasswordFile, StoredHash};
use crate::smtp::sasl::CREDENTIAL_OCTETS_MAX;

/// EX_USAGE of sysexits.
const EXIT_USAGE: u8 = 64;
/// Of a password file made here: whoever runs the gateway reads it, nobody else.
const NEW_FILE_MODE: u32 = 0o600;

#[derive(Debug, clap::Args)]
pub struct Passwd {
    /// The account, exactly as the mail program will send it
    #[arg(value_name = "NAME")]
    name: String,
    /// Change this password file; without it the line is printed
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How the password is stored
    #[arg(long, value_enum, default_value_t = SchemeName::Argon2id)]
    scheme: SchemeName,
    /// Remove the account from the file
    #[arg(long, requires = "file", conflicts_with_all = ["scheme", "check"])]
    delete: bool,
    /// Ask for the password and say whether it is the account's; status 1 when it is not
    #[arg(long, requires = "file", conflicts_with = "scheme")]
    check: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SchemeName {
    Argon2id,
    Bcrypt,
    #[value(name = "sha512-crypt")]
    Sha512Crypt,
    #[value(name = "scram-sha-256")]
    ScramSha256,
}

impl From<SchemeName> for accounts::Scheme {
    fn from(name: SchemeName) -> accounts::Scheme {
        match name {
            SchemeName::Argon2id => accounts::Scheme::Argon2id,
            SchemeName::Bcrypt => accounts::Scheme::Bcrypt,
            SchemeName::Sha512Crypt => accounts::Scheme::Sha512Crypt,
            SchemeName::ScramSha256 => accounts::Scheme::ScramSha256,
        }
    }
}

/// Does what the arguments say. Status 0 when done (or the password is right), 1 when it is wrong or the account is
/// not there, 64 when the name cannot be one.
///
/// # Errors
/// Files that cannot be read or written, and passwords that cannot be taken.
pub fn run(args: &Passwd) -> anyhow::Result<ExitCode> {
    if let Some(fault) = accounts::name_fault(&args.name) {
        writeln!(io::stderr().lock(), "error: {fault}")?;
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    match &args.file {
        Some(file) if args.delete => {
            let found = update(file, &args.name, None)?;
            report(found, &args.name, "is removed", "is not in the file")
        }
        Some(file) if args.check => {
            let known = PasswordFile::load(file)?;
            let password = ask(Repeat::Once)?;
            let good = known.has_password(&args.name, &password);
            report(good, &args.name, "has this password", "does not have this password, or is not in the file")
        }
        Some(file) => {
            let hash = accounts::make(args.scheme.into(), &ask(Repeat::Twice)?)?;
            let changed = update(file, &args.name, Some(&hash))?;
            let what = if changed { "has a new password" } else { "is added" };
            report(true, &args.name, what, "")
        }
        None => {
            let hash = accounts::make(args.scheme.into(), &ask(Repeat::Twice)?)?;
            writeln!(io::stdout().lock(), "{}:{}", args.name, hash.reveal())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn report(good: bool, name: &str, yes: &str, no: &str) -> anyhow::Result<ExitCode> {
    // A name holds no control characters: it may be shown as it is.
    writeln!(io::stderr().lock(), "{name} {}", if good { yes } else { no })?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Once,
    Twice,
}

/// The password: from the terminal, typed blind and (for a new one) twice; else one line of standard input.
fn ask(repeat: Repeat) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return read_password(&mut stdin.lock());
    }
    let _blind = Blind::new().context("cannot switch off the terminal's echo")?;
    prompt("Password: ")?;
    let password = read_password(&mut stdin.lock())?;
    if repeat == Repeat::Twice {
        prompt("Once more: ")?;
        let again = read_password(&mut stdin.lock())?;
        ensure!(password == again, "the two are not the same; nothing is changed");
    }
    Ok(password)
}

fn prompt(text: &str) -> io::Result<()> {
    let mut errors = io::stderr().lock();
    errors.write_all(text.as_bytes())?;
    errors.flush()
}

/// One line, without its end; what a mail program could not send is refused here already.
fn read_password(input: &mut impl BufRead) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let room = CREDENTIAL_OCTETS_MAX + 2;
    let mut line = Zeroizing::new(Vec::with_capacity(room + 1));
    let limit = u64::try_from(room + 1).unwrap_or(u64::MAX);
    input.by_ref().take(limit).read_until(b'\n', &mut line).context("cannot read the password")?;
    for end in [b'\n', b'\r'] {
        if line.last() == Some(&end) {
            line.pop();
        }
    }
    ensure!(!line.is_empty(), "an empty password is not taken");
    ensure!(line.len() <= CREDENTIAL_OCTETS_MAX, "a password can have {CREDENTIAL_OCTETS_MAX} octets at most");
    ensure!(!line.contains(&0), "a password cannot hold a NUL");
    Ok(line)
}

/// The terminal without echo, until this is dropped. The final newline is still shown.
struct Blind(Termios);

impl Blind {
    fn new() -> nix::Result<Blind> {
        let before = tcgetattr(io::stdin())?;
        let mut blind = before.clone();
        blind.local_flags.remove(LocalFlags::ECHO);
        blind.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &blind)?;
        Ok(Blind(before))
    }
}

impl Drop for Blind {
    fn drop(&mut self) {
        // Nothing is left to be done when the terminal is gone.
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

/// Sets or removes one line. The file is replaced in one step, so that a gateway that reloads sees the old or the
/// new one; owner and mode stay. Tells whether the account was there before.
fn update(path: &Path, name: &str, hash: Option<&StoredHash>) -> anyhow::Result<bool> {
    // A link is followed: what it names is replaced, not the link.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _turn = one_at_a_time(directory)?;
    let old = match File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound && hash.is_some() => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let text = old.as_ref().map_or_else(|| Ok(Zeroizing::default()), |file| read_text(file, path))?;
    // What is already wrong with the file is said now, and not by a gateway that refuses to load it.
    PasswordFile::parse(text.as_bytes())
        .map_err(|(line, fault)| anyhow::anyhow!("{}:{line}: {fault}; nothing is changed", path.display()))?;
    let (new, found) = accounts::with_entry(&text, name, hash);
    if hash.is_none() && !found {
        return Ok(false);
    }
    replace(path, directory, old.as_ref(), new.as_bytes())
        .with_context(|| format!("cannot write {}; it is as it was", path.display()))?;
    Ok(found)
}

/// Two of us must not overwrite each other's change. The directory is what both can lock: the file is replaced.
fn one_at_a_time(directory: &Path) -> anyhow::Result<File> {
    let handle = File::open(directory).with_context(|| format!("cannot open {}", directory.display()))?;
    handle.lock().with_context(|| format!("cannot lock {}", directory.display()))?;
    Ok(handle)
}

fn read_text(mut file: &File, path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let size = file.metadata()?.len();
    if size > PASSWORD_FILE_BYTES_MAX {
        bail!("{} is larger than {PASSWORD_FILE_BYTES_MAX} octets", path.display());
    }
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(size)? + 1));
    file.read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text)
}

fn replace(path: &Path, directory: &Path, old: Option<&File>, octets: &[u8]) -> anyhow::Result<()> {
    let mut new = tempfile::Builder::new().prefix(".passwd-").tempfile_in(directory)?;
    let mut mode = NEW_FILE_MODE;
    if let Some(old) = old {
        let (old, mine) = (old.metadata()?, new.as_file().metadata()?);
        mode = old.mode() & 0o777;
        if (old.uid(), old.gid()) != (mine.uid(), mine.gid()) {
            fchown(new.as_file(), Some(old.uid()), Some(old.gid())).context("the file's owner cannot be kept")?;
        }
    }
    new.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    new.write_all(octets)?;
    new.as_file().sync_all()?;
    new.persist(path)?;
    File::open(directory)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    const HASH: &str = "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe";

    fn hash() -> StoredHash {
        StoredHash::parse(HASH).unwrap()
    }

    fn password(input: &[u8]) -> anyhow::Result<Vec<u8>> {
        read_password(&mut io::Cursor::new(input)).map(|password| password.to_vec())
    }

    #[test]
    fn one_line_is_the_password() {
        assert_eq!(password(b"sword fish \nmore").unwrap(), b"sword fish ");
        assert_eq!(password(b"swordfish\r\n").unwrap(), b"swordfish");
        assert_eq!(password("pässwörd".as_bytes()).unwrap(), "pässwörd".as_bytes());
        assert_eq!(password(&[b'x'; 255]).unwrap().len(), 255);
        for refused in [b"".as_slice(), b"\n", b"\r\n", b"a\0b", &[b'x'; 256], &[b'x'; 100_000]] {
            assert!(password(refused).is_err());
        }
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_an_old_one_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        assert!(!update(&path, "anna", Some(&hash())).unwrap());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(update(&path, "anna", Some(&hash())).unwrap());
        assert_eq!(mode(&path), 0o640);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("anna:{HASH}\n"));
        assert!(update(&path, "anna", None).unwrap());
        assert!(!update(&path, "anna", None).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left lying about");
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        update(&link, "anna", Some(&hash())).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(std::fs::read_to_string(&real).unwrap().starts_with("anna:"));
    }

    #[test]
    fn a_file_that_is_wrong_already_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        std::fs::write(&path, "otto:hunter2\n").unwrap();
        let error = update(&path, "anna", Some(&hash())).unwrap_err().to_string();
        assert!(error.contains("users:1: ") && error.contains("nothing is changed"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "otto:hunter2\n");
        assert!(update(&dir.path().join("missing"), "anna", None).is_err());
    }

    #[test]
    fn arguments_are_as_documented() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            passwd: Passwd,
        }
        let parse = |words: &[&str]| {
            <Line as clap::Parser>::try_parse_from(std::iter::once("passwd").chain(words.iter().copied()))
        };
        assert_eq!(parse(&["anna"]).unwrap().passwd.scheme, SchemeName::Argon2id);
        assert!(parse(&["anna", "--scheme", "sha512-crypt", "--file", "users"]).is_ok());
        assert!(parse(&["anna", "--delete", "--file", "users"]).unwrap().passwd.delete);
        assert!(parse(&["anna", "--check", "--file", "users"]).unwrap().passwd.check);
        for refused in [["anna", "--delete"], ["anna", "--check"], ["anna", "--scheme=md5"]] {
            assert!(parse(&refused).is_err());
        }
    }
}
