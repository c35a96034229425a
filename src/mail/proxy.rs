//! The header of the PROXY protocol, versions 1 and 2 (haproxy.org/download/1.8/doc/proxy-protocol.txt): who the
//! client is, as a proxy in front of us says it.
//!
//! Pure: octets in, facts out. It never asks for an octet that may not be the header's, because what follows may be a
//! TLS handshake. Whether the proxy is to be believed is not known here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::TlsFacts;

/// A larger header of version 2 is refused.
pub const HEADER_OCTETS_MAX: usize = 16 * 1_024;
/// With its CRLF (section 2.1).
const V1_OCTETS_MAX: usize = 107;
/// PP2_TYPE_UNIQUE_ID (section 2.2.5).
const UNIQUE_ID_OCTETS_MAX: usize = 128;
/// Names in a header are cut here.
const TEXT_OCTETS_MAX: usize = 255;

const V1_BEGINNING: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version with command, family with transport, length.
const V2_FIXED_OCTETS: usize = 16;

const TLV_AUTHORITY: u8 = 0x02;
const TLV_CRC32C: u8 = 0x03;
const TLV_UNIQUE_ID: u8 = 0x05;
const TLV_SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
/// Bits of the SSL TLV: the client came by TLS; it showed a certificate, in this or in the resumed session.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERTIFICATE: u8 = 0x04;

/// What has been read so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// At least so many octets of the header are still to come; never 0.
    More(usize),
    /// All of it, and not one octet more.
    Whole(Header),
}

/// What a proxy says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// None: the proxy speaks for itself (LOCAL: a health check), or does not know the client (UNKNOWN, UNSPEC); then
    /// the connection's own addresses count.
    pub client: Option<Addresses>,
    pub tls: Option<Arc<TlsFacts>>,
    pub authority: Option<Arc<str>>,
    pub unique_id: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client's.
    pub source: SocketAddr,
    /// Where the client connected to.
    pub destination: SocketAddr,
}

/// Why octets are no PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("no PROXY header")]
    None,
    #[error("a malformed PROXY header")]
    Malformed,
    #[error("a PROXY header of more than {HEADER_OCTETS_MAX} octets")]
    TooLong,
    #[error("a PROXY header of an unknown version or command")]
    Unknown,
    #[error("a PROXY header for something other than a stream")]
    NotStream,
    #[error("a PROXY header that was damaged on its way (CRC32C)")]
    Damaged,
}

/// Looks at the beginning of a connection.
///
/// # Errors
/// As soon as it cannot become a header any more; nothing of the connection may be used then.
pub fn read(input: &[u8]) -> Result<Progress, HeaderError> {
    let begins = |with: &[u8]| input.iter().zip(with).all(|(one, other)| one == other);
    if begins(V1_BEGINNING) && !input.is_empty() {
        return version_1(input);
    }
    if !begins(V2_SIGNATURE) {
        return Err(HeaderError::None);
    }
    version_2(input)
}

fn version_1(input: &[u8]) -> Result<Progress, HeaderError> {
    let line = match input {
        _ if input.len() > V1_OCTETS_MAX => return Err(HeaderError::Malformed),
        [line @ .., b'\r', b'\n'] => line,
        [.., b'\r'] if input.len() < V1_OCTETS_MAX => return Ok(Progress::More(1)),
        _ if input.contains(&b'\n') => return Err(HeaderError::Malformed),
        _ if input.len() + 2 > V1_OCTETS_MAX => return Err(HeaderError::Malformed),
        _ => return Ok(Progress::More(v1_missing(input))),
    };
    let text = str::from_utf8(line).map_err(|_| HeaderError::Malformed)?;
    if text.bytes().any(|octet| octet.is_ascii_control()) {
        return Err(HeaderError::Malformed);
    }
    let mut words = text.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(Progress::Whole(Header::default()));
    }
    let mut word = || words.next().ok_or(HeaderError::Malformed);
    let (source, destination, from, to) = (word()?, word()?, word()?, word()?);
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    let socket = |ip: &str, port: &str| Some(SocketAddr::new(address(ip)?, decimal_port(port)?));
    let (Some(source), Some(destination), None) = (socket(source, from), socket(destination, to), words.next()) else {
        return Err(HeaderError::Malformed);
    };
    Ok(Progress::Whole(Header { client: Some(Addresses { source, destination }), ..Header::default() }))
}

/// The least that an unfinished line of version 1 must still have.
fn v1_missing(input: &[u8]) -> usize {
    const SPACES: usize = 5;
    const LINE_END: usize = 2;
    let beginning = V1_BEGINNING.len();
    match input.get(beginning..) {
        None => beginning - input.len() + LINE_END,
        Some([b'T', ..]) => {
            let spaces = input.iter().filter(|&&octet| octet == b' ').count();
            SPACES.saturating_sub(spaces) * 2 + LINE_END
        }
        Some(_) => LINE_END,
    }
}

/// Digits alone, no zero in front.
fn decimal_port(text: &str) -> Option<u16> {
    text.parse::<u16>().ok().filter(|port| port.to_string() == text)
}

fn version_2(input: &[u8]) -> Result<Progress, HeaderError> {
    let Some((fixed, rest)) = input.split_first_chunk::<V2_FIXED_OCTETS>() else {
        return Ok(Progress::More(V2_FIXED_OCTETS - input.len()));
    };
    let [.., version_and_command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !matches!(version_and_command, 0x20 | 0x21) {
        return Err(HeaderError::Unknown);
    }
    if V2_FIXED_OCTETS + length > HEADER_OCTETS_MAX {
        return Err(HeaderError::TooLong);
    }
    if rest.len() < length {
        return Ok(Progress::More(length - rest.len()));
    }
    if rest.len() > length {
        return Err(HeaderError::Malformed);
    }
    // LOCAL: "the receiver must discard the protocol block including the family" (section 2.2).
    if version_and_command == 0x20 {
        return Ok(Progress::Whole(Header::default()));
    }
    let (client, tlvs) = v2_addresses(family, rest)?;
    let mut header = Header { client, ..Header::default() };
    v2_tlvs(&mut header, tlvs, input)?;
    Ok(Progress::Whole(header))
}

/// The addresses, if the family has any that mean something here, and what follows them.
fn v2_addresses(family: u8, block: &[u8]) -> Result<(Option<Addresses>, &[u8]), HeaderError> {
    match family {
        0x11 => {
            let ([a, b, c, d, e, f, g, h, ports @ ..], rest) =
                block.split_first_chunk::<12>().ok_or(HeaderError::Malformed)?;
            let (source, destination) = (Ipv4Addr::new(*a, *b, *c, *d), Ipv4Addr::new(*e, *f, *g, *h));
            Ok((Some(addresses(source.into(), destination.into(), *ports)), rest))
        }
        0x21 => {
            let (source, rest) = block.split_first_chunk::<16>().ok_or(HeaderError::Malformed)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(HeaderError::Malformed)?;
            let (ports, rest) = rest.split_first_chunk::<4>().ok_or(HeaderError::Malformed)?;
            let (source, destination) = (Ipv6Addr::from(*source), Ipv6Addr::from(*destination));
            Ok((Some(addresses(source.into(), destination.into(), *ports)), rest))
        }
        // Two paths of 108 octets each: a client on the proxy's own machine, of whom we know nothing.
        0x31 => Ok((None, block.split_at_checked(216).ok_or(HeaderError::Malformed)?.1)),
        0x00 => Ok((None, &[])),
        0x12 | 0x22 | 0x32 => Err(HeaderError::NotStream),
        _ => Err(HeaderError::Unknown),
    }
}

fn addresses(source: IpAddr, destination: IpAddr, ports: [u8; 4]) -> Addresses {
    let [a, b, c, d] = ports;
    Addresses {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

/// Type, length and value, one after the other; unknown types are passed over, and none that counts may come twice.
fn v2_tlvs(header: &mut Header, mut tlvs: &[u8], whole: &[u8]) -> Result<(), HeaderError> {
    let mut checked = false;
    while !tlvs.is_empty() {
        let (kind, value, rest) = tlv(tlvs)?;
        match kind {
            TLV_CRC32C if checked => return Err(HeaderError::Malformed),
            TLV_CRC32C => {
                let said: [u8; 4] = value.try_into().map_err(|_| HeaderError::Malformed)?;
                let at = whole.len() - rest.len() - said.len();
                if crc32c_with_zeros(whole, at) != u32::from_be_bytes(said) {
                    return Err(HeaderError::Damaged);
                }
                checked = true;
            }
            TLV_AUTHORITY => once(&mut header.authority, Some(text(value)))?,
            TLV_UNIQUE_ID if value.len() > UNIQUE_ID_OCTETS_MAX => return Err(HeaderError::Malformed),
            TLV_UNIQUE_ID => once(&mut header.unique_id, Some(text(value)))?,
            TLV_SSL => once(&mut header.tls, tls(value)?.map(Arc::new))?,
            _ => {}
        }
        tlvs = rest;
    }
    if let (Some(authority), Some(tls)) = (&header.authority, &mut header.tls) {
        Arc::make_mut(tls).sni = Some(Arc::clone(authority));
    }
    Ok(())
}

fn once<T>(slot: &mut Option<T>, value: Option<T>) -> Result<(), HeaderError> {
    if slot.is_some() {
        return Err(HeaderError::Malformed);
    }
    *slot = value;
    Ok(())
}

fn tlv(input: &[u8]) -> Result<(u8, &[u8], &[u8]), HeaderError> {
    let ([kind, high, low], rest) = input.split_first_chunk::<3>().ok_or(HeaderError::Malformed)?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (value, rest) = rest.split_at_checked(length).ok_or(HeaderError::Malformed)?;
    Ok((*kind, value, rest))
}

/// PP2_TYPE_SSL (section 2.2.6). The subject is told only of a certificate that the proxy has verified.
fn tls(value: &[u8]) -> Result<Option<TlsFacts>, HeaderError> {
    let ([client, verify @ ..], mut inner) = value.split_first_chunk::<5>().ok_or(HeaderError::Malformed)?;
    let (mut version, mut cipher, mut name) = ("TLS", Arc::from("unknown"), None);
    while !inner.is_empty() {
        let (kind, value, rest) = tlv(inner)?;
        match kind {
            SSL_VERSION => version = known_version(value),
            SSL_CIPHER => cipher = word(value),
            SSL_CN => name = Some(Arc::from(format!("CN={}", text(value)))),
            _ => {}
        }
        inner = rest;
    }
    if client & CLIENT_SSL == 0 {
        return Ok(None);
    }
    let verified = client & CLIENT_CERTIFICATE != 0 && *verify == [0; 4];
    let bits = bits(&cipher);
    Ok(Some(TlsFacts { client_subject: name.filter(|_| verified), ..TlsFacts::new(version, cipher, bits) }))
}

fn known_version(said: &[u8]) -> &'static str {
    match said {
        b"TLSv1.3" => "TLSv1.3",
        b"TLSv1.2" => "TLSv1.2",
        b"TLSv1.1" => "TLSv1.1",
        b"TLSv1" => "TLSv1",
        _ => "TLS",
    }
}

/// As cipher names say it; 0 where they do not.
fn bits(cipher: &str) -> u16 {
    match cipher {
        name if name.contains("128") => 128,
        name if name.contains("256") || name.contains("CHACHA20") => 256,
        _ => 0,
    }
}

/// Stands in a Received field: nothing but letters, digits and a little between them.
fn word(value: &[u8]) -> Arc<str> {
    let plain =
        |octet: &u8| if octet.is_ascii_alphanumeric() || b"-_.".contains(octet) { char::from(*octet) } else { '?' };
    value.iter().take(TEXT_OCTETS_MAX).map(plain).collect::<String>().into()
}

/// For logs and filters.
fn text(value: &[u8]) -> Arc<str> {
    let value = value.get(..TEXT_OCTETS_MAX).unwrap_or(value);
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    String::from_utf8_lossy(value).chars().map(plain).collect::<String>().into()
}

/// CRC32C (RFC 3720 appendix B.4) of the header, the four octets at `at` taken as zero.
fn crc32c_with_zeros(header: &[u8], at: usize) -> u32 {
    const TABLE: [u32; 256] = crc32c_table();
    let octets = header.iter().enumerate().map(|(place, &octet)| if (at..at + 4).contains(&place) { 0 } else { octet });
    !octets.fold(u32::MAX, |crc, octet| {
        let index = usize::from(crc.to_le_bytes()[0] ^ octet);
        TABLE.get(index).copied().unwrap_or_default() ^ (crc >> 8)
    })
}

#[allow(clippy::indexing_slicing, reason = "computed by the compiler, where indexing out of bounds does not compile")]
const fn crc32c_table() -> [u32; 256] {
    const POLYNOMIAL_REFLECTED: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut octet = 0_u32;
    while octet < 256 {
        let mut crc = octet;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL_REFLECTED } else { crc >> 1 };
            bit += 1;
        }
        table[octet as usize] = crc;
        octet += 1;
    }
    table
}

#[cfg(test)]
mod tests;
