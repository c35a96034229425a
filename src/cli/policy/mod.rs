//! `wasmilter audit` and `wasmilter explain-policy`: who may send what, found out by asking the session itself.

pub mod audit;
mod battery;
mod breadth;
pub mod explain;
mod findings;
mod logins;
mod rehearsal;
mod shapes;
#[cfg(test)]
mod tests;
mod trials;
mod who;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::policy::tables::Tables;

/// A configuration and its tables; None where something is wrong with them, which has been said.
fn loaded(path: &Path) -> anyhow::Result<Option<(Arc<Config>, Tables)>> {
    let mut errors = std::io::stderr().lock();
    let config = match crate::cli::load::load(path) {
        Ok((config, _)) => config,
        Err(found) => {
            writeln!(errors, "{}", found.render(std::io::stderr().is_terminal()))?;
            return Ok(None);
        }
    };
    match rehearsal::tables(&config) {
        Ok(tables) => Ok(Some((Arc::new(config), tables))),
        Err(error) => {
            writeln!(errors, "error: {error}")?;
            Ok(None)
        }
    }
}
