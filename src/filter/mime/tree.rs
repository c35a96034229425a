//! The parts of a message, flat, in their order.

use std::sync::Arc;

use mail_parser::{Encoding, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::scan::{Look, look_over};
use super::{DEPTH_MAX, FILE_NAME_BYTES_MAX, PARTS_MAX, decode};

/// Octets of a media type or charset.
const WORD_BYTES_MAX: usize = 128;
/// Messages encoded within encoded messages.
const ENCODED_DEPTH_MAX: usize = 4;

/// What a blotted octet becomes.
const BLOT: u8 = b'_';

/// Deeper or more numerous than this host parses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooComplex;

/// One message's parts. The root is the first.
#[derive(Debug)]
pub(crate) struct Tree {
    parts: Vec<Part>,
}

/// One part.
#[derive(Debug)]
pub(crate) struct Part {
    pub parent: Option<u32>,
    /// Lower case.
    pub media_type: String,
    /// Lower case.
    pub disposition: Option<String>,
    pub file_name: Option<String>,
    /// As it was said.
    pub charset: Option<String>,
    content: Content,
    /// A message that mail-parser was kept from opening.
    closed: bool,
}

#[derive(Debug)]
enum Content {
    /// Of a multipart.
    None,
    /// A piece of the message, or of a message that was encoded within it.
    Piece(Arc<Vec<u8>>, std::ops::Range<usize>),
    Decoded(Vec<u8>),
}

impl Tree {
    /// Parses a whole message. Blocks, for as long as that takes.
    ///
    /// # Errors
    /// [`TooComplex`].
    pub(crate) fn parse(raw: Vec<u8>) -> Result<Tree, TooComplex> {
        let look = look_over(&raw)?;
        Tree::parse_looked_over(raw, &look)
    }

    /// Parses, if it is the work of a moment and needs no deep stack: the second half of [`Tree::parse`]. Otherwise
    /// the message comes back.
    ///
    /// # Errors
    /// [`TooComplex`].
    pub(crate) fn parse_at_once(raw: Vec<u8>) -> Result<Result<Tree, Vec<u8>>, TooComplex> {
        let look = look_over(&raw)?;
        if !look.is_simple {
            return Ok(Err(raw));
        }
        Tree::parse_looked_over(raw, &look).map(Ok)
    }

    fn parse_looked_over(raw: Vec<u8>, look: &Look) -> Result<Tree, TooComplex> {
        let mut tree = Tree { parts: Vec::new() };
        tree.message(raw, look, None, 0, 0)?;
        Ok(tree)
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(crate) fn part(&self, number: u32) -> Option<&Part> {
        self.parts.get(usize::try_from(number).ok()?)
    }

    /// A message of its own: the outermost, or one that came encoded.
    fn message(
        &mut self,
        raw: Vec<u8>,
        look: &Look,
        parent: Option<u32>,
        depth: usize,
        encoded: usize,
    ) -> Result<(), TooComplex> {
        if encoded > ENCODED_DEPTH_MAX {
            return Err(TooComplex);
        }
        let blots = &look.blots;
        // mail-parser would open encoded messages by itself, unseen by the scan: it is made not to know them. The
        // parts are pieces of the octets as they came.
        let blotted = (!blots.is_empty()).then(|| raw.clone()).map(|mut copy| {
            blots.iter().for_each(|place| copy.get_mut(*place).into_iter().for_each(|octet| *octet = BLOT));
            copy
        });
        let raw = Arc::new(raw);
        let parser = MessageParser::new().with_mime_headers().default_header_ignore();
        let first = self.parts.len();
        match parser.parse(blotted.as_deref().unwrap_or(&raw)) {
            Some(message) => self.flatten(message, &raw, parent, depth)?,
            None => self.push(Part::bare(parent, Content::Piece(Arc::clone(&raw), 0..raw.len())))?,
        }
        self.open_encoded(first, depth, encoded)
    }

    /// Parts from `first` on that are messages mail-parser did not open.
    fn open_encoded(&mut self, first: usize, depth: usize, encoded: usize) -> Result<(), TooComplex> {
        let mut at = first;
        let last = self.parts.len();
        while at < last {
            let part = self.parts.get(at).filter(|part| part.closed);
            if let Some(octets) = part.map(|part| part.octets().to_vec()) {
                let parent = u32::try_from(at).map_err(|_| TooComplex)?;
                let look = look_over(&octets)?;
                self.message(octets, &look, Some(parent), depth + 1, encoded + 1)?;
            }
            at += 1;
        }
        Ok(())
    }

    fn push(&mut self, part: Part) -> Result<(), TooComplex> {
        if self.parts.len() >= PARTS_MAX {
            return Err(TooComplex);
        }
        self.parts.push(part);
        Ok(())
    }

    /// mail-parser lists parts in the order in which they stand, so that a parent comes before its children.
    fn flatten(
        &mut self,
        message: Message<'_>,
        raw: &Arc<Vec<u8>>,
        parent: Option<u32>,
        depth: usize,
    ) -> Result<(), TooComplex> {
        if depth > DEPTH_MAX || message.parts.len() > PARTS_MAX {
            return Err(TooComplex);
        }
        // For each part of this message: its parent's place in the whole, and its depth. The first is the root.
        let root = u32::try_from(self.parts.len()).ok();
        let mut above = vec![(root, depth + 1); message.parts.len()];
        above.iter_mut().take(1).for_each(|first| *first = (parent, depth));
        for (id, part) in message.parts.into_iter().enumerate() {
            let (parent, depth) = above.get(id).copied().unwrap_or((parent, depth));
            if depth > DEPTH_MAX {
                return Err(TooComplex);
            }
            let me = u32::try_from(self.parts.len()).map_err(|_| TooComplex)?;
            let (shape, body) = Part::of(part, raw, parent);
            self.push(shape)?;
            match body {
                PartType::Multipart(children) => {
                    for child in children {
                        let child = usize::try_from(child).unwrap_or(usize::MAX);
                        // Only forward: nothing can be its own ancestor.
                        if child > id
                            && let Some(slot) = above.get_mut(child)
                        {
                            *slot = (Some(me), depth + 1);
                        }
                    }
                }
                PartType::Message(nested) => self.flatten(nested, raw, Some(me), depth + 1)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Part {
    fn bare(parent: Option<u32>, content: Content) -> Part {
        Part {
            parent,
            media_type: "text/plain".into(),
            disposition: None,
            file_name: None,
            charset: None,
            content,
            closed: false,
        }
    }

    fn of<'a>(part: MessagePart<'a>, raw: &Arc<Vec<u8>>, parent: Option<u32>) -> (Part, PartType<'a>) {
        let content_type = part.content_type();
        let subtype = content_type.and_then(|ct| ct.subtype());
        let (media_type, closed) = match (content_type, subtype) {
            (Some(_), Some("_fc822")) => ("message/rfc822".into(), true),
            (Some(_), Some("_lobal")) => ("message/global".into(), true),
            (Some(ct), _) => {
                (word(&format!("{}/{}", ct.ctype(), subtype.unwrap_or_default())).to_ascii_lowercase(), false)
            }
            (None, _) if matches!(part.body, PartType::Message(_)) => ("message/rfc822".into(), false),
            (None, _) => ("text/plain".into(), false),
        };
        let encoding = part.content_transfer_encoding().map(str::trim).unwrap_or_default();
        // Of a message in a digest, whose encoding was blotted out because it has no type.
        let hidden =
            content_type.is_none() && ["_ase64", "_uoted-printable"].iter().any(|e| encoding.eq_ignore_ascii_case(e));
        let (media_type, closed) = if hidden { ("message/rfc822".into(), true) } else { (media_type, closed) };
        let charset = content_type.and_then(|ct| ct.attribute("charset")).map(|charset| word(charset).to_owned());
        let disposition = part.content_disposition().map(|d| word(d.ctype()).to_ascii_lowercase());
        let file_name = part.attachment_name().map(|name| cut(name, FILE_NAME_BYTES_MAX).to_owned());
        let start = usize::try_from(part.offset_body).unwrap_or(usize::MAX).min(raw.len());
        let end = usize::try_from(part.offset_end).unwrap_or(usize::MAX).clamp(start, raw.len());
        let octets = raw.get(start..end).unwrap_or_default();
        let content = match (&part.body, part.encoding) {
            (PartType::Multipart(_), _) => Content::None,
            (
                PartType::Binary(octets) | PartType::InlineBinary(octets),
                Encoding::Base64 | Encoding::QuotedPrintable,
            ) => Content::Decoded(octets.to_vec()),
            (_, Encoding::Base64) => Content::Decoded(decode::base64(octets)),
            (_, Encoding::QuotedPrintable) => Content::Decoded(decode::quoted_printable(octets)),
            // Base64 that mail-parser gave up on; those who open attachments do not.
            (_, Encoding::None) if encoding.eq_ignore_ascii_case("base64") => Content::Decoded(decode::base64(octets)),
            (_, Encoding::None) if hidden && encoding.eq_ignore_ascii_case("_ase64") => {
                Content::Decoded(decode::base64(octets))
            }
            (_, Encoding::None) if hidden => Content::Decoded(decode::quoted_printable(octets)),
            (_, Encoding::None) => Content::Piece(Arc::clone(raw), start..end),
        };
        let body = if hidden { PartType::default() } else { part.body };
        (Part { parent, media_type, disposition, file_name, charset, content, closed }, body)
    }

    /// Decoded octets; empty for a multipart.
    pub(crate) fn octets(&self) -> &[u8] {
        match &self.content {
            Content::None => &[],
            Content::Piece(of, place) => of.get(place.clone()).unwrap_or_default(),
            Content::Decoded(octets) => octets,
        }
    }

    /// As UTF-8, at most `bytes_max` octets; none for parts that are no text.
    pub(crate) fn text(&self, bytes_max: usize) -> Option<String> {
        if !self.media_type.starts_with("text/") {
            return None;
        }
        let octets = self.octets();
        let mut text = decode::text(octets.get(..bytes_max).unwrap_or(octets), self.charset.as_deref());
        text.truncate(cut(&text, bytes_max).len());
        Some(text)
    }
}

fn word(text: &str) -> &str {
    cut(text, WORD_BYTES_MAX)
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
