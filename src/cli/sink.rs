//! `wasmilter sink`: the embedded upstream as a program of its own, to try a gateway without a mail server.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::sink::{self, Options};

#[derive(Debug, clap::Args)]
pub struct Sink {
    /// Where to listen; port 0 takes a free one and says which.
    #[arg(short, long, default_value = "127.0.0.1:2525", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Store messages as files in this Maildir, made when it is not there; without it they are only counted.
    #[arg(short, long, value_name = "DIR")]
    maildir: Option<PathBuf>,
    /// What it calls itself.
    #[arg(long, default_value = "sink.localhost", value_name = "NAME")]
    hostname: String,
    /// Do not offer XCLIENT (it is only ever offered to loopback).
    #[arg(long)]
    no_xclient: bool,
    /// Take XCLIENT again on a connection, for another client: then the gateway can reuse connections.
    #[arg(long, conflicts_with = "no_xclient")]
    xclient_again: bool,
    /// Do not offer XFORWARD (likewise).
    #[arg(long)]
    no_xforward: bool,
    /// The largest message taken, in bytes.
    #[arg(long, default_value_t = Options::default().message_bytes_max, value_name = "BYTES")]
    message_bytes_max: u64,
}

/// Serves until SIGINT or SIGTERM. Says on standard output where it listens, once it does.
///
/// # Errors
/// When it cannot listen or store.
pub fn run(args: &Sink) -> anyhow::Result<ExitCode> {
    let options = Options {
        hostname: args.hostname.clone(),
        maildir: args.maildir.clone(),
        xclient: !args.no_xclient,
        xclient_again: args.xclient_again,
        xforward: !args.no_xforward,
        message_bytes_max: args.message_bytes_max,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let listen = args.listen;
        let sink = sink::Sink::bind(listen, options).await.with_context(|| format!("cannot serve at {listen}"))?;
        {
            let mut out = std::io::stdout().lock();
            writeln!(out, "listening on {}", sink.local_addr())?;
            out.flush()?;
        }
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        let count = sink.messages().len();
        sink.shutdown().await;
        writeln!(std::io::stdout().lock(), "{count} messages")?;
        Ok(ExitCode::SUCCESS)
    })
}
