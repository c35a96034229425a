//! What stands in the store of one instance: all that the guest's imports can reach.

use std::sync::Arc;

use wasmtime::Result;

use super::bounds::{Memory, Meter, Pause};
use super::profile::Profile;
use super::wasi::Wasi;
use super::work::Work;

/// What the guest asked of others in the call at hand.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub questions: u32,
    pub requests: u32,
}

/// The host's side of one instance.
#[derive(Debug)]
pub(super) struct Guest {
    pub profile: Arc<Profile>,
    pub memory: Memory,
    pub meter: Meter,
    /// Only for components that import WASI.
    pub wasi: Option<Box<Wasi>>,
    pub asked: Asked,
    work: Option<Box<Work>>,
}

impl Guest {
    pub(super) fn new(profile: Arc<Profile>, memory: Memory, meter: Meter, wasi: Option<Box<Wasi>>) -> Guest {
        Guest { profile, memory, meter, wasi, asked: Asked::default(), work: None }
    }

    /// A call begins: puts the mail at hand on the guest's desk.
    pub(super) fn give(&mut self, work: Box<Work>) {
        self.asked = Asked::default();
        self.work = Some(work);
    }

    /// For a host function that waits or computes for long.
    pub(super) fn pause(&self) -> Pause {
        self.meter.pause()
    }

    /// Takes it back.
    pub(super) fn take(&mut self) -> Option<Box<Work>> {
        self.work.take()
    }

    /// The mail at hand.
    ///
    /// # Errors
    /// There is none: the guest is not in a call. (The canonical ABI leaves no such moment.)
    pub(super) fn work(&mut self) -> Result<&mut Work> {
        self.work.as_deref_mut().ok_or_else(|| wasmtime::format_err!("no call is under way"))
    }
}
