//! Floor 6: who verifies a credential. For now: a password file.
//!
//! It refuses to tell apart what an attacker would like to: an unknown name costs the same work and gets the same
//! answer as a wrong password. How often somebody may guess is the rate limits' business (`state::limits`).
//!
//! Hashes are slow on purpose, so they are computed on blocking threads, a few at once, with a bounded queue before
//! them; who cannot be served in time hears "try later" (454), never "wrong" (535).

mod file;
mod hash;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config;
use crate::smtp::sasl::Secret;

pub use file::{LineFault, NAME_OCTETS_MAX, PASSWORD_FILE_BYTES_MAX, PasswordFile, PasswordFileError};
pub use file::{name_fault, with_entry};
pub use hash::{HashFault, MakeFault, Scheme, StoredHash, make};

/// Logins that may wait for a turn to be hashed; one more is told to try later at once.
pub const WAITING_MAX: usize = 256;
/// How long one may wait for its turn.
pub const TURN_WAIT_MAX: Duration = Duration::from_secs(10);

/// What came of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// It is this account's.
    Good(Arc<str>),
    /// No such account, or not its password: the same to everybody outside.
    Bad,
    /// It could not be looked at for now (too many at once): 454.
    Unavailable,
}

/// The accounts of a running gateway. Outlives reloads.
pub struct Accounts {
    current: ArcSwap<Current>,
}

struct Current {
    file: Arc<PasswordFile>,
    hashing_max: usize,
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

impl Accounts {
    /// What the configuration names.
    ///
    /// # Errors
    /// Names the file, and the line where it is a line's fault.
    pub fn load(settings: &config::Auth) -> Result<Accounts, PasswordFileError> {
        Ok(Accounts::new(PasswordFile::load(&settings.password_file)?, settings.hashing_concurrent_max))
    }

    /// At most `hashing_max` passwords are looked at at once (at least one).
    #[must_use]
    pub fn new(file: PasswordFile, hashing_max: usize) -> Accounts {
        Accounts { current: ArcSwap::from_pointee(Current::new(file, hashing_max)) }
    }

    /// Takes a new file, and a new bound. Those already waiting are judged by the old file.
    pub fn reload(&self, file: PasswordFile, hashing_max: usize) {
        let old = self.current.load();
        let mut new = Current::new(file, hashing_max);
        if old.hashing_max == new.hashing_max {
            // One bound over both, or a reload under load would double the work.
            new.turns = Arc::clone(&old.turns);
            new.waiting = Arc::clone(&old.waiting);
        }
        self.current.store(Arc::new(new));
    }

    /// What the operator should hear about the file although it was taken.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.current.load().file.warnings().to_vec()
    }

    /// How many accounts there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.current.load().file.count()
    }

    /// Whether this is the account's password. Names are compared octet for octet. Safe to cancel; a hash that was
    /// begun is then finished for nobody, still within the bound.
    pub async fn verify(&self, name: &str, password: &Secret) -> Verification {
        let current = self.current.load_full();
        let Some(permit) = current.turn().await else { return Verification::Unavailable };
        let (name, password) = (name.to_owned(), password.clone());
        let verdict = tokio::task::spawn_blocking(move || {
            let _permit: OwnedSemaphorePermit = permit;
            current.file.verify(&name, password.reveal())
        });
        // A panic in a hash function is no verdict on the password.
        verdict.await.unwrap_or(Verification::Unavailable)
    }
}

impl Current {
    fn new(file: PasswordFile, hashing_max: usize) -> Current {
        let hashing_max = hashing_max.clamp(1, Semaphore::MAX_PERMITS);
        Current {
            file: Arc::new(file),
            hashing_max,
            turns: Arc::new(Semaphore::new(hashing_max)),
            waiting: Arc::default(),
        }
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
