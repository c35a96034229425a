//! Who may log in with a certificate: its first e-mail address among the subject alternative names, else its only common
//! name (RFC 5280 4.2.1.6). Read from its DER.
//!
//! Only for certificates that were verified; what cannot be read, or could be read in two ways, names nobody.

use std::sync::Arc;

use super::validity::{SEQUENCE, element, expect, to_subject};
use crate::smtp::sasl;

const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
/// `[3]` of tbsCertificate.
const EXTENSIONS: u8 = 0xa3;
/// `[1]` of GeneralName.
const RFC822_NAME: u8 = 0x81;
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

pub(super) fn identity(certificate: &[u8]) -> Option<Arc<str>> {
    let (subject, rest) = expect(SEQUENCE, to_subject(certificate)?)?;
    let name = match alternative_names(rest) {
        Some(names) => email(names)?,
        None => None,
    };
    let name = match name {
        Some(name) => name,
        None => common_name(subject)?,
    };
    sasl::identity(name).map(Arc::from)
}

/// What follows the subject: the key, and perhaps extensions.
fn alternative_names(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (tag, content, others) = element(rest)?;
        if tag != EXTENSIONS {
            rest = others;
            continue;
        }
        let (mut extensions, _) = expect(SEQUENCE, content)?;
        while !extensions.is_empty() {
            let (extension, others) = expect(SEQUENCE, extensions)?;
            let (kind, value) = expect(OBJECT_IDENTIFIER, extension)?;
            let value = expect(BOOLEAN, value).map_or(value, |(_, value)| value);
            if kind == SUBJECT_ALT_NAME {
                return expect(OCTET_STRING, value).map(|(names, _)| names);
            }
            extensions = others;
        }
        return None;
    }
}

/// None: it cannot be read.
fn email(names: &[u8]) -> Option<Option<&[u8]>> {
    let (mut names, _) = expect(SEQUENCE, names)?;
    while !names.is_empty() {
        let (tag, content, others) = element(names)?;
        if tag == RFC822_NAME {
            return Some(Some(content));
        }
        names = others;
    }
    Some(None)
}

fn common_name(mut subject: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    while !subject.is_empty() {
        let (mut set, rest) = expect(SET, subject)?;
        while !set.is_empty() {
            let (pair, others) = expect(SEQUENCE, set)?;
            let (kind, value) = expect(OBJECT_IDENTIFIER, pair)?;
            let (tag, value, _) = element(value)?;
            if kind == COMMON_NAME {
                let text = matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING);
                // Two of them: which one would it be?
                if !text || found.replace(value).is_some() {
                    return None;
                }
            }
            set = others;
        }
        subject = rest;
    }
    found
}
