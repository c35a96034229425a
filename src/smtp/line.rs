//! Command lines in a buffer of octets. Nothing is copied, nothing remembered: the same octets give the same
//! lines however they arrive.
//!
//! A line ends in CRLF. A line that ends in a bare LF, or has a bare CR in it, is handed out with that flaw
//! named, so that the client can be told; it is never taken for a good one.

use memchr::memchr;

/// A command line with its CRLF (RFC 5321 4.5.3.1.4 wants at least 512, extensions add to it).
pub const COMMAND_LINE_OCTETS_MAX: usize = 2_048;
/// An AUTH command, or an answer to a challenge, with its CRLF (RFC 4954 section 4).
pub const AUTH_LINE_OCTETS_MAX: usize = 12_288;

/// How a line ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnd {
    CrLf,
    /// LF without CR before it: a client that is no SMTP client, or a person with `nc` (without `-C`).
    BareLf,
    /// It ended well, but there is a CR inside: two readers could see two lines.
    BareCr,
}

/// What the front of a buffer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineScan<'a> {
    /// One line without its line end; `consumed` counts the line end too.
    Line { text: &'a [u8], consumed: usize, end: LineEnd },
    /// There is no line end within the limit: drop `consumed` octets, go on with [`skip_line`], then complain.
    TooLong { consumed: usize },
    /// Read more.
    Incomplete,
}

/// Looks for one line of at most `octets_max`, line end included.
#[must_use]
pub fn find_line(buffer: &[u8], octets_max: usize) -> LineScan<'_> {
    let window = buffer.get(..octets_max).unwrap_or(buffer);
    let Some(line_feed) = memchr(b'\n', window) else {
        let full = window.len() == octets_max;
        return if full { LineScan::TooLong { consumed: octets_max } } else { LineScan::Incomplete };
    };
    let line = window.get(..line_feed).unwrap_or_default();
    let (text, end) = match line.strip_suffix(b"\r") {
        Some(text) if memchr(b'\r', text).is_some() => (text, LineEnd::BareCr),
        Some(text) => (text, LineEnd::CrLf),
        None => (line, LineEnd::BareLf),
    };
    LineScan::Line { text, consumed: line_feed + 1, end }
}

/// What can be dropped of a line that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// The line ended within these octets; what follows is the next line.
    Ended { consumed: usize },
    /// All of it belongs to the line.
    More { consumed: usize },
}

/// The rest of a line of which [`find_line`] said that it is too long.
#[must_use]
pub fn skip_line(buffer: &[u8]) -> Skipped {
    match memchr(b'\n', buffer) {
        Some(line_feed) => Skipped::Ended { consumed: line_feed + 1 },
        None => Skipped::More { consumed: buffer.len() },
    }
}

/// The limit for the command that `buffer` begins with: AUTH may be longer than all others.
#[must_use]
pub fn command_octets_max(buffer: &[u8]) -> usize {
    match buffer.split_first_chunk::<5>() {
        Some((verb, _)) if verb.eq_ignore_ascii_case(b"AUTH ") => AUTH_LINE_OCTETS_MAX,
        _ => COMMAND_LINE_OCTETS_MAX,
    }
}

/// Whether another whole line follows: a reply may then wait and travel with the next one (RFC 2920).
#[must_use]
pub fn has_line(buffer: &[u8]) -> bool {
    memchr(b'\n', buffer).is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn line(text: &[u8], consumed: usize, end: LineEnd) -> LineScan<'_> {
        LineScan::Line { text, consumed, end }
    }

    #[test]
    fn a_line_ends_in_crlf_and_other_ends_are_named() {
        assert_eq!(find_line(b"NOOP\r\nQUIT\r\n", 20), line(b"NOOP", 6, LineEnd::CrLf));
        assert_eq!(find_line(b"NOOP\nQUIT\r\n", 20), line(b"NOOP", 5, LineEnd::BareLf));
        assert_eq!(find_line(b"N\rOOP\r\n", 20), line(b"N\rOOP", 7, LineEnd::BareCr));
        assert_eq!(find_line(b"NOOP\r\r\n", 20), line(b"NOOP\r", 7, LineEnd::BareCr));
        assert_eq!(find_line(b"\r\n", 20), line(b"", 2, LineEnd::CrLf));
        assert_eq!(find_line(b"NOOP\r", 20), LineScan::Incomplete);
        assert_eq!(find_line(b"", 20), LineScan::Incomplete);
    }

    #[test]
    fn the_limit_counts_the_line_end() {
        assert_eq!(find_line(b"NOOP\r\n", 6), line(b"NOOP", 6, LineEnd::CrLf));
        assert_eq!(find_line(b"NOOP\r\n", 5), LineScan::TooLong { consumed: 5 });
        assert_eq!(skip_line(b"\nQUIT\r\n"), Skipped::Ended { consumed: 1 });
        assert_eq!(skip_line(b"xxx"), Skipped::More { consumed: 3 });
        assert_eq!(command_octets_max(b"auth PLAIN"), AUTH_LINE_OCTETS_MAX);
        assert_eq!(command_octets_max(b"AUTHOR"), COMMAND_LINE_OCTETS_MAX);
    }

    /// Everything the lines of `input` come to when it arrives in pieces of these sizes.
    fn read(input: &[u8], mut sizes: impl Iterator<Item = usize>) -> Vec<(Vec<u8>, Option<LineEnd>)> {
        let (mut buffer, mut at, mut skipping, mut seen) = (Vec::new(), 0, false, Vec::new());
        while at < input.len() {
            let size = sizes.next().unwrap().clamp(1, input.len() - at);
            buffer.extend_from_slice(&input[at..at + size]);
            at += size;
            loop {
                let consumed = if skipping {
                    match skip_line(&buffer) {
                        Skipped::Ended { consumed } => {
                            skipping = false;
                            consumed
                        }
                        Skipped::More { consumed } => consumed,
                    }
                } else {
                    match find_line(&buffer, 8) {
                        LineScan::Line { text, consumed, end } => {
                            seen.push((text.to_vec(), Some(end)));
                            consumed
                        }
                        LineScan::TooLong { consumed } => {
                            seen.push((Vec::new(), None));
                            skipping = true;
                            consumed
                        }
                        LineScan::Incomplete => break,
                    }
                };
                buffer.drain(..consumed);
                if buffer.is_empty() {
                    break;
                }
            }
        }
        seen
    }

    proptest! {
        #[test]
        fn split_anywhere_is_the_same_as_whole(
            input in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..200),
            sizes in proptest::collection::vec(1_usize..9, 1..9),
        ) {
            let whole = read(&input, std::iter::repeat(usize::MAX));
            prop_assert_eq!(&read(&input, std::iter::repeat(1)), &whole);
            prop_assert_eq!(&read(&input, sizes.into_iter().cycle()), &whole);
        }
    }
}
