//! Where the dialogs are.

use std::io;
use std::path::{Path, PathBuf};

/// All `.dialog` files below a folder, in the order of their paths.
///
/// # Errors
/// A folder that cannot be read.
pub fn collect(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "dialog") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
