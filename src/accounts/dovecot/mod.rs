//! Dovecot as the one who knows: its auth client protocol over a UNIX socket, as Postfix speaks it.
//!
//! One connection, made when the gateway begins or when it is first needed, and made anew when it is gone; logins stand
//! in it side by side, and their answers come in any order. Dovecot lets wrong passwords wait for two seconds, and
//! addresses with several of them for up to fifteen, so an answer may take that long.
//! A name that it does not know and a wrong password look the same from here: it speaks for every name.
//!
//! Passwords go there by PLAIN. By every other mechanism that it offers it has the exchange with the client itself, and
//! the gateway does not look into it.

mod line;
#[cfg(test)]
mod tests;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::Client;
use super::backend::Verdict;
use super::exchange::Said;
use super::remote::{Away, identity};
use crate::smtp::sasl::{Mechanism, Name, Secret};
use line::{Gone, Line, Login};
use wire::Answer;

pub(super) struct Dovecot {
    socket: PathBuf,
    line: Mutex<Option<Arc<Line>>>,
    /// What it offered when it was last reached. None: never.
    offered: ArcSwapOption<Vec<Name>>,
}

/// A login that Dovecot and a client are in the middle of.
pub(super) struct Talk(Login);

impl Dovecot {
    pub(super) fn new(socket: PathBuf) -> Dovecot {
        Dovecot { socket, line: Mutex::default(), offered: ArcSwapOption::empty() }
    }

    /// What it offered when it was last reached. None: it never was.
    pub(super) fn offered(&self) -> Option<Arc<Vec<Name>>> {
        self.offered.load_full()
    }

    /// Finds out what it offers, where there is no connection that knows it.
    ///
    /// # Errors
    /// It is away.
    pub(super) async fn learn(&self) -> Result<(), Away> {
        self.line().await.map(drop)
    }

    /// # Errors
    /// When Dovecot is away, says that it cannot tell for now, or says what cannot be understood.
    pub(super) async fn verify(&self, client: &Client<'_>, name: &str, password: &Secret) -> Result<Verdict, Away> {
        let plain = wire::plain(name, password);
        let (_, answer) = self.answer(client, Mechanism::Plain.into(), Some(&plain)).await?;
        match answer {
            Answer::Ok { user, .. } => identity(user.as_deref().unwrap_or(name.as_bytes())).map(Verdict::Good),
            Answer::Fail => Ok(Verdict::Bad),
            Answer::Temporary => Err(later()),
            Answer::Continue(_) => Err(Away("Dovecot wants more than PLAIN has to say".to_owned())),
        }
    }

    /// Begins an exchange.
    ///
    /// # Errors
    /// As with [`verify`](Self::verify).
    pub(super) async fn begin(
        &self,
        client: &Client<'_>,
        mechanism: Name,
        initial: Option<&Secret>,
    ) -> Result<(Talk, Said), Away> {
        let (login, answer) = self.answer(client, mechanism, initial).await?;
        Ok((Talk(login), said(answer)?))
    }

    /// A connection that ended before the answer came may have ended before the question, so it is asked once more:
    /// a login changes nothing there.
    async fn answer(
        &self,
        client: &Client<'_>,
        mechanism: Name,
        initial: Option<&Secret>,
    ) -> Result<(Login, Answer), Away> {
        for _ in 0..2 {
            let line = self.line().await?;
            if !line.offers(mechanism) {
                return Err(Away(format!("Dovecot does not offer {mechanism} here; see auth_mechanisms")));
            }
            let Ok(mut login) = line.login() else { continue };
            if let Ok(answer) = login.say(|id| wire::begin(id, client, mechanism, initial)).await {
                return Ok((login, answer));
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
        let same = self.offered.load().as_ref().is_some_and(|before| before.as_slice() == line.mechanisms());
        if !same {
            self.offered.store(Some(Arc::new(line.mechanisms().to_vec())));
        }
        *known = Some(Arc::clone(&line));
        Ok(line)
    }
}

impl Talk {
    /// # Errors
    /// As with [`Dovecot::verify`], and when the connection ended.
    pub(super) async fn go_on(&mut self, message: &Secret) -> Result<Said, Away> {
        let answer = self.0.say(|id| wire::go_on(id, message)).await;
        said(answer.map_err(|Gone| Away("Dovecot ended the connection within a login".to_owned()))?)
    }
}

fn said(answer: Answer) -> Result<Said, Away> {
    match answer {
        Answer::Continue(challenge) => Ok(Said::Challenge(challenge)),
        // Nobody here could say who it was.
        Answer::Ok { user: None, .. } => Err(Away("Dovecot does not say whose login it was".to_owned())),
        Answer::Ok { user: Some(user), last } => Ok(Said::Good { identity: identity(&user)?, last }),
        Answer::Fail => Ok(Said::Bad),
        Answer::Temporary => Err(later()),
    }
}

fn later() -> Away {
    Away("Dovecot says that it cannot tell for now; its log says why".to_owned())
}
