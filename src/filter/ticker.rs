//! The 1 ms heartbeat that interrupts guests.
//!
//! One thread for an engine. It beats only while guest calls run (and a little longer, since calls come in
//! bursts): an idle gateway does not wake a thousand times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// One epoch.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// Beats after the last call before the thread parks.
const LINGER_TICKS: u32 = 100;

#[derive(Debug, Default)]
struct Shared {
    /// Guest calls under way.
    calls: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
}

/// Owns the thread: it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

impl Ticker {
    /// # Errors
    /// The operating system gives no thread.
    pub(super) fn start(engine: Engine) -> std::io::Result<Ticker> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let handle = thread::Builder::new().name("filter-ticker".into()).spawn(move || beat(&engine, &theirs))?;
        Ok(Ticker { shared, thread: handle.thread().clone() })
    }

    /// The heart beats at least as long as the answer lives.
    pub(super) fn call(&self) -> Call<'_> {
        self.shared.calls.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) && self.shared.parked.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Call(&self.shared)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.parked.store(false, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// One guest call under way.
#[derive(Debug)]
pub(super) struct Call<'a>(&'a Shared);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

fn beat(engine: &Engine, shared: &Shared) {
    let mut quiet = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        // An unpark in between makes one beat early: no harm.
        thread::park_timeout(TICK);
        engine.increment_epoch();
        quiet = if shared.calls.load(Ordering::SeqCst) == 0 { quiet + 1 } else { 0 };
        if quiet >= LINGER_TICKS {
            rest(shared);
            quiet = 0;
        }
    }
}

/// Parks until a call comes. Whoever comes between the two looks sees `parked` and wakes us.
fn rest(shared: &Shared) {
    shared.parked.store(true, Ordering::SeqCst);
    if shared.calls.load(Ordering::SeqCst) != 0 {
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

    #[test]
    fn the_heart_rests_and_wakes() {
        let ticker = Ticker::start(Engine::default()).unwrap();
        while !ticker.shared.parked.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        let call = ticker.call();
        assert!(!ticker.shared.parked.load(Ordering::SeqCst));
        assert_eq!(ticker.shared.calls.load(Ordering::SeqCst), 1);
        drop(call);
        assert_eq!(ticker.shared.calls.load(Ordering::SeqCst), 0);
    }
}
