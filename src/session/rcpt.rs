//! RCPT: relay policy before anybody else hears of the recipient, and again after filters rewrote it.

use crate::mail::{AbortReason, Action, Edit, Recipient, RecipientReply, Stage, Verdict};
use crate::policy::relay::{self, Denied, Standing};
use crate::policy::tables::{Judged, Told};
use crate::smtp::ehlo::Offer;
use crate::smtp::params::{Params, RcptParams};
use crate::smtp::{ForwardPath, Reply, replies};

use super::access::{Said, tell_rules};
use super::group::Awaited;
use super::lookup::Waiting;
use super::mail::{Passage, passage};
use super::phase::{Pending, Phase, Rcpt, Transaction};
use super::weigh::{Weighed, weigh};
use super::{Ask, Charge, Session, Step};

impl Session {
    pub(super) fn hear_rcpt(&mut self, path: ForwardPath, params: Params) -> Step {
        if let Phase::Addressed(transaction) = &mut self.phase {
            transaction.told = Told::default();
        }
        self.check_rcpt(path, params)
    }

    pub(super) fn check_rcpt(&mut self, path: ForwardPath, params: Params) -> Step {
        let standing = self.standing();
        let (max, offered) = (self.recipients_max(), self.offered);
        let Phase::Addressed(transaction) = &mut self.phase else {
            return self.refuse(match self.phase {
                Phase::Greeted(_) => replies::NEED_MAIL,
                _ => replies::NEED_HELO,
            });
        };
        if let Some(lost) = &transaction.lost {
            let lost = lost.clone();
            return self.say(lost);
        }
        if transaction.chunked.is_some() {
            return self.refuse(replies::CHUNKS_BEGUN);
        }
        let full = max.is_some_and(|max| transaction.envelope.recipients.len() >= max);
        if !full && let Some(wanted) = self.to_ask(&path) {
            return self.look_up(wanted, Waiting::Said(path, params));
        }
        let Phase::Addressed(transaction) = &mut self.phase else { return self.refuse(replies::NEED_MAIL) };
        transaction.attempts = transaction.attempts.saturating_add(1);
        if full {
            return self.say(replies::TOO_MANY_RECIPIENTS);
        }
        let utf8 = transaction.smtp_utf8;
        if let Err(reply) = RcptParams::check(&params, &offered) {
            return self.refuse(reply);
        }
        if !path.is_ascii() && !utf8 {
            return self.refuse(replies::SMTPUTF8_NEEDED);
        }
        if let Err(denied) = self.permitted(standing, &path) {
            return self.relay_reply(denied);
        }
        let told = match self.rules_permit(Said::Rcpt(&path)) {
            Ok(told) => told,
            Err(refused) => return refused,
        };
        let filters = match self.filters_for(&path) {
            Ok(filters) => filters,
            Err(others) => {
                let step = self.say(others);
                return tell_rules(told, step);
            }
        };
        let said = Recipient { path, params };
        let rcpt = Rcpt { recipient: said.clone(), said, to_add: Vec::new(), filters, route: None };
        self.pending = Pending::RcptGate(Box::new(rcpt));
        tell_rules(told, Step::Charge(Charge::Recipient))
    }

    /// Relay policy.
    pub(super) fn permitted(&self, standing: Standing, path: &ForwardPath) -> Result<(), Reply> {
        match self.judge(|relay, tables| relay::permits(relay, tables, standing, path)) {
            Judged::Clear(permitted) => permitted.map(drop).map_err(|denied| match denied {
                Denied::NotOurs => replies::RELAY_DENIED,
                Denied::Routing => replies::ROUTING_DENIED,
                Denied::Literal => replies::LITERAL_DENIED,
                Denied::Unsure => replies::STANDING_UNKNOWN,
            }),
            Judged::Ask(_) | Judged::Doubt => Err(replies::LOOKUP_FAILED),
        }
    }

    pub(super) fn rcpt_gate(&mut self, rcpt: Box<Rcpt>, room: Result<(), &'static str>) -> Step {
        if room.is_err() {
            return self.say(replies::TOO_MANY_RECIPIENTS_NOW);
        }
        let ask = Ask::Rcpt(rcpt.said.clone());
        self.pending = Pending::Rcpt(rcpt);
        Step::Consult(ask)
    }

    pub(super) fn weigh_rcpt(&mut self, mut rcpt: Box<Rcpt>, verdict: Verdict, edits: Vec<Edit>) -> Step {
        let refused = matches!(verdict.action, Action::Reject | Action::Defer | Action::Disconnect);
        if !refused && let Some(wanted) = self.to_ask_of(&edits) {
            return self.look_up(wanted, Waiting::Weighed(rcpt, verdict, edits));
        }
        match weigh(Stage::Rcpt, verdict) {
            Weighed::Pass | Weighed::Discard | Weighed::Quarantine(_) => {}
            Weighed::Refuse(reply) => return self.relay_reply(reply),
            Weighed::Disconnect(reply) => return self.part(reply, AbortReason::Refused),
        }
        let standing = self.standing();
        for edit in edits {
            let (recipient, beyond_relay, added) = match edit {
                Edit::ReplaceRecipient { recipient, beyond_relay } => (recipient, beyond_relay, false),
                Edit::AddRecipient { recipient, beyond_relay } => (recipient, beyond_relay, true),
                Edit::Route(upstream) => {
                    rcpt.route = Some(upstream);
                    continue;
                }
                Edit::SetSender(_) | Edit::RemoveRecipient { .. } => continue,
            };
            // A filter's word never widens what the client may do.
            if !beyond_relay && let Err(denied) = self.permitted(standing, &recipient.path) {
                return self.relay_reply(denied);
            }
            if added {
                rcpt.to_add.push(recipient);
            } else {
                rcpt.recipient = recipient;
            }
        }
        self.bring_rcpt(rcpt)
    }

    /// Recipients that filters added go first: while one of them can be refused, the client was promised nothing.
    pub(super) fn forward_rcpt(&mut self, rcpt: Box<Rcpt>) -> Step {
        let Phase::Addressed(transaction) = &self.phase else {
            return self.part(replies::INTERNAL_ERROR, AbortReason::UpstreamFailed);
        };
        let next = rcpt.to_add.first().unwrap_or(&rcpt.recipient);
        match line(transaction, &transaction.upstream, next) {
            Ok(line) => self.forward(Awaited::Rcpt(rcpt), line),
            Err(reply) => self.say(reply),
        }
    }

    pub(super) fn settle_rcpt(&mut self, mut rcpt: Box<Rcpt>, answer: Result<Reply, Reply>) -> Step {
        let reply = match answer {
            Ok(reply) => reply,
            // The connection is gone and the transaction with it: nothing that was accepted is promised any more.
            Err(failure) => {
                let told = self.to_tell(&rcpt, &failure);
                let then = if self.defers() { self.say(failure) } else { self.lose_transaction(failure) };
                return tell(told, then);
            }
        };
        let Phase::Addressed(transaction) = &mut self.phase else {
            return self.part(replies::INTERNAL_ERROR, AbortReason::UpstreamFailed);
        };
        let accepted = reply.class() == 2;
        if !rcpt.to_add.is_empty() {
            if !accepted {
                let told = self.to_tell(&rcpt, &replies::EDIT_REFUSED_UPSTREAM);
                let then = self.say(replies::EDIT_REFUSED_UPSTREAM);
                return tell(told, then);
            }
            transaction.added.push(rcpt.to_add.remove(0));
            return self.forward_rcpt(rcpt);
        }
        self.settled(rcpt, reply)
    }

    /// The client hears this of the recipient, and the filters before it.
    pub(super) fn settled(&mut self, rcpt: Box<Rcpt>, reply: Reply) -> Step {
        let told = self.to_tell(&rcpt, &reply);
        if let Phase::Addressed(transaction) = &mut self.phase
            && reply.class() == 2
        {
            transaction.accept(*rcpt);
        }
        let then = self.relay_reply(reply);
        tell(told, then)
    }

    /// What the filters are told of a recipient that is answered like this; None where nobody listens.
    pub(super) fn to_tell(&self, rcpt: &Rcpt, answer: &Reply) -> Option<Box<RecipientReply>> {
        let told = || RecipientReply {
            said: rcpt.said.path.clone(),
            recipient: rcpt.recipient.clone(),
            answer: answer.clone(),
        };
        self.tells_replies.then(|| Box::new(told()))
    }
}

pub(super) fn tell(told: Option<Box<RecipientReply>>, then: Step) -> Step {
    match told {
        Some(told) => Step::TellReply(told, Box::new(then)),
        None => then,
    }
}

pub(super) fn line(transaction: &Transaction, upstream: &Offer, recipient: &Recipient) -> Result<Vec<u8>, Reply> {
    if !recipient.path.is_ascii() && !transaction.smtp_utf8 {
        return Err(replies::FILTER_FAULT);
    }
    let mut line = format!("RCPT TO:<{}>", recipient.path.as_str()).into_bytes();
    for param in recipient.params.iter() {
        match passage(upstream, param) {
            Passage::Forward => line.extend_from_slice(format!(" {param}").as_bytes()),
            Passage::Ours => {}
            Passage::Lost => return Err(replies::UPSTREAM_CHANGED),
        }
    }
    line.extend_from_slice(b"\r\n");
    Ok(line)
}
