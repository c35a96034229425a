//! When the host has had no instance for a filter again and again: for a short time nobody waits for one any more. Whoever
//! would have waited is answered at once what they would have been answered after it; an instance that is free is
//! still used. What guests do wrong is not counted: mail cannot open this.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Waits in a row that ended without an instance, while nobody else got one.
const FAILURES_TO_OPEN: u32 = 5;
/// Then somebody waits again, to see.
const OPEN_TIME: Duration = Duration::from_secs(5);

/// One filter's.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    open_until: Mutex<Option<Instant>>,
}

impl Breaker {
    /// Until when to wait, where one could wait until `deadline`.
    pub(super) fn patience(&self, now: Instant, deadline: Instant) -> Instant {
        if self.failures.load(Ordering::Relaxed) < FAILURES_TO_OPEN {
            return deadline;
        }
        let mut open = self.open_until.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *open {
            Some(until) if now < *until => now,
            // One finds out for all.
            Some(until) => {
                *until = now + OPEN_TIME;
                deadline
            }
            None => deadline,
        }
    }

    /// Somebody waited for as long as the filter allows, in vain. True: from now on nobody waits.
    pub(super) fn failed(&self, now: Instant) -> bool {
        let before = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_add(1)));
        if before.unwrap_or_default().saturating_add(1) < FAILURES_TO_OPEN {
            return false;
        }
        let mut open = self.open_until.lock().unwrap_or_else(PoisonError::into_inner);
        open.replace(now + OPEN_TIME).is_none()
    }

    /// Somebody got an instance. True: until now nobody waited.
    pub(super) fn succeeded(&self) -> bool {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.failures.store(0, Ordering::Relaxed);
        self.open_until.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open_until.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_while_it_is_open() {
        let breaker = Breaker::default();
        let now = Instant::now();
        let deadline = now + Duration::from_secs(10);
        for _ in 1..FAILURES_TO_OPEN {
            assert!(!breaker.failed(now));
            assert_eq!(breaker.patience(now, deadline), deadline);
        }
        assert!(breaker.failed(now), "said once");
        assert!(!breaker.failed(now));
        assert_eq!(breaker.patience(now, deadline), now);
        // One after the time is over, and the next only after as long again.
        let later = now + OPEN_TIME;
        assert_eq!(breaker.patience(later, later + OPEN_TIME), later + OPEN_TIME);
        assert_eq!(breaker.patience(later, later + OPEN_TIME), later);
        assert!(breaker.is_open() && breaker.succeeded());
        assert!(!breaker.is_open() && !breaker.succeeded());
        assert_eq!(breaker.patience(now, deadline), deadline);
    }

    #[test]
    fn whoever_gets_an_instance_begins_the_count_anew() {
        let breaker = Breaker::default();
        let now = Instant::now();
        for _ in 0..100 {
            for _ in 1..FAILURES_TO_OPEN {
                assert!(!breaker.failed(now));
            }
            assert!(!breaker.succeeded() && !breaker.is_open());
        }
    }
}
