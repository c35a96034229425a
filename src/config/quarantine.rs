//! Where a filter may send messages in place of their recipients' own server.

use crate::smtp::ForwardPath;

/// One of both is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuarantineGrant {
    /// One of `Config::upstreams`; None: the one that the message was to go to.
    pub upstream: Option<String>,
    /// In place of all recipients. Relay policy is not asked: the operator named it.
    pub recipient: Option<ForwardPath>,
}
