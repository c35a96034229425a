//! `[resolver]`: whom the gateway asks names and addresses of.

use std::net::SocketAddr;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolver {
    /// Empty: the system's.
    pub servers: Vec<SocketAddr>,
    pub peer_names: PeerNames,
}

/// Whether DNS is asked who a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeerNames {
    #[default]
    Asked,
    /// A client has no name, whatever the hosts file says.
    Unasked,
}
