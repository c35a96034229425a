//! One server of the shared state: whether it is there, and one question to it.
//!
//! Nobody who asks ever waits for a connection: a task of its own makes it, looks after it, and makes it anew. A question
//! finds one or is told at once that the server is away; the first that gets no answer makes it away for all others.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::{Cmd, ServerErrorKind, Value};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::board::Board;
use super::connect::{Link, Reach};
use super::script::{Call, text_of};
use super::slots::pointed;
use crate::config::RedisServer;

/// To reach one server, with DNS, TLS and login.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Between two attempts, at first and at last.
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(100);
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How often it is seen whether a server that nobody asks is still there.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(2);
/// Questions to one server at the same time; further ones are decided here at once.
pub(super) const QUESTIONS_MAX: usize = 10_000;

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The server is away, or has more to do than it may have.
    Away,
    /// Another one has the key; `ask`: for this question only.
    Elsewhere { server: RedisServer, ask: bool },
    /// It is there, and says no to this question.
    Odd(String),
}

/// One server, or several of which the first that takes writes is used.
#[derive(Debug)]
pub(super) struct Node {
    servers: Vec<RedisServer>,
    /// For log and listing.
    name: String,
    link: ArcSwapOption<Link>,
    lost: Notify,
    places: Semaphore,
    board: Arc<Board>,
}

impl Node {
    pub(super) fn new(servers: Vec<RedisServer>, board: &Arc<Board>) -> Node {
        let name = servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        board.listed(&name);
        Node {
            servers,
            name,
            link: ArcSwapOption::empty(),
            lost: Notify::new(),
            places: Semaphore::new(QUESTIONS_MAX),
            board: Arc::clone(board),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_up(&self) -> bool {
        self.link.load().is_some()
    }

    /// Which server of several it is.
    pub(super) fn server(&self) -> Option<RedisServer> {
        self.link.load().as_ref().map(|link| link.server.clone())
    }

    /// Asks it. `asking`: about a key that is on its way to this server.
    ///
    /// # Errors
    /// See [`NoAnswer`]. A server that said nothing until `deadline` is away from then on.
    pub(super) async fn ask(&self, call: &Call, asking: bool, deadline: Instant) -> Result<Value, NoAnswer> {
        let Some(link) = self.link.load_full() else { return Err(NoAnswer::Away) };
        let Ok(_place) = self.places.try_acquire() else { return Err(NoAnswer::Away) };
        let answered = timeout_at(deadline, exchange(&link, call, asking)).await;
        let answer = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return Err(self.fails(&link, &why)),
            Err(_) => return Err(self.fails(&link, "no answer in time")),
        };
        let Value::ServerError(error) = answer else { return Ok(answer) };
        let text = text_of(&error);
        match error.kind() {
            Some(kind @ (ServerErrorKind::Moved | ServerErrorKind::Ask)) => {
                let ask = kind == ServerErrorKind::Ask;
                let server = error.details().and_then(|detail| pointed(detail, &link.server));
                Err(server.map_or(NoAnswer::Odd(text), |server| NoAnswer::Elsewhere { server, ask }))
            }
            Some(ServerErrorKind::TryAgain | ServerErrorKind::CrossSlot) => Err(NoAnswer::Odd(text)),
            // The table cannot be read, and all else goes on.
            Some(ServerErrorKind::NoPerm) if matches!(call, Call::Foreign(_)) => Err(NoAnswer::Odd(text)),
            _ if error.code() == "WRONGTYPE" => Err(NoAnswer::Odd(text)),
            _ => Err(self.fails(&link, &text)),
        }
    }

    /// It is of no use for now.
    pub(super) fn fails(&self, link: &Arc<Link>, why: &str) -> NoAnswer {
        let known = self.link.load();
        if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, link)) {
            self.link.store(None);
            self.board.away(&self.name, why);
            self.lost.notify_one();
        }
        NoAnswer::Away
    }

    /// Connects, looks after the connection, and begins anew when it is lost. Never ends.
    pub(super) async fn keep(self: Arc<Node>, reach: Arc<Reach>, timeout_each: Duration, found: Arc<Notify>) {
        let mut wait = BACKOFF_MIN;
        loop {
            match self.connect(&reach).await {
                Err(why) => self.board.away(&self.name, &why),
                Ok((link, driver)) => {
                    let since = Instant::now();
                    let link = Arc::new(link);
                    self.link.store(Some(Arc::clone(&link)));
                    self.board.there(&self.name, &link.server);
                    found.notify_one();
                    self.watch(&reach, &link, timeout_each).await;
                    drop(driver);
                    if since.elapsed() > BACKOFF_MAX {
                        wait = BACKOFF_MIN;
                    }
                }
            }
            sleep(spread(wait)).await;
            wait = (wait * 2).min(BACKOFF_MAX);
        }
    }

    async fn connect(&self, reach: &Reach) -> Result<(Link, tokio_util::task::AbortOnDropHandle<()>), String> {
        let mut reasons = Vec::new();
        for server in &self.servers {
            match timeout(CONNECT_MAX, reach.connect(server)).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(why)) => reasons.push(why),
                Err(_) => reasons.push("no answer in time".to_owned()),
            }
        }
        reasons.dedup();
        Err(reasons.join("; "))
    }

    /// Returns when the connection is lost.
    async fn watch(&self, reach: &Reach, link: &Arc<Link>, timeout_each: Duration) {
        loop {
            tokio::select! {
                () = self.lost.notified() => {
                    if !self.is_up() {
                        return;
                    }
                }
                () = sleep(PROBE_EVERY) => {
                    let why = match timeout(timeout_each, reach.probe(link)).await {
                        Ok(Ok(())) => continue,
                        Ok(Err(why)) => why,
                        Err(_) => "no answer in time".to_owned(),
                    };
                    self.fails(link, &why);
                }
            }
        }
    }
}

async fn exchange(link: &Link, call: &Call, asking: bool) -> Result<Value, String> {
    let answer = send(link, &call.command(&link.scripts), asking).await?;
    let forgotten = matches!(&answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript));
    match call.in_full().filter(|_| forgotten) {
        Some(whole) => send(link, &whole, asking).await,
        None => Ok(answer),
    }
}

async fn send(link: &Link, command: &Cmd, asking: bool) -> Result<Value, String> {
    let mut connection = link.connection.clone();
    if !asking {
        return connection.send_packed_command(command).await.map_err(|error| error.to_string());
    }
    let mut both = redis::Pipeline::new();
    both.cmd("ASKING").ignore();
    both.add_command(command.clone());
    let answers = connection.send_packed_commands(&both, 0, 2).await.map_err(|error| error.to_string())?;
    answers.into_iter().nth(1).ok_or_else(|| "no answer behind ASKING".to_owned())
}

/// Three quarters to all of it, so that many gateways do not come back in one moment.
fn spread(wait: Duration) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(0_u8) % 256;
    wait * 3 / 4 + wait / 4 * u32::try_from(random).unwrap_or(0) / 256
}
