//! `[[policy-service]]`, once it has been read: daemons that speak Postfix's policy delegation protocol.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One daemon, and what it is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyService {
    /// In log and metrics.
    pub name: String,
    pub address: PolicyAddress,
    /// Never empty.
    pub at: Vec<PolicyStage>,
    /// Names of listeners; empty: all of them.
    pub listeners: Vec<String>,
    /// For one answer, with connecting and a second try.
    pub timeout: Duration,
    /// Questions to it at the same time, and so connections; further ones wait.
    pub connections: usize,
    pub on_failure: OnPolicyFailure,
    /// Its refusals are written down, and nothing comes of them.
    pub would: bool,
    /// What it is told as `policy_context`.
    pub context: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// When it is asked (`protocol_state` of the protocol).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyStage {
    Connect,
    Helo,
    Mail,
    Rcpt,
    Data,
    EndOfMessage,
}

impl PolicyStage {
    /// As in the protocol. `extended`: the client said EHLO.
    #[must_use]
    pub const fn state(self, extended: bool) -> &'static str {
        match self {
            PolicyStage::Connect => "CONNECT",
            PolicyStage::Helo if extended => "EHLO",
            PolicyStage::Helo => "HELO",
            PolicyStage::Mail => "MAIL",
            PolicyStage::Rcpt => "RCPT",
            PolicyStage::Data => "DATA",
            PolicyStage::EndOfMessage => "END-OF-MESSAGE",
        }
    }
}

/// What a client hears when the daemon is away, or says what cannot be done here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPolicyFailure {
    /// 451 4.3.5.
    Defer,
    /// As if it had not been asked.
    Next,
}
