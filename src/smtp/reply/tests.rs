//! Replies of good and of bad upstreams, and ours on the wire.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;

fn encoded(reply: &Reply) -> String {
    let mut out = Vec::new();
    reply.encode(&mut out);
    String::from_utf8(out).unwrap()
}

fn parse(octets: impl AsRef<[u8]>) -> Result<ParsedReply, ReplyError> {
    let octets = octets.as_ref();
    let (consumed, reply) = ReplyParser::new().feed(octets)?;
    assert_eq!(consumed, octets.len());
    Ok(reply.expect("a whole reply"))
}

fn reply(octets: impl AsRef<[u8]>) -> Reply {
    let parsed = parse(octets).unwrap();
    assert!(!parsed.cut);
    parsed.reply
}

#[test]
fn enhanced_codes_are_exact() {
    assert_eq!(Enhanced::parse("5.7.509"), Some(Enhanced::new(5, 7, 509)));
    assert_eq!(Enhanced::parse("2.0.0").unwrap().to_string(), "2.0.0");
    for text in [
        "", "5", "5.7", "5.7.", "5.7.1.", "5.7.1.1", "3.0.0", "1.0.0", "5.07.1", "5.7.1000", "5.-1.0", "5.+1.0",
        "5.7.1x",
    ] {
        assert_eq!(Enhanced::parse(text), None, "{text}");
    }
}

#[test]
fn every_line_has_its_codes() {
    let two = Reply::fixed(250, Some(Enhanced::new(2, 1, 0)), "one\ntwo");
    assert_eq!(encoded(&two), "250-2.1.0 one\r\n250 2.1.0 two\r\n");
    assert_eq!(encoded(&Reply::fixed(354, None, "Go")), "354 Go\r\n");
    assert_eq!(encoded(&Reply::fixed(334, None, "")), "334 \r\n");
    assert_eq!(encoded(&Reply::fixed(250, Some(Enhanced::new(2, 0, 0)), "\nx")), "250-2.0.0\r\n250 2.0.0 x\r\n");
    assert_eq!(two.to_string(), "250 2.1.0 one / two");
}

#[test]
fn no_text_breaks_out_of_its_line() {
    let evil = Reply::new(550, None, "a\r250 ok\tb\0c\u{9b}d\u{e9}");
    assert_eq!(encoded(&evil), "550 a?250 ok b?c?d\u{e9}\r\n");
    let long = Reply::new(550, Some(Enhanced::new(5, 7, 509)), "\u{e9}".repeat(400));
    let wire = encoded(&long);
    assert_eq!((wire.len(), wire.ends_with("\u{e9}\r\n")), (510, true));
}

#[test]
fn replies_are_read_as_they_stand() {
    assert_eq!(reply("250 2.1.0 Ok\r\n"), Reply::fixed(250, Some(Enhanced::new(2, 1, 0)), "Ok"));
    assert_eq!(reply("550-5.7.509 a\r\n550 5.7.509  b\n").text, "a\n b");
    assert_eq!(reply("550-5.7.509 a\r\n550 5.7.509 b\n").enhanced, Some(Enhanced::new(5, 7, 509)));
    assert_eq!(reply("250\r\n"), Reply::fixed(250, None, ""));
    assert_eq!(reply("250 \r\n"), Reply::fixed(250, None, ""));
    assert_eq!(reply("250 2.0.0\r\n"), Reply::fixed(250, Some(Enhanced::new(2, 0, 0)), ""));
    // Of another class, or of another line: text.
    assert_eq!(reply("250 5.1.1 odd\r\n"), Reply::fixed(250, None, "5.1.1 odd"));
    assert_eq!(reply("550-5.1.1 a\r\n550 5.7.1 b\r\n").text, "a\n5.7.1 b");
    assert_eq!(reply("250-mx\r\n250-SIZE 10\r\n250 X\r\n").text, "mx\nSIZE 10\nX");
    assert_eq!(reply(b"250 caf\xe9 \xc3\xa9 \x07\r\r\n").text, "caf? \u{e9} ??");
}

#[test]
fn what_is_missing_is_added_where_there_is_a_class_for_it() {
    let codes = |text: &str| reply(text).with_enhanced_default().enhanced.map(|code| code.to_string());
    assert_eq!(codes("250 ok\r\n").as_deref(), Some("2.0.0"));
    assert_eq!(codes("450 no\r\n").as_deref(), Some("4.0.0"));
    assert_eq!(codes("554 5.4.6 no\r\n").as_deref(), Some("5.4.6"));
    assert_eq!(codes("354 go\r\n"), None);
}

#[test]
fn nonsense_is_an_error_at_once() {
    for octets in
        ["999 x\r\n", "199 x\r\n", "600 x\r\n", "25 x\r\n", "\r\n", "250x\r\n", "HTTP/1.1 200 OK", "25a ", "250_"]
    {
        assert_eq!(ReplyParser::new().feed(octets.as_bytes()), Err(ReplyError::NoCode), "{octets}");
    }
    assert_eq!(parse("250-a\r\n251 b\r\n"), Err(ReplyError::CodesDiffer(250, 251)));
}

#[test]
fn a_group_is_read_reply_by_reply() {
    let group = b"250 a\r\n451-b\r\n451 c\r\n354 d\r\n25";
    let (mut parser, mut at, mut seen) = (ReplyParser::new(), 0, Vec::new());
    while let (consumed, Some(parsed)) = parser.feed(&group[at..]).unwrap() {
        at += consumed;
        seen.push((parsed.reply.code, parsed.reply.text.into_owned()));
    }
    assert_eq!(seen, [(250, "a".into()), (451, "b\nc".into()), (354, "d".into())]);
    assert!(!parser.is_idle());
    assert_eq!(parser.feed(b"0 e\r\n").unwrap().1.unwrap().reply.text, "e");
    assert!(parser.is_idle());
}

#[test]
fn too_much_is_cut_but_read_to_its_end() {
    let many = "250-x\r\n".repeat(5_000) + "250 end\r\n";
    let parsed = parse(&many).unwrap();
    assert_eq!((parsed.reply.code, parsed.reply.lines().count(), parsed.cut), (250, UPSTREAM_REPLY_LINES_MAX, true));

    let wide = format!("250-{}\r\n", "x".repeat(500)).repeat(90) + "250 end\r\n";
    let parsed = parse(&wide).unwrap();
    assert!(parsed.cut && parsed.reply.text.len() <= UPSTREAM_REPLY_TEXT_OCTETS_MAX);

    let line = format!("250 {}\r\n", "x".repeat(4_000));
    assert_eq!(reply(&line).text.len(), REPLY_LINE_OCTETS_MAX);
    let parsed = parse(format!("250 {}\r\n", "x".repeat(5_000))).unwrap();
    assert_eq!((parsed.reply.code, parsed.cut), (250, true));

    let endless = "250-x\r\n".repeat(UPSTREAM_REPLY_OCTETS_MAX / 7 + 1);
    assert_eq!(ReplyParser::new().feed(endless.as_bytes()), Err(ReplyError::TooLong));
    let mut parser = ReplyParser::new();
    assert_eq!(parser.feed(b"250 "), Ok((4, None)));
    let refused = (0..2_000).find_map(|_| parser.feed(&[b'x'; 1_024]).err());
    assert_eq!(refused, Some(ReplyError::TooLong));
    assert!(parser.line.len() <= UPSTREAM_REPLY_LINE_OCTETS_MAX);
}

/// Everything that comes of `octets` in pieces of these sizes.
fn read(octets: &[u8], sizes: &[usize]) -> (Vec<ParsedReply>, Option<ReplyError>) {
    let (mut parser, mut replies, mut rest) = (ReplyParser::new(), Vec::new(), octets);
    for size in sizes.iter().cycle() {
        let (mut piece, after) = rest.split_at((*size).min(rest.len()));
        while !piece.is_empty() {
            match parser.feed(piece) {
                Ok((consumed, parsed)) => {
                    replies.extend(parsed);
                    piece = &piece[consumed..];
                }
                Err(error) => return (replies, Some(error)),
            }
        }
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    (replies, None)
}

proptest! {
    #[test]
    fn split_anywhere_is_the_same_as_whole(
        pieces in proptest::collection::vec(prop_oneof![
            4 => Just("250-"), 3 => Just("250 "), 2 => Just("250"), 4 => Just("\r\n"), 2 => Just("2.1.0 "), 2 => Just("text"), 1 => Just("\n"),
            1 => Just("550 5.7.1 no\r\n"), 1 => Just("9"),
        ], 0..20),
        sizes in proptest::collection::vec(1_usize..7, 1..5),
    ) {
        let octets = pieces.concat();
        let whole = read(octets.as_bytes(), &[usize::MAX]);
        prop_assert_eq!(&read(octets.as_bytes(), &[1]), &whole);
        prop_assert_eq!(&read(octets.as_bytes(), &sizes), &whole);
    }

    #[test]
    fn encode_is_read_back(
        code in 200_u16..600,
        text in "[ -~é]{0,40}(\n[ -~é]{0,40}){0,3}",
        (subject, detail) in (0_u16..1_000, 0_u16..1_000),
    ) {
        let class = u8::try_from(code / 100).unwrap();
        let said = Reply::new(code, (class != 3).then(|| Enhanced::new(class, subject, detail)), text);
        prop_assert_eq!(reply(encoded(&said)), said);
    }

    #[test]
    fn whatever_the_text_it_is_one_reply(code in 200_u16..600, text: String) {
        let wire = encoded(&Reply::new(code, None, text.clone()));
        prop_assert!(wire.split_inclusive("\r\n").all(|line| line.len() <= REPLY_LINE_OCTETS_MAX));
        prop_assert!(!wire.replace("\r\n", "").contains(char::is_control));
        prop_assert_eq!(parse(&wire).unwrap().reply.code, code);
        prop_assert_eq!(wire.matches("\r\n").count(), text.split('\n').count());
    }
}
