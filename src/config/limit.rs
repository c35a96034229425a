//! `[[limit]]`: how much anybody, told apart by whatever the operator likes, may do over all sessions.

use std::time::Duration;

use ipnet::IpNet;

use super::behind::AddressPattern;
use super::types::Rate;

/// One limit. Nothing in it is looked up later: listeners exist, and the key can be had where it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// For log, metrics, and the tag of [`LimitAction::Mark`].
    pub name: String,
    /// Where it counts; empty: at all listeners.
    pub listeners: Vec<String>,
    pub count: Counted,
    /// What clients are told apart by; empty: they share one count.
    pub per: Vec<KeyPart>,
    pub most: Most,
    pub except: LimitExcept,
    pub action: LimitAction,
    /// In place of our own words, where it refuses.
    pub reply: Option<String>,
    /// Reaching it is worth somebody's attention.
    pub alarm: bool,
}

/// How much is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Most {
    /// In [`Counted::Bytes`], the count is in KiB.
    Rate(Rate),
    /// Of [`Counted::ConnectionsAtOnce`].
    AtOnce(u32),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// Connections open at the same moment.
    ConnectionsAtOnce,
    Connections,
    /// MAIL.
    Messages,
    /// RCPT.
    Recipients,
    /// Octets of content, counted after the message; whoever has used them up is stopped at the next MAIL.
    Bytes,
    /// Looked at before a login, counted when it fails.
    AuthFailures,
    /// Refused commands; whoever has used them up is stopped at the next connection or MAIL.
    Errors,
    /// RCPT with an address that the same key has not named within the rate's time.
    DistinctRecipients,
}

impl Counted {
    pub(super) const CHOICES: &'static [(&'static str, Counted)] = &[
        ("connections-at-once", Counted::ConnectionsAtOnce),
        ("connections", Counted::Connections),
        ("messages", Counted::Messages),
        ("recipients", Counted::Recipients),
        ("bytes", Counted::Bytes),
        ("auth-failures", Counted::AuthFailures),
        ("errors", Counted::Errors),
        ("distinct-recipients", Counted::DistinctRecipients),
    ];

    /// As in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::CHOICES.iter().find(|(_, counted)| *counted == self).map_or("", |(name, _)| name)
    }
}

/// One part of what clients are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPart {
    /// IPv6 by /64, which is what one subscriber has.
    Address,
    /// By so many bits of an IPv4 address, so many of an IPv6 address.
    Network(u8, u8),
    Listener,
    /// Who has logged in; at [`Counted::AuthFailures`], the account that is tried.
    Identity,
    /// Not that of bounces.
    Sender,
    SenderDomain,
    Recipient,
    RecipientDomain,
    /// The name in HELO or EHLO.
    Helo,
    /// In clear, encrypted, or encrypted with a client certificate that verified.
    Tls,
}

impl KeyPart {
    pub(super) const CHOICES: &'static [(&'static str, KeyPart)] = &[
        ("address", KeyPart::Address),
        ("listener", KeyPart::Listener),
        ("identity", KeyPart::Identity),
        ("sender", KeyPart::Sender),
        ("sender-domain", KeyPart::SenderDomain),
        ("recipient", KeyPart::Recipient),
        ("recipient-domain", KeyPart::RecipientDomain),
        ("helo", KeyPart::Helo),
        ("tls", KeyPart::Tls),
    ];

    /// Whether it is known when that is counted.
    #[must_use]
    pub fn is_known_at(self, counted: Counted) -> bool {
        match (self, counted) {
            (KeyPart::Address | KeyPart::Network(..) | KeyPart::Listener, _) => true,
            (_, Counted::ConnectionsAtOnce | Counted::Connections | Counted::Errors)
            | (KeyPart::Recipient, Counted::DistinctRecipients) => false,
            (KeyPart::Identity | KeyPart::Helo | KeyPart::Tls, _) => true,
            (KeyPart::Sender | KeyPart::SenderDomain, counted) => counted != Counted::AuthFailures,
            (KeyPart::Recipient | KeyPart::RecipientDomain, counted) => {
                matches!(counted, Counted::Recipients | Counted::DistinctRecipients)
            }
        }
    }
}

/// Whom a limit does not count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitExcept {
    pub networks: Vec<IpNet>,
    pub identities: Vec<String>,
    pub senders: Vec<AddressPattern>,
    pub recipients: Vec<AddressPattern>,
}

/// What happens to whoever reaches a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitAction {
    /// 450; a connection hears 421 and is closed.
    Defer,
    /// 550; a connection hears 554 and is closed.
    Refuse,
    /// 421, and the connection is closed.
    Disconnect,
    /// It goes on after so long.
    Delay(Duration),
    /// The transaction gets a tag that filters see and the log shows.
    Mark,
    /// Nothing but a line in the log and a number in the metrics.
    Log,
}

impl LimitAction {
    /// As in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            LimitAction::Defer => "defer",
            LimitAction::Refuse => "refuse",
            LimitAction::Disconnect => "disconnect",
            LimitAction::Delay(_) => "delay",
            LimitAction::Mark => "mark",
            LimitAction::Log => "log",
        }
    }

    /// Whether the client hears no.
    #[must_use]
    pub const fn refuses(self) -> bool {
        matches!(self, LimitAction::Defer | LimitAction::Refuse | LimitAction::Disconnect)
    }
}
