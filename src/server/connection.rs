//! The driver: one client's connection from accept to close. It does what the session asks for and decides
//! nothing; the whole journey of a mail can be read in [`Connection::drive`].

mod content;
mod delegation;
mod filters;
mod introduce;
mod limits;
mod logins;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout};

use crate::accounts::Exchange;
use crate::chain::{BodyMode, Call, Context, SessionChain};
use crate::config::{Connect, Limit, ListenerAuth, ListenerTls, PolicyStage};
use crate::mail::{AbortReason, Delivery, SessionFacts, Stage, TlsFacts};
use crate::net::stream::Stream;
use crate::policy::tables::Wanted;
use crate::session::{Errand, Input, Purpose, Question, Rules, Session, Step};
use crate::smtp::{Reply, replies};
use crate::state::limits::{ConnectionGuard, RuleGuard};
use crate::upstream::Telling;

use super::client::{ClientIo, Expect, Heard};
use super::delegation::Delegated;
use super::gateway::{Gateway, Generation};
use super::leg::Leg;
use super::record::Record;
use super::transfer::Message;

/// After the last reply the client may take this long to close first, so that the reply is not lost in a reset.
pub(super) const LINGER: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Connection {
    gateway: Arc<Gateway>,
    /// What this session began with; a reload does not change it.
    generation: Arc<Generation>,
    io: ClientIo,
    session: Session,
    chain: SessionChain,
    leg: Leg,
    record: Record,
    /// A message that comes in chunks, between two of them.
    message: Option<Box<Message>>,
    /// What policy daemons said.
    delegated: Delegated,
    /// What became of a message whose filters are still to be told.
    owed: Option<Box<(Delivery, Context)>>,
    /// The whole session's deadline.
    overdue: Instant,
    /// Whether rate limits count this client.
    rates: bool,
    names: Names,
    /// Counted as long as it is held.
    room: Option<Place>,
    toll: Box<Toll>,
    /// A login that a backend and the client are in the middle of.
    exchange: Option<Box<Exchange>>,
}

/// What a client takes of what all of them share.
pub(super) type Place = (ConnectionGuard, RuleGuard);

/// What `[[limit]]` has to do with the session. In a box: most sessions wait, and have nothing to do with it.
#[derive(Debug, Default)]
struct Toll {
    /// Limits that have marked the connection.
    marked: Vec<Arc<Limit>>,
    /// Refused commands that are counted already.
    errors_paid: u32,
}

/// The peer's name is looked up once, when somebody first needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Unknown,
    Known,
}

impl Connection {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        generation: Arc<Generation>,
        listener: usize,
        stream: Stream,
        facts: SessionFacts,
        room: Place,
    ) -> Connection {
        let config = &generation.config;
        let rules = Rules { config: Arc::clone(config), listener, tables: generation.tables.clone() };
        let (limits, rates) = generation.limits_for(facts.peer.ip());
        let limits = if rates { gateway.overload.bounds(limits) } else { limits };
        let chain = SessionChain::new(generation.chain.load_full(), &facts.listener);
        let io = ClientIo::new(stream, config.timeouts.write);
        let leg = Leg::new(generation.upstreams.clone(), gateway.metrics.clone());
        let record = Record::new(&gateway.metrics, &facts.listener);
        let overdue = Instant::now() + config.timeouts.session;
        let mut session = Session::new(rules, limits, Arc::new(facts));
        if let Some(accounts) = &generation.accounts {
            session.set_mechanisms(accounts.mechanisms());
        }
        let names = Names::Unknown;
        Connection {
            gateway,
            generation,
            io,
            session,
            chain,
            leg,
            record,
            message: None,
            delegated: Delegated::default(),
            owed: None,
            overdue,
            rates,
            names,
            room: Some(room),
            toll: Box::default(),
            exchange: None,
        }
    }

    /// The whole session. By reference: a future that takes the connection would hold it twice.
    pub(super) async fn run(&mut self) {
        let tls = match self.session.rules().listener().tls {
            ListenerTls::Implicit => match Box::pin(self.handshake()).await {
                Some(tls) => Some(tls),
                None => return,
            },
            // A proxy may have ended it, and be believed.
            ListenerTls::Off | ListenerTls::StartTls => self.session.facts().tls.as_deref().cloned(),
        };
        let first = self.session.handle(Input::Begin(tls));
        self.drive(first).await;
        Box::pin(self.pay_reply()).await;
        Box::pin(self.pay_errors()).await;
        let summary = self.record.summary(self.io.came());
        self.chain.consult(Call::Quit(summary), &self.context()).await;
        Box::pin(self.leg.quit()).await;
        self.record.session_ended(&self.session);
    }

    /// The loop on one screen: each arm does one thing and hands its outcome to the session. What is rare is boxed:
    /// a session that waits for its client's next command is as large as the largest arm that is not. It ends with
    /// None, when all has been said or the client is gone.
    async fn drive(&mut self, mut step: Step) -> Option<Infallible> {
        loop {
            step = match step {
                Step::Said(reply) => self.said(&reply),
                Step::Reply(reply) => {
                    self.say(&reply);
                    Step::Listen
                }
                Step::Listen => self.hear(Expect::Command).await?,
                Step::Challenge(reply) => {
                    self.say(&reply);
                    self.hear(Expect::Sasl).await?
                }
                Step::ListenThenClose(reply) => {
                    Box::pin(self.io.line(Expect::Command, self.command_deadline())).await;
                    Step::Close(vec![reply])
                }
                Step::Consult(ask) if !self.wants(&ask) => self.unasked(ask.stage()),
                Step::Consult(ask) => Box::pin(self.consult(ask)).await?,
                Step::Tell(ended, then) => {
                    Box::pin(self.tell(ended)).await;
                    *then
                }
                Step::TellReply(told, then) => {
                    Box::pin(self.tell_reply(&told)).await;
                    *then
                }
                Step::TellRules(told, then) => {
                    self.record.ruled(&self.session, &told);
                    *then
                }
                Step::LookUp(wanted) => Box::pin(self.look_up(&wanted)).await,
                Step::Charge(charge) => Box::pin(self.charge(&charge)).await?,
                Step::AskOffer => self.ask_offer().await,
                Step::Reach { upstream, purpose } => self.reach(upstream, purpose).await?,
                Step::Recall(question) => self.recall(&question),
                Step::Forward(errand, line) => self.queue(errand, &line),
                Step::Await => match self.joining() {
                    Some(line) => self.session.handle(Input::Line(self.io.input(line))),
                    None => self.answer().await?,
                },
                Step::LoneDot => self.lone_dot().await,
                Step::Forsake => self.forsake(),
                Step::Verify { identity, password } => Box::pin(self.verify(&identity, password)).await,
                Step::FindKeys { identity } => Box::pin(self.find_keys(&identity)).await,
                Step::VerifyToken { identity, token } => Box::pin(self.verify_token(identity.as_deref(), token)).await,
                Step::Relay { mechanism, initial } => Box::pin(self.relay(mechanism, initial)).await,
                Step::RelayOn(message) => Box::pin(self.relay_on(&message)).await,
                Step::RelayEnd(then) => self.relay_end(*then),
                Step::Introduce(peer, names) => Box::pin(self.introduce(peer, names)).await,
                Step::StartTls(reply) => Box::pin(self.start_tls(&reply)).await?,
                Step::Receive(plan) => {
                    let outcome = Box::pin(self.receive(plan)).await;
                    self.session.handle(Input::Received(outcome))
                }
                Step::ReceiveChunk(chunk, plan) => Box::pin(self.receive_chunk(chunk, plan)).await,
                Step::Swallow(octets, then) => match Box::pin(self.swallow(octets)).await {
                    Ok(()) => *then,
                    Err(Some(step)) => step,
                    Err(None) => return None,
                },
                Step::Close(replies) => {
                    Box::pin(self.close(&replies)).await;
                    return None;
                }
            };
        }
    }

    fn say(&mut self, reply: &Reply) {
        self.record.said(&self.session, reply);
        self.io.queue(reply);
    }

    fn said(&mut self, reply: &Reply) -> Step {
        self.say(reply);
        self.session.handle(Input::Next)
    }

    fn command_deadline(&self) -> Instant {
        self.gateway.look_at_load();
        let usual = self.generation.config.timeouts.command;
        let known = !self.rates || self.session.facts().auth.is_some();
        self.overdue.min(Instant::now() + self.gateway.overload.patience(usual, known))
    }

    /// The next line, or what kept it from coming; None when the client is gone.
    async fn hear(&mut self, expect: Expect) -> Option<Step> {
        if self.leg.may_let_go() && !self.session.is_upstream() {
            Box::pin(self.leg.quit()).await;
        }
        if self.owed.is_some() {
            // A client that is gone is noticed below.
            let _ = self.io.flush().await;
            Box::pin(self.pay_reply()).await;
        }
        let until = self.command_deadline();
        let until = self.exchange.as_ref().map_or(until, |exchange| until.min(exchange.until()));
        let heard = tokio::select! {
            biased;
            heard = self.io.line(expect, until) => heard,
            () = self.gateway.shutdown.expired() => return Some(self.session.handle(Input::Shutdown)),
        };
        Some(match heard {
            Heard::Line(_) if self.gateway.shutdown.begun() => self.session.handle(Input::Shutdown),
            Heard::Line(range) => {
                if self.session.asks_after_login() {
                    let seen = self.is_seen(range.clone()).await;
                    self.session.set_after_login(seen);
                }
                let line = self.io.input(range);
                // What answers a challenge is a secret.
                self.record.command(if expect == Expect::Command { line } else { &[] });
                self.session.handle(Input::Line(line))
            }
            Heard::Bad(bad) => self.session.handle(Input::BadLine(bad)),
            Heard::Silence if Instant::now() >= self.overdue => {
                self.record.ends("too-long");
                self.session.handle(Input::Overdue)
            }
            Heard::Silence => {
                self.record.ends("timeout");
                self.session.handle(Input::Silence)
            }
            Heard::Gone => {
                self.gone().await;
                return None;
            }
        })
    }

    /// Looks the peer up, once: when a filter may ask for it, or the upstream and our trace field are to name it.
    async fn learn_names(&mut self) {
        if self.names == Names::Known {
            return;
        }
        self.names = Names::Known;
        let wait = self.generation.config.timeouts.resolve;
        let lookup = self.generation.resolver.peer_name(self.session.facts().peer.ip(), wait);
        let (confirmed, reverse) = Box::pin(lookup).await;
        self.session.learn_names(confirmed, reverse);
    }

    /// Where clients log in, EHLO comes before they have; and where they speak for others, before they do.
    fn telling(&self) -> Telling {
        let login_may_come = self.session.rules().listener().auth != ListenerAuth::Off;
        let login_may_come = login_may_come && self.session.facts().auth.is_none();
        if login_may_come || self.session.may_introduce() { Telling::Postpone } else { Telling::Now }
    }

    fn queue(&mut self, errand: Errand, line: &[u8]) -> Step {
        self.leg.queue(errand, line);
        self.session.handle(Input::Next)
    }

    async fn look_up(&mut self, wanted: &Wanted) -> Step {
        let found = self.generation.lookups.ask(wanted, &self.gateway.metrics).await;
        self.session.handle(Input::Found(found))
    }

    async fn lone_dot(&mut self) -> Step {
        Box::pin(self.leg.lone_dot()).await;
        self.session.handle(Input::Next)
    }

    fn forsake(&mut self) -> Step {
        self.leg.abort();
        self.session.handle(Input::Next)
    }

    fn recall(&mut self, question: &Question) -> Step {
        let answer = self.generation.answers.get(question);
        self.session.handle(Input::Recalled(answer))
    }

    /// One eager upstream is asked in this client's name; where it is not known yet which it will be, or it is to hear
    /// of clients later, the client is offered what all of them offer.
    async fn ask_offer(&mut self) -> Step {
        let among = self.session.may_go_to();
        let eager = |at: &usize| self.generation.upstreams.at(*at).settings().connect == Connect::Eager;
        let offer = match among.as_slice() {
            [at] if eager(at) => {
                self.learn_names().await;
                Box::pin(self.leg.offer(self.session.facts(), *at, self.telling())).await
            }
            _ => Box::pin(self.leg.common_offer(&among)).await,
        };
        self.session.handle(Input::Reached(offer))
    }

    /// None when the client is gone, as in [`hear`](Self::hear).
    async fn reach(&mut self, upstream: usize, purpose: Purpose) -> Option<Step> {
        self.learn_names().await;
        if self.record.transaction_began() {
            self.leg.begin_account();
        }
        let reached = tokio::select! {
            biased;
            reached = Box::pin(self.leg.reach(self.session.facts(), upstream, purpose, Telling::Now)) => Some(reached),
            () = self.io.stream.closed() => None,
        };
        match reached {
            Some(reached) => Some(self.session.handle(Input::Reached(reached))),
            None => self.gone_meanwhile().await,
        }
    }

    /// The client has reset the connection while the upstream had the word, and before our final dot: nothing that
    /// stands upstream is to come of it.
    async fn gone_meanwhile(&mut self) -> Option<Step> {
        self.leg.abort();
        Box::pin(self.gone()).await;
        None
    }

    /// The next command, if it is here already and may go upstream in one write with those before it.
    fn joining(&mut self) -> Option<Range<usize>> {
        if !self.leg.is_collecting() || self.gateway.shutdown.begun() {
            return None;
        }
        let line = self.io.peek_line()?;
        self.narrow();
        let listener = &self.session.facts().listener;
        let asked = self.chain.wants(Stage::Data) || self.generation.delegation.wants(listener, PolicyStage::Data);
        let data = !asked && self.chain.body_mode() != BodyMode::Hold;
        if !self.session.joins(self.io.input(line.clone()), data) {
            return None;
        }
        let Some(Heard::Line(line)) = self.io.buffered_line(Expect::Command) else { return None };
        self.record.command(self.io.input(line.clone()));
        Some(line)
    }

    /// The next of the upstream's answers that are due. None when the client is gone.
    async fn answer(&mut self) -> Option<Step> {
        let question = if self.leg.is_asking() { self.session.question_due() } else { None };
        let answer = tokio::select! {
            biased;
            answer = Box::pin(self.leg.answer()) => Some(answer),
            () = self.io.stream.closed() => None,
        };
        let Some(answer) = answer else { return self.gone_meanwhile().await };
        if let (Some(question), Ok(reply)) = (question, &answer) {
            self.generation.keep_answer(question, reply);
        }
        Some(self.session.handle(Input::Answer(answer)))
    }

    async fn start_tls(&mut self, reply: &Reply) -> Option<Step> {
        // RFC 3207 4.2 and CVE-2011-0411: STARTTLS is the last command of its group, or somebody is injecting.
        if self.io.has_waiting() {
            self.close(&[replies::PIPELINED_STARTTLS]).await;
            return None;
        }
        self.say(reply);
        self.io.flush().await.ok()?;
        let tls = self.handshake().await?;
        Some(self.session.handle(Input::Tls(Some(tls))))
    }

    async fn handshake(&mut self) -> Option<TlsFacts> {
        let acceptor = self.generation.tls.get(&self.session.rules().listener().name)?;
        let wait = self.generation.config.timeouts.handshake;
        match timeout(wait, self.io.stream.start_tls_server(acceptor)).await {
            Ok(Ok(tls)) => {
                self.record.handshake(&self.session, Ok(()));
                Some(tls)
            }
            Ok(Err(error)) => {
                self.record.handshake(&self.session, Err(&error.to_string()));
                None
            }
            Err(_) => {
                self.record.handshake(&self.session, Err("timed out"));
                None
            }
        }
    }

    async fn gone(&mut self) {
        if let Some(ended) = self.session.abandon(AbortReason::ClientGone) {
            Box::pin(self.tell(ended)).await;
        }
    }

    /// Says the last words and gives the client a moment to hear them.
    async fn close(&mut self, replies: &[Reply]) {
        self.record.ends(match replies.last().map(|reply| reply.code) {
            Some(221) => "quit",
            Some(421) => "closed",
            _ => "refused",
        });
        for reply in replies {
            self.say(reply);
        }
        if self.io.flush().await.is_err() {
            return;
        }
        // Who said QUIT has said all, and closing resets nothing; others may still be talking.
        let quit = replies.last().is_some_and(|reply| reply.code == 221) && !self.io.has_waiting();
        let _ = match (quit, self.io.stream.is_tls()) {
            (true, false) => return,
            (true, true) => timeout(LINGER, self.io.stream.shutdown()).await,
            (false, _) => timeout(LINGER, self.io.stream.finish()).await,
        };
    }
}
