//! A filter in shadow: asked like every other, and nothing comes of it. What it would have said is counted beside what
//! happened, and stands in the log; what it changed is taken back before the next filter looks.

use std::time::{Duration, Instant};

use super::link::{IN_TRANSACTION, Link, REPORTS};
use super::outcome::{Opinion, Outcome};
use crate::filter::{Answer, Program, Said, Work};
use crate::mail::{Fault, Stage};

/// What a changed message counts as, where nothing else was said.
const EDIT: &str = "edit";
const FAULT: &str = "fault";

/// Its own deadline, whatever the others have used up.
pub(super) fn deadline(program: &Program, now: Instant) -> Instant {
    now + program.profile().config.bounds.deadline
}

/// Writes down what it would have said. Its changes never were.
pub(super) fn settle(
    link: &mut Link,
    program: &Program,
    stage: Stage,
    answer: Result<Option<Box<Answer>>, Box<Fault>>,
    took: Duration,
    desk: &mut Option<Box<Work>>,
    outcome: &mut Outcome,
) {
    let changed = desk.as_ref().is_some_and(|work| work.is_changed());
    desk.iter_mut().for_each(|work| work.drop_changes());
    let quietly = if changed { EDIT } else { Said::Next.name() };
    let (action, reason) = match answer {
        Ok(answer) => match answer.map(|answer| (answer.action, answer.reason)) {
            None => (quietly, None),
            Some((Said::Next, reason)) => (quietly, reason),
            Some((action, reason)) => {
                go_on(link, stage, action);
                (action.name(), reason)
            }
        },
        Err(fault) => {
            link.leave_out(stage);
            (FAULT, Some(fault.kind.name().to_owned()))
        }
    };
    if action != Said::Next.name() || reason.is_some() {
        let filter = program.profile().name.clone();
        let version = program.version().cloned();
        outcome.shadows.push(Opinion { filter, version, stage, action, reason, time: took });
    }
}

/// What it would be asked after this answer. Had it ended the transaction, there would be nothing more of it.
fn go_on(link: &mut Link, stage: Stage, said: Said) {
    match said {
        Said::Skip => link.skip_body(),
        Said::Accept => link.accept(stage),
        _ if IN_TRANSACTION.contains(stage) && stage != Stage::Rcpt => link.accept(stage),
        _ => {}
    }
}

/// The stage is over: what each would have said, beside what was said.
pub(super) fn compare(stage: Stage, outcome: &Outcome) {
    if REPORTS.contains(stage) {
        return;
    }
    let happened = outcome.verdict.action.name();
    for said in &outcome.shadows {
        let filter = said.filter.to_string();
        metrics::counter!("wasmilter_shadow_total", "filter" => filter, "said" => said.action, "happened" => happened)
            .increment(1);
    }
}
