//! An upstream's octets give the same replies whole and one by one, and every reply is one reply when it is
//! said again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmilter::smtp::{Offer, ParsedReply, ReplyError, ReplyParser};

fn read(octets: &[u8], size: usize) -> (Vec<ParsedReply>, Option<ReplyError>) {
    let (mut parser, mut replies) = (ReplyParser::new(), Vec::new());
    for mut piece in octets.chunks(size) {
        while !piece.is_empty() {
            match parser.feed(piece) {
                Ok((consumed, reply)) => {
                    replies.extend(reply);
                    piece = &piece[consumed..];
                }
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

fuzz_target!(|octets: &[u8]| {
    let whole = read(octets, octets.len().max(1));
    assert_eq!(read(octets, 1), whole);
    assert_eq!(read(octets, 3), whole);
    for parsed in whole.0 {
        let _ = Offer::parse(&parsed.reply);
        let mut wire = Vec::new();
        parsed.reply.encode(&mut wire);
        let (again, error) = read(&wire, wire.len());
        assert!(error.is_none() && again.len() == 1 && again[0].reply.code == parsed.reply.code);
    }
});
