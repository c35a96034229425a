//! How deep and in how many parts a message is nested (RFC 2046 5.1), found out while it flows by: it keeps the
//! boundaries that are open, the beginning of one line, and one field of a part's header.
//!
//! It is a bound and no parser. Whoever reads the message later may see other parts where it is malformed; what it is
//! for is that nothing behind the gateway meets a message that is nested without end. Works on content and on the wire
//! form alike: stuffed dots are in no line that matters here.

use memchr::{memchr, memmem};

/// RFC 2046 5.1.1 allows 70; of a longer one the beginning is enough, since lines are compared by their beginnings.
const BOUNDARY_OCTETS_KEPT_MAX: usize = 200;
/// Of a line: a delimiter is far shorter, and so is a Content-Type of one line.
const LINE_OCTETS_KEPT_MAX: usize = 1_024;
/// Of a Content-Type with its folds.
const FIELD_OCTETS_KEPT_MAX: usize = 4 * 1_024;

/// How much there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartLimits {
    /// Multiparts and messages inside each other; a multipart alone is 1.
    pub depth_max: u32,
    /// Parts of all multiparts together.
    pub parts_max: u32,
}

impl PartLimits {
    /// For those for whom one of the configured limits is switched off.
    pub const CEILING: PartLimits = PartLimits { depth_max: 1_000, parts_max: u32::MAX };
}

/// A limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartExcess {
    #[error("the parts are nested too deeply")]
    Depth,
    #[error("there are too many parts")]
    Parts,
}

/// One message's structure so far.
#[derive(Debug)]
pub struct PartScan {
    limits: PartLimits,
    /// Open multiparts, the outermost first.
    open: Vec<Multipart>,
    /// How deep the entity is that is read now.
    depth: u32,
    parts: u32,
    reading: Reading,
    /// The beginning of a line that has not ended.
    line: Vec<u8>,
    /// The rest of the line says nothing.
    skipping: bool,
}

#[derive(Debug)]
struct Multipart {
    boundary: Box<[u8]>,
    depth: u32,
}

#[derive(Debug)]
enum Reading {
    Content,
    /// A header: its Content-Type as far as it has come, and whether a fold now would belong to it.
    Header {
        content_type: Vec<u8>,
        open: bool,
    },
}

impl PartScan {
    /// `content_type` is the value of the message's own field, if it has one.
    ///
    /// # Errors
    /// Already this is more than there may be.
    pub fn new(content_type: Option<&[u8]>, limits: PartLimits) -> Result<PartScan, PartExcess> {
        let reading = Reading::Content;
        let mut scan =
            PartScan { limits, open: Vec::new(), depth: 0, parts: 0, reading, line: Vec::new(), skipping: false };
        scan.enter(content_type.unwrap_or_default())?;
        Ok(scan)
    }

    /// Nothing that may still come matters. Most messages have no parts.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.open.is_empty() && matches!(self.reading, Reading::Content)
    }

    /// More of the body. However it is cut into pieces, the outcome is the same.
    ///
    /// # Errors
    /// The first limit that is reached.
    pub fn push(&mut self, mut octets: &[u8]) -> Result<(), PartExcess> {
        while !octets.is_empty() && !self.is_done() {
            if self.skips(octets) {
                octets = self.skip(octets);
                continue;
            }
            let end = memchr(b'\n', octets).map(|at| at + 1);
            let (line, rest) = octets.split_at_checked(end.unwrap_or(octets.len())).unwrap_or((octets, &[]));
            let room = LINE_OCTETS_KEPT_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(line.get(..room).unwrap_or(line));
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                self.judge(line.trim_ascii_end())?;
                self.line = line;
                self.line.clear();
            }
            octets = rest;
        }
        Ok(())
    }

    /// Whether the line at hand can be no delimiter, and nothing else is looked for.
    fn skips(&mut self, octets: &[u8]) -> bool {
        if matches!(self.reading, Reading::Header { .. }) {
            return false;
        }
        let mut beginning = self.line.iter().chain(octets).take(2);
        self.skipping |= beginning.any(|&octet| octet != b'-');
        self.skipping
    }

    /// To the next line that begins with two hyphens, as far as that can be seen.
    fn skip<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        self.line.clear();
        if let Some(at) = memmem::find(octets, b"\n--") {
            self.skipping = false;
            return octets.get(at + 1..).unwrap_or_default();
        }
        self.skipping = !(octets.ends_with(b"\n") || octets.ends_with(b"\n-"));
        if octets.ends_with(b"\n-") {
            self.line.push(b'-');
        }
        &[]
    }

    /// One line, or its beginning, without its end.
    fn judge(&mut self, line: &[u8]) -> Result<(), PartExcess> {
        if let Some(after) = line.strip_prefix(b"--")
            && let Some(place) = self.open.iter().rposition(|multipart| after.starts_with(&multipart.boundary))
        {
            return self.delimit(place, after);
        }
        let Reading::Header { content_type, open } = &mut self.reading else { return Ok(()) };
        match line {
            [] => {
                let content_type = std::mem::take(content_type);
                self.enter(&content_type)?;
            }
            // A line of nothing but white space has lost it above.
            [b' ' | b'\t', ..] if *open => content_type.extend_from_slice(line),
            _ => {
                let value = value_of_content_type(line).filter(|_| content_type.is_empty());
                *open = value.is_some();
                content_type.extend_from_slice(value.unwrap_or_default());
            }
        }
        if let Reading::Header { content_type, .. } = &mut self.reading {
            content_type.truncate(FIELD_OCTETS_KEPT_MAX);
        }
        Ok(())
    }

    /// A delimiter of the multipart at this place: what was open inside it ends.
    fn delimit(&mut self, place: usize, after: &[u8]) -> Result<(), PartExcess> {
        let Some(multipart) = self.open.get(place) else { return Ok(()) };
        let last = after.get(multipart.boundary.len()..).is_some_and(|rest| rest.starts_with(b"--"));
        self.depth = multipart.depth;
        self.open.truncate(if last { place } else { place + 1 });
        self.reading = Reading::Content;
        if !last {
            self.parts = self.parts.saturating_add(1);
            self.reading = Reading::Header { content_type: Vec::new(), open: false };
        }
        if self.parts > self.limits.parts_max { Err(PartExcess::Parts) } else { Ok(()) }
    }

    /// The header of an entity is over; its body begins.
    fn enter(&mut self, content_type: &[u8]) -> Result<(), PartExcess> {
        self.reading = Reading::Content;
        match Kind::of(content_type) {
            Kind::Other => return Ok(()),
            Kind::Message => self.reading = Reading::Header { content_type: Vec::new(), open: false },
            Kind::Multipart(boundary) => {
                self.open.push(Multipart { boundary, depth: self.depth.saturating_add(1) });
            }
        }
        self.depth = self.depth.saturating_add(1);
        if self.depth > self.limits.depth_max { Err(PartExcess::Depth) } else { Ok(()) }
    }
}

/// The value, where a header line is this field.
fn value_of_content_type(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
    name.trim_ascii_end().eq_ignore_ascii_case(b"content-type").then_some(value.get(1..)?)
}

/// What an entity is, as far as structure is concerned.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Multipart(Box<[u8]>),
    /// `message/rfc822` and `message/global`: a header follows.
    Message,
    Other,
}

impl Kind {
    /// A multipart whose boundary cannot be found is one for nobody.
    fn of(content_type: &[u8]) -> Kind {
        let mut fields = Fields { rest: content_type };
        let kind = fields.next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        match kind.as_slice() {
            b"message/rfc822" | b"message/global" => Kind::Message,
            multipart if multipart.starts_with(b"multipart/") => {
                fields.find_map(boundary).map_or(Kind::Other, Kind::Multipart)
            }
            _ => Kind::Other,
        }
    }
}

/// `a; b="c;d"` between its semicolons; quoted ones do not count.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = self.rest.iter().position(|&octet| {
            match octet {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b';' => return !quoted,
                _ => {}
            }
            false
        });
        let (field, rest) = self.rest.split_at_checked(end.unwrap_or(self.rest.len()))?;
        self.rest = rest.get(1..).unwrap_or_default();
        Some(field)
    }
}

fn boundary(field: &[u8]) -> Option<Box<[u8]>> {
    let (name, value) = field.split_at_checked(memchr(b'=', field)?)?;
    let value = value.get(1..)?.trim_ascii();
    if !name.trim_ascii().eq_ignore_ascii_case(b"boundary") {
        return None;
    }
    let boundary = match value.strip_prefix(b"\"") {
        Some(quoted) => {
            let inner = quoted.get(..memchr(b'"', quoted).unwrap_or(quoted.len()))?;
            inner.iter().copied().filter(|&octet| octet != b'\\').collect::<Vec<u8>>()
        }
        None => value.split(u8::is_ascii_whitespace).next()?.to_vec(),
    };
    let kept = boundary.get(..BOUNDARY_OCTETS_KEPT_MAX).unwrap_or(&boundary).trim_ascii_end();
    (!kept.is_empty()).then(|| kept.into())
}

#[cfg(test)]
mod tests;
