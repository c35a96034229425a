//! Nothing here; see `tests/components.rs`.
