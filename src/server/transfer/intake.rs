//! The client's half of the pump: octets in, pieces of the message out. Knows the end of data, bare line ends,
//! NUL, sizes and waits; knows neither filters nor the upstream.

use std::time::Duration;

use crate::server::buffers::FORWARD_BYTES_MIN;
use crate::server::client::ClientIo;
use crate::smtp::body::{BadOctet, BareEnds, DataScanner, ScanState};

/// A message refused early is read to its end, but not for ever: beyond its size limit by this much the session ends.
const DRAIN_BYTES_MAX: u64 = 64 * 1_024 * 1_024;

/// What stands at the front of `ClientIo::waiting`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Octets of the message in wire form (dots still stuffed).
    pub(super) wire: usize,
    /// The same without the stuffed dots (RFC 1870 counts these).
    pub(super) content: u64,
    pub(super) then: Then,
    /// Whether the piece begins at the beginning of a line.
    pub(super) at_line_start: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    More,
    /// The message ends here; the octets of its `.CRLF` follow the piece.
    End {
        terminator: usize,
    },
    /// The next octet is none that a message may have. The rest is to be skipped.
    Bad(BadOctet),
}

/// The content cannot be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    Gone,
    Silence,
    /// Refused long ago and still coming.
    Endless,
}

#[derive(Debug)]
pub(super) struct Intake {
    scanner: DataScanner,
    wait: Duration,
    /// Content octets so far (RFC 1870: dots unstuffed, without the terminator).
    pub(super) octets: u64,
    skipped: u64,
    skipping: bool,
}

impl Intake {
    pub(super) fn new(bare: BareEnds, wait: Duration) -> Intake {
        Intake { scanner: DataScanner::new(bare), wait, octets: 0, skipped: 0, skipping: false }
    }

    /// From here on nothing matters but the end of data.
    pub(super) fn skip(&mut self) {
        if !self.skipping {
            self.skipping = true;
            self.scanner.skip_rest();
        }
    }

    /// The next piece; the caller uses it and calls `used`. Waits only when nothing useful is buffered.
    pub(super) async fn next(&mut self, io: &mut ClientIo) -> Result<Piece, Broken> {
        let mut fresh = !io.waiting().is_empty();
        loop {
            if fresh {
                let at_line_start = self.scanner.at_line_start();
                let dots = self.scanner.stuffed_dots();
                let scan = self.scanner.scan(io.waiting());
                let dots = self.scanner.stuffed_dots() - dots;
                let then = match scan.state {
                    ScanState::More => Then::More,
                    ScanState::End { terminator } => Then::End { terminator },
                    ScanState::Bad(octet) => Then::Bad(octet),
                };
                if scan.consumed > 0 || then != Then::More {
                    return Ok(Piece {
                        wire: scan.consumed,
                        content: (scan.consumed as u64).saturating_sub(dots),
                        then,
                        at_line_start,
                    });
                }
            }
            match io.read_content(FORWARD_BYTES_MIN, self.wait).await {
                Ok(0) => return Err(Broken::Gone),
                Ok(_) => fresh = true,
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => return Err(Broken::Silence),
                Err(_) => return Err(Broken::Gone),
            }
        }
    }

    /// Lets go of a piece.
    pub(super) fn used(&mut self, io: &mut ClientIo, piece: Piece) -> Result<(), Broken> {
        let terminator = if let Then::End { terminator } = piece.then { terminator } else { 0 };
        io.consume(piece.wire + terminator);
        self.octets = self.octets.saturating_add(piece.content);
        if self.skipping {
            self.skipped = self.skipped.saturating_add(piece.wire as u64);
            if self.skipped > DRAIN_BYTES_MAX {
                return Err(Broken::Endless);
            }
        }
        Ok(())
    }
}
