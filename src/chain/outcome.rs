//! What is asked of the chain, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use crate::filter::{Ask, Held};
use crate::mail::{
    AuthFacts, Delivery, Edit, Ending, Envelope, Hello, Marks, Recipient, RecipientReply, Sender, SessionFacts, Stage,
    Summary, TlsFacts, UnknownCommand, Verdict,
};
use crate::smtp::headers::HeaderBlock;

/// What the filters may know beside the subject of the stage.
#[derive(Debug, Clone)]
pub struct Context {
    pub session: Arc<SessionFacts>,
    /// From MAIL on. At `Mail` it may be missing; the filters then see the sender at hand.
    pub envelope: Option<Arc<Envelope>>,
}

/// A stage with its subject.
#[derive(Debug)]
pub enum Call<'a> {
    Connect,
    Helo(&'a Hello),
    Tls(&'a TlsFacts),
    Auth(&'a AuthFacts),
    /// A transaction begins.
    Mail(&'a Sender),
    Rcpt(&'a Recipient),
    /// The upstream was asked about a recipient.
    RcptReply(&'a RecipientReply),
    Data,
    /// Edited in place.
    Headers(&'a mut HeaderBlock),
    /// Octets of the body, without dot-stuffing. Longer ones are pushed in pieces of 64 KiB.
    Body(&'a [u8]),
    /// Edited in place, where a filter may.
    Message(&'a mut Held),
    /// The client hears what became of its message.
    Reply(&'a Delivery),
    /// The transaction is over.
    Abort(Ending),
    /// A command that the gateway does not carry out.
    Unknown(&'a UnknownCommand),
    Quit(Summary),
}

impl Call<'_> {
    /// Which stage it is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.ask().stage()
    }

    pub(super) fn ask(&self) -> Ask<'_> {
        match self {
            Call::Connect => Ask::Connect,
            Call::Helo(hello) => Ask::Helo(hello),
            Call::Tls(tls) => Ask::Tls(tls),
            Call::Auth(auth) => Ask::Auth(auth),
            Call::Mail(sender) => Ask::Mail(sender),
            Call::Rcpt(recipient) => Ask::Rcpt(recipient),
            Call::RcptReply(reply) => Ask::RcptReply(reply),
            Call::Data => Ask::Data,
            Call::Headers(_) => Ask::Headers,
            Call::Message(_) => Ask::Message,
            Call::Body(chunk) => Ask::Body(chunk),
            Call::Reply(delivery) => Ask::Reply(delivery),
            Call::Abort(ending) => Ask::Abort(*ending),
            Call::Unknown(command) => Ask::Unknown(command),
            Call::Quit(summary) => Ask::Quit(*summary),
        }
    }
}

/// What the chain as a whole says.
#[derive(Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    /// Of the envelope, checked and granted; to be weighed by the session (relay policy, offers). Only to be
    /// applied when the verdict is `next`.
    pub edits: Vec<Edit>,
    /// Every answer but a plain `next`, for the log line.
    pub opinions: Vec<Opinion>,
    /// What filters in shadow would have said; nothing comes of it.
    pub shadows: Vec<Opinion>,
    /// How long all filters together took, waits included.
    pub time: Duration,
    /// What filters have said of the transaction by now; None: nothing.
    pub marks: Option<Arc<Marks>>,
    /// How long the answer to this stage is to be held back.
    pub delay: Duration,
}

impl Outcome {
    /// Nobody objected, nobody was even asked.
    pub const NEXT: Outcome = Outcome {
        verdict: Verdict::NEXT,
        edits: Vec::new(),
        opinions: Vec::new(),
        shadows: Vec::new(),
        time: Duration::ZERO,
        marks: None,
        delay: Duration::ZERO,
    };
}

/// What one filter said at one stage.
#[derive(Debug, Clone)]
pub struct Opinion {
    pub filter: Arc<str>,
    /// As the filter says itself.
    pub version: Option<Arc<str>>,
    pub stage: Stage,
    /// As in the contract; `fault` where there was one.
    pub action: &'static str,
    /// Printable, at most 512 octets (a little more where escaped). Of a fault: its kind.
    pub reason: Option<String>,
    /// How long the filter took, waits included.
    pub time: Duration,
}

/// How the body of a message has to be handled for this session's filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BodyMode {
    /// Nobody wants to see the whole message: it flows through.
    Stream,
    /// Somebody does, and nobody may change it: it flows through, a copy is spooled, and the final dot waits.
    Spooled,
    /// Somebody may change envelope or content when all is here: nothing goes out before that.
    Hold,
}
