//! Octets to and from the upstream: bounded waits, replies one at a time, no buffer while idle.
//!
//! Refuses octets that nobody asked for: an answer that comes before its question would be taken for the answer
//! to something else.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::error::UpstreamError;
use super::wait::Wait;
use crate::net::stream::Stream;
use crate::smtp::{ParsedReply, ReplyParser};

/// What is read at once. On the stack, only while reading.
const READ_BYTES: usize = 4_096;

#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: Stream,
    parser: ReplyParser,
    /// Came together with the last reply and belongs to the next; at most `READ_BYTES`, empty while idle.
    rest: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Wire { stream, parser: ReplyParser::new(), rest: Vec::new() }
    }

    /// Encrypted, or on this machine: a password may be said.
    pub(super) fn is_private(&self) -> bool {
        let near = || self.stream.peer_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback());
        self.stream.is_tls() || near()
    }

    /// One reply, whole. Nothing is lost when the wait is dropped.
    pub(super) async fn reply(&mut self, during: Wait, limit: Duration) -> Result<ParsedReply, UpstreamError> {
        let reply = poll_fn(|cx| self.poll_reply(cx, during));
        timeout(limit, reply).await.unwrap_or(Err(UpstreamError::Timeout(during)))
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>, during: Wait) -> Poll<Result<ParsedReply, UpstreamError>> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            if let Some(reply) = self.feed(&rest, during)? {
                return Poll::Ready(Ok(reply));
            }
        }
        loop {
            let mut landing = [MaybeUninit::uninit(); READ_BYTES];
            let mut landing = ReadBuf::uninit(&mut landing);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut landing)).map_err(|error| lost(during, error))?;
            if landing.filled().is_empty() {
                return Poll::Ready(Err(UpstreamError::Closed(during)));
            }
            if let Some(reply) = self.feed(landing.filled(), during)? {
                return Poll::Ready(Ok(reply));
            }
        }
    }

    fn feed(&mut self, octets: &[u8], during: Wait) -> Result<Option<ParsedReply>, UpstreamError> {
        let (used, reply) =
            self.parser.feed(octets).map_err(|error| UpstreamError::protocol(during, error.to_string()))?;
        if reply.is_some() {
            self.rest.extend(octets.iter().skip(used));
        }
        Ok(reply)
    }

    /// Nothing has come that nobody has asked for, as far as is known without waiting. Usually costs no system
    /// call: the runtime knows that there is nothing to read.
    pub(super) fn expect_silence(&mut self, during: Wait) -> Result<(), UpstreamError> {
        if !self.rest.is_empty() || !self.parser.is_idle() {
            return Err(UpstreamError::protocol(during, "it answers what nobody asked"));
        }
        match self.poll_reply(&mut Context::from_waker(Waker::noop()), during) {
            Poll::Pending if self.parser.is_idle() => Ok(()),
            Poll::Ready(Ok(ParsedReply { reply, .. })) if reply.code == 421 => {
                Err(UpstreamError::Closing { during, reply })
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending | Poll::Ready(Ok(_)) => Err(UpstreamError::protocol(during, "it answers what nobody asked")),
        }
    }

    /// Takes all octets to the upstream; `limit` bounds each step forward.
    pub(super) async fn send(&mut self, octets: &[u8], during: Wait, limit: Duration) -> Result<(), UpstreamError> {
        self.send_slices(&mut [IoSlice::new(octets)], during, limit).await
    }

    /// The same, gathered from several places in as few writes as can be.
    pub(super) async fn send_slices(
        &mut self,
        mut slices: &mut [IoSlice<'_>],
        during: Wait,
        limit: Duration,
    ) -> Result<(), UpstreamError> {
        while slices.iter().any(|slice| !slice.is_empty()) {
            let write = poll_fn(|cx| Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
            match timeout(limit, write).await {
                Err(_) => return Err(UpstreamError::Timeout(Wait::Write)),
                Ok(Ok(0)) => return Err(self.failed_write(during, io::ErrorKind::WriteZero.into())),
                Ok(Ok(written)) => IoSlice::advance_slices(&mut slices, written),
                Ok(Err(error)) => return Err(self.failed_write(during, error)),
            }
        }
        if self.stream.is_tls() {
            match timeout(limit, self.stream.flush()).await {
                Err(_) => return Err(UpstreamError::Timeout(Wait::Write)),
                Ok(Err(error)) => return Err(self.failed_write(during, error)),
                Ok(Ok(())) => {}
            }
        }
        Ok(())
    }

    /// An upstream that closes often says why first, and its words are better than the network's.
    fn failed_write(&mut self, during: Wait, error: io::Error) -> UpstreamError {
        match self.poll_reply(&mut Context::from_waker(Waker::noop()), during) {
            Poll::Ready(Ok(ParsedReply { reply, .. })) if reply.code == 421 => UpstreamError::Closing { during, reply },
            _ => lost(during, error),
        }
    }
}

/// A reset is the peer's way of closing.
fn lost(during: Wait, error: io::Error) -> UpstreamError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            UpstreamError::Closed(during)
        }
        _ => UpstreamError::Io { during, error },
    }
}
