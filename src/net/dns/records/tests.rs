//! Questions of any kind, against the scripted server of the tests beside `dns.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SRV, TXT};

use super::super::tests::{Says, resolver, server};
use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn script(asked: &Name, kind: RecordType) -> Says {
    match (kind, asked.to_ascii().as_str()) {
        (RecordType::A, "two.test.") => {
            Says::Records(vec![RData::A(A::new(192, 0, 2, 1)), RData::A(A::new(192, 0, 2, 2))])
        }
        (RecordType::AAAA, "two.test.") => Says::Records(vec![RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))]),
        (RecordType::TXT, "two.test.") => Says::Records(vec![
            RData::TXT(TXT::new(vec!["v=spf1 ".into(), "-all".into()])),
            RData::TXT(TXT::from_bytes(vec![b"\xff\0".as_slice()])),
        ]),
        (RecordType::MX, "two.test.") => Says::Records(vec![
            RData::MX(MX::new(20, name("b.test."))),
            RData::MX(MX::new(10, name("A.test."))),
            RData::MX(MX::new(5, Name::from_labels([&b"a b"[..], b"test"]).unwrap())),
        ]),
        (RecordType::MX, "null.test.") => Says::Records(vec![RData::MX(MX::new(0, Name::root()))]),
        (RecordType::SRV, "_x._tcp.two.test.") => Says::Records(vec![RData::SRV(SRV::new(1, 2, 443, name("s.test.")))]),
        (RecordType::PTR, "1.2.0.192.in-addr.arpa.") => Says::Records(vec![RData::PTR(PTR(name("two.test.")))]),
        (RecordType::A, "alias.test.") => Says::Records(vec![RData::CNAME(CNAME(name("two.test.")))]),
        (_, "servfail.test.") => Says::Code(ResponseCode::ServFail),
        (_, "two.test.") => Says::Code(ResponseCode::NoError),
        _ => Says::Code(ResponseCode::NXDomain),
    }
}

fn texts(answer: &Result<Answer, NoAnswer>) -> Vec<String> {
    answer.as_ref().unwrap().records.iter().map(|octets| String::from_utf8_lossy(octets).into_owned()).collect()
}

#[tokio::test]
async fn every_kind_has_its_form() {
    let server = server(script).await;
    let resolver = resolver(&server, "");
    assert_eq!(texts(&resolver.ask("Two.test", "a").await), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(texts(&resolver.ask("two.test.", "AAAA").await), ["2001:db8::1"]);
    assert_eq!(resolver.ask("two.test", "TXT").await.unwrap().records, [b"v=spf1 -all".to_vec(), b"\xff\0".to_vec()]);
    // What is no name of a host is left out.
    assert_eq!(texts(&resolver.ask("two.test", "MX").await), ["20 b.test", "10 A.test"]);
    assert_eq!(texts(&resolver.ask("null.test", "MX").await), ["0 ."]);
    assert_eq!(texts(&resolver.ask("_x._tcp.two.test", "SRV").await), ["1 2 443 s.test"]);
    assert_eq!(texts(&resolver.ask(&reverse(IpAddr::from([192, 0, 2, 1])), "PTR").await), ["two.test"]);
    // An alias leads on; what is handed out is what was asked for.
    assert_eq!(texts(&resolver.ask("alias.test", "A").await), ["192.0.2.1", "192.0.2.2"]);
}

#[tokio::test]
async fn no_answer_says_why() {
    let server = server(script).await;
    let resolver = resolver(&server, "");
    assert_eq!(resolver.ask("gone.test", "A").await, Err(NoAnswer::NotFound));
    assert_eq!(resolver.ask("two.test", "CAA").await, Err(NoAnswer::NoData));
    assert!(matches!(resolver.ask("servfail.test", "A").await, Err(NoAnswer::Failed(_))));
}

#[tokio::test]
async fn what_is_no_name_or_no_type_is_not_asked() {
    let server = server(script).await;
    let resolver = resolver(&server, "");
    let long = ["a".repeat(64), "b.".repeat(200)];
    for name in ["", ".", "a..b", ".a", "a b.test", "a\r\n.test", "ü.test", "a\\.test", &long[0], &long[1]] {
        assert_eq!(resolver.ask(name, "A").await, Err(NoAnswer::Malformed), "{name:?}");
    }
    for kind in ["", "ANY", "*", "AXFR", "OPT", "NULL", "NOPE", "A "] {
        assert_eq!(resolver.ask("two.test", kind).await, Err(NoAnswer::Malformed), "{kind:?}");
    }
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_settled_here_is_asked_of_nobody() {
    let server = server(script).await;
    let resolver = resolver(&server, "192.0.2.50 settled.test\n");
    assert_eq!(texts(&resolver.ask("localhost", "A").await), ["127.0.0.1"]);
    assert_eq!(texts(&resolver.ask("x.LOCALHOST.", "AAAA").await), ["::1"]);
    assert_eq!(resolver.ask("localhost", "TXT").await, Err(NoAnswer::NoData));
    assert_eq!(texts(&resolver.ask("settled.test", "A").await), ["192.0.2.50"]);
    assert_eq!(resolver.ask("settled.test", "AAAA").await, Err(NoAnswer::NoData));
    assert_eq!(texts(&resolver.ask("50.2.0.192.in-addr.arpa", "PTR").await), ["settled.test"]);
    for address in ["127.0.0.9", "::1", "169.254.7.7", "fe80::1", "0.0.0.0"] {
        let name = reverse(address.parse().unwrap());
        assert_eq!(resolver.ask(&name, "PTR").await, Err(NoAnswer::NotFound), "{address}");
    }
    assert!(server.asked.lock().unwrap().is_empty());
    // Only its addresses are settled.
    assert_eq!(resolver.ask("settled.test", "TXT").await, Err(NoAnswer::NotFound));
    assert_eq!(server.asked.lock().unwrap().len(), 1);
}

#[test]
fn an_answer_is_bounded_in_number_and_octets() {
    use hickory_resolver::proto::op::Query;
    use hickory_resolver::proto::rr::Record;
    let lookup = |count: usize, size: usize| {
        let query = Query::query(name("x.test."), RecordType::TXT);
        let text = |_| Record::from_rdata(name("x.test."), 60, RData::TXT(TXT::new(vec!["x".repeat(size)])));
        Lookup::new_with_max_ttl(query, (0..count).map(text))
    };
    let records = |lookup: &Lookup| answer(lookup, RecordType::TXT, Security::Unchecked).unwrap().records.len();
    assert_eq!(records(&lookup(RECORDS_MAX + 9, 1)), RECORDS_MAX);
    assert_eq!(records(&lookup(RECORDS_MAX, 2_000)), ANSWER_BYTES_MAX / 2_000);
}
