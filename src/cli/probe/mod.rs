//! `wasmilter probe`: what a mail server offers to a gateway in front of it, how it reads what it should not be sent,
//! and what that means. It tries each thing on a connection of its own, and sends mail only to a recipient that the
//! operator names for it.

mod endings;
mod finding;
mod introduce;
mod manners;
mod offer;
mod suggest;
mod talk;
mod tls;

use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::timeout;

use crate::config;
use crate::net::dns::Resolver;
use crate::net::tls::{Connector, Expect};
use endings::Letter;
use finding::{Finding, Report};
use talk::{Cipher, Opened, Stopped, Target};

/// Of `probe`: there is something to be done, and there is nobody to talk to.
const EXIT_WARNINGS: u8 = 1;
const EXIT_UNREACHABLE: u8 = 2;

/// A banner that takes longer than this is held back on purpose, or by a DNS server that does not answer.
const BANNER_WAIT_USUAL: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 nothing to warn about, 1 warnings, 2 the server cannot be reached or does not \
                        speak SMTP, 64 usage.")]
pub struct Probe {
    /// The mail server.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port)]
    server: (String, u16),
    /// When TLS begins.
    #[arg(long, value_enum, default_value_t = When::Starttls)]
    tls: When,
    /// A PEM file with the authorities to believe, instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// What to say in EHLO.
    #[arg(long, default_value = "probe.invalid", value_name = "NAME", value_parser = one_word)]
    ehlo: String,
    /// Try how the server reads the end of a message, too. Up to five messages are delivered to this recipient by a
    /// server that reads it right, and up to fourteen more by one that does not.
    #[arg(long, value_name = "RECIPIENT", value_parser = one_word)]
    to: Option<String>,
    /// The sender of these messages (default: the null sender).
    #[arg(long, default_value = "", hide_default_value = true, value_name = "SENDER", value_parser = one_word)]
    from: String,
    /// Seconds to wait for a connection or an answer.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=600))]
    timeout: u16,
    /// Seconds of silence after which a connection should still be open; as the gateway's pool, by default.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(..=600))]
    idle: u16,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum When {
    /// After STARTTLS, where it is offered.
    Starttls,
    /// With the connection.
    Implicit,
    /// Never.
    Off,
}

/// Looks, and prints what was found. Status 1 when there are warnings, 2 when there was nobody to talk to.
///
/// # Errors
/// When nothing can be tried at all from here.
pub fn run(args: &Probe) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = match runtime.block_on(look(args))? {
        Ok(report) => report,
        Err(stopped) => {
            eprintln!("wasmilter: {}: {stopped}", shown(&args.server));
            return Ok(ExitCode::from(EXIT_UNREACHABLE));
        }
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", report.json())?;
    } else {
        write!(out, "{}", report.text())?;
    }
    Ok(if report.warns() { ExitCode::from(EXIT_WARNINGS) } else { ExitCode::SUCCESS })
}

async fn look(args: &Probe) -> anyhow::Result<Result<Report, Stopped>> {
    let mut target = match target(args).await {
        Ok(target) => target,
        Err(error) => return Ok(Err(Stopped::Connect(std::io::Error::other(format!("{error:#}"))))),
    };
    let mut found = Vec::new();
    let opened = match target.open().await {
        Err(Stopped::Tls(why)) if target.cipher == Cipher::Offered => {
            found.push(tls::broken(&why));
            target.cipher = Cipher::Never;
            target.open().await
        }
        opened => opened,
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(stopped) => return Ok(Err(stopped)),
    };
    let mut facts = suggest::Facts::new(&args.server, args.ca.as_deref());
    found.insert(0, banner(&opened));
    found.extend(tls::look(&target, &opened, args.ca.as_deref(), &mut facts).await?);
    let offer = opened.offer.clone();
    found.extend(offer::meanings(&offer));
    if let Some(limit) = offer.size.filter(|limit| *limit > 0) {
        found.extend(manners::size(&target, limit).await);
    }
    let us = opened.local.ip().to_canonical().to_string();
    let (introduced, findings) = introduce::look(&target, &offer, &us).await;
    facts.introduced = introduced;
    found.extend(findings);
    found.push(manners::pipelining(&target, offer.pipelining).await);
    found.extend(manners::odd_lines(&target).await);
    let idle = manners::idle(opened, Duration::from_secs(u64::from(args.idle))).await;
    facts.impatient = idle.is_warning();
    found.push(idle);
    match &args.to {
        Some(recipient) => {
            let letter = Letter { sender: args.from.clone(), recipient: recipient.clone() };
            found.extend(endings::look(&target, &letter).await);
        }
        None => {
            found.push(Finding::note("end of data", "not tried, since that sends mail: name a recipient with --to"))
        }
    }
    Ok(Ok(Report { server: shown(&args.server), findings: found, toml: facts.toml() }))
}

async fn target(args: &Probe) -> anyhow::Result<Target> {
    let (host, port) = args.server.clone();
    let wait = Duration::from_secs(u64::from(args.timeout));
    let resolver = Resolver::new(&config::Resolver::default())?;
    let addresses: Vec<IpAddr> =
        timeout(wait, resolver.addresses(&host)).await.context("the address could not be found in time")??;
    let connector = Connector::new(&Expect::Any { host: &host })?;
    let cipher = match args.tls {
        When::Starttls => Cipher::Offered,
        When::Implicit => Cipher::Implicit,
        When::Off => Cipher::Never,
    };
    Ok(Target { host, addresses, port, cipher, connector, hello: args.ehlo.clone(), wait })
}

fn banner(opened: &Opened) -> Finding {
    let Opened { banner, banner_wait, peer, .. } = opened;
    let what = format!("{banner} (from {peer}, after {} ms)", banner_wait.as_millis());
    if *banner_wait > BANNER_WAIT_USUAL || banner.lines().count() > 1 {
        return Finding::warning(
            "banner",
            what,
            "It comes late, or in pieces: is this postscreen, or a delay against spam? Every client of the gateway \
             would wait for it. Give the gateway a listener of its own, without them.",
        );
    }
    Finding::good("banner", what)
}

fn shown((host, port): &(String, u16)) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || "write a host and a port, like 127.0.0.1:10025, mail.internal:25 or [2001:db8::25]:25".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if inner.is_none() && host.contains(':') {
        return Err(wrong());
    }
    let host = one_word(inner.unwrap_or(host)).map_err(|_| wrong())?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    if host.is_empty() { Err(wrong()) } else { Ok((host, port)) }
}

/// Nothing that could end a command or an address, or begin another one.
fn one_word(text: &str) -> Result<String, String> {
    let fits = text.chars().all(|c| !c.is_control() && !c.is_whitespace() && !"<>\"".contains(c));
    if fits { Ok(text.to_owned()) } else { Err("it may hold no spaces, quotes or angle brackets".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port() {
        assert_eq!(host_and_port("mail.internal:25"), Ok(("mail.internal".into(), 25)));
        assert_eq!(host_and_port("[2001:db8::25]:25").map(|server| shown(&server)), Ok("[2001:db8::25]:25".into()));
        for wrong in ["mail.internal", ":25", "2001:db8::25:25", "mail:0", "mail:70000", "[]:25", "a b:25", "a>:25"] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_argument_becomes_a_second_command() {
        assert!(one_word("a@example.org").is_ok());
        for wrong in ["a\r\nRCPT", "a b", "a>b", "<a>"] {
            assert!(one_word(wrong).is_err(), "{wrong:?}");
        }
    }
}
