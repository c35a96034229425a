//! Recipients that a web server knows.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, sync_channel};

use crate::gateway::{Client, Gateway};
use crate::upstream::Upstream;

/// Knows anna, and is broken for otto; tells which paths were asked for.
fn directory() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, heard) = sync_channel(64);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut lines = stream.by_ref().lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let status = match path.as_str() {
                "/people/anna%40example.org" => "200 OK",
                "/people/otto%40example.org" => "503 Service Unavailable",
                _ => "404 Not Found",
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            let _ = asked.send(path);
        }
    });
    (address, heard)
}

#[test]
fn a_web_server_says_who_there_is() {
    let upstream = Upstream::start();
    let (address, asked) = directory();
    let more = format!("[table.people]\nurl = \"http://{address}/people/\"\n");
    let mut gateway = Gateway::start_with(upstream.address, "recipients = \"people\"\n", &more);
    let mut client = Client::connect(gateway.mx);
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>");
    for (recipient, answer, paths) in [
        ("Anna@Example.org", "250 ", &["/people/anna%40example.org"][..]),
        ("anna@example.org", "250 ", &[]),
        ("otto@example.org", "451 4.3.0 ", &["/people/otto%40example.org", "/people/%40example.org"]),
        ("../etc/x@example.org", "550 5.1.1 ", &[]),
        ("a?b#c/d@example.org", "550 5.1.1 ", &["/people/a%3Fb%23c%2Fd%40example.org"]),
        ("anna@elsewhere.test", "550 5.7.1 ", &[]),
    ] {
        let said = client.say(&format!("RCPT TO:<{recipient}>"));
        assert!(said.starts_with(answer), "{recipient}: {said}");
        assert_eq!(asked.try_iter().collect::<Vec<_>>(), paths, "{recipient}");
    }
    gateway.wait_for("a table cannot be asked");
    let (_, metrics) = gateway.get("/metrics");
    assert!(metrics.contains("wasmilter_table_lookups_total{table=\"people\",result=\"unavailable\"} 1"), "{metrics}");
}
