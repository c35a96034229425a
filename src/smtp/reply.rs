//! Replies (RFC 5321 4.2) and enhanced status codes (RFC 2034, RFC 3463): writing ours, reading the upstream's.
//!
//! What is written here is always one well-formed reply, whatever the text was: no control character and no
//! line end of a filter's or an upstream's text reaches the wire. What is read is a hostile upstream's until
//! proven otherwise.

use std::borrow::Cow;
use std::fmt;

use super::line::AUTH_LINE_OCTETS_MAX;

/// One reply line on the wire with its CRLF (RFC 5321 4.5.3.1.5 allows 512).
pub const REPLY_LINE_OCTETS_MAX: usize = 510;

/// Code, enhanced code and line end, mostly.
const HEAD_OCTETS_USUAL: usize = 16;

/// RFC 3463: `class.subject.detail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Enhanced {
    /// 2, 4 or 5.
    pub class: u8,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

impl Enhanced {
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> Enhanced {
        Enhanced { class, subject, detail }
    }

    /// Exactly `X.Y.Z`: class 2, 4 or 5, then twice one to three digits without leading zeros.
    #[must_use]
    pub fn parse(text: &str) -> Option<Enhanced> {
        let mut numbers = text.splitn(3, '.');
        let class = match numbers.next()? {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        let mut number = || {
            let digits = numbers.next()?;
            let plain = digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit());
            let padded = digits.len() > 1 && digits.starts_with('0');
            if plain && !padded { digits.parse().ok() } else { None }
        };
        Some(Enhanced { class, subject: number()?, detail: number()? })
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// One reply, possibly of several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// Written on every line.
    pub enhanced: Option<Enhanced>,
    /// Lines joined by `\n`, without codes.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A sentence known beforehand; costs nothing.
    #[must_use]
    pub const fn fixed(code: u16, enhanced: Option<Enhanced>, text: &'static str) -> Reply {
        Reply { code, enhanced, text: Cow::Borrowed(text) }
    }

    #[must_use]
    pub fn new(code: u16, enhanced: Option<Enhanced>, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply { code, enhanced, text: text.into() }
    }

    /// The first digit: 2 done, 3 go on, 4 not now, 5 no.
    #[must_use]
    pub const fn class(&self) -> u8 {
        match self.code {
            200..=299 => 2,
            300..=399 => 3,
            400..=499 => 4,
            _ => 5,
        }
    }

    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }

    /// With X.0.0 where the upstream gave no enhanced code and the class has one (RFC 2034: 2, 4, 5).
    #[must_use]
    pub fn with_enhanced_default(mut self) -> Reply {
        if self.enhanced.is_none() && self.class() != 3 {
            self.enhanced = Some(Enhanced::new(self.class(), 0, 0));
        }
        self
    }

    /// Appends the reply as it goes on the wire. Control characters become `?` (TAB a space), and a line is
    /// cut at [`REPLY_LINE_OCTETS_MAX`], between two characters.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let start = out.len();
            out.reserve(line.len() + HEAD_OCTETS_USUAL);
            push_number(out, self.code);
            out.push(if lines.peek().is_some() { b'-' } else { b' ' });
            if let Some(Enhanced { class, subject, detail }) = self.enhanced {
                push_number(out, u16::from(class));
                out.push(b'.');
                push_number(out, subject);
                out.push(b'.');
                push_number(out, detail);
                if !line.is_empty() {
                    out.push(b' ');
                }
            }
            // RFC 4954 4: a challenge may be as long as its answer.
            let line_max = if self.code == 334 { AUTH_LINE_OCTETS_MAX } else { REPLY_LINE_OCTETS_MAX };
            let room = line_max - 2 - (out.len() - start);
            push_printable(out, line, room);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// In decimal. Every command is answered with one to four of them, and the general way costs ten times as much.
fn push_number(out: &mut Vec<u8>, number: u16) {
    let digits = [number / 10_000, number / 1_000 % 10, number / 100 % 10, number / 10 % 10, number % 10];
    let shown = digits.iter().skip_while(|digit| **digit == 0);
    let zero = (number == 0).then_some(b'0');
    out.extend(shown.map(|digit| b'0' + u8::try_from(*digit).unwrap_or_default()).chain(zero));
}

/// As in a log line: `550 5.7.1 No / because of this`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for (nth, line) in self.lines().enumerate() {
            f.write_str(if nth == 0 { " " } else { " / " })?;
            line.chars().try_for_each(|c| fmt::Write::write_char(f, printable(c)))?;
        }
        Ok(())
    }
}

fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '?',
        c => c,
    }
}

fn push_printable(out: &mut Vec<u8>, text: &str, room_octets: usize) {
    if text.len() <= room_octets && text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return out.extend_from_slice(text.as_bytes());
    }
    let end = out.len() + room_octets;
    let mut utf8 = [0; 4];
    for c in text.chars().map(printable) {
        let octets = c.encode_utf8(&mut utf8).as_bytes();
        if out.len() + octets.len() > end {
            break;
        }
        out.extend_from_slice(octets);
    }
}

/// Lines of one upstream reply that are kept.
pub const UPSTREAM_REPLY_LINES_MAX: usize = 100;
/// Text of one upstream reply that is kept.
pub const UPSTREAM_REPLY_TEXT_OCTETS_MAX: usize = 16 * 1_024;
/// A longer line of the upstream is cut, and the reply marked so.
pub const UPSTREAM_REPLY_LINE_OCTETS_MAX: usize = 4_096;
/// An upstream that says more than this in one reply is not listened to any more.
pub const UPSTREAM_REPLY_OCTETS_MAX: usize = 1_024 * 1_024;

/// What the upstream said is no reply. The connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    #[error("a reply line that does not begin with a code from 200 to 599")]
    NoCode,
    #[error("two codes in one reply: {0} and {1}")]
    CodesDiffer(u16, u16),
    #[error("a reply of more than {UPSTREAM_REPLY_OCTETS_MAX} octets")]
    TooLong,
}

/// A whole reply of the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedReply {
    pub reply: Reply,
    /// Something did not fit and was left out: the code is good, the text is not whole. After the final dot
    /// a 2xx stays a 2xx; anywhere else such a reply is to be called malformed.
    pub cut: bool,
}

/// Reads replies from octets however they are split. One parser reads one reply after the other.
#[derive(Debug, Default)]
pub struct ReplyParser {
    /// The line at hand, as far as it has come and is kept.
    line: Vec<u8>,
    code: Option<u16>,
    enhanced: Option<Enhanced>,
    text: String,
    lines: usize,
    octets: usize,
    cut: bool,
}

impl ReplyParser {
    #[must_use]
    pub fn new() -> ReplyParser {
        ReplyParser::default()
    }

    /// True between two replies: nothing of the next one has come.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.octets == 0
    }

    /// Takes octets up to the end of one reply. Returns how many were taken, and the reply once it is whole;
    /// what follows it in `octets` belongs to the next and must be fed again. After an error there is nothing
    /// left to be read from this upstream.
    pub fn feed(&mut self, octets: &[u8]) -> Result<(usize, Option<ParsedReply>), ReplyError> {
        let mut consumed = 0;
        for part in octets.split_inclusive(|&b| b == b'\n') {
            consumed += part.len();
            self.octets += part.len();
            if self.octets > UPSTREAM_REPLY_OCTETS_MAX {
                return Err(ReplyError::TooLong);
            }
            // Most lines come whole, and are read where they are.
            if self.line.is_empty() && part.len() <= UPSTREAM_REPLY_LINE_OCTETS_MAX && part.ends_with(b"\n") {
                if self.take_line(part)? {
                    return Ok((consumed, Some(self.finish())));
                }
                continue;
            }
            let kept = part.len().min(UPSTREAM_REPLY_LINE_OCTETS_MAX.saturating_sub(self.line.len()));
            self.cut |= kept < part.len();
            self.line.extend(part.iter().take(kept));
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                if self.take_line(&line)? {
                    return Ok((consumed, Some(self.finish())));
                }
            } else if self.line.len() > 3 {
                // What cannot become a reply is refused now, not when its line ends, or never does.
                head(self.line.strip_suffix(b"\r").unwrap_or(&self.line))?;
            }
        }
        Ok((consumed, None))
    }

    /// One line with its line end. True when it is the reply's last.
    fn take_line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Head { code, last, text } = head(line)?;
        let first = *self.code.get_or_insert(code);
        if first != code {
            return Err(ReplyError::CodesDiffer(first, code));
        }
        self.keep(&readable(text));
        Ok(last)
    }

    /// The text of one line: without the enhanced code that it shares with the reply's other lines.
    fn keep(&mut self, text: &str) {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let found =
            Enhanced::parse(word).filter(|found| self.code.is_some_and(|code| u16::from(found.class) == code / 100));
        self.enhanced = self.enhanced.or(found);
        let text = if found.is_some() && found == self.enhanced { rest } else { text };

        let first = self.lines == 0;
        self.lines = self.lines.saturating_add(1);
        if self.lines > UPSTREAM_REPLY_LINES_MAX || self.text.len() + text.len() >= UPSTREAM_REPLY_TEXT_OCTETS_MAX {
            self.cut = true;
            return;
        }
        if !first {
            self.text.push('\n');
        }
        self.text.push_str(text);
    }

    /// Hands out the reply and is ready for the next.
    fn finish(&mut self) -> ParsedReply {
        let read = std::mem::take(self);
        let reply = Reply::new(read.code.unwrap_or_default(), read.enhanced, read.text);
        ParsedReply { reply, cut: read.cut }
    }
}

struct Head<'a> {
    code: u16,
    last: bool,
    text: &'a [u8],
}

/// `250-text`, `250 text`, `250` (RFC 5321 4.2: the second digit is 0 to 5 there; 0 to 9 is let pass).
fn head(line: &[u8]) -> Result<Head<'_>, ReplyError> {
    let (code, rest) = line.split_first_chunk::<3>().ok_or(ReplyError::NoCode)?;
    let &[hundreds @ b'2'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = code else {
        return Err(ReplyError::NoCode);
    };
    let digit = |octet: u8| u16::from(octet - b'0');
    let code = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
    match rest {
        [] => Ok(Head { code, last: true, text: &[] }),
        [b' ', text @ ..] => Ok(Head { code, last: true, text }),
        [b'-', text @ ..] => Ok(Head { code, last: false, text }),
        _ => Err(ReplyError::NoCode),
    }
}

/// Text that is fit for a log and for a client: UTF-8 without control characters, one line's worth of it.
fn readable(octets: &[u8]) -> Cow<'_, str> {
    let plain = octets.len() <= REPLY_LINE_OCTETS_MAX && octets.iter().all(|octet| matches!(octet, b' '..=b'~'));
    if let (true, Ok(text)) = (plain, str::from_utf8(octets)) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(octets.len().min(REPLY_LINE_OCTETS_MAX));
    for chunk in octets.utf8_chunks() {
        text.extend(chunk.valid().chars().map(printable));
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text.truncate(text.floor_char_boundary(REPLY_LINE_OCTETS_MAX));
    Cow::Owned(text)
}

#[cfg(test)]
mod tests;
