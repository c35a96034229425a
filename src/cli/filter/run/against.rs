//! Two versions of a filter over the same messages: where they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::diff;
use super::super::mails::Mail;
use super::super::paint::Paint;
use super::super::play::Played;
use crate::report::printable;

/// Changed messages that are listed.
const LISTED_MAX: usize = 100;
/// Of those, how many are shown with what differs in their edits.
const DIFFS_MAX: usize = 10;

/// One message, taken by both.
pub(super) struct Pair {
    pub mail: Mail,
    pub first: Played,
    pub second: Played,
}

/// What differs so far.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub messages: u64,
    /// By both actions.
    table: BTreeMap<(&'static str, &'static str), u64>,
    changed: u64,
    listed: Vec<Changed>,
}

#[derive(Debug)]
struct Changed {
    message: String,
    first: String,
    second: String,
    /// Of what leaves, in words and as a diff.
    edits: Vec<String>,
}

/// Action, reply and reason.
fn verdict(played: &Played) -> String {
    match &played.ended {
        None => played.action().to_owned(),
        Some(ended) => {
            let reason = ended.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("{} at {}: {}{reason}", ended.action, ended.stage.name(), ended.reply().join(" / "))
        }
    }
}

impl Comparison {
    pub(super) fn count(&mut self, pair: &Pair) {
        let Pair { mail, first, second } = pair;
        self.messages += 1;
        *self.table.entry((first.action(), second.action())).or_default() += 1;
        let same_recipients = first.refused == second.refused;
        let same_edits = first.edits == second.edits && first.changed == second.changed;
        let same_marks = first.marked.lines() == second.marked.lines();
        let same_verdict = first.ended == second.ended && first.action() == second.action();
        if same_verdict && same_recipients && same_edits && same_marks {
            return;
        }
        self.changed += 1;
        if self.listed.len() >= LISTED_MAX {
            return;
        }
        let mut edits = Vec::new();
        for (mark, one, two) in [('-', first, second), ('+', second, first)] {
            let only = one.edits.iter().filter(|edit| !two.edits.contains(edit));
            edits.extend(only.map(|edit| format!("{mark}{}", printable(edit))));
            let (of_one, of_two) = (one.marked.lines(), two.marked.lines());
            let only = of_one.iter().filter(|line| !of_two.contains(line));
            edits.extend(only.map(|line| format!("{mark}{}", printable(line))));
            let only = one.refused.iter().filter(|refused| !two.refused.contains(refused));
            edits.extend(
                only.map(|(to, ended)| format!("{mark}{}", printable(&format!("{to}: {}", ended.reply().join(" / "))))),
            );
        }
        if first.changed != second.changed && self.listed.len() < DIFFS_MAX {
            let leaves = |played: &Played| played.changed.clone().unwrap_or_else(|| mail.content.clone());
            edits.extend(diff::unified(&leaves(first), &leaves(second), ("this", "the other")));
        }
        self.listed.push(Changed { message: mail.name.clone(), first: verdict(first), second: verdict(second), edits });
    }

    pub(super) fn is_same(&self) -> bool {
        self.changed == 0
    }

    pub(super) fn text(&self, (this, other): (&str, &str), paint: Paint) -> String {
        let mut out = String::new();
        // Writing to a text does not fail.
        for changed in &self.listed {
            let _ = writeln!(out, "{}", paint.bold(&printable(&changed.message)));
            let _ = writeln!(out, "  this   {}\n  other  {}", printable(&changed.first), printable(&changed.second));
            for line in &changed.edits {
                let _ = writeln!(out, "  {}", paint.diff(line));
            }
            out.push('\n');
        }
        if self.changed > self.listed.len() as u64 {
            let _ = writeln!(out, "… and {} more messages\n", self.changed - self.listed.len() as u64);
        }
        let _ = writeln!(out, "this: {}, other: {}\n", printable(this), printable(other));
        out.push_str(&self.confusion());
        let _ = writeln!(out, "\n{} of {} messages differ", self.changed, self.messages);
        out
    }

    /// A row for each answer of this one, a column for each of the other.
    fn confusion(&self) -> String {
        let rows: BTreeSet<&str> = self.table.keys().map(|(first, _)| *first).collect();
        let columns: BTreeSet<&str> = self.table.keys().map(|(_, second)| *second).collect();
        let mut out = format!("  {:<16}", "this \\ other");
        columns.iter().for_each(|column| out.push_str(&format!("{column:>12}")));
        out.push('\n');
        for row in rows {
            let _ = write!(out, "  {row:<16}");
            for column in &columns {
                let count = self.table.iter().find(|((first, second), _)| first == &row && second == column);
                let _ = write!(out, "{:>12}", count.map_or("·".to_owned(), |(_, count)| count.to_string()));
            }
            out.push('\n');
        }
        out
    }

    pub(super) fn json(&self, (this, other): (&str, &str)) -> Value {
        let table: Vec<Value> = self
            .table
            .iter()
            .map(|((first, second), count)| json!({ "this": first, "other": second, "messages": count }))
            .collect();
        let listed: Vec<Value> = self
            .listed
            .iter()
            .map(|changed| {
                json!({ "message": changed.message, "this": changed.first, "other": changed.second, "edits": changed.edits })
            })
            .collect();
        json!({
            "this": this,
            "other": other,
            "messages": self.messages,
            "different": self.changed,
            "actions": table,
            "changed": listed,
        })
    }
}
