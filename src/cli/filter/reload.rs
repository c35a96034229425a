//! `wasmilter filter reload`: one filter of the running gateway is read again, by its admin address or socket.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use super::trouble::Trouble;
use crate::admin::ORDER_RELOAD;
use crate::cli::door;
use crate::report::printable;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 done, 1 refused and the old one goes on, 69 nobody answers, 64 usage.")]
pub struct Reload {
    /// The filter's name in the configuration.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    at: door::At,
}

/// Asks for it, and says what came of it.
pub(super) fn run(args: &Reload) -> Result<ExitCode, Trouble> {
    let path = format!("/filters/{}/reload", door::in_a_path(&args.name));
    let (status, body) = door::post(&args.at, &path, ORDER_RELOAD)?;
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
