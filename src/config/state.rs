//! `[state]`, once it has been read: what outlives sessions.

use std::path::PathBuf;
use std::time::Duration;

/// What outlives sessions, and where it is kept beyond the memory of this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// None: a restart forgets everything.
    pub snapshot: Option<Snapshot>,
}

/// Where the memory of this process is written down for the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub path: PathBuf,
    /// What is lost at most when the process is killed.
    pub every: Duration,
    /// Of what is written; the file may become some times as large.
    pub bytes_max: u64,
}
