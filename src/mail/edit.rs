//! What filters changed, already checked against their grants and the client's own parsers.

use super::envelope::{Recipient, Sender};

/// An edit of the envelope. (Header and body edits are applied to the message itself and need no list.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    SetSender(Sender),
    /// At rcpt: instead of the recipient at hand. `beyond_relay`: it matched the patterns the operator
    /// granted the filter, so relay policy is not asked again.
    ReplaceRecipient {
        recipient: Recipient,
        beyond_relay: bool,
    },
    AddRecipient {
        recipient: Recipient,
        beyond_relay: bool,
    },
    /// At mail, and at rcpt for the recipient at hand: to the upstream of this name.
    Route(String),
    /// At message: by address, as the client said it.
    RemoveRecipient {
        address: String,
    },
}
