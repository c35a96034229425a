//! `wasmilter explain-policy`: what a client would hear, command by command, and which rule decides.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::rehearsal::{self, By, Client, Exchange, Login};
use crate::config::Config;
use crate::policy::relay::{self, Denied, Known, Permitted};
use crate::policy::tables::{Judged, Tables, Told};
use crate::report::printable;
use crate::smtp::ForwardPath;

/// EX_USAGE of sysexits.
const EXIT_USAGE: u8 = 64;
/// EX_CONFIG of sysexits.
const EXIT_CONFIG: u8 = 78;

#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The configuration file.
    #[arg(short, long, default_value = crate::cli::serve::CONFIG_DEFAULT, value_name = "FILE")]
    config: PathBuf,
    /// The listener that the client comes to (default: the first).
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS")]
    ip: IpAddr,
    /// What it says in EHLO.
    #[arg(long, value_name = "NAME", default_value = "client.example")]
    helo: String,
    /// Who logs in, with the right password; implies --tls.
    #[arg(long, value_name = "LOGIN")]
    user: Option<String>,
    /// Somebody has just logged in from the client's address elsewhere (`wasmilter seen`).
    #[arg(long)]
    after_login: bool,
    /// The client begins TLS (where the listener has it).
    #[arg(long)]
    tls: bool,
    /// The sender; "" or "<>" for a bounce.
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// A recipient; may be given several times.
    #[arg(long, value_name = "ADDRESS", required = true)]
    rcpt: Vec<String>,
}

/// Explains. Status 0 when every recipient is permitted, 1 when something is refused, 64 when there is no such listener,
/// 78 when there is no configuration to ask.
///
/// # Errors
/// Only when nothing can be written any more.
pub fn run(args: &Explain) -> anyhow::Result<ExitCode> {
    let Some((config, tables)) = super::loaded(&args.config)? else { return Ok(ExitCode::from(EXIT_CONFIG)) };
    let wanted = args.listener.as_ref();
    let Some(place) = config.listeners.iter().position(|known| wanted.is_none_or(|name| *name == known.name)) else {
        let known = config.listeners.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(", ");
        let name = wanted.map_or("", String::as_str);
        writeln!(std::io::stderr().lock(), "error: there is no listener \"{name}\"; this file has: {known}")?;
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    let client = Client {
        listener: place,
        address: args.ip,
        introduced: None,
        helo: args.helo.clone(),
        tls: args.tls || args.user.is_some(),
        certificate: None,
        login: args.user.clone().map(|name| Login { name, by: By::Password }),
        after_login: args.after_login,
    };
    let (text, permitted) = explain(&config, &tables, &client, &args.from, &args.rcpt);
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(if permitted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is told, and whether every recipient is permitted.
pub(super) fn explain(
    config: &Arc<Config>,
    tables: &Tables,
    client: &Client,
    from: &str,
    recipients: &[String],
) -> (String, bool) {
    let bare = |address: &str| address.trim_matches(['<', '>']).to_owned();
    let utf8 =
        if from.is_ascii() && recipients.iter().all(|recipient| recipient.is_ascii()) { "" } else { " SMTPUTF8" };
    let mut commands = vec![format!("MAIL FROM:<{}>{utf8}", bare(from))];
    commands.extend(recipients.iter().map(|recipient| format!("RCPT TO:<{}>", bare(recipient))));
    let exchanges = rehearsal::rehearse(config, tables, client, &commands);
    let mut out = String::new();
    for exchange in &exchanges {
        shown(&mut out, exchange);
        if let Some(recipient) = exchange.said.strip_prefix("RCPT TO:") {
            let logged_in = logged_in(&exchanges);
            // Writing to a text does not fail.
            let _ =
                writeln!(out, "    relay policy: {}", by_relay(config, tables, client, logged_in, &bare(recipient)));
        }
    }
    let heard =
        |said: &str| exchanges.iter().any(|one| one.said == said && !one.is_refusal() && !one.replies.is_empty());
    let permitted = commands.iter().all(|command| heard(command));
    out.push_str(if permitted {
        "permitted: limits, policy daemons, filters and the server behind decide next\n"
    } else {
        "refused\n"
    });
    (out, permitted)
}

fn logged_in(exchanges: &[Exchange]) -> bool {
    exchanges.iter().any(|one| one.said.starts_with("AUTH ") && one.replies.iter().any(|reply| reply.code == 235))
}

fn shown(out: &mut String, exchange: &Exchange) {
    let said = match exchange.said.as_str() {
        "" => "(connects)",
        said if said.starts_with("AUTH ") => "AUTH PLAIN …",
        said => said,
    };
    let _ = writeln!(out, "{}", printable(said));
    for ruled in &exchange.ruled {
        let would = if ruled.would { "would " } else { "" };
        let reply = ruled.reply.as_ref().map(|reply| format!(": {reply}")).unwrap_or_default();
        let _ = writeln!(out, "    rule \"{}\": {would}{}{reply}", ruled.rule, ruled.action);
    }
    for reply in &exchange.replies {
        let first = reply.lines().next().unwrap_or_default();
        let enhanced = reply.enhanced.map(|enhanced| format!("{enhanced} ")).unwrap_or_default();
        let _ = writeln!(out, "    {} {enhanced}{}", reply.code, printable(first));
    }
}

/// What relay policy says to this recipient, and why.
fn by_relay(config: &Config, tables: &Tables, client: &Client, logged_in: bool, recipient: &str) -> String {
    let Ok(path) = ForwardPath::parse(recipient) else { return "not asked, that is no address".to_owned() };
    let Some(listener) = config.listeners.get(client.listener) else { return "not asked, nobody listens".to_owned() };
    let after_login = client.after_login && listener.after_login;
    let standing = match (logged_in, after_login) {
        (true, _) => Known::Login,
        (false, true) => Known::AfterLogin,
        (false, false) => Known::Nothing,
    };
    let standing = relay::standing(listener, client.address, standing);
    let known = || match tables.judge(&Told::default(), |tables| relay::is_known(&config.relay, tables, &path)) {
        Judged::Clear(true) => "",
        Judged::Clear(false) => ", and in no table of recipients",
        Judged::Ask(_) | Judged::Doubt => ", and whether there is such a recipient is asked while mail flows",
    };
    let judged = tables.judge(&Told::default(), |tables| relay::permits(&config.relay, tables, standing, &path));
    let permitted = match judged {
        Judged::Clear(permitted) => permitted,
        Judged::Ask(wanted) => {
            return format!(
                "the table \"{}\" is asked for {} while mail flows, and not here",
                wanted.table,
                printable(&wanted.key)
            );
        }
        Judged::Doubt => return "in doubt".to_owned(),
    };
    match permitted {
        Ok(Permitted::MayRelay) if logged_in => format!("who has logged in may send anywhere{}", known()),
        Ok(Permitted::MayRelay) if after_login => {
            format!(
                "somebody has logged in from its address elsewhere, and the listener takes that (after-login){}",
                known()
            )
        }
        Ok(Permitted::MayRelay) => format!("the client is in a trusted network{}", known()),
        Ok(Permitted::Postmaster) => "Postmaster is for everybody".to_owned(),
        Ok(Permitted::Ours) => format!("the domain is yours{}", known()),
        Err(Denied::NotOurs) => "a stranger, and the domain is not yours".to_owned(),
        Err(Denied::Routing) => "a stranger, and the local part leads elsewhere".to_owned(),
        Err(Denied::Unsure) => "whether its address has logged in elsewhere cannot be told".to_owned(),
        Err(Denied::Literal) => "a stranger, and an address literal is no domain of yours".to_owned(),
    }
}
