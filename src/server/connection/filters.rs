//! What the driver does with filters: asks them, tells them, and keeps the client waiting where one of them wants that.

use std::sync::Arc;

use tokio::time::Instant;

use super::Connection;
use crate::chain::{BodyMode, Call, Context};
use crate::mail::{Stage, Verdict};
use crate::server::wait::hold_back;
use crate::session::{Ask, Ended, Input, Step};

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
        }
        self.chain.meet(self.session.facts(), ask.stage());
        self.narrow();
        self.chain.wants(ask.stage())
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
        let context = self.context();
        let call = match &ask {
            Ask::Connect => Call::Connect,
            Ask::Helo(hello) => Call::Helo(hello),
            Ask::Tls(tls) => Call::Tls(tls),
            Ask::Auth(auth) => Call::Auth(auth),
            Ask::Mail(sender) => Call::Mail(sender),
            Ask::Rcpt(recipient) => Call::Rcpt(recipient),
            Ask::Data => Call::Data,
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

    /// The transaction ended without a message: the filters are told, the log gets its line.
    pub(super) async fn tell(&mut self, ended: Ended) {
        if let Some(message) = self.message.take() {
            self.record.received(message.octets());
            message.abandon(&mut self.leg);
        }
        let Ended { reason, envelope } = ended;
        let context = Context { session: Arc::clone(self.session.facts()), envelope: Some(envelope) };
        self.chain.consult(Call::Abort(self.record.ending(reason)), &context).await;
        if let Some(envelope) = &context.envelope {
            self.record.transaction_ended(&self.session, envelope, &mut self.leg, Some(reason));
        }
    }
}
