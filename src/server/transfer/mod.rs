//! The pump: content from the client, by DATA or BDAT, through the filters to the upstream, in one task, with no queue
//! between the legs: the upstream's `write_all` is the whole backpressure.
//!
//! Stream mode holds nothing back but a header block; with a filter at `message` a copy is kept and the final dot
//! waits for its verdict. Hold mode takes the message whole, lets filters edit it, and only then says DATA upstream.
//! Whatever goes wrong, the client's octets are read to their end before it is answered, and an upstream that is
//! inside DATA is left without a dot.

mod finish;
mod head;
mod intake;
mod outbound;
mod patience;
mod quarantine;
mod room;
mod structure;

use std::sync::Arc;

use tokio::time::Instant;

use crate::chain::{BodyMode, Call, Context, Held, SessionChain};
use crate::config::BareLineEnds;
use crate::config::{Config, PolicyStage};
use crate::mail::{AbortReason, Stage};
use crate::session::quarantine::Quarantined;
use crate::session::weigh::{Weighed, weigh};
use crate::session::{BodyOutcome, BodyPlan, Chunk, Question, Session};
use crate::smtp::body::{BareEnds, ContentScanner, DataScanner, Normalizer, unstuff_into};
use crate::smtp::parts::PartScan;
use crate::smtp::{Reply, replies};
use crate::state::answers::Answers;
use crate::state::memory::{Lease, Memory};

use super::buffers::{BodyBuffers, LEND_BYTES_MIN};
use super::client::ClientIo;
use super::delegation::{Delegated, Delegation};
use super::leg::{Leg, Part};
use super::record::Record;
use super::shutdown::Shutdown;
use head::Head;
pub(super) use intake::{Broken, swallow};
use intake::{Counted, Framing, Intake, Piece, Then};
use outbound::Outbound;
pub(super) use patience::Patience;

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
    pub(super) answers: &'a Answers<Question>,
    pub(super) record: &'a mut Record,
    pub(super) buffers: &'a BodyBuffers,
    pub(super) memory: &'a Arc<Memory>,
    pub(super) shutdown: &'a Shutdown,
    /// The whole session's deadline.
    pub(super) overdue: Instant,
    pub(super) stressed: bool,
    pub(super) delegation: &'a Delegation,
    pub(super) delegated: &'a mut Delegated,
    pub(super) context: Context,
}

/// One message on its way: all that has to be known of it between two chunks of BDAT.
#[derive(Debug)]
pub(super) struct Message {
    plan: BodyPlan,
    mode: BodyMode,
    /// Our trace field, with its CRLF.
    received: String,
    intake: Intake,
    course: Course,
    outbound: Outbound,
    /// Only where the policy for bare line ends is `normalize`.
    normalizer: Option<Normalizer>,
    /// Only while there may be parts to count.
    structure: Option<Box<PartScan>>,
    /// Room for a piece as content.
    content: Vec<u8>,
    /// What of the process's memory it has.
    lease: Lease,
    /// Where a filter wants it instead of where it was to go; nobody else is asked about it.
    quarantined: Option<Quarantined>,
    /// When the last chunk was in.
    paused: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Transfer<'a> {
    with: Parts<'a>,
    message: &'a mut Message,
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
}

impl Message {
    /// A message that comes by DATA and its dot.
    pub(super) fn by_dot(with: &Parts<'_>, plan: BodyPlan, received: String) -> Message {
        let (bare, normalizer) = bare_ends(with.session.limits().bare_line_ends);
        Message::new(with, plan, received, Framing::Dots(DataScanner::new(bare)), normalizer)
    }

    /// A message that comes in chunks.
    pub(super) fn by_chunks(with: &Parts<'_>, plan: BodyPlan, received: String) -> Message {
        if with.session.is_binary() {
            let framing = Framing::Chunks(Counted::new(ContentScanner::binary()));
            return Message { outbound: Outbound::chunks(), ..Message::new(with, plan, received, framing, None) };
        }
        let (bare, normalizer) = bare_ends(with.session.limits().bare_line_ends);
        let framing = Framing::Chunks(Counted::new(ContentScanner::new(bare)));
        Message::new(with, plan, received, framing, normalizer)
    }

    fn new(
        with: &Parts<'_>,
        plan: BodyPlan,
        received: String,
        framing: Framing,
        normalizer: Option<Normalizer>,
    ) -> Message {
        Message {
            plan,
            mode: with.body_mode(),
            received,
            intake: Intake::new(framing, Patience::of(with.session, with.config)),
            course: Course::Head(Head::default()),
            outbound: Outbound::dots(),
            normalizer,
            structure: None,
            content: Vec::new(),
            lease: with.memory.message(),
            quarantined: with.session.quarantined().cloned(),
            paused: None,
        }
    }

    /// Of its content that came.
    pub(super) fn octets(&self) -> u64 {
        self.intake.octets
    }

    /// The transaction ended between two chunks. An upstream that has heard a part of the message sees the connection
    /// close: it would take whatever else it heard for content.
    pub(super) fn abandon(self, leg: &mut Leg) {
        if self.plan == BodyPlan::Stream && !matches!(self.course, Course::Drain(_)) {
            leg.abort();
        }
    }
}

fn bare_ends(policy: BareLineEnds) -> (BareEnds, Option<Normalizer>) {
    match policy {
        BareLineEnds::Reject => (BareEnds::Refuse, None),
        BareLineEnds::Normalize => (BareEnds::Allow, Some(Normalizer::new())),
    }
}

impl<'a> Transfer<'a> {
    pub(super) fn new(with: Parts<'a>, message: &'a mut Message) -> Transfer<'a> {
        Transfer { with, message, lent: false }
    }

    /// Takes one message from 354 to the answer to its final dot.
    pub(super) async fn run(mut self) -> BodyOutcome {
        self.with.io.queue(&replies::START_MAIL_INPUT);
        if self.with.io.flush().await.is_err() {
            return self.broken(Broken::Gone).await;
        }
        match self.pump().await {
            Some(outcome) => outcome,
            // Only chunks end before their message.
            None => self.broken(Broken::Gone).await,
        }
    }

    /// Takes one chunk: None when it is in and the message goes on with the next.
    pub(super) async fn chunk(mut self, chunk: Chunk) -> Option<BodyOutcome> {
        self.message.intake.expect(chunk, self.message.paused);
        let outcome = self.pump().await;
        self.message.paused = Some(Instant::now());
        self.message.content = Vec::new();
        self.message.outbound.rest();
        // Less than before always fits.
        let _ = self.account(0);
        outcome
    }

    async fn pump(&mut self) -> Option<BodyOutcome> {
        if self.message.plan == BodyPlan::Discard {
            self.turn(Fate::discarded()).await;
        }
        let outcome = loop {
            let piece = match self.message.intake.next(self.with.io).await {
                Ok(piece) => piece,
                Err(broken) => break Some(self.broken(broken).await),
            };
            self.take(piece).await;
            if let Err(broken) = self.message.intake.used(self.with.io, piece) {
                break Some(self.broken(broken).await);
            }
            let refused = matches!(&self.message.course, Course::Drain(fate) if fate.aborted.is_some());
            let closing = matches!(&self.message.course, Course::Drain(fate) if fate.close);
            match piece.then {
                Then::End { .. } => break Some(self.finish().await),
                Then::NextChunk if refused => break Some(self.finish().await),
                _ if closing => break Some(self.finish().await),
                Then::NextChunk => break None,
                Then::More | Then::Bad(_) => self.lend(piece),
            }
        };
        if std::mem::take(&mut self.lent) {
            self.with.buffers.give(self.with.io.unlend());
        }
        if outcome.is_some() {
            self.with.record.received(self.message.intake.octets);
        }
        outcome
    }

    /// A body that comes faster than small reads take it flows through a large buffer; one that trickles holds none.
    fn lend(&mut self, piece: Piece) {
        if !self.lent && piece.wire >= LEND_BYTES_MIN && self.has_room_for_buffer() {
            self.with.io.lend(self.with.buffers.take());
            self.lent = true;
        }
    }

    /// One piece on its way.
    async fn take(&mut self, piece: Piece) {
        // Before anything of it goes upstream: its terminator may be part of it.
        let octets = self.message.intake.octets.saturating_add(piece.content);
        if self.with.session.limits().message_bytes.is_some_and(|max| octets > max) {
            self.turn(Fate::refused(replies::MESSAGE_TOO_BIG)).await;
        }
        if let Err(fate) = self.account(piece.wire).and_then(|()| self.go_on_with_structure(piece)) {
            self.turn(fate).await;
        }
        // Nor does anything before the bad octet: it may be the dot of what somebody else takes for the end.
        if let Then::Bad(kind) = piece.then {
            return self.turn(Fate::refused(kind.reply())).await;
        }
        match &self.message.course {
            Course::Drain(_) => {}
            Course::Head(_) => self.take_head(piece).await,
            Course::Forward(_) => {
                if let Err(fate) = self.take_forward(piece).await {
                    self.turn(fate).await;
                }
            }
            Course::Hold(_) => {
                if let Err(fate) = self.take_hold(piece).await {
                    self.turn(fate).await;
                }
            }
        }
    }

    /// From here on the content is only read to its end. An upstream inside DATA sees the connection close; one
    /// that is not is told to forget the transaction.
    async fn turn(&mut self, fate: Fate) {
        if matches!(self.message.course, Course::Drain(_)) {
            return;
        }
        self.message.intake.skip();
        self.message.course = Course::Drain(fate);
        if self.message.plan == BodyPlan::Stream {
            self.with.leg.abort();
        } else {
            self.with.leg.reset().await;
        }
    }

    /// The piece as content: unstuffed, and normalised where the operator wants that. It is given back to
    /// `message.content` when it has been used.
    fn content_of(&mut self, piece: Piece) -> Vec<u8> {
        let came = self.with.io.waiting().get(..piece.wire).unwrap_or_default();
        let mut content = std::mem::take(&mut self.message.content);
        content.clear();
        content.reserve(came.len());
        if self.message.intake.is_stuffed() {
            unstuff_into(came, piece.at_line_start, &mut content);
        } else {
            content.extend_from_slice(came);
        }
        if let Some(normalizer) = &mut self.message.normalizer {
            let mut normal = Vec::with_capacity(content.len() + 64);
            normalizer.push(&content, &mut normal);
            content = normal;
        }
        content
    }

    async fn take_forward(&mut self, piece: Piece) -> Result<(), Fate> {
        let dot_waits = matches!(self.message.course, Course::Forward(Some(_)));
        let ends = matches!(piece.then, Then::End { .. }) && !dot_waits;
        let anew = self.message.normalizer.is_some() || piece.lone_dot;
        if dot_waits || anew || self.with.chain.wants(Stage::Body) {
            let content = self.content_of(piece);
            if let Course::Forward(Some(held)) = &mut self.message.course {
                held.body.append(&content).await.map_err(|error| self.with.spool_failed(&error))?;
            }
            self.consult_body(&content).await?;
            if anew {
                let part = if ends { Part::Last } else { Part::More };
                self.message.outbound.send(self.with.leg, &content, part).await?;
                self.message.content = content;
                return Ok(());
            }
            self.message.content = content;
        }
        self.forward(piece, if ends { Part::Last } else { Part::More }).await
    }

    /// What came goes on as it came, where the upstream takes it in that form; of DATA with its own terminator.
    async fn forward(&mut self, piece: Piece, part: Part) -> Result<(), Fate> {
        let (came, behind) = self.with.io.waiting().split_at_checked(piece.wire).unwrap_or_default();
        let outbound = &mut self.message.outbound;
        if !self.message.intake.is_stuffed() {
            return outbound.send(self.with.leg, came, part).await;
        }
        let terminator = match piece.then {
            Then::End { terminator } if part == Part::Last => behind.get(..terminator).unwrap_or_default(),
            _ => b"",
        };
        outbound.send_wire(self.with.leg, came, terminator).await
    }

    async fn take_hold(&mut self, piece: Piece) -> Result<(), Fate> {
        let content = self.content_of(piece);
        self.consult_body(&content).await?;
        if let Course::Hold(held) = &mut self.message.course {
            held.body.append(&content).await.map_err(|error| self.with.spool_failed(&error))?;
        }
        self.message.content = content;
        Ok(())
    }

    /// What a verdict on content comes to: an error is its end.
    fn weigh(&mut self, stage: Stage, verdict: crate::mail::Verdict) -> Result<(), Fate> {
        match weigh(stage, verdict) {
            Weighed::Pass => Ok(()),
            Weighed::Refuse(reply) => Err(Fate::refused(reply)),
            Weighed::Disconnect(reply) => Err(Fate { close: true, ..Fate::refused(reply) }),
            Weighed::Discard => Err(Fate::discarded()),
            Weighed::Quarantine(why) if self.message.plan == BodyPlan::Hold => {
                self.message.quarantined = Some(why);
                Ok(())
            }
            // A part of it is where it was not to go.
            Weighed::Quarantine(_) => Err(Fate::refused(replies::FILTER_DEFERRED)),
        }
    }

    /// Shows body octets to the filters that want them.
    async fn consult_body(&mut self, content: &[u8]) -> Result<(), Fate> {
        if !self.with.chain.wants(Stage::Body) || self.message.quarantined.is_some() {
            return Ok(());
        }
        for chunk in content.chunks(CHUNK_BYTES_MAX) {
            let outcome = self.with.chain.consult(Call::Body(chunk), &self.with.context).await;
            self.with.record.heard(&outcome);
            self.weigh(Stage::Body, outcome.verdict)?;
        }
        Ok(())
    }
}

impl Parts<'_> {
    /// A daemon that is asked at the end of the message keeps the dot waiting, as a filter would.
    fn body_mode(&self) -> BodyMode {
        let mode = self.chain.body_mode();
        if self.is_asked_last() { mode.max(BodyMode::Spooled) } else { mode }
    }

    fn is_asked_last(&self) -> bool {
        self.delegation.wants(&self.context.session.listener, PolicyStage::EndOfMessage)
    }

    fn spool_failed(&self, error: &std::io::Error) -> Fate {
        tracing::error!(session = %self.context.session.id, %error,
            directory = %self.config.spool.directory.display(), "a message cannot be kept for its filters");
        Fate::upstream_failed(replies::NO_ROOM)
    }
}
