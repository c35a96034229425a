//! What can go wrong behind us, and what the client is told then: always something to try again later.
//!
//! What the upstream says about the gateway never becomes the client's bounce; the operator hears of it.

use std::borrow::Cow;

use super::wait::Wait;
use crate::net::dns::LookupError;
use crate::report::Seldom;
use crate::smtp::{Enhanced, Reply, replies};

/// Why there is no answer of the upstream to hand on. The connection is of no use after any of these.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The upstream's host has no address.
    #[error("the upstream's address: {0}")]
    Resolve(#[from] LookupError),
    /// No address of it could be connected to; the last one's reason.
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    /// A named wait was over. ([`Wait::setting`] is the key that bounds it.)
    #[error("no answer in time: {0} ({setting})", setting = .0.setting())]
    Timeout(Wait),
    /// It said no to us, or not now, where only a yes helps.
    #[error("refused at {during}: {reply}")]
    Refused { during: Wait, reply: Reply },
    /// 421: it is about to close.
    #[error("closing at {during}: {reply}")]
    Closing { during: Wait, reply: Reply },
    /// It cannot be told who the client is.
    #[error("the client cannot be identified to the upstream: {0}")]
    NotIdentified(&'static str),
    /// TLS is demanded and not to be had.
    #[error("TLS: {0}")]
    Tls(String),
    /// What it said makes no sense where it said it.
    #[error("protocol violation at {during}: {detail}")]
    Protocol { during: Wait, detail: Cow<'static, str> },
    /// All connections that there may be were in use for too long.
    #[error("no connection was free in time (connections, upstream-connect)")]
    Busy,
    /// It closed the connection.
    #[error("connection closed at {0}")]
    Closed(Wait),
    #[error("{during}: {error}")]
    Io { during: Wait, error: std::io::Error },
}

impl UpstreamError {
    pub(super) fn protocol(during: Wait, detail: impl Into<Cow<'static, str>>) -> Self {
        UpstreamError::Protocol { during, detail: detail.into() }
    }

    /// A word for it, in metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            UpstreamError::Resolve(_) => "resolve",
            UpstreamError::Connect(_) => "connect",
            UpstreamError::Timeout(_) => "timeout",
            UpstreamError::Refused { .. } => "refused",
            UpstreamError::Closing { .. } => "closing",
            UpstreamError::NotIdentified(_) => "not-identified",
            UpstreamError::Tls(_) => "tls",
            UpstreamError::Protocol { .. } => "protocol",
            UpstreamError::Busy => "busy",
            UpstreamError::Closed(_) => "closed",
            UpstreamError::Io { .. } => "io",
        }
    }

    /// How a connection ends that was left alone for too long.
    #[must_use]
    pub fn is_farewell(&self) -> bool {
        matches!(self, UpstreamError::Closed(_) | UpstreamError::Closing { .. } | UpstreamError::Io { .. })
    }

    /// What the client is told: 451, in the upstream's own words where they are for it.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            UpstreamError::Resolve(_) | UpstreamError::Connect(_) | UpstreamError::Timeout(Wait::Connect) => {
                replies::UPSTREAM_AWAY
            }
            UpstreamError::Busy => replies::UPSTREAM_BUSY,
            // The message may or may not be there, and the client will bring it again (RFC 1047).
            UpstreamError::Timeout(Wait::Final)
            | UpstreamError::Closed(Wait::Final)
            | UpstreamError::Io { during: Wait::Final, .. } => replies::OUTCOME_UNKNOWN,
            UpstreamError::Timeout(_) => replies::UPSTREAM_TIMEOUT,
            UpstreamError::Closing { reply, .. } | UpstreamError::Refused { during: Wait::ClientHello, reply } => {
                not_now(reply)
            }
            UpstreamError::Refused { .. } if !self.is_alarm() => replies::UPSTREAM_NOT_READY,
            UpstreamError::Refused { .. } | UpstreamError::NotIdentified(_) | UpstreamError::Tls(_) => {
                replies::UPSTREAM_MISCONFIGURED
            }
            UpstreamError::Protocol { .. } => replies::UPSTREAM_NONSENSE,
            UpstreamError::Closed(_) | UpstreamError::Io { .. } => replies::UPSTREAM_LOST,
        }
    }

    /// Nothing a client did: it stays like this until the operator changes something here or there.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        match self {
            // In the client's name: a client could ring the bell.
            UpstreamError::Refused { during: Wait::ClientHello, .. } => false,
            UpstreamError::Refused { reply, .. } => reply.class() == 5,
            UpstreamError::NotIdentified(_) | UpstreamError::Tls(_) => true,
            UpstreamError::Resolve(LookupError::NotFound) => true,
            _ => false,
        }
    }

    /// The upstream has something against this client, or cannot be told of it: another connection or server would say
    /// the same.
    pub(super) fn is_the_clients(&self) -> bool {
        matches!(
            self,
            UpstreamError::Refused { during: Wait::Identify | Wait::ClientHello, .. } | UpstreamError::NotIdentified(_)
        )
    }

    /// Tells the operator what only the operator can mend; everything else is in the session's own log line. Every
    /// session meets it, so it is said once a minute.
    pub(super) fn announced(self, upstream: &str) -> Self {
        static SAID: Seldom = Seldom::new();
        if !self.is_alarm() {
            return self;
        }
        if let Some(times_before) = SAID.may_say(&format!("{upstream} {self}"), std::time::Instant::now()) {
            tracing::error!(%upstream, error = %self, times_before, "the upstream and this gateway do not fit together");
        }
        self
    }
}

/// Its words with a code that means: again later.
fn not_now(reply: &Reply) -> Reply {
    let enhanced = reply.enhanced.map_or(Enhanced::new(4, 3, 2), |said| Enhanced { class: 4, ..said });
    Reply::new(451, Some(enhanced), reply.text.clone())
}
