//! What sessions and messages hold in memory, counted where it is held, against one bound for the whole process.
//!
//! It counts what grows with clients (sessions, buffers of flowing bodies, messages that wait), and not what has
//! bounds of its own: filters' instances, tables, rate limits. The order in which it says no is what keeps mail whole:
//! new sessions first, then new messages, and content of messages under way last.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Of the bound, what sessions may have brought it to before no new one is let in.
const SESSIONS_PERCENT_MAX: usize = 80;
/// The same for new messages.
const MESSAGES_PERCENT_MAX: usize = 90;

/// The one account. Outlives reloads.
#[derive(Debug)]
pub struct Memory {
    used: AtomicUsize,
    max: AtomicUsize,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// So many octets are held; dropping it gives them back.
#[derive(Debug)]
pub struct Lease {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    /// `None`: counted, and never refused.
    #[must_use]
    pub fn new(bytes_max: Option<usize>) -> Arc<Memory> {
        Arc::new(Memory { used: AtomicUsize::new(0), max: AtomicUsize::new(bytes_max.unwrap_or(usize::MAX)) })
    }

    /// From now on it is this much. What is held stays held.
    pub fn set_max(&self, bytes_max: Option<usize>) {
        self.max.store(bytes_max.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Octets held now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// `None` without a bound.
    #[must_use]
    pub fn max(&self) -> Option<usize> {
        Some(self.max.load(Ordering::Relaxed)).filter(|&max| max != usize::MAX)
    }

    /// Room for a session of about this size.
    ///
    /// # Errors
    /// Eighty percent are used.
    pub fn session(self: &Arc<Self>, bytes: usize) -> Result<Lease, Full> {
        self.take(bytes, SESSIONS_PERCENT_MAX)
    }

    /// Whether a message may begin: nine tenths are not used yet.
    #[must_use]
    pub fn has_room_for_messages(&self) -> bool {
        self.used() <= self.share(MESSAGES_PERCENT_MAX)
    }

    /// Of a message under way: holds nothing yet.
    #[must_use]
    pub fn message(self: &Arc<Self>) -> Lease {
        Lease { memory: Arc::clone(self), bytes: 0 }
    }

    fn share(&self, percent: usize) -> usize {
        let max = self.max.load(Ordering::Relaxed);
        if max == usize::MAX { max } else { max / 100 * percent }
    }

    fn take(self: &Arc<Self>, bytes: usize, percent: usize) -> Result<Lease, Full> {
        self.add(bytes, self.share(percent))?;
        Ok(Lease { memory: Arc::clone(self), bytes })
    }

    fn add(&self, bytes: usize, max: usize) -> Result<(), Full> {
        let more = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map(drop).map_err(|_| Full)
    }
}

impl Lease {
    /// So much is held now, more or less than before.
    ///
    /// # Errors
    /// It is more, and there is no room for that; it stays as it was.
    pub fn set(&mut self, bytes: usize) -> Result<(), Full> {
        match bytes.checked_sub(self.bytes) {
            Some(0) => {}
            Some(more) => self.memory.add(more, self.memory.max.load(Ordering::Relaxed))?,
            None => drop(self.memory.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed)),
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sessions_are_refused_first_then_messages_then_content() {
        let memory = Memory::new(Some(1_000));
        let first = memory.session(800).unwrap();
        assert_eq!(memory.session(1).unwrap_err(), Full);
        assert!(memory.has_room_for_messages());
        let mut message = memory.message();
        message.set(101).unwrap();
        assert!(!memory.has_room_for_messages());
        message.set(200).unwrap();
        assert_eq!(message.set(201), Err(Full));
        assert_eq!(memory.used(), 1_000, "a refusal changes nothing");
        message.set(10).unwrap();
        assert!(memory.has_room_for_messages());
        drop(first);
        assert_eq!(memory.used(), 10);
        drop(message);
        assert_eq!(memory.used(), 0);
        assert!(memory.session(800).is_ok());
    }

    #[test]
    fn a_bound_can_change_and_be_off() {
        let memory = Memory::new(None);
        assert_eq!(memory.max(), None);
        let held = memory.session(1 << 40).unwrap();
        memory.set_max(Some(1_000));
        assert_eq!(memory.session(1).unwrap_err(), Full);
        assert!(!memory.has_room_for_messages());
        drop(held);
        assert!(memory.session(1).is_ok());
    }
}
