//! Addresses on the web, as an operator grants them and as a filter asks for them: read strictly, compared after every
//! way of hiding a `..` is undone or refused.
//!
//! It refuses what a server could read otherwise than we do: user names, fragments, backslashes, spaces, escapes that
//! are none, and dots behind an escaped slash.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Octets of an address.
const URL_BYTES_MAX: usize = 8 * 1_024;
/// How often escapes of escapes are undone in search of a hidden `..`.
const ESCAPES_DEEP_MAX: usize = 4;

/// `https://host:port/path?query`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// https.
    pub secure: bool,
    /// In lower case; an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
    /// Begins with `/`; no dot segments, and no escapes that need not be.
    pub path: String,
    pub query: Option<String>,
}

impl Url {
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Url, &'static str> {
        if text.len() > URL_BYTES_MAX {
            return Err("is too long");
        }
        if let Some(bad) = text.bytes().find(|octet| !octet.is_ascii_graphic() || b"\\\"<>^`{|}#".contains(octet)) {
            return Err(if bad == b'#' {
                "has a fragment (#)"
            } else {
                "has a character that an address does not have"
            });
        }
        let (secure, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => return Err("does not begin with https://"),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let (host, port) = authority_of(authority, if secure { 443 } else { 80 })?;
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        Ok(Url { secure, host, port, path: normal(path)?, query: query.map(str::to_owned) })
    }

    /// Whether an address lies below this one: the same server, and a path that goes on where this one ends.
    #[must_use]
    pub fn covers(&self, other: &Url) -> bool {
        let below = other.path.strip_prefix(self.path.as_str());
        let whole = |rest: &str| self.path.ends_with('/') || rest.is_empty() || rest.starts_with('/');
        (self.secure, &self.host, self.port) == (other.secure, &other.host, other.port) && below.is_some_and(whole)
    }

    /// Whether nobody on the way hears or changes what is said: TLS, or no way at all.
    #[must_use]
    pub fn is_kept_private(&self) -> bool {
        self.secure || is_near(&self.host)
    }

    /// Host and port as in a Host field: the port only where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// Path and query, as in a request.
    #[must_use]
    pub fn target(&self) -> String {
        self.query.as_ref().map_or_else(|| self.path.clone(), |query| format!("{}?{query}", self.path))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target())
    }
}

/// Whether a host is this machine, so that what is said to it in clear leaves it not.
pub(super) fn is_near(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn authority_of(text: &str, usual: u16) -> Result<(String, u16), &'static str> {
    if text.contains('@') {
        return Err("has a user name or a password in front of its host");
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or("has a [ without a ]")?;
            let address: Ipv6Addr = address.parse().map_err(|_| "has no IPv6 address between its brackets")?;
            (address.to_string(), rest)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (host, rest) = text.split_at_checked(end).unwrap_or((text, ""));
            (named(host)?, rest)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port > 0).ok_or("has no port after its colon")?
        }
        Some(_) => return Err("has no port after its colon"),
        None if port.is_empty() => usual,
        None => return Err("has something behind its host"),
    };
    Ok((host, port))
}

/// A host by name or IPv4 address. Nothing that is a number in another notation.
fn named(host: &str) -> Result<String, &'static str> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    let numeric = host.rsplit('.').next().is_some_and(|last| last.starts_with(|first: char| first.is_ascii_digit()));
    let fits = host.len() <= 253 && host.split('.').all(label) && (!numeric || host.parse::<Ipv4Addr>().is_ok());
    if fits { Ok(host.to_ascii_lowercase()) } else { Err("has no host that could be one") }
}

/// The path with its dot segments followed and its needless escapes undone.
fn normal(path: &str) -> Result<String, &'static str> {
    let path = unescape(path, |octet| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet))?;
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." if last => segments.push(""),
            "." => {}
            ".." => {
                segments.pop();
                if last {
                    segments.push("");
                }
            }
            part => segments.push(part),
        }
    }
    let normal = format!("/{}", segments.join("/"));
    let mut seen = normal.clone();
    for _ in 0..ESCAPES_DEEP_MAX {
        // `..;x` is a dot segment for servers that take parameters off first.
        let dots = |part: &str| matches!(part.split(';').next(), Some("." | ".."));
        if seen.split(['/', '\\']).any(dots) || seen.bytes().any(|octet| octet.is_ascii_control()) {
            return Err("hides a `..` or a control character in its path");
        }
        let deeper = unescape(&seen, |octet| octet.is_ascii()).unwrap_or_else(|_| seen.clone());
        if deeper == seen {
            return Ok(normal);
        }
        seen = deeper;
    }
    Err("has escapes of escapes of escapes in its path")
}

/// Undoes the escapes of some octets; the others are written in capitals.
fn unescape(text: &str, undo: impl Fn(u8) -> bool) -> Result<String, &'static str> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let (digits, more) = after.split_at_checked(2).ok_or("has a % that begins no escape")?;
        let both = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let octet = u8::from_str_radix(digits, 16).ok().filter(|_| both).ok_or("has a % that begins no escape")?;
        if undo(octet) {
            plain.push(char::from(octet));
        } else {
            plain.push('%');
            plain.push_str(&digits.to_ascii_uppercase());
        }
        rest = more;
    }
    plain.push_str(rest);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let url = Url::parse("HTTPS://API.Example.org/v1/%7euser/./a/../b?x=/../y").unwrap();
        assert_eq!((url.secure, url.host.as_str(), url.port), (true, "api.example.org", 443));
        assert_eq!((url.path.as_str(), url.query.as_deref()), ("/v1/~user/b", Some("x=/../y")));
        assert_eq!(url.to_string(), "https://api.example.org/v1/~user/b?x=/../y");
        for (text, shown) in [
            ("http://h.test", "http://h.test/"),
            ("http://h.test:80?q", "http://h.test/?q"),
            ("https://h.test:80/", "https://h.test:80/"),
            ("https://[2001:DB8::1]:8443/a%2fb", "https://[2001:db8::1]:8443/a%2Fb"),
            ("https://192.0.2.1/../..", "https://192.0.2.1/"),
            ("https://h.test/a/.", "https://h.test/a/"),
            ("https://h.test/a//b/..", "https://h.test/a//"),
        ] {
            assert_eq!(Url::parse(text).map(|url| url.to_string()).as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let long = format!("https://h.test/{}", "x".repeat(URL_BYTES_MAX));
        for text in [
            "",
            "h.test/x",
            "ftp://h.test/",
            "https:///x",
            "https://user@h.test/",
            "https://good.test@evil.test/",
            "https://h.test:/",
            "https://h.test:0/",
            "https://h.test:65536/",
            "https://h.test:+1/",
            "https://h.test./",
            "https://[::1/",
            "https://[::1]x/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://h_.test/#x",
            "https://h.test/a b",
            "https://h.test/a\r\nX: y",
            "https://h.test\\@evil.test/",
            "https://h.test/\u{e4}",
            "https://h.test/%",
            "https://h.test/%2",
            "https://h.test/%+2",
            "https://h.test/v1/..%2fadmin",
            "https://h.test/v1/%2e%2e%5cadmin",
            "https://h.test/v1/%252e%252e%252fadmin",
            "https://h.test/v1/..;/admin",
            "https://h.test/v1/%00",
            "https://h.test/v1/%0d%0a",
            "https://h.test/%25252525252e",
            &long,
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        let covers = |prefix: &str, text: &str| Url::parse(prefix).unwrap().covers(&Url::parse(text).unwrap());
        for text in
            ["https://h.test/v1", "https://h.test/v1/", "https://h.test/v1/x?y", "https://H.test:443/a/../v1/%78"]
        {
            assert!(covers("https://h.test/v1", text), "{text}");
        }
        for text in [
            "http://h.test/v1",
            "https://h.test:444/v1",
            "https://x.h.test/v1",
            "https://h.test/v10",
            "https://h.test/v1/../v2",
            "https://h.test/v1/%2e%2e/v2",
            "https://h.test/",
            "https://h.test/V1",
        ] {
            assert!(!covers("https://h.test/v1", text), "{text}");
        }
        assert!(!covers("https://h.test/v1/", "https://h.test/v1"));
        assert!(covers("https://h.test", "https://h.test/anything"));
    }
}
