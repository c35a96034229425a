//! What an idle client costs in memory: connections that have said EHLO and then nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use super::process::{Gateway, with_all_descriptors};
use crate::shell::Outcome;

/// What one count of connections showed.
pub(crate) struct Idle {
    pub(crate) connections: usize,
    /// Proportional set size before the clients came and while they were there.
    pub(crate) before_kib: u64,
    pub(crate) during_kib: u64,
}

impl Idle {
    pub(crate) fn kib_per_connection(&self) -> f64 {
        self.during_kib.saturating_sub(self.before_kib) as f64 / self.connections as f64
    }
}

/// Opens the connections from a process of its own (they count against its descriptors) and looks at the gateway.
pub(crate) fn measure(gateway: &Gateway, connections: usize) -> Outcome<Idle> {
    // One client first, so that what is made once is not counted.
    hold(gateway.port, 50, || Ok(()))?;
    let before_kib = pss_kib(gateway.process_id())?;
    let during_kib = hold(gateway.port, connections, || pss_kib(gateway.process_id()))?;
    println!("   {connections} idle connections: {before_kib} KiB before, {during_kib} KiB with them");
    Ok(Idle { connections, before_kib, during_kib })
}

/// Runs `look` while another process of ours holds the connections.
fn hold<T>(port: u16, connections: usize, look: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let own = std::env::current_exe().map_err(|why| why.to_string())?;
    let mut command = with_all_descriptors(&own);
    command.args(["hold-connections", &port.to_string(), &connections.to_string()]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|why| format!("cannot start {command:?}: {why}"))?;
    let mut said = String::new();
    let read = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut said));
    let seen = if matches!(read, Some(Ok(_))) && said.trim() == "ready" {
        look()
    } else {
        Err(format!("{connections} connections could not be opened (see `ulimit -Hn` and the gateway's limits)"))
    };
    // The end of its input ends it.
    drop(child.stdin.take());
    child.wait().map_err(|why| why.to_string())?;
    seen
}

/// The other process: opens, says EHLO, says `ready`, and waits for the end of its input.
pub(crate) fn hold_connections(words: &[&str]) -> Outcome {
    let [port, connections] = words else { return Err("hold-connections wants a port and a number".into()) };
    let (port, connections) =
        port.parse::<u16>().ok().zip(connections.parse::<usize>().ok()).ok_or("these are not numbers")?;
    let mut held = Vec::with_capacity(connections);
    for _ in 0..connections {
        held.push(greet(port).map_err(|why| format!("connection {}: {why}", held.len() + 1))?);
    }
    println!("ready");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}

fn greet(port: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    read_reply(&stream)?;
    stream.write_all(b"EHLO client.test\r\n")?;
    read_reply(&stream)?;
    Ok(stream)
}

fn read_reply(stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(1_024, stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.as_bytes() {
            [b'2', _, _, b'-', ..] => {}
            [b'2', _, _, b' ', ..] => return Ok(()),
            _ => return Err(std::io::Error::other(format!("unexpected reply: {line:?}"))),
        }
    }
}

fn pss_kib(process: u32) -> Outcome<u64> {
    let file = format!("/proc/{process}/smaps_rollup");
    let text = std::fs::read_to_string(&file).map_err(|why| format!("{file}: {why}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()).and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("{file} has no Pss"))
}
