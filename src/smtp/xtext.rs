//! xtext (RFC 3461 section 4): how ESMTP parameters and XCLIENT attributes carry any octet.

use std::fmt::Write;

/// Printable ASCII but `+` and `=` stands for itself, every other octet becomes `+XX`.
#[must_use]
pub fn encode(octets: impl AsRef<[u8]>) -> String {
    let octets = octets.as_ref();
    let mut text = String::with_capacity(octets.len());
    for &octet in octets {
        match octet {
            b'!'..=b'~' if octet != b'+' && octet != b'=' => text.push(char::from(octet)),
            _ => write!(text, "+{octet:02X}").unwrap_or_default(),
        }
    }
    text
}

/// None for anything `encode` could not have made, but for the case of its hexadecimal digits.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            b'=' => return None,
            b'!'..=b'~' => octet,
            _ => return None,
        });
    }
    Some(octets)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use proptest::prelude::*;

    #[test]
    fn what_must_be_escaped_is() {
        assert_eq!(encode("a+b=c d\r\u{e9}"), "a+2Bb+3Dc+20d+0D+C3+A9");
        assert_eq!(encode("[UNAVAILABLE]"), "[UNAVAILABLE]");
        assert_eq!(decode("a+2bb+2B"), Some(b"a+b+".to_vec()));
    }

    #[test]
    fn what_is_no_xtext_is_refused() {
        for text in ["+", "+2", "+2G", "a=b", "a b", "\u{e9}", "+\u{e9}1", "a\0"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(octets: Vec<u8>) {
            let text = encode(&octets);
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && b != b'='));
            prop_assert_eq!(decode(&text), Some(octets));
        }
    }
}
