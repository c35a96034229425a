//! What a server's certificate says of itself: for whom, and for how long. For people to read; whether it is to be
//! believed is the verifier's business.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use super::ClientTls;
use super::validity::{SEQUENCE, VERSION, element, expect, validity};

/// More names than this are not listed.
const NAMES_MAX: usize = 100;
/// `[3]` in `TBSCertificate` (RFC 5280 4.1).
const EXTENSIONS: u8 = 0xa3;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// A certificate as a server showed it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Certificate {
    /// Host names and addresses of its subjectAltName, the only ones that are checked nowadays (RFC 9525); at most
    /// 100. Printable.
    pub names: Vec<String>,
    /// The end of its validity, where it could be read.
    pub not_after: Option<SystemTime>,
}

/// Of a connection on which we are the client.
pub(in crate::net) fn of_server(tls: &ClientTls) -> Option<Certificate> {
    let (_, connection) = tls.get_ref();
    connection.peer_certificates()?.first().map(|leaf| read(leaf))
}

fn read(certificate: &[u8]) -> Certificate {
    Certificate {
        names: names(certificate).unwrap_or_default(),
        not_after: validity(certificate).map(|dates| dates.not_after),
    }
}

fn names(certificate: &[u8]) -> Option<Vec<String>> {
    let (certificate, _) = expect(SEQUENCE, certificate)?;
    let (mut rest, _) = expect(SEQUENCE, certificate)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    let extensions = loop {
        let (tag, content, behind) = element(rest)?;
        if tag == EXTENSIONS {
            break content;
        }
        rest = behind;
    };
    let (mut extensions, _) = expect(SEQUENCE, extensions)?;
    while !extensions.is_empty() {
        let (extension, behind) = expect(SEQUENCE, extensions)?;
        let (kind, mut value) = expect(OBJECT_IDENTIFIER, extension)?;
        if kind == SUBJECT_ALT_NAME {
            // Whether it is critical may stand before the value.
            while value.first().is_some_and(|tag| *tag != OCTET_STRING) {
                value = element(value)?.2;
            }
            let (value, _) = expect(OCTET_STRING, value)?;
            return alternatives(value);
        }
        extensions = behind;
    }
    None
}

fn alternatives(value: &[u8]) -> Option<Vec<String>> {
    let (mut rest, _) = expect(SEQUENCE, value)?;
    let mut names = Vec::new();
    while !rest.is_empty() && names.len() < NAMES_MAX {
        let (tag, content, behind) = element(rest)?;
        match (tag, content.len()) {
            (DNS_NAME, _) => {
                let shown = |octet: &u8| if octet.is_ascii_graphic() { char::from(*octet) } else { '?' };
                names.push(content.iter().map(shown).collect());
            }
            (IP_ADDRESS, 4) => names.push(Ipv4Addr::from(<[u8; 4]>::try_from(content).ok()?).to_string()),
            (IP_ADDRESS, 16) => names.push(Ipv6Addr::from(<[u8; 16]>::try_from(content).ok()?).to_string()),
            _ => {}
        }
        rest = behind;
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::super::self_signed;
    use super::*;

    #[test]
    fn names_and_dates_are_read() {
        let made = self_signed(&["mx.example.org", "*.example.net", "192.0.2.1", "2001:db8::1"]).unwrap();
        let der = CertificateDer::from_pem_slice(made.certificate_pem.as_bytes()).unwrap();
        let shown = read(&der);
        assert_eq!(shown.names, ["mx.example.org", "*.example.net", "192.0.2.1", "2001:db8::1"]);
        assert!(shown.not_after.unwrap() > SystemTime::now());
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        let made = self_signed(&["mx.example.org"]).unwrap();
        let der = CertificateDer::from_pem_slice(made.certificate_pem.as_bytes()).unwrap();
        for cut in 0..der.len() {
            let shown = read(der.get(..cut).unwrap());
            assert_eq!(shown.names, [""; 0], "{cut}");
        }
        assert_eq!(read(b""), Certificate::default());
        assert_eq!(read(&[0x30; 64]), Certificate::default());
    }
}
