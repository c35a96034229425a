//! Floor 1: the vocabulary every other floor shares: who speaks, the envelope, stages, verdicts, edits, marks.

mod edit;
mod envelope;
mod introduced;
mod marks;
mod peer;
pub mod proxy;
mod ruled;
mod verdict;

pub use edit::Edit;
pub use envelope::{Envelope, Recipient, Sender};
pub use introduced::{Forwarded, Introduced, Proxied};
pub use marks::{Marks, Symbol, Unmarked};
pub use peer::{AfterLogin, AuthFacts, Hello, PeerName, SessionFacts, TlsFacts};
pub use ruled::Ruled;
pub use verdict::{
    AbortReason, Action, Delivery, Ending, Fault, FaultKind, RecipientReply, Stage, Summary, UnknownCommand, Verdict,
};

pub use crate::smtp::HeaderField;
