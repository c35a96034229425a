//! The contract is frozen: what a filter was built against is what every later gateway of the same version has.

use std::fmt::Write as _;

use aws_lc_rs::digest;

/// Of what is in the contract beside its comments and blank lines. Whoever has to change this number is changing what
/// filters in the field were built against: a new interface or a new version is what is wanted instead.
const FROZEN_0_1_0: &str = "21df127497187102d316479bbaf52f126b8accc8ff90c20e6e6163299d11ec54";

#[test]
fn the_contract_stays_as_it_was_frozen() {
    let text = include_str!("../../filters/wit/filter.wit");
    let code = |line: &'static str| line.split("//").next().unwrap_or_default().trim();
    let mut bare = String::new();
    for line in text.lines().map(code).filter(|line| !line.is_empty()) {
        writeln!(bare, "{line}").unwrap();
    }
    let mut found = String::new();
    for octet in digest::digest(&digest::SHA256, bare.as_bytes()).as_ref() {
        write!(found, "{octet:02x}").unwrap();
    }
    assert!(bare.starts_with("package wasmilter:filter@0.1.0;\n"), "another version: freeze it anew");
    assert_eq!(found, FROZEN_0_1_0, "filters/wit/filter.wit is not what filters of 0.1.0 were built against");
}
