//! The scanner against a naive one, octet by octet; and smuggling, tried.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Everything a scan of `input` in pieces of these sizes comes to: the octets that were passed, how it ended,
/// and what was left unread.
fn scan_all(scanner: &mut DataScanner, input: &[u8], sizes: &[usize]) -> (Vec<u8>, ScanState, Vec<u8>) {
    let (mut passed, mut buffer, mut at) = (Vec::new(), Vec::new(), 0);
    let mut sizes = sizes.iter().cycle();
    loop {
        let scan = scanner.scan(&buffer);
        passed.extend(buffer.drain(..scan.consumed));
        match scan.state {
            ScanState::More => assert!(buffer.len() <= HELD_OCTETS_MAX, "held {buffer:?}"),
            state => {
                buffer.extend_from_slice(&input[at..]);
                return (passed, state, buffer);
            }
        }
        if at == input.len() {
            return (passed, ScanState::More, buffer);
        }
        let size = (*sizes.next().unwrap()).clamp(1, input.len() - at);
        buffer.extend_from_slice(&input[at..at + size]);
        at += size;
    }
}

fn scan_whole(bare: BareEnds, input: &[u8]) -> (Vec<u8>, ScanState, Vec<u8>) {
    scan_all(&mut DataScanner::new(bare), input, &[usize::MAX])
}

/// The same in the plainest words: where the message ends, and the first octet that may not be in it.
fn naive(bare: BareEnds, input: &[u8]) -> (usize, ScanState) {
    let end = if input.starts_with(b".\r\n") { Some(0) } else { find(input, b"\r\n.\r\n").map(|at| at + 2) };
    let content = &input[..end.unwrap_or(input.len())];
    for (at, &octet) in content.iter().enumerate() {
        let after_cr = at > 0 && content[at - 1] == b'\r';
        // A CR at the end, or one behind a dot that may begin the end of data, is not bare yet.
        let next = input.get(at + 1);
        let bad = match octet {
            0 => Some(BadOctet::Nul),
            b'\r' if bare == BareEnds::Refuse && next.is_some_and(|&n| n != b'\n') => Some(BadOctet::BareCr),
            b'\n' if bare == BareEnds::Refuse && !after_cr => Some(BadOctet::BareLf),
            _ => None,
        };
        if let Some(bad) = bad {
            return (at, ScanState::Bad(bad));
        }
    }
    match end {
        Some(end) => (end, ScanState::End { terminator: 3 }),
        None => {
            let line_start = content.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
            let begins = line_start == 0 || content[..line_start].ends_with(b"\r\n");
            let held = match &content[line_start..] {
                b"." if begins => 1,
                b".\r" if begins => 2,
                rest => usize::from(rest.ends_with(b"\r")),
            };
            (content.len() - held, ScanState::More)
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Line ends, dots and NULs close together; now and then enough text to fill blocks.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => Just(b"\r\n".to_vec()),
        4 => Just(b".".to_vec()),
        2 => Just(b"a".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n.\r\n".to_vec()),
        1 => Just(b"\0".to_vec()),
        1 => (2_040_usize..2_056).prop_map(|octets| vec![b'x'; octets]),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![1]), vec(1_usize..6, 1..6), vec(1_usize..3_000, 1..6)]
}

proptest! {
    #[test]
    fn the_scanner_is_the_naive_one_however_octets_arrive(input in hostile(), sizes in sizes()) {
        for bare in [BareEnds::Refuse, BareEnds::Allow] {
            let (consumed, state) = naive(bare, &input);
            let (passed, seen, left) = scan_all(&mut DataScanner::new(bare), &input, &sizes);
            prop_assert_eq!(&passed, &input[..consumed]);
            prop_assert_eq!(seen, state);
            prop_assert_eq!(&left, &input[consumed..]);
        }
    }

    #[test]
    fn no_end_of_data_is_ever_among_what_is_passed_on(input in hostile(), sizes in sizes()) {
        let mut scanner = DataScanner::new(BareEnds::Refuse);
        let (mut passed, mut state, mut left) = scan_all(&mut scanner, &input, &sizes);
        if matches!(state, ScanState::Bad(_)) {
            scanner.skip_rest();
            let (more, then, after) = scan_all(&mut scanner, &left, &sizes);
            passed.extend(more);
            (state, left) = (then, after);
        }
        prop_assert!(!matches!(state, ScanState::Bad(_)));
        prop_assert!(!passed.starts_with(b".\r\n") && find(&passed, b"\r\n.\r\n").is_none());
        if state != ScanState::More {
            prop_assert!(left.starts_with(b".\r\n"));
        }
    }

    #[test]
    fn dots_are_counted_as_they_are_removed(input in hostile(), sizes in sizes()) {
        let mut scanner = DataScanner::new(BareEnds::Allow);
        let (passed, ..) = scan_all(&mut scanner, &input, &sizes);
        let mut content = Vec::new();
        let dots = unstuff_into(&passed, true, &mut content);
        prop_assert_eq!(dots as u64, scanner.stuffed_dots());
        prop_assert_eq!(content.len() + dots, passed.len());
        let mut again = Vec::new();
        Stuffer::new().push(&content, &mut again);
        prop_assert_eq!(scanner.lone_dots() == 0, again == passed, "what has no lone dot is as it is sent on");
    }

    #[test]
    fn unstuffing_undoes_stuffing(content in hostile(), cuts in sizes()) {
        let mut wire = Vec::new();
        let mut stuffer = Stuffer::new();
        let mut rest = content.as_slice();
        for size in cuts.iter().cycle() {
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            stuffer.push(chunk, &mut wire);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        stuffer.finish(&mut wire);

        let mut scanner = DataScanner::new(BareEnds::Allow);
        scanner.skip_rest();
        let (passed, state, left) = scan_all(&mut scanner, &wire, &cuts);
        prop_assert_eq!(state, ScanState::End { terminator: 3 });
        prop_assert_eq!(left, b".\r\n");
        let mut back = Vec::new();
        unstuff_into(&passed, true, &mut back);
        let lacks_end = !content.is_empty() && !content.ends_with(b"\r\n");
        prop_assert_eq!(back, [content.as_slice(), if lacks_end { b"\r\n" } else { b"" }].concat());
    }

    #[test]
    fn chunks_become_data_and_data_is_what_they_were(content in hostile(), cuts in sizes()) {
        let (mut wire, mut stuffer, mut rest) = (Vec::new(), Stuffer::new(), content.as_slice());
        for size in cuts.iter().cycle() {
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            if stuffer.pass(chunk) {
                wire.extend_from_slice(chunk);
            } else {
                stuffer.push(chunk, &mut wire);
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        wire.extend_from_slice(stuffer.end());
        let mut whole = Vec::new();
        let mut stuffer = Stuffer::new();
        stuffer.push(&content, &mut whole);
        stuffer.finish(&mut whole);
        prop_assert_eq!(&wire, &whole);
        let end = find(&wire, b"\r\n.\r\n").map(|at| at + 2).or(wire.starts_with(b".\r\n").then_some(0));
        prop_assert_eq!(end, Some(wire.len() - 3), "one end of data, at the end");
        let mut back = Vec::new();
        unstuff_into(&wire[..wire.len() - 3], true, &mut back);
        let lacks_end = !content.is_empty() && !content.ends_with(b"\r\n");
        prop_assert_eq!(back, [content.as_slice(), if lacks_end { b"\r\n" } else { b"" }].concat());
    }

    #[test]
    fn counted_content_is_judged_as_data_is(content in hostile(), cuts in sizes()) {
        for bare in [BareEnds::Refuse, BareEnds::Allow] {
            let expected = content.iter().enumerate().find_map(|(at, &octet)| match octet {
                0 => Some(BadOctet::Nul),
                b'\n' if bare == BareEnds::Refuse && !content[..at].ends_with(b"\r") => Some(BadOctet::BareLf),
                b'\r' if bare == BareEnds::Refuse && content.get(at + 1) != Some(&b'\n') => Some(BadOctet::BareCr),
                _ => None,
            });
            let (mut scanner, mut rest, mut seen) = (ContentScanner::new(bare), content.as_slice(), None);
            for size in cuts.iter().cycle() {
                let (chunk, after) = rest.split_at((*size).min(rest.len()));
                seen = scanner.scan(chunk).map(|(at, bad)| {
                    assert!(at < chunk.len());
                    bad
                });
                rest = after;
                if rest.is_empty() || seen.is_some() {
                    break;
                }
            }
            prop_assert_eq!(seen.or(scanner.end()), expected);
            scanner.skip_rest();
            prop_assert_eq!((scanner.scan(&content), scanner.end()), (None, None));
        }
        prop_assert_eq!(ContentScanner::binary().scan(&content), None);
    }

    #[test]
    fn normalized_is_normal_whatever_the_chunks(content in hostile(), cuts in sizes()) {
        let mut whole = Vec::new();
        Normalizer::new().push(&content, &mut whole);
        let mut parts = Vec::new();
        let (mut normalizer, mut rest) = (Normalizer::new(), content.as_slice());
        for size in cuts.iter().cycle() {
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            normalizer.push(chunk, &mut parts);
            normalizer.push(b"", &mut parts);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&parts, &whole);
        for (at, &octet) in whole.iter().enumerate() {
            prop_assert_eq!(octet == b'\r', whole.get(at + 1) == Some(&b'\n'));
        }
        let mut again = Vec::new();
        Normalizer::new().push(&whole, &mut again);
        prop_assert_eq!(again, whole);
    }

    #[test]
    fn nothing_smuggled_survives_normalizing(input in hostile(), sizes in sizes()) {
        let wire = forward(&input, &sizes);
        prop_assert!(find(&wire[..wire.len() - 3], b"\r\n.\r\n").is_none_or(|at| at + 5 > wire.len()));
        for (at, &octet) in wire.iter().enumerate() {
            prop_assert_eq!(octet == b'\r', wire.get(at + 1) == Some(&b'\n'));
        }
    }
}

/// The whole road of a message under `normalize`: scan, unstuff, normalize, stuff, finish.
fn forward(input: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (passed, ..) = {
        let mut scanner = DataScanner::new(BareEnds::Allow);
        scanner.skip_rest();
        scan_all(&mut scanner, input, sizes)
    };
    let (mut content, mut normal, mut wire) = (Vec::new(), Vec::new(), Vec::new());
    unstuff_into(&passed, true, &mut content);
    Normalizer::new().push(&content, &mut normal);
    let mut stuffer = Stuffer::new();
    stuffer.push(&normal, &mut wire);
    stuffer.finish(&mut wire);
    wire
}

#[test]
fn only_crlf_dot_crlf_ends_data() {
    let (passed, state, left) = scan_whole(BareEnds::Refuse, b"a\r\n.\r\nQUIT\r\n");
    assert_eq!((passed.as_slice(), left.as_slice()), (b"a\r\n".as_slice(), b".\r\nQUIT\r\n".as_slice()));
    assert_eq!(state, ScanState::End { terminator: 3 });
    // A message of nothing at all.
    assert_eq!(scan_whole(BareEnds::Refuse, b".\r\n"), (vec![], ScanState::End { terminator: 3 }, b".\r\n".to_vec()));
    // A first line of two dots is a line with one dot.
    let (passed, state, _) = scan_whole(BareEnds::Refuse, b"..\r\n.\r\n");
    assert_eq!((passed.as_slice(), state), (b"..\r\n".as_slice(), ScanState::End { terminator: 3 }));
}

#[test]
fn other_ends_of_data_are_refused_where_they_stand() {
    let cases: [(&[u8], usize, BadOctet); 9] = [
        (b"a\n.\n", 1, BadOctet::BareLf),
        (b"a\n.\r\n", 1, BadOctet::BareLf),
        (b"a\r\n.\n", 4, BadOctet::BareLf),
        (b"a\r\n.\r\r\n", 4, BadOctet::BareCr),
        (b"a\r.\r\n", 1, BadOctet::BareCr),
        (b"a\r\r\n.\r\n", 1, BadOctet::BareCr),
        (b"a\r\n\n.\r\n", 3, BadOctet::BareLf),
        (b"\n.\r\n", 0, BadOctet::BareLf),
        (b"a\0b\r\n.\r\n", 1, BadOctet::Nul),
    ];
    for (input, at, octet) in cases {
        let (passed, state, _) = scan_whole(BareEnds::Refuse, input);
        assert_eq!((passed.len(), state), (at, ScanState::Bad(octet)), "{:?}", input.escape_ascii().to_string());
    }
}

#[test]
fn a_lost_message_is_read_to_its_real_end() {
    let input = b"a\n.\nMAIL FROM:<x@y>\r\n.\r\nQUIT\r\n";
    let mut scanner = DataScanner::new(BareEnds::Refuse);
    let bad = scanner.scan(input);
    assert_eq!(bad.state, ScanState::Bad(BadOctet::BareLf));
    scanner.skip_rest();
    let end = scanner.scan(&input[bad.consumed..]);
    assert_eq!(end.state, ScanState::End { terminator: 3 });
    assert_eq!(&input[bad.consumed + end.consumed..], b".\r\nQUIT\r\n");
}

#[test]
fn smuggled_ends_of_data_become_content() {
    let cases: [(&[u8], &[u8]); 4] = [
        (b"a\n.\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\n.\r\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r.\rb\r\n.\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r\n..\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
    ];
    for (input, wire) in cases {
        assert_eq!(forward(input, &[usize::MAX]), wire, "{:?}", input.escape_ascii().to_string());
        assert_eq!(forward(input, &[1]), wire, "{:?}", input.escape_ascii().to_string());
    }
}
