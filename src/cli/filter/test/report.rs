//! How a dialog went, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::paint::Paint;
use super::super::run::log_line;
use super::Tried;
use crate::dialog::{Failure, How, Why};
use crate::report::printable;

/// Lines of the filter's log that are shown.
const LOG_LINES_MAX: usize = 60;

/// One line for what is as it should be, and for the rest what is not.
pub(super) fn text(tried: &Tried, dialog: &str, paint: Paint) -> String {
    let name = printable(&tried.path.display().to_string());
    let Some(failure) = &tried.failure else { return format!("{} {name}\n", paint.good("ok    ")) };
    let line = failure.line.map(|line| format!(":{line}")).unwrap_or_default();
    let mut out = format!("{} {name}{line} ({})\n", paint.bad("FAILED"), way(failure.how));
    let mut say = |line: &str| {
        // Writing to a text does not fail.
        let _ = writeln!(out, "  {line}");
    };
    if let Some(written) = failure.line.and_then(|line| dialog.lines().nth(line.saturating_sub(1))) {
        say(&paint.dim(&format!("> {}", printable(written.trim_start()))));
    }
    match &failure.why {
        Why::Other(what) => what.lines().for_each(|line| say(&printable(line))),
        Why::Differs { mark, expected, heard } => {
            expected.iter().for_each(|line| say(&paint.bad(&format!("-{mark} {}", printable(line)))));
            heard.iter().for_each(|line| say(&paint.good(&format!("+{mark} {}", printable(line)))));
        }
    }
    failure.meanwhile.iter().for_each(|line| say(&format!("meanwhile {}", printable(line))));
    let log: Vec<String> = tried.log.iter().flat_map(log_line).collect();
    if !log.is_empty() {
        say("log:");
        log.iter().take(LOG_LINES_MAX).for_each(|line| say(&format!("  {line}")));
    }
    for question in &tried.unanswered {
        say(&format!("asked, and not answered here: {}", printable(question)));
    }
    say(&format!("help: {}", help(failure, tried)));
    out
}

fn way(how: How) -> &'static str {
    match how {
        How::AsWritten => "as written",
        How::OctetByOctet => "octet by octet",
        How::OnePacket => "with each group of commands in one packet",
    }
}

/// What to do next.
fn help(failure: &Failure, tried: &Tried) -> &'static str {
    let faults = tried.log.iter().any(|line| !line.own && line.text.starts_with("a filter failed"));
    match &failure.why {
        _ if faults => "the filter failed, see its log above: mend that first",
        _ if !tried.unanswered.is_empty() => "write the answer into the head of the dialog (docs/dialogs.md)",
        Why::Differs { .. } if failure.how != How::AsWritten => {
            "as written it passes, so what the filter says depends on where packets end; \
             or say `replay: as-written` in the head"
        }
        Why::Differs { .. } => {
            "- is what the dialog says, + what was said: change the filter, or the line if the filter is right"
        }
        Why::Other(_) => {
            "docs/dialogs.md describes what a dialog may say, and `wasmilter filter run` tries one message alone"
        }
    }
}

/// The end of all.
pub(super) fn last(tried: usize, failed: usize, paint: Paint) -> String {
    let dialogs = if tried == 1 { "1 dialog".to_owned() } else { format!("{tried} dialogs") };
    let passed = format!("{} passed", tried - failed);
    let failed_shown = format!("{failed} failed");
    let failed_shown = if failed > 0 { paint.bad(&failed_shown) } else { failed_shown };
    format!("\n{dialogs}: {}, {failed_shown}", paint.good(&passed))
}

pub(super) fn json(tried: &Tried) -> Value {
    let failure = tried.failure.as_ref().map(|failure| {
        let (mark, expected, heard, what) = match &failure.why {
            Why::Differs { mark, expected, heard } => (Some(mark), Some(expected), Some(heard), None),
            Why::Other(what) => (None, None, None, Some(what)),
        };
        json!({
            "line": failure.line,
            "way": way(failure.how),
            "mark": mark,
            "expected": expected,
            "heard": heard,
            "what": what,
            "meanwhile": failure.meanwhile,
            "help": help(failure, tried),
        })
    });
    let log: Vec<Value> =
        tried.log.iter().map(|line| json!({ "level": line.level.as_str(), "text": line.text })).collect();
    json!({
        "dialog": tried.path.display().to_string(),
        "passed": tried.failure.is_none(),
        "failure": failure,
        "log": log,
        "unanswered": tried.unanswered,
    })
}
