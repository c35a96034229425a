//! `cargo xtask bench`: what the gateway costs, beside the same load without it.
//!
//! Postfix's smtp-source sends to Postfix's smtp-sink, directly and through the gateway with 0, 1 and 3 filters. The
//! candidates take turns within each round, so that a figure and the one it is compared with come from the same
//! minute. CPU per 10,000 messages is the figure to steer by; messages per second say as much about the machine.

mod idle;
mod load;
mod process;
mod table;

use std::path::PathBuf;

use crate::shell::{Outcome, cargo, root, run};
use crate::tools;
use load::{Candidate, SCENARIOS};
use process::{Gateway, Scratch, Sink};

pub(crate) use idle::hold_connections;

/// Filters of the standard set, in the order in which a candidate with fewer of them leaves them out.
const FILTER_COUNTS: [usize; 3] = [0, 1, 3];
const IDLE_CONNECTIONS: [usize; 2] = [1_000, 9_500];
const ROUNDS: usize = 5;

struct Options {
    rounds: usize,
    write_readme: bool,
    /// Another build of the gateway, to compare with.
    program: Option<PathBuf>,
}

/// Measures, prints the tables, and puts them into README.md if told to.
pub(crate) fn main(words: &[&str]) -> Outcome {
    let options = parse(words)?;
    tools::mail_programs()?;
    let program = match options.program {
        Some(program) => program,
        None => build()?,
    };
    let scratch = Scratch::new()?;
    let sink = Sink::start(&scratch)?;
    let gateways: Vec<Gateway> = FILTER_COUNTS
        .into_iter()
        .map(|filters| Gateway::start(&program, &scratch, sink.port, filters))
        .collect::<Outcome<_>>()?;
    let mut candidates = vec![Candidate { name: "direct".into(), port: sink.port, process: None }];
    candidates.extend(gateways.iter().map(|gateway| Candidate {
        name: format!("wasmilter, {}", count(gateway.filters)),
        port: gateway.port,
        process: Some(gateway.process_id()),
    }));
    let mut results = Vec::new();
    for scenario in &SCENARIOS {
        results.push(load::measure(scenario, &candidates, options.rounds)?);
    }
    drop(gateways);
    let mut memory = Vec::new();
    for connections in IDLE_CONNECTIONS {
        let gateway = Gateway::start(&program, &scratch, sink.port, 0)?;
        memory.push(idle::measure(&gateway, connections)?);
    }
    let text = table::render(&candidates, &results, &memory)?;
    println!("\n{text}");
    if options.write_readme { table::write_into(&root().join("README.md"), &text) } else { Ok(()) }
}

fn parse(words: &[&str]) -> Outcome<Options> {
    let mut options = Options { rounds: ROUNDS, write_readme: false, program: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--write-readme" => options.write_readme = true,
            "--rounds" => {
                let rounds = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                options.rounds = rounds.ok_or("--rounds wants a number")?;
            }
            "--program" => options.program = Some(words.next().ok_or("--program wants a path")?.into()),
            other => return Err(format!("`bench` does not know the word {other}")),
        }
    }
    Ok(options)
}

fn build() -> Outcome<PathBuf> {
    tools::wasm_targets()?;
    run(tools::filters())?;
    run(cargo(&["build", "--quiet", "--locked", "--release"]))?;
    Ok(root().join("target/release/wasmilter"))
}

fn count(filters: usize) -> String {
    match filters {
        0 => "no filter".into(),
        1 => "1 filter".into(),
        n => format!("{n} filters"),
    }
}
