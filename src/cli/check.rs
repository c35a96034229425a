//! `wasmilter check`: what a configuration means, in a few lines, or what is wrong with it. Opens what the
//! configuration names, and no socket.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::{Config, Identify, Listener, ListenerAuth, ListenerTls, TableSource, UpstreamTls, show_size};

/// EX_CONFIG of sysexits.
const EXIT_CONFIG: u8 = 78;

/// Where a package puts it.
const CONFIG_DEFAULT: &str = "/etc/wasmilter/wasmilter.toml";

#[derive(Debug, clap::Args)]
pub struct Check {
    /// The configuration file.
    #[arg(short, long, default_value = CONFIG_DEFAULT, value_name = "FILE")]
    config: PathBuf,
}

/// Checks a configuration and everything it names. Status 78 when `serve` would not start with it.
///
/// # Errors
/// Only when nothing can be written any more.
pub fn run(args: &Check) -> anyhow::Result<ExitCode> {
    let colour = std::io::stderr().is_terminal();
    let mut errors = std::io::stderr().lock();
    let (config, warnings) = match super::load::load(&args.config) {
        Ok(loaded) => loaded,
        Err(found) => {
            writeln!(errors, "{}", found.render(colour))?;
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    for warning in &warnings {
        writeln!(errors, "{}\n", warning.render(colour))?;
    }
    let missing = missing_files(&config);
    for line in &missing {
        writeln!(errors, "error: {line}")?;
    }
    if !missing.is_empty() {
        return Ok(ExitCode::from(EXIT_CONFIG));
    }
    write!(std::io::stdout().lock(), "OK {}\n\n{}", args.config.display(), summary(&config))?;
    Ok(ExitCode::SUCCESS)
}

/// Everything the configuration names that cannot be opened, one sentence each.
fn missing_files(config: &Config) -> Vec<String> {
    let mut wanted: Vec<(String, &Path)> = Vec::new();
    if let Some(tls) = &config.tls {
        wanted.push(("certificate of [tls]".to_owned(), &tls.certificate));
        wanted.push(("key of [tls]".to_owned(), &tls.key));
    }
    if let Some(auth) = &config.auth {
        wanted.push(("password-file of [auth]".to_owned(), &auth.password_file));
    }
    if let UpstreamTls::Verify { ca_file: Some(ca_file), .. } = &config.upstream.tls {
        wanted.push(("tls-ca of [upstream]".to_owned(), ca_file));
    }
    for filter in &config.filters {
        wanted.push((format!("path of the filter \"{}\"", filter.name), &filter.path));
    }
    for table in &config.tables {
        if let TableSource::File(path) = &table.source {
            wanted.push((format!("file of [table.{}]", table.name), path));
        }
    }
    let mut missing: Vec<String> =
        wanted.into_iter().filter_map(|(what, path)| Some(format!("the {what}, {}", unreadable(path)?))).collect();
    let spool = &config.spool.directory;
    if !spool.is_dir() {
        missing.push(format!("the directory of [spool], {}, is not a directory", spool.display()));
    }
    missing
}

fn unreadable(path: &Path) -> Option<String> {
    let why = match std::fs::File::open(path).and_then(|file| file.metadata()) {
        Ok(found) if found.is_file() => return None,
        Ok(_) => "is not a file".to_owned(),
        Err(why) => format!("cannot be read: {why}"),
    };
    Some(format!("{}, {why}", path.display()))
}

/// Who connects where, where mail goes, and who may send what to whom.
fn summary(config: &Config) -> String {
    let mut out = String::new();
    for listener in &config.listeners {
        line(&mut out, "listens", &listener_line(listener));
    }
    line(&mut out, "calls itself", &config.hostname);
    line(&mut out, "hands mail to", &upstream_line(config));
    let below = config.relay.subdomains_of.iter().map(|domain| format!("everything below {domain}"));
    line(&mut out, "takes mail for", &list_or(config.relay.domains.iter().cloned().chain(below), "no domain"));
    let networks = config.relay.trusted_networks.iter().map(ToString::to_string);
    let logins = config.listeners.iter().filter(|listener| listener.auth != ListenerAuth::Off);
    let logins = logins.map(|listener| format!("whoever logs in at \"{}\"", listener.name));
    line(&mut out, "relays for", &list_or(networks.chain(logins), "nobody"));
    for filter in &config.filters {
        let places = config.listeners.iter().filter(|listener| listener.filters.contains(&filter.name));
        let places = list_or(places.map(|listener| listener.name.clone()), "nowhere");
        line(&mut out, "filters with", &format!("{} ({}), at {places}", filter.name, filter.path.display()));
    }
    let size = config.limits.message_bytes.map_or("any".to_owned(), show_size);
    let recipients = config.limits.recipients.map_or("any number of".to_owned(), |count| count.to_string());
    line(&mut out, "at most", &format!("{size} a message, {recipients} recipients"));
    if let Some(admin) = &config.admin {
        line(&mut out, "metrics at", &format!("http://{}/metrics", admin.address));
    }
    out
}

fn line(out: &mut String, what: &str, value: &str) {
    // Writing to a text does not fail.
    let _ = writeln!(out, "  {what:<14} {value}");
}

fn list_or(items: impl Iterator<Item = String>, none: &str) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { none.to_owned() } else { items.join(", ") }
}

fn listener_line(listener: &Listener) -> String {
    let addresses = list_or(listener.addresses.iter().map(ToString::to_string), "the socket that systemd passes");
    let tls = match (listener.tls, listener.require_tls) {
        (ListenerTls::Off, _) => "no TLS",
        (ListenerTls::StartTls, false) => "STARTTLS",
        (ListenerTls::StartTls, true) => "STARTTLS required",
        (ListenerTls::Implicit, _) => "implicit TLS",
    };
    let auth = match listener.auth {
        ListenerAuth::Off => "no login",
        ListenerAuth::Optional => "login possible",
        ListenerAuth::Required => "login required",
    };
    format!("\"{}\" on {addresses}: {tls}, {auth}", listener.name)
}

fn upstream_line(config: &Config) -> String {
    let upstream = &config.upstream;
    let host = if upstream.host.contains(':') { format!("[{}]", upstream.host) } else { upstream.host.clone() };
    let identify = match upstream.identify {
        Identify::Xclient => "told who the client is by XCLIENT",
        Identify::Xforward => "told by XFORWARD, for its log only",
        Identify::Auto => "told by XCLIENT or XFORWARD, where it offers them",
        Identify::None => "not told who the client is",
    };
    let tls = match &upstream.tls {
        UpstreamTls::Off => "no TLS".to_owned(),
        UpstreamTls::Opportunistic => "TLS where offered, any certificate".to_owned(),
        UpstreamTls::Verify { name, .. } => format!("TLS, verified as {name}"),
    };
    format!("{host}:{}: {identify}; {tls}", upstream.port)
}
