//! The beginning: banner, HELO and EHLO, STARTTLS.

use std::sync::Arc;

use crate::config::{ListenerAuth, ListenerTls, Protocol};
use crate::mail::{AbortReason, Hello, Stage, TlsFacts, Verdict};
use crate::smtp::ehlo::{ClientOffer, Offer};
use crate::smtp::extensions::SessionLimits;
use crate::smtp::{Command, Reply, ehlo, replies};

use super::access::{Said, tell_rules};
use super::group::{AfterReset, Awaited};
use super::phase::{Pending, Phase};
use super::received::RECEIVED_BYTES_MAX;
use super::weigh::{Weighed, weigh};
use super::{Ask, Chunk, Session, Step, Unreached};

impl Session {
    pub(super) fn begin(&mut self, tls: Option<TlsFacts>) -> Step {
        let tls = tls.map(|tls| self.set_tls(tls));
        let told = match self.rules_permit(Said::Connect) {
            Ok(told) => told,
            Err(refused) => return refused,
        };
        let (pending, ask) = match tls {
            Some(tls) => (Pending::BeginTls, Ask::Tls(tls)),
            None => (Pending::Connect, Ask::Connect),
        };
        self.pending = pending;
        tell_rules(told, Step::Consult(ask))
    }

    /// On implicit TLS a refusal at `tls` is the banner.
    pub(super) fn weigh_begin_tls(&mut self, verdict: Verdict) -> Step {
        match weigh(Stage::Tls, verdict) {
            Weighed::Pass | Weighed::Discard | Weighed::Quarantine(_) => {
                self.pending = Pending::Connect;
                Step::Consult(Ask::Connect)
            }
            Weighed::Refuse(reply) | Weighed::Disconnect(reply) => self.refuse_banner(reply),
        }
    }

    pub(super) fn weigh_connect(&mut self, verdict: Verdict) -> Step {
        match weigh(Stage::Connect, verdict) {
            Weighed::Pass | Weighed::Discard | Weighed::Quarantine(_) => self.greet(),
            Weighed::Refuse(reply) => self.refuse_banner(reply),
            Weighed::Disconnect(reply) => Step::Close(vec![reply]),
        }
    }

    pub(super) fn banner(&mut self) -> Step {
        let spoken = match self.rules.listener().protocol {
            Protocol::Smtp => "ESMTP",
            Protocol::Lmtp => "LMTP",
        };
        self.say(replies::banner(&self.rules.config.hostname, spoken))
    }

    /// A 5xx banner leaves the client to say QUIT (RFC 5321 3.1); a 4xx one is a 421 and the end.
    pub(super) fn refuse_banner(&mut self, reply: Reply) -> Step {
        if reply.code >= 500 {
            self.phase = Phase::Refused;
            return self.say(Reply { code: 554, ..reply });
        }
        Step::Close(vec![Reply { code: 421, ..reply }])
    }

    pub(super) fn while_refused(&mut self, line: &[u8]) -> Step {
        if line.trim_ascii().eq_ignore_ascii_case(b"QUIT") {
            return Step::Close(vec![replies::BYE]);
        }
        match Command::parse(line) {
            Ok(Command::Bdat { octets, last }) => self.swallow(Chunk { octets, last }, vec![replies::REFUSED_SESSION]),
            _ => self.refuse(replies::REFUSED_SESSION),
        }
    }

    pub(super) fn check_helo(&mut self, name: &str, extended: bool) -> Step {
        let hello = Hello { name: Arc::from(name), extended };
        self.idle_commands = self.idle_commands.saturating_add(1);
        if self.limits.idle_commands.is_some_and(|max| self.idle_commands > max) {
            return self.part(replies::TOO_MANY_IDLE_COMMANDS, AbortReason::Refused);
        }
        if let Some(reply) = self.helo_refusal(name) {
            return self.refuse(reply);
        }
        let told = match self.rules_permit(Said::Helo(name)) {
            Ok(told) => told,
            Err(refused) => return refused,
        };
        self.pending = Pending::Helo(hello.clone());
        tell_rules(told, Step::Consult(Ask::Helo(hello)))
    }

    pub(super) fn weigh_helo(&mut self, hello: Hello, verdict: Verdict) -> Step {
        match weigh(Stage::Helo, verdict) {
            Weighed::Pass | Weighed::Discard | Weighed::Quarantine(_) => {}
            Weighed::Refuse(reply) => return self.relay_reply(reply),
            Weighed::Disconnect(reply) => return self.part(reply, AbortReason::Refused),
        }
        Arc::make_mut(&mut self.facts).hello = Some(hello.clone());
        self.forwarded_used = true;
        // RFC 5321 4.1.4: a HELO or EHLO in a transaction is a RSET as well.
        let in_transaction = matches!(&self.phase, Phase::Addressed(transaction) if transaction.to.said);
        let step = if in_transaction {
            let reset = self.forward(Awaited::Reset(AfterReset::Hello), b"RSET\r\n".to_vec());
            self.ended(AbortReason::Reset, reset)
        } else {
            self.ended(AbortReason::Reset, Step::Listen)
        };
        self.phase = Phase::Greeted(hello);
        match step {
            step if in_transaction => step,
            Step::Tell(ended, _) => Step::Tell(ended, Box::new(self.helo_after_reset())),
            _ => self.helo_after_reset(),
        }
    }

    /// The hello stands; what is answered depends on the verb, and EHLO asks the upstream first.
    pub(super) fn helo_after_reset(&mut self) -> Step {
        match &self.phase {
            Phase::Greeted(hello) if hello.extended => {
                self.pending = Pending::Ehlo;
                Step::AskOffer
            }
            _ => {
                self.offered = ClientOffer::default();
                self.say(replies::helo(&self.rules.config.hostname))
            }
        }
    }

    /// Without an upstream the answer is what it may well offer when it is back: MAIL is a 451 while it is away,
    /// whereas a missing extension would be the client's reason to bounce.
    pub(super) fn settle_ehlo(&mut self, reached: Result<Arc<Offer>, Unreached>) -> Step {
        let upstream = reached.map_or_else(|unreached| unreached.last_known, Some);
        let client_offer = self.client_offer(upstream.as_deref());
        self.offered = client_offer;
        let greeting = ehlo::greeting(&self.rules.config.hostname, &client_offer, &self.auth_offered());
        let reply = self.offer_introductions(greeting);
        self.say(reply)
    }

    fn client_offer(&self, upstream: Option<&Offer>) -> ClientOffer {
        let listener = self.rules.listener();
        let encrypted = self.facts.tls.is_some();
        let theirs = |has: fn(&Offer) -> bool| upstream.is_none_or(has);
        ClientOffer {
            size: Some(smaller_size(self.limits.message_bytes, upstream.and_then(|offer| offer.size))),
            eight_bit_mime: theirs(|offer| offer.eight_bit_mime),
            // RFC 6531 3.1: never the one without the other.
            smtp_utf8: theirs(|offer| offer.smtp_utf8 && offer.eight_bit_mime),
            dsn: theirs(|offer| offer.dsn),
            chunking: true,
            // The rare ones not while it is away: a client that has been promised them cannot do without.
            binary_mime: upstream.is_some_and(|offer| offer.binary_mime && offer.chunking),
            require_tls: encrypted && upstream.is_some_and(|offer| offer.require_tls),
            deliver_by: upstream.and_then(|offer| offer.deliver_by),
            mt_priority: upstream.and_then(|offer| offer.mt_priority),
            // For those who submit (RFC 4865 1).
            future_release: upstream
                .filter(|_| listener.auth == ListenerAuth::Required)
                .and_then(|offer| offer.future_release),
            limits: SessionLimits { mails: self.limits.messages, recipients: self.limits.recipients, domains: None }
                .common(upstream.map(|offer| offer.limits).unwrap_or_default()),
            start_tls: listener.tls == ListenerTls::StartTls && !encrypted,
            auth: !self.auth_offered().is_empty(),
        }
    }

    pub(super) fn check_starttls(&mut self) -> Step {
        if self.facts.tls.is_some() {
            return self.refuse(replies::TLS_ACTIVE);
        }
        if self.rules.listener().tls != ListenerTls::StartTls {
            return self.refuse(replies::TLS_NOT_OFFERED);
        }
        match &self.phase {
            Phase::Connected | Phase::Refused => self.refuse(replies::NEED_HELO),
            // RFC 3207 does not forbid it, but a transaction begun in clear must not go on encrypted.
            Phase::Addressed(_) => self.refuse(replies::NOT_DURING_MAIL),
            Phase::Greeted(_) => {
                self.pending = Pending::StartTls;
                Step::StartTls(replies::READY_FOR_TLS)
            }
        }
    }

    /// RFC 3207 4.2: everything learned before the handshake is forgotten.
    pub(super) fn settle_tls(&mut self, tls: TlsFacts) -> Step {
        self.phase = Phase::Connected;
        self.offered = ClientOffer::default();
        Arc::make_mut(&mut self.facts).hello = None;
        let tls = self.set_tls(tls);
        self.pending = Pending::Tls;
        Step::Consult(Ask::Tls(tls))
    }

    /// Nobody waits for a reply here: a refusal is answered at the next command, whatever it is.
    pub(super) fn weigh_tls(&mut self, verdict: Verdict) -> Step {
        self.pending = Pending::Command;
        match weigh(Stage::Tls, verdict) {
            Weighed::Pass | Weighed::Discard | Weighed::Quarantine(_) => Step::Listen,
            Weighed::Refuse(reply) | Weighed::Disconnect(reply) => Step::ListenThenClose(reply),
        }
    }
}

/// Ours, or the upstream's less room for our Received field where that is smaller (0: no fixed limit, RFC 1870).
fn smaller_size(ours: Option<u64>, theirs: Option<u64>) -> u64 {
    let theirs = theirs.filter(|&size| size > 0).map(|size| size.saturating_sub(RECEIVED_BYTES_MAX as u64).max(1));
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours.min(theirs),
        (Some(size), None) | (None, Some(size)) => size,
        (None, None) => 0,
    }
}
