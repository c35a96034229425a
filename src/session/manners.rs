//! What the operator asks of a client beyond the grammar: no words of other protocols, addresses in their exact
//! form, a HELO name that could be one. And what VRFY and HELP are told.

use crate::config::{HeloCheck, Vrfy};
use crate::policy::hello::{self, Unfit, We};
use crate::policy::relay::Standing;
use crate::smtp::command::Command;
use crate::smtp::{Reply, replies, strict};

use super::{Session, Step};

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

    pub(super) fn vrfy(&mut self) -> Step {
        match self.rules.listener().vrfy {
            Vrfy::Neutral => self.idle(replies::VRFY),
            Vrfy::Off => self.refuse(replies::NOT_IMPLEMENTED),
        }
    }

    pub(super) fn help(&mut self) -> Step {
        match &self.rules.listener().help {
            Some(text) => {
                let reply = replies::help(text);
                self.idle(reply)
            }
            None => self.refuse(replies::NOT_IMPLEMENTED),
        }
    }
}
