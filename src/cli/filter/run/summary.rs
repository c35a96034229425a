//! What a filter did with many messages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::super::marked::Kind;
use super::super::paint::Paint;
use super::super::play::Played;
use super::show::{micros, time};
use crate::report::printable;

/// Reasons that are told apart; a filter may have a new one for each message.
const REASONS_MAX: usize = 10_000;
/// Of those, how many are shown.
const REASONS_SHOWN: usize = 10;
/// Marks that are told apart.
const MARKS_MAX: usize = 10_000;
/// Of those, how many are shown.
const MARKS_SHOWN: usize = 20;

/// Counts, and the time each message took.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub messages: u64,
    actions: BTreeMap<&'static str, u64>,
    edited: u64,
    reasons: BTreeMap<(&'static str, String), u64>,
    faults: BTreeMap<(String, String), u64>,
    /// Messages that have it, and the points or seconds of all of them.
    marks: BTreeMap<(Kind, String), (u64, f64)>,
    marked: u64,
    cpu: Vec<Duration>,
    /// All of them together, on the wall.
    pub took: Duration,
}

impl Summary {
    pub(super) fn count(&mut self, played: &Played) {
        self.messages += 1;
        *self.actions.entry(played.action()).or_default() += 1;
        self.edited += u64::from(played.is_edited());
        self.cpu.push(played.cpu());
        let reply = || played.ended.as_ref().and_then(|ended| ended.reply().first().cloned());
        if let Some(reason) = played.reason().map(str::to_owned).or_else(reply) {
            let key = (played.action(), reason);
            if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(&key) {
                *self.reasons.entry(key).or_default() += 1;
            }
        }
        self.marked += u64::from(!played.marked.is_empty());
        for (kind, name, amount) in played.marked.each() {
            let key = (kind, name.to_owned());
            if self.marks.len() < MARKS_MAX || self.marks.contains_key(&key) {
                let (messages, together) = self.marks.entry(key).or_default();
                *messages += 1;
                *together += amount;
            }
        }
        for fault in played.faults() {
            let key = (fault.stage.name().to_owned(), fault.reason.clone().unwrap_or_default());
            *self.faults.entry(key).or_default() += 1;
        }
    }

    pub(super) fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// The most frequent first.
    fn top(&self) -> Vec<(&(&'static str, String), u64)> {
        let mut reasons: Vec<_> = self.reasons.iter().map(|(key, count)| (key, *count)).collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        reasons.truncate(REASONS_SHOWN);
        reasons
    }

    /// The most frequent first.
    fn top_marks(&self) -> Vec<(Kind, &str, u64, f64)> {
        let mut marks: Vec<_> =
            self.marks.iter().map(|((kind, name), (messages, sum))| (*kind, name.as_str(), *messages, *sum)).collect();
        marks.sort_by_key(|(_, _, messages, _)| std::cmp::Reverse(*messages));
        marks.truncate(MARKS_SHOWN);
        marks
    }

    fn times(&self) -> Times {
        let mut cpu = self.cpu.clone();
        cpu.sort_unstable();
        let at = |share: usize| cpu.get(((cpu.len() * share) / 100).min(cpu.len().saturating_sub(1))).copied();
        let [p50, p95] = [50, 95].map(|share| at(share).unwrap_or_default());
        Times { p50, p95, max: cpu.last().copied().unwrap_or_default(), sum: cpu.iter().sum() }
    }

    pub(super) fn text(&self, paint: Paint) -> String {
        if self.messages == 0 {
            return "no message was found\n".to_owned();
        }
        let mut out = String::from("\n");
        for (action, count) in &self.actions {
            let share = 100.0 * *count as f64 / self.messages as f64;
            // Writing to a text does not fail.
            let padded = format!("{action:<12}");
            let _ = writeln!(out, "  {}{count:>9}  {share:5.1} %", padded.replacen(action, &paint.action(action), 1));
        }
        let _ = writeln!(out, "  {:<12}{:>9}\n  edited      {:>9}", "together", self.messages, self.edited);
        let top = self.top();
        if !top.is_empty() {
            let _ = writeln!(out, "\nwhy");
            for ((action, reason), count) in top {
                let _ = writeln!(out, "  {count:>9}  {action}: {}", printable(reason));
            }
        }
        if self.marked > 0 {
            let _ = writeln!(out, "\nmarks of {} messages (points and times of all together)", self.marked);
            for (kind, name, messages, together) in self.top_marks() {
                let _ = writeln!(out, "  {messages:>9}  {}", printable(&kind.show(name, together)));
            }
        }
        if !self.faults.is_empty() {
            let _ = writeln!(out, "\nfaults (--show fault has their backtraces)");
            for ((stage, kind), count) in &self.faults {
                let _ = writeln!(out, "  {count:>9}  {} at {stage}", printable(kind));
            }
        }
        let Times { p50, p95, max, sum } = self.times();
        let (p50, p95, max, sum) = (time(p50), time(p95), time(max), time(sum));
        let per_second = self.messages as f64 / self.took.as_secs_f64().max(1e-9);
        let _ =
            writeln!(out, "\nprocessor time of a message: half take {p50} or less, 95 of 100 {p95}, the longest {max}");
        let _ = writeln!(out, "together {sum}; {per_second:.0} messages a second, reading included");
        out
    }

    pub(super) fn json(&self, unread: usize) -> serde_json::Value {
        let Times { p50, p95, max, sum } = self.times();
        let reasons: Vec<_> = self
            .top()
            .into_iter()
            .map(|((action, reason), count)| json!({ "action": action, "reason": reason, "messages": count }))
            .collect();
        let marks: Vec<_> = self
            .top_marks()
            .into_iter()
            .map(|(kind, name, messages, sum)| json!({ "kind": kind.name(), "name": name, "messages": messages, "sum": sum }))
            .collect();
        let faults: Vec<_> = self
            .faults
            .iter()
            .map(|((stage, kind), count)| json!({ "stage": stage, "kind": kind, "count": count }))
            .collect();
        json!({
            "summary": {
                "messages": self.messages,
                "unread": unread,
                "actions": self.actions,
                "edited": self.edited,
                "reasons": reasons,
                "marked": self.marked,
                "marks": marks,
                "faults": faults,
                "cpu-us": { "p50": micros(p50), "p95": micros(p95), "max": micros(max), "sum": micros(sum) },
            }
        })
    }
}

struct Times {
    p50: Duration,
    p95: Duration,
    max: Duration,
    sum: Duration,
}
