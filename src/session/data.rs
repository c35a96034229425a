//! DATA up to its 354, and what the session makes of the message's end.

use crate::config::Protocol;
use crate::mail::{AbortReason, Stage, Verdict};
use crate::smtp::{Reply, replies};

use super::group::Awaited;
use super::phase::{Pending, Phase};
use super::weigh::{Weighed, weigh};
use super::{Ask, BodyOutcome, BodyPlan, Session, Step};

impl Session {
    pub(super) fn check_data(&mut self) -> Step {
        let Phase::Addressed(transaction) = &self.phase else {
            return self.refuse(match self.phase {
                Phase::Greeted(_) => replies::NEED_MAIL,
                _ => replies::NEED_HELO,
            });
        };
        if let Some(lost) = &transaction.lost {
            return self.say(lost.clone());
        }
        // RFC 3030 2 and 3: DATA and BDAT do not mix, and what is binary cannot end in a dot.
        if transaction.chunked.is_some() {
            return self.refuse(replies::CHUNKS_BEGUN);
        }
        if transaction.binary {
            return self.refuse(replies::BINARY_NEEDS_BDAT);
        }
        if transaction.envelope.recipients.is_empty() && self.group.recipients() == 0 {
            return self.refuse(if transaction.attempts == 0 {
                replies::NEED_RCPT
            } else {
                replies::NO_VALID_RECIPIENTS
            });
        }
        self.pending = Pending::Data;
        Step::Consult(Ask::Data)
    }

    pub(super) fn weigh_data(&mut self, verdict: Verdict) -> Step {
        match weigh(Stage::Data, verdict) {
            Weighed::Refuse(reply) => self.relay_reply(reply),
            Weighed::Disconnect(reply) => self.part(reply, AbortReason::Refused),
            Weighed::Discard => self.receive(BodyPlan::Discard),
            Weighed::Quarantine(why) => {
                self.quarantine(why);
                self.receive(BodyPlan::Hold)
            }
            Weighed::Pass if self.hold || self.defers() => self.receive(BodyPlan::Hold),
            Weighed::Pass => self.forward(Awaited::Data, b"DATA\r\n".to_vec()),
        }
    }

    fn receive(&mut self, plan: BodyPlan) -> Step {
        self.pending = Pending::Content;
        Step::Receive(plan)
    }

    pub(super) fn settle_data(&mut self, answer: Result<Reply, Reply>) -> Step {
        let Phase::Addressed(transaction) = &self.phase else {
            return self.part(replies::INTERNAL_ERROR, AbortReason::UpstreamFailed);
        };
        // Of those that filters added one may be left, although all the client's own were refused.
        let nobody = transaction.envelope.recipients.is_empty();
        match answer {
            Ok(reply) if nobody && reply.code == 354 => {
                let then = if transaction.added.is_empty() {
                    self.lone_dot(replies::NO_VALID_RECIPIENTS)
                } else {
                    self.forsake(replies::NO_VALID_RECIPIENTS)
                };
                self.ended(AbortReason::Refused, then)
            }
            Ok(_) if nobody => self.refuse(replies::NO_VALID_RECIPIENTS),
            Ok(reply) if reply.code == 354 => self.receive(BodyPlan::Stream),
            Ok(reply) => self.relay_reply(reply),
            Err(failure) => self.lose_transaction(failure),
        }
    }

    /// The transaction is over, whatever became of the message.
    pub(super) fn settle_content(&mut self, outcome: BodyOutcome) -> Step {
        let BodyOutcome { reply, each, close, aborted } = outcome;
        let mut answers = self.for_each_recipient(reply, each);
        let reply = answers.pop().unwrap_or(replies::INTERNAL_ERROR);
        let then = if close {
            answers.push(reply);
            Step::Close(answers)
        } else if aborted.is_none() {
            // Who delivers mail is no dictionary attacker.
            self.errors = 0;
            self.idle_commands = 0;
            self.say_last(answers, reply)
        } else if answers.is_empty() {
            self.relay_reply(reply)
        } else {
            self.say_last(answers, reply)
        };
        if let Some(reason) = aborted {
            return self.ended(reason, then);
        }
        if let Phase::Addressed(transaction) = std::mem::take(&mut self.phase) {
            self.phase = Phase::Greeted(transaction.hello);
        }
        then
    }

    /// Whether the client hears about each recipient after the message.
    #[must_use]
    pub fn answers_each(&self) -> bool {
        self.rules.listener().protocol == Protocol::Lmtp
    }

    /// SMTP answers once; LMTP answers for every recipient that was accepted, in their order (RFC 2033 4.2): with what
    /// the upstream said about each, or with what it said about the message.
    #[must_use]
    pub fn for_each_recipient(&self, reply: Reply, each: Vec<Reply>) -> Vec<Reply> {
        let Phase::Addressed(transaction) = &self.phase else { return vec![reply] };
        let recipients = transaction.envelope.recipients.len();
        match self.rules.listener().protocol {
            Protocol::Smtp => vec![reply],
            Protocol::Lmtp if each.len() == recipients && recipients > 0 => each,
            Protocol::Lmtp => vec![reply; recipients.max(1)],
        }
    }

    pub(super) fn say_last(&mut self, before: Vec<Reply>, reply: Reply) -> Step {
        if before.is_empty() {
            return self.say(reply);
        }
        for reply in before.into_iter().chain([reply]) {
            self.group.push(Awaited::Said(reply));
        }
        self.advance()
    }

    /// The upstream is lost inside a transaction. What it accepted is promised to nobody; every further RCPT and
    /// DATA of this transaction hears the same 4xx, because a 503 would be read as "for good".
    pub(super) fn lose_transaction(&mut self, failure: Reply) -> Step {
        let reply = match &mut self.phase {
            Phase::Addressed(transaction) => transaction.lost.get_or_insert(failure).clone(),
            _ => failure,
        };
        self.say(reply)
    }
}
