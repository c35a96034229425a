//! Floor 2: a TOML text becomes a valid [`Config`], or errors with file, line and column.
//!
//! Nothing here opens a file, not even the configuration itself, or asks the system anything: whether a certificate,
//! a filter or a table is there is for whoever uses it, and for `wasmilter check`.

mod access;
mod auth;
mod behind;
mod check;
mod conditions;
mod defaults;
mod delegation;
mod edge;
mod filters;
mod json;
mod limit;
mod names;
mod oauth;
mod parse;
mod problem;
mod quarantine;
mod read;
mod reader;
mod resolver;
mod schema;
mod secret;
mod section;
mod settings;
mod signing;
mod state;
mod suggest;
mod tables;
#[cfg(test)]
mod tests;
mod types;
mod units;
mod url;
mod value;
mod when;

pub use access::*;
pub use auth::*;
pub use behind::*;
pub use delegation::*;
pub use edge::*;
pub use filters::*;
pub use limit::*;
pub use oauth::*;
pub use parse::{parse, parse_with_warnings};
pub use problem::{ConfigErrors, Warning};
pub use quarantine::QuarantineGrant;
pub use resolver::*;
pub use settings::{SettingsJson, WrongSetting};
pub use signing::{SigningKey, minisign_key_id};
pub use state::*;
pub use tables::*;
pub use types::*;
pub use units::{parse_duration, show_duration, show_size};
pub use url::Url;
pub use when::When;
