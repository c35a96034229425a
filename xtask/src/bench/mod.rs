//! `cargo xtask bench`: what the gateway costs, beside the same load without it, and beside HAProxy where it is
//! installed.
//!
//! The client is `benches/load`, the server Postfix's smtp-sink (to be told about clients: the project's own sink). The candidates take turns within each round, so
//! that a figure and the one it is compared with come from the same minute. CPU per 10,000 messages, as a ratio to
//! HAProxy's, is the figure to steer by; messages per second say as much about the machine.

mod filters;
mod idle;
mod load;
mod logins;
mod process;
mod table;

use std::path::PathBuf;

use crate::shell::{Outcome, cargo, root, run};
use crate::tools;
use load::{Candidate, Cipher, Measured, SCENARIOS, Scenario};
use process::{Certificate, Filters, Gateway, Haproxy, Scratch, Setup, Sink};

const IDLE_CONNECTIONS: [usize; 2] = [1_000, 9_500];
const IDLE_CONNECTIONS_TLS: usize = 1_000;
const ROUNDS: usize = 5;

struct Options {
    rounds: usize,
    write_readme: bool,
    /// Only loads with this in their name, and no memory.
    only: Option<String>,
    /// What filters cost, instead of everything else.
    filters: bool,
    /// What logins cost and how an attack is felt, instead of everything else.
    logins: bool,
    /// Another build of the gateway, to compare with.
    program: Option<PathBuf>,
}

/// Where mail goes in and what it goes through.
struct Ways {
    plain: Vec<Candidate>,
    encrypted: Vec<Candidate>,
    /// HAProxy's place in both, where it is installed.
    haproxy: Option<usize>,
}

/// Measures, prints the tables, and puts them into README.md if told to.
pub(crate) fn main(words: &[&str]) -> Outcome {
    let options = parse(words)?;
    tools::mail_programs()?;
    let client = build()?;
    let program = options.program.clone().unwrap_or_else(|| root().join("target/dist/wasmilter"));
    if options.filters {
        println!("\n{}", filters::measure(&program, &client, options.rounds)?);
        return Ok(());
    }
    if options.logins {
        println!("\n{}", logins::measure(&program, &client)?);
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let certificate = Certificate::make(&scratch)?;
    let sink = Sink::start(&scratch)?;
    let told = Sink::told(&program)?;
    let start = |setup: Setup<'_>| Gateway::start(&program, &scratch, &setup);
    let usual = Setup { sink: sink.port, certificate: &certificate, xclient: false, filters: Filters::None };
    let gateways = [
        ("wasmilter", start(usual)?),
        ("with XCLIENT", start(Setup { sink: told.port, xclient: true, ..usual })?),
        ("3 filters", start(Setup { filters: Filters::Standard, ..usual })?),
    ];
    let peers = match tools::find("haproxy") {
        Some(haproxy) => Some([
            Haproxy::start(&haproxy, &scratch, sink.port, None)?,
            Haproxy::start(&haproxy, &scratch, sink.port, Some(&certificate))?,
        ]),
        None => None,
    };
    let ways = ways(&sink, &gateways, peers.as_ref());
    let mut results: Vec<(&Scenario, Measured)> = Vec::new();
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    for scenario in SCENARIOS.iter().filter(|scenario| wanted(scenario.name)) {
        let candidates = if scenario.encrypted { &ways.encrypted } else { &ways.plain };
        results.push((scenario, load::measure(&client, scenario, candidates, ways.haproxy, options.rounds)?));
    }
    drop(gateways);
    let mut memory = Vec::new();
    if options.only.is_none() {
        for (connections, encrypted) in
            IDLE_CONNECTIONS.map(|count| (count, false)).into_iter().chain([(IDLE_CONNECTIONS_TLS, true)])
        {
            memory.push(idle::measure(&start(usual)?, &client, connections, encrypted)?);
        }
    }
    let text = table::render(&ways, &results, &memory)?;
    println!("\n{text}");
    if options.write_readme { table::write_into(&root().join("README.md"), &text) } else { Ok(()) }
}

fn ways(sink: &Sink, gateways: &[(&'static str, Gateway); 3], peers: Option<&[Haproxy; 2]>) -> Ways {
    let direct = || Candidate { name: "direct", port: sink.port, cipher: Cipher::None, process: None };
    let (mut plain, mut encrypted) = (vec![direct()], vec![direct()]);
    if let Some([clear, tls]) = peers {
        let peer = |haproxy: &Haproxy| Candidate {
            name: "HAProxy",
            port: haproxy.port,
            cipher: Cipher::Implicit,
            process: Some(haproxy.process_id()),
        };
        plain.push(peer(clear));
        encrypted.push(peer(tls));
    }
    for (name, gateway) in gateways {
        let candidate =
            || Candidate { name, port: gateway.port, cipher: Cipher::StartTls, process: Some(gateway.process_id()) };
        plain.push(candidate());
        encrypted.push(candidate());
    }
    Ways { plain, encrypted, haproxy: peers.map(|_| 1) }
}

fn parse(words: &[&str]) -> Outcome<Options> {
    let mut options =
        Options { rounds: ROUNDS, write_readme: false, only: None, filters: false, logins: false, program: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--write-readme" => options.write_readme = true,
            "--filters" => options.filters = true,
            "--logins" => options.logins = true,
            "--rounds" => {
                let rounds = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                options.rounds = rounds.ok_or("--rounds wants a number")?;
            }
            "--only" => options.only = Some((*words.next().ok_or("--only wants a part of a load's name")?).into()),
            "--program" => options.program = Some(words.next().ok_or("--program wants a path")?.into()),
            other => return Err(format!("`bench` does not know the word {other}")),
        }
    }
    Ok(options)
}

/// The gateway, the filters, and the client: its path.
fn build() -> Outcome<PathBuf> {
    tools::wasm_targets()?;
    run(tools::filters())?;
    // One after the other: built together, they would share features, and the gateway is to be as it is shipped.
    run(cargo(&["build", "--quiet", "--locked", "--profile", "dist", "--bin", "wasmilter"]))?;
    run(cargo(&["build", "--quiet", "--locked", "--release", "--package", "load"]))?;
    Ok(root().join("target/release/load"))
}
