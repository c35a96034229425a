//! `wasmilter probe`: what it says about the project's own sink, and about servers with a fault.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The sink as a program.
struct Sink {
    process: Child,
    address: String,
}

impl Sink {
    fn start(arguments: &[&str]) -> Sink {
        let mut process = Command::new(env!("CARGO_BIN_EXE_wasmilter"))
            .args(["sink", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let address = said.trim().strip_prefix("listening on ").unwrap().to_owned();
        Sink { process, address }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The exit status, and what was found.
fn probe(arguments: &[&str]) -> (Option<i32>, Value) {
    let mut probe = Command::new(env!("CARGO_BIN_EXE_wasmilter"));
    let output = probe.args(["probe", "--idle", "0", "--json"]).args(arguments).output().unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), value)
}

/// What was found on a topic, warnings alone or all.
fn said(report: &Value, topic: &str, warnings_only: bool) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["topic"] == topic && (!warnings_only || finding["weight"] == "warning"))
        .map(|finding| finding["what"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_server_that_is_as_it_should_be_gets_no_warning() {
    let sink = Sink::start(&["--xclient-again"]);
    let (status, report) = probe(&[&sink.address, "--to", "ann@example.org", "--from", "bob@example.net"]);
    assert_eq!((status, &report["warnings"]), (Some(0), &Value::from(0)), "{report:#}");
    assert!(said(&report, "XCLIENT", false).iter().any(|what| what.starts_with("taken again")), "{report:#}");
    assert!(said(&report, "groups", false)[0].contains("answered in order"));
    assert!(said(&report, "commands", false).iter().any(|what| what.starts_with("a NUL")));
    let endings = said(&report, "end of data", false);
    assert_eq!(endings.len(), 15, "{endings:#?}");
    assert!(endings[0].starts_with("<CR><LF>.<CR><LF>: 250 "), "{endings:#?}");
    assert!(report["toml"].as_str().unwrap().contains("identify = \"xclient\""));
}

#[test]
fn what_a_connection_can_be_used_for_is_said() {
    let once = Sink::start(&[]);
    let (status, report) = probe(&[&once.address]);
    assert_eq!(status, Some(1));
    assert!(said(&report, "XCLIENT", true)[0].starts_with("taken once a connection (550 "), "{report:#}");
    assert!(said(&report, "end of data", false)[0].starts_with("not tried"));

    let never = Sink::start(&["--no-xclient"]);
    let (status, report) = probe(&[&never.address]);
    assert_eq!(status, Some(1));
    assert!(said(&report, "XCLIENT", true)[0].starts_with("not offered to this machine"), "{report:#}");
    assert!(report["toml"].as_str().unwrap().contains("identify = \"xforward\""));
    let (_, report) = probe(&[&never.address, "--to", "unknown@example.org"]);
    assert!(said(&report, "end of data", true)[0].starts_with("not tried: RCPT: 550 5.1.1 "), "{report:#}");
}

#[test]
fn a_server_that_sees_ends_where_none_are_is_warned_about() {
    let address = careless();
    let (status, report) = probe(&[&address.to_string(), "--to", "ann@example.org"]);
    assert_eq!(status, Some(1));
    let warned = said(&report, "end of data", true);
    for ending in ["<LF>.<LF>", "<LF>.<CR><LF>", "<CR><LF>.<LF>"] {
        assert!(warned.iter().any(|what| what.starts_with(&format!("{ending} is taken"))), "{ending}: {warned:#?}");
    }
    assert!(!warned.iter().any(|what| what.starts_with("<CR><LF>..<CR><LF>")), "{warned:#?}");
    let commands = said(&report, "commands", false);
    assert!(commands[0].starts_with("a bare <LF> between commands ends a command line"), "{commands:#?}");
    assert_eq!(said(&report, "8BITMIME", true).len(), 1);
}

#[test]
fn nobody_there_is_a_status_of_its_own() {
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(probe(&[&nowhere.to_string()]).0, Some(2));
    assert_eq!(probe(&[&serving(|_| None).to_string()]).0, Some(2));
    let web = |mut stream: TcpStream| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok();
    assert_eq!(probe(&[&serving(web).to_string()]).0, Some(2));
    let closing = |mut stream: TcpStream| {
        stream.write_all(b"421 too many connections\r\n").ok()?;
        stream.read_to_end(&mut Vec::new()).ok().map(|_| ())
    };
    assert_eq!(probe(&[&serving(closing).to_string()]).0, Some(2));
    assert_eq!(probe(&["mail.example.org"]).0, Some(64));
    assert_eq!(probe(&["127.0.0.1:25", "--to", "a>\r\nDATA"]).0, Some(64));
}

/// A server that ends lines with LF, as programs do that were not written for mail.
fn careless() -> SocketAddr {
    serving(|mut stream| {
        stream.write_all(b"220 careless.test\r\n").ok()?;
        let mut in_data = false;
        for line in BufReader::new(stream.try_clone().ok()?).split(b'\n') {
            let line = line.ok()?;
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            let answer = match line.get(..4).unwrap_or(line) {
                b"." if in_data => "250 ok\r\n",
                _ if in_data => continue,
                b"DATA" => "354 go\r\n",
                b"RCPT" if line.ends_with(b"<postmaster>") => "503 MAIL first\r\n",
                b"QUIT" => return stream.write_all(b"221 bye\r\n").ok(),
                _ => "250 ok\r\n",
            };
            in_data = answer.starts_with("354");
            stream.write_all(answer.as_bytes()).ok()?;
        }
        None
    })
}

/// Serves each connection with this, on a thread of its own.
fn serving(serve: fn(TcpStream) -> Option<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}
