//! What the operator asks of a client beyond the grammar: no words of other protocols, addresses in their exact
//! form, a HELO name that could be one. And what VRFY, HELP and unknown verbs are told.

use crate::config::{HeloCheck, Vrfy};
use crate::mail::{AbortReason, Action, Stage, UnknownCommand, Verdict};
use crate::policy::hello::{self, Unfit, We};
use crate::policy::relay::Standing;
use crate::smtp::command::{Command, VERB_OCTETS_KEPT_MAX};
use crate::smtp::{Reply, replies, strict};

use super::phase::{Own, Pending};
use super::weigh::{Weighed, weigh};
use super::{Ask, Session, Step};

impl Session {
    /// Whether the line begins with a word that ends the session.
    pub(super) fn is_forbidden(&self, line: &[u8]) -> bool {
        let word = line.split(|b| b" \t".contains(b)).next().unwrap_or_default();
        self.limits.forbidden_commands.iter().any(|forbidden| word.eq_ignore_ascii_case(forbidden.as_bytes()))
    }

    /// The refusal of an address that is understood and not said as RFC 5321 writes it, where that matters.
    pub(super) fn too_loose(&self, line: &[u8], command: &Command) -> Option<Reply> {
        if !self.rules.listener().strict_addresses || strict::is_exact(line) {
            return None;
        }
        match command {
            Command::Mail { .. } => Some(replies::SENDER_NOT_EXACT),
            Command::Rcpt { .. } => Some(replies::RECIPIENT_NOT_EXACT),
            _ => None,
        }
    }

    /// Why a stranger may not call itself so here.
    pub(super) fn helo_refusal(&self, name: &str) -> Option<Reply> {
        let checks: &[HeloCheck] = &self.rules.listener().helo_checks;
        if checks.is_empty() || self.standing() == Standing::MayRelay {
            return None;
        }
        let we = We { hostname: &self.rules.config.hostname, local: self.facts.local.ip(), peer: self.peer() };
        match hello::judge(checks, name, we) {
            Ok(()) => None,
            Err(Unfit::Syntax) => Some(replies::HELO_SYNTAX),
            Err(Unfit::NotFqdn) => Some(replies::HELO_NOT_FQDN),
            Err(Unfit::Ours) => Some(replies::HELO_OURS),
        }
    }

    /// A command that is not carried out here: a filter may know an answer.
    pub(super) fn check_unknown(&mut self, command: &Command, line: &[u8]) -> Step {
        let own = self.own_answer(command);
        let Some(asked) = unknown_command(line) else { return self.say_own(own) };
        self.pending = Pending::Unknown(own);
        Step::Consult(Ask::Unknown(asked))
    }

    pub(super) fn weigh_unknown(&mut self, own: Own, verdict: Verdict) -> Step {
        let reply = match (verdict.action, verdict.reply) {
            (Action::Answer, Some(reply)) => return self.say_own(Own::Idle(reply)),
            (Action::Answer, None) => return self.say_own(own),
            (action, reply) => weigh(Stage::Unknown, Verdict { action, reply, ..verdict }),
        };
        match reply {
            Weighed::Pass | Weighed::Discard | Weighed::Quarantine(_) => self.say_own(own),
            Weighed::Refuse(reply) if reply.code < 500 => self.say_own(Own::Idle(reply)),
            Weighed::Refuse(reply) => self.say_own(Own::Refused(reply)),
            Weighed::Disconnect(reply) => self.part(reply, AbortReason::Refused),
        }
    }

    fn say_own(&mut self, own: Own) -> Step {
        match own {
            Own::Idle(reply) => self.idle(reply),
            Own::Refused(reply) => self.refuse(reply),
        }
    }

    fn own_answer(&self, command: &Command) -> Own {
        let listener = self.rules.listener();
        match (command, listener.vrfy, &listener.help) {
            (Command::Vrfy { .. }, Vrfy::Neutral, _) => Own::Idle(replies::VRFY),
            (Command::Help, _, Some(text)) => Own::Idle(replies::help(text)),
            (Command::Expn { .. }, ..) => Own::Refused(replies::EXPN),
            (Command::Unknown { .. }, ..) => Own::Refused(replies::UNKNOWN_COMMAND),
            _ => Own::Refused(replies::NOT_IMPLEMENTED),
        }
    }
}

/// The line as filters see it; None when its verb is longer than they are to see. It has been read as a command.
fn unknown_command(line: &[u8]) -> Option<UnknownCommand> {
    let line = str::from_utf8(line).ok()?;
    let (verb, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    if verb.len() > VERB_OCTETS_KEPT_MAX {
        return None;
    }
    Some(UnknownCommand { verb: verb.to_ascii_uppercase(), argument: argument.trim_matches([' ', '\t']).to_owned() })
}
