//! `wasmilter probe` and a real Postfix: what it is told, and that nothing but whole messages comes of it.

use std::process::Command;

use crate::mta::Postfix;

#[test]
fn a_probe_says_what_postfix_does() {
    let postfix = Postfix::start(&["ann@inside.test"]);
    let output = Command::new(env!("CARGO_BIN_EXE_wasmilter"))
        .args(["probe", &postfix.address.to_string(), "--to", "ann@inside.test", "--from", "bob@client.test"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    // The shipped master.cf lets the gateway say XCLIENT, and not the addresses that it passes on.
    for words in [
        "30000000 octets; clients are offered this",
        "taken from here: the server judges by the client's own address",
        "taken once a connection (550 5.7.0 ",
        "a group of commands in one write is answered in order",
        "more is refused at MAIL already: 552 5.3.4 ",
        "<CR><LF>.<CR><LF>: 250 2.0.0 ",
        "<CR>.<CR> is part of the message",
        "<CR><LF>..<CR><LF> is part of the message",
        "identify = \"xclient\"",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    // A warning about XCLIENT, at least.
    assert_eq!(output.status.code(), Some(1), "{said}");
    // What it is depends on this Postfix; that it is one of the two does not.
    let bare = said.lines().find(|line| line.contains("  <LF>.<LF> is ")).unwrap();
    assert!(bare.starts_with("WARN") == bare.contains("is taken for the end: 250"), "{bare}");
}
