//! The figures as Markdown, with the day and the machine they belong to.

use std::fmt::Write;
use std::path::Path;

use super::Ways;
use super::idle::Idle;
use super::load::{Measured, Scenario};
use crate::shell::{Outcome, command, output};

const BEGIN: &str = "<!-- measured by `cargo xtask bench --write-readme` -->";
const END: &str = "<!-- end of measurement -->";

pub(crate) fn render(ways: &Ways, results: &[(&Scenario, Measured)], memory: &[Idle]) -> Outcome<String> {
    let mut text = format!("Measured {} on {}.\n\n", output(command("date", &["-u", "+%F"]))?.trim(), machine()?);
    text.push_str(
        "| load | way | CPU s per 10,000 messages | ÷ HAProxy | goal | messages/s | ÷ direct | p50 ms |\n\
         |---|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for (scenario, result) in results {
        let candidates = if scenario.encrypted { &ways.encrypted } else { &ways.plain };
        for (candidate, figures) in candidates.iter().zip(&result.figures) {
            // The goal is the gateway's, without filters and without telling anybody who the client is.
            let goal = scenario.goal.filter(|_| candidate.name == "wasmilter").map(|goal| f64::from(goal) / 100.0);
            let ratio = figures.cpu_ratio.filter(|_| candidate.name != "HAProxy");
            // That one has another server behind it.
            let throughput = Some(figures.throughput_ratio).filter(|_| candidate.name != "with XCLIENT");
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {:.0} | {} | {:.2} |",
                scenario.name,
                candidate.name,
                number(figures.cpu),
                number(ratio),
                number(goal),
                figures.messages_per_second,
                number(throughput),
                figures.latency_ms,
            );
        }
    }
    if !memory.is_empty() {
        text.push_str("\n| idle connections (after EHLO) | memory | for each |\n|---:|---:|---:|\n");
    }
    for idle in memory {
        let mib = idle.mib();
        let how = if idle.encrypted { ", TLS" } else { "" };
        let _ = writeln!(text, "| {}{how} | {mib:.1} MiB | {:.1} KiB |", idle.connections, idle.kib_per_connection());
    }
    Ok(text)
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
}

/// Replaces what stands between the markers.
pub(crate) fn write_into(file: &Path, table: &str) -> Outcome {
    let cannot = |why: std::io::Error| format!("{}: {why}", file.display());
    let text = std::fs::read_to_string(file).map_err(cannot)?;
    let new = replaced(&text, table).ok_or_else(|| format!("{} has no place for it: {BEGIN}", file.display()))?;
    std::fs::write(file, new).map_err(cannot)
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", table.trim_end()))
}

fn machine() -> Outcome<String> {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": an unnamed processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let kernel = output(command("uname", &["-sr"]))?;
    // "Linux 6.18": what a distribution or a host appends to it says nothing about speed.
    let kernel: String = kernel.trim().splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let rustc = output(command("rustc", &["--version"]))?;
    let rustc = rustc.split(' ').nth(1).unwrap_or_default();
    Ok(format!("{cpus} × {model}, {kernel}, Rust {rustc}, loopback"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(replaced(&text, "new\n"), Some(format!("a\n{BEGIN}\nnew\n{END}\nb\n")));
        assert_eq!(replaced("a\nb\n", "new"), None);
    }
}
