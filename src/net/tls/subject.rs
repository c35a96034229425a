//! Whom a certificate names, as one line: `CN=client.example.org,O=Example`. Read from its DER, bounded and escaped.
//!
//! Only for certificates that were verified; what cannot be read gives `None`, never an error.

use std::fmt::Write as _;
use std::sync::Arc;

use super::validity::{SEQUENCE, element, expect, to_subject};

const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// A longer line is cut.
const SUBJECT_CHARS_MAX: usize = 512;

/// RFC 4519, RFC 2985: the attributes that have short names.
const NAMES: [(&[u8], &str); 8] = [
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01], "emailAddress"),
];

/// `Certificate → tbsCertificate → subject` (RFC 5280 4.1), its parts in the order of RFC 4514: the last one first.
pub(super) fn subject(certificate: &[u8]) -> Option<Arc<str>> {
    let (mut names, _) = expect(SEQUENCE, to_subject(certificate)?)?;
    let mut parts = Vec::new();
    while !names.is_empty() {
        let (mut set, rest) = expect(SET, names)?;
        while !set.is_empty() {
            let (pair, others) = expect(SEQUENCE, set)?;
            let (kind, value) = expect(OBJECT_IDENTIFIER, pair)?;
            let (_, value, _) = element(value)?;
            parts.push(part(kind, value));
            set = others;
        }
        names = rest;
    }
    parts.reverse();
    let line: String = parts.join(",").chars().take(SUBJECT_CHARS_MAX).collect();
    Some(line.into())
}

fn part(kind: &[u8], value: &[u8]) -> String {
    let mut text = match NAMES.iter().find(|(known, _)| *known == kind) {
        Some((_, name)) => (*name).to_owned(),
        None => "OID".to_owned(),
    };
    text.push('=');
    for c in String::from_utf8_lossy(value).chars() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => {
                text.push('\\');
                text.push(c);
            }
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\{:02X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text
}
