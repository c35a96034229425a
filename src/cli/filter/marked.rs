//! What a filter did with a message beside its verdict: points, words, answers it has held back, servers it chose.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::chain::Outcome;
use crate::mail::{Marks, Stage};

/// Of one message.
#[derive(Debug, Default)]
pub(super) struct Marked {
    marks: Option<Arc<Marks>>,
    /// Of each stage how many answers, and for how long all of them.
    delays: BTreeMap<Stage, (u32, Duration)>,
    upstreams: Vec<String>,
}

/// Of what kind a mark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Points,
    Tag,
    Delay,
    Upstream,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Points => "points",
            Kind::Tag => "tag",
            Kind::Delay => "delay",
            Kind::Upstream => "upstream",
        }
    }

    /// For people. `amount` is that of points, or of seconds.
    pub(super) fn show(self, name: &str, amount: f64) -> String {
        // Sums of decimal fractions have a tail of nines.
        let amount = (amount * 1e3).round() / 1e3;
        match self {
            Kind::Points => format!("{name}: {amount:+} points"),
            Kind::Tag => format!("tag {name}"),
            Kind::Delay => format!("answers at {name} are held back for {amount} s"),
            Kind::Upstream => format!("goes to the upstream \"{name}\""),
        }
    }
}

impl Marked {
    /// What came of one call.
    pub(super) fn add(&mut self, stage: Stage, outcome: &Outcome) {
        // After the transaction they are gone.
        if outcome.marks.is_some() {
            self.marks.clone_from(&outcome.marks);
        }
        if !outcome.delay.is_zero() {
            let (answers, together) = self.delays.entry(stage).or_default();
            *answers = answers.saturating_add(1);
            *together = together.saturating_add(outcome.delay);
        }
    }

    /// It is to go there; a word for each choice, though it was made for many recipients.
    pub(super) fn chose(&mut self, name: &str) {
        if self.upstreams.iter().all(|known| known != name) {
            self.upstreams.push(name.to_owned());
        }
    }

    /// Each mark with the points or seconds of it.
    pub(super) fn each(&self) -> impl Iterator<Item = (Kind, &str, f64)> {
        let marks = self.marks.as_deref();
        let symbols = marks.map(Marks::symbols).unwrap_or_default().iter();
        let tags = marks.map(Marks::tags).unwrap_or_default().iter();
        let delays =
            self.delays.iter().map(|(stage, (_, together))| (Kind::Delay, stage.name(), together.as_secs_f64()));
        symbols
            .map(|symbol| (Kind::Points, &*symbol.name, symbol.points))
            .chain(tags.map(|tag| (Kind::Tag, &**tag, 0.0)))
            .chain(delays)
            .chain(self.upstreams.iter().map(|name| (Kind::Upstream, name.as_str(), 0.0)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.each().next().is_none()
    }

    /// For people, a line each; the details of points are the filter's own words.
    pub(super) fn lines(&self) -> Vec<String> {
        let symbols = self.marks.as_deref().map(Marks::symbols).unwrap_or_default();
        let details = symbols.iter().map(|symbol| symbol.detail.as_deref());
        let details = details.map(|detail| detail.map(|detail| format!(" ({detail})")).unwrap_or_default());
        let shown = self.each().map(|(kind, name, amount)| kind.show(name, amount));
        let mut lines: Vec<String> =
            shown.zip(details.chain(std::iter::repeat(String::new()))).map(|(line, detail)| line + &detail).collect();
        if let (Some(marks), 2..) = (&self.marks, symbols.len()) {
            lines.insert(symbols.len(), Kind::Points.show("together", marks.total()));
        }
        lines
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let marks = self.marks.as_deref();
        let symbols: Vec<Value> = marks
            .map(Marks::symbols)
            .unwrap_or_default()
            .iter()
            .map(|symbol| json!({ "name": *symbol.name, "points": symbol.points, "detail": symbol.detail.as_deref() }))
            .collect();
        let tags: Vec<&str> = marks.map(Marks::tags).unwrap_or_default().iter().map(|tag| &**tag).collect();
        let delays: Vec<Value> = self
            .delays
            .iter()
            .map(|(stage, (answers, together))| {
                json!({ "stage": stage.name(), "answers": answers, "seconds": together.as_secs_f64() })
            })
            .collect();
        json!({
            "points": marks.map_or(0.0, Marks::total),
            "symbols": symbols,
            "tags": tags,
            "delays": delays,
            "upstreams": self.upstreams,
        })
    }
}
