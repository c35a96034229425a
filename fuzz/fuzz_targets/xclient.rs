//! What XCLIENT and XFORWARD say is what may be said again, whoever said it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmilter::smtp::xclient::Attributes;

const KNOWN: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT REVERSE_NAME IDENT SOURCE";

fuzz_target!(|text: &str| {
    let Some(said) = Attributes::parse(text, KNOWN) else { return };
    let texts = [said.name, said.reverse_name, said.protocol, said.helo, said.login, said.ident, said.source];
    for text in texts.into_iter().flatten().filter_map(|told| told.known()) {
        assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
    }
});
