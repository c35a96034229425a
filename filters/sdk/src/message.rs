//! The message: header fields, body octets, MIME parts.
//!
//! Everything is asked for when it is used, and what is never used is not imported. A MIME tree that the host
//! gave up on (too deep, too many parts) must not pass because a filter could not look into it: see
//! [`Message::parts`].

use std::cell::{Cell, OnceCell};

use crate::bindings::wasmilter::filter as host;
use crate::verdict::{Action, Verdict, reject};
pub use host::mime::Error as MimeError;
pub use host::types::Header;

/// Octets asked for at once where a whole body or part is read.
pub const READ_BYTES: u32 = 64 * 1_024;

impl Header {
    /// Whether this is the field's name, ASCII case ignored.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value unfolded, as text; octets that are not UTF-8 become U+FFFD. Encoded words stay encoded.
    #[must_use]
    pub fn text(&self) -> String {
        unfolded(&self.value)
    }
}

/// The header block as it was handed to the `headers` stage, topmost field first.
#[derive(Debug)]
pub struct Headers(Vec<Header>);

impl Headers {
    #[doc(hidden)]
    #[must_use]
    pub fn new(fields: Vec<Header>) -> Headers {
        Headers(fields)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.0.iter()
    }

    /// The topmost field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Header> {
        self.iter().find(|field| field.is(name))
    }

    /// All fields of this name, topmost first.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Header> + use<'a> {
        self.iter().filter(move |field| field.is(name))
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The whole message, in the `message` stage.
#[derive(Debug, Default)]
pub struct Message {
    parts: OnceCell<Result<Vec<Part>, MimeError>>,
    /// The filter looked for parts and was shown none, though there may be some.
    unread: Cell<bool>,
}

impl Message {
    #[doc(hidden)]
    #[must_use]
    pub fn new() -> Message {
        Message::default()
    }

    /// The parts with a file name or marked as attachments, in their order; inline ones too.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.parts().iter().filter(|part| part.is_attachment())
    }

    /// The MIME tree in the order of the message; the root is the first.
    ///
    /// Of a message too complex for the host to take apart there are no parts, and a filter that is content with
    /// that is overruled: the message is refused with 554 5.6.0. [`Message::try_parts`] leaves it to the filter.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        self.try_parts().unwrap_or_else(|_| {
            self.unread.set(true);
            &[]
        })
    }

    /// The MIME tree, or why there is none.
    ///
    /// # Errors
    /// `TooComplex` for a message deeper or with more parts than the host takes apart.
    pub fn try_parts(&self) -> Result<&[Part], &MimeError> {
        let parts = self.parts.get_or_init(|| {
            let parts = host::mime::parts()?;
            Ok((0..).zip(parts).map(|(place, facts)| Part { place, facts }).collect())
        });
        parts.as_deref()
    }

    /// The topmost field of this name, unfolded, as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.header_octets(name, 0).map(|value| unfolded(&value))
    }

    /// The nth field of this name (0 is the topmost) as on the wire.
    #[must_use]
    pub fn header_octets(&self, name: &str, nth: u32) -> Option<Vec<u8>> {
        host::headers::value(name, nth)
    }

    /// All fields, topmost first.
    pub fn headers(&self) -> impl Iterator<Item = Header> + use<> {
        (0..host::headers::count()).map_while(host::headers::at)
    }

    /// Octets after the header block and its empty line.
    #[must_use]
    pub fn body_size(&self) -> u32 {
        host::body::size()
    }

    /// Short at the end, empty past it. At most 1 MiB.
    #[must_use]
    pub fn read_body(&self, offset: u32, len: u32) -> Vec<u8> {
        host::body::read(offset, len)
    }

    /// The body in pieces of [`READ_BYTES`].
    pub fn body(&self) -> impl Iterator<Item = Vec<u8>> + use<> {
        pieces(host::body::read)
    }

    /// First place of `needle` (at most 1 KiB) in the body at or after `offset`: the host looks.
    #[must_use]
    pub fn find(&self, needle: &[u8], offset: u32) -> Option<u32> {
        host::body::find(needle, offset)
    }

    /// Of the body.
    #[must_use]
    pub fn body_sha256(&self) -> Vec<u8> {
        host::body::sha256()
    }

    /// What the filter's verdict comes to; see [`Message::parts`].
    #[doc(hidden)]
    #[must_use]
    pub fn settle(&self, verdict: Verdict) -> Verdict {
        if self.unread.get() && matches!(verdict.action, Action::Next | Action::Accept) {
            let text = "The message is too complex to be inspected";
            return reject("5.6.0", text).code(554).because("the MIME structure is beyond the bounds of the host");
        }
        verdict
    }
}

/// A [`Part`] that came out of [`Message::attachments`].
pub type Attachment = Part;

/// One part of the MIME tree.
#[derive(Debug, Clone)]
pub struct Part {
    place: u32,
    facts: host::mime::Part,
}

impl Part {
    /// The place in [`Message::parts`].
    #[must_use]
    pub fn place(&self) -> u32 {
        self.place
    }

    /// The place of the part this one is in; none for the root.
    #[must_use]
    pub fn parent(&self) -> Option<u32> {
        self.facts.parent
    }

    /// The file name, decoded; `""` when there is none. As the sender wrote it: anything may stand in it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.facts.file_name.as_deref().unwrap_or("")
    }

    /// Lower case, `text/plain` where nothing is said.
    #[must_use]
    pub fn media_type(&self) -> &str {
        &self.facts.media_type
    }

    /// Lower case: `attachment`, `inline`.
    #[must_use]
    pub fn disposition(&self) -> Option<&str> {
        self.facts.disposition.as_deref()
    }

    #[must_use]
    pub fn charset(&self) -> Option<&str> {
        self.facts.charset.as_deref()
    }

    /// Decoded octets; 0 for a multipart.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.facts.size
    }

    /// Has a file name, or is marked as an attachment.
    #[must_use]
    pub fn is_attachment(&self) -> bool {
        self.facts.file_name.is_some() || self.disposition() == Some("attachment")
    }

    /// Whether its name may turn out to end in one of these (lower case, without dot) when it is saved; see
    /// [`text::endings`](crate::text::endings) for what does not hide it.
    #[must_use]
    pub fn has_extension(&self, extensions: &[impl AsRef<str>]) -> bool {
        crate::text::endings(self.name()).any(|ending| extensions.iter().any(|wanted| wanted.as_ref() == ending))
    }

    /// Decoded content. Short at the end, empty past it. At most 1 MiB.
    #[must_use]
    pub fn read(&self, offset: u32, len: u32) -> Vec<u8> {
        host::mime::read(self.place, offset, len)
    }

    /// Decoded content in pieces of [`READ_BYTES`].
    pub fn content(&self) -> impl Iterator<Item = Vec<u8>> + use<> {
        let place = self.place;
        pieces(move |offset, len| host::mime::read(place, offset, len))
    }

    /// Whether the content begins as a ZIP archive does; documents of office programs are such archives too.
    #[must_use]
    pub fn is_zip(&self) -> bool {
        self.read(0, 4) == crate::zip::BEGINNING
    }

    /// The names in a ZIP archive, as its directory lists them. None for what is no such archive, is damaged, or
    /// has a directory of more than 512 KiB.
    #[must_use]
    pub fn zip_names(&self) -> Option<Vec<String>> {
        crate::zip::names(self.size(), |offset, len| self.read(offset, len))
    }

    /// A text part as UTF-8 (at most 1 MiB), none for other parts.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        host::mime::text(self.place)
    }

    /// Of the decoded content.
    #[must_use]
    pub fn sha256(&self) -> Vec<u8> {
        host::mime::sha256(self.place)
    }
}

/// Reads from 0 until a piece comes back empty.
fn pieces(read: impl Fn(u32, u32) -> Vec<u8>) -> impl Iterator<Item = Vec<u8>> {
    let mut offset = 0u32;
    std::iter::from_fn(move || {
        let piece = read(offset, READ_BYTES);
        offset = offset.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        (!piece.is_empty()).then_some(piece)
    })
}

/// RFC 5322 2.2.3: a fold is its line end only.
fn unfolded(value: &[u8]) -> String {
    let line: Vec<u8> = value.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    String::from_utf8(line).unwrap_or_else(|wrong| String::from_utf8_lossy(wrong.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn part(name: Option<&str>, disposition: Option<&str>) -> Part {
        let facts = host::mime::Part {
            parent: None,
            media_type: "text/plain".into(),
            disposition: disposition.map(Into::into),
            file_name: name.map(Into::into),
            charset: None,
            size: 0,
        };
        Part { place: 0, facts }
    }

    #[test]
    fn what_cannot_be_read_does_not_pass() {
        let mail = Message::new();
        mail.parts.set(Err(MimeError::TooComplex)).unwrap();
        assert!(mail.try_parts().is_err());
        assert_eq!(mail.settle(crate::next()).action, Action::Next);
        assert_eq!(mail.attachments().count(), 0);
        assert_eq!(mail.settle(crate::next()).action, Action::Reject);
        assert_eq!(mail.settle(crate::accept()).action, Action::Reject);
        assert_eq!(mail.settle(crate::defer("4.0.0", "")).action, Action::Defer);
    }

    #[test]
    fn attachments_are_named_or_marked() {
        let mail = Message::new();
        let parts = vec![part(None, None), part(Some("a.PDF"), None), part(None, Some("attachment"))];
        mail.parts.set(Ok(parts)).unwrap();
        assert_eq!(mail.attachments().count(), 2);
        assert!(mail.attachments().any(|part| part.has_extension(&["exe", "pdf"])));
    }

    #[test]
    fn folds_are_taken_out() {
        let field = Header { name: "Subject".into(), value: b"a\r\n b\xff".to_vec() };
        assert_eq!(field.text(), "a b\u{fffd}");
        assert!(field.is("SUBJECT"));
    }
}
