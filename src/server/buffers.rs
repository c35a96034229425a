//! Large buffers for flowing bodies, shared by all sessions: an idle session has none.

use std::sync::{Mutex, PoisonError};

/// Measured: below 128 KiB nothing is won for large messages, above 512 KiB it is lost again.
pub(super) const BODY_BUFFER_BYTES: usize = 512 * 1_024;
/// A body is passed on when this much is waiting, or nothing more is there.
pub(super) const FORWARD_BYTES_MIN: usize = 256 * 1_024;
/// A body of which one read brings this much, and not its end, is lent a buffer.
pub(super) const LEND_BYTES_MIN: usize = 4 * 1_024;
/// Kept for the next body; more in use at once are freed when they come back.
const FREE_BUFFERS_MAX: usize = 32;

#[derive(Debug, Default)]
pub(super) struct BodyBuffers {
    free: Mutex<Vec<Vec<u8>>>,
}

impl BodyBuffers {
    pub(super) fn take(&self) -> Vec<u8> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| Vec::with_capacity(BODY_BUFFER_BYTES))
    }

    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() < BODY_BUFFER_BYTES {
            return;
        }
        buffer.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < FREE_BUFFERS_MAX {
            free.push(buffer);
        }
    }
}
