//! The DATA pump: content from the client through the filters to the upstream, in one task, with no queue between
//! the legs: the upstream's `write_all` is the whole backpressure.
//!
//! Stream mode holds nothing back but a header block; with a filter at `message` a copy is kept and the final dot
//! waits for its verdict. Hold mode takes the message whole, lets filters edit it, and only then says DATA upstream.
//! Whatever goes wrong, the client's octets are read to their end before it is answered, and an upstream that is
//! inside DATA is left without a dot.

mod finish;
mod head;
mod intake;

use crate::chain::{BodyMode, Call, Context, Held, SessionChain};
use crate::config::BareLineEnds;
use crate::config::Config;
use crate::mail::{AbortReason, Stage};
use crate::session::weigh::{Weighed, weigh};
use crate::session::{BodyOutcome, BodyPlan, Session};
use crate::smtp::body::{BareEnds, Normalizer, Stuffer, unstuff_into};
use crate::smtp::{Reply, replies};

use super::buffers::BodyBuffers;
use super::client::ClientIo;
use super::leg::Leg;
use super::record::Record;
use head::Head;
use intake::{Broken, Intake, Piece, Then};

/// A body chunk as filters see it (filters/wit/filter.wit, on-body).
const CHUNK_BYTES_MAX: usize = 64 * 1_024;

/// What the pump works with; it owns none of it.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) io: &'a mut ClientIo,
    pub(super) leg: &'a mut Leg,
    pub(super) chain: &'a mut SessionChain,
    pub(super) session: &'a Session,
    pub(super) config: &'a Config,
    pub(super) record: &'a mut Record,
    pub(super) buffers: &'a BodyBuffers,
    pub(super) context: Context,
    /// Our trace field, with its CRLF.
    pub(super) received: String,
}

#[derive(Debug)]
pub(super) struct Transfer<'a> {
    with: Parts<'a>,
    plan: BodyPlan,
    mode: BodyMode,
    intake: Intake,
    course: Course,
    stuffer: Stuffer,
    /// Only where the policy for bare line ends is `normalize`.
    normalizer: Option<Normalizer>,
    /// Whether a large buffer is lent to the client's side.
    lent: bool,
}

/// What happens to content now.
#[derive(Debug)]
enum Course {
    /// The header block is not complete.
    Head(Head),
    /// To the upstream as it comes; with a copy when a filter wants to see the message before the dot.
    Forward(Option<Box<Held>>),
    /// Kept until the filters have spoken.
    Hold(Box<Held>),
    /// Read and thrown away; this is how it ends.
    Drain(Fate),
}

/// How it ends for the client.
#[derive(Debug)]
struct Fate {
    reply: Reply,
    aborted: Option<AbortReason>,
    close: bool,
}

impl Fate {
    fn refused(reply: Reply) -> Fate {
        Fate { reply, aborted: Some(AbortReason::Refused), close: false }
    }

    fn upstream_failed(reply: Reply) -> Fate {
        Fate { reply, aborted: Some(AbortReason::UpstreamFailed), close: false }
    }

    fn discarded() -> Fate {
        Fate { reply: replies::DISCARDED, aborted: None, close: false }
    }

    /// What a verdict on content comes to; None when nobody objects.
    fn weigh(stage: Stage, verdict: crate::mail::Verdict) -> Option<Fate> {
        match weigh(stage, verdict) {
            Weighed::Pass => None,
            Weighed::Refuse(reply) => Some(Fate::refused(reply)),
            Weighed::Disconnect(reply) => Some(Fate { close: true, ..Fate::refused(reply) }),
            Weighed::Discard => Some(Fate::discarded()),
        }
    }
}

impl<'a> Transfer<'a> {
    pub(super) fn new(with: Parts<'a>, plan: BodyPlan) -> Transfer<'a> {
        let policy = with.session.limits().bare_line_ends;
        let (bare, normalizer) = match policy {
            BareLineEnds::Reject => (BareEnds::Refuse, None),
            BareLineEnds::Normalize => (BareEnds::Allow, Some(Normalizer::new())),
        };
        let intake = Intake::new(bare, with.config.timeouts.data);
        let mode = with.chain.body_mode();
        let course = Course::Head(Head::default());
        Transfer { with, plan, mode, intake, course, stuffer: Stuffer::default(), normalizer, lent: false }
    }

    /// Takes one message from 354 to the answer to its final dot.
    pub(super) async fn run(mut self) -> BodyOutcome {
        self.with.io.queue(&replies::START_MAIL_INPUT);
        if self.with.io.flush().await.is_err() {
            return self.broken(Broken::Gone).await;
        }
        if self.plan == BodyPlan::Discard {
            self.turn(Fate::discarded()).await;
        }
        let outcome = loop {
            let piece = match self.intake.next(self.with.io).await {
                Ok(piece) => piece,
                Err(broken) => break self.broken(broken).await,
            };
            self.take(piece).await;
            if let Err(broken) = self.intake.used(self.with.io, piece) {
                break self.broken(broken).await;
            }
            let closing = matches!(&self.course, Course::Drain(fate) if fate.close);
            if closing || matches!(piece.then, Then::End { .. }) {
                break self.finish().await;
            }
            self.lend();
        };
        if self.lent {
            self.with.buffers.give(self.with.io.unlend());
        }
        self.with.record.received(self.intake.octets);
        outcome
    }

    /// A body that is not over with its first piece flows through a large buffer.
    fn lend(&mut self) {
        if !self.lent {
            self.with.io.lend(self.with.buffers.take());
            self.lent = true;
        }
    }

    /// One piece on its way.
    async fn take(&mut self, piece: Piece) {
        // Before anything of it goes upstream: its terminator may be part of it.
        let octets = self.intake.octets.saturating_add(piece.content);
        if self.with.session.limits().message_bytes.is_some_and(|max| octets > max) {
            self.turn(Fate::refused(replies::MESSAGE_TOO_BIG)).await;
        }
        match &self.course {
            Course::Drain(_) => {}
            Course::Head(_) => self.take_head(piece).await,
            Course::Forward(_) => self.take_forward(piece).await,
            Course::Hold(_) => self.take_hold(piece).await,
        }
        if let Then::Bad(kind) = piece.then {
            self.turn(Fate::refused(kind.reply())).await;
        }
    }

    /// From here on the content is only read to its end. An upstream inside DATA sees the connection close; one
    /// that is not is told to forget the transaction.
    async fn turn(&mut self, fate: Fate) {
        if matches!(self.course, Course::Drain(_)) {
            return;
        }
        self.intake.skip();
        self.course = Course::Drain(fate);
        if self.plan == BodyPlan::Stream {
            self.with.leg.abort();
        } else {
            self.with.leg.reset().await;
        }
    }

    /// The piece as content: unstuffed, and normalised where the operator wants that.
    fn content_of(&mut self, piece: Piece) -> Vec<u8> {
        let wire = self.with.io.waiting().get(..piece.wire).unwrap_or_default();
        let mut content = Vec::with_capacity(wire.len());
        unstuff_into(wire, piece.at_line_start, &mut content);
        match &mut self.normalizer {
            None => content,
            Some(normalizer) => {
                let mut normal = Vec::with_capacity(content.len() + 64);
                normalizer.push(&content, &mut normal);
                normal
            }
        }
    }

    async fn take_forward(&mut self, piece: Piece) {
        let Course::Forward(copy) = &mut self.course else { return };
        let mut copy = copy.take();
        let wants_body = self.with.chain.wants(Stage::Body);
        if wants_body || copy.is_some() || self.normalizer.is_some() {
            let content = self.content_of(piece);
            if let Some(held) = &mut copy
                && let Err(error) = held.body.append(&content).await
            {
                return self.turn(self.spool_failed(&error)).await;
            }
            if wants_body && let Some(fate) = self.consult_body(&content).await {
                return self.turn(fate).await;
            }
            if self.normalizer.is_some() {
                let mut wire = Vec::with_capacity(content.len() + 64);
                self.stuffer.push(&content, &mut wire);
                if copy.is_none() && matches!(piece.then, Then::End { .. }) {
                    wire.extend_from_slice(b".\r\n");
                }
                self.course = Course::Forward(copy);
                return self.send(&wire).await;
            }
        }
        // The wire form goes on as it came; its own terminator with it, unless the dot has to wait.
        let terminator = match piece.then {
            Then::End { terminator } if copy.is_none() => terminator,
            _ => 0,
        };
        self.course = Course::Forward(copy);
        let wire = self.with.io.waiting().get(..piece.wire + terminator).unwrap_or_default();
        if let Err(reply) = self.with.leg.content(wire).await {
            self.turn(Fate::upstream_failed(reply)).await;
        }
    }

    async fn send(&mut self, wire: &[u8]) {
        if let Err(reply) = self.with.leg.content(wire).await {
            self.turn(Fate::upstream_failed(reply)).await;
        }
    }

    async fn take_hold(&mut self, piece: Piece) {
        let content = self.content_of(piece);
        if let Some(fate) = self.consult_body(&content).await {
            return self.turn(fate).await;
        }
        let Course::Hold(held) = &mut self.course else { return };
        if let Err(error) = held.body.append(&content).await {
            self.turn(self.spool_failed(&error)).await;
        }
    }

    /// Shows body octets to the filters that want them.
    async fn consult_body(&mut self, content: &[u8]) -> Option<Fate> {
        if !self.with.chain.wants(Stage::Body) {
            return None;
        }
        for chunk in content.chunks(CHUNK_BYTES_MAX) {
            let outcome = self.with.chain.consult(Call::Body(chunk), &self.with.context).await;
            self.with.record.heard(&outcome);
            if let Some(fate) = Fate::weigh(Stage::Body, outcome.verdict) {
                return Some(fate);
            }
        }
        None
    }

    fn spool_failed(&self, error: &std::io::Error) -> Fate {
        tracing::error!(session = %self.with.context.session.id, %error,
            directory = %self.with.config.spool.directory.display(), "a message cannot be kept for its filters");
        Fate::upstream_failed(replies::NO_ROOM)
    }
}
