//! Going down in order: no new sessions, 421 at the next command, and never a cut between a final dot and its reply.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For a 421 or an answer to be written, and the client to close.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How often it is seen whether messages are still under way.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub struct Shutdown {
    begun: CancellationToken,
    expired: CancellationToken,
    sessions: TaskTracker,
    receiving: AtomicUsize,
}

/// A message is under way: the session is waited for longer.
#[derive(Debug)]
pub(super) struct Receiving<'a>(&'a AtomicUsize);

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shutdown {
    /// From now on no command is obeyed.
    pub fn begin(&self) {
        self.begun.cancel();
        self.sessions.close();
    }

    #[must_use]
    pub fn begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Resolves when the shutdown begins.
    pub async fn beginning(&self) {
        self.begun.cancelled().await;
    }

    /// Resolves when idle sessions are to be told 421 without waiting for their next command.
    pub(super) async fn expired(&self) {
        self.expired.cancelled().await;
    }

    pub(super) fn receiving(&self) -> Receiving<'_> {
        self.receiving.fetch_add(1, Ordering::Relaxed);
        Receiving(&self.receiving)
    }

    pub(super) fn sessions(&self) -> &TaskTracker {
        &self.sessions
    }

    /// Waits for all sessions: `drain` for any, then `final_reply` for those inside a message, then a moment for the
    /// last words. Says how many had to be cut.
    pub async fn finish(&self, drain: Duration, final_reply: Duration) -> usize {
        let began = Instant::now();
        if timeout_at(began + drain, self.sessions.wait()).await.is_ok() {
            return 0;
        }
        self.expired.cancel();
        let until = Instant::now() + final_reply;
        loop {
            while self.receiving.load(Ordering::Relaxed) > 0 && Instant::now() < until {
                let _ = timeout(LOOK_EVERY, self.sessions.wait()).await;
            }
            // The answer to a message is on its way when nobody receives any more; and somebody may just have begun.
            if timeout(LAST_WORDS, self.sessions.wait()).await.is_ok() {
                return 0;
            }
            if self.receiving.load(Ordering::Relaxed) == 0 || Instant::now() >= until {
                return self.sessions.len();
            }
        }
    }
}
