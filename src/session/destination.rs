//! Where a transaction goes, and when the upstream hears of it.
//!
//! An eager upstream hears MAIL when the client says it. A lazy one hears it together with the first recipient that
//! passed policy and filters. A deferred one is only asked about recipients, each group in a transaction that ends at
//! once; the message is taken first, and then everything is said again. One transaction has one upstream. Where a filter
//! may choose it, the upstream is known with the first recipient, as where a route looks at recipients.

use std::sync::Arc;

use crate::config::{Connect, UpstreamProtocol};
use crate::mail::AbortReason;
use crate::policy::relay;
use crate::policy::routes::{self, RouteKey};
use crate::smtp::ehlo::Offer;
use crate::smtp::{ForwardPath, Reply, ReversePath, replies};

use super::group::Awaited;
use super::phase::{Mail, Pending, Phase, Rcpt, Transaction};
use super::rcpt::tell;
use super::{Purpose, Question, SenderClass, Session, Step, Unreached, mail};

/// What a transaction knows of its upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    /// Which of `Config::upstreams`; None while only a recipient could tell.
    pub(super) upstream: Option<usize>,
    pub(super) connect: Connect,
    /// MAIL stands in the upstream connection, or is on its way there.
    pub(super) said: bool,
    /// The upstream that a filter chose at MAIL.
    pub(super) route: Option<String>,
}

impl Session {
    fn route(&self, sender: &ReversePath, recipient: Option<&ForwardPath>, filter_route: Option<&str>) -> usize {
        let config = self.config();
        if !self.has_choice() {
            return config.default_upstream();
        }
        let key = RouteKey {
            listener: &self.facts.listener,
            identity: self.facts.auth.as_ref().map(|auth| &*auth.identity),
            sender: Some(sender),
            recipient,
            filter_route,
        };
        let name = routes::choose(config, &key);
        config.upstreams.iter().position(|upstream| upstream.name == name).unwrap_or_default()
    }

    /// Whether there is more than one place to go to.
    fn has_choice(&self) -> bool {
        self.config().upstreams.len() > 1
    }

    /// What is known at MAIL. Where only a recipient can tell, the upstream hears of the client no sooner.
    pub(super) fn destination(&self, mail: &Mail) -> Destination {
        let config = self.config();
        let route = mail.route.clone();
        if self.has_choice() && routes::needs_recipient(config, &self.facts.listener) {
            return Destination { upstream: None, connect: Connect::Lazy, said: false, route };
        }
        let upstream = self.route(&mail.sender.path, None, route.as_deref());
        let connect = config.upstreams.get(upstream).map_or(Connect::Eager, |upstream| upstream.connect);
        Destination { upstream: Some(upstream), connect, said: false, route }
    }

    /// Whether the message at hand is taken whole and said to the upstream only then.
    #[must_use]
    pub fn defers(&self) -> bool {
        matches!(&self.phase, Phase::Addressed(transaction) if transaction.to.connect == Connect::Deferred)
    }

    /// What the upstream of the transaction at hand offers.
    #[must_use]
    pub fn upstream_offer(&self) -> Arc<Offer> {
        match &self.phase {
            Phase::Addressed(transaction) => Arc::clone(&transaction.upstream),
            _ => Arc::default(),
        }
    }

    /// Whether the upstream knows of the transaction at hand.
    #[must_use]
    pub fn is_upstream(&self) -> bool {
        matches!(&self.phase, Phase::Addressed(transaction) if transaction.to.said)
    }

    /// The upstreams that this session's transactions may go to, as far as is known now: of `Config::upstreams`.
    #[must_use]
    pub fn may_go_to(&self) -> Vec<usize> {
        let config = self.config();
        if !self.has_choice() {
            return vec![config.default_upstream()];
        }
        let identity = self.facts.auth.as_ref().map(|auth| &*auth.identity);
        let names = routes::candidates(config, &self.facts.listener, identity);
        let place = |name: &&str| config.upstreams.iter().position(|upstream| upstream.name == **name);
        names.iter().filter_map(place).collect()
    }

    /// Which upstream the transaction at hand goes to: one of `Config::upstreams`.
    #[must_use]
    pub fn upstream(&self) -> usize {
        match &self.phase {
            Phase::Addressed(transaction) => transaction.to.upstream.unwrap_or(self.config().default_upstream()),
            _ => self.config().default_upstream(),
        }
    }

    /// How many recipients a transaction may have: an upstream that answers for each of them after the message (LMTP,
    /// RFC 2033) gets one at a time from a client that wants one answer.
    pub(super) fn recipients_max(&self) -> Option<usize> {
        let upstream = self.config().upstreams.get(self.upstream());
        let each = upstream.is_some_and(|upstream| upstream.protocol == UpstreamProtocol::Lmtp);
        if each && !self.answers_each() {
            return Some(1);
        }
        self.limits.recipients.map(|max| max as usize)
    }

    /// The recipient may go to the transaction's upstream: goes on with it, or has the upstream reached first.
    pub(super) fn bring_rcpt(&mut self, rcpt: Box<Rcpt>) -> Step {
        let Phase::Addressed(transaction) = &self.phase else {
            return self.part(replies::INTERNAL_ERROR, AbortReason::UpstreamFailed);
        };
        let sender = &transaction.envelope.sender.path;
        let mut chosen = transaction.to.upstream;
        if self.has_choice() {
            let asked = rcpt.route.as_deref().or(transaction.to.route.as_deref());
            for recipient in rcpt.to_add.iter().chain([&rcpt.recipient]) {
                let upstream = self.route(sender, Some(&recipient.path), asked);
                if *chosen.get_or_insert(upstream) != upstream {
                    return self.say(replies::ANOTHER_UPSTREAM);
                }
            }
        }
        let upstream = chosen.unwrap_or(self.config().default_upstream());
        if transaction.to.said {
            return self.forward_rcpt(rcpt);
        }
        let connect = self.config().upstreams.get(upstream).map_or(Connect::Lazy, |upstream| upstream.connect);
        if let Phase::Addressed(transaction) = &mut self.phase {
            transaction.to.upstream = Some(upstream);
            transaction.to.connect = if connect == Connect::Deferred { Connect::Deferred } else { Connect::Lazy };
        }
        match self.question(&rcpt) {
            Some(question) => {
                self.pending = Pending::Recall(rcpt);
                Step::Recall(question)
            }
            None => self.reach_for(rcpt),
        }
    }

    fn reach_for(&mut self, rcpt: Box<Rcpt>) -> Step {
        let purpose = if self.defers() { Purpose::Question } else { Purpose::Transaction };
        self.pending = Pending::RcptReach(rcpt);
        Step::Reach { upstream: self.upstream(), purpose }
    }

    /// The upstream's answer is known from before, or it has to be asked.
    pub(super) fn recalled(&mut self, rcpt: Box<Rcpt>, answer: Option<Reply>) -> Step {
        let Some(reply) = answer else { return self.reach_for(rcpt) };
        self.settled(rcpt, reply)
    }

    /// MAIL goes first, the recipient behind it in the same write.
    pub(super) fn rcpt_reached(&mut self, rcpt: Box<Rcpt>, reached: Result<Arc<Offer>, Unreached>) -> Step {
        let upstream = match reached {
            Ok(upstream) => upstream,
            // Once is enough: the recipients behind it would wait for it as long, one after the other.
            Err(unreached) => {
                let told = self.to_tell(&rcpt, &unreached.reply);
                let then = self.lose_transaction(unreached.reply);
                return tell(told, then);
            }
        };
        let Phase::Addressed(transaction) = &mut self.phase else {
            return self.part(replies::INTERNAL_ERROR, AbortReason::UpstreamFailed);
        };
        match mail::line(&transaction.envelope.sender, transaction.smtp_utf8, &upstream) {
            Ok(line) => {
                transaction.upstream = upstream;
                transaction.to.said = true;
                self.group.behind_mail = Some(rcpt);
                self.forward(Awaited::HeldMail, line)
            }
            Err(reply) => self.say(reply),
        }
    }

    /// The upstream's answer to a MAIL that the client thinks has been accepted: a refusal is the recipients'.
    pub(super) fn settle_held_mail(&mut self, answer: Result<Reply, Reply>) -> Step {
        let (refusal, lost) = match answer {
            Ok(reply) if reply.class() == 2 => return self.advance(),
            Ok(reply) => (reply, None),
            Err(reply) => (reply.clone(), Some(reply)),
        };
        if let Phase::Addressed(transaction) = &mut self.phase {
            transaction.to.said = false;
            transaction.lost = transaction.lost.take().or(lost);
        }
        self.group.void_from_held(refusal);
        self.advance()
    }

    /// What an answer about this recipient depends on; None where answers are not kept.
    fn question(&self, rcpt: &Rcpt) -> Option<Question> {
        let Phase::Addressed(transaction) = &self.phase else { return None };
        if transaction.to.connect != Connect::Deferred || !rcpt.to_add.is_empty() || !rcpt.recipient.params.is_empty() {
            return None;
        }
        self.question_about(transaction, &rcpt.recipient.path)
    }

    fn question_about(&self, transaction: &Transaction, recipient: &ForwardPath) -> Option<Question> {
        let upstream = transaction.to.upstream?;
        let config = self.config();
        config.upstreams.get(upstream)?.keep_answers?;
        let sender = match transaction.envelope.sender.path.mailbox() {
            None => SenderClass::Null,
            Some(mailbox) if relay::is_ours(&config.relay, &self.rules.tables, &mailbox.domain().canonical()) => {
                SenderClass::Ours
            }
            Some(_) => SenderClass::Foreign,
        };
        Some(Question {
            upstream,
            listener: self.rules.listener,
            authenticated: self.facts.auth.is_some(),
            sender,
            recipient: recipient.as_str().to_ascii_lowercase(),
        })
    }

    /// What the answer that is due next is the answer to, where it may be kept.
    #[must_use]
    pub fn question_due(&self) -> Option<Question> {
        match self.group.next() {
            Some(Awaited::Rcpt(rcpt)) if self.group.stands() => self.question(rcpt),
            _ => None,
        }
    }

    /// All answers that this transaction relies on.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        let Phase::Addressed(transaction) = &self.phase else { return Vec::new() };
        let recipients = transaction.envelope.recipients.iter();
        recipients.filter_map(|recipient| self.question_about(transaction, &recipient.path)).collect()
    }
}
