//! Floor 1: the vocabulary every other floor shares: who speaks, the envelope, stages, verdicts, edits.

mod edit;
mod envelope;
mod introduced;
mod peer;
pub mod proxy;
mod verdict;

pub use edit::Edit;
pub use envelope::{Envelope, Recipient, Sender};
pub use introduced::{Forwarded, Introduced, Proxied};
pub use peer::{AuthFacts, Hello, PeerName, SessionFacts, TlsFacts};
pub use verdict::{AbortReason, Action, Fault, FaultKind, Stage, Verdict};

pub use crate::smtp::HeaderField;
