//! What stands behind the gateway, once it has been read: mail servers, in groups, and who is taken to which.
//!
//! Immutable data, as in `types`; nothing here is parsed, resolved or connected to.

use std::path::PathBuf;
use std::time::Duration;

use super::url::is_near;

/// The upstream for whatever no route takes elsewhere.
pub const UPSTREAM_DEFAULT: &str = "default";

/// Mail servers of which one is as good as the other, and how they are spoken to.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    pub name: String,
    pub servers: Servers,
    pub protocol: UpstreamProtocol,
    pub connect: Connect,
    pub identify: Identify,
    /// The client's address in front of the banner; such a connection is for this client only.
    pub proxy_protocol: Option<ProxyVersion>,
    pub tls: UpstreamTls,
    /// Shown where the server asks for one.
    pub certificate: Option<ClientCertificate>,
    pub login: Option<UpstreamLogin>,
    /// How long an EHLO answer of the upstream may be reused; zero asks at each client's EHLO.
    pub extensions_ttl: Duration,
    /// How long its answers about recipients are kept where it is deferred; `None`: not at all.
    pub keep_answers: Option<Duration>,
    pub pool: Pool,
    /// How often servers are asked whether they are well; `None`: only mail tells.
    pub health_check: Option<Duration>,
}

impl Upstream {
    /// One server, and everything else as it is when a file says nothing.
    #[must_use]
    pub fn at(host: &str, port: u16) -> Upstream {
        let server = Server { host: host.to_owned(), port, priority: 0, weight: 1 };
        Upstream {
            name: UPSTREAM_DEFAULT.to_owned(),
            servers: Servers::Listed(vec![server]),
            protocol: UpstreamProtocol::Smtp,
            connect: Connect::Eager,
            identify: Identify::Xclient,
            proxy_protocol: None,
            tls: UpstreamTls::Off,
            certificate: None,
            login: None,
            extensions_ttl: Duration::ZERO,
            keep_answers: None,
            pool: Pool::default(),
            health_check: None,
        }
    }
}

/// Where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// In the order of the file; never empty.
    Listed(Vec<Server>),
    /// The name of SRV records (RFC 2782), asked for anew at each connection: `_smtp._tcp.example.org`.
    Service(String),
}

impl Servers {
    /// All of them are this machine.
    #[must_use]
    pub fn are_near(&self) -> bool {
        match self {
            Servers::Listed(servers) => servers.iter().all(|server| is_near(&server.host)),
            Servers::Service(_) => false,
        }
    }
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Resolved anew for each connection, unless it is an address.
    pub host: String,
    pub port: u16,
    /// Lower is tried first; the others are for when none of those works.
    pub priority: u16,
    /// Its share of the connections among those of its priority.
    pub weight: u16,
}

/// When an upstream hears of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connect {
    /// At its EHLO.
    Eager,
    /// When a recipient has passed policy and filters.
    Lazy,
    /// Recipients are checked quickly; the message is taken first, and the upstream held only for its replay.
    Deferred,
}

/// Connections that go from one client to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// At once, idle ones included; `None`: as many as there are sessions.
    pub connections: Option<u32>,
    pub idle_connections: u32,
    /// An idle connection is closed then.
    pub idle_time: Duration,
    /// A connection that has carried so many is closed.
    pub transactions_per_connection: u32,
}

/// How the upstream learns who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identify {
    /// Postfix's XCLIENT, or 451.
    Xclient,
    /// Postfix's XFORWARD (logging only; the upstream judges by the gateway's address), or 451.
    Xforward,
    /// XCLIENT where offered, else XFORWARD where offered, else nothing.
    Auto,
    /// The upstream sees the gateway as its client.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    Smtp,
    /// RFC 2033: an answer for each recipient after the message.
    Lmtp,
}

/// Of HAProxy's PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    V1,
    V2,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamTls {
    Off,
    /// STARTTLS where offered, any certificate.
    Opportunistic,
    /// TLS always, with a certificate that is believed.
    Verify {
        begin: TlsBegin,
        trust: Believed,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsBegin {
    StartTls,
    /// From the first octet.
    Implicit,
}

/// Which certificate is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Believed {
    /// One that verifies.
    Named {
        /// For this name; `None`: for the host that was connected to.
        name: Option<String>,
        ca_file: Option<PathBuf>,
    },
    /// One with one of these keys, whatever else it says.
    Pinned(Vec<KeyPin>),
}

/// SHA-256 of a public key (SubjectPublicKeyInfo, DER).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPin(pub [u8; 32]);

/// PEM files, leaf first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How the gateway logs in at the upstream: PLAIN or LOGIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamLogin {
    pub user: String,
    pub password: PasswordSource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    Written(Password),
    /// The first line of a file.
    File(PathBuf),
}

/// It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    #[must_use]
    pub fn new(text: String) -> Password {
        Password(text)
    }

    /// For the upstream, and for nobody else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// Which upstream takes a message. Every list that is not empty must have something that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub listeners: Vec<String>,
    /// Names as they are after a login.
    pub identities: Vec<String>,
    pub senders: Vec<AddressPattern>,
    pub recipients: Vec<AddressPattern>,
    /// The name of one of `Config::upstreams`.
    pub upstream: String,
}

/// Addresses that a route is for. Lower case; domains without their final dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressPattern {
    /// `<>`, of bounces.
    Null,
    Address {
        local: String,
        domain: String,
    },
    /// This domain, and none below it.
    Domain(String),
    /// Every domain below this one.
    Below(String),
}

/// As it is written in a file.
impl std::fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AddressPattern::Null => f.write_str("<>"),
            AddressPattern::Address { local, domain } => write!(f, "{local}@{domain}"),
            AddressPattern::Domain(domain) => f.write_str(domain),
            AddressPattern::Below(parent) => write!(f, ".{parent}"),
        }
    }
}
