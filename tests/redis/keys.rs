//! What filters keep, over two gateways.

use std::path::Path;
use std::time::Duration;

use crate::gateway::{Client, Gateway};
use crate::limits::{is_up, sharing, told};
use crate::server::{Redis, until};
use crate::shared::connected;
use crate::upstream::Upstream;
use crate::{cluster::Cluster, components};

use wasmilter::shared::Keys;

/// Which of two gateways writes first is anybody's guess; that only one of them does is not.
async fn race(state: &str) {
    let (one, other) = (connected(state).await, connected(state).await);
    let (one, other) = (Keys::of(&one).unwrap(), Keys::of(&other).unwrap());
    for number in 0..200 {
        let key = format!("key-{number}");
        let ttl = Some(Duration::from_secs(600));
        let first = |keys: Keys, value: &'static [u8]| {
            let key = key.clone();
            async move { keys.swap("race", &key, None, value, ttl).await.unwrap() }
        };
        let (a, b) = tokio::join!(tokio::spawn(first(one.clone(), b"a")), tokio::spawn(first(other.clone(), b"b")));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(a != b, "{key}: {a} {b}");
        let there = one.get("race", &key).await.unwrap().unwrap();
        assert_eq!(there, if a { b"a" } else { b"b" });
        // And from what is there, by both again.
        let next = |keys: Keys| {
            let (key, there) = (key.clone(), there.clone());
            async move { keys.swap("race", &key, Some(&there), b"c", None).await.unwrap() }
        };
        let (a, b) = tokio::join!(tokio::spawn(next(one.clone())), tokio::spawn(next(other.clone())));
        assert!(a.unwrap() != b.unwrap());
        assert_eq!(other.get("race", &key).await.unwrap().as_deref(), Some(&b"c"[..]));
    }
}

#[test]
fn of_two_gateways_that_swap_one_wins() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let redis = Redis::start();
    runtime.block_on(race(&format!("redis = \"{}\"\ntimeout = \"2s\"", redis.url())));
    let cluster = Cluster::start();
    runtime.block_on(race(&cluster.state()));
}

#[test]
fn keys_live_their_time_and_are_whatever_octets_they_are() {
    let redis = Redis::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let shared = connected(&format!("redis = \"{}\"\ntimeout = \"2s\"\nprefix = \"mail\"", redis.url())).await;
        let keys = Keys::of(&shared).unwrap();
        let value = (0..=255).collect::<Vec<u8>>();
        keys.set("f", "a{b}\r\n c", &value, Some(Duration::from_secs(5))).await.unwrap();
        keys.set("f", "for ever", b"", None).await.unwrap();
        assert_eq!(keys.get("f", "a{b}\r\n c").await.unwrap(), Some(value));
        assert_eq!(keys.get("f", "for ever").await.unwrap(), Some(Vec::new()));
        assert_eq!(keys.get("g", "for ever").await.unwrap(), None, "each filter has keys of its own");
        let ttl = |key: &str| redis.say(&["PTTL", key])[0].parse::<u64>().unwrap();
        assert!((1..=5_000).contains(&ttl("mail:kv:f:a{b}\r\n c")));
        assert!(ttl("mail:kv:f:for ever") > 365 * 86_400_000, "even that ends");
        keys.set("f", "soon", b"x", Some(Duration::ZERO)).await.unwrap();
        until("it is over", || redis.say(&["EXISTS", "mail:kv:f:soon"]) == ["0"]);
        assert!(keys.swap("f", "soon", None, b"y", None).await.unwrap());
        keys.delete("f", "soon").await.unwrap();
        assert_eq!(keys.get("f", "soon").await.unwrap(), None);
        redis.say(&["RPUSH", "mail:kv:f:list", "x"]);
        let no = keys.get("f", "list").await.unwrap_err();
        assert!(no.to_string().contains("says no"), "{no}");
        assert!(shared.is_up());
    });
}

fn greylist(more: &str) -> String {
    let built = components::build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("filters"));
    let path = built.join("greylist.wasm");
    assert!(path.is_file(), "{}", path.display());
    format!(
        "[[filter]]\nname = \"greylist\"\npath = \"{}\"\n{more}\n[filter.grants]\nkv = true\ntables = []\n\
         [filter.settings]\ndelay-seconds = 1\n",
        path.display()
    )
}

fn rcpt(gateway: &Gateway, name: &str) -> String {
    let mut client = Client::connect(gateway.mx);
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>");
    client.say(&format!("RCPT TO:<{name}@example.org>"))
}

#[test]
fn who_was_greylisted_at_one_gateway_is_let_in_by_the_other() {
    let (upstream, mut redis) = (Upstream::start(), Redis::start());
    let filter = greylist("");
    let mut gateways = [(); 2].map(|()| Gateway::start(upstream.address, &with_filter(&sharing(&redis, &filter))));
    for gateway in &gateways {
        until("the shared state is there", || is_up(gateway));
    }
    let first = rcpt(&gateways[0], "anna");
    assert!(first.starts_with("451 4.7.1 ") || first.starts_with("450 4.7.1 "), "{first}");
    let keys = redis.say(&["KEYS", "wasmilter:kv:greylist:*"]);
    assert_eq!(keys.len(), 1, "{keys:?}");
    // A second later it is no stranger at the other one.
    let seen = redis.say(&["GET", &keys[0]])[0].parse::<u64>().unwrap();
    until("its second is over", || redis.say(&["TIME"])[0].parse::<u64>().unwrap() > seen);
    assert!(rcpt(&gateways[1], "anna").starts_with("250 "));
    assert!(rcpt(&gateways[0], "anna").starts_with("250 "));
    assert!(gateways[1].get("/metrics").1.contains("wasmilter_state_shared_total{what=\"kv\",answer=\"shared\"}"));
    assert!(!rcpt(&gateways[1], "otto").starts_with("250 "));
    // Greylisting is not worth losing mail for.
    redis.kill();
    assert!(rcpt(&gateways[1], "emil").starts_with("250 "));
    let said = told(&mut gateways[1], "the store cannot be used");
    assert!(said.contains("the shared state is away"), "{said}");
    assert!(gateways[1].get("/metrics").1.contains("wasmilter_state_shared_total{what=\"kv\",answer=\"unavailable\"}"));
}

#[test]
fn a_filter_in_shadow_writes_nothing_there() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let state = sharing(&redis, &greylist("shadow = true"));
    let gateway = Gateway::start(upstream.address, &with_filter(&state));
    until("the shared state is there", || is_up(&gateway));
    for _ in 0..2 {
        assert!(rcpt(&gateway, "anna").starts_with("250 "));
    }
    assert!(redis.say(&["KEYS", "wasmilter:kv:*"]).is_empty());
    let metrics = gateway.get("/metrics").1;
    assert!(metrics.contains("wasmilter_shadow_total{filter=\"greylist\""), "{metrics}");
    assert!(metrics.contains("wasmilter_state_shared_total{what=\"kv\",answer=\"shared\"}"), "it reads there");
}

/// The listener is the last section that `Gateway::start` writes: its filters come first.
fn with_filter(more: &str) -> String {
    format!("filters = [\"greylist\"]\n{more}")
}

/// `wasmilter seen` at one gateway lets a device send at the other; so does whoever writes it to Redis.
#[test]
fn who_was_seen_at_one_gateway_may_send_at_the_other() {
    let (upstream, mut redis) = (Upstream::start(), Redis::start());
    let [one, other] = [(); 2].map(|()| {
        let gateway = Gateway::start(upstream.address, &format!("after-login = true\n{}", sharing(&redis, "")));
        until("the shared state is there", || is_up(&gateway));
        gateway
    });
    let sends_to = |gateway: &Gateway, recipient: &str| {
        let mut client = Client::connect(gateway.mx);
        assert!(client.say("EHLO client.test").starts_with("250 "));
        assert!(client.say("MAIL FROM:<a@client.test>").starts_with("250 "));
        client.say(&format!("RCPT TO:<{recipient}>"))
    };
    let may_send = |gateway: &Gateway| sends_to(gateway, "b@elsewhere.test").starts_with("250 ");
    assert!(!may_send(&one) && !may_send(&other));
    let mut seen = std::process::Command::new(env!("CARGO_BIN_EXE_wasmilter"));
    seen.args(["seen", "127.0.0.1", "--for", "10min", "--admin", &one.admin.to_string()]);
    assert!(seen.status().unwrap().success());
    until("the other gateway knows it", || may_send(&other));
    assert!(may_send(&one));
    redis.say(&["DEL", "wasmilter:seen:127.0.0.1"]);
    assert!(!may_send(&other));
    assert!(sends_to(&other, "b@elsewhere.test").starts_with("550 5.7.1 "));
    redis.say(&["SET", "wasmilter:seen:127.0.0.1", "1", "EX", "600"]);
    assert!(may_send(&other));
    // Now nobody can tell, but for the gateway that was told itself.
    redis.kill();
    assert!(sends_to(&other, "b@elsewhere.test").starts_with("451 4.3.0 "));
    assert!(sends_to(&other, "b@example.org").starts_with("250 "));
    assert!(may_send(&one));
}
