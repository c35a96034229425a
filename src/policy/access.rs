//! `[[access]]`: the operator's own rules about who may say what. They only take away: what a rule permits has passed
//! relay policy before, or is asked there all the same.

use std::net::IpAddr;

use super::tables::Tables;
use crate::config::{AccessRule, AccessStage, ClientCondition, NameCondition, NamePattern, holds};
use crate::smtp::{ForwardPath, Mailbox, ReversePath};

/// What the rules are asked about. What is not known yet matches nothing.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub listener: &'a str,
    pub at: AccessStage,
    pub client: IpAddr,
    pub tls: bool,
    pub identity: Option<&'a str>,
    pub helo: Option<&'a str>,
    pub sender: Option<&'a ReversePath>,
    pub recipient: Option<&'a ForwardPath>,
}

/// What they say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement<'r> {
    /// Those that would have decided, in their order, and are not to (`would = true`).
    pub would: Vec<&'r AccessRule>,
    /// The first one that matches.
    pub decided: Option<&'r AccessRule>,
}

/// Asks the rules in their order, up to the first that matches.
#[must_use]
pub fn judge<'r>(rules: &'r [AccessRule], tables: &Tables, asked: &Asked<'_>) -> Judgement<'r> {
    let mut judgement = Judgement::default();
    if rules.is_empty() {
        return judgement;
    }
    let names = Names::of(asked);
    for rule in rules.iter().filter(|rule| matches(rule, tables, asked, &names)) {
        if rule.would {
            judgement.would.push(rule);
            continue;
        }
        judgement.decided = Some(rule);
        break;
    }
    judgement
}

/// Names and addresses as they are compared.
struct Names {
    helo: Option<String>,
    sender: Option<String>,
    recipient: Option<String>,
    identity: Option<String>,
}

impl Names {
    fn of(asked: &Asked<'_>) -> Names {
        Names {
            helo: asked.helo.map(|name| name.strip_suffix('.').unwrap_or(name).to_lowercase()),
            sender: asked.sender.map(|path| path.mailbox().map_or_else(|| "<>".to_owned(), plain)),
            recipient: asked.recipient.map(|path| path.mailbox().map_or_else(|| "postmaster".to_owned(), plain)),
            identity: asked.identity.map(str::to_lowercase),
        }
    }
}

/// An address by which mailboxes that are the same are the same text: no quotes, no capitals, no final dot.
#[must_use]
pub fn plain(mailbox: &Mailbox) -> String {
    let domain = mailbox.domain().canonical();
    format!("{}@{}", mailbox.local_unquoted().to_lowercase(), domain.strip_suffix('.').unwrap_or(&domain))
}

fn matches(rule: &AccessRule, tables: &Tables, asked: &Asked<'_>, names: &Names) -> bool {
    let named = |condition: &Option<NameCondition>, name: &Option<String>| match (condition, name) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(condition), Some(name)) => is_named(condition, tables, name),
    };
    rule.at == asked.at
        && (rule.listeners.is_empty() || rule.listeners.iter().any(|name| name == asked.listener))
        && rule.tls.is_none_or(|wanted| wanted == asked.tls)
        && rule.authenticated.is_none_or(|wanted| wanted == asked.identity.is_some())
        && rule.client.as_ref().is_none_or(|client| comes_from(client, tables, asked.client))
        && named(&rule.helo, &names.helo)
        && named(&rule.identity, &names.identity)
        && named(&rule.sender, &names.sender)
        && named(&rule.recipient, &names.recipient)
}

/// Whether a condition speaks of this address.
#[must_use]
pub fn comes_from(condition: &ClientCondition, tables: &Tables, client: IpAddr) -> bool {
    match condition {
        ClientCondition::Networks(networks) => holds(networks, client),
        ClientCondition::Table(table) => tables.contains(table, &client.to_string()),
    }
}

/// Whether a condition speaks of this name or address, which is in lower case.
#[must_use]
pub fn is_named(condition: &NameCondition, tables: &Tables, name: &str) -> bool {
    match condition {
        NameCondition::Table(table) => tables.has_address(table, name),
        NameCondition::Listed(patterns) => patterns.iter().any(|pattern| fits(pattern, name)),
    }
}

fn fits(pattern: &NamePattern, name: &str) -> bool {
    let domain = || name.rsplit_once('@').map_or(name, |(_, domain)| domain);
    match pattern {
        NamePattern::Exact(wanted) => name == wanted,
        NamePattern::Domain(wanted) => name.contains('@') && domain() == wanted,
        NamePattern::Below(parent) => {
            domain().strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        }
        NamePattern::Regex(pattern) => pattern.matches(name),
    }
}

#[cfg(test)]
#[path = "access/tests.rs"]
mod tests;
