//! One message and what the filter did with it, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::diff;
use super::super::envelope::Guessed;
use super::super::inspect::show_octets;
use super::super::mails::Mail;
use super::super::paint::Paint;
use super::super::play::{Ended, Played};
use crate::report::printable;

/// Columns before what is said.
const LABEL_COLUMNS: usize = 12;

/// For people, in a few lines and a diff.
pub(super) fn text(mail: &Mail, envelope: &Guessed, played: &Played, paint: Paint) -> String {
    let mut out = format!("{}\n", paint.bold(&printable(&mail.name)));
    for (label, lines) in facts(envelope, played, paint) {
        let mut label = label;
        for line in lines {
            // Writing to a text does not fail.
            let _ = writeln!(out, "  {label:<LABEL_COLUMNS$}{line}");
            label = "";
        }
    }
    if let Some(changed) = &played.changed {
        out.push('\n');
        for line in diff::unified(&mail.content, changed, ("as it came", "as it leaves")) {
            let _ = writeln!(out, "{}", paint.diff(&line));
        }
    }
    out
}

fn facts(envelope: &Guessed, played: &Played, paint: Paint) -> Vec<(&'static str, Vec<String>)> {
    let to: Vec<&str> = envelope.recipients.iter().map(|to| to.path.as_str()).collect();
    let mut facts = vec![
        ("from", vec![format!("<{}> ({})", printable(envelope.sender.path.as_str()), envelope.sender_from)]),
        ("to", vec![format!("{} ({})", printable(&to.join(", ")), envelope.recipients_from)]),
    ];
    for (recipient, ended) in &played.refused {
        facts.push(("refused", said(&format!("{} at {} for {recipient}", ended.action, ended.stage.name()), ended)));
    }
    let action = paint.action(played.action());
    facts.push((
        "verdict",
        match &played.ended {
            Some(ended) => said(&format!("{action} at {}", ended.stage.name()), ended),
            None => vec![action],
        },
    ));
    let opinions: Vec<String> = played
        .opinions
        .iter()
        .map(|opinion| {
            let reason = opinion.reason.as_deref().map(|reason| format!(": {}", printable(reason))).unwrap_or_default();
            format!("{} at {}{reason}", opinion.action, opinion.stage.name())
        })
        .collect();
    facts.push(("said", opinions));
    facts.push(("edits", played.edits.iter().map(|edit| printable(edit)).collect()));
    facts.push(("marks", played.marked.lines().iter().map(|mark| printable(mark)).collect()));
    facts.push(("log", played.log.iter().flat_map(log_line).collect()));
    let costs = played.costs.iter().map(|(stage, cost)| {
        let calls = if cost.calls == 1 { "1 call".to_owned() } else { format!("{} calls", cost.calls) };
        format!("{:<11} {calls:<9} {:>9} of processor, {:>9} in all", stage.name(), time(cost.cpu), time(cost.wall))
    });
    facts.push(("cost", costs.collect()));
    let memory = if played.memory_bytes == 0 {
        String::new()
    } else {
        format!(", memory {}", show_octets(played.memory_bytes as u64))
    };
    facts.push((
        "",
        vec![format!("together {} of processor, {} in all{memory}", time(played.cpu()), time(played.wall()))],
    ));
    facts
}

/// What the client hears.
fn said(what: &str, ended: &Ended) -> Vec<String> {
    let reason = ended.reason.as_deref().map(|reason| format!(" ({})", printable(reason))).unwrap_or_default();
    let when = if ended.action == "quarantine" { ", once the place that is granted has the message" } else { "" };
    let heard = ended.reply().into_iter().map(|line| format!("the client hears {}{when}", printable(&line)));
    std::iter::once(format!("{what}{reason}")).chain(heard).collect()
}

/// A fault's backtrace is many lines in one.
pub(in super::super) fn log_line(line: &super::super::watch::Line) -> Vec<String> {
    let level = line.level.as_str().to_ascii_lowercase();
    let mut parts = line.text.split(" | ").map(printable);
    let first = parts.next().unwrap_or_default();
    std::iter::once(format!("{level}: {first}")).chain(parts.map(|part| format!("    {part}"))).collect()
}

/// "12.3 µs".
pub(in super::super) fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..1_000.0 => format!("{micros:.1} µs"),
        1_000.0..1_000_000.0 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// For programs: all of it.
pub(super) fn json(mail: &Mail, envelope: &Guessed, played: &Played) -> Value {
    let ended = |ended: &Ended| json!({ "stage": ended.stage.name(), "action": ended.action, "reply": ended.reply(), "reason": ended.reason });
    let to: Vec<&str> = envelope.recipients.iter().map(|to| to.path.as_str()).collect();
    let opinions: Vec<Value> = played
        .opinions
        .iter()
        .map(|said| json!({ "stage": said.stage.name(), "action": said.action, "reason": said.reason }))
        .collect();
    let refused: Vec<Value> =
        played.refused.iter().map(|(to, why)| json!({ "recipient": to, "refused": ended(why) })).collect();
    let log: Vec<Value> =
        played.log.iter().map(|line| json!({ "level": line.level.as_str(), "text": line.text })).collect();
    let costs: Vec<Value> = played
        .costs
        .iter()
        .map(|(stage, cost)| {
            json!({ "stage": stage.name(), "calls": cost.calls, "cpu-us": micros(cost.cpu), "wall-us": micros(cost.wall) })
        })
        .collect();
    let diff =
        played.changed.as_deref().map(|changed| diff::unified(&mail.content, changed, ("as it came", "as it leaves")));
    json!({
        "message": mail.name,
        "from": envelope.sender.path.as_str(),
        "from-taken-from": envelope.sender_from,
        "to": to,
        "to-taken-from": envelope.recipients_from,
        "action": played.action(),
        "ended": played.ended.as_ref().map(ended),
        "refused": refused,
        "said": opinions,
        "edits": played.edits,
        "marks": played.marked.json(),
        "diff": diff,
        "log": log,
        "cost": costs,
        "cpu-us": micros(played.cpu()),
        "wall-us": micros(played.wall()),
        "memory-octets": played.memory_bytes,
    })
}

/// With one decimal.
pub(in super::super) fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}
