//! When a filter runs at all: what `when` of a `[[filter]]` means. Which of it holds is `policy::when`'s to say.

use std::fmt;

use ipnet::IpNet;

use super::behind::AddressPattern;
use super::units::show_size;

/// Conditions, all of which must hold. An empty list, or `None`, asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct When {
    /// Names of listeners.
    pub listeners: Vec<String>,
    pub networks: Vec<IpNet>,
    pub except_networks: Vec<IpNet>,
    /// Whether the client must, or must not, have logged in.
    pub authenticated: Option<bool>,
    /// Octets of the message as a whole.
    pub size_bytes_min: Option<u64>,
    pub size_bytes_max: Option<u64>,
    pub senders: Vec<AddressPattern>,
    pub recipients: Vec<AddressPattern>,
}

/// As `wasmilter check` shows them; nothing where there are none. The listeners are shown elsewhere.
impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        let mut part = |what: &str, list: Vec<String>| {
            if !list.is_empty() {
                parts.push(format!("{what} {}", list.join(", ")));
            }
        };
        let shown = |networks: &[IpNet]| networks.iter().map(ToString::to_string).collect();
        part("clients in", shown(&self.networks));
        part("clients not in", shown(&self.except_networks));
        let login = |wanted| if wanted { "have logged in" } else { "have not logged in" }.to_owned();
        part("clients that", self.authenticated.map(login).into_iter().collect());
        part("messages from", self.size_bytes_min.map(show_size).into_iter().collect());
        part("messages up to", self.size_bytes_max.map(show_size).into_iter().collect());
        part("senders at", self.senders.iter().map(ToString::to_string).collect());
        part("recipients at", self.recipients.iter().map(ToString::to_string).collect());
        f.write_str(&parts.join("; "))
    }
}

impl When {
    /// Whether anything is asked of the session.
    #[must_use]
    pub fn asks_session(&self) -> bool {
        !(self.listeners.is_empty()
            && self.networks.is_empty()
            && self.except_networks.is_empty()
            && self.authenticated.is_none())
    }

    /// Whether anything is asked that only a transaction can tell.
    #[must_use]
    pub fn asks_transaction(&self) -> bool {
        self.asks_addresses() || self.size_bytes_min.is_some() || self.size_bytes_max.is_some()
    }

    /// Whether it depends on who writes to whom.
    #[must_use]
    pub fn asks_addresses(&self) -> bool {
        !(self.senders.is_empty() && self.recipients.is_empty())
    }
}
