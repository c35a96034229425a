//! The client's half of the pump: octets in, pieces of the message out. Knows the end of data and the ends of chunks,
//! bare line ends, NUL, sizes and waits; knows neither filters nor the upstream.

use tokio::time::Instant;

use super::patience::Patience;
use crate::server::buffers::FORWARD_BYTES_MIN;
use crate::server::client::ClientIo;
use crate::session::{Chunk, SWALLOWED_BYTES_MAX};
use crate::smtp::body::{BadOctet, ContentScanner, DataScanner, ScanState};

/// What stands at the front of `ClientIo::waiting`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Octets of the message as the client sent them (of DATA: dots still stuffed).
    pub(super) wire: usize,
    /// The same without the stuffed dots (RFC 1870 counts these).
    pub(super) content: u64,
    pub(super) then: Then,
    /// Whether the piece begins at the beginning of a line.
    pub(super) at_line_start: bool,
    /// A line of it begins with one dot and goes on: not as it would be sent on.
    pub(super) lone_dot: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    More,
    /// The chunk ends here, the message does not.
    NextChunk,
    /// The message ends here; the octets of its `.CRLF` follow the piece.
    End {
        terminator: usize,
    },
    /// The next octet is none that a message may have. The rest is to be skipped.
    Bad(BadOctet),
}

/// The content cannot be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Broken {
    Gone,
    Silence,
    /// Refused long ago and still coming.
    Endless,
}

/// How the client says where the message ends.
#[derive(Debug)]
pub(super) enum Framing {
    /// DATA: by a dot.
    Dots(DataScanner),
    /// BDAT: by counting.
    Chunks(Counted),
}

#[derive(Debug)]
pub(super) struct Counted {
    scanner: ContentScanner,
    /// Octets of the chunk at hand that have not been seen.
    left: u64,
    last: bool,
}

impl Counted {
    pub(super) fn new(scanner: ContentScanner) -> Counted {
        Counted { scanner, left: 0, last: false }
    }

    /// None: more has to come first.
    fn piece(&mut self, waiting: &[u8]) -> Option<Piece> {
        let here = waiting.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let octets = waiting.get(..here).unwrap_or_default();
        let (here, mut then) = match self.scanner.scan(octets) {
            Some((at, bad)) => (at, Then::Bad(bad)),
            None => (here, Then::More),
        };
        self.left -= here as u64;
        if then == Then::More && self.left == 0 {
            then = match (self.last, self.scanner.end()) {
                (false, _) => Then::NextChunk,
                (true, None) => Then::End { terminator: 0 },
                (true, Some(bad)) => Then::Bad(bad),
            };
        }
        let piece = Piece { wire: here, content: here as u64, then, at_line_start: false, lone_dot: false };
        (here > 0 || then != Then::More).then_some(piece)
    }
}

#[derive(Debug)]
pub(super) struct Intake {
    framing: Framing,
    patience: Patience,
    /// Content octets so far (RFC 1870: dots unstuffed, without the terminator).
    pub(super) octets: u64,
    skipped: u64,
    skipping: bool,
}

impl Intake {
    pub(super) fn new(framing: Framing, patience: Patience) -> Intake {
        Intake { framing, patience, octets: 0, skipped: 0, skipping: false }
    }

    /// The next chunk is announced. What the client took since the last one is taken from its patience: chunks may
    /// trickle as octets may.
    pub(super) fn expect(&mut self, chunk: Chunk, since: Option<Instant>) {
        if let Some(since) = since {
            self.patience.came(0, since);
        }
        if let Framing::Chunks(counted) = &mut self.framing {
            counted.left = chunk.octets;
            counted.last = chunk.last;
        }
    }

    /// Whether pieces are in the upstream's wire form as they come.
    pub(super) fn is_stuffed(&self) -> bool {
        matches!(self.framing, Framing::Dots(_))
    }

    /// From here on nothing matters but the end of data.
    pub(super) fn skip(&mut self) {
        if self.skipping {
            return;
        }
        self.skipping = true;
        match &mut self.framing {
            Framing::Dots(scanner) => scanner.skip_rest(),
            Framing::Chunks(counted) => counted.scanner.skip_rest(),
        }
    }

    /// The next piece; the caller uses it and calls `used`. Waits only when nothing useful is buffered.
    pub(super) async fn next(&mut self, io: &mut ClientIo) -> Result<Piece, Broken> {
        loop {
            let piece = match &mut self.framing {
                Framing::Dots(_) if io.waiting().is_empty() => None,
                Framing::Dots(scanner) => stuffed_piece(scanner, io.waiting()),
                Framing::Chunks(counted) => counted.piece(io.waiting()),
            };
            if let Some(piece) = piece {
                return Ok(piece);
            }
            read(io, &mut self.patience).await?;
        }
    }

    /// Lets go of a piece.
    pub(super) fn used(&mut self, io: &mut ClientIo, piece: Piece) -> Result<(), Broken> {
        let terminator = if let Then::End { terminator } = piece.then { terminator } else { 0 };
        io.consume(piece.wire + terminator);
        self.octets = self.octets.saturating_add(piece.content);
        if self.skipping {
            self.skipped = self.skipped.saturating_add(piece.wire as u64);
            // A message refused early is read to its end, but not for ever.
            if self.skipped > SWALLOWED_BYTES_MAX {
                return Err(Broken::Endless);
            }
        }
        Ok(())
    }
}

fn stuffed_piece(scanner: &mut DataScanner, waiting: &[u8]) -> Option<Piece> {
    let at_line_start = scanner.at_line_start();
    let (dots, lone_dots) = (scanner.stuffed_dots(), scanner.lone_dots());
    let scan = scanner.scan(waiting);
    let dots = scanner.stuffed_dots() - dots;
    let then = match scan.state {
        ScanState::More => Then::More,
        ScanState::End { terminator } => Then::End { terminator },
        ScanState::Bad(octet) => Then::Bad(octet),
    };
    let content = (scan.consumed as u64).saturating_sub(dots);
    let lone_dot = scanner.lone_dots() > lone_dots;
    let piece = Piece { wire: scan.consumed, content, then, at_line_start, lone_dot };
    (scan.consumed > 0 || then != Then::More).then_some(piece)
}

/// Throws so many octets of the client's away.
pub(in crate::server) async fn swallow(io: &mut ClientIo, octets: u64, mut patience: Patience) -> Result<(), Broken> {
    let mut left = octets;
    loop {
        let here = io.waiting().len().min(usize::try_from(left).unwrap_or(usize::MAX));
        io.consume(here);
        left -= here as u64;
        if left == 0 {
            return Ok(());
        }
        read(io, &mut patience).await?;
    }
}

/// More octets. What was answered before leaves first: the client of a pipelined group may be waiting for it.
async fn read(io: &mut ClientIo, patience: &mut Patience) -> Result<(), Broken> {
    if io.flush().await.is_err() {
        return Err(Broken::Gone);
    }
    let since = Instant::now();
    match io.read_content(FORWARD_BYTES_MIN, patience.left()).await {
        Ok(0) => Err(Broken::Gone),
        Ok(octets) => {
            patience.came(octets, since);
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(Broken::Silence),
        Err(_) => Err(Broken::Gone),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::net::stream::Stream;
    use crate::smtp::body::BareEnds;

    #[tokio::test(start_paused = true)]
    async fn a_message_that_trickles_in_is_left() {
        let (mut theirs, ours) = tokio::io::duplex(1_024);
        let nowhere = std::net::SocketAddr::from(([192, 0, 2, 7], 25));
        let minute = Duration::from_secs(60);
        let mut io = ClientIo::new(Stream::over(ours, nowhere, nowhere), minute);
        let framing = Framing::Dots(DataScanner::new(BareEnds::Refuse));
        let mut intake = Intake::new(framing, Patience::new(5 * minute, Some(100)));
        let trickle = async {
            let mut minutes = tokio::time::interval(minute);
            loop {
                minutes.tick().await;
                theirs.write_all(b"x").await.unwrap();
            }
        };
        let took = async {
            loop {
                match intake.next(&mut io).await {
                    Ok(piece) => intake.used(&mut io, piece).unwrap(),
                    Err(broken) => return broken,
                }
            }
        };
        let broken = tokio::select! {
            broken = took => broken,
            () = trickle => panic!("it never ends"),
        };
        assert_eq!(broken, Broken::Silence);
        assert!(intake.octets < 10, "{}", intake.octets);
    }
}
