//! Floor 2: a TOML text becomes a valid `Config`, or an error with file, line and column.

mod types;
pub use types::*;
