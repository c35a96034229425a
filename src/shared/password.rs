//! The password of the shared state: the first line of a file.

use std::io::{self, Read as _};
use std::path::Path;

use crate::config::Password;

/// A first line longer than this is no password.
const PASSWORD_FILE_BYTES_MAX: u64 = 4_096;

/// # Errors
/// It cannot be read, or has no password in its first line.
pub(super) fn first_line(path: &Path) -> io::Result<Password> {
    let mut octets = Vec::new();
    std::fs::File::open(path)?.take(PASSWORD_FILE_BYTES_MAX + 1).read_to_end(&mut octets)?;
    // Cut short, it would be another password.
    let whole = octets.contains(&b'\n') || octets.len() as u64 <= PASSWORD_FILE_BYTES_MAX;
    let line = octets.split(|octet| *octet == b'\n').next().filter(|_| whole).unwrap_or_default();
    match str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)) {
        Ok(line) if !line.is_empty() && !line.contains('\0') => Ok(Password::new(line.to_owned())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is no password")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_password_is_the_whole_first_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let read = |octets: &[u8]| {
            std::fs::write(&path, octets).unwrap();
            first_line(&path).map(|password| password.reveal().to_owned())
        };
        let longest = "x".repeat(4_096);
        for (octets, found) in [("secret", "secret"), ("secret\r\nmore\n", "secret"), (&*longest, &*longest)] {
            assert_eq!(read(octets.as_bytes()).unwrap(), found);
        }
        assert_eq!(read(format!("secret\n{longest}{longest}").as_bytes()).unwrap(), "secret");
        for octets in ["".as_bytes(), b"\nsecret", b"a\0b", b"\xff\n", format!("{longest}x\n").as_bytes()] {
            assert!(read(octets).is_err(), "{octets:?}");
        }
    }
}
