//! What is passed on never holds an end of data, and the whole road of a message (scan, unstuff, normalize,
//! stuff) ends in exactly one, at its end, however the octets arrive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmilter::smtp::body::{BareEnds, DataScanner, Normalizer, ScanState, Stuffer, unstuff_into};

/// Octets passed on in wire form, and the same as content.
fn receive(bare: BareEnds, input: &[u8], size: usize) -> (Vec<u8>, Vec<u8>, ScanState) {
    let mut scanner = DataScanner::new(bare);
    let (mut buffer, mut wire, mut content) = (Vec::new(), Vec::new(), Vec::new());
    let mut state = ScanState::More;
    for piece in input.chunks(size) {
        buffer.extend_from_slice(piece);
        let at_line_start = scanner.at_line_start();
        let scan = scanner.scan(&buffer);
        unstuff_into(&buffer[..scan.consumed], at_line_start, &mut content);
        wire.extend(buffer.drain(..scan.consumed));
        state = scan.state;
        if state != ScanState::More {
            break;
        }
    }
    assert_eq!(wire.len() as u64, content.len() as u64 + scanner.stuffed_dots());
    (wire, content, state)
}

fn ends_of_data(wire: &[u8]) -> usize {
    usize::from(wire.starts_with(b".\r\n")) + wire.windows(5).filter(|octets| octets == b"\r\n.\r\n").count()
}

fuzz_target!(|input: &[u8]| {
    for bare in [BareEnds::Refuse, BareEnds::Allow] {
        let whole = receive(bare, input, input.len().max(1));
        assert_eq!(receive(bare, input, 1), whole);
        assert_eq!(receive(bare, input, 3), whole);
        let (wire, content, _) = whole;
        assert_eq!(ends_of_data(&wire), 0);

        let (mut normal, mut out) = (Vec::new(), Vec::new());
        Normalizer::new().push(&content, &mut normal);
        if bare == BareEnds::Refuse && content.last() != Some(&b'\r') {
            assert_eq!(normal, content);
        }
        let mut stuffer = Stuffer::new();
        normal.chunks(7).for_each(|chunk| stuffer.push(chunk, &mut out));
        stuffer.finish(&mut out);
        assert!(ends_of_data(&out) == 1 && out.ends_with(b".\r\n"));
        for (at, &octet) in out.iter().enumerate() {
            assert_eq!(octet == b'\r', out.get(at + 1) == Some(&b'\n'));
        }
        let (_, back, state) = receive(BareEnds::Refuse, &out, 4_096);
        assert_eq!(state, ScanState::End { terminator: 3 });
        assert!(back.starts_with(&normal) && back.len() <= normal.len() + 2);
    }
});
