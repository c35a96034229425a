//! The header block of a message (RFC 5322 2.2), octet for octet.
//!
//! A field that nobody changes leaves as it came: not refolded, not re-cased, not even its odd white space
//! before the colon. Lines end in CRLF here; a bare CR or LF was refused or normalized before. What filters
//! hand in is checked ([`HeaderField::new`]) and cannot become a second field or end the block.

use std::fmt;

use memchr::{memchr, memchr2, memmem};

/// A field name longer than a line may be is no field name.
pub const FIELD_NAME_OCTETS_MAX: usize = 998;
/// RFC 5322 2.1.1, without the CRLF.
pub const FIELD_LINE_OCTETS_MAX: usize = 998;
/// A value that a filter hands in, folds included.
pub const FIELD_VALUE_OCTETS_MAX: usize = 64 * 1_024;

/// One header field as a filter or the gateway makes it: well-formed whatever it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderField {
    name: String,
    value: Vec<u8>,
}

/// Why something is no header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("a field name is printable ASCII without colon and space, and not empty")]
    Name,
    #[error("a NUL in the value")]
    Nul,
    #[error("a CR or LF that is not a CRLF followed by a space or tab")]
    LineEnd,
    #[error("a folded line of nothing but white space")]
    EmptyFold,
    #[error("a line of more than {FIELD_LINE_OCTETS_MAX} octets")]
    LongLine,
    #[error("a value of more than {FIELD_VALUE_OCTETS_MAX} octets")]
    LongValue,
}

impl HeaderField {
    /// `value` is everything after the colon up to the last CRLF, which is left out: mostly it begins with a
    /// space, and it may be folded.
    pub fn new(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Result<HeaderField, FieldError> {
        let (name, value) = (name.into(), value.into());
        validate_field(&name, &value)?;
        Ok(HeaderField { name, value })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// After the colon up to the final CRLF (not included): the leading space and folds are kept as they are.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// As it stands on the wire, CRLF included.
    pub fn write_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name.as_bytes());
        out.push(b':');
        out.extend_from_slice(&self.value);
        out.extend_from_slice(b"\r\n");
    }
}

/// The rules for fields that are put into a message. (What a client sent is judged by [`HeaderScan`] alone.)
pub fn validate_field(name: &str, value: &[u8]) -> Result<(), FieldError> {
    let name_ok = (1..=FIELD_NAME_OCTETS_MAX).contains(&name.len()) && name.bytes().all(is_name_octet);
    if !name_ok {
        return Err(FieldError::Name);
    }
    if value.len() > FIELD_VALUE_OCTETS_MAX {
        return Err(FieldError::LongValue);
    }
    if value.contains(&0) {
        return Err(FieldError::Nul);
    }
    let mut lines = split_lines(value);
    let first = lines.next().unwrap_or_default();
    if name.len() + 1 + first.len() > FIELD_LINE_OCTETS_MAX {
        return Err(FieldError::LongLine);
    }
    for fold in lines {
        match fold {
            [b' ' | b'\t', rest @ ..] if rest.iter().all(|b| b" \t".contains(b)) => return Err(FieldError::EmptyFold),
            [b' ' | b'\t', ..] if fold.len() > FIELD_LINE_OCTETS_MAX => return Err(FieldError::LongLine),
            [b' ' | b'\t', ..] => {}
            _ => return Err(FieldError::LineEnd),
        }
    }
    if split_lines(value).any(|line| memchr2(b'\r', b'\n', line).is_some()) {
        return Err(FieldError::LineEnd);
    }
    Ok(())
}

/// Lines without their CRLFs; one more than there are CRLFs.
fn split_lines(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(octets);
    std::iter::from_fn(move || {
        let octets = rest?;
        let end = memmem::find(octets, b"\r\n");
        rest = end.and_then(|end| octets.get(end + 2..));
        octets.get(..end.unwrap_or(octets.len()))
    })
}

const fn is_name_octet(octet: u8) -> bool {
    matches!(octet, b'!'..=b'~') && octet != b':'
}

/// How large a block may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderLimits {
    /// All fields with their line ends.
    pub octets_max: usize,
    pub fields_max: usize,
}

impl HeaderLimits {
    /// For those for whom the configured limits are switched off.
    pub const CEILING: HeaderLimits = HeaderLimits { octets_max: 16 * 1_024 * 1_024, fields_max: 100_000 };
}

/// A limit of the header block is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderExcess {
    #[error("the header block is too large")]
    Octets,
    #[error("too many header fields")]
    Fields,
}

/// What ends a header block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Ending {
    /// The message ended with it: no empty line, no body.
    #[default]
    EndOfData,
    /// An empty line, which is part of the block.
    EmptyLine,
    /// A line that is neither field nor fold, after fields: it is the first of the body, as it always was.
    OtherLine,
    /// The message does not begin with a field. Fields on top of it need an empty line below them, or they
    /// would swallow its first line, or be no header.
    NoHeader,
}

/// One field of a block: where it stands, and where its name and its colon end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    octets: Octets,
    name_octets: usize,
    colon: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Octets {
    /// Of the block as it came.
    Came { start: usize, end: usize },
    /// Of an edit.
    Made(Box<[u8]>),
}

/// Finds the end of the header block while content arrives, and each field in it.
#[derive(Debug, Default)]
pub struct HeaderScan {
    entries: Vec<Entry>,
    /// Where the first line begins that is not judged yet.
    line_start: usize,
    /// That line has no CRLF before here.
    searched: usize,
    ending: Option<Ending>,
}

impl HeaderScan {
    #[must_use]
    pub fn new() -> HeaderScan {
        HeaderScan::default()
    }

    /// `content` is all of the message's content so far, from its first octet (unstuffed, CRLF line ends). True
    /// once the block has ended within it. However content arrives, the outcome is the same, and no octet of
    /// a field's value is looked at twice.
    pub fn scan(&mut self, content: &[u8], limits: HeaderLimits) -> Result<bool, HeaderExcess> {
        while self.ending.is_none() {
            let rest = content.get(self.line_start..).unwrap_or_default();
            let known = self.searched.saturating_sub(self.line_start);
            let line_end = rest.get(known..).and_then(|new| memmem::find(new, b"\r\n")).map(|at| known + at);
            let kind = match line_end.and_then(|end| rest.get(..end)) {
                Some(line) => LineKind::of(line),
                None => match LineKind::of_beginning(rest) {
                    LineKind::Undecided => return Ok(false),
                    kind @ (LineKind::Field { .. } | LineKind::Fold) if !self.is_stray(&kind) => {
                        self.searched = content.len().saturating_sub(1);
                        return if content.len() > limits.octets_max { Err(HeaderExcess::Octets) } else { Ok(false) };
                    }
                    kind => kind,
                },
            };
            self.take(kind, line_end.map_or(rest.len(), |end| end + b"\r\n".len()));
            if self.line_start > limits.octets_max {
                return Err(HeaderExcess::Octets);
            }
            if self.entries.len() > limits.fields_max {
                return Err(HeaderExcess::Fields);
            }
        }
        Ok(true)
    }

    /// A fold with nothing above it that it could belong to.
    fn is_stray(&self, kind: &LineKind) -> bool {
        matches!(kind, LineKind::Fold) && self.entries.is_empty()
    }

    fn take(&mut self, kind: LineKind, octets: usize) {
        let start = self.line_start;
        let end = start + octets;
        match kind {
            LineKind::Empty => self.ending = Some(Ending::EmptyLine),
            LineKind::Field { name_octets, colon } => {
                self.entries.push(Entry { octets: Octets::Came { start, end }, name_octets, colon });
            }
            LineKind::Fold
                if let Some(Entry { octets: Octets::Came { end: field_end, .. }, .. }) = self.entries.last_mut() =>
            {
                *field_end = end
            }
            _ if self.entries.is_empty() => self.ending = Some(Ending::NoHeader),
            _ => self.ending = Some(Ending::OtherLine),
        }
        if self.ending.is_none() {
            self.line_start = end;
        }
    }

    /// The block, and where in `content` (the same as in the last scan) the body begins. If the end was not
    /// found, the message ended here.
    #[must_use]
    pub fn finish(mut self, content: &[u8]) -> (HeaderBlock, usize) {
        let rest = content.get(self.line_start..).unwrap_or_default();
        if self.ending.is_none() && !rest.is_empty() {
            self.take(LineKind::of(rest), rest.len());
        }
        let ending = self.ending.unwrap_or_default();
        let body_start = self.line_start + if ending == Ending::EmptyLine { b"\r\n".len() } else { 0 };
        let mut came = content.get(..self.line_start).unwrap_or_default().to_vec();
        if let Some(Entry { octets: Octets::Came { end, .. }, .. }) = self.entries.last_mut()
            && !came.ends_with(b"\r\n")
        {
            // Content of DATA never ends within a line, but what a filter makes may.
            came.extend_from_slice(b"\r\n");
            *end = came.len();
        }
        (HeaderBlock { came: came.into(), entries: self.entries, ending }, body_start)
    }
}

/// What a line is to a header block.
enum LineKind {
    Empty,
    Fold,
    Field {
        name_octets: usize,
        colon: usize,
    },
    Other,
    /// Not enough of it has come.
    Undecided,
}

impl LineKind {
    /// Of a whole line, without its CRLF.
    fn of(line: &[u8]) -> LineKind {
        match line {
            [] => LineKind::Empty,
            [b' ' | b'\t', ..] => LineKind::Fold,
            _ => LineKind::field(line).unwrap_or(LineKind::Other),
        }
    }

    /// Of a line whose CRLF has not come: never another answer than the whole line's.
    fn of_beginning(line: &[u8]) -> LineKind {
        let may_be_name = |octet: &u8| is_name_octet(*octet) || b" \t\r".contains(octet);
        match LineKind::of(line) {
            LineKind::Empty => LineKind::Undecided,
            LineKind::Other if line.len() <= FIELD_NAME_OCTETS_MAX && line.iter().all(may_be_name) => {
                LineKind::Undecided
            }
            kind => kind,
        }
    }

    /// `Name:` or, obsolete but seen, `Name :` (RFC 5322 4.5).
    fn field(line: &[u8]) -> Option<LineKind> {
        let colon = memchr(b':', line.get(..=FIELD_NAME_OCTETS_MAX).unwrap_or(line))?;
        let before = line.get(..colon)?;
        let name_octets = before.iter().position(|b| b" \t".contains(b)).unwrap_or(colon);
        let (name, blank) = before.split_at_checked(name_octets)?;
        let sound =
            !name.is_empty() && name.iter().copied().all(is_name_octet) && blank.iter().all(|b| b" \t".contains(b));
        sound.then_some(LineKind::Field { name_octets, colon })
    }
}

/// One field of a block, as it stands there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    octets: &'a [u8],
    name_octets: usize,
    colon: usize,
}

impl<'a> Field<'a> {
    /// In the case in which it was written, without white space before the colon.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.octets.get(..self.name_octets).and_then(|name| str::from_utf8(name).ok()).unwrap_or_default()
    }

    /// After the colon up to the final CRLF (not included): the leading space and folds as they are.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        let value = self.octets.get(self.colon + 1..).unwrap_or_default();
        value.strip_suffix(b"\r\n").unwrap_or(value)
    }

    /// All of it, CRLF included.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Field").field(&self.octets.escape_ascii().to_string()).finish()
    }
}

/// The fields of a message in their order, and what separates them from its body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderBlock {
    /// The fields as they came; entries point into it.
    came: Box<[u8]>,
    entries: Vec<Entry>,
    ending: Ending,
}

impl HeaderBlock {
    /// Of a whole message, without limits. Returns where the body begins, too.
    #[must_use]
    pub fn parse(content: &[u8]) -> (HeaderBlock, usize) {
        let mut scan = HeaderScan::new();
        // Without limits there is no excess.
        let _ = scan.scan(content, HeaderLimits { octets_max: usize::MAX, fields_max: usize::MAX });
        scan.finish(content)
    }

    /// The fields as they came, whatever was edited since.
    #[must_use]
    pub fn came(&self) -> &[u8] {
        &self.came
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn view<'a>(&'a self, entry: &'a Entry) -> Field<'a> {
        let octets = match &entry.octets {
            Octets::Came { start, end } => self.came.get(*start..*end).unwrap_or_default(),
            Octets::Made(octets) => octets,
        };
        Field { octets, name_octets: entry.name_octets, colon: entry.colon }
    }

    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().map(|entry| self.view(entry))
    }

    /// By place; 0 is the topmost.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<Field<'_>> {
        self.entries.get(place).map(|entry| self.view(entry))
    }

    /// The nth of this name from the top, 0 the first; ASCII case ignored.
    #[must_use]
    pub fn get(&self, name: &str, nth: usize) -> Option<Field<'_>> {
        self.place_of(name, nth).and_then(|place| self.at(place))
    }

    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.iter().filter(|field| field.name().eq_ignore_ascii_case(name)).count()
    }

    fn place_of(&self, name: &str, nth: usize) -> Option<usize> {
        let mut places = self.iter().enumerate().filter(|(_, field)| field.name().eq_ignore_ascii_case(name));
        places.nth(nth).map(|(place, _)| place)
    }

    /// Above the field that stands at `place` now; below the last one where `place` is beyond it.
    pub fn insert(&mut self, place: usize, field: &HeaderField) {
        let entry = Entry::made(field);
        self.entries.insert(place.min(self.entries.len()), entry);
    }

    /// Below the last field.
    pub fn append(&mut self, field: &HeaderField) {
        self.entries.push(Entry::made(field));
    }

    /// Gives the nth field of this name another value (as in [`HeaderField::new`]; the name stays as it is
    /// written there), or takes the field away. False: there is no such field.
    pub fn change(&mut self, name: &str, nth: usize, value: Option<&[u8]>) -> Result<bool, FieldError> {
        let Some(place) = self.place_of(name, nth) else { return Ok(false) };
        let Some(value) = value else {
            self.entries.remove(place);
            return Ok(true);
        };
        let said = self.at(place).map(|field| field.name().to_owned()).unwrap_or_default();
        let entry = Entry::made(&HeaderField::new(said, value)?);
        self.entries.splice(place..=place, [entry]);
        Ok(true)
    }

    /// Makes sure that an empty line follows the fields: for a body that was not there before.
    pub fn separate_body(&mut self) {
        self.ending = Ending::EmptyLine;
    }

    /// The block as it goes on the wire but for dots: fields, and the empty line where there is one. Another
    /// field may stand on top of it. What nobody edited is the same octets as came.
    pub fn write_into(&self, out: &mut Vec<u8>) {
        out.reserve(self.octets());
        for field in self.iter() {
            out.extend_from_slice(field.octets());
        }
        if self.has_empty_line() {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// How many octets `write_into` writes.
    #[must_use]
    pub fn octets(&self) -> usize {
        let fields: usize = self.iter().map(|field| field.octets().len()).sum();
        fields + if self.has_empty_line() { b"\r\n".len() } else { 0 }
    }

    fn has_empty_line(&self) -> bool {
        matches!(self.ending, Ending::EmptyLine | Ending::NoHeader)
    }
}

impl Entry {
    fn made(field: &HeaderField) -> Entry {
        let mut octets = Vec::with_capacity(field.name.len() + field.value.len() + 3);
        field.write_into(&mut octets);
        Entry { octets: Octets::Made(octets.into()), name_octets: field.name.len(), colon: field.name.len() }
    }
}

#[cfg(test)]
mod tests;
