//! Colours, where a terminal is looked at.

use std::io::IsTerminal;

/// Puts colours around words, or nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    /// For what is written to standard output.
    pub(super) fn stdout() -> Paint {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Paint(std::io::stdout().is_terminal() && !plain)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// A word that a filter's answer is shown by.
    pub(super) fn action(self, action: &str) -> String {
        match action {
            "next" => self.good(action),
            "fault" => self.with("1;31", action),
            _ => self.with("33", action),
        }
    }

    /// Lines of a unified diff.
    pub(super) fn diff(self, line: &str) -> String {
        match line.as_bytes().first() {
            Some(b'+') => self.good(line),
            Some(b'-') => self.bad(line),
            Some(b'@') => self.dim(line),
            _ => line.to_owned(),
        }
    }
}
