//! A scripted DNS server on loopback; no question leaves the machine.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::sync::Mutex;

use hickory_resolver::proto::op::{Message, OpCode};
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV, TXT};
use tokio::net::UdpSocket;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// How the server answers a question.
pub(super) enum Says {
    Records(Vec<RData>),
    Code(ResponseCode),
    /// These answers, and these beside them about the authority.
    Sections(ResponseCode, Vec<Record>, Vec<Record>),
    Silence,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) asked: Arc<Mutex<Vec<String>>>,
}

pub(super) async fn server(script: impl Fn(&Name, RecordType) -> Says + Send + 'static) -> Server {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        let mut octets = [0; 2_048];
        while let Ok((length, peer)) = socket.recv_from(&mut octets).await {
            let question = Message::from_vec(&octets[..length]).unwrap();
            let query = question.queries[0].clone();
            log.lock().unwrap().push(format!("{} {}", query.query_type(), query.name()));
            let mut answer = Message::response(question.metadata.id, OpCode::Query);
            answer.metadata.recursion_available = true;
            answer.add_query(query.clone());
            match script(query.name(), query.query_type()) {
                Says::Silence => continue,
                Says::Code(code) => answer.metadata.response_code = code,
                Says::Sections(code, answers, authorities) => {
                    answer.metadata.response_code = code;
                    answer.add_answers(answers);
                    answer.add_authorities(authorities);
                }
                Says::Records(records) => {
                    for data in records {
                        answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
                    }
                }
            }
            socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        }
    });
    Server { address, asked }
}

/// A resolver for tests elsewhere: these names have one TXT record each, and no other name exists. Nothing is signed,
/// so that under DNSSEC every word of it is forged.
pub(crate) async fn zone(records: Vec<(String, String)>, dnssec: Dnssec) -> Resolver {
    let script = move |name: &Name, record_type: RecordType| {
        let name = name.to_ascii().to_ascii_lowercase();
        let text = records.iter().find(|(owner, _)| *owner == name.trim_end_matches('.')).map(|(_, text)| text.clone());
        match (text, record_type) {
            (Some(text), RecordType::TXT) => Says::Records(vec![RData::TXT(TXT::new(vec![text]))]),
            (Some(_), _) => Says::Code(ResponseCode::NoError),
            (None, _) => Says::Code(ResponseCode::NXDomain),
        }
    };
    let settings = config::Resolver { servers: vec![server(script).await.address], dnssec, ..Default::default() };
    Resolver::with_hosts(&settings, Hosts::default()).unwrap()
}

pub(super) fn resolver(server: &Server, hosts: &str) -> Resolver {
    Resolver::with_hosts(&config::Resolver { servers: vec![server.address], ..Default::default() }, Hosts::parse(hosts))
        .unwrap()
}

fn pointer(name: &str) -> RData {
    RData::PTR(PTR(Name::from_ascii(name).unwrap()))
}

fn confirmed(name: &str) -> PeerName {
    PeerName::Confirmed(Arc::from(name))
}

fn peer(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn script(name: &Name, record_type: RecordType) -> Says {
    let name = name.to_ascii();
    match (record_type, name.as_str()) {
        (RecordType::PTR, "1.2.0.192.in-addr.arpa.") => Says::Records(vec![pointer("good.test.")]),
        (RecordType::A, "good.test.") => Says::Records(vec![RData::A(A::new(192, 0, 2, 1))]),
        (RecordType::AAAA, "good.test.") => {
            Says::Records(vec![RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))])
        }
        (RecordType::PTR, "2.2.0.192.in-addr.arpa.") => Says::Records(vec![pointer("good.test.")]),
        (RecordType::PTR, "3.2.0.192.in-addr.arpa.") => Says::Records(vec![pointer("servfail.test.")]),
        (RecordType::PTR, "4.2.0.192.in-addr.arpa.") => Says::Code(ResponseCode::ServFail),
        (RecordType::PTR, "5.2.0.192.in-addr.arpa.") => Says::Silence,
        (RecordType::PTR, "6.2.0.192.in-addr.arpa.") => Says::Records(vec![
            RData::PTR(PTR(Name::from_labels([&b"a b\r\n"[..], &b"test"[..]]).unwrap())),
            RData::PTR(PTR(Name::from_labels([&b"x@y"[..]]).unwrap())),
            pointer("192.0.2.6."),
        ]),
        (RecordType::PTR, "7.2.0.192.in-addr.arpa.") => {
            Says::Records((0..30).map(|n| pointer(&format!("n{n}.test."))).collect())
        }
        (RecordType::A, "n29.test.") => Says::Records(vec![RData::A(A::new(192, 0, 2, 7))]),
        (RecordType::PTR, "8.2.0.192.in-addr.arpa.") => Says::Records(vec![pointer("silent.test.")]),
        (RecordType::PTR, "9.2.0.192.in-addr.arpa.") => {
            Says::Records(vec![pointer("nobody.test."), pointer("second.test.")])
        }
        (RecordType::A, "second.test.") => Says::Records(vec![RData::A(A::new(192, 0, 2, 9))]),
        (_, "servfail.test.") => Says::Code(ResponseCode::ServFail),
        (_, "silent.test.") => Says::Silence,
        (_, "empty.test.") => Says::Code(ResponseCode::NoError),
        _ => Says::Code(ResponseCode::NXDomain),
    }
}

#[tokio::test]
async fn a_name_that_points_back_is_confirmed() {
    let server = server(script).await;
    let resolver = resolver(&server, "");
    assert_eq!(resolver.peer_name(peer(1), SOON).await, (confirmed("good.test"), confirmed("good.test")));
    let mapped = "::ffff:192.0.2.1".parse().unwrap();
    assert_eq!(resolver.peer_name(mapped, SOON).await.0, confirmed("good.test"));
    // The second of several names may be the one.
    assert_eq!(resolver.peer_name(peer(9), SOON).await, (confirmed("second.test"), confirmed("second.test")));
}

#[tokio::test]
async fn where_no_names_are_wanted_nobody_is_asked() {
    let server = server(script).await;
    let settings =
        config::Resolver { servers: vec![server.address], peer_names: PeerNames::Unasked, ..Default::default() };
    let resolver = Resolver::with_hosts(&settings, Hosts::parse("192.0.2.9 known.test")).unwrap();
    for last in [1, 9] {
        assert_eq!(resolver.peer_name(peer(last), SOON).await, (PeerName::Unavailable, PeerName::Unavailable));
    }
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_name_that_does_not_is_only_the_reverse_name() {
    let server = server(script).await;
    let resolver = resolver(&server, "");
    assert_eq!(resolver.peer_name(peer(2), SOON).await, (PeerName::Unavailable, confirmed("good.test")));
}

#[tokio::test]
async fn no_answer_and_the_answer_nothing_are_told_apart() {
    let server = server(script).await;
    let resolver = resolver(&server, "");
    assert_eq!(resolver.peer_name(peer(77), SOON).await, (PeerName::Unavailable, PeerName::Unavailable));
    let temporarily = PeerName::TemporarilyUnavailable;
    assert_eq!(resolver.peer_name(peer(4), SOON).await, (temporarily.clone(), temporarily.clone()));
    assert_eq!(resolver.peer_name(peer(3), SOON).await, (temporarily.clone(), confirmed("servfail.test")));
    let short = Duration::from_millis(50);
    assert_eq!(resolver.peer_name(peer(5), short).await, (temporarily.clone(), temporarily.clone()));
    // The reverse name is not lost when its confirmation takes too long.
    let (name, reverse) = resolver.peer_name(peer(8), Duration::from_millis(500)).await;
    assert_eq!((name, reverse), (temporarily, confirmed("silent.test")));
}

#[tokio::test]
async fn hostile_pointers_are_refused_and_counted() {
    let server = server(script).await;
    let resolver = resolver(&server, "");
    assert_eq!(resolver.peer_name(peer(6), SOON).await, (PeerName::Unavailable, PeerName::Unavailable));
    assert_eq!(resolver.peer_name(peer(7), SOON).await.0, PeerName::Unavailable);
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|question| question.starts_with("A n")).count(), PTR_NAMES_MAX);
}

#[tokio::test]
async fn dns_never_hears_of_loopback_and_link_local() {
    let server = server(script).await;
    let resolver = resolver(&server, "127.0.0.1 localhost\n192.0.2.50 settled.test\n");
    let local = "127.0.0.1".parse().unwrap();
    assert_eq!(resolver.peer_name(local, SOON).await, (confirmed("localhost"), confirmed("localhost")));
    for address in ["127.0.0.2", "::1", "169.254.1.1", "fe80::1", "::ffff:127.0.0.9", "0.0.0.0"] {
        let names = resolver.peer_name(address.parse().unwrap(), SOON).await;
        assert_eq!(names, (PeerName::Unavailable, PeerName::Unavailable), "{address}");
    }
    assert_eq!(resolver.peer_name(peer(50), SOON).await.0, confirmed("settled.test"));
    assert_eq!(resolver.addresses("localhost").await.unwrap(), [local]);
    assert_eq!(resolver.addresses("settled.test").await.unwrap(), [peer(50)]);
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn addresses_of_a_host() {
    let server = server(script).await;
    let resolver = resolver(&server, "");
    let found = resolver.addresses("good.test").await.unwrap();
    assert_eq!(found, [peer(1), "2001:db8::1".parse().unwrap()]);
    assert_eq!(resolver.addresses("192.0.2.200").await.unwrap(), [peer(200)]);
    assert_eq!(resolver.addresses("[2001:db8::5]").await.unwrap(), ["2001:db8::5".parse::<IpAddr>().unwrap()]);
    assert_eq!(resolver.addresses("nowhere.test").await, Err(LookupError::NotFound));
    assert_eq!(resolver.addresses("empty.test").await, Err(LookupError::NotFound));
    assert!(matches!(resolver.addresses("servfail.test").await, Err(LookupError::Failed(_))));
}

#[tokio::test]
async fn answers_are_cached() {
    let server = server(script).await;
    let resolver = resolver(&server, "");
    for _ in 0..3 {
        resolver.peer_name(peer(1), SOON).await;
    }
    assert_eq!(server.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn the_hosts_of_a_service_are_bounded_checked_and_remembered() {
    fn service(name: &Name, record_type: RecordType) -> Says {
        let srv = |port, target: &str| RData::SRV(SRV::new(10, 5, port, Name::from_ascii(target).unwrap()));
        match (record_type, name.to_ascii().as_str()) {
            (RecordType::SRV, "_smtp._tcp.example.test.") => Says::Records(vec![
                srv(25, "Mail1.example.test."),
                srv(0, "no-port.example.test."),
                srv(2525, "mail2.example.test."),
                srv(25, "192.0.2.1."),
            ]),
            (RecordType::SRV, "_none._tcp.example.test.") => Says::Records(vec![srv(0, ".")]),
            (RecordType::SRV, "_many._tcp.example.test.") => {
                Says::Records((0..40).map(|number| srv(25, &format!("m{number}.test."))).collect())
            }
            (RecordType::SRV, "_broken._tcp.example.test.") => Says::Code(ResponseCode::ServFail),
            _ => Says::Code(ResponseCode::NXDomain),
        }
    }
    let server = server(service).await;
    let resolver = resolver(&server, "");
    for _ in 0..2 {
        let found = resolver.service("_smtp._tcp.example.test").await.unwrap();
        let shown: Vec<_> = found.iter().map(|one| (one.host.as_str(), one.port, one.priority, one.weight)).collect();
        assert_eq!(shown, [("mail1.example.test", 25, 10, 5), ("mail2.example.test", 2525, 10, 5)]);
    }
    assert_eq!(server.asked.lock().unwrap().len(), 1, "it is remembered for its TTL");
    assert_eq!(resolver.service("_none._tcp.example.test").await, Err(LookupError::NotFound));
    assert_eq!(resolver.service("_gone._tcp.example.test").await, Err(LookupError::NotFound));
    assert!(matches!(resolver.service("_broken._tcp.example.test").await, Err(LookupError::Failed(_))));
    assert_eq!(resolver.service("_many._tcp.example.test").await.unwrap().len(), SERVICE_HOSTS_MAX);
}
