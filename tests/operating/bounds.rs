//! Clients for whom there is no room, and a machine that is too small.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};

use crate::gateway::{Client, Gateway};
use crate::upstream::Upstream;

/// What is said first to somebody who connects.
fn first_words(address: SocketAddr) -> (BufReader<TcpStream>, String) {
    let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
    let mut line = String::new();
    // A connection that is closed with a reset is one without words.
    let _ = stream.read_line(&mut line);
    (stream, line)
}

#[test]
fn whoever_finds_no_room_hears_why() {
    let upstream = Upstream::start();
    for (rates, words) in [
        ("connections-at-once = 2", "421 4.3.2 Too many connections, try again later\r\n"),
        (
            "connections-at-once-per-address = 2",
            "421 4.7.0 Too many connections from your network, try again later\r\n",
        ),
        (
            "connections-per-address = \"1/1h burst 2\"",
            "421 4.7.0 Too many new connections from your network, try again later\r\n",
        ),
    ] {
        let mut gateway = Gateway::start(upstream.address, &format!("[rates]\n{rates}\n"));
        let (_first, _second) = (Client::connect(gateway.mx), Client::connect(gateway.mx));
        assert_eq!(first_words(gateway.mx).1, words);
        let limit = rates.split(' ').next().unwrap();
        gateway.wait_for(&format!("limit={limit}"));
        assert!(gateway.get("/metrics").1.contains(&format!("wasmilter_limits_refused_total{{limit=\"{limit}\"}} 1")));
    }
}

/// `[[limit]]` at the door: what a client hears, what the log says, and whom `GET /limits` shows.
#[test]
fn limits_at_the_door_are_heard_logged_and_shown() {
    let upstream = Upstream::start();
    let limits = "[[limit]]\nname = \"open\"\ncount = \"connections-at-once\"\nper = [\"network/24,48\"]\nat-once = 2\n\
                  action = \"refuse\"\nalarm = true\n[[limit]]\nname = \"errors\"\ncount = \"errors\"\n\
                  per = [\"address\"]\nrate = \"1/1h burst 2\"\nreply = \"Learn to speak\"\n[[limit]]\nname = \"often\"\n\
                  count = \"messages\"\nrate = \"1/1h\"\naction = \"mark\"\n";
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe").display().to_string();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let alarm = format!("[alarm]\ncommand = [\"/bin/sh\", \"-c\", \"env > $0\", \"{pipe}\"]\n");
    let mut gateway = Gateway::start(upstream.address, &format!("{limits}{alarm}"));
    let (mut first, mut second) = (Client::connect(gateway.mx), Client::connect(gateway.mx));
    assert_eq!(first_words(gateway.mx).1, "554 5.7.1 Error: too many connections from 127.0.0.1\r\n");
    gateway.wait_for("limit=open action=refuse key=");
    gateway.wait_for("limit alarm");
    // The program was run, and knows whom the limit met, and nothing of what we have in our own environment.
    let told = std::fs::read_to_string(&pipe).unwrap();
    for line in ["WASMILTER_LIMIT=open", "WASMILTER_KEY=network=127.0.0.0/24", "WASMILTER_ADDRESS=127.0.0.1"] {
        assert!(told.lines().any(|heard| heard == line), "{told}");
    }
    assert!(
        told.lines().all(|line| ["WASMILTER_", "PATH=", "PWD="].iter().any(|name| line.starts_with(name))),
        "{told}"
    );
    let shown = gateway.get("/limits").1;
    assert!(shown.contains(r#""who":"network=127.0.0.0/24""#), "{shown}");
    let metrics = gateway.get("/metrics").1;
    assert!(metrics.contains(r#"wasmilter_limit_hits_total{limit="open",action="refuse"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"wasmilter_limit_alarms_total{limit="open"} 1"#), "{metrics}");
    assert!(first.say("EHLO client.test").starts_with("250 "));
    for tags in ["outcome=aborted", "tags="] {
        assert!(first.say("MAIL FROM:<a@client.test>").starts_with("250 "));
        assert!(first.say("RSET").starts_with("250 "));
        let line = gateway.wait_for("outcome=aborted");
        assert!(line.contains(tags) && line.contains("tags=") == (tags == "tags="), "{line}");
    }
    for _ in 0..2 {
        assert!(second.say("EXPN list").starts_with("502 "));
    }
    assert!(second.say("QUIT").starts_with("221 "));
    gateway.wait_for("errors=2");
    // Its errors are counted when it is gone, just before that line; and its place is free.
    assert_eq!(first_words(gateway.mx).1, "421 4.7.0 Learn to speak\r\n");
}

/// Every session that is let in has the descriptors it needs; the others are told at once.
#[test]
fn few_descriptors_are_few_sessions_and_none_that_fails() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start_with_files(100, upstream.address, "");
    let warned = gateway.seen.iter().any(|line| line.contains("allows fewer sessions") && line.contains("sessions=18"));
    assert!(warned, "{}", gateway.seen.concat());
    let mut clients: Vec<Client> = (0..18).map(|_| Client::connect(gateway.mx)).collect();
    assert_eq!(first_words(gateway.mx).1, FULL);
    gateway.wait_for("limit=files");
    for client in &mut clients {
        assert!(client.say("EHLO client.test").starts_with("250 "));
        assert!(client.say("MAIL FROM:<a@client.test>").starts_with("250 "), "each has its upstream connection");
    }
    assert!(clients.remove(0).say("QUIT").starts_with("221 "));
    gateway.wait_for("aborted=reset");
    until_there_is_room(gateway.mx);
}

/// What nobody foresaw: not one descriptor is left when a client comes.
#[test]
fn without_a_descriptor_a_client_is_still_told() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(upstream.address, "");
    let mut before = Client::connect(gateway.mx);
    let process = format!("/proc/{}/fd", gateway.pid());
    let limit = |files: &str| {
        let pid = gateway.pid().to_string();
        let set = std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:")]).status();
        assert!(set.unwrap().success());
    };
    // The kernel gives out the lowest number that is free, so this leaves none.
    let numbers = std::fs::read_dir(process).unwrap().map(|entry| entry.unwrap().file_name());
    let mut open: Vec<usize> = numbers.map(|name| name.to_str().unwrap().parse().unwrap()).collect();
    open.sort_unstable();
    let free = (0..).zip(&open).find(|(number, open)| number != *open).map_or(open.len(), |(number, _)| number);
    limit(&free.to_string());
    assert_eq!(first_words(gateway.mx).1, FULL);
    assert!(before.say("NOOP").starts_with("250 "), "who is inside goes on");
    limit("1024");
    until_there_is_room(gateway.mx);
    gateway.wait_for("limit=files");
}

/// Clients that hold memory: first nobody else is let in, then no message begins, and when they go all is well again.
#[test]
fn a_full_memory_refuses_clients_then_messages_and_recovers() {
    let upstream = Upstream::start();
    let bounds = "[rates]\nmemory = \"16 MiB\"\nconnections-at-once-per-address = \"off\"\n\
                  connections-per-address = \"off\"\n[limits]\nheader-block = \"4 MiB\"\nheader-fields = \"off\"\n";
    let mut gateway = Gateway::start(upstream.address, bounds);
    let mut witness = Client::connect(gateway.mx);
    assert!(witness.say("EHLO client.test").starts_with("250 "));
    let mut waiting: Vec<Client> = (0..30).map(|_| Client::connect(gateway.mx)).collect();
    let mut holders = Vec::new();
    let refused = loop {
        let (stream, words) = first_words(gateway.mx);
        if !words.starts_with("220 ") {
            break words;
        }
        drop(stream);
        holders.push(hold(waiting.pop().unwrap()));
    };
    assert_eq!(refused, FULL);
    let refused = loop {
        let reply = witness.say("MAIL FROM:<a@client.test>");
        if !reply.starts_with("250 ") {
            break reply;
        }
        assert!(witness.say("RSET").starts_with("250 "));
        holders.push(hold(waiting.pop().unwrap()));
    };
    assert_eq!(refused, "452 4.3.1 No room for this message now, try again later\r\n");
    let held = gateway.get("/metrics").1;
    let held = held.lines().find_map(|line| line.strip_prefix("wasmilter_memory_bytes ")).unwrap().to_owned();
    assert!(held.parse::<u64>().unwrap() > 14 << 20, "{held}");
    drop((holders, waiting));
    while !witness.say("MAIL FROM:<a@client.test>").starts_with("250 ") {}
    until_there_is_room(gateway.mx);
    gateway.wait_for("limit=memory");
}

const FULL: &str = "421 4.3.2 Too many connections, try again later\r\n";

/// A session's end is noticed in its own time.
fn until_there_is_room(address: SocketAddr) {
    while !first_words(address).1.starts_with("220 ") {}
}

/// A client half-way through a header of a megabyte.
fn hold(mut client: Client) -> Client {
    assert!(client.say("EHLO client.test").starts_with("250 "));
    // What the clients before it have sent may only now be counted.
    if !client.say("MAIL FROM:<a@client.test>").starts_with("250 ") {
        return client;
    }
    client.say("RCPT TO:<b@example.org>");
    client.say("DATA");
    for _ in 0..1_000 {
        client.send(&format!("X-Long: {}", "x".repeat(990)));
    }
    client
}
