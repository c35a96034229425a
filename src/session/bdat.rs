//! BDAT (RFC 3030): a message in counted chunks. The first chunk is what DATA is, up to the upstream's 354; the others
//! go on with it. Whatever is answered, exactly the octets of the chunk are read first, so that content is never taken
//! for commands; where that cannot be done the session ends.

use crate::mail::{AbortReason, Stage, Verdict};
use crate::smtp::{Reply, replies};

use super::group::Awaited;
use super::phase::{Pending, Phase};
use super::weigh::{Weighed, weigh};
use super::{Ask, BodyOutcome, BodyPlan, Chunk, Session, Step};

/// The largest refused chunk that is read to its end.
pub const SWALLOWED_BYTES_MAX: u64 = 64 * 1_024 * 1_024;

impl Session {
    pub(super) fn check_bdat(&mut self, chunk: Chunk) -> Step {
        let max = self.limits.message_bytes;
        let Phase::Addressed(transaction) = &mut self.phase else {
            let refusal = match self.phase {
                Phase::Greeted(_) => replies::NEED_MAIL,
                _ => replies::NEED_HELO,
            };
            return self.swallow(chunk, vec![refusal]);
        };
        if let Some(lost) = &transaction.lost {
            let lost = lost.clone();
            let answers = self.answers_to(chunk, lost);
            return self.swallow(chunk, answers);
        }
        if transaction.envelope.recipients.is_empty() {
            let none_tried = transaction.attempts == 0;
            let refusal = if none_tried { replies::NEED_RCPT } else { replies::NO_VALID_RECIPIENTS };
            return self.refuse_chunk(chunk, refusal);
        }
        let begun = transaction.chunked.is_some();
        let octets = transaction.chunked.unwrap_or(0).saturating_add(chunk.octets);
        if max.is_some_and(|max| octets > max) {
            return self.refuse_chunk(chunk, replies::MESSAGE_TOO_BIG);
        }
        transaction.chunked = Some(octets);
        if begun {
            return self.receive_chunk(chunk, None);
        }
        self.pending = Pending::Bdat(chunk);
        Step::Consult(Ask::Data)
    }

    pub(super) fn weigh_bdat(&mut self, chunk: Chunk, verdict: Verdict) -> Step {
        match weigh(Stage::Data, verdict) {
            Weighed::Refuse(reply) => self.refuse_chunk(chunk, reply),
            Weighed::Disconnect(reply) => self.part(reply, AbortReason::Refused),
            Weighed::Discard => self.receive_chunk(chunk, Some(BodyPlan::Discard)),
            Weighed::Quarantine(why) => {
                self.quarantine(why);
                self.receive_chunk(chunk, Some(BodyPlan::Hold))
            }
            Weighed::Pass if self.hold || self.defers() => self.receive_chunk(chunk, Some(BodyPlan::Hold)),
            // The upstream hears BDAT as well: nothing has to be asked before.
            Weighed::Pass if self.is_binary() => self.receive_chunk(chunk, Some(BodyPlan::Stream)),
            Weighed::Pass => self.forward(Awaited::Bdat(chunk), b"DATA\r\n".to_vec()),
        }
    }

    pub(super) fn settle_bdat(&mut self, chunk: Chunk, answer: Result<Reply, Reply>) -> Step {
        match answer {
            Ok(reply) if reply.code == 354 => self.receive_chunk(chunk, Some(BodyPlan::Stream)),
            Ok(reply) => self.refuse_chunk(chunk, reply),
            Err(failure) => {
                self.lose_transaction(failure.clone());
                let answers = self.answers_to(chunk, failure);
                self.swallow(chunk, answers)
            }
        }
    }

    fn receive_chunk(&mut self, chunk: Chunk, plan: Option<BodyPlan>) -> Step {
        self.pending = Pending::Chunk(chunk);
        Step::ReceiveChunk(chunk, plan)
    }

    /// A chunk of nothing moves nothing.
    pub(super) fn chunk_received(&mut self, chunk: Chunk) -> Step {
        let reply = replies::octets_received(chunk.octets);
        if chunk.octets == 0 { self.idle(reply) } else { self.say(reply) }
    }

    /// The message is over, or lost. Behind a chunk that was refused its transaction is over as well: what of it is
    /// still on its way is a 503 each, and nobody takes the rest of a message for the whole. Only where the upstream
    /// was lost the rest hears the same 4xx.
    pub(super) fn settle_chunks(&mut self, chunk: Chunk, outcome: BodyOutcome) -> Step {
        match outcome {
            outcome if chunk.last => self.settle_content(outcome),
            BodyOutcome { reply, close: true, .. } => self.ended(AbortReason::Refused, Step::Close(vec![reply])),
            BodyOutcome { reply, aborted: Some(AbortReason::UpstreamFailed), .. } => self.lose_transaction(reply),
            BodyOutcome { reply, aborted, .. } => {
                let then = self.relay_reply(reply);
                self.ended(aborted.unwrap_or(AbortReason::Refused), then)
            }
        }
    }

    /// The last chunk is answered as the message is (RFC 2033 4.3), the others once.
    fn answers_to(&self, chunk: Chunk, reply: Reply) -> Vec<Reply> {
        if chunk.last { self.for_each_recipient(reply, Vec::new()) } else { vec![reply] }
    }

    /// Refuses a chunk of the transaction at hand, and with it the transaction: had the first chunk been refused and
    /// the next been taken, half a message would be delivered.
    fn refuse_chunk(&mut self, chunk: Chunk, reply: Reply) -> Step {
        if chunk.octets > SWALLOWED_BYTES_MAX {
            return self.unreadable(reply);
        }
        let answers = self.answers_to(chunk, reply);
        let then = if self.is_upstream() {
            self.forward(Awaited::ChunkRefused(chunk, answers), b"RSET\r\n".to_vec())
        } else {
            self.swallow(chunk, answers)
        };
        self.ended(AbortReason::Refused, then)
    }

    /// Reads the chunk to its end and answers it.
    pub(super) fn swallow(&mut self, chunk: Chunk, mut answers: Vec<Reply>) -> Step {
        let reply = answers.pop().unwrap_or(replies::INTERNAL_ERROR);
        if chunk.octets > SWALLOWED_BYTES_MAX {
            return self.unreadable(reply);
        }
        let then = if answers.is_empty() { self.relay_reply(reply) } else { self.say_last(answers, reply) };
        match then {
            close @ Step::Close(_) => close,
            then => Step::Swallow(chunk.octets, Box::new(then)),
        }
    }

    /// What follows cannot be read, or is too much to be read: the answer, and the end.
    pub(super) fn unreadable(&mut self, reply: Reply) -> Step {
        self.errors = self.errors.saturating_add(1);
        self.ended(AbortReason::Refused, Step::Close(vec![reply, replies::CHUNK_UNREAD]))
    }
}
