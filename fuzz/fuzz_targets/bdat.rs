//! Chunks of any size make the same message; it reaches an upstream without CHUNKING whole, with one end of data, at
//! its end; and a BDAT line is understood one way or not at all.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmilter::smtp::Command;
use wasmilter::smtp::body::{BadOctet, BareEnds, ContentScanner, DataScanner, ScanState, Stuffer, unstuff_into};

fn first_bad(content: &[u8], size: usize) -> Option<(usize, BadOctet)> {
    let mut scanner = ContentScanner::new(BareEnds::Refuse);
    for (number, chunk) in content.chunks(size).enumerate() {
        if let Some((at, bad)) = scanner.scan(chunk) {
            return Some((number * size + at, bad));
        }
    }
    scanner.end().map(|bad| (content.len(), bad))
}

fn stuff(content: &[u8], size: usize) -> Vec<u8> {
    let (mut stuffer, mut wire) = (Stuffer::new(), Vec::new());
    for chunk in content.chunks(size) {
        if stuffer.pass(chunk) {
            wire.extend_from_slice(chunk);
        } else {
            stuffer.push(chunk, &mut wire);
        }
    }
    stuffer.finish(&mut wire);
    wire
}

fuzz_target!(|input: &[u8]| {
    if let Ok(Command::Bdat { octets, last }) = Command::parse(input) {
        let again = format!("BDAT {octets}{}", if last { " LAST" } else { "" });
        assert_eq!(Command::parse(again.as_bytes()), Ok(Command::Bdat { octets, last }));
    }

    let bad = first_bad(input, input.len().max(1));
    for size in [1, 3, 64] {
        // Where a chunk ends between CR and what follows, the place is the chunk's beginning.
        assert_eq!(first_bad(input, size).map(|(_, bad)| bad), bad.map(|(_, bad)| bad));
    }
    if bad.is_some() {
        return;
    }
    let wire = stuff(input, input.len().max(1));
    assert_eq!(stuff(input, 1), wire);
    assert_eq!(stuff(input, 5), wire);
    let mut scanner = DataScanner::new(BareEnds::Refuse);
    let scan = scanner.scan(&wire);
    assert!(matches!(scan.state, ScanState::End { terminator } if scan.consumed + terminator == wire.len()));
    let mut back = Vec::new();
    unstuff_into(&wire[..scan.consumed], true, &mut back);
    assert!(back == input || back.strip_suffix(b"\r\n") == Some(input));
});
