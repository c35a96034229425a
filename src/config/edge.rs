//! What stands between a client and its session: our certificates and what TLS asks of clients; and whom a listener
//! believes about clients, which is nobody unless the operator names them.

use std::net::IpAddr;
use std::path::PathBuf;

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

/// Our certificates, for all listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// For clients that ask for no name, or for one that no certificate has.
    pub first: CertificateFiles,
    pub additional: Vec<CertificateFiles>,
    pub min_version: TlsVersion,
}

impl TlsFiles {
    /// One certificate, shown to everybody who speaks TLS 1.2 or newer.
    #[must_use]
    pub fn one(certificate: PathBuf, key: PathBuf) -> TlsFiles {
        let first = CertificateFiles { certificate, key };
        TlsFiles { first, additional: Vec::new(), min_version: TlsVersion::Tls12 }
    }

    /// In the order in which they are looked through.
    pub fn all(&self) -> impl Iterator<Item = &CertificateFiles> {
        std::iter::once(&self.first).chain(&self.additional)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    #[default]
    Tls12,
    Tls13,
}

/// What a listener's TLS asks of clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handshakes {
    pub min_version: TlsVersion,
    pub client_certificate: WantedCertificate,
}

/// With a PEM file of authorities.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WantedCertificate {
    #[default]
    Off,
    /// One that verifies is a fact for filters and the log; any other is as good as none.
    Ask(PathBuf),
    /// Without one that verifies there is no TLS.
    Require(PathBuf),
}

/// Whether an address is in one of these networks. An unknown address (`0.0.0.0`, `::`) is in none.
#[must_use]
pub fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    !address.is_unspecified() && networks.iter().any(|net| net.contains(&address))
}
