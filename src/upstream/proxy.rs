//! The client's address in front of everything else, in HAProxy's PROXY protocol (versions 1 and 2). Pure.
//!
//! It tells an address and nothing else: no name, no login.

use std::net::{IpAddr, SocketAddr};

use crate::config::ProxyVersion;

/// What no other protocol begins with.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_LOCAL: u8 = 0x20;
const V2_PROXY: u8 = 0x21;
const V2_TCP4: u8 = 0x11;
const V2_TCP6: u8 = 0x21;

/// The header for a client and the address it connected to; `None` where it is the gateway itself that connects.
/// (Postfix takes no `PROXY UNKNOWN`: where version 1 is spoken the gateway had better say its own addresses.)
pub(super) fn header(version: ProxyVersion, addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let pair = addresses.map(|(client, here)| same_family(client, here));
    match (version, pair) {
        (ProxyVersion::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (ProxyVersion::V1, Some((client, here))) => {
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {} {} {} {}\r\n", client.ip(), here.ip(), client.port(), here.port()).into_bytes()
        }
        (ProxyVersion::V2, None) => [V2_SIGNATURE.as_slice(), &[V2_LOCAL, 0, 0, 0]].concat(),
        (ProxyVersion::V2, Some((client, here))) => {
            let mut out = [V2_SIGNATURE.as_slice(), &[V2_PROXY]].concat();
            let (family, octets) = if client.is_ipv4() { (V2_TCP4, 12) } else { (V2_TCP6, 36) };
            out.extend_from_slice(&[family, 0, octets]);
            for address in [client, here] {
                match address.ip() {
                    IpAddr::V4(four) => out.extend_from_slice(&four.octets()),
                    IpAddr::V6(six) => out.extend_from_slice(&six.octets()),
                }
            }
            out.extend_from_slice(&client.port().to_be_bytes());
            out.extend_from_slice(&here.port().to_be_bytes());
            out
        }
    }
}

/// IPv4 as such where both are, else both as IPv6.
fn same_family(client: SocketAddr, here: SocketAddr) -> (SocketAddr, SocketAddr) {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (client, here) = (plain(client), plain(here));
    if client.is_ipv4() == here.is_ipv4() {
        return (client, here);
    }
    let wide = |address: SocketAddr| match address.ip() {
        IpAddr::V4(four) => SocketAddr::new(four.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    (wide(client), wide(here))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn said(version: ProxyVersion, client: &str, here: &str) -> Vec<u8> {
        header(version, Some((client.parse().unwrap(), here.parse().unwrap())))
    }

    #[test]
    fn version_1_is_a_line() {
        let line = said(ProxyVersion::V1, "192.0.2.7:4321", "[::ffff:198.51.100.1]:25");
        assert_eq!(line, b"PROXY TCP4 192.0.2.7 198.51.100.1 4321 25\r\n");
        let line = said(ProxyVersion::V1, "[2001:db8::7]:4321", "198.51.100.1:25");
        assert_eq!(line, b"PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 4321 25\r\n");
        assert_eq!(header(ProxyVersion::V1, None), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn version_2_is_octets() {
        let four = said(ProxyVersion::V2, "192.0.2.7:4321", "198.51.100.1:25");
        assert_eq!(four[..12], *V2_SIGNATURE);
        assert_eq!(four[12..], [0x21, 0x11, 0, 12, 192, 0, 2, 7, 198, 51, 100, 1, 0x10, 0xE1, 0, 25]);
        let six = said(ProxyVersion::V2, "[2001:db8::7]:4321", "[2001:db8::1]:25");
        assert_eq!((six[12..16].to_vec(), six.len()), (vec![0x21, 0x21, 0, 36], 16 + 36));
        assert_eq!(header(ProxyVersion::V2, None)[12..], [0x20, 0, 0, 0]);
    }
}
