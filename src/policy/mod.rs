//! Floor 3: pure decisions. Time is an argument; nothing here waits or remembers.

pub mod access;
pub mod delegation;
pub mod hello;
pub mod limits;
pub mod relay;
pub mod routes;
pub mod sender;
pub mod tables;
pub mod when;
