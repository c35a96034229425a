//! A client of Postfix's policy delegation protocol: one question, one answer, over connections that stay.
//!
//! What stands in question and answer is not its business. A connection that turns out to be dead when it is used
//! again is replaced once; a daemon that does not answer in time is left, since its answer would be taken for another's.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::PolicyAddress;

/// Connections that stay when nobody asks.
const IDLE_MAX: usize = 16;
/// How long one stays unused (Postfix: `smtpd_policy_service_max_idle`).
const IDLE_TIME_MAX: Duration = Duration::from_secs(300);
/// Octets read at once.
const READ_BYTES: usize = 1 << 10;

/// One daemon.
#[derive(Debug)]
pub struct PolicyClient {
    address: PolicyAddress,
    idle: Mutex<Vec<(Link, Instant)>>,
    turns: Semaphore,
    answer_bytes_max: usize,
}

#[derive(Debug)]
enum Link {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl PolicyClient {
    /// At most so many questions at once (at least one), each answered in at most so many octets.
    #[must_use]
    pub fn new(address: &PolicyAddress, connections: usize, answer_bytes_max: usize) -> PolicyClient {
        PolicyClient {
            address: address.clone(),
            idle: Mutex::default(),
            turns: Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS)),
            answer_bytes_max,
        }
    }

    /// Asks, and gives what came before the empty line.
    ///
    /// # Errors
    /// Nobody is there, no answer came by `until`, or one that is no text or too long.
    pub async fn ask(&self, request: &[u8], until: Instant) -> io::Result<String> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        tokio::time::timeout_at(until, self.ask_in_turn(request)).await.map_err(late)?
    }

    async fn ask_in_turn(&self, request: &[u8]) -> io::Result<String> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        if let Some(link) = self.take_idle() {
            // It may have been closed while nobody looked: only such a one is asked again.
            if let Ok(answer) = self.ask_over(link, request).await {
                return Ok(answer);
            }
        }
        let link = match &self.address {
            PolicyAddress::Tcp(address) => {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                Link::Tcp(tcp)
            }
            PolicyAddress::Unix(path) => Link::Unix(UnixStream::connect(PathBuf::from(path)).await?),
        };
        self.ask_over(link, request).await
    }

    async fn ask_over(&self, mut link: Link, request: &[u8]) -> io::Result<String> {
        let answer = match &mut link {
            Link::Tcp(tcp) => exchange(tcp, request, self.answer_bytes_max).await?,
            Link::Unix(unix) => exchange(unix, request, self.answer_bytes_max).await?,
        };
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push((link, Instant::now()));
        }
        Ok(answer)
    }

    /// The one used last: the others grow old.
    fn take_idle(&self) -> Option<Link> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < IDLE_TIME_MAX);
        idle.pop().map(|(link, _)| link)
    }
}

async fn exchange<S>(stream: &mut S, request: &[u8], bytes_max: usize) -> io::Result<String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await?;
    let mut answer = Vec::with_capacity(READ_BYTES);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = answer.windows(2).position(|two| two == b"\n\n");
        // What comes behind the end would be taken for the next answer.
        match end {
            Some(end) if end + 2 == answer.len() => {
                answer.truncate(end);
                return String::from_utf8(answer).map_err(|_| invalid("an answer that is not UTF-8"));
            }
            Some(_) => return Err(invalid("more than one answer")),
            None if answer.len() > bytes_max => return Err(invalid("an answer without end")),
            None => {}
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::net::TcpListener;

    use super::*;

    /// A daemon that answers each request with the next of these; an empty one: it closes the connection instead.
    async fn daemon(answers: &'static [&'static str]) -> PolicyClient {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = PolicyAddress::Tcp(listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut answers = answers.iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut heard = Vec::new();
                while stream.read_buf(&mut heard).await.is_ok_and(|n| n > 0) {
                    if !heard.ends_with(b"\n\n") {
                        continue;
                    }
                    heard.clear();
                    let Some(answer) = answers.next().filter(|answer| !answer.is_empty()) else { break };
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        PolicyClient::new(&address, 1, 64)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test]
    async fn a_connection_stays_and_a_dead_one_is_replaced_once() {
        let client = daemon(&["action=ok\n\n", "action=dunno\n\n", "", "action=reject\n\n", "", ""]).await;
        for expected in ["action=ok", "action=dunno", "action=reject"] {
            assert_eq!(client.ask(b"request=x\n\n", soon()).await.unwrap(), expected);
        }
        assert!(client.ask(b"request=x\n\n", soon()).await.is_err(), "twice in a row");
    }

    #[tokio::test]
    async fn what_is_no_answer_is_none() {
        let client = daemon(&["action=ok\n\naction=ok\n\n", "x\u{e9}", ""]).await;
        assert!(client.ask(b"\n\n", soon()).await.is_err());
        let long: &'static str = "y".repeat(200).leak();
        let answers: &'static [&'static str] = Box::leak(Box::new([long]));
        assert!(daemon(answers).await.ask(b"\n\n", soon()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = PolicyAddress::Tcp(listener.local_addr().unwrap());
        let client = PolicyClient::new(&address, 1, 64);
        let error = client.ask(b"\n\n", Instant::now() + Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
