//! AUTH (RFC 4954): gates, the SASL exchange, the verifier's answer.
//!
//! A login passes three gates of the limits: before anything is looked up for it, when it failed, and when it was right:
//! of many guesses side by side, those that end after the limit was reached must learn nothing.

use std::sync::Arc;

use crate::config::{Auth, ListenerAuth};
use crate::mail::{AbortReason, AuthFacts, Stage, Verdict};
use crate::smtp::sasl::{self, Channel, Exchange, Mechanism, Name, Secret, Served, Way, scram};
use crate::smtp::{Reply, replies};

use super::phase::{Pending, Phase};
use super::weigh::{Weighed, weigh};
use super::{Ask, Charge, Identity, KeysFound, Session, Step};

/// A login that the limits are asked about.
#[derive(Debug)]
pub(super) struct Login {
    mechanism: Mechanism,
    account: Arc<str>,
    wanted: Wanted,
}

/// What it needs of those who know the accounts.
#[derive(Debug)]
enum Wanted {
    Password(Secret),
    Keys(Box<scram::First>),
    /// Whom it has to belong to, if the client said so.
    Token(Option<Arc<str>>, Secret),
}

impl Session {
    /// What is served here and now: no AUTH in clear, none after AUTH, none where the listener has it off; a mechanism
    /// that needs something of the TLS connection only where that is there.
    pub(super) fn auth_offered(&self) -> Served {
        let open = self.rules.listener().auth != ListenerAuth::Off && self.config().auth.is_some();
        let Some(tls) = self.facts.tls.as_deref().filter(|_| open && self.facts.auth.is_none()) else {
            return Served::default();
        };
        let missing = [
            tls.channel_binding.is_none().then_some(Mechanism::ScramSha256Plus),
            tls.client_identity.is_none().then_some(Mechanism::External),
        ];
        self.mechanisms.without(missing.into_iter().flatten().collect())
    }

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
        let Some(tls) = self.facts.tls.as_deref() else {
            return self.refuse(replies::AUTH_NEEDS_TLS);
        };
        let offered = self.auth_offered();
        let channel = Channel {
            binding: tls.channel_binding.clone(),
            plus_offered: offered.are_here().contains(Mechanism::ScramSha256Plus),
            certified: tls.client_identity.clone(),
        };
        match offered.find(mechanism) {
            Some(Way::Here(mechanism)) => self.auth_outcome(mechanism, Exchange::begin(mechanism, initial, channel)),
            Some(Way::Relayed(name)) => self.begin_relay(name, initial),
            None => self.refuse(replies::AUTH_MECHANISM_UNKNOWN),
        }
    }

    pub(super) fn auth_outcome(&mut self, mechanism: Mechanism, outcome: sasl::Step) -> Step {
        match outcome {
            sasl::Step::Challenge(reply, exchange) => {
                self.pending = Pending::AuthLine(mechanism, exchange);
                Step::Challenge(reply)
            }
            sasl::Step::Failed(reply) => self.refuse(reply),
            sasl::Step::Password { identity, password } => {
                self.auth_attempt(mechanism, identity.into(), Wanted::Password(password))
            }
            sasl::Step::Keys { identity, first } => self.auth_attempt(mechanism, identity.into(), Wanted::Keys(first)),
            sasl::Step::Token { identity, token, .. } => {
                let claimed: Option<Arc<str>> = identity.map(Arc::from);
                let account = claimed.clone().unwrap_or_default();
                self.auth_attempt(mechanism, account, Wanted::Token(claimed, token))
            }
            sasl::Step::Proven { identity, last } => self.auth_good(mechanism.into(), identity.into(), last),
            sasl::Step::Disproven { identity } => self.auth_bad(mechanism.into(), Some(mechanism), identity.into()),
        }
    }

    fn auth_attempt(&mut self, mechanism: Mechanism, account: Arc<str>, wanted: Wanted) -> Step {
        self.pending = Pending::AuthGate(Box::new(Login { mechanism, account: Arc::clone(&account), wanted }));
        Step::Charge(Charge::AuthAttempt { account })
    }

    /// This network may still try, and may still try this account. Elsewhere the account's owner is not locked out by it.
    pub(super) fn auth_gate(&mut self, login: Login, room: Result<(), &'static str>) -> Step {
        if room.is_err() {
            return self.part(replies::TOO_MANY_LOGINS_NOW, AbortReason::Refused);
        }
        let Login { mechanism, account, wanted } = login;
        match wanted {
            Wanted::Password(password) => {
                self.pending = Pending::AuthIdentity(mechanism, Arc::clone(&account), None);
                Step::Verify { identity: account, password }
            }
            Wanted::Keys(first) => {
                self.pending = Pending::AuthKeys(mechanism, first);
                Step::FindKeys { identity: account }
            }
            Wanted::Token(claimed, token) => {
                self.pending = Pending::AuthIdentity(mechanism, account, claimed.clone());
                Step::VerifyToken { identity: claimed, token }
            }
        }
    }

    pub(super) fn settle_keys(&mut self, mechanism: Mechanism, first: scram::First, found: KeysFound) -> Step {
        match found {
            KeysFound::Unavailable => self.say(replies::AUTH_TRY_LATER),
            KeysFound::Keys { keys, nonce } => self.auth_outcome(mechanism, first.go_on(keys, &nonce)),
        }
    }

    /// `claimed`: whom the client said the credential belongs to, where the verifier could say otherwise.
    pub(super) fn settle_identity(
        &mut self,
        mechanism: Mechanism,
        account: Arc<str>,
        claimed: Option<&Arc<str>>,
        identity: Identity,
    ) -> Step {
        match identity {
            Identity::Unavailable => self.say(replies::AUTH_TRY_LATER),
            Identity::Good(identity) if claimed.is_none_or(|claimed| *claimed == identity) => {
                self.auth_good(mechanism.into(), identity, None)
            }
            Identity::Good(_) | Identity::Bad => self.auth_bad(mechanism.into(), Some(mechanism), account),
        }
    }

    pub(super) fn auth_good(&mut self, mechanism: Name, identity: Arc<str>, last: Option<Reply>) -> Step {
        let account = Arc::clone(&identity);
        self.pending = Pending::AuthGood(Arc::new(AuthFacts { mechanism, identity }), last);
        Step::Charge(Charge::AuthGood { account })
    }

    /// `ours`: the gateway itself had the exchange, by this mechanism.
    pub(super) fn auth_bad(&mut self, mechanism: Name, ours: Option<Mechanism>, account: Arc<str>) -> Step {
        self.pending = Pending::AuthFailed(ours);
        Step::Charge(Charge::AuthFailure { mechanism, account })
    }

    pub(super) fn auth_accepted(
        &mut self,
        auth: Arc<AuthFacts>,
        last: Option<Reply>,
        room: Result<(), &'static str>,
    ) -> Step {
        if room.is_err() {
            return self.part(replies::TOO_MANY_LOGINS_NOW, AbortReason::Refused);
        }
        if let Some(last) = last {
            self.pending = Pending::AuthLast(auth);
            return Step::Challenge(last);
        }
        self.pending = Pending::Auth(Arc::clone(&auth));
        Step::Consult(Ask::Auth(auth))
    }

    /// The client has seen our own proof: it agrees with an empty line, or does not believe us.
    pub(super) fn auth_concluded(&mut self, auth: Arc<AuthFacts>, line: &[u8]) -> Step {
        match line {
            b"" => self.auth_accepted(auth, None, Ok(())),
            b"*" => self.refuse(replies::AUTH_CANCELLED),
            _ => self.refuse(replies::AUTH_MALFORMED),
        }
    }

    /// It was counted; with some mechanisms the client is told more and has the last word before 535.
    pub(super) fn auth_failed(&mut self, mechanism: Option<Mechanism>, room: Result<(), &'static str>) -> Step {
        if room.is_err() {
            return self.part(replies::TOO_MANY_LOGINS_NOW, AbortReason::Refused);
        }
        let discovery = self.config().auth.as_ref().and_then(Auth::discovery).map(ToString::to_string);
        match mechanism.and_then(|mechanism| sasl::refusal(mechanism, discovery.as_deref())) {
            Some(challenge) => {
                self.pending = Pending::AuthRefused;
                Step::Challenge(challenge)
            }
            None => self.auth_refused(),
        }
    }

    pub(super) fn auth_refused(&mut self) -> Step {
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
