//! What one guest may use up: memory, processor time, wall clock. Kept in the store of its instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::ticker::{Pulse, TICK};
use crate::mail::FaultKind;

/// Ticks a call may run before it queues behind other long calls of its filter.
const FREE_TICKS: u32 = 2;
/// Most that one slice between two ticks can count, however late the tick came.
const SLICE_MAX: Duration = Duration::from_millis(10);

/// Bounds the linear memories and tables of one instance.
#[derive(Debug)]
pub(super) struct Memory {
    used_bytes: usize,
    bytes_max: usize,
    table_elements_max: usize,
    /// Growth was refused in the call at hand: a trap that follows is a matter of memory.
    pub refused: bool,
}

impl Memory {
    pub(super) fn new(bytes_max: usize, table_elements_max: usize) -> Memory {
        Memory { used_bytes: 0, bytes_max, table_elements_max, refused: false }
    }

    /// Of its linear memories, all together.
    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.used_bytes.saturating_sub(current).saturating_add(desired);
        if total > self.bytes_max {
            self.refused = true;
            return Ok(false);
        }
        self.used_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.table_elements_max;
        self.refused |= !fits;
        Ok(fits)
    }
}

/// Counts the time of the call at hand. Processor time is counted in ticks during which the guest really ran.
#[derive(Debug)]
pub(super) struct Meter {
    cpu_max: Duration,
    cpu_used: Duration,
    ticks: u32,
    started: Instant,
    deadline: Instant,
    /// Why the guest was stopped.
    stopped: Option<FaultKind>,
    slice: Arc<Slice>,
    long_calls: Arc<Semaphore>,
}

/// Shared with the futures a long call waits in.
#[derive(Debug)]
pub(super) struct Slice {
    /// Processor time of this thread, in nanoseconds, when the guest last went on.
    resumed_at: AtomicU64,
    /// Nanoseconds the host computed for the guest in this call.
    charged: AtomicU64,
    /// Held from the third tick to the end of the call.
    permit: std::sync::Mutex<Option<OwnedSemaphorePermit>>,
    pulse: Pulse,
}

impl Slice {
    /// The guest goes on now, perhaps on another thread than before.
    pub(super) fn resume(&self) {
        // While it waited the heart may have stopped.
        self.pulse.touch();
        self.resumed_at.store(thread_nanos(), Ordering::Relaxed);
    }

    fn set_permit(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.permit.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = permit;
    }

    fn has_permit(&self) -> bool {
        self.permit.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_some()
    }
}

impl Meter {
    /// `long_calls`: the permits of this filter for calls of more than two ticks.
    pub(super) fn new(cpu_max: Duration, long_calls: Arc<Semaphore>, pulse: Pulse) -> Meter {
        let now = Instant::now();
        Meter {
            cpu_max,
            cpu_used: Duration::ZERO,
            ticks: 0,
            started: now,
            deadline: now,
            stopped: None,
            slice: Arc::new(Slice {
                resumed_at: AtomicU64::new(0),
                charged: AtomicU64::new(0),
                permit: std::sync::Mutex::new(None),
                pulse,
            }),
            long_calls,
        }
    }

    /// A call begins.
    pub(super) fn start(&mut self, now: Instant, deadline: Instant) {
        self.cpu_used = Duration::ZERO;
        self.ticks = 0;
        self.started = now;
        self.deadline = deadline;
        self.stopped = None;
        self.slice.charged.store(0, Ordering::Relaxed);
        self.slice.pulse.touch();
    }

    /// The call is over, however it ended.
    pub(super) fn finish(&mut self) -> Option<FaultKind> {
        if self.ticks >= FREE_TICKS {
            self.slice.set_permit(None);
        }
        self.stopped.take()
    }

    /// For a host function that waits or computes for long.
    pub(super) fn pause(&self) -> Pause {
        Pause { deadline: self.deadline, cpu_max: self.cpu_max, slice: Arc::clone(&self.slice) }
    }

    /// Until the call at hand is stopped.
    pub(super) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// A tick fell while the guest ran: it yields, or it is stopped.
    pub(super) fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        self.ticks += 1;
        self.slice.pulse.touch();
        self.cpu_used += if self.ticks == 1 {
            self.started.elapsed().min(TICK)
        } else {
            let slice = thread_nanos().saturating_sub(self.slice.resumed_at.load(Ordering::Relaxed));
            Duration::from_nanos(slice).min(SLICE_MAX)
        };
        let used = self.cpu_used + Duration::from_nanos(self.slice.charged.load(Ordering::Relaxed));
        let over = if used >= self.cpu_max {
            Some(FaultKind::Cpu)
        } else if Instant::now() >= self.deadline {
            Some(FaultKind::Deadline)
        } else {
            None
        };
        if let Some(kind) = over {
            self.stopped = Some(kind);
            return Ok(UpdateDeadline::Interrupt);
        }
        let slice = Arc::clone(&self.slice);
        // By processor time, not by ticks: on a busy machine a short call sees many ticks and is still short.
        if used < TICK * FREE_TICKS || slice.has_permit() {
            return Ok(UpdateDeadline::YieldCustom(1, Box::pin(pause(slice))));
        }
        let queue = Arc::clone(&self.long_calls);
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(queue_up(slice, queue, self.deadline))))
    }
}

/// The bounds of the call at hand, for host functions: they are not reached by ticks.
#[derive(Debug)]
pub(super) struct Pause {
    deadline: Instant,
    cpu_max: Duration,
    slice: Arc<Slice>,
}

impl Pause {
    /// Until the deadline of the call.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Waits, at most until the deadline of the call.
    ///
    /// # Errors
    /// The deadline passed: to be returned as it is, so that the call ends with that fault.
    pub(super) async fn wait<T>(&self, what: impl Future<Output = T>) -> Result<T, OutOfTime> {
        let done = tokio::time::timeout_at(self.deadline.into(), what).await;
        self.slice.resume();
        done.map_err(|_| OutOfTime(FaultKind::Deadline))
    }

    /// Counts what the host computed for the guest while no tick could see it.
    ///
    /// # Errors
    /// The guest's processor time is used up.
    pub(super) fn charge(&self, time: Duration) -> Result<(), OutOfTime> {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let all = self.slice.charged.fetch_add(nanos, Ordering::Relaxed).saturating_add(nanos);
        self.slice.resume();
        if Duration::from_nanos(all) > self.cpu_max { Err(OutOfTime(FaultKind::Cpu)) } else { Ok(()) }
    }
}

/// A host function ran into a bound of the call.
#[derive(Debug, thiserror::Error)]
#[error("{} used up in a host function", .0.name())]
pub(super) struct OutOfTime(pub FaultKind);

/// tokio's own yield, and not wasmtime's: only that one lets the worker look at its sockets in between.
async fn pause(slice: Arc<Slice>) {
    tokio::task::yield_now().await;
    slice.resume();
}

/// Waits until fewer long calls of this filter run. Past the deadline it just returns: the next tick stops the guest.
async fn queue_up(slice: Arc<Slice>, queue: Arc<Semaphore>, deadline: Instant) {
    tokio::task::yield_now().await;
    let permit = tokio::time::timeout_at(deadline.into(), queue.acquire_owned()).await;
    slice.set_permit(permit.ok().and_then(Result::ok));
    slice.resume();
}

/// Processor time of the calling thread.
fn thread_nanos() -> u64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0, |t| {
        let seconds = u64::try_from(t.tv_sec()).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(t.tv_nsec()).unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::super::ticker::Ticker;
    use super::*;

    /// The heart may have stopped while it waited, and without a beat nothing would interrupt it.
    #[tokio::test]
    async fn a_guest_that_comes_back_from_a_wait_hears_the_heart() {
        let ticker = Ticker::start(wasmtime::Engine::default()).unwrap();
        let mut meter = Meter::new(TICK, Arc::new(Semaphore::new(1)), ticker.pulse());
        meter.start(Instant::now(), Instant::now() + Duration::from_secs(60));
        while !ticker.is_at_rest() {
            tokio::task::yield_now().await;
        }
        meter.pause().wait(async {}).await.unwrap();
        assert!(!ticker.is_at_rest());
    }
}
