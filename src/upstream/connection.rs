//! One conversation with the upstream, for one client at a time.
//!
//! It knows which replies are due and refuses everything out of turn, so that a reply to one command can never be
//! taken for the reply to another. After any error it is of no use, and says so.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use super::Telling;
use super::error::UpstreamError;
use super::handover::{Leftover, Wear};
use super::identify::{Attributes, Identity};
use super::judge::judge;
use super::pool::Place;
use super::shared::Shared;
use super::wait::Wait;
use super::wire::Wire;
use crate::config::{Identify, Server, UpstreamProtocol};
use crate::mail::SessionFacts;
use crate::net::stream::Stream;
use crate::smtp::{Offer, Reply};

/// How long a goodbye may take to be written; its answer is not waited for.
const QUIT_WAIT: Duration = Duration::from_secs(1);

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Ours: a command.
    Nothing,
    /// Its: so many replies.
    Replies(u16),
    /// Ours: content, until the final dot is sent; then its: one reply.
    Content,
    /// Nobody's any more.
    Broken,
}

/// Which way this upstream is told who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Xclient,
    Xforward,
    Silent,
}

/// Greeted, with TLS as configured, and (once [`Connection::identify`] has been through) told who the client is.
#[derive(Debug)]
pub struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) wire: Wire,
    pub(super) offer: Arc<Offer>,
    /// What the upstream knows of the client; without it no command of the client's goes out.
    pub(super) told: Option<Box<Identity>>,
    /// Every attribute that XCLIENT has carried here.
    pub(super) said: Attributes,
    /// What it knows is the client it serves now, and not one before.
    pub(super) introduced: bool,
    pub(super) manner: Manner,
    pub(super) due: Due,
    pub(super) server: Arc<Server>,
    pub(super) place: Place,
    pub(super) wear: Wear,
    /// It came out of the pool, and nothing was answered since.
    pub(super) reused: bool,
    /// The client before left a transaction open, which ends before anything else is said.
    pub(super) leftover: Leftover,
    /// Answers to the message that have come while others are due; as many as recipients at most.
    finals: Vec<Reply>,
}

impl Connection {
    /// # Errors
    /// `NotIdentified`, when the configured manner is not on offer.
    pub(super) fn new(
        shared: Arc<Shared>,
        server: Arc<Server>,
        wire: Wire,
        offer: Arc<Offer>,
    ) -> Result<Self, UpstreamError> {
        let (xclient, xforward) = (!offer.xclient.is_empty(), !offer.xforward.is_empty());
        let manner = match shared.settings.identify {
            Identify::Xclient if xclient => Manner::Xclient,
            Identify::Xclient => return Err(UpstreamError::NotIdentified("it does not offer XCLIENT to this gateway")),
            Identify::Xforward if xforward => Manner::Xforward,
            Identify::Xforward => {
                return Err(UpstreamError::NotIdentified("it does not offer XFORWARD to this gateway"));
            }
            Identify::Auto if xclient => Manner::Xclient,
            Identify::Auto if xforward => Manner::Xforward,
            Identify::Auto | Identify::None => Manner::Silent,
        };
        Ok(Connection {
            shared,
            wire,
            offer,
            told: None,
            said: Attributes::default(),
            introduced: false,
            manner,
            due: Due::Nothing,
            server,
            place: None,
            wear: Wear::default(),
            reused: false,
            leftover: Leftover::None,
            finals: Vec::new(),
        })
    }

    /// What the upstream offers this client. Changes at [`identify`](Self::identify): a client that said HELO
    /// is offered nothing.
    #[must_use]
    pub fn offer(&self) -> Arc<Offer> {
        self.offer.clone()
    }

    /// It came out of the pool and has answered nothing for this client yet: when it turns out dead now, it was dead
    /// before, and nothing was said in it.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Several commands may be sent at once.
    #[must_use]
    pub fn pipelines(&self) -> bool {
        self.offer.pipelining
    }

    /// It answers for each recipient after the message.
    #[must_use]
    pub fn is_lmtp(&self) -> bool {
        self.shared.settings.protocol == UpstreamProtocol::Lmtp
    }

    /// The upstream leg is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.wire.stream.is_tls()
    }

    /// Idle and not known to be closed or talking out of turn (an idle upstream says 421 and leaves). Asks nobody
    /// and waits for nothing, so a yes may be outdated by the time it is read.
    pub fn is_alive(&mut self) -> bool {
        self.due == Due::Nothing && self.wire.expect_silence(Wait::Rset).is_ok()
    }

    /// Tells the upstream who the client is, or tells it again when that has changed since (the name in HELO, a
    /// login); nothing happens when it has not. To be called outside transactions.
    ///
    /// An upstream that, having been told, takes no second XCLIENT (Postfix judges by the client's address then)
    /// is left with a QUIT and connected anew.
    ///
    /// # Errors
    /// Any; the connection is of no use then.
    pub async fn identify(&mut self, who: &SessionFacts) -> Result<(), UpstreamError> {
        let identity = Identity::of(who, self.manner);
        if self.told.as_deref() == Some(&identity) {
            self.introduced = true;
            return Ok(());
        }
        if self.due != Due::Nothing {
            return Err(self.out_of_turn(Wait::Identify));
        }
        // Boxed: rare, and larger than anything else here.
        let told = Box::pin(self.introduce(who, identity)).await;
        self.checked(told)
    }

    async fn introduce(&mut self, who: &SessionFacts, identity: Identity) -> Result<(), UpstreamError> {
        if self.manner == Manner::Xclient && self.told.is_some() && self.offer.xclient.is_empty() {
            // First the old one, which may be counted against us, then the new.
            self.leave().await;
            let place = self.place.take();
            let shared = self.shared.clone();
            *self = Box::pin(Shared::find(&shared, Some(who), Telling::Postpone)).await?;
            self.place = place;
        }
        match self.manner {
            Manner::Silent => {}
            Manner::Xforward => {
                identity.xforward(&self.offer.xforward).map_err(UpstreamError::NotIdentified)?;
            }
            Manner::Xclient => self.say_xclient(&identity).await?,
        }
        self.told = Some(Box::new(identity));
        self.introduced = true;
        Ok(())
    }

    async fn say_xclient(&mut self, identity: &Identity) -> Result<(), UpstreamError> {
        let offered = self.offer.clone();
        let lines = identity.xclient(&offered.xclient).map_err(UpstreamError::NotIdentified)?;
        // Half-way through it, nobody can say what the upstream knows.
        self.introduced = false;
        self.said.add(&offered.xclient);
        for line in lines {
            self.exchange(line.as_bytes(), Wait::Identify).await?;
        }
        let hello = identity.hello_line(self.shared.settings.protocol, &self.shared.hostname);
        let reply = self.exchange(hello.as_bytes(), Wait::ClientHello).await?;
        self.offer = if identity.is_extended() || self.is_lmtp() {
            self.shared.remember(Offer::parse(&reply))
        } else {
            Arc::new(Offer::default())
        };
        Ok(())
    }

    /// Sends one command line (with its CRLF) and waits for its answer, a 4xx or 5xx to MAIL, RCPT and DATA
    /// included. Dropped half-way, the connection is of no use any more.
    ///
    /// # Errors
    /// Whatever is not the client's answer; the connection is of no use then.
    pub async fn command(&mut self, line: &[u8], wait: Wait) -> Result<Reply, UpstreamError> {
        self.send(line, 1, wait).await?;
        self.reply(wait).await
    }

    async fn say_xforward(&mut self) -> Result<(), UpstreamError> {
        let Some(identity) = &self.told else { return Err(UpstreamError::NotIdentified("not yet")) };
        for line in identity.xforward(&self.offer.xforward).map_err(UpstreamError::NotIdentified)? {
            self.exchange(line.as_bytes(), Wait::Identify).await?;
        }
        Ok(())
    }

    /// Sends several command lines at once, each with its CRLF, that get `replies` answers; only where the
    /// upstream offers PIPELINING. `during` is the wait of the first: where it is MAIL, the upstream hears XFORWARD
    /// before it if that is the way.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn send(&mut self, lines: &[u8], replies: u16, during: Wait) -> Result<(), UpstreamError> {
        let due = match self.due {
            Due::Nothing => replies,
            Due::Replies(due) => due.saturating_add(replies),
            Due::Content | Due::Broken => return Err(self.out_of_turn(during)),
        };
        if !self.introduced && self.manner != Manner::Silent {
            let error = UpstreamError::NotIdentified("not yet");
            return self.checked(Err(error));
        }
        if during == Wait::Mail && self.manner == Manner::Xforward {
            let said = Box::pin(self.say_xforward()).await;
            self.checked(said)?;
        }
        if during == Wait::Mail {
            self.wear.transactions = self.wear.transactions.saturating_add(1);
            (self.wear.open, self.wear.recipients) = (true, 0);
        }
        let sent = self.put(lines, due, during).await;
        self.checked(sent)
    }

    /// The next of the answers that are due.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn reply(&mut self, wait: Wait) -> Result<Reply, UpstreamError> {
        let got = self.get(wait).await;
        self.checked(got)
    }

    /// Content in wire form (dots stuffed), the final dot included in the last octets; only after a 354. The bound
    /// `upstream-write` holds for each step forward. Dropped half-way, the connection is of no use any more.
    ///
    /// # Errors
    /// As [`command`](Self::command); also when the upstream answers before it has seen the end.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), UpstreamError> {
        self.write_slices(&mut [IoSlice::new(octets)]).await
    }

    /// [`write`](Self::write) from several places at once.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn write_slices(&mut self, slices: &mut [IoSlice<'_>]) -> Result<(), UpstreamError> {
        if self.due != Due::Content {
            return Err(self.out_of_turn(Wait::Write));
        }
        let silent = self.wire.expect_silence(Wait::Write);
        self.checked(silent)?;
        // Dropped half-way, nobody knows how much of it is out.
        self.due = Due::Broken;
        let limit = Wait::Write.limit(&self.shared.timeouts);
        let sent = self.wire.send_slices(slices, Wait::Write, limit).await;
        self.checked(sent)?;
        self.due = Due::Content;
        Ok(())
    }

    /// A BDAT with the octets it counts; its one answer is due then ([`reply`](Self::reply)). Dropped half-way, the
    /// connection is of no use any more.
    ///
    /// # Errors
    /// As [`command`](Self::command); also when the upstream says something before.
    pub async fn send_chunk(&mut self, slices: &mut [IoSlice<'_>]) -> Result<(), UpstreamError> {
        if self.due != Due::Nothing {
            return Err(self.out_of_turn(Wait::Chunk));
        }
        let silent = self.wire.expect_silence(Wait::Chunk);
        self.checked(silent)?;
        self.due = Due::Broken;
        let sent = self.wire.send_slices(slices, Wait::Chunk, Wait::Write.limit(&self.shared.timeouts)).await;
        self.checked(sent)?;
        self.due = Due::Replies(1);
        Ok(())
    }

    /// The answer to the message, once its final dot is out. Safe to drop and to call again.
    ///
    /// An LMTP server answers for each recipient that it accepted: where they differ, the one answer is that it has
    /// to be tried again, since a yes would lose mail.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn final_reply(&mut self) -> Result<Reply, UpstreamError> {
        let replies = self.final_replies().await?;
        agreed(&replies).ok_or_else(|| self.out_of_turn(Wait::Final))
    }

    /// All answers to the message: of an LMTP server as many as it accepted recipients, in their order (RFC 2033 4.2);
    /// of others one. Safe to drop and to call again.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn final_replies(&mut self) -> Result<Vec<Reply>, UpstreamError> {
        if self.due != Due::Content {
            return Err(self.out_of_turn(Wait::Final));
        }
        let wanted = if self.is_lmtp() { usize::from(self.wear.recipients.max(1)) } else { 1 };
        let limit = Wait::Final.limit(&self.shared.timeouts);
        while self.finals.len() < wanted {
            let got = self.wire.reply(Wait::Final, limit).await.and_then(|parsed| judge(Wait::Final, parsed));
            let reply = self.checked(got)?;
            self.wear.note(Wait::Final, &reply);
            self.finals.push(reply);
        }
        self.due = Due::Nothing;
        Ok(std::mem::take(&mut self.finals))
    }

    /// A goodbye that is not waited for: the upstream knows that we left in order, which is all it is for. In the
    /// middle of something it is [`abort`](Self::abort).
    pub async fn quit(mut self) {
        self.leave().await;
    }

    async fn leave(&mut self) {
        if self.due == Due::Nothing {
            // Whatever goes wrong now is of no consequence.
            let _ = self.wire.send(b"QUIT\r\n", Wait::Write, QUIT_WAIT).await;
        }
        self.due = Due::Broken;
        self.wire.stream = Stream::Lost;
    }

    /// Closes without a word. Inside DATA this is the only way out: a dot would deliver half a message.
    pub fn abort(self) {
        drop(self);
    }

    /// One command of our own and its answer.
    pub(super) async fn exchange(&mut self, line: &[u8], wait: Wait) -> Result<Reply, UpstreamError> {
        self.put(line, 1, wait).await?;
        self.get(wait).await
    }

    async fn put(&mut self, lines: &[u8], due: u16, during: Wait) -> Result<(), UpstreamError> {
        if self.due == Due::Nothing {
            self.wire.expect_silence(during)?;
        }
        let limit = Wait::Write.limit(&self.shared.timeouts);
        // Before anything is on its way: dropped half-way, the replies stay due.
        self.due = Due::Replies(due);
        if self.leftover == Leftover::Open {
            self.leftover = Leftover::Reset;
            let mut slices = [IoSlice::new(b"RSET\r\n"), IoSlice::new(lines)];
            return self.wire.send_slices(&mut slices, during, limit).await;
        }
        self.wire.send(lines, during, limit).await
    }

    async fn get(&mut self, wait: Wait) -> Result<Reply, UpstreamError> {
        let Due::Replies(due @ 1..) = self.due else { return Err(self.out_of_turn(wait)) };
        if self.leftover == Leftover::Reset {
            judge(Wait::Rset, self.wire.reply(Wait::Rset, Wait::Rset.limit(&self.shared.timeouts)).await?)?;
            self.leftover = Leftover::None;
            self.wear.resets = self.wear.resets.saturating_add(1);
        }
        let parsed = self.wire.reply(wait, wait.limit(&self.shared.timeouts)).await?;
        let reply = judge(wait, parsed)?;
        self.reused = false;
        self.wear.note(wait, &reply);
        self.due = match due {
            1 if wait == Wait::Data && reply.code == 354 => Due::Content,
            1 => Due::Nothing,
            more => Due::Replies(more - 1),
        };
        Ok(reply)
    }

    pub(super) fn checked<T>(&mut self, result: Result<T, UpstreamError>) -> Result<T, UpstreamError> {
        result.map_err(|error| {
            self.due = Due::Broken;
            error.announced(&self.shared.settings.name)
        })
    }

    fn out_of_turn(&mut self, during: Wait) -> UpstreamError {
        self.due = Due::Broken;
        UpstreamError::protocol(during, "out of turn, on our side")
    }
}

/// The one answer of several: where they differ, it has to be tried again, since a yes would lose mail.
#[must_use]
pub fn agreed(replies: &[Reply]) -> Option<Reply> {
    let first = replies.first()?;
    let agree = replies.iter().all(|reply| reply.class() == first.class());
    Some(if agree { first.clone() } else { crate::smtp::replies::DELIVERED_IN_PART })
}
