//! Messages in parts, whole and cut into pieces.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use proptest::prelude::*;

use super::*;

const MIXED: &str = " multipart/mixed; boundary=\"b 1\"";

fn limits(depth_max: u32, parts_max: u32) -> PartLimits {
    PartLimits { depth_max, parts_max }
}

fn scan(content_type: &str, body: &str, limits: PartLimits) -> Result<(u32, u32), PartExcess> {
    let mut scan = PartScan::new(Some(content_type.as_bytes()), limits)?;
    scan.push(body.as_bytes())?;
    Ok((scan.parts, scan.depth))
}

#[test]
fn text_has_no_parts_and_costs_nothing() {
    for plain in
        ["", " text/plain; boundary=x", " multipart/mixed", " multipart/mixed; boundary=\"\"", " application/pdf"]
    {
        assert!(PartScan::new(Some(plain.as_bytes()), limits(0, 0)).unwrap().is_done(), "{plain}");
    }
    assert!(PartScan::new(None, limits(0, 0)).unwrap().is_done());
}

#[test]
fn parts_are_counted_and_the_last_delimiter_is_none() {
    let body = "preamble\r\n--b 1\r\n\r\none\r\n--b 1  \r\n\r\ntwo\r\n--b 1--\r\nepilogue\r\n--b 1\r\n";
    assert_eq!(scan(MIXED, body, limits(1, 2)), Ok((2, 1)));
    assert_eq!(scan(MIXED, body, limits(1, 1)), Err(PartExcess::Parts));
    assert_eq!(scan(MIXED, body, limits(0, 9)), Err(PartExcess::Depth));
    assert_eq!(scan(MIXED, "--b 2\r\n--b\r\n - -b 1\r\nx--b 1\r\n---b 1\r\n", limits(1, 9)), Ok((0, 1)));
}

#[test]
fn what_is_inside_is_deeper() {
    let nested = "--b 1\r\nX: y\r\nCONTENT-TYPE : Multipart/Alternative;\r\n\tboundary=in\r\n\r\n--in\r\n\r\na\r\n--in\r\n\r\nb\r\n";
    assert_eq!(scan(MIXED, nested, limits(2, 3)), Ok((3, 2)));
    assert_eq!(scan(MIXED, nested, limits(1, 3)), Err(PartExcess::Depth));
    let back = format!("{nested}--b 1\r\n\r\nouter again\r\n--in\r\n--b 1--\r\n");
    assert_eq!(scan(MIXED, &back, limits(2, 4)), Ok((4, 1)), "an outer delimiter ends what is inside");
}

#[test]
fn a_message_in_a_message_is_deeper_and_its_header_counts() {
    let forwarded = "Subject: x\nContent-Type: multipart/mixed; boundary=z\n\n--z\nContent-Type: message/rfc822\n\nSubject: y\n\ntext\n--z--\n";
    assert_eq!(scan(" message/rfc822", forwarded, limits(3, 1)).map(|(parts, _)| parts), Ok(1));
    assert_eq!(scan(" message/rfc822", forwarded, limits(2, 1)), Err(PartExcess::Depth));
    // Messages in messages without a multipart.
    let chain = "Content-Type: message/global\r\n\r\n".repeat(50);
    assert_eq!(scan(" message/rfc822", &chain, limits(51, 0)).map(|(_, depth)| depth), Ok(51));
    assert_eq!(scan(" message/rfc822", &chain, limits(50, 0)), Err(PartExcess::Depth));
}

#[test]
fn boundaries_are_found_where_readers_find_them() {
    let found = |content_type: &str| match Kind::of(content_type.as_bytes()) {
        Kind::Multipart(boundary) => String::from_utf8(boundary.into_vec()).unwrap(),
        other => format!("{other:?}"),
    };
    assert_eq!(found(" multipart/mixed; charset=x; Boundary=abc"), "abc");
    assert_eq!(found(" multipart/mixed;\r\n\tboundary=\"a;b=c \\\"\";x=y"), "a;b=c");
    assert_eq!(found(" multipart/mixed; a=\"; boundary=no\"; boundary=yes (comment)"), "yes");
    assert_eq!(found(&format!("multipart/x; boundary={}", "b".repeat(500))), "b".repeat(BOUNDARY_OCTETS_KEPT_MAX));
    assert_eq!(found(" multipart"), "Other");
}

#[test]
fn a_field_without_end_is_kept_in_bounds() {
    let mut scan = PartScan::new(Some(MIXED.as_bytes()), limits(9, 9)).unwrap();
    scan.push(b"--b 1\r\nContent-Type: multipart/mixed;\r\n").unwrap();
    for _ in 0..1_000 {
        scan.push(" x=\"".repeat(100).as_bytes()).unwrap();
        scan.push(b"\r\n").unwrap();
        assert!(scan.line.capacity() <= 2 * LINE_OCTETS_KEPT_MAX);
        let Reading::Header { content_type, .. } = &scan.reading else { panic!("still a header") };
        assert!(content_type.len() <= FIELD_OCTETS_KEPT_MAX);
    }
}

proptest! {
    #[test]
    fn cut_anywhere_is_the_same_as_whole(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("--b 1\r\n"), Just("--b 1--\r\n"), Just("\r\n"), Just("\n"), Just("-"), Just("--"), Just("x"),
                Just("Content-Type: multipart/x; boundary=in\r\n"), Just("--in\r\n"), Just("--in--\r\n"), Just(" "),
                Just("Content-Type: message/rfc822\r\n"),
            ],
            0..40,
        ),
        sizes in proptest::collection::vec(1_usize..9, 1..9),
    ) {
        let body = pieces.concat();
        let whole = scan(MIXED, &body, limits(4, 6));
        let mut split = PartScan::new(Some(MIXED.as_bytes()), limits(4, 6)).unwrap();
        let (mut rest, mut sizes) = (body.as_bytes(), sizes.into_iter().cycle());
        let outcome = loop {
            let (piece, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            rest = after;
            if let Err(excess) = split.push(piece) {
                break Err(excess);
            }
            if rest.is_empty() {
                break Ok((split.parts, split.depth));
            }
        };
        prop_assert_eq!(outcome, whole);
    }
}
