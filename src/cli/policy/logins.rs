//! What those who log in get through: by each way to prove a login, as each kind of login, from each kind of sender.
//!
//! Whoever has logged in may relay, unless access rules say otherwise, and say any sender, unless `sender-login` does.
//! What surprises is a rule that holds some logins and lets those pass whom nobody knows.

use super::battery::{PLAIN, ours};
use super::findings::Report;
use super::rehearsal::{self, By, Client, Introduced};
use super::trials::{Outcome, Trials, encrypted_or_not};
use super::who::{self, Kind, LOGINS_MAX, Login, Proof};
use crate::config::{Listener, ListenerTls};
use crate::report::printable;

/// Whose address is said as the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Null,
    /// The login itself.
    Own,
    Ours,
    Foreign,
}

impl Sender {
    const ALL: [Sender; 4] = [Sender::Null, Sender::Own, Sender::Ours, Sender::Foreign];

    const fn shown(self) -> &'static str {
        match self {
            Sender::Null => "<>",
            Sender::Own => "itself",
            Sender::Ours => "others of yours",
            Sender::Foreign => "anybody elsewhere",
        }
    }
}

/// One login by one proof.
struct Heard<'l> {
    login: &'l Login,
    proof: &'l Proof,
    client: Client,
    /// A login that is no address is no sender.
    answers: Vec<(Sender, Outcome)>,
}

impl Heard<'_> {
    fn to(&self, sender: Sender) -> Option<&Outcome> {
        self.answers.iter().find(|(said, _)| *said == sender).map(|(_, outcome)| outcome)
    }

    fn relays(&self, sender: Sender) -> bool {
        self.to(sender).is_some_and(Outcome::is_relayed)
    }

    fn is_refused(&self, sender: Sender) -> bool {
        matches!(self.to(sender), Some(Outcome::Refused(_)))
    }
}

/// All of it, at one listener.
pub(super) fn tried(trials: &Trials<'_>, report: &mut Report, place: usize, listener: &Listener) {
    let (config, tables) = (trials.config, trials.tables);
    let proofs = who::proofs(config, listener);
    let logins = who::logins(config, tables, listener);
    let Some(address) = who::unknown(listener).filter(|_| !proofs.is_empty()) else { return };
    let base = who::client(config, place, address);
    let mut all = Vec::new();
    for login in &logins.tried {
        for proof in proofs.iter().filter(|proof| proof.can_prove(&login.name)) {
            let client = logged_in(&base, listener, login, proof);
            let senders = Sender::ALL.iter().filter_map(|sender| Some((*sender, said(trials, login, *sender)?)));
            let answers = senders.map(|(sender, path)| (sender, trials.said(&client, &commands(&path)))).collect();
            all.push(Heard { login, proof, client, answers });
        }
    }
    told(report, &logins.tried, &all);
    if logins.more {
        report.line(&format!("  there are more kinds of logins than the {LOGINS_MAX} that are tried"));
    }
    in_clear(trials, report, listener, &all);
    escaping(report, listener, &all);
    beyond(trials, report, &all);
}

fn logged_in(base: &Client, listener: &Listener, login: &Login, proof: &Proof) -> Client {
    let mut client = Client { tls: encrypted_or_not(listener).contains(&true), ..base.clone() };
    client.login = Some(rehearsal::Login { name: login.name.clone(), by: proof.by });
    match proof.by {
        By::Certificate => client.certificate = Some(login.name.clone()),
        By::Xclient => client.introduced = listener.trust.xclient.first().map(who::one_of).map(Introduced::ByXclient),
        By::Password | By::Token | By::Relayed(_) => {}
    }
    client
}

/// The path of MAIL.
fn said(trials: &Trials<'_>, login: &Login, sender: Sender) -> Option<String> {
    match sender {
        Sender::Null => Some("<>".to_owned()),
        Sender::Own => login.name.contains('@').then(|| format!("<{}>", login.name)),
        Sender::Ours => Some(format!("<postmaster@{}>", ours(trials.config))),
        Sender::Foreign => Some("<anybody@elsewhere.invalid>".to_owned()),
    }
}

fn commands(sender: &str) -> [String; 2] {
    let utf8 = if sender.is_ascii() { "" } else { " SMTPUTF8" };
    [format!("MAIL FROM:{sender}{utf8}"), format!("RCPT TO:{PLAIN}")]
}

/// A line for each login, and for each answer that its proofs do not have in common.
fn told(report: &mut Report, logins: &[Login], all: &[Heard<'_>]) {
    for login in logins {
        let mut lines: Vec<(String, Vec<String>)> = Vec::new();
        for heard in all.iter().filter(|heard| heard.login.name == login.name) {
            let gets = gets(heard);
            match lines.iter_mut().find(|(known, _)| *known == gets) {
                Some((_, proofs)) => proofs.push(heard.proof.shown()),
                None => lines.push((gets, vec![heard.proof.shown()])),
            }
        }
        for (gets, proofs) in lines {
            report.line(&format!("  login {} by {}: {gets}", shown(login), proofs.join(", ")));
        }
    }
}

fn shown(login: &Login) -> String {
    let name = printable(&login.name);
    match login.kind {
        Kind::Ours => format!("\"{name}\" (one of yours)"),
        Kind::Foreign => format!("\"{name}\" (somebody elsewhere)"),
        Kind::Bare => format!("\"{name}\" (no address)"),
        Kind::Named => format!("\"{name}\" (named)"),
    }
}

fn gets(heard: &Heard<'_>) -> String {
    let (from, refused): (Vec<_>, Vec<_>) = heard.answers.iter().partition(|(_, outcome)| outcome.is_relayed());
    let shown = |senders: &[&(Sender, Outcome)]| {
        senders.iter().map(|(sender, _)| sender.shown()).collect::<Vec<_>>().join(", ")
    };
    let reply = refused.first().map_or("", |(_, outcome)| match outcome {
        Outcome::Refused(reply) => reply.as_str(),
        Outcome::Relayed(_) => "",
    });
    match (from.is_empty(), refused.is_empty()) {
        (_, true) => "relays to anywhere, from any sender".to_owned(),
        (true, _) => format!("does not relay: {reply}"),
        (false, false) => {
            format!("relays to anywhere, from {}; not from {}: {reply}", shown(&from), shown(&refused))
        }
    }
}

/// Logins in clear; the word of who speaks for clients is none.
fn in_clear(trials: &Trials<'_>, report: &mut Report, listener: &Listener, all: &[Heard<'_>]) {
    if listener.tls == ListenerTls::Implicit {
        return;
    }
    let mut seen: Vec<By> = Vec::new();
    for heard in all.iter().filter(|heard| heard.proof.by != By::Xclient) {
        if seen.contains(&heard.proof.by) {
            continue;
        }
        seen.push(heard.proof.by);
        let client = Client { tls: false, ..heard.client.clone() };
        match trials.said(&client, &commands("<>")) {
            Outcome::Relayed(_) => report.surprise(&format!("a login in clear by {} relays", heard.proof.shown())),
            Outcome::Refused(reply) if seen.len() == 1 => {
                report.line(&format!("  a login in clear: does not relay: {reply}"));
            }
            Outcome::Refused(_) => {}
        }
    }
}

/// Those whom nobody knows, and who may what a rule refuses to others whom nobody knows.
fn escaping(report: &mut Report, listener: &Listener, all: &[Heard<'_>]) {
    let held = listener.sender_login.as_ref().is_some_and(|rule| !rule.would);
    let unnamed = || all.iter().filter(|heard| heard.login.kind != Kind::Named);
    for heard in unnamed().filter(|heard| heard.login.kind != Kind::Ours) {
        let who = format!("login {} by {}", shown(heard.login), heard.proof.shown());
        let owned: Vec<&str> = [Sender::Ours, Sender::Foreign]
            .into_iter()
            .filter(|sender| held && heard.relays(*sender))
            .map(Sender::shown)
            .collect();
        if !owned.is_empty() {
            let from = owned.join(", ");
            report.surprise(&format!("{who} relays from {from}: sender-login does not hold whom nobody knows"));
            continue;
        }
        let other = |sender: Sender| {
            unnamed().find(|other| {
                let stricter = other.login.kind == Kind::Ours || heard.proof.is_by_others();
                stricter && other.login.kind != heard.login.kind && other.is_refused(sender)
            })
        };
        let passes = |sender: &Sender| *sender != Sender::Own && heard.relays(*sender);
        if let Some((sender, other)) = Sender::ALL.into_iter().filter(passes).find_map(|one| Some((one, other(one)?))) {
            let (other, sender) = (shown(other.login), sender.shown());
            report.surprise(&format!(
                "{who} relays from {sender}, and login {other} does not: a rule lets the wrong ones pass"
            ));
        }
    }
}

/// Those who may send to some recipients only: whether tricks bring them farther.
fn beyond(trials: &Trials<'_>, report: &mut Report, all: &[Heard<'_>]) {
    for heard in all.iter().filter(|heard| !heard.answers.iter().any(|(_, outcome)| outcome.is_relayed())) {
        let relayed = trials.beyond(&heard.client, "<>").unwrap_or_default();
        if !relayed.is_empty() {
            let who = format!("login {} by {}", shown(heard.login), heard.proof.shown());
            report.relayed(&format!("{who} is held to some recipients, and yet relays"), &relayed);
        }
    }
}
