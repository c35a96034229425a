//! Floor 5: what sessions share: rate limits, counters, key-value, tables; and the spool of a held message.

pub mod counters;
pub mod kv;
pub mod limits;
pub mod spool;
pub mod tables;
