//! Saying no in time: whether the process has memory and descriptors for one more session or message. Counting is
//! done in `state/memory.rs` and `net/files.rs`.

use std::sync::Arc;

use crate::config::{MemoryMax, Rates};
use crate::filter::Machine;
use crate::net::files::Files;
use crate::net::stream::Stream;
use crate::state::limits::Refused;
use crate::state::memory::{Lease, Memory};

/// What a session takes without a message: its task, TLS, buffers of commands and answers, its upstream connection.
const SESSION_BYTES: usize = 48 * 1_024;
/// Of the machine's memory, what `auto` means; another quarter is what filters' instances may have.
const AUTO_SHARE: u64 = 2;

#[derive(Debug)]
pub(super) struct Overload {
    pub(super) memory: Arc<Memory>,
    pub(super) files: Files,
}

impl Overload {
    pub(super) fn new(rates: &Rates) -> Overload {
        let files = Files::of_this_process();
        warn_of_few(&files, rates);
        Overload { memory: Memory::new(bytes_max(rates.memory)), files }
    }

    pub(super) fn reload(&self, rates: &Rates) {
        warn_of_few(&self.files, rates);
        self.memory.set_max(bytes_max(rates.memory));
    }

    /// Room for one more session beside those that are open.
    pub(super) fn admit(&self, stream: &Stream, open: u32) -> Result<Lease, Refused> {
        use std::os::fd::AsRawFd as _;
        let refused = |which| Refused { which, retry_after: None };
        let last = stream.tcp().is_ok_and(|tcp| self.files.is_last(tcp.as_raw_fd()));
        if last || open >= self.files.sessions_max() {
            return Err(refused("files"));
        }
        self.memory.session(SESSION_BYTES).map_err(|_| refused("memory"))
    }
}

fn bytes_max(max: MemoryMax) -> Option<usize> {
    match max {
        MemoryMax::Off => None,
        MemoryMax::Bytes(bytes) => Some(bytes),
        MemoryMax::Auto => Some(usize::try_from(Machine::ask().memory_bytes / AUTO_SHARE).unwrap_or(usize::MAX)),
    }
}

fn warn_of_few(files: &Files, rates: &Rates) {
    let sessions = files.sessions_max();
    if rates.connections_at_once.is_none_or(|wanted| wanted > sessions) {
        tracing::warn!(
            files = files.max(),
            sessions,
            "the limit of open files allows fewer sessions than rates.connections-at-once: raise LimitNOFILE= of the \
             service (ulimit -n), two for each session"
        );
    }
}
