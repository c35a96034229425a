//! Dovecot as the one who knows: its auth client protocol over a UNIX socket, as Postfix speaks it.
//!
//! One connection, made when it is first needed and made anew when it is gone; logins stand in it side by side, and
//! their answers come in any order. Dovecot lets wrong passwords wait for two seconds, and addresses with several of them
//! for up to fifteen, so an answer may take that long.
//! A name that it does not know and a wrong password look the same from here: it speaks for every name.

mod line;
#[cfg(test)]
mod tests;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::Client;
use super::backend::Verdict;
use super::remote::{Away, identity};
use crate::smtp::sasl::Secret;
use line::Line;
use wire::Answer;

/// What Dovecot offers in its handshake; more would have been said.
const PLAIN: &str = "PLAIN";

pub(super) struct Dovecot {
    socket: PathBuf,
    line: Mutex<Option<Arc<Line>>>,
}

impl Dovecot {
    pub(super) fn new(socket: PathBuf) -> Dovecot {
        Dovecot { socket, line: Mutex::default() }
    }

    /// # Errors
    /// When Dovecot is away, says that it cannot tell for now, or says what cannot be understood.
    pub(super) async fn verify(&self, client: &Client<'_>, name: &str, password: &Secret) -> Result<Verdict, Away> {
        match self.answer(client, name, password).await? {
            Answer::Ok(user) => identity(user.as_deref().unwrap_or(name.as_bytes())).map(Verdict::Good),
            Answer::Fail => Ok(Verdict::Bad),
            Answer::Temporary => Err(Away("Dovecot says that it cannot tell for now; its log says why".to_owned())),
            Answer::Continue => Err(Away("Dovecot wants more than PLAIN has to say".to_owned())),
        }
    }

    /// A connection that ended before the answer came may have ended before the question, so it is asked once more:
    /// a login changes nothing there.
    async fn answer(&self, client: &Client<'_>, name: &str, password: &Secret) -> Result<Answer, Away> {
        for _ in 0..2 {
            let line = self.line().await?;
            if !line.offers(PLAIN) {
                return Err(Away("Dovecot does not offer PLAIN here; see auth_mechanisms".to_owned()));
            }
            if let Ok(answer) = line.ask(|id| wire::login(id, client, name, password)).await {
                return Ok(answer);
            }
        }
        Err(Away("Dovecot ends its connections instead of answering".to_owned()))
    }

    /// The connection there is, else a new one. Whoever makes it lets the others wait for it.
    async fn line(&self) -> Result<Arc<Line>, Away> {
        let mut known = self.line.lock().await;
        if let Some(line) = known.as_ref().filter(|line| line.is_open()) {
            return Ok(Arc::clone(line));
        }
        // The one that is over goes first: with some servers the next waits for its end.
        *known = None;
        let line = Arc::new(Line::open(&self.socket).await?);
        *known = Some(Arc::clone(&line));
        Ok(line)
    }
}
