//! Which filters a transaction is for, where conditions name recipients. A transaction has one set of them: on its way
//! between servers, that of its first recipient, and one that needs another set hears 452 and comes again. Clients that
//! log in do not come again: there every filter that one of the recipients is for judges the message.

use crate::mail::Sender;
use crate::policy::when::{self, Client, FilterSet, Mixed};
use crate::smtp::{ForwardPath, Reply, replies};

use super::Session;
use super::phase::{Phase, Rcpt, Transaction};

/// What a transaction knows of them; nothing at all where no filter looks at recipients.
#[derive(Debug)]
pub(super) struct Chosen {
    mixed: Mixed,
    /// Whose other conditions the sender did not meet, as the client said it.
    held_off: FilterSet,
    /// Of the recipients that were accepted.
    set: Option<FilterSet>,
}

impl Session {
    /// At MAIL.
    pub(super) fn choose_filters(&self, sender: &Sender) -> Option<Box<Chosen>> {
        let (config, listener) = (self.config(), self.rules.listener());
        let mixed = when::mixed(config, listener, self.facts.auth.is_some())?;
        Some(Box::new(Chosen { mixed, held_off: when::held_off(config, listener, sender), set: None }))
    }

    /// The filters that this recipient is for.
    ///
    /// # Errors
    /// The 452: the transaction is for others.
    pub(super) fn filters_for(&self, recipient: &ForwardPath) -> Result<FilterSet, Reply> {
        let Phase::Addressed(transaction) = &self.phase else { return Ok(FilterSet::default()) };
        let Some(chosen) = &transaction.filters else { return Ok(FilterSet::default()) };
        let client = Client::of(&self.facts);
        let own = when::of_recipient(self.config(), self.rules.listener(), client, &chosen.held_off, recipient);
        match &chosen.set {
            Some(set) if chosen.mixed == Mixed::Apart && !when::agree(self.config(), set, &own) => {
                Err(replies::OTHER_FILTERS)
            }
            _ => Ok(own),
        }
    }

    /// The filters with conditions about recipients that the transaction at hand is for, those counted in whose answers
    /// are out; `None`: none looks at them.
    #[must_use]
    pub fn filters(&self) -> Option<FilterSet> {
        let Phase::Addressed(transaction) = &self.phase else { return None };
        let mut set = transaction.filters.as_ref()?.set.clone().unwrap_or_default();
        self.group.rcpts().for_each(|rcpt| set.join(&rcpt.filters));
        Some(set)
    }
}

impl Transaction {
    /// The upstream took this recipient.
    pub(super) fn accept(&mut self, rcpt: Rcpt) {
        if let Some(chosen) = &mut self.filters {
            chosen.set.get_or_insert_default().join(&rcpt.filters);
        }
        std::sync::Arc::make_mut(&mut self.envelope).recipients.push(rcpt.recipient);
    }

    /// Whether the next recipient can be judged only when it is known what became of those before it: the first one
    /// that is accepted decides.
    pub(super) fn awaits_first(&self) -> bool {
        self.filters.as_ref().is_some_and(|chosen| chosen.mixed == Mixed::Apart && chosen.set.is_none())
    }
}
