//! What a filter costs: a call, a message, a fresh instance, beside a listener that has none.
//!
//! The guests are those of tests/guests, built here if they are not yet. Run with `cargo bench --bench filters`; a
//! word after `--` keeps only the lines with that word. The best of several runs, as in the other benches.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints")]
#![allow(dead_code, reason = "the tests need more of it")]

#[path = "../tests/guests/support.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use support::{Filter, Session, configuration, guest, hello, load, recipient, sender, session};
use wasmilter::chain::{Call, Chain, Held};
use wasmilter::mail::Hello;
use wasmilter::smtp::headers::HeaderBlock;
use wasmilter::state::spool::Spool;

/// Instances that are weighed.
const LIVE: u32 = 1_000;
const RUNS: usize = 7;
const RUN: Duration = Duration::from_millis(200);
/// Calls between two looks at the clock, which costs a good part of a microsecond itself.
const BATCH: u32 = 256;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(all(&wanted));
}

/// Processor time of the process, heartbeat thread included: what others do on the machine counts less.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// Prints the processor time of one call in the best run.
async fn measure(wanted: &[String], name: &str, mut work: impl AsyncFnMut()) {
    if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
        return;
    }
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let (start, mut calls) = (cpu(), 0);
        while cpu() - start < RUN {
            for _ in 0..BATCH {
                work().await;
            }
            calls += BATCH;
        }
        best = best.min((cpu() - start).as_secs_f64() / f64::from(calls));
    }
    println!("{name:<44} {:>8.3} µs", best * 1e6);
}

async fn all(wanted: &[String]) {
    let mute = |name: &str| Filter::new(name, guest("mute"), "");
    let chains = [
        ("no filter", load(&[]).unwrap()),
        ("1 filter", load(&[mute("a")]).unwrap()),
        ("3 filters", load(&[mute("a"), mute("b"), mute("c")]).unwrap()),
        ("10 filters", load(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(mute)).unwrap()),
    ];
    let hello = hello("client.example.net");
    let content = message();
    for (name, chain) in &chains {
        let mut warm = session(chain);
        let call = async || drop(warm.ask(Call::Helo(&hello)).await);
        measure(wanted, &format!("helo, warm, {name}"), call).await;
        let mut warm = session(chain);
        begin(&mut warm, &mut HeaderBlock::parse(&content).0).await;
        let chunk = content.get(..64 << 10).unwrap_or_default();
        let call = async || drop(warm.ask(Call::Body(chunk)).await);
        measure(wanted, &format!("chunk of 64 KiB, warm, {name}"), call).await;
        let mut warm = session(chain);
        measure(wanted, &format!("message of 64 KiB, warm, {name}"), async || whole(&mut warm, &content).await).await;
        let fresh = async || whole(&mut session(chain), &content).await;
        measure(wanted, &format!("message of 64 KiB, fresh, {name}"), fresh).await;
    }
    loops(wanted).await;
    let chain = load(&[Filter::new("idle", guest("idle"), "")]).unwrap();
    let once = async || drop(session(&chain).ask(Call::Helo(&hello)).await);
    measure(wanted, "instance made, called once, dropped", once).await;
    if wanted.is_empty() || wanted.iter().any(|word| "live".contains(word.as_str())) {
        live(&hello).await;
    }
}

/// What instances weigh that have been called once: resident memory, and the page tables for it.
async fn live(hello: &Hello) {
    let mut config = configuration(&[Filter::new("idle", guest("idle"), "")]);
    config.engine.instances = Some(LIVE);
    let chain = Arc::new(Chain::load(&config).unwrap());
    let mut sessions: Vec<Session> = (0..LIVE).map(|_| session(&chain)).collect();
    let before = (kib("/proc/self/smaps_rollup", "Pss:"), kib("/proc/self/status", "VmPTE:"));
    for session in &mut sessions {
        drop(session.ask(Call::Helo(hello)).await);
    }
    let after = (kib("/proc/self/smaps_rollup", "Pss:"), kib("/proc/self/status", "VmPTE:"));
    let each = |after: u32, before: u32| f64::from(after.saturating_sub(before)) / f64::from(LIVE);
    let (memory, tables) = (each(after.0, before.0), each(after.1, before.1));
    println!("live instance, each of {LIVE:<22} {memory:>8.1} KiB, and {tables:.1} KiB of page tables");
}

fn kib(file: &str, field: &str) -> u32 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

/// Endless loops: one that its processor time stops, one that its deadline does. Shown is the time until it was, by the
/// clock; the bound is a tenth and 2 ms beyond.
async fn loops(wanted: &[String]) {
    for (name, bounds) in [
        ("endless loop, cpu = 50ms", ["cpu = \"50ms\"", "deadline = \"10s\""]),
        ("endless loop, deadline = 100ms", ["cpu = \"100ms\"", "deadline = \"100ms\""]),
    ] {
        if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let mut config = support::configuration(&[bounds.iter().fold(Filter::puppet("helo: spin"), |f, b| f.with(b))]);
        if name.contains("deadline =") {
            // More processor time than there is time; a file may not say this.
            config.filters.iter_mut().for_each(|filter| filter.bounds.cpu_per_call = Duration::from_secs(10));
        }
        let chain = std::sync::Arc::new(wasmilter::chain::Chain::load(&config).unwrap());
        let mut best = Duration::MAX;
        for _ in 0..RUNS {
            let mut session = session(&chain);
            session.ask(Call::Connect).await;
            let began = std::time::Instant::now();
            session.helo().await;
            best = best.min(began.elapsed());
        }
        println!("{name:<44} {:>8.3} ms", best.as_secs_f64() * 1e3);
    }
}

fn message() -> Vec<u8> {
    let mut content = Vec::new();
    for number in 0..20 {
        content.extend_from_slice(format!("X-Field-{number}: some words of a value\r\n").as_bytes());
    }
    content.extend_from_slice(b"\r\n");
    while content.len() < 64 << 10 {
        content.extend_from_slice(b"a line of text as there are many in mail, more or less\r\n");
    }
    content
}

/// Everything before the body.
async fn begin(session: &mut Session, block: &mut HeaderBlock) {
    session.helo().await;
    session.ask(Call::Mail(&sender("alice@example.net"))).await;
    session.ask(Call::Rcpt(&recipient("bob@example.org"))).await;
    session.ask(Call::Data).await;
    session.ask(Call::Headers(block)).await;
}

async fn whole(session: &mut Session, content: &[u8]) {
    let (mut block, start) = HeaderBlock::parse(content);
    let body = content.get(start..).unwrap_or_default();
    begin(session, &mut block).await;
    session.ask(Call::Body(body)).await;
    let mut held = Held::new(block, Spool::default());
    session.ask(Call::Message(&mut held)).await;
    session.chain.end_transaction();
}
