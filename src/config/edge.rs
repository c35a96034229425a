//! What a listener believes about clients from others than the clients themselves. Nobody, unless the operator
//! names them.

use std::net::IpAddr;

use ipnet::IpNet;

/// Who may speak for clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// Every connection begins with a PROXY header and comes from the proxy's networks.
    pub proxy: Option<Proxy>,
    /// From here XCLIENT is heard: the session is then the client's it names.
    pub xclient: Vec<IpNet>,
    /// From here XFORWARD is heard: for the log and the upstream's log only.
    pub xforward: Vec<IpNet>,
}

/// Proxies in front of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A connection from elsewhere is closed before anything of it is read.
    pub networks: Vec<IpNet>,
    pub tls: ProxyTls,
}

/// What it means that a proxy says it has ended the client's TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyTls {
    /// A line in the log.
    Ignore,
    /// The session counts as encrypted: for `require-tls`, for AUTH, and for filters.
    Believe,
}

/// Whether an address is in one of these networks. An unknown address (`0.0.0.0`, `::`) is in none.
#[must_use]
pub fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    !address.is_unspecified() && networks.iter().any(|net| net.contains(&address))
}
