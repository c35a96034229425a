//! What EHLO promises: the upstream's offer as it stands, and ours to the client.
//!
//! The two are different types on purpose. What an upstream has not offered is never sent to it, and what we
//! have not offered is never accepted; which of the upstream's extensions become ours is the session's decision.

use std::borrow::Cow;
use std::fmt::Write;

use super::extensions::{FutureRelease, PriorityPolicy, SessionLimits, deliver_by_min};
use super::reply::Reply;
use super::sasl::Served;

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
    /// RFC 8689. What it says of a leg that is not verified TLS is not believed.
    pub require_tls: bool,
    pub limits: SessionLimits,
    /// DELIVERBY: the least number of seconds.
    pub deliver_by: Option<u32>,
    pub mt_priority: Option<PriorityPolicy>,
    pub future_release: Option<FutureRelease>,
    /// Mechanisms, upper case.
    pub auth: Vec<String>,
    /// Attribute names, upper case. Postfix's XCLIENT.
    pub xclient: Vec<String>,
    pub xforward: Vec<String>,
    /// All other lines, as they stand.
    pub others: Vec<String>,
}

impl Offer {
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
                "REQUIRETLS" => offer.require_tls = true,
                "LIMITS" => offer.limits = SessionLimits::parse(parameters(line)),
                "DELIVERBY" => offer.deliver_by = deliver_by_min(parameters(line).next()),
                "MT-PRIORITY" => offer.mt_priority = PriorityPolicy::parse(parameters(line).next()),
                "FUTURERELEASE" => offer.future_release = FutureRelease::parse(parameters(line)),
                "AUTH" => add_to(&mut offer.auth),
                "XCLIENT" => add_to(&mut offer.xclient),
                "XFORWARD" => add_to(&mut offer.xforward),
                _ => offer.others.push(line.to_owned()),
            }
        }
        offer
    }

    /// What both offer, each for whatever may come to it: a client that is to be served by one of several upstreams
    /// is offered what all of them have.
    #[must_use]
    pub fn common(&self, other: &Offer) -> Offer {
        let shared = |one: &[String], two: &[String]| one.iter().filter(|word| two.contains(word)).cloned().collect();
        Offer {
            size: self.size.zip(other.size).map(|sizes| match sizes {
                // No fixed limit.
                (0, size) | (size, 0) => size,
                (one, two) => one.min(two),
            }),
            pipelining: self.pipelining && other.pipelining,
            eight_bit_mime: self.eight_bit_mime && other.eight_bit_mime,
            smtp_utf8: self.smtp_utf8 && other.smtp_utf8,
            dsn: self.dsn && other.dsn,
            start_tls: self.start_tls && other.start_tls,
            chunking: self.chunking && other.chunking,
            binary_mime: self.binary_mime && other.binary_mime,
            enhanced_status_codes: self.enhanced_status_codes && other.enhanced_status_codes,
            require_tls: self.require_tls && other.require_tls,
            limits: self.limits.common(other.limits),
            deliver_by: self.deliver_by.zip(other.deliver_by).map(|(one, two)| one.max(two)),
            mt_priority: self.mt_priority.filter(|policy| other.mt_priority == Some(*policy)),
            future_release: self.future_release.zip(other.future_release).map(|(one, two)| one.common(two)),
            auth: shared(&self.auth, &other.auth),
            xclient: shared(&self.xclient, &other.xclient),
            xforward: shared(&self.xforward, &other.xforward),
            others: shared(&self.others, &other.others),
        }
    }
}

/// Of an EHLO line, as they stand.
fn parameters(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', '\t']).filter(|word| !word.is_empty()).skip(1)
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
    /// With which mechanisms is said in the [`greeting`].
    pub auth: bool,
    pub eight_bit_mime: bool,
    pub smtp_utf8: bool,
    pub dsn: bool,
    pub chunking: bool,
    /// Only together with CHUNKING (RFC 3030 3).
    pub binary_mime: bool,
    pub require_tls: bool,
    pub limits: SessionLimits,
    pub deliver_by: Option<u32>,
    pub mt_priority: Option<PriorityPolicy>,
    pub future_release: Option<FutureRelease>,
}

/// Our answer to EHLO. `mechanisms` are those of AUTH, where that is offered.
#[must_use]
pub fn greeting(hostname: &str, offer: &ClientOffer, mechanisms: &Served) -> Reply {
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
    if offer.auth {
        write!(text, "\nAUTH {mechanisms}").unwrap_or_default();
    }
    text.push_str("\nENHANCEDSTATUSCODES");
    let plain = [
        (offer.eight_bit_mime, "8BITMIME"),
        (offer.dsn, "DSN"),
        (offer.smtp_utf8, "SMTPUTF8"),
        (offer.chunking, "CHUNKING"),
        (offer.binary_mime && offer.chunking, "BINARYMIME"),
        (offer.require_tls, "REQUIRETLS"),
    ];
    for (on, keyword) in plain {
        if on {
            text.push('\n');
            text.push_str(keyword);
        }
    }
    match offer.deliver_by {
        None => {}
        Some(0) => text.push_str("\nDELIVERBY"),
        Some(seconds) => write!(text, "\nDELIVERBY {seconds}").unwrap_or_default(),
    }
    if let Some(policy) = offer.mt_priority {
        write!(text, "\nMT-PRIORITY {}", policy.name()).unwrap_or_default();
    }
    if let Some(release) = offer.future_release {
        write!(text, "\nFUTURERELEASE {release}").unwrap_or_default();
    }
    if !offer.limits.is_empty() {
        write!(text, "\nLIMITS{}", offer.limits).unwrap_or_default();
    }
    Reply::new(250, None, Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::super::sasl::Mechanisms;
    use super::*;

    #[test]
    fn keywords_count_in_any_case_and_nothing_is_lost() {
        let text = "mx.example\npipelining\nSize 1000\nAUTH PLAIN scram-sha-512\nAUTH=LOGIN\n\
                    XCLIENT NAME ADDR\nXFORWARD NAME\nX-Corp a=b c\nLIMITS RCPTMAX=10\nETRN\n8BitMime\n\
                    FUTURERELEASE soon\nMT-PRIORITY ours\nDELIVERBY now";
        let offer = Offer::parse(&Reply::fixed(250, None, text));
        assert!(offer.pipelining && offer.eight_bit_mime && !offer.smtp_utf8 && !offer.start_tls);
        assert_eq!(offer.size, Some(1_000));
        assert_eq!(offer.auth, ["PLAIN", "SCRAM-SHA-512", "LOGIN"]);
        assert_eq!(offer.xclient, ["NAME", "ADDR"]);
        assert_eq!(offer.xforward, ["NAME"]);
        assert_eq!(offer.others, ["X-Corp a=b c", "ETRN"]);
        assert_eq!(offer.limits.recipients, Some(10));
        assert!(offer.future_release.is_none() && offer.mt_priority.is_none() && offer.deliver_by.is_none());
    }

    #[test]
    fn the_greeting_line_offers_nothing() {
        assert_eq!(Offer::parse(&Reply::fixed(250, None, "PIPELINING")), Offer::default());
        assert_eq!(Offer::parse(&Reply::fixed(250, None, "SIZE 10\nSIZE")).size, Some(0));
        assert_eq!(Offer::parse(&Reply::fixed(250, None, "x\nSIZE 99999999999999999999999")).size, Some(u64::MAX));
        assert_eq!(Offer::parse(&Reply::fixed(250, None, "x\nSIZE -1")).size, Some(0));
    }

    #[test]
    fn of_two_upstreams_only_what_both_have_is_offered() {
        let one = Offer::parse(&Reply::fixed(
            250,
            None,
            "x\nSIZE 0\nDSN\nCHUNKING\nLIMITS RCPTMAX=10\nDELIVERBY 5\nMT-PRIORITY\nAUTH PLAIN LOGIN\nX-A",
        ));
        let two = Offer::parse(&Reply::fixed(
            250,
            None,
            "y\nSIZE 900\n8BITMIME\nCHUNKING\nLIMITS MAILMAX=3\nDELIVERBY\nMT-PRIORITY NSEP\nAUTH PLAIN\nX-B",
        ));
        let both = one.common(&two);
        assert_eq!(both, two.common(&one));
        let limits = SessionLimits { mails: Some(3), recipients: Some(10), domains: None };
        let expected = Offer {
            size: Some(900),
            chunking: true,
            limits,
            deliver_by: Some(5),
            auth: vec!["PLAIN".into()],
            ..Offer::default()
        };
        assert_eq!(both, expected);
        assert_eq!(one.common(&one), one);
        assert_eq!(one.common(&Offer::default()).size, None);
    }

    #[test]
    fn we_offer_what_is_on_and_read_it_back() {
        let all = ClientOffer {
            size: Some(25),
            start_tls: true,
            auth: true,
            eight_bit_mime: true,
            smtp_utf8: true,
            dsn: true,
            chunking: true,
            binary_mime: true,
            require_tls: true,
            limits: SessionLimits { mails: Some(5), recipients: Some(50), domains: None },
            deliver_by: Some(240),
            mt_priority: Some(PriorityPolicy::Mixer),
            future_release: FutureRelease::parse("86400 2030-01-31T12:00:00Z".split(' ')),
        };
        let passwords = Served::here(Mechanisms::PASSWORDS);
        let mut wire = Vec::new();
        greeting("mx.example", &all, &passwords).encode(&mut wire);
        assert_eq!(
            String::from_utf8_lossy(&wire),
            "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 25\r\n250-STARTTLS\r\n250-AUTH PLAIN LOGIN\r\n\
             250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n\
             250-BINARYMIME\r\n250-REQUIRETLS\r\n250-DELIVERBY 240\r\n250-MT-PRIORITY MIXER\r\n\
             250-FUTURERELEASE 86400 2030-01-31T12:00:00Z\r\n250 LIMITS RCPTMAX=50 MAILMAX=5\r\n"
        );
        let said = Reply::new(250, None, greeting("mx.example", &all, &passwords).text);
        let offer = Offer::parse(&said);
        assert_eq!((offer.limits, offer.deliver_by), (all.limits, all.deliver_by));
        assert_eq!((offer.mt_priority, offer.future_release), (all.mt_priority, all.future_release));
        assert!(offer.require_tls && offer.binary_mime && offer.others.is_empty());
        let least = greeting("mx.example", &ClientOffer::default(), &passwords);
        assert_eq!(least.text, "mx.example\nPIPELINING\nENHANCEDSTATUSCODES");
    }
}
