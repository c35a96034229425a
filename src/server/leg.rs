//! The upstream side of one session: at most one connection, made when it is needed, dropped when in doubt.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::mail::SessionFacts;
use crate::report::Metrics;
use crate::session::{Errand, Purpose, Unreached};
use crate::smtp::ehlo::Offer;
use crate::smtp::{Reply, replies};
use crate::upstream::{Connection, Telling, UpstreamError, Upstreams, Wait, agreed};

/// Lines that leave in one write; a longer group goes in several.
const GROUP_BYTES_MAX: usize = 16 * 1_024;

#[derive(Debug)]
pub(super) struct Leg {
    upstreams: Upstreams,
    connection: Option<Box<Connection>>,
    /// Which upstream the connection is to, and what for.
    at: usize,
    purpose: Purpose,
    /// Whom the connection knows as its client.
    who: Option<Arc<SessionFacts>>,
    group: Lines,
    /// The answers to the last message.
    each: Vec<Reply>,
    metrics: Metrics,
    account: Account,
}

/// Command lines on their way, and the answers that are due.
#[derive(Debug, Default)]
struct Lines {
    /// Not sent yet.
    octets: Vec<u8>,
    due: VecDeque<Errand>,
    /// Its MAIL was refused by an upstream that takes one command at a time: the rest is not said.
    refused: bool,
}

/// For the line about the transaction.
#[derive(Debug, Default)]
struct Account {
    /// Spent waiting for the upstream.
    waited: Duration,
    /// Its last answer that matters: a refusal, or the one to the message.
    last: Option<Box<Reply>>,
}

/// Whether the message ends with these octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    More,
    Last,
}

impl Leg {
    pub(super) fn new(upstreams: Upstreams, metrics: Metrics) -> Leg {
        Leg {
            upstreams,
            connection: None,
            at: 0,
            purpose: Purpose::Session,
            who: None,
            group: Lines::default(),
            each: Vec::new(),
            metrics,
            account: Account::default(),
        }
    }

    /// A transaction begins: what was said and waited for before is not its.
    pub(super) fn begin_account(&mut self) {
        self.account = Account::default();
    }

    /// The upstream's last answer that matters and the time it took altogether, since the last account.
    pub(super) fn take_account(&mut self) -> (Option<Reply>, Duration) {
        let Account { waited, last } = std::mem::take(&mut self.account);
        (last.map(|reply| *reply), waited)
    }

    /// What the session's one upstream offers, without a connection where an answer is young enough. Before a login
    /// that is still to come (`Postpone`) the upstream is only asked, not yet told who the client is: a Postfix that
    /// has been told cannot be told again, and the connection would be lost to the login.
    pub(super) async fn offer(
        &mut self,
        who: &Arc<SessionFacts>,
        at: usize,
        telling: Telling,
    ) -> Result<Arc<Offer>, Unreached> {
        match self.upstreams.at(at).fresh_offer() {
            Some(offer) if self.connection.is_none() => Ok(offer),
            _ => self.reach(who, at, Purpose::Session, telling).await,
        }
    }

    /// What all of these upstreams offer, asked in nobody's name. Of those that are away it is what they offered last;
    /// the reason of the last failure where nothing is known of any.
    pub(super) async fn common_offer(&mut self, among: &[usize]) -> Result<Arc<Offer>, Unreached> {
        let mut common: Option<Arc<Offer>> = None;
        let mut failure = Unreached { reply: replies::UPSTREAM_AWAY, last_known: None };
        for &at in among {
            let upstream = self.upstreams.at(at);
            let offer = match upstream.learn_offer().await {
                Ok(offer) => Some(offer),
                Err(error) => {
                    self.note(&error);
                    failure.reply = error.reply();
                    self.upstreams.at(at).last_offer()
                }
            };
            common = match (common, offer) {
                (Some(common), Some(offer)) => Some(Arc::new(common.common(&offer))),
                (common, offer) => common.or(offer),
            };
        }
        common.ok_or(failure)
    }

    /// A connection (that knows who the client is now). One that has died while idle is replaced: nothing of this
    /// transaction was said in it.
    pub(super) async fn reach(
        &mut self,
        who: &Arc<SessionFacts>,
        at: usize,
        purpose: Purpose,
        telling: Telling,
    ) -> Result<Arc<Offer>, Unreached> {
        let began = Instant::now();
        if self.at != at {
            self.quit().await;
        }
        (self.at, self.purpose, self.who) = (at, purpose, Some(Arc::clone(who)));
        let result = self.try_reach(who, telling).await;
        self.account.waited += began.elapsed();
        result.map_err(|error| {
            self.note(&error);
            Unreached { reply: error.reply(), last_known: self.upstreams.at(at).last_offer() }
        })
    }

    async fn try_reach(&mut self, who: &SessionFacts, telling: Telling) -> Result<Arc<Offer>, UpstreamError> {
        if let Some(mut connection) = self.connection.take()
            && connection.is_alive()
            && (telling == Telling::Postpone || connection.identify(who).await.is_ok())
        {
            let offer = connection.offer();
            self.connection = Some(connection);
            return Ok(offer);
        }
        let connection = Box::new(self.upstreams.at(self.at).acquire(who, telling).await?);
        let offer = connection.offer();
        self.connection = Some(connection);
        Ok(offer)
    }

    /// Whether only answers about recipients are wanted.
    pub(super) fn is_asking(&self) -> bool {
        self.purpose == Purpose::Question && self.connection.is_some()
    }

    /// Between transactions: a connection that was for one of them only goes where the next client can have it. One
    /// that no other client can have is kept for this one.
    pub(super) fn may_let_go(&self) -> bool {
        let mine = self.purpose == Purpose::Session;
        !mine && self.connection.as_ref().is_some_and(|connection| connection.is_shareable())
    }

    /// A line for the upstream, with its CRLF. It leaves when the first answer is asked for.
    pub(super) fn queue(&mut self, errand: Errand, line: &[u8]) {
        self.group.octets.extend_from_slice(line);
        self.group.due.push_back(errand);
    }

    /// Whether more lines may leave together with those that are queued.
    pub(super) fn is_collecting(&self) -> bool {
        let unsent = !self.group.octets.is_empty() && self.group.octets.len() < GROUP_BYTES_MAX;
        unsent && self.connection.as_ref().is_some_and(|connection| connection.pipelines())
    }

    /// The next of the answers that are due; what is queued leaves first. After a failure the connection is gone, and
    /// so are the answers behind this one.
    pub(super) async fn answer(&mut self) -> Result<Reply, Reply> {
        let began = Instant::now();
        let Some(errand) = self.group.due.pop_front() else { return Err(replies::UPSTREAM_LOST) };
        let result = self.next_answer(errand).await;
        self.account.waited += began.elapsed();
        if self.group.due.is_empty() {
            self.group.octets = Vec::new();
            self.group.refused = false;
            if self.purpose == Purpose::Question {
                Box::pin(self.end_question()).await;
            }
        }
        let reply = result?;
        if reply.code >= 400 {
            self.account.last = Some(Box::new(reply.clone()));
        }
        // A connection that will not forget a transaction is of no use for the next one.
        if errand == Errand::Rset && reply.class() != 2 {
            self.abort();
        }
        Ok(reply)
    }

    async fn next_answer(&mut self, errand: Errand) -> Result<Reply, Reply> {
        let Some(connection) = &mut self.connection else { return Err(replies::UPSTREAM_LOST) };
        if self.group.refused {
            return Ok(replies::NEED_MAIL);
        }
        let (lines, count) = if connection.pipelines() {
            let count = u16::try_from(self.group.due.len() + 1).unwrap_or(u16::MAX);
            let mut lines = std::mem::take(&mut self.group.octets);
            if self.purpose == Purpose::Question && !lines.is_empty() {
                lines.extend_from_slice(b"RSET\r\n");
                (lines, count.saturating_add(1))
            } else {
                (lines, count)
            }
        } else {
            let end = self.group.octets.iter().position(|&octet| octet == b'\n').map_or(0, |at| at + 1);
            (self.group.octets.drain(..end).collect(), 1)
        };
        let wait = wait_for(errand);
        let result = match say(connection, &lines, count, wait).await {
            // It was idle, and is gone: nothing of this transaction was ever answered in it.
            Err(error) if errand == Errand::Mail && connection.is_reused() && error.is_farewell() => {
                Box::pin(self.say_anew(&lines, count, error)).await
            }
            result => result,
        };
        match result {
            Ok(reply) => {
                self.group.refused = errand == Errand::Mail && reply.class() != 2 && !self.group.octets.is_empty();
                Ok(reply)
            }
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// The answers are in; the connection is somebody else's again.
    async fn end_question(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // Where groups are taken, it was said with the last one.
        let reset = if connection.pipelines() {
            connection.reply(Wait::Rset).await
        } else {
            connection.command(b"RSET\r\n", Wait::Rset).await
        };
        if reset.is_ok_and(|reply| reply.class() == 2) {
            connection.release().await;
        }
    }

    /// The same once more, quietly, in another connection, if that offers the same.
    async fn say_anew(&mut self, lines: &[u8], count: u16, error: UpstreamError) -> Result<Reply, UpstreamError> {
        let before = self.connection.take().map(|connection| connection.offer());
        let Some(who) = self.who.clone() else { return Err(error) };
        let mut connection = Box::new(self.upstreams.at(self.at).acquire(&who, Telling::Now).await?);
        if before.is_none_or(|before| *before != *connection.offer()) {
            return Err(error);
        }
        let result = say(&mut connection, lines, count, Wait::Mail).await;
        self.connection = Some(connection);
        result
    }

    /// One line and its answer.
    pub(super) async fn forward(&mut self, errand: Errand, line: &[u8]) -> Result<Reply, Reply> {
        self.queue(errand, line);
        self.answer().await
    }

    /// Says these lines in as few writes as can be; whether all of them were answered 2xx.
    pub(super) async fn replay(&mut self, lines: &[Vec<u8>]) -> Result<bool, Reply> {
        let mut agreed = true;
        let mut waiting = lines.iter().peekable();
        while let Some(line) = waiting.next() {
            self.queue(Errand::of_line(line), line);
            if waiting.peek().is_some() && self.is_collecting() {
                continue;
            }
            while !self.group.due.is_empty() {
                let answer = self.answer().await;
                if answer.is_err() {
                    // Nobody will ask for the others.
                    self.group = Lines::default();
                }
                agreed &= answer?.class() == 2;
            }
            if !agreed {
                return Ok(false);
            }
        }
        Ok(agreed)
    }

    /// Ends a DATA that has no recipient (RFC 2920 3.1). Whatever the upstream says, there is nobody to deliver to;
    /// one that does not end it is left.
    pub(super) async fn lone_dot(&mut self) {
        if self.content(&mut [IoSlice::new(b".\r\n")]).await.is_ok() {
            let _ = self.final_reply().await;
            self.each.clear();
        }
    }

    /// Content octets in wire form, in one write.
    pub(super) async fn content(&mut self, slices: &mut [IoSlice<'_>]) -> Result<(), Reply> {
        let Some(connection) = &mut self.connection else { return Err(replies::UPSTREAM_LOST) };
        match connection.write_slices(slices).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// A chunk by BDAT.
    pub(super) async fn chunk(&mut self, octets: &[u8], part: Part) -> Result<(), Reply> {
        let Some(connection) = &mut self.connection else { return Err(crate::smtp::replies::UPSTREAM_LOST) };
        let last = if part == Part::Last { " LAST" } else { "" };
        let line = format!("BDAT {}{last}\r\n", octets.len());
        match connection.send_chunk(&mut [IoSlice::new(line.as_bytes()), IoSlice::new(octets)]).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// The answer to a chunk; to the last one it is the answer to the message.
    pub(super) async fn chunk_reply(&mut self, part: Part) -> Result<Reply, Reply> {
        let Some(connection) = &mut self.connection else { return Err(crate::smtp::replies::UPSTREAM_LOST) };
        let began = Instant::now();
        let result = connection.reply(if part == Part::Last { Wait::Final } else { Wait::Chunk }).await;
        self.account.waited += began.elapsed();
        match result {
            Ok(reply) => {
                if part == Part::Last || reply.code >= 400 {
                    self.account.last = Some(Box::new(reply.clone()));
                }
                Ok(reply)
            }
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// The answer to the final dot.
    pub(super) async fn final_reply(&mut self) -> Result<Reply, Reply> {
        let Some(connection) = &mut self.connection else { return Err(replies::UPSTREAM_LOST) };
        let began = Instant::now();
        let result = connection.final_replies().await;
        self.account.waited += began.elapsed();
        match result {
            Ok(replies) => {
                let reply = agreed(&replies).unwrap_or(replies::UPSTREAM_NONSENSE);
                self.account.last = Some(Box::new(reply.clone()));
                self.each = replies;
                Ok(reply)
            }
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// What the upstream said to each recipient about the last message; one answer where it is not LMTP.
    pub(super) fn take_each(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.each)
    }

    fn lost(&mut self, error: &UpstreamError) -> Reply {
        self.note(error);
        self.abort();
        error.reply()
    }

    fn note(&mut self, error: &UpstreamError) {
        self.metrics.upstream_error(error.kind());
        tracing::debug!(%error, "the upstream failed");
    }

    /// Has the upstream forget the transaction; a connection that will not is dropped.
    pub(super) async fn reset(&mut self) {
        if self.connection.is_none() {
            return;
        }
        match self.forward(Errand::Rset, b"RSET\r\n").await {
            Ok(reply) if reply.class() == 2 => {}
            Ok(_) | Err(_) => self.abort(),
        }
    }

    /// Closes without a word: inside DATA the upstream must never see a dot.
    pub(super) fn abort(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.abort();
        }
    }

    /// The session is over.
    pub(super) async fn quit(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.release().await;
        }
    }
}

/// Sends what there is to send, reads one answer.
async fn say(connection: &mut Connection, lines: &[u8], count: u16, wait: Wait) -> Result<Reply, UpstreamError> {
    if !lines.is_empty() {
        connection.send(lines, count, wait).await?;
    }
    connection.reply(wait).await
}

fn wait_for(errand: Errand) -> Wait {
    match errand {
        Errand::Mail => Wait::Mail,
        Errand::Rcpt => Wait::Rcpt,
        Errand::Data => Wait::Data,
        Errand::Rset => Wait::Rset,
    }
}
