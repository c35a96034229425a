//! What the driver does with limits over sessions: asks them, and lets the client wait where one of them wants that.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Connection;
use crate::config::{Counted, Limit};
use crate::mail::SessionFacts;
use crate::policy::limits::Subject;
use crate::report::event;
use crate::report::metrics::Login;
use crate::server::limits::{Door, Ruling};
use crate::server::wait::hold_back;
use crate::session::{Charge, Input, Step};
use crate::state::limits::{How, RateCheck, Refused};

const ONE: NonZeroU32 = NonZeroU32::MIN;

impl Connection {
    /// None when the client left while it was kept waiting.
    pub(super) async fn charge(&mut self, charge: &Charge) -> Option<Step> {
        if *charge == Charge::Message {
            self.begin_marks();
        }
        let room = self.note_charge(charge);
        if room.is_err() || !self.rates {
            return Some(self.session.handle(Input::Charged(room)));
        }
        self.pay_errors().await;
        let asks: &[_] = match charge {
            Charge::Message => &[
                (Counted::Messages, How::Charge, ONE),
                (Counted::Bytes, How::Look, ONE),
                (Counted::Errors, How::Look, ONE),
            ],
            Charge::Recipient => {
                &[(Counted::Recipients, How::Charge, ONE), (Counted::DistinctRecipients, How::Charge, ONE)]
            }
            Charge::AuthAttempt { .. } | Charge::AuthGood { .. } => &[(Counted::AuthFailures, How::Look, ONE)],
            Charge::AuthFailure { .. } => &[(Counted::AuthFailures, How::Charge, ONE)],
        };
        let account = match charge {
            Charge::AuthAttempt { account } | Charge::AuthGood { account } | Charge::AuthFailure { account, .. } => {
                Some(&**account)
            }
            Charge::Message | Charge::Recipient => None,
        };
        let facts = Arc::clone(self.session.facts());
        let rates = self.quotas(charge, &facts);
        let ruling = match self.rule(rates, asks, account).await {
            Ok(ruling) => ruling,
            Err(Refused { which, .. }) => {
                self.record.limited(&self.session, which);
                return Some(self.session.handle(Input::Charged(Err(which))));
            }
        };
        if let Charge::AuthGood { account } = charge {
            self.gateway.limits.logged_in(facts.peer.ip(), account);
        }
        for limit in &ruling.tags {
            self.mark(limit);
        }
        let delay = ruling.delay.max(self.delay_of(charge));
        if !delay.is_zero() && ruling.refusal.is_none() {
            let until = self.overdue.min(Instant::now() + delay);
            if !hold_back(&mut self.io, &self.gateway.shutdown, until).await {
                return self.gone_meanwhile().await;
            }
        }
        Some(self.session.handle(match ruling.refusal {
            Some(reply) => Input::Limited(reply),
            None => Input::Charged(Ok(())),
        }))
    }

    /// Those who guess wait longer and longer. Nobody else does: it is about the address, not about the account.
    fn delay_of(&self, charge: &Charge) -> Duration {
        match (charge, self.generation.config.rates.auth_failure_delay) {
            (Charge::AuthFailure { .. }, Some(first)) => {
                self.gateway.limits.auth_delay(self.session.facts().peer.ip(), first)
            }
            _ => Duration::ZERO,
        }
    }

    /// What is noted of it in any case, and whether there is memory for it.
    fn note_charge(&self, charge: &Charge) -> Result<(), &'static str> {
        match charge {
            Charge::AuthFailure { mechanism, account } => {
                self.record.login(Login::Bad);
                event::auth_failed(self.session.facts(), *mechanism, account);
            }
            Charge::AuthGood { .. } => self.record.login(Login::Good),
            _ => {}
        }
        if *charge == Charge::Message && !self.gateway.overload.memory.has_room_for_messages() {
            self.record.limited(&self.session, "memory");
            return Err("memory");
        }
        Ok(())
    }

    /// What `[rates]` has to say to it.
    fn quotas<'a>(&self, charge: &'a Charge, facts: &'a SessionFacts) -> Vec<RateCheck<'a>> {
        let (address, identity) = (facts.peer.ip(), facts.auth.as_ref().map(|auth| &*auth.identity));
        let limits = &self.gateway.limits;
        match charge {
            Charge::Message => limits.message_checks(address, identity),
            Charge::Recipient => limits.recipient_checks(address, identity, ONE),
            Charge::AuthAttempt { account } | Charge::AuthGood { account } => {
                limits.auth_checks(address, Some(account))
            }
            Charge::AuthFailure { account, .. } => limits.auth_failure_checks(address, account),
        }
    }

    async fn rule(
        &mut self,
        rates: Vec<RateCheck<'_>>,
        asks: &[(Counted, How, NonZeroU32)],
        account: Option<&str>,
    ) -> Result<Ruling, Refused> {
        let facts = Arc::clone(self.session.facts());
        let (sender, recipient) = self.session.charged();
        let own = Subject::of(&facts);
        let subject = Subject { identity: account.or(own.identity), sender, recipient, ..own };
        self.gateway.rule(rates, asks, Door::Command, &subject, Some(&facts.id)).await
    }

    /// Commands that were refused since they were last counted.
    pub(super) async fn pay_errors(&mut self) {
        let errors = self.session.errors();
        let fresh = NonZeroU32::new(errors.saturating_sub(self.toll.errors_paid));
        self.toll.errors_paid = errors;
        if let Some(fresh) = fresh.filter(|_| self.rates) {
            let _ = self.rule(Vec::new(), &[(Counted::Errors, How::Owe, fresh)], None).await;
        }
    }

    /// So many octets of content came, whatever became of them.
    pub(super) async fn pay_octets(&mut self, octets: u64) {
        let kib = u32::try_from(octets.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        if let Some(kib) = NonZeroU32::new(kib).filter(|_| self.rates) {
            let _ = self.rule(Vec::new(), &[(Counted::Bytes, How::Owe, kib)], None).await;
        }
    }

    /// The connection itself was marked as it came in.
    pub(in crate::server) fn arrives_marked(&mut self, limits: Vec<Arc<Limit>>) {
        self.toll.marked = limits;
    }

    /// A transaction begins with the marks of its connection.
    fn begin_marks(&mut self) {
        self.chain.forget_tags();
        self.record.forget_tags();
        for limit in std::mem::take(&mut self.toll.marked) {
            self.mark(&limit);
            self.toll.marked.push(limit);
        }
    }

    fn mark(&mut self, limit: &Arc<Limit>) {
        self.chain.tag(&limit.name);
        self.record.tag(&limit.name);
    }
}
