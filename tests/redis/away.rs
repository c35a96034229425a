//! The shared state away, slow, or not as it should be: mail goes on by each gateway's own limits.

use crate::gateway::Gateway;
use crate::limits::{is_up, mail, sharing, told};
use crate::server::{Redis, until};
use crate::upstream::Upstream;

const FEW: &str = "[[limit]]\nname = \"few\"\ncount = \"messages\"\nper = [\"address\"]\nrate = \"1/1h burst 4\"\n";

fn yes(gateway: &Gateway, times: usize) -> usize {
    (0..times).filter(|_| mail(gateway).starts_with("250 ")).count()
}

#[test]
fn mail_goes_on_while_redis_is_killed_and_limits_are_shared_again_when_it_is_back() {
    let (upstream, mut redis) = (Upstream::start(), Redis::start());
    let mut gateways = [(); 2].map(|()| Gateway::start(upstream.address, &sharing(&redis, FEW)));
    for gateway in &mut gateways {
        told(gateway, "the shared state is there");
    }
    let [one, other] = &mut gateways;
    assert_eq!((yes(one, 1), yes(other, 2)), (1, 2));
    redis.kill();
    // Each knows what it let through itself, and goes on with that: no burst for whoever brings Redis down.
    assert_eq!((yes(one, 9), yes(other, 9)), (3, 2));
    for gateway in [&mut *one, &mut *other] {
        let said = told(gateway, "the shared state is away");
        assert!(said.contains("WARN") && said.contains(&redis.port.to_string()), "{said}");
        assert!(gateway.get("/metrics").1.contains("\nwasmilter_state_shared_up 0\n"));
        assert!(gateway.get("/metrics").1.contains("wasmilter_state_shared_total{what=\"limits\",answer=\"local\"}"));
        assert!(gateway.get("/shared").1.contains("\"state\":\"away\""));
        // Said once, however many ask.
        assert_eq!(gateway.seen.iter().filter(|line| line.contains("is away")).count(), 1);
    }
    redis.start_again();
    until("both are back", || is_up(one) && is_up(other));
    // It remembers nothing here; what counts is that it is one count again.
    assert_eq!(yes(one, 3) + yes(other, 9), 4);
}

#[test]
fn a_server_that_says_no_is_as_good_as_away() {
    let upstream = Upstream::start();
    let locked = Redis::start_with(&["--requirepass", "right horse"]);
    std::fs::write(locked.file("wrong"), "wrong horse\n").unwrap();
    std::fs::write(locked.file("right"), "right horse\n").unwrap();
    let password = |name: &str| format!("password-file = \"{}\"\n{FEW}", locked.file(name).display());
    for (file, error) in [("wrong", "Password authentication failed"), ("", "NOAUTH")] {
        let more = if file.is_empty() { FEW.to_owned() } else { password(file) };
        let mut gateway = Gateway::start(upstream.address, &sharing(&locked, &more));
        let said = told(&mut gateway, "the shared state is away");
        assert!(said.contains(error) && !said.contains("horse"), "{said}");
        assert_eq!(yes(&gateway, 6), 4);
        assert!(!is_up(&gateway));
    }
    let mut gateway = Gateway::start(upstream.address, &sharing(&locked, &password("right")));
    told(&mut gateway, "the shared state is there");
    assert_eq!(yes(&gateway, 6), 4);
    // Full from now on: it reads, and takes no writes.
    locked.say(&["CONFIG", "SET", "maxmemory", "1"]);
    let said = told(&mut gateway, "the shared state is away");
    assert!(said.contains("OOM"), "{said}");
    assert_eq!(yes(&gateway, 2), 0, "this gateway knows what it let through");
    locked.say(&["CONFIG", "SET", "maxmemory", "0"]);
    until("it takes writes again", || is_up(&gateway));
}

#[test]
fn a_key_of_another_kind_concerns_only_itself() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let mut gateway = Gateway::start(upstream.address, &sharing(&redis, FEW));
    told(&mut gateway, "the shared state is there");
    assert_eq!(yes(&gateway, 1), 1);
    let keys = redis.say(&["KEYS", "wasmilter:{*few*"]);
    assert_eq!(keys.len(), 1, "{keys:?}");
    redis.say(&["DEL", &keys[0]]);
    redis.say(&["RPUSH", &keys[0], "x"]);
    assert_eq!(yes(&gateway, 9), 3);
    let said = told(&mut gateway, "could not be asked about one key");
    assert!(said.contains("WRONGTYPE"), "{said}");
    assert!(is_up(&gateway));
}

#[test]
fn of_several_the_first_that_takes_writes_is_used() {
    let (upstream, mut master) = (Upstream::start(), Redis::start());
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let state = format!("[state]\nredis = [\"{}\", \"{}\"]\ntimeout = \"2s\"\n{FEW}", replica.url(), master.url());
    let gateway = Gateway::start(upstream.address, &state);
    until("it is there", || is_up(&gateway));
    let shown = gateway.get("/shared").1;
    assert!(
        shown.contains(&format!("\"used\":\"127.0.0.1:{}\"", master.port)),
        "{shown}\n{:?}",
        replica.say(&["ROLE"])
    );
    assert_eq!(yes(&gateway, 3), 3);
    let known = || replica.say(&["KEYS", "wasmilter:{*few*"]);
    until("the replica has it, too", || !known().is_empty());
    master.kill();
    assert_eq!(yes(&gateway, 9), 1);
    replica.say(&["REPLICAOF", "NO", "ONE"]);
    until("the replica is the master", || is_up(&gateway));
    assert_eq!(yes(&gateway, 1), 1, "what was counted alone is not in there");
}

#[test]
fn tls_and_a_user_with_few_rights_are_enough() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let made = wasmilter::net::tls::self_signed(&["127.0.0.1"]).unwrap();
    let other = wasmilter::net::tls::self_signed(&["127.0.0.1"]).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = (write("c.pem", &made.certificate_pem), write("k.pem", &made.key_pem));
    let (wrong, password) = (write("other.pem", &other.certificate_pem), write("password", "sesame\n"));
    let redis = Redis::start_with(&[
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
        "--tls-auth-clients",
        "no",
    ]);
    // As docs/shared.md has it.
    let rights = "ACL SETUSER wasmilter on >sesame ~wasmilter:* +get +set +del +evalsha +eval +script|load +time +ping \
                  +select +exists +cluster|slots +asking";
    redis.say(&rights.split(' ').collect::<Vec<_>>());
    let login = format!("user = \"wasmilter\"\npassword-file = \"{password}\"\n");
    let mut refused = Gateway::start(upstream.address, &sharing(&redis, &format!("{login}ca = \"{wrong}\"\n{FEW}")));
    let said = told(&mut refused, "the shared state is away");
    assert!(said.contains("certificate"), "{said}");
    let mut gateway =
        Gateway::start(upstream.address, &sharing(&redis, &format!("{login}ca = \"{certificate}\"\n{FEW}")));
    told(&mut gateway, "the shared state is there");
    assert_eq!(yes(&gateway, 6), 4);
    assert!(!redis.say(&["KEYS", "wasmilter:{*few*"]).is_empty());
    assert!(is_up(&gateway));
}
