//! A filter is tried before it is trusted: one instance, its `init`, nothing else.

use std::thread;
use std::time::{Duration, Instant};

use super::instance::Instance;
use super::program::Program;
use super::work::Work;
use crate::mail::Stage;

/// How long the trial may wait for a slot and for `init`.
const TRIAL_MAX: Duration = Duration::from_secs(10);

/// Makes an instance of `program` and drops it. Blocks; works inside and outside of a runtime.
///
/// # Errors
/// What the filter says is wrong with itself, or the trap it ended in.
pub(super) fn run(program: &Program) -> Result<(), String> {
    thread::scope(|scope| {
        let trial = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let runtime = runtime.map_err(|e| e.to_string())?;
            let mut work = Some(Box::new(Work::trial()));
            let made = Instance::new(program, Stage::Connect, None, &mut work, Instant::now() + TRIAL_MAX);
            runtime.block_on(made).map(drop).map_err(|fault| fault.detail)
        });
        trial.join().unwrap_or_else(|_| Err("the trial of the filter panicked".into()))
    })
}
