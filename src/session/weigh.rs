//! What a chain's verdict means for the client: the one place where an action becomes a reply.

use crate::mail::{Action, Stage, Verdict};
use crate::smtp::{Reply, replies};

use super::quarantine::Quarantined;

/// An objection, ready to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weighed {
    /// Nobody objects.
    Pass,
    /// Say this; the session goes on.
    Refuse(Reply),
    /// Say this and close.
    Disconnect(Reply),
    /// Answer success, deliver nothing (the operator granted it).
    Discard,
    /// To where the grant of this filter says, and nowhere else.
    Quarantine(Quarantined),
}

/// Weighs a verdict. A `discard` or `quarantine` where none is possible cannot come from the chain; it is a deferral if it does.
#[must_use]
pub fn weigh(stage: Stage, verdict: Verdict) -> Weighed {
    let Verdict { action, reply, filter, reason } = verdict;
    let of_content = matches!(stage, Stage::Data | Stage::Headers | Stage::Message);
    match action {
        // An answer where none is possible cannot come from the chain.
        Action::Next | Action::Answer => Weighed::Pass,
        Action::Reject => Weighed::Refuse(reply.unwrap_or(replies::FILTER_REJECTED)),
        Action::Defer => Weighed::Refuse(reply.unwrap_or(replies::FILTER_DEFERRED)),
        Action::Disconnect => Weighed::Disconnect(reply.unwrap_or(replies::FILTER_DISCONNECTED)),
        Action::Discard if of_content => Weighed::Discard,
        Action::Quarantine if of_content => match filter {
            Some(filter) => Weighed::Quarantine(Quarantined { filter, reason }),
            None => Weighed::Refuse(replies::FILTER_DEFERRED),
        },
        Action::Discard | Action::Quarantine => Weighed::Refuse(replies::FILTER_DEFERRED),
    }
}
