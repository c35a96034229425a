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
