//! What was found: a fact, whether it matters, and what to do about it. Pure.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Of advice.
const COLUMNS_MAX: usize = 110;

/// Whether somebody should do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    Good,
    /// Worth knowing, and nothing to be done.
    Note,
    Warning,
}

/// One thing about the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// A word or two for the margin.
    pub(super) topic: &'static str,
    pub(super) weight: Weight,
    /// Without a full stop.
    pub(super) what: String,
    /// What to do, in whole sentences.
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn good(topic: &'static str, what: impl Into<String>) -> Finding {
        Finding { topic, weight: Weight::Good, what: what.into(), advice: None }
    }

    pub(super) fn note(topic: &'static str, what: impl Into<String>) -> Finding {
        Finding { topic, weight: Weight::Note, what: what.into(), advice: None }
    }

    pub(super) fn warning(topic: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { topic, weight: Weight::Warning, what: what.into(), advice: Some(advice.into()) }
    }

    pub(super) fn is_warning(&self) -> bool {
        self.weight == Weight::Warning
    }
}

/// Everything there is to say about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// `host:port`, as it was asked for.
    pub(super) server: String,
    pub(super) findings: Vec<Finding>,
    /// Lines for the configuration.
    pub(super) toml: String,
}

impl Report {
    pub(super) fn warns(&self) -> bool {
        self.findings.iter().any(Finding::is_warning)
    }

    /// For people. Nothing in it can harm a terminal: replies were cleaned when they were read.
    pub(super) fn text(&self) -> String {
        let mut out = format!("{}\n\n", self.server);
        let width = self.findings.iter().map(|finding| finding.topic.len()).max().unwrap_or_default();
        let mut advised = None;
        for Finding { topic, weight, what, advice } in &self.findings {
            let mark = match weight {
                Weight::Good => "ok  ",
                Weight::Note => "  - ",
                Weight::Warning => "WARN",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{mark}  {topic:width$}  {what}");
            // Once is enough.
            if let Some(advice) = advice.as_ref().filter(|advice| advised != Some(*advice)) {
                wrap(&mut out, advice, width + 8);
                advised = Some(advice);
            }
        }
        let _ = write!(out, "\nFor this server, in wasmilter.toml:\n\n{}", self.toml);
        out
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            let weight = match finding.weight {
                Weight::Good => "good",
                Weight::Note => "note",
                Weight::Warning => "warning",
            };
            json!({ "topic": finding.topic, "weight": weight, "what": finding.what, "advice": finding.advice })
        });
        json!({
            "server": self.server,
            "warnings": self.findings.iter().filter(|finding| finding.is_warning()).count(),
            "findings": findings.collect::<Vec<_>>(),
            "toml": self.toml,
        })
    }
}

/// Words in lines of at most so many columns, where they can be, behind a margin.
fn wrap(out: &mut String, text: &str, margin: usize) {
    let mut column = COLUMNS_MAX;
    for word in text.split(' ') {
        if column + word.len() >= COLUMNS_MAX {
            let end = if column < COLUMNS_MAX { "\n" } else { "" };
            let _ = write!(out, "{end}{:margin$}{word}", "");
            column = margin + word.len();
        } else {
            let _ = write!(out, " {word}");
            column += 1 + word.len();
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_well_for_people_and_programs() {
        let findings =
            vec![Finding::good("banner", "220 mx"), Finding::warning("end of data", "takes LF.LF", "Forbid it.")];
        let report = Report { server: "mx:25".into(), findings, toml: "[upstream]\n".into() };
        assert!(report.warns());
        assert_eq!(
            report.text(),
            "mx:25\n\nok    banner       220 mx\nWARN  end of data  takes LF.LF\n                   Forbid it.\n\n\
             For this server, in wasmilter.toml:\n\n[upstream]\n"
        );
        let value = report.json();
        assert_eq!(value.pointer("/warnings"), Some(&json!(1)));
        assert_eq!(value.pointer("/findings/1/advice"), Some(&json!("Forbid it.")));
    }
}
