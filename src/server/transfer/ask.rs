//! The header block and the whole message, until the chain takes them.

use crate::chain::Outcome;
use crate::smtp::headers::HeaderBlock;
use crate::state::spool::Spool;

#[derive(Debug)]
pub(super) struct Held {
    pub(super) headers: HeaderBlock,
    pub(super) body: Spool,
}

impl Held {
    pub(super) fn new(headers: HeaderBlock, body: Spool) -> Held {
        Held { headers, body }
    }
}

pub(super) fn headers(_: &mut HeaderBlock) -> Outcome {
    Outcome::NEXT
}

pub(super) fn message(_: &mut Held) -> Outcome {
    Outcome::NEXT
}
