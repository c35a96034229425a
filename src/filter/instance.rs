//! One instance of one filter: made, asked, and thrown away after its first fault.
//!
//! Every call runs on a fiber that yields at each tick, under the bounds of [`bounds`](super::bounds). What a
//! guest does wrong comes back as a [`Fault`]; nothing else in the process notices.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Instance as Component;
use wasmtime::{Store, Trap};

use super::answer::{self, Answer, excerpt_of};
use super::ask::Ask;
use super::bindings::exports::wasmilter::filter::about;
use super::bounds::{Memory, Meter, OutOfTime};
use super::calls::{Caller, Hooks};
use super::engine::TABLE_ELEMENTS_MAX;
use super::fit;
use super::guest::Guest;
use super::program::Program;
use super::wasi::Wasi;
use super::work::Work;
use crate::mail::{Fault, FaultKind, Stage};

/// Octets of a fault's detail, with the guest's backtrace.
const DETAIL_BYTES_MAX: usize = 4_096;

/// Octets of one line in it.
const LINE_BYTES_MAX: usize = 400;

/// A live guest.
pub struct Instance {
    store: Store<Guest>,
    component: Component,
    hooks: Hooks,
    calls: u32,
    /// Given back to the pool and to the filter when the store is gone.
    _slots: OwnedSemaphorePermit,
    _place: Option<OwnedSemaphorePermit>,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("calls", &self.calls).finish_non_exhaustive()
    }
}

/// What went wrong, before it is known where: the kind, and a text for the operator.
type Trouble = (FaultKind, String);

impl Instance {
    /// Makes an instance and runs its `init`. Waits for a slot of the pool, at most until `deadline`. `place` is the
    /// filter's own permit ([`Program::place`]), which the instance keeps. `work` is on the desk meanwhile, and comes
    /// back.
    ///
    /// # Errors
    /// The fault that kept the instance from being made, at `stage`.
    pub async fn new(
        program: &Program,
        stage: Stage,
        place: Option<OwnedSemaphorePermit>,
        work: &mut Option<Box<Work>>,
        deadline: Instant,
    ) -> Result<Box<Instance>, Box<Fault>> {
        let fault = |(kind, detail)| program.fault(stage, kind, detail);
        let slots = permit(program, program.host.slots(), program.weight, deadline).await.map_err(fault)?;
        program.got_instance();
        let mut store = program.store();
        begin(&mut store, work, Instant::now(), deadline);
        let start = start(program, &mut store);
        let made = if program.needs.waits { bounded(program, deadline, start).await } else { start.await };
        *work = store.data_mut().take();
        let stopped = store.data_mut().meter.finish();
        match made {
            Ok(component) => {
                // In a box: it is handed about with every call.
                let hooks = Hooks::default();
                Ok(Box::new(Instance { store, component, hooks, calls: 0, _slots: slots, _place: place }))
            }
            Err(error) => {
                let (_, detail) = classify(&error, stopped, store.data().memory.refused);
                Err(fault((FaultKind::Instantiate, detail)))
            }
        }
    }

    /// Calls since it was made.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Octets of its linear memories.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.store.data().memory.used_bytes()
    }

    /// Asks, with the program it was made from. `work` is on the desk meanwhile, and comes back. After a fault the instance is good for nothing.
    ///
    /// # Errors
    /// The guest's fault.
    pub async fn ask(
        &mut self,
        program: &Program,
        ask: Ask<'_>,
        work: &mut Option<Box<Work>>,
        now: Instant,
        deadline: Instant,
    ) -> Result<Option<Box<Answer>>, Box<Fault>> {
        let stage = ask.stage();
        self.calls = self.calls.saturating_add(1);
        program.profile.memory.was_called();
        begin(&mut self.store, work, now, deadline);
        let caller = Caller {
            store: &mut self.store,
            component: &self.component,
            exports: &program.exports,
            hooks: &mut self.hooks,
        };
        let asked = match caller.call(ask) {
            Ok(call) if program.needs.waits => Box::pin(bounded(program, deadline, call)).await,
            Ok(call) => call.await,
            Err(error) => Err(error),
        };
        *work = self.store.data_mut().take();
        let stopped = self.store.data_mut().meter.finish();
        match asked {
            Ok(_) if !work.as_ref().is_none_or(|work| work.is_well_formed()) => {
                Err(program.fault(stage, FaultKind::BadAnswer, "the body it wrote ends in a CR".into()))
            }
            Ok(None) => Ok(None),
            Ok(Some(verdict)) => answer::check(*verdict, stage, &program.profile.config.grants)
                .map(|answer| Some(Box::new(answer)))
                .map_err(|what| program.fault(stage, FaultKind::BadAnswer, what)),
            Err(error) => {
                let (kind, detail) = classify(&error, stopped, self.store.data().memory.refused);
                Err(program.fault(stage, kind, detail))
            }
        }
    }
}

/// What the filter says of itself: of an instance that is made for this, whose exports are held against the contract,
/// and on which `init` is not called.
///
/// # Errors
/// What is wrong with it, or the fault it ended in, for the operator.
pub(super) async fn describe(
    program: &Program,
    work: &mut Option<Box<Work>>,
    deadline: Instant,
) -> Result<Option<about::Description>, String> {
    let slots = permit(program, program.host.slots(), program.weight, deadline).await.map_err(|(_, why)| why)?;
    let mut store = program.store();
    begin(&mut store, work, Instant::now(), deadline);
    let said = bounded(program, deadline, async {
        let component = program.pre.instantiate_async(&mut store).await?;
        if let Err(misfit) = fit::types(&program.exports, &mut store, &component) {
            return Ok(Err(misfit));
        }
        let Some(indices) = &program.exports.about else { return Ok(Ok(None)) };
        let said = indices.load(&mut store, &component)?.call_describe(&mut store).await?;
        Ok(Ok(Some(said)))
    });
    let said = said.await;
    *work = store.data_mut().take();
    let stopped = store.data_mut().meter.finish();
    let memory_refused = store.data().memory.refused;
    drop((store, slots));
    said.unwrap_or_else(|error| {
        let (_, detail) = classify(&error, stopped, memory_refused);
        Err(if program.exports.about.is_some() { format!("describe: {detail}") } else { detail })
    })
}

impl Program {
    /// A store with every bound set.
    fn store(&self) -> Store<Guest> {
        let bounds = &self.profile.config.bounds;
        let memory = Memory::new(bounds.memory_bytes, TABLE_ELEMENTS_MAX);
        let meter = Meter::new(bounds.cpu_per_call, Arc::clone(&self.long_calls), self.host.ticker().pulse());
        let wasi = self.needs.wasi.then(|| Box::new(Wasi::new(&self.profile)));
        let guest = Guest::new(Arc::clone(&self.profile), memory, meter, wasi);
        let mut store = Store::new(self.host.engine(), guest);
        store.limiter(|guest| &mut guest.memory);
        store.set_hostcall_fuel(bounds.hostcall_bytes);
        store.epoch_deadline_callback(|mut store| store.data_mut().meter.tick());
        store
    }

    /// One of the instances the operator allows this filter. Waits for it, at most until `deadline`.
    ///
    /// # Errors
    /// There was none until then.
    pub async fn place(&self, stage: Stage, deadline: Instant) -> Result<OwnedSemaphorePermit, Box<Fault>> {
        permit(self, &self.instances, 1, deadline).await.map_err(|(kind, detail)| self.fault(stage, kind, detail))
    }

    /// A fault of this filter.
    #[must_use]
    pub fn fault(&self, stage: Stage, kind: FaultKind, detail: String) -> Box<Fault> {
        Box::new(Fault { filter: Arc::clone(&self.profile.name), stage, kind, detail })
    }
}

/// Instantiates and runs `init`.
async fn start(program: &Program, store: &mut Store<Guest>) -> wasmtime::Result<Component> {
    let component = program.pre.instantiate_async(&mut *store).await?;
    if let Some(lifecycle) = &program.exports.lifecycle {
        let lifecycle = lifecycle.load(&mut *store, &component)?;
        if let Err(why) = lifecycle.call_init(&mut *store).await? {
            wasmtime::bail!("init: {}", excerpt_of(&why, DETAIL_BYTES_MAX));
        }
    }
    Ok(component)
}

/// A call begins: the work on the desk, the meter at zero, a tick ahead.
fn begin(store: &mut Store<Guest>, work: &mut Option<Box<Work>>, now: Instant, deadline: Instant) {
    store.set_epoch_deadline(1);
    let guest = store.data_mut();
    guest.memory.refused = false;
    guest.meter.start(now, deadline);
    if let Some(work) = work.take() {
        guest.give(work);
    }
}

/// Ticks do not reach a guest that sleeps in the host: those that could have this around them.
async fn bounded<T>(
    program: &Program,
    deadline: Instant,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let _beating = program.host.ticker().keep_beating();
    let late = |_| Err(wasmtime::Error::new(OutOfTime(FaultKind::Deadline)));
    tokio::time::timeout_at(deadline.into(), call).await.unwrap_or_else(late)
}

async fn permit(
    program: &Program,
    of: &Arc<Semaphore>,
    number: u32,
    deadline: Instant,
) -> Result<OwnedSemaphorePermit, Trouble> {
    if let Ok(permit) = Arc::clone(of).try_acquire_many_owned(number) {
        return Ok(permit);
    }
    let waiting = Arc::clone(of).acquire_many_owned(number);
    let began = Instant::now();
    let until = program.breaker.patience(began, deadline);
    if let Ok(Ok(permit)) = tokio::time::timeout_at(until.into(), waiting).await {
        return Ok(permit);
    }
    program.waited_in_vain(began.elapsed(), Instant::now());
    match until < deadline {
        true => Err((FaultKind::NoInstance, "no free instance, and for now nobody waits for one".into())),
        false => Err((FaultKind::NoInstance, "no free instance until the deadline".into())),
    }
}

fn classify(error: &wasmtime::Error, stopped: Option<FaultKind>, memory_refused: bool) -> Trouble {
    let kind = if let Some(kind) = stopped {
        kind
    } else if let Some(OutOfTime(kind)) = error.downcast_ref::<OutOfTime>() {
        *kind
    } else {
        match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) => FaultKind::StackOverflow,
            Some(Trap::Interrupt) => FaultKind::Cpu,
            _ if memory_refused => FaultKind::Memory,
            _ if error.root_cause().to_string().contains("fuel allocated for hostcalls") => FaultKind::BadAnswer,
            _ => FaultKind::Trap,
        }
    };
    // What happened comes first: the names in a backtrace are the guest's, and as long as it likes.
    let (cause, text) = (error.root_cause().to_string(), format!("{error:?}"));
    let rest = text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "Caused by:");
    let rest = rest.filter(|line| !line.ends_with(&cause)).map(|line| excerpt_of(line, LINE_BYTES_MAX));
    let lines: Vec<String> = std::iter::once(cause.clone()).chain(rest).collect();
    (kind, excerpt_of(&lines.join(" | "), DETAIL_BYTES_MAX))
}
