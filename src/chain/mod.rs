//! Floor 8: the filters in their order.
//!
//! A [`Chain`] is one configuration's filters, loaded. A [`SessionChain`] is what one session has of them: its
//! instances, made when they are first needed. The chain decides in which order filters are asked and when that
//! ends; what a verdict means for the session is decided above.

mod consult;
mod link;
mod load;
mod outcome;
mod session;
mod shadow;
mod when;

pub use load::{Chain, ChainError};
pub use outcome::{BodyMode, Call, Context, Opinion, Outcome};
pub use session::{SessionChain, Usage};

pub use crate::filter::Held;
