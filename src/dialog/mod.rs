//! Floor 10: transcripts. What a client, the gateway and the mail server behind it say to each other, as a file; and
//! the gateway held to it, in this process, over loopback connections.
//!
//! The gateway's own tests and `wasmilter filter test` replay with this. What the gateway is configured with is theirs
//! to say: here is only what is said on the wire. docs/dialogs.md describes the files.

mod failure;
pub mod files;
mod groups;
mod replay;
mod script;
mod upstream;

pub use failure::{Failure, Why};
pub use replay::{Patience, Prepare, Setting, TurnClock, replay};
pub use script::{Event, Head, How, Script};
