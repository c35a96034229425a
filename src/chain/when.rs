//! Whether a filter's conditions hold: of the session, asked when its facts change; of the transaction, at MAIL, for each
//! recipient, from DATA on, and as the message grows. A filter that is away costs nothing: it is not asked, has no
//! instance, and does not count for how the body is taken.
//!
//! What is not known yet does not hold: a filter for certain senders is first asked at `mail`, one for certain
//! recipients at `rcpt`. Only of the size that was announced the client is believed until the message is here.

use super::link::Link;
use super::load::ListenerChain;
use super::outcome::Call;
use super::session::State;
use crate::config::{Config, When};
use crate::filter::{Program, StageSet};
use crate::mail::Stage;
use crate::policy::when::{Client, FilterSet, declared_size, recipient_holds, sender_holds, session_holds};

/// What conditions there are among the filters of a listener.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    /// Of each filter: its place in `Config::filters`.
    places: Vec<usize>,
    /// Whether any asks something about the session.
    pub session: bool,
    /// Whether any asks something about a transaction.
    pub transaction: bool,
}

impl Conditions {
    pub(super) fn are_there(&self) -> bool {
        self.session || self.transaction
    }

    pub(super) fn of<'p>(config: &Config, programs: impl Iterator<Item = &'p Program>) -> Conditions {
        let mut conditions = Conditions::default();
        for program in programs {
            let place = config.filters.iter().position(|filter| *filter.name == *program.profile().name);
            conditions.places.push(place.unwrap_or(usize::MAX));
            conditions.session |= when(program).asks_session();
            conditions.transaction |= when(program).asks_transaction();
        }
        conditions
    }
}

fn when(program: &Program) -> &When {
    &program.profile().config.when
}

/// The stages at which the chain itself has to look, so that it knows later whether to ask this filter.
pub(super) fn watched(program: &Program) -> StageSet {
    let when = when(program);
    let mut stages = StageSet::NONE;
    if when.asks_transaction() {
        stages = stages.with(Stage::Mail);
    }
    if when.size_bytes_max.is_some() && program.stages().contains(Stage::Body) {
        stages = stages.with(Stage::Headers);
    }
    stages
}

/// What a filter wants of a session, before any of it was asked.
pub(super) fn wanted_of(chain: &ListenerChain, client: Option<Client>) -> StageSet {
    let here = |program: &&Program| client.is_none_or(|client| runs(chain, program, client));
    let programs = chain.programs.iter().map(AsRef::as_ref).filter(here);
    programs.fold(StageSet::NONE, |all, program| all.union(program.stages()).union(watched(program)))
}

/// Whether the filter runs in this client's session at all.
pub(super) fn runs(chain: &ListenerChain, program: &Program, client: Client) -> bool {
    session_holds(when(program), &chain.name, client)
}

/// Why a filter is not asked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Away {
    why: u8,
    /// It was asked in a transaction that is over.
    asked: bool,
}

/// It does not run in this session.
const SESSION: u8 = 1;
/// It has conditions about sender or recipients: nothing is known of them before MAIL.
const ADDRESSES: u8 = 1 << 1;
/// It has conditions about recipients.
const RECIPIENTS: u8 = 1 << 2;
const SENDER: u8 = 1 << 3;
/// It does not run for the recipient at hand.
const RECIPIENT: u8 = 1 << 4;
/// It does not run for any recipient that was accepted.
const NOBODY: u8 = 1 << 5;
/// The announced size is beyond its bound.
const ANNOUNCED: u8 = 1 << 6;
/// The size is out of its bounds.
const SIZE: u8 = 1 << 7;
const OF_TRANSACTION: u8 = SENDER | RECIPIENT | NOBODY | ANNOUNCED | SIZE;

impl Away {
    pub(super) fn of(program: &Program) -> Away {
        let mut away = Away::default();
        away.put(ADDRESSES, when(program).asks_addresses());
        away.put(RECIPIENTS, !when(program).recipients.is_empty());
        away
    }

    fn put(&mut self, bit: u8, on: bool) {
        if on { self.why |= bit } else { self.why &= !bit }
    }

    fn has(self, bits: u8) -> bool {
        self.why & bits != 0
    }

    /// Whether its session is one of those it runs in.
    pub(super) fn is_here(self) -> bool {
        !self.has(SESSION)
    }

    /// Whether the filter is not to be asked at this stage. `calls`: how often it was, in the transaction at hand.
    pub(super) fn from(self, stage: Stage, calls: u32) -> bool {
        if self.why == 0 {
            return false;
        }
        if self.has(SESSION) {
            return true;
        }
        match stage {
            Stage::Connect | Stage::Helo | Stage::Tls | Stage::Auth | Stage::Unknown => self.has(ADDRESSES),
            Stage::Mail => self.has(SENDER | RECIPIENTS | ANNOUNCED),
            Stage::Rcpt | Stage::RcptReply => self.has(SENDER | RECIPIENT | ANNOUNCED),
            Stage::Data => self.has(SENDER | NOBODY | ANNOUNCED),
            Stage::Headers | Stage::Body | Stage::Message => self.has(SENDER | NOBODY | SIZE),
            // Whoever heard of something hears of its end.
            Stage::Reply => self.has(SENDER | NOBODY | SIZE) && calls == 0,
            Stage::Abort => self.has(ADDRESSES) && calls == 0,
            Stage::Quit => self.has(ADDRESSES) && calls == 0 && !self.asked,
        }
    }

    /// A transaction is over.
    pub(super) fn reset(&mut self, calls: u32) {
        self.asked |= self.has(ADDRESSES) && calls > 0;
        self.why &= !OF_TRANSACTION;
    }
}

/// The facts of the session have changed.
pub(super) fn meet(chain: &ListenerChain, state: &mut State, client: Client) {
    for (link, program) in state.links.iter_mut().zip(&chain.programs) {
        let runs = runs(chain, program, client);
        link.away.put(SESSION, !runs);
        if !runs {
            link.let_go();
        }
    }
}

/// What this stage tells about the transaction.
pub(super) fn learn(chain: &ListenerChain, state: &mut State, call: &Call<'_>) {
    if !chain.conditions.transaction {
        return;
    }
    let size = match call {
        Call::Mail(_) => 0,
        Call::Headers(block) => block.octets() as u64,
        Call::Body(chunk) => state.message_bytes.saturating_add(chunk.len() as u64),
        Call::Message(held) => (held.headers.octets() as u64).saturating_add(held.body.len()),
        _ => state.message_bytes,
    };
    state.message_bytes = size;
    for (link, program) in state.links.iter_mut().zip(&chain.programs) {
        let when = when(program);
        let beyond = |size: u64| when.size_bytes_max.is_some_and(|max| size > max);
        let away = &mut link.away;
        match call {
            Call::Mail(sender) => {
                away.put(SENDER, !sender_holds(when, sender));
                away.put(ANNOUNCED, declared_size(sender).is_some_and(beyond));
            }
            Call::Rcpt(recipient) => away.put(RECIPIENT, !recipient_holds(when, &recipient.path)),
            Call::RcptReply(reply) => away.put(RECIPIENT, !recipient_holds(when, &reply.said)),
            Call::Message(_) => away.put(SIZE, beyond(size) || when.size_bytes_min.is_some_and(|min| size < min)),
            Call::Headers(_) | Call::Body(_) if beyond(size) => away.put(SIZE, true),
            _ => {}
        }
    }
}

/// The recipient at hand was judged; the next one may be another filter's.
pub(super) fn forget_recipient(chain: &ListenerChain, state: &mut State) {
    if chain.conditions.transaction {
        state.links.iter_mut().for_each(|link: &mut Link| link.away.put(RECIPIENT, false));
    }
}

/// Which of the filters with conditions about recipients the transaction is for.
pub(super) fn narrow(chain: &ListenerChain, state: &mut State, set: &FilterSet) {
    for (link, place) in state.links.iter_mut().zip(&chain.conditions.places) {
        if link.away.has(RECIPIENTS) {
            link.away.put(NOBODY, !set.contains(*place));
        }
    }
}
