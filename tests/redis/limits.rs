//! Rate limits over three gateways, each a program of its own.

use crate::gateway::{Client, Gateway};
use crate::server::{Redis, until};
use crate::upstream::Upstream;

/// What a gateway has that shares its limits, and that does not give up on a busy machine.
pub(crate) fn sharing(redis: &Redis, more: &str) -> String {
    format!("[state]\nredis = [\"{}\"]\ntimeout = \"2s\"\n{more}", redis.url())
}

/// Waits until its log has said so, be it long ago.
pub(crate) fn told(gateway: &mut Gateway, words: &str) -> String {
    match gateway.seen.iter().find(|line| line.contains(words)) {
        Some(line) => line.clone(),
        None => gateway.wait_for(words),
    }
}

pub(crate) fn is_up(gateway: &Gateway) -> bool {
    gateway.get("/metrics").1.lines().any(|line| line == "wasmilter_state_shared_up 1")
}

/// Three of them that are connected.
fn three(upstream: &Upstream, redis: &Redis, more: &str) -> [Gateway; 3] {
    [(); 3].map(|()| {
        let gateway = Gateway::start(upstream.address, &sharing(redis, more));
        until("the shared state is there", || is_up(&gateway));
        gateway
    })
}

/// The code of the answer to MAIL in a session of its own.
pub(crate) fn mail(gateway: &Gateway) -> String {
    let mut client = Client::connect(gateway.mx);
    assert!(client.say("EHLO client.test").starts_with("250 "));
    client.say("MAIL FROM:<a@client.test>")
}

fn counted(gateways: &[Gateway], times: usize, ask: impl Fn(&Gateway) -> String) -> Vec<String> {
    gateways.iter().cycle().take(times).map(ask).collect()
}

fn yes(answers: &[String]) -> usize {
    answers.iter().filter(|answer| answer.starts_with("250 ")).count()
}

#[test]
fn three_gateways_count_messages_as_one() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let limit = "[[limit]]\nname = \"few\"\ncount = \"messages\"\nper = [\"address\"]\nrate = \"1/1h burst 20\"\n\
                 [[limit]]\nname = \"noted\"\ncount = \"messages\"\nper = [\"address\"]\nrate = \"1/1h burst 10\"\naction = \"log\"\n";
    let gateways = three(&upstream, &redis, limit);
    let answers = counted(&gateways, 45, mail);
    assert_eq!(yes(&answers), 20, "{answers:?}");
    assert!(answers[20..].iter().all(|answer| answer.starts_with("450 4.7.1 ")), "{answers:?}");
    // What only notes is counted for all as well, and for as many as were let through to it.
    let hits: f64 = gateways
        .iter()
        .map(|gateway| {
            let metrics = gateway.get("/metrics").1;
            let line = metrics.lines().find(|line| line.starts_with("wasmilter_limit_hits_total{limit=\"noted\""));
            line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        })
        .sum();
    assert_eq!(hits, 10.0);
    assert!(gateways[0].get("/shared").1.contains("\"up\":true"));
    // Nothing stays: each key has its end.
    let keys = redis.say(&["KEYS", "wasmilter:{*"]);
    assert!(!keys.is_empty());
    for key in &keys {
        assert!(redis.say(&["PTTL", key])[0].parse::<i64>().unwrap() > 0, "{key}");
        assert!(key.len() < 300 && !key.contains("127.0.0.1"), "{key}");
    }
}

#[test]
fn quotas_of_rates_hold_over_all_as_well() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let rates = "[rates]\nmessages-per-address = \"1/1h burst 7\"\nconnections-per-address = \"1/1h burst 12\"\n";
    let gateways = three(&upstream, &redis, rates);
    let answers = counted(&gateways, 12, mail);
    assert_eq!(yes(&answers), 7, "{answers:?}");
    // They came twelve times; the thirteenth is too often at whichever gateway.
    for gateway in &gateways {
        let mut line = String::new();
        let stream = std::net::TcpStream::connect(gateway.mx).unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line).unwrap();
        assert!(line.starts_with("421 4.7.0 "), "{line}");
        assert!(
            gateway.get("/metrics").1.contains("wasmilter_limits_refused_total{limit=\"connections-per-address\"} 1")
        );
    }
}

#[test]
fn a_recipient_named_at_two_gateways_is_one() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let limit = "[[limit]]\nname = \"distinct\"\ncount = \"distinct-recipients\"\nper = [\"address\"]\n\
                 rate = \"2/1h burst 2\"\n";
    let gateways = three(&upstream, &redis, limit);
    let rcpt = |gateway: &Gateway, name: &str| {
        let mut client = Client::connect(gateway.mx);
        client.say("EHLO client.test");
        client.say("MAIL FROM:<a@client.test>");
        client.say(&format!("RCPT TO:<{name}@example.org>"))
    };
    for (at, name, wanted) in [
        (0, "anna", "250 "),
        (1, "anna", "250 "),
        (2, "Anna", "250 "),
        (1, "otto", "250 "),
        (2, "emil", "450 "),
        (0, "otto", "250 "),
        (0, "emil", "450 "),
    ] {
        let said = rcpt(&gateways[at], name);
        assert!(said.starts_with(wanted), "{name} at {at}: {said}");
    }
}

#[test]
fn octets_taken_by_one_gateway_are_owed_at_the_others() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let limit =
        "[[limit]]\nname = \"bytes\"\ncount = \"bytes\"\nper = [\"address\"]\nrate = \"1 KiB/1h burst 2 KiB\"\n";
    let gateways = three(&upstream, &redis, limit);
    for gateway in &gateways[..2] {
        let mut client = Client::connect(gateway.mx);
        client.hand_in("b@example.org");
        upstream.whole.recv().unwrap();
        upstream.answer.send(()).unwrap();
        assert!(client.reply().starts_with("250 "));
        assert!(client.say("RSET").starts_with("250 "));
    }
    assert!(mail(&gateways[2]).starts_with("450 4.7.1 "));
}
