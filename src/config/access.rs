//! `[[access]]`, once it has been read: who is refused, or spared, at which command.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;

use super::types::Config;
use crate::smtp::Reply;

/// One rule. All of its conditions must hold; the first rule of its stage that matches decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    pub name: String,
    /// Empty: at all of them.
    pub listeners: Vec<String>,
    pub at: AccessStage,
    pub client: Option<ClientCondition>,
    pub helo: Option<NameCondition>,
    pub sender: Option<NameCondition>,
    pub recipient: Option<NameCondition>,
    /// Who has logged in; who has not is nobody.
    pub identity: Option<NameCondition>,
    pub authenticated: Option<bool>,
    pub tls: Option<bool>,
    pub action: AccessAction,
    /// It is told and counted, and the rules behind it are asked as if it were not there.
    pub would: bool,
}

impl AccessRule {
    /// The tables it names.
    fn tables(&self) -> impl Iterator<Item = &str> {
        let named = [&self.helo, &self.sender, &self.recipient, &self.identity].into_iter().flatten();
        let named = named.filter_map(|condition| match condition {
            NameCondition::Table(table) => Some(table.as_str()),
            NameCondition::Listed(_) => None,
        });
        let client = match &self.client {
            Some(ClientCondition::Table(table)) => Some(table.as_str()),
            Some(ClientCondition::Networks(_)) | None => None,
        };
        named.chain(client)
    }
}

impl Config {
    /// The tables that relay policy, `sender-login` and access rules look into.
    #[must_use]
    pub fn tables_of_policy(&self) -> BTreeSet<&str> {
        let relay = [&self.relay.domains_table, &self.relay.recipients].into_iter().flatten().map(String::as_str);
        let maps = self.listeners.iter().filter_map(|listener| listener.sender_login.as_ref()?.map.as_deref());
        relay.chain(maps).chain(self.access.iter().flat_map(AccessRule::tables)).collect()
    }
}

/// Who has logged in may say as a sender its own login, and what is said here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderLogin {
    /// A table: login → addresses and `@domains`, with commas or spaces between them.
    pub map: Option<String>,
    /// Every address in the domain of the login.
    pub domains: bool,
    /// `user+x@domain` belongs to whom `user@domain` does.
    pub plus_addressing: bool,
    /// Only told and counted.
    pub would: bool,
}

/// When a rule is asked. The later, the more is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessStage {
    Connect,
    Helo,
    Mail,
    Rcpt,
}

impl AccessStage {
    /// As in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AccessStage::Connect => "connect",
            AccessStage::Helo => "helo",
            AccessStage::Mail => "mail",
            AccessStage::Rcpt => "rcpt",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessAction {
    /// No later rule of this stage is asked. It permits nothing that relay policy refused.
    Permit,
    /// 5xx.
    Reject(Reply),
    /// 4xx.
    Defer(Reply),
    /// 4xx or 5xx, and the end.
    Disconnect(Reply),
}

impl AccessAction {
    /// As in the file.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            AccessAction::Permit => "permit",
            AccessAction::Reject(_) => "reject",
            AccessAction::Defer(_) => "defer",
            AccessAction::Disconnect(_) => "disconnect",
        }
    }

    #[must_use]
    pub const fn reply(&self) -> Option<&Reply> {
        match self {
            AccessAction::Permit => None,
            AccessAction::Reject(reply) | AccessAction::Defer(reply) | AccessAction::Disconnect(reply) => Some(reply),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCondition {
    Networks(Vec<IpNet>),
    /// The name of a table of networks.
    Table(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameCondition {
    Listed(Vec<NamePattern>),
    /// The name of a table.
    Table(String),
}

/// What a name or an address may look like. Lower case; domains without their final dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamePattern {
    /// The whole name or address; `<>` of bounces.
    Exact(String),
    /// Every address in this domain, and in none below it.
    Domain(String),
    /// Everything below this domain.
    Below(String),
    Regex(Pattern),
}

/// A regular expression, compiled. Capitals do not matter to it.
#[derive(Clone)]
pub struct Pattern(regex::Regex);

/// Octets of one compiled pattern: some thousand characters with their repetitions.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl Pattern {
    /// # Errors
    /// What is wrong with it, or that it is too large.
    pub(super) fn compile(text: &str) -> Result<Pattern, regex::Error> {
        regex::RegexBuilder::new(text).case_insensitive(true).size_limit(PATTERN_BYTES_MAX).build().map(Pattern)
    }

    /// Whether it matches anywhere in the text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.0.as_str())
    }
}
