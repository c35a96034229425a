//! The content of DATA (RFC 5321 4.1.1.4, 4.5.2) and of BDAT (RFC 3030): where it ends, what may not be in it, and
//! its two forms.
//!
//! *Wire* is what travels: a line that begins with a dot has one more. *Content* is what is meant. End of data
//! is CRLF.CRLF, or .CRLF as the very first line, and nothing else: neither LF.LF nor LF.CRLF nor CR.CR. That
//! holds for what comes in and, because bare CR and LF are refused or made CRLF *between* unstuffing and
//! stuffing, for what goes out: no content can make an upstream see a second message.

use std::sync::LazyLock;

use memchr::{memchr2, memmem};

use super::replies;
use super::reply::Reply;

/// What a bare CR or a bare LF comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareEnds {
    /// The scan stops there.
    Refuse,
    /// It is content. Whoever allows it puts a [`Normalizer`] between unstuffing and stuffing.
    Allow,
}

/// An octet that may not be in content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadOctet {
    BareCr,
    BareLf,
    Nul,
}

impl BadOctet {
    /// What the client is told once the rest of its message has been read.
    #[must_use]
    pub const fn reply(self) -> Reply {
        match self {
            BadOctet::BareCr => replies::CONTENT_BARE_CR,
            BadOctet::BareLf => replies::CONTENT_BARE_LF,
            BadOctet::Nul => replies::CONTENT_NUL,
        }
    }
}

/// What a stretch of wire octets holds: `input[..consumed]` is part of the message, in wire form, and may be
/// forwarded as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    pub consumed: usize,
    pub state: ScanState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanState {
    /// Present what is left (at most [`HELD_OCTETS_MAX`]: it may begin the end of data, or a CRLF) again,
    /// with more behind it.
    More,
    /// The message is whole. The next `terminator` octets end it; what follows them is the next command.
    End { terminator: usize },
    /// The octet at `consumed` may not be here. Its message is lost; [`DataScanner::skip_rest`] finds its end.
    Bad(BadOctet),
}

/// A scan that says More leaves at most `.CR` or CR.
pub const HELD_OCTETS_MAX: usize = 2;

/// Finds the end of data, and refuses what may not be in content, at memory speed.
#[derive(Debug, Clone)]
pub struct DataScanner {
    rules: Rules,
    /// All that has to be known of what was consumed, since neither CRLF nor the end of data is ever split.
    at_line_start: bool,
    stuffed_dots: u64,
    lone_dots: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    Strict,
    BareEndsAllowed,
    AnythingGoes,
}

impl Rules {
    const fn of(bare: BareEnds) -> Rules {
        match bare {
            BareEnds::Refuse => Rules::Strict,
            BareEnds::Allow => Rules::BareEndsAllowed,
        }
    }

    const fn forbid(self, sight: Sight) -> bool {
        match self {
            Rules::Strict => sight.bare_ends || sight.nul,
            Rules::BareEndsAllowed => sight.nul,
            Rules::AnythingGoes => false,
        }
    }
}

/// Small enough to stay in the first-level cache for the second look that few blocks need.
const BLOCK_OCTETS: usize = 4_096;

impl DataScanner {
    #[must_use]
    pub const fn new(bare: BareEnds) -> DataScanner {
        DataScanner { rules: Rules::of(bare), at_line_start: true, stuffed_dots: 0, lone_dots: 0 }
    }

    /// From here on only the end of data is looked for: the message is lost, and is read only to its end.
    pub fn skip_rest(&mut self) {
        self.rules = Rules::AnythingGoes;
    }

    /// Whether the octet after those consumed so far begins a line: for [`unstuff_into`], before the scan.
    #[must_use]
    pub const fn at_line_start(&self) -> bool {
        self.at_line_start
    }

    /// Dots among the octets consumed so far that are not content: the message is that much smaller.
    #[must_use]
    pub const fn stuffed_dots(&self) -> u64 {
        self.stuffed_dots
    }

    /// Those of them that the client should have doubled and did not: what is sent on has to be stuffed anew, lest
    /// somebody takes a dot with a blank behind it for the end.
    #[must_use]
    pub const fn lone_dots(&self) -> u64 {
        self.lone_dots
    }

    /// `input` begins with what the scan before left over.
    pub fn scan(&mut self, input: &[u8]) -> Scan {
        let mut start = 0;
        let mut before = if self.at_line_start { b'\n' } else { b' ' };
        for block in input.chunks(BLOCK_OCTETS) {
            let end = start + block.len();
            let sight = Sight::of(before, block);
            let bad = if self.rules.forbid(sight) { self.first_bad(input, start.saturating_sub(1), end) } else { None };
            if sight.leading_dots {
                let limit = bad.map_or(end, |(at, _)| at);
                if let Some(found) = self.judge_dots(input, start, limit) {
                    return self.settle(input, found);
                }
            }
            if let Some((at, octet)) = bad {
                return self.settle(input, Scan { consumed: at, state: ScanState::Bad(octet) });
            }
            start = end;
            before = block.last().copied().unwrap_or(before);
        }
        let held = usize::from(input.ends_with(b"\r"));
        self.settle(input, Scan { consumed: input.len() - held, state: ScanState::More })
    }

    fn settle(&mut self, input: &[u8], scan: Scan) -> Scan {
        match input.get(..scan.consumed) {
            None | Some([]) => {}
            Some(seen) => self.at_line_start = seen.ends_with(b"\r\n"),
        }
        scan
    }

    /// Octet by octet, and at most once a message: what comes here is lost.
    fn first_bad(&self, input: &[u8], start: usize, end: usize) -> Option<(usize, BadOctet)> {
        let bare = self.rules == Rules::Strict;
        input.iter().enumerate().take(end).skip(start).find_map(|(at, octet)| {
            let before = at.checked_sub(1).and_then(|at| input.get(at));
            let bad = match octet {
                b'\0' => BadOctet::Nul,
                b'\n' if bare && before != Some(&b'\r') => BadOctet::BareLf,
                b'\r' if bare && input.get(at + 1).is_some_and(|&next| next != b'\n') => BadOctet::BareCr,
                _ => return None,
            };
            Some((at, bad))
        })
    }

    /// Which of the dots that begin a line ends the message, or may do so once more has come.
    fn judge_dots(&mut self, input: &[u8], start: usize, end: usize) -> Option<Scan> {
        let from = start.saturating_sub(b"\r\n".len());
        let first_line = (start == 0 && self.at_line_start).then_some(0);
        for dot in leading_dots(input.get(from..end).unwrap_or_default(), first_line) {
            let consumed = from + dot;
            let state = match input.get(consumed + 1..).unwrap_or_default() {
                [b'\r', b'\n', ..] => ScanState::End { terminator: 3 },
                [] | [b'\r'] => ScanState::More,
                behind => {
                    self.stuffed_dots += 1;
                    self.lone_dots += u64::from(behind.first() != Some(&b'.'));
                    continue;
                }
            };
            return Some(Scan { consumed, state });
        }
        None
    }
}

/// Watches content whose length is known (BDAT, RFC 3030): a dot means nothing in it, and what may not be in it is
/// the same as in DATA.
#[derive(Debug, Clone)]
pub struct ContentScanner {
    rules: Rules,
    /// The last octet, or none that matters.
    before: u8,
}

impl ContentScanner {
    #[must_use]
    pub const fn new(bare: BareEnds) -> ContentScanner {
        ContentScanner { rules: Rules::of(bare), before: b' ' }
    }

    /// For BODY=BINARYMIME: no octet is refused.
    #[must_use]
    pub const fn binary() -> ContentScanner {
        ContentScanner { rules: Rules::AnythingGoes, before: b' ' }
    }

    /// From here on nothing is looked for: the message is lost.
    pub fn skip_rest(&mut self) {
        self.rules = Rules::AnythingGoes;
    }

    /// The first octet that may not be here, with its place. (Of a bare CR that ended the octets before, the place is
    /// the first of these.) The octets may end anywhere, also between CR and LF.
    pub fn scan(&mut self, octets: &[u8]) -> Option<(usize, BadOctet)> {
        if self.rules == Rules::AnythingGoes {
            return None;
        }
        for (number, block) in octets.chunks(BLOCK_OCTETS).enumerate() {
            if self.rules.forbid(Sight::of(self.before, block))
                && let Some((at, bad)) = self.first_bad(block)
            {
                return Some((number * BLOCK_OCTETS + at, bad));
            }
            self.before = block.last().copied().unwrap_or(self.before);
        }
        None
    }

    /// What is wrong with the content if it ends here.
    #[must_use]
    pub fn end(&self) -> Option<BadOctet> {
        (self.rules == Rules::Strict && self.before == b'\r').then_some(BadOctet::BareCr)
    }

    /// Octet by octet, and at most once a message: what comes here is lost.
    fn first_bad(&self, block: &[u8]) -> Option<(usize, BadOctet)> {
        let bare = self.rules == Rules::Strict;
        let before = std::iter::once(&self.before).chain(block);
        before.zip(block).enumerate().find_map(|(at, (before, octet))| match (before, octet) {
            (b'\r', b'\n') => None,
            (b'\r', _) if bare => Some((at.saturating_sub(1), BadOctet::BareCr)),
            (_, b'\n') if bare => Some((at, BadOctet::BareLf)),
            (_, b'\0') => Some((at, BadOctet::Nul)),
            _ => None,
        })
    }
}

/// What one fast look at a block shows.
#[derive(Debug, Clone, Copy)]
struct Sight {
    /// Somewhere CR is not followed, or LF not preceded, by the other.
    bare_ends: bool,
    /// Somewhere a dot follows an LF.
    leading_dots: bool,
    nul: bool,
}

impl Sight {
    /// Written so that the compiler makes vector code of it: no branch, no call, no early end.
    fn of(before: u8, block: &[u8]) -> Sight {
        let half_line_end = |before: u8, here: u8| (here == b'\n') ^ (before == b'\r');
        let leading_dot = |before: u8, here: u8| (before == b'\n') & (here == b'.');
        let (first, rest) = block.split_first().unwrap_or((&b' ', &[]));
        let mut bare_ends = u8::from(half_line_end(before, *first));
        let mut leading_dots = u8::from(leading_dot(before, *first));
        let mut least = *first;
        for (&before, &here) in block.iter().zip(rest) {
            bare_ends |= u8::from(half_line_end(before, here));
            leading_dots |= u8::from(leading_dot(before, here));
            least = least.min(here);
        }
        Sight { bare_ends: bare_ends != 0, leading_dots: leading_dots != 0, nul: least == 0 }
    }
}

/// Appends the content of a stretch of wire octets that a scan consumed. Returns the number of dots left out.
/// `at_line_start` is [`DataScanner::at_line_start`] from before that scan.
pub fn unstuff_into(wire: &[u8], at_line_start: bool, out: &mut Vec<u8>) -> usize {
    let (mut done, mut dots) = (0, 0);
    for dot in leading_dots(wire, at_line_start.then_some(0)) {
        out.extend_from_slice(wire.get(done..dot).unwrap_or_default());
        done = dot + 1;
        dots += 1;
    }
    out.extend_from_slice(wire.get(done..).unwrap_or_default());
    dots
}

/// Where lines begin with a dot; `first_line` is where one begins that no CRLF among these octets precedes.
fn leading_dots(octets: &[u8], first_line: Option<usize>) -> impl Iterator<Item = usize> {
    /// Made once: a short stretch is searched sooner than a search is prepared.
    static LINE_END_DOT: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\r\n."));
    let first = first_line.filter(|&at| octets.get(at) == Some(&b'.'));
    first.into_iter().chain(LINE_END_DOT.find_iter(octets).map(|line_end| line_end + 2))
}

/// Content to wire, chunk by chunk. Content has only whole line ends, be it because they were scanned or
/// because they went through a [`Normalizer`].
#[derive(Debug, Clone, Default)]
pub struct Stuffer {
    tail: Tail,
}

/// What the octets so far end in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Tail {
    /// CRLF, or there are none.
    #[default]
    LineEnd,
    Cr,
    Text,
}

impl Tail {
    fn after(self, octets: &[u8]) -> Tail {
        match octets {
            [] => self,
            [.., b'\r', b'\n'] => Tail::LineEnd,
            [b'\n'] if self == Tail::Cr => Tail::LineEnd,
            [.., b'\r'] => Tail::Cr,
            _ => Tail::Text,
        }
    }
}

impl Stuffer {
    #[must_use]
    pub fn new() -> Stuffer {
        Stuffer::default()
    }

    /// Chunks may end anywhere.
    pub fn push(&mut self, content: &[u8], out: &mut Vec<u8>) {
        let mut done = 0;
        for dot in leading_dots(content, self.first_line(content)) {
            out.extend_from_slice(content.get(done..dot).unwrap_or_default());
            out.push(b'.');
            done = dot;
        }
        out.extend_from_slice(content.get(done..).unwrap_or_default());
        self.tail = self.tail.after(content);
    }

    /// Whether this content travels as it is, because no line of it begins with a dot; then it counts as pushed.
    /// Chunks may end anywhere.
    pub fn pass(&mut self, content: &[u8]) -> bool {
        if leading_dots(content, self.first_line(content)).next().is_some() {
            return false;
        }
        self.tail = self.tail.after(content);
        true
    }

    /// These octets, in wire form already, went out as they came.
    pub fn passed_wire(&mut self, wire: &[u8]) {
        self.tail = self.tail.after(wire);
    }

    /// Where in this content a line begins that no CRLF in it precedes.
    fn first_line(&self, content: &[u8]) -> Option<usize> {
        match self.tail {
            Tail::LineEnd => Some(0),
            Tail::Cr if content.starts_with(b"\n") => Some(1),
            Tail::Cr | Tail::Text => None,
        }
    }

    /// The end of data, and before it the CRLF that the last line lacks.
    #[must_use]
    pub const fn end(&self) -> &'static [u8] {
        match self.tail {
            Tail::LineEnd => b".\r\n",
            Tail::Cr | Tail::Text => b"\r\n.\r\n",
        }
    }

    /// Writes that end.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.end());
    }
}

/// Content with bare CRs and LFs to content without: each becomes CRLF.
#[derive(Debug, Clone, Default)]
pub struct Normalizer {
    /// The CRLF of this CR is written; an LF that comes now belongs to it.
    after_cr: bool,
}

impl Normalizer {
    #[must_use]
    pub fn new() -> Normalizer {
        Normalizer::default()
    }

    /// Chunks may end anywhere.
    pub fn push(&mut self, content: &[u8], out: &mut Vec<u8>) {
        let mut rest = content;
        if std::mem::take(&mut self.after_cr) {
            // Nothing has come yet: the question stays open.
            self.after_cr = rest.is_empty();
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some((text, end)) = memchr2(b'\r', b'\n', rest).and_then(|at| rest.split_at_checked(at)) {
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
            self.after_cr = end == b"\r";
            rest = match end {
                [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
                [] => end,
            };
        }
        out.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests;
