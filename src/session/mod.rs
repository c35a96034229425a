//! Floor 4: the sans-IO state machine of one SMTP session.
//!
//! [`Session::handle`] takes what happened and says what to do next; the driver in `server/connection.rs` does it.
//! No socket, no clock, no task: same inputs, same steps. Each command has a file of its own that reads
//! `check` (may this be asked?), `weigh` (what did the filters say?), `settle` (what did the upstream say?).

mod access;
mod auth;
mod bdat;
mod data;
mod destination;
mod filters;
mod greet;
mod group;
mod late;
mod lookup;
mod mail;
mod manners;
mod phase;
pub mod quarantine;
mod rcpt;
pub mod received;
mod relay;
mod side;
mod step;
#[cfg(test)]
mod tests;
pub mod weigh;
mod xclient;

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{Config, Limits, Listener, Protocol};
use crate::mail::{AbortReason, AfterLogin, Envelope, SessionFacts, TlsFacts};
use crate::policy;
use crate::policy::relay::{Known, Standing};
use crate::policy::tables::Tables;
use crate::smtp::command::{Command, CommandError};
use crate::smtp::ehlo::ClientOffer;
use crate::smtp::sasl::Served;
use crate::smtp::{ForwardPath, Reply, ReversePath, replies};

pub use bdat::SWALLOWED_BYTES_MAX;
use group::{Awaited, Group};
use phase::{Pending, Phase};
pub use step::{
    Ask, BadLine, BodyOutcome, BodyPlan, Charge, Chunk, Ended, Errand, Identity, Input, KeysFound, Names, Purpose,
    Question, Relayed, SenderClass, Step, Unreached,
};

/// The parts of a configuration that one session is judged by; shared, and kept to the session's end over a reload.
#[derive(Debug, Clone)]
pub struct Rules {
    pub config: Arc<Config>,
    /// Which of `config.listeners`.
    pub listener: usize,
    /// What `config` names, with its content; a reload brings new content into open sessions.
    pub tables: Tables,
}

impl Rules {
    /// The listener the client came to.
    ///
    /// # Panics
    /// Never: `listener` is an index into the same configuration.
    #[must_use]
    pub fn listener(&self) -> &Listener {
        #[allow(clippy::indexing_slicing, reason = "made from the same configuration's own enumeration")]
        &self.config.listeners[self.listener]
    }
}

/// One client's session, from the banner to the end.
#[derive(Debug)]
pub struct Session {
    rules: Rules,
    limits: Arc<Limits>,
    facts: Arc<SessionFacts>,
    phase: Phase,
    pending: Pending,
    group: Group,
    /// What the last EHLO answer offered; parameters are judged by it.
    offered: ClientOffer,
    /// How many transactions there were, accepted or not.
    transactions: u32,
    errors: u32,
    idle_commands: u32,
    auth_failures: u32,
    /// What XFORWARD said has been used: the next command forgets it.
    forwarded_used: bool,
    /// Messages are taken whole before the upstream hears DATA: a filter may edit at the `message` stage.
    hold: bool,
    /// What those who verify logins can serve.
    mechanisms: Arc<Served>,
    /// A filter wants to hear what the upstream says to recipients.
    tells_replies: bool,
}

impl Session {
    /// A session before its banner.
    #[must_use]
    pub fn new(rules: Rules, limits: Arc<Limits>, facts: Arc<SessionFacts>) -> Session {
        let mechanisms = rules.config.auth.as_ref().map(|auth| auth.could_offer()).unwrap_or_default();
        Session {
            mechanisms: Arc::new(mechanisms),
            rules,
            limits,
            facts,
            phase: Phase::Connected,
            pending: Pending::Begin,
            group: Group::default(),
            offered: ClientOffer::default(),
            transactions: 0,
            errors: 0,
            idle_commands: 0,
            auth_failures: 0,
            forwarded_used: false,
            hold: false,
            tells_replies: false,
        }
    }

    /// The client is gone: the transaction it leaves behind, if there is one.
    pub fn abandon(&mut self, reason: AbortReason) -> Option<Ended> {
        match self.ended(reason, Step::Listen) {
            Step::Tell(ended, _) => Some(ended),
            _ => None,
        }
    }

    /// What is known of the client now.
    #[must_use]
    pub fn facts(&self) -> &Arc<SessionFacts> {
        &self.facts
    }

    /// The reverse lookup came back: the driver waits for it only where somebody needs the name.
    pub fn learn_names(&mut self, confirmed: crate::mail::PeerName, reverse: crate::mail::PeerName) {
        let facts = Arc::make_mut(&mut self.facts);
        facts.peer_name = confirmed;
        facts.reverse_name = reverse;
    }

    /// The transaction at hand.
    #[must_use]
    pub fn envelope(&self) -> Option<&Arc<Envelope>> {
        match &self.phase {
            Phase::Addressed(transaction) => Some(&transaction.envelope),
            _ => None,
        }
    }

    /// What those who verify logins can serve now; until it is told, what the configuration lets one expect.
    pub fn set_mechanisms(&mut self, served: Arc<Served>) {
        self.mechanisms = served;
    }

    /// Whether it matters to anybody that somebody has logged in from the client's address elsewhere: at this listener,
    /// and not inside a transaction, which ends as it began.
    #[must_use]
    pub fn asks_after_login(&self) -> bool {
        let inside = matches!(&self.phase, Phase::Addressed(transaction) if transaction.lost.is_none());
        self.rules.listener().after_login && !inside
    }

    /// Somebody has, or nobody, or nobody knows. To be said before each command as long as it [matters](Session::asks_after_login).
    pub fn set_after_login(&mut self, after_login: AfterLogin) {
        if self.asks_after_login() && self.facts.after_login != after_login {
            Arc::make_mut(&mut self.facts).after_login = after_login;
        }
    }

    /// What `Step::Charge` is about: the sender of the transaction at hand or to come, and the recipient.
    #[must_use]
    pub fn charged(&self) -> (Option<&ReversePath>, Option<&ForwardPath>) {
        let sender = match (&self.pending, &self.phase) {
            (Pending::MailGate(mail), _) => Some(&mail.sender.path),
            (_, Phase::Addressed(transaction)) => Some(&transaction.envelope.sender.path),
            _ => None,
        };
        let recipient = match &self.pending {
            Pending::RcptGate(rcpt) => Some(&rcpt.said.path),
            _ => None,
        };
        (sender, recipient)
    }

    /// How the filters want the next message to be taken: asked when they have heard of DATA.
    pub fn set_hold(&mut self, hold: bool) {
        self.hold = hold;
    }

    /// Whether filters want to hear what the upstream says to recipients: asked before each of them.
    pub fn set_tells_replies(&mut self, tells: bool) {
        self.tells_replies = tells;
    }

    /// Whether the transaction at hand was begun with SMTPUTF8.
    #[must_use]
    pub fn smtp_utf8(&self) -> bool {
        matches!(&self.phase, Phase::Addressed(transaction) if transaction.smtp_utf8)
    }

    /// Whether the transaction at hand was begun with BODY=BINARYMIME (RFC 3030): it comes in chunks, and goes on in
    /// chunks.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        matches!(&self.phase, Phase::Addressed(transaction) if transaction.binary)
    }

    #[must_use]
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// How many commands were refused so far.
    #[must_use]
    pub fn errors(&self) -> u32 {
        self.errors
    }

    /// Which attempt to log in this is, from 1.
    #[must_use]
    pub fn login_attempt(&self) -> u32 {
        self.auth_failures.saturating_add(1)
    }

    fn config(&self) -> &Config {
        &self.rules.config
    }

    fn peer(&self) -> IpAddr {
        self.facts.peer.ip()
    }

    /// Takes what happened, says what to do. An input that answers no question of ours (a fault of the driver)
    /// ends the session with a 421 and nothing else.
    pub fn handle(&mut self, input: Input<'_>) -> Step {
        match (std::mem::take(&mut self.pending), input) {
            (_, Input::Shutdown) => self.part(replies::SHUTTING_DOWN, AbortReason::Shutdown),
            (_, Input::Silence) => self.part(replies::TIMEOUT, AbortReason::Timeout),
            (_, Input::Overdue) => self.part(replies::SESSION_TOO_LONG, AbortReason::Timeout),
            (Pending::Begin, Input::Begin(tls)) => self.begin(tls),
            (Pending::BeginTls, Input::Verdict(verdict, _)) => self.weigh_begin_tls(verdict),
            (Pending::Connect, Input::Verdict(verdict, _)) => self.weigh_connect(verdict),
            (Pending::Introduced(facts), Input::Introduced(room)) => self.settle_introduced(*facts, room),
            (Pending::IntroducedLogin, Input::Verdict(verdict, _)) => self.weigh_introduced_login(verdict),
            (Pending::Command, Input::Line(line)) => self.command(line),
            (Pending::Group, Input::Line(line)) => {
                self.group.ahead = true;
                self.command(line)
            }
            (Pending::Group, Input::Answer(answer)) => self.settle(answer),
            (Pending::Group, Input::Next) => self.advance(),
            (Pending::Command | Pending::AuthLine(..) | Pending::AuthLast(_), Input::BadLine(bad)) => {
                self.bad_line(bad)
            }
            (Pending::RelayLine(_), Input::BadLine(bad)) => Step::RelayEnd(Box::new(self.bad_line(bad))),
            (Pending::RelayGate(relay, message), Input::Charged(room)) => self.relay_gate(relay, message, room),
            (Pending::RelayGate(relay, _), Input::Limited(reply)) => self.relay_limited(&relay, reply),
            (Pending::RelayAnswer(relay), Input::Relayed(said)) => self.settle_relayed(relay, said),
            (Pending::RelayLine(relay), Input::Line(line)) => self.relay_line(relay, line),
            (Pending::Helo(hello), Input::Verdict(verdict, _)) => self.weigh_helo(hello, verdict),
            (Pending::Ehlo, Input::Reached(reached)) => self.settle_ehlo(reached),
            (Pending::StartTls, Input::Tls(Some(tls))) => self.settle_tls(tls),
            (Pending::Tls, Input::Verdict(verdict, _)) => self.weigh_tls(verdict),
            (Pending::AuthLine(mechanism, exchange), Input::Line(line)) => {
                self.auth_outcome(mechanism, exchange.respond(line))
            }
            (Pending::AuthGate(login), Input::Charged(room)) => self.auth_gate(*login, room),
            (Pending::AuthKeys(mechanism, first), Input::Keys(found)) => self.settle_keys(mechanism, *first, found),
            (Pending::AuthIdentity(mechanism, account, claimed), Input::Identity(identity)) => {
                self.settle_identity(mechanism, account, claimed.as_ref(), identity)
            }
            // 421 says that it is the last.
            (_, Input::Limited(reply)) if reply.code == 421 => self.part(reply, AbortReason::Refused),
            (_, Input::Limited(reply)) => self.relay_reply(reply),
            (Pending::AuthFailed(mechanism), Input::Charged(room)) => self.auth_failed(mechanism, room),
            // Whatever it says: it has failed, and that counts.
            (Pending::AuthRefused, Input::Line(_) | Input::BadLine(_)) => self.auth_refused(),
            (Pending::AuthGood(auth, last), Input::Charged(room)) => self.auth_accepted(auth, last, room),
            (Pending::AuthLast(auth), Input::Line(line)) => self.auth_concluded(auth, line),
            (Pending::Auth(auth), Input::Verdict(verdict, _)) => self.weigh_auth(auth, verdict),
            (Pending::MailGate(mail), Input::Charged(room)) => self.mail_gate(mail, room),
            (Pending::Mail(mail), Input::Verdict(verdict, edits)) => self.weigh_mail(mail, verdict, edits),
            (Pending::MailReach(mail), Input::Reached(reached)) => self.mail_reached(*mail, reached),
            (Pending::LookUp(asked), Input::Found(found)) => {
                let (wanted, waiting) = *asked;
                self.looked_up(wanted, waiting, found)
            }
            (Pending::RcptGate(rcpt), Input::Charged(room)) => self.rcpt_gate(rcpt, room),
            (Pending::Rcpt(rcpt), Input::Verdict(verdict, edits)) => self.weigh_rcpt(rcpt, verdict, edits),
            (Pending::Recall(rcpt), Input::Recalled(answer)) => self.recalled(rcpt, answer),
            (Pending::RcptReach(rcpt), Input::Reached(reached)) => self.rcpt_reached(rcpt, reached),
            (Pending::Data, Input::Verdict(verdict, _)) => self.weigh_data(verdict),
            (Pending::Unknown(own), Input::Verdict(verdict, _)) => self.weigh_unknown(own, verdict),
            (Pending::Content, Input::Received(outcome)) => self.settle_content(outcome),
            (Pending::Bdat(chunk), Input::Verdict(verdict, _)) => self.weigh_bdat(chunk, verdict),
            (Pending::Chunk(chunk), Input::ChunkReceived) => self.chunk_received(chunk),
            (Pending::Chunk(chunk), Input::Received(outcome)) => self.settle_chunks(chunk, outcome),
            (_, _) => self.part(replies::INTERNAL_ERROR, AbortReason::UpstreamFailed),
        }
    }

    /// Says goodbye with a 421.
    fn part(&mut self, reply: Reply, reason: AbortReason) -> Step {
        if self.group.ahead {
            return self.wait_for_turn(Awaited::Part(reply, reason));
        }
        self.ended(reason, Step::Close(vec![reply]))
    }

    /// Drops a transaction, if there is one, telling the filters why.
    fn ended(&mut self, reason: AbortReason, then: Step) -> Step {
        match std::mem::take(&mut self.phase) {
            Phase::Addressed(transaction) => {
                let reason = if transaction.lost.is_some() { AbortReason::UpstreamFailed } else { reason };
                self.phase = Phase::Greeted(transaction.hello);
                Step::Tell(Ended { reason, envelope: transaction.envelope }, Box::new(then))
            }
            other => {
                self.phase = other;
                then
            }
        }
    }

    fn bad_line(&mut self, bad: BadLine) -> Step {
        self.refuse(match bad {
            BadLine::BareLineFeed => replies::BARE_LINE_FEED,
            BadLine::BareCarriageReturn => replies::BARE_CARRIAGE_RETURN,
            BadLine::TooLong => replies::LINE_TOO_LONG,
            BadLine::AuthTooLong => replies::AUTH_LINE_TOO_LONG,
        })
    }

    fn command(&mut self, line: &[u8]) -> Step {
        if matches!(self.phase, Phase::Refused) {
            return self.while_refused(line);
        }
        if self.is_forbidden(line) {
            return self.part(replies::FOREIGN_PROTOCOL, AbortReason::Refused);
        }
        self.age_forwarded();
        match Command::parse(line) {
            Err(error @ CommandError::Bdat) => self.unreadable(error.reply()),
            Err(error) => self.not_understood(error.reply()),
            Ok(command) => match self.too_loose(line, &command) {
                Some(reply) => self.not_understood(reply),
                None => self.dispatch(command, line),
            },
        }
    }

    fn not_understood(&mut self, reply: Reply) -> Step {
        if self.group.ahead { self.wait_for_turn(Awaited::Unparsed(reply)) } else { self.refuse(reply) }
    }

    fn dispatch(&mut self, command: Command, line: &[u8]) -> Step {
        match (self.rules.listener().protocol, &command) {
            (Protocol::Smtp, Command::Lhlo { .. }) => return self.refuse(replies::UNKNOWN_COMMAND),
            (Protocol::Lmtp, Command::Helo { .. } | Command::Ehlo { .. }) => return self.refuse(replies::SPEAKS_LMTP),
            _ => {}
        }
        match command {
            Command::Helo { name } => self.check_helo(&name, false),
            Command::Ehlo { name } => self.check_helo(&name, true),
            Command::Lhlo { name } => self.check_helo(&name, true),
            Command::StartTls => self.check_starttls(),
            Command::Auth { mechanism, initial } => self.check_auth(&mechanism, initial.as_ref()),
            Command::Mail { path, params } => self.check_mail(path, params),
            Command::Rcpt { path, params } => self.hear_rcpt(path, params),
            Command::Data => self.check_data(),
            Command::Bdat { octets, last } => self.check_bdat(Chunk { octets, last }),
            Command::Rset => self.check_rset(),
            Command::Quit => self.quit(),
            Command::Xclient { arguments } => self.check_xclient(&arguments),
            Command::Xforward { arguments } => self.check_xforward(&arguments),
            Command::Noop => self.idle(replies::OK),
            Command::Vrfy { .. }
            | Command::Expn { .. }
            | Command::Help
            | Command::Etrn { .. }
            | Command::NotImplemented { .. }
            | Command::Unknown { .. } => self.check_unknown(&command, line),
            Command::Foreign => self.part(replies::FOREIGN_PROTOCOL, AbortReason::Refused),
        }
    }

    /// A command was refused: say so, and count it.
    fn refuse(&mut self, reply: Reply) -> Step {
        if self.group.ahead {
            return self.wait_for_turn(Awaited::Refused(reply));
        }
        self.errors = self.errors.saturating_add(1);
        match self.limits.errors {
            Some(max) if self.errors >= max => {
                self.ended(AbortReason::Refused, Step::Close(vec![reply, replies::TOO_MANY_ERRORS]))
            }
            _ => self.say(reply),
        }
    }

    /// Passes on a reply: its class says whether it counts as an error.
    fn relay_reply(&mut self, reply: Reply) -> Step {
        if reply.code >= 500 { self.refuse(reply) } else { self.say(reply) }
    }

    /// A command that moves nothing.
    fn idle(&mut self, reply: Reply) -> Step {
        self.idle_commands = self.idle_commands.saturating_add(1);
        match self.limits.idle_commands {
            Some(max) if self.idle_commands > max => self.part(replies::TOO_MANY_IDLE_COMMANDS, AbortReason::Refused),
            _ => self.say(reply),
        }
    }

    fn standing(&self) -> Standing {
        policy::relay::standing(self.rules.listener(), self.peer(), Known::of(&self.facts))
    }

    /// Whether the client is believed what it says of others: not for a login of somebody elsewhere.
    fn vouches(&self) -> bool {
        let known = if self.facts.auth.is_some() { Known::Login } else { Known::Nothing };
        policy::relay::standing(self.rules.listener(), self.peer(), known) == Standing::MayRelay
    }

    fn set_tls(&mut self, tls: TlsFacts) -> Arc<TlsFacts> {
        let tls = Arc::new(tls);
        Arc::make_mut(&mut self.facts).tls = Some(Arc::clone(&tls));
        tls
    }
}
