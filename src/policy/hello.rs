//! What a client may call itself in HELO and EHLO (RFC 5321 4.1.1.1), where the operator holds strangers to it.
//! Form and own name only; whether a name exists in the DNS is nothing that is asked here.

use std::net::IpAddr;

use crate::config::HeloCheck;
use crate::smtp::address::Domain;

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Neither a domain name nor an address literal.
    Syntax,
    /// A name without a dot.
    NotFqdn,
    /// Our own name, or the address at which the client reached us.
    Ours,
}

/// Who we are for one client.
#[derive(Debug, Clone, Copy)]
pub struct We<'a> {
    /// Lower case.
    pub hostname: &'a str,
    /// The address the client connected to.
    pub local: IpAddr,
    /// The client's own.
    pub peer: IpAddr,
}

/// The first of the checks that a name does not pass. A final dot is forgiven, as everywhere in the DNS.
///
/// # Errors
/// Which one.
pub fn judge(checks: &[HeloCheck], name: &str, we: We<'_>) -> Result<(), Unfit> {
    let name = name.strip_suffix('.').unwrap_or(name);
    for check in checks {
        let (passed, unfit) = match check {
            HeloCheck::Syntax => (is_name_or_literal(name), Unfit::Syntax),
            HeloCheck::Fqdn if !is_name_or_literal(name) => (false, Unfit::Syntax),
            HeloCheck::Fqdn => (name.starts_with('[') || name.contains('.'), Unfit::NotFqdn),
            HeloCheck::NotOurs => (!is_ours(name, we), Unfit::Ours),
        };
        if !passed {
            return Err(unfit);
        }
    }
    Ok(())
}

fn is_name_or_literal(name: &str) -> bool {
    // `192.0.2.7` without brackets has the form of a name, and is none: no top-level domain is a number.
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    let edges = |label: &str| label.starts_with('-') || label.ends_with('-');
    match name.parse::<Domain>() {
        Ok(domain) => domain.is_literal() || !(numeric || name.split('.').any(edges)),
        Err(_) => false,
    }
}

/// A client at our own address is this host itself.
fn is_ours(name: &str, we: We<'_>) -> bool {
    if we.peer.to_canonical() == we.local.to_canonical() {
        return false;
    }
    let literal = name.parse::<Domain>().ok().and_then(|domain| domain.ip());
    let address = literal.or_else(|| name.parse().ok());
    name.eq_ignore_ascii_case(we.hostname) || address.is_some_and(|ip| ip.to_canonical() == we.local.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn verdict(check: HeloCheck, name: &str) -> Result<(), Unfit> {
        let (local, peer) = ("192.0.2.1".parse().unwrap(), "198.51.100.7".parse().unwrap());
        judge(&[check], name, We { hostname: "mx.example.org", local, peer })
    }

    #[test]
    fn names_and_literals_have_a_form() {
        for good in ["a", "client.test", "a_b.test", "client.test.", "[192.0.2.7]", "[IPv6:2001:db8::1]", "x--y.test"] {
            assert_eq!(verdict(HeloCheck::Syntax, good), Ok(()), "{good}");
        }
        for bad in ["192.0.2.7", "a..b", ".", "-a.test", "a-.test", "a b", "a@b", "[192.0.2]", "[192.0.2.7", "a/b", "7"]
        {
            assert_eq!(verdict(HeloCheck::Syntax, bad), Err(Unfit::Syntax), "{bad}");
        }
    }

    #[test]
    fn a_full_name_has_a_dot() {
        for good in ["client.test", "[192.0.2.7]", "a.b.c."] {
            assert_eq!(verdict(HeloCheck::Fqdn, good), Ok(()), "{good}");
        }
        for bad in ["localhost", "desktop-7", "client."] {
            assert_eq!(verdict(HeloCheck::Fqdn, bad), Err(Unfit::NotFqdn), "{bad}");
        }
        assert_eq!(verdict(HeloCheck::Fqdn, "192.0.2.7"), Err(Unfit::Syntax));
    }

    #[test]
    fn nobody_else_is_us() {
        for bad in ["MX.example.org", "mx.example.org.", "[192.0.2.1]", "192.0.2.1", "[IPv6:::ffff:192.0.2.1]"] {
            assert_eq!(verdict(HeloCheck::NotOurs, bad), Err(Unfit::Ours), "{bad}");
        }
        for good in ["mx2.example.org", "[192.0.2.7]", "example.org"] {
            assert_eq!(verdict(HeloCheck::NotOurs, good), Ok(()), "{good}");
        }
        let here = "192.0.2.1".parse().unwrap();
        let we = We { hostname: "mx.example.org", local: here, peer: here };
        assert_eq!(judge(&[HeloCheck::NotOurs], "mx.example.org", we), Ok(()), "this host itself");
    }
}
