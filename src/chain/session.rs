//! What one session has of the chain. Nothing until the first stage that a filter wants.

use std::sync::Arc;
use std::time::Duration;

use super::consult;
use super::link::{IN_TRANSACTION, Link};
use super::load::{Chain, ListenerChain};
use super::outcome::{BodyMode, Call, Context, Opinion, Outcome};
use super::when;
use crate::filter::{Program, StageSet, Work};
use crate::mail::{SessionFacts, Stage};
use crate::policy::when::{Client, FilterSet};

/// One session's filters.
#[derive(Debug)]
pub struct SessionChain {
    /// None: no filter runs on this listener.
    chain: Option<Arc<ListenerChain>>,
    /// The stages somebody still wants.
    live: StageSet,
    /// As conditions last saw it.
    client: Option<Client>,
    state: Option<Box<State>>,
    /// Words that the transaction at hand is to be marked with, when a filter is next asked.
    tags: Box<[Arc<str>]>,
}

/// What there is once a filter was asked.
#[derive(Debug)]
pub(super) struct State {
    pub links: Vec<Link>,
    /// At home between two stages.
    pub work: Option<Box<Work>>,
    pub in_transaction: bool,
    /// By all filters in the transaction at hand.
    pub spent: Duration,
    /// Octets of the message so far, where conditions ask for them.
    pub message_bytes: u64,
}

/// What one filter has cost.
#[derive(Debug, Clone, Copy)]
pub struct Usage<'a> {
    pub filter: &'a Arc<str>,
    pub calls: u32,
    /// Waits included.
    pub time: Duration,
    /// Linear memory of its instance in this session, if it has one now.
    pub memory_bytes: usize,
}

impl SessionChain {
    /// Nearly free: no instance is made, nothing allocated.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "a session owns its chain; the listener's part is all it keeps")]
    pub fn new(chain: Arc<Chain>, listener: &str) -> SessionChain {
        let chain = chain.listener(listener).filter(|chain| !chain.programs.is_empty()).map(Arc::clone);
        let live = chain.as_ref().map_or(StageSet::NONE, |chain| when::wanted_of(chain, None));
        SessionChain { chain, live, client: None, state: None, tags: Box::default() }
    }

    /// Who the client is now: filters whose conditions about the session do not hold are as if they were not there. At
    /// `auth` the client counts as logged in, since its password was right.
    pub fn meet(&mut self, facts: &SessionFacts, stage: Stage) {
        let Some(chain) = self.chain.as_ref().filter(|chain| chain.conditions.session) else { return };
        let mut client = Client::of(facts);
        client.authenticated |= stage == Stage::Auth;
        if self.client == Some(client) {
            return;
        }
        self.client = Some(client);
        if let Some(state) = &mut self.state {
            when::meet(chain, state, client);
        }
        self.look_again();
    }

    /// The transaction at hand is marked by somebody who is no filter.
    pub fn tag(&mut self, name: &str) {
        if self.chain.is_some() {
            self.tags = self.tags.iter().cloned().chain([Arc::from(name)]).collect();
        }
    }

    /// What was to be marked is over.
    pub fn forget_tags(&mut self) {
        self.tags = Box::default();
    }

    /// Which filters with conditions about recipients the transaction is for; from DATA on the others are not asked.
    pub fn narrow(&mut self, set: &FilterSet) {
        if let (Some(chain), Some(state)) = (&self.chain, &mut self.state) {
            when::narrow(chain, state, set);
            self.look_again();
        }
    }

    fn look_again(&mut self) {
        let Some(chain) = &self.chain else { return };
        self.live = match &self.state {
            Some(state) => state.still_wanted(&chain.programs),
            None => when::wanted_of(chain, self.client),
        };
    }

    /// Whether any filter wants to be asked at `stage` now.
    #[must_use]
    pub fn wants(&self, stage: Stage) -> bool {
        self.live.contains(stage)
    }

    /// How the body of the message at hand is to be handled. Ask when `DATA` was consulted: a filter that was
    /// content by then does not count.
    #[must_use]
    pub fn body_mode(&self) -> BodyMode {
        let Some(chain) = &self.chain else { return BodyMode::Stream };
        let wants = |place, program: &Program| match (&self.state, self.client) {
            (Some(state), _) => state.links.get(place).is_none_or(|link: &Link| link.wants(Stage::Message)),
            (None, Some(client)) => when::runs(chain, program, client),
            (None, None) => true,
        };
        let wanting = chain.programs.iter().enumerate();
        let wanting = wanting.filter(|(place, program)| wants(*place, program));
        ListenerChain::body_mode(wanting.map(|(_, program)| program))
    }

    /// Asks the filters in their order until one of them objects. Never fails: what a filter does wrong becomes
    /// what its `on-fault` says.
    pub async fn consult(&mut self, call: Call<'_>, ctx: &Context) -> Outcome {
        let stage = call.stage();
        if stage == Stage::Mail {
            self.end_transaction();
        }
        self.meet(&ctx.session, stage);
        if !self.wants(stage) {
            if stage == Stage::Abort {
                self.end_transaction();
            }
            return Outcome::NEXT;
        }
        // Borrowed: all sessions share it, and its count of owners.
        let SessionChain { chain, live, client, state, tags } = self;
        let Some(chain) = chain.as_deref() else { return Outcome::NEXT };
        let state = state.get_or_insert_with(|| Box::new(State::new(chain, *client, ctx)));
        state.in_transaction |= IN_TRANSACTION.contains(stage);
        when::learn(chain, state, &call);
        if let Some(work) = state.work.as_mut().filter(|_| state.in_transaction && !tags.is_empty()) {
            let marks = Arc::make_mut(work.marks.get_or_insert_default());
            for tag in std::mem::take(tags) {
                // No room for it: filters have filled it.
                let _ = marks.tag(&tag);
            }
        }
        // Boxed: a session that waits for its client shall not carry the room a guest call needs.
        let outcome = Box::pin(consult::run(chain, state, call, ctx)).await;
        if matches!(stage, Stage::Rcpt | Stage::RcptReply) {
            when::forget_recipient(chain, state);
        }
        // Who was content, skips or failed has said so; without conditions, silence changes nothing.
        if !outcome.opinions.is_empty() || !outcome.shadows.is_empty() || chain.conditions.are_there() {
            *live = state.still_wanted(&chain.programs);
        }
        if stage == Stage::Abort {
            self.end_transaction();
        }
        outcome
    }

    /// Tells the filters something they cannot change: [`Call::Abort`], [`Call::Quit`].
    pub async fn report(&mut self, call: Call<'_>, ctx: &Context) -> Vec<Opinion> {
        self.consult(call, ctx).await.opinions
    }

    /// Whether any filter asks for the name of the peer, so that it has to be known before they are asked.
    #[must_use]
    pub fn wants_names(&self) -> bool {
        self.chain.as_ref().is_some_and(|chain| {
            let asks = |program: &&Arc<Program>| program.wants_peer_name();
            chain.wants_names
                && self.client.is_none_or(|client| {
                    chain.programs.iter().filter(asks).any(|program| when::runs(chain, program, client))
                })
        })
    }

    /// The transaction at hand is over, however it ended: instances that live no longer than it are dropped, and
    /// filters that were content, or failed, are asked again in the next one. To be called after the final reply;
    /// consulting `Mail` or `Abort` implies it.
    pub fn end_transaction(&mut self) {
        let (Some(chain), Some(state)) = (&self.chain, &mut self.state) else { return };
        if !std::mem::take(&mut state.in_transaction) {
            return;
        }
        for (link, program) in state.links.iter_mut().zip(&chain.programs) {
            link.reset(program.profile().config.lifetime);
            link.calls = 0;
            link.time = Duration::ZERO;
        }
        state.spent = Duration::ZERO;
        if let Some(work) = &mut state.work {
            work.headers = None;
            work.marks = None;
        }
        self.live = state.still_wanted(&chain.programs);
    }

    /// What each filter cost in the transaction at hand (before one: in the session so far).
    pub fn usage(&self) -> impl Iterator<Item = Usage<'_>> {
        let programs = self.chain.iter().flat_map(|chain| &chain.programs);
        let links = self.state.iter().flat_map(|state| &state.links);
        programs.zip(links).map(|(program, link)| Usage {
            filter: &program.profile().name,
            calls: link.calls,
            time: link.time,
            memory_bytes: link.memory_bytes(),
        })
    }
}

impl State {
    fn new(chain: &ListenerChain, client: Option<Client>, ctx: &Context) -> State {
        let mut state = State {
            links: chain.programs.iter().map(|program| Link::of(program)).collect(),
            work: Some(Box::new(Work::new(Arc::clone(&ctx.session)))),
            in_transaction: false,
            spent: Duration::ZERO,
            message_bytes: 0,
        };
        if let Some(client) = client {
            when::meet(chain, &mut state, client);
        }
        state
    }

    fn still_wanted(&self, programs: &[Arc<Program>]) -> StageSet {
        let mut live = StageSet::NONE;
        for (link, program) in self.links.iter().zip(programs) {
            for stage in program.stages().iter().filter(|stage| link.wants(*stage)) {
                live = live.with(stage);
            }
            if link.away.is_here() {
                live = live.union(when::watched(program));
            }
        }
        live
    }
}
