//! What others said about a client: a proxy in its PROXY header, a mail server by XCLIENT or XFORWARD. Only those say
//! it whom the operator named.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::TlsFacts;

/// Of one session; most have none of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Introduced {
    /// The connection came through this proxy.
    pub proxy: Option<Proxied>,
    /// Who spoke for the client by XCLIENT: the peer as it was before.
    pub xclient: Option<SocketAddr>,
    pub forwarded: Option<Forwarded>,
}

/// From a PROXY header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxied {
    /// The proxy itself.
    pub peer: SocketAddr,
    /// TLS that ended at the proxy (PP2_TYPE_SSL).
    pub tls: Option<Arc<TlsFacts>>,
    /// The name the client asked for (PP2_TYPE_AUTHORITY).
    pub authority: Option<Arc<str>>,
    /// The proxy's name for this connection (PP2_TYPE_UNIQUE_ID).
    pub unique_id: Option<Arc<str>>,
}

/// From XFORWARD: who handed in the message of the next transaction, for logs. What is None was not said, or said to
/// be unavailable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarded {
    pub name: Option<Arc<str>>,
    pub address: Option<IpAddr>,
    pub port: Option<u16>,
    /// "SMTP" or "ESMTP".
    pub protocol: Option<Arc<str>>,
    pub helo: Option<Arc<str>>,
    /// What the sender of XFORWARD calls the message.
    pub ident: Option<Arc<str>>,
    /// "LOCAL" or "REMOTE".
    pub source: Option<Arc<str>>,
}

impl fmt::Display for Forwarded {
    /// `name[address]:port ident`, as mail logs write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.name.as_deref().unwrap_or("unknown"))?;
        match self.address {
            Some(address) => write!(f, "{address}]")?,
            None => f.write_str("unknown]")?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.ident.as_ref().map_or(Ok(()), |ident| write!(f, " {ident}"))
    }
}
