//! The rarer extensions, whose EHLO lines and MAIL parameters have a grammar of their own: LIMITS (RFC 9422), DELIVERBY
//! (RFC 2852), MT-PRIORITY (RFC 6710) and FUTURERELEASE (RFC 4865).
//!
//! We do none of them but the first; they are the upstream's, and the client's way to it. What does not follow its
//! grammar is not offered on, and not accepted.

use std::fmt;

/// LIMITS: how much fits into one session or one transaction. None: nothing is said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionLimits {
    /// MAILMAX: transactions in a session.
    pub mails: Option<u32>,
    /// RCPTMAX: recipients in a transaction.
    pub recipients: Option<u32>,
    /// RCPTDOMAINMAX: different domains among them.
    pub domains: Option<u32>,
}

impl SessionLimits {
    /// Six digits are the most that can be said (RFC 9422 4).
    const VALUE_MAX: u32 = 999_999;

    /// The parameters of the EHLO line. What is unknown or malformed limits nothing.
    #[must_use]
    pub fn parse<'a>(words: impl Iterator<Item = &'a str>) -> SessionLimits {
        let mut limits = SessionLimits::default();
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let value = digits(value, 6).filter(|_| !value.starts_with('0'));
            match name.to_ascii_uppercase().as_str() {
                "MAILMAX" => limits.mails = value,
                "RCPTMAX" => limits.recipients = value,
                "RCPTDOMAINMAX" => limits.domains = value,
                _ => {}
            }
        }
        limits
    }

    /// What keeps to both.
    #[must_use]
    pub fn common(self, other: SessionLimits) -> SessionLimits {
        let smaller = |one: Option<u32>, two: Option<u32>| one.into_iter().chain(two).min();
        SessionLimits {
            mails: smaller(self.mails, other.mails),
            recipients: smaller(self.recipients, other.recipients),
            domains: smaller(self.domains, other.domains),
        }
    }

    /// Whether there is anything to be said.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == SessionLimits::default()
    }
}

/// As in the EHLO line: ` RCPTMAX=100 MAILMAX=10`.
impl fmt::Display for SessionLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [("RCPTMAX", self.recipients), ("MAILMAX", self.mails), ("RCPTDOMAINMAX", self.domains)];
        for (name, value) in named {
            if let Some(value) = value {
                write!(f, " {name}={}", value.clamp(1, SessionLimits::VALUE_MAX))?;
            }
        }
        Ok(())
    }
}

/// Which policy the priorities of MT-PRIORITY follow (RFC 6710 9). An offer that names none means the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriorityPolicy {
    Mixer,
    Stanag4406,
    Nsep,
}

impl PriorityPolicy {
    #[must_use]
    pub fn parse(word: Option<&str>) -> Option<PriorityPolicy> {
        match word.map(str::to_ascii_uppercase).as_deref() {
            None | Some("MIXER") => Some(PriorityPolicy::Mixer),
            Some("STANAG4406") => Some(PriorityPolicy::Stanag4406),
            Some("NSEP") => Some(PriorityPolicy::Nsep),
            Some(_) => None,
        }
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            PriorityPolicy::Mixer => "MIXER",
            PriorityPolicy::Stanag4406 => "STANAG4406",
            PriorityPolicy::Nsep => "NSEP",
        }
    }
}

/// How far ahead FUTURERELEASE goes (RFC 4865 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FutureRelease {
    pub seconds_max: u32,
    /// `2030-01-31T12:00:00Z`: in this form earlier is smaller.
    until: [u8; 20],
}

impl FutureRelease {
    /// Both parameters of the EHLO line; the time in UTC and whole seconds.
    #[must_use]
    pub fn parse<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<FutureRelease> {
        let seconds_max = hold_for(words.next()?)?;
        let until = words.next().filter(|time| is_date_time(time))?;
        let until = until.as_bytes().try_into().ok().filter(|utc: &[u8; 20]| utc.ends_with(b"Z"))?;
        words.next().is_none().then_some(FutureRelease { seconds_max, until })
    }

    /// What both can do.
    #[must_use]
    pub fn common(self, other: FutureRelease) -> FutureRelease {
        FutureRelease { seconds_max: self.seconds_max.min(other.seconds_max), until: self.until.min(other.until) }
    }
}

/// As in the EHLO line.
impl fmt::Display for FutureRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.seconds_max, String::from_utf8_lossy(&self.until))
    }
}

/// The smallest time that DELIVERBY takes in mode R, in seconds; 0 where the offer names none (RFC 2852 3).
#[must_use]
pub fn deliver_by_min(word: Option<&str>) -> Option<u32> {
    word.map_or(Some(0), |word| digits(word.split(',').next().unwrap_or_default(), 9))
}

/// `BY=time;mode`: deliver within so many seconds or return (R) or notify (N); with T also trace (RFC 2852 4).
#[must_use]
pub fn deliver_by(value: &str) -> Option<()> {
    let (time, mode) = value.split_once(';')?;
    let late = time.starts_with('-');
    let seconds = digits(time.strip_prefix(['+', '-']).unwrap_or(time), 9)?;
    match mode.to_ascii_uppercase().as_str() {
        "N" | "NT" => Some(()),
        // Too late before it was said (RFC 2852 4).
        "R" | "RT" => (seconds > 0 && !late).then_some(()),
        _ => None,
    }
}

/// `MT-PRIORITY=-9` to `9` (RFC 6710 5).
#[must_use]
pub fn priority(value: &str) -> Option<i8> {
    let number = value.strip_prefix('-').unwrap_or(value);
    let [digit @ b'0'..=b'9'] = number.as_bytes() else { return None };
    let number = i8::try_from(digit - b'0').ok()?;
    match (value.starts_with('-'), number) {
        (true, 0) => None,
        (true, number) => Some(-number),
        (false, number) => Some(number),
    }
}

/// `HOLDFOR=`: seconds, up to nine digits and no zero before them (RFC 4865 3).
#[must_use]
pub fn hold_for(value: &str) -> Option<u32> {
    digits(value, 9).filter(|_| !value.starts_with('0'))
}

/// A `date-time` of RFC 3339 5.6, as `HOLDUNTIL=` has it: `2030-01-31T12:00:00Z`, with a fraction of a second or an
/// offset where the client writes one.
#[must_use]
pub fn is_date_time(text: &str) -> bool {
    let form = |text: &str, form: &str| {
        text.len() == form.len()
            && text.bytes().zip(form.bytes()).all(|(octet, form)| match form {
                b'0' => octet.is_ascii_digit(),
                other => octet.eq_ignore_ascii_case(&other),
            })
    };
    let number = |at: usize| text.get(at..at + 2).and_then(|two| two.parse::<u8>().ok());
    let within = |at: usize, least: u8, most: u8| number(at).is_some_and(|number| (least..=most).contains(&number));
    let Some((time, rest)) = text.split_at_checked(19) else { return false };
    // A leap second is a second.
    let sound = form(time, "0000-00-00T00:00:00")
        && within(5, 1, 12)
        && within(8, 1, 31)
        && within(11, 0, 23)
        && within(14, 0, 59)
        && within(17, 0, 60);
    let fraction = rest.strip_prefix('.').map_or(0, |digits| digits.bytes().take_while(u8::is_ascii_digit).count() + 1);
    let Some(zone) = rest.get(fraction..).filter(|_| fraction != 1 && fraction <= 10) else { return false };
    let offset = || {
        let hours = zone.get(1..3).and_then(|two| two.parse::<u8>().ok()).is_some_and(|hours| hours < 24);
        let minutes = zone.get(4..6).and_then(|two| two.parse::<u8>().ok()).is_some_and(|minutes| minutes < 60);
        (form(zone, "+00:00") || form(zone, "-00:00")) && hours && minutes
    };
    sound && (zone.eq_ignore_ascii_case("Z") || offset())
}

fn digits(text: &str, max: usize) -> Option<u32> {
    let sound = (1..=max).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    if sound { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn limits_are_what_keeps_to_both() {
        let ours = SessionLimits { mails: Some(1_000), recipients: Some(2_000_000), domains: None };
        let theirs = SessionLimits::parse("rcptmax=100 MAILMAX=0 RCPTDOMAINMAX=1 NEW=x MAILMAX2 RCPT".split(' '));
        assert_eq!(theirs, SessionLimits { mails: None, recipients: Some(100), domains: Some(1) });
        assert_eq!(ours.common(theirs).to_string(), " RCPTMAX=100 MAILMAX=1000 RCPTDOMAINMAX=1");
        assert_eq!(ours.to_string(), " RCPTMAX=999999 MAILMAX=1000");
        assert!(SessionLimits::parse("MAILMAX=1000000 RCPTMAX=+1".split(' ')).is_empty());
    }

    #[test]
    fn values_of_mail_are_exact() {
        for good in ["120;R", "+1;r", "-99;N", "0;NT", "999999999;RT"] {
            assert!(deliver_by(good).is_some(), "{good}");
        }
        for bad in ["", "120", "120;", "120;X", ";R", "0;R", "-1;R", "1;TR", "1;R;T", "1000000000;N", "--1;N", "1.5;N"]
        {
            assert!(deliver_by(bad).is_none(), "{bad}");
        }
        assert_eq!((priority("0"), priority("9"), priority("-9")), (Some(0), Some(9), Some(-9)));
        for bad in ["", "-", "-0", "10", "+1", "01", "x"] {
            assert_eq!(priority(bad), None, "{bad}");
        }
        assert_eq!((hold_for("1"), hold_for("999999999")), (Some(1), Some(999_999_999)));
        for bad in ["", "0", "01", "1000000000", "-1", "1s"] {
            assert_eq!(hold_for(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        for good in [
            "2030-01-31T12:00:00Z",
            "2030-12-31t23:59:60z",
            "2030-01-31T12:00:00.5Z",
            "2030-01-31T12:00:00.123456789+02:00",
            "2030-01-31T12:00:00-11:30",
        ] {
            assert!(is_date_time(good), "{good}");
        }
        for bad in [
            "",
            "2030-01-31",
            "2030-01-31T12:00:00",
            "2030-01-31 12:00:00Z",
            "2030-13-31T12:00:00Z",
            "2030-00-31T12:00:00Z",
            "2030-01-32T12:00:00Z",
            "2030-01-31T24:00:00Z",
            "2030-01-31T12:60:00Z",
            "2030-01-31T12:00:61Z",
            "2030-01-31T12:00:00.Z",
            "2030-01-31T12:00:00.1234567890Z",
            "2030-01-31T12:00:00+24:00",
            "2030-01-31T12:00:00+0200",
            "2030-01-31T12:00:00Zx",
            "203\u{e9}-01-31T12:00:00Z",
        ] {
            assert!(!is_date_time(bad), "{bad}");
        }
    }

    #[test]
    fn offers_with_parameters_are_read_and_said_again() {
        let release = |text: &str| FutureRelease::parse(text.split(' '));
        let one = release("86400 2030-01-31T12:00:00Z").unwrap();
        let two = release("172800 2029-01-31T12:00:00Z").unwrap();
        assert_eq!(one.to_string(), "86400 2030-01-31T12:00:00Z");
        assert_eq!(one.common(two).to_string(), "86400 2029-01-31T12:00:00Z");
        for bad in ["86400", "0 2030-01-31T12:00:00Z", "1 2030-01-31T12:00:00+01:00", "1 2030-01-31T12:00:00Z x"] {
            assert_eq!(release(bad), None, "{bad}");
        }
        assert_eq!((deliver_by_min(None), deliver_by_min(Some("240,x"))), (Some(0), Some(240)));
        assert_eq!((deliver_by_min(Some("x")), deliver_by_min(Some("-1"))), (None, None));
        assert_eq!(PriorityPolicy::parse(None), PriorityPolicy::parse(Some("mixer")));
        assert_eq!(PriorityPolicy::parse(Some("nsep")).map(PriorityPolicy::name), Some("NSEP"));
        assert_eq!(PriorityPolicy::parse(Some("OURS")), None);
    }
}
