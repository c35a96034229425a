//! Where the dialogs are.

use std::path::{Path, PathBuf};

/// All `.dialog` files below a folder.
pub(crate) fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "dialog") {
            files.push(path);
        }
    }
}
