//! Several gateways with one Redis between them: real servers, set up in folders of their own and gone with their test.
//! The machine's own Redis is not touched.
//!
//! Nothing here is left out where the program is missing: `cargo xtask test --all` installs it first.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod agreement;
mod away;
mod cluster;
#[path = "../dialogs/components.rs"]
mod components;
#[allow(dead_code, reason = "the rest of it is for the tests of operating")]
#[path = "../operating/gateway.rs"]
mod gateway;
mod hung;
mod keys;
mod limits;
mod loading;
mod server;
mod shared;
mod tables;
#[path = "../operating/upstream.rs"]
mod upstream;
