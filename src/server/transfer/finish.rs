//! The end of a message: the last verdict, the final dot, the answer. The only file that sends a dot of its own.

use std::sync::Arc;

use tokio::time::Instant;

use crate::chain::{Call, Held};
use crate::config::PolicyStage;
use crate::mail::{AbortReason, Action, Edit, Stage};
use crate::policy::delegation::Question;
use crate::server::delegation::refusal;
use crate::server::wait::hold_back;
use crate::session::{BodyOutcome, BodyPlan, Errand, Purpose};
use crate::smtp::ehlo::Offer;
use crate::smtp::{Reply, replies};

use crate::upstream::Telling;

use super::{Broken, CHUNK_BYTES_MAX, Course, Fate, Part, Transfer};

/// Held content goes upstream in pieces of this size.
const SEND_BYTES: usize = 4 * CHUNK_BYTES_MAX;

impl Transfer<'_> {
    pub(super) async fn finish(&mut self) -> BodyOutcome {
        let drained = Course::Drain(Fate::upstream_failed(replies::INTERNAL_ERROR));
        let fate = match std::mem::replace(&mut self.message.course, drained) {
            Course::Drain(fate) => fate,
            Course::Forward(None) => self.answer().await,
            Course::Forward(Some(held)) => self.release(held).await,
            Course::Hold(held) => self.deliver_held(held).await,
            // The last piece completes every header block.
            Course::Head(_) => Fate::upstream_failed(replies::INTERNAL_ERROR),
        };
        let mut each = self.with.leg.take_each();
        if self.message.quarantined.is_some() {
            for reply in each.iter_mut().filter(|reply| reply.class() != 2) {
                *reply = replies::FILTER_DEFERRED;
            }
        }
        // Taken for one of them is taken, to a client that hears about each.
        let taken = self.with.session.answers_each() && each.iter().any(|reply| reply.class() == 2);
        let aborted = fate.aborted.filter(|_| !taken);
        BodyOutcome { reply: fate.reply, each, close: fate.close, aborted }
    }

    /// The client left, fell silent, or will not stop: nothing it sent is delivered.
    pub(super) async fn broken(&mut self, broken: Broken) -> BodyOutcome {
        let (reply, reason) = match broken {
            Broken::Gone => (replies::TIMEOUT, AbortReason::ClientGone),
            Broken::Silence => (replies::TIMEOUT, AbortReason::Timeout),
            Broken::Endless => match &self.message.course {
                Course::Drain(fate) => (Reply { code: 421, ..fate.reply.clone() }, AbortReason::Refused),
                _ => (replies::TIMEOUT, AbortReason::Refused),
            },
        };
        self.turn(Fate { reply: reply.clone(), aborted: Some(reason), close: true }).await;
        BodyOutcome { reply, each: Vec::new(), close: true, aborted: Some(reason) }
    }

    /// The dot (or the last chunk) is out: whatever the upstream says now is the client's answer.
    pub(super) async fn answer(&mut self) -> Fate {
        match self.message.outbound.answer(self.with.leg).await {
            Ok(reply) if reply.class() == 2 => Fate { reply, aborted: None, close: false },
            Ok(reply) => Fate::refused(reply),
            Err(reply) => Fate::upstream_failed(reply),
        }
    }

    async fn consult_message(&mut self, held: &mut Held) -> Result<Vec<Edit>, Fate> {
        let mut edits = Vec::new();
        if self.message.quarantined.is_none() {
            edits = self.ask_message(held).await?;
        }
        if self.with.io.is_gone().await {
            return Err(Fate { reply: replies::TIMEOUT, aborted: Some(AbortReason::ClientGone), close: true });
        }
        Ok(edits)
    }

    /// The policy daemons, before the filters.
    async fn ask_daemons(&mut self) -> Result<(), Fate> {
        if !self.with.is_asked_last() {
            return Ok(());
        }
        let question = Question {
            stage: PolicyStage::EndOfMessage,
            facts: &self.with.context.session,
            envelope: self.with.context.envelope.as_deref(),
            helo: None,
            sender: None,
            recipient: None,
            size: self.message.octets(),
            context: "",
            stress: self.with.stressed,
        };
        let verdict = Box::pin(self.with.delegation.ask(question, self.with.delegated)).await;
        if verdict.action != Action::Next {
            self.with.record.heard(&refusal(Stage::Message, &verdict));
        }
        self.weigh(Stage::Message, verdict)
    }

    async fn ask_message(&mut self, held: &mut Held) -> Result<Vec<Edit>, Fate> {
        self.ask_daemons().await?;
        let outcome = self.with.chain.consult(Call::Message(held), &self.with.context).await;
        self.with.record.heard(&outcome);
        if !outcome.delay.is_zero() {
            let until = self.with.overdue.min(Instant::now() + outcome.delay);
            // Whether the client is gone is looked at behind this.
            hold_back(self.with.io, self.with.shutdown, until).await;
        }
        self.weigh(Stage::Message, outcome.verdict)?;
        Ok(outcome.edits)
    }

    /// Everything but the dot is upstream; the filters at `message` decide whether it follows.
    async fn release(&mut self, mut held: Box<Held>) -> Fate {
        if let Err(fate) = self.consult_message(&mut held).await {
            self.with.leg.abort();
            return fate;
        }
        match self.message.outbound.send(self.with.leg, b"", Part::Last).await {
            Ok(()) => self.answer().await,
            Err(fate) => fate,
        }
    }

    /// The filters speak, then the upstream hears what they made of it.
    async fn deliver_held(&mut self, mut held: Box<Held>) -> Fate {
        let edits = match self.consult_message(&mut held).await {
            Ok(edits) => edits,
            Err(fate) => {
                self.with.leg.reset().await;
                return fate;
            }
        };
        if let Some(why) = self.message.quarantined.clone() {
            return self.deliver_quarantined(&why, &held).await;
        }
        match self.say_held(edits, &held).await {
            Ok(()) => self.answer().await,
            Err(fate) => fate,
        }
    }

    async fn say_held(&mut self, edits: Vec<Edit>, held: &Held) -> Result<(), Fate> {
        let upstream = self.reach().await?;
        let lines = match self.with.session.late_edits(edits, &upstream) {
            Ok(lines) => lines,
            Err(reply) => {
                self.with.leg.reset().await;
                return Err(Fate::refused(reply));
            }
        };
        if !self.with.leg.replay(&lines).await.map_err(Fate::upstream_failed)? {
            // The client was told otherwise when it said MAIL and RCPT.
            self.with.leg.reset().await;
            if !self.with.session.defers() {
                return Err(Fate::refused(replies::EDIT_REFUSED_UPSTREAM));
            }
            for question in self.with.session.questions() {
                self.with.answers.forget(&question);
            }
            return Err(Fate::refused(replies::UPSTREAM_ANSWERS_OTHERWISE));
        }
        self.send_message(held).await
    }

    /// The envelope stands upstream: DATA, and the message.
    pub(super) async fn send_message(&mut self, held: &Held) -> Result<(), Fate> {
        if self.message.outbound.is_dots() {
            let reply = self.with.leg.forward(Errand::Data, b"DATA\r\n").await.map_err(Fate::upstream_failed)?;
            if reply.code != 354 {
                self.with.leg.reset().await;
                return Err(Fate::refused(reply));
            }
        }
        // From here on a failure leaves the upstream without a dot.
        self.message.plan = BodyPlan::Stream;
        let sent = self.send_held(held).await;
        if sent.is_err() {
            self.with.leg.abort();
        }
        sent
    }

    /// A deferred message has no upstream yet.
    async fn reach(&mut self) -> Result<Arc<Offer>, Fate> {
        let session = self.with.session;
        if !session.defers() {
            return Ok(session.upstream_offer());
        }
        let reached =
            self.with.leg.reach(session.facts(), session.upstream(), Purpose::Transaction, Telling::Now).await;
        reached.map_err(|unreached| Fate::upstream_failed(unreached.reply))
    }

    async fn send_held(&mut self, held: &Held) -> Result<(), Fate> {
        let received = self.message.received.as_bytes();
        let mut content = Vec::with_capacity(received.len() + held.headers.octets() + SEND_BYTES);
        content.extend_from_slice(received);
        held.headers.write_into(&mut content);
        let (mut offset, len) = (0, held.body.len());
        loop {
            let piece = held.body.read_at(offset, SEND_BYTES).await.map_err(|error| self.with.spool_failed(&error))?;
            offset += piece.len() as u64;
            content.extend_from_slice(&piece);
            // The last octets and the dot leave in one write.
            let part = if offset < len { Part::More } else { Part::Last };
            self.message.outbound.send(self.with.leg, &content, part).await?;
            if part == Part::Last {
                return Ok(());
            }
            content.clear();
        }
    }
}
