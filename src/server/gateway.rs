//! Everything sessions share, and how a new configuration takes the place of an old one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::accounts::{Accounts, BackendError, Backends, Reach};
use crate::chain::{Chain, ChainError};
use crate::config::{Auth, Config, Limits as SessionLimits, ListenerTls};
use crate::filter::Outside;
use crate::lookup::{LookupError, Lookups, Sources};
use crate::net::dial::{Dial, Tcp};
use crate::net::dns::{Resolver, ResolverError};
use crate::net::tls::{Acceptor, Identity, NextHandshakes, Terms, TlsError};
use crate::policy;
use crate::policy::tables::Tables;
use crate::report::Metrics;
use crate::session::Question;
use crate::shared::{Keys, Shared, SharedError};
use crate::smtp::Reply;
use crate::state::addresses::Addresses;
use crate::state::answers::Answers;
use crate::state::keyed::HashKey;
use crate::state::limits::Limits;
use crate::upstream::{SetupError, Upstream, Upstreams};

use super::alarm::Alarm;
use super::buffers::BodyBuffers;
use super::delegation::Delegation;
use super::overload::Overload;
use super::shutdown::Shutdown;

/// A part of a configuration that cannot be made; each says which and why.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Accounts(#[from] BackendError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("the DNS resolver cannot be set up: {0}")]
    Resolver(#[from] ResolverError),
    #[error(transparent)]
    Upstream(#[from] SetupError),
    #[error(transparent)]
    Shared(#[from] SharedError),
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

/// What the program around a gateway may bring in place of what the system has.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Makes the connections to the upstream.
    pub dialer: Arc<dyn Dial>,
    /// What filters can reach beyond the mail at hand; None: the clock and the DNS there are.
    pub outside: Option<Outside>,
    /// Who is asked about tables instead of whom the configuration names.
    pub sources: Sources,
}

impl Default for Environment {
    fn default() -> Self {
        Environment { dialer: Arc::new(Tcp), outside: None, sources: Sources::new() }
    }
}

/// One configuration with everything made from it. A session keeps the one it began with.
#[derive(Debug)]
pub struct Generation {
    pub(super) config: Arc<Config>,
    /// Another one once a filter was exchanged.
    pub(super) chain: ArcSwap<Chain>,
    /// For policy; those that filters look into, too.
    pub(super) tables: Tables,
    pub(super) upstreams: Upstreams,
    pub(super) resolver: Resolver,
    /// Policy daemons.
    pub(super) delegation: Delegation,
    /// What other gateways see and count, too.
    pub(super) shared: Option<Arc<Shared>>,
    /// What deferred upstreams answered about recipients.
    pub(super) answers: Answers<Question>,
    /// Tables that have to be asked, and what they answered.
    pub(super) lookups: Lookups,
    /// Shared with the generations before: tickets handed out stay good, one bound holds for all hashing, and an
    /// account that was closed is closed for open sessions, too.
    pub(super) tls: BTreeMap<String, Arc<Acceptor>>,
    pub(super) accounts: Option<Arc<Accounts>>,
    /// What changes in those two when this generation begins.
    renewal: Renewal,
    limits: Arc<SessionLimits>,
    environment: Environment,
}

impl Generation {
    /// Makes everything a configuration names; `before` lends what survives a reload (filters' counters and
    /// key-value stores, unchanged tables, the environment).
    ///
    /// # Errors
    /// The first part that cannot be made, in words for the operator. Nothing of `before` has changed then.
    pub fn build(config: Config, before: Option<&Generation>) -> Result<Generation, BuildError> {
        let environment = before.map(|old| old.environment.clone()).unwrap_or_default();
        Self::build_with(config, before, environment)
    }

    /// The same in an environment of the caller's.
    ///
    /// # Errors
    /// As [`Generation::build`].
    pub fn build_with(
        config: Config,
        before: Option<&Generation>,
        environment: Environment,
    ) -> Result<Generation, BuildError> {
        let mut renewal = Renewal::default();
        let tls = acceptors(&config, before, &mut renewal)?;
        let known = before.and_then(|old| old.accounts.as_ref());
        let resolver = Resolver::new(&config.resolver)?;
        let upstreams = Upstreams::new(&config, &resolver, &environment.dialer)?;
        let reach = Reach { upstreams: Some(&upstreams), resolver: &resolver, dialer: &environment.dialer };
        let accounts = config.auth.as_ref().map(|auth| accounts(auth, &reach, known, &mut renewal)).transpose()?;
        let known = before.and_then(|old| old.shared.as_ref());
        let share = |settings| Shared::new(settings, &resolver, &environment.dialer, known);
        let shared = config.state.shared.as_ref().map(share).transpose()?;
        let lookups = Lookups::new(&config.tables, &reach, shared.as_ref(), &environment.sources)?;
        let outside = environment.outside.clone();
        let outside = outside.unwrap_or_else(|| Outside::real(&resolver, &environment.dialer));
        let outside = outside.with_keys(shared.as_ref().and_then(Keys::of));
        let chain = Chain::reload(before.map(|old| old.chain.load_full()).as_deref(), &config, &outside)?;
        let delegation = Delegation::new(&config, before.map(|old| &old.delegation));
        Ok(Generation {
            delegation,
            limits: Arc::new(config.limits.clone()),
            tables: chain.tables(),
            chain: ArcSwap::from_pointee(chain),
            upstreams,
            resolver,
            shared,
            answers: Answers::default(),
            lookups,
            tls,
            accounts,
            renewal,
            environment,
            config: Arc::new(config),
        })
    }

    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The filters, as they are now.
    #[must_use]
    pub fn chain(&self) -> Arc<Chain> {
        self.chain.load_full()
    }

    /// An upstream's answer about a recipient: yes, and "no such user", are kept where the operator wants that.
    pub(super) fn keep_answer(&self, question: Question, reply: &Reply) {
        let unknown = reply.enhanced.is_some_and(|said| (said.class, said.subject, said.detail) == (5, 1, 1));
        let keep = self.config.upstreams.get(question.upstream).and_then(|upstream| upstream.keep_answers);
        if let Some(keep) = keep.filter(|_| unknown || reply.class() == 2) {
            self.answers.put(question, reply.clone(), keep);
        }
    }

    /// Begins what goes on beside sessions. To be called within the runtime.
    fn begin(&self) {
        self.upstreams.begin();
        self.accounts.iter().for_each(|accounts| accounts.begin());
        self.shared.iter().for_each(|shared| shared.begin());
    }

    /// The bounds for a client, and whether rate limits count it.
    pub(super) fn limits_for(&self, address: IpAddr) -> (Arc<SessionLimits>, bool) {
        if self.config.networks.is_empty() {
            return (Arc::clone(&self.limits), true);
        }
        let (limits, rates) = policy::limits::for_client(&self.config, address);
        (Arc::new(limits), rates)
    }
}

/// Made and checked, not in force yet: until a generation begins, nothing of the one before has changed.
#[derive(Debug, Default)]
struct Renewal {
    tls: Vec<(Arc<Acceptor>, NextHandshakes)>,
    accounts: Option<(Arc<Accounts>, Backends)>,
}

impl Renewal {
    fn take_effect(self) {
        for (acceptor, next) in self.tls {
            acceptor.renew(next);
        }
        if let Some((accounts, backends)) = self.accounts {
            accounts.reload(backends);
        }
    }
}

/// One for each listener that offers TLS, by the listener's name.
fn acceptors(
    config: &Config,
    before: Option<&Generation>,
    renewal: &mut Renewal,
) -> Result<BTreeMap<String, Arc<Acceptor>>, TlsError> {
    let mut acceptors = BTreeMap::new();
    let Some(files) = &config.tls else { return Ok(acceptors) };
    let identity = Identity::load(files, SystemTime::now())?;
    for warning in identity.warnings() {
        tracing::warn!("{warning}");
    }
    for listener in config.listeners.iter().filter(|listener| listener.tls != ListenerTls::Off) {
        let terms = Terms::load(&listener.handshakes)?;
        let acceptor = match before.and_then(|old| old.tls.get(&listener.name)) {
            None => Arc::new(Acceptor::on_terms(&identity, terms)?),
            Some(known) => {
                renewal.tls.push((Arc::clone(known), known.prepare(&identity, terms)?));
                Arc::clone(known)
            }
        };
        acceptors.insert(listener.name.clone(), acceptor);
    }
    Ok(acceptors)
}

fn accounts(
    settings: &Auth,
    reach: &Reach<'_>,
    known: Option<&Arc<Accounts>>,
    renewal: &mut Renewal,
) -> Result<Arc<Accounts>, BackendError> {
    let backends = Backends::load(settings, reach)?;
    for warning in backends.warnings() {
        tracing::warn!("{warning}");
    }
    let Some(known) = known else { return Ok(Arc::new(Accounts::new(backends))) };
    renewal.accounts = Some((Arc::clone(known), backends));
    Ok(Arc::clone(known))
}

/// The running gateway.
#[derive(Debug)]
pub struct Gateway {
    generation: ArcSwap<Generation>,
    pub(super) limits: Limits,
    names: HashKey,
    /// From which somebody has logged in elsewhere.
    pub(super) addresses: Arc<Addresses>,
    pub(super) overload: Overload,
    pub(super) alarm: Alarm,
    pub(super) metrics: Metrics,
    pub(super) buffers: BodyBuffers,
    pub shutdown: Shutdown,
}

impl Gateway {
    #[must_use]
    pub fn new(generation: Generation, metrics: Metrics) -> Arc<Gateway> {
        Self::with_names(generation, metrics, HashKey::random())
    }

    /// One that counts names by a key that was used before.
    #[must_use]
    pub fn with_names(generation: Generation, metrics: Metrics, names: HashKey) -> Arc<Gateway> {
        generation.begin();
        let limits = Limits::new(&generation.config.rates, &generation.config.rate_limits, names);
        let overload = Overload::new(&generation.config.rates);
        limits.set_sessions_max(overload.files.sessions_max());
        Arc::new(Gateway {
            limits,
            names,
            addresses: Arc::default(),
            overload,
            alarm: Alarm::default(),
            generation: ArcSwap::from_pointee(generation),
            metrics,
            buffers: BodyBuffers::default(),
            shutdown: Shutdown::default(),
        })
    }

    #[must_use]
    pub fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// What names are hashed with where they are counted.
    pub(super) fn names(&self) -> HashKey {
        self.names
    }

    /// The same for a moment: it costs nothing, and must not be held while something is waited for.
    pub(super) fn generation_now(&self) -> arc_swap::Guard<Arc<Generation>> {
        self.generation.load()
    }

    /// Sessions open now.
    #[must_use]
    pub fn open_sessions(&self) -> u32 {
        self.limits.open_connections()
    }

    /// Sees whether it is stress.
    pub(super) fn look_at_load(&self) {
        self.overload.look(self.limits.open_connections(), self.limits.connections_max(), &self.metrics);
    }

    /// Octets that sessions and messages hold, as far as they are counted.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.overload.memory.used()
    }

    /// When an upstream last answered as it should.
    #[must_use]
    pub fn upstream_last_ok(&self) -> Option<SystemTime> {
        let ago = self.generation.load().upstreams.all().filter_map(Upstream::last_seen).min()?;
        SystemTime::now().checked_sub(ago)
    }

    /// For a timer: rate limits give the memory of those who were quiet back.
    pub fn sweep(&self) {
        self.limits.sweep();
        self.addresses.sweep(std::time::Instant::now());
        self.look_at_load();
    }

    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// New sessions begin with this one. To be called within the runtime.
    pub fn replace(&self, mut generation: Generation) {
        std::mem::take(&mut generation.renewal).take_effect();
        self.limits.reload(&generation.config.rates, &generation.config.rate_limits);
        self.overload.reload(&generation.config.rates);
        generation.begin();
        let before = self.generation.swap(Arc::new(generation));
        drop(tokio::spawn(async move { before.upstreams.retire().await }));
    }

    /// Says goodbye to upstreams in connections that nobody uses; those in use are left by their sessions.
    pub async fn leave_upstreams(&self) {
        self.generation().upstreams.retire().await;
    }
}
