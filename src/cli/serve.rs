//! `wasmilter serve`: the gateway until SIGTERM or SIGINT, with SIGHUP for a reload.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::load::load;
use crate::config::{self, Config};
use crate::net::inherit::Inherited;
use crate::report::{self, Metrics};
use crate::server::{Gateway, Generation, Listeners};

/// Where a package puts it.
pub const CONFIG_DEFAULT: &str = "/etc/wasmilter/wasmilter.toml";

#[derive(Debug, clap::Args)]
pub struct Serve {
    /// The configuration file.
    #[arg(short, long, default_value = CONFIG_DEFAULT, value_name = "FILE")]
    config: PathBuf,
    /// Worker threads (default: one a core).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// Whatever keeps it from starting, in words for the operator.
pub fn run(args: &Serve) -> anyhow::Result<ExitCode> {
    let (config, warnings) = match load(&args.config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return Ok(ExitCode::from(78));
        }
    };
    report::log::init(&config.log)?;
    warn(&warnings);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("wasmilter");
    if let Some(threads) = args.threads {
        builder.worker_threads(usize::from(threads));
    }
    let runtime = builder.build().context("the runtime cannot be started")?;
    runtime.block_on(serve(config, &args.config))
}

async fn serve(config: Config, path: &Path) -> anyhow::Result<ExitCode> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let metrics = Metrics::install()?;
    let shutdown = config.shutdown.clone();
    let generation = Generation::build(config, None)?;
    let config = Arc::clone(generation.config());
    let gateway = Gateway::new(generation, metrics);
    let mut listeners = Listeners::new(Inherited::from_systemd()?);
    let sockets = listeners.bind(&config)?;
    listeners.accept(&gateway, sockets);
    if let Some(settings) = &config.admin {
        let _ = settings;
    }
    notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %path.display(), "serving");
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                notify(&[sd_notify::NotifyState::Reloading, sd_notify::NotifyState::monotonic_usec_now()?]);
                if let Err(error) = reload(&gateway, &mut listeners, path) {
                    tracing::error!(error = %format!("{error:#}"), "reload refused: the running configuration stays");
                }
                notify(&[sd_notify::NotifyState::Ready]);
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!(drain_seconds = shutdown.drain.as_secs(), "stopping: no new sessions");
    gateway.shutdown.begin();
    let cut = gateway.shutdown.finish(shutdown.drain, shutdown.final_reply).await;
    if cut > 0 {
        tracing::warn!(sessions = cut, "stopped; these sessions had to be cut");
    } else {
        tracing::info!("stopped");
    }
    Ok(ExitCode::SUCCESS)
}

/// All or nothing: whatever fails, the old configuration goes on as it was.
fn reload(gateway: &Arc<Gateway>, listeners: &mut Listeners, path: &Path) -> anyhow::Result<()> {
    let (config, warnings) = load(path).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let generation = Generation::build(config, Some(&gateway.generation()))?;
    let sockets = listeners.bind(generation.config())?;
    warn(&warnings);
    gateway.replace(generation);
    listeners.accept(gateway, sockets);
    tracing::info!(config = %path.display(), "reloaded");
    Ok(())
}

fn warn(warnings: &[config::Warning]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Tells systemd, where there is one.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
