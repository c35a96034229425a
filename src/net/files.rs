//! File descriptors: how many the process may have, how many sessions that makes, and one kept back so that a client
//! for whom there is none left is told so instead of being left to wait.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Left to everything that is no session: listeners, log, metrics, name servers, files of filters and of messages that
/// wait, idle connections to the upstream.
const FILES_RESERVED: u64 = 64;
/// A client and its upstream.
const FILES_PER_SESSION: u64 = 2;
/// Who is accepted with a descriptor this close to the last one is told to come again.
const FILES_HEADROOM: u64 = 16;

/// What this process may have open.
#[derive(Debug)]
pub struct Files {
    max: u64,
    /// Open, and of no use until the others are used up.
    spare: Mutex<Option<OwnedFd>>,
}

impl Files {
    /// As things stand; see [`raise`].
    #[must_use]
    pub fn of_this_process() -> Files {
        let max = getrlimit(Resource::RLIMIT_NOFILE).map_or(1_024, |(soft, _)| soft);
        Files { max, spare: Mutex::new(duplicate()) }
    }

    /// The soft limit.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Sessions that surely have descriptors, one at the least.
    #[must_use]
    pub fn sessions_max(&self) -> u32 {
        let sessions = self.max.saturating_sub(FILES_RESERVED) / FILES_PER_SESSION;
        u32::try_from(sessions).unwrap_or(u32::MAX).max(1)
    }

    /// Whether a connection with this descriptor (the kernel gives out the lowest that is free) is among the last ones
    /// there are.
    #[must_use]
    pub fn is_last(&self, descriptor: i32) -> bool {
        u64::try_from(descriptor).is_ok_and(|number| number.saturating_add(FILES_HEADROOM) >= self.max)
    }

    /// With the spare descriptor free, for `act` to take: for one `accept` after one that found none.
    pub fn with_spare<T>(&self, act: impl FnOnce() -> T) -> T {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        drop(spare.take());
        let done = act();
        *spare = duplicate();
        done
    }
}

/// Standard error is always there, and duplicating it costs nothing.
fn duplicate() -> Option<OwnedFd> {
    io::stderr().as_fd().try_clone_to_owned().ok()
}

/// Whether `accept` failed because the process, or the machine, has no descriptor left.
#[must_use]
pub fn is_exhausted(error: &io::Error) -> bool {
    use nix::errno::Errno;
    error.raw_os_error().is_some_and(|code| [Errno::EMFILE, Errno::ENFILE].contains(&Errno::from_raw(code)))
}

/// Raises the soft limit to the hard one: the usual 1,024 is for programs that use `select`.
///
/// # Errors
/// The kernel's; the limit stays as it is then.
pub fn raise() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_what_descriptors_are_left_for() {
        let files = |max| Files { max, spare: Mutex::new(None) };
        assert_eq!(files(100).sessions_max(), 18);
        assert_eq!(files(1_048_576).sessions_max(), 524_256);
        assert_eq!(files(20).sessions_max(), 1);
        assert_eq!(files(u64::MAX).sessions_max(), u32::MAX);
        assert!(!files(100).is_last(83) && files(100).is_last(84) && !files(u64::MAX).is_last(i32::MAX));
    }

    #[test]
    fn the_spare_is_there_again() {
        let files = Files::of_this_process();
        assert_eq!(files.with_spare(|| 7), 7);
        assert!(files.spare.lock().is_ok_and(|spare| spare.is_some()));
    }
}
