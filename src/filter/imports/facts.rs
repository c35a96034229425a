//! `facts`: what the host knows about a client, or finds out about a sender and a message once for all filters: as data,
//! by name.

use std::sync::Arc;

use wasmtime::Result;

use crate::checks::{self, Checker, Finding, MESSAGE_BYTES_MAX, Origin, Spf};
use crate::config::holds;
use crate::filter::bindings::wasmilter::filter::facts::{Fact, Host};
use crate::filter::guest::Guest;
use crate::filter::outside::Checks;
use crate::mail::{PeerName, SessionFacts};
use crate::policy::relay::Known;

/// What can be said at every stage.
const NAMES: [&str; 5] = ["rdns", "standing", "tls", "auth", "client"];
/// From MAIL on.
const OF_SENDER: [&str; 1] = ["spf"];
/// At message.
const OF_MESSAGE: [&str; 3] = ["dkim", "arc", "dmarc"];

fn fact(name: &str, outcome: &str, properties: &[(&str, Option<String>)]) -> Fact {
    let said = properties.iter().filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?)));
    Fact { name: name.to_owned(), outcome: outcome.to_owned(), properties: said.collect() }
}

/// RFC 8601 2.7.3, "iprev": whether the client's name points back at it.
fn rdns(session: &SessionFacts) -> Fact {
    let name = |of: &PeerName| match of {
        PeerName::Confirmed(name) => Some(name.to_string()),
        PeerName::Unavailable | PeerName::TemporarilyUnavailable => None,
    };
    let outcome = match (&session.peer_name, &session.reverse_name) {
        (PeerName::Confirmed(_), _) => "pass",
        (PeerName::TemporarilyUnavailable, _) => "temperror",
        (PeerName::Unavailable, PeerName::Unavailable) => "permerror",
        (PeerName::Unavailable, _) => "fail",
    };
    let address = session.peer.ip().to_canonical().to_string();
    fact(
        "rdns",
        outcome,
        &[
            ("address", Some(address)),
            ("name", name(&session.peer_name)),
            ("reverse-name", name(&session.reverse_name)),
        ],
    )
}

/// Who the client is to relay policy.
fn standing(session: &SessionFacts, trusted: bool) -> Fact {
    let outcome = match (Known::of(session), trusted) {
        (Known::Login, _) => "authenticated",
        (_, true) => "trusted-network",
        (Known::AfterLogin, false) => "after-login",
        (Known::Unsure, false) => "unknown",
        (Known::Nothing, false) => "stranger",
    };
    fact("standing", outcome, &[("identity", session.auth.as_ref().map(|auth| auth.identity.to_string()))])
}

fn tls(session: &SessionFacts) -> Fact {
    let Some(tls) = &session.tls else { return fact("tls", "none", &[]) };
    fact(
        "tls",
        "pass",
        &[
            ("version", Some(tls.version.to_owned())),
            ("cipher", Some(tls.cipher.to_string())),
            ("sni", tls.sni.as_ref().map(ToString::to_string)),
            ("client-subject", tls.client_subject.as_ref().map(ToString::to_string)),
            ("client-fingerprint", tls.client_fingerprint.as_ref().map(ToString::to_string)),
        ],
    )
}

/// RFC 8601 2.7.4.
fn auth(session: &SessionFacts) -> Fact {
    let Some(auth) = &session.auth else { return fact("auth", "none", &[]) };
    let properties = [("mechanism", Some(auth.mechanism.to_string())), ("identity", Some(auth.identity.to_string()))];
    fact("auth", "pass", &properties)
}

/// Who told us who the client is: a fact for each.
fn client(session: &SessionFacts) -> Vec<Fact> {
    let mut facts = Vec::new();
    let address = |address: std::net::SocketAddr| Some(address.ip().to_canonical().to_string());
    if let Some(proxy) = session.proxy() {
        facts.push(fact("client", "proxied", &[("by", address(proxy.peer))]));
    }
    let introduced = session.introduced.as_deref();
    if let Some(peer) = introduced.and_then(|introduced| introduced.xclient) {
        facts.push(fact("client", "xclient", &[("by", address(peer))]));
    }
    if let Some(forwarded) = introduced.and_then(|introduced| introduced.forwarded.as_ref()) {
        let text = |value: &Option<std::sync::Arc<str>>| value.as_ref().map(ToString::to_string);
        let properties = [
            ("name", text(&forwarded.name)),
            ("address", forwarded.address.map(|address| address.to_string())),
            ("helo", text(&forwarded.helo)),
            ("protocol", text(&forwarded.protocol)),
            ("ident", text(&forwarded.ident)),
            ("source", text(&forwarded.source)),
        ];
        facts.push(fact("client", "xforward", &properties));
    }
    if facts.is_empty() {
        facts.push(fact("client", "direct", &[]));
    }
    facts
}

/// What a check found, in the words of the contract.
fn found(finding: &Finding) -> Fact {
    Fact { name: finding.check.clone(), outcome: finding.outcome.clone(), properties: finding.properties.clone() }
}

impl Guest {
    /// Who sent the mail at hand from where. `None` outside of a transaction.
    fn origin(&mut self) -> Result<Option<Origin>> {
        let work = self.work()?;
        let session = &work.session;
        let Some(envelope) = &work.envelope else { return Ok(None) };
        Ok(Some(Origin {
            address: session.peer.ip().to_canonical(),
            helo: session.hello.as_ref().map(|hello| hello.name.to_string()).unwrap_or_default(),
            sender: envelope.sender.path.as_str().to_owned(),
        }))
    }

    /// What SPF says of the sender at hand: asked once for all filters.
    async fn spf(&mut self, checker: &Checker) -> Result<Option<(Origin, Spf)>> {
        let Some(origin) = self.origin()? else { return Ok(None) };
        if let Some(known) = self.work()?.spf.as_ref().filter(|known| known.0 == origin) {
            return Ok(Some((**known).clone()));
        }
        let spf = self.pause().wait(checker.spf(&origin)).await?;
        let known = (origin, spf);
        self.work()?.spf = Some(Box::new(known.clone()));
        Ok(Some(known))
    }

    /// What can be said of the message as it came: found out once for all filters.
    async fn of_message(&mut self, checker: &Checker) -> Result<Arc<Vec<Finding>>> {
        let Some(held) = &self.work()?.held else { return Ok(Arc::default()) };
        if let Some(known) = held.findings() {
            return Ok(known);
        }
        let Some((origin, spf)) = self.spf(checker).await? else { return Ok(Arc::default()) };
        let pause = self.pause();
        let work = self.work()?;
        let (Some(held), Some(block)) = (&mut work.held, &work.headers) else { return Ok(Arc::default()) };
        let findings = if held.came_bytes() > MESSAGE_BYTES_MAX {
            checks::too_large()
        } else {
            let raw = pause.wait(held.raw(block.came())).await??;
            pause.wait(checker.message(raw, origin, spf)).await?
        };
        Ok(held.keep_findings(findings))
    }

    /// A fact that somebody has to be asked for.
    async fn checked(&mut self, name: &str) -> Result<Vec<Fact>> {
        // While a filter is loaded nobody is asked.
        if self.work()?.is_trial() {
            return Ok(Vec::new());
        }
        let checker = match self.profile.outside.checks() {
            Checks::Real(checker) => checker.clone(),
            Checks::Script(script) => return Ok(script.facts(name).iter().map(found).collect()),
        };
        if name == "spf" {
            return Ok(self.spf(&checker).await?.iter().map(|(_, spf)| found(&spf.finding)).collect());
        }
        Ok(self.of_message(&checker).await?.iter().filter(|finding| finding.check == name).map(found).collect())
    }
}

impl Host for Guest {
    fn names(&mut self) -> Result<Vec<String>> {
        let work = self.work()?;
        let (sender, message) = (work.envelope.is_some(), work.held.is_some());
        let checks = OF_SENDER.iter().filter(|_| sender).chain(OF_MESSAGE.iter().filter(|_| message));
        Ok(NAMES.iter().chain(checks).map(|name| (*name).to_owned()).collect())
    }

    async fn find(&mut self, name: String) -> Result<Vec<Fact>> {
        if OF_SENDER.contains(&name.as_str()) || OF_MESSAGE.contains(&name.as_str()) {
            return self.checked(&name).await;
        }
        let profile = self.profile.clone();
        let session = &self.work()?.session;
        let networks = profile.trusted_networks.get(&*session.listener);
        let trusted = networks.is_some_and(|networks| holds(networks, session.peer.ip().to_canonical()));
        Ok(match name.as_str() {
            "rdns" => vec![rdns(session)],
            "standing" => vec![standing(session, trusted)],
            "tls" => vec![tls(session)],
            "auth" => vec![auth(session)],
            "client" => client(session),
            _ => Vec::new(),
        })
    }
}
