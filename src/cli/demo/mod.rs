//! `wasmilter demo`: the gateway, a mail server behind it and clients in front of it, all on this machine.
//!
//! The gateway is this very program run as `wasmilter serve` with a configuration file that can be read and changed
//! while it runs; the mail server is the sink; the clients speak real SMTP over real sockets. Each scene is judged by
//! what the client was told and by what lies in the mailbox, and one line says so. Nothing outlives the demonstration.

mod client;
mod mail;
mod scenes;
mod site;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use site::{ACCOUNTS, Site};

#[derive(Debug, clap::Args)]
pub struct Demo {
    /// End after the messages, with an exit status that tells whether all went as it should.
    #[arg(long)]
    once: bool,
    /// Where the filters are that `cargo xtask demo` builds.
    #[arg(long, default_value = "filters/target/wasm32-unknown-unknown/release", value_name = "DIR")]
    filters: PathBuf,
}

/// Plays the scenes, then stays up until Ctrl-C unless `--once` was said.
///
/// # Errors
/// When something cannot even be started.
pub fn run(args: &Demo) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(play(args))
}

async fn play(args: &Demo) -> anyhow::Result<ExitCode> {
    say(&format!("Starting a gateway with the filters of {} …", args.filters.display()))?;
    let site = tokio::select! {
        site = Site::open(&args.filters) => site?,
        stopped = told_to_stop() => return Ok(stopped.map(|()| ExitCode::FAILURE)?),
    };
    let outcome = tokio::select! {
        failed = show(&site, args.once) => failed,
        // Whoever wanted all of it to happen has not seen that.
        stopped = told_to_stop() => stopped.map(|()| u32::from(args.once)).map_err(anyhow::Error::from),
    };
    site.close().await?;
    Ok(if outcome? == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays the scenes, and stays for ever unless it is only for `once`. How many went wrong.
async fn show(site: &Site, once: bool) -> anyhow::Result<u32> {
    say(&introduction(site))?;
    let mut failed = 0_u32;
    for scene in scenes::ALL {
        let seen = scene(site).await.unwrap_or_else(scenes::Seen::failed);
        failed += u32::from(!seen.as_it_should);
        say(&seen.to_string())?;
    }
    if failed > 0 {
        say(&format!("\n{failed} of these went wrong. The gateway's log:\n\n{}", site.log()))?;
    }
    if !once {
        say(&by_hand(site))?;
        std::future::pending::<()>().await;
    }
    Ok(failed)
}

async fn told_to_stop() -> std::io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn introduction(site: &Site) -> String {
    format!(
        "
  mail server   {sink}   the sink: stores a Maildir, understands XCLIENT
  gateway       {mx}   from the world, for example.test
                {submission}   submission: STARTTLS, then AUTH
                {submissions}   submission: TLS from the first octet, then AUTH
  filters       endless (a bad one), attachment-guard, add-header
",
        sink = site.sink.local_addr(),
        mx = site.mx,
        submission = site.submission,
        submissions = site.submissions,
    )
}

fn by_hand(site: &Site) -> String {
    let [(account, password), _] = ACCOUNTS;
    format!(
        "
Now you. All of it runs until Ctrl-C, and is then removed.

  telnet    telnet {mx_ip} {mx_port}
              EHLO me.test
              MAIL FROM:<me@world.test>
              RCPT TO:<ann@example.test>       unknown@, full@ and loop@ are answered differently
              DATA
              Subject: by hand

              This is the text.
              .
              QUIT
  swaks     swaks --server {submission} --tls --auth PLAIN --auth-user {account} --auth-password {password} \\
                  --from {account} --to friend@elsewhere.test
  curl      curl smtps://{submissions} --insecure --user {account}:{password} \\
                 --mail-from {account} --mail-rcpt friend@elsewhere.test --upload-file {folder}/message.txt

  mailbox   ls {folder}/mail/new
  log       tail -f {folder}/gateway.log
  metrics   curl http://{admin}/metrics
  change    edit {folder}/wasmilter.toml, then: kill -HUP {process}
",
        mx_ip = site.mx.ip(),
        mx_port = site.mx.port(),
        submission = site.submission,
        submissions = site.submissions,
        admin = site.admin,
        folder = site.folder().display(),
        process = site.process_id(),
    )
}
