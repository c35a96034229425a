//! A load, candidate by candidate, round by round.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::shell::{Outcome, output};

/// Kernel ticks per second, as `/proc` counts CPU time. Linux shows 100 to programs on every machine.
pub(super) const TICKS_PER_SECOND: f64 = 100.0;
const PER_MESSAGES: f64 = 10_000.0;

/// Somebody who takes mail.
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) cipher: Cipher,
    /// Whose CPU is counted; nobody's for the direct way.
    pub(crate) process: Option<u32>,
}

/// How a candidate takes connections that are to be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cipher {
    None,
    StartTls,
    Implicit,
}

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Of the ratio to HAProxy's CPU, in hundredths; what was set out to reach.
    pub(crate) goal: Option<u32>,
    pub(crate) encrypted: bool,
    messages: u32,
    /// Of `benches/load`.
    arguments: &'static str,
}

const fn row(name: &'static str, goal: u32, messages: u32, arguments: &'static str) -> Scenario {
    let goal = if goal == 0 { None } else { Some(goal) };
    Scenario { name, goal, encrypted: false, messages, arguments }
}

const fn encrypted(row: Scenario) -> Scenario {
    Scenario { encrypted: true, ..row }
}

pub(crate) const SCENARIOS: [Scenario; 11] = [
    row("4 KiB, a connection each, 50 at once", 60, 5_000, "--at-once 50"),
    row("4 KiB, connections kept, 50 at once", 95, 10_000, "--at-once 50 --kept"),
    row("the same, MAIL RCPT DATA in one packet", 110, 15_000, "--at-once 50 --kept --pipelined"),
    row("1 MiB, connections kept, 8 at once", 75, 400, "--at-once 8 --kept --octets 1048576"),
    row("10 MiB, connections kept, 4 at once", 70, 60, "--at-once 4 --kept --octets 10485760"),
    row("4 KiB, a connection each, one at a time", 0, 2_000, ""),
    encrypted(row("TLS 1.3: full handshakes, 50 at once", 42, 3_000, "--at-once 50 --handshakes")),
    encrypted(row("TLS 1.3: resumed handshakes, 50 at once", 0, 3_000, "--at-once 50 --handshakes --resumed")),
    encrypted(row("TLS: 4 KiB, a connection each, 50 at once", 55, 3_000, "--at-once 50")),
    encrypted(row("TLS: 4 KiB, connections kept, 50 at once", 80, 10_000, "--at-once 50 --kept")),
    encrypted(row("TLS: 1 MiB, connections kept, 8 at once", 75, 400, "--at-once 8 --kept --octets 1048576")),
];

/// Medians of one candidate.
pub(crate) struct Figures {
    pub(crate) messages_per_second: f64,
    /// Of the direct way in the same round.
    pub(crate) throughput_ratio: f64,
    /// Seconds of CPU per 10,000 messages.
    pub(crate) cpu: Option<f64>,
    /// Of HAProxy in the same round.
    pub(crate) cpu_ratio: Option<f64>,
    /// Of half of the messages, in milliseconds.
    pub(crate) latency_ms: f64,
}

/// One scenario: the figures in the order of the candidates.
pub(crate) struct Measured {
    pub(crate) figures: Vec<Figures>,
}

/// What one candidate did in one round.
#[derive(Clone, Copy)]
struct Run {
    rate: f64,
    cpu: Option<f64>,
    latency_ms: f64,
}

/// Measures every candidate once in each round, starting with another one each time. The first one is the direct way;
/// `haproxy` is the place of HAProxy.
pub(crate) fn measure(
    client: &Path,
    scenario: &Scenario,
    candidates: &[Candidate],
    haproxy: Option<usize>,
    rounds: usize,
) -> Outcome<Measured> {
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); candidates.len()];
    for round in 0..=rounds {
        for turn in 0..candidates.len() {
            let index = (round + turn) % candidates.len();
            let (Some(candidate), Some(runs)) = (candidates.get(index), runs.get_mut(index)) else { continue };
            let run = send(client, scenario, candidate)?;
            // The first round only warms up.
            if round > 0 {
                runs.push(run);
                let cpu = run.cpu.map_or_else(String::new, |cpu| format!(", {cpu:.2} CPU s per 10,000"));
                println!("   {}, round {round}: {}: {:.0}/s{cpu}", scenario.name, candidate.name, run.rate);
            }
        }
    }
    let direct = runs.first().cloned().unwrap_or_default();
    let peer = haproxy.and_then(|index| runs.get(index)).cloned().unwrap_or_default();
    let figures = runs.iter().map(|runs| Figures {
        messages_per_second: median(runs.iter().map(|run| run.rate).collect()).unwrap_or_default(),
        throughput_ratio: median(runs.iter().zip(&direct).map(|(own, direct)| own.rate / direct.rate).collect())
            .unwrap_or_default(),
        cpu: median(runs.iter().filter_map(|run| run.cpu).collect()),
        cpu_ratio: median(runs.iter().zip(&peer).filter_map(|(own, peer)| Some(own.cpu? / peer.cpu?)).collect()),
        latency_ms: median(runs.iter().map(|run| run.latency_ms).collect()).unwrap_or_default(),
    });
    Ok(Measured { figures: figures.collect() })
}

fn send(client: &Path, scenario: &Scenario, candidate: &Candidate) -> Outcome<Run> {
    let before = candidate.process.map(cpu_ticks).transpose()?;
    let mut command = Command::new(client);
    command.arg(format!("127.0.0.1:{}", candidate.port)).args(scenario.arguments.split_ascii_whitespace());
    command.args(["--messages", &scenario.messages.to_string()]).stdin(Stdio::null());
    match candidate.cipher {
        Cipher::StartTls if scenario.encrypted => command.arg("--starttls"),
        Cipher::Implicit if scenario.encrypted => command.arg("--implicit"),
        _ => &mut command,
    };
    let said = output(command).map_err(|why| format!("{}: {}: {why}", scenario.name, candidate.name))?;
    let value = |key: &str| {
        let word = said.split_ascii_whitespace().find_map(|word| word.strip_prefix(key));
        word.and_then(|number| number.parse::<f64>().ok()).ok_or_else(|| format!("no {key} in {said:?}"))
    };
    let messages = f64::from(scenario.messages);
    let cpu = match (before, candidate.process) {
        (Some(before), Some(process)) => {
            Some((cpu_ticks(process)? - before) / TICKS_PER_SECOND / messages * PER_MESSAGES)
        }
        _ => None,
    };
    Ok(Run { rate: messages / value("seconds=")?, cpu, latency_ms: value("p50_us=")? / 1_000.0 })
}

/// User and system time of a process with all its threads, in ticks.
pub(super) fn cpu_ticks(process: u32) -> Outcome<f64> {
    let file = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&file).map_err(|why| format!("{file}: {why}"))?;
    // The name in parentheses may hold anything; the fields after it are counted from 3.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<f64>().ok());
    match (field(14), field(15)) {
        (Some(user), Some(system)) => Ok(user + system),
        _ => Err(format!("{file} looks unlike anything known")),
    }
}

pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(vec![5.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn our_own_cpu_time_can_be_read() {
        assert!(cpu_ticks(std::process::id()).is_ok());
    }
}
