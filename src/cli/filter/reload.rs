//! `wasmilter filter reload`: one filter of the running gateway is read again, by its admin address.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::trouble::Trouble;
use crate::admin::RELOAD_HEADER;
use crate::report::printable;

/// EX_UNAVAILABLE: nobody answers there.
const EXIT_UNAVAILABLE: u8 = 69;
/// As long as the gateway keeps such a connection, and a little more.
const PATIENCE: Duration = Duration::from_secs(40);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Octets of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 done, 1 refused and the old one goes on, 69 nobody answers, 64 usage.")]
pub struct Reload {
    /// The filter's name in the configuration.
    #[arg(value_name = "NAME")]
    name: String,
    /// The address of [admin] of the running gateway.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9925")]
    admin: SocketAddr,
}

/// Asks for it, and says what came of it.
pub(super) fn run(args: &Reload) -> Result<ExitCode, Trouble> {
    let answer = ask(args).map_err(|why| {
        let help = "does the gateway run, with [admin] at this address? Its log says what became of a reload";
        Trouble::new(EXIT_UNAVAILABLE, format!("{}: {why}", args.admin), help)
    })?;
    let (status, body) = taken_apart(&answer).ok_or_else(|| {
        let help = "--admin wants the address of [admin]";
        Trouble::new(EXIT_UNAVAILABLE, format!("{} is no admin address of wasmilter", args.admin), help)
    })?;
    if status != 200 {
        let why = body.get("error").and_then(Value::as_str).unwrap_or("no reason was given");
        let help = "nothing has changed: the filter that runs goes on";
        return Err(Trouble::new(1, format!("not reloaded: {why}"), help));
    }
    let text = |pointer| printable(body.pointer(pointer).and_then(Value::as_str).unwrap_or("?"));
    let version = |of: &str| match body.pointer(&format!("/{of}/version")).and_then(Value::as_str) {
        Some(version) => printable(version),
        None => format!("sha256:{:.12}…", text(if of == "now" { "/now/digest" } else { "/before/digest" })),
    };
    let mut out = std::io::stdout().lock();
    if body.get("changed") == Some(&Value::Bool(false)) {
        writeln!(out, "{}: reloaded; the file is the same as before ({})", printable(&args.name), version("now"))?;
    } else {
        writeln!(out, "{}: {} -> {}", printable(&args.name), version("before"), version("now"))?;
        writeln!(out, "sha256:{}", text("/now/digest"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(args: &Reload) -> std::io::Result<String> {
    let mut http = TcpStream::connect_timeout(&args.admin, CONNECT_TIMEOUT)?;
    http.set_read_timeout(Some(PATIENCE))?;
    let (header, value) = RELOAD_HEADER;
    write!(
        http,
        "POST /filters/{}/reload HTTP/1.1\r\nHost: localhost\r\n{header}: {value}\r\nContent-Length: 0\r\nConnection: \
         close\r\n\r\n",
        in_a_path(&args.name)
    )?;
    let mut answer = String::new();
    http.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

/// RFC 3986 2.1.
fn in_a_path(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The status and the JSON below it.
fn taken_apart(answer: &str) -> Option<(u16, Value)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_json() {
        let answer = "HTTP/1.1 422 Unprocessable Entity\r\ncontent-type: application/json\r\n\r\n{\"error\":\"x\"}\n";
        assert_eq!(taken_apart(answer), Some((422, serde_json::json!({ "error": "x" }))));
        for other in ["", "HTTP/1.1 200 OK\r\n\r\n", "220 mx ESMTP\r\n\r\n{}", "HTTP/1.1 €€€\r\n\r\n{}"] {
            assert_eq!(taken_apart(other), None, "{other}");
        }
        assert_eq!(in_a_path("a b/ü"), "a%20b%2F%C3%BC");
    }
}
