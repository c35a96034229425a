//! One stage, all filters: who is asked, until when, and what their answers come to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::{IN_TRANSACTION, Link, REPORTS};
use super::load::ListenerChain;
use super::outcome::{Call, Context, Opinion, Outcome};
use super::session::State;
use super::shadow;
use crate::config::OnFault;
use crate::filter::{Answer, Program, Said, Work};
use crate::mail::{Action, Envelope, Fault, FaultKind, Stage, Verdict};
use crate::smtp::replies;

/// Asks every filter that wants this stage, in order, until one objects.
pub(super) async fn run(chain: &ListenerChain, state: &mut State, mut call: Call<'_>, ctx: &Context) -> Outcome {
    let stage = call.stage();
    let mut outcome = Outcome::NEXT;
    let mut desk = Some(lay_out(state, &mut call, ctx));
    let mut now = Instant::now();
    for (link, program) in state.links.iter_mut().zip(&chain.programs) {
        if !program.stages().contains(stage) || !link.wants(stage) {
            continue;
        }
        let in_shadow = program.is_shadow();
        let deadline = match in_shadow {
            true => shadow::deadline(program, now),
            false => now + time_left(chain, program, stage, state.spent),
        };
        let answer = ask(link, program, &call, &mut desk, now, deadline).await;
        let then = Instant::now();
        let took = then.duration_since(now);
        now = then;
        link.time += took;
        outcome.time += took;
        link.calls = link.calls.saturating_add(1);
        if in_shadow {
            let answer = answer.inspect_err(|fault| note_fault(ctx, program, fault));
            shadow::settle(link, program, stage, answer, took, &mut desk, &mut outcome);
            continue;
        }
        if IN_TRANSACTION.contains(stage) {
            state.spent += took;
        }
        let ends = match answer {
            Ok(answer) => {
                desk.iter_mut().for_each(|work| work.keep_changes());
                answer.is_some_and(|answer| settle(link, program, stage, *answer, took, &mut outcome))
            }
            Err(fault) => {
                // What it changed before it broke does not count.
                desk.iter_mut().for_each(|work| work.drop_changes());
                settle_fault(link, program, ctx, &fault, took, &mut outcome)
            }
        };
        if ends {
            break;
        }
    }
    if let Some(work) = &mut desk {
        outcome.edits = std::mem::take(&mut work.edits);
        outcome.marks.clone_from(&work.marks);
        outcome.delay = work.delay;
        give_back(work, call, chain.keeps_headers);
    }
    state.work = desk;
    if !outcome.shadows.is_empty() {
        shadow::compare(stage, &outcome);
    }
    if REPORTS.contains(stage) {
        outcome.verdict = Verdict::NEXT;
    }
    outcome
}

/// Puts session, envelope and message on the desk.
fn lay_out(state: &mut State, call: &mut Call<'_>, ctx: &Context) -> Box<Work> {
    let mut work = state.work.take().unwrap_or_else(|| Box::new(Work::new(ctx.session.clone())));
    if !Arc::ptr_eq(&work.session, &ctx.session) {
        work.session.clone_from(&ctx.session);
    }
    work.envelope.clone_from(&ctx.envelope);
    work.stage = call.stage();
    work.sender = None;
    work.recipient = None;
    work.edits.clear();
    work.delay = Duration::ZERO;
    match call {
        Call::Headers(block) => work.headers = Some(Arc::new(std::mem::take(*block))),
        Call::Message(held) => {
            work.headers = Some(Arc::new(std::mem::take(&mut held.headers)));
            work.held = Some(std::mem::take(*held));
        }
        // What was remembered of the header block, if anything.
        Call::Body(_) => {}
        Call::Mail(sender) => {
            work.headers = None;
            // Before the session has an envelope to show, this is what is known of it.
            let id = &ctx.session.id;
            work.envelope.get_or_insert_with(|| {
                Arc::new(Envelope { id: Arc::clone(id), sender: (*sender).clone(), recipients: Vec::new() })
            });
        }
        _ => work.headers = None,
    }
    work
}

/// The message goes back to where it came from, with what the filters made of it.
fn give_back(work: &mut Work, call: Call<'_>, keeps_headers: bool) {
    match call {
        Call::Headers(block) => {
            let left = work.headers.take().unwrap_or_default();
            if keeps_headers {
                work.headers = Some(Arc::clone(&left));
            }
            *block = Arc::unwrap_or_clone(left);
        }
        Call::Message(held) => {
            *held = work.held.take().unwrap_or_default();
            held.headers = work.headers.take().map(Arc::unwrap_or_clone).unwrap_or_default();
        }
        _ => {}
    }
}

/// The filter's own deadline, or what is left for all filters of this message.
fn time_left(chain: &ListenerChain, program: &Program, stage: Stage, spent: Duration) -> Duration {
    let own = program.profile().config.bounds.deadline;
    if IN_TRANSACTION.contains(stage) { own.min(chain.message_deadline.saturating_sub(spent)) } else { own }
}

/// Asks one filter; a body in pieces of the size the contract allows.
async fn ask(
    link: &mut Link,
    program: &Program,
    call: &Call<'_>,
    desk: &mut Option<Box<Work>>,
    now: Instant,
    deadline: Instant,
) -> Result<Option<Box<Answer>>, Box<Fault>> {
    if deadline <= now {
        let why = "the time all filters of this message have together is used up".into();
        return Err(program.fault(call.stage(), FaultKind::Deadline, why));
    }
    let mut rest = call.ask();
    loop {
        let (piece, more) = rest.split();
        let answer = link.ask(program, piece, desk, now, deadline).await?;
        match more {
            Some(more) if answer.as_ref().is_none_or(|answer| answer.action == Said::Next) => rest = more,
            _ => return Ok(answer),
        }
    }
}

/// Writes the answer down. True: nobody else is asked.
fn settle(
    link: &mut Link,
    program: &Program,
    stage: Stage,
    answer: Answer,
    took: Duration,
    outcome: &mut Outcome,
) -> bool {
    let Answer { action: said, reply, reason } = answer;
    if said != Said::Next || reason.is_some() {
        outcome.opinions.push(Opinion {
            filter: program.profile().name.clone(),
            version: program.version().cloned(),
            stage,
            action: said.name(),
            reason: reason.clone(),
            time: took,
        });
    }
    let action = match said {
        Said::Next => return false,
        // The only acceptance that is an answer; without one it is no opinion.
        Said::Accept if stage == Stage::Unknown => match reply {
            Some(_) => Action::Answer,
            None => return false,
        },
        Said::Accept => {
            link.accept(stage);
            return false;
        }
        Said::Skip => {
            link.skip_body();
            return false;
        }
        Said::Reject => Action::Reject,
        Said::Defer => Action::Defer,
        Said::Discard => Action::Discard,
        Said::Quarantine => Action::Quarantine,
        Said::Disconnect => Action::Disconnect,
    };
    outcome.verdict = Verdict { action, reply, filter: Some(program.profile().name.clone()), reason };
    true
}

/// A fault becomes what the operator wants it to be. True: nobody else is asked.
fn settle_fault(
    link: &mut Link,
    program: &Program,
    ctx: &Context,
    fault: &Fault,
    took: Duration,
    outcome: &mut Outcome,
) -> bool {
    let kind = fault.kind.name();
    note_fault(ctx, program, fault);
    let name = fault.filter.clone();
    let reason = Some(kind.to_owned());
    let version = program.version().cloned();
    let opinion = Opinion { filter: name.clone(), version, stage: fault.stage, action: "fault", reason, time: took };
    outcome.opinions.push(opinion);
    // Of a report nothing comes, and the others are still told.
    if REPORTS.contains(fault.stage) {
        return false;
    }
    let (action, reply) = match program.profile().config.on_fault {
        // Not the filter's: what the operator wants of its faults, `next` above all, is not meant for this.
        _ if fault.kind == FaultKind::NoInstance => (Action::Disconnect, replies::FILTERS_FULL),
        OnFault::Next => {
            link.leave_out(fault.stage);
            return false;
        }
        OnFault::Defer => (Action::Defer, replies::FILTER_FAULT),
        OnFault::Reject => (Action::Reject, replies::FILTER_FAULT_REJECTED),
        OnFault::Disconnect => (Action::Disconnect, replies::FILTER_FAULT_DISCONNECTED),
    };
    let reason = Some(format!("fault: {kind}"));
    outcome.verdict = Verdict { action, reply: Some(reply), filter: Some(name), reason };
    true
}

/// For the operator: a line and a number.
pub(super) fn note_fault(ctx: &Context, program: &Program, fault: &Fault) {
    program.profile().memory.failed();
    let kind = fault.kind.name();
    tracing::warn!(
        filter = %fault.filter,
        version = program.version().map(|version| &**version),
        stage = fault.stage.name(),
        kind,
        session = %ctx.session.id,
        transaction = ctx.envelope.as_ref().map(|envelope| &*envelope.id),
        detail = %fault.detail,
        "a filter failed"
    );
    metrics::counter!("wasmilter_faults_total", "filter" => fault.filter.to_string(), "kind" => kind).increment(1);
}
