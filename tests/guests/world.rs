//! What a filter can reach beyond the mail: the time, the DNS.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wasmilter::chain::{Call, Chain};
use wasmilter::config;
use wasmilter::filter::outside::{Answer, NoAnswer, Security};
use wasmilter::filter::{Clock, Outside, Script};
use wasmilter::net::dns::Resolver;
use wasmilter::net::hosts::Hosts;

use crate::support::{Filter, brief, configuration, fault, hello, load_with, session, told};

fn answer(records: &[&str], security: Security) -> Result<Answer, NoAnswer> {
    Ok(Answer { records: records.iter().map(|record| record.as_bytes().to_vec()).collect(), security })
}

/// A puppet that does at HELO what is said to it there.
fn obedient(outside: &Outside) -> Arc<Chain> {
    load_with(&[Filter::puppet("helo: as-told")], outside)
}

/// What it has to tell after this trick.
async fn hears(trick: &str, chain: &Arc<Chain>) -> String {
    told(&session(chain).ask(Call::Helo(&hello(trick))).await).to_owned()
}

#[tokio::test]
async fn dns_obeyed() {
    let script = Arc::new(Script::default());
    script.dns("two.test", "A", answer(&["192.0.2.1"], Security::Secure));
    script.dns("two.test", "AAAA", answer(&["2001:db8::1"], Security::Secure));
    script.dns("two.test", "TXT", answer(&["v=spf1 -all", "say \"hi\""], Security::Insecure));
    script.dns("two.test", "MX", answer(&["20 b.test", "10 a.test", "0 ."], Security::Unchecked));
    script.dns("1.2.0.192.in-addr.arpa", "PTR", answer(&["two.test"], Security::Unchecked));
    script.dns("1.2.0.192.bl.test", "A", answer(&["127.0.0.2", "127.0.0.4"], Security::Unchecked));
    script.dns("2.2.0.192.bl.test", "A", Err(NoAnswer::NotFound));
    script.dns("evil.test.dbl.test", "A", answer(&["127.0.1.2"], Security::Unchecked));
    script.dns("forged.test", "A", Err(NoAnswer::Bogus));
    script.dns("slow.test", "A", Err(NoAnswer::Timeout));
    script.dns("slow.test", "AAAA", Err(NoAnswer::Timeout));
    let chain = obedient(&Outside::scripted(Clock::System, &script));
    for (trick, wanted) in [
        ("addresses two.test.", "192.0.2.1 2001:db8::1 Security::Secure"),
        ("texts two.test", "v=spf1 -all say \"hi\" Security::Insecure"),
        ("exchangers two.test", "0:. 10:a.test 20:b.test Security::Unchecked"),
        ("pointers 192.0.2.1", "two.test Security::Unchecked"),
        ("pointers two.test", "malformed"),
        ("listed 192.0.2.1=bl.test", "127.0.0.2 127.0.0.4 Security::Unchecked"),
        ("listed 192.0.2.2=bl.test", " Security::Unchecked"),
        ("listed evil.test=dbl.test", "127.0.1.2 Security::Unchecked"),
        ("lookup two.test=TXT", "\"v=spf1 -all\" \"say \\\"hi\\\"\" Security::Insecure"),
        ("lookup two.test=CAA", "no-data"),
        ("addresses gone.test", "failed"),
        ("addresses forged.test", "bogus"),
        ("addresses slow.test", "timeout"),
        ("addresses", "malformed"),
    ] {
        assert_eq!(hears(trick, &chain).await, wanted, "{trick}");
    }
    assert_eq!(script.unscripted(), ["dns: A gone.test", "dns: AAAA gone.test"]);
}

#[tokio::test]
async fn dns_questions_obeyed() {
    let script = Arc::new(Script::default());
    script.dns("two.test", "A", answer(&["192.0.2.1"], Security::Unchecked));
    let filter = Filter::puppet("helo: ask-often 100; mail: ask-often 100");
    let chain = load_with(&[filter], &Outside::scripted(Clock::System, &script));
    let mut session = session(&chain);
    assert_eq!(told(&session.helo().await), "192.0.2.1 Security::Unchecked");
    // Of each call.
    assert_eq!(told(&session.mail().await), "192.0.2.1 Security::Unchecked");
}

#[tokio::test]
async fn dns_questions_violated() {
    let script = Arc::new(Script::default());
    script.dns("two.test", "A", answer(&["192.0.2.1"], Security::Unchecked));
    let chain = obedient(&Outside::scripted(Clock::System, &script));
    assert_eq!(hears("ask-often 101", &chain).await, "limit");
}

/// A resolver whose server never answers. The socket has to be kept.
async fn dead() -> (tokio::net::UdpSocket, Outside) {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let settings = config::Resolver { servers: vec![server.local_addr().unwrap()], ..Default::default() };
    let resolver = Resolver::with_hosts(&settings, Hosts::default()).unwrap();
    (server, Outside::real(&resolver))
}

#[tokio::test]
async fn dns_deadline_violated() {
    let (_server, outside) = dead().await;
    let slow = Filter::puppet("helo: addresses x.test").with("deadline = \"100ms\"").with("on-fault = \"next\"");
    let chain = load_with(&[slow, Filter::puppet("helo: say here").named("other")], &outside);
    let (mut one, mut two) = (session(&chain), session(&chain));
    let (one, two) = tokio::join!(one.helo(), two.helo());
    for outcome in [one, two] {
        assert_eq!((fault(&outcome), brief(&outcome.verdict).as_str()), (Some("deadline"), "next"));
        assert_eq!(told(&outcome), "here", "the filter after it is asked");
    }
}

/// Nobody is asked while a filter is tried at load: a gateway starts without a network.
#[tokio::test]
async fn dns_at_load_violated() {
    let (_server, outside) = dead().await;
    let wanted = Filter::puppet("init: addresses x.test");
    let error = Chain::load_with(&configuration(&[wanted]), &outside).unwrap_err();
    assert!(error.to_string().contains("init: failed"), "{error}");
}

#[tokio::test]
async fn a_virtual_clock_is_the_time_of_a_filter() {
    let clock = Clock::standing_at(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400));
    let outside = Outside::scripted(clock.clone(), &Arc::default());
    let filter = Filter::puppet("helo: remember x; mail: recall x; rcpt: time").with("lifetime = \"shared\"");
    let chain = load_with(&[filter], &outside);
    let mut session = session(&chain);
    assert_eq!(told(&session.helo().await), "Ok(()) 1");
    clock.advance(Duration::from_millis(59_999));
    assert_eq!(told(&session.mail().await), "true 1");
    clock.advance(Duration::from_millis(1));
    assert_eq!(told(&session.mail().await), "false 0");
    assert_eq!(told(&session.rcpt().await), "86460000 60000");
}
