//! Addresses as they were said (RFC 5321 4.1.2 and 4.1.3, RFC 6531 3.3).
//!
//! An address is parsed once and sent on octet for octet: quotes stay, case stays, UTF-8 stays. Only a source
//! route is taken off, as RFC 5321 appendix C wants. Refused: control characters, spaces outside quotes,
//! anything whose end two readers could see in two places. Tolerated, because real mail has it: dots anywhere
//! in an unquoted local part, and underscores and hyphens anywhere in a domain's labels.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A whole path without its angle brackets, source route included.
pub const PATH_OCTETS_MAX: usize = 512;
/// RFC 5321 4.5.3.1.1 wants at least 64; VERP and rewriting schemes exceed that every day.
pub const LOCAL_PART_OCTETS_MAX: usize = 256;
/// RFC 5321 4.5.3.1.2.
pub const DOMAIN_OCTETS_MAX: usize = 255;
/// RFC 1035 2.3.4.
pub const LABEL_OCTETS_MAX: usize = 63;

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("no address")]
    Missing,
    #[error("no domain")]
    NoDomain,
    #[error("too long")]
    TooLong,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("unbalanced quote")]
    UnbalancedQuote,
    #[error("missing closing bracket")]
    MissingBracket,
    #[error("text after the address")]
    TrailingText,
    #[error("malformed local part")]
    LocalPart,
    #[error("malformed domain")]
    Domain,
    #[error("malformed address literal")]
    Literal,
    #[error("malformed source route")]
    Route,
}

/// What stands right of the `@`: a name, or an address literal in square brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Domain {
    raw: Box<str>,
    /// Only of a literal in one of the two standard forms.
    ip: Option<IpAddr>,
}

impl Domain {
    /// As said, the brackets of a literal included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.raw
    }

    /// `[127.0.0.1]`, `[IPv6:::1]`, or a general one such as `[x400:c=de]`.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.raw.starts_with('[')
    }

    /// The address of an IPv4 or IPv6 literal; None for names and general literals.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// For comparing: lower case. U-labels stay U-labels (lower-cased too), A-labels stay A-labels.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.raw.to_lowercase()
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Domain, AddressError> {
        if text.len() > DOMAIN_OCTETS_MAX {
            return Err(AddressError::TooLong);
        }
        let ip = match text.strip_prefix('[') {
            Some(rest) => literal(rest.strip_suffix(']').ok_or(AddressError::Literal)?)?,
            None if text.split('.').all(is_label) => None,
            None => return Err(AddressError::Domain),
        };
        Ok(Domain { raw: text.into(), ip })
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raw)
    }
}

fn is_label(label: &str) -> bool {
    // IDNA reads these three as a full stop: a label that holds one is two labels to somebody else.
    const DOTS: [char; 3] = ['\u{3002}', '\u{ff0e}', '\u{ff61}'];
    let allowed = |c: char| match c {
        '-' | '_' => true,
        c if c.is_ascii() => c.is_ascii_alphanumeric(),
        c => !c.is_control() && !c.is_whitespace() && !DOTS.contains(&c),
    };
    (1..=LABEL_OCTETS_MAX).contains(&label.len()) && label.chars().all(allowed)
}

/// RFC 5321 4.1.3, what stands between the square brackets. A general literal is checked for form only, and may
/// not hold what other readers could take for the end of the path.
fn literal(text: &str) -> Result<Option<IpAddr>, AddressError> {
    let Some((tag, content)) = text.split_once(':') else {
        return text.parse::<Ipv4Addr>().map(|ip| Some(ip.into())).map_err(|_| AddressError::Literal);
    };
    if tag.eq_ignore_ascii_case("IPv6") {
        return content.parse::<Ipv6Addr>().map(|ip| Some(ip.into())).map_err(|_| AddressError::Literal);
    }
    let tag_ok = tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && tag.bytes().next_back().is_some_and(|b| b.is_ascii_alphanumeric());
    let content_ok =
        !content.is_empty() && content.bytes().all(|b| matches!(b, 33..=90 | 94..=126) && !b"<>\"".contains(&b));
    if tag_ok && content_ok { Ok(None) } else { Err(AddressError::Literal) }
}

/// `local@domain`, octet for octet as said, without a source route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    raw: Box<str>,
    local_octets: usize,
    domain: Domain,
}

impl Mailbox {
    /// An address without angle brackets and without a source route, as configurations and filters write it.
    pub fn parse(text: &str) -> Result<Mailbox, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Missing);
        }
        if text.len() > PATH_OCTETS_MAX {
            return Err(AddressError::TooLong);
        }
        let local_octets = if text.starts_with('"') {
            quoted_string_octets(text)?
        } else {
            text.find('@').ok_or(AddressError::NoDomain)?
        };
        let (local, rest) = text.split_at_checked(local_octets).ok_or(AddressError::LocalPart)?;
        if !local.starts_with('"') && !is_dot_string(local) {
            return Err(AddressError::LocalPart);
        }
        if local.len() > LOCAL_PART_OCTETS_MAX {
            return Err(AddressError::TooLong);
        }
        let domain = match rest.strip_prefix('@') {
            None if rest.is_empty() => return Err(AddressError::NoDomain),
            None => return Err(AddressError::LocalPart),
            Some("") => return Err(AddressError::NoDomain),
            Some(domain) => domain.parse()?,
        };
        Ok(Mailbox { raw: text.into(), local_octets, domain })
    }

    /// The whole, as said.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.raw
    }

    /// Left of the `@`, with its quotes.
    #[must_use]
    pub fn local(&self) -> &str {
        self.raw.get(..self.local_octets).unwrap_or_default()
    }

    /// What the local part means: `"a\"b"` is `a"b`.
    #[must_use]
    pub fn local_unquoted(&self) -> Cow<'_, str> {
        let Some(inner) = self.local().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
            return Cow::Borrowed(self.local());
        };
        if !inner.contains('\\') {
            return Cow::Borrowed(inner);
        }
        let mut plain = String::with_capacity(inner.len());
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            plain.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        Cow::Owned(plain)
    }

    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Without SMTPUTF8 only such an address may be sent on.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.raw.is_ascii()
    }

    /// The local part hides another address (`user%elsewhere`, `host!user`, `"user@elsewhere"`) that some mail
    /// servers would route to after the domain was judged. So does one with the same signs in full width, for a server
    /// that takes the one for the other (NFKC). For those who may not relay.
    #[must_use]
    pub fn has_routing_trick(&self) -> bool {
        self.local_unquoted()
            .contains(['%', '!', '@', '\u{ff05}', '\u{ff01}', '\u{ff20}', '\u{fe6a}', '\u{fe57}', '\u{fe6b}'])
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Mailbox, AddressError> {
        Mailbox::parse(text)
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raw)
    }
}

/// Atoms and dots, the dots wherever they are.
fn is_dot_string(text: &str) -> bool {
    let allowed = |c: char| match c {
        c if c.is_ascii() => c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c),
        c => !c.is_control() && !c.is_whitespace(),
    };
    !text.is_empty() && text.chars().all(allowed)
}

/// The length of the quoted string `text` begins with, both quotes included.
fn quoted_string_octets(text: &str) -> Result<usize, AddressError> {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok(at + 1),
            '\\' => match chars.next() {
                Some((_, ' '..='~')) => {}
                Some(_) => return Err(AddressError::LocalPart),
                None => return Err(AddressError::UnbalancedQuote),
            },
            c if c.is_control() => return Err(AddressError::LocalPart),
            _ => {}
        }
    }
    Err(AddressError::UnbalancedQuote)
}

/// MAIL FROM: may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: a bounce, to be answered by nobody.
    Null,
    Mailbox(Mailbox),
}

impl ReversePath {
    /// What stood between the angle brackets. A source route is stripped.
    pub fn parse(text: &str) -> Result<ReversePath, AddressError> {
        if text.is_empty() {
            return Ok(ReversePath::Null);
        }
        without_route(text).and_then(Mailbox::parse).map(ReversePath::Mailbox)
    }

    /// Without angle brackets; empty for the null path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.mailbox().map_or("", Mailbox::as_str)
    }

    #[must_use]
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some(mailbox),
        }
    }

    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.as_str().is_ascii()
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// RCPT TO: never empty; a bare `Postmaster` is one (RFC 5321 4.1.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// In the case in which it was said.
    Postmaster(Box<str>),
    Mailbox(Mailbox),
}

impl ForwardPath {
    /// What stood between the angle brackets. A source route is stripped.
    pub fn parse(text: &str) -> Result<ForwardPath, AddressError> {
        if text.eq_ignore_ascii_case("postmaster") {
            return Ok(ForwardPath::Postmaster(text.into()));
        }
        without_route(text).and_then(Mailbox::parse).map(ForwardPath::Mailbox)
    }

    /// Without angle brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            ForwardPath::Postmaster(said) => said,
            ForwardPath::Mailbox(mailbox) => mailbox.as_str(),
        }
    }

    /// None for the bare `Postmaster`, who has no domain.
    #[must_use]
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            ForwardPath::Postmaster(_) => None,
            ForwardPath::Mailbox(mailbox) => Some(mailbox),
        }
    }

    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.as_str().is_ascii()
    }
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `@a,@b:user@x` → `user@x`: the route is checked, and forgotten.
fn without_route(path: &str) -> Result<&str, AddressError> {
    if path.len() > PATH_OCTETS_MAX {
        return Err(AddressError::TooLong);
    }
    let mut rest = path;
    while let Some(hop) = rest.strip_prefix('@') {
        let octets = if hop.starts_with('[') { hop.find(']').map(|at| at + 1) } else { hop.find([',', ':']) };
        let (domain, tail) = octets.and_then(|octets| hop.split_at_checked(octets)).ok_or(AddressError::Route)?;
        domain.parse::<Domain>().map_err(|_| AddressError::Route)?;
        if let Some(mailbox) = tail.strip_prefix(':') {
            return Ok(mailbox);
        }
        rest = tail.strip_prefix(',').filter(|next| next.starts_with('@')).ok_or(AddressError::Route)?;
    }
    Ok(rest)
}

/// Splits `<path> rest` at the closing bracket, or `path rest` at the first space where the brackets were
/// forgotten. White space before the path is skipped, quotes are respected. What comes back as path is not
/// checked yet; the rest is empty or begins with a space.
pub(super) fn split_path(text: &str) -> Result<(&str, &str), AddressError> {
    let text = text.trim_start_matches(' ');
    let (inside, bracketed) = text.strip_prefix('<').map_or((text, false), |inside| (inside, true));
    let (mut quoted, mut escaped) = (false, false);
    let mut end = None;
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if bracketed && !quoted => end = Some(at),
            ' ' if !bracketed && !quoted => end = Some(at),
            _ => {}
        }
        if end.is_some() {
            break;
        }
    }
    let end = match end {
        Some(end) => end,
        None if quoted => return Err(AddressError::UnbalancedQuote),
        None if bracketed => return Err(AddressError::MissingBracket),
        None if inside.is_empty() => return Err(AddressError::Missing),
        None => inside.len(),
    };
    let (path, rest) = inside.split_at_checked(end).ok_or(AddressError::Missing)?;
    let rest = if bracketed { rest.strip_prefix('>').unwrap_or(rest) } else { rest };
    if !rest.is_empty() && !rest.starts_with(' ') {
        return Err(AddressError::TrailingText);
    }
    Ok((path, rest))
}

#[cfg(test)]
mod tests;
