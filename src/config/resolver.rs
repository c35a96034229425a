//! `[resolver]`: whom the gateway asks names and addresses of.

use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolver {
    /// Empty: the system's.
    pub servers: Vec<SocketAddr>,
    pub peer_names: PeerNames,
    pub dnssec: Dnssec,
}

/// Whether DNS is asked who a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeerNames {
    #[default]
    Asked,
    /// A client has no name, whatever the hosts file says.
    Unasked,
}

/// Whether answers are verified (RFC 4035).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Dnssec {
    #[default]
    Unchecked,
    /// A forged answer is none.
    Validated {
        /// DNSKEY records to begin at: those of the root in place of the built-in ones, those of other zones beside them.
        trust_anchor: Option<PathBuf>,
    },
}
