//! ESMTP parameters (RFC 5321 4.1.2 `esmtp-param`): kept as they were said, and checked against what was
//! offered to this client at this moment.
//!
//! Nothing is guessed and nothing is dropped: a keyword that was not offered is 555, one that comes twice or
//! has a value outside its grammar is 501.

use std::fmt;

use super::address::Mailbox;
use super::ehlo::ClientOffer;
use super::reply::Reply;
use super::{extensions, replies, xtext};

/// Parameters of one command.
pub const PARAMS_MAX: usize = 32;
/// RFC 3461 4.4.
pub const ENVID_OCTETS_MAX: usize = 100;
/// RFC 3461 4.2.
pub const ORCPT_OCTETS_MAX: usize = 500;
/// Digits of SIZE (RFC 1870 section 3); whatever does not fit 64 bits is too big a message.
pub const SIZE_DIGITS_MAX: usize = 20;

/// One `KEYWORD[=value]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// In the case in which it was said.
    pub keyword: String,
    /// Never empty: `KEYWORD=` is a syntax error.
    pub value: Option<String>,
}

/// The parameters of one MAIL or RCPT in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params(pub Vec<Param>);

impl Params {
    /// What follows the path. None where it is not a list of parameters, or too long a one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Params> {
        let words = text.split(' ').filter(|word| !word.is_empty());
        let params = words.take(PARAMS_MAX + 1).map(Param::parse).collect::<Option<Vec<_>>>()?;
        (params.len() <= PARAMS_MAX).then_some(Params(params))
    }

    /// ASCII case ignored.
    #[must_use]
    pub fn get(&self, keyword: &str) -> Option<&Param> {
        self.iter().find(|param| param.keyword.eq_ignore_ascii_case(keyword))
    }

    /// ASCII case ignored.
    pub fn get_mut(&mut self, keyword: &str) -> Option<&mut Param> {
        self.0.iter_mut().find(|param| param.keyword.eq_ignore_ascii_case(keyword))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.0.iter()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a parameter out: what is not to be passed on.
    pub fn remove(&mut self, keyword: &str) {
        self.0.retain(|param| !param.keyword.eq_ignore_ascii_case(keyword));
    }

    fn has_duplicates(&self) -> bool {
        let mut rest = self.0.iter();
        while let Some(param) = rest.next() {
            if rest.clone().any(|other| other.keyword.eq_ignore_ascii_case(&param.keyword)) {
                return true;
            }
        }
        false
    }
}

impl Param {
    /// `esmtp-param`, values with the non-ASCII characters of RFC 6531 3.3.
    #[must_use]
    pub fn parse(word: &str) -> Option<Param> {
        let (keyword, value) = word.split_once('=').map_or((word, None), |(keyword, value)| (keyword, Some(value)));
        let keyword_ok = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
            && keyword.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let allowed = |c: char| if c.is_ascii() { c.is_ascii_graphic() && c != '=' } else { !c.is_control() };
        let value_ok = value.is_none_or(|value| !value.is_empty() && value.chars().all(allowed));
        (keyword_ok && value_ok).then(|| Param { keyword: keyword.into(), value: value.map(Into::into) })
    }

    /// ASCII case ignored.
    #[must_use]
    pub fn value_is(&self, value: &str) -> bool {
        self.value.as_deref().is_some_and(|said| said.eq_ignore_ascii_case(value))
    }
}

/// Each with a space before it, as it is appended to a command: ` SIZE=1000 BODY=8BITMIME`.
impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|param| write!(f, " {param}"))
    }
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.keyword)?;
        self.value.iter().try_for_each(|value| write!(f, "={value}"))
    }
}

/// BODY (RFC 6152, RFC 3030 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    SevenBit,
    EightBitMime,
    BinaryMime,
}

/// RET (RFC 3461 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    Full,
    Headers,
}

/// AUTH= of MAIL (RFC 4954 section 5): who is said to have submitted the message first. It is a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitter {
    /// `AUTH=<>`
    Unknown,
    Mailbox(Mailbox),
}

/// The parameters of MAIL, understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailParams {
    /// Octets the client says the message has.
    pub size: Option<u64>,
    pub body: Option<BodyKind>,
    pub smtp_utf8: bool,
    pub ret: Option<Ret>,
    /// Decoded: printable ASCII (RFC 3461 4.4).
    pub envid: Option<String>,
    pub submitter: Option<Submitter>,
    /// RFC 8689.
    pub require_tls: bool,
    /// RFC 6710.
    pub priority: Option<i8>,
    /// BY was said (RFC 2852); the upstream keeps the time.
    pub deliver_by: bool,
    /// HOLDFOR or HOLDUNTIL was said (RFC 4865); the upstream holds the message.
    pub held: bool,
}

impl MailParams {
    /// Against what this client is offered at this moment. A declared SIZE over the offered one is 552.
    pub fn check(params: &Params, offer: &ClientOffer) -> Result<MailParams, Reply> {
        let mut checked = MailParams::default();
        for param in params.iter() {
            let value = param.value.as_deref();
            match param.keyword.to_ascii_uppercase().as_str() {
                "SIZE" => checked.size = Some(size(value, offer.size.ok_or(replies::PARAMETER_UNKNOWN)?)?),
                "BODY" if offer.eight_bit_mime || offer.binary_mime => {
                    checked.body = Some(body(value, offer).ok_or(replies::PARAMETER_BAD)?);
                }
                "SMTPUTF8" if offer.smtp_utf8 && value.is_none() => checked.smtp_utf8 = true,
                "SMTPUTF8" if offer.smtp_utf8 => return Err(replies::PARAMETER_BAD),
                "RET" if offer.dsn => checked.ret = Some(ret(value).ok_or(replies::PARAMETER_BAD)?),
                "ENVID" if offer.dsn => checked.envid = Some(envid(value).ok_or(replies::PARAMETER_BAD)?),
                "AUTH" if offer.auth => {
                    checked.submitter = Some(submitter(value).ok_or(replies::PARAMETER_BAD)?);
                }
                keyword => checked.rare(keyword, value, offer)?,
            }
        }
        if params.has_duplicates() { Err(replies::PARAMETER_BAD) } else { Ok(checked) }
    }

    /// Those of the rarer extensions.
    fn rare(&mut self, keyword: &str, value: Option<&str>, offer: &ClientOffer) -> Result<(), Reply> {
        let sound = match keyword {
            "REQUIRETLS" if offer.require_tls => {
                self.require_tls = true;
                value.is_none()
            }
            "MT-PRIORITY" if offer.mt_priority.is_some() => {
                self.priority = value.and_then(extensions::priority);
                self.priority.is_some()
            }
            "BY" if offer.deliver_by.is_some() => {
                self.deliver_by = true;
                value.and_then(extensions::deliver_by).is_some()
            }
            // One of the two, and once.
            "HOLDFOR" | "HOLDUNTIL" if offer.future_release.is_some() => {
                let first = !std::mem::replace(&mut self.held, true);
                first
                    && match keyword {
                        "HOLDFOR" => value.and_then(extensions::hold_for).is_some(),
                        _ => value.is_some_and(extensions::is_date_time),
                    }
            }
            _ => return Err(replies::PARAMETER_UNKNOWN),
        };
        if sound { Ok(()) } else { Err(replies::PARAMETER_BAD) }
    }
}

fn size(value: Option<&str>, max: u64) -> Result<u64, Reply> {
    let digits = value.filter(|value| value.bytes().all(|b| b.is_ascii_digit())).ok_or(replies::PARAMETER_BAD)?;
    let plausible = if digits.len() <= SIZE_DIGITS_MAX { digits.parse().ok() } else { None };
    plausible.filter(|&octets| max == 0 || octets <= max).ok_or(replies::MESSAGE_TOO_BIG)
}

fn body(value: Option<&str>, offer: &ClientOffer) -> Option<BodyKind> {
    match value?.to_ascii_uppercase().as_str() {
        "7BIT" => Some(BodyKind::SevenBit),
        "8BITMIME" if offer.eight_bit_mime => Some(BodyKind::EightBitMime),
        "BINARYMIME" if offer.binary_mime => Some(BodyKind::BinaryMime),
        _ => None,
    }
}

fn ret(value: Option<&str>) -> Option<Ret> {
    match value?.to_ascii_uppercase().as_str() {
        "FULL" => Some(Ret::Full),
        "HDRS" => Some(Ret::Headers),
        _ => None,
    }
}

fn envid(value: Option<&str>) -> Option<String> {
    let value = value.filter(|value| value.len() <= ENVID_OCTETS_MAX)?;
    printable(xtext::decode(value)?).filter(|text| text.is_ascii())
}

fn submitter(value: Option<&str>) -> Option<Submitter> {
    let value = value?;
    if value == "<>" {
        return Some(Submitter::Unknown);
    }
    let address = printable(xtext::decode(value)?)?;
    Mailbox::parse(&address).ok().map(Submitter::Mailbox)
}

fn printable(octets: Vec<u8>) -> Option<String> {
    String::from_utf8(octets).ok().filter(|text| !text.contains(char::is_control))
}

/// NOTIFY (RFC 3461 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    Never,
    On { success: bool, failure: bool, delay: bool },
}

/// The parameters of RCPT, understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RcptParams {
    pub notify: Option<Notify>,
    /// As said: `addr-type;xtext`.
    pub orcpt: Option<String>,
}

impl RcptParams {
    /// Against what this client is offered at this moment.
    pub fn check(params: &Params, offer: &ClientOffer) -> Result<RcptParams, Reply> {
        let mut checked = RcptParams::default();
        for param in params.iter() {
            let value = param.value.as_deref();
            match param.keyword.to_ascii_uppercase().as_str() {
                "NOTIFY" if offer.dsn => checked.notify = Some(notify(value).ok_or(replies::PARAMETER_BAD)?),
                "ORCPT" if offer.dsn => checked.orcpt = Some(orcpt(value, offer).ok_or(replies::PARAMETER_BAD)?),
                _ => return Err(replies::PARAMETER_UNKNOWN),
            }
        }
        if params.has_duplicates() { Err(replies::PARAMETER_BAD) } else { Ok(checked) }
    }
}

fn notify(value: Option<&str>) -> Option<Notify> {
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value?.split(',') {
        let seen = match word.to_ascii_uppercase().as_str() {
            "NEVER" => return value?.eq_ignore_ascii_case("NEVER").then_some(Notify::Never),
            "SUCCESS" => &mut success,
            "FAILURE" => &mut failure,
            "DELAY" => &mut delay,
            _ => return None,
        };
        *seen = true;
    }
    Some(Notify::On { success, failure, delay })
}

/// RFC 3461 4.2 (printable ASCII below the escapes), and RFC 6533 section 3 for the type `utf-8`, which has an escape of its own (`\x{E9}`).
fn orcpt(value: Option<&str>, offer: &ClientOffer) -> Option<String> {
    let value = value.filter(|value| value.len() <= ORCPT_OCTETS_MAX)?;
    let (kind, address) = value.split_once(';')?;
    let kind_ok = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let address_ok = if kind.eq_ignore_ascii_case("utf-8") {
        !address.is_empty() && (address.is_ascii() || offer.smtp_utf8)
    } else {
        xtext::decode(address).and_then(printable).is_some_and(|text| !text.is_empty() && text.is_ascii())
    };
    (kind_ok && address_ok).then(|| value.to_owned())
}

#[cfg(test)]
mod tests;
