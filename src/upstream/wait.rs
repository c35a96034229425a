//! What is being waited for: how long, under which name, and (in `judge`) which answers make sense.

use std::fmt;
use std::time::Duration;

use crate::config::Timeouts;

/// A wait towards the upstream. Each has a bound of its own in `[timeouts]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// Its addresses and a TCP connection to one of them.
    Connect,
    /// The banner.
    Greeting,
    /// EHLO or HELO in our own name.
    Hello,
    /// The reply to STARTTLS.
    StartTls,
    /// The TLS handshake.
    Handshake,
    /// AUTH, in our own name.
    Login,
    /// XCLIENT or XFORWARD.
    Identify,
    /// EHLO or HELO in the client's name, after XCLIENT.
    ClientHello,
    Mail,
    Rcpt,
    /// DATA to its 354.
    Data,
    /// A chunk of BDAT, but for the last, to its reply.
    Chunk,
    Rset,
    /// Octets of ours being taken.
    Write,
    /// The final dot to its reply.
    Final,
}

impl Wait {
    /// The configured bound.
    #[must_use]
    pub fn limit(self, timeouts: &Timeouts) -> Duration {
        match self {
            Wait::Connect => timeouts.upstream_connect,
            Wait::Greeting => timeouts.upstream_greeting,
            Wait::Hello
            | Wait::StartTls
            | Wait::Handshake
            | Wait::Login
            | Wait::Identify
            | Wait::ClientHello
            | Wait::Mail
            | Wait::Rcpt
            | Wait::Rset => timeouts.upstream_command,
            Wait::Data | Wait::Chunk => timeouts.upstream_data,
            Wait::Write => timeouts.upstream_write,
            Wait::Final => timeouts.upstream_final,
        }
    }

    /// The key in `[timeouts]` that bounds it.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Wait::Connect => "upstream-connect",
            Wait::Greeting => "upstream-greeting",
            Wait::Hello
            | Wait::StartTls
            | Wait::Handshake
            | Wait::Login
            | Wait::Identify
            | Wait::ClientHello
            | Wait::Mail
            | Wait::Rcpt
            | Wait::Rset => "upstream-command",
            Wait::Data | Wait::Chunk => "upstream-data",
            Wait::Write => "upstream-write",
            Wait::Final => "upstream-final",
        }
    }
}

/// As the log says it.
impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wait::Connect => "connect",
            Wait::Greeting => "greeting",
            Wait::Hello => "hello",
            Wait::StartTls => "STARTTLS",
            Wait::Handshake => "TLS handshake",
            Wait::Login => "AUTH",
            Wait::Identify => "XCLIENT or XFORWARD",
            Wait::ClientHello => "hello in the client's name",
            Wait::Mail => "MAIL",
            Wait::Rcpt => "RCPT",
            Wait::Data => "DATA",
            Wait::Chunk => "BDAT",
            Wait::Rset => "RSET",
            Wait::Write => "write",
            Wait::Final => "final dot",
        })
    }
}
