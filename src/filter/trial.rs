//! A filter is tried before it is trusted: one instance is held against the contract and asked what it says of itself,
//! another runs its `init`.

use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::about::{self, About};
use super::error::LoadError;
use super::instance::{self, Instance};
use super::program::Program;
use super::work::Work;
use super::{component, schema};
use crate::mail::Stage;

/// How long each part of the trial may wait for a slot, and for the filter.
const TRIAL_MAX: Duration = Duration::from_secs(10);

/// Holds what `program` exports against the contract, asks it for its description, holds the settings against that,
/// makes an instance and drops it. Blocks; works inside and outside of a runtime.
///
/// # Errors
/// What the filter says is wrong with itself or its settings, what is wrong with its description, or the trap it ended
/// in.
pub(super) fn run(program: &Program) -> Result<Option<About>, LoadError> {
    let refused = |what| component::refused(&program.profile.config, what);
    apart(program, |runtime, mut work| {
        let about = asked(program, runtime, &mut work).map_err(refused)?;
        settings(program, about.as_ref())?;
        let made = Instance::new(program, Stage::Connect, None, &mut work, Instant::now() + TRIAL_MAX);
        runtime.block_on(made).map_err(|fault| refused(fault.detail))?;
        Ok(about)
    })
}

/// The first part alone: what does not depend on what an operator wrote. Blocks; works inside and outside of a runtime.
///
/// # Errors
/// What is wrong with it.
pub(super) fn describe(program: &Program) -> Result<Option<About>, LoadError> {
    let refused = |what| component::refused(&program.profile.config, what);
    apart(program, |runtime, mut work| {
        let about = asked(program, runtime, &mut work).map_err(refused)?;
        if let Some(schema) = about.as_ref().and_then(|about| about.schema.as_deref()) {
            schema::check(schema, "{}").map_err(refused)?;
        }
        Ok(about)
    })
}

type Desk = Option<Box<Work>>;

/// On a thread of its own: for a runtime inside a runtime, and for a panic in what reads a stranger's schema.
fn apart<T: Send>(
    program: &Program,
    part: impl FnOnce(&Runtime, Desk) -> Result<T, LoadError> + Send,
) -> Result<T, LoadError> {
    let refused = |what| component::refused(&program.profile.config, what);
    thread::scope(|scope| {
        let trial = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            part(&runtime.map_err(|e| refused(e.to_string()))?, Some(Box::new(Work::trial())))
        });
        trial.join().unwrap_or_else(|_| Err(refused("the trial of the filter panicked".into())))
    })
}

fn asked(program: &Program, runtime: &Runtime, work: &mut Desk) -> Result<Option<About>, String> {
    let said = runtime.block_on(instance::describe(program, work, Instant::now() + TRIAL_MAX))?;
    said.map(about::check).transpose()
}

fn settings(program: &Program, about: Option<&About>) -> Result<(), LoadError> {
    let Some(schema) = about.and_then(|about| about.schema.as_deref()) else { return Ok(()) };
    let config = &program.profile.config;
    let wrong =
        schema::check(schema, config.settings_json.as_str()).map_err(|what| component::refused(config, what))?;
    if wrong.is_empty() {
        return Ok(());
    }
    let errors = Box::new(config.settings_json.errors(&config.name, &wrong));
    Err(LoadError::Settings { filter: config.name.clone(), errors })
}
