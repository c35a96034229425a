//! Names that stand in a configuration: hosts, domains, and what the operator calls things.

/// RFC 1035 2.3.4.
const DOMAIN_BYTES_MAX: usize = 253;
/// RFC 1035 2.3.4.
const LABEL_BYTES_MAX: usize = 63;
/// Names of listeners, filters and tables stand in logs, metrics, notes and `LISTEN_FDNAMES`.
const NAME_BYTES_MAX: usize = 64;

/// A domain as mail uses it: lower case, no final dot. Letters beyond ASCII are allowed only where `international`
/// says so (a client that speaks SMTPUTF8 may send the name as it is written).
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(super) fn domain(text: &str, international: bool) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_lowercase();
    if name.is_empty() {
        return Err("is no name".to_owned());
    }
    if name.len() > DOMAIN_BYTES_MAX {
        return Err(format!("is longer than a domain can be ({DOMAIN_BYTES_MAX} octets)"));
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err("has two dots in a row, or begins with one".to_owned());
        }
        if label.len() > LABEL_BYTES_MAX {
            return Err(format!("has a part that is longer than {LABEL_BYTES_MAX} octets"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("has a part that begins or ends with a hyphen".to_owned());
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || (international && c.is_alphanumeric());
        if let Some(wrong) = label.chars().find(|c| !allowed(*c)) {
            return Err(match wrong {
                '*' => "has a `*`".to_owned(),
                '@' => "is an address, not a domain".to_owned(),
                '_' => "has a `_`, which mail domains and host names do not have".to_owned(),
                ' ' => "has a space".to_owned(),
                _ if wrong.is_alphanumeric() => "has letters beyond ASCII".to_owned(),
                _ => format!("has the character `{}`", wrong.escape_default()),
            });
        }
    }
    Ok(name)
}

/// What the operator calls a listener, filter or table: `blocked-senders`.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(super) fn name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() {
        return Err("is no name".to_owned());
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(format!("is longer than {NAME_BYTES_MAX} characters"));
    }
    match text.chars().find(|c| !allowed(*c)) {
        Some(wrong) => Err(format!("has the character `{}`", wrong.escape_default())),
        None => Ok(text.to_owned()),
    }
}

pub(super) const NAME_HELP: &str = "a name has letters, digits, `-` and `_`: \"blocked-senders\"";

/// `host:port`, where the host is a name or an address (IPv6 in brackets). The brackets are taken off.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(super) fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("has no port")?;
    let port = match port.parse::<u16>() {
        Ok(port) if port > 0 && port.to_string() == *text.rsplit(':').next().unwrap_or_default() => port,
        _ => return Err("does not end in a port from 1 to 65535".to_owned()),
    };
    if let Some(six) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address: std::net::Ipv6Addr = six.parse().map_err(|_| "has no IPv6 address in its brackets".to_owned())?;
        return Ok((address.to_string(), port));
    }
    if host.contains(':') {
        return Err("has an IPv6 address without brackets".to_owned());
    }
    if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        let address: std::net::Ipv4Addr = host.parse().map_err(|_| "has no IPv4 address before its port".to_owned())?;
        return Ok((address.to_string(), port));
    }
    Ok((domain(host, false)?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        assert_eq!(domain("Mx.Example.ORG.", false).as_deref(), Ok("mx.example.org"));
        assert_eq!(domain("Bücher.example", true).as_deref(), Ok("bücher.example"));
        let long = format!("{}.org", "a".repeat(64));
        for bad in
            ["", ".", "a..b", ".a", "-a.org", "a-.org", "a_b.org", "*.org", "a b.org", "bücher.example", "a@b", &long]
        {
            assert!(domain(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_with_ports() {
        assert_eq!(host_and_port("127.0.0.1:10025"), Ok(("127.0.0.1".to_owned(), 10025)));
        assert_eq!(host_and_port("[::1]:25"), Ok(("::1".to_owned(), 25)));
        assert_eq!(host_and_port("Mail.internal:25"), Ok(("mail.internal".to_owned(), 25)));
        for bad in [
            "",
            "mail",
            "mail:",
            ":25",
            "mail:0",
            "mail:99999",
            "mail:+5",
            "::1:25",
            "[mail]:25",
            "1.2.3:25",
            "300.1.1.1:25",
        ] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }
}
