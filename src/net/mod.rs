//! Floor 5: streams, TLS, listening sockets, DNS.

pub mod dns;
pub mod hosts;
