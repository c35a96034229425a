//! What the driver does with content: hands it to the pump, by DATA whole, by BDAT chunk after chunk, or throws it away.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Connection;
use crate::config::Protocol;
use crate::mail::AbortReason;
use crate::server::transfer::{Broken, Message, Parts, Patience, Transfer, swallow};
use crate::session::{BodyOutcome, BodyPlan, Chunk, Input, Step, received};
use crate::smtp::replies;

/// The session asked for a message that belongs to no transaction: a fault of ours.
const NO_MESSAGE: BodyOutcome = BodyOutcome {
    reply: replies::INTERNAL_ERROR,
    each: Vec::new(),
    close: true,
    aborted: Some(AbortReason::UpstreamFailed),
};

impl Connection {
    fn parts(&mut self) -> Parts<'_> {
        // Whose answers were still out at DATA is known now.
        self.narrow();
        let context = self.context();
        Parts {
            io: &mut self.io,
            leg: &mut self.leg,
            chain: &mut self.chain,
            session: &self.session,
            config: &self.generation.config,
            answers: &self.generation.answers,
            record: &mut self.record,
            buffers: &self.gateway.buffers,
            memory: &self.gateway.overload.memory,
            shutdown: &self.gateway.shutdown,
            overdue: self.overdue,
            stressed: self.gateway.overload.is_stressed(),
            delegation: &self.generation.delegation,
            delegated: &mut self.delegated,
            context,
        }
    }

    /// Tells the chain which filters the recipients are for.
    pub(super) fn narrow(&mut self) {
        if let Some(set) = self.session.filters() {
            self.chain.narrow(&set);
        }
    }

    /// Our trace field for the message that begins now.
    fn received(&self) -> Option<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let lmtp = self.session.rules().listener().protocol == Protocol::Lmtp;
        let spoken = received::Spoken { smtp_utf8: self.session.smtp_utf8(), lmtp };
        let hostname = &self.generation.config.hostname;
        // Above our own, as Postfix does.
        let mut field = self.delegated.fields();
        field.push_str(&received::field(self.session.facts(), self.session.envelope()?, hostname, spoken, now));
        Some(field)
    }

    pub(super) async fn receive(&mut self, plan: BodyPlan) -> BodyOutcome {
        let Some(received) = self.received() else { return NO_MESSAGE };
        let gateway = Arc::clone(&self.gateway);
        let _held = gateway.shutdown.receiving();
        let parts = self.parts();
        let mut message = Message::by_dot(&parts, plan, received);
        let outcome = Transfer::new(parts, &mut message).run().await;
        self.pay_octets(message.octets()).await;
        self.received_whole(outcome, true)
    }

    /// The first chunk comes with a plan, the others go on with its message.
    pub(super) async fn receive_chunk(&mut self, chunk: Chunk, plan: Option<BodyPlan>) -> Step {
        let begun = self.message.take();
        let received = plan.and_then(|_| self.received());
        let gateway = Arc::clone(&self.gateway);
        let _held = gateway.shutdown.receiving();
        let parts = self.parts();
        let message = match (plan, received, begun) {
            (Some(plan), Some(received), _) => Some(Box::new(Message::by_chunks(&parts, plan, received))),
            (_, _, begun) => begun,
        };
        let Some(mut message) = message else { return self.session.handle(Input::Received(NO_MESSAGE)) };
        match Transfer::new(parts, &mut message).chunk(chunk).await {
            Some(outcome) => {
                self.pay_octets(message.octets()).await;
                let outcome = self.received_whole(outcome, chunk.last);
                self.session.handle(Input::Received(outcome))
            }
            None => {
                self.message = Some(message);
                self.session.handle(Input::ChunkReceived)
            }
        }
    }

    /// `ended`: the message came to its end, and the client is there to hear what became of it.
    fn received_whole(&mut self, outcome: BodyOutcome, ended: bool) -> BodyOutcome {
        self.record.content_answered(&outcome.reply);
        let heard = matches!(outcome.aborted, None | Some(AbortReason::Refused | AbortReason::UpstreamFailed));
        if ended && heard {
            self.owe_reply(&outcome);
        }
        if outcome.aborted.is_none() {
            if self.owed.is_none() {
                self.chain.end_transaction();
            }
            if let Some(envelope) = self.session.envelope() {
                self.record.transaction_ended(&self.session, envelope, &mut self.leg, None);
            }
        }
        outcome
    }

    /// Reads a refused chunk. An error is how the session goes on, or nothing when the client is gone.
    pub(super) async fn swallow(&mut self, octets: u64) -> Result<(), Option<Step>> {
        let patience = Patience::of(&self.session, &self.generation.config);
        match swallow(&mut self.io, octets, patience).await {
            Ok(()) => Ok(()),
            Err(Broken::Silence) => {
                self.record.ends("timeout");
                Err(Some(self.session.handle(Input::Silence)))
            }
            Err(Broken::Gone | Broken::Endless) => {
                self.gone().await;
                Err(None)
            }
        }
    }
}
