//! The hosts file (hosts(5)): names and addresses the operator settled without DNS.
//!
//! Pure: text in, answers out. Refuses lines without an address, names that are no host names, and more of
//! either than a hosts file sensibly holds. The first name of an address is its canonical one, in file order.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Entries (address and name pairs) looked at; what follows is ignored.
const HOSTS_ENTRIES_MAX: usize = 20_000;

/// A name as the outside world may say it to us, checked.
///
/// LDH labels and `_` (which RFC 952 forbids and which is found in PTR records of whole networks; Postfix takes
/// it too), 63 octets a label, 253 in all, without the final dot. A name whose last label is a number is none: it could be
/// taken for an address.
#[must_use]
pub fn host_name(name: &str) -> Option<Arc<str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    let last = name.rsplit('.').next()?;
    let fits =
        name.len() <= 253 && name.split('.').all(label_fits) && !last.bytes().all(|octet| octet.is_ascii_digit());
    fits.then(|| Arc::from(name))
}

/// What the hosts file says, both ways.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    names: HashMap<IpAddr, Arc<str>>,
    addresses: HashMap<String, Vec<IpAddr>>,
}

impl Hosts {
    /// Lines of `address name…`, `#` begins a comment. Never fails: a line that means nothing is no line.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut hosts = Self::default();
        let entries = text.lines().flat_map(|line| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
            words.filter_map(move |word| Some((address?.to_canonical(), host_name(word)?)))
        });
        for (address, name) in entries.take(HOSTS_ENTRIES_MAX) {
            let known = hosts.addresses.entry(name.to_ascii_lowercase()).or_default();
            if !known.contains(&address) {
                known.push(address);
            }
            hosts.names.entry(address).or_insert(name);
        }
        hosts
    }

    /// The canonical name of an address.
    #[must_use]
    pub fn name(&self, address: IpAddr) -> Option<Arc<str>> {
        self.names.get(&address.to_canonical()).cloned()
    }

    /// All addresses of a name (ASCII case ignored), in file order.
    #[must_use]
    pub fn addresses(&self, name: &str) -> &[IpAddr] {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.addresses.get(&name).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_first_name_is_the_canonical_one() {
        let hosts = Hosts::parse(
            "# comment\n127.0.0.1 localhost here\n::1 localhost ip6-localhost # more\n\
             192.0.2.7\tMX.example.org. mx\n192.0.2.7 late\nnonsense line\n::ffff:192.0.2.8 mapped\n",
        );
        assert_eq!(hosts.name("127.0.0.1".parse().unwrap()).unwrap().as_ref(), "localhost");
        assert_eq!(hosts.name("192.0.2.7".parse().unwrap()).unwrap().as_ref(), "MX.example.org");
        assert_eq!(hosts.name("::ffff:192.0.2.7".parse().unwrap()).unwrap().as_ref(), "MX.example.org");
        assert_eq!(hosts.name("192.0.2.8".parse().unwrap()).unwrap().as_ref(), "mapped");
        assert_eq!(hosts.name("192.0.2.9".parse().unwrap()), None);
        assert_eq!(hosts.addresses("LocalHost.").len(), 2);
        assert_eq!(hosts.addresses("mx.example.org"), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        assert!(hosts.addresses("line").is_empty());
    }

    #[test]
    fn hostile_names_are_none() {
        for bad in [
            "",
            ".",
            "a..b",
            ".a",
            "-a.test",
            "a-.test",
            "a b",
            "a\r\nEHLO",
            "[UNAVAILABLE]",
            "192.0.2.1",
            "x.1",
            "ü.test",
            "a+20b",
            "a\0b",
            &"a".repeat(64),
            &"abc.".repeat(70),
        ] {
            assert_eq!(host_name(bad), None, "{bad:?}");
        }
        for good in ["localhost", "mail.example.org", "host_1.isp.test.", "xn--4ca.test", "1.2.3.4.dyn.test"] {
            assert!(host_name(good).is_some(), "{good:?}");
        }
    }
}
