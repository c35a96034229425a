//! Recipients about whom somebody elsewhere has to be asked: whether their domain is ours, whether there is such a mailbox.
//! One question after another, each only where its answer matters. Without an answer nobody hears yes or no.

use crate::config::Relay;
use crate::mail::{Edit, Verdict};
use crate::policy::relay;
use crate::policy::tables::{Found, Judged, Tables, Told, Wanted};
use crate::smtp::ForwardPath;
use crate::smtp::params::Params;

use super::phase::{Pending, Phase, Rcpt};
use super::{Session, Step};

/// What waits for an answer.
#[derive(Debug)]
pub(super) enum Waiting {
    /// The command.
    Said(ForwardPath, Params),
    /// What filters made of it.
    Weighed(Box<Rcpt>, Verdict, Vec<Edit>),
}

impl Session {
    /// What policy says with what is known of a recipient.
    pub(super) fn judge<T>(&self, policy: impl FnOnce(&Relay, &Tables) -> T) -> Judged<T> {
        let (config, none) = (self.config(), Told::default());
        let told = if let Phase::Addressed(transaction) = &self.phase { &transaction.told } else { &none };
        self.rules.tables.judge(told, |tables| policy(&config.relay, tables))
    }

    /// What has to be asked before a client's recipient can be judged.
    pub(super) fn to_ask(&self, path: &ForwardPath) -> Option<Wanted> {
        let standing = self.standing();
        let judged = self.judge(|relay, tables| {
            relay::permits(relay, tables, standing, path).is_ok() && relay::is_known(relay, tables, path)
        });
        if let Judged::Ask(wanted) = judged { Some(wanted) } else { None }
    }

    /// The same of recipients that filters wrote: whether there are such mailboxes is not asked.
    pub(super) fn to_ask_of(&self, edits: &[Edit]) -> Option<Wanted> {
        let standing = self.standing();
        edits.iter().find_map(|edit| match edit {
            Edit::ReplaceRecipient { recipient, beyond_relay: false }
            | Edit::AddRecipient { recipient, beyond_relay: false } => {
                let judged =
                    self.judge(|relay, tables| relay::permits(relay, tables, standing, &recipient.path).is_ok());
                if let Judged::Ask(wanted) = judged { Some(wanted) } else { None }
            }
            _ => None,
        })
    }

    pub(super) fn look_up(&mut self, wanted: Wanted, waiting: Waiting) -> Step {
        self.pending = Pending::LookUp(Box::new((wanted.clone(), waiting)));
        Step::LookUp(wanted)
    }

    pub(super) fn looked_up(&mut self, wanted: Wanted, waiting: Waiting, found: Found) -> Step {
        if let Phase::Addressed(transaction) = &mut self.phase {
            transaction.told.hear(wanted, found);
        }
        match waiting {
            Waiting::Said(path, params) => self.check_rcpt(path, params),
            Waiting::Weighed(rcpt, verdict, edits) => self.weigh_rcpt(rcpt, verdict, edits),
        }
    }
}
