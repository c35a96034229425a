//! A server that was started anew and still reads what it saved: it takes connections, and answers LOADING to all of it.

use crate::gateway::Gateway;
use crate::limits::{is_up, mail, sharing, told};
use crate::server::{Redis, until};
use crate::upstream::Upstream;

const FEW: &str = "[[limit]]\nname = \"few\"\ncount = \"messages\"\nper = [\"address\"]\nrate = \"1/1h burst 4\"\n";
/// Each has a thousand octets. It listens after each of them, and would take a minute for all.
const MANY: &str = "for i = 1, 2000 do redis.call('SET', 'other:' .. i, string.rep('x', 1000)) end return 'OK'";
const SLOWLY: [&str; 4] = ["--key-load-delay", "30000", "--loading-process-events-interval-bytes", "1024"];

fn yes(gateway: &Gateway, times: usize) -> usize {
    (0..times).filter(|_| mail(gateway).starts_with("250 ")).count()
}

#[test]
fn a_server_that_is_loading_is_away_until_it_has_loaded() {
    let (upstream, mut redis) = (Upstream::start(), Redis::start_with(&["--rdbcompression", "no"]));
    let mut gateway = Gateway::start(upstream.address, &sharing(&redis, FEW));
    told(&mut gateway, "the shared state is there");
    assert_eq!(yes(&gateway, 1), 1);
    assert_eq!(redis.say(&["EVAL", MANY, "0"]), ["OK"]);
    assert_eq!(redis.say(&["SAVE"]), ["OK"]);
    redis.kill();
    redis.start_loading(&SLOWLY);

    told(&mut gateway, "the shared state is away");
    assert_eq!(yes(&gateway, 9), 3, "what it let through before, it knows");
    let mut other = Gateway::start(upstream.address, &sharing(&redis, FEW));
    let said = told(&mut other, "the shared state is away");
    assert!(said.contains("WARN") && said.contains("LOADING"), "{said}");
    assert_eq!(yes(&other, 9), 4);
    assert!(redis.say(&["PING"])[0].starts_with("LOADING"), "all of this was while it was loading");
    assert!(!is_up(&gateway) && !is_up(&other));

    redis.say(&["CONFIG", "SET", "key-load-delay", "0"]);
    until("both are back", || is_up(&gateway) && is_up(&other));
    // Its count is that of before, and is for both.
    assert_eq!(yes(&gateway, 2) + yes(&other, 9), 3);
}
