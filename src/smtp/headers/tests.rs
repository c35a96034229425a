//! Blocks that come whole, in pieces, malformed and edited.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

const WIDE: HeaderLimits = HeaderLimits::CEILING;

fn field(name: &str, value: &str) -> HeaderField {
    HeaderField::new(name, value).unwrap()
}

fn written(block: &HeaderBlock) -> String {
    let mut out = Vec::new();
    block.write_into(&mut out);
    assert_eq!(out.len(), block.octets());
    String::from_utf8(out).unwrap()
}

/// Scans `content` as it arrives in steps of these sizes.
fn scan(content: &[u8], limits: HeaderLimits, sizes: &[usize]) -> Result<(HeaderBlock, usize), HeaderExcess> {
    let (mut scan, mut at) = (HeaderScan::new(), 0);
    for size in sizes.iter().cycle() {
        if scan.scan(&content[..at], limits)? || at == content.len() {
            break;
        }
        at += (*size).clamp(1, content.len() - at);
    }
    Ok(scan.finish(&content[..at]))
}

#[test]
fn fields_are_kept_octet_for_octet() {
    let text = "Subject : odd\r\nX-Fold: a\r\n\tb\r\n c\r\nEmpty:\r\nsubject:\r\n \u{a0}\r\n\r\nbody: no\r\n";
    let (block, body) = HeaderBlock::parse(text.as_bytes());
    assert_eq!(&text[body..], "body: no\r\n");
    assert_eq!(written(&block), &text[..body]);
    let seen: Vec<_> = block.iter().map(|field| (field.name(), field.value().escape_ascii().to_string())).collect();
    let fold = ("X-Fold", r" a\r\n\tb\r\n c".to_owned());
    assert_eq!(
        seen,
        [("Subject", " odd".into()), fold, ("Empty", String::new()), ("subject", r"\r\n \xc2\xa0".into())]
    );
    assert_eq!(block.count("SUBJECT"), 2);
    assert_eq!(block.get("subject", 0).unwrap().octets(), b"Subject : odd\r\n");
    assert_eq!(block.get("subject", 1).unwrap().name(), "subject");
    assert!(block.get("subject", 2).is_none() && block.get("odd", 0).is_none());
}

#[test]
fn a_message_may_be_all_header_or_none() {
    // content, fields, written, where the body begins
    let cases = [
        ("", 0, "", 0),
        ("\r\n", 0, "\r\n", 2),
        ("\r\nbody\r\n", 0, "\r\n", 2),
        ("A: b\r\n", 1, "A: b\r\n", 6),
        ("A: b\r\n\r\n", 1, "A: b\r\n\r\n", 8),
        // No header: an empty line will stand between our field and this.
        ("body\r\nA: b\r\n\r\n", 0, "\r\n", 0),
        (" fold of nothing\r\n", 0, "\r\n", 0),
        ("\tA: b\r\n", 0, "\r\n", 0),
        (": b\r\n", 0, "\r\n", 0),
        ("From a@b Mon\r\nA: b\r\n", 0, "\r\n", 0),
        ("N\u{e4}me: b\r\n", 0, "\r\n", 0),
        // A line that is no field ends the block where it stands, and nothing is put between.
        ("A: b\r\n>From c\r\nD: e\r\n", 1, "A: b\r\n", 6),
    ];
    for (content, fields, block_text, body) in cases {
        let (block, body_start) = HeaderBlock::parse(content.as_bytes());
        assert_eq!((block.len(), written(&block).as_str(), body_start), (fields, block_text, body), "{content:?}");
        assert_eq!(scan(content.as_bytes(), WIDE, &[1]), Ok((block, body_start)), "{content:?}");
    }
}

#[test]
fn limits_are_limits() {
    let thousand = "A: b\r\n".repeat(1_000) + "\r\n";
    let limits = HeaderLimits { octets_max: thousand.len(), fields_max: 1_000 };
    assert_eq!(scan(thousand.as_bytes(), limits, &[usize::MAX]).unwrap().0.len(), 1_000);
    let one_more = format!("A: b\r\n{thousand}");
    assert_eq!(scan(one_more.as_bytes(), limits, &[77]), Err(HeaderExcess::Octets));
    let limits = HeaderLimits { octets_max: one_more.len(), ..limits };
    assert_eq!(scan(one_more.as_bytes(), limits, &[77]), Err(HeaderExcess::Fields));

    let folded = format!("A: b\r\n{}\r\n", " folded\r\n".repeat(64 * 1_024 / 9));
    let limits = HeaderLimits { octets_max: folded.len() - 2, fields_max: 1 };
    assert_eq!(scan(folded.as_bytes(), limits, &[1_000]).unwrap().0.len(), 1);
    let limits = HeaderLimits { octets_max: folded.len() - 3, fields_max: 1 };
    assert_eq!(scan(folded.as_bytes(), limits, &[1_000]), Err(HeaderExcess::Octets));
    // A line without end is refused before it has one; one that is no field is no header, however long.
    let limits = HeaderLimits { octets_max: 100, fields_max: 1 };
    assert_eq!(scan(&b"A: b".repeat(30), limits, &[usize::MAX]), Err(HeaderExcess::Octets));
    assert_eq!(scan(&b"xxxx".repeat(300), limits, &[usize::MAX]).unwrap().1, 0);
}

#[test]
fn edits_touch_nothing_else() {
    let (mut block, _) = HeaderBlock::parse(b"A : 1\r\nB: 2\r\n\t3\r\na: 4\r\n\r\n");
    block.insert(0, &field("Top", " t"));
    block.insert(2, &field("Mid", " m"));
    block.append(&field("End", " e\r\n f"));
    block.insert(99, &field("Last", ""));
    assert_eq!(block.change("A", 1, Some(b" five")), Ok(true));
    assert_eq!(block.change("b", 0, None), Ok(true));
    assert_eq!(block.change("b", 0, Some(b" x")), Ok(false));
    assert_eq!(block.change("a", 0, Some(b" x\r\nEvil: y")), Err(FieldError::LineEnd));
    assert_eq!(written(&block), "Top: t\r\nA : 1\r\nMid: m\r\na: five\r\nEnd: e\r\n f\r\nLast:\r\n\r\n");

    let (mut bodiless, _) = HeaderBlock::parse(b"A: 1");
    bodiless.append(&field("B", " 2"));
    assert_eq!(written(&bodiless), "A: 1\r\nB: 2\r\n");
    bodiless.separate_body();
    assert_eq!(written(&bodiless), "A: 1\r\nB: 2\r\n\r\n");
}

#[test]
fn what_is_no_field_is_not_made() {
    for name in ["", "a b", "a:", "a\r\nb", "\u{e9}", "a\0", &"x".repeat(999)] {
        assert_eq!(validate_field(name, b" v"), Err(FieldError::Name), "{name:?}");
    }
    let long = "x".repeat(998);
    let cases: [(&str, Option<FieldError>); 18] = [
        ("", None),
        (" v", None),
        (" ", None),
        (" a\r\n b\r\n\tc", None),
        ("\r\n a", None),
        (" a\r\n", Some(FieldError::LineEnd)),
        (" a\r\nb", Some(FieldError::LineEnd)),
        (" a\r\n\r\n b", Some(FieldError::LineEnd)),
        (" a\n b", Some(FieldError::LineEnd)),
        (" a\r b", Some(FieldError::LineEnd)),
        (" a\r\r\n b", Some(FieldError::LineEnd)),
        (" a\r\n b\n", Some(FieldError::LineEnd)),
        (" a\r\n \r\n b", Some(FieldError::EmptyFold)),
        (" a\r\n\t ", Some(FieldError::EmptyFold)),
        (" a\0", Some(FieldError::Nul)),
        (&long, Some(FieldError::LongLine)),
        (&format!(" a\r\n {long}"), Some(FieldError::LongLine)),
        (&" x\r\n".repeat(20_000), Some(FieldError::LongValue)),
    ];
    for (value, error) in cases {
        assert_eq!(validate_field("X", value.as_bytes()).err(), error, "{value:?}");
    }
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just("\r\n"), 3 => Just("Name: value\r\n"), 2 => Just("A"), 2 => Just(":"), 2 => Just(" "),
        1 => Just("\t"), 1 => Just("\r"), 1 => Just("\n"), 1 => Just("\u{e9}"), 1 => Just("a b"),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn split_anywhere_is_the_same_as_whole(content in content(), sizes in vec(1_usize..20, 1..5), limit in 0_usize..60) {
        let limits = HeaderLimits { octets_max: limit, fields_max: 3 };
        let whole = scan(&content, limits, &[usize::MAX]);
        prop_assert_eq!(&scan(&content, limits, &[1]), &whole);
        prop_assert_eq!(&scan(&content, limits, &sizes), &whole);
    }

    #[test]
    fn block_and_body_are_the_message(content in content()) {
        let (block, body) = HeaderBlock::parse(&content);
        let mut out = Vec::new();
        block.write_into(&mut out);
        out.extend_from_slice(&content[body..]);
        let no_header = body == 0 && block.is_empty() && !content.is_empty();
        let cut_short = body == content.len() && !block.is_empty() && !content.ends_with(b"\r\n");
        let before: &[u8] = if no_header { b"\r\n" } else { b"" };
        let after: &[u8] = if cut_short { b"\r\n" } else { b"" };
        prop_assert_eq!(out, [before, &content, after].concat());
    }

    #[test]
    fn a_made_field_is_one_field(name in "[A-Za-z-]{1,9}", value in "[ -~\r\n\t]{0,30}") {
        if let Ok(made) = HeaderField::new(name.clone(), value.clone()) {
            let mut text = Vec::new();
            made.write_into(&mut text);
            text.extend_from_slice(b"Next: field\r\n\r\n");
            let (block, _) = HeaderBlock::parse(&text);
            prop_assert_eq!(block.len(), 2);
            prop_assert_eq!(block.at(0).unwrap().name(), name);
            prop_assert_eq!(block.at(0).unwrap().value(), value.as_bytes());
        }
    }
}
