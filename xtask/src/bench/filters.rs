//! `cargo xtask bench --filters`: what filters cost in a gateway: none, one, three and ten that have no opinion, and three
//! that do something; and what idle sessions weigh that have filters.

use std::fmt::Write;
use std::path::Path;

use super::idle::{self, Idle};
use super::load::{self, Candidate, Cipher, SCENARIOS};
use super::process::{Certificate, Filters, Gateway, Scratch, Setup, Sink};
use crate::shell::{Outcome, run};
use crate::tools;

/// What stands in the table, and what runs in that gateway.
const SETUPS: [(&str, Filters); 5] = [
    ("no filter", Filters::None),
    ("1 no-op", Filters::Guests("mute", 1)),
    ("3 no-ops", Filters::Guests("mute", 3)),
    ("10 no-ops", Filters::Guests("mute", 10)),
    ("3 standard filters", Filters::Standard),
];

/// Sessions that have said EHLO: with filters of which none was asked yet, and with three instances each.
const IDLE: [(&str, Filters, usize); 3] = [
    ("no filter", Filters::None, 10_000),
    ("3 filters, first asked at `message`", Filters::AtMessage(3), 10_000),
    ("3 filters, asked at `helo`", Filters::Guests("idle", 3), 1_000),
];

/// How many of the loads with small messages and without TLS are measured.
const LOADS: usize = 2;

/// Measures, and gives the tables.
pub(crate) fn measure(program: &Path, client: &Path, rounds: usize) -> Outcome<String> {
    run(tools::guests())?;
    let scratch = Scratch::new()?;
    let certificate = Certificate::make(&scratch)?;
    let sink = Sink::start(&scratch)?;
    let start = |filters| {
        let setup = Setup { sink: sink.port, certificate: &certificate, xclient: false, filters };
        Gateway::start(program, &scratch, &setup)
    };
    let gateways: Vec<(&str, Gateway)> =
        SETUPS.iter().map(|(name, filters)| Ok((*name, start(*filters)?))).collect::<Outcome<_>>()?;
    let mut candidates = vec![Candidate { name: "direct", port: sink.port, cipher: Cipher::None, process: None }];
    candidates.extend(gateways.iter().map(|(name, gateway)| Candidate {
        name,
        port: gateway.port,
        cipher: Cipher::StartTls,
        process: Some(gateway.process_id()),
    }));
    let mut text =
        String::from("| load | filters | CPU s per 10,000 messages | more than without |\n|---|---|---:|---:|\n");
    for scenario in SCENARIOS.iter().take(LOADS) {
        let measured = load::measure(client, scenario, &candidates, None, rounds)?;
        let cpu = |place: usize| measured.figures.get(place).and_then(|figures| figures.cpu).unwrap_or_default();
        for (place, (name, _)) in SETUPS.iter().enumerate() {
            let (own, without) = (cpu(place + 1), cpu(1));
            let _ = writeln!(text, "| {} | {name} | {own:.2} | {:.2} |", scenario.name, own - without);
        }
    }
    drop(gateways);
    text.push_str("\n| idle sessions, after EHLO | number | memory | for each |\n|---|---:|---:|---:|\n");
    for (name, filters, number) in IDLE {
        let idle = idle::measure(&start(filters)?, client, number, false)?;
        let mib = Idle::mib(&idle);
        let _ = writeln!(text, "| {name} | {number} | {mib:.1} MiB | {:.1} KiB |", idle.kib_per_connection());
    }
    Ok(text)
}
