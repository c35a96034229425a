//! A first look over a message, before mail-parser sees it: how much work and memory would it be?
//!
//! It finds every `Content-*` field that could be taken for one, wherever it stands, and reads it with
//! mail-parser's own parser, so that both see the same. It may count too much (a text that quotes a header),
//! never too little.

use std::ops::Range;

use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};
use memchr::memmem;

use super::TooComplex;

/// Octets of one `Content-*` field, folds included.
const FIELD_BYTES_MAX: usize = 64 << 10;
/// Parameters of one field: joining those of RFC 2231 is quadratic.
const PARAMETERS_MAX: usize = 200;
/// Fields that are looked at.
const FIELDS_MAX: usize = 4_000;
const MULTIPARTS_MAX: usize = 200;
const MESSAGES_MAX: usize = 100;
/// Places where a declared boundary stands: each part has one, each multipart one more.
const BOUNDARY_HITS_MAX: usize = 3_000;
/// A boundary that never comes is looked for to the end of the message: multiparts times octets.
const SEEK_BYTES_MAX: usize = 2 << 30;

/// Multiparts and messages of a message that is parsed without much of a stack.
const SIMPLE_PARTS_MAX: usize = 20;

/// Places to be overwritten, so that mail-parser does not open an encoded message by itself (see `tree`).
pub(super) type Blots = Vec<usize>;

/// What the look found.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) blots: Blots,
    /// Little nesting, if any: mail-parser and the drop of what it makes recurse with it.
    pub(super) is_simple: bool,
}

/// What the header block at hand has shown so far. Blocks are told apart by empty lines only: rather too long.
#[derive(Default)]
struct Block {
    /// Where the subtype of a `message/…` type stands.
    message: Blots,
    /// Where an encoding stands.
    encoding: Blots,
    typed: bool,
}

#[derive(Default)]
struct Scan {
    fields: usize,
    multiparts: usize,
    messages: usize,
    digest: bool,
    boundaries: Vec<Vec<u8>>,
    block: Block,
    blots: Blots,
    /// Encodings of blocks without a type: of messages, if they are in a digest.
    untyped: Blots,
}

/// Looks the message over. mail-parser finds a boundary anywhere in a line, and headers right behind it: so fields
/// are looked for anywhere, too, and not only where a line begins.
///
/// # Errors
/// It is more than this host parses.
pub(super) fn look_over(raw: &[u8]) -> Result<Look, TooComplex> {
    let mut scan = Scan::default();
    let mut line_start = 0;
    for at in memchr::memchr2_iter(b':', b'\n', raw) {
        let before = raw.get(..at).unwrap_or_default();
        if raw.get(at) == Some(&b'\n') {
            if matches!(before.get(line_start..), Some(b"\r" | b"")) {
                scan.end_block();
            }
            line_start = at + 1;
        } else if let Some(kind) = Kind::of_name_at_end(before) {
            scan.field(kind, raw, at + 1..field_end(raw, at + 1))?;
        }
    }
    scan.end_block();
    scan.finish(raw)
}

fn line_end(raw: &[u8], from: usize) -> usize {
    memchr::memchr(b'\n', raw.get(from..).unwrap_or_default()).map_or(raw.len(), |place| from + place + 1)
}

/// Behind the line and the folds that follow it.
fn field_end(raw: &[u8], from: usize) -> usize {
    let mut end = line_end(raw, from);
    while end - from <= FIELD_BYTES_MAX && matches!(raw.get(end), Some(b' ' | b'\t')) {
        end = line_end(raw, end);
    }
    end
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Type,
    Disposition,
    Encoding,
}

impl Kind {
    /// `before` is what stands before a colon.
    fn of_name_at_end(before: &[u8]) -> Option<Kind> {
        let name = before.trim_ascii_end();
        let ends = |with: &str| {
            let start = name.len().checked_sub(with.len());
            start.and_then(|start| name.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(with.as_bytes()))
        };
        if ends("content-type") {
            Some(Kind::Type)
        } else if ends("content-disposition") {
            Some(Kind::Disposition)
        } else if ends("content-transfer-encoding") {
            Some(Kind::Encoding)
        } else {
            None
        }
    }
}

impl Scan {
    /// `place` is the value.
    fn field(&mut self, kind: Kind, raw: &[u8], place: Range<usize>) -> Result<(), TooComplex> {
        let start = place.start;
        let value = raw.get(place).unwrap_or_default();
        self.fields += 1;
        let parameters = memchr::memchr_iter(b';', value).count();
        if self.fields > FIELDS_MAX || value.len() > FIELD_BYTES_MAX || parameters > PARAMETERS_MAX {
            return Err(TooComplex);
        }
        match kind {
            Kind::Disposition => {}
            Kind::Encoding => {
                for word in ["base64", "quoted-printable"] {
                    self.block.encoding.extend(find(value, word).map(|at| start + at));
                }
            }
            Kind::Type => {
                self.block.typed = true;
                if let HeaderValue::ContentType(content_type) = MessageStream::new(value).parse_content_type() {
                    self.content_type(&content_type, value, start)?;
                }
            }
        }
        Ok(())
    }

    fn content_type(&mut self, content_type: &ContentType<'_>, value: &[u8], start: usize) -> Result<(), TooComplex> {
        match content_type.ctype() {
            "multipart" => {
                self.multiparts += 1;
                self.digest |= content_type.subtype() == Some("digest");
                if let Some(boundary) = content_type.attribute("boundary").filter(|b| !b.is_empty()) {
                    let mark = [b"--", boundary.as_bytes()].concat();
                    if !self.boundaries.contains(&mark) {
                        self.boundaries.push(mark);
                    }
                }
            }
            "message" => {
                self.messages += 1;
                for word in ["rfc822", "global"] {
                    self.block.message.extend(find(value, word).map(|at| start + at));
                }
            }
            _ => {}
        }
        if self.multiparts > MULTIPARTS_MAX || self.messages > MESSAGES_MAX { Err(TooComplex) } else { Ok(()) }
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        if !block.encoding.is_empty() {
            self.blots.extend(block.message);
            if !block.typed {
                self.untyped.extend(block.encoding);
            }
        }
    }

    fn finish(mut self, raw: &[u8]) -> Result<Look, TooComplex> {
        if self.multiparts.saturating_mul(raw.len()) > SEEK_BYTES_MAX {
            return Err(TooComplex);
        }
        let mut hits = 0;
        for mark in &self.boundaries {
            hits += memmem::find_iter(raw, mark).take(BOUNDARY_HITS_MAX + 1).count();
            if hits > BOUNDARY_HITS_MAX {
                return Err(TooComplex);
            }
        }
        if self.digest {
            self.blots.append(&mut self.untyped);
        }
        let is_simple = self.blots.is_empty() && self.multiparts + self.messages <= SIMPLE_PARTS_MAX;
        Ok(Look { blots: self.blots, is_simple })
    }
}

/// ASCII case ignored; each occurrence.
fn find<'a>(text: &'a [u8], word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.windows(word.len()).enumerate().filter(|(_, w)| w.eq_ignore_ascii_case(word.as_bytes())).map(|(at, _)| at)
}
