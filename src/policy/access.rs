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
        (Some(NameCondition::Table(table)), Some(name)) => tables.has_address(table, name),
        (Some(NameCondition::Listed(patterns)), Some(name)) => patterns.iter().any(|pattern| fits(pattern, name)),
    };
    let client = || match &rule.client {
        None => true,
        Some(ClientCondition::Networks(networks)) => holds(networks, asked.client),
        Some(ClientCondition::Table(table)) => tables.contains(table, &asked.client.to_string()),
    };
    rule.at == asked.at
        && (rule.listeners.is_empty() || rule.listeners.iter().any(|name| name == asked.listener))
        && rule.tls.is_none_or(|wanted| wanted == asked.tls)
        && rule.authenticated.is_none_or(|wanted| wanted == asked.identity.is_some())
        && client()
        && named(&rule.helo, &names.helo)
        && named(&rule.identity, &names.identity)
        && named(&rule.sender, &names.sender)
        && named(&rule.recipient, &names.recipient)
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
