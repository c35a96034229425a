//! One transaction's envelope.

use std::sync::Arc;

use crate::smtp::{ForwardPath, Params, ReversePath};

/// MAIL FROM with its parameters as they were said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    pub path: ReversePath,
    pub params: Params,
}

/// RCPT TO with its parameters as they were said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    pub path: ForwardPath,
    pub params: Params,
}

/// A snapshot of the transaction: cheap to share, replaced when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Of the transaction: the session's id and a running number.
    pub id: Arc<str>,
    pub sender: Sender,
    /// Those that policy, filters and the upstream accepted, in their order.
    pub recipients: Vec<Recipient>,
}
