//! What the state machine is told and what it asks for: the whole interface between the pure half of the house
//! and the driver loop in `server/connection.rs`.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Limits;
use crate::mail::{
    AbortReason, AuthFacts, Edit, Envelope, Hello, Recipient, RecipientReply, Ruled, Sender, Stage, TlsFacts,
    UnknownCommand, Verdict,
};
use crate::policy::tables::{Found, Wanted};
use crate::smtp::Reply;
use crate::smtp::ehlo::Offer;
use crate::smtp::sasl::scram::ScramKeys;
use crate::smtp::sasl::{Name, Secret};

/// What happened since the last step.
#[derive(Debug)]
pub enum Input<'a> {
    /// The connection is there (implicit TLS: its handshake is done, with these facts).
    Begin(Option<TlsFacts>),
    /// A command line without its CRLF.
    Line(&'a [u8]),
    /// What should have been a command line was none.
    BadLine(BadLine),
    /// The chain's answer to `Step::Consult`.
    Verdict(Verdict, Vec<Edit>),
    /// The answer to `Step::Charge`: the name of the limit that is exhausted, or room.
    Charged(Result<(), &'static str>),
    /// The answer to `Step::Charge`: a `[[limit]]` refuses it, with this reply.
    Limited(Reply),
    /// The answer to `Step::AskOffer` and `Step::Reach`: what the upstream offers, or why it cannot be had.
    Reached(Result<Arc<Offer>, Unreached>),
    /// The next of the upstream's answers, in the order of `Step::Forward`: its reply, or what its failure means for
    /// the client.
    Answer(Result<Reply, Reply>),
    /// The step that asked no question is done (`Forward`, `Said`, `LoneDot`, `Forsake`).
    Next,
    /// The answer to `Step::Recall`.
    Recalled(Option<Reply>),
    /// The answer to `Step::LookUp`.
    Found(Found),
    /// The answer to `Step::Introduce`: the new client's bounds, or why there is no room for it.
    Introduced(Result<Arc<Limits>, Reply>),
    /// The answer to `Step::Verify` and `Step::VerifyToken`.
    Identity(Identity),
    /// The answer to `Step::FindKeys`.
    Keys(KeysFound),
    /// The answer to `Step::Relay` and `Step::RelayOn`.
    Relayed(Relayed),
    /// The answer to `Step::StartTls`; without facts the handshake failed and the connection is gone.
    Tls(Option<TlsFacts>),
    /// The answer to `Step::Receive` and `Step::ReceiveChunk`: what became of the message.
    Received(BodyOutcome),
    /// The answer to `Step::ReceiveChunk`: it is in, and the message goes on with the next.
    ChunkReceived,
    /// No command came in time.
    Silence,
    /// The gateway is going down.
    Shutdown,
    /// The whole session took too long.
    Overdue,
}

/// Whether the client's names were told by who introduced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    Told,
    ToLookUp,
}

/// A line that cannot be a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadLine {
    /// Ended by LF alone.
    BareLineFeed,
    /// A CR inside.
    BareCarriageReturn,
    TooLong,
    /// An AUTH command or an answer to a challenge: its reply is another (RFC 4954 section 6).
    AuthTooLong,
}

/// Who the credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    Good(Arc<str>),
    Bad,
    /// The verifier is away or overloaded: 454, never 535.
    Unavailable,
}

/// What a backend says in an exchange that it has with the client, through us. But for a challenge the exchange is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relayed {
    Challenge(Vec<u8>),
    /// Whose login it is; with some mechanisms there is something more for the client to see.
    Good {
        identity: Arc<str>,
        last: Option<Vec<u8>>,
    },
    Bad,
    /// As with identities: 454.
    Unavailable,
}

/// What SCRAM goes on with.
#[derive(Debug)]
pub enum KeysFound {
    /// The account's, or of an account that is not there, made up; and a fresh nonce: printable, without a comma.
    Keys { keys: ScramKeys, nonce: String },
    /// As with identities: 454.
    Unavailable,
}

/// What the driver is to do next.
#[derive(Debug)]
pub enum Step {
    /// Write this, read a command.
    Reply(Reply),
    /// Write this; more of the group is still to be answered.
    Said(Reply),
    /// Read a command; nothing is to be said.
    Listen,
    /// Read a command, whatever it is, answer this, close.
    ListenThenClose(Reply),
    /// Write these, close.
    Close(Vec<Reply>),
    /// Ask the filters.
    Consult(Ask),
    /// Tell the filters, then go on with the boxed step.
    Tell(Ended, Box<Step>),
    /// Tell them what the upstream said to a recipient, then go on with the boxed step.
    TellReply(Box<RecipientReply>, Box<Step>),
    /// Tell of the operator's rules that matched, then go on with the boxed step.
    TellRules(Vec<Ruled>, Box<Step>),
    /// What does somebody elsewhere say about this key of a table?
    LookUp(Wanted),
    /// Count against the limits that span sessions.
    Charge(Charge),
    /// Find out what the upstream offers (from an answer young enough, else by connecting).
    AskOffer,
    /// Have a connection to this one of `Config::upstreams` that knows who the client is.
    Reach { upstream: usize, purpose: Purpose },
    /// What did the upstream answer to this lately?
    Recall(Question),
    /// Queue this line (with its CRLF) for the upstream; its answer is due.
    Forward(Errand, Vec<u8>),
    /// Hand in the next line of the group, if it is there and [`Session::joins`](super::Session::joins); otherwise
    /// the next of the answers that are due.
    Await,
    /// The upstream took DATA although it took no recipient: send it a lone dot (RFC 2920 3.1), go on.
    LoneDot,
    /// Leave the upstream connection without a word, since what stands in it is in doubt; go on.
    Forsake,
    /// Verify credentials.
    Verify { identity: Arc<str>, password: Secret },
    /// Find what is kept for SCRAM under this name.
    FindKeys { identity: Arc<str> },
    /// Verify a token; it should be this identity's, if one is named.
    VerifyToken { identity: Option<Arc<str>>, token: Secret },
    /// Begin an exchange with the backend that has this mechanism, with the client's first message if it came already.
    Relay { mechanism: Name, initial: Option<Secret> },
    /// Say the client's answer in it.
    RelayOn(Secret),
    /// The client is out of it: end the exchange, then go on with the boxed step.
    RelayEnd(Box<Step>),
    /// Write a 334 and read a line of up to `AUTH_LINE_BYTES_MAX`.
    Challenge(Reply),
    /// The session is to be another client's, at this address: make room for it, and let filters begin anew.
    Introduce(IpAddr, Names),
    /// Write 220 and do the handshake; buffered plaintext ends the session (CVE-2011-0411).
    StartTls(Reply),
    /// Take the message.
    Receive(BodyPlan),
    /// Take a chunk of the message: the first one with a plan for the whole, the others as the first was taken.
    ReceiveChunk(Chunk, Option<BodyPlan>),
    /// Read so many octets (at most `SWALLOWED_BYTES_MAX`) and throw them away, then go on with the boxed step.
    Swallow(u64, Box<Step>),
}

/// What follows a BDAT (RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    pub octets: u64,
    /// The message ends with it.
    pub last: bool,
}

/// What an upstream connection is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// This client's transactions, as long as it is here.
    Session,
    /// One transaction.
    Transaction,
    /// Recipients are asked about; the transaction ends with its answers, and so does the need for the connection.
    Question,
}

/// What an upstream's answer about a recipient depends on, as far as we can tell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Which of `Config::upstreams`.
    pub upstream: usize,
    /// Which of `Config::listeners`.
    pub listener: usize,
    pub authenticated: bool,
    pub sender: SenderClass,
    /// Lower case.
    pub recipient: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SenderClass {
    /// A bounce.
    Null,
    /// From one of our own domains.
    Ours,
    Foreign,
}

/// No upstream connection.
#[derive(Debug, Clone)]
pub struct Unreached {
    /// What the client is told when it matters.
    pub reply: Reply,
    /// What the upstream offered when it was last seen.
    pub last_known: Option<Arc<Offer>>,
}

/// A transaction that ended without a message.
#[derive(Debug)]
pub struct Ended {
    pub reason: AbortReason,
    pub envelope: Arc<Envelope>,
}

/// What a line to the upstream is, so that the driver knows which wait and which judgement fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    Mail,
    Rcpt,
    /// A 354 is the only good answer.
    Data,
    Rset,
}

impl Errand {
    /// What a line of ours is.
    #[must_use]
    pub fn of_line(line: &[u8]) -> Errand {
        match line.first() {
            Some(b'M') => Errand::Mail,
            Some(b'D') => Errand::Data,
            Some(b'R') if line.starts_with(b"RCPT") => Errand::Rcpt,
            _ => Errand::Rset,
        }
    }
}

/// A stage with what is new at it.
#[derive(Debug)]
pub enum Ask {
    Connect,
    Helo(Hello),
    Tls(Arc<TlsFacts>),
    Auth(Arc<AuthFacts>),
    Mail(Sender),
    Rcpt(Recipient),
    Data,
    Unknown(UnknownCommand),
}

impl Ask {
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Ask::Connect => Stage::Connect,
            Ask::Helo(_) => Stage::Helo,
            Ask::Tls(_) => Stage::Tls,
            Ask::Auth(_) => Stage::Auth,
            Ask::Mail(_) => Stage::Mail,
            Ask::Rcpt(_) => Stage::Rcpt,
            Ask::Data => Stage::Data,
            Ask::Unknown(_) => Stage::Unknown,
        }
    }
}

/// What is counted over sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charge {
    Message,
    Recipient,
    /// May this client still try this account?
    AuthAttempt {
        account: Arc<str>,
    },
    AuthFailure {
        mechanism: Name,
        account: Arc<str>,
    },
    /// It was right. May this client still learn that?
    AuthGood {
        account: Arc<str>,
    },
}

/// How the content is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyPlan {
    /// The upstream said 354: pump.
    Stream,
    /// Take all of it first; the upstream hears DATA when the filters have spoken.
    Hold,
    /// A filter with the grant decided to discard: read it, answer 250, deliver nothing.
    Discard,
}

/// What became of the content.
#[derive(Debug)]
pub struct BodyOutcome {
    /// The client's answer.
    pub reply: Reply,
    /// What the upstream said about each of the client's recipients, where it answers for each (LMTP). Or nothing.
    pub each: Vec<Reply>,
    /// The session cannot go on (client gone, timeout, a message without end).
    pub close: bool,
    /// None: the upstream (or that of the quarantine) accepted the message (or a filter discarded it with the operator's grant).
    pub aborted: Option<AbortReason>,
}
