//! How fast the pure floor is: octets of content scanned, unstuffed and stuffed, commands and header blocks parsed.
//!
//! A plain loop and the best of several runs: what a machine can do is repeatable, what it did on average is not.
//! Run with `cargo bench --bench codec`; a word after `--` keeps only the lines with that word.

#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use wasmilter::smtp::body::{BareEnds, DataScanner, Stuffer, unstuff_into};
use wasmilter::smtp::{Command, HeaderBlock, Reply};

const RUNS: usize = 7;
const RUN: Duration = Duration::from_millis(150);
const MIB: usize = 1 << 20;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let bench = Bench { wanted };

    let text = content(76, None);
    let dots = content(76, Some(4));
    for (name, content) in [("plain", &text), ("a dot every 4 lines", &dots)] {
        bench.octets(&format!("scan, {name}"), content.len(), || scan(content));
        let mut out = Vec::with_capacity(content.len() * 2);
        bench.octets(&format!("unstuff, {name}"), content.len(), || {
            out.clear();
            unstuff_into(content, true, &mut out)
        });
        bench.octets(&format!("stuff, {name}"), content.len(), || {
            out.clear();
            let mut stuffer = Stuffer::new();
            stuffer.push(content, &mut out);
            stuffer.finish(&mut out);
            out.len()
        });
    }

    for line in [
        "EHLO mail.client.example",
        "MAIL FROM:<ann.example+list@client.example> SIZE=12345 BODY=8BITMIME",
        "RCPT TO:<\"quoted local\"@[IPv6:2001:db8::1]> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@x.example",
        "DATA",
    ] {
        bench.times(&format!("parse {line:.20}…"), || Command::parse(black_box(line.as_bytes())).is_ok());
    }

    let block = header_block();
    bench.octets("header block, 40 fields", block.len(), || HeaderBlock::parse(black_box(&block)).1);

    let reply = Reply::new(550, None, "Recipient address rejected\nUser unknown in virtual mailbox table");
    let mut out = Vec::new();
    bench.times("write a reply of two lines", || {
        out.clear();
        reply.encode(&mut out);
        out.len()
    });
}

struct Bench {
    wanted: Vec<String>,
}

impl Bench {
    /// Prints gigabytes per second.
    fn octets<T>(&self, name: &str, octets: usize, work: impl FnMut() -> T) {
        if self.wants(name) {
            let seconds = fastest(work);
            println!("{name:<32} {:>8.2} GB/s", octets as f64 / seconds / 1e9);
        }
    }

    /// Prints nanoseconds.
    fn times<T>(&self, name: &str, work: impl FnMut() -> T) {
        if self.wants(name) {
            println!("{name:<32} {:>8.0} ns", fastest(work) * 1e9);
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|word| name.contains(word.as_str()))
    }
}

/// Seconds of one call in the best run.
fn fastest<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        let mut calls = 0_u32;
        while start.elapsed() < RUN {
            for _ in 0..16 {
                black_box(work());
            }
            calls += 16;
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(calls));
    }
    best
}

fn scan(content: &[u8]) -> usize {
    let mut scanner = DataScanner::new(BareEnds::Refuse);
    scanner.scan(black_box(content)).consumed
}

/// A MiB of lines of this width; some begin with a (stuffed) dot.
fn content(width: usize, dot_every: Option<usize>) -> Vec<u8> {
    let mut content = Vec::with_capacity(MIB);
    for line in 1.. {
        if content.len() >= MIB {
            break;
        }
        if dot_every.is_some_and(|every| line % every == 0) {
            content.extend_from_slice(b"..");
        }
        content.extend((b'a'..=b'z').cycle().skip(line % 26).take(width));
        content.extend_from_slice(b"\r\n");
    }
    content
}

fn header_block() -> Vec<u8> {
    let mut block = Vec::new();
    for number in 0..40 {
        block.extend_from_slice(
            format!("X-Field-{number}: some words of a value that goes on\r\n\tand is folded once\r\n").as_bytes(),
        );
    }
    block
}
