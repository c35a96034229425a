//! A load, candidate by candidate, round by round.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::shell::Outcome;
use crate::tools;

/// Kernel ticks per second, as `/proc` counts CPU time. Linux shows 100 to programs on every machine.
const TICKS_PER_SECOND: f64 = 100.0;
const PER_MESSAGES: f64 = 10_000.0;

/// Somebody who takes mail.
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) port: u16,
    /// Whose CPU is counted; nobody's for the direct way.
    pub(crate) process: Option<u32>,
}

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    messages: u32,
    /// Of smtp-source.
    arguments: &'static [&'static str],
}

pub(crate) const SCENARIOS: [Scenario; 3] = [
    Scenario { name: "4 KiB, a connection each, 50 at once", messages: 6_000, arguments: &["-s", "50", "-l", "4096"] },
    Scenario {
        name: "4 KiB, connections kept, 50 at once",
        messages: 12_000,
        arguments: &["-d", "-s", "50", "-l", "4096"],
    },
    Scenario {
        name: "1 MiB, connections kept, 8 at once",
        messages: 600,
        arguments: &["-d", "-s", "8", "-l", "1048576"],
    },
];

/// Medians of one candidate.
pub(crate) struct Figures {
    pub(crate) messages_per_second: f64,
    /// Of the direct way in the same round.
    pub(crate) throughput_ratio: f64,
    /// Seconds of CPU per 10,000 messages.
    pub(crate) cpu: Option<f64>,
}

/// One scenario: the figures in the order of the candidates.
pub(crate) struct Measured {
    pub(crate) scenario: &'static str,
    pub(crate) figures: Vec<Figures>,
}

/// Measures every candidate once in each round, starting with another one each time.
pub(crate) fn measure(scenario: &Scenario, candidates: &[Candidate], rounds: usize) -> Outcome<Measured> {
    let mut rates = vec![Vec::new(); candidates.len()];
    let mut costs = vec![Vec::new(); candidates.len()];
    for round in 0..=rounds {
        for turn in 0..candidates.len() {
            let index = (round + turn) % candidates.len();
            let (Some(candidate), Some(rates), Some(costs)) =
                (candidates.get(index), rates.get_mut(index), costs.get_mut(index))
            else {
                continue;
            };
            let (rate, cost) = send(scenario, candidate)?;
            // The first round only warms up.
            if round > 0 {
                rates.push(rate);
                costs.extend(cost);
                println!("   {}, round {round}: {}: {rate:.0} messages/s", scenario.name, candidate.name);
            }
        }
    }
    let direct = rates.first().cloned().unwrap_or_default();
    let figures = rates.iter().zip(&costs).map(|(rates, costs)| Figures {
        messages_per_second: median(rates.clone()).unwrap_or_default(),
        throughput_ratio: median(rates.iter().zip(&direct).map(|(own, direct)| own / direct).collect())
            .unwrap_or_default(),
        cpu: median(costs.clone()),
    });
    Ok(Measured { scenario: scenario.name, figures: figures.collect() })
}

/// Messages per second, and CPU per 10,000 messages.
fn send(scenario: &Scenario, candidate: &Candidate) -> Outcome<(f64, Option<f64>)> {
    let program = tools::find("smtp-source").ok_or("smtp-source is missing (Debian: postfix)")?;
    let before = candidate.process.map(cpu_ticks).transpose()?;
    let start = Instant::now();
    let mut command = Command::new(program);
    command.args(scenario.arguments).args(["-m", &scenario.messages.to_string(), "-C", "10"]);
    command.args(["-M", "client.test", "-f", "ann@client.test", "-t", "bob@inside.test"]);
    command.arg(format!("127.0.0.1:{}", candidate.port)).stdin(Stdio::null());
    let status = command.status().map_err(|why| format!("cannot start smtp-source: {why}"))?;
    if !status.success() {
        return Err(format!("{}: {} did not take all messages", scenario.name, candidate.name));
    }
    let seconds = start.elapsed().as_secs_f64();
    let messages = f64::from(scenario.messages);
    let cpu = match (before, candidate.process) {
        (Some(before), Some(process)) => {
            Some((cpu_ticks(process)? - before) / TICKS_PER_SECOND / messages * PER_MESSAGES)
        }
        _ => None,
    };
    Ok((messages / seconds, cpu))
}

/// User and system time of a process with all its threads, in ticks.
fn cpu_ticks(process: u32) -> Outcome<f64> {
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

fn median(mut values: Vec<f64>) -> Option<f64> {
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
