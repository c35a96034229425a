//! The time as filters see it. Deadlines are not among it: those are the gateway's own business.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Tells filters the time, and `kv` and `counters` when something is over.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    #[default]
    System,
    /// Stands still until it is moved; its clones move with it.
    Virtual(Arc<VirtualClock>),
}

/// A clock that is moved by hand.
#[derive(Debug)]
pub struct VirtualClock {
    began: Instant,
    at: SystemTime,
    passed: Mutex<Duration>,
}

impl VirtualClock {
    fn passed(&self) -> Duration {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock {
    /// A virtual clock that shows this time.
    #[must_use]
    pub fn standing_at(at: SystemTime) -> Clock {
        Clock::Virtual(Arc::new(VirtualClock { began: Instant::now(), at, passed: Mutex::default() }))
    }

    /// Moves a virtual clock on; the system's goes by itself.
    pub fn advance(&self, by: Duration) {
        if let Clock::Virtual(clock) = self {
            let mut passed = clock.passed.lock().unwrap_or_else(PoisonError::into_inner);
            *passed = passed.saturating_add(by);
        }
    }

    /// Of the day.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        match self {
            Clock::System => SystemTime::now(),
            Clock::Virtual(clock) => clock.at.checked_add(clock.passed()).unwrap_or(clock.at),
        }
    }

    /// Since some moment.
    #[must_use]
    pub fn ticks(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        match self {
            Clock::System => START.get_or_init(Instant::now).elapsed(),
            Clock::Virtual(clock) => clock.passed(),
        }
    }

    /// For what lasts so and so long.
    #[must_use]
    pub fn instant(&self) -> Instant {
        match self {
            Clock::System => Instant::now(),
            Clock::Virtual(clock) => clock.began.checked_add(clock.passed()).unwrap_or(clock.began),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_clock_goes_when_it_is_moved() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let clock = Clock::standing_at(at);
        let (other, began) = (clock.clone(), clock.instant());
        assert_eq!((other.now(), other.instant()), (at, began));
        clock.advance(Duration::from_secs(60));
        assert_eq!((other.now(), other.instant()), (at + Duration::from_secs(60), began + Duration::from_secs(60)));
    }
}
