//! Headers as proxies write them, and as nobody should.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

fn whole(input: &[u8]) -> Header {
    match read(input) {
        Ok(Progress::Whole(header)) => header,
        other => panic!("{other:?}"),
    }
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&V2_SIGNATURE[..], &[0x20 | command, family], &length, block].concat()
}

fn tlv_of(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

const INET: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 25, 0x10, 0xe1, 0, 25];

fn with_crc(tlvs: &[u8]) -> Vec<u8> {
    let mut header = v2(1, 0x11, &[INET, tlvs, &tlv_of(TLV_CRC32C, &[0; 4])].concat());
    let at = header.len() - 4;
    let crc = crc32c_with_zeros(&header, at);
    header[at..].copy_from_slice(&crc.to_be_bytes());
    header
}

#[test]
fn version_1_says_who_connects_to_where() {
    let header = whole(b"PROXY TCP4 192.0.2.7 198.51.100.25 4321 25\r\n");
    let client = header.client.unwrap();
    assert_eq!(client.source, "192.0.2.7:4321".parse().unwrap());
    assert_eq!(client.destination, "198.51.100.25:25".parse().unwrap());
    let header = whole(b"PROXY TCP6 2001:db8::7 2001:db8::25 4321 25\r\n");
    assert_eq!(header.client.unwrap().source, "[2001:db8::7]:4321".parse().unwrap());
    assert_eq!(whole(b"PROXY UNKNOWN\r\n"), Header::default());
    assert_eq!(whole(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), Header::default());
}

#[test]
fn what_is_no_header_is_known_at_its_first_wrong_octet() {
    for input in [&b"E"[..], b"EHLO x\r\n", b"PROXX", b"\r\n\r\n\x01", b"\x16\x03\x01", b"proxy TCP4"] {
        assert_eq!(read(input), Err(HeaderError::None), "{input:?}");
    }
    for input in [
        &b"PROXY TCP4 192.0.2.7 198.51.100.25 4321\r\n"[..],
        b"PROXY TCP4 192.0.2.7 198.51.100.25 4321 25 1\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.25 4321 65536\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.25 04321 25\r\n",
        b"PROXY TCP4 192.0.2.07 198.51.100.25 4321 25\r\n",
        b"PROXY TCP4  192.0.2.7 198.51.100.25 4321 25\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::25 4321 25\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.25 4321 25\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.25 4321 25\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.25 4321 25\r\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.25 4321 25\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.25 4321 25\r\nEHLO x\r\n",
    ] {
        assert_eq!(read(input), Err(HeaderError::Malformed), "{:?}", String::from_utf8_lossy(input));
    }
    let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 92], b"\r\n".to_vec()].concat();
    assert_eq!(long.len(), V1_OCTETS_MAX + 1);
    assert_eq!(read(&long), Err(HeaderError::Malformed));
    assert_eq!(read(&long[..106]), Err(HeaderError::Malformed));
    assert!(matches!(read(&[&long[..105], b"\r\n"].concat()), Ok(Progress::Whole(_))));
}

#[test]
fn version_2_says_it_in_octets() {
    let client = whole(&v2(1, 0x11, INET)).client.unwrap();
    assert_eq!(client.source, "192.0.2.7:4321".parse().unwrap());
    assert_eq!(client.destination, "198.51.100.25:25".parse().unwrap());
    let source: Ipv6Addr = "2001:db8::7".parse().unwrap();
    let block = [&source.octets()[..], &source.octets(), &[0, 1, 0, 2]].concat();
    let client = whole(&v2(1, 0x21, &block)).client.unwrap();
    assert_eq!((client.source.ip(), client.source.port(), client.destination.port()), (source.into(), 1, 2));
    // A health check, an unknown client, one on the proxy's own machine.
    for local in [v2(0, 0x11, INET), v2(0, 0, &[9; 40]), v2(1, 0, &[9; 3]), v2(1, 0x31, &[b'/'; 216])] {
        assert_eq!(whole(&local), Header::default());
    }
    assert_eq!(read(&v2(1, 0x12, INET)), Err(HeaderError::NotStream));
    assert_eq!(read(&v2(2, 0x11, INET)), Err(HeaderError::Unknown));
    assert_eq!(read(&v2(1, 0x41, INET)), Err(HeaderError::Unknown));
    assert_eq!(read(&v2(1, 0x11, &INET[..11])), Err(HeaderError::Malformed));
    assert_eq!(read(&v2(1, 0x21, INET)), Err(HeaderError::Malformed));
    let huge = [&V2_SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
    assert_eq!(read(&huge), Err(HeaderError::TooLong), "nobody waits for 64 KiB");
    let version_3 = [&V2_SIGNATURE[..], &[0x31, 0x11, 0, 12]].concat();
    assert_eq!(read(&version_3), Err(HeaderError::Unknown));
}

#[test]
fn details_are_read_and_unknown_ones_passed_over() {
    let inner =
        [tlv_of(SSL_VERSION, b"TLSv1.3"), tlv_of(SSL_CIPHER, b"TLS_AES_128_GCM_SHA256"), tlv_of(SSL_CN, b"ann")];
    let ssl = |client: u8, verify: u8| [&[client, 0, 0, 0, verify][..], &inner.concat()].concat();
    let header = with_crc(
        &[
            tlv_of(0x04, b"\0\0"),
            tlv_of(0xea, b"vpce-1"),
            tlv_of(TLV_AUTHORITY, b"mx.example.org"),
            tlv_of(TLV_UNIQUE_ID, b"a\nb"),
            tlv_of(TLV_SSL, &ssl(0x07, 0)),
        ]
        .concat(),
    );
    let header = whole(&header);
    assert_eq!(header.unique_id.as_deref(), Some("a\u{fffd}b"));
    let tls = header.tls.unwrap();
    assert_eq!((tls.version, &*tls.cipher, tls.bits), ("TLSv1.3", "TLS_AES_128_GCM_SHA256", 128));
    assert_eq!((tls.sni.as_deref(), tls.client_subject.as_deref()), (Some("mx.example.org"), Some("CN=ann")));
    let unverified = tls_of(&ssl(0x07, 1)).unwrap();
    assert_eq!(unverified.client_subject, None, "the proxy did not verify it");
    assert_eq!(tls_of(&ssl(0x06, 0)), None, "the client came in clear");
}

fn tls_of(value: &[u8]) -> Option<TlsFacts> {
    tls(value).unwrap()
}

#[test]
fn a_checksum_that_is_there_must_be_right() {
    let good = with_crc(&tlv_of(TLV_AUTHORITY, b"mx.example.org"));
    assert!(whole(&good).client.is_some());
    for at in 16..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(read(&bad).is_err() || at == 28 || at == 45, "octet {at}: {:?}", read(&bad));
    }
    let twice = v2(1, 0x11, &[INET, &tlv_of(TLV_UNIQUE_ID, b"a"), &tlv_of(TLV_UNIQUE_ID, b"b")].concat());
    assert_eq!(read(&twice), Err(HeaderError::Malformed));
    let short = v2(1, 0x11, &[INET, &tlv_of(TLV_CRC32C, &[0; 3])].concat());
    assert_eq!(read(&short), Err(HeaderError::Malformed));
    let cut = v2(1, 0x11, &[INET, &[TLV_AUTHORITY, 0, 9, b'x']].concat());
    assert_eq!(read(&cut), Err(HeaderError::Malformed));
    let fresh = [tlv_of(TLV_SSL, &[1, 0, 0, 0, 0, SSL_VERSION, 0, 9])].concat();
    assert_eq!(read(&v2(1, 0x11, &[INET, &fresh].concat())), Err(HeaderError::Malformed));
}

#[test]
fn crc32c_is_the_one_of_rfc_3720() {
    let zeros = [0; 32];
    assert_eq!(crc32c_with_zeros(&zeros, 100), 0x8a91_36aa);
    let ones = [0xff; 32];
    assert_eq!(crc32c_with_zeros(&ones, 100), 0x62a8_ab43);
    assert_eq!(crc32c_with_zeros(b"123456789", 100), 0xe306_9283);
}

/// Asked octet by octet for what it wants, it never wants more than there is.
fn never_beyond(header: &[u8]) {
    let mut seen = 0;
    let mut progress = Progress::More(1);
    while let Progress::More(wanted) = progress {
        assert!(wanted > 0);
        seen += wanted;
        assert!(seen <= header.len(), "asks for {seen} of {}", header.len());
        progress = read(&header[..seen]).unwrap();
    }
    assert_eq!(seen, header.len());
}

proptest! {
    #[test]
    fn any_octets_are_a_header_or_an_error(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&input);
        let _ = read(&v2(1, 0x11, &[INET, &input].concat()));
        let _ = read(&v2(1, 0x11, &[INET, &tlv_of(TLV_SSL, &input)].concat()));
        let _ = read(&[b"PROXY ", &input[..]].concat());
    }

    #[test]
    fn no_octet_behind_the_header_is_asked_for(
        four: (u32, u32), six: (u128, u128), ports: (u16, u16), names in ".{0,40}"
    ) {
        let (a, b) = (Ipv4Addr::from(four.0), Ipv4Addr::from(four.1));
        never_beyond(format!("PROXY TCP4 {a} {b} {} {}\r\n", ports.0, ports.1).as_bytes());
        let (a, b) = (Ipv6Addr::from(six.0), Ipv6Addr::from(six.1));
        never_beyond(format!("PROXY TCP6 {a} {b} {} {}\r\n", ports.0, ports.1).as_bytes());
        never_beyond(b"PROXY UNKNOWN\r\n");
        never_beyond(&with_crc(&tlv_of(TLV_AUTHORITY, names.as_bytes())));
    }

    #[test]
    fn what_version_1_says_is_what_is_read(source: std::net::SocketAddrV4, destination: std::net::SocketAddrV4) {
        let (a, b) = (source, destination);
        let header = whole(format!("PROXY TCP4 {} {} {} {}\r\n", a.ip(), b.ip(), a.port(), b.port()).as_bytes());
        prop_assert_eq!(header.client, Some(Addresses { source: a.into(), destination: b.into() }));
    }
}
