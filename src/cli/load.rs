//! The configuration file itself: opened here, understood in `config`.

use std::io::Read;
use std::path::Path;

use crate::config::{self, Config, ConfigErrors, Warning};

/// Tables written into it make a configuration large, but not this large.
const CONFIG_FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads a configuration file; `${NAME}` in it comes from the environment of this process.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn load(path: &Path) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let name = path.display().to_string();
    let text = read(path).map_err(|why| ConfigErrors::unreadable(&name, why))?;
    config::parse_with_warnings(&text, &name, &|name| std::env::var(name).ok())
}

fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|why| why.to_string())?;
    let mut bytes = Vec::new();
    file.take(CONFIG_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|why| why.to_string())?;
    if bytes.len() as u64 > CONFIG_FILE_BYTES_MAX {
        return Err(format!("it is larger than {}", config::show_size(CONFIG_FILE_BYTES_MAX)));
    }
    String::from_utf8(bytes).map_err(|why| {
        let before = why.as_bytes().get(..why.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        format!("it is not UTF-8 (line {line})")
    })
}
