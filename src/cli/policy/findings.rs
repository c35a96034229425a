//! What the audit says, and how much of it is surprising.

use std::fmt::Write as _;

use super::trials::Relayed;
use crate::report::printable;

/// Findings about one client that are shown.
const SHOWN_MAX: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) text: String,
    pub(super) surprising: usize,
}

impl Report {
    pub(super) fn line(&mut self, text: &str) {
        // Writing to a text does not fail.
        let _ = writeln!(self.text, "{text}");
    }

    pub(super) fn surprise(&mut self, text: &str) {
        self.surprising += 1;
        self.line(&format!("  SURPRISING  {text}"));
    }

    pub(super) fn relayed(&mut self, who: &str, relayed: &[Relayed<'_>]) {
        let mut text = String::new();
        shown(&mut text, relayed);
        self.surprise(&format!("{who}\n{}", text.trim_end()));
    }
}

/// What was said, and what the server behind would make of it.
pub(super) fn shown(out: &mut String, relayed: &[Relayed<'_>]) {
    for one in relayed.iter().take(SHOWN_MAX) {
        let said: Vec<String> = one.said.iter().map(|line| printable(&String::from_utf8_lossy(line))).collect();
        let (name, said, heard) = (one.trick.name, said.join(", "), printable(&one.heard));
        let _ = writeln!(out, "    {name}: {said}; your server hears {heard}");
    }
    let hidden = relayed.len().saturating_sub(SHOWN_MAX);
    if hidden > 0 {
        let _ = writeln!(out, "    and {hidden} more");
    }
}
