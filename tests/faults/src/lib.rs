//! The fault matrix: what the client is told and what the upstream has taken, for every fault at every place.
//!
//! One gateway, one client and one upstream on turmoil's simulated network and clock. Every cell is held against the
//! first law (250 means that the upstream said 250); all of them together are `docs/faults.md`, which this test writes
//! with `FAULTS=write` (`cargo xtask faults`) and otherwise compares. Cells that need no waiting are played a second
//! time with real sockets, and have to come out the same.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod cell;
mod client;
mod page;
mod real;
mod simulated;
mod stage;
mod upstream;

use std::sync::LazyLock;

use cell::{Cell, Way, cells};
use stage::Outcome;

type Played = (Way, Cell, Outcome);

/// Everything there is, on the simulated network.
static SIMULATED: LazyLock<Vec<Played>> = LazyLock::new(|| {
    let cells = cells();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = |cells: &[(Way, Cell)]| cells.iter().map(|(way, cell)| (*way, *cell, simulate(*way, *cell))).collect();
    std::thread::scope(|scope| {
        let parts = cells.chunks(cells.len().div_ceil(threads));
        let parts: Vec<_> = parts.map(|cells| scope.spawn(move || -> Vec<Played> { part(cells) })).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
});

fn simulate(way: Way, cell: Cell) -> Outcome {
    if cell.only_with_sockets() { real::play(way, cell) } else { simulated::play(way, cell) }
}

#[test]
fn no_fault_breaks_the_first_law() {
    let mut breaches = Vec::new();
    for (way, cell, outcome) in SIMULATED.iter() {
        breaches
            .extend(outcome.breaches(*cell).into_iter().map(|breach| format!("{way:?} {cell}: {breach}: {outcome:?}")));
    }
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
    page::compare_or_write(&page::page(&SIMULATED));
}

#[test]
fn real_sockets_fare_no_differently() {
    let mut differ = Vec::new();
    for (way, cell, simulated) in SIMULATED.iter().filter(|(_, cell, _)| cell.needs_no_clock()) {
        let real = real::play(*way, *cell);
        if simulated.told() != real.told() || simulated.accepted != real.accepted {
            differ.push(format!("{way:?} {cell}:\n  simulated {simulated:?}\n  real      {real:?}"));
        }
    }
    assert!(differ.is_empty(), "{} cells differ:\n{}", differ.len(), differ.join("\n"));
}
