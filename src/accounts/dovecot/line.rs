//! One connection to Dovecot: a handshake, questions with numbers, and answers that name them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::wire::{self, Answer, Said};
use crate::accounts::remote::Away;
use crate::smtp::sasl::{Name, RELAYED_MECHANISMS_MAX, Secret};

/// Octets of a line of Dovecot's; its own are 8 KiB.
const LINE_BYTES_MAX: usize = 64 * 1_024;
/// Lines before DONE: mechanisms, and a few more.
const HANDSHAKE_LINES_MAX: usize = 200;
/// Mechanisms that are remembered; Dovecot has about fifteen.
const MECHANISMS_MAX: usize = RELAYED_MECHANISMS_MAX;
/// Questions that are not written yet. Whoever finds no room waits.
const UNWRITTEN_MAX: usize = 64;
/// Set in the number by which we tell Dovecot one connection from the next: no process has such a number.
const NO_PROCESS: u32 = 0x4000_0000;

/// The connection ended without this answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

pub(super) struct Line {
    outgoing: mpsc::Sender<Secret>,
    waiting: Arc<Waiting>,
    mechanisms: Vec<Name>,
    reader: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        // One that never answers would be listened to for ever.
        self.reader.abort();
    }
}

/// Those who wait for an answer.
#[derive(Default)]
struct Waiting(Mutex<Places>);

#[derive(Default)]
struct Places {
    taken: HashMap<u32, oneshot::Sender<Answer>>,
    last: u32,
    /// There is no number left.
    full: bool,
    closed: bool,
}

impl Line {
    /// Connects, and hears what is offered.
    ///
    /// # Errors
    /// Nobody is there, or it is not Dovecot's protocol.
    pub(super) async fn open(socket: &Path) -> Result<Line, Away> {
        let shown = socket.display();
        let stream = UnixStream::connect(socket).await.map_err(|why| Away::because(&shown.to_string(), why))?;
        let (reading, mut writing) = stream.into_split();
        let number = client_number().ok_or_else(|| Away("the machine has no randomness".to_owned()))?;
        let broken = |why| Away::because(&shown.to_string(), why);
        writing.write_all(&wire::hello(number)).await.map_err(broken)?;
        let mut lines = Lines { reading, octets: Vec::new() };
        let mechanisms = handshake(&mut lines).await?;
        let (outgoing, unwritten) = mpsc::channel(UNWRITTEN_MAX);
        let waiting = Arc::new(Waiting::default());
        drop(tokio::spawn(write(writing, unwritten)));
        let reader = tokio::spawn(read(lines, Arc::clone(&waiting))).abort_handle();
        Ok(Line { outgoing, waiting, mechanisms, reader })
    }

    pub(super) fn is_open(&self) -> bool {
        let places = self.waiting.places();
        !places.closed && !places.full && !self.outgoing.is_closed()
    }

    /// What it offers, and does not hide: at most `MECHANISMS_MAX`.
    pub(super) fn mechanisms(&self) -> &[Name] {
        &self.mechanisms
    }

    pub(super) fn offers(&self, mechanism: Name) -> bool {
        self.mechanisms.contains(&mechanism)
    }

    /// A login that is about to begin.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) fn login(self: &Arc<Self>) -> Result<Login, Gone> {
        Ok(Login { line: Arc::clone(self), id: self.waiting.take_number()?, open: false })
    }
}

/// One login. Dropped before its last answer, it says so to Dovecot.
pub(super) struct Login {
    line: Arc<Line>,
    id: u32,
    /// Dovecot has heard of it, and has not ended it.
    open: bool,
}

impl Login {
    /// Says something in it, and waits for the answer.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn say(&mut self, words: impl FnOnce(u32) -> Secret) -> Result<Answer, Gone> {
        let coming = self.line.waiting.take_place(self.id)?;
        self.open = true;
        self.line.outgoing.send(words(self.id)).await.map_err(|_| Gone)?;
        let answer = coming.await.map_err(|_| Gone);
        self.open = matches!(answer, Ok(Answer::Continue(_)));
        answer
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        self.line.waiting.places().taken.remove(&self.id);
        if self.open {
            // Where there is no room, Dovecot finds out by its own timeout.
            let _ = self.line.outgoing.try_send(Secret::new(wire::cancel(self.id)));
        }
    }
}

impl Waiting {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_number(&self) -> Result<u32, Gone> {
        let mut places = self.places();
        // Numbers do not come again within a connection; after the last one it is another connection's turn.
        let id = places.last.checked_add(1).filter(|_| !places.closed).ok_or(Gone)?;
        places.last = id;
        places.full = id == u32::MAX;
        Ok(id)
    }

    fn take_place(&self, id: u32) -> Result<oneshot::Receiver<Answer>, Gone> {
        let mut places = self.places();
        if places.closed {
            return Err(Gone);
        }
        let (tell, answer) = oneshot::channel();
        places.taken.insert(id, tell);
        Ok(answer)
    }

    fn tell(&self, id: u32, answer: Answer) {
        if let Some(tell) = self.places().taken.remove(&id) {
            // Who asked may be gone.
            let _ = tell.send(answer);
        }
    }

    /// Nobody waits here any more.
    fn close(&self) {
        let mut places = self.places();
        places.closed = true;
        places.taken.clear();
    }
}

fn client_number() -> Option<u32> {
    let mut octets = [0; 4];
    rand::fill(&mut octets).ok()?;
    Some(u32::from_be_bytes(octets) >> 2 | NO_PROCESS)
}

async fn handshake(lines: &mut Lines) -> Result<Vec<Name>, Away> {
    let mut mechanisms = Vec::new();
    let other = || Away("what answers there does not speak Dovecot's auth protocol, version 1".to_owned());
    for _ in 0..HANDSHAKE_LINES_MAX {
        let line = lines.next().await.ok_or_else(|| Away("Dovecot ends its connections at once".to_owned()))?;
        match wire::parse(&line).ok_or_else(other)? {
            Said::Version(1) | Said::Other => {}
            Said::Version(_) | Said::Answer(..) => return Err(other()),
            Said::Mechanism(Some(name)) if mechanisms.len() < MECHANISMS_MAX => mechanisms.push(name),
            Said::Mechanism(_) => {}
            Said::Done => return Ok(mechanisms),
        }
    }
    Err(other())
}

/// Ends when nobody can ask any more, or Dovecot is gone.
async fn write(mut writing: OwnedWriteHalf, mut unwritten: mpsc::Receiver<Secret>) {
    while let Some(question) = unwritten.recv().await {
        if writing.write_all(question.reveal()).await.is_err() {
            return;
        }
    }
}

/// Ends with the connection. What is not of the protocol ends it, too: nobody could tell whose answer comes next.
async fn read(mut lines: Lines, waiting: Arc<Waiting>) {
    while let Some(line) = lines.next().await {
        match wire::parse(&line) {
            Some(Said::Answer(id, answer)) => waiting.tell(id, answer),
            Some(_) => {}
            None => break,
        }
    }
    waiting.close();
}

struct Lines {
    reading: OwnedReadHalf,
    octets: Vec<u8>,
}

impl Lines {
    /// Without its end; None when the connection is over, or the line is too long.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.octets.iter().position(|octet| *octet == b'\n') {
                let mut line: Vec<u8> = self.octets.drain(..=end).collect();
                line.pop();
                return Some(line);
            }
            if self.octets.len() > LINE_BYTES_MAX || self.reading.read_buf(&mut self.octets).await.ok()? == 0 {
                return None;
            }
        }
    }
}
