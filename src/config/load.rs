//! The one place of this floor that opens a file: the configuration itself.

use std::io::Read;
use std::path::Path;

use super::parse::parse_with_warnings;
use super::problem::{ConfigErrors, Problem, Warning};
use super::types::Config;

/// Inline tables make a configuration large, but not this large.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads a configuration file. `${NAME}` in it comes from the process's environment.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn load(path: &Path) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let name = path.display().to_string();
    let text = read(path).map_err(|why| {
        ConfigErrors::new(&name, "", vec![Problem::of_file(why).help("name another file with --config FILE")])
    })?;
    parse_with_warnings(&text, &name, &|name| std::env::var(name).ok())
}

fn read(path: &Path) -> Result<String, String> {
    let cannot = |why: std::io::Error| format!("the configuration cannot be read: {why}");
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("the configuration is larger than {} MiB", FILE_BYTES_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|why| {
        let before = why.as_bytes().get(..why.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        format!("the configuration is not UTF-8 (line {line})")
    })
}
