//! Who may have mail taken to where. The only place that answers this question; closed by default, and no
//! filter verdict is an argument here.

use std::net::IpAddr;

use super::access::plain;
use super::sender::without_extension;
use super::tables::Tables;
use crate::config::{Listener, Relay, holds};
use crate::mail::{AfterLogin, SessionFacts};
use crate::smtp::ForwardPath;

/// What the session is, as far as relaying is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// May send to our domains only.
    Stranger,
    /// A trusted network, an authenticated session, or an address that has logged in elsewhere: may send anywhere.
    MayRelay,
    /// One of the two: whether its address has logged in elsewhere cannot be told.
    Unsure,
}

/// What a client has to show for itself beside its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Nothing,
    /// It has logged in here.
    Login,
    /// Somebody has logged in elsewhere from its address, where the listener takes that.
    AfterLogin,
    /// Whether somebody has, cannot be told.
    Unsure,
}

impl Known {
    #[must_use]
    pub fn of(facts: &SessionFacts) -> Known {
        match (&facts.auth, facts.after_login) {
            (Some(_), _) => Known::Login,
            (None, AfterLogin::Yes) => Known::AfterLogin,
            (None, AfterLogin::Unknown) => Known::Unsure,
            (None, AfterLogin::No) => Known::Nothing,
        }
    }
}

/// The standing of a client: known, or from a network that the operator named for the listener.
#[must_use]
pub fn standing(listener: &Listener, address: IpAddr, known: Known) -> Standing {
    match known {
        _ if holds(&listener.trusted_networks, address) => Standing::MayRelay,
        Known::Login | Known::AfterLogin => Standing::MayRelay,
        Known::Unsure => Standing::Unsure,
        Known::Nothing => Standing::Stranger,
    }
}

/// Why a recipient is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Not one of our domains.
    NotOurs,
    /// `%`, `!` or a second `@` in the local part: the final destination would be the upstream's guess.
    Routing,
    /// An address literal names a host, not a domain of ours.
    Literal,
    /// One of these, to whom may be a stranger or not: to be asked again.
    Unsure,
}

/// Why a recipient may be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permitted {
    /// The client may send anywhere.
    MayRelay,
    /// Postmaster, without a domain.
    Postmaster,
    /// It is in one of our domains.
    Ours,
}

/// Whether a recipient may be passed on.
///
/// # Errors
/// The reason for the 550, or for the 451 in doubt.
pub fn permits(
    relay: &Relay,
    tables: &Tables,
    standing: Standing,
    recipient: &ForwardPath,
) -> Result<Permitted, Denied> {
    match standing {
        Standing::MayRelay => Ok(Permitted::MayRelay),
        Standing::Stranger => permits_everybody(relay, tables, recipient),
        Standing::Unsure => permits_everybody(relay, tables, recipient).map_err(|_| Denied::Unsure),
    }
}

fn permits_everybody(relay: &Relay, tables: &Tables, recipient: &ForwardPath) -> Result<Permitted, Denied> {
    let mailbox = match recipient {
        // RFC 5321 4.1.1.3: always ours to accept.
        ForwardPath::Postmaster(_) => return Ok(Permitted::Postmaster),
        ForwardPath::Mailbox(mailbox) => mailbox,
    };
    if mailbox.domain().is_literal() {
        return Err(Denied::Literal);
    }
    if mailbox.has_routing_trick() {
        return Err(Denied::Routing);
    }
    if is_ours(relay, tables, &mailbox.domain().canonical()) { Ok(Permitted::Ours) } else { Err(Denied::NotOurs) }
}

/// Whether a recipient is somebody, as far as `relay.recipients` tells. Others than our own are not asked about, and
/// Postmaster is always somebody (RFC 5321 4.5.1).
#[must_use]
pub fn is_known(relay: &Relay, tables: &Tables, recipient: &ForwardPath) -> bool {
    let (Some(table), Some(mailbox)) = (&relay.recipients, recipient.mailbox()) else { return true };
    if mailbox.local_unquoted().eq_ignore_ascii_case("postmaster")
        || !is_ours(relay, tables, &mailbox.domain().canonical())
    {
        return true;
    }
    let address = plain(mailbox);
    tables.has_address(table, &address)
        || without_extension(&address).is_some_and(|base| tables.has_address(table, &base))
}

/// Whether a canonical (lower-case) domain is one of `relay.domains`, or in `relay.domains-table`.
#[must_use]
pub fn is_ours(relay: &Relay, tables: &Tables, domain: &str) -> bool {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    relay.domains.iter().any(|ours| ours == domain)
        || relay.subdomains_of.iter().any(|parent| {
            domain.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        })
        || relay.domains_table.as_ref().is_some_and(|table| tables.contains(table, domain))
}
