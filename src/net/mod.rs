//! Floor 5: octets in and out: connections (plain or TLS), TLS itself, listening sockets, names.
//!
//! Nothing here knows SMTP. It refuses to decide: what a failed handshake or a lost peer means for a
//! session is said above.

pub mod dial;
pub mod dns;
pub mod files;
pub mod hosts;
pub mod http;
pub mod inherit;
pub mod listen;
pub mod policy;
pub mod socket;
pub mod stream;
pub mod tls;

pub use stream::Stream;
