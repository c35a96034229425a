//! The gateway's own trace field (RFC 5321 4.4), and RFC 5322 dates.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::mail::{Envelope, PeerName, SessionFacts};

/// What the upstream's SIZE is reduced by, and more than a Received field of ours can have.
pub const RECEIVED_BYTES_MAX: usize = 2_048;

/// The field with its final CRLF. `unix_seconds` is the time of reception, written in UTC.
#[must_use]
pub fn field(facts: &SessionFacts, envelope: &Envelope, hostname: &str, spoken: Spoken, unix_seconds: u64) -> String {
    let Spoken { smtp_utf8, lmtp } = spoken;
    let helo = facts.hello.as_ref().map_or("unknown", |hello| &*hello.name);
    let name = match &facts.peer_name {
        PeerName::Confirmed(name) => name,
        PeerName::Unavailable | PeerName::TemporarilyUnavailable => "unknown",
    };
    let mut out = String::with_capacity(512);
    // Writing to a String cannot fail.
    let _ = write!(out, "Received: from {} ({name} [{}])\r\n", printable(helo, smtp_utf8), literal(facts.peer.ip()));
    if let Some(tls) = &facts.tls {
        let _ =
            write!(out, "\t(using {} with cipher {} ({}/{} bits))\r\n", tls.version, tls.cipher, tls.bits, tls.bits);
    }
    let _ = write!(out, "\tby {hostname} {BY} with {} id {}", with(protocol(facts, smtp_utf8), lmtp), envelope.id);
    if let [only] = envelope.recipients.as_slice()
        && only.path.as_str().len() <= 320
    {
        let _ = write!(out, "\r\n\tfor <{}>", only.path.as_str());
    }
    let _ = write!(out, ";\r\n\t{}\r\n", date(unix_seconds));
    out
}

/// How the message came, as far as the session's facts do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spoken {
    /// MAIL had SMTPUTF8.
    pub smtp_utf8: bool,
    pub lmtp: bool,
}

/// LMTP has keywords of its own (RFC 3848): `LMTPS` for `ESMTPS`, `UTF8LMTPS` for `UTF8SMTPS`.
fn with(protocol: &'static str, lmtp: bool) -> Cow<'static, str> {
    if lmtp { Cow::Owned(protocol.replace("ESMTP", "LMTP").replace("UTF8SMTP", "UTF8LMTP")) } else { protocol.into() }
}

/// The mark of this software in a trace field.
const BY: &str = "(wasmilter)";

/// Whether the value of a Received field is one that a gateway of this name wrote: a message that carries many of
/// them goes in circles. The mail server behind the gateway often has the same name, and writes fields of its own in
/// every honest pass; hence the mark. Folds count as spaces. Whoever forges such fields refuses their own mail.
#[must_use]
pub fn is_ours(value: &[u8], hostname: &str) -> bool {
    let words: Vec<&[u8]> = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    words.windows(3).any(|three| match three {
        [by, host, mark] => {
            by.eq_ignore_ascii_case(b"by") && host.eq_ignore_ascii_case(hostname.as_bytes()) && *mark == BY.as_bytes()
        }
        _ => false,
    })
}

/// The WITH keyword (RFC 3848, RFC 6531 4.3).
#[must_use]
pub fn protocol(facts: &SessionFacts, smtp_utf8: bool) -> &'static str {
    let extended = facts.hello.as_ref().is_some_and(|hello| hello.extended);
    match (extended, smtp_utf8, facts.tls.is_some(), facts.auth.is_some()) {
        (false, ..) => "SMTP",
        (_, false, false, false) => "ESMTP",
        (_, false, true, false) => "ESMTPS",
        (_, false, false, true) => "ESMTPA",
        (_, false, true, true) => "ESMTPSA",
        (_, true, false, false) => "UTF8SMTP",
        (_, true, true, false) => "UTF8SMTPS",
        (_, true, false, true) => "UTF8SMTPA",
        (_, true, true, true) => "UTF8SMTPSA",
    }
}

/// RFC 5321 4.1.3, without the brackets.
fn literal(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("IPv6:{v6}"),
    }
}

/// A HELO name stands in a structured field: what could close a comment or fold the field becomes `?`, what is not
/// ASCII too unless the message may have such fields (RFC 6532), and a long name is cut.
fn printable(helo: &str, smtp_utf8: bool) -> Cow<'_, str> {
    if helo.len() <= 255 && helo.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b)) {
        return Cow::Borrowed(helo);
    }
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '(' | ')' | '\\' | '"' | ';');
    Cow::Owned(helo.chars().take(255).map(|c| if odd(c) || !(c.is_ascii() || smtp_utf8) { '?' } else { c }).collect())
}

/// RFC 5322 3.3, in UTC: `Sun, 22 Nov 2026 17:38:09 +0000`.
#[must_use]
pub fn date(unix_seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil(days);
    let weekday = DAYS.iter().zip(0..).find(|&(_, number)| number == days % 7).map_or("Thu", |(name, _)| *name);
    let month = MONTHS.iter().zip(1..).find(|&(_, number)| number == month).map_or("Jan", |(name, _)| *name);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{weekday}, {day} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
}

/// Year, month and day of a day number since 1970-01-01 (proleptic Gregorian, eras of 400 years).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::{date, is_ours, printable};

    #[test]
    fn our_own_fields_are_known() {
        let ours = b" from x (y [192.0.2.7])\r\n\tby mx.example.org (wasmilter) with ESMTP id 1.1;\r\n\tthen";
        assert!(is_ours(ours, "mx.example.org"));
        assert!(is_ours(b"from x by\r\n MX.EXAMPLE.ORG\r\n\t(wasmilter) with", "mx.example.org"));
        assert!(!is_ours(ours, "example.org"));
        assert!(!is_ours(b"from x by mx.example.org (Postfix) with ESMTP id 1.1; then", "mx.example.org"));
    }

    #[test]
    fn names_fit_into_a_field() {
        assert_eq!(printable("h\u{e4}us.test", false), "h?us.test");
        assert_eq!(printable("h\u{e4}us.test", true), "h\u{e4}us.test");
        assert_eq!(printable("a(b)\\\";c", true), "a?b????c");
    }

    #[test]
    fn dates_are_rfc_5322() {
        assert_eq!(date(0), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(date(951_782_400), "Tue, 29 Feb 2000 00:00:00 +0000");
        assert_eq!(date(1_795_369_089), "Sun, 22 Nov 2026 17:38:09 +0000");
        assert_eq!(date(4_107_542_399), "Sun, 28 Feb 2100 23:59:59 +0000");
        assert_eq!(date(4_107_542_400), "Mon, 1 Mar 2100 00:00:00 +0000");
    }
}
