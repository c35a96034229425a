//! Against a root zone that is signed here, with a key made for the test; no question leaves the machine.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, NSEC, NSEC3, RRSIG};
use hickory_resolver::proto::dnssec::{DnssecSigner, Nsec3HashAlgorithm, SigningKey};
use hickory_resolver::proto::rr::rdata::{A, CNAME, NS, PTR, SOA, TXT};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordSet, RecordType};
use time::OffsetDateTime;

use super::super::tests::{Says, Server, server};
use super::super::{Answer, LookupError, Resolver};
use super::*;
use crate::config::{self, Dnssec};
use crate::mail::PeerName;
use crate::net::hosts::Hosts;

const TTL: u32 = 60;
const HOUR: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_secs(20);
/// More than any validator does for a proof.
const NSEC3_ITERATIONS: u16 = 150;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn a(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

/// One key for everything.
struct Zone(DnssecSigner);

impl Zone {
    fn new() -> Zone {
        let key = Ed25519SigningKey::from_pkcs8(&Ed25519SigningKey::generate_pkcs8().unwrap()).unwrap();
        let dnskey = DNSKEY::with_flags(257, key.to_public_key().unwrap());
        Zone(DnssecSigner::new(dnskey, Box::new(key), Name::root(), 2 * HOUR))
    }

    fn key(&self) -> RData {
        RData::DNSSEC(DNSSECRData::DNSKEY(self.0.to_dnskey()))
    }

    /// What a file of trust anchors says.
    fn anchor(&self) -> String {
        format!("; made for a test\n. IN DNSKEY {}\n", self.0.dnskey())
    }

    /// A set of records, and its signature: of `signed`, if that is something else.
    fn set(&self, owner: &str, data: &RData, signed: &RData) -> Vec<Record> {
        let mut set = RecordSet::with_ttl(name(owner), data.record_type(), TTL);
        set.add_rdata(signed.clone());
        let signature = RRSIG::from_rrset(&set, DNSClass::IN, OffsetDateTime::now_utc() - HOUR, &self.0).unwrap();
        let record = |data: RData| Record::from_rdata(name(owner), TTL, data);
        vec![record(data.clone()), record(RData::DNSSEC(DNSSECRData::RRSIG(signature)))]
    }

    fn says(&self, owner: &str, data: &RData) -> Says {
        Says::Sections(ResponseCode::NoError, self.set(owner, data, data), Vec::new())
    }

    /// Nothing there, and the proof of it.
    fn denies(&self, code: ResponseCode, owner: &str, proof: DNSSECRData) -> Says {
        let soa = RData::SOA(SOA::new(name("ns."), name("hostmaster."), 1, 600, 60, 86_400, 60));
        let proof = RData::DNSSEC(proof);
        let sets = [self.set(".", &soa, &soa), self.set(owner, &proof, &proof)];
        Says::Sections(code, Vec::new(), sets.concat())
    }

    fn nsec(&self, code: ResponseCode, owner: &str, next: &str, kinds: &[RecordType]) -> Says {
        let nsec = NSEC::new_cover_self(name(next), kinds.iter().copied());
        self.denies(code, owner, DNSSECRData::NSEC(nsec))
    }

    fn nsec3(&self, asked: &Name) -> Says {
        let hash = Nsec3HashAlgorithm::SHA1.hash(&[], asked, NSEC3_ITERATIONS).unwrap().as_ref().to_vec();
        let owner = format!("{}.", base32hex(&hash));
        let mut next = hash;
        next.reverse();
        let proof = NSEC3::new(Nsec3HashAlgorithm::SHA1, false, NSEC3_ITERATIONS, Vec::new(), next, [RecordType::A]);
        self.denies(ResponseCode::NoError, &owner, DNSSECRData::NSEC3(proof))
    }

    fn answer(&self, asked: &Name, kind: RecordType) -> Says {
        let unsigned = |data: RData| Says::Records(vec![data]);
        match (asked.to_ascii().as_str(), kind) {
            (".", RecordType::DNSKEY) => self.says(".", &self.key()),
            ("good.", RecordType::A) => self.says("good.", &a(1)),
            ("good.", _) => self.nsec(ResponseCode::NoError, "good.", "stripped.", &[RecordType::A]),
            ("gone.", _) => self.nsec(ResponseCode::NXDomain, ".", "good.", &[RecordType::SOA]),
            ("denied.", _) => Says::Code(ResponseCode::NXDomain),
            ("hashed.", RecordType::TXT) => self.nsec3(asked),
            ("forged.", RecordType::A) => {
                Says::Sections(ResponseCode::NoError, self.set("forged.", &a(2), &a(3)), Vec::new())
            }
            ("stripped.", RecordType::A) => unsigned(a(4)),
            ("4.2.0.192.in-addr.arpa.", RecordType::PTR) => unsigned(RData::PTR(PTR(name("good.")))),
            // A zone of its own that the root does not vouch for.
            ("plain.", RecordType::NS) => unsigned(RData::NS(NS(name("ns.plain.")))),
            ("plain.", RecordType::DS) => self.nsec(ResponseCode::NoError, "plain.", "stripped.", &[RecordType::NS]),
            ("host.plain.", RecordType::A) => unsigned(a(5)),
            ("host.plain.", RecordType::TXT) => unsigned(RData::TXT(TXT::new(vec!["v=spf1 -all".into()]))),
            ("alias.", RecordType::A) => self.says("alias.", &RData::CNAME(CNAME(name("host.plain.")))),
            _ => Says::Code(ResponseCode::NoError),
        }
    }
}

/// RFC 4648 7, without padding: five bits a digit.
fn base32hex(octets: &[u8]) -> String {
    let bits: String = octets.iter().map(|octet| format!("{octet:08b}")).collect();
    let digit = |five: &[u8]| u32::from_str_radix(str::from_utf8(five).unwrap(), 2).unwrap();
    bits.as_bytes().chunks(5).map(|five| char::from_digit(digit(five), 32).unwrap()).collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn resolver(server: &Server, dnssec: Dnssec) -> Result<Resolver, ResolverError> {
    let settings = config::Resolver { servers: vec![server.address], dnssec, ..Default::default() };
    Resolver::with_hosts(&settings, Hosts::default())
}

fn validated(trust_anchor: &Path) -> Dnssec {
    Dnssec::Validated { trust_anchor: Some(trust_anchor.to_owned()) }
}

/// A resolver that begins at this zone's key, or does not look.
async fn signed(look: bool) -> Resolver {
    let zone = Zone::new();
    let anchor = file(&zone.anchor());
    let server = server(move |asked, kind| zone.answer(asked, kind)).await;
    resolver(&server, if look { validated(anchor.path()) } else { Dnssec::Unchecked }).unwrap()
}

fn found(text: &str, security: Security) -> Result<Answer, NoAnswer> {
    Ok(Answer { records: vec![text.as_bytes().to_vec()], security })
}

#[tokio::test]
async fn an_answer_is_secure_insecure_or_forged() {
    let resolver = signed(true).await;
    assert_eq!(resolver.ask("good", "A").await, found("192.0.2.1", Security::Secure));
    assert_eq!(resolver.ask("host.plain", "A").await, found("192.0.2.5", Security::Insecure));
    assert_eq!(resolver.ask("host.plain", "TXT").await, found("v=spf1 -all", Security::Insecure));
    assert_eq!(resolver.ask("forged", "A").await, Err(NoAnswer::Bogus));
    assert_eq!(resolver.ask("stripped", "A").await, Err(NoAnswer::Bogus));
    // Out of the cache no better and no worse.
    assert_eq!(resolver.ask("good", "A").await, found("192.0.2.1", Security::Secure));
    assert_eq!(resolver.ask("forged", "A").await, Err(NoAnswer::Bogus));
    // As secure as the weakest link that led there.
    assert_eq!(resolver.ask("alias", "A").await, found("192.0.2.5", Security::Insecure));
    assert_eq!(resolver.ask("localhost", "A").await, found("127.0.0.1", Security::Insecure));
}

#[tokio::test]
async fn that_there_is_nothing_is_proved_too() {
    let resolver = signed(true).await;
    assert_eq!(resolver.ask("gone", "A").await, Err(NoAnswer::NotFound));
    assert_eq!(resolver.ask("good", "TXT").await, Err(NoAnswer::NoData));
    assert_eq!(resolver.ask("denied", "A").await, Err(NoAnswer::Bogus));
    // Not checked to the end, and no forgery.
    assert_eq!(resolver.ask("hashed", "TXT").await, Err(NoAnswer::NoData));
}

#[tokio::test]
async fn without_the_option_nobody_looks() {
    let resolver = signed(false).await;
    for (name, address) in [("good", "192.0.2.1"), ("forged", "192.0.2.2"), ("localhost", "127.0.0.1")] {
        assert_eq!(resolver.ask(name, "A").await, found(address, Security::Unchecked), "{name}");
    }
    assert_eq!(resolver.ask("denied", "A").await, Err(NoAnswer::NotFound));
}

#[tokio::test]
async fn a_forged_answer_is_a_failure_for_now() {
    let resolver = signed(true).await;
    assert_eq!(resolver.addresses("good").await.unwrap(), [IpAddr::from([192, 0, 2, 1])]);
    assert!(matches!(resolver.addresses("forged").await, Err(LookupError::Failed(_))));
    let (peer, reverse) = resolver.peer_name(IpAddr::from([192, 0, 2, 4]), SOON).await;
    assert_eq!((peer, reverse), (PeerName::TemporarilyUnavailable, PeerName::TemporarilyUnavailable));
}

#[tokio::test]
async fn the_trust_anchor_decides() {
    let (zone, stranger) = (Zone::new(), Zone::new());
    let (own, other) = (file(&zone.anchor()), file(&stranger.anchor()));
    let beside = file(&stranger.anchor().replace(". IN", "other.example. 3600 IN"));
    let server = server(move |asked, kind| zone.answer(asked, kind)).await;
    let ask = async |dnssec| resolver(&server, dnssec).unwrap().ask("good", "A").await;
    assert_eq!(ask(validated(own.path())).await, found("192.0.2.1", Security::Secure));
    assert_eq!(ask(validated(other.path())).await, Err(NoAnswer::Bogus));
    // The root that everybody knows did not sign this one.
    assert_eq!(ask(Dnssec::Validated { trust_anchor: None }).await, Err(NoAnswer::Bogus));
    assert_eq!(trust_anchors(Some(beside.path())).unwrap().len(), TrustAnchors::default().len());
    let bad = |text: &str| resolver(&server, validated(file(text).path())).unwrap_err().to_string();
    assert!(bad("; nothing\n").ends_with("has no DNSKEY record"));
    assert!(bad(". IN DS 20326 8 2 E06D\n").contains("it wants DNSKEY records"));
    assert!(resolver(&server, validated(Path::new("/nowhere/root.key"))).is_err());
}
