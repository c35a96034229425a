//! XCLIENT and XFORWARD: a mail server or proxy that the operator named says who the client really is.
//!
//! By XCLIENT the session becomes that client's and begins anew; every decision is about the new client, whether it
//! may say XCLIENT among them. XFORWARD names somebody for logs and decides nothing. To all others both are commands
//! that there are not.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::config::{Limits, holds};
use crate::mail::{AfterLogin, AuthFacts, Forwarded, Hello, PeerName, SessionFacts, Stage, TlsFacts, Verdict};
use crate::smtp::sasl::Name;
use crate::smtp::xclient::{Attributes, Told, XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES};
use crate::smtp::{Reply, replies};

use super::phase::{Pending, Phase};
use super::weigh::{Weighed, weigh};
use super::{Ask, Names, Session, Step};

impl Session {
    /// Whether the client at hand may speak for others: who it is to the upstream is then better said later.
    #[must_use]
    pub fn may_introduce(&self) -> bool {
        holds(&self.rules.listener().trust.xclient, self.peer())
    }

    fn may_forward(&self) -> bool {
        holds(&self.rules.listener().trust.xforward, self.peer())
    }

    /// The answer to EHLO, with what only those hear who may use it.
    pub(super) fn offer_introductions(&self, mut reply: Reply) -> Reply {
        let mut text = reply.text.into_owned();
        if self.may_introduce() {
            text.push_str("\nXCLIENT ");
            text.push_str(XCLIENT_ATTRIBUTES);
        }
        if self.may_forward() {
            text.push_str("\nXFORWARD ");
            text.push_str(XFORWARD_ATTRIBUTES);
        }
        reply.text = Cow::Owned(text);
        reply
    }

    pub(super) fn check_xclient(&mut self, arguments: &str) -> Step {
        if !self.may_introduce() {
            return self.refuse(replies::UNKNOWN_COMMAND);
        }
        if matches!(self.phase, Phase::Addressed(_)) {
            return self.refuse(replies::NOT_DURING_MAIL);
        }
        let Some(said) = Attributes::parse(arguments, XCLIENT_ATTRIBUTES) else {
            return self.refuse(replies::PARAMETER_BAD);
        };
        let names = if said.name.is_some() || said.address.is_none() { Names::Told } else { Names::ToLookUp };
        let facts = introduced(&self.facts, said);
        let peer = facts.peer.ip();
        self.pending = Pending::Introduced(Box::new(facts));
        Step::Introduce(peer, names)
    }

    /// The driver has room for the client that was named, or not: from here on the session is its.
    pub(super) fn settle_introduced(&mut self, facts: SessionFacts, room: Result<Arc<Limits>, Reply>) -> Step {
        let rules = self.rules.clone();
        let limits = room.as_ref().map_or_else(|_| Arc::clone(&self.limits), Arc::clone);
        let mechanisms = Arc::clone(&self.mechanisms);
        *self = Session::new(rules, limits, Arc::new(facts));
        self.mechanisms = mechanisms;
        match room {
            Ok(_) => self.begin(self.facts.tls.as_deref().cloned()),
            Err(reply) => Step::Close(vec![reply]),
        }
    }

    /// A login that XCLIENT named is heard of by filters before the banner, which is the place for their refusal.
    pub(super) fn weigh_introduced_login(&mut self, verdict: Verdict) -> Step {
        match weigh(Stage::Auth, verdict) {
            Weighed::Pass | Weighed::Discard | Weighed::Quarantine(_) => self.banner(),
            Weighed::Refuse(reply) | Weighed::Disconnect(reply) => self.refuse_banner(reply),
        }
    }

    /// The banner, unless filters have a login to hear of first.
    pub(super) fn greet(&mut self) -> Step {
        match &self.facts.auth {
            None => self.banner(),
            Some(auth) => {
                let ask = Ask::Auth(Arc::clone(auth));
                self.pending = Pending::IntroducedLogin;
                Step::Consult(ask)
            }
        }
    }

    pub(super) fn check_xforward(&mut self, arguments: &str) -> Step {
        if !self.may_forward() {
            return self.refuse(replies::UNKNOWN_COMMAND);
        }
        if matches!(self.phase, Phase::Addressed(_)) {
            return self.refuse(replies::NOT_DURING_MAIL);
        }
        let Some(said) = Attributes::parse(arguments, XFORWARD_ATTRIBUTES) else {
            return self.refuse(replies::PARAMETER_BAD);
        };
        let facts = Arc::make_mut(&mut self.facts);
        let introduced = Arc::make_mut(facts.introduced.get_or_insert_default());
        forward(introduced.forwarded.get_or_insert_default(), said);
        self.idle(replies::OK)
    }

    /// What XFORWARD said holds to the end of the next transaction. It is forgotten at the command after that, so
    /// that the line about the transaction in the log still has it.
    pub(super) fn age_forwarded(&mut self) {
        let in_transaction = matches!(self.phase, Phase::Addressed(_));
        if !std::mem::replace(&mut self.forwarded_used, in_transaction) || in_transaction {
            return;
        }
        if self.facts.introduced.as_ref().is_some_and(|said| said.forwarded.is_some())
            && let Some(introduced) = &mut Arc::make_mut(&mut self.facts).introduced
        {
            Arc::make_mut(introduced).forwarded = None;
        }
    }
}

/// The client as XCLIENT names it. What goes unsaid stays as it was, but for HELO and LOGIN (as in Postfix), and for
/// a name and ports that belonged to another address.
fn introduced(before: &SessionFacts, said: Attributes) -> SessionFacts {
    let moved = said.address.is_some();
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let socket = |old: SocketAddr, address: Option<Told<IpAddr>>, port: Option<Told<u16>>| {
        let port = match (port, &address) {
            (Some(port), _) => port.known().unwrap_or(0),
            (None, Some(_)) => 0,
            (None, None) => old.port(),
        };
        SocketAddr::new(address.map_or(old.ip(), |told| told.known().unwrap_or(unknown)), port)
    };
    let peer_name = match said.name {
        None if moved => PeerName::Unavailable,
        None => before.peer_name.clone(),
        Some(told) => name(told),
    };
    let reverse_name = match said.reverse_name {
        // Postfix takes the one for the other.
        None => peer_name.clone(),
        Some(told) => name(told),
    };
    let extended = said.protocol.and_then(Told::known).is_some_and(|protocol| &*protocol == "ESMTP");
    let login = said.login.and_then(Told::known);
    let mut history = before.introduced.as_deref().cloned().unwrap_or_default();
    history.xclient = Some(before.peer);
    history.forwarded = None;
    SessionFacts {
        id: Arc::clone(&before.id),
        listener: Arc::clone(&before.listener),
        peer: socket(before.peer, said.address, said.port),
        local: socket(before.local, said.destination_address, said.destination_port),
        peer_name,
        reverse_name,
        hello: said.helo.and_then(Told::known).map(|name| Hello { name, extended }),
        tls: before.tls.as_deref().map(of_the_speaker),
        // Of another address, as long as nobody has asked.
        after_login: AfterLogin::No,
        auth: login.map(|identity| Arc::new(AuthFacts { mechanism: Name::XCLIENT, identity })),
        introduced: Some(Arc::new(history)),
    }
}

/// Encrypted is encrypted; but whoever is introduced did not show the speaker's certificate, and binds to nothing here.
fn of_the_speaker(tls: &TlsFacts) -> Arc<TlsFacts> {
    Arc::new(TlsFacts { client_identity: None, channel_binding: None, ..tls.clone() })
}

fn name(told: Told<Arc<str>>) -> PeerName {
    match told {
        Told::Known(name) => PeerName::Confirmed(name),
        Told::Unavailable => PeerName::Unavailable,
        Told::TemporarilyUnavailable => PeerName::TemporarilyUnavailable,
    }
}

/// Several XFORWARD commands add up, the last word counts.
fn forward(known: &mut Forwarded, said: Attributes) {
    fn put<T>(slot: &mut Option<T>, told: Option<Told<T>>) {
        if let Some(told) = told {
            *slot = told.known();
        }
    }
    put(&mut known.name, said.name);
    put(&mut known.address, said.address);
    put(&mut known.port, said.port);
    put(&mut known.protocol, said.protocol);
    put(&mut known.helo, said.helo);
    put(&mut known.ident, said.ident);
    put(&mut known.source, said.source);
}
