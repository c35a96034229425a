//! Text from outside, made harmless for a log: no line ends, no control sequences, no forged fields, no end of it.

use std::fmt::{self, Write};

/// Octets of one value in a log line; the rest is cut and marked.
pub(super) const VALUE_BYTES_MAX: usize = 2048;
/// What a cut value ends with.
const CUT: &str = "[…]";

/// How characters that cannot stand as they are are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `key=value` lines: `\n`, `\u{1b}`, `\"`.
    Text,
    /// RFC 8259: `\n`, `\u001b`, `\"`.
    Json,
}

/// Escapes what is written through it, up to [`VALUE_BYTES_MAX`] octets.
pub(super) struct Escaped<'a> {
    out: &'a mut dyn Write,
    style: Style,
    left: usize,
}

impl<'a> Escaped<'a> {
    pub(super) fn new(out: &'a mut dyn Write, style: Style) -> Escaped<'a> {
        Escaped { out, style, left: VALUE_BYTES_MAX }
    }
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.left == 0 {
                return Ok(());
            }
            if self.left < c.len_utf8() {
                self.left = 0;
                return self.out.write_str(CUT);
            }
            self.left -= c.len_utf8();
            escape(self.out, c, self.style)?;
            if self.left == 0 {
                self.out.write_str(CUT)?;
            }
        }
        Ok(())
    }
}

fn escape(out: &mut dyn Write, c: char, style: Style) -> fmt::Result {
    match c {
        '"' => out.write_str("\\\""),
        '\\' => out.write_str("\\\\"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        _ if is_shown(c) => out.write_char(c),
        _ if style == Style::Text => write!(out, "\\u{{{:x}}}", u32::from(c)),
        _ => {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
        }
    }
}

/// Whether a character does nothing but appear: no control (C0, DEL, C1), none that is invisible or turns the
/// direction of what follows, none that some reader takes for a line end.
fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// One line of a text from outside, for a terminal: what would do more than appear is written out.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_shown(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

/// A value of a `key=value` line: as it is where it cannot be misread, else quoted and escaped.
pub(super) fn text_value(out: &mut dyn Write, value: &str) -> fmt::Result {
    let bare = |octet: u8| octet.is_ascii_graphic() && !matches!(octet, b'"' | b'\\' | b'=');
    if !value.is_empty() && value.len() <= VALUE_BYTES_MAX && value.bytes().all(bare) {
        return out.write_str(value);
    }
    quoted(out, value, Style::Text)
}

/// The sentence of a `key=value` line, which stands before the first key.
pub(super) fn text_message(out: &mut dyn Write, value: &str) -> fmt::Result {
    let plain = |octet: u8| octet == b' ' || octet.is_ascii_graphic() && !matches!(octet, b'"' | b'\\' | b'=');
    if !value.is_empty() && value.len() <= VALUE_BYTES_MAX && value.bytes().all(plain) {
        return out.write_str(value);
    }
    quoted(out, value, Style::Text)
}

pub(super) fn quoted(out: &mut dyn Write, value: &str, style: Style) -> fmt::Result {
    out.write_char('"')?;
    Escaped::new(out, style).write_str(value)?;
    out.write_char('"')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn value(text: &str) -> String {
        let mut out = String::new();
        text_value(&mut out, text).unwrap();
        out
    }

    #[test]
    fn harmless_values_stand_bare_and_the_rest_quoted() {
        assert_eq!(value("<anna@example.org>"), "<anna@example.org>");
        assert_eq!(value(""), "\"\"");
        assert_eq!(value("a b"), "\"a b\"");
        assert_eq!(value("x outcome=accepted"), "\"x outcome=accepted\"");
        assert_eq!(value("\"x\\"), "\"\\\"x\\\\\"");
        assert_eq!(value("müller@example.org"), "\"müller@example.org\"");
    }

    #[test]
    fn nothing_ends_the_line_or_moves_the_cursor() {
        let nasty = "a\r\nb\u{1b}[2J\u{7f}\u{85}\u{9b}\u{2028}\u{202e}\u{200b}\0";
        let shown = value(nasty);
        assert_eq!(shown, r#""a\r\nb\u{1b}[2J\u{7f}\u{85}\u{9b}\u{2028}\u{202e}\u{200b}\u{0}""#);
        let mut json = String::new();
        quoted(&mut json, nasty, Style::Json).unwrap();
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), nasty);
        assert!(json.chars().all(|c| c.is_ascii_graphic()), "{json}");
        let mut json = String::new();
        quoted(&mut json, "\u{e0041}😀", Style::Json).unwrap();
        assert_eq!(json, "\"\\udb40\\udc41😀\"");
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        assert_eq!(printable("Grüße \"a\" \\"), "Grüße \"a\" \\");
        assert_eq!(printable("a\u{1b}[2J\n\u{202e}\u{9b}"), "a\\u{1b}[2J\\n\\u{202e}\\u{9b}");
    }

    #[test]
    fn long_values_are_cut_and_say_so() {
        for long in
            ["x".repeat(1_000_000), "ä".repeat(VALUE_BYTES_MAX), format!("{}ä", "x".repeat(VALUE_BYTES_MAX - 1))]
        {
            let shown = value(&long);
            assert!(shown.len() <= VALUE_BYTES_MAX + 2 + CUT.len(), "{}", shown.len());
            assert!(shown.ends_with("[…]\""));
            assert_eq!(shown.matches(CUT).count(), 1);
        }
        let mut out = String::new();
        let mut pieces = Escaped::new(&mut out, Style::Text);
        for _ in 0..VALUE_BYTES_MAX {
            pieces.write_str("xy").unwrap();
        }
        assert_eq!(out.matches(CUT).count(), 1);
    }
}
