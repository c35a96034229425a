//! Where a session stands, and which answer it waits for. What is not legal now has no field to live in: a
//! transaction exists only inside `Phase::Addressed`, credentials only while they are verified.

use std::sync::Arc;

use crate::mail::{AuthFacts, Envelope, Hello, Recipient, Sender, SessionFacts};
use crate::policy::tables::{Told, Wanted};
use crate::policy::when::FilterSet;
use crate::smtp::Reply;
use crate::smtp::ehlo::Offer;
use crate::smtp::sasl::scram::First;
use crate::smtp::sasl::{Exchange, Mechanism, Secret};

use super::Chunk;
use super::auth::Login;
use super::destination::Destination;
use super::filters::Chosen;
use super::lookup::Waiting;
use super::quarantine::Quarantined;
use super::relay::Relay;

/// Where the session stands between two commands.
#[derive(Debug, Default)]
pub(super) enum Phase {
    /// No HELO yet (or a new beginning after STARTTLS).
    #[default]
    Connected,
    /// The banner was a refusal: only QUIT is heard (RFC 5321 3.1).
    Refused,
    Greeted(Hello),
    /// MAIL was accepted upstream, or is on its way there.
    Addressed(Box<Transaction>),
}

#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) hello: Hello,
    pub(super) envelope: Arc<Envelope>,
    /// SMTPUTF8 was said at MAIL (RFC 6531 3.4).
    pub(super) smtp_utf8: bool,
    /// BODY=BINARYMIME was said at MAIL (RFC 3030 3).
    pub(super) binary: bool,
    /// RCPT commands so far, refused ones included: what the DATA refusal says depends on it.
    pub(super) attempts: u32,
    /// Recipients that filters added and the upstream took.
    pub(super) added: Vec<Recipient>,
    pub(super) to: Destination,
    /// What was said elsewhere of the recipient at hand.
    pub(super) told: Told,
    pub(super) filters: Option<Box<Chosen>>,
    /// What the upstream offers in this transaction.
    pub(super) upstream: Arc<Offer>,
    /// Octets announced by BDAT so far; None before the first one.
    pub(super) chunked: Option<u64>,
    /// The upstream connection of this transaction is gone: what the rest of it is answered.
    pub(super) lost: Option<Reply>,
    /// The filters at DATA wanted it elsewhere.
    pub(super) quarantined: Option<Box<Quarantined>>,
}

/// Which answer is awaited, with what is needed to go on.
#[derive(Debug, Default)]
pub(super) enum Pending {
    Begin,
    BeginTls,
    Connect,
    /// XCLIENT named this client.
    Introduced(Box<SessionFacts>),
    IntroducedLogin,
    #[default]
    Command,
    Helo(Hello),
    Ehlo,
    StartTls,
    Tls,
    AuthLine(Mechanism, Exchange),
    AuthGate(Box<Login>),
    AuthKeys(Mechanism, Box<First>),
    /// The account it is counted for, and whom it has to belong to where that can differ.
    AuthIdentity(Mechanism, Arc<str>, Option<Arc<str>>),
    /// The mechanism, where the gateway itself had the exchange.
    AuthFailed(Option<Mechanism>),
    /// May this be said in the exchange that somebody else has with the client? None: it begins without.
    RelayGate(Box<Relay>, Option<Secret>),
    RelayAnswer(Box<Relay>),
    /// The client's answer to a challenge of theirs.
    RelayLine(Box<Relay>),
    /// The client has the last word before its 535.
    AuthRefused,
    /// It was right; whether it was one guess too many is asked last. Then there may be a challenge more.
    AuthGood(Arc<AuthFacts>, Option<Reply>),
    /// The client's answer to that challenge.
    AuthLast(Arc<AuthFacts>),
    Auth(Arc<AuthFacts>),
    MailGate(Box<Mail>),
    Mail(Box<Mail>),
    MailReach(Box<Mail>),
    LookUp(Box<(Wanted, Waiting)>),
    RcptGate(Box<Rcpt>),
    Rcpt(Box<Rcpt>),
    RcptReach(Box<Rcpt>),
    Recall(Box<Rcpt>),
    Data,
    /// The gateway's own answer to a command that it does not carry out.
    Unknown(Own),
    Content,
    Bdat(Chunk),
    Chunk(Chunk),
    /// Answers to what has been sent upstream.
    Group,
}

/// What the gateway says to a command that it does not carry out.
#[derive(Debug)]
pub(super) enum Own {
    /// It moves nothing.
    Idle(Reply),
    Refused(Reply),
}

/// A MAIL on its way.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) sender: Sender,
    pub(super) smtp_utf8: bool,
    pub(super) binary: bool,
    pub(super) filters: Option<Box<Chosen>>,
    /// The upstream that a filter chose.
    pub(super) route: Option<String>,
}

/// A RCPT on its way.
#[derive(Debug)]
pub(super) struct Rcpt {
    /// As the client said it.
    pub(super) said: Recipient,
    /// As it goes upstream.
    pub(super) recipient: Recipient,
    /// Recipients that filters added, not yet upstream.
    pub(super) to_add: Vec<Recipient>,
    /// Those of the filters with conditions about recipients that it is for.
    pub(super) filters: FilterSet,
    /// The upstream that a filter chose.
    pub(super) route: Option<String>,
}
