//! Which faults there are, and where.

use std::fmt;

/// One fault at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    Upstream(Place, Fault),
    Client(Moment, Leaving),
}

/// How the client brings its message, and when the gateway turns to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) sending: Sending,
    /// `connect` of the upstream.
    pub(crate) connect: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// One command, one answer.
    Stepwise,
    /// MAIL, both RCPT and DATA in one packet (RFC 2920).
    Pipelined,
    /// The message by BDAT, in two chunks (RFC 3030).
    Chunked,
}

/// What the upstream was to do when the fault befell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Connect,
    Banner,
    Hello,
    StartTls,
    Handshake,
    Xclient,
    ClientHello,
    Mail,
    FirstRcpt,
    SecondRcpt,
    Data,
    Body,
    Dot,
    AfterReply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The machine is gone: no packet of it, and none to it.
    Dies,
    /// The connection stands; nobody reads and nobody speaks.
    Stalls,
    /// It says something that is no answer.
    Garbage,
    Closes,
    Resets,
}

/// What the client had done when it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Banner,
    Hello,
    Mail,
    Rcpt,
    Body,
    BetweenChunks,
    Dot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    Resets,
    FallsSilent,
    HalfCloses,
}

impl Place {
    pub(crate) const ALL: [Place; 14] = [
        Place::Connect,
        Place::Banner,
        Place::Hello,
        Place::StartTls,
        Place::Handshake,
        Place::Xclient,
        Place::ClientHello,
        Place::Mail,
        Place::FirstRcpt,
        Place::SecondRcpt,
        Place::Data,
        Place::Body,
        Place::Dot,
        Place::AfterReply,
    ];

    /// As the page heads it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Place::Connect => "instead of taking the connection",
            Place::Banner => "instead of its banner",
            Place::Hello => "instead of answering EHLO",
            Place::StartTls => "instead of answering STARTTLS (where TLS is demanded)",
            Place::Handshake => "inside the TLS handshake (where TLS is demanded)",
            Place::Xclient => "instead of answering XCLIENT",
            Place::ClientHello => "instead of answering EHLO in the client's name",
            Place::Mail => "instead of answering MAIL",
            Place::FirstRcpt => "instead of answering the first RCPT",
            Place::SecondRcpt => "instead of answering the second RCPT",
            Place::Data => "instead of answering DATA",
            Place::Body => "in the middle of the body",
            Place::Dot => "after the final dot, before its answer",
            Place::AfterReply => "after its answer to the final dot",
        }
    }

    pub(crate) const fn wants_tls(self) -> bool {
        matches!(self, Place::StartTls | Place::Handshake)
    }
}

impl Fault {
    pub(crate) const ALL: [Fault; 5] = [Fault::Dies, Fault::Stalls, Fault::Garbage, Fault::Closes, Fault::Resets];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Fault::Dies => "dies",
            Fault::Stalls => "stalls",
            Fault::Garbage => "talks nonsense",
            Fault::Closes => "closes",
            Fault::Resets => "resets",
        }
    }
}

impl Moment {
    pub(crate) const ALL: [Moment; 7] =
        [Moment::Banner, Moment::Hello, Moment::Mail, Moment::Rcpt, Moment::Body, Moment::BetweenChunks, Moment::Dot];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Moment::Banner => "before its EHLO",
            Moment::Hello => "after EHLO",
            Moment::Mail => "after MAIL",
            Moment::Rcpt => "after RCPT",
            Moment::Body => "in the middle of the body",
            Moment::BetweenChunks => "between two chunks",
            Moment::Dot => "after the end of its message, before our answer",
        }
    }
}

impl Leaving {
    pub(crate) const ALL: [Leaving; 3] = [Leaving::Resets, Leaving::FallsSilent, Leaving::HalfCloses];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Leaving::Resets => "resets",
            Leaving::FallsSilent => "falls silent",
            Leaving::HalfCloses => "closes its sending side",
        }
    }
}

impl Way {
    pub(crate) const ALL: [Way; 8] = [
        Way { sending: Sending::Stepwise, connect: "eager" },
        Way { sending: Sending::Pipelined, connect: "eager" },
        Way { sending: Sending::Chunked, connect: "eager" },
        Way { sending: Sending::Stepwise, connect: "lazy" },
        Way { sending: Sending::Pipelined, connect: "lazy" },
        Way { sending: Sending::Stepwise, connect: "deferred" },
        Way { sending: Sending::Pipelined, connect: "deferred" },
        Way { sending: Sending::Chunked, connect: "deferred" },
    ];

    /// As a row says it; nothing for the first.
    pub(crate) fn title(self) -> String {
        let sending = match self.sending {
            Sending::Stepwise => None,
            Sending::Pipelined => Some("pipelined"),
            Sending::Chunked => Some("BDAT"),
        };
        let connect = (self.connect != "eager").then_some(self.connect);
        [sending, connect].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Whether such a client can be in this situation.
    pub(crate) fn meets(self, cell: Cell) -> bool {
        match (cell, self.sending) {
            (Cell::Upstream(..), _) => true,
            (Cell::Client(moment, _), Sending::Stepwise) => moment != Moment::BetweenChunks,
            (Cell::Client(moment, _), Sending::Pipelined) => matches!(moment, Moment::Body | Moment::Dot),
            (Cell::Client(moment, _), Sending::Chunked) => {
                matches!(moment, Moment::Body | Moment::BetweenChunks | Moment::Dot)
            }
        }
    }
}

impl Cell {
    /// turmoil resets a connection only with octets unread, and before its banner an upstream has heard nothing.
    pub(crate) fn only_with_sockets(self) -> bool {
        self == Cell::Upstream(Place::Banner, Fault::Resets)
    }

    /// Whether it comes to its end without anybody waiting in vain.
    pub(crate) fn needs_no_clock(self) -> bool {
        match self {
            Cell::Upstream(_, fault) => !matches!(fault, Fault::Dies | Fault::Stalls),
            Cell::Client(_, leaving) => leaving != Leaving::FallsSilent,
        }
    }

    /// The message was on its way as a whole and its answer was not: whether it counts is not to be known (RFC 1047).
    pub(crate) fn leaves_no_answer(self) -> bool {
        match self {
            Cell::Upstream(place, _) => place == Place::Dot,
            Cell::Client(moment, leaving) => moment == Moment::Dot && leaving == Leaving::Resets,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Upstream(place, fault) => write!(f, "the upstream {} {}", fault.title(), place.title()),
            Cell::Client(moment, leaving) => write!(f, "the client {} {}", leaving.title(), moment.title()),
        }
    }
}

/// Every way with every cell that it meets.
pub(crate) fn cells() -> Vec<(Way, Cell)> {
    // Nothing can be said, or closed, on a connection that was not taken.
    let possible = |place, fault| place != Place::Connect || !matches!(fault, Fault::Garbage | Fault::Closes);
    let mut cells = Vec::new();
    for place in Place::ALL {
        let faults = Fault::ALL.into_iter().filter(|fault| possible(place, *fault));
        cells.extend(faults.map(|fault| Cell::Upstream(place, fault)));
    }
    for moment in Moment::ALL {
        cells.extend(Leaving::ALL.map(|leaving| Cell::Client(moment, leaving)));
    }
    let with = |way: Way| cells.iter().filter(move |cell| way.meets(**cell)).map(move |cell| (way, *cell));
    Way::ALL.into_iter().flat_map(with).collect()
}
