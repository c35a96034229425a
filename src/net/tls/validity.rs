//! From when to when a certificate says it is valid: read from its DER, and nothing else of it.
//!
//! For certificates that the operator named: warnings about the gateway's own, and an upstream's self-signed one. A
//! chain is verified by webpki.
//! What cannot be read gives `None`, never an error.

use std::time::SystemTime;

use time::{Date, Month};

/// RFC 5280 4.1.2.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `Certificate → tbsCertificate → validity` (RFC 5280 4.1).
pub(super) fn validity(certificate: &[u8]) -> Option<Validity> {
    let (validity, _) = expect(SEQUENCE, to_validity(certificate)?)?;
    let (not_before, rest) = instant(validity)?;
    let (not_after, _) = instant(rest)?;
    Some(Validity { not_before, not_after })
}

/// From the subject on: it is behind the validity.
pub(super) fn to_subject(certificate: &[u8]) -> Option<&[u8]> {
    expect(SEQUENCE, to_validity(certificate)?).map(|(_, rest)| rest)
}

fn to_validity(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = expect(SEQUENCE, certificate)?;
    let (mut to_be_signed, _) = expect(SEQUENCE, certificate)?;
    if to_be_signed.first() == Some(&VERSION) {
        to_be_signed = element(to_be_signed)?.2;
    }
    // serialNumber, signature, issuer
    for _ in 0..3 {
        to_be_signed = element(to_be_signed)?.2;
    }
    Some(to_be_signed)
}

/// The first element: its tag, its content, and what follows it.
pub(super) fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let octets = usize::from(length & 0x7f);
        if octets == 0 || octets > 3 {
            return None;
        }
        let (octets, rest) = rest.split_at_checked(octets)?;
        (octets.iter().fold(0, |sum, &octet| sum << 8 | usize::from(octet)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

pub(super) fn expect(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(input)?;
    (found == tag).then_some((content, rest))
}

/// `YYMMDDHHMMSSZ` (years 1950 to 2049) or `YYYYMMDDHHMMSSZ`.
fn instant(input: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (tag, content, rest) = element(input)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let (year, text) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let (year, text) = text.split_at_checked(2)?;
            let year: i32 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text)
        }
        (GENERALIZED_TIME, 14) => {
            let (year, text) = text.split_at_checked(4)?;
            (year.parse().ok()?, text)
        }
        _ => return None,
    };
    let pair = |at: usize| -> Option<u8> { text.get(at..at + 2)?.parse().ok() };
    let date = Date::from_calendar_date(year, Month::try_from(pair(0)?).ok()?, pair(2)?).ok()?;
    let moment = date.with_hms(pair(4)?, pair(6)?, pair(8)?).ok()?.assume_utc();
    Some((SystemTime::from(moment), rest))
}
