//! The client's side of a session: lines in, replies out. Replies are queued and leave in one write when no
//! complete command is waiting (RFC 2920 3.2); an idle connection holds no buffer.

use std::io;
use std::ops::Range;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::buffers::BODY_BUFFER_BYTES;
use crate::net::stream::Stream;
use crate::session::BadLine;
use crate::smtp::Reply;
use crate::smtp::command::is_foreign;
use crate::smtp::line::{AUTH_LINE_OCTETS_MAX, LineEnd, LineScan, Skipped, command_octets_max, find_line, skip_line};

/// What is read at once while commands are expected.
const COMMAND_READ_BYTES_MAX: usize = 16 * 1_024;
/// Queued replies beyond this are written before more commands are looked at.
const REPLIES_BYTES_MAX: usize = 32 * 1_024;

/// What came instead of, or as, a command line.
#[derive(Debug)]
pub(super) enum Heard {
    /// A line without its CRLF, at this place of `ClientIo::input`.
    Line(Range<usize>),
    Bad(BadLine),
    /// Nothing in time.
    Silence,
    /// The connection ended or broke.
    Gone,
}

/// What kind of line is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Command,
    Sasl,
}

#[derive(Debug)]
pub(super) struct ClientIo {
    pub(super) stream: Stream,
    /// Octets read and not yet used: `input[start..]`.
    input: Vec<u8>,
    start: usize,
    output: Vec<u8>,
    /// Inside a line that is too long.
    skipping: Option<BadLine>,
    write_wait: Duration,
    /// Octets that came, under TLS as they were meant.
    came: u64,
}

impl ClientIo {
    pub(super) fn new(stream: Stream, write_wait: Duration) -> ClientIo {
        ClientIo { stream, input: Vec::new(), start: 0, output: Vec::new(), skipping: None, write_wait, came: 0 }
    }

    pub(super) fn queue(&mut self, reply: &Reply) {
        reply.encode(&mut self.output);
    }

    /// Writes what is queued.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let output = std::mem::take(&mut self.output);
        let write = async {
            self.stream.write_all(&output).await?;
            self.stream.flush().await
        };
        timeout(self.write_wait, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The next line: from what is buffered, else queued replies are written and more is read.
    pub(super) async fn line(&mut self, expect: Expect, until: Instant) -> Heard {
        loop {
            if let Some(heard) = self.buffered_line(expect) {
                if self.output.len() > REPLIES_BYTES_MAX && self.flush().await.is_err() {
                    return Heard::Gone;
                }
                return heard;
            }
            if self.flush().await.is_err() {
                return Heard::Gone;
            }
            match timeout_at(until, self.read_more()).await {
                Err(_) => return Heard::Silence,
                Ok(Err(_) | Ok(0)) => return Heard::Gone,
                Ok(Ok(_)) => {}
            }
        }
    }

    /// The next command line, if all of it is here and it is a proper one; it stays where it is.
    pub(super) fn peek_line(&self) -> Option<Range<usize>> {
        let waiting = self.waiting();
        match find_line(waiting, command_octets_max(waiting)) {
            LineScan::Line { text, end: LineEnd::CrLf, .. } => Some(self.start..self.start + text.len()),
            _ => None,
        }
    }

    /// The next line of what is here, without waiting for more.
    pub(super) fn buffered_line(&mut self, expect: Expect) -> Option<Heard> {
        loop {
            let waiting = self.input.get(self.start..).unwrap_or_default();
            if let Some(bad) = self.skipping {
                let (ended, consumed) = match skip_line(waiting) {
                    Skipped::Ended { consumed } => (true, consumed),
                    Skipped::More { consumed } => (false, consumed),
                };
                self.start += consumed;
                if ended {
                    self.skipping = None;
                    return Some(Heard::Bad(bad));
                }
            }
            let waiting = self.input.get(self.start..).unwrap_or_default();
            let max = if expect == Expect::Sasl { AUTH_LINE_OCTETS_MAX } else { command_octets_max(waiting) };
            match find_line(waiting, max) {
                LineScan::Line { text, consumed, end } => {
                    let line = self.start..self.start + text.len();
                    self.start += consumed;
                    return Some(match end {
                        LineEnd::CrLf => Heard::Line(line),
                        _ if expect == Expect::Command && is_foreign(self.input(line.clone())) => Heard::Line(line),
                        LineEnd::BareLf => Heard::Bad(BadLine::BareLineFeed),
                        LineEnd::BareCr => Heard::Bad(BadLine::BareCarriageReturn),
                    });
                }
                LineScan::TooLong { consumed } => {
                    self.start += consumed;
                    let beginning = self.start - consumed..self.start;
                    if expect == Expect::Command && is_foreign(self.input(beginning.clone())) {
                        return Some(Heard::Line(beginning));
                    }
                    let auth = max == AUTH_LINE_OCTETS_MAX;
                    self.skipping = Some(if auth { BadLine::AuthTooLong } else { BadLine::TooLong });
                }
                LineScan::Incomplete => {
                    // A TLS handshake (or SOCKS, or RDP) has no lines to wait for.
                    let binary = waiting.first().is_some_and(u8::is_ascii_control);
                    if binary && expect == Expect::Command && is_foreign(waiting) {
                        let all = self.start..self.input.len();
                        self.start = self.input.len();
                        return Some(Heard::Line(all));
                    }
                    self.shrink();
                    return None;
                }
            }
        }
    }

    /// Drops what was used; an empty buffer is given back altogether.
    fn shrink(&mut self) {
        if self.start == self.input.len() {
            self.input = Vec::new();
        } else if self.start > 0 {
            self.input.drain(..self.start);
        }
        self.start = 0;
    }

    async fn read_more(&mut self) -> io::Result<usize> {
        let read = self.stream.read_more(&mut self.input, COMMAND_READ_BYTES_MAX).await?;
        self.came = self.came.saturating_add(read as u64);
        Ok(read)
    }

    /// Octets that came from the client, commands included.
    pub(super) fn came(&self) -> u64 {
        self.came
    }

    /// Octets at a place that `Heard::Line` named.
    pub(super) fn input(&self, range: Range<usize>) -> &[u8] {
        self.input.get(range).unwrap_or_default()
    }

    /// Everything read and not yet used.
    pub(super) fn waiting(&self) -> &[u8] {
        self.input.get(self.start..).unwrap_or_default()
    }

    pub(super) fn consume(&mut self, octets: usize) {
        self.start = (self.start + octets).min(self.input.len());
    }

    /// Whether the client has reset the connection, or the network has given it up.
    pub(super) async fn is_gone(&self) -> bool {
        let mut closed = std::pin::pin!(self.stream.closed());
        std::future::poll_fn(|cx| std::task::Poll::Ready(closed.as_mut().poll(cx).is_ready())).await
    }

    /// Before STARTTLS: what a client (or somebody on the wire) sent ahead in clear must never be read as if it
    /// had come encrypted (CVE-2011-0411).
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting().is_empty()
    }

    /// Reads content: as much as a command may bring at once, and where a large buffer is lent whatever else is there
    /// at once, up to `enough` octets waiting. What room the last command left is never the measure.
    pub(super) async fn read_content(&mut self, enough: usize, wait: Duration) -> io::Result<usize> {
        self.shrink_content();
        let before = self.input.len();
        if self.input.capacity() < BODY_BUFFER_BYTES {
            let read = timeout(wait, self.read_more()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            return Ok(read);
        }
        let read = self.stream.read_buf(&mut self.input);
        let first = timeout(wait, read).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let mut last = first;
        while last > 0 && self.input.len() < enough && self.input.len() < self.input.capacity() {
            let mut more = std::pin::pin!(self.stream.read_buf(&mut self.input));
            match std::future::poll_fn(|cx| std::task::Poll::Ready(more.as_mut().poll(cx))).await {
                std::task::Poll::Ready(Ok(read)) => last = read,
                // A fault now is the next read's to report.
                std::task::Poll::Ready(Err(_)) | std::task::Poll::Pending => last = 0,
            }
        }
        let read = self.input.len() - before;
        self.came = self.came.saturating_add(read as u64);
        Ok(read)
    }

    fn shrink_content(&mut self) {
        let waiting = self.input.len() - self.start;
        self.input.copy_within(self.start.., 0);
        self.input.truncate(waiting);
        self.start = 0;
    }

    /// Puts a large buffer in the place of the small one while a body flows.
    pub(super) fn lend(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(self.waiting());
        self.input = buffer;
        self.start = 0;
    }

    /// Takes the large buffer back; what is still waiting (pipelined commands) stays.
    pub(super) fn unlend(&mut self) -> Vec<u8> {
        let rest = self.waiting().to_vec();
        self.start = 0;
        std::mem::replace(&mut self.input, rest)
    }
}

#[cfg(test)]
mod tests;
