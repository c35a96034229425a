//! Turns at computing hashes: a few at once, with a bounded queue before them, and an order in it.
//!
//! Hashes are slow on purpose, so who guesses passwords makes work, and must not make others wait for it. Whoever has
//! logged in from there before goes first; whoever has just guessed wrong goes last, and has half of the turns at most.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::state::limits::LoginStanding;

/// Logins that may wait for a turn to be hashed; one more is told to try later at once, or takes the place of one of
/// worse standing.
pub const WAITING_MAX: usize = 256;
/// How long one may wait for its turn.
pub const TURN_WAIT_MAX: Duration = Duration::from_secs(10);

/// Hashes are slow on purpose: who cannot be served in time hears "try later".
#[derive(Debug, Clone)]
pub(super) struct Hashing {
    turns: Arc<Turns>,
}

#[derive(Debug)]
struct Turns {
    max: usize,
    /// So many of them may be those of suspects.
    suspects_max: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    taken: usize,
    taken_by_suspects: usize,
    /// By standing; within one, who came first goes first.
    regular: VecDeque<oneshot::Sender<Turn>>,
    unknown: VecDeque<oneshot::Sender<Turn>>,
    suspect: VecDeque<oneshot::Sender<Turn>>,
}

/// One of the turns, given back when dropped.
#[derive(Debug)]
struct Turn {
    /// None: nobody's any more.
    turns: Option<Arc<Turns>>,
    standing: LoginStanding,
}

impl Hashing {
    /// At most so many at once (at least one).
    pub(super) fn new(max: usize) -> Hashing {
        let max = max.max(1);
        let turns = Turns { max, suspects_max: max.div_ceil(2), queue: Mutex::default() };
        Hashing { turns: Arc::new(turns) }
    }

    /// For the time after a reload. With the same bound it is one bound over both, or a reload under load would double
    /// the work.
    pub(super) fn renewed(&self, max: usize) -> Hashing {
        let new = Hashing::new(max);
        if new.turns.max == self.turns.max { self.clone() } else { new }
    }

    /// Does `work` on a blocking thread, when its turn comes; None: it does not come soon enough. Safe to cancel; what
    /// was begun is then finished for nobody, still within the bound. A panic in `work` is no outcome either.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        standing: LoginStanding,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = self.turn(standing).await?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn: Turn = turn;
            work()
        });
        done.await.ok()
    }

    /// A turn, soon enough; or none.
    async fn turn(&self, standing: LoginStanding) -> Option<Turn> {
        let coming = self.turns.ask(standing)?;
        tokio::time::timeout(TURN_WAIT_MAX, coming).await.ok()?.ok()
    }
}

impl Turns {
    /// The turn, at once or later; nothing where the queue is full.
    fn ask(self: &Arc<Turns>, standing: LoginStanding) -> Option<oneshot::Receiver<Turn>> {
        let (tell, coming) = oneshot::channel();
        let mut queue = self.queue();
        if queue.waiting() >= WAITING_MAX {
            queue.forget_gone();
        }
        // Who has to make room hears it by the end of its channel.
        if queue.waiting() >= WAITING_MAX && queue.last_below(standing).is_none() {
            return None;
        }
        queue.line(standing).push_back(tell);
        self.hand_out(&mut queue);
        Some(coming)
    }

    fn hand_out(self: &Arc<Turns>, queue: &mut Queue) {
        while queue.taken < self.max {
            let suspects = queue.taken_by_suspects < self.suspects_max;
            let Some((tell, standing)) = queue.next(suspects) else { return };
            queue.take(standing);
            if let Err(mut turn) = tell.send(Turn { turns: Some(Arc::clone(self)), standing }) {
                // Who wanted it is gone. It is given back here: its own way to do that needs the lock that is held.
                turn.turns = None;
                queue.give_back(standing);
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // What a panicking thread left is whole: nothing in between can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn waiting(&self) -> usize {
        self.regular.len() + self.unknown.len() + self.suspect.len()
    }

    fn line(&mut self, standing: LoginStanding) -> &mut VecDeque<oneshot::Sender<Turn>> {
        match standing {
            LoginStanding::Regular => &mut self.regular,
            LoginStanding::Unknown => &mut self.unknown,
            LoginStanding::Suspect => &mut self.suspect,
        }
    }

    fn forget_gone(&mut self) {
        for line in [&mut self.regular, &mut self.unknown, &mut self.suspect] {
            line.retain(|tell| !tell.is_closed());
        }
    }

    /// The last of those who wait and are of worse standing, taken out.
    fn last_below(&mut self, standing: LoginStanding) -> Option<oneshot::Sender<Turn>> {
        match standing {
            LoginStanding::Regular => self.suspect.pop_back().or_else(|| self.unknown.pop_back()),
            LoginStanding::Unknown => self.suspect.pop_back(),
            LoginStanding::Suspect => None,
        }
    }

    fn next(&mut self, suspects: bool) -> Option<(oneshot::Sender<Turn>, LoginStanding)> {
        for standing in [LoginStanding::Regular, LoginStanding::Unknown, LoginStanding::Suspect] {
            if standing == LoginStanding::Suspect && !suspects {
                return None;
            }
            if let Some(tell) = self.line(standing).pop_front() {
                return Some((tell, standing));
            }
        }
        None
    }

    fn take(&mut self, standing: LoginStanding) {
        self.taken += 1;
        self.taken_by_suspects += usize::from(standing == LoginStanding::Suspect);
    }

    fn give_back(&mut self, standing: LoginStanding) {
        self.taken = self.taken.saturating_sub(1);
        let suspects = usize::from(standing == LoginStanding::Suspect);
        self.taken_by_suspects = self.taken_by_suspects.saturating_sub(suspects);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            let mut queue = turns.queue();
            queue.give_back(self.standing);
            turns.hand_out(&mut queue);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use LoginStanding::{Regular, Suspect, Unknown};

    /// Whether its turn has come; None: it never will.
    fn came(coming: &mut oneshot::Receiver<Turn>) -> Option<bool> {
        match coming.try_recv() {
            Ok(turn) => {
                drop(turn);
                Some(true)
            }
            Err(oneshot::error::TryRecvError::Empty) => Some(false),
            Err(oneshot::error::TryRecvError::Closed) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_gets_no_turn_in_time_is_told_to_come_again() {
        let hashing = Hashing::new(1);
        let taken = hashing.turn(Unknown).await.unwrap();
        assert_eq!(hashing.compute(Regular, || 1).await, None);
        drop(taken);
        assert_eq!(hashing.turns.queue().waiting(), 0);
        assert!(hashing.turn(Unknown).await.is_some());
        assert_eq!(hashing.turns.queue().taken, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_turns_away_at_once() {
        let hashing = Hashing::new(1);
        let taken = hashing.turn(Unknown).await.unwrap();
        let waiting: Vec<_> = (0..WAITING_MAX).map(|_| hashing.turns.ask(Unknown).unwrap()).collect();
        let before = tokio::time::Instant::now();
        assert_eq!(hashing.compute(Unknown, || 1).await, None);
        assert_eq!(before.elapsed(), Duration::ZERO);
        // Those who have left make room.
        drop(waiting);
        assert!(hashing.turns.ask(Suspect).is_some());
        drop(taken);
        assert_eq!(hashing.turns.queue().taken, 0);
    }

    #[tokio::test]
    async fn a_better_standing_goes_first_and_makes_room_for_itself() {
        let hashing = Hashing::new(1);
        let taken = hashing.turn(Unknown).await.unwrap();
        let ask = |standing| hashing.turns.ask(standing);
        let mut unknown = ask(Unknown).unwrap();
        let mut suspects: Vec<_> = (1..WAITING_MAX).map(|_| ask(Suspect).unwrap()).collect();
        assert!(ask(Suspect).is_none());
        let mut regular = ask(Regular).unwrap();
        assert_eq!(came(suspects.last_mut().unwrap()), None, "the last suspect had to go");
        drop(taken);
        let first = regular.try_recv().unwrap();
        assert_eq!((came(&mut unknown), came(&mut suspects[0])), (Some(false), Some(false)));
        drop(first);
        let second = unknown.try_recv().unwrap();
        assert_eq!(came(&mut suspects[0]), Some(false));
        drop(second);
        assert!(suspects.iter_mut().take(WAITING_MAX - 2).all(|one| came(one) == Some(true)));
        let queue = hashing.turns.queue();
        assert_eq!((queue.taken, queue.taken_by_suspects), (0, 0));
    }

    #[tokio::test]
    async fn suspects_never_have_all_turns() {
        let hashing = Hashing::new(2);
        let first = hashing.turn(Suspect).await.unwrap();
        let mut second = hashing.turns.ask(Suspect).unwrap();
        assert_eq!(came(&mut second), Some(false));
        let regular = hashing.turn(Regular).await.unwrap();
        drop(regular);
        assert_eq!(came(&mut second), Some(false));
        drop(first);
        assert_eq!(came(&mut second), Some(true));
    }

    #[tokio::test]
    async fn a_reload_keeps_the_bound_unless_it_is_another() {
        let hashing = Hashing::new(2);
        assert!(Arc::ptr_eq(&hashing.renewed(2).turns, &hashing.turns));
        assert_eq!(hashing.renewed(3).turns.max, 3);
        assert_eq!(Hashing::new(0).compute(Unknown, || 7).await, Some(7));
        assert_eq!(hashing.compute(Unknown, || panic!("a fault of the hash function")).await, None::<()>);
        assert_eq!(hashing.turns.queue().taken, 0);
    }
}
