//! Turns at computing hashes: a few at once, with a bounded queue before them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Logins that may wait for a turn to be hashed; one more is told to try later at once.
pub const WAITING_MAX: usize = 256;
/// How long one may wait for its turn.
pub const TURN_WAIT_MAX: Duration = Duration::from_secs(10);

/// Hashes are slow on purpose: who cannot be served in time hears "try later".
#[derive(Debug, Clone)]
pub(super) struct Hashing {
    max: usize,
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Hashing {
    /// At most so many at once (at least one).
    pub(super) fn new(max: usize) -> Hashing {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Hashing { max, turns: Arc::new(Semaphore::new(max)), waiting: Arc::default() }
    }

    /// For the time after a reload. With the same bound it is one bound over both, or a reload under load would double
    /// the work.
    pub(super) fn renewed(&self, max: usize) -> Hashing {
        let new = Hashing::new(max);
        if new.max == self.max { self.clone() } else { new }
    }

    /// Does `work` on a blocking thread, when its turn comes; None: it does not come soon enough. Safe to cancel; what
    /// was begun is then finished for nobody, still within the bound. A panic in `work` is no outcome either.
    pub(super) async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let permit = self.turn().await?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit: OwnedSemaphorePermit = permit;
            work()
        });
        done.await.ok()
    }

    /// A turn, soon enough; or none.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.turns).try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = Waiting::enter(&self.waiting)?;
        let turn = Arc::clone(&self.turns).acquire_owned();
        tokio::time::timeout(TURN_WAIT_MAX, turn).await.ok()?.ok()
    }
}

/// A place in the queue, given back when dropped.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn enter(count: &Arc<AtomicUsize>) -> Option<Waiting> {
        count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < WAITING_MAX).then_some(now + 1))
            .ok()
            .map(|_| Waiting(Arc::clone(count)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_gets_no_turn_in_time_is_told_to_come_again() {
        let hashing = Hashing::new(1);
        let taken = hashing.turn().await.unwrap();
        assert_eq!(hashing.compute(|| 1).await, None);
        drop(taken);
        assert_eq!(hashing.waiting.load(Ordering::Relaxed), 0);
        assert!(hashing.turn().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_turns_away_at_once() {
        let hashing = Hashing::new(1);
        let taken = hashing.turn().await.unwrap();
        let waiting: Vec<_> = (0..WAITING_MAX).map(|_| Waiting::enter(&hashing.waiting).unwrap()).collect();
        let before = tokio::time::Instant::now();
        assert_eq!(hashing.compute(|| 1).await, None);
        assert_eq!(before.elapsed(), Duration::ZERO);
        drop((taken, waiting));
    }

    #[tokio::test]
    async fn a_reload_keeps_the_bound_unless_it_is_another() {
        let hashing = Hashing::new(2);
        assert!(Arc::ptr_eq(&hashing.renewed(2).turns, &hashing.turns));
        assert_eq!(hashing.renewed(3).turns.available_permits(), 3);
        assert_eq!(Hashing::new(0).compute(|| 7).await, Some(7));
        assert_eq!(hashing.compute(|| panic!("a fault of the hash function")).await, None::<()>);
    }
}
