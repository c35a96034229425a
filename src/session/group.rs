//! A pipelined group (RFC 2920): what has been sent upstream and is not answered yet, and what of ours has to wait for
//! its turn behind that.
//!
//! MAIL, RCPT … DATA of one packet are checked, and shown to the filters, command by command; they go upstream in one
//! write, and their answers come back here one by one. While they are out, a command is judged as if those before it
//! had been accepted; when it turns out that they were not, its own answer says so.

use std::collections::VecDeque;

use crate::config::Connect;
use crate::mail::AbortReason;
use crate::smtp::{Reply, replies};

use super::phase::{Pending, Phase, Rcpt};
use super::rcpt::tell;
use super::{Chunk, Session, Step};

/// Commands of one group; those behind them form the next one.
const GROUP_COMMANDS_MAX: usize = 64;

/// What the client is still to hear, in order.
#[derive(Debug)]
pub(super) enum Awaited {
    /// The upstream's answer to MAIL.
    Mail,
    /// The same, where the client has its 250 already.
    HeldMail,
    /// Its answer to RCPT, and to those that filters added before it.
    Rcpt(Box<Rcpt>),
    Data,
    /// The upstream's answer to the DATA that goes before the first chunk.
    Bdat(Chunk),
    /// RSET for a transaction whose chunk is refused: it is read and answered with these.
    ChunkRefused(Chunk, Vec<Reply>),
    /// RSET: whatever the upstream says, this comes next.
    Reset(AfterReset),
    /// Our own words, if there is a transaction by then.
    Said(Reply),
    /// The same, and counted as an error.
    Refused(Reply),
    /// This was no command, whatever went before.
    Unparsed(Reply),
    /// Our own, and the last.
    Part(Reply, AbortReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterReset {
    /// It was RSET.
    Ok,
    /// It was HELO or EHLO (RFC 5321 4.1.4).
    Hello,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    awaited: VecDeque<Awaited>,
    /// The command at hand came while answers to those before it are out.
    pub(super) ahead: bool,
    void: Option<Void>,
    /// MAIL goes first, and then this.
    pub(super) behind_mail: Option<Box<Rcpt>>,
}

/// MAIL was refused, or its connection lost: what everything of this group behind it is answered.
#[derive(Debug)]
struct Void {
    reply: Reply,
    /// Whether our own answers give way to it, too: not where the client has heard 250 to MAIL.
    ours: bool,
}

impl Group {
    pub(super) fn push(&mut self, awaited: Awaited) {
        self.ahead = false;
        self.awaited.push_back(awaited);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Recipients whose answers are out.
    pub(super) fn recipients(&self) -> usize {
        self.rcpts().count()
    }

    pub(super) fn rcpts(&self) -> impl Iterator<Item = &Rcpt> {
        self.awaited.iter().filter_map(|awaited| if let Awaited::Rcpt(rcpt) = awaited { Some(&**rcpt) } else { None })
    }

    /// What is answered next.
    pub(super) fn next(&self) -> Option<&Awaited> {
        self.awaited.front()
    }

    /// MAIL has not been refused.
    pub(super) fn stands(&self) -> bool {
        self.void.is_none()
    }

    pub(super) fn void_from_held(&mut self, reply: Reply) {
        self.void = Some(Void { reply, ours: false });
    }

    /// Whether a line behind what is out could be refused by what is out in a way that changes its meaning.
    fn is_open(&self) -> bool {
        match self.awaited.back() {
            Some(Awaited::Rcpt(rcpt)) => rcpt.to_add.is_empty(),
            Some(Awaited::Mail | Awaited::Said(_) | Awaited::Refused(_) | Awaited::Unparsed(_)) => true,
            Some(Awaited::HeldMail | Awaited::Data | Awaited::Reset(_) | Awaited::Part(..)) | None => false,
            // The client's next octets are no command.
            Some(Awaited::Bdat(_) | Awaited::ChunkRefused(..)) => false,
        }
    }
}

impl Session {
    /// Whether this command line may be handled before the answers that are out have come. `data` says whether DATA
    /// may: not where a filter is to hear of it, or takes the message first.
    #[must_use]
    pub fn joins(&self, line: &[u8], data: bool) -> bool {
        let Phase::Addressed(transaction) = &self.phase else { return false };
        if transaction.lost.is_some() || !self.group.is_open() || self.group.awaited.len() >= GROUP_COMMANDS_MAX {
            return false;
        }
        let recipients = transaction.envelope.recipients.len() + self.group.recipients();
        if line.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"RCPT ")) {
            let settled = self.group.recipients() == 0 || !transaction.awaits_first();
            return settled && self.recipients_max().is_none_or(|max| recipients < max);
        }
        data && recipients > 0 && transaction.to.connect != Connect::Deferred && line.eq_ignore_ascii_case(b"DATA")
    }

    /// The next answer of the upstream is here.
    pub(super) fn settle(&mut self, answer: Result<Reply, Reply>) -> Step {
        let Some(awaited) = self.group.awaited.pop_front() else {
            return self.part(replies::INTERNAL_ERROR, AbortReason::UpstreamFailed);
        };
        if let (Some(void), Awaited::Rcpt(_) | Awaited::Data) = (&self.group.void, &awaited) {
            let void = void.reply.clone();
            let told = if let Awaited::Rcpt(rcpt) = &awaited { self.to_tell(rcpt, &void) } else { None };
            let then = self.settle_void(void, &answer);
            return tell(told, then);
        }
        match awaited {
            Awaited::Mail => self.settle_mail(answer),
            Awaited::HeldMail => self.settle_held_mail(answer),
            Awaited::Rcpt(rcpt) => self.settle_rcpt(rcpt, answer),
            Awaited::Data => self.settle_data(answer),
            Awaited::Bdat(chunk) => self.settle_bdat(chunk, answer),
            Awaited::ChunkRefused(chunk, answers) => self.swallow(chunk, answers),
            Awaited::Reset(AfterReset::Ok) => self.settle_rset(),
            Awaited::Reset(AfterReset::Hello) => self.helo_after_reset(),
            Awaited::Said(_) | Awaited::Refused(_) | Awaited::Unparsed(_) | Awaited::Part(..) => {
                self.part(replies::INTERNAL_ERROR, AbortReason::UpstreamFailed)
            }
        }
    }

    /// There is no transaction for this command. An upstream that thinks there is one is left.
    fn settle_void(&mut self, void: Reply, answer: &Result<Reply, Reply>) -> Step {
        if answer.as_ref().is_ok_and(|reply| reply.code < 400) { self.forsake(void) } else { self.relay_reply(void) }
    }

    /// Nothing that stands in the upstream connection is to come of anything; then the client hears this.
    pub(super) fn forsake(&mut self, reply: Reply) -> Step {
        let ours = if reply.code < 500 { Awaited::Said(reply) } else { Awaited::Refused(reply) };
        self.group.awaited.push_front(ours);
        self.pending = Pending::Group;
        Step::Forsake
    }

    /// Everything of this group behind MAIL hears this.
    pub(super) fn void_group(&mut self, reply: Reply) {
        self.group.void = (!self.group.is_empty()).then_some(Void { reply, ours: true });
    }

    /// A lone dot ends the upstream's DATA (it took no recipient), then the client hears this.
    pub(super) fn lone_dot(&mut self, reply: Reply) -> Step {
        self.group.awaited.push_front(Awaited::Refused(reply));
        self.pending = Pending::Group;
        Step::LoneDot
    }

    /// Goes on with what the client is still to hear.
    pub(super) fn advance(&mut self) -> Step {
        self.pending = Pending::Group;
        if self.group.awaited.front().is_some_and(Awaited::is_ours) {
            return match self.group.awaited.pop_front() {
                Some(Awaited::Said(reply) | Awaited::Refused(reply)) if self.group.void.is_some() => {
                    let void = self.group.void.as_ref().filter(|void| void.ours);
                    self.relay_reply(void.map_or(reply, |void| void.reply.clone()))
                }
                Some(Awaited::Said(reply)) => self.say(reply),
                Some(Awaited::Refused(reply) | Awaited::Unparsed(reply)) => self.refuse(reply),
                Some(Awaited::Part(reply, reason)) => self.part(reply, reason),
                _ => self.part(replies::INTERNAL_ERROR, AbortReason::UpstreamFailed),
            };
        }
        if let Some(rcpt) = self.group.behind_mail.take() {
            return self.forward_rcpt(rcpt);
        }
        if self.group.is_empty() {
            self.group_is_over();
            self.pending = Pending::Command;
            return Step::Listen;
        }
        Step::Await
    }

    /// A reply to the client, in its turn.
    pub(super) fn say(&mut self, reply: Reply) -> Step {
        if self.group.ahead {
            return self.wait_for_turn(Awaited::Said(reply));
        }
        if self.group.is_empty() {
            self.group_is_over();
            self.pending = Pending::Command;
            return Step::Reply(reply);
        }
        self.pending = Pending::Group;
        Step::Said(reply)
    }

    /// A deferred transaction ends upstream with each group.
    fn group_is_over(&mut self) {
        self.group.void = None;
        if let Phase::Addressed(transaction) = &mut self.phase
            && transaction.to.connect == Connect::Deferred
        {
            transaction.to.said = false;
        }
    }

    /// What is out has to be answered first.
    pub(super) fn wait_for_turn(&mut self, ours: Awaited) -> Step {
        self.group.push(ours);
        self.pending = Pending::Group;
        Step::Await
    }

    /// A line goes upstream; this is what its answer will be about.
    pub(super) fn forward(&mut self, awaited: Awaited, line: Vec<u8>) -> Step {
        let errand = awaited.errand();
        self.group.push(awaited);
        self.pending = Pending::Group;
        Step::Forward(errand, line)
    }
}

impl Awaited {
    fn is_ours(&self) -> bool {
        matches!(self, Awaited::Said(_) | Awaited::Refused(_) | Awaited::Unparsed(_) | Awaited::Part(..))
    }

    fn errand(&self) -> super::Errand {
        match self {
            Awaited::Mail | Awaited::HeldMail => super::Errand::Mail,
            Awaited::Rcpt(_) => super::Errand::Rcpt,
            Awaited::Data | Awaited::Bdat(_) => super::Errand::Data,
            _ => super::Errand::Rset,
        }
    }
}
