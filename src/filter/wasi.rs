//! An empty WASI for guests whose toolchain cannot do without: no files, no environment, no sockets. What they
//! print goes to the filter's log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, filesystem};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxView, WasiView};

use super::guest::Guest;
use super::log::{self, Level};
use super::outside::Clock;
use super::profile::Profile;

/// Octets of a line not yet ended.
const LINE_BYTES_MAX: usize = log::LOG_LINE_BYTES_MAX;
/// Octets of one write.
const WRITE_BYTES_MAX: usize = 16 << 10;
/// Handles one instance may hold.
const HANDLES_MAX: usize = 256;
/// Octets of randomness in one call.
const RANDOM_BYTES_MAX: u64 = 4_096;

/// The interfaces a guest may import; `wasi:sockets`, `wasi:http` and all others never load.
pub(super) const PACKAGES: [&str; 5] = ["wasi:cli/", "wasi:io/", "wasi:clocks/", "wasi:random/", "wasi:filesystem/"];

/// One instance's WASI.
pub(super) struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl std::fmt::Debug for Wasi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wasi")
    }
}

impl Wasi {
    pub(super) fn new(profile: &Arc<Profile>) -> Wasi {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let ctx = WasiCtx::builder()
            .stdout(Lines::new(profile, Level::Info))
            .stderr(Lines::new(profile, Level::Warn))
            .max_random_size(RANDOM_BYTES_MAX)
            .wall_clock(Time(profile.outside.clock.clone()))
            .build();
        Wasi { ctx, table }
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let profile = &self.profile;
        let wasi = self.wasi.get_or_insert_with(|| Box::new(Wasi::new(profile)));
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

/// Everything but sockets.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    cli::environment::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::exit::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_input::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_output::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdin::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdout::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stderr::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    wasmtime_wasi::p2::bindings::random::insecure::add_to_linker::<Guest, wasmtime_wasi::random::WasiRandom>(
        linker,
        |guest| guest.ctx().ctx.random(),
    )?;
    wasmtime_wasi::p2::bindings::random::insecure_seed::add_to_linker::<Guest, wasmtime_wasi::random::WasiRandom>(
        linker,
        |guest| guest.ctx().ctx.random(),
    )?;
    filesystem::preopens::add_to_linker::<Guest, WasiFilesystem>(linker, Guest::filesystem)?;
    filesystem::types::add_to_linker::<Guest, WasiFilesystem>(linker, Guest::filesystem)
}

/// The time of day, by the clock that `clock` shows too.
struct Time(Clock);

impl HostWallClock for Time {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.0.now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// What a guest prints, cut into lines.
#[derive(Debug, Clone)]
struct Lines {
    profile: Arc<Profile>,
    level: Level,
    begun: Arc<Mutex<Vec<u8>>>,
}

impl Lines {
    fn new(profile: &Arc<Profile>, level: Level) -> Lines {
        Lines { profile: Arc::clone(profile), level, begun: Arc::default() }
    }

    fn print(&self, mut octets: &[u8]) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(end) = memchr::memchr(b'\n', octets) {
            let (line, rest) = octets.split_at(end);
            begun.extend_from_slice(line);
            self.flush(&mut begun);
            octets = rest.get(1..).unwrap_or_default();
        }
        for piece in octets.chunks(LINE_BYTES_MAX) {
            begun.extend_from_slice(piece);
            if begun.len() >= LINE_BYTES_MAX {
                self.flush(&mut begun);
            }
        }
    }

    fn flush(&self, line: &mut Vec<u8>) {
        let memory = &self.profile.memory;
        log::write(&memory.log, &self.profile.name, "", self.level, &String::from_utf8_lossy(line));
        line.clear();
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    /// Only WASI 0.3 would ask for this one.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, octets: Bytes) -> StreamResult<()> {
        self.print(&octets);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}
