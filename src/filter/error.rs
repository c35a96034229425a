//! Why a filter could not be loaded: always what is wrong, and what would put it right.

use std::path::PathBuf;

use super::pool::PoolTooLarge;
use crate::config::ConfigErrors;
use crate::net::tls::TlsError;

/// A filter, or the engine for all of them, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Pool(#[from] PoolTooLarge),
    #[error("the Wasm engine does not start: {0}")]
    Engine(String),
    #[error("filter \"{filter}\": cannot read {}: {error}", path.display())]
    Read { filter: String, path: PathBuf, error: std::io::Error },
    #[error("filter \"{filter}\": grants.http: {error}")]
    Http { filter: String, error: TlsError },
    #[error("filter \"{filter}\": {}: {what}", path.display())]
    Refused { filter: String, path: PathBuf, what: String },
    /// Boxed: it holds the text of the configuration.
    #[error("filter \"{filter}\": its settings are not what it takes: {}", errors.lines().join("; "))]
    Settings { filter: String, errors: Box<ConfigErrors> },
}
