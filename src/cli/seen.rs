//! `wasmilter seen`: somebody has logged in from an address elsewhere, and may send from there for a while.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::door;
use super::filter::Trouble;
use crate::admin::ORDER_SEEN;
use crate::config;
use crate::report::printable;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 done, 1 refused, 69 nobody answers, 64 usage.\n\n\
                        For mail servers that people fetch their mail from, after a login: see examples/dovecot.")]
pub struct Seen {
    /// The client's address. Of an IPv6 address, its whole /64 counts.
    #[arg(value_name = "ADDRESS")]
    address: IpAddr,
    /// For how long: "10min", "2h"; at most a day.
    #[arg(long = "for", value_name = "TIME", value_parser = time, default_value = "30min")]
    ttl: Duration,
    #[command(flatten)]
    at: door::At,
}

fn time(text: &str) -> Result<Duration, String> {
    config::parse_duration(text).map_err(|why| format!("it {why}"))
}

/// Tells the gateway.
///
/// # Errors
/// Only when nothing can be written any more.
pub fn run(args: &Seen) -> anyhow::Result<ExitCode> {
    tell(args).or_else(Trouble::tell)
}

fn tell(args: &Seen) -> Result<ExitCode, Trouble> {
    let path = format!("/seen/{}?seconds={}", door::in_a_path(&args.address.to_string()), args.ttl.as_secs());
    let (status, body) = door::post(&args.at, &path, ORDER_SEEN)?;
    if status != 200 {
        let why = body.get("error").and_then(Value::as_str).unwrap_or("no reason was given");
        return Err(Trouble::new(1, format!("not taken: {}", printable(why)), ""));
    }
    let seconds = body.get("seconds").and_then(Value::as_u64).unwrap_or_default();
    let listeners: Vec<String> = body
        .get("listeners")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(printable)
        .collect();
    let time = config::show_duration(Duration::from_secs(seconds));
    writeln!(std::io::stdout().lock(), "{} may send for {time} at {}", args.address, listeners.join(", "))?;
    Ok(ExitCode::SUCCESS)
}
