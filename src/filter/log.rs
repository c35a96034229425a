//! Lines a guest writes to the log: bounded in length and number, escaped, under the filter's name.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::answer::excerpt_of;

/// Octets of one line; the rest is cut.
pub(super) const LOG_LINE_BYTES_MAX: usize = 2_048;

/// Lines a filter may still write: all its instances together.
#[derive(Debug)]
pub struct LogBudget {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    per_second: f64,
    tokens: f64,
    at: Instant,
    suppressed: u64,
}

impl LogBudget {
    #[must_use]
    pub fn new(lines_per_second: u32) -> LogBudget {
        let per_second = f64::from(lines_per_second);
        LogBudget { inner: Mutex::new(Inner { per_second, tokens: per_second, at: Instant::now(), suppressed: 0 }) }
    }

    pub fn set_rate(&self, lines_per_second: u32) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).per_second = f64::from(lines_per_second);
    }

    /// None: over the rate. Otherwise how many lines were left out since the last that was written.
    pub fn take(&self, now: Instant) -> Option<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.saturating_duration_since(inner.at).as_secs_f64() * inner.per_second;
        inner.tokens = (inner.tokens + gained).min(inner.per_second);
        inner.at = now;
        if inner.tokens < 1.0 {
            inner.suppressed += 1;
            return None;
        }
        inner.tokens -= 1.0;
        Some(std::mem::take(&mut inner.suppressed))
    }
}

/// As in the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Whether anybody would see a line of this level.
pub(super) fn enabled(level: Level) -> bool {
    match level {
        Level::Trace => tracing::enabled!(target: "wasmilter::guest", tracing::Level::TRACE),
        Level::Debug => tracing::enabled!(target: "wasmilter::guest", tracing::Level::DEBUG),
        Level::Info => tracing::enabled!(target: "wasmilter::guest", tracing::Level::INFO),
        Level::Warn => tracing::enabled!(target: "wasmilter::guest", tracing::Level::WARN),
        Level::Error => tracing::enabled!(target: "wasmilter::guest", tracing::Level::ERROR),
    }
}

/// Writes one line, if the budget allows it.
pub(super) fn write(budget: &LogBudget, filter: &str, session: &str, level: Level, message: &str) {
    if !enabled(level) {
        return;
    }
    let Some(suppressed) = budget.take(Instant::now()) else { return };
    if suppressed > 0 {
        tracing::warn!(target: "wasmilter::guest", filter, suppressed, "log lines were left out: over the filter's rate");
    }
    let message = excerpt_of(message, LOG_LINE_BYTES_MAX);
    match level {
        Level::Trace => tracing::trace!(target: "wasmilter::guest", filter, session, "{message}"),
        Level::Debug => tracing::debug!(target: "wasmilter::guest", filter, session, "{message}"),
        Level::Info => tracing::info!(target: "wasmilter::guest", filter, session, "{message}"),
        Level::Warn => tracing::warn!(target: "wasmilter::guest", filter, session, "{message}"),
        Level::Error => tracing::error!(target: "wasmilter::guest", filter, session, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let budget = LogBudget::new(2);
        let now = Instant::now();
        assert_eq!((budget.take(now), budget.take(now)), (Some(0), Some(0)));
        for _ in 0..1_000 {
            assert_eq!(budget.take(now), None);
        }
        assert_eq!(budget.take(now + Duration::from_secs(1)), Some(1_000));
        budget.set_rate(0);
        assert_eq!(budget.take(now + Duration::from_secs(9)), None);
    }
}
