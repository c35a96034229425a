//! What the driver does with filters: asks them, tells them, and keeps the client waiting where one of them wants that.

use std::sync::Arc;

use tokio::time::Instant;

use super::Connection;
use crate::chain::{BodyMode, Call, Context};
use crate::mail::{RecipientReply, Stage, Verdict};
use crate::server::wait::hold_back;
use crate::session::{Ask, BodyOutcome, Ended, Input, Step};

impl Connection {
    pub(super) fn context(&self) -> Context {
        Context { session: Arc::clone(self.session.facts()), envelope: self.session.envelope().cloned() }
    }

    /// Whether any filter wants to hear of this. MAIL begins anew: whoever was content with, or failed in, a
    /// transaction that never came to be is asked again.
    pub(super) fn wants(&mut self, ask: &Ask) -> bool {
        if matches!(ask, Ask::Mail(_)) {
            self.chain.end_transaction();
            self.record.mail_comes();
            self.delegated.begin_transaction();
        }
        self.chain.meet(self.session.facts(), ask.stage());
        self.narrow();
        if matches!(ask, Ask::Rcpt(_)) {
            self.session.set_tells_replies(self.chain.wants(Stage::RcptReply));
        }
        self.delegates(ask).is_some() || self.chain.wants(ask.stage())
    }

    /// No filter wants this stage.
    pub(super) fn unasked(&mut self, stage: Stage) -> Step {
        self.choose_mode(stage);
        self.session.handle(Input::Verdict(Verdict::NEXT, Vec::new()))
    }

    /// None when the client left while it was kept waiting.
    pub(super) async fn consult(&mut self, ask: Ask) -> Option<Step> {
        let stage = ask.stage();
        if self.chain.wants_names() {
            self.learn_names().await;
        }
        if let Some(refused) = self.delegate(&ask).await {
            self.choose_mode(stage);
            return Some(self.session.handle(Input::Verdict(refused, Vec::new())));
        }
        let context = self.context();
        let call = match &ask {
            Ask::Connect => Call::Connect,
            Ask::Helo(hello) => Call::Helo(hello),
            Ask::Tls(tls) => Call::Tls(tls),
            Ask::Auth(auth) => Call::Auth(auth),
            Ask::Mail(sender) => Call::Mail(sender),
            Ask::Rcpt(recipient) => Call::Rcpt(recipient),
            Ask::Data => Call::Data,
            Ask::Unknown(command) => Call::Unknown(command),
        };
        let outcome = self.chain.consult(call, &context).await;
        self.record.heard(&outcome);
        self.choose_mode(stage);
        if !outcome.delay.is_zero() {
            let until = self.overdue.min(Instant::now() + outcome.delay);
            if !hold_back(&mut self.io, &self.gateway.shutdown, until).await {
                return self.gone_meanwhile().await;
            }
        }
        Some(self.session.handle(Input::Verdict(outcome.verdict, outcome.edits)))
    }

    /// Which filters still want the message is known when they have heard of DATA.
    fn choose_mode(&mut self, stage: Stage) {
        if stage == Stage::Data {
            self.session.set_hold(self.chain.body_mode() == BodyMode::Hold);
        }
    }

    /// The filters are told what the upstream said to a recipient.
    pub(super) async fn tell_reply(&mut self, told: &RecipientReply) {
        let context = self.context();
        let outcome = self.chain.consult(Call::RcptReply(told), &context).await;
        self.record.heard(&outcome);
    }

    /// What became of a message, for the filters: `each` are the answers of LMTP. Kept until the client has its answer:
    /// it would take one that is late for none, and send the message again.
    pub(super) fn owe_reply(&mut self, outcome: &BodyOutcome) {
        self.chain.meet(self.session.facts(), Stage::Reply);
        let Some(envelope) = self.session.envelope().filter(|_| self.chain.wants(Stage::Reply)) else { return };
        let each = match self.session.answers_each() {
            true => self.session.for_each_recipient(outcome.reply.clone(), outcome.each.clone()),
            false => Vec::new(),
        };
        let each = envelope.recipients.iter().cloned().zip(each).collect();
        let delivery = self.record.delivery(outcome.reply.clone(), each);
        self.owed = Some(Box::new((delivery, self.context())));
    }

    /// Tells the filters what became of the message, when that is still to be told.
    pub(super) async fn pay_reply(&mut self) {
        let Some(owed) = self.owed.take() else { return };
        let (delivery, context) = *owed;
        self.chain.consult(Call::Reply(&delivery), &context).await;
        self.chain.end_transaction();
    }

    /// The transaction ended without a message: the filters are told, the log gets its line.
    pub(super) async fn tell(&mut self, ended: Ended) {
        if let Some(message) = self.message.take() {
            self.record.received(message.octets());
            message.abandon(&mut self.leg);
        }
        if let Some(owed) = self.owed.take() {
            self.chain.consult(Call::Reply(&owed.0), &owed.1).await;
        }
        let Ended { reason, envelope } = ended;
        let context = Context { session: Arc::clone(self.session.facts()), envelope: Some(envelope) };
        self.chain.consult(Call::Abort(self.record.ending(reason)), &context).await;
        if let Some(envelope) = &context.envelope {
            self.record.transaction_ended(&self.session, envelope, &mut self.leg, Some(reason));
        }
    }
}
