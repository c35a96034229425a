//! One filter in one session: its instance, and whether it still wants to be asked.

use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::when::Away;
use crate::config::Lifetime;
use crate::filter::{Answer, Ask, Instance, Program, StageSet, Work};
use crate::mail::{Fault, Stage};

/// The stages of one transaction.
pub(super) const IN_TRANSACTION: StageSet = StageSet::NONE
    .with(Stage::Mail)
    .with(Stage::Rcpt)
    .with(Stage::RcptReply)
    .with(Stage::Data)
    .with(Stage::Headers)
    .with(Stage::Body)
    .with(Stage::Message);

/// Stages that tell and do not ask.
pub(super) const REPORTS: StageSet =
    StageSet::NONE.with(Stage::RcptReply).with(Stage::Reply).with(Stage::Abort).with(Stage::Quit);

/// A filter's place in a session.
#[derive(Debug, Default)]
pub(super) struct Link {
    instance: Option<Box<Instance>>,
    pub away: Away,
    /// `accept` before a transaction: content with the session.
    content_with_session: bool,
    /// `accept` in the transaction at hand.
    content: bool,
    /// `skip`: no more of this message's body.
    skips_body: bool,
    /// A fault with `on-fault = "next"`: not asked again in this transaction.
    broken: bool,
    /// Of the transaction at hand (before it: of the session).
    pub calls: u32,
    pub time: Duration,
}

impl Link {
    /// Octets of its instance's linear memories, while it has one.
    pub(super) fn memory_bytes(&self) -> usize {
        self.instance.as_ref().map_or(0, |instance| instance.memory_bytes())
    }

    pub(super) fn of(program: &Program) -> Link {
        Link { away: Away::of(program), ..Link::default() }
    }

    /// It does not run in this session (any more).
    pub(super) fn let_go(&mut self) {
        self.instance = None;
    }

    /// A transaction begins or ends.
    pub(super) fn reset(&mut self, lifetime: Lifetime) {
        self.away.reset(self.calls);
        self.content = false;
        self.skips_body = false;
        self.broken = false;
        if lifetime == Lifetime::Transaction {
            self.instance = None;
        }
    }

    /// Whether the filter, if it exports `stage`, is to be asked.
    pub(super) fn wants(&self, stage: Stage) -> bool {
        if self.away.from(stage, self.calls) {
            return false;
        }
        // A new transaction forgets what was in the last one.
        if stage == Stage::Mail {
            return !self.content_with_session;
        }
        if self.broken {
            return false;
        }
        if REPORTS.contains(stage) {
            return true;
        }
        !(self.content_with_session || self.content || (stage == Stage::Body && self.skips_body))
    }

    /// `accept`.
    pub(super) fn accept(&mut self, stage: Stage) {
        if IN_TRANSACTION.contains(stage) { self.content = true } else { self.content_with_session = true }
    }

    /// `skip`.
    pub(super) fn skip_body(&mut self) {
        self.skips_body = true;
    }

    /// A fault, and the mail goes on without this filter.
    pub(super) fn leave_out(&mut self, stage: Stage) {
        self.broken = IN_TRANSACTION.contains(stage);
    }

    /// Asks the filter, with an instance of the right age.
    pub(super) async fn ask(
        &mut self,
        program: &Program,
        ask: Ask<'_>,
        work: &mut Option<Box<Work>>,
        now: Instant,
        deadline: Instant,
    ) -> Result<Option<Box<Answer>>, Box<Fault>> {
        let stage = ask.stage();
        let lifetime = program.profile().config.lifetime;
        // A shared instance has its place only while it is asked: whoever waits for one gets it after the call.
        let (idle, mut place) = match lifetime {
            Lifetime::Shared => {
                let place = program.place(stage, deadline).await?;
                (program.take_idle(), Some(place))
            }
            Lifetime::Session | Lifetime::Transaction => (self.instance.take(), None),
        };
        // An `unknown` in the middle of a transaction is no end of it.
        let stays = idle.is_some() || IN_TRANSACTION.contains(stage);
        // Taken out for the time of the call: if the call is abandoned, so is the instance.
        let mut instance = match idle {
            Some(instance) => instance,
            None => Box::pin(Link::instance(program, stage, &mut place, work, deadline)).await?,
        };
        let answer = instance.ask(program, ask, work, now, deadline).await?;
        match lifetime {
            Lifetime::Shared => program.put_idle(instance),
            Lifetime::Session => self.instance = Some(instance),
            Lifetime::Transaction if stays => self.instance = Some(instance),
            Lifetime::Transaction => {}
        }
        drop(place);
        Ok(answer)
    }

    /// A new instance, which keeps its place unless it is a shared one.
    async fn instance(
        program: &Program,
        stage: Stage,
        place: &mut Option<OwnedSemaphorePermit>,
        work: &mut Option<Box<Work>>,
        deadline: Instant,
    ) -> Result<Box<Instance>, Box<Fault>> {
        let own = if place.is_none() { Some(program.place(stage, deadline).await?) } else { None };
        Instance::new(program, stage, own, work, deadline).await
    }
}
