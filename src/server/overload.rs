//! Saying no in time: whether the process has memory and descriptors for one more session or message. Counting is
//! done in `state/memory.rs` and `net/files.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::{Limits, MemoryMax, Rates};
use crate::filter::Machine;
use crate::net::files::Files;
use crate::net::stream::Stream;
use crate::report::Metrics;
use crate::state::limits::Refused;
use crate::state::memory::{Lease, Memory};

/// What a session takes without a message: its task, TLS, buffers of commands and answers, its upstream connection.
const SESSION_BYTES: usize = 48 * 1_024;
/// Of the machine's memory, what `auto` means; another quarter is what filters' instances may have.
const AUTO_SHARE: u64 = 2;

/// Used up to here, of connections or memory, is stress; below the other it is over.
const STRESS_BEGINS_PERCENT: u64 = 75;
const STRESS_ENDS_PERCENT: u64 = 60;
/// What a client that has not logged in is waited for then.
const STRESS_COMMAND: Duration = Duration::from_secs(10);
const STRESS_ERRORS_MAX: u32 = 3;
const STRESS_IDLE_COMMANDS_MAX: u32 = 10;

#[derive(Debug)]
pub(super) struct Overload {
    pub(super) memory: Arc<Memory>,
    pub(super) files: Files,
    /// Whether the configuration wants it at all.
    stress: AtomicBool,
    stressed: AtomicBool,
}

impl Overload {
    pub(super) fn new(rates: &Rates) -> Overload {
        let files = Files::of_this_process();
        warn_of_few(&files, rates);
        let stress = AtomicBool::new(rates.stress);
        Overload { memory: Memory::new(bytes_max(rates.memory)), files, stress, stressed: AtomicBool::new(false) }
    }

    pub(super) fn reload(&self, rates: &Rates) {
        warn_of_few(&self.files, rates);
        self.memory.set_max(bytes_max(rates.memory));
        self.stress.store(rates.stress, Ordering::Relaxed);
    }

    /// Looks at the load, with so many connections open of so many: whether it is stress. Beginning and end are told.
    pub(super) fn look(&self, open: u32, most: u32, metrics: &Metrics) {
        let memory = self.memory.max().map_or(0, |max| percent(self.memory.used() as u64, max as u64));
        let load = percent(open.into(), most.into()).max(memory);
        let was = self.stressed.load(Ordering::Relaxed);
        let is = self.stress.load(Ordering::Relaxed) && still_stressed(was, load);
        if is == was || self.stressed.swap(is, Ordering::Relaxed) == is {
            return;
        }
        metrics.stress(is);
        if is {
            tracing::warn!(
                open,
                load_percent = load,
                "stress begins: less patience with clients that have not logged in"
            );
        } else {
            tracing::warn!(open, load_percent = load, "stress is over");
        }
    }

    /// How long a client's next command is waited for, when it would be so long otherwise.
    pub(super) fn patience(&self, usual: Duration, logged_in: bool) -> Duration {
        if self.is_stressed() && !logged_in { usual.min(STRESS_COMMAND) } else { usual }
    }

    /// The bounds of a session that begins now.
    pub(super) fn bounds(&self, usual: Arc<Limits>) -> Arc<Limits> {
        if !self.is_stressed() {
            return usual;
        }
        let less = |usual: Option<u32>, max: u32| Some(usual.map_or(max, |usual| usual.min(max)));
        Arc::new(Limits {
            errors: less(usual.errors, STRESS_ERRORS_MAX),
            idle_commands: less(usual.idle_commands, STRESS_IDLE_COMMANDS_MAX),
            ..(*usual).clone()
        })
    }

    /// Whether strangers get less patience now.
    pub(super) fn is_stressed(&self) -> bool {
        self.stressed.load(Ordering::Relaxed)
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

/// With a gap between both ends, so that it does not come and go with every client.
fn still_stressed(was: bool, load_percent: u64) -> bool {
    load_percent >= if was { STRESS_ENDS_PERCENT } else { STRESS_BEGINS_PERCENT }
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100) / whole.max(1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stress_begins_and_ends_by_load_with_a_gap_between() {
        let overload = Overload::new(&Rates { memory: MemoryMax::Off, ..Rates::default() });
        let metrics = Metrics::detached().unwrap_or_else(|error| panic!("{error}"));
        let (minute, usual) = (Duration::from_secs(60), Arc::new(Limits::default()));
        let shown = |open| {
            overload.look(open, 100, &metrics);
            let bounds = overload.bounds(Arc::clone(&usual));
            assert_eq!(overload.patience(minute, true), minute, "who has logged in is waited for");
            (overload.patience(minute, false), bounds.errors, bounds.idle_commands)
        };
        let (calm, stressed) = ((minute, usual.errors, usual.idle_commands), (STRESS_COMMAND, Some(3), Some(10)));
        assert_eq!([shown(74), shown(75), shown(60), shown(59), shown(74)], [calm, stressed, stressed, calm, calm]);
        assert!(metrics.render().contains("wasmilter_stress 0"));
        overload.reload(&Rates { stress: false, memory: MemoryMax::Off, ..Rates::default() });
        assert_eq!(shown(100), calm);
    }
}
