//! One loaded filter: compiled, linked, tried once. Instances are made from it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::Semaphore;
use wasmtime::component::{Component, InstancePre};

use super::about::About;
use super::breaker::Breaker;
use super::cache::{Cache, hex};
use super::component::{self, Needs};
use super::engine::{Host, TABLES_PER_SLOT};
use super::error::LoadError;
use super::fit;
use super::guest::Guest;
use super::imports::CAPABILITIES;
use super::instance::Instance;
use super::profile::Profile;
use super::signature::{self, Signed};
use super::stages::{Exports, StageSet};
use crate::config::{self, FilterPhase, Lifetime};
use crate::mail::Stage;

/// Calls after which a shared instance makes room for a fresh one.
pub(super) const SHARED_CALLS_MAX: u32 = 10_000;
/// Idle instances of a shared filter.
const SHARED_IDLE_MAX: usize = 64;
/// Octets of a component from which a fresh instance for each session is probably not what is wanted.
const INTERPRETER_BYTES: usize = 900 << 10;

/// A filter ready to be asked.
pub struct Program {
    pub(super) host: Arc<Host>,
    pub(super) profile: Arc<Profile>,
    pub(super) pre: InstancePre<Guest>,
    pub(super) exports: Exports,
    pub(super) needs: Needs,
    /// Slots of the pool an instance takes.
    pub(super) weight: u32,
    /// One for each instance the operator allows.
    pub(super) instances: Arc<Semaphore>,
    /// For calls of more than two ticks.
    pub(super) long_calls: Arc<Semaphore>,
    pub(super) breaker: Breaker,
    stages: StageSet,
    about: Option<About>,
    signed: Option<Signed>,
    component: Component,
    digest: String,
    #[allow(clippy::vec_box, reason = "they go in and out as they are")]
    idle: Mutex<Vec<Box<Instance>>>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("name", &self.profile.name)
            .field("stages", &self.stages)
            .finish_non_exhaustive()
    }
}

impl Program {
    /// Reads, compiles, links, and makes one instance to see that it can be made. Blocks, for seconds when a
    /// large component is compiled. `known` is a filter whose compiled code may be used again.
    ///
    /// # Errors
    /// What is wrong with the file, the grants, or the filter's own `init`.
    pub fn load(
        host: &Arc<Host>,
        profile: Arc<Profile>,
        engine: &config::Engine,
        known: Option<&Program>,
    ) -> Result<Arc<Program>, LoadError> {
        let filter = &profile.config;
        let wasm = component::read(filter)?;
        let digest = hex(digest(&SHA256, &wasm).as_ref());
        let signed =
            signature::check(filter, engine, &wasm, &digest).map_err(|what| component::refused(filter, what))?;
        let known = known.filter(|known| known.digest == digest && Arc::ptr_eq(&known.host, host));
        let component = match known {
            Some(known) => known.component.clone(),
            None => component::compile(filter, host.engine(), open_cache(engine.cache_dir.as_deref()).as_ref(), &wasm)?,
        };
        let mut program = Program::of(host, profile, component, digest)?;
        program.signed = signed;
        let filter = &program.profile.config;
        if wasm.len() > INTERPRETER_BYTES && filter.lifetime != Lifetime::Shared {
            tracing::warn!(
                filter = %program.profile.name,
                octets = wasm.len(),
                "a component of this size is slow to instantiate: consider lifetime = \"shared\""
            );
        }
        program.about = super::trial::run(&program)?;
        program.phase_fits().map_err(|what| component::refused(&program.profile.config, what))?;
        Ok(Arc::new(program))
    }

    /// Links; nothing of it has run. `digest` is that of the component.
    ///
    /// # Errors
    /// What is wrong with the component or the grants.
    pub(super) fn of(
        host: &Arc<Host>,
        profile: Arc<Profile>,
        component: Component,
        digest: String,
    ) -> Result<Program, LoadError> {
        let filter = &profile.config;
        let (pre, needs) = component::link(filter, profile.outside.keys_are(), &component)?;
        let weight = weight(&component, host).map_err(|what| component::refused(filter, what))?;
        let exports = Exports::find(&pre);
        fit::names(&component, &exports).map_err(|what| component::refused(filter, what))?;
        let long_calls = std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1));
        let instances =
            usize::try_from(filter.bounds.instances.max(1)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Ok(Program {
            host: Arc::clone(host),
            stages: exports.stages(),
            pre,
            exports,
            needs,
            weight,
            instances: Arc::new(Semaphore::new(instances)),
            long_calls: Arc::new(Semaphore::new(long_calls)),
            breaker: Breaker::default(),
            about: None,
            signed: None,
            component,
            digest,
            idle: Mutex::default(),
            profile,
        })
    }

    #[must_use]
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// The stages it exports.
    #[must_use]
    pub fn stages(&self) -> StageSet {
        self.stages
    }

    /// Whether nothing comes of what it says.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.profile.config.shadow
    }

    /// What it says of itself.
    #[must_use]
    pub fn about(&self) -> Option<&About> {
        self.about.as_ref()
    }

    /// Whose signature it has.
    #[must_use]
    pub fn signed(&self) -> Option<&Signed> {
        self.signed.as_ref()
    }

    /// As it says itself.
    #[must_use]
    pub fn version(&self) -> Option<&Arc<str>> {
        self.about.as_ref().map(|about| &about.version)
    }

    /// When it runs: as the operator says, else as it says itself, else as its grants have it.
    #[must_use]
    pub fn phase(&self) -> FilterPhase {
        let config = &self.profile.config;
        let by_grant = if config.grants.edit.is_of_content() { FilterPhase::Transform } else { FilterPhase::Decide };
        config.phase.or(self.about.as_ref().map(|about| about.phase)).unwrap_or(by_grant)
    }

    /// What the operator wrote was held against the grants when it was read; this is for what the filter says.
    fn phase_fits(&self) -> Result<(), String> {
        let config = &self.profile.config;
        if self.phase().edits_content() || !config.grants.edit.is_of_content() {
            return Ok(());
        }
        Err(format!(
            "runs at the phase {}, where nobody edits header fields or the body, and is granted to: write \
             `phase = \"transform\"` for filter \"{}\", or take the edit grant away",
            self.phase().name(),
            config.name
        ))
    }

    /// Whether it could edit: it imports `edit`, which it then was granted.
    #[must_use]
    pub fn may_edit(&self) -> bool {
        self.needs.edit
    }

    /// Whether it could have a message sent elsewhere: it is granted that, and asked where it may say so.
    #[must_use]
    pub fn may_quarantine(&self) -> bool {
        let stages = [Stage::Data, Stage::Headers, Stage::Body, Stage::Message];
        self.profile.config.grants.quarantine.is_some() && stages.iter().any(|stage| self.stages().contains(*stage))
    }

    /// Whether it reads the header block through the `headers` capability.
    #[must_use]
    pub fn reads_headers(&self) -> bool {
        self.needs.headers
    }

    /// Whether it asks for the name of the peer, which somebody has to look up first.
    #[must_use]
    pub fn wants_peer_name(&self) -> bool {
        self.needs.peer_name
    }

    /// Of the component, lower-case hexadecimal SHA-256.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What it was granted of the contract's capabilities.
    #[must_use]
    pub fn granted(&self) -> Vec<&'static str> {
        let grants = &self.profile.config.grants;
        CAPABILITIES.iter().filter(|c| c.name != "types" && c.is_granted(grants)).map(|c| c.name).collect()
    }

    /// Alive now, of those that the operator allows.
    #[must_use]
    pub fn instances_in_use(&self) -> usize {
        let allowed = usize::try_from(self.profile.config.bounds.instances).unwrap_or(usize::MAX);
        allowed.saturating_sub(self.instances.available_permits())
    }

    /// An idle instance of a shared filter.
    #[must_use]
    pub fn take_idle(&self) -> Option<Box<Instance>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        self.got_instance();
        Some(idle)
    }

    /// Whether calls wait for an instance where there is none. They do not for a while, when there was none again and
    /// again.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        !self.breaker.is_open()
    }

    pub(super) fn got_instance(&self) {
        if self.breaker.succeeded() {
            tracing::info!(filter = %self.profile.name, "there are instances of the filter again: calls wait for them");
            metrics::gauge!("wasmilter_breaker_open", "filter" => self.profile.name.to_string()).set(0.0);
        }
    }

    /// A call waited for an instance, and there was none. That the message's own time was up sooner says nothing.
    pub(super) fn waited_in_vain(&self, waited: Duration, now: Instant) {
        if waited < self.profile.config.bounds.deadline / 2 || !self.breaker.failed(now) {
            return;
        }
        tracing::error!(
            filter = %self.profile.name,
            instances = self.profile.config.bounds.instances,
            pool_slots = self.host.slots_total(),
            "the filter has no free instance again and again: for a while calls do not wait for one"
        );
        metrics::gauge!("wasmilter_breaker_open", "filter" => self.profile.name.to_string()).set(1.0);
    }

    /// Back to the others, unless there are enough or it is worn out.
    pub fn put_idle(&self, instance: Box<Instance>) {
        if instance.calls() >= SHARED_CALLS_MAX {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < SHARED_IDLE_MAX {
            idle.push(instance);
        }
    }
}

fn open_cache(directory: Option<&Path>) -> Option<Cache> {
    Cache::open(directory?).inspect_err(|why| tracing::warn!(why, "compiled filters are not kept")).ok()
}

/// Slots of linear memory (and a proportional share of tables) of one instance.
fn weight(component: &Component, host: &Host) -> Result<u32, String> {
    let needed = component
        .resources_required()
        .ok_or("imports core modules, so that nobody can tell how much memory it takes")?;
    let weight = needed.num_memories.max(needed.num_tables.div_ceil(TABLES_PER_SLOT)).max(1);
    if weight > host.slots_total() {
        return Err(format!("one instance takes {weight} slots, and `engine.instances` is {}", host.slots_total()));
    }
    Ok(weight)
}
