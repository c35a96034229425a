//! One client, some commands, and whether the server behind heard of the recipient; and how often that was tried.

use std::cell::Cell;
use std::sync::Arc;

use super::battery::{self, Trick, With};
use super::rehearsal::{self, Client, Introduced};
use crate::config::{Config, Listener, ListenerTls, ProxyTls, holds};
use crate::policy::tables::Tables;

pub(super) struct Trials<'c> {
    pub(super) config: &'c Arc<Config>,
    pub(super) tables: &'c Tables,
    pub(super) tricks: Vec<Trick>,
    sessions: Cell<usize>,
}

/// What came of the last command, which names the recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// As the server behind hears it.
    Relayed(String),
    /// The first refusal of the session.
    Refused(String),
}

impl Outcome {
    pub(super) const fn is_relayed(&self) -> bool {
        matches!(self, Outcome::Relayed(_))
    }
}

/// A recipient that came through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relayed<'t> {
    pub(super) trick: &'t Trick,
    pub(super) said: Vec<Vec<u8>>,
    pub(super) heard: String,
}

impl<'c> Trials<'c> {
    pub(super) fn new(config: &'c Arc<Config>, tables: &'c Tables) -> Trials<'c> {
        Trials { config, tables, tricks: battery::tricks(config, tables), sessions: Cell::new(0) }
    }

    /// How many sessions there were.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.get()
    }

    pub(super) fn said<L: AsRef<[u8]>>(&self, client: &Client, commands: &[L]) -> Outcome {
        self.sessions.set(self.sessions.get().saturating_add(1));
        let exchanges = rehearsal::rehearse(self.config, self.tables, client, commands);
        let last = commands.last().map(|last| String::from_utf8_lossy(last.as_ref()));
        let heard = exchanges.last().filter(|exchange| last.is_some_and(|last| exchange.said == last));
        let heard = heard.and_then(|exchange| exchange.forwarded.iter().find(|line| line.starts_with("RCPT")));
        match heard {
            Some(heard) => Outcome::Relayed(heard.clone()),
            None => {
                let refused = exchanges.iter().find(|exchange| exchange.is_refusal());
                let reply = refused.and_then(|exchange| exchange.replies.first());
                Outcome::Refused(reply.map_or_else(|| "no answer".to_owned(), ToString::to_string))
            }
        }
    }

    /// The whole battery, by somebody who should get nothing through.
    pub(super) fn battery(&self, client: &Client) -> Vec<Relayed<'_>> {
        // Who may speak for clients is heard when it does, and a certificate may be a login: that is no trick then.
        let speaks = !matches!(client.introduced, Some(Introduced::ByXclient(_) | Introduced::AsUnknown(_)))
            && self.listener(client).is_some_and(|listener| holds(&listener.trust.xclient, client.address));
        let is_heard = |trick: &&Trick| match trick.with {
            With::Introduction => speaks,
            With::Certificate => client.certificate.is_some(),
            With::Plainness | With::Recipient | With::Sender | With::Session => false,
        };
        let tried = self.tricks.iter().filter(|trick| !is_heard(trick));
        tried.filter_map(|trick| self.trick(client, trick, trick.commands())).collect()
    }

    /// By somebody who may send to some recipients and not to plain ones elsewhere: those recipients that are elsewhere
    /// for whoever reads them so. `sender`: one that it may say. None: it may send elsewhere.
    pub(super) fn beyond(&self, client: &Client, sender: &str) -> Option<Vec<Relayed<'_>>> {
        let of = |with| self.tricks.iter().filter(move |trick| trick.with == with);
        let come_through = |trick: &Trick| self.said(client, &trick.commands_from(sender)).is_relayed();
        if of(With::Plainness).any(come_through) {
            return None;
        }
        let shaped = of(With::Recipient);
        Some(shaped.filter_map(|trick| self.trick(client, trick, trick.commands_from(sender))).collect())
    }

    fn trick<'t>(&self, client: &Client, trick: &'t Trick, said: Vec<Vec<u8>>) -> Option<Relayed<'t>> {
        match self.said(client, &said) {
            Outcome::Relayed(heard) => Some(Relayed { trick, said, heard }),
            Outcome::Refused(_) => None,
        }
    }

    pub(super) fn listener(&self, client: &Client) -> Option<&'c Listener> {
        self.config.listeners.get(client.listener)
    }
}

/// In clear, under TLS, or both, as clients can come to this listener.
pub(super) fn encrypted_or_not(listener: &Listener) -> &'static [bool] {
    let believes = listener.trust.proxy.as_ref().is_some_and(|proxy| proxy.tls == ProxyTls::Believe);
    match listener.tls {
        ListenerTls::Implicit => &[true],
        ListenerTls::Off if !believes => &[false],
        ListenerTls::Off | ListenerTls::StartTls => &[false, true],
    }
}
