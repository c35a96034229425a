//! What was measured, and what it means.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::envelope::guess;
use super::super::inspect::show_octets;
use super::super::mails::Mail;
use super::lap::{Course, Lap, Round};
use crate::mail::Stage;
use crate::report::printable;

/// Samples of one kind that are kept: half of them make room when it is full.
const SAMPLES_MAX: usize = 1 << 20;

/// This filter, and the empty one.
const WHOSE: [&str; 2] = ["this", "empty"];

const MEANING: &str = "\
What these figures mean: the time of one stage is the median of all its calls, from asking the
filter to its answer, with what the gateway does for that; `a message` is processor time, the median
of rounds in which the filters took turns, with how far the rounds lay apart. Warm: the instance has
seen messages before, as in a session that goes on. Fresh: it is made for the message, and the first
stage that is asked pays for it. The empty filter exports the same stages and answers `next`: what
it costs is the gateway's, what this one costs more is its own. Every stage is asked, whatever the
filter answered before. Memory is linear memory after a stage of a fresh instance.
";

/// All rounds of one kind.
#[derive(Debug, Default)]
struct Kind {
    /// Processor time of a message, a round each.
    rounds: Vec<f64>,
    each: Vec<f64>,
    calls: BTreeMap<Stage, Vec<f64>>,
    messages: u64,
}

/// What was measured so far.
#[derive(Debug)]
pub(super) struct Figures {
    filter: PathBuf,
    messages: usize,
    octets: usize,
    kinds: [[Kind; 2]; 2],
    /// After each stage.
    memory: BTreeMap<Stage, usize>,
    faults: u64,
}

fn place(lap: Lap) -> usize {
    usize::from(lap == Lap::Fresh)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Adds a sample; when there are too many, every other one of those before is forgotten.
fn keep(samples: &mut Vec<f64>, sample: f64) {
    if samples.len() >= SAMPLES_MAX {
        let mut stays = false;
        samples.retain(|_| {
            stays = !stays;
            stays
        });
    }
    samples.push(sample);
}

/// The value below which so many of 100 lie.
fn percentile(samples: &[f64], share: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get((sorted.len() * share / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

impl Figures {
    pub(super) fn new(filter: &Path, mails: &[Mail]) -> Figures {
        let octets = mails.iter().map(|mail| mail.content.len()).sum::<usize>() / mails.len().max(1);
        let (filter, messages) = (filter.to_owned(), mails.len());
        Figures { filter, messages, octets, kinds: Default::default(), memory: BTreeMap::new(), faults: 0 }
    }

    /// One message, with a look at the instance's memory after each stage.
    pub(super) async fn look(&mut self, course: &Course, mails: &[Mail]) {
        let Some(mail) = mails.iter().max_by_key(|mail| mail.content.len()) else { return };
        let envelope = guess(mail, None, &[]);
        for last in course.stages().iter() {
            let mut session = course.session();
            course.up_to(last).message(&mut session, mail, &envelope, &mut Round::default()).await;
            let bytes = session.usage().map(|usage| usage.memory_bytes).max().unwrap_or(0);
            self.memory.insert(last, bytes);
        }
    }

    pub(super) fn add(&mut self, lap: Lap, whose: usize, round: Round) {
        let Some(kind) = self.kinds.get_mut(place(lap)).and_then(|kinds| kinds.get_mut(whose)) else { return };
        let messages = round.messages().max(1) as f64;
        keep(&mut kind.rounds, micros(round.cpu) / messages);
        kind.messages += round.messages() as u64;
        round.each.iter().for_each(|time| keep(&mut kind.each, micros(*time)));
        for (stage, time) in round.calls {
            keep(kind.calls.entry(stage).or_default(), micros(time));
        }
        self.faults += round.faults;
    }

    fn kind(&self, lap: Lap, whose: usize) -> Option<&Kind> {
        self.kinds.get(place(lap))?.get(whose)
    }

    fn stage(&self, lap: Lap, whose: usize, stage: Stage) -> Option<f64> {
        Some(percentile(self.kind(lap, whose)?.calls.get(&stage)?, 50))
    }

    /// Median, and the tenth and ninetieth of a hundred.
    fn message(&self, lap: Lap, whose: usize) -> (f64, f64, f64) {
        let rounds = self.kind(lap, whose).map(|kind| kind.rounds.as_slice()).unwrap_or_default();
        (percentile(rounds, 50), percentile(rounds, 10), percentile(rounds, 90))
    }

    fn memory_bytes(&self) -> usize {
        self.memory.values().copied().max().unwrap_or(0)
    }

    pub(super) fn text(&self, notes: &[String]) -> String {
        let messages = if self.messages == 1 { "1 message".to_owned() } else { format!("{} messages", self.messages) };
        let size = show_octets(self.octets as u64);
        let mut out = format!("{}: {messages} of {size}\n", printable(&self.filter.display().to_string()));
        // Writing to a text does not fail.
        for note in notes {
            let _ = writeln!(out, "{}", printable(note));
        }
        let _ = writeln!(out, "\n  µs              warm     empty     fresh     empty      memory");
        for stage in Stage::ALL.into_iter().filter(|stage| self.memory.contains_key(stage)) {
            let _ = write!(out, "  {:<11}", stage.name());
            for lap in [Lap::Warm, Lap::Fresh] {
                for whose in [0, 1] {
                    let time = self.stage(lap, whose, stage);
                    let _ = write!(out, "{:>10}", time.map_or("·".to_owned(), |time| format!("{time:.2}")));
                }
            }
            let memory = self.memory.get(&stage).copied().unwrap_or(0);
            let _ = writeln!(out, "{:>12}", if memory == 0 { "·".to_owned() } else { show_octets(memory as u64) });
        }
        let columns = [(Lap::Warm, 0), (Lap::Warm, 1), (Lap::Fresh, 0), (Lap::Fresh, 1)];
        let mut row = |label: &str, value: &dyn Fn(Lap, usize) -> f64| {
            let _ = write!(out, "  {label:<11}");
            for (lap, whose) in columns {
                let _ = write!(out, "{:>10.2}", value(lap, whose));
            }
            let _ = writeln!(out);
        };
        row("a message", &|lap, whose| self.message(lap, whose).0);
        row("  10 of 100", &|lap, whose| self.message(lap, whose).1);
        row("  90 of 100", &|lap, whose| self.message(lap, whose).2);
        for share in [50, 95, 99] {
            let each = |lap, whose| self.kind(lap, whose).map_or(0.0, |kind: &Kind| percentile(&kind.each, share));
            row(&format!("stages p{share}"), &each);
        }
        let per_second = |lap| 1e6 / self.message(lap, 0).0.max(1e-3);
        let _ = writeln!(
            out,
            "\none processor: {:.0} messages a second warm, {:.0} fresh; an instance has {} of linear memory",
            per_second(Lap::Warm),
            per_second(Lap::Fresh),
            show_octets(self.memory_bytes() as u64),
        );
        if self.faults > 0 {
            let _ = writeln!(out, "\n{} calls ended in a fault: `wasmilter filter run` shows why", self.faults);
        }
        if cfg!(debug_assertions) {
            out.push_str("\nThis wasmilter is a development build: what it does itself takes many times as long.\n");
        }
        out.push('\n');
        out.push_str(MEANING);
        out
    }

    pub(super) fn json(&self) -> Value {
        let stages: Vec<Value> = self
            .memory
            .iter()
            .map(|(stage, memory)| {
                let of = |lap, whose| self.stage(lap, whose, *stage);
                json!({
                    "stage": stage.name(),
                    "warm-us": { "this": of(Lap::Warm, 0), "empty": of(Lap::Warm, 1) },
                    "fresh-us": { "this": of(Lap::Fresh, 0), "empty": of(Lap::Fresh, 1) },
                    "memory-octets": memory,
                })
            })
            .collect();
        let message = |lap| {
            let one = |whose| {
                let (median, low, high) = self.message(lap, whose);
                let kind = self.kind(lap, whose);
                let each = |share| kind.map_or(0.0, |kind| percentile(&kind.each, share));
                json!({
                    "cpu-us": median, "cpu-us-p10": low, "cpu-us-p90": high,
                    "stages-us": { "p50": each(50), "p95": each(95), "p99": each(99) },
                    "messages": kind.map_or(0, |kind| kind.messages),
                })
            };
            let [this, empty] = WHOSE;
            json!({ this: one(0), empty: one(1) })
        };
        json!({
            "filter": self.filter.display().to_string(),
            "messages": self.messages,
            "octets": self.octets,
            "stages": stages,
            "message": { "warm": message(Lap::Warm), "fresh": message(Lap::Fresh) },
            "memory-octets": self.memory_bytes(),
            "faults": self.faults,
            "development-build": cfg!(debug_assertions),
        })
    }
}
