//! Logins that programs of other people verify: each is the real one, set up in a folder that goes away with it. The
//! installed ones are not touched: not their configuration, not their sockets.
//!
//! Nothing here is left out where a program is missing: `cargo xtask test` installs them first.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod asking;
#[path = "../logins/client.rs"]
#[allow(dead_code, reason = "the tests of logins need more of it")]
mod client;
mod dovecot;
mod gateway;
mod imap;
mod introspected;
mod kerberos;
#[path = "../postfix/log.rs"]
#[allow(dead_code, reason = "the tests with Postfix need more of it")]
mod log;
#[path = "../postfix/mta.rs"]
#[allow(dead_code, reason = "the tests with Postfix need more of it")]
mod mta;
mod openid;
mod otp;
mod process;
mod relayed;
mod saslauthd;
mod slapd;
mod tables;
mod upstream;
