//! Lines are the same however they arrive, none is longer than its limit, and no octet is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmilter::smtp::line::{LineEnd, LineScan, Skipped, find_line, skip_line};

const OCTETS_MAX: usize = 32;

fn read(input: &[u8], size: usize) -> Vec<(Vec<u8>, Option<LineEnd>)> {
    let (mut buffer, mut skipping, mut lines) = (Vec::new(), false, Vec::new());
    for piece in input.chunks(size) {
        buffer.extend_from_slice(piece);
        while !buffer.is_empty() {
            let consumed = if skipping {
                match skip_line(&buffer) {
                    Skipped::Ended { consumed } => {
                        skipping = false;
                        consumed
                    }
                    Skipped::More { consumed } => consumed,
                }
            } else {
                match find_line(&buffer, OCTETS_MAX) {
                    LineScan::Line { text, consumed, end } => {
                        assert!(consumed <= OCTETS_MAX && !text.contains(&b'\n'));
                        assert_eq!(end == LineEnd::BareCr, end != LineEnd::BareLf && text.contains(&b'\r'));
                        lines.push((text.to_vec(), Some(end)));
                        consumed
                    }
                    LineScan::TooLong { consumed } => {
                        lines.push((Vec::new(), None));
                        skipping = true;
                        consumed
                    }
                    LineScan::Incomplete => break,
                }
            };
            buffer.drain(..consumed);
        }
        assert!(buffer.len() < OCTETS_MAX);
    }
    lines
}

fuzz_target!(|input: &[u8]| {
    let whole = read(input, input.len().max(1));
    assert_eq!(read(input, 1), whole);
    assert_eq!(read(input, 5), whole);
});
