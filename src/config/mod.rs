//! Floor 2: a TOML text becomes a valid [`Config`], or errors with file, line and column.
//!
//! Nothing here opens a file or asks the system anything (but for [`load`], which reads the one file it is given):
//! whether a certificate, a filter or a table is there is for whoever uses it, and for `wasmilter check`.

mod check;
mod defaults;
mod json;
#[cfg(feature = "io")]
mod load;
mod names;
mod parse;
mod problem;
mod read;
mod reader;
mod schema;
mod secret;
mod section;
mod suggest;
#[cfg(test)]
mod tests;
mod types;
mod units;
mod value;

#[cfg(feature = "io")]
pub use load::load;
pub use parse::{parse, parse_with_warnings};
pub use problem::{ConfigErrors, Warning};
pub use types::*;
pub use units::{show_duration, show_size};
