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
use super::bindings::exports::wasmilter::filter as wit;
use super::bindings::wasmilter::filter::types as words;
use super::bounds::{Memory, Meter, OutOfTime};
use super::convert;
use super::engine::TABLE_ELEMENTS_MAX;
use super::guest::Guest;
use super::program::Program;
use super::wasi::Wasi;
use super::work::Work;
use crate::mail::{AbortReason, Fault, FaultKind, Stage};

/// Octets of a fault's detail, with the guest's backtrace.
const DETAIL_BYTES_MAX: usize = 4_096;

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

/// The functions of the stages asked so far.
#[derive(Default)]
struct Hooks {
    connect: Option<wit::on_connect::Guest>,
    helo: Option<wit::on_helo::Guest>,
    tls: Option<wit::on_tls::Guest>,
    auth: Option<wit::on_auth::Guest>,
    mail: Option<wit::on_mail::Guest>,
    rcpt: Option<wit::on_rcpt::Guest>,
    data: Option<wit::on_data::Guest>,
    headers: Option<wit::on_headers::Guest>,
    body: Option<wit::on_body::Guest>,
    message: Option<wit::on_message::Guest>,
    abort: Option<wit::on_abort::Guest>,
    quit: Option<wit::on_quit::Guest>,
}

/// What went wrong, before it is known where: the kind, and a text for the operator.
type Trouble = (FaultKind, String);

/// Calls the function of a stage, which is looked up once for each instance. The future is boxed: handed up through
/// four async functions by value, it would be copied as often.
macro_rules! call {
    ($self:ident, $program:ident, $stage:ident.$call:ident($($argument:expr),*)) => {{
        let unknown = || wasmtime::format_err!("the stage is not exported");
        if $self.hooks.$stage.is_none() {
            let indices = $program.exports.$stage.as_ref().ok_or_else(unknown)?;
            $self.hooks.$stage = Some(indices.load(&mut $self.store, &$self.component)?);
        }
        let hook = $self.hooks.$stage.as_ref().ok_or_else(unknown)?;
        Box::pin(hook.$call(&mut $self.store, $($argument),*)).await?
    }};
}

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
    ) -> Result<Box<Instance>, Fault> {
        let fault = |(kind, detail)| program.fault(stage, kind, detail);
        let slots = permit(program.host.slots(), program.weight, deadline).await.map_err(fault)?;
        let mut store = program.store();
        begin(&mut store, work, Instant::now(), deadline);
        let beating = program.host.ticker().call();
        let made = bounded(program, deadline, start(program, &mut store)).await;
        drop(beating);
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
    ) -> Result<Answer, Fault> {
        let stage = ask.stage();
        self.calls = self.calls.saturating_add(1);
        begin(&mut self.store, work, now, deadline);
        let beating = program.host.ticker().call();
        let asked = bounded(program, deadline, self.call(program, ask)).await;
        drop(beating);
        *work = self.store.data_mut().take();
        let stopped = self.store.data_mut().meter.finish();
        match asked {
            Ok(None) => Ok(Answer::NEXT),
            Ok(Some(_)) if !work.as_ref().is_none_or(|work| work.is_well_formed()) => {
                Err(program.fault(stage, FaultKind::BadAnswer, "the body it wrote ends in a CR".into()))
            }
            Ok(Some(verdict)) => answer::check(verdict, stage, program.profile.config.grants.discard)
                .map_err(|what| program.fault(stage, FaultKind::BadAnswer, what)),
            Err(error) => {
                let (kind, detail) = classify(&error, stopped, self.store.data().memory.refused);
                Err(program.fault(stage, kind, detail))
            }
        }
    }

    async fn call(&mut self, program: &Program, ask: Ask<'_>) -> wasmtime::Result<Option<words::Verdict>> {
        let answer = match ask {
            Ask::Connect => {
                let peer = self.store.data_mut().work()?.session.peer;
                let address = peer.ip().to_canonical().to_string();
                let peer = words::EndpointParam { address: &address, port: peer.port() };
                call!(self, program, connect.call_connect(peer))
            }
            Ask::Helo(hello) => {
                call!(self, program, helo.call_helo(&hello.name, hello.extended))
            }
            Ask::Tls(tls) => {
                let info = words::TlsInfoParam {
                    version: tls.version,
                    cipher: &tls.cipher,
                    sni: tls.sni.as_deref(),
                    client_subject: tls.client_subject.as_deref(),
                };
                call!(self, program, tls.call_tls(info))
            }
            Ask::Auth(auth) => {
                let info = words::AuthInfoParam { mechanism: auth.mechanism, identity: &auth.identity };
                call!(self, program, auth.call_auth(info))
            }
            Ask::Mail(sender) => {
                let changed = self.store.data_mut().work()?.sender.clone();
                let sender = changed.as_ref().unwrap_or(sender);
                let params = convert::params_out(&sender.params);
                let path = words::PathParam { address: sender.path.as_str(), params: &params };
                call!(self, program, mail.call_mail(path))
            }
            Ask::Rcpt(recipient) => {
                let changed = self.store.data_mut().work()?.recipient.clone();
                let recipient = changed.as_ref().unwrap_or(recipient);
                let params = convert::params_out(&recipient.params);
                let path = words::PathParam { address: recipient.path.as_str(), params: &params };
                call!(self, program, rcpt.call_rcpt(path))
            }
            Ask::Data => call!(self, program, data.call_data()),
            Ask::Headers => {
                let block = self.store.data_mut().work()?.headers.clone().unwrap_or_default();
                let fields: Vec<_> = block
                    .iter()
                    .map(|field| words::HeaderParam { name: field.name(), value: convert::value_out(field.value()) })
                    .collect();
                call!(self, program, headers.call_headers(&fields))
            }
            Ask::Message => call!(self, program, message.call_message()),
            Ask::Body(chunk) => call!(self, program, body.call_body(chunk)),
            Ask::Abort(reason) => {
                call!(self, program, abort.call_abort(abort_reason(reason)));
                return Ok(None);
            }
            Ask::Quit => {
                call!(self, program, quit.call_quit());
                return Ok(None);
            }
        };
        Ok(Some(answer))
    }
}

impl Program {
    /// A store with every bound set.
    fn store(&self) -> Store<Guest> {
        let bounds = &self.profile.config.bounds;
        let memory = Memory::new(bounds.memory_bytes, TABLE_ELEMENTS_MAX);
        let meter = Meter::new(bounds.cpu_per_call, Arc::clone(&self.long_calls));
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
    pub async fn place(&self, stage: Stage, deadline: Instant) -> Result<OwnedSemaphorePermit, Fault> {
        permit(&self.instances, 1, deadline).await.map_err(|(kind, detail)| self.fault(stage, kind, detail))
    }

    /// A fault of this filter.
    #[must_use]
    pub fn fault(&self, stage: Stage, kind: FaultKind, detail: String) -> Fault {
        Fault { filter: Arc::clone(&self.profile.name), stage, kind, detail }
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
    // Pinned here: moved into either branch, it would take its room twice.
    let call = std::pin::pin!(call);
    if !program.needs.waits {
        return call.await;
    }
    let late = |_| Err(wasmtime::Error::new(OutOfTime(FaultKind::Deadline)));
    tokio::time::timeout_at(deadline.into(), call).await.unwrap_or_else(late)
}

async fn permit(of: &Arc<Semaphore>, number: u32, deadline: Instant) -> Result<OwnedSemaphorePermit, Trouble> {
    if let Ok(permit) = Arc::clone(of).try_acquire_many_owned(number) {
        return Ok(permit);
    }
    let waiting = Arc::clone(of).acquire_many_owned(number);
    match tokio::time::timeout_at(deadline.into(), waiting).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err((FaultKind::Instantiate, "no free instance until the deadline".into())),
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
    let text = format!("{error:?}");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    (kind, excerpt_of(&lines.join(" | "), DETAIL_BYTES_MAX))
}

fn abort_reason(reason: AbortReason) -> words::AbortReason {
    match reason {
        AbortReason::Reset => words::AbortReason::Reset,
        AbortReason::ClientGone => words::AbortReason::ClientGone,
        AbortReason::Timeout => words::AbortReason::Timeout,
        AbortReason::Refused => words::AbortReason::Refused,
        AbortReason::UpstreamFailed => words::AbortReason::UpstreamFailed,
        AbortReason::Shutdown => words::AbortReason::Shutdown,
    }
}
