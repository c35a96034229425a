//! The server's side of SASL (RFC 4422), without a socket, and without a secret in reach of a log. A machine a mechanism:
//! it takes what the client says and comes out with what somebody else has to look up or verify, or with a proof.
//!
//! Base64 is strict: padding is required, and nothing may stand around it. Every machine has a fixed number of steps,
//! and a step is a line of bounded length (`line::AUTH_LINE_OCTETS_MAX`).

mod bearer;
mod external;
mod mechanism;
mod name;
mod plain;
pub mod scram;
mod secret;
#[cfg(test)]
mod tests;
mod witness;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::replies;
use super::reply::Reply;

pub use mechanism::{Mechanism, Mechanisms};
pub use name::{Name, RELAYED_MECHANISMS_MAX, Served, Way};
pub use secret::Secret;
pub use witness::{Unreadable, Witness};

/// Each of authorization identity, name and password, decoded (RFC 4616 section 2 asks for 255).
pub const CREDENTIAL_OCTETS_MAX: usize = 255;

/// What the TLS connection tells mechanisms that ask.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Channel {
    pub binding: Option<ChannelBinding>,
    /// Whether SCRAM-SHA-256-PLUS is among what was offered.
    pub plus_offered: bool,
    /// Whom the client's certificate names, when it verified.
    pub certified: Option<Arc<str>>,
}

/// What both ends of one TLS connection know, and nobody else does (RFC 9266). Cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelBinding([u8; ChannelBinding::OCTETS]);

impl ChannelBinding {
    pub const OCTETS: usize = 32;

    #[must_use]
    pub const fn new(octets: [u8; ChannelBinding::OCTETS]) -> ChannelBinding {
        ChannelBinding(octets)
    }

    #[must_use]
    pub const fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ChannelBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelBinding")
    }
}

/// What happens next. An identity is UTF-8 without control characters and not empty.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Say this (334), and give the next line to the exchange.
    Challenge(Reply, Exchange),
    /// To be verified.
    Password { identity: String, password: Secret },
    /// To be looked up, and the machine to go on with it.
    Keys { identity: String, first: Box<scram::First> },
    /// To be verified; it has to be this identity's, if one is named. Of one that is not good see [`refusal`].
    Token { mechanism: Mechanism, identity: Option<String>, token: Secret },
    /// It is who it says. Before 235 there may be a challenge more, which the client answers with nothing.
    Proven { identity: String, last: Option<Reply> },
    /// It is not.
    Disproven { identity: String },
    /// Over; say this.
    Failed(Reply),
}

/// An exchange that waits for the client's next line.
#[derive(Debug, PartialEq, Eq)]
pub struct Exchange(Challenged);

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Challenged {
    /// The client's first message, which could have come with the command.
    Initial(Mechanism, Box<Channel>),
    LoginPassword {
        identity: String,
    },
    ScramProof(Box<scram::Proof>),
}

impl Exchange {
    /// From an AUTH command: its initial response is still in base64.
    #[must_use]
    pub fn begin(mechanism: Mechanism, initial: Option<&Secret>, channel: Channel) -> Step {
        let exchange = Exchange(Challenged::Initial(mechanism, Box::new(channel)));
        match initial.map(Secret::reveal) {
            Some(initial) => exchange.take(initial),
            None => ask_for(exchange),
        }
    }

    /// The client's answer to the challenge, without its line end.
    #[must_use]
    pub fn respond(self, line: &[u8]) -> Step {
        if line == b"*" { Step::Failed(replies::AUTH_CANCELLED) } else { self.take(line) }
    }

    fn take(self, base64: &[u8]) -> Step {
        let Ok(decoded) = STANDARD.decode(base64).map(Secret::new) else {
            return Step::Failed(replies::AUTH_NOT_BASE64);
        };
        let message = decoded.reveal();
        let step = match self.0 {
            Challenged::Initial(mechanism, channel) => match mechanism {
                Mechanism::Plain => plain::plain(message),
                Mechanism::Login => plain::login_name(message),
                Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => scram::first(mechanism, &channel, message),
                Mechanism::OauthBearer => bearer::oauthbearer(message),
                Mechanism::Xoauth2 => bearer::xoauth2(message),
                Mechanism::External => Some(external::external(channel.certified.as_ref(), message)),
            },
            Challenged::LoginPassword { identity } => plain::login_password(identity, message),
            Challenged::ScramProof(proof) => proof.verify(message),
        };
        step.unwrap_or(Step::Failed(replies::AUTH_MALFORMED))
    }
}

/// The challenge of an exchange that has said nothing yet.
fn ask_for(exchange: Exchange) -> Step {
    let said = match &exchange.0 {
        // As every client of this mechanism expects.
        Challenged::Initial(Mechanism::Login, _) => challenge(b"Username:"),
        Challenged::LoginPassword { .. } => challenge(b"Password:"),
        _ => challenge(b""),
    };
    Step::Challenge(said, exchange)
}

/// What a client is told of a token that is not good, in a challenge; whatever it answers, 535 follows. `discovery` is the
/// https address at which the provider describes itself, if that may be said. None: the mechanism has no such challenge.
#[must_use]
pub fn refusal(mechanism: Mechanism, discovery: Option<&str>) -> Option<Reply> {
    let bearer = matches!(mechanism, Mechanism::OauthBearer | Mechanism::Xoauth2);
    bearer.then(|| challenge(bearer::refusal(mechanism, discovery).as_bytes()))
}

fn challenge(message: &[u8]) -> Reply {
    Reply::new(334, None, Cow::Owned(STANDARD.encode(message)))
}

/// A name as it may stand in a log, in XCLIENT, and in a file of accounts.
#[must_use]
pub fn identity(octets: &[u8]) -> Option<String> {
    let name = str::from_utf8(octets).ok()?;
    let sound = (1..=CREDENTIAL_OCTETS_MAX).contains(&name.len()) && !name.contains(char::is_control);
    sound.then(|| name.to_owned())
}

fn password(octets: &[u8]) -> Option<Secret> {
    let sound = (1..=CREDENTIAL_OCTETS_MAX).contains(&octets.len()) && !octets.contains(&0);
    sound.then(|| Secret::new(octets.to_vec()))
}
