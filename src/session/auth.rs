//! AUTH (RFC 4954): gates, the SASL exchange, the verifier's answer.

use std::sync::Arc;

use crate::config::ListenerAuth;
use crate::mail::{AbortReason, AuthFacts, Stage, Verdict};
use crate::smtp::replies;
use crate::smtp::sasl::{self, Exchange, Mechanism, Secret};

use super::phase::{Pending, Phase};
use super::weigh::{Weighed, weigh};
use super::{Ask, Charge, Identity, Session, Step};

impl Session {
    pub(super) fn check_auth(&mut self, mechanism: &str, initial: Option<&Secret>) -> Step {
        if self.rules.listener().auth == ListenerAuth::Off || self.config().auth.is_none() {
            return self.refuse(replies::AUTH_NOT_OFFERED);
        }
        if self.facts.auth.is_some() {
            return self.refuse(replies::AUTH_TWICE);
        }
        match self.phase {
            Phase::Connected | Phase::Refused => return self.refuse(replies::NEED_HELO),
            Phase::Addressed(_) => return self.refuse(replies::NOT_DURING_MAIL),
            Phase::Greeted(_) => {}
        }
        if self.facts.tls.is_none() {
            return self.refuse(replies::AUTH_NEEDS_TLS);
        }
        let offered = self.auth_offered();
        let Some(mechanism) = Mechanism::parse(mechanism).filter(|known| offered.contains(*known)) else {
            return self.refuse(replies::AUTH_MECHANISM_UNKNOWN);
        };
        self.auth_outcome(mechanism, Exchange::begin(mechanism, initial))
    }

    pub(super) fn auth_outcome(&mut self, mechanism: Mechanism, outcome: sasl::Step) -> Step {
        match outcome {
            sasl::Step::Challenge(reply, exchange) => {
                self.pending = Pending::AuthLine(mechanism, exchange);
                Step::Challenge(reply)
            }
            sasl::Step::Failed(reply) => self.refuse(reply),
            sasl::Step::Credentials { identity, password } => {
                let identity: Arc<str> = Arc::from(identity);
                self.pending = Pending::AuthGate(mechanism, Arc::clone(&identity), password);
                Step::Charge(Charge::AuthAttempt { account: identity })
            }
        }
    }

    /// This network may still try, and may still try this account. Elsewhere the account's owner is not locked out by it.
    pub(super) fn auth_gate(
        &mut self,
        mechanism: Mechanism,
        identity: Arc<str>,
        password: Secret,
        room: Result<(), &'static str>,
    ) -> Step {
        if room.is_err() {
            return self.part(replies::TOO_MANY_LOGINS_NOW, AbortReason::Refused);
        }
        self.pending = Pending::AuthIdentity(mechanism, Arc::clone(&identity));
        Step::Verify { identity, password }
    }

    pub(super) fn settle_identity(&mut self, mechanism: Mechanism, account: Arc<str>, identity: Identity) -> Step {
        match identity {
            Identity::Unavailable => self.say(replies::AUTH_TRY_LATER),
            Identity::Bad => {
                self.pending = Pending::AuthFailed;
                Step::Charge(Charge::AuthFailure { mechanism: mechanism.name(), account })
            }
            // Of many guesses side by side, those that end after the limit was reached must learn nothing.
            Identity::Good(identity) => {
                self.pending = Pending::AuthGood(Arc::new(AuthFacts { mechanism: mechanism.name(), identity }));
                Step::Charge(Charge::AuthAttempt { account })
            }
        }
    }

    pub(super) fn auth_accepted(&mut self, auth: Arc<AuthFacts>, room: Result<(), &'static str>) -> Step {
        if room.is_err() {
            return self.part(replies::TOO_MANY_LOGINS_NOW, AbortReason::Refused);
        }
        self.pending = Pending::Auth(Arc::clone(&auth));
        Step::Consult(Ask::Auth(auth))
    }

    pub(super) fn auth_refused(&mut self, room: Result<(), &'static str>) -> Step {
        if room.is_err() {
            return self.part(replies::TOO_MANY_LOGINS_NOW, AbortReason::Refused);
        }
        self.auth_failures = self.auth_failures.saturating_add(1);
        match self.limits.auth_failures {
            Some(max) if self.auth_failures >= max => {
                Step::Close(vec![replies::AUTH_FAILED, replies::AUTH_TOO_MANY_FAILURES])
            }
            _ => self.refuse(replies::AUTH_FAILED),
        }
    }

    /// A filter may refuse a login; only then is the identity known to nobody.
    pub(super) fn weigh_auth(&mut self, auth: Arc<AuthFacts>, verdict: Verdict) -> Step {
        match weigh(Stage::Auth, verdict) {
            Weighed::Pass | Weighed::Discard | Weighed::Quarantine(_) => {
                Arc::make_mut(&mut self.facts).auth = Some(auth);
                self.say(replies::AUTH_OK)
            }
            Weighed::Refuse(reply) => self.relay_reply(reply),
            Weighed::Disconnect(reply) => self.part(reply, AbortReason::Refused),
        }
    }
}
