//! `wasmilter audit`: every trick by every kind of client at every listener, before somebody else tries.
//!
//! What is asked is the session that `serve` runs, not a description of it. Strangers must get nothing through; trusted
//! networks and logins are shown with the reason why they may.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use ipnet::IpNet;

use super::battery::{self, Trick};
use super::rehearsal::{self, Client, Exchange};
use crate::config::{Config, Listener, ListenerAuth, ListenerTls, TableSource, holds};
use crate::policy::tables::Tables;

/// EX_CONFIG of sysexits.
const EXIT_CONFIG: u8 = 78;
/// Findings about one client that are shown.
const SHOWN_MAX: usize = 5;
/// Public networks that are wider than this are hardly one site's.
const PUBLIC_V4_PREFIX_MIN: u8 = 16;
/// Public networks that are wider than this are hardly one site's.
const PUBLIC_V6_PREFIX_MIN: u8 = 32;
/// Nobody's own network is wider than this.
const OWN_V4_PREFIX_MIN: u8 = 8;

/// Where strangers come from: documentation (RFC 5737, RFC 3849), this machine, and networks like one's own.
const STRANGERS: &[&str] = &[
    "192.0.2.77",
    "198.51.100.77",
    "203.0.113.77",
    "2001:db8:77::77",
    "127.0.0.1",
    "::1",
    "10.77.77.77",
    "192.168.77.77",
    "::ffff:192.0.2.77",
];

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

pub(super) struct Report {
    pub(super) text: String,
    pub(super) surprising: usize,
}

/// What a recipient that came through was said as, and as what your server heard it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Relayed {
    trick: Trick,
    heard: String,
}

/// The fast part: what a stranger could have relayed. `None`: nothing at all.
///
/// For `serve` and `check`: a gateway that is an open relay does not start. Tables that cannot be read are told by who
/// needs them.
pub(crate) fn open_relay(config: &Config) -> Option<String> {
    let tables = rehearsal::tables(config).ok()?;
    let config = Arc::new(config.clone());
    let mut found = String::new();
    for place in 0..config.listeners.len() {
        let Some(listener) = config.listeners.get(place) else { continue };
        let tls = [listener.tls != ListenerTls::Off];
        let some: Vec<IpAddr> = unknown(&config).into_iter().take(1).collect();
        for (address, relayed) in strangers(&config, &tables, place, &some, &tls) {
            let listener = &listener.name;
            shown(&mut found, &format!("at listener \"{listener}\", {address}"), &relayed);
        }
        if !found.is_empty() {
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
    let mut report = Report { text: String::new(), surprising: 0 };
    for (place, listener) in config.listeners.iter().enumerate() {
        report.line(&format!("listener \"{}\"", listener.name));
        report.strangers(config, tables, place);
        for network in &config.relay.trusted_networks {
            let client = client(place, network.addr(), None);
            report.may_relay(config, tables, &client, &format!("trusted network {network} ({})", network.addr()));
        }
        report.logins(config, tables, place, listener);
        if let Some(address) = unknown(config).first().filter(|_| listener.after_login) {
            let client = Client { after_login: true, ..client(place, *address, None) };
            report.may_relay(config, tables, &client, "an address that has logged in elsewhere lately");
        }
    }
    report.networks(config);
    report.asked(config);
    report.grants(config);
    let count = report.surprising;
    report.line(&match count {
        0 => "nothing surprising".to_owned(),
        1 => "1 surprise".to_owned(),
        _ => format!("{count} surprises"),
    });
    report
}

impl Report {
    fn line(&mut self, text: &str) {
        // Writing to a text does not fail.
        let _ = writeln!(self.text, "{text}");
    }

    fn surprise(&mut self, text: &str) {
        self.surprising += 1;
        self.line(&format!("  SURPRISING  {text}"));
    }

    fn strangers(&mut self, config: &Arc<Config>, tables: &Tables, place: usize) {
        let found = strangers(config, tables, place, &unknown(config), &[false, true]);
        if found.is_empty() {
            let count = battery::tricks(config, tables).len();
            self.line(&format!(
                "  a stranger: nothing is relayed ({count} tricks, {} addresses)",
                unknown(config).len()
            ));
        }
        for (address, relayed) in found {
            let mut text = String::new();
            shown(&mut text, "", &relayed);
            self.surprise(&format!("a stranger ({address}) relays\n{}", text.trim_end()));
        }
    }

    /// Somebody who should get everything through; what relays is expected, and said.
    fn may_relay(&mut self, config: &Arc<Config>, tables: &Tables, client: &Client, who: &str) {
        let commands = ["MAIL FROM:<>".to_owned(), "RCPT TO:<user@relay-test.invalid>".to_owned()];
        let exchanges = rehearsal::rehearse(config, tables, client, &commands);
        let why = match (&client.login, client.after_login) {
            (Some(_), _) => "has logged in",
            (None, true) => "after-login",
            (None, false) => "relay.trusted-networks",
        };
        match (heard(&exchanges), exchanges.iter().find(|exchange| exchange.is_refusal())) {
            (Some(_), _) => self.line(&format!("  {who}: relays to anywhere ({why})")),
            (None, Some(refused)) => {
                let reply = refused.replies.first().map(ToString::to_string).unwrap_or_default();
                self.line(&format!("  {who}: does not relay: {reply}"));
            }
            (None, None) => self.line(&format!("  {who}: does not relay")),
        }
    }

    fn logins(&mut self, config: &Arc<Config>, tables: &Tables, place: usize, listener: &Listener) {
        if listener.auth == ListenerAuth::Off {
            return;
        }
        let Some(address) = unknown(config).first().copied() else { return };
        for tls in [true, false] {
            let login = Client { tls, ..client(place, address, Some("somebody@relay-test.invalid")) };
            let how = match (tls, listener.tls) {
                (false, ListenerTls::Implicit) => continue,
                (false, _) => "in clear",
                (true, _) => "under TLS",
            };
            self.may_relay(config, tables, &login, &format!("a login {how}"));
        }
    }

    /// Whose network is that?
    fn networks(&mut self, config: &Config) {
        for network in &config.relay.trusted_networks {
            if let Some(why) = too_wide(network) {
                self.surprise(&format!("trusted network {network}: {why}"));
            }
        }
        for listener in &config.listeners {
            for proxy in listener.trust.proxy.iter().flat_map(|proxy| &proxy.networks) {
                let trusted = |one: &&IpNet| one.contains(proxy) || proxy.contains(*one);
                if let Some(network) = config.relay.trusted_networks.iter().find(trusted) {
                    self.surprise(&format!(
                        "listener \"{}\": clients that the proxy {proxy} does not know relay, as it is in the trusted \
                         network {network}",
                        listener.name
                    ));
                }
            }
            for network in &listener.trust.xclient {
                let who = format!("listener \"{}\": whoever is in {network} relays by XCLIENT", listener.name);
                match too_wide(network) {
                    Some(why) => self.surprise(&format!("{who}: {why}")),
                    None => self.line(&format!("{who}, naming a login (xclient-networks)")),
                }
            }
        }
    }

    /// Who else says what is ours: nobody is asked here, and until somebody is, it is nothing.
    fn asked(&mut self, config: &Config) {
        for table in &config.tables {
            if let (Some(name), TableSource::Asked(_)) = (&config.relay.domains_table, &table.source)
                && *name == table.name
            {
                self.line(&format!(
                    "table \"{name}\": whoever is asked says which other domains are yours; not asked here"
                ));
            }
        }
    }

    /// Where filters may send anybody's mail.
    fn grants(&mut self, config: &Config) {
        for filter in &config.filters {
            for pattern in &filter.grants.edit.recipient_patterns {
                self.line(&format!("filter \"{}\": may send anybody's mail to {pattern} (its grant)", filter.name));
            }
        }
    }
}

fn client(listener: usize, address: IpAddr, login: Option<&str>) -> Client {
    Client {
        listener,
        address,
        helo: "client.relay-test.invalid".to_owned(),
        tls: false,
        login: login.map(str::to_owned),
        after_login: false,
    }
}

/// Addresses that nobody trusts.
fn unknown(config: &Config) -> Vec<IpAddr> {
    let addresses = STRANGERS.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    addresses.filter(|address| !holds(&config.relay.trusted_networks, *address)).collect()
}

/// What strangers get through at a listener.
fn strangers(
    config: &Arc<Config>,
    tables: &Tables,
    place: usize,
    addresses: &[IpAddr],
    tls: &[bool],
) -> Vec<(IpAddr, Vec<Relayed>)> {
    let tricks = battery::tricks(config, tables);
    let by = |address: IpAddr| {
        let tried = tls.iter().flat_map(|tls| tricks.iter().map(move |trick| (*tls, trick)));
        let relayed = tried.filter_map(|(tls, trick)| {
            let client = Client { tls, ..client(place, address, None) };
            let heard = heard(&rehearsal::rehearse(config, tables, &client, &trick.commands))?;
            Some(Relayed { trick: trick.clone(), heard })
        });
        let mut relayed: Vec<Relayed> = relayed.collect();
        relayed.sort_by_key(|one| tricks.iter().position(|trick| *trick == one.trick));
        relayed.dedup();
        (address, relayed)
    };
    addresses.iter().copied().map(by).filter(|(_, relayed)| !relayed.is_empty()).collect()
}

/// The recipient that the server behind heard of.
fn heard(exchanges: &[Exchange]) -> Option<String> {
    exchanges.iter().flat_map(|exchange| &exchange.forwarded).find(|line| line.starts_with("RCPT")).cloned()
}

fn shown(out: &mut String, who: &str, relayed: &[Relayed]) {
    if !who.is_empty() {
        let _ = writeln!(out, "  {who}:");
    }
    for one in relayed.iter().take(SHOWN_MAX) {
        let said = one.trick.commands.join(", ");
        let _ = writeln!(out, "    {}: {said}; your server hears {}", one.trick.name, one.heard);
    }
    let hidden = relayed.len().saturating_sub(SHOWN_MAX);
    if hidden > 0 {
        let _ = writeln!(out, "    and {hidden} more");
    }
}

fn too_wide(network: &IpNet) -> Option<&'static str> {
    let public = match network {
        IpNet::V4(four) => {
            let address = four.addr();
            let shared = address.octets()[0] == 100 && (64..128).contains(&address.octets()[1]);
            !(address.is_private() || address.is_loopback() || address.is_link_local() || shared)
        }
        IpNet::V6(six) => {
            let address = six.addr();
            !(address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local())
        }
    };
    let (own, public_min) = match network {
        IpNet::V4(_) => (OWN_V4_PREFIX_MIN, PUBLIC_V4_PREFIX_MIN),
        IpNet::V6(_) => (0, PUBLIC_V6_PREFIX_MIN),
    };
    match network.prefix_len() {
        0 => Some("that is everybody"),
        prefix if prefix < own => Some("wider than any one network"),
        prefix if public && prefix < public_min => Some("a public network that is hardly all yours"),
        _ => None,
    }
}
