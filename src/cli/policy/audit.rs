//! `wasmilter audit`: every trick by every kind of client at every listener, before somebody else tries.
//!
//! What is asked is the session that `serve` runs, not a description of it. Strangers must get nothing through; trusted
//! networks and logins are shown with the reason why they may.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::battery::PLAIN;
use super::findings::{Report, shown};
use super::rehearsal::{self, Client, Introduced};
use super::trials::{Outcome, Relayed, Trials, encrypted_or_not};
use super::who::{self, ADDRESSES_MAX, LOGINS_MAX, Place};
use super::{breadth, logins};
use crate::config::{Config, Listener, ListenerTls, WantedCertificate};
use crate::policy::tables::Tables;

/// EX_CONFIG of sysexits.
const EXIT_CONFIG: u8 = 78;

#[derive(Debug, clap::Args)]
pub struct Audit {
    /// The configuration file.
    #[arg(short, long, default_value = crate::cli::serve::CONFIG_DEFAULT, value_name = "FILE")]
    config: PathBuf,
}

/// Audits a configuration. Status 0 when nothing is surprising, 1 when something is, 78 when there is no configuration
/// to audit.
///
/// # Errors
/// Only when nothing can be written any more.
pub fn run(args: &Audit) -> anyhow::Result<ExitCode> {
    let (config, tables) = match super::loaded(&args.config)? {
        Some(loaded) => loaded,
        None => return Ok(ExitCode::from(EXIT_CONFIG)),
    };
    let report = audit(&config, &tables);
    std::io::stdout().lock().write_all(report.text.as_bytes())?;
    Ok(if report.surprising == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The fast part: what a stranger could have relayed. `None`: nothing at all.
///
/// For `serve` and `check`: a gateway that is an open relay does not start. Tables that cannot be read are told by who
/// needs them.
pub(crate) fn open_relay(config: &Config) -> Option<String> {
    let tables = rehearsal::tables(config).ok()?;
    let config = Arc::new(config.clone());
    let trials = Trials::new(&config, &tables);
    let mut found = String::new();
    for (place, listener) in config.listeners.iter().enumerate() {
        let Some(address) = who::unknown(listener) else { continue };
        let client = Client { tls: listener.tls != ListenerTls::Off, ..who::client(&config, place, address) };
        let relayed = trials.battery(&client);
        if !relayed.is_empty() {
            let _ = writeln!(found, "  at listener \"{}\", {address}:", listener.name);
            shown(&mut found, &relayed);
            break;
        }
    }
    (!found.is_empty()).then(|| {
        format!(
            "this would be an open relay: strangers could send mail to domains that are not yours\n{found}  \
             look at [relay]: domains, the table domains-table, and trusted-networks; `wasmilter audit` shows all of it"
        )
    })
}

pub(super) fn audit(config: &Arc<Config>, tables: &Tables) -> Report {
    let mut report = Report::default();
    let trials = Trials::new(config, tables);
    for (place, listener) in config.listeners.iter().enumerate() {
        report.line(&format!("listener \"{}\"", listener.name));
        let from = who::addresses(config, tables, listener);
        strangers(&trials, &mut report, place, listener, &from.tried);
        for trusted in from.tried.iter().filter(|place| place.is_trusted) {
            let client = who::client(config, place, trusted.address);
            let who = format!("{} ({})", trusted.named, trusted.address);
            may_relay(&trials, &mut report, &client, &who, "trusted-networks");
        }
        if from.more {
            report.line(&format!("  there are more kinds of addresses than the {ADDRESSES_MAX} that are tried"));
        }
        logins::tried(&trials, &mut report, place, listener);
        if let Some(address) = who::unknown(listener).filter(|_| listener.after_login) {
            let client = Client { after_login: true, ..who::client(config, place, address) };
            let who = "an address that has logged in elsewhere lately";
            may_relay(&trials, &mut report, &client, who, "after-login");
        }
    }
    breadth::networks(&mut report, config);
    breadth::vouchers(&mut report, config);
    breadth::asked(&mut report, config);
    breadth::grants(&mut report, config);
    report.line(&format!(
        "{} sessions tried; at each listener one for each kind that its rules can tell apart, at most {ADDRESSES_MAX} \
         addresses and {LOGINS_MAX} logins",
        trials.sessions()
    ));
    let count = report.surprising;
    report.line(&match count {
        0 => "nothing surprising".to_owned(),
        1 => "1 surprise".to_owned(),
        _ => format!("{count} surprises"),
    });
    report
}

/// Everybody who has nothing to show for themselves.
fn strangers(trials: &Trials<'_>, report: &mut Report, place: usize, listener: &Listener, from: &[Place]) {
    let mut clients = Vec::new();
    for from in from.iter().filter(|from| !from.is_trusted) {
        let named = if from.named.is_empty() { String::new() } else { format!(" of {}", from.named) };
        clients.push((format!("{}{named}", from.address), who::client(trials.config, place, from.address)));
    }
    for (who, client) in introduced(trials, place, listener) {
        clients.push((who, client));
    }
    let addresses = clients.len();
    if listener.handshakes.client_certificate != WantedCertificate::Off
        && let Some((_, client)) = clients.first().cloned()
    {
        let certificate = Some("somebody@relay-test.invalid".to_owned());
        clients.push(("with a certificate, and no login".to_owned(), Client { certificate, ..client }));
    }
    let mut nothing = true;
    for (who, client) in &clients {
        let mut relayed: Vec<Relayed<'_>> = Vec::new();
        for tls in encrypted_or_not(listener).iter().filter(|tls| **tls || client.certificate.is_none()) {
            relayed.extend(trials.battery(&Client { tls: *tls, ..client.clone() }));
        }
        relayed.sort_by_key(|one| trials.tricks.iter().position(|trick| trick == one.trick));
        relayed.dedup();
        if !relayed.is_empty() {
            nothing = false;
            report.relayed(&format!("a stranger ({who}) relays"), &relayed);
        }
    }
    if nothing {
        let tricks = trials.tricks.len();
        report.line(&format!("  a stranger: nothing is relayed ({tricks} tricks, {addresses} kinds of addresses)"));
    }
}

/// Strangers that somebody speaks for. What comes through a proxy comes through it anyhow.
fn introduced(trials: &Trials<'_>, place: usize, listener: &Listener) -> Vec<(String, Client)> {
    let (Some(speaker), Some(address)) = (listener.trust.xclient.first(), who::unknown(listener)) else {
        return Vec::new();
    };
    let client = who::client(trials.config, place, address);
    let speaker = who::one_of(speaker);
    let by = |introduced| Client { introduced: Some(introduced), ..client.clone() };
    vec![
        (format!("{address}, by XCLIENT of {speaker}"), by(Introduced::ByXclient(speaker))),
        (format!("nobody knows whence, by XCLIENT of {speaker}"), by(Introduced::AsUnknown(speaker))),
    ]
}

/// Somebody who should get everything through; what relays is expected, and said.
fn may_relay(trials: &Trials<'_>, report: &mut Report, client: &Client, who: &str, why: &str) {
    let commands = ["MAIL FROM:<>".to_owned(), format!("RCPT TO:{PLAIN}")];
    match trials.said(client, &commands) {
        Outcome::Relayed(_) => report.line(&format!("  {who}: relays to anywhere ({why})")),
        Outcome::Refused(reply) => {
            report.line(&format!("  {who}: does not relay: {reply}"));
            let relayed = trials.beyond(client, "<>").unwrap_or_default();
            if !relayed.is_empty() {
                report.relayed(&format!("{who} is held to some recipients, and yet relays"), &relayed);
            }
        }
    }
}
