//! What a session did, gathered for the log and the metrics while it happens and told when it is over. Decides
//! nothing.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::chain;
use crate::mail::{AbortReason, Action, Delivery, Ending, Envelope, Marks, Recipient, Ruled, Summary};
use crate::report::metrics::{Login, OpenSession};
use crate::report::{FilterSaid, Metrics, Outcome, Transaction, event};
use crate::session::Session;
use crate::smtp::Reply;

use super::leg::Leg;

/// What is kept of a command for the line about its refusal.
const COMMAND_SHOWN_BYTES_MAX: usize = 512;
/// How a session ends that nobody else ends.
const CLIENT_GONE: &str = "client-gone";
/// Answers of filters kept for one transaction's line.
const FILTERS_KEPT_MAX: usize = 64;

/// One session's.
#[derive(Debug)]
pub(super) struct Record {
    metrics: Metrics,
    _open: OpenSession,
    began: Instant,
    commands: Commands,
    how: &'static str,
    transactions: u32,
    delivered: u32,
    /// What the filters of clients before the one at hand were told (XCLIENT).
    told: Summary,
    mail: Box<Mail>,
}

/// Commands that are not answered yet, when their refusal is worth a line; empty for the others. Never AUTH.
#[derive(Debug, Default)]
struct Commands {
    octets: Vec<u8>,
    /// Where the oldest begins.
    start: usize,
    lengths: VecDeque<u16>,
}

impl Commands {
    fn push(&mut self, line: &[u8]) {
        if self.lengths.is_empty() {
            self.octets.clear();
            self.start = 0;
        }
        self.octets.extend_from_slice(line);
        self.lengths.push_back(u16::try_from(line.len()).unwrap_or(u16::MAX));
    }

    /// The oldest, which is answered now.
    fn answered(&mut self) -> &[u8] {
        let begin = self.start;
        self.start += self.lengths.pop_front().map_or(0, usize::from);
        self.octets.get(begin..self.start).unwrap_or_default()
    }
}

/// Of the transaction at hand.
#[derive(Debug, Default)]
struct Mail {
    /// When the client said MAIL.
    said: Option<Instant>,
    /// When an upstream was first wanted for it.
    began: Option<Instant>,
    recipients_refused: u32,
    octets: u64,
    filters: Vec<FilterSaid>,
    shadow: Vec<FilterSaid>,
    in_filters: Duration,
    discarded: bool,
    quarantined: bool,
    marks: Option<std::sync::Arc<Marks>>,
    reply: Option<Reply>,
    /// Limits that marked it.
    tags: Vec<String>,
}

impl Record {
    pub(super) fn new(metrics: &Metrics, listener: &std::sync::Arc<str>) -> Record {
        Record {
            metrics: metrics.clone(),
            _open: metrics.session(listener),
            began: Instant::now(),
            commands: Commands::default(),
            how: CLIENT_GONE,
            transactions: 0,
            delivered: 0,
            told: Summary { transactions: 0, delivered: 0, octets: 0, duration: Duration::ZERO },
            mail: Box::default(),
        }
    }

    /// A transaction begins without the marks of the one before.
    pub(super) fn forget_tags(&mut self) {
        self.mail.tags.clear();
    }

    /// A limit marks the transaction.
    pub(super) fn tag(&mut self, limit: &str) {
        self.mail.tags.push(limit.to_owned());
    }

    /// A command came in.
    pub(super) fn command(&mut self, line: &[u8]) {
        let verb = line.get(..4).unwrap_or_default();
        let shown = [&b"MAIL"[..], b"RCPT", b"HELO", b"EHLO", b"DATA", b"BDAT"];
        let shown = shown.iter().any(|known| known.eq_ignore_ascii_case(verb));
        self.commands.push(if shown { line.get(..COMMAND_SHOWN_BYTES_MAX).unwrap_or(line) } else { &[] });
    }

    /// A reply goes to the client.
    pub(super) fn said(&mut self, session: &Session, reply: &Reply) {
        self.metrics.reply(reply.code);
        let command = self.commands.answered();
        if reply.code < 400 || command.is_empty() {
            return;
        }
        if command.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"RCPT")) {
            self.mail.recipients_refused = self.mail.recipients_refused.saturating_add(1);
        }
        let facts = session.facts();
        tracing::info!(
            peer = %facts.peer.ip(),
            listener = &*facts.listener,
            session = &*facts.id,
            helo = facts.hello.as_ref().map(|hello| &*hello.name),
            command = %String::from_utf8_lossy(command),
            reply = %reply,
            filter = self.mail.filters.last().map(|said| &*said.filter),
            "refused"
        );
    }

    /// The filters were asked.
    pub(super) fn heard(&mut self, outcome: &chain::Outcome) {
        self.mail.discarded |= outcome.verdict.action == Action::Discard;
        self.mail.quarantined |= outcome.verdict.action == Action::Quarantine;
        self.mail.in_filters += outcome.time;
        self.mail.marks.clone_from(&outcome.marks);
        keep(&mut self.mail.filters, &outcome.opinions);
        keep(&mut self.mail.shadow, &outcome.shadows);
    }

    /// The client said MAIL.
    pub(super) fn mail_comes(&mut self) {
        self.mail.said = Some(Instant::now());
        self.mail.began = None;
        self.mail.marks = None;
    }

    /// The upstream is reached for a transaction; whether it is the first time.
    pub(super) fn transaction_began(&mut self) -> bool {
        let first = self.mail.began.is_none();
        self.mail.began.get_or_insert_with(Instant::now);
        first
    }

    /// So many octets of content came.
    pub(super) fn received(&mut self, octets: u64) {
        self.mail.octets = octets;
        self.metrics.received(octets);
    }

    /// The transaction at hand ended without a message.
    pub(super) fn ending(&self, reason: AbortReason) -> Ending {
        let duration = self.mail.said.map_or(Duration::ZERO, |said| said.elapsed());
        Ending { reason, octets: self.mail.octets, duration }
    }

    /// A message that came to its end.
    pub(super) fn delivery(&self, answer: Reply, each: Vec<(Recipient, Reply)>) -> Delivery {
        let duration = self.mail.said.map_or(Duration::ZERO, |said| said.elapsed());
        Delivery { answer, each, octets: self.mail.octets, duration }
    }

    /// The session so far, of which so many octets came from the client.
    pub(super) fn summary(&self, octets: u64) -> Summary {
        Summary {
            transactions: self.transactions.saturating_sub(self.told.transactions),
            delivered: self.delivered.saturating_sub(self.told.delivered),
            octets: octets.saturating_sub(self.told.octets),
            duration: self.began.elapsed(),
        }
    }

    /// The connection is another client's: what came before, which its filters were told, is none of its own.
    pub(super) fn begins_anew(&mut self, told: Summary) {
        self.told.transactions = self.told.transactions.saturating_add(told.transactions);
        self.told.delivered = self.told.delivered.saturating_add(told.delivered);
        self.told.octets = self.told.octets.saturating_add(told.octets);
    }

    /// What the client is told about its message.
    pub(super) fn content_answered(&mut self, reply: &Reply) {
        self.mail.reply = Some(reply.clone());
    }

    /// The one line about a transaction.
    pub(super) fn transaction_ended(
        &mut self,
        session: &Session,
        envelope: &Envelope,
        leg: &mut Leg,
        aborted: Option<AbortReason>,
    ) {
        self.transactions = self.transactions.saturating_add(1);
        let mut mail = std::mem::take(&mut *self.mail);
        for tag in std::mem::take(&mut mail.tags) {
            // Filters see it among theirs, if there is room for it; where none runs, only the log has it.
            let _ = std::sync::Arc::make_mut(mail.marks.get_or_insert_default()).tag(&tag);
        }
        let outcome = match (aborted, &mail.reply) {
            (None, _) if mail.discarded => Outcome::Discarded,
            (None, _) if mail.quarantined => Outcome::Quarantined,
            (None, _) => Outcome::Accepted,
            (Some(AbortReason::Refused), Some(reply)) if reply.code >= 500 => Outcome::Refused,
            (Some(AbortReason::Refused | AbortReason::UpstreamFailed), Some(_)) => Outcome::Deferred,
            (Some(reason), _) => Outcome::Aborted(reason),
        };
        self.delivered = self.delivered.saturating_add(u32::from(outcome == Outcome::Accepted));
        let (upstream, in_upstream) = leg.take_account();
        let total = mail.began.map_or(Duration::ZERO, |began| began.elapsed());
        self.metrics.transaction(outcome, total, in_upstream, mail.in_filters);
        Transaction {
            id: &envelope.id,
            session: session.facts(),
            sender: envelope.sender.path.as_str(),
            recipients: &envelope.recipients,
            recipients_refused: mail.recipients_refused,
            size: mail.octets,
            filters: &mail.filters,
            marks: mail.marks.as_deref(),
            shadow: &mail.shadow,
            outcome,
            reply: mail.reply.as_ref(),
            upstream: upstream.as_ref(),
            total,
            in_filters: mail.in_filters,
            in_upstream,
        }
        .log();
    }

    /// Why the session ends, unless that has been said already.
    pub(super) fn ends(&mut self, how: &'static str) {
        if self.how == CLIENT_GONE {
            self.how = how;
        }
    }

    pub(super) fn session_ended(&self, session: &Session) {
        let end = event::SessionEnd {
            how: self.how,
            lasted: self.began.elapsed(),
            transactions: self.transactions,
            errors: session.errors(),
        };
        event::session_ended(session.facts(), end);
    }

    pub(super) fn login(&self, login: Login) {
        self.metrics.login(login);
    }

    /// Nobody could say whether it is right.
    pub(super) fn login_put_off(&self, session: &Session, account: &str) {
        event::auth_unavailable(session.facts(), account);
        self.metrics.login(Login::Unavailable);
    }

    pub(super) fn limited(&self, session: &Session, limit: &'static str) {
        self.metrics.limited(limit);
        event::limit_reached(session.facts(), limit);
    }

    /// Rules of the operator's matched.
    pub(super) fn ruled(&self, session: &Session, told: &[Ruled]) {
        for ruled in told {
            self.metrics.ruled(ruled);
            event::ruled(session.facts(), ruled);
        }
    }

    pub(super) fn handshake(&self, session: &Session, result: Result<(), &str>) {
        self.metrics.handshake(result.map_err(|_| ()));
        if let Err(reason) = result {
            event::handshake_failed(session.facts(), reason);
        }
    }
}

fn keep(kept: &mut Vec<FilterSaid>, opinions: &[chain::Opinion]) {
    let room = FILTERS_KEPT_MAX.saturating_sub(kept.len());
    kept.extend(opinions.iter().take(room).map(|opinion| FilterSaid {
        filter: std::sync::Arc::clone(&opinion.filter),
        version: opinion.version.clone(),
        stage: opinion.stage,
        action: opinion.action,
        reason: opinion.reason.clone(),
    }));
}
