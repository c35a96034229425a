//! The 1 ms heartbeat that interrupts guests.
//!
//! One thread for an engine. It beats only while guests run (and a little longer, since calls come in bursts): an idle
//! gateway does not wake a thousand times a second.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// One epoch.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// Beats after the last call before the thread parks.
const LINGER_TICKS: u32 = 100;

#[derive(Debug, Default)]
struct Shared {
    /// A guest began to run, or still ran, since the last beat.
    touched: AtomicBool,
    /// Guests that may sleep where nobody sees them wake up.
    sleepers: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Shared {
    fn wake(&self) {
        if self.parked.load(Ordering::SeqCst)
            && self.parked.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

/// Owns the thread: it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Ticker(Arc<Shared>);

impl Ticker {
    /// # Errors
    /// The operating system gives no thread.
    pub(super) fn start(engine: Engine) -> std::io::Result<Ticker> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let handle = thread::Builder::new().name("filter-ticker".into()).spawn(move || beat(&engine, &theirs))?;
        let _ = shared.thread.set(handle.thread().clone());
        Ok(Ticker(shared))
    }

    /// For whoever runs guests.
    pub(super) fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(&self.0))
    }

    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.0.parked.load(Ordering::SeqCst)
    }

    /// The heart beats at least as long as the answer lives: for a guest that sleeps in WASI and wakes up unseen.
    pub(super) fn keep_beating(&self) -> Sleeper<'_> {
        self.0.sleepers.fetch_add(1, Ordering::SeqCst);
        self.0.wake();
        Sleeper(&self.0)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
        self.0.parked.store(false, Ordering::SeqCst);
        if let Some(thread) = self.0.thread.get() {
            thread.unpark();
        }
    }
}

/// Keeps the heart beating for the next [`LINGER_TICKS`].
#[derive(Debug, Clone)]
pub(super) struct Pulse(Arc<Shared>);

impl Pulse {
    /// A guest begins to run, or has run for a tick. Calls come often and from several threads, so that mostly nothing
    /// is written here: what they share stays in the cache of each.
    pub(super) fn touch(&self) {
        // Who finds it set by somebody else has all the ticks that follow the beat at which it is taken back, and says
        // so again at the first of them.
        if !self.0.touched.load(Ordering::Relaxed) {
            self.0.touched.store(true, Ordering::SeqCst);
        }
        self.0.wake();
    }
}

/// See [`Ticker::keep_beating`].
#[derive(Debug)]
pub(super) struct Sleeper<'a>(&'a Shared);

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.0.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

fn beat(engine: &Engine, shared: &Shared) {
    let mut quiet = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        // An unpark in between makes one beat early: no harm.
        thread::park_timeout(TICK);
        engine.increment_epoch();
        let touched = shared.touched.swap(false, Ordering::SeqCst);
        quiet = if touched || shared.sleepers.load(Ordering::SeqCst) != 0 { 0 } else { quiet + 1 };
        if quiet >= LINGER_TICKS {
            rest(shared);
            quiet = 0;
        }
    }
}

/// Parks until a call comes. Whoever comes between the two looks sees `parked` and wakes us.
fn rest(shared: &Shared) {
    shared.parked.store(true, Ordering::SeqCst);
    if shared.touched.swap(false, Ordering::SeqCst) || shared.sleepers.load(Ordering::SeqCst) != 0 {
        shared.parked.store(false, Ordering::SeqCst);
        return;
    }
    while shared.parked.load(Ordering::SeqCst) && !shared.stop.load(Ordering::SeqCst) {
        thread::park();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn wait_for_rest(ticker: &Ticker) {
        while !ticker.is_at_rest() {
            thread::yield_now();
        }
    }

    #[test]
    fn the_heart_rests_and_wakes() {
        let ticker = Ticker::start(Engine::default()).unwrap();
        wait_for_rest(&ticker);
        ticker.pulse().touch();
        assert!(!ticker.is_at_rest());
        wait_for_rest(&ticker);
        let sleeper = ticker.keep_beating();
        assert!(!ticker.is_at_rest());
        drop(sleeper);
        wait_for_rest(&ticker);
    }
}
