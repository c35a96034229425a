//! `[state]`, once it has been read: what outlives sessions, and what several gateways hold in common.

use std::path::PathBuf;
use std::time::Duration;

/// What outlives sessions, and where it is kept beyond the memory of this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// None: a restart forgets everything.
    pub snapshot: Option<Snapshot>,
    /// Redis or Valkey. None: everything is this gateway's own.
    pub shared: Option<SharedState>,
}

/// Where the memory of this process is written down for the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub path: PathBuf,
    /// What is lost at most when the process is killed.
    pub every: Duration,
    /// Of what is written; the file may become some times as large.
    pub bytes_max: u64,
}

/// How the servers of a Redis are reached, and what is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedState {
    /// In their order; never empty. Without `cluster` the first that takes writes is used (or answers, where nothing is
    /// written); with it they are asked who else belongs to it.
    pub servers: Vec<RedisServer>,
    /// From the first octet, to all of them, with a certificate that verifies.
    pub tls: bool,
    /// Instead of the platform's roots.
    pub ca: Option<PathBuf>,
    pub cluster: bool,
    /// Of an ACL; None: the default user.
    pub user: Option<String>,
    /// Its first line.
    pub password_file: Option<PathBuf>,
    pub database: u32,
    /// What all keys begin with.
    pub prefix: String,
    /// For one answer. After it, the gateway goes on without.
    pub timeout: Duration,
    /// `[rates]` and `[[limit]]`.
    pub limits: bool,
    /// What filters keep.
    pub kv: bool,
}

impl SharedState {
    /// Whether anything is ever written there. Tables are only read.
    #[must_use]
    pub const fn is_written(&self) -> bool {
        self.limits || self.kv
    }
}

/// One server of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RedisServer {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
