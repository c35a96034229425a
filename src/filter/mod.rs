//! Floor 7: the Wasm host. It loads filters, makes instances of them, and asks them, within bounds.
//!
//! What a filter says is hostile until checked, what it does is stopped in time, and what it breaks is its own
//! instance. This floor knows one filter at a time; their order is the business of [`chain`](crate::chain).

mod about;
mod answer;
mod ask;
mod bindings;
mod bounds;
mod breaker;
mod cache;
mod calls;
mod component;
mod convert;
mod engine;
mod error;
mod fit;
mod grant;
mod guest;
mod held;
#[doc(hidden)]
pub mod hostile;
mod imports;
mod inspect;
mod instance;
mod log;
mod metrics;
mod mime;
mod notes;
pub mod outside;
mod pool;
mod profile;
mod program;
mod schema;
mod signature;
mod stages;
mod survey;
mod ticker;
mod trial;
mod wasi;
mod work;

pub use about::About;
pub use answer::{Answer, Said};
pub use ask::{Ask, CHUNK_BYTES_MAX};
pub use engine::{Host, HostOptions};
pub use error::LoadError;
pub use held::Held;
pub use imports::grant_of;
pub use inspect::{Import, Inspection, Maker};
pub use instance::Instance;
pub use notes::Notes;
pub use outside::{Clock, Outside, Script};
pub use pool::{Bound, Machine, PoolTooLarge};
pub use profile::{Memory, Profile};
pub use program::Program;
pub use signature::{Signature, Signed};
pub use stages::StageSet;
pub use work::Work;
