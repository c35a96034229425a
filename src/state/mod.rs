//! Floor 5: what sessions share: rate limits, kept answers, counters, key-value, tables; its snapshot; and the spool of
//! a held message.

pub mod addresses;
pub mod answers;
pub mod counters;
pub mod keyed;
pub mod kv;
pub mod limits;
pub mod memory;
pub mod snapshot;
pub mod spool;
pub mod tables;
