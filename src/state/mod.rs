//! Floor 5: what sessions share: rate limits, counters, key-value, tables.

pub mod limits;
