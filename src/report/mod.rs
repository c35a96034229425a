//! Floor 5: one-way facts, to the log and to the metrics.
//!
//! It is told after the fact, returns nothing, and decides nothing. Whatever comes from outside is shown escaped and
//! cut, in [`log`], where all of it passes.

pub mod backend;
mod escape;
pub mod event;
pub mod log;
pub mod metrics;
pub mod seldom;
pub mod shared;
mod transaction;
pub mod upstream;

pub use escape::printable;
pub use metrics::Metrics;
pub use seldom::Seldom;
pub use transaction::{FilterSaid, Outcome, Transaction};
