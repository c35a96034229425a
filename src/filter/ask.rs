//! One question to one filter, with what it is about.

use crate::mail::{
    AuthFacts, Delivery, Ending, Hello, Recipient, RecipientReply, Sender, Stage, Summary, TlsFacts, UnknownCommand,
};

/// What a stage is about, where it is not on the desk ([`Work`](super::Work)) already.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    Connect,
    Helo(&'a Hello),
    Tls(&'a TlsFacts),
    Auth(&'a AuthFacts),
    /// Unless `Work::sender` holds another.
    Mail(&'a Sender),
    /// Unless `Work::recipient` holds another.
    Rcpt(&'a Recipient),
    RcptReply(&'a RecipientReply),
    Data,
    /// The block is `Work::headers`.
    Headers,
    /// One chunk, at most [`CHUNK_BYTES_MAX`] of which are pushed at once.
    Body(&'a [u8]),
    /// The message is `Work::held`, its block `Work::headers`.
    Message,
    Reply(&'a Delivery),
    Abort(Ending),
    Unknown(&'a UnknownCommand),
    Quit(Summary),
}

/// Octets of a body chunk pushed into a guest at once.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;

impl<'a> Ask<'a> {
    /// What may be asked at once, and what is then left: a body goes in pieces.
    #[must_use]
    pub fn split(self) -> (Ask<'a>, Option<Ask<'a>>) {
        if let Ask::Body(octets) = self
            && octets.len() > CHUNK_BYTES_MAX
            && let Some((piece, more)) = octets.split_at_checked(CHUNK_BYTES_MAX)
        {
            return (Ask::Body(piece), Some(Ask::Body(more)));
        }
        (self, None)
    }

    /// Which stage it is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Ask::Connect => Stage::Connect,
            Ask::Helo(_) => Stage::Helo,
            Ask::Tls(_) => Stage::Tls,
            Ask::Auth(_) => Stage::Auth,
            Ask::Mail(_) => Stage::Mail,
            Ask::Rcpt(_) => Stage::Rcpt,
            Ask::RcptReply(_) => Stage::RcptReply,
            Ask::Data => Stage::Data,
            Ask::Headers => Stage::Headers,
            Ask::Message => Stage::Message,
            Ask::Body(_) => Stage::Body,
            Ask::Reply(_) => Stage::Reply,
            Ask::Abort(_) => Stage::Abort,
            Ask::Unknown(_) => Stage::Unknown,
            Ask::Quit(_) => Stage::Quit,
        }
    }
}
