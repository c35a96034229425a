//! Tables of the operator's in Redis: yes, no, and doubt.

use std::sync::Arc;

use tokio::time::Instant;
use wasmilter::config::RedisTable;
use wasmilter::shared::{Entries, Shared};

use crate::cluster::Cluster;
use crate::gateway::{Client, Gateway};
use crate::limits::{is_up, told};
use crate::server::{Redis, until};
use crate::shared::{begun, connected, is_there};
use crate::upstream::Upstream;

const RELAY: &str = "domains-table = \"shops\"\nrecipients = \"people\"\n";
const TABLES: &str =
    "[table.shops]\nredis = { set = \"mail:domains\" }\n[table.people]\nredis = { hash = \"mail:people\" }\n";
/// For users that only read: as docs/shared.md has it.
const RIGHTS: &str = "ACL SETUSER reader on >sesame ~mail:* +get +hget +sismember +exists +ping +select";

/// What postmasters write.
fn fill(redis: &Redis) {
    redis.say(&["SADD", "mail:domains", "shop.test", "empty.test"]);
    redis.say(&["HSET", "mail:people", "anna@example.org", "OK", "@shop.test", "", "emil@example.org", "moved"]);
}

fn rcpt(gateway: &Gateway, recipient: &str) -> String {
    let mut client = Client::connect(gateway.mx);
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>");
    client.say(&format!("RCPT TO:<{recipient}>"))
}

fn hears(gateway: &Gateway, recipient: &str, answer: &str) {
    let said = rcpt(gateway, recipient);
    assert!(said.starts_with(answer), "{recipient}: {said}");
}

/// Tables and nothing else, by a user who may only read.
fn reading(redis: &Redis) -> String {
    redis.say(&RIGHTS.split(' ').collect::<Vec<_>>());
    std::fs::write(redis.file("password"), "sesame\n").unwrap();
    let password = redis.file("password").display().to_string();
    format!(
        "[state]\nredis = \"{}\"\ntimeout = \"2s\"\nshare = []\nuser = \"reader\"\npassword-file = \"{password}\"\n{TABLES}",
        redis.url()
    )
}

#[test]
fn domains_and_recipients_are_found_missing_or_in_doubt() {
    let (upstream, mut redis) = (Upstream::start(), Redis::start());
    fill(&redis);
    let mut gateway = Gateway::start_with(upstream.address, RELAY, &reading(&redis));
    for (recipient, answer) in [
        ("Anna@Example.org", "250 "),
        ("anna+news@example.org", "250 "),
        ("otto@example.org", "550 5.1.1 "),
        ("anybody@shop.test", "250 "),
        ("anybody@empty.test", "550 5.1.1 "),
        ("anna@elsewhere.test", "550 5.7.1 "),
        ("postmaster@example.org", "250 "),
    ] {
        hears(&gateway, recipient, answer);
    }
    // Another kind of thing has the name: nobody knows, but for what was asked before.
    redis.say(&["DEL", "mail:people"]);
    redis.say(&["SADD", "mail:people", "new@example.org"]);
    hears(&gateway, "new@example.org", "451 4.3.0 ");
    hears(&gateway, "emil@example.org", "451 4.3.0 ");
    hears(&gateway, "anna@example.org", "250 ");
    hears(&gateway, "otto@example.org", "550 5.1.1 ");
    assert!(told(&mut gateway, "a table cannot be asked").contains("WRONGTYPE"));
    // Nothing has it: whoever lost the list knows of nobody that they are not there.
    redis.say(&["DEL", "mail:people"]);
    hears(&gateway, "new@example.org", "451 4.3.0 ");
    told(&mut gateway, "an empty table, or one that was lost");
    assert!(is_up(&gateway), "it concerns the table alone");

    redis.kill();
    hears(&gateway, "new@example.org", "451 4.3.0 ");
    hears(&gateway, "new@other.test", "451 4.3.0 ");
    hears(&gateway, "anna@example.org", "250 ");
    let metrics = gateway.get("/metrics").1;
    assert!(metrics.contains("wasmilter_state_shared_total{what=\"tables\",answer=\"unavailable\"}"), "{metrics}");
    // It comes back with nothing in it and nobody's rights, and is of use again by itself once all is as it was.
    redis.start_again();
    hears(&gateway, "new@example.org", "451 4.3.0 ");
    reading(&redis);
    fill(&redis);
    until("it is asked again", || rcpt(&gateway, "emil@example.org").starts_with("250 "));
    hears(&gateway, "new@example.org", "550 5.1.1 ");
    hears(&gateway, "new@other.test", "550 5.7.1 ");
}

/// A table of each kind.
fn tables(shared: &Arc<Shared>) -> [Entries; 3] {
    let [set, hash, prefix] = ["mail:set", "mail:hash", "mail:key:"].map(str::to_owned);
    [RedisTable::Set(set), RedisTable::Hash(hash), RedisTable::Prefix(prefix)].map(|place| Entries::of(shared, &place))
}

fn write(redis: &Redis, key: &str) {
    redis.say(&["SADD", "mail:set", key]);
    redis.say(&["HSET", "mail:hash", key, &format!("beside {key}")]);
    redis.say(&["SET", &format!("mail:key:{key}"), &format!("beside {key}")]);
}

#[test]
fn each_kind_says_what_it_holds_whatever_octets_are_in_the_key() {
    let redis = Redis::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let odd = ["anna@example.org", "a b\r\nDEL mail:set", "{}", "x{y}z", "ö@exämple.org", "*", ""];
    odd.iter().for_each(|key| write(&redis, key));
    runtime.block_on(async {
        // At once: whoever comes while it is being connected to waits for that.
        let shared = begun(&format!("redis = \"{}\"\ntimeout = \"2s\"", redis.url()));
        let tables = tables(&shared);
        for key in odd {
            let [set, hash, prefix] = &tables;
            assert_eq!(set.find(key).await, Ok(Some(String::new())), "{key:?}");
            let beside = format!("beside {key}");
            let beside = if beside.contains('\n') { String::new() } else { beside };
            assert_eq!(hash.find(key).await.as_ref(), Ok(&Some(beside.clone())), "{key:?}");
            assert_eq!(prefix.find(key).await, Ok(Some(beside)), "{key:?}");
        }
        for table in &tables {
            assert_eq!(table.find("otto@example.org").await, Ok(None), "{table:?}");
        }
        assert!(shared.is_up());
    });
}

#[test]
fn who_may_not_read_a_table_loses_nothing_else() {
    let redis = Redis::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    write(&redis, "anna");
    redis.say(&"ACL SETUSER w on >sesame ~wasmilter:* +@all".split(' ').collect::<Vec<_>>());
    std::fs::write(redis.file("password"), "sesame\n").unwrap();
    let login = format!("user = \"w\"\npassword-file = \"{}\"", redis.file("password").display());
    runtime.block_on(async {
        let shared = connected(&format!("redis = \"{}\"\ntimeout = \"2s\"\n{login}", redis.url())).await;
        for table in tables(&shared) {
            let why = table.find("anna").await.unwrap_err();
            assert!(why.contains("NOPERM"), "{why}");
        }
        assert!(shared.is_up());
    });
}

#[test]
fn a_replica_is_enough_where_nothing_is_written() {
    let master = Redis::start();
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    write(&master, "anna");
    until("the replica has it, too", || !replica.say(&["KEYS", "mail:key:*"]).is_empty());
    runtime.block_on(async {
        let state = format!("redis = \"{}\"\ntimeout = \"2s\"\nshare = []", replica.url());
        let shared = connected(&format!("{state}\n[table.t]\nredis = {{ set = \"mail:set\" }}")).await;
        for table in tables(&shared) {
            assert!(matches!(table.find("anna").await, Ok(Some(_))), "{table:?}");
            assert_eq!(table.find("otto").await, Ok(None));
        }
    });
}

#[test]
fn a_hung_server_is_doubt_and_costs_its_timeout_once() {
    let redis = Redis::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    write(&redis, "anna");
    runtime.block_on(async {
        let shared = connected(&format!("redis = \"{}\"\ntimeout = \"150ms\"", redis.url())).await;
        let tables = tables(&shared);
        redis.signal("STOP");
        tokio::time::pause();
        for (at, table) in tables.iter().enumerate() {
            let before = Instant::now();
            assert!(table.find("anna").await.is_err(), "{table:?}");
            let wanted = if at == 0 { 150..=152 } else { 0..=0 };
            assert!(wanted.contains(&before.elapsed().as_millis()), "{table:?}: {:?}", before.elapsed());
        }
        redis.signal("CONT");
        tokio::time::resume();
        is_there(&shared).await;
        for table in &tables {
            assert!(matches!(table.find("anna").await, Ok(Some(_))), "{table:?}");
        }
    });
}

#[test]
fn in_a_cluster_each_key_is_asked_for_where_it_is() {
    let mut cluster = Cluster::start();
    let names: Vec<String> = (0..20).map(|name| format!("n{name}@example.org")).collect();
    // Whoever has a key takes it; the others point to that one.
    for redis in cluster.servers() {
        names.iter().for_each(|name| write(redis, name));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let shared = begun(&cluster.state());
        let tables = tables(&shared);
        for table in &tables {
            for name in &names {
                assert!(matches!(table.find(name).await, Ok(Some(_))), "{name} {table:?}");
            }
            assert_eq!(table.find("otto@example.org").await, Ok(None));
        }
        let gone = cluster.kill_one();
        let [_, _, prefix] = &tables;
        let mut away = 0;
        for name in &names {
            match prefix.find(name).await {
                Ok(found) => assert_eq!(found, Some(format!("beside {name}"))),
                Err(_) => away += 1,
            }
        }
        assert_eq!(away, gone, "its part is in doubt, and no more");
    });
}
