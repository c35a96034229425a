//! What a filter can reach beyond the mail: the time, the DNS.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wasmilter::chain::{Call, Chain};
use wasmilter::checks::Finding;
use wasmilter::config;
use wasmilter::filter::outside::{Answer, Failure, NoAnswer, Response, Security};
use wasmilter::filter::{Clock, Outside, Script};
use wasmilter::net::dial::{Dial, Tcp};
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
    let dialer: Arc<dyn Dial> = Arc::new(Tcp);
    (server, Outside::real(&resolver, &dialer))
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

fn response(status: u16, body: &str) -> Result<Response, Failure> {
    Ok(Response { status, headers: vec![("x-a".into(), b"b".to_vec())], body: body.into() })
}

#[tokio::test]
async fn http_obeyed() {
    let script = Arc::new(Script::default());
    script.http("GET", "https://api.test/v1/x?y=z", response(200, "hello")).unwrap();
    script.http("POST", "https://api.test/v1/", response(404, "")).unwrap();
    script.http("GET", "https://api.test/v1/large", Err(Failure::TooLarge)).unwrap();
    let chain = obedient(&Outside::scripted(Clock::System, &script));
    for (trick, wanted) in [
        ("send GET https://api.test/v1/x?y=z", "200 x-a hello"),
        ("send GET HTTPS://API.test:443/v1/a/../%78?y=z", "200 x-a hello"),
        ("send POST https://api.test/v1/", "404 x-a "),
        ("send GET https://api.test/v1/large", "Error::TooLarge"),
    ] {
        assert_eq!(hears(trick, &chain).await, wanted, "{trick}");
    }
    let unknown = hears("send GET https://api.test/v1/other", &chain).await;
    assert!(unknown.contains("no answer is written down for GET https://api.test/v1/other"), "{unknown}");
    assert_eq!(script.unscripted(), ["http: GET https://api.test/v1/other"]);
}

#[tokio::test]
async fn http_addresses_violated() {
    let script = Arc::new(Script::default());
    let chain = obedient(&Outside::scripted(Clock::System, &script));
    for url in [
        "http://api.test/v1/",
        "https://api.test/",
        "https://api.test/v1",
        "https://api.test/v1/../admin",
        "https://api.test/v1/%2e%2e/admin",
        "https://api.test:444/v1/",
        "https://evil.test/v1/",
        "https://api.test.evil.test/v1/",
    ] {
        assert_eq!(hears(&format!("send GET {url}"), &chain).await, "Error::NotGranted", "{url}");
    }
    for url in
        ["https://api.test@evil.test/v1/", "https://api.test/v1/..%2fadmin", "https://api.test/v1/#x", "api.test/v1/"]
    {
        let said = hears(&format!("send GET {url}"), &chain).await;
        assert!(said.starts_with("Error::Malformed"), "{url}: {said}");
    }
    assert!(script.unscripted().is_empty(), "nothing was asked");
}

#[tokio::test]
async fn http_requests_violated() {
    let script = Arc::new(Script::default());
    script.http("GET", "https://api.test/v1/x", response(200, "hello")).unwrap();
    let chain = obedient(&Outside::scripted(Clock::System, &script));
    assert_eq!(hears("send-often 16", &chain).await, "200 x-a hello");
    assert_eq!(hears("send-often 17", &chain).await, "Error::Limit");
}

/// A request takes what is left of the call, and the filter can still answer; nobody else waits.
#[tokio::test]
async fn http_time_violated() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hosts = Hosts::parse("127.0.0.1 api.test");
    let resolver = Resolver::with_hosts(&config::Resolver::default(), hosts).unwrap();
    let dialer: Arc<dyn Dial> = Arc::new(Tcp);
    let slow = Filter::puppet(&format!("helo: send GET http://api.test:{port}/"))
        .http(&format!("http://api.test:{port}/"))
        .with("deadline = \"200ms\"");
    let chain = load_with(&[slow], &Outside::real(&resolver, &dialer));
    let outcome = session(&chain).helo().await;
    assert_eq!((fault(&outcome), told(&outcome)), (None, "Error::Timeout"));
}

/// A CA file that is not there keeps the filter from loading, and not mail from flowing.
#[tokio::test]
async fn http_ca_violated() {
    let (_server, outside) = dead().await;
    let grants = "http = { urls = [\"https://api.test/\"], ca = \"/nonexistent/ca.pem\" }";
    let filter = Filter::puppet("").grants(grants);
    let error = Chain::load_with(&configuration(&[filter]), &outside).unwrap_err().to_string();
    assert!(error.contains("filter \"puppet\": grants.http: cannot read the CA file /nonexistent/ca.pem"), "{error}");
}

#[tokio::test]
async fn facts_obeyed() {
    let script = Arc::new(Script::default());
    let found = |check: &str, outcome: &str, domain: &str| Finding {
        check: check.into(),
        outcome: outcome.into(),
        properties: vec![("domain".into(), domain.into())],
    };
    script.fact(found("spf", "softfail", "example.net"));
    script.fact(found("dkim", "pass", "a.test"));
    script.fact(found("dkim", "fail", "b.test"));
    let chain = obedient(&Outside::scripted(Clock::System, &script));
    for (trick, wanted) in [
        ("facts", "rdns standing tls auth client"),
        ("fact rdns", "pass address=192.0.2.7 name=client.example.net"),
        ("fact standing", "stranger"),
        ("fact tls", "none"),
        ("fact auth", "none"),
        ("fact client", "direct"),
        ("fact spf", "softfail domain=example.net"),
        ("fact dkim", "pass domain=a.test / fail domain=b.test"),
        ("fact arc", ""),
        ("fact weather", ""),
    ] {
        assert_eq!(hears(trick, &chain).await, wanted, "{trick}");
    }
}

/// What is known when, with checks that ask a DNS server which has no answer for anybody.
#[tokio::test]
async fn facts_before_their_time_violated() {
    let (_server, outside) = dead().await;
    let filter =
        Filter::puppet("helo: fact spf; mail: facts; rcpt: fact dkim; data: fact spf").with("deadline = \"300ms\"");
    let chain = load_with(&[filter], &outside);
    let mut session = session(&chain);
    assert_eq!(told(&session.helo().await), "", "there is no sender");
    assert_eq!(told(&session.mail().await), "rdns standing tls auth client spf");
    assert_eq!(told(&session.rcpt().await), "", "there is no message");
    assert_eq!(fault(&session.ask(Call::Data).await), Some("deadline"), "nobody answers");
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
