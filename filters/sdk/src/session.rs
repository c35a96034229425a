//! Who is speaking and for whom: the session and the envelope, asked for when they are needed.

use std::net::IpAddr;

pub use crate::bindings::abort::exports::wasmilter::filter::on_abort::Ending;
pub use crate::bindings::quit::exports::wasmilter::filter::on_quit::Summary;
pub use crate::bindings::reply::exports::wasmilter::filter::on_reply::Delivery;
use crate::bindings::wasmilter::filter as host;
pub use host::types::{AbortReason, AuthInfo, Endpoint, Path, RecipientReply, TlsInfo};

/// The session at hand.
#[must_use]
pub fn session() -> Session {
    Session(())
}

/// The transaction at hand.
#[must_use]
pub fn envelope() -> Envelope {
    Envelope(())
}

/// Each method asks the host anew (about 0.1 µs); keep what is needed twice.
#[derive(Debug, Clone, Copy)]
pub struct Session(());

impl Session {
    /// One a connection, as shown in the gateway's log.
    #[must_use]
    pub fn id(self) -> String {
        host::session::id()
    }

    /// The name of the listener in the configuration.
    #[must_use]
    pub fn listener(self) -> String {
        host::session::listener()
    }

    /// The client's address and port.
    #[must_use]
    pub fn peer(self) -> Endpoint {
        host::session::peer()
    }

    /// Our own side of the connection.
    #[must_use]
    pub fn local(self) -> Endpoint {
        host::session::local()
    }

    /// The forward-confirmed name of the client, where there is one.
    #[must_use]
    pub fn peer_name(self) -> Option<String> {
        host::session::peer_name()
    }

    /// What the client called itself.
    #[must_use]
    pub fn helo(self) -> Option<String> {
        host::session::helo()
    }

    /// None without TLS.
    #[must_use]
    pub fn tls(self) -> Option<TlsInfo> {
        host::session::tls()
    }

    /// None before a login.
    #[must_use]
    pub fn auth(self) -> Option<AuthInfo> {
        host::session::auth()
    }

    /// A note of this filter, or `"filter.key"` of another one.
    #[must_use]
    pub fn note(self, key: &str) -> Option<String> {
        host::session::note(key)
    }

    /// A note that stays with the session when the instance does not. False: a bound of the host is reached, or
    /// the key has a dot.
    #[must_use]
    pub fn set_note(self, key: &str, value: Option<&str>) -> bool {
        host::session::set_note(key, value)
    }
}

/// Each method asks the host anew.
#[derive(Debug, Clone, Copy)]
pub struct Envelope(());

impl Envelope {
    /// The transaction's, as shown in the gateway's log; none outside of one.
    #[must_use]
    pub fn id(self) -> Option<String> {
        host::envelope::id()
    }

    /// None before MAIL.
    #[must_use]
    pub fn sender(self) -> Option<Path> {
        host::envelope::sender()
    }

    /// The accepted recipients so far.
    #[must_use]
    pub fn recipients(self) -> Vec<Path> {
        host::envelope::recipients()
    }
}

impl Endpoint {
    /// The address as a value. None for what is neither IPv4 nor IPv6.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
    }

    /// The network the client is in, as text: `network(24, 64)` is `192.0.2.0/24` or `2001:db8:1:2::/64`. An
    /// address that cannot be read stands for itself.
    #[must_use]
    pub fn network(&self, v4_bits: u8, v6_bits: u8) -> String {
        match self.ip() {
            Some(IpAddr::V4(ip)) => {
                let bits = v4_bits.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                format!("{}/{bits}", std::net::Ipv4Addr::from_bits(ip.to_bits() & mask))
            }
            Some(IpAddr::V6(ip)) => {
                let bits = v6_bits.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                format!("{}/{bits}", std::net::Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
            None => self.address.clone(),
        }
    }
}

impl Path {
    /// A path without parameters, for `edit`. `""` is the null reverse-path.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Path {
        Path { address: address.into(), params: Vec::new() }
    }

    /// `<>`, the sender of bounces.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.address.is_empty()
    }

    /// Before the last `@`, as said; the whole address when there is none (`Postmaster`).
    #[must_use]
    pub fn local(&self) -> &str {
        self.address.rsplit_once('@').map_or(&*self.address, |(local, _)| local)
    }

    /// After the last `@`, as said; `""` when there is none.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.address.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// The value of an ESMTP parameter (`Some("")` when it has none), ASCII case ignored.
    #[must_use]
    pub fn param(&self, keyword: &str) -> Option<&str> {
        let (_, value) = self.params.iter().find(|(said, _)| said.eq_ignore_ascii_case(keyword))?;
        Some(value.as_deref().unwrap_or(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_cut_at_the_prefix() {
        let network = |address: &str, v4, v6| Endpoint { address: address.into(), port: 0 }.network(v4, v6);
        assert_eq!(network("192.0.2.77", 24, 64), "192.0.2.0/24");
        assert_eq!(network("192.0.2.77", 0, 64), "0.0.0.0/0");
        assert_eq!(network("192.0.2.77", 99, 64), "192.0.2.77/32");
        assert_eq!(network("::ffff:192.0.2.77", 24, 64), "192.0.2.0/24");
        assert_eq!(network("2001:db8:1:2:3:4:5:6", 24, 64), "2001:db8:1:2::/64");
        assert_eq!(network("nonsense", 24, 64), "nonsense");
    }

    #[test]
    fn paths_come_apart_at_the_last_at() {
        let path = Path { address: "\"a@b\"@c.test".into(), params: vec![("SIZE".into(), Some("7".into()))] };
        assert_eq!((path.local(), path.domain(), path.param("size")), ("\"a@b\"", "c.test", Some("7")));
        assert_eq!((Path::new("Postmaster").local(), Path::new("Postmaster").domain()), ("Postmaster", ""));
    }
}
