//! `wasmilter serve`: the gateway until SIGTERM or SIGINT, with SIGHUP for a reload.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::load::load;
use super::policy::audit::open_relay;
use crate::admin::{Doors, Exchanged, Filters, Health, Lists, Order};
use crate::config::{self, Config};
use crate::net::files;
use crate::net::inherit::Inherited;
use crate::report::{self, Metrics};
use crate::server::{ExchangeError, Found, Gateway, Generation, Keeper, Listeners};

/// Where a package puts it.
pub const CONFIG_DEFAULT: &str = "/etc/wasmilter/wasmilter.toml";

/// How often rate limits give memory back.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

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
    // Before anything of ours can get a descriptor's number that the environment names.
    let inherited = Inherited::from_systemd()?;
    let (config, warnings) = match load(&args.config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return Ok(ExitCode::from(78));
        }
    };
    if let Some(found) = open_relay(&config) {
        eprintln!("error: {found}");
        return Ok(ExitCode::from(78));
    }
    report::log::init(&config.log)?;
    warn(&warnings);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("wasmilter");
    if let Some(threads) = args.threads {
        builder.worker_threads(usize::from(threads));
    }
    let runtime = builder.build().context("the runtime cannot be started")?;
    runtime.block_on(serve(config, &args.config, inherited))
}

/// What runs, as long as it runs.
#[derive(Debug)]
struct Running {
    gateway: Arc<Gateway>,
    listeners: Listeners,
    doors: Doors,
    /// Where there is a snapshot.
    keeper: Option<Keeper>,
}

async fn serve(config: Config, path: &Path, inherited: Inherited) -> anyhow::Result<ExitCode> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    if let Err(error) = files::raise() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let (orders, mut ordered) = mpsc::channel(1);
    let mut running = start(config, inherited, orders).await?;
    notify(&[NotifyState::Ready]);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %path.display(), "serving");
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?]);
                if let Err(error) = reload(&mut running, path).await {
                    tracing::error!(error = %format!("{error:#}"), "reload refused: the running configuration stays");
                }
                notify(&[NotifyState::Ready]);
            }
            Some(order) = ordered.recv() => exchange(&running.gateway, order).await,
            _ = sweep.tick() => running.gateway.sweep(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    notify(&[NotifyState::Stopping]);
    let Running { gateway, listeners, doors, keeper } = running;
    let shutdown = gateway.generation().config().shutdown.clone();
    gateway.shutdown.begin();
    tracing::info!(drain_seconds = shutdown.drain.as_secs(), "stopping: no new sessions");
    // Closed, so that a new client goes elsewhere at once instead of waiting for a banner.
    drop(listeners);
    let cut = gateway.shutdown.finish(shutdown.drain, shutdown.final_reply).await;
    gateway.leave_upstreams().await;
    if let Some(keeper) = keeper {
        keeper.finish().await;
    }
    // The last to go, with the file of its socket.
    drop(doors);
    match cut {
        0 => tracing::info!("stopped"),
        sessions => tracing::warn!(sessions, "stopped; these sessions had to be cut"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn start(config: Config, inherited: Inherited, orders: mpsc::Sender<Order>) -> anyhow::Result<Running> {
    let metrics = Metrics::install()?;
    let mut found = config.state.snapshot.as_ref().map_or_else(|| Ok(Found::nothing()), Found::open)?;
    // Compiling filters takes processor time, before anybody is served.
    let generation = Generation::build(config, None)?;
    let config = Arc::clone(generation.config());
    let gateway = Gateway::with_names(generation, metrics, found.names);
    found.restore(&gateway);
    let keeper = config.state.snapshot.clone().map(|settings| Keeper::start(found, settings, &gateway)).transpose()?;
    let mut listeners = Listeners::new(inherited);
    let sockets = listeners.bind(&config)?;
    let mut doors = doors(&gateway, orders);
    let prepared = doors.prepare(config.admin.as_ref()).await?;
    doors.open(prepared).await;
    listeners.accept(&gateway, sockets);
    Ok(Running { gateway, listeners, doors, keeper })
}

/// What `[admin]` shows, and where its orders go: to the loop of [`serve`], since one thing changes at a time.
fn doors(gateway: &Arc<Gateway>, orders: mpsc::Sender<Order>) -> Doors {
    let shown = Arc::clone(gateway);
    let health = move || Health {
        draining: shown.shutdown.begun(),
        sessions: shown.open_sessions(),
        memory_bytes: shown.memory_bytes(),
        upstream_last_ok: shown.upstream_last_ok(),
    };
    let listed = Arc::clone(gateway);
    let filters = Filters { list: Box::new(move || listed.filters()), orders };
    let limited = Arc::clone(gateway);
    let sharing = Arc::clone(gateway);
    let lists =
        Lists { limits: Box::new(move || limited.shown_limits()), shared: Box::new(move || sharing.shown_shared()) };
    let told = Arc::clone(gateway);
    let seeing = Box::new(move |address, ttl| told.saw(address, ttl));
    Doors::new(gateway.metrics().clone(), Box::new(health), filters, lists, seeing)
}

/// All or nothing: whatever fails, the old configuration goes on as it was.
async fn reload(running: &mut Running, path: &Path) -> anyhow::Result<()> {
    let (config, warnings) = load(path).map_err(|errors| anyhow::anyhow!("{}", errors.lines().join("; ")))?;
    if let Some(found) = open_relay(&config) {
        anyhow::bail!(found);
    }
    // What can be given back comes first; what is built last changes tables that filters hold.
    let sockets = running.listeners.bind(&config)?;
    let prepared = running.doors.prepare(config.admin.as_ref()).await?;
    let before = running.gateway.generation();
    let snapshot = config.state.snapshot.clone();
    let found = open_snapshot(running.keeper.as_ref(), snapshot.clone()).await?;
    // Off the async threads: sessions go on while filters compile.
    let generation = tokio::task::spawn_blocking(move || Generation::build(config, Some(&before))).await??;
    let config = Arc::clone(generation.config());
    report::log::change(&config.log)?;
    warn(&warnings);
    running.gateway.replace(generation);
    match (&mut running.keeper, snapshot) {
        (_, Some(settings)) if found.is_some() => {
            let found = found.unwrap_or_else(Found::nothing);
            running.keeper = Keeper::start(found, settings, &running.gateway)
                .inspect_err(|error| tracing::error!(%error, "no snapshot will be written"))
                .ok();
        }
        (Some(keeper), Some(settings)) => keeper.change(&settings),
        (keeper, _) => *keeper = None,
    }
    running.listeners.accept(&running.gateway, sockets);
    running.doors.open(prepared).await;
    tracing::info!(config = %path.display(), "reloaded");
    Ok(())
}

/// A file that was not the snapshot before is one from now on. What is in it is not taken: what is known now counts.
async fn open_snapshot(keeper: Option<&Keeper>, settings: Option<config::Snapshot>) -> anyhow::Result<Option<Found>> {
    let Some(settings) = settings else { return Ok(None) };
    if keeper.is_some_and(|keeper| keeper.settings().path == settings.path) {
        return Ok(None);
    }
    Ok(Some(tokio::task::spawn_blocking(move || Found::open(&settings)).await??))
}

/// One filter anew, beside the traffic, as the running configuration has it.
async fn exchange(gateway: &Arc<Gateway>, order: Order) {
    let Order { name, answer } = order;
    let (working, wanted) = (Arc::clone(gateway), name.clone());
    let done = tokio::task::spawn_blocking(move || working.exchange_filter(&wanted)).await;
    let said = match done {
        Ok(Ok(what)) => {
            tracing::info!(filter = name, %what, "a filter was reloaded");
            Exchanged::Done(what)
        }
        Ok(Err(error @ ExchangeError::Unknown(_))) => Exchanged::Unknown(error.to_string()),
        Ok(Err(error)) => {
            tracing::error!(filter = name, %error, "reload of a filter refused: the one that runs goes on");
            Exchanged::Refused(error.to_string())
        }
        Err(error) => Exchanged::Refused(format!("the loader failed: {error}")),
    };
    // Whoever asked may be gone.
    let _ = answer.send(said);
}

fn warn(warnings: &[config::Warning]) {
    for warning in warnings {
        tracing::warn!("{}", warning.line());
    }
}

/// Tells systemd, where there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
