//! What a message holds in memory, told to the account of the whole process before more of it is taken. A message for
//! which there is no room any more is put off; one that only flows through does with a small buffer.

use crate::server::buffers::BODY_BUFFER_BYTES;
use crate::smtp::replies;

use super::{Course, Fate, Transfer};

impl Transfer<'_> {
    /// Room for so many octets more.
    pub(super) fn account(&mut self, coming: usize) -> Result<(), Fate> {
        let buffer = if self.lent { BODY_BUFFER_BYTES } else { 0 };
        let bytes = buffer + self.held_bytes(coming);
        self.message.lease.set(bytes).map_err(|_| {
            self.with.record.limited(self.with.session, "memory");
            Fate::upstream_failed(replies::NO_ROOM)
        })
    }

    /// Whether a body that is not over with its first piece may flow through a large buffer.
    pub(super) fn has_room_for_buffer(&mut self) -> bool {
        let bytes = BODY_BUFFER_BYTES + self.held_bytes(0);
        self.message.lease.set(bytes).is_ok()
    }

    /// Of a header block, fields are copied once when it is complete. What a spool has on disk takes no memory.
    fn held_bytes(&self, coming: usize) -> usize {
        match &self.message.course {
            Course::Drain(_) | Course::Forward(None) => 0,
            Course::Head(head) => head.octets().saturating_add(coming).saturating_mul(2),
            Course::Forward(Some(held)) | Course::Hold(held) => {
                held.headers.octets().saturating_add(held.body.memory_bytes()).saturating_add(coming)
            }
        }
    }
}
