//! What EHLO promises: the upstream's offer as it stands, and ours to the client.
//!
//! The two are different types on purpose. What an upstream has not offered is never sent to it, and what we
//! have not offered is never accepted; which of the upstream's extensions become ours is the session's decision.

use std::borrow::Cow;
use std::fmt::Write;

use super::reply::Reply;

/// The upstream's answer to EHLO. An upstream that knows only HELO has the default one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "one field per extension, read as a table")]
pub struct Offer {
    /// SIZE; 0 is "no fixed limit" (RFC 1870). Beyond 64 bits it is as large as can be.
    pub size: Option<u64>,
    pub pipelining: bool,
    pub eight_bit_mime: bool,
    pub smtp_utf8: bool,
    pub dsn: bool,
    pub start_tls: bool,
    pub chunking: bool,
    pub binary_mime: bool,
    pub enhanced_status_codes: bool,
    /// Mechanisms, upper case.
    pub auth: Vec<String>,
    /// Attribute names, upper case. Postfix's XCLIENT.
    pub xclient: Vec<String>,
    pub xforward: Vec<String>,
    /// All other lines, as they stand.
    pub others: Vec<String>,
}

impl Offer {
    /// What both offer: of two sizes the smaller one.
    #[must_use]
    pub fn common(&self, other: &Offer) -> Offer {
        let both = |ours: &[String], theirs: &[String]| -> Vec<String> {
            ours.iter().filter(|word| theirs.contains(word)).cloned().collect()
        };
        let size = match (self.size, other.size) {
            (Some(0), Some(size)) | (Some(size), Some(0)) => Some(size),
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (None, _) | (_, None) => None,
        };
        Offer {
            size,
            pipelining: self.pipelining && other.pipelining,
            eight_bit_mime: self.eight_bit_mime && other.eight_bit_mime,
            smtp_utf8: self.smtp_utf8 && other.smtp_utf8,
            dsn: self.dsn && other.dsn,
            start_tls: self.start_tls && other.start_tls,
            chunking: self.chunking && other.chunking,
            binary_mime: self.binary_mime && other.binary_mime,
            enhanced_status_codes: self.enhanced_status_codes && other.enhanced_status_codes,
            auth: both(&self.auth, &other.auth),
            xclient: both(&self.xclient, &other.xclient),
            xforward: both(&self.xforward, &other.xforward),
            others: both(&self.others, &other.others),
        }
    }

    /// From a positive reply to EHLO; its first line is a greeting. Keywords count in any case, and the old
    /// form `AUTH=PLAIN` as `AUTH PLAIN`.
    #[must_use]
    pub fn parse(reply: &Reply) -> Offer {
        let mut offer = Offer::default();
        for line in reply.lines().skip(1) {
            let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            let mut add_to = |list: &mut Vec<String>| list.extend(words.by_ref().map(str::to_ascii_uppercase));
            match keyword.as_str() {
                "SIZE" => offer.size = Some(words.next().map_or(0, size)),
                "PIPELINING" => offer.pipelining = true,
                "8BITMIME" => offer.eight_bit_mime = true,
                "SMTPUTF8" => offer.smtp_utf8 = true,
                "DSN" => offer.dsn = true,
                "STARTTLS" => offer.start_tls = true,
                "CHUNKING" => offer.chunking = true,
                "BINARYMIME" => offer.binary_mime = true,
                "ENHANCEDSTATUSCODES" => offer.enhanced_status_codes = true,
                "AUTH" => add_to(&mut offer.auth),
                "XCLIENT" => add_to(&mut offer.xclient),
                "XFORWARD" => add_to(&mut offer.xforward),
                _ => offer.others.push(line.to_owned()),
            }
        }
        offer
    }
}

/// A size that is no number says nothing about a limit.
fn size(digits: &str) -> u64 {
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().unwrap_or(u64::MAX) } else { 0 }
}

/// What this client is offered at this moment. PIPELINING and ENHANCEDSTATUSCODES are always on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "one field per extension, read as a table")]
pub struct ClientOffer {
    /// None: SIZE is not offered; 0: no fixed limit.
    pub size: Option<u64>,
    pub start_tls: bool,
    /// SASL mechanisms; empty: AUTH is not offered.
    pub auth: &'static [&'static str],
    pub eight_bit_mime: bool,
    pub smtp_utf8: bool,
    pub dsn: bool,
    pub chunking: bool,
    /// Only together with CHUNKING (RFC 3030 3).
    pub binary_mime: bool,
}

/// Our answer to EHLO.
#[must_use]
pub fn greeting(hostname: &str, offer: &ClientOffer) -> Reply {
    let mut text = format!("{hostname}\nPIPELINING");
    // Writing to a String cannot fail.
    match offer.size {
        None => {}
        Some(0) => text.push_str("\nSIZE"),
        Some(octets) => write!(text, "\nSIZE {octets}").unwrap_or_default(),
    }
    if offer.start_tls {
        text.push_str("\nSTARTTLS");
    }
    if !offer.auth.is_empty() {
        write!(text, "\nAUTH {}", offer.auth.join(" ")).unwrap_or_default();
    }
    text.push_str("\nENHANCEDSTATUSCODES");
    let plain = [
        (offer.eight_bit_mime, "8BITMIME"),
        (offer.dsn, "DSN"),
        (offer.smtp_utf8, "SMTPUTF8"),
        (offer.chunking, "CHUNKING"),
        (offer.binary_mime && offer.chunking, "BINARYMIME"),
    ];
    for (on, keyword) in plain {
        if on {
            text.push('\n');
            text.push_str(keyword);
        }
    }
    Reply::new(250, None, Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_count_in_any_case_and_nothing_is_lost() {
        let text = "mx.example\npipelining\nSize 1000\nAUTH PLAIN scram-sha-512\nAUTH=LOGIN\n\
                    XCLIENT NAME ADDR\nXFORWARD NAME\nX-Corp a=b c\nLIMITS RCPTMAX=10\nETRN\n8BitMime";
        let offer = Offer::parse(&Reply::fixed(250, None, text));
        assert!(offer.pipelining && offer.eight_bit_mime && !offer.smtp_utf8 && !offer.start_tls);
        assert_eq!(offer.size, Some(1_000));
        assert_eq!(offer.auth, ["PLAIN", "SCRAM-SHA-512", "LOGIN"]);
        assert_eq!(offer.xclient, ["NAME", "ADDR"]);
        assert_eq!(offer.xforward, ["NAME"]);
        assert_eq!(offer.others, ["X-Corp a=b c", "LIMITS RCPTMAX=10", "ETRN"]);
    }

    #[test]
    fn the_greeting_line_offers_nothing() {
        assert_eq!(Offer::parse(&Reply::fixed(250, None, "PIPELINING")), Offer::default());
        assert_eq!(Offer::parse(&Reply::fixed(250, None, "SIZE 10\nSIZE")).size, Some(0));
        assert_eq!(Offer::parse(&Reply::fixed(250, None, "x\nSIZE 99999999999999999999999")).size, Some(u64::MAX));
        assert_eq!(Offer::parse(&Reply::fixed(250, None, "x\nSIZE -1")).size, Some(0));
    }

    #[test]
    fn we_offer_what_is_on_and_read_it_back() {
        let all = ClientOffer {
            size: Some(25),
            start_tls: true,
            auth: &["PLAIN", "LOGIN"],
            eight_bit_mime: true,
            smtp_utf8: true,
            dsn: true,
            chunking: true,
            binary_mime: true,
        };
        let mut wire = Vec::new();
        greeting("mx.example", &all).encode(&mut wire);
        assert_eq!(
            String::from_utf8_lossy(&wire),
            "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 25\r\n250-STARTTLS\r\n250-AUTH PLAIN LOGIN\r\n\
             250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n\
             250 BINARYMIME\r\n"
        );
        let least = greeting("mx.example", &ClientOffer::default());
        assert_eq!(least.text, "mx.example\nPIPELINING\nENHANCEDSTATUSCODES");
    }
}
