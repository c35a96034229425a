//! The Wasm engine: one for all filters, with its pool of slots and its heartbeat.
//!
//! Every setting here was measured; ARCHITECTURE.md tells what each is for. Concurrency support (WASI 0.3)
//! is refused: it makes every call three times as dear.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use super::error::LoadError;
use super::pool::{self, Machine};
use super::ticker::Ticker;

/// Stack of guest code in one call.
pub(super) const WASM_STACK_BYTES: usize = 512 << 10;
/// A fiber's whole stack: the guest's share and 512 KiB for the host functions it calls.
pub(super) const FIBER_STACK_BYTES: usize = 1 << 20;
/// Elements of one table: interpreters have tens of thousands of functions.
pub(super) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Metadata of one instance: interpreters need more than the 1 MiB of wasmtime's default.
const INSTANCE_METADATA_BYTES_MAX: usize = 8 << 20;
/// Core instances, memories and tables of one component. Python's has 38 and some for each interface it imports.
const CORE_INSTANCES_MAX: u32 = 128;
pub(super) const MEMORIES_MAX: u32 = 8;
const TABLES_MAX: u32 = 30;
/// Tables in the pool for each slot: what `wit-component` makes has two or three.
pub(super) const TABLES_PER_SLOT: u32 = 4;
/// Frames of a guest's backtrace in the log.
const BACKTRACE_FRAMES_MAX: usize = 16;

/// Engine, slots and heartbeat. Shared by every filter of a chain, and by the next chain after a reload.
#[derive(Debug)]
pub struct Host {
    engine: Engine,
    ticker: Ticker,
    slots: Arc<Semaphore>,
    slots_total: u32,
}

/// What whoever makes an engine chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostOptions {
    /// Slots of the pool; `None`: as many as the machine allows.
    pub instances: Option<u32>,
    /// Backtraces name file and line, where the component says them (DWARF): for an author's tools. A gateway would parse
    /// a stranger's DWARF at each fault, outside of all bounds of the guest.
    pub backtrace_lines: bool,
}

impl Host {
    /// Reserves the pool and starts the heartbeat.
    ///
    /// # Errors
    /// The pool does not fit this machine, or the kernel refuses the reservation.
    pub fn new(options: HostOptions) -> Result<Host, LoadError> {
        let machine = Machine::ask();
        let slots = pool::slots(options.instances, machine)?;
        let engine = Engine::new(&settings(options, slots, machine.keep_resident_bytes(slots)))
            .map_err(|e| LoadError::Engine(format!("{e:#}")))?;
        let ticker = Ticker::start(engine.clone()).map_err(|e| LoadError::Engine(format!("no thread: {e}")))?;
        let permits = Arc::new(Semaphore::new(usize::try_from(slots).unwrap_or(usize::MAX)));
        Ok(Host { engine, ticker, slots: permits, slots_total: slots })
    }

    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    /// One permit for each slot of linear memory.
    pub(super) fn slots(&self) -> &Arc<Semaphore> {
        &self.slots
    }

    /// Slots in the pool, free or not.
    #[must_use]
    pub fn slots_total(&self) -> u32 {
        self.slots_total
    }

    /// Slots nobody uses now.
    #[must_use]
    pub fn slots_free(&self) -> usize {
        self.slots.available_permits()
    }
}

fn settings(options: HostOptions, slots: u32, keep_bytes: usize) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        // 4 GiB reserved and guarded: no bounds checks in guest code.
        .memory_reservation(4 << 30)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(slots, keep_bytes)))
        // Garbage collected heaps would come from the same slots without being counted.
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_threads(false)
        .wasm_memory64(false)
        // Names come from the name section either way.
        .wasm_backtrace_details(if options.backtrace_lines {
            WasmBacktraceDetails::Enable
        } else {
            WasmBacktraceDetails::Disable
        })
        .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES_MAX));
    config
}

fn pooling(slots: u32, keep_bytes: usize) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(slots)
        .total_tables(slots.saturating_mul(TABLES_PER_SLOT))
        .total_stacks(slots)
        .max_component_instance_size(INSTANCE_METADATA_BYTES_MAX)
        .max_core_instance_size(INSTANCE_METADATA_BYTES_MAX)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memories_per_module(MEMORIES_MAX)
        .max_tables_per_module(8)
        .table_elements(TABLE_ELEMENTS_MAX)
        // A slot that was used once is as cheap as it gets: keep all of them so.
        .max_unused_warm_slots(slots)
        // Linear memory that stays (and is zeroed by hand) in a slot that is free again.
        .linear_memory_keep_resident(keep_bytes)
        .table_keep_resident(64 << 10)
        // The kernel tells which pages are dirty, from Linux 6.7.
        .pagemap_scan(Enabled::Auto);
    pool
}
