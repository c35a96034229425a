//! The password of the shared state: the first line of a file.

use std::io::{self, Read as _};
use std::path::Path;

use crate::config::Password;

/// A password file longer than this is none.
const PASSWORD_FILE_BYTES_MAX: u64 = 4_096;

/// # Errors
/// It cannot be read, or has no password in its first line.
pub(super) fn first_line(path: &Path) -> io::Result<Password> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(PASSWORD_FILE_BYTES_MAX).read_to_string(&mut text)?;
    match text.lines().next() {
        Some(line) if !line.is_empty() && !line.contains('\0') => Ok(Password::new(line.to_owned())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is no password")),
    }
}
