//! What changed between two texts, as a unified diff that a terminal can show.

use std::time::Duration;

use similar::TextDiff;

use crate::report::printable;

/// Lines around a change.
const CONTEXT_LINES: usize = 3;
/// How long a diff may look for the shortest form.
const SEARCH_MAX: Duration = Duration::from_secs(1);
/// Lines that are shown.
const LINES_MAX: usize = 400;

/// The lines of a unified diff, printable; empty where nothing differs.
pub(super) fn unified(before: &[u8], after: &[u8], names: (&str, &str)) -> Vec<String> {
    let (before, after) = (shown(before), shown(after));
    let diff = TextDiff::configure().timeout(SEARCH_MAX).diff_lines(&before, &after);
    let text = diff.unified_diff().context_radius(CONTEXT_LINES).header(names.0, names.1).to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.len() > LINES_MAX {
        let left = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(format!("… and {left} more lines"));
    }
    lines
}

/// Each line as it can be shown, and with one kind of end.
fn shown(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    text.lines().map(|line| printable(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_shown_and_nothing_else() {
        let lines = unified(b"A: 1\r\nB: 2\r\n\r\nx\r\n", b"A: 1\r\nC: \x1b[2J\r\n\r\nx\r\n", ("came", "leaves"));
        let wanted = ["--- came", "+++ leaves", "@@ -1,4 +1,4 @@", " A: 1", "-B: 2", "+C: \\u{1b}[2J", " ", " x"];
        assert_eq!(lines, wanted);
        assert!(unified(b"a\n", b"a\r\n", ("a", "b")).is_empty());
    }

    #[test]
    fn a_flood_is_cut() {
        let long: Vec<u8> = b"x\n".repeat(10_000);
        let lines = unified(b"", &long, ("a", "b"));
        assert!(lines.len() == LINES_MAX + 1 && lines.last().is_some_and(|last| last.starts_with('…')));
    }
}
