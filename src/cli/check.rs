//! `wasmilter check`: what a configuration means, in a few lines, or what is wrong with it. Opens what the
//! configuration names, and no socket.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;

use crate::accounts::{Backends, Reach};
use crate::chain::{Chain, ChainError};
use crate::config::{
    Auth, AuthBackendKind, Believed, Config, Filter, Identify, Listener, ListenerAuth, ListenerTls, PasswordSource,
    Server, Servers, TableSource, UPSTREAM_DEFAULT, Upstream, UpstreamTls, show_size,
};
use crate::filter::LoadError;
use crate::net::dial::{Dial, Tcp};
use crate::net::dns::Resolver;
use crate::net::tls::{Identity, Terms};
use crate::report::printable;
use crate::state::tables::Table;
use crate::upstream;

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
    let (faults, notes, chain) = open_what_it_names(&config);
    for note in &notes {
        writeln!(errors, "warning: {note}\n")?;
    }
    for fault in &faults {
        writeln!(errors, "{}{fault}", if fault.starts_with("error:") { "" } else { "error: " })?;
    }
    if !faults.is_empty() {
        return Ok(ExitCode::from(EXIT_CONFIG));
    }
    write!(std::io::stdout().lock(), "OK {}\n\n{}", args.config.display(), summary(&config, chain.as_ref()))?;
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with the files a configuration names, and what may be; one sentence each. And its filters, loaded.
fn open_what_it_names(config: &Config) -> (Vec<String>, Vec<String>, Option<Chain>) {
    let mut faults = missing_files(config);
    let (mut notes, mut chain) = (Vec::new(), None);
    if !faults.is_empty() {
        return (faults, notes, None);
    }
    if let Some(files) = &config.tls {
        match Identity::load(files, SystemTime::now()) {
            Ok(identity) => notes.extend_from_slice(identity.warnings()),
            Err(error) => faults.push(error.to_string()),
        }
    }
    for listener in &config.listeners {
        faults.extend(Terms::load(&listener.handshakes).err().map(|error| error.to_string()));
    }
    for upstream in &config.upstreams {
        faults.extend(upstream::check(upstream).err().map(|error| error.to_string()));
    }
    if let Some(auth) = &config.auth {
        match backends(config, auth) {
            Ok(backends) => notes.extend(backends.warnings()),
            Err(error) => faults.push(error),
        }
    }
    let tables: Vec<String> =
        config.tables.iter().filter_map(|table| Some(Table::load(table).err()?.to_string())).collect();
    if tables.is_empty() {
        // Whoever runs a check is not always the gateway's user, whose cache it is.
        let mut config = config.clone();
        config.engine.cache_dir = None;
        match Chain::load(&config) {
            Ok(loaded) => chain = Some(loaded),
            // Shown as the other errors of the file are.
            Err(ChainError::Filter(LoadError::Settings { errors, .. })) => faults.push(errors.to_string()),
            Err(error) => faults.push(error.to_string()),
        }
    }
    faults.extend(tables);
    notes.extend(no_place_for_a_snapshot(config));
    faults.extend(super::policy::audit::open_relay(config));
    (faults, notes, chain)
}

/// The gateway would run all the same, and forget.
fn no_place_for_a_snapshot(config: &Config) -> Option<String> {
    let path = &config.state.snapshot.as_ref()?.path;
    let folder = path.parent().filter(|folder| !folder.is_dir())?;
    Some(format!(
        "there is no folder {} for the snapshot of [state]: a restart would forget everything",
        folder.display()
    ))
}

fn backends(config: &Config, auth: &Auth) -> Result<Backends, String> {
    let resolver = Resolver::new(&config.resolver).map_err(|error| error.to_string())?;
    let dialer: Arc<dyn Dial> = Arc::new(Tcp);
    let upstreams = upstream::Upstreams::new(config, &resolver, &dialer).map_err(|error| error.to_string())?;
    Backends::load(auth, &Reach { upstreams: Some(&upstreams), resolver: &resolver, dialer: &dialer })
        .map_err(|error| error.to_string())
}

/// Everything the configuration names that cannot be opened, one sentence each.
fn missing_files(config: &Config) -> Vec<String> {
    let mut wanted: Vec<(String, &Path)> = Vec::new();
    if let Some(tls) = &config.tls {
        for pair in tls.all() {
            wanted.push(("certificate of [tls]".to_owned(), &pair.certificate));
            wanted.push(("key of [tls]".to_owned(), &pair.key));
        }
    }
    for backend in config.auth.iter().flat_map(|auth| &auth.backends) {
        if let AuthBackendKind::File { path } = &backend.kind {
            wanted.push((format!("password file of the auth backend \"{}\"", backend.name), path));
        }
    }
    for upstream in &config.upstreams {
        let of = |what: &str| format!("{what} of the upstream \"{}\"", upstream.name);
        if let UpstreamTls::Verify { trust: Believed::Named { ca_file: Some(ca_file), .. }, .. } = &upstream.tls {
            wanted.push((of("tls-ca"), ca_file));
        }
        if let Some(files) = &upstream.certificate {
            wanted.push((of("tls-certificate"), &files.certificate));
            wanted.push((of("tls-key"), &files.key));
        }
        if let Some(PasswordSource::File(path)) = upstream.login.as_ref().map(|login| &login.password) {
            wanted.push((of("password-file"), path));
        }
    }
    if let Some(shared) = &config.state.shared {
        wanted.extend(shared.ca.iter().map(|ca| ("ca of [state]".to_owned(), ca.as_path())));
        wanted.extend(shared.password_file.iter().map(|file| ("password-file of [state]".to_owned(), file.as_path())));
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

/// Networks whose clients may send anywhere, and where, unless that is everywhere.
fn trusted(config: &Config) -> Vec<String> {
    let all: BTreeSet<&IpNet> = config.listeners.iter().flat_map(|listener| &listener.trusted_networks).collect();
    let said = |network: &IpNet| {
        let at: Vec<_> = config.listeners.iter().filter(|one| one.trusted_networks.contains(network)).collect();
        if at.len() == config.listeners.len() {
            return network.to_string();
        }
        let names: Vec<String> = at.iter().map(|listener| format!("\"{}\"", listener.name)).collect();
        format!("{network} at {}", names.join(" and "))
    };
    all.into_iter().map(said).collect()
}

/// Who connects where, where mail goes, and who may send what to whom.
fn summary(config: &Config, chain: Option<&Chain>) -> String {
    let mut out = String::new();
    for listener in &config.listeners {
        line(&mut out, "listens", &listener_line(listener));
    }
    line(&mut out, "calls itself", &config.hostname);
    for upstream in &config.upstreams {
        line(&mut out, "hands mail to", &upstream_line(upstream));
    }
    let below = config.relay.subdomains_of.iter().map(|domain| format!("everything below {domain}"));
    line(&mut out, "takes mail for", &list_or(config.relay.domains.iter().cloned().chain(below), "no domain"));
    let networks = trusted(config).into_iter();
    let logins = config.listeners.iter().filter(|listener| listener.auth != ListenerAuth::Off);
    let logins = logins.map(|listener| format!("whoever logs in at \"{}\"", listener.name));
    let seen = config.listeners.iter().filter(|listener| listener.after_login);
    let seen = seen.map(|listener| format!("whoever has logged in elsewhere lately, at \"{}\"", listener.name));
    line(&mut out, "relays for", &list_or(networks.chain(logins).chain(seen), "nobody"));
    for filter in &config.filters {
        line(&mut out, "filters with", &filter_line(config, filter));
        if let Some(said) = chain.and_then(|chain| described(chain, &filter.name)) {
            line(&mut out, "", &said);
        }
    }
    let size = config.limits.message_bytes.map_or("any".to_owned(), show_size);
    let recipients = config.limits.recipients.map_or("any number of".to_owned(), |count| count.to_string());
    line(&mut out, "at most", &format!("{size} a message, {recipients} recipients"));
    if let Some(address) = config.admin.as_ref().and_then(|admin| admin.address) {
        line(&mut out, "metrics at", &format!("http://{address}/metrics"));
    }
    if let Some(socket) = config.admin.as_ref().and_then(|admin| admin.socket.as_ref()) {
        line(&mut out, "orders at", &socket.path.display().to_string());
    }
    out
}

fn line(out: &mut String, what: &str, value: &str) {
    // Writing to a text does not fail.
    let _ = writeln!(out, "  {what:<14} {value}");
}

/// What a filter says of itself, and who signed it.
fn described(chain: &Chain, name: &str) -> Option<String> {
    let program = chain.programs().find(|program| *program.profile().name == *name)?;
    let mut said = vec![program.phase().name().to_owned()];
    if let Some(about) = program.about() {
        said.insert(0, format!("{}: {}", about.version, printable(&about.summary)));
    }
    if let Some(signed) = program.signed() {
        said.push(format!("signed by {}: {}", signed.key_id, printable(&signed.comment)));
    }
    Some(said.join("; "))
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

fn filter_line(config: &Config, filter: &Filter) -> String {
    let when = &filter.when;
    let runs = |listener: &&Listener| {
        listener.filters.contains(&filter.name)
            && (when.listeners.is_empty() || when.listeners.contains(&listener.name))
    };
    let places = list_or(config.listeners.iter().filter(runs).map(|listener| listener.name.clone()), "nowhere");
    let conditions = when.to_string();
    let conditions = if conditions.is_empty() { conditions } else { format!(", for {conditions}") };
    let shadow = if filter.shadow { ", in shadow" } else { "" };
    format!("{} ({}){shadow}, at {places}{conditions}", filter.name, filter.path.display())
}

fn upstream_line(upstream: &Upstream) -> String {
    let servers = match &upstream.servers {
        Servers::Listed(servers) => list_or(servers.iter().map(server), "nobody"),
        Servers::Service(name) => format!("the servers of {name}"),
    };
    let identify = match upstream.identify {
        Identify::Xclient => "told who the client is by XCLIENT",
        Identify::Xforward => "told by XFORWARD, for its log only",
        Identify::Auto => "told by XCLIENT or XFORWARD, where it offers them",
        Identify::None if upstream.proxy_protocol.is_some() => "told by the PROXY protocol",
        Identify::None => "not told who the client is",
    };
    let tls = match &upstream.tls {
        UpstreamTls::Off => "no TLS".to_owned(),
        UpstreamTls::Opportunistic => "TLS where offered, any certificate".to_owned(),
        UpstreamTls::Verify { trust: Believed::Named { name: Some(name), .. }, .. } => {
            format!("TLS, verified as {name}")
        }
        UpstreamTls::Verify { trust: Believed::Named { name: None, .. }, .. } => "TLS, verified".to_owned(),
        UpstreamTls::Verify { trust: Believed::Pinned(_), .. } => "TLS with a key that is known".to_owned(),
    };
    let name = match upstream.name.as_str() {
        UPSTREAM_DEFAULT => String::new(),
        name => format!("\"{name}\", "),
    };
    format!("{name}{servers}: {identify}; {tls}")
}

fn server(server: &Server) -> String {
    let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
    format!("{host}:{}", server.port)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::config::parse;
    use crate::net::tls::self_signed;

    #[test]
    fn the_summary_says_who_may_send_what_where() {
        let text = include_str!("../../config/submission.toml");
        let config = parse(text, "/etc/wasmilter/wasmilter.toml", &|_| None).unwrap();
        let expected = "  \
  listens        \"mx\" on 0.0.0.0:25, [::]:25: STARTTLS, no login
  listens        \"submission\" on 0.0.0.0:587, [::]:587: STARTTLS required, login required
  listens        \"submissions\" on 0.0.0.0:465, [::]:465: implicit TLS, login required
  calls itself   mail.example.org
  hands mail to  127.0.0.1:10025: told who the client is by XCLIENT; no TLS
  takes mail for example.org
  relays for     whoever logs in at \"submission\", whoever logs in at \"submissions\"
  at most        50 MiB a message, 1000 recipients
  metrics at     http://127.0.0.1:9925/metrics
";
        assert_eq!(summary(&config, None), expected);
    }

    #[test]
    fn the_summary_says_on_which_mail_a_filter_runs() {
        let text = include_str!("../../config/submission.toml");
        let filters = r#"
[[filter]]
name = "all"
path = "/f/all.wasm"
[[filter]]
name = "some"
path = "/f/some.wasm"
[filter.when]
listeners = ["mx", "submission"]
networks = ["192.0.2.0/24", "2001:db8::/32"]
except-networks = "192.0.2.7"
authenticated = false
min-size = "1 KiB"
max-size = "10 MiB"
sender-domains = ["<>", ".example.net"]
recipient-domains = "example.org"
"#;
        let config = parse(&format!("{text}{filters}"), "wasmilter.toml", &|_| None).unwrap();
        let summary = summary(&config, None);
        let shown: Vec<&str> =
            summary.lines().filter_map(|line| line.split_once("filters with")).map(|s| s.1.trim()).collect();
        let some = "some (/f/some.wasm), at mx, submission, for clients in 192.0.2.0/24, 2001:db8::/32; clients not in \
                    192.0.2.7/32; clients that have not logged in; messages from 1 KiB; messages up to 10 MiB; \
                    senders at <>, .example.net; recipients at example.org";
        assert_eq!(shown, ["all (/f/all.wasm), at mx, submission, submissions", some]);
    }

    #[test]
    fn every_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wasmilter.toml").display().to_string();
        let text = include_str!("../../config/submission.toml").replace("/etc/letsencrypt/live/mail.example.org/", "");
        let text = format!("{text}\n[[filter]]\nname = \"a\"\npath = \".\"\n[table.t]\nfile = \"t.txt\"\n");
        let config = parse(&text, &file, &|_| None).unwrap();
        let missing = missing_files(&config);
        assert_eq!(missing.len(), 5, "{missing:?}");
        assert!(missing[0].starts_with("the certificate of [tls], ") && missing[0].contains("fullchain.pem, cannot"));
        assert!(missing[3].ends_with("is not a file"));
        for name in ["fullchain.pem", "privkey.pem", "passwd", "t.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(open_what_it_names(&config).0.len(), 1);
    }

    #[test]
    fn what_is_in_the_files_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wasmilter.toml").display().to_string();
        let text = include_str!("../../config/minimal.toml");
        let read = |more: &str| parse(&format!("{text}\n{more}"), &file, &|_| None).unwrap();
        let tables =
            read("[table.a]\nkind = \"regex\"\nentries = [\"(\"]\n[table.b]\nkind = \"cidr\"\nfile = \"b.txt\"\n");
        std::fs::write(folder.path().join("b.txt"), "192.0.2.0/24\nnonsense\n").unwrap();
        assert_eq!(open_what_it_names(&tables).0.len(), 2, "{:?}", open_what_it_names(&tables));
        let auth = read("[auth]\npassword-file = \"passwd\"\n");
        std::fs::write(folder.path().join("passwd"), "nonsense\n").unwrap();
        assert!(open_what_it_names(&auth).0[0].contains("passwd"));
        let filter = read("[[filter]]\nname = \"odd\"\npath = \"odd.wasm\"\n");
        std::fs::write(folder.path().join("odd.wasm"), "nonsense").unwrap();
        let faults = open_what_it_names(&filter).0;
        assert!(faults.len() == 1 && faults[0].contains("odd"), "{faults:?}");
    }

    #[test]
    fn a_certificate_must_fit_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let made = [self_signed(&["mx.example.org"]).unwrap(), self_signed(&["mx.example.org"]).unwrap()];
        let text = include_str!("../../config/minimal.toml");
        let text = format!("{text}\n[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n");
        let file = folder.path().join("wasmilter.toml").display().to_string();
        let config = parse(&text, &file, &|_| None).unwrap();
        std::fs::write(folder.path().join("cert.pem"), &made[0].certificate_pem).unwrap();
        std::fs::write(folder.path().join("key.pem"), &made[1].key_pem).unwrap();
        assert!(open_what_it_names(&config).0[0].contains("does not belong to"));
        std::fs::write(folder.path().join("key.pem"), &made[0].key_pem).unwrap();
        assert!(open_what_it_names(&config).0.is_empty());
    }
}
