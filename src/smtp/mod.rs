//! Floor 0: the words and octets of SMTP, sans-IO. Knows no session, no policy, no socket.
//!
//! Whatever comes in here was written by a stranger: every parser is strict about form, bounded in memory,
//! and keeps what was said octet for octet. What cannot be kept is refused, never repaired.

pub mod address;
pub mod body;
pub mod command;
pub mod ehlo;
pub mod extensions;
pub mod headers;
pub mod line;
pub mod params;
pub mod parts;
pub mod replies;
pub mod reply;
pub mod sasl;
pub mod strict;
pub mod xclient;
pub mod xtext;

pub use address::{Domain, ForwardPath, Mailbox, ReversePath};
pub use command::{Command, CommandError};
pub use ehlo::{ClientOffer, Offer};
pub use headers::{HeaderBlock, HeaderField};
pub use params::{MailParams, Param, Params, RcptParams};
pub use reply::{Enhanced, ParsedReply, Reply, ReplyError, ReplyParser};
