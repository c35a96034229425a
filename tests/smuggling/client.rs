//! A client in memory: what it says comes in exactly the pieces that were asked for, what it hears is kept.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// The client's end of the connection, given to the gateway.
#[derive(Debug)]
pub(crate) struct Client {
    pieces: VecDeque<Vec<u8>>,
    heard: Arc<Mutex<Vec<u8>>>,
    /// Dropped with it: the session is over.
    _over: oneshot::Sender<()>,
}

/// What is left to the test.
#[derive(Debug)]
pub(crate) struct Ear {
    heard: Arc<Mutex<Vec<u8>>>,
    over: oneshot::Receiver<()>,
}

pub(crate) fn client(pieces: impl IntoIterator<Item = Vec<u8>>) -> (Client, Ear) {
    let (tell, over) = oneshot::channel();
    let heard = Arc::default();
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
    (Client { pieces, heard: Arc::clone(&heard), _over: tell }, Ear { heard, over })
}

impl Ear {
    /// All replies, once the gateway has closed; those so far and a word about it when that takes too long.
    pub(crate) async fn replies(self, patience: Duration) -> String {
        let silent = tokio::time::timeout(patience, self.over).await.is_err();
        let heard = String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned();
        if silent { heard + "and then silence" } else { heard }
    }
}

impl AsyncRead for Client {
    /// One piece a read, however much room there is; after the last one the client has closed its side.
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(piece) = self.pieces.front_mut() {
            let fits = piece.len().min(room.remaining());
            room.put_slice(&piece[..fits]);
            piece.drain(..fits);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.heard.lock().unwrap().extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
