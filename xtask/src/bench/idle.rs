//! What an idle client costs in memory: connections that have said EHLO and then nothing.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use super::process::{Gateway, with_all_descriptors};
use crate::shell::Outcome;

/// What one count of connections showed.
pub(crate) struct Idle {
    pub(crate) connections: usize,
    /// After STARTTLS and another EHLO.
    pub(crate) encrypted: bool,
    /// Proportional set size before the clients came and while they were there.
    pub(crate) before_kib: u64,
    pub(crate) during_kib: u64,
}

impl Idle {
    /// While the clients were there.
    pub(crate) fn mib(&self) -> f64 {
        self.during_kib as f64 / 1_024.0
    }

    pub(crate) fn kib_per_connection(&self) -> f64 {
        self.during_kib.saturating_sub(self.before_kib) as f64 / self.connections as f64
    }
}

/// Opens the connections from a process of its own (they count against its descriptors) and looks at the gateway.
pub(crate) fn measure(gateway: &Gateway, client: &Path, connections: usize, encrypted: bool) -> Outcome<Idle> {
    // Some clients first, so that what is made once is not counted.
    hold(gateway, client, 50, encrypted, || Ok(()))?;
    let before_kib = pss_kib(gateway.process_id())?;
    let during_kib = hold(gateway, client, connections, encrypted, || pss_kib(gateway.process_id()))?;
    println!("   {connections} idle connections: {before_kib} KiB before, {during_kib} KiB with them");
    Ok(Idle { connections, encrypted, before_kib, during_kib })
}

/// Runs `look` while a process of the client's holds the connections.
fn hold<T>(
    gateway: &Gateway,
    client: &Path,
    connections: usize,
    encrypted: bool,
    look: impl FnOnce() -> Outcome<T>,
) -> Outcome<T> {
    let mut command = with_all_descriptors(client);
    command.arg(format!("127.0.0.1:{}", gateway.port)).args(["--hold", "--at-once", &connections.to_string()]);
    if encrypted {
        command.arg("--starttls");
    }
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

fn pss_kib(process: u32) -> Outcome<u64> {
    let file = format!("/proc/{process}/smaps_rollup");
    let text = std::fs::read_to_string(&file).map_err(|why| format!("{file}: {why}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()).and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("{file} has no Pss"))
}
