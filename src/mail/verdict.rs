//! What a filter may say, and what it means when it cannot say anything.

use std::time::Duration;

use super::Recipient;
use crate::smtp::{ForwardPath, Reply};

/// A stage of the session at which filters are asked or told (filters/wit/filter.wit).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stage {
    Connect,
    Helo,
    Tls,
    Auth,
    Mail,
    Rcpt,
    RcptReply,
    Data,
    Headers,
    Body,
    Message,
    Reply,
    Abort,
    Unknown,
    Quit,
}

impl Stage {
    pub const ALL: [Stage; 15] = [
        Stage::Connect,
        Stage::Helo,
        Stage::Tls,
        Stage::Auth,
        Stage::Mail,
        Stage::Rcpt,
        Stage::RcptReply,
        Stage::Data,
        Stage::Headers,
        Stage::Body,
        Stage::Message,
        Stage::Reply,
        Stage::Abort,
        Stage::Unknown,
        Stage::Quit,
    ];

    /// As in the contract and the log: "connect", "helo", …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Connect => "connect",
            Stage::Helo => "helo",
            Stage::Tls => "tls",
            Stage::Auth => "auth",
            Stage::Mail => "mail",
            Stage::Rcpt => "rcpt",
            Stage::RcptReply => "rcpt-reply",
            Stage::Data => "data",
            Stage::Headers => "headers",
            Stage::Body => "body",
            Stage::Message => "message",
            Stage::Reply => "reply",
            Stage::Abort => "abort",
            Stage::Unknown => "unknown",
            Stage::Quit => "quit",
        }
    }
}

/// What the chain as a whole decided at a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Go on (also what `accept` and `skip` of single filters come to).
    Next,
    Reject,
    Defer,
    Discard,
    /// To where the operator's grant says.
    Quarantine,
    Disconnect,
    /// At `unknown`: this is the answer, and no refusal.
    Answer,
}

impl Action {
    /// As in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Action::Next => "next",
            Action::Reject => "reject",
            Action::Defer => "defer",
            Action::Discard => "discard",
            Action::Quarantine => "quarantine",
            Action::Disconnect => "disconnect",
            Action::Answer => "accept",
        }
    }
}

/// The chain's answer to a stage, ready for the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub action: Action,
    /// Checked: its class fits the action, its text is printable. None: the gateway's own reply.
    pub reply: Option<Reply>,
    /// Who decided, for the log; None when nobody objected.
    pub filter: Option<std::sync::Arc<str>>,
    pub reason: Option<String>,
}

impl Verdict {
    /// Nobody objected.
    pub const NEXT: Verdict = Verdict { action: Action::Next, reply: None, filter: None, reason: None };
}

/// Why a transaction ended without a message, as the `abort` stage is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortReason {
    Reset,
    ClientGone,
    Timeout,
    Refused,
    UpstreamFailed,
    Shutdown,
}

/// A transaction that ended without a message, as the `abort` stage is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    pub reason: AbortReason,
    /// Of the message, as far as it came.
    pub octets: u64,
    /// Since MAIL.
    pub duration: Duration,
}

/// What became of a recipient upstream, as the `rcpt-reply` stage is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientReply {
    /// As the client said it.
    pub said: ForwardPath,
    /// As it went upstream.
    pub recipient: Recipient,
    pub answer: Reply,
}

/// A message that came to its end, as the `reply` stage is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What the client hears; where it hears of each recipient, what that comes to.
    pub answer: Reply,
    /// What it hears of each recipient, where it does (LMTP).
    pub each: Vec<(Recipient, Reply)>,
    /// Of the message as it came.
    pub octets: u64,
    /// Since MAIL.
    pub duration: Duration,
}

/// A command that the gateway does not carry out, as the `unknown` stage is asked about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCommand {
    /// Upper case, at most 32 octets.
    pub verb: String,
    /// What follows, as UTF-8.
    pub argument: String,
}

/// A session that is over, as the `quit` stage is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Begun, and accepted by the upstream.
    pub transactions: u32,
    pub delivered: u32,
    /// That came from the client.
    pub octets: u64,
    /// Since the connection was made.
    pub duration: Duration,
}

/// A filter did not answer as the contract wants: data with a configured consequence (`on-fault`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub filter: std::sync::Arc<str>,
    pub stage: Stage,
    pub kind: FaultKind,
    /// For the operator: what happened, with the guest's backtrace where there is one. Not escaped.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    Trap,
    Cpu,
    Deadline,
    Memory,
    StackOverflow,
    /// A verdict that the contract does not allow.
    BadAnswer,
    /// An instance could not be made: its `init` or its start failed.
    Instantiate,
    /// The host had none for it until the deadline: the fault of no filter, and of no mail.
    NoInstance,
}

impl FaultKind {
    /// As in metrics and log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FaultKind::Trap => "trap",
            FaultKind::Cpu => "cpu",
            FaultKind::Deadline => "deadline",
            FaultKind::Memory => "memory",
            FaultKind::StackOverflow => "stack-overflow",
            FaultKind::BadAnswer => "bad-answer",
            FaultKind::Instantiate => "instantiate",
            FaultKind::NoInstance => "no-instance",
        }
    }
}
