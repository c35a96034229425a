//! Mail filters for the wasmilter gateway.
//!
//! A filter is a struct, the trait [`Filter`] with [`next`] as every default, and one macro:
//!
//! ```
//! use wasmilter_filter::*;
//!
//! #[derive(Default)]
//! struct NoExe;
//!
//! impl Filter for NoExe {
//!     fn message(&mut self, mail: &Message) -> Verdict {
//!         match mail.attachments().find(|a| a.has_extension(&["exe", "scr", "js"])) {
//!             Some(a) => reject("5.7.1", format!("attachment {} is not accepted here", a.name())),
//!             None => next(),
//!         }
//!     }
//! }
//!
//! export!(NoExe: message);
//! ```
//!
//! Built for `wasm32-unknown-unknown` with the linker `wasm-component-ld` (see the README of the filters) it is
//! a component that exports the named stages and imports what the code calls, which is what the operator
//! has to grant. There is no WASI: files, sockets, environment and the clocks of `std` do not exist; the time
//! comes from [`clock`].
//!
//! A panic traps, its words and the guest's backtrace go to the gateway's log, and the message gets the answer
//! that the operator set as `on-fault`.

mod about;
#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
mod alloc;
#[doc(hidden)]
pub mod bindings;
mod capabilities;
mod export;
mod message;
mod session;
pub mod text;
mod verdict;
mod zip;

pub use about::{About, Phase};
pub use capabilities::{clock, config, counters, dns, edit, facts, http, kv, log, mark, metrics, random, tables};
#[doc(hidden)]
pub use export::__made;
pub use export::Filter;
pub use message::{Attachment, Header, Headers, Message, MimeError, Part, READ_BYTES};
pub use session::{
    AbortReason, AuthInfo, Delivery, Ending, Endpoint, Envelope, Path, RecipientReply, Session, Summary, TlsInfo,
    envelope, session,
};
pub use verdict::{
    Action, REASON_BYTES_MAX, REPLY_LINE_BYTES_MAX, REPLY_LINES_MAX, Reply, Verdict, accept, answer, defer, discard,
    disconnect, next, quarantine, reject, skip,
};
