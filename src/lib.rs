//! wasmilter: an SMTP filtering gateway in front of the mail server you already have, programmed with
//! sandboxed WebAssembly filters.
//!
//! ARCHITECTURE.md draws the house. A module imports only from floors below its own; everything that touches
//! sockets, files, the clock or a Wasm engine stands below the IO line and is behind the feature `io`.

pub mod config;
pub mod mail;
pub mod policy;
pub mod session;
pub mod smtp;

// ─────────────── the IO line: tokio, rustls, wasmtime, hickory only below this line ───────────────

#[cfg(feature = "io")]
pub mod accounts;
#[cfg(feature = "io")]
pub mod admin;
#[cfg(feature = "io")]
pub mod chain;
#[cfg(feature = "io")]
pub mod checks;
#[cfg(feature = "io")]
pub mod cli;
#[cfg(feature = "io")]
pub mod dialog;
#[cfg(feature = "io")]
pub mod filter;
#[cfg(feature = "io")]
pub mod lookup;
#[cfg(feature = "io")]
pub mod net;
#[cfg(feature = "io")]
pub mod report;
#[cfg(feature = "io")]
pub mod server;
#[cfg(feature = "io")]
pub mod shared;
#[cfg(feature = "io")]
pub mod sink;
#[cfg(feature = "io")]
pub mod state;
#[cfg(feature = "io")]
pub mod upstream;
