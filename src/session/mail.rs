//! MAIL: a transaction begins when the upstream says so.

use std::sync::Arc;

use crate::config::{Connect, ListenerAuth};
use crate::mail::{AbortReason, Edit, Envelope, Sender, Stage, Verdict};
use crate::policy::relay::Known;
use crate::policy::tables::Told;
use crate::smtp::ehlo::{ClientOffer, Offer};
use crate::smtp::params::{BodyKind, MailParams, Param, Params};
use crate::smtp::{Reply, ReversePath, replies};

use super::access::{Said, tell_rules};
use super::destination::Destination;
use super::group::Awaited;
use super::phase::{Mail, Pending, Phase, Transaction};
use super::weigh::{Weighed, weigh};
use super::{Ask, Charge, Purpose, Session, Step, Unreached};

impl Session {
    pub(super) fn check_mail(&mut self, path: ReversePath, mut params: Params) -> Step {
        match self.phase {
            Phase::Greeted(_) => {}
            Phase::Addressed(ref transaction) if transaction.lost.is_some() => {
                return self.mail_after_loss(path, params);
            }
            Phase::Addressed(_) => return self.refuse(replies::NESTED_MAIL),
            Phase::Connected | Phase::Refused => return self.refuse(replies::NEED_HELO),
        }
        let listener = self.rules.listener();
        if listener.require_tls && self.facts.tls.is_none() {
            return self.refuse(replies::TLS_REQUIRED);
        }
        if listener.auth == ListenerAuth::Required {
            match Known::of(&self.facts) {
                Known::Login | Known::AfterLogin => {}
                Known::Unsure => return self.say(replies::STANDING_UNKNOWN),
                Known::Nothing => return self.refuse(replies::AUTH_REQUIRED),
            }
        }
        if self.limits.messages.is_some_and(|max| self.transactions >= max) {
            return self.part(replies::TOO_MANY_MESSAGES, AbortReason::Refused);
        }
        // RFC 6531 3.4 and 3.5: said before "unknown parameter", so that the client learns what is really missing.
        let utf8 = self.offered.smtp_utf8 && params.get("SMTPUTF8").is_some();
        if !path.is_ascii() && !utf8 {
            return self.refuse(replies::SMTPUTF8_NEEDED);
        }
        let checked = match MailParams::check(&params, &self.parameters_offered()) {
            Ok(checked) => checked,
            Err(reply) => return self.refuse(reply),
        };
        let told = match self.rules_permit(Said::Mail(&path)) {
            Ok(told) => told,
            Err(refused) => return refused,
        };
        // RFC 4954 5: who is not trusted to name the submitter has said that it is not known.
        if let Some(submitter) = params.get_mut("AUTH")
            && !self.vouches()
        {
            submitter.value = Some("<>".to_owned());
        }
        let binary = checked.body == Some(BodyKind::BinaryMime);
        let sender = Sender { path, params };
        let filters = self.choose_filters(&sender);
        let mail = Mail { sender, smtp_utf8: checked.smtp_utf8, binary, filters, route: None };
        self.pending = Pending::MailGate(Box::new(mail));
        tell_rules(told, Step::Charge(Charge::Message))
    }

    /// The transaction before this one ended with its upstream connection; a 503 would be read as "for good".
    fn mail_after_loss(&mut self, path: ReversePath, params: Params) -> Step {
        let ended = self.abandon(AbortReason::UpstreamFailed);
        let step = self.check_mail(path, params);
        match ended {
            Some(ended) => Step::Tell(ended, Box::new(step)),
            None => step,
        }
    }

    /// AUTH is not offered to who has logged in, but its parameter still counts (RFC 4954 section 5).
    fn parameters_offered(&self) -> ClientOffer {
        let mut offered = self.offered;
        if self.facts.auth.is_some() && offered.size.is_some() {
            offered.auth = true;
        }
        offered
    }

    pub(super) fn mail_gate(&mut self, mail: Box<Mail>, room: Result<(), &'static str>) -> Step {
        match room {
            Ok(()) => {}
            Err("memory") => return self.say(replies::NO_ROOM),
            Err(_) => return self.say(replies::TOO_MANY_MESSAGES_NOW),
        }
        let ask = Ask::Mail(mail.sender.clone());
        self.pending = Pending::Mail(mail);
        Step::Consult(ask)
    }

    pub(super) fn weigh_mail(&mut self, mut mail: Box<Mail>, verdict: Verdict, edits: Vec<Edit>) -> Step {
        match weigh(Stage::Mail, verdict) {
            Weighed::Pass | Weighed::Discard | Weighed::Quarantine(_) => {}
            Weighed::Refuse(reply) => return self.relay_reply(reply),
            Weighed::Disconnect(reply) => return self.part(reply, AbortReason::Refused),
        }
        for edit in edits {
            match edit {
                Edit::SetSender(sender) => mail.sender = sender,
                Edit::Route(upstream) => mail.route = Some(upstream),
                Edit::ReplaceRecipient { .. } | Edit::AddRecipient { .. } | Edit::RemoveRecipient { .. } => {}
            }
        }
        let to = self.destination(&mail);
        match to.upstream.filter(|_| to.connect == Connect::Eager) {
            Some(upstream) => {
                self.pending = Pending::MailReach(mail);
                Step::Reach { upstream, purpose: Purpose::Session }
            }
            None => {
                self.address(*mail, to, Arc::default());
                self.transactions = self.transactions.saturating_add(1);
                self.say(replies::SENDER_OK)
            }
        }
    }

    /// From here on there is a transaction.
    fn address(&mut self, mail: Mail, to: Destination, upstream: Arc<Offer>) {
        let Phase::Greeted(hello) = std::mem::take(&mut self.phase) else { return };
        let id = format!("{}.{}", self.facts.id, self.transactions.saturating_add(1));
        let Mail { sender, smtp_utf8, binary, filters, route: _ } = mail;
        self.phase = Phase::Addressed(Box::new(Transaction {
            told: Told::default(),
            hello,
            envelope: Arc::new(Envelope { id: Arc::from(id), sender, recipients: Vec::new() }),
            smtp_utf8,
            binary,
            attempts: 0,
            added: Vec::new(),
            chunked: None,
            to,
            filters,
            upstream,
            lost: None,
            quarantined: None,
        }));
    }

    /// The upstream of this very transaction is known: only what it offers is sent to it. What the client was
    /// offered earlier and the upstream has no more is a reason to come again, not to bounce.
    pub(super) fn mail_reached(&mut self, mail: Mail, reached: Result<Arc<Offer>, Unreached>) -> Step {
        let upstream = match reached {
            Ok(upstream) => upstream,
            Err(unreached) => return self.say(unreached.reply),
        };
        let line = match line(&mail.sender, mail.smtp_utf8, &upstream) {
            Ok(line) => line,
            Err(reply) => return self.say(reply),
        };
        let to = Destination { said: true, ..self.destination(&mail) };
        self.address(mail, to, upstream);
        self.forward(Awaited::Mail, line)
    }

    pub(super) fn settle_mail(&mut self, answer: Result<Reply, Reply>) -> Step {
        let reply = match answer {
            Ok(reply) if reply.class() == 2 => {
                self.transactions = self.transactions.saturating_add(1);
                return self.say(reply);
            }
            Ok(reply) | Err(reply) if reply.code < 500 => {
                // What came in the same group is to be tried again with it: a 503 would be read as "for good".
                self.void_group(reply.clone());
                reply
            }
            Ok(reply) | Err(reply) => {
                self.void_group(replies::NEED_MAIL);
                reply
            }
        };
        if let Phase::Addressed(transaction) = std::mem::take(&mut self.phase) {
            self.phase = Phase::Greeted(transaction.hello);
        }
        self.relay_reply(reply)
    }
}

/// What becomes of a MAIL or RCPT parameter on its way upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// Offered by the upstream: verbatim.
    Forward,
    /// A matter between the client and us.
    Ours,
    /// The client needs it and the upstream cannot do it.
    Lost,
}

pub(super) fn passage(upstream: &Offer, param: &Param) -> Passage {
    let offered = |has: bool, otherwise: Passage| if has { Passage::Forward } else { otherwise };
    match param.keyword.to_ascii_uppercase().as_str() {
        // Without SIZE upstream the declaration has done its work here.
        "SIZE" => offered(upstream.size.is_some(), Passage::Ours),
        // RFC 4954 5: only to who offers AUTH.
        "AUTH" => offered(!upstream.auth.is_empty(), Passage::Ours),
        "BODY" if param.value_is("BINARYMIME") => offered(upstream.binary_mime && upstream.chunking, Passage::Lost),
        "BODY" => offered(upstream.eight_bit_mime, Passage::Lost),
        "SMTPUTF8" => offered(upstream.smtp_utf8, Passage::Lost),
        "RET" | "ENVID" | "NOTIFY" | "ORCPT" => offered(upstream.dsn, Passage::Lost),
        "REQUIRETLS" => offered(upstream.require_tls, Passage::Lost),
        "MT-PRIORITY" => offered(upstream.mt_priority.is_some(), Passage::Lost),
        "BY" => offered(upstream.deliver_by.is_some(), Passage::Lost),
        "HOLDFOR" | "HOLDUNTIL" => offered(upstream.future_release.is_some(), Passage::Lost),
        _ => Passage::Lost,
    }
}

/// `MAIL FROM` as it goes upstream.
///
/// # Errors
/// The client's answer when the upstream cannot take it.
pub(super) fn line(sender: &Sender, smtp_utf8: bool, upstream: &Offer) -> Result<Vec<u8>, Reply> {
    if !sender.path.is_ascii() && !smtp_utf8 {
        return Err(replies::FILTER_FAULT);
    }
    let mut line = format!("MAIL FROM:<{}>", sender.path.as_str()).into_bytes();
    for param in sender.params.iter() {
        match passage(upstream, param) {
            Passage::Forward => line.extend_from_slice(format!(" {param}").as_bytes()),
            Passage::Ours => {}
            Passage::Lost => return Err(replies::UPSTREAM_CHANGED),
        }
    }
    line.extend_from_slice(b"\r\n");
    Ok(line)
}
