//! `[[access]]` in a session: after relay policy, before filters. What a refusal means at each stage is what a filter's
//! would mean there.

use std::sync::Arc;

use crate::config::{AccessAction, AccessRule, AccessStage};
use crate::mail::{AbortReason, Ruled, Stage};
use crate::policy::access::{self, Asked};
use crate::policy::tables::Judged;
use crate::policy::{relay, sender};
use crate::smtp::{ForwardPath, ReversePath, replies};

use super::weigh::Weighed;
use super::{Session, Step};

/// What a command says; the rest is known from before.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said<'a> {
    Connect,
    Helo(&'a str),
    Mail(&'a ReversePath),
    Rcpt(&'a ForwardPath),
}

impl Said<'_> {
    const fn stage(self) -> (AccessStage, Stage) {
        match self {
            Said::Connect => (AccessStage::Connect, Stage::Connect),
            Said::Helo(_) => (AccessStage::Helo, Stage::Helo),
            Said::Mail(_) => (AccessStage::Mail, Stage::Mail),
            Said::Rcpt(_) => (AccessStage::Rcpt, Stage::Rcpt),
        }
    }

    fn about(self) -> String {
        match self {
            Said::Connect => String::new(),
            Said::Helo(name) => name.to_owned(),
            Said::Mail(path) => path.as_str().to_owned(),
            Said::Rcpt(path) => path.as_str().to_owned(),
        }
    }
}

impl Session {
    /// What the operator's rules say to a command that everything before them let pass: what is to be told of it.
    ///
    /// # Errors
    /// The refusal, whole.
    pub(super) fn rules_permit(&mut self, said: Said<'_>) -> Result<Vec<Ruled>, Step> {
        let mut told = Vec::new();
        let refusal = self.sender_login(said, &mut told).or_else(|| self.ask_rules(said, &mut told));
        match refusal.or_else(|| self.unknown(said)) {
            None => Ok(told),
            Some(refusal) => {
                let step = self.carry_out(said, refusal);
                Err(tell_rules(told, step))
            }
        }
    }

    /// `sender-login` of the listener.
    fn sender_login(&self, said: Said<'_>, told: &mut Vec<Ruled>) -> Option<Weighed> {
        let (Said::Mail(path), Some(rule)) = (said, &self.rules.listener().sender_login) else { return None };
        let identity = &self.facts.auth.as_ref()?.identity;
        if sender::owns(rule, &self.rules.tables, identity, path) {
            return None;
        }
        let reply = replies::sender_not_owned(path.as_str(), identity);
        told.push(Ruled {
            rule: Arc::from("sender-login"),
            stage: Stage::Mail,
            action: "reject",
            would: rule.would,
            reply: Some(reply.clone()),
            about: said.about(),
        });
        (!rule.would).then_some(Weighed::Refuse(reply))
    }

    /// `recipients` of `[relay]`.
    fn unknown(&self, said: Said<'_>) -> Option<Weighed> {
        let Said::Rcpt(path) = said else { return None };
        match self.judge(|relay, tables| relay::is_known(relay, tables, path)) {
            Judged::Clear(true) => None,
            Judged::Clear(false) => Some(Weighed::Refuse(replies::recipient_unknown(path.as_str()))),
            Judged::Ask(_) | Judged::Doubt => Some(Weighed::Refuse(replies::LOOKUP_FAILED)),
        }
    }

    fn ask_rules(&self, said: Said<'_>, told: &mut Vec<Ruled>) -> Option<Weighed> {
        if self.config().access.is_empty() {
            return None;
        }
        let (at, stage) = said.stage();
        let sender = self.envelope().map(|envelope| &envelope.sender.path);
        let asked = Asked {
            listener: &self.facts.listener,
            at,
            client: self.peer(),
            tls: self.facts.tls.is_some(),
            identity: self.facts.auth.as_ref().map(|auth| &*auth.identity),
            helo: match said {
                Said::Helo(name) => Some(name),
                _ => self.facts.hello.as_ref().map(|hello| &*hello.name),
            },
            sender: if let Said::Mail(path) = said { Some(path) } else { sender },
            recipient: if let Said::Rcpt(path) = said { Some(path) } else { None },
        };
        let judgement = access::judge(&self.config().access, &self.rules.tables, &asked);
        let ruled = |rule: &AccessRule| Ruled {
            rule: Arc::from(rule.name.as_str()),
            stage,
            action: rule.action.name(),
            would: rule.would,
            reply: rule.action.reply().cloned(),
            about: said.about(),
        };
        told.extend(judgement.would.iter().copied().chain(judgement.decided).map(ruled));
        match judgement.decided.map(|rule| &rule.action) {
            None | Some(AccessAction::Permit) => None,
            Some(AccessAction::Reject(reply) | AccessAction::Defer(reply)) => Some(Weighed::Refuse(reply.clone())),
            Some(AccessAction::Disconnect(reply)) => Some(Weighed::Disconnect(reply.clone())),
        }
    }

    /// As in `weigh_connect`, `weigh_helo`, `weigh_mail` and `weigh_rcpt`.
    fn carry_out(&mut self, said: Said<'_>, refusal: Weighed) -> Step {
        match (refusal, said) {
            (Weighed::Refuse(reply), Said::Connect) => self.refuse_banner(reply),
            (Weighed::Disconnect(reply), Said::Connect) => Step::Close(vec![reply]),
            (Weighed::Disconnect(reply), _) => self.part(reply, AbortReason::Refused),
            (Weighed::Refuse(reply), _) => self.relay_reply(reply),
            (Weighed::Pass | Weighed::Discard | Weighed::Quarantine(_), _) => Step::Listen,
        }
    }
}

/// Tells it, then goes on.
pub(super) fn tell_rules(told: Vec<Ruled>, then: Step) -> Step {
    if told.is_empty() { then } else { Step::TellRules(told, Box::new(then)) }
}
